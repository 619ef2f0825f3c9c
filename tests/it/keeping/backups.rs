//! Backups made beside load, restored, and damaged.

use super::{calls, holds, verify};
use crate::support::cli::{keyward, keyward_fails};
use crate::support::{Site, Upstream, eventually};
use std::path::Path;

#[test]
fn a_backup_made_under_load_is_a_trail_that_verifies_and_goes_on() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    site.append("[retention]\nmax_bytes = 60000\nevery_seconds = 1\n");
    let gateway = site.serve();
    calls(&gateway, 60);
    eventually("something is pruned", || gateway.metric("keyward_pruned_records_total") > 0);
    let (url, archive) = (format!("http://{}", site.admin), site.path("backup.tar"));
    // So many that what the backup has is not all pruned meanwhile, however slow it is.
    std::thread::scope(|scope| {
        scope.spawn(|| calls(&gateway, 30));
        keyward(&["audit", "backup", "--url", &url, "--out", archive.to_str().unwrap()]);
    });
    let again =
        keyward_fails(&["audit", "backup", "--url", &url, "--out", archive.to_str().unwrap()]);
    assert!(again.contains("exists already"), "{again}");
    gateway.stop();
    assert!(
        std::fs::read_dir(&site.audit).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".keyward-snapshot-")),
        "nothing is left of it"
    );

    let restored = site.path("restored");
    let said = String::from_utf8(keyward(&[
        "audit",
        "restore",
        archive.to_str().unwrap(),
        "--dir",
        restored.to_str().unwrap(),
    ]))
    .unwrap();
    assert!(said.contains("are restored into"), "{said}");
    let not_empty = keyward_fails(&[
        "audit",
        "restore",
        archive.to_str().unwrap(),
        "--dir",
        restored.to_str().unwrap(),
    ]);
    assert!(not_empty.contains("is not empty"), "{not_empty}");
    // Every record is the one that the original has; a gateway goes on with it.
    let records = |dir: &Path| {
        String::from_utf8(keyward(&[
            "audit",
            "export",
            "--form",
            "ndjson",
            "--dir",
            dir.to_str().unwrap(),
        ]))
        .unwrap()
    };
    let (original, copy) = (records(&site.audit), records(&restored));
    // The original went on pruning; the copy ends with the record of its restoration.
    let oldest = original.lines().next().unwrap();
    let common: Vec<_> = copy.lines().skip_while(|line| *line != oldest).collect();
    assert!(common.len() > 20, "{} lines", common.len());
    assert!(common[..common.len() - 1].iter().all(|line| original.contains(*line)));
    site.rewrite("dir = \"audit\"", "dir = \"restored\"");
    let gateway = site.serve();
    calls(&gateway, 3);
    gateway.stop();
    holds(&verify(&restored));

    // One of a stopped gateway, damaged and cut: it is no trail then, and says why.
    let second = site.path("second.tar");
    keyward(&[
        "audit",
        "backup",
        "--dir",
        restored.to_str().unwrap(),
        "--out",
        second.to_str().unwrap(),
    ]);
    let bytes = std::fs::read(&second).unwrap();
    for (what, bytes) in [
        ("cut", bytes[..bytes.len() / 2].to_vec()),
        ("cut", bytes[..600].to_vec()),
        ("damaged", flipped(&bytes)),
        ("no backup", b"something else".repeat(99)),
    ] {
        let (bad, into) = (site.path("bad.tar"), site.path("into"));
        std::fs::write(&bad, bytes).unwrap();
        let said = keyward_fails(&[
            "audit",
            "restore",
            bad.to_str().unwrap(),
            "--dir",
            into.to_str().unwrap(),
        ]);
        assert!(
            said.contains("cut")
                || said.contains("not the file that was copied")
                || said.contains("damaged"),
            "{what}: {said}"
        );
        std::fs::remove_dir_all(&into).unwrap();
    }
}

/// An archive with a byte flipped in the largest file of records.
fn flipped(archive: &[u8]) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    let at = bytes.windows(8).position(|window| window == b"KWRECS1\n").unwrap();
    bytes[at + 200] ^= 1;
    bytes
}
