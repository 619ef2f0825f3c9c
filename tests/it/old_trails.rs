//! What earlier versions wrote opens, verifies and exports for ever: `tests/fixtures`, made by the
//! versions that they name.

use crate::support::cli::keyward;
use crate::support::{Site, Upstream, copy_folder};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The key of the log in the fixtures.
const VKEY: &str =
    "keyward.invalid/313bd26b70d6add3+2a4c3ca2+AYUMgBuqDUfg4/EfkBpDIa756GgI20Z0RP7fkAV5HAGZ";

/// Opens an archive of the fixtures in a folder.
pub fn open(name: &str, dir: &Path) -> PathBuf {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/0.1.0").join(name);
    let to = dir.join(name.trim_end_matches(".tar.zst"));
    tar::Archive::new(zstd::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap())
        .unpack(&to)
        .unwrap();
    to
}

/// The report of a verification, and the exit status.
#[track_caller]
fn verify(arguments: &[&str]) -> (Value, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_keyward"))
        .args(["audit", "verify", "--json", "--vkey", VKEY])
        .args(arguments)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().unwrap())
}

/// The report of a verification that must hold.
#[track_caller]
fn verified(arguments: &[&str]) -> Value {
    let (report, status) = verify(arguments);
    assert_eq!(status, 0, "{report:#}");
    report
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_old_trail_verifies_and_is_exported_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (old, handed_out) =
        (open("ended.tar.zst", dir.path()), open("handed-out.tar.zst", dir.path()));
    let audit = old.join("audit");
    let report = verified(&["--dir", path(&audit)]);
    assert_eq!(
        (&report["integrity"]["verdict"], &report["completeness"]["verdict"]),
        (&json!("holds"), &json!("holds")),
        "{report:#}"
    );
    assert_eq!(
        (&report["pruned"][0]["first"], &report["pruned"][0]["last"]),
        (&json!(0), &json!(15)),
        "{report:#}"
    );
    for form in ["ndjson", "exchange"] {
        let exported = keyward(&["audit", "export", "--dir", path(&audit), "--form", form]);
        assert!(
            exported == std::fs::read(handed_out.join(format!("export.{form}"))).unwrap(),
            "{form}"
        );
    }
    // Forms for other systems gain fields; each exchange is there as it was.
    for form in ["ocsf", "cadf", "csv"] {
        let exported =
            String::from_utf8(keyward(&["audit", "export", "--dir", path(&audit), "--form", form]))
                .unwrap();
        let before = std::fs::read_to_string(handed_out.join(format!("export.{form}"))).unwrap();
        assert_eq!(exported.lines().count(), before.lines().count(), "{form}");
    }
    let counted: Value = serde_json::from_slice(&keyward(&[
        "audit",
        "query",
        "--dir",
        path(&audit),
        "--count",
        "--by",
        "decision",
        "--format",
        "json",
    ]))
    .unwrap();
    assert_eq!(counted["total"], 62, "{counted:#}");
}

#[test]
fn what_was_handed_out_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let handed_out = open("handed-out.tar.zst", dir.path());
    let old = open("ended.tar.zst", dir.path());
    let checkpoint = old.join("audit/tree/checkpoint");
    assert_eq!(verified(&["--pack", path(&handed_out.join("pack"))])["records"], 107);
    verified(&["--proof", path(&handed_out.join("proof"))]);
    // Of a pruned trail an export alone has not the hashes that lead to a checkpoint: read whole,
    // and said so.
    let (report, status) = verify(&[
        "--export",
        path(&handed_out.join("export.exchange")),
        "--checkpoint",
        path(&checkpoint),
    ]);
    assert_eq!(
        (&report["records_read"], &report["findings_left_out"], status),
        (&json!(107), &json!(0), 6),
        "{report:#}"
    );
    let restored = dir.path().join("restored");
    keyward(&["audit", "restore", path(&handed_out.join("backup.tar")), "--dir", path(&restored)]);
    // A restore is on record itself, behind all that there was.
    for form in ["ndjson", "exchange"] {
        let exported = keyward(&["audit", "export", "--dir", path(&restored), "--form", form]);
        assert!(
            exported
                .starts_with(&std::fs::read(handed_out.join(format!("export.{form}"))).unwrap()),
            "{form}"
        );
    }
}

/// Both ends of a run: a gateway goes on with the trail, and what it has then is one whole.
#[test]
fn a_gateway_goes_on_with_an_old_trail() {
    for (name, records) in [("ended.tar.zst", 123), ("killed.tar.zst", 218)] {
        let upstream = Upstream::ok();
        let site = Site::shipped(upstream.address);
        let old = open(name, &site.path("old"));
        copy_folder(&old.join("audit"), &site.audit);
        std::fs::copy(old.join("evidence.key"), site.path("evidence.key")).unwrap();
        let gateway = site.serve();
        gateway.settle();
        gateway.stop();
        let report = verified(&["--dir", path(&site.audit)]);
        // The first segment is pruned.
        assert!(report["records_read"].as_u64().unwrap() >= records - 16, "{name}: {report:#}");
    }
}
