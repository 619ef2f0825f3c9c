//! Whoever looks at a damaged trail changes nothing: each command says what is wrong and what goes
//! on, and a salvage finds afterwards all that it would have found at once.

use crate::support::cli::keyward;
use crate::support::{Gateway, Site, Upstream, copy_folder};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keyward")).args(arguments).output().unwrap()
}

/// The engine's files by their digests.
fn files(audit: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(audit.join("trail"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file());
    paths
        .map(|path| (path.clone(), Sha256::digest(std::fs::read(path).unwrap()).to_vec()))
        .collect()
}

#[test]
fn a_damaged_store_is_as_it_was_whoever_has_looked_at_it() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (audit, sound) = (site.audit.clone(), site.path("sound"));
    std::fs::remove_dir_all(&audit).ok();
    let (dir, out, config) = (
        audit.display().to_string(),
        site.path("out").display().to_string(),
        site.path("keyward.toml").display().to_string(),
    );
    keyward(&["audit", "generate", "--records", "6000", "--dir", &dir]);
    let page = String::from_utf8(keyward(&[
        "audit", "query", "--limit", "1", "--format", "ndjson", "--dir", &dir,
    ]))
    .unwrap();
    let id = serde_json::from_str::<Value>(page.lines().next().unwrap()).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    copy_folder(&audit, &sound);
    let again = || {
        std::fs::remove_dir_all(&audit).unwrap();
        copy_folder(&sound, &audit);
    };
    let db = audit.join("trail/db");
    let bytes = std::fs::read(&db).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // A batch begins with the page that stands for none. Behind the last one the engine may have
    // tidied up: that holds nothing.
    let batch = bytes
        .windows(9)
        .rposition(|nine| nine[0] == 255 && nine[1..] == (u64::MAX - 666).to_le_bytes())
        .unwrap();
    let flipped = |at: usize, length: usize| {
        let mut damaged = bytes.clone();
        damaged[at..at + length].iter_mut().for_each(|byte| *byte ^= 0x55);
        damaged
    };
    let zeroed = |at: usize| {
        let mut damaged = bytes.clone();
        damaged[at..at + 4096].fill(0);
        damaged
    };
    let damages = [
        ("two bytes in the middle", flipped(written / 2, 2)),
        ("a byte of the head", flipped(6, 1)),
        ("a byte of the first message", flipped(23, 1)),
        ("a byte of the last batch", flipped(batch + 60, 1)),
        ("a block of zeros", zeroed(written / 3 / 4096 * 4096)),
        ("cut in the middle", bytes[..written / 2].to_vec()),
        ("cut in the last batch", bytes[..batch + 60].to_vec()),
        ("emptied", Vec::new()),
    ];
    for (name, damaged) in damages {
        again();
        std::fs::write(&db, &damaged).unwrap();
        let before = files(&audit);
        let salvage = || -> u64 {
            let report: Value = serde_json::from_slice(&keyward(&[
                "audit", "salvage", "--dir", &dir, "--reason", "a test", "--json",
            ]))
            .unwrap();
            report["found_again"].as_u64().unwrap()
        };
        let looks: [&[&str]; 9] = [
            &["audit", "verify", "--dir", &dir],
            &["audit", "query", "--dir", &dir],
            &["audit", "query", "--count", "--dir", &dir],
            &["audit", "export", "--dir", &dir],
            &["audit", "show", &id, "--dir", &dir],
            &["audit", "prove", &id, "--dir", &dir, "--out", &out],
            &["audit", "pack", "--dir", &dir, "--out", &out],
            &["audit", "backup", "--dir", &dir, "--out", &out],
            &["audit", "erase", &id, "--reason", "a test", "--config", &config],
        ];
        for look in looks {
            let output = run(look);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{name}: {look:?}: {said}");
            assert!(
                said.contains("Nothing was changed")
                    && said.contains(&format!("keyward audit salvage --dir {dir} --reason WHY")),
                "{name}: {look:?}: {said}"
            );
            assert_eq!(files(&audit), before, "{name}: {look:?}");
        }
        // A start may make it anew by itself, if nothing is lost by that; else it leaves it as it
        // is.
        let started = Gateway::try_start_args(&site, &[]);
        let anew = started.is_ok();
        match started {
            Ok(gateway) => gateway.stop(),
            Err(_) => assert_eq!(files(&audit), before, "{name}: start"),
        }
        let found = if anew { None } else { Some(salvage()) };
        again();
        std::fs::write(&db, &damaged).unwrap();
        let at_once = salvage();
        println!("{name}: {at_once} found, anew by a start: {anew}");
        assert!(
            found.is_none_or(|found| found == at_once) && (!anew || at_once >= 6000),
            "{name}: {found:?} of {at_once}"
        );
    }
}

#[test]
fn everything_of_a_trail_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let out = |name: &str| site.path(name).display().to_string();
    let dir = site.audit.display().to_string();
    let open = |path: &Path| {
        let mut found = Vec::new();
        let mut left = vec![path.to_owned()];
        while let Some(path) = left.pop() {
            let about = path.metadata().unwrap();
            if about.permissions().mode() & 0o077 != 0 {
                found.push((path.clone(), format!("{:o}", about.permissions().mode())));
            }
            if about.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found
    };
    std::fs::remove_dir_all(&site.audit).ok();
    // A shell with the widest umask there is.
    let shell = |arguments: &str| {
        let command = format!("umask 000; exec {} {arguments}", env!("CARGO_BIN_EXE_keyward"));
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    shell(&format!("audit generate --records 66000 --dir {dir}"));
    let gateway = site.serve();
    gateway.settle();
    gateway.stop();
    assert_eq!(open(&site.audit), []);
    shell(&format!("audit backup --dir {dir} --out {}", out("backup.tar")));
    shell(&format!("audit pack --dir {dir} --until 2000-01-01 --out {}", out("pack.zip")));
    for made in ["backup.tar", "pack.zip"] {
        assert_eq!(open(&site.path(made)), [], "{made}");
    }
    // What an older version has left open is narrowed.
    for name in ["", "trail", "trail/db", "segments", "tree", "tree/level0"] {
        std::fs::set_permissions(site.audit.join(name), std::fs::Permissions::from_mode(0o777))
            .unwrap();
    }
    let gateway = site.serve();
    site.logs("files and folders of the trail");
    assert_eq!(open(&site.audit), []);
    gateway.stop();
}

#[test]
fn a_file_that_disappears_under_a_running_gateway_is_told() {
    let upstream = Upstream::ok();
    for (name, moved) in [("trail/db", false), ("trail", true), ("tree", true), ("texts", true)] {
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        assert_eq!(gateway.ready().0, 200);
        // What was never seen cannot be missed: it looks once a second.
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let (path, away) = (site.audit.join(name), site.path("away"));
        if moved {
            std::fs::rename(&path, away).unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        };
        crate::support::eventually("it is told", || gateway.ready().0 == 503);
        let (_, said) = gateway.ready();
        assert!(said.contains(name) && said.contains("removed"), "{name}: {said}");
        site.logs("removed");
        if name == "trail/db" {
            let answer = gateway.client().call(
                &crate::support::Request::new("PUT", "/v1/blobs/b1")
                    .json(crate::support::json_of(300)),
            );
            assert_eq!(answer.status, 503);
            let copy = said.split('`').find(|part| part.starts_with("/proc/")).unwrap();
            assert!(std::fs::metadata(copy).unwrap().len() > 0);
        }
        gateway.terminate();
        gateway.wait();
    }
}
