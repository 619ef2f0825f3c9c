//! The disk fills up under load, on a file system of its own.

use crate::support::disk::SmallDisk;
use crate::support::upstream::ok;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of, skipped};

/// Calls until the gateway refuses for want of a record. The ids of the calls that it acknowledged.
fn fill(gateway: &Gateway) -> Vec<String> {
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let mut client = gateway.client();
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for n in 0..20_000 {
                    let answer = client.call(
                        &Request::new("PUT", &format!("/v1/blobs/{worker}-{n}"))
                            .json(json_of(60_000)),
                    );
                    match (answer.status, answer.whole) {
                        (200, true) => acknowledged.push(answer.id().to_owned()),
                        (503, true) => {
                            assert_eq!(answer.code(), "journal-unavailable");
                            return acknowledged;
                        }
                        _ => panic!("neither done nor refused: {answer:?}"),
                    }
                }
                panic!("the disk never filled up");
            })
        })
        .collect();
    workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
}

#[track_caller]
fn check_nothing_is_lost(site: &Site, upstream: &Upstream, acknowledged: &[String]) {
    let trail = site.trail();
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    for id in acknowledged {
        trail.request(id);
        assert_eq!(trail.answer(id).text("/outcome"), "succeeded");
    }
    let recorded: std::collections::HashSet<_> =
        trail.calls().iter().map(|r| r.text("/call/path").to_owned()).collect();
    for arrived in upstream.requests() {
        let path = arrived.line().split(' ').nth(1).unwrap().to_owned();
        assert!(recorded.contains(&path), "{path} was sent without a record");
    }
}

#[test]
fn calls_are_refused_before_the_disk_is_full_and_again_taken_when_there_is_room() {
    let upstream = Upstream::always(&[ok()]);
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.audit, "size=64m") else {
        return skipped("calls_are_refused_before_the_disk_is_full", "no right to mount");
    };
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 16 * 1024 * 1024]).unwrap();
    let gateway = site.serve_with(&["audit.free_bytes_min=16777216"]);
    let mut acknowledged = fill(&gateway);
    let (status, text) = gateway.ready();
    assert!(status == 503 && text.contains("Free some space"), "{status} {text}");
    std::fs::remove_file(&filler).unwrap();
    eventually("it recovers without a restart", || gateway.ready().0 == 200);
    let after = gateway.client().call(&Request::new("PUT", "/v1/blobs/after").json(json_of(1000)));
    assert_eq!(after.status, 200);
    acknowledged.push(after.id().to_owned());
    gateway.stop();
    check_nothing_is_lost(&site, &upstream, &acknowledged);
}

#[test]
fn a_disk_that_fills_up_all_the_same_loses_nothing_that_was_acknowledged() {
    let upstream = Upstream::always(&[ok()]);
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.audit, "size=48m") else {
        return skipped("a_disk_that_fills_up_all_the_same", "no right to mount");
    };
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 16 * 1024 * 1024]).unwrap();
    let gateway = site.serve_with(&["audit.free_bytes_min=0", "audit.ballast=0"]);
    let acknowledged = fill(&gateway);
    let (status, text) = gateway.ready();
    assert!(status == 503 && text.contains("then restart the gateway"), "{status} {text}");
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(1));
    std::fs::remove_file(&filler).unwrap();
    site.serve_with(&["audit.ballast=0"]).stop();
    check_nothing_is_lost(&site, &upstream, &acknowledged);
}
