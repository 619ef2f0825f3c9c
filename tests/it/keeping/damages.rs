//! Segments, indexes and stores that are damaged: what is lost is named, and costs nothing else.

use super::{calls, holds, verify};
use crate::support::cli::{keyward, keyward_fails};
use crate::support::disk::SmallDisk;
use crate::support::{Site, Upstream, copy_folder, eventually, skipped};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// An index decides what is found, and anybody can compute its checksum.
#[test]
fn an_index_that_hides_calls_is_found_and_made_anew() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    let gateway = site.serve();
    calls(&gateway, 20);
    eventually("two segments are sealed", || gateway.metric("keyward_sealed_records") >= 32);
    gateway.stop();
    let dir = site.audit.display().to_string();
    let count = || {
        String::from_utf8(keyward(&[
            "audit",
            "query",
            "--dir",
            &dir,
            "--outcome",
            "succeeded",
            "--count",
            "--format",
            "json",
        ]))
        .unwrap()
    };
    let before = count();
    let path = site.audit.join("segments/seg-00000000000000000016.index");
    let mut index = std::fs::read(&path).unwrap();
    let name = b"succeeded";
    let at = index.windows(name.len()).position(|bytes| bytes == name).expect("the outcome's name");
    index[at + name.len() - 1] = b'x';
    let end = index.len() - 12;
    let sum = crc32fast::hash(&index[..end]);
    index[end..end + 4].copy_from_slice(&sum.to_be_bytes());
    std::fs::write(&path, index).unwrap();
    assert_ne!(count(), before, "it hides calls, else this shows nothing");

    let report = verify(&site.audit);
    assert_eq!(
        (&report["status"], &report["completeness"]["verdict"]),
        (&json!(3), &json!("holds")),
        "{report:#}"
    );
    let finding = &report["integrity"]["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["records"]),
        (&json!("derived"), &json!({"first": 16, "last": 31})),
        "{report:#}"
    );
    assert!(
        finding["text"].as_str().unwrap().contains("keyward audit reindex --all"),
        "{report:#}"
    );
    keyward(&["audit", "reindex", "--all", "--dir", &dir]);
    holds(&verify(&site.audit));
    assert_eq!(count(), before);
}

/// A segment's file is missing, or holds nonsense: the start says what to do, and salvage what is
/// lost.
#[test]
fn a_segment_that_is_gone_is_named_and_can_be_given_up() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    let gateway = site.serve();
    let ids = calls(&gateway, 40);
    gateway.settle();
    eventually("all that can be is sealed", || gateway.metric("keyward_sealed_records") == 80);
    gateway.stop();
    let file = |first: u64, kind: &str| site.audit.join(format!("segments/seg-{first:020}.{kind}"));
    let (config, dir) =
        (site.path("keyward.toml").display().to_string(), site.audit.display().to_string());
    let damage = || {
        std::fs::remove_file(file(32, "records")).unwrap();
        std::fs::write(file(64, "bodies"), "nonsense").unwrap();
        let said = keyward_fails(&["serve", "--config", &config]);
        assert!(
            said.contains("records 32 to 47 are missing") && said.contains("keyward audit salvage"),
            "{said}"
        );
        assert_eq!(verify(&site.audit)["completeness"]["verdict"], "fails");
        String::from_utf8(keyward(&[
            "audit",
            "salvage",
            "--dir",
            &dir,
            "--reason",
            "somebody removed a file",
        ]))
        .unwrap()
    };
    // Unused parts of the engine's file still have them.
    let said = damage();
    assert!(said.contains("no record that was signed is lost"), "{said}");
    site.serve().stop();
    holds(&verify(&site.audit));

    // Once that is written anew, they are nowhere else.
    keyward(&[
        "audit",
        "erase",
        &ids[39],
        "--reason",
        "so that the engine's file is written anew",
        "--config",
        &config,
    ]);
    let said = damage();
    assert!(
        said.contains("LOST: records 32 to 47") && said.contains("LOST: the bodies of"),
        "{said}"
    );
    let gateway = site.serve();
    calls(&gateway, 3);
    let gone =
        keyward_fails(&["audit", "show", &ids[17], "--url", &format!("http://{}", site.admin)]);
    assert!(gone.contains("lost"), "{gone}");
    let page = gateway.json("/api/v1/exchanges?limit=1");
    assert_eq!(
        (&page["gone"][0]["first"], &page["gone"][0]["last"], &page["gone"][0]["why"]),
        (&json!(32), &json!(47), &json!("lost")),
        "{page:#}"
    );
    // What has lost its answer does not stay open for ever.
    let open = gateway.json("/api/v1/exchanges?outcome=open");
    assert_eq!(open["exchanges"], json!([]), "{open:#}");
    gateway.stop();
    let report = verify(&site.audit);
    assert_eq!(report["integrity"]["verdict"], "holds", "{report:#}");
    let findings = report["completeness"]["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|finding| finding["kind"] == "lost"
            && finding["records"] == json!({"first": 32, "last": 47})),
        "{report:#}"
    );
    assert!(findings.iter().any(|finding| finding["kind"] == "body-missing"), "{report:#}");
}

/// Whoever counts what a damaged trail has left is told what the numbers may lack, and where
/// nothing can be missing, nothing is said.
#[test]
fn counts_of_a_damaged_trail_say_what_may_be_missing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    let gateway = site.serve();
    let ids = calls(&gateway, 40);
    gateway.settle();
    eventually("all that can be is sealed", || gateway.metric("keyward_sealed_records") == 80);
    gateway.stop();
    let (config, dir) =
        (site.path("keyward.toml").display().to_string(), site.audit.display().to_string());
    let ask = |arguments: &[&str]| {
        String::from_utf8(keyward(&[&["audit", "query", "--dir", &dir], arguments].concat()))
            .unwrap()
    };
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&ask(&[arguments, &["--format", "json"]].concat())).unwrap()
    };
    let before = json(&["--count"]);
    assert_eq!((before["total"].as_u64(), &before["gone"]), (Some(40), &json!([])), "{before:#}");
    // So that the engine's file does not have them either.
    keyward(&[
        "audit",
        "erase",
        &ids[39],
        "--reason",
        "so that the engine's file is written anew",
        "--config",
        &config,
    ]);
    std::fs::remove_file(site.audit.join(format!("segments/seg-{:020}.records", 32))).unwrap();
    let refused = keyward_fails(&["audit", "query", "--count", "--dir", &dir]);
    assert!(refused.contains("records 32 to 47 are missing"), "{refused}");
    keyward(&["audit", "salvage", "--dir", &dir, "--reason", "somebody removed a file"]);

    let total = |answer: &Value| answer["total"].as_u64().unwrap();
    let lost = |answer: &Value| {
        let gone = answer["gone"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
        gone.iter()
            .map(|gone| {
                (
                    gone["first"].as_u64().unwrap(),
                    gone["last"].as_u64().unwrap(),
                    gone["why"].as_str().unwrap().to_owned(),
                )
            })
            .collect::<Vec<_>>()
    };
    let all = vec![(32, 47, "lost".to_owned())];
    let count = json(&["--count"]);
    assert!((30..40).contains(&total(&count)), "{count:#}");
    let by_action = json(&["--count", "--by", "action"]);
    let histogram = json(&["--histogram", "1h"]);
    let found: u64 = histogram["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["exchanges"].as_u64().unwrap())
        .sum();
    assert_eq!(
        (total(&by_action), total(&histogram), found),
        (total(&count), total(&count), total(&count))
    );
    for answer in [
        &count,
        &by_action,
        &histogram,
        &json(&["--count", "--caller", "nobody"]),
        &json(&["--limit", "1"]),
    ] {
        assert_eq!(lost(answer), all, "{answer:#}");
        let told_by = answer["gone"][0]["told_by"].as_u64().unwrap();
        assert!(told_by > 80, "a record behind them tells: {told_by}");
    }
    // Where they would not have been, nothing is missing.
    for elsewhere in [["--where", "seq < 30"], ["--where", "seq > 60"], ["--until", "2000-01-01"]] {
        let answer = json(&[&["--count"], elsewhere.as_slice()].concat());
        assert_eq!(lost(&answer), [], "{elsewhere:?} {answer:#}");
    }
    assert_eq!(total(&json(&["--count", "--where", "seq > 60"])), ids.len() as u64 - 30);
    for table in [
        ask(&["--count", "--format", "table"]),
        ask(&["--histogram", "1h", "--format", "table"]),
        ask(&["--format", "table"]),
    ] {
        assert!(
            table.contains("Not here are records 32 to 47, which were lost: record "),
            "{table}"
        );
    }
}

/// What a crash leaves half written goes at the next start, whatever room there is: it may be what
/// takes it.
#[test]
fn half_written_files_of_segments_are_removed_by_the_next_start() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    let gateway = site.serve();
    calls(&gateway, 40);
    gateway.settle();
    eventually("all that can be is sealed", || gateway.metric("keyward_sealed_records") == 80);
    gateway.kill();
    let file = |first: u64, kind: &str| site.audit.join(format!("segments/seg-{first:020}.{kind}"));
    let index = std::fs::read(file(16, "index")).unwrap();
    let leave = |kinds: &[(u64, &str)]| {
        kinds
            .iter()
            .for_each(|(first, kind)| std::fs::write(file(*first, kind), &index[..100]).unwrap())
    };
    let left = || {
        std::fs::read_dir(site.audit.join("segments"))
            .unwrap()
            .filter(|file| file.as_ref().unwrap().path().extension().unwrap() == "tmp")
            .count()
    };
    leave(&[
        (16, "index.tmp"),
        (0, "bodies-new.tmp"),
        (80, "records.tmp"),
        (80, "bodies.tmp"),
        (80, "index.tmp"),
    ]);
    std::fs::remove_file(file(16, "index")).unwrap();
    let gateway = site.serve();
    eventually("they are gone, and the index is whole", || {
        left() == 0 && std::fs::read(file(16, "index")).is_ok_and(|bytes| bytes == index)
    });
    calls(&gateway, 40);
    eventually("sealing goes on, and leaves nothing", || {
        gateway.metric("keyward_sealed_records") >= 144 && left() == 0
    });
    gateway.stop();
    holds(&verify(&site.audit));

    // Where there is no room to seal.
    let site = Site::new(upstream.address);
    let Some(_disk) = SmallDisk::mount(&site.audit, "size=64m") else {
        return skipped("half_written_files_of_segments", "no right to mount");
    };
    let half = site.audit.join("segments/seg-00000000000000000000.records.tmp");
    let sets = ["audit.free_bytes_min=1048576"];
    site.serve_with(&sets).stop();
    std::fs::create_dir_all(half.parent().unwrap()).unwrap();
    std::fs::write(&half, vec![0; 32 << 20]).unwrap();
    let gateway = site.serve_with(&sets);
    eventually("it is gone", || !half.exists());
    site.logs("sealing waits");
    gateway.stop();
    holds(&verify(&site.audit));
}

/// Two bytes of the engine's file are flipped, at many places, and worse is done to it: no sealed
/// record is lost, each lost one is named, and the trail goes on.
#[test]
fn a_damaged_store_costs_no_more_than_what_was_not_sealed_and_says_what() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 64\nballast = ");
    let gateway = site.serve();
    calls(&gateway, 100);
    gateway.settle();
    eventually("three segments are sealed", || gateway.metric("keyward_sealed_records") == 192);
    calls(&gateway, 20);
    gateway.settle();
    eventually("all is signed", || {
        let note = String::from_utf8(gateway.answer("/checkpoint")).unwrap();
        note.lines().nth(1).and_then(|size| size.parse::<u64>().ok()).is_some_and(|size| size > 240)
    });
    gateway.kill();
    let sound = site.path("sound");
    copy_folder(&site.audit, &sound);
    let length = std::fs::metadata(sound.join("trail/db")).unwrap().len() as usize;
    let data = std::fs::read(sound.join("trail/db")).unwrap();
    let used: Vec<usize> = (0..length).filter(|at| data[*at] != 0).collect();

    type Damage = Box<dyn Fn(&Path)>;
    let flip = |at: usize| -> Damage {
        Box::new(move |trail: &Path| {
            let mut db = std::fs::read(trail.join("db")).unwrap();
            db[at] ^= 0x55;
            db[(at + 1) % length] ^= 0xaa;
            std::fs::write(trail.join("db"), db).unwrap();
        })
    };
    let mut damages: Vec<Damage> =
        (0..8).map(|n| flip(used[used.len() * (2 * n + 1) / 16])).collect();
    // Two bytes in every few kilobytes: some records are lost, and some are not.
    let everywhere: Vec<usize> = used.iter().step_by(1500).copied().collect();
    damages.push(Box::new(move |trail: &Path| {
        let mut db = std::fs::read(trail.join("db")).unwrap();
        everywhere.iter().for_each(|at| db[*at] ^= 0x55);
        std::fs::write(trail.join("db"), db).unwrap();
    }));
    damages.push(Box::new(|trail: &Path| std::fs::write(trail.join("conf"), b"nonsense").unwrap()));
    damages.push(Box::new(|trail: &Path| std::fs::write(trail.join("db"), b"").unwrap()));
    damages.push(Box::new(|trail: &Path| std::fs::remove_dir_all(trail).unwrap()));
    let mut refused = 0;
    for (n, damage) in damages.iter().enumerate() {
        std::fs::remove_dir_all(&site.audit).unwrap();
        copy_folder(&sound, &site.audit);
        damage(&site.audit.join("trail"));
        let dir = site.audit.display().to_string();
        // Whoever opens it is told what to do, if the engine notices.
        let opened = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(["audit", "query", "--limit", "1", "--dir", &dir])
            .output()
            .unwrap();
        let noticed = !opened.status.success();
        if noticed {
            refused += 1;
            let said = String::from_utf8_lossy(&opened.stderr).into_owned();
            assert!(
                said.contains("keyward audit salvage --dir")
                    || n == 11 && said.contains("there is no trail"),
                "{n}: {said}"
            );
        }
        if n < 11 {
            std::fs::remove_dir_all(&site.audit).unwrap();
            copy_folder(&sound, &site.audit);
            damage(&site.audit.join("trail"));
        }
        let report: Value = serde_json::from_slice(&keyward(&[
            "audit",
            "salvage",
            "--dir",
            &dir,
            "--reason",
            "a test flips bytes",
            "--json",
        ]))
        .unwrap();
        assert_eq!(
            (&report["segments"], &report["sealed_end"]),
            (&json!(3), &json!(192)),
            "{n}: {report:#}"
        );
        let lost: Vec<(u64, u64)> = report["lost"]
            .as_array()
            .unwrap()
            .iter()
            .map(|range| (range["start"].as_u64().unwrap(), range["end"].as_u64().unwrap()))
            .collect();
        let count: u64 = lost.iter().map(|(first, end)| end - first).sum();
        assert!(lost.iter().all(|(first, _)| *first >= 192), "{n}: {report:#}");
        assert_eq!(
            count + report["found_again"].as_u64().unwrap() + 192,
            report["told_by"].as_u64().unwrap(),
            "{n}: {report:#}"
        );
        if n < 8 {
            assert!(count <= 32, "two bytes are in one frame: {report:#}");
        }
        println!("damage {n}: noticed when opened: {noticed}; {report}");
        // The gateway goes on, and whoever verifies is told exactly the same.
        let gateway = site.serve();
        calls(&gateway, 3);
        gateway.stop();
        let verified = verify(&site.audit);
        assert_eq!(verified["integrity"]["verdict"], "holds", "{n}: {verified:#}");
        let missing: Vec<(u64, u64)> = verified["completeness"]["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["kind"] == "lost")
            .map(|finding| {
                (
                    finding["records"]["first"].as_u64().unwrap(),
                    finding["records"]["last"].as_u64().unwrap() + 1,
                )
            })
            .collect();
        assert_eq!(missing, lost, "{n}: {verified:#}");
    }
    assert!(refused >= 2, "the engine noticed {refused} times");
}
