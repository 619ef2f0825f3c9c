//! The upstream breaks: the caller is told the truth, once, and the record says what is known.

use crate::support::upstream::{ok, raw};
use crate::support::{Act, Answer, Request, Site, Upstream, json_of};
use std::time::{Duration, Instant};

/// Settings under which a hanging upstream is soon given up.
const HASTY: &[&str] = &["upstreams.read_ms=700"];

/// What must come of one call to an upstream that does so.
struct Expected {
    status: u16,
    code: &'static str,
    whole: bool,
    outcome: &'static str,
    detail: &'static str,
}

const BROKEN: Expected = Expected {
    status: 502,
    code: "upstream-broken",
    whole: true,
    outcome: "unknown",
    detail: "ConnectionClosed",
};
const CUT: Expected =
    Expected { status: 200, code: "", whole: false, outcome: "unknown", detail: "" };

/// Makes the call by each method that a proxy is tempted to repeat, and by one that it is not.
fn check(acts: &[Act], expected: &Expected) {
    for method in ["POST", "PUT", "DELETE", "GET"] {
        let upstream = Upstream::always(acts);
        let site = Site::new(upstream.address);
        let gateway = site.serve_with(HASTY);
        let mut client = gateway.client();
        let request = Request::new(method, "/v1/blobs/x");
        let answer = client.call(&if ["POST", "PUT"].contains(&method) {
            request.json(json_of(100_000))
        } else {
            request
        });
        assert_eq!(
            (answer.refusal(), answer.whole),
            ((expected.status, expected.code.to_owned()), expected.whole),
            "{method}: {answer:?}"
        );
        assert!(client.is_closed(), "{method}: the connection is not used again");
        gateway.settle();
        upstream.only();
        gateway.stop();
        let trail = site.trail();
        let (outcome, detail) = trail.only_outcome();
        assert_eq!(outcome, expected.outcome, "{method}: {detail}");
        assert!(
            detail.contains(expected.detail) && !detail.contains("client"),
            "{method}: {detail}"
        );
        assert_eq!(trail.calls()[1].leaf["whole"], expected.outcome != "unknown", "{method}");
        assert_eq!(trail.calls()[1].id, answer.id(), "{method}");
    }
}

#[test]
fn one_that_hangs_is_given_up_and_its_outcome_is_unknown() {
    check(
        &[Act::Hang],
        &Expected {
            status: 504,
            code: "upstream-timeout",
            whole: true,
            outcome: "unknown",
            detail: "ReadTimedout",
        },
    );
}

#[test]
fn one_that_closes_before_it_answers_leaves_the_outcome_unknown() {
    check(&[Act::Close], &BROKEN);
}

#[test]
fn one_that_cuts_its_head_leaves_the_outcome_unknown() {
    check(&[raw("HTTP/1.1 200 OK\r\nContent-Le"), Act::Close], &BROKEN);
}

#[test]
fn one_that_speaks_no_http_leaves_the_outcome_unknown() {
    check(&[raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Act::Close], &Expected { detail: "", ..BROKEN });
}

#[test]
fn a_body_cut_short_of_its_length_never_ends_well() {
    check(&[raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), Act::Close], &CUT);
}

#[test]
fn a_body_cut_after_its_head_never_ends_well() {
    let head = raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    check(
        &[
            head,
            Act::Wait(Duration::from_millis(100)),
            raw("hello"),
            Act::Wait(Duration::from_millis(100)),
            Act::Close,
        ],
        &CUT,
    );
}

#[test]
fn a_body_cut_in_mid_chunk_never_ends_well() {
    check(
        &[
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo"),
            Act::Close,
        ],
        &CUT,
    );
}

#[test]
fn a_body_cut_between_chunks_never_ends_well() {
    let head = raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    check(&[head, Act::Wait(Duration::from_millis(100)), Act::Close], &CUT);
}

#[test]
fn a_body_that_stops_coming_never_ends_well() {
    check(
        &[raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), Act::Hang],
        &Expected { detail: "ReadTimedout", ..CUT },
    );
}

#[test]
fn one_that_refuses_connections_was_sent_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    let answer = client.call(
        &Request::new("PUT", "/v1/blobs/x").header("Host", "down.example.com").json(json_of(1000)),
    );
    assert_eq!((answer.refusal(), answer.whole), ((502, "upstream-unreachable".to_owned()), true));
    upstream.assert_untouched();
    assert_eq!(
        gateway.metric(r#"keyward_upstream_errors_total{class="connect",service="test.blobs"}"#),
        1
    );
    gateway.stop();
    let trail = site.trail();
    assert_eq!(
        (trail.only_outcome().0, &trail.calls()[1].leaf["sent"]),
        ("not-sent", &false.into())
    );
    assert_eq!(trail.calls()[1].id, answer.id());
}

/// A pooled connection that breaks under a call is where proxies send a call twice.
#[test]
fn a_kept_connection_that_breaks_repeats_nothing() {
    for method in ["PUT", "DELETE", "GET", "POST"] {
        let upstream = Upstream::new(|request| {
            if request.line().contains("/first ") { vec![ok()] } else { vec![Act::Close] }
        });
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        let mut client = gateway.client();
        assert_eq!(client.call(&Request::new(method, "/v1/blobs/first")).status, 200);
        let broken = client.call(&Request::new(method, "/v1/blobs/second"));
        assert_eq!(broken.refusal(), (502, "upstream-broken".to_owned()), "{method}");
        let arrived: Vec<_> =
            upstream.requests().iter().map(|r| (r.connection, r.line().to_owned())).collect();
        let lines =
            ["first", "second"].map(|name| (0, format!("{method} /v1/blobs/{name} HTTP/1.1")));
        assert_eq!(arrived, lines, "{method}: each once, over one connection");
        gateway.stop();
        assert_eq!(site.trail().answer(broken.id()).text("/outcome"), "unknown", "{method}");
    }
}

#[test]
fn an_answer_before_the_request_was_read_ends_the_call() {
    // The upstream refuses by the head alone, as one with a lower limit would.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let read = stream.read(&mut [0; 1000]).unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        read
    });
    let site = Site::new(address);
    let gateway = site.serve();
    let answer: Answer =
        gateway.client().call(&Request::new("PUT", "/v1/blobs/x").json(json_of(8 * 1024 * 1024)));
    assert_eq!((answer.status, answer.whole, answer.body.as_slice()), (413, true, &b"large"[..]));
    assert!(served.join().unwrap() > 0);
    gateway.settle();
    gateway.stop();
    assert_eq!(site.trail().only_outcome().0, "failed");
}

/// What an upstream says beyond its answer would be the answer to the next caller's call.
#[test]
fn one_that_says_more_than_it_was_asked_is_not_believed_later() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let at_once = vec![raw(&format!("{whole}{evil}"))];
    let later = vec![raw(whole), Act::Wait(Duration::from_millis(50)), raw(evil)];
    let behind_none = vec![raw(&format!("HTTP/1.1 204 None\r\n\r\n{evil}"))];
    let behind_chunks = vec![raw(&format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{evil}"
    ))];
    for (n, first) in [at_once, later, behind_none, behind_chunks].into_iter().enumerate() {
        let upstream = Upstream::new(move |request| {
            if request.line().contains("/first ") { first.clone() } else { vec![ok()] }
        });
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        assert!(
            [200, 204]
                .contains(&gateway.client().call(&Request::new("GET", "/v1/blobs/first")).status),
            "{n}"
        );
        std::thread::sleep(Duration::from_millis(150));
        let second = gateway.client().call(&Request::new("GET", "/v1/blobs/second"));
        assert_eq!((second.status, second.body.as_slice()), (200, &br#"{"ok":true}"#[..]), "{n}");
        assert_eq!(upstream.requests()[1].connection, 1, "{n}: over a connection of its own");
    }
}

/// Nobody asked for another protocol, so an upstream that switches has not answered.
#[test]
fn one_that_switches_protocols_unasked_leaves_the_outcome_unknown() {
    check(
        &[
            raw(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nanything",
            ),
            Act::Close,
        ],
        &Expected { detail: "", ..BROKEN },
    );
}

#[test]
fn answers_with_two_readings_are_not_passed_on_as_whole() {
    for head in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked",
    ] {
        let upstream = Upstream::always(&[
            raw(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nhello")),
            Act::Close,
        ]);
        let site = Site::new(upstream.address);
        let gateway = site.serve();
        let answer = gateway.client().call(&Request::new("GET", "/v1/blobs/x"));
        assert_eq!(answer.refusal(), (502, "upstream-broken".to_owned()), "{head}: {answer:?}");
        gateway.stop();
        assert_eq!(site.trail().only_outcome().0, "unknown", "{head}");
    }
}

/// An answer that comes a byte at a time, each long before the time for a read is over.
fn dripping(head: &str, bytes: usize) -> Vec<Act> {
    let drops = (0..bytes).flat_map(|n| {
        [raw(if n % 2 == 0 { "a" } else { "b" }), Act::Wait(Duration::from_millis(200))]
    });
    std::iter::once(raw(head)).chain(drops).collect()
}

#[test]
fn one_that_drips_its_head_holds_no_call_for_longer_than_a_read() {
    let upstream = Upstream::always(&dripping("HTTP/1.1 200 OK\r\nX-Long: ", 60));
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(HASTY);
    for request in [
        Request::new("GET", "/v1/blobs/x"),
        Request::new("POST", "/v1/blobs/x").json(json_of(100_000)),
    ] {
        let started = Instant::now();
        let answer = gateway.client().call(&request);
        assert_eq!(answer.refusal(), (504, "upstream-timeout".to_owned()));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        gateway.settle();
        let record = gateway.exchange(answer.id());
        assert_eq!(record["outcome"], "unknown");
        assert!(
            record["answer"]["record"]["detail"].as_str().unwrap().contains("came too slowly"),
            "{record}"
        );
    }
    assert_eq!(
        gateway.metric("keyward_upstream_errors_total{class=\"timeout\",service=\"test.blobs\"}"),
        2
    );
    assert_eq!(gateway.metric("keyward_client_gone_total"), 0);
}

#[test]
fn one_that_drips_its_body_is_cut_off() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3c\r\n",
    ] {
        let upstream = Upstream::always(&dripping(head, 60));
        let site = Site::new(upstream.address);
        let gateway = site.serve_with(HASTY);
        let started = Instant::now();
        let answer = gateway.client().call(&Request::new("DELETE", "/v1/blobs/x"));
        assert_eq!((answer.status, answer.whole), (200, false), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        gateway.settle();
        gateway.stop();
        let trail = site.trail();
        let (outcome, detail) = trail.only_outcome();
        assert!(outcome == "unknown" && detail.contains("came too slowly"), "{outcome} {detail}");
    }
}

#[test]
fn a_long_answer_has_the_time_that_its_length_takes_and_a_slow_client_is_not_the_clouds_fault() {
    // Ten pieces in three seconds, each in time for a pace of 64 KiB.
    let piece = "x".repeat(40_000);
    let mut acts = vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n")];
    acts.extend((0..10).flat_map(|_| [raw(&piece), Act::Wait(Duration::from_millis(300))]));
    let upstream = Upstream::always(&acts);
    let site = Site::new(upstream.address);
    let gateway =
        site.serve_with(&["upstreams.read_ms=700", "upstreams.answer_bytes_per_second_min=65536"]);
    let answer = gateway.client().call(&Request::new("GET", "/raw/x"));
    assert_eq!((answer.status, answer.whole, answer.body.len()), (200, true, 400_000));
    drop(gateway);

    let upstream =
        Upstream::always(&[crate::support::upstream::answer(200, &vec![b'x'; 24 * 1024 * 1024])]);
    let site = Site::new(upstream.address);
    // A pace that only counts against the cloud.
    let gateway = site
        .serve_with(&["upstreams.read_ms=700", "upstreams.answer_bytes_per_second_min=16777216"]);
    let mut client = gateway.client();
    client.send(&Request::new("GET", "/raw/x").bytes());
    std::thread::sleep(Duration::from_secs(4));
    let answer = client.answer();
    assert_eq!((answer.status, answer.whole, answer.body.len()), (200, true, 24 * 1024 * 1024));
}
