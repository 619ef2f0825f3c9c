//! Promise 3: the bytes judged are the bytes sent.

use crate::support::{Act, Client, Gateway, Request, Site, Upstream, json_of, sha256};

const KIB: usize = 1024;
const SIZES: &[usize] =
    &[0, 1, KIB, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 65 * KIB, 1024 * KIB, 10 * 1024 * KIB];

/// A legal target in which nothing is in its usual order or spelling.
const ODD: &str = "/v1/blobs/a%20b%2Bc~d?z=%7E%2f%2F&a=b%26c%3dd&empty=";

/// What signers and SDKs write, where rewriting would show.
const SIGNED: &[(&str, &str)] = &[
    (
        "Authorization",
        "SDK-HMAC-SHA256 Access=AKTESTCALLER, SignedHeaders=content-type;host;x-odd-case;x-sdk-date, Signature=00ff",
    ),
    ("X-Sdk-Date", "20261122T142050Z"),
    ("x-ODD-Case", "two  blanks,\ta tab ; q=\"x , y\" "),
    ("X-EMPTY", ""),
    ("X-Twice", "second"),
    ("x-twice", "first"),
    ("User-Agent", "sdk/1  (odd)"),
];

fn signed(request: Request) -> Request {
    SIGNED.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// A request with a body of so many bytes; the smallest JSON document is a number.
fn request(size: usize) -> Request {
    let body = match size {
        0 => Vec::new(),
        1 => b"7".to_vec(),
        _ => json_of(size),
    };
    signed(Request::new("PUT", if size == 1 { "/v1/numbers/n" } else { ODD }))
        .header("Host", "Blobs.Example.COM:8443")
        .json(body)
}

/// The lines of a head, sorted, without those that belong to one hop.
fn lines(head: &str) -> Vec<String> {
    let hop = |line: &&str| !line.to_ascii_lowercase().starts_with("transfer-encoding:");
    let mut lines: Vec<_> = head
        .split("\r\n")
        .filter(hop)
        .map(|line| line.trim_end_matches([' ', ':']).to_owned())
        .collect();
    lines.sort();
    lines
}

#[track_caller]
fn check(client: &mut Client, upstream: &Upstream, request: &Request, plain: &Request) -> String {
    let before = upstream.requests().len();
    let answer = client.call(request);
    assert_eq!(
        (answer.status, answer.whole, answer.body.as_slice()),
        (200, true, &br#"{"ok":true}"#[..])
    );
    let arrived = upstream.requests();
    assert_eq!(arrived.len(), before + 1, "once");
    let (arrived, sent) = (&arrived[before], plain.bytes());
    let head = String::from_utf8(plain.head()).unwrap();
    assert_eq!(
        lines(&arrived.head),
        lines(&head),
        "framed by Content-Length, all else byte for byte"
    );
    assert_eq!(arrived.headers("x-twice"), ["second", "first"], "signers join them in this order");
    assert_eq!(sha256(&arrived.body), sha256(&sent[head.len()..]));
    answer.id().to_owned()
}

#[test]
fn bodies_of_every_size_and_framing_arrive_once_as_they_were_judged() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    let mut sent = Vec::new();
    for size in SIZES {
        let plain = request(*size);
        sent.push((*size, check(&mut client, &upstream, &plain, &plain)));
        sent.push((*size, check(&mut client, &upstream, &plain.clone().chunked(100_000), &plain)));
    }
    // A body that nobody parses, in the smallest of chunks.
    let bytes: Vec<u8> = (0..=255).cycle().take(70_001).collect();
    let plain = signed(Request::new("POST", "/raw/x/y")).json(bytes);
    check(&mut client, &upstream, &plain.clone().chunked(7), &plain);
    let connections: std::collections::BTreeSet<_> =
        upstream.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections.len(), 1, "connections to the upstream are kept");
    drop(client);
    gateway.stop();

    let trail = site.trail();
    for (size, id) in sent {
        let request = trail.request(&id);
        assert_eq!(request.leaf["body"]["length"], size);
        if size > 0 {
            assert_eq!(
                request.text("/body/digest"),
                format!(
                    "sha256:{}",
                    sha256(&self::request(size).bytes()[self::request(size).head().len()..])
                )
            );
        }
        let answer = trail.answer(&id);
        assert_eq!(answer.text("/outcome"), "succeeded");
        assert_eq!(answer.text("/body/digest"), format!("sha256:{}", sha256(br#"{"ok":true}"#)));
    }
}

#[test]
fn methods_without_a_body_stay_without_one() {
    let upstream = Upstream::new(|request| match request.line().starts_with("HEAD") {
        true => vec![crate::support::upstream::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX-Kept: yes\r\n\r\n",
        )],
        false => vec![crate::support::upstream::raw("HTTP/1.1 204 None\r\nX-Kept: yes\r\n\r\n")],
    });
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    for (method, target) in
        [("GET", "/v1/blobs/x"), ("DELETE", "/v1/blobs/x"), ("HEAD", "/raw/x"), ("GET", "/raw/x")]
    {
        let request = Request::new(method, target);
        client.send(&request.bytes());
        let answer = client.answer_without_body();
        assert_eq!(
            (answer.status, answer.header("x-kept")),
            (if method == "HEAD" { 200 } else { 204 }, "yes"),
            "{method}"
        );
        let arrived = upstream.requests().pop().unwrap();
        assert_eq!(lines(&arrived.head), lines(&String::from_utf8(request.head()).unwrap()));
    }
    drop(client);
    gateway.stop();
    assert_eq!(
        site.trail().calls().iter().filter(|r| r.text("/outcome") == "succeeded").count(),
        4
    );
}

#[test]
fn answers_pass_as_they_came_whatever_their_framing() {
    let script = |text: &'static str| move || vec![crate::support::upstream::raw(text)];
    let length = script(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Odd:  a  b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nhello",
    );
    let chunked = script(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
    );
    let empty = script("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let both = script(
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let early = script(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let closing =
        || vec![crate::support::upstream::raw("HTTP/1.1 200 OK\r\n\r\nhello"), Act::Close];
    let upstream = Upstream::new(move |request| match request.line().split(' ').nth(1).unwrap() {
        "/raw/length" => length(),
        "/raw/chunked" => chunked(),
        "/raw/empty" => empty(),
        "/raw/both" => both(),
        "/raw/early" => early(),
        _ => closing(),
    });
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    for (target, interim, body) in [
        ("length", &[][..], "hello"),
        ("chunked", &[], "hello"),
        ("empty", &[], ""),
        ("both", &[], "hello"),
        ("early", &[], "hello"),
        ("closing", &[], "hello"),
    ] {
        let answer = client.call(&Request::new("GET", &format!("/raw/{target}")));
        assert_eq!(
            (answer.status, answer.whole, answer.interim.as_slice()),
            (200, true, interim),
            "{target}"
        );
        assert_eq!(String::from_utf8(answer.body.clone()).unwrap(), body, "{target}");
        assert_eq!(answer.header("x-request-id"), answer.id(), "{target}");
        assert!(
            answer.header("transfer-encoding").is_empty()
                || answer.header("content-length").is_empty(),
            "{target}: one framing"
        );
        if target == "length" {
            assert_eq!(answer.header("x-odd"), "a  b");
            assert_eq!(
                answer.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie")).count(),
                2
            );
        }
    }
    drop(client);
    gateway.stop();
    let trail = site.trail();
    assert_eq!(trail.calls().iter().filter(|r| r.text("/outcome") == "succeeded").count(), 6);
    let early: Vec<_> = trail
        .calls()
        .into_iter()
        .filter(|record| {
            record.leaf["detail"].as_str().is_some_and(|detail| detail.contains("interim"))
        })
        .collect();
    assert_eq!(early.len(), 1, "what was not passed on is on record");
}

#[test]
fn what_is_denied_stays_here_and_the_connection_goes_on() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    let forbidden = Request::new("PUT", "/v1/blobs/forbidden").json(json_of(100_000));
    let first = client.call(&forbidden);
    let second = client.call(&forbidden.clone().chunked(1000));
    assert_eq!(
        (upstream.connections(), first.refusal(), second.refusal()),
        (0, (403, "policy-forbids".into()), (403, "policy-forbids".into()))
    );
    let third = client.call(&Request::new("PUT", "/v1/blobs/allowed").json(json_of(1000)));
    assert_eq!((third.status, third.whole), (200, true));
    assert!(upstream.only().line().starts_with("PUT /v1/blobs/allowed "));
    stop_with_three(&site, gateway, [&first, &second, &third].map(|answer| answer.id().to_owned()));
}

fn stop_with_three(site: &Site, gateway: Gateway, ids: [String; 3]) {
    gateway.stop();
    let trail = site.trail();
    let verdicts = ids.each_ref().map(|id| trail.request(id).text("/decision/verdict"));
    assert_eq!(verdicts, ["deny", "deny", "allow"]);
    assert_eq!((trail.calls().len(), trail.answer(&ids[2]).text("/outcome")), (4, "succeeded"));
}

/// A compressed answer could be read neither for its outcome nor for its secrets, so none is asked
/// for; unless asking is signed.
#[test]
fn compression_is_asked_for_only_if_that_is_signed() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    for names in ["host", "accept-encoding;host"] {
        let value =
            format!("SDK-HMAC-SHA256 Access=AKTESTCALLER, SignedHeaders={names}, Signature=00ff");
        let request = Request::new("GET", "/v1/blobs/x")
            .header("Authorization", &value)
            .header("Accept-Encoding", "gzip, br");
        assert_eq!(client.call(&request).status, 200);
    }
    let asked: Vec<_> =
        upstream.requests().iter().map(|r| r.headers("accept-encoding").join("|")).collect();
    assert_eq!(asked, ["", "gzip, br"]);
}

#[test]
fn who_sends_more_than_is_answered_is_told() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let (allowed, denied) = (
        Request::new("POST", "/v1/blobs/a").json(json_of(100)),
        Request::new("PUT", "/v1/blobs/forbidden").json(json_of(100)),
    );
    for (first, status) in [(allowed, 200), (denied, 403)] {
        let mut client = gateway.client();
        client.send(&[first.bytes(), Request::new("GET", "/v1/blobs/b").bytes()].concat());
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, "close"));
        assert!(client.is_closed());
    }
    gateway.stop();
}
