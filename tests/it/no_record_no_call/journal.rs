//! The disk refuses, is slow, or fails: nothing is sent without a record, and no answer ends
//! without one.

use crate::support::strace::Tracer;
use crate::support::upstream::{answer, ok, raw};
use crate::support::{Act, Gateway, Latch, Request, Site, Upstream, eventually, json_of};
use keyward_record::Kind;
use std::time::{Duration, Instant};

fn put(name: &str) -> Request {
    Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(1000))
}

#[track_caller]
fn assert_not_ready(gateway: &Gateway, why: &str) {
    let (status, text) = gateway.ready();
    assert!(status == 503 && text.contains(why), "{status} {text}");
    assert_eq!(gateway.metric("keyward_journal_healthy"), 0);
}

#[test]
fn a_disk_with_too_little_room_takes_no_call() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["audit.free_bytes_min=4611686018427387904"]);
    let mut client = gateway.client();
    for name in ["allowed", "forbidden"] {
        let answer = client.call(&put(name));
        assert_eq!(
            (answer.refusal(), answer.whole),
            ((503, "journal-unavailable".to_owned()), true),
            "even a refusal needs its record"
        );
        // A client that waits and tries again by itself would hide the outage from its operator.
        assert_eq!(answer.header("retry-after"), "");
    }
    upstream.assert_untouched();
    assert_not_ready(&gateway, "Free some space");
    assert_eq!(gateway.metric("keyward_journal_failures_total"), 2);
    assert_eq!(gateway.metric(r#"keyward_refusals_total{reason="journal-unavailable"}"#), 2);
    gateway.stop();
    assert!(site.trail().calls().is_empty());
}

#[test]
fn an_auditor_sees_a_call_as_soon_as_its_caller_has_the_answer() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    for (name, outcome) in [("allowed", "succeeded"), ("forbidden", "refused")] {
        let id = client.call(&put(name)).id().to_owned();
        let shown = gateway.exchange(&id);
        assert_eq!(
            (shown["id"].as_str(), shown["outcome"].as_str()),
            (Some(id.as_str()), Some(outcome)),
            "{shown}"
        );
        assert_eq!(shown["request"]["record"]["call"]["path"], format!("/v1/blobs/{name}"));
    }
}

#[test]
fn nothing_is_sent_before_the_record_is_durable_and_no_answer_ends_before_its_own() {
    const DELAY: Duration = Duration::from_secs(2);
    let latch = Latch::default();
    let head = raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let upstream =
        Upstream::always(&[head, Act::Until(latch.clone()), raw("5\r\nworld\r\n0\r\n\r\n")]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    gateway.settle();
    let inject = format!("delay_enter={}", DELAY.as_micros());
    let Some(tracer) =
        Tracer::attach("nothing_is_sent_before_the_record_is_durable", gateway.pid(), &inject)
    else {
        return;
    };

    let mut client = gateway.client();
    client.send(&put("x").bytes());
    assert!(client.is_silent_for(DELAY / 2));
    upstream.assert_untouched();
    eventually("the upstream has the call", || upstream.requests().len() == 1);
    // What is not the end goes on as it comes.
    assert_eq!(client.head().unwrap().0, 200);
    assert_eq!(client.bytes(10), b"5\r\nhello\r\n");
    latch.open();
    assert_eq!(client.bytes(10), b"5\r\nworld\r\n");
    let opened = Instant::now();
    assert!(client.is_silent_for(DELAY / 2), "the end waits for its record");
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
    assert!(opened.elapsed() < DELAY * 2);
    drop(tracer);
    gateway.stop();
    assert_eq!(site.trail().only_outcome().0, "succeeded");
}

#[test]
fn an_answer_in_one_piece_waits_whole_for_its_record() {
    const DELAY: Duration = Duration::from_millis(1200);
    let chunked =
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let none = raw("HTTP/1.1 204 None\r\n\r\n");
    let empty = raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let early = raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (n, piece) in [ok(), chunked, none, empty, early].into_iter().enumerate() {
        let upstream = Upstream::always(&[piece]);
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        let inject = format!("delay_enter={}", DELAY.as_micros());
        let Some(_tracer) = Tracer::attach("an_answer_in_one_piece", gateway.pid(), &inject) else {
            return;
        };
        let mut client = gateway.client();
        client.send(&put("x").bytes());
        eventually("the upstream has the call", || upstream.requests().len() == 1);
        assert!(client.is_silent_for(DELAY / 2), "{n}: not even the status goes first");
        assert!([200, 204].contains(&client.answer().status), "{n}");
    }
}

#[test]
fn a_disk_slower_than_the_deadline_refuses_and_recovers_by_itself() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["audit.commit_deadline_ms=500"]);
    gateway.settle();
    let Some(tracer) =
        Tracer::attach("a_disk_slower_than_the_deadline", gateway.pid(), "delay_enter=1500000")
    else {
        return;
    };
    let mut client = gateway.client();
    let slow = client.call(&put("x"));
    assert_eq!(slow.refusal(), (503, "journal-unavailable".to_owned()));
    assert_not_ready(&gateway, "does not keep up");
    drop(tracer);
    eventually("it recovers", || gateway.ready().0 == 200);
    upstream.assert_untouched();
    assert_eq!(client.call(&put("y")).status, 200);
    gateway.stop();
    let trail = site.trail();
    // The late record became durable after all: it must not look as if the call had been sent.
    assert_eq!(
        (trail.answer(slow.id()).text("/outcome"), upstream.only().line()),
        ("unknown", "PUT /v1/blobs/y HTTP/1.1")
    );
    assert!(trail.answer(slow.id()).text("/detail").contains("was not forwarded"));
}

#[test]
fn an_answer_whose_record_is_too_slow_is_withheld() {
    let latch = Latch::default();
    let upstream = Upstream::always(&[Act::Until(latch.clone()), ok()]);
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["audit.commit_deadline_ms=500"]);
    let mut client = gateway.client();
    client.send(&put("x").bytes());
    eventually("the upstream has the call", || upstream.requests().len() == 1);
    let Some(tracer) =
        Tracer::attach("an_answer_whose_record_is_too_slow", gateway.pid(), "delay_enter=1500000")
    else {
        return;
    };
    latch.open();
    let answer = client.answer();
    assert_eq!((answer.refusal(), answer.whole), ((503, "journal-unavailable".to_owned()), true));
    assert!(client.is_closed());
    drop(tracer);
    gateway.settle();
    gateway.stop();
    assert_eq!(
        site.trail().answer(answer.id()).text("/outcome"),
        "succeeded",
        "the record came late, but it came"
    );
}

/// A failed sync is final: the process says so, takes no call, and the next start sorts out what is
/// there.
#[track_caller]
fn check_failed(site: &Site, gateway: Gateway, tracer: Tracer, acknowledged: &str) {
    drop(tracer);
    assert_not_ready(&gateway, "then restart the gateway");
    let text = gateway.ready().1;
    assert!(text.contains("could not be synced") && text.contains("See to the disk"), "{text}");
    let later = gateway.client().call(&put("later"));
    assert_eq!(
        later.refusal(),
        (503, "journal-unavailable".to_owned()),
        "a second sync could report what the first one dropped"
    );
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(1), "the journal did not close in order");
    site.serve().stop();
    let trail = site.trail();
    assert_eq!(trail.answer(acknowledged).text("/outcome"), "succeeded");
    assert!(trail.0.iter().all(|r| r.id != later.id()));
    for forwarded in trail.0.iter().filter(|r| r.kind == Kind::Forwarded) {
        assert_eq!(trail.answer(&forwarded.id).id, forwarded.id, "each is closed");
    }
}

#[test]
fn a_sync_that_fails_before_the_call_sends_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    let acknowledged = client.call(&put("before"));
    let Some(tracer) =
        Tracer::attach("a_sync_that_fails_before_the_call", gateway.pid(), "error=EIO:when=1")
    else {
        return;
    };
    let refused = client.call(&put("x"));
    assert_eq!((refused.refusal(), refused.whole), ((503, "journal-unavailable".to_owned()), true));
    assert!(upstream.only().line().contains("/before "));
    check_failed(&site, gateway, tracer, acknowledged.id());
}

#[test]
fn a_sync_that_fails_after_the_call_withholds_the_answer() {
    let upstream = Upstream::new(|request| match request.line() {
        line if line.contains("/long ") => {
            vec![
                raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
                Act::Wait(Duration::from_millis(300)),
                raw("world"),
            ]
        }
        _ => vec![answer(200, b"{}")],
    });
    for name in ["short", "long"] {
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        let mut client = gateway.client();
        let acknowledged = client.call(&put("before"));
        let Some(tracer) =
            Tracer::attach("a_sync_that_fails_after_the_call", gateway.pid(), "error=EIO:when=2")
        else {
            return;
        };
        let withheld = client.call(&put(name));
        if name == "short" {
            assert_eq!(
                (withheld.refusal(), withheld.whole),
                ((503, "journal-unavailable".to_owned()), true)
            );
        } else {
            assert_eq!(
                (withheld.status, withheld.whole, withheld.body.as_slice()),
                (200, false, &b"hello"[..]),
                "its end is not shown"
            );
        }
        assert!(client.is_closed());
        check_failed(&site, gateway, tracer, acknowledged.id());
    }
}

/// A commit that does not end for a minute is no slow disk any more: whoever supervises is to act.
#[test]
fn a_commit_that_does_not_end_makes_the_gateway_unhealthy() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    gateway.settle();
    let Some(tracer) =
        Tracer::attach("a_commit_that_does_not_end", gateway.pid(), "delay_enter=90s")
    else {
        return;
    };
    let mut client = gateway.client();
    client.send(&put("x").bytes());
    eventually("the disk is slow", || gateway.ready().0 == 503);
    assert!(gateway.ready().1.contains("recovers by itself"), "{}", gateway.ready().1);
    assert_eq!(gateway.health().0, 200, "a slow disk is no reason to restart");
    let begun = Instant::now();
    while gateway.health().0 == 200 && begun.elapsed() < Duration::from_secs(85) {
        std::thread::sleep(Duration::from_millis(500));
    }
    let (status, said) = gateway.health();
    assert!(
        status == 503 && said.contains("has not ended for") && said.contains("restart the gateway"),
        "{status} {said}"
    );
    upstream.assert_untouched();
    gateway.kill();
    drop(tracer);
    // What no sync has confirmed was never sent.
    site.serve().stop();
    upstream.assert_untouched();
}
