//! Every point of a run at which a write can fail does fail once: EIO, ENOSPC. Whatever the point,
//! nothing that was acknowledged is lost, nothing was sent without its record, the next start goes
//! on, and the operator was told.

use super::shim::{Shim, thorough};
use super::{Told, check_closed, check_told, check_verified};
use crate::support::{
    Act, Gateway, Latch, Request, Site, Trail, Upstream, copy_folder, eventually, json_of,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

const SETS: [&str; 2] = ["audit.segment_records=16", "audit.ballast=0"];
/// A new trail has new keys too. Nobody is known by this one, so every call is refused, on record.
const NEW_SETS: [&str; 3] =
    ["audit.segment_records=16", "audit.ballast=0", "audit.digest_key_file=audit/digest.key"];

fn sets(fresh: bool) -> &'static [&'static str] {
    if fresh { &NEW_SETS } else { &SETS }
}
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Calls of a run: enough for some segments.
const CALLS: usize = 24;

/// A point at which a write can fail: which call, on what.
#[derive(Clone, Debug)]
struct Point {
    number: usize,
    what: String,
}

impl Point {
    /// The points of a run, as the library has written them down.
    fn read(file: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(file).unwrap();
        let point = |line: &str| {
            let (number, what) = line.split_once(' ').unwrap();
            Self { number: number.parse().unwrap(), what: what.to_owned() }
        };
        text.lines().map(point).collect()
    }

    /// The same call on files of the same kind.
    fn class(&self) -> String {
        let plain: String =
            self.what.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
        match plain.split_once("/texts/") {
            Some((call, _)) => format!("{call}/texts/…"),
            None => plain.split('#').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#"),
        }
    }
}

/// What stands before each run: a trail with sealed segments, and a call that was under way when
/// its gateway was killed.
struct Lifecycle {
    upstream: Upstream,
    site: Site,
    before: tempfile::TempDir,
    told: Told,
}

impl Lifecycle {
    fn new() -> Self {
        let latch = Latch::default();
        let upstream = Upstream::new(move |request| {
            if request.line().contains("/hangs ") {
                vec![Act::Until(latch.clone())]
            } else {
                vec![crate::support::upstream::ok()]
            }
        });
        let site = Site::new(upstream.address);
        let gateway = site.serve_with(&SETS);
        let told = calls(&gateway, "before");
        eventually("a segment is sealed", || gateway.metric("keyward_sealed_records") > 0);
        eventually("a checkpoint is signed", || gateway.metric("keyward_checkpoint_size") > 0);
        let mut client = gateway.client();
        client.send(&put("hangs").bytes());
        eventually("a call is under way", || {
            upstream.requests().iter().any(|arrived| arrived.line().contains("/hangs "))
        });
        gateway.kill();
        let before = tempfile::tempdir().unwrap();
        copy_folder(&site.audit, before.path());
        std::fs::copy(site.path("evidence.key"), before.path().join("evidence.key")).unwrap();
        Self { upstream, site, before, told }
    }

    /// Puts everything as it was; or takes everything away, for a run that begins a trail.
    fn set(&self, fresh: bool) {
        std::fs::remove_dir_all(&self.site.audit).unwrap();
        std::fs::create_dir_all(&self.site.audit).unwrap();
        if fresh {
            std::fs::remove_file(self.site.path("evidence.key")).ok();
        } else {
            copy_folder(self.before.path(), &self.site.audit);
            std::fs::copy(self.before.path().join("evidence.key"), self.site.path("evidence.key"))
                .unwrap();
        }
        std::fs::remove_file(self.site.path("stderr.log")).ok();
    }
}

fn put(name: &str) -> Request {
    Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(3000))
}

/// Calls, one after the other; what was told.
fn calls(gateway: &Gateway, tag: &str) -> Told {
    let mut told = Told::new();
    for n in 0..CALLS {
        let name = if n % 3 == 2 { "forbidden".to_owned() } else { format!("{tag}-{n}") };
        let answer = gateway.client().call(&put(&name));
        match (answer.status, answer.whole) {
            (200, true) => drop(told.insert(answer.id().to_owned(), true)),
            (401 | 403, true) => drop(told.insert(answer.id().to_owned(), false)),
            (503, _) => assert_eq!(answer.code(), "journal-unavailable"),
            _ => assert!(!answer.whole, "{answer:?}"),
        }
    }
    told
}

/// A whole life of a gateway: start, calls, seal, index, checkpoint, close. What was told to
/// callers, and what to the operator.
fn life(stage: &Lifecycle, fresh: bool, tag: &str, env: &[(String, String)]) -> (Told, String) {
    let mut told = Told::new();
    let mut said = String::new();
    if let Ok(gateway) = Gateway::try_start_watched(&stage.site, sets(fresh), env) {
        told = calls(&gateway, tag);
        // What fails may keep it from sealing, or signing; that is no reason to wait for ever.
        let begun = Instant::now();
        let done = |gateway: &Gateway| {
            gateway.ready().0 != 200
                || gateway.metric("keyward_seal_failures_total") > 0
                || (gateway.metric("keyward_unsealed_records") < 32
                    && gateway.metric("keyward_checkpoint_behind_records") == 0)
        };
        while !done(&gateway) && begun.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(20));
        }
        said = gateway.ready().1;
        gateway.terminate();
        gateway.wait();
    }
    (told, stage.site.log() + &said)
}

/// Lets one point of a run fail, and looks at what comes of it.
fn fail(stage: &Lifecycle, shim: &Shim, fresh: bool, point: &Point, errno: i32) {
    let when = format!(
        "{errno} at {} {} of a {} trail",
        point.number,
        point.what,
        if fresh { "new" } else { "grown" }
    );
    let tag = format!("p{}-{errno}-{fresh}-{}-", point.number, fastrand::u32(..));
    stage.set(fresh);
    let points = shim.file("points");
    std::fs::remove_file(&points).ok();
    let env = shim.watching(
        &stage.site.path(""),
        &[
            ("SHIM_POINTS", points.display().to_string()),
            ("SHIM_FAIL", format!("{}:{errno}", point.number)),
        ],
    );
    if thorough() {
        println!("{when}");
    }
    let (mut told, said) = life(stage, fresh, &tag, &env);
    if !fresh {
        told.extend(stage.told.clone());
    }
    // Threads take turns: it may have been another call's turn.
    let Some(hit) = Point::read(&points).into_iter().find(|point| point.what.ends_with(" FAILED"))
    else {
        return;
    };
    let when = format!("{when}, which was {}", hit.what);

    let gateway = Gateway::try_start_watched(&stage.site, sets(fresh), &[])
        .unwrap_or_else(|status| panic!("{when}: no start, {status}\n{}", stage.site.log()));
    assert_eq!(gateway.ready().0, 200, "{when}");
    gateway.stop();
    let (trail, _) = Trail::read_what_is_left(&stage.site.audit);
    let arrived = stage.upstream.requests();
    let paths = arrived
        .iter()
        .map(|arrived| arrived.line().split(' ').nth(1).unwrap())
        .filter(|path| path.contains(&tag));
    check_told(&trail, &told, paths, &when);
    check_closed(&trail);
    check_verified(&stage.site);
    check_said(&hit, errno, &said, &when);
}

/// The operator was told in one sentence: what happened, and what to do or what is done already.
fn check_said(hit: &Point, errno: i32, said: &str, when: &str) {
    // A file that a crash has left is removed at the next start, or the one behind it.
    if hit.what.starts_with("unlink /audit/segments/") {
        return;
    }
    // The engine's own sync, behind the writer's. The system tells every opening of the file; who
    // injects, tells only one.
    if said.contains("failed to fsync from periodic flush thread") {
        return;
    }
    let causes: &[&str] = if errno == EIO {
        &["(os error 5)", "code: 5,"]
    } else {
        &["(os error 28)", "code: 28,", "is full"]
    };
    let remedies =
        ["restart the gateway", "start again", "free some space", "tries again", "tried again"];
    let tells = |line: &str| {
        causes.iter().any(|cause| line.contains(cause))
            && remedies.iter().any(|remedy| line.contains(remedy))
    };
    assert!(said.lines().any(tells), "{when}: the operator was not told\n{said}");
}

/// The points of a whole run without a fault.
fn points(stage: &Lifecycle, shim: &Shim, fresh: bool) -> Vec<Point> {
    stage.set(fresh);
    let points = shim.file("points");
    std::fs::remove_file(&points).ok();
    let env = shim.watching(&stage.site.path(""), &[("SHIM_POINTS", points.display().to_string())]);
    life(stage, fresh, &format!("enumeration-{fresh}"), &env);
    Point::read(&points)
}

/// All points; or one of each class, of as many classes as there is time for.
fn sample(points: Vec<Point>, count: usize) -> Vec<Point> {
    if thorough() {
        return points;
    }
    let mut classes: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    points.into_iter().for_each(|point| classes.entry(point.class()).or_default().push(point));
    let mut one_of_each: Vec<_> =
        classes.into_values().map(|class| class[fastrand::usize(0..class.len())].clone()).collect();
    fastrand::shuffle(&mut one_of_each);
    one_of_each.truncate(count);
    one_of_each
}

#[test]
fn wherever_a_write_fails_nothing_is_lost_and_the_operator_is_told() {
    let Some(shim) = Shim::build("wherever_a_write_fails") else { return };
    let stage = Lifecycle::new();
    // All are tried, whatever one of them shows: the next run may sample others.
    let mut failed = Vec::new();
    for fresh in [false, true] {
        let points = points(&stage, &shim, fresh);
        let mut classes: Vec<_> = points.iter().map(Point::class).collect();
        classes.sort();
        classes.dedup();
        println!("{} points of {} classes: {classes:#?}", points.len(), classes.len());
        for point in sample(points, if fresh { 3 } else { 9 }) {
            for errno in if thorough() {
                vec![EIO, ENOSPC]
            } else {
                vec![[EIO, ENOSPC][fastrand::usize(0..2)]]
            } {
                if catch_unwind(AssertUnwindSafe(|| fail(&stage, &shim, fresh, &point, errno)))
                    .is_err()
                {
                    failed.push(format!("{errno} at {}", point.what));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
