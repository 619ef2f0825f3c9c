//! Bodies that are too long or too slow: refused in time, on record, and not a byte of them sent.

use crate::support::{Client, Request, Site, Upstream, json_of};
use std::io::Write;
use std::time::{Duration, Instant};

const LIMIT: usize = 100_000;

/// Serves with a low limit, and checks that what `act` does is refused so, on record, on a
/// connection that is closed.
fn check(sets: &[&str], refusal: (u16, &str), act: impl FnOnce(&mut Client)) {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&[&["limits.body_bytes_max=100000"], sets].concat());
    let mut client = gateway.client();
    act(&mut client);
    let answer = client.answer();
    assert_eq!(
        (answer.refusal(), answer.whole, answer.interim.as_slice()),
        ((refusal.0, refusal.1.to_owned()), true, &[][..])
    );
    assert!(client.is_closed());
    assert_eq!(gateway.metric(&format!(r#"keyward_refusals_total{{reason="{}"}}"#, refusal.1)), 1);
    upstream.assert_untouched();
    gateway.stop();
    let trail = site.trail();
    assert_eq!(
        (trail.only_refusal().text("/decision/reason"), trail.only_refusal().id.as_str()),
        (refusal.1, answer.id())
    );
}

fn put(size: usize) -> Request {
    Request::new("PUT", "/v1/blobs/x").json(json_of(size))
}

#[test]
fn an_announced_length_above_the_limit_is_refused_without_reading() {
    // Not a byte of the body is sent, so the answer cannot have waited for one.
    check(&[], (413, "body-too-large"), |client| client.send(&put(LIMIT + 1).head()));
}

#[test]
fn a_client_that_asks_first_is_not_told_to_continue_above_the_limit() {
    check(&[], (413, "body-too-large"), |client| {
        client.send(&put(LIMIT + 1).header("Expect", "100-continue").head())
    });
}

#[test]
fn a_client_that_sends_all_before_it_listens_is_told_too() {
    // A connection that is reset under its writing takes the answer away from some clients, and
    // breaks others.
    check(&[], (413, "body-too-large"), |client| {
        client.stream.write_all(&put(8 * 1024 * 1024).bytes()).unwrap()
    });
}

#[test]
fn chunks_are_counted() {
    check(&[], (413, "body-too-large"), |client| {
        client.send(&put(LIMIT + 1).chunked(10_000).bytes())
    });
}

#[test]
fn a_chunk_of_any_announced_size_is_refused_when_the_limit_is_passed() {
    check(&[], (413, "body-too-large"), |client| {
        client.send(&put(LIMIT).chunked(1).head());
        client.send(b"7fffffff\r\n");
        client.send(&vec![b'x'; LIMIT + 1]);
    });
}

#[test]
fn a_dribbled_body_is_refused_at_the_deadline_for_the_whole() {
    let started = Instant::now();
    check(&["limits.body_seconds=1"], (408, "body-too-slow"), |client| {
        let bytes = put(1000).bytes();
        client.send(&put(1000).head());
        let mut rest = client.stream.try_clone().unwrap();
        std::thread::spawn(move || {
            for byte in &bytes[bytes.len() - 1000..] {
                if rest.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    });
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn continue_is_said_here_and_asked_of_nobody() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    for name in ["allowed", "forbidden"] {
        let request = Request::new("PUT", &format!("/v1/blobs/{name}"))
            .header("Expect", "100-continue")
            .json(json_of(1000));
        client.send(&request.head());
        assert_eq!(client.head().map(|head| head.0), Some(100), "{name}");
        client.send(&request.bytes()[request.head().len()..]);
        assert_eq!(client.answer().status, if name == "allowed" { 200 } else { 403 });
    }
    let arrived = upstream.only();
    assert_eq!((arrived.headers("expect").len(), arrived.body), (0, json_of(1000)));
}

#[test]
fn a_body_at_the_limit_passes() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["limits.body_bytes_max=100000"]);
    let mut client = gateway.client();
    assert_eq!(client.call(&put(LIMIT)).status, 200);
    assert_eq!(client.call(&put(LIMIT).chunked(LIMIT)).status, 200);
    assert_eq!(
        upstream.requests().iter().map(|r| r.body.len()).collect::<Vec<_>>(),
        [LIMIT, LIMIT]
    );
}
