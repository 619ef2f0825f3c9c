//! The listeners: TLS and its certificates, where calls come from, and limits that hold under
//! attack.

use crate::support::tls::{Authority, Tls, client_config, connect, dial};
use crate::support::upstream::{answer, ok};
use crate::support::{Client, Gateway, PATIENCE, Request, Site, Upstream, eventually, json_of};
use keyward_record::Kind;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A site whose only listener speaks TLS with certificates for these names.
fn secure(upstream: &Upstream, authority: &Authority, names: &[&str], more: &str) -> Site {
    let site = Site::new(upstream.address);
    std::fs::write(site.path("ca.pem"), authority.pem()).unwrap();
    let mut pairs = String::new();
    for name in names {
        authority.write(&site, name, &[name]);
        pairs += &format!("{{ chain = \"{name}.pem\", key = \"{name}.key\" }}, ");
    }
    site.rewrite("[admin]", &format!("[listener.tls]\ncertificates = [{pairs}]\n{more}\n[admin]"));
    site
}

fn get(target: &str) -> Request {
    Request::new("GET", target)
}

fn turned_away(gateway: &Gateway, class: &str) -> u64 {
    gateway.metric(&format!("keyward_turned_away_total{{class=\"{class}\"}}"))
}

/// What the events of the trail say was turned away under a class, in all.
fn recorded(site: &Site, class: &str) -> u64 {
    let trail = site.trail();
    let of = |leaf: &Value| {
        leaf.pointer(&format!("/detail/connections/{class}/total")).and_then(Value::as_u64)
    };
    trail.0.iter().filter_map(|record| of(&record.leaf)).sum()
}

#[test]
fn each_name_has_its_certificate_and_a_new_one_needs_no_restart() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let site = secure(&upstream, &authority, &["blobs.example.com", "gateway.test"], "");
    let gateway = site.serve();
    let mut first = connect(&gateway, &authority, "blobs.example.com", None).unwrap();
    assert_eq!(first.call(&get("/v1/blobs/a")).status, 200);
    assert_eq!(first.names(), ["blobs.example.com"]);
    let mut other = connect(&gateway, &authority, "gateway.test", None).unwrap();
    assert_eq!(other.names(), ["gateway.test"]);
    // The gateway's own name in TLS, the cloud's in HTTP: how a client dials it while signing the
    // cloud's Host.
    assert_eq!(other.call(&get("/v1/blobs/b")).status, 200);

    let before = first.serial();
    authority.write(&site, "blobs.example.com", &["blobs.example.com"]);
    eventually("new connections get the new certificate", || {
        connect(&gateway, &authority, "blobs.example.com", None)
            .is_ok_and(|tls| tls.serial() != before)
    });
    assert_eq!(first.call(&get("/v1/blobs/c")).status, 200, "the connection that was open goes on");
    std::fs::write(site.path("blobs.example.com.pem"), "nothing").unwrap();
    eventually("a bad file is said", || site.log().contains("the old certificates stay in force"));
    assert_eq!(
        connect(&gateway, &authority, "blobs.example.com", None)
            .unwrap()
            .call(&get("/v1/blobs/d"))
            .status,
        200
    );
    gateway.stop();
    let trail = site.trail();
    assert!(
        trail.events().any(|event| event == "certificates-loaded")
            && trail.events().any(|event| event == "certificates-refused")
    );
    let tls = &trail.calls()[0].leaf["source"]["tls"];
    assert_eq!(
        (tls["server_name"].as_str(), tls["version"].as_str()),
        (Some("blobs.example.com"), Some("TLSv1_3"))
    );
}

#[test]
fn one_cloud_in_tls_and_another_in_http_are_refused() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let site = secure(&upstream, &authority, &["blobs.example.com", "down.example.com"], "");
    let gateway = site.serve();
    let answer =
        connect(&gateway, &authority, "down.example.com", None).unwrap().call(&get("/v1/blobs/a"));
    assert_eq!(answer.refusal(), (421, "head-sni".to_owned()));
    upstream.assert_untouched();
    gateway.stop();
    assert_eq!(site.trail().only_refusal().text("/decision/reason"), "head-sni");
}

#[test]
fn a_clients_certificate_is_its_name() {
    let (upstream, authority, stranger) = (Upstream::ok(), Authority::new(), Authority::new());
    let site = secure(
        &upstream,
        &authority,
        &["blobs.example.com"],
        "client_certificates = \"required\"\nclient_ca_file = \"ca.pem\"",
    );
    let callers = std::fs::read_to_string(site.path("callers.toml")).unwrap();
    std::fs::write(
        site.path("callers.toml"),
        format!("{callers}\n[callers.certified]\nkind = 'robot'\ngroups = ['testers']\ncertificates = ['dns:ci.example.com']\n"),
    )
    .unwrap();
    let gateway = site.serve();
    let bare = |path: &str| get(path).header("X-Auth-Token", "");
    let (known, unknown) =
        (authority.client(&["ci.example.com"]), authority.client(&["other.example.com"]));
    let call = |client: Option<&Tls>, path: &str| {
        connect(&gateway, &authority, "blobs.example.com", client)
            .and_then(|mut tls| tls.try_call(&bare(path)))
    };
    assert_eq!(call(Some(&known), "/v1/blobs/a").unwrap().status, 200);
    assert_eq!(
        call(Some(&unknown), "/v1/blobs/b").unwrap().refusal(),
        (401, "caller-unknown".to_owned())
    );
    // Whoever shows none is told that one is wanted, and whoever shows somebody else's that it is
    // not known.
    let none = call(None, "/v1/blobs/c").unwrap_err().to_string();
    assert!(none.contains("CertificateRequired"), "{none}");
    assert!(
        call(Some(&stranger.client(&["ci.example.com"])), "/v1/blobs/d").is_err(),
        "nor with somebody else's"
    );
    eventually("both are counted", || turned_away(&gateway, "tls-handshake") == 2);
    gateway.stop();
    assert_eq!(recorded(&site, "tls-handshake"), 2);
    let trail = site.trail();
    let first = &trail.calls()[0].leaf;
    assert_eq!(
        (first["caller"]["name"].as_str(), first["caller"]["assurance"].as_str()),
        (Some("certified"), Some("certificate"))
    );
    assert_eq!(first["source"]["tls"]["certificate"]["names"][0], "dns:ci.example.com");
}

#[test]
fn tls_and_plain_http_are_not_mistaken_for_each_other() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let plain = Site::new(upstream.address);
    let gateway = plain.serve();
    let started = Instant::now();
    let mut client = gateway.client();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert!(client.is_closed());
    assert!(started.elapsed() < Duration::from_secs(3), "at once");
    eventually("it is counted", || turned_away(&gateway, "tls-on-plain") == 1);
    gateway.stop();
    assert_eq!(recorded(&plain, "tls-on-plain"), 1);

    let site = secure(&upstream, &authority, &["blobs.example.com"], "");
    let gateway = site.serve();
    assert_eq!(
        gateway.client().call(&get("/v1/blobs/a")).refusal(),
        (400, "plain-on-tls".to_owned())
    );
    gateway.stop();
    upstream.assert_untouched();
}

const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A PROXY header of version 2 for a TCP connection from this source.
fn proxied(source: [u8; 4]) -> Vec<u8> {
    [
        PROXY_V2,
        &[0x21, 0x11, 0, 12],
        &source,
        &[10, 0, 0, 1],
        &4711_u16.to_be_bytes(),
        &443_u16.to_be_bytes(),
    ]
    .concat()
}

#[test]
fn a_listed_peer_says_where_a_connection_comes_from_and_must() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("[admin]", "proxy_protocol_from = [\"127.0.0.0/8\"]\n[admin]");
    let gateway = site.serve();
    let mut client = gateway.client();
    client.send(&[proxied([203, 0, 113, 7]), get("/v1/blobs/a").bytes()].concat());
    assert_eq!(client.answer().status, 200);
    // LOCAL: the peer's own connection.
    let mut client = gateway.client();
    client.send(&[PROXY_V2, &[0x20, 0, 0, 0], &get("/v1/blobs/b").bytes()].concat());
    assert_eq!(client.answer().status, 200);
    for wrong in [
        get("/v1/blobs/c").bytes(),
        [b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", get("/v1/blobs/d").bytes().as_slice()]
            .concat(),
        [PROXY_V2, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ] {
        let mut client = gateway.client();
        client.send(&wrong);
        assert!(client.is_closed(), "{}", String::from_utf8_lossy(&wrong));
    }
    eventually("all are counted", || turned_away(&gateway, "proxy-header") == 3);
    gateway.stop();
    assert_eq!(upstream.requests().len(), 2);
    let trail = site.trail();
    let calls: Vec<_> = trail
        .calls()
        .into_iter()
        .filter(|record| record.kind == Kind::Forwarded)
        .map(|record| record.leaf["source"].clone())
        .collect();
    assert_eq!(
        (calls[0]["address"].as_str(), calls[0]["via"].as_str()),
        (Some("203.0.113.7"), Some("127.0.0.1"))
    );
    assert_eq!((calls[1]["address"].as_str(), calls[1].get("via")), (Some("127.0.0.1"), None));
}

#[test]
fn nobody_else_says_where_a_connection_comes_from() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    client.send(&[proxied([203, 0, 113, 7]), get("/v1/blobs/a").bytes()].concat());
    assert_eq!(client.answer().status, 400);
    assert_eq!(
        gateway.client().call(&get("/v1/blobs/a").header("X-Forwarded-For", "203.0.113.7")).status,
        200
    );
    gateway.stop();
    let trail = site.trail();
    for record in trail.calls().iter().filter(|record| record.kind != Kind::Answer) {
        assert_eq!(record.text("/source/address"), "127.0.0.1");
    }
}

#[test]
fn a_listed_peer_forwards_for_others_in_one_plain_way() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("[admin]", "forwarded_for_from = [\"127.0.0.1/32\", \"10.0.0.0/8\"]\n[admin]");
    let gateway = site.serve();
    let call =
        |value: &str| gateway.client().call(&get("/v1/blobs/a").header("X-Forwarded-For", value));
    assert_eq!(call("198.51.100.9, 203.0.113.7, 10.0.0.2").status, 200);
    assert_eq!(call("203.0.113.7, unknown").refusal(), (400, "head-source".to_owned()));
    assert_eq!(
        gateway.client().call(&get("/v1/blobs/a")).refusal(),
        (400, "head-source".to_owned())
    );
    gateway.stop();
    assert_eq!(site.trail().calls()[0].text("/source/address"), "203.0.113.7");
}

#[test]
fn a_slow_head_has_a_deadline_and_a_record() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["limits.head_seconds=1"]);
    let mut slow = gateway.client();
    let started = Instant::now();
    for byte in b"GET /v1/blobs/a HTTP/1.1\r\nHost: blobs.example.com\r\nX-Slow: " {
        slow.send(&[*byte]);
        if started.elapsed() > Duration::from_secs(5) {
            break;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    let answer = slow.answer();
    assert_eq!(answer.refusal(), (408, "head-too-slow".to_owned()));
    // A second head on the same connection has a deadline of its own.
    let mut again = gateway.client();
    assert_eq!(again.call(&get("/v1/blobs/a")).status, 200);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(again.call(&get("/v1/blobs/b")).status, 200, "an idle connection is no slow head");
    again.send(b"GET /v1/blobs/c HTT");
    assert_eq!(again.answer().refusal(), (408, "head-too-slow".to_owned()));
    assert!(gateway.client().is_closed(), "who says nothing is not waited for");
    eventually("and is counted", || turned_away(&gateway, "silent") == 1);
    drop(gateway.client().stream.write_all(b"GET /v1/blo"));
    eventually("a head that is cut is counted", || turned_away(&gateway, "head-cut") == 1);
    gateway.stop();
    let trail = site.trail();
    let record = trail.request(answer.id());
    assert_eq!(
        (record.kind, record.text("/call/method"), record.text("/decision/reason")),
        (Kind::Refused, "GET", "head-too-slow")
    );
    assert!(record.leaf["call"]["raw_head"]["length"].as_u64().unwrap() > 10);
    assert_eq!((recorded(&site, "silent"), recorded(&site, "head-cut")), (1, 1));
}

#[test]
fn what_the_parser_refuses_is_on_record_and_says_why() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let host = "Host: blobs.example.com\r\n";
    let mut refused = Vec::new();
    for (bytes, status, code) in [
        (format!("GET /raw/\u{e4} HTTP/1.1\r\n{host}\r\n"), 400, "target-byte"),
        (format!("CONNECT blobs.example.com:443 HTTP/1.1\r\n{host}\r\n"), 400, "head-method"),
        (format!("GET /raw/a HTTP/1.1\r\n{host}{host}\r\n"), 400, "head-host"),
        (format!("GET /raw/a HTTP/1.1\r\n{host}X A: 1\r\n\r\n"), 400, "head-name"),
        (
            format!("POST /raw/a HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello"),
            400,
            "head-framing",
        ),
        (
            format!("GET /raw/a HTTP/1.1\r\n{host}{}\r\n", "X-Many: 1\r\n".repeat(300)),
            431,
            "head-too-large",
        ),
        (
            format!("GET /raw/a HTTP/1.1\r\n{host}X-Long: {}\r\n\r\n", "y".repeat(900_000)),
            431,
            "head-too-large",
        ),
        ("hello\r\n\r\n".to_owned(), 400, "head-unreadable"),
    ] {
        let mut client = gateway.client();
        client.send(bytes.as_bytes());
        let answer = client.answer();
        assert_eq!(
            answer.refusal(),
            (status, code.to_owned()),
            "{}",
            bytes.chars().take(80).collect::<String>()
        );
        assert!(client.is_closed());
        refused.push((answer.id().to_owned(), code));
    }
    gateway.stop();
    upstream.assert_untouched();
    let trail = site.trail();
    for (id, code) in refused {
        assert_eq!(trail.request(&id).text("/decision/reason"), code);
    }
}

#[test]
fn idle_connections_make_room_for_calls() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["limits.connections_max=8", "limits.head_seconds=60"]);
    let mut flood: Vec<Client> = (0..40).map(|_| gateway.client()).collect();
    for client in &mut flood {
        client.send(b"GET /v1/bl");
    }
    for n in 0..20 {
        assert_eq!(gateway.client().call(&get(&format!("/v1/blobs/{n}"))).status, 200);
    }
    assert!(turned_away(&gateway, "made-room") >= 32);
    assert!(gateway.metric("keyward_connections_open") <= 8);
    drop(flood);
    gateway.stop();
}

#[test]
fn calls_do_not_make_room_and_the_rest_is_told() {
    let latch = crate::support::Latch::default();
    let until = latch.clone();
    let upstream = Upstream::new(move |_| vec![crate::support::Act::Until(until.clone()), ok()]);
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["limits.connections_max=4"]);
    let mut busy: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    for client in &mut busy {
        client.send(&get("/v1/blobs/a").bytes());
    }
    eventually("all four are in the cloud", || upstream.connections() == 4);
    assert_eq!(
        gateway.client().call(&get("/v1/blobs/b")).refusal(),
        (503, "connections-full".to_owned())
    );
    latch.open();
    for client in &mut busy {
        assert_eq!(client.answer().status, 200);
    }
    gateway.stop();
    assert_eq!(recorded(&site, "connections-full"), 1);
}

#[test]
fn what_is_turned_away_is_told_at_once_and_then_once_a_minute_and_at_the_end() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&[
        "limits.connections_max=1",
        "limits.body_seconds=300",
        "limits.idle_seconds=300",
    ]);
    // A call that is under way until the last byte of its body comes.
    let call = Request::new("PUT", "/v1/blobs/a").json(json_of(1000)).bytes();
    let mut busy = gateway.client();
    busy.send(&call[..call.len() - 1]);
    eventually("its body is waited for", || gateway.metric("keyward_buffered_bytes") > 0);
    let refuse = |count: usize| {
        (0..count).for_each(|_| {
            assert_eq!(
                gateway.client().call(&get("/v1/blobs/b")).refusal(),
                (503, "connections-full".to_owned())
            )
        })
    };
    let told = || gateway.json("/api/v1/counts?event=turned-away")["total"].as_u64().unwrap();
    refuse(1);
    eventually("the first is told", || told() == 1);
    let since = Instant::now();
    refuse(3);
    while since.elapsed() < Duration::from_secs(50) {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(told(), 1, "after {:?}", since.elapsed());
    }
    refuse(4);
    while told() == 1 {
        assert!(since.elapsed() < Duration::from_secs(100), "the minute is over");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(turned_away(&gateway, "connections-full"), 8);
    refuse(2);
    busy.send(&call[call.len() - 1..]);
    assert_eq!(busy.answer().status, 200);
    gateway.stop();
    let trail = site.trail();
    let events: Vec<_> =
        trail.0.iter().filter(|record| record.text("/event") == "turned-away").collect();
    let counts: Vec<_> =
        events.iter().map(|event| event.leaf["detail"]["connections"].clone()).collect();
    let of = |count: u64| serde_json::json!({"connections-full": {"total": count, "by_source": {"127.0.0.1": count}}});
    assert_eq!(counts, [of(1), of(7), of(2)]);
    let times: Vec<_> = events
        .iter()
        .map(|event| keyward_core::clock::Timestamp::parse(event.text("/time")).unwrap().0)
        .collect();
    assert!(
        times[1] - times[0] >= 59_000_000_000 && times[1] - times[0] < 90_000_000_000,
        "{times:?}"
    );
}

#[test]
fn a_client_that_does_not_take_its_answer_is_not_waited_for() {
    let upstream = Upstream::always(&[answer(200, &vec![b'x'; 16 * 1024 * 1024])]);
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["limits.answer_seconds=1"]);
    let mut client = gateway.client();
    client.send(&get("/raw/long").bytes());
    eventually("the exchange ends", || {
        gateway.metric("keyward_open_exchanges") == 0 && !upstream.requests().is_empty()
    });
    gateway.stop();
    let trail = site.trail();
    let (_, detail) = trail.only_outcome();
    assert!(detail.contains("the client left"), "{detail}");
}

#[test]
fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site
        .serve_with(&["limits.caller_calls_per_second=2", "limits.stranger_calls_per_second=1"]);
    let answers: Vec<_> =
        (0..12).map(|n| gateway.client().call(&get(&format!("/v1/blobs/{n}")))).collect();
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!limited.is_empty() && limited.len() < 12, "{}", limited.len());
    assert!(limited.iter().all(|answer| answer.code() == "rate-limited"
        && answer.header("retry-after").parse::<u64>().unwrap() >= 1));
    let stranger = |n: u8| {
        gateway
            .client()
            .call(&get("/v1/blobs/a").header("X-Auth-Token", &format!("stranger{n}")))
            .status
    };
    let statuses: Vec<u16> = (0..6).map(stranger).collect();
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    gateway.stop();
    assert_eq!(site.trail().request(limited[0].id()).text("/decision/reason"), "rate-limited");
}

#[test]
fn long_bodies_leave_memory_to_short_ones() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("body_bytes_max = 10485760", "body_bytes_max = 262144");
    let gateway = site.serve_with(&["limits.buffered_bytes_max=524288", "limits.body_seconds=15"]);
    let body = json_of(250_000);
    let whole = Request::new("POST", "/v1/blobs/long").json(body.clone());
    let cut = whole.bytes().len() - 1000;
    let mut hoarders: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    for client in &mut hoarders {
        client.send(&whole.bytes()[..cut]);
    }
    eventually("the budget for long bodies is used up", || {
        gateway.metric("keyward_refusals_total{reason=\"buffers-full\"}") >= 1
    });
    let started = Instant::now();
    assert_eq!(
        gateway.client().call(&Request::new("POST", "/v1/blobs/short").json(json_of(1000))).status,
        200
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(hoarders);
    eventually("all is given back", || gateway.metric("keyward_buffered_bytes") == 0);
    assert_eq!(gateway.client().call(&whole).status, 200);
    gateway.stop();
}

#[test]
fn honest_callers_keep_their_latency_among_hostile_ones() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&[
        "limits.connections_max=64",
        "limits.head_seconds=2",
        "limits.body_seconds=2",
    ]);
    let address = gateway.address;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hostile: Vec<_> = (0..4_u8)
        .map(|kind| {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut held = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { continue };
                    let bytes: &[u8] = match kind {
                        0 => b"",
                        1 => b"GET /v1/blobs/a HTTP/1.1\r\nHost: blobs",
                        2 => b"POST /v1/blobs/a HTTP/1.1\r\nHost: blobs.example.com\r\nContent-Length: 9000000\r\n\r\n{",
                        _ => b"\x16\x03\x01\r\n\r\n GET",
                    };
                    stream.write_all(bytes).ok();
                    held.push(stream);
                    if held.len() > 40 {
                        held.remove(0);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let mut slowest = Duration::ZERO;
    for n in 0..60 {
        let started = Instant::now();
        // As every client does: a connection that was closed before anything was sent is opened
        // anew.
        let served =
            (0..3).any(|_| gateway.client().call(&get(&format!("/v1/blobs/{n}"))).status == 200);
        assert!(served, "call {n}");
        slowest = slowest.max(started.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    hostile.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    gateway.stop();
}

#[test]
fn a_handshake_that_fails_says_why() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let site = secure(&upstream, &authority, &["blobs.example.com"], "");
    let gateway = site.serve();
    let config = client_config(&authority, None, &[b"http/1.0"]);
    let error = dial(gateway.address, &config, "blobs.example.com")
        .and_then(|mut stream| stream.write_all(b"x"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    eventually("it is counted", || turned_away(&gateway, "tls-handshake") == 1);
    gateway.stop();
}

#[test]
fn half_a_handshake_is_not_waited_for() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let site = secure(&upstream, &authority, &["blobs.example.com"], "");
    let gateway = site.serve_with(&["limits.head_seconds=1"]);
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"\x16\x03\x01\x02").unwrap();
    assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    eventually("it is counted", || turned_away(&gateway, "silent") == 1);
    gateway.stop();
}
