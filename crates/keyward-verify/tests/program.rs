//! The program on what a gateway has left: a trail, an export, a pack and a proof, made by the
//! first release.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn opened(archive: &str, into: &Path) -> PathBuf {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/0.1.0").join(archive);
    let into = into.join(archive.split('.').next().unwrap());
    tar::Archive::new(zstd::Decoder::new(File::open(file).unwrap()).unwrap())
        .unpack(&into)
        .unwrap();
    into
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keyward-verify")).args(args).output().unwrap()
}

fn json(args: &[&str]) -> (serde_json::Value, i32) {
    let output = run(&[args, &["--json"]].concat());
    (
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")),
        output.status.code().unwrap(),
    )
}

#[test]
fn what_was_handed_out_is_verified_without_a_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let handed_out = opened("handed-out.tar.zst", dir.path());
    let checkpoint = opened("ended.tar.zst", dir.path()).join("audit/tree/checkpoint");
    let path = |name: &str| handed_out.join(name).display().to_string();
    let (pack, status) = json(&["--pack", &path("pack")]);
    assert_eq!((&pack["records"], status), (&107.into(), 0), "{pack:#}");
    assert_eq!(json(&["--proof", &path("proof")]).1, 0);
    let key = pack["key"].as_str().unwrap();
    let (export, status) = json(&[
        "--export",
        &path("export.exchange"),
        "--checkpoint",
        checkpoint.to_str().unwrap(),
        "--vkey",
        key,
    ]);
    assert_eq!((&export["records_read"], status), (&107.into(), 6), "{export:#}");
}

#[test]
fn of_a_folder_the_sealed_segments_are_read_and_the_way_to_the_rest_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let audit = opened("ended.tar.zst", dir.path()).join("audit");
    let folder = audit.to_str().unwrap();
    let (report, status) = json(&["--dir", folder]);
    assert_eq!(
        (&report["integrity"]["verdict"], &report["completeness"]["verdict"], status),
        (&"holds".into(), &"unknown".into(), 6),
        "{report:#}"
    );
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("were not read here")
            && notes.contains(&format!("keyward audit verify --dir {folder}")),
        "{notes}"
    );
    let read = report["records_read"].as_u64().unwrap();
    assert!(read > 16 && read < report["checkpoints"][0]["size"].as_u64().unwrap(), "{report:#}");

    // Each change of a segment's file is found.
    let segments = audit.join("segments");
    let mut records: Vec<_> = std::fs::read_dir(&segments)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() == "records")
        .collect();
    records.sort();
    let sound = std::fs::read(&records[1]).unwrap();
    for at in (0..sound.len()).step_by(sound.len() / 50) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        std::fs::write(&records[1], bytes).unwrap();
        let status = json(&["--dir", folder]).1;
        assert!([3, 4, 5].contains(&status), "byte {at}: {status}");
    }
    std::fs::remove_file(&records[1]).unwrap();
    let (report, status) = json(&["--dir", folder]);
    let notes = report["notes"].to_string();
    assert!(
        status == 6
            && notes.contains(
                "records 32 to 47 are missing, and no record that was read here says why"
            ),
        "{report:#}"
    );
}

/// What is verified, and the names of its files, come from whoever is not trusted.
#[test]
fn nothing_that_is_verified_steers_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let handed_out = opened("handed-out.tar.zst", dir.path());
    let checkpoint = opened("ended.tar.zst", dir.path()).join("audit/tree/checkpoint");
    let key = json(&["--pack", handed_out.join("pack").to_str().unwrap()]).0["key"].clone();
    let hostile = dir.path().join("a\u{1b}[2Jb");
    std::fs::copy(&checkpoint, &hostile).unwrap();
    let (export, hostile) = (handed_out.join("export.exchange"), hostile.to_str().unwrap());
    let arguments = ["--export", export.to_str().unwrap(), "--vkey", key.as_str().unwrap()];
    let compared = run(&[&arguments[..], &["--checkpoint", hostile]].concat());
    let missing = run(&["--proof", hostile]);
    let unreadable = run(&["--export", hostile, "--vkey", key.as_str().unwrap()]);
    for Output { stdout, stderr, .. } in [compared, missing, unreadable] {
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert!(said.contains("a\\u{1b}[2Jb") && !said.contains('\u{1b}'), "{said}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let empty = run(&["--dir", dir.path().to_str().unwrap()]);
    assert_eq!(empty.status.code(), Some(1));
    let said = String::from_utf8(empty.stderr).unwrap();
    assert!(
        said.contains("there are no sealed segments")
            && said.contains("keyward audit verify --dir"),
        "{said}"
    );
    let nothing = run(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("name what to verify"));
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Exit status:") && help.contains("Examples:"), "{help}");
}
