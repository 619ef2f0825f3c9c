//! Open files: however many connections somebody opens, and however few files the process may have,
//! the journal goes on.

use crate::support::{Client, Gateway, Request, Site, Upstream, eventually, json_of};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn put(name: &str) -> Request {
    Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(1000))
}

/// Connections that say nothing. Who finds no room for one more at the other end is content with
/// fewer.
fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok())
        .collect()
}

fn open_files(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

/// Floods an address, and looks at what becomes of calls meanwhile and afterwards.
fn check(gateway: &Gateway, flooded: SocketAddr, count: usize, limit: usize) {
    let idle = silent(flooded, count);
    assert!(idle.len() > limit / 4, "{} connections", idle.len());
    let most = (0..20).map(|_| open_files(gateway)).max().unwrap();
    assert!(most < limit - 16, "{most} of {limit} files are open");
    for n in 0..20 {
        let answer = gateway.client().call(&put(&format!("under-{n}")));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(gateway.ready(), (200, "ready\n".to_owned()));
    assert_eq!(gateway.health(), (200, "ok\n".to_owned()));
    drop(idle);
    assert_eq!(gateway.client().call(&put("after")).status, 200);
}

#[test]
fn silent_connections_take_no_file_from_the_journal() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    for limit in [256, 1024] {
        let gateway = Gateway::start_limited(&site, &format!("--nofile={limit}:{limit}"), &[]);
        assert_eq!(gateway.client().call(&put("before")).status, 200);
        check(&gateway, gateway.address, 1060, limit);
        check(&gateway, gateway.admin, 1060, limit);
        gateway.stop();
        let log = site.log();
        assert!(
            log.contains(&format!("only {limit} files may be open"))
                && !log.contains("no connection can be accepted"),
            "{log}"
        );
    }
}

#[test]
fn too_few_files_for_any_connection_are_said_at_the_start_and_by_check() {
    let site = Site::new("127.0.0.1:1".parse().unwrap());
    let config = site.path("keyward.toml");
    for command in ["serve", "check"] {
        let output = std::process::Command::new("prlimit")
            .args(["--nofile=100:100", env!("CARGO_BIN_EXE_keyward"), command, "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success()
                && said.contains("only 100 files may be open, and a gateway needs"),
            "{command}: {said}"
        );
    }
    let output = std::process::Command::new("prlimit")
        .args(["--nofile=512:512", env!("CARGO_BIN_EXE_keyward"), "check", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("only 512 files may be open, which is enough for"),
        "{said}"
    );
}

/// Nothing on the road opens a file: not even a limit that is lowered to what is open already ends
/// the journal.
#[test]
fn a_limit_that_falls_below_what_is_open_ends_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["audit.segment_records=16"]);
    let mut client = gateway.client();
    assert_eq!(client.call(&put("before")).status, 200);
    let limit = |files: &str| {
        let done = std::process::Command::new("prlimit")
            .args(["--pid", &gateway.pid().to_string(), &format!("--nofile={files}:4096")])
            .status();
        assert!(done.unwrap().success());
    };
    limit("8");
    // The pooled connection to the cloud carries them.
    for n in 0..50 {
        let answer = client.call(&put(&format!("under-{n}")));
        assert!(answer.status == 200 || answer.refusal().1 == "upstream-unreachable", "{answer:?}");
    }
    for _ in 0..50 {
        assert_eq!(client.call(&put("forbidden")).status, 403);
    }
    limit("4096");
    eventually("connections are taken again", || {
        Client::try_new(gateway.address)
            .is_ok_and(|mut client| client.call(&put("after")).status == 200)
    });
    assert_eq!((gateway.ready().0, gateway.health().0), (200, 200), "{}", gateway.ready().1);
    gateway.stop();
    crate::survival::check_verified(&site);
}

/// The open files of sealed segments.
fn open_segments(gateway: &Gateway) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
    files
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter(|file| file.to_string_lossy().contains("/segments/"))
        .count()
}

/// Puts another file in the place of one, as a rename does.
fn replace(file: &std::path::Path, bytes: &[u8]) {
    let other = file.with_extension("other");
    std::fs::write(&other, bytes).unwrap();
    std::fs::rename(other, file).unwrap();
}

#[test]
fn of_many_segments_few_are_open_and_what_is_opened_again_is_what_was_sealed() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = Gateway::start_limited(&site, "--nofile=256:256", &["audit.segment_records=16"]);
    let mut client = gateway.client();
    let first = client.call(&put("first")).id().to_owned();
    for n in 0..400 {
        assert_eq!(client.call(&put(&format!("n{n}"))).status, 200);
    }
    eventually("all are sealed", || gateway.metric("keyward_sealed_records") >= 780);
    let read_all = || {
        let lines = String::from_utf8(gateway.answer("/api/v1/export?form=ndjson")).unwrap();
        assert!(open_segments(&gateway) <= 20, "{}", open_segments(&gateway));
        lines.lines().count()
    };
    assert!(read_all() >= 802);
    assert_eq!(gateway.exchange(&first)["outcome"], "succeeded");
    read_all();
    // The same bytes in another file are as good.
    let records = site.audit.join("segments/seg-00000000000000000000.records");
    let sound = std::fs::read(&records).unwrap();
    replace(&records, &sound);
    assert_eq!(gateway.exchange(&first)["outcome"], "succeeded");
    read_all();
    // Others are not, though each piece of them be sound: this is the next segment's.
    let mut other =
        std::fs::read(site.audit.join("segments/seg-00000000000000000016.records")).unwrap();
    other.resize(sound.len(), 0);
    replace(&records, &other);
    let shown = gateway.exchange(&first);
    assert_eq!(shown["error"], "the trail cannot be read", "{shown}");
    replace(&records, &sound);
    assert_eq!(gateway.exchange(&first)["outcome"], "succeeded");
    gateway.stop();
    crate::survival::check_verified(&site);
}
