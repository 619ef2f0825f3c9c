//! Survival: whatever becomes of the process, its disk and its clock, nothing that was acknowledged
//! is lost, nothing was sent without its record, the next start goes on, and the operator is told.
//! See `docs/survival.md`.

mod clock;
mod damage;
mod faults;
mod full_disk;
mod lazyfs;
mod looking;
mod power;
mod processes;
mod recording;
mod salvage;
pub mod shim;

use crate::support::{Client, Request, Site, Trail, Upstream, json_of};
use keyward_record::Kind;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What clients were told: by audit id, whether the call was done or refused by a policy.
pub type Told = HashMap<String, bool>;

/// Callers that go on until they are stopped, or their connection breaks. Every third call is one
/// that the policies refuse.
pub struct Callers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Told>>,
}

impl Callers {
    pub fn start(address: SocketAddr, tag: &str, count: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let caller = |n: usize| {
            let (over, tag) = (Arc::clone(&over), format!("{tag}-c{n}"));
            std::thread::spawn(move || call_on(address, &tag, &over))
        };
        let threads = (0..count).map(caller).collect();
        Self { over, threads }
    }

    /// What they were told.
    pub fn stop(self) -> Told {
        self.over.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn call_on(address: SocketAddr, tag: &str, over: &AtomicBool) -> Told {
    let mut told = Told::new();
    let Ok(mut client) = Client::try_new(address) else { return told };
    for n in 0..100_000 {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let name = if n % 3 == 2 { "forbidden".to_owned() } else { format!("{tag}-{n}") };
        let answer = client.call(
            &Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(50 + n % 7 * 3000)),
        );
        match (answer.status, answer.whole) {
            (200, true) => drop(told.insert(answer.id().to_owned(), true)),
            (403, true) => drop(told.insert(answer.id().to_owned(), false)),
            (503, true) => {
                assert_eq!(answer.code(), "journal-unavailable");
                std::thread::sleep(Duration::from_millis(5));
                // A refusal for want of a record may close the connection.
                match Client::try_new(address) {
                    Ok(fresh) => client = fresh,
                    Err(_) => break,
                }
            }
            (0 | 200 | 403 | 503, false) => break,
            _ => panic!("{answer:?}"),
        }
    }
    told
}

/// Every call that a client was told of has its records; every call that the upstream saw has its
/// request's.
#[track_caller]
pub fn check(trail: &Trail, told: &Told, upstream: &Upstream) {
    let arrived = upstream.requests();
    check_told(
        trail,
        told,
        arrived.iter().map(|arrived| arrived.line().split(' ').nth(1).unwrap()),
        "",
    );
}

/// The same, with the paths that were sent.
#[track_caller]
pub fn check_told<'a>(trail: &Trail, told: &Told, sent: impl Iterator<Item = &'a str>, when: &str) {
    let by_id = |kinds: &[Kind]| -> HashMap<&str, &str> {
        trail
            .0
            .iter()
            .filter(|r| kinds.contains(&r.kind))
            .map(|r| (r.id.as_str(), r.text("/outcome")))
            .collect()
    };
    let (forwarded, refused, answered) =
        (by_id(&[Kind::Forwarded]), by_id(&[Kind::Refused]), by_id(&[Kind::Answer]));
    for (id, done) in told {
        match done {
            true => {
                assert!(
                    forwarded.contains_key(id.as_str())
                        && answered.get(id.as_str()) == Some(&"succeeded"),
                    "{id} was acknowledged and is lost: {when}"
                )
            }
            false => assert!(
                refused.contains_key(id.as_str()),
                "the refusal {id} was told and is lost: {when}"
            ),
        }
    }
    let paths: HashSet<_> = trail
        .0
        .iter()
        .filter(|r| r.kind == Kind::Forwarded)
        .map(|r| r.text("/call/path"))
        .collect();
    for path in sent {
        assert!(paths.contains(path), "{path} was sent without a record: {when}");
    }
}

/// Each forwarded call is closed, and once.
#[track_caller]
pub fn check_closed(trail: &Trail) {
    let ids = |kind: Kind| -> Vec<&str> {
        trail.0.iter().filter(|r| r.kind == kind).map(|r| r.id.as_str()).collect()
    };
    let (mut forwarded, mut answered) = (ids(Kind::Forwarded), ids(Kind::Answer));
    forwarded.sort_unstable();
    answered.sort_unstable();
    assert_eq!(forwarded, answered, "each forwarded call is closed once");
}

/// The report of `audit verify` on a stopped gateway's folder.
#[track_caller]
pub fn verify(site: &Site) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    let output =
        command.args(["audit", "verify", "--json", "--dir"]).arg(&site.audit).output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Integrity and completeness hold.
#[track_caller]
pub fn check_verified(site: &Site) {
    let report = verify(site);
    assert!(
        report["integrity"]["verdict"] == "holds" && report["completeness"]["verdict"] == "holds",
        "{report:#}"
    );
}
