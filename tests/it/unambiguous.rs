//! Promise 2: unambiguous or refused. The shapes by which a gateway and what is behind it come to
//! read two requests.

use crate::support::{Answer, Gateway, Site, TOKEN, Upstream};
use keyward_record::Kind;

/// `line` and `headers` as written, with Host and a known caller unless the shape is about those.
fn shape(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let host = if headers.to_ascii_lowercase().contains("host:") {
        ""
    } else {
        "Host: blobs.example.com\r\n"
    };
    format!("{line}\r\n{host}X-Auth-Token: {TOKEN}\r\n{headers}\r\n{body}").into_bytes()
}

fn get(target: &str) -> Vec<u8> {
    shape(&format!("GET {target} HTTP/1.1"), "", "")
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    shape("POST /raw/a HTTP/1.1", headers, body)
}

const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

fn targets() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("absolute form, same host", get("http://blobs.example.com/raw/a")),
        ("absolute form, other host", get("http://evil.example.com/raw/a")),
        ("absolute form, https", get("https://blobs.example.com/raw/a")),
        ("absolute form with userinfo", get("http://u@blobs.example.com/raw/a")),
        ("half an absolute form", get("http:/\\blobs.example.com/raw/a")),
        ("two slashes at the start", get("//evil/raw/a")),
        ("an empty segment", get("/raw//b")),
        ("a dot-dot segment", get("/raw/../raw/b")),
        ("a dot segment", get("/raw/./b")),
        ("escaped dots", get("/raw/%2e%2e/b")),
        ("an escaped letter", get("/%72aw/a")),
        ("a broken escape", get("/raw/a%zz")),
        ("an escaped NUL", get("/raw/a%00b")),
        ("an escaped percent", get("/raw/a%252fb")),
        ("a path parameter", get("/raw/a;x=1/b")),
        ("a backslash", get("/raw/a\\..\\b")),
        ("a fragment", get("/raw/a#frag")),
        ("a blank and a version", get("/raw/a HTTP/1.1 /b")),
        ("quotes and angle brackets", get("/raw/a\"<b>")),
        ("braces, pipe, caret, backtick", get("/raw/a{b}|^`")),
        ("UTF-8", get("/raw/\u{e4}")),
        (
            "no UTF-8",
            [b"GET /raw/\xff\xfe HTTP/1.1\r\nHost: blobs.example.com\r\n\r\n".as_slice()].concat(),
        ),
        ("NUL", get("/raw/a\0b")),
        ("a blank", get("/raw/a b")),
        ("TAB", get("/raw/a\tb")),
        ("a bare CR", get("/raw/a\rb")),
        ("no leading slash", get("raw/a")),
        ("a query alone", get("?x=1")),
        ("a target of 70 KiB", get(&format!("/raw/{}", "y".repeat(70_000)))),
        ("a target of 20 KiB", get(&format!("/raw/{}", "y".repeat(20_000)))),
    ]
}

fn methods_and_versions() -> Vec<(&'static str, Vec<u8>)> {
    let line = |line: &str| shape(line, "", "");
    vec![
        ("OPTIONS *", line("OPTIONS * HTTP/1.1")),
        ("CONNECT", line("CONNECT blobs.example.com:443 HTTP/1.1")),
        ("TRACE", line("TRACE /raw/a HTTP/1.1")),
        ("a method in lower case", line("get /raw/a HTTP/1.1")),
        ("an odd method", line("M-SEARCH /raw/a HTTP/1.1")),
        ("HTTP/0.9", b"GET /raw/a\r\n".to_vec()),
        ("HTTP/1.0", line("GET /raw/a HTTP/1.0")),
        ("HTTP/1.0 without Host", b"GET /raw/a HTTP/1.0\r\n\r\n".to_vec()),
        ("HTTP/1.2", line("GET /raw/a HTTP/1.2")),
        ("HTTP/2.0", line("GET /raw/a HTTP/2.0")),
        ("a leading empty line", [b"\r\n".as_slice(), &get("/raw/a")].concat()),
        ("a leading blank", line(" GET /raw/a HTTP/1.1")),
        (
            "a TLS hello",
            [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0; 40]].concat(),
        ),
        ("no HTTP at all", b"hello\r\n\r\n".to_vec()),
        ("bare LF", b"GET /raw/a HTTP/1.1\nHost: blobs.example.com\n\n".to_vec()),
    ]
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let with = |headers: &str| shape("GET /raw/a HTTP/1.1", headers, "");
    let many: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = |length: usize| with(&format!("X-Long: {}\r\n", "y".repeat(length)));
    vec![
        ("no Host", b"GET /raw/a HTTP/1.1\r\n\r\n".to_vec()),
        ("an empty Host", with("Host:\r\n")),
        ("two equal Hosts", with("Host: blobs.example.com\r\nHost: blobs.example.com\r\n")),
        ("two Hosts", with("Host: blobs.example.com\r\nHost: evil.example.com\r\n")),
        ("Host with userinfo", with("Host: u@blobs.example.com\r\n")),
        ("Host as a list", with("Host: blobs.example.com, evil.example.com\r\n")),
        ("Host with a trailing dot", with("Host: blobs.example.com.\r\n")),
        ("obs-fold", with("X-A: 1\r\n 2\r\n")),
        ("a bare CR in a value", with("X-A: 1\r2\r\n")),
        ("NUL in a value", with("X-A: 1\u{0}2\r\n")),
        ("UTF-8 in a value", with("X-A: \u{e4}\r\n")),
        ("a blank in a name", with("X A: 1\r\n")),
        ("an empty name", with(": 1\r\n")),
        ("an underscore in a name", with("content_length: 9\r\n")),
        ("Connection names Host", with("Connection: host\r\nHost: blobs.example.com\r\n")),
        ("Connection names a credential", with("Connection: x-auth-token\r\n")),
        (
            "an upgrade with a request behind it",
            [with("Connection: upgrade\r\nUpgrade: foo\r\n"), get("/raw/smuggled")].concat(),
        ),
        (
            "an upgrade to HTTP/2",
            with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
        ),
        ("a method override", with("X-HTTP-Method-Override: DELETE\r\n")),
        ("a path override", with("X-Original-URL: /raw/b\r\n")),
        ("two tokens", with("X-Auth-Token: other\r\n")),
        ("300 headers", with(&many)),
        ("a header of 100 KiB", long(100_000)),
        ("a header of 900 KiB", long(900_000)),
        ("a header of 1.2 MiB", long(1_200_000)),
    ]
}

fn framings() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("both framings", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", CHUNKS)),
        ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!")),
        ("a list of lengths", post("Content-Length: 5, 5\r\n", "hello")),
        ("a length with a sign", post("Content-Length: +5\r\n", "hello")),
        ("a negative length", post("Content-Length: -1\r\n", "hello")),
        ("a hexadecimal length", post("Content-Length: 0x5\r\n", "hello")),
        ("a length beyond all numbers", post("Content-Length: 99999999999999999999\r\n", "hello")),
        ("a blank before the length's colon", post("Content-Length : 5\r\n", "hello")),
        ("identity", post("Transfer-Encoding: identity\r\n", "hello")),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", CHUNKS)),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", CHUNKS)),
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", CHUNKS)),
        ("a control byte before chunked", post("Transfer-Encoding: \u{b}chunked\r\n", CHUNKS)),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
        ),
        ("a blank before the coding's colon", post("Transfer-Encoding : chunked\r\n", CHUNKS)),
        (
            "chunked in HTTP/1.0",
            shape("POST /raw/a HTTP/1.0", "Transfer-Encoding: chunked\r\n", CHUNKS),
        ),
        (
            "a hexadecimal prefix in a chunk's size",
            post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
        ),
        ("bare LF in chunks", post("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n")),
        (
            "a chunk that does not end",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n"),
        ),
        (
            "a chunk beyond all sizes",
            post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "an announced trailer",
            post(
                "Transfer-Encoding: chunked\r\nTrailer: x-t\r\n",
                "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
            ),
        ),
    ]
}

/// Sends bytes, says that nothing more will come, and reads what is answered.
fn send(gateway: &Gateway, bytes: &[u8]) -> Answer {
    let mut client = gateway.client();
    client.send(bytes);
    client.half_close();
    let answer = client.answer();
    assert!(client.is_closed(), "{answer:?}");
    answer
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_nothing_of_it_is_sent() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut recorded = Vec::new();
    for (name, bytes) in [targets(), methods_and_versions(), headers(), framings()].concat() {
        let answer = send(&gateway, &bytes);
        // A TLS hello is closed at once: its client would read no answer.
        let refused = matches!(answer.status, 400 | 405 | 414 | 431)
            || (answer.status == 0 && name == "a TLS hello");
        assert!(refused, "{name}: {} {:?}", answer.status, String::from_utf8_lossy(&answer.body));
        assert_eq!(upstream.connections(), 0, "{name} was forwarded: {:?}", upstream.requests());
        if !answer.id().is_empty() {
            recorded.push((name, answer));
        }
    }
    gateway.settle();
    gateway.stop();
    let trail = site.trail();
    assert!(recorded.len() > 40, "{} reached the gate", recorded.len());
    for (name, answer) in recorded {
        let record = trail.request(answer.id());
        assert_eq!(
            (record.kind, record.text("/decision/reason")),
            (Kind::Refused, answer.code().as_str()),
            "{name}"
        );
        let reason = record.text("/decision/reason");
        assert!(
            reason == "body-framing"
                || reason.starts_with("head-")
                || reason.starts_with("target-")
                || reason.ends_with("-override"),
            "{name}: {reason}"
        );
    }
}

#[test]
fn what_has_one_reading_passes_in_one_form() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (name, bytes) in [
        ("chunk extensions", post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n")),
        ("chunked in another case", post("transfer-ENCODING: Chunked\r\n", CHUNKS)),
        (
            "a trailer that nobody announced",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"),
        ),
        ("a length", post("Content-Length: 5\r\n", "hello")),
        ("a length with zeros", post("Content-Length: 0005\r\n", "hello")),
        ("200 headers", post(&format!("{many}Content-Length: 5\r\n"), "hello")),
        (
            "a request behind the body",
            [post("Content-Length: 5\r\n", "hello"), get("/raw/smuggled")].concat(),
        ),
    ] {
        let before = upstream.requests().len();
        let answer = send(&gateway, &bytes);
        assert_eq!((answer.status, answer.whole), (200, true), "{name}");
        let arrived = upstream.requests();
        assert_eq!(arrived.len(), before + 1, "{name}");
        let last = &arrived[before];
        assert_eq!(
            (last.line(), last.headers("content-length"), last.body.as_slice()),
            ("POST /raw/a HTTP/1.1", vec!["5"], &b"hello"[..]),
            "{name}"
        );
        assert!(
            last.headers("transfer-encoding").is_empty() && last.headers("x-t").is_empty(),
            "{name}"
        );
    }
    let pair = [get("/raw/first"), get("/raw/smuggled")].concat();
    assert_eq!(send(&gateway, &pair).status, 200);
    assert!(upstream.requests().iter().all(|r| !r.head.contains("smuggled")));
}
