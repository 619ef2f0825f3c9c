//! The client leaves: what was begun is finished, and the record says what became of it.

use crate::support::upstream::{answer, ok, raw};
use crate::support::{Act, Latch, Request, Site, Upstream, eventually, json_of};
use std::time::Duration;

fn put() -> Request {
    Request::new("PUT", "/v1/blobs/x").json(json_of(100_000))
}

#[test]
fn one_that_leaves_in_mid_body_is_refused_and_nothing_is_sent() {
    for reset in [false, true] {
        let upstream = Upstream::ok();
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        let mut client = gateway.client();
        client.send(&put().bytes()[..50_000]);
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        eventually("the refusal is counted", || {
            gateway.metric(r#"keyward_refusals_total{reason="body-cut"}"#) == 1
        });
        gateway.settle();
        upstream.assert_untouched();
        gateway.stop();
        let trail = site.trail();
        assert_eq!(
            (
                trail.only_refusal().text("/decision/reason"),
                &trail.only_refusal().leaf["body"]["read_whole"]
            ),
            ("body-cut", &false.into())
        );
    }
}

#[test]
fn one_that_half_closes_in_mid_body_is_told() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    for request in [put(), put().chunked(1000)] {
        let mut client = gateway.client();
        client.send(&request.bytes()[..50_000]);
        client.half_close();
        assert_eq!(client.answer().refusal(), (400, "body-cut".to_owned()));
        assert!(client.is_closed());
    }
    upstream.assert_untouched();
}

/// How a client leaves while the upstream works, and what the record says of it.
fn check_leaving(leave: impl Fn(crate::support::Client), said: &str) {
    let latch = Latch::default();
    let upstream = Upstream::always(&[Act::Until(latch.clone()), answer(200, br#"{"stored":1}"#)]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    client.send(&put().bytes());
    eventually("the upstream has the call", || upstream.requests().len() == 1);
    leave(client);
    // Time for the gateway to notice.
    std::thread::sleep(Duration::from_millis(200));
    latch.open();
    gateway.settle();
    upstream.only();
    gateway.stop();
    let trail = site.trail();
    let (outcome, detail) = trail.only_outcome();
    assert_eq!(
        (outcome, trail.calls()[1].leaf["status"].as_u64(), &trail.calls()[1].leaf["whole"]),
        ("succeeded", Some(200), &true.into())
    );
    assert_eq!(
        trail.calls()[1].leaf["body"]["length"],
        br#"{"stored":1}"#.len(),
        "the answer is read all the same"
    );
    assert!(detail.contains(said), "{detail}");
}

#[test]
fn one_that_resets_while_the_upstream_works_loses_the_answer_but_not_the_record() {
    check_leaving(crate::support::Client::reset, "the client left before");
}

#[test]
fn one_that_closes_while_the_upstream_works_is_on_record_as_having_closed() {
    check_leaving(drop, "the client closed its side before");
}

#[test]
fn one_that_half_closes_still_gets_its_answer() {
    let latch = Latch::default();
    let long = json_of(300_000);
    let upstream = Upstream::always(&[Act::Until(latch.clone()), answer(200, &long)]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    client.send(&put().bytes());
    client.half_close();
    eventually("the upstream has the call", || upstream.requests().len() == 1);
    std::thread::sleep(Duration::from_millis(100));
    latch.open();
    let answer = client.answer();
    assert_eq!((answer.status, answer.whole, answer.body), (200, true, long));
    assert!(client.is_closed());
    gateway.stop();
    let trail = site.trail();
    let (outcome, detail) = trail.only_outcome();
    assert_eq!(outcome, "succeeded");
    assert!(detail.contains("the client closed its side before"), "{detail}");
}

/// Some old clients send an empty line behind a body, others their next request at once.
#[test]
fn one_that_goes_on_talking_gets_the_answer_to_what_it_asked() {
    for more in [b"\r\n".to_vec(), Request::new("PUT", "/v1/blobs/second").bytes()] {
        let latch = Latch::default();
        let upstream = Upstream::always(&[Act::Until(latch.clone()), ok()]);
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        let mut client = gateway.client();
        client.send(&put().bytes());
        eventually("the upstream has the call", || upstream.requests().len() == 1);
        client.send(&more);
        std::thread::sleep(Duration::from_millis(100));
        latch.open();
        let answer = client.answer();
        assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
        assert!(client.is_closed(), "what was sent too early is not read as a request");
        upstream.only();
        gateway.stop();
        assert_eq!(site.trail().only_outcome(), ("succeeded", ""));
    }
}

#[test]
fn one_that_resets_in_mid_answer_leaves_a_whole_record() {
    let latch = Latch::default();
    let piece = vec![b'x'; 400_000];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 20 * piece.len());
    let mut acts = vec![raw(&head), Act::Send(piece.clone()), Act::Until(latch.clone())];
    acts.extend(std::iter::repeat_n(Act::Send(piece.clone()), 19));
    let upstream = Upstream::always(&acts);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    client.send(&put().bytes());
    assert_eq!(client.head().unwrap().0, 200);
    client.bytes(1000);
    client.reset();
    latch.open();
    gateway.settle();
    gateway.stop();
    let trail = site.trail();
    let (outcome, detail) = trail.only_outcome();
    assert_eq!(
        (outcome, &trail.calls()[1].leaf["body"]["length"]),
        ("succeeded", &(20 * piece.len()).into())
    );
    assert!(detail.contains("the client left before"), "{detail}");
}
