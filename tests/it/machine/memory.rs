//! Memory: where there is none left the process goes on, or ends and says so. Nothing that was
//! acknowledged is lost.

use crate::support::{Client, Gateway, PATIENCE, Request, Site, Upstream, eventually, json_of};
use crate::survival::shim::Shim;
use crate::survival::{Callers, check, check_closed, check_verified};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

const EXPORT: &str = "/api/v1/export?form=exchange";

/// A question, whatever comes of it. Whether there is still somebody to be asked.
fn ask(admin: SocketAddr, path: &str) -> bool {
    let Ok(mut client) = Client::try_new(admin) else { return false };
    client.send(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    client.answer();
    true
}

/// Rust ends a process in which it has no memory: that is as good as a kill, and says why.
#[test]
fn calls_that_take_all_memory_end_the_process_loudly_and_the_next_start_goes_on() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    // More than the system gives: what `limits.buffered_bytes_max` keeps from happening.
    let sets = [
        "limits.buffered_bytes_max=8589934592",
        "limits.body_seconds=60",
        "audit.segment_records=16",
    ];
    let mut gateway = site.serve_with(&sets);
    let callers = Callers::start(gateway.address, "before", 2);
    let admin = gateway.admin;
    let auditor = std::thread::spawn(move || while ask(admin, EXPORT) {});
    // What it has by now is all that it gets.
    let about = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let used = about
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .unwrap();
    let limited = Command::new("prlimit")
        .args(["--pid", &gateway.pid().to_string(), &format!("--as={}", used * 1024)])
        .status();
    assert!(limited.unwrap().success());
    let body = json_of(10_000_000);
    let started = Instant::now();
    let mut held = Vec::new();
    let mut ended = None;
    while ended.is_none() {
        assert!(
            started.elapsed() < 3 * PATIENCE,
            "it neither ends nor refuses: {} {:?}",
            held.len(),
            gateway.health()
        );
        if let Ok(mut client) = Client::try_new(gateway.address) {
            let call = Request::new("PUT", "/v1/blobs/held").json(body.clone()).bytes();
            client.send(&call[..call.len() - 1]);
            held.push(client);
        }
        ended = gateway.has_ended();
    }
    let told = callers.stop();
    auditor.join().unwrap();
    drop(held);
    assert!(
        !ended.unwrap().success() && site.log().contains("memory allocation of"),
        "{ended:?} {}",
        site.log()
    );
    let gateway = site.serve_with(&["audit.segment_records=16"]);
    assert_eq!(
        gateway.client().call(&Request::new("PUT", "/v1/blobs/after").json(json_of(1000))).status,
        200
    );
    gateway.stop();
    check_verified(&site);
    let trail = site.trail();
    check(&trail, &told, &upstream);
    check_closed(&trail);
    assert!(told.len() > 5, "{}", told.len());
}

/// Libraries in C are told that there is no memory, and live; what they were asked for is tried
/// again, or refused.
#[test]
fn where_libraries_have_no_memory_nothing_ends_and_all_goes_on_when_there_is_some() {
    let Some(shim) = Shim::build("where_libraries_have_no_memory") else { return };
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    std::fs::create_dir_all(&site.audit).unwrap();
    let (memory, set) = shim.number("memory");
    let env = shim.watching(&site.audit, &[("SHIM_MEMORY", memory)]);
    let gateway = Gateway::start_watched(
        &site,
        &["audit.segment_records=16", "audit.commit_deadline_ms=500"],
        &env,
    );
    let put = |name: &str, bytes: usize| {
        gateway
            .client()
            .call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(bytes)))
    };
    let first = put("first", 200_000);
    assert_eq!(first.status, 200);
    // The working memory of what compresses and of what reads.
    set(4096);
    let mut statuses = Vec::new();
    for n in 0..30 {
        statuses.push(put(&format!("n{n}"), 100 + n * 20_000).status);
    }
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    // An answer that cannot be read is refused, or breaks off.
    for path in [EXPORT, "/api/v1/exchanges?limit=100", "/api/v1/counts?by=reason"] {
        ask(gateway.admin, path);
    }
    assert_eq!(gateway.health().0, 200, "it may get over it");
    set(0);
    eventually("calls are taken", || put("after", 100_000).status == 200);
    // It rests for half a minute after a failure.
    let since = Instant::now();
    while gateway.metric("keyward_unsealed_records") >= 32 {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "sealing does not go on: {}",
            site.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gateway.metric("keyward_seal_failures_total") > 0);
    assert_eq!((gateway.health().0, gateway.ready().0), (200, 200), "{}", gateway.ready().1);
    let export = String::from_utf8(gateway.answer(EXPORT)).unwrap();
    assert!(export.contains(first.id()));
    assert!(
        !site.log().contains("a mistake in the program") && !site.log().contains("damaged"),
        "{}",
        site.log()
    );
    gateway.stop();
    check_verified(&site);
    check_closed(&site.trail());
}
