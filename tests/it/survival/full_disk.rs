//! From a running gateway to a full disk, through a kill, to a start on the full disk, and back to
//! calls.

use super::{Callers, Told, check, check_closed, check_verified};
use crate::support::cli::{keyward, keyward_fails};
use crate::support::disk::SmallDisk;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of, skipped};

const MIB: u64 = 1024 * 1024;
const SETS: [&str; 2] = ["audit.ballast=64MiB", "audit.free_bytes_min=8388608"];

fn ballast(disk: &SmallDisk) -> u64 {
    disk.0.join("ballast").metadata().map_or(0, |about| about.len())
}

/// A gateway whose disk has filled up to the last byte under load, killed; and what its clients
/// were told.
fn filled_and_killed(site: &Site, disk: &SmallDisk) -> Told {
    let gateway = site.serve_with(&SETS);
    eventually("the ballast is there", || ballast(disk) == 64 * MIB);
    let callers = Callers::start(site.address, "before", 4);
    eventually("calls are taken", || {
        gateway.metric(r#"keyward_journal_records_total{kind="answer"}"#) > 20
    });
    eventually("a checkpoint is signed", || gateway.metric("keyward_checkpoint_size") > 0);
    disk.fill();
    eventually("calls are refused", || {
        gateway.metric(r#"keyward_refusals_total{reason="journal-unavailable"}"#) > 0
    });
    let (status, text) = gateway.ready();
    assert!(
        status == 503 && (text.contains("Free some space") || text.contains("See to the disk")),
        "{status} {text}"
    );
    assert_eq!(ballast(disk), 64 * MIB, "it is for the next start");
    gateway.kill();
    disk.fill();
    callers.stop()
}

fn put(gateway: &Gateway, name: &str) -> (u16, String) {
    let answer = gateway
        .client()
        .call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(1000)));
    (answer.status, answer.id().to_owned())
}

#[test]
fn a_gateway_starts_on_the_full_disk_and_takes_calls_once_there_is_room() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.audit, "size=128m") else {
        return skipped("a_gateway_starts_on_the_full_disk", "no right to mount");
    };
    let mut told = filled_and_killed(&site, &disk);
    let gateway = site.serve_with(&SETS);
    let log = site.log();
    assert!(
        log.contains("is full: its ballast of 67108864 bytes was given up")
            && log.contains("Free some space"),
        "{log}"
    );
    let (status, text) = gateway.ready();
    // What was given up is not for calls.
    assert!(
        status == 503 && text.contains("75497472 are needed") && text.contains("Free some space"),
        "{status} {text}"
    );
    let sent = upstream.requests().len();
    assert_eq!(put(&gateway, "on-the-full-disk").0, 503);
    assert_eq!(upstream.requests().len(), sent);
    // Somebody can look, too.
    let (id, _) = told.iter().find(|(_, done)| **done).unwrap();
    assert_eq!(gateway.exchange(id)["outcome"], "succeeded");
    std::fs::remove_file(disk.filler()).unwrap();
    eventually("it recovers without a restart", || gateway.ready().0 == 200);
    eventually("the ballast is there again", || ballast(&disk) == 64 * MIB);
    let (status, id) = put(&gateway, "after");
    assert_eq!(status, 200);
    told.insert(id, true);
    gateway.stop();
    check_verified(&site);
    let trail = site.trail();
    check(&trail, &told, &upstream);
    check_closed(&trail);
    assert!(told.len() > 20, "{}", told.len());
}

#[test]
fn an_auditor_reads_the_trail_of_the_full_disk() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.audit, "size=128m") else {
        return skipped("an_auditor_reads_the_trail_of_the_full_disk", "no right to mount");
    };
    let told = filled_and_killed(&site, &disk);
    let dir = site.audit.to_str().unwrap();
    check_verified(&site);
    let (id, _) = told.iter().find(|(_, done)| **done).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&keyward(&[
        "audit", "query", "--dir", dir, "--id", id, "--format", "json",
    ]))
    .unwrap();
    assert_eq!(shown["exchanges"][0]["outcome"], "succeeded", "{shown:#}");
    // And the gateway starts behind them.
    let gateway = site.serve_with(&SETS);
    assert_eq!(gateway.ready().0, 503, "what the auditor's commands gave up is owed all the same");
    gateway.stop();
    check(&site.trail(), &told, &upstream);
}

#[test]
fn without_a_ballast_the_start_says_what_to_do() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.audit, "size=64m") else {
        return skipped("without_a_ballast", "no right to mount");
    };
    let gateway = site.serve_with(&["audit.ballast=0", "audit.free_bytes_min=1048576"]);
    assert_eq!(put(&gateway, "x").0, 200);
    assert!(!disk.0.join("ballast").exists());
    disk.fill();
    gateway.kill();
    disk.fill();
    let config = site.path("keyward.toml").display().to_string();
    let said = keyward_fails(&["serve", "--config", &config, "--set", "audit.ballast=0"]);
    assert!(
        said.contains("is full, and the trail cannot even be opened: free some space on it first"),
        "{said}"
    );
    std::fs::remove_file(disk.filler()).unwrap();
    site.serve_with(&["audit.free_bytes_min=1048576"]).stop();
    check_verified(&site);
}

/// Auditors and strangers have their acts recorded; on a full disk these must not be what ends the
/// journal.
#[test]
fn what_is_no_call_does_not_end_the_journal_of_a_full_disk() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.audit, "size=128m") else {
        return skipped("what_is_no_call", "no right to mount");
    };
    let gateway = site.serve_with(&SETS);
    assert_eq!(put(&gateway, "before").0, 200);
    eventually("the ballast is there", || ballast(&disk) == 64 * MIB);
    gateway.settle();
    disk.fill();
    eventually("it is told", || gateway.ready().0 == 503);
    let url = format!("http://{}", site.admin);
    let refused = keyward_fails(&["audit", "export", "--url", &url]);
    assert!(refused.contains("bytes are free on the journal's disk"), "{refused}");
    for _ in 0..200 {
        // A TLS hello on the plain port is turned away, on record.
        gateway.client().send(&[0x16, 0x03, 0x01, 0x00, 0xa5, 0x01, 0x00]);
    }
    eventually("they are turned away", || {
        gateway.metrics().lines().any(|line| {
            line.starts_with("keyward_turned_away_total")
                && line.contains("tls")
                && !line.ends_with(" 0")
        })
    });
    std::fs::remove_file(disk.filler()).unwrap();
    eventually("it recovers without a restart", || gateway.ready().0 == 200);
    assert_eq!(put(&gateway, "after").0, 200);
    assert!(!keyward(&["audit", "export", "--url", &url]).is_empty());
    gateway.stop();
    check_verified(&site);
}
