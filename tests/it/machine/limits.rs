//! Limits of the system and of disks: told before they are reached, an error when they are, and the
//! end of nothing.

use crate::support::disk::SmallDisk;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of, skipped};
use std::process::{Command, Output};

fn put(name: &str, bytes: usize) -> Request {
    Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(bytes))
}

fn check(site: &Site, sets: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command
        .arg("check")
        .arg("--config")
        .arg(site.path("keyward.toml"))
        .args(sets.iter().flat_map(|set| ["--set", set]));
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

#[test]
fn a_limit_of_the_length_of_files_refuses_calls_and_ends_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let sets = ["audit.free_bytes_min=1048576", "audit.kept_body_bytes_max=1048576"];
    let gateway = site.serve_with(&sets);
    let limit = |bytes: &str| {
        let done = Command::new("prlimit")
            .args(["--pid", &gateway.pid().to_string(), &format!("--fsize={bytes}:unlimited")])
            .status();
        assert!(done.unwrap().success());
    };
    limit("50331648");
    let refused =
        (0..200).find(|n| gateway.client().call(&put(&format!("n{n}"), 900_000)).status == 503);
    assert!(refused.is_some_and(|n| n > 10), "{refused:?}");
    let (status, text) = gateway.ready();
    assert!(status == 503 && text.contains("`ulimit -f`") && gateway.health().0 == 200, "{text}");
    // Far below what the file has already.
    limit("1048576");
    for _ in 0..20 {
        assert_eq!(gateway.client().call(&put("under", 900_000)).status, 503);
    }
    limit("unlimited");
    eventually("it recovers by itself", || gateway.ready().0 == 200);
    // The engine's own threads write too: what they had in hand under such a limit ends the engine,
    // which must then be told.
    let after = gateway.client().call(&put("after", 900_000));
    if after.status == 200 {
        gateway.stop();
    } else {
        assert_eq!((after.status, gateway.health().0), (503, 503), "{}", site.log());
        assert!(
            site.log().contains(
                "the journal has failed: the storage engine failed: IO error: Os { code: 27"
            ),
            "{}",
            site.log()
        );
        gateway.kill();
        let gateway = site.serve_with(&sets);
        assert_eq!(gateway.client().call(&put("after", 900_000)).status, 200);
        gateway.stop();
    }
    crate::survival::check_verified(&site);
}

#[test]
fn a_start_under_a_limit_of_the_length_of_files_says_so() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = Gateway::start_limited(&site, "--fsize=10000000", &[]);
    site.logs("no file may be longer than 10000000 bytes");
    assert_eq!(gateway.client().call(&put("x", 1000)).status, 503);
    assert!(gateway.ready().1.contains("`ulimit -f`"));
    gateway.stop();
    // Nothing at all can be written.
    let site = Site::new(upstream.address);
    let mut command = Command::new("timeout");
    command
        .args(["20", "prlimit", "--fsize=100", env!("CARGO_BIN_EXE_keyward"), "serve", "--config"])
        .arg(site.path("keyward.toml"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("File too large"),
        "{} {said}",
        output.status
    );
}

#[test]
fn a_ballast_that_does_not_fit_is_told() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(_disk) = SmallDisk::mount(&site.audit, "size=64m") else {
        return skipped("a_ballast_that_does_not_fit_is_told", "no right to mount");
    };
    let sets = ["audit.ballast=64MiB", "audit.free_bytes_min=1048576"];
    let (well, said) = check(&site, &sets);
    assert!(
        well && said.contains("the ballast of 67108864 bytes does not fit")
            && !said.contains("all is well"),
        "{said}"
    );
    let gateway = site.serve_with(&sets);
    assert_eq!(gateway.client().call(&put("x", 1000)).status, 200);
    assert_eq!(
        site.log().matches("the ballast of 67108864 bytes does not fit").count(),
        1,
        "{}",
        site.log()
    );
    gateway.stop();
    // What fits is not complained of.
    let (well, said) = check(&site, &["audit.ballast=1MiB", "audit.free_bytes_min=1048576"]);
    assert!(well && said.contains("all is well"), "{said}");
}

#[test]
fn check_finds_paths_of_the_wrong_kind() {
    let site = Site::new("127.0.0.1:1".parse().unwrap());
    std::fs::write(site.path("file"), b"x").unwrap();
    std::fs::create_dir(site.path("folder")).unwrap();
    assert_eq!(check(&site, &[]).1.lines().last(), Some("all is well"));
    for (set, why) in [
        ("audit.dir=file", "is no folder"),
        ("audit.dir=file/audit", "/file` is no folder"),
        ("audit.digest_key_file=folder", "is no file"),
        ("audit.digest_key_file=file/key", "/file` is no folder"),
        ("evidence.key_file=folder", "is no file"),
        ("evidence.directory=file", "is no folder"),
        ("evidence.directory=nowhere", "No such file"),
        ("evidence.webhook_token_file=folder", "is no file"),
        ("evidence.ca_file=nowhere", "No such file"),
        ("upstreams.ca_file=folder", "is no file"),
        ("retention.holds_file=folder", "is no file"),
        ("callers.file=folder", "no regular file"),
        ("callers.file=nowhere", "nowhere"),
        ("policies.dir=file", "file"),
        ("catalog.dir=file", "file"),
    ] {
        let (well, said) = check(&site, &[set]);
        assert!(!well && said.contains(why) && !said.contains("all is well"), "{set}: {said}");
    }
    // Nothing was written.
    assert!(!site.audit.exists());
}

#[test]
fn check_finds_disks_that_take_nothing() {
    let site = Site::new("127.0.0.1:1".parse().unwrap());
    let place = site.path("place");
    let set = format!("audit.dir={}", place.join("audit").display());
    {
        let Some(disk) = SmallDisk::mount(&place, "size=16m") else {
            return skipped("check_finds_disks_that_take_nothing", "no right to mount");
        };
        let (well, said) = check(&site, &[&set]);
        assert!(
            !well && said.contains("bytes are free on its disk, 67108864 are needed to take calls"),
            "{said}"
        );
        disk.fill();
    }
    let _disk = SmallDisk::mount(&place, "size=16m,ro").unwrap();
    let (well, said) = check(&site, &[&set, "audit.free_bytes_min=1"]);
    assert!(!well && said.contains("cannot be made: Read-only file system"), "{said}");
}
