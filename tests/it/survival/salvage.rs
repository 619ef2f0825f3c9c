//! Salvage: it brings back what was lost and nothing that was let go of, loses nothing that is
//! there, and can be cut off anywhere and done again.

use super::check_verified;
use super::shim::{Shim, thorough};
use crate::support::cli::{keyward, keyward_fails};
use crate::support::{Request, Site, Upstream, copy_folder, eventually, json_of};
use keyward_trail::segment::dictionary::{Dictionaries, train};
use keyward_trail::segment::records::{Records, RecordsWriter};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A site, and its trail as it was when its gateway had stopped.
struct Lifecycle {
    site: Site,
    sound: PathBuf,
    _upstream: Upstream,
}

impl Lifecycle {
    /// So many calls, two records each, sealed by so many.
    fn new(segment_records: u64, count: usize, sealed: u64) -> Self {
        let upstream = Upstream::ok();
        let site = Site::new(upstream.address);
        site.rewrite("ballast = ", &format!("segment_records = {segment_records}\nballast = "));
        let gateway = site.serve();
        let mut client = gateway.client();
        for n in 0..count {
            let answer = client
                .call(&Request::new("PUT", &format!("/v1/blobs/b{n}")).json(json_of(300 + n)));
            assert_eq!((answer.status, answer.whole), (200, true));
        }
        gateway.settle();
        eventually("all that can be is sealed", || {
            gateway.metric("keyward_sealed_records") == sealed
        });
        gateway.stop();
        let sound = site.path("sound");
        copy_folder(&site.audit, &sound);
        Self { site, sound, _upstream: upstream }
    }

    /// Erases a body, so that the engine's file is written anew: what was sealed is nowhere else
    /// then.
    fn rewritten(self) -> Self {
        let exchange = self.exchanges().into_iter().nth(3).unwrap();
        let exchange: Value = serde_json::from_str(&exchange).unwrap();
        let config = self.site.path("keyward.toml").display().to_string();
        keyward(&[
            "audit",
            "erase",
            exchange["id"].as_str().unwrap(),
            "--reason",
            "so that the file is written anew",
            "--config",
            &config,
        ]);
        self.site.serve().stop();
        self.keep();
        self
    }

    fn keep(&self) {
        std::fs::remove_dir_all(&self.sound).unwrap();
        copy_folder(&self.site.audit, &self.sound);
    }

    /// The sound trail again.
    fn again(&self) {
        std::fs::remove_dir_all(&self.site.audit).unwrap();
        copy_folder(&self.sound, &self.site.audit);
    }

    fn dir(&self) -> String {
        self.site.audit.display().to_string()
    }

    fn file(&self, first: u64, kind: &str) -> PathBuf {
        self.site.audit.join(format!("segments/seg-{first:020}.{kind}"))
    }

    fn salvage(&self) -> Value {
        serde_json::from_slice(&keyward(&[
            "audit",
            "salvage",
            "--dir",
            &self.dir(),
            "--reason",
            "a test",
            "--json",
        ]))
        .unwrap()
    }

    /// The exchanges that are there. Each step that is tried here is an event of the trail.
    fn exchanges(&self) -> BTreeSet<String> {
        let all = lines(&["audit", "export", "--form", "exchange", "--dir", &self.dir()]);
        all.into_iter().filter(|line| !line.contains(r#""outcome":"event""#)).collect()
    }
}

fn lines(arguments: &[&str]) -> BTreeSet<String> {
    String::from_utf8(keyward(arguments)).unwrap().lines().map(str::to_owned).collect()
}

/// Runs `keyward audit` in an environment of its own.
fn audit(arguments: &[&str], env: &[(String, String)]) -> Output {
    let env = env.iter().map(|(name, value)| (name, value));
    Command::new(env!("CARGO_BIN_EXE_keyward"))
        .arg("audit")
        .args(arguments)
        .envs(env)
        .output()
        .unwrap()
}

/// Flips a byte, at so many hundredths of a file.
fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = (bytes.len() - 1) * at / 100;
    bytes[at] ^= 0x11;
    std::fs::write(file, bytes).unwrap();
}

/// Keeps the engine from reading its file.
fn unreadable(audit: &Path) {
    let path = audit.join("trail/conf");
    let rubbish = [std::fs::read(&path).unwrap().as_slice(), b"rubbish"].concat();
    std::fs::write(path, rubbish).unwrap();
}

/// What was lost, and which bodies.
fn lost(report: &Value) -> (Value, Value) {
    (report["lost"].clone(), report["bodies_lost"].clone())
}

/// All that a damaged disk may do to a trail is done to one; what was pruned stays away.
#[test]
fn what_was_pruned_does_not_come_back() {
    let stage = Lifecycle::new(16, 60, 112);
    let gateway =
        stage.site.serve_with(&["retention.max_bytes=20000", "retention.every_seconds=1"]);
    eventually("something is pruned", || gateway.metric("keyward_pruned_records_total") >= 32);
    gateway.stop();
    stage.keep();
    let before = stage.exchanges();
    let report = stage.salvage();
    assert_eq!(stage.exchanges(), before, "{report:#}");
    check_verified(&stage.site);

    // Nor when a start makes the store anew by itself.
    stage.again();
    unreadable(&stage.site.audit);
    stage.site.serve().stop();
    stage.site.logs("was made anew");
    assert_eq!(stage.exchanges(), before);
    check_verified(&stage.site);
}

/// The points at which a run can fail: about so many of them.
fn points(shim: &Shim, watched: &Path, arguments: &[&str], about: usize) -> Vec<usize> {
    let points = shim.file("points");
    std::fs::remove_file(&points).ok();
    let output =
        audit(arguments, &shim.watching(watched, &[("SHIM_POINTS", points.display().to_string())]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count = std::fs::read_to_string(&points).unwrap().lines().count();
    assert!(count > about, "{count} points");
    (1..=count).step_by(if thorough() { 1 } else { count.div_ceil(about) }).collect()
}

/// The environment of a run in which nothing can be written from a point on, or that point alone
/// fails.
fn failing(shim: &Shim, watched: &Path, point: usize, all: bool) -> Vec<(String, String)> {
    let points = shim.file("failed").display().to_string();
    shim.watching(
        watched,
        &[
            ("SHIM_POINTS", points),
            ("SHIM_FAIL", format!("{point}{}:28", if all { "+" } else { "" })),
        ],
    )
}

#[test]
fn wherever_a_salvage_is_cut_off_the_next_one_loses_what_it_would_have_lost() {
    let Some(shim) = Shim::build("wherever_a_salvage_is_cut_off") else { return };
    let stage = Lifecycle::new(64, 110, 192).rewritten();
    flip(&stage.file(64, "records"), 50);
    flip(&stage.file(0, "bodies"), 50);
    stage.keep();
    let (dir, watched) = (stage.dir(), stage.site.path(""));
    let arguments = ["salvage", "--dir", &dir, "--reason", "a test", "--json"];
    let whole = stage.salvage();
    assert_eq!(whole["lost"].as_array().unwrap().len(), 1, "{whole:#}");
    assert_eq!(whole["bodies_lost"].as_array().unwrap().len(), 1, "{whole:#}");
    let kept = stage.exchanges();
    // Whoever salvages once more is told what was lost before.
    let once_more = stage.salvage();
    assert_eq!(
        (lost(&once_more), &once_more["lost_before"]),
        ((json!([]), json!([])), &whole["lost"]),
        "{once_more:#}"
    );
    stage.again();
    let mut cuts = 0;
    for (n, point) in points(&shim, &watched, &arguments, 24).into_iter().enumerate() {
        for all in if thorough() { vec![true, false] } else { vec![n % 2 == 0] } {
            stage.again();
            let cut = audit(&arguments, &failing(&shim, &watched, point, all));
            let when = format!("point {point}, {all}: {}", String::from_utf8_lossy(&cut.stderr));
            if !cut.status.success() {
                cuts += 1;
                let report = stage.salvage();
                // Where only the end of the report was cut off, all is done, and told as such.
                let done = report["lost_before"] == whole["lost"]
                    && report["notes"].to_string().contains("has lost 1 bodies");
                assert!(lost(&report) == lost(&whole) || done, "{when}: {report:#}");
            }
            assert_eq!(stage.exchanges(), kept, "{when}");
            assert!(!stage.site.audit.join("founding").exists(), "{when}");
        }
    }
    assert!(cuts > 12, "{cuts} cuts");
}

#[test]
fn a_start_ends_what_a_salvage_has_begun() {
    let Some(shim) = Shim::build("a_start_ends_what_a_salvage_has_begun") else { return };
    let stage = Lifecycle::new(16, 30, 48);
    flip(&stage.file(16, "bodies"), 50);
    unreadable(&stage.site.audit);
    stage.keep();
    let (dir, watched) = (stage.dir(), stage.site.path(""));
    let arguments = ["salvage", "--dir", &dir, "--reason", "a test", "--json"];
    for point in points(&shim, &watched, &arguments, 8) {
        stage.again();
        audit(&arguments, &failing(&shim, &watched, point, true));
        stage.site.serve().stop();
        check_verified(&stage.site);
    }
}

#[test]
fn a_damaged_tree_costs_no_record_that_is_there() {
    let stage = Lifecycle::new(64, 70, 128);
    let level0 = stage.site.audit.join("tree/level0");
    let hashes = std::fs::read(&level0).unwrap();
    let before = stage.exchanges();
    let mut flipped = hashes.clone();
    flipped[130 * 32] ^= 1;
    let damages: [(&str, Option<&[u8]>); 3] =
        [("removed", None), ("cut", Some(&hashes[..100 * 32])), ("flipped", Some(&flipped))];
    for (name, bytes) in damages {
        stage.again();
        std::fs::remove_file(&level0).unwrap();
        bytes.into_iter().for_each(|bytes| std::fs::write(&level0, bytes).unwrap());
        let report = stage.salvage();
        assert_eq!(
            (lost(&report), &report["unproven"]),
            ((json!([]), json!([])), &json!([])),
            "{name}: {report:#}"
        );
        assert_eq!(stage.exchanges(), before, "{name}");
        stage.site.serve().stop();
        check_verified(&stage.site);
    }

    // Where a record is missing too, nothing leads to the root any more. What is there is kept all
    // the same, and that is told.
    let stage = stage.rewritten();
    std::fs::remove_file(&level0).unwrap();
    flip(&stage.file(64, "records"), 50);
    let report = stage.salvage();
    let ranges = report["lost"].as_array().unwrap();
    assert_eq!(ranges.len(), 1, "{report:#}");
    assert_eq!(
        ranges[0]["end"].as_u64().unwrap() - ranges[0]["start"].as_u64().unwrap(),
        16,
        "{report:#}"
    );
    assert_eq!(report["unproven"], json!([{"start": 0, "end": report["signed"]}]), "{report:#}");
    assert!(
        report["notes"].to_string().contains("nothing proves that it is what was signed"),
        "{report:#}"
    );
}

#[test]
fn what_was_signed_is_known_without_the_newest_checkpoint() {
    let stage = Lifecycle::new(64, 70, 128);
    let intact: Value =
        serde_json::from_slice(&audit(&["verify", "--json", "--dir", &stage.dir()], &[]).stdout)
            .unwrap();
    std::fs::remove_file(stage.site.audit.join("tree/checkpoint")).unwrap();
    std::fs::remove_file(stage.site.audit.join("trail/db")).unwrap();
    let report = stage.salvage();
    let signed = report["signed"].as_u64().unwrap();
    assert!(signed > 128 && intact.to_string().contains(&signed.to_string()), "{report:#}");
    assert_eq!(report["lost"], json!([{"start": 128, "end": signed}]), "{report:#}");
}

#[test]
fn a_file_that_the_system_does_not_open_is_no_damage() {
    let stage = Lifecycle::new(16, 30, 48);
    for kind in ["records", "bodies"] {
        let (file, away) = (stage.file(16, kind), stage.site.path("away"));
        std::fs::rename(&file, &away).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        let said =
            keyward_fails(&["audit", "salvage", "--dir", &stage.dir(), "--reason", "a test"]);
        assert!(
            said.contains("nothing was changed: see to the disk") && said.contains(kind),
            "{said}"
        );
        std::fs::remove_file(&file).unwrap();
        std::fs::rename(&away, &file).unwrap();
    }
    assert!(!stage.site.audit.join("aside").exists());
    check_verified(&stage.site);
}

/// A record in a segment is replaced by one of the same length, and every checksum made anew.
#[test]
fn a_segment_with_a_record_that_was_not_signed_does_not_go_on() {
    let stage = Lifecycle::new(16, 30, 48);
    let before = stage.exchanges();
    let file = stage.file(16, "records");
    let records = Records::open(&file, &Dictionaries::default()).unwrap();
    let mut entries = records.block(0).unwrap();
    let leaf = String::from_utf8(entries[3].leaf.to_vec()).unwrap();
    assert!(leaf.contains("tester") || leaf.contains("succeeded"), "{leaf}");
    entries[3].leaf =
        leaf.replace("tester", "TESTER").replace("succeeded", "SUCCEEDED").into_bytes().into();
    let mut writer =
        RecordsWriter::create(&file, 16, &Dictionaries::default().share(train(&[])).unwrap())
            .unwrap();
    entries.iter().for_each(|entry| writer.push(entry).unwrap());
    writer.finish().unwrap();
    let report = stage.salvage();
    assert!(
        report["notes"]
            .to_string()
            .contains("the segment at record 16 has something else than what was signed"),
        "{report:#}"
    );
    // The true one is still in the engine's file.
    assert_eq!((lost(&report), stage.exchanges()), ((json!([]), json!([])), before));
    stage.site.serve().stop();
    check_verified(&stage.site);
}

#[test]
fn a_restore_that_was_cut_off_is_no_trail_and_says_so() {
    let Some(shim) = Shim::build("a_restore_that_was_cut_off") else { return };
    let stage = Lifecycle::new(16, 30, 48);
    let (archive, dir, watched) =
        (stage.site.path("backup.tar").display().to_string(), stage.dir(), stage.site.path(""));
    keyward(&["audit", "backup", "--dir", &dir, "--out", &archive]);
    let config = stage.site.path("keyward.toml").display().to_string();
    let empty = || {
        std::fs::remove_dir_all(&stage.site.audit).ok();
        std::fs::create_dir(&stage.site.audit).unwrap();
    };
    empty();
    let arguments = ["restore", &archive, "--dir", &dir];
    let mut said_so = 0;
    for point in points(&shim, &watched, &arguments, 8) {
        empty();
        let cut = audit(&arguments, &failing(&shim, &watched, point, true));
        if cut.status.success() || std::fs::read_dir(&stage.site.audit).unwrap().next().is_none() {
            continue;
        }
        for command in [
            vec!["serve", "--config", &config],
            vec!["audit", "salvage", "--dir", &dir, "--reason", "a test"],
            vec!["audit", "query", "--count", "--dir", &dir],
            vec!["audit", "verify", "--dir", &dir],
        ] {
            let said = keyward_fails(&command);
            assert!(
                said.contains("was not finished: restore the backup again, into a new folder"),
                "point {point}: {command:?} {said}"
            );
        }
        said_so += 1;
    }
    assert!(said_so >= 4, "{said_so}");
}
