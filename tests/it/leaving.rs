//! What stands around a gateway: a service manager that starts and ends it, and balancers that ask
//! how it is.

use crate::support::cli::keyward_fails;
use crate::support::tls::{Authority, client_config, dial};
use crate::support::upstream::ok;
use crate::support::{Act, Client, Gateway, Latch, Request, Site, Upstream, eventually};
use crate::survival::shim::Shim;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

fn call(name: &str) -> Request {
    Request::new("GET", &format!("/v1/blobs/{name}"))
}

#[test]
fn with_a_delay_calls_are_taken_while_balancers_are_told_to_go_elsewhere() {
    let latch = Latch::default();
    let waits = latch.clone();
    let upstream = Upstream::new(move |request| {
        if request.line().contains("/slow ") {
            vec![Act::Until(waits.clone()), ok()]
        } else {
            vec![ok()]
        }
    });
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["gateway.drain_delay_seconds=3"]);
    let mut kept = gateway.client();
    assert_eq!(kept.call(&call("before")).header("connection"), "keep-alive");
    let mut slow = gateway.client();
    slow.send(&call("slow").bytes());
    eventually("a call is under way", || upstream.requests().len() == 2);
    let asked = Instant::now();
    gateway.terminate();
    eventually("it is not ready any more", || gateway.ready() == (503, "stopping\n".to_owned()));
    for client in [&mut kept, &mut gateway.client()] {
        let answer = client.call(&call("during"));
        assert_eq!(
            (answer.status, answer.whole, answer.header("connection")),
            (200, true, "close")
        );
        assert!(client.is_closed());
    }
    eventually("the listener closes", || {
        Client::try_new(gateway.address).map_or(true, |mut client| client.is_closed())
    });
    assert!(asked.elapsed() >= Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(gateway.ready().0, 503, "the admin stays to the end");
    latch.open();
    let answer = slow.answer();
    assert_eq!((answer.status, answer.whole, answer.header("connection")), (200, true, "close"));
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(site.trail().calls().len(), 8);
}

#[test]
fn whoever_asks_twice_does_not_wait() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["gateway.drain_delay_seconds=600"]);
    gateway.terminate();
    eventually("it is not ready any more", || gateway.ready().0 == 503);
    assert_eq!(gateway.client().call(&call("during")).status, 200);
    gateway.stop();
}

/// What is told next.
fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

/// What is told next, beside that it lives.
fn news(socket: &UnixDatagram) -> String {
    std::iter::repeat_with(|| told(socket)).find(|told| told != "WATCHDOG=1").unwrap()
}

#[test]
fn a_service_manager_is_told_what_becomes_of_it() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let path = site.path("notify");
    let hidden = format!("keyward-{}", std::process::id());
    for (name, address) in [
        (path.display().to_string(), SocketAddr::from_pathname(&path).unwrap()),
        (format!("@{hidden}"), SocketAddr::from_abstract_name(&hidden).unwrap()),
    ] {
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let env =
            [("NOTIFY_SOCKET".to_owned(), name), ("WATCHDOG_USEC".to_owned(), "400000".to_owned())];
        let gateway = Gateway::start_watched(&site, &[], &env);
        assert_eq!(news(&socket), "READY=1");
        let started = Instant::now();
        let beats = (0..10).map(|_| told(&socket)).filter(|told| told == "WATCHDOG=1").count();
        assert_eq!(beats, 10);
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "twice in the time that it has: {:?}",
            started.elapsed()
        );
        gateway.reload();
        let reloading = news(&socket);
        let since = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap_or_else(|| panic!("{reloading}"));
        assert!(since.parse::<u64>().unwrap() > 0);
        assert_eq!(news(&socket), "READY=1");
        gateway.terminate();
        assert_eq!(news(&socket), "STOPPING=1");
        assert!(gateway.wait().success());
    }
}

#[test]
fn a_service_manager_that_does_not_listen_holds_nothing_up() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let path = site.path("notify");
    let full = UnixDatagram::bind(&path).unwrap();
    let watchdog = ("WATCHDOG_USEC".to_owned(), "100000".to_owned());
    let gateway = Gateway::start_watched(
        &site,
        &[],
        &[("NOTIFY_SOCKET".to_owned(), path.display().to_string()), watchdog.clone()],
    );
    // Longer than it takes to fill the queue.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(gateway.client().call(&call("a")).status, 200);
    gateway.stop();
    drop(full);
    let gateway = Gateway::start_watched(
        &site,
        &[],
        &[("NOTIFY_SOCKET".to_owned(), "vsock:1:2".to_owned()), watchdog],
    );
    assert_eq!(gateway.client().call(&call("a")).status, 200);
    gateway.stop();
    site.logs("NOTIFY_SOCKET cannot be used");
}

/// A journal that has failed for good is told to whoever can start the gateway anew: at `/healthz`,
/// and by silence.
#[test]
fn whoever_supervises_is_told_of_a_journal_that_has_ended() {
    const EIO: i32 = 5;
    let Some(shim) = Shim::build("whoever_supervises_is_told") else { return };
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    std::fs::create_dir_all(&site.audit).unwrap();
    let (socket, points) = (UnixDatagram::bind(site.path("notify")).unwrap(), shim.file("points"));
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    // Behind what a start, an end and some calls write.
    let fail = ("SHIM_FAIL", format!("400+:{EIO}"));
    let mut env =
        shim.watching(&site.audit, &[("SHIM_POINTS", points.display().to_string()), fail]);
    env.push(("NOTIFY_SOCKET".to_owned(), site.path("notify").display().to_string()));
    env.push(("WATCHDOG_USEC".to_owned(), "400000".to_owned()));
    let gateway = Gateway::start_watched(&site, &[], &env);
    assert_eq!(news(&socket), "READY=1");
    assert_eq!(
        (told(&socket), gateway.health()),
        ("WATCHDOG=1".to_owned(), (200, "ok\n".to_owned()))
    );
    let mut acknowledged = Vec::new();
    let mut client = gateway.client();
    eventually("the journal ends", || {
        let answer = client.call(&call("a"));
        match answer.status {
            200 => acknowledged.push(answer.id().to_owned()),
            _ => client = gateway.client(),
        }
        gateway.health().0 == 503
    });
    let (_, said) = gateway.health();
    assert!(
        said.contains("the journal has failed") && said.contains("restart the gateway"),
        "{said}"
    );
    assert_eq!(gateway.ready(), (503, said));
    assert_eq!(
        gateway.client().call(&call("b")).refusal(),
        (503, "journal-unavailable".to_owned())
    );
    // What was told before may still wait to be read.
    socket.set_nonblocking(true).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    while socket.recv(&mut [0; 64]).is_ok() {}
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        socket.recv(&mut [0; 64]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "seven pings were due"
    );
    gateway.kill();
    let gateway = site.serve();
    assert!(
        !acknowledged.is_empty()
            && acknowledged.iter().all(|id| gateway.exchange(id)["outcome"] == "succeeded"),
        "{acknowledged:?}"
    );
    gateway.stop();
    crate::survival::check_verified(&site);
}

/// A health check, as balancers ask: by address.
fn check(line: &str, more: &str) -> Vec<u8> {
    format!("{line}\r\nHost: 10.0.0.5:8080\r\nUser-Agent: a-balancer/1.0\r\n{more}\r\n")
        .into_bytes()
}

fn ask(gateway: &Gateway, bytes: &[u8]) -> crate::support::Answer {
    let mut client = gateway.client();
    client.send(bytes);
    if bytes.starts_with(b"HEAD") { client.answer_without_body() } else { client.answer() }
}

#[test]
fn health_checks_are_answered_and_not_on_record_and_lead_nothing_past_the_gate() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("[admin]", "health_path = \"/healthz\"\n[admin]");
    let gateway = site.serve_with(&["gateway.drain_delay_seconds=2"]);
    for line in ["GET /healthz HTTP/1.1", "GET /healthz HTTP/1.0", "HEAD /healthz HTTP/1.1"] {
        let answer = ask(&gateway, &check(line, ""));
        assert_eq!(
            (answer.status, answer.id(), answer.header("x-request-id")),
            (200, "", ""),
            "{line}"
        );
        assert!(line.starts_with("HEAD") || answer.body == b"ok\n", "{line}");
    }
    assert_eq!(gateway.metric("keyward_health_checks_total"), 3);
    // Whatever is not exactly that is a call.
    let calls = [
        check("GET /healthz?x=1 HTTP/1.1", ""),
        check("GET /healthz/ HTTP/1.1", ""),
        check("GET //healthz HTTP/1.1", ""),
        check("GET /%68ealthz HTTP/1.1", ""),
        check("GET http://10.0.0.5/healthz HTTP/1.1", ""),
        check("POST /healthz HTTP/1.1", "Content-Length: 0\r\n"),
        check("OPTIONS /healthz HTTP/1.1", ""),
        [check("GET /healthz HTTP/1.1", "Content-Length: 2\r\n"), b"{}".to_vec()].concat(),
        [check("GET /healthz HTTP/1.1", "Transfer-Encoding: chunked\r\n"), b"0\r\n\r\n".to_vec()]
            .concat(),
        check("GET /healthz HTTP/1.1", "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        check("GET /healthz HTTP/1.1", "Authorization: Bearer x\r\n"),
        check("GET /healthz HTTP/1.1", "X-Forwarded-For: 203.0.113.7\r\n"),
        [check("GET /healthz HTTP/1.1", ""), Request::new("DELETE", "/v1/blobs/x").bytes()]
            .concat(),
    ];
    for bytes in &calls {
        let answer = ask(&gateway, bytes);
        assert!(
            answer.status >= 400 && !answer.id().is_empty(),
            "{}: {answer:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    upstream.assert_untouched();
    gateway.terminate();
    eventually("it says so here too", || {
        ask(&gateway, &check("GET /healthz HTTP/1.1", "")).status == 503
    });
    assert!(gateway.wait().success());
    assert_eq!(site.trail().calls().len(), calls.len());
}

#[test]
fn only_listed_sources_are_told_and_no_path_of_a_cloud_is_taken_for_a_check() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("[admin]", "health_path = \"/healthz\"\nhealth_from = [\"10.0.0.0/8\"]\n[admin]");
    let gateway = site.serve();
    assert_eq!(ask(&gateway, &check("GET /healthz HTTP/1.1", "")).code(), "host-unknown");
    gateway.stop();
    site.rewrite("10.0.0.0/8", "127.0.0.0/8");
    let gateway = site.serve();
    assert_eq!(ask(&gateway, &check("GET /healthz HTTP/1.1", "")).status, 200);
    gateway.stop();
    assert_eq!(site.trail().calls().len(), 1);
    for (path, why) in [
        ("/raw/x", "a path of a cloud"),
        ("/v1/blobs/x", "a path of a cloud"),
        ("healthz", "cannot be"),
        ("/a?b", "cannot be"),
    ] {
        site.rewrite("health_path = \"", &format!("health_path = \"{path}\" # \""));
        let said =
            keyward_fails(&["check", "--config", &site.path("keyward.toml").display().to_string()]);
        assert!(said.contains(why) && said.contains(path), "{said}");
        site.rewrite(&format!("health_path = \"{path}\" # \""), "health_path = \"");
    }
}

/// The frames that come, until the connection ends: kind, flags and payload.
fn frames(stream: &mut impl Read) -> Vec<(u8, u8, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        frames.push((head[3], head[4], payload));
    }
    frames
}

#[test]
fn health_checks_come_by_tls_and_http2_and_a_connection_of_http2_is_told_to_go() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let authority = Authority::new();
    authority.write(&site, "gateway", &["gateway.test"]);
    site.rewrite("[admin]", "health_path = \"/healthz\"\n[listener.tls]\ncertificates = [{ chain = \"gateway.pem\", key = \"gateway.key\" }]\n[admin]");
    let gateway = site.serve();
    let mut http1 =
        dial(gateway.address, &client_config(&authority, None, &[b"http/1.1"]), "gateway.test")
            .unwrap();
    http1.write_all(&check("GET /healthz HTTP/1.1", "")).unwrap();
    let mut answer = Vec::new();
    http1.read_to_end(&mut answer).ok();
    assert_eq!(Client::parse(&answer).body, b"ok\n");

    let mut http2 =
        dial(gateway.address, &client_config(&authority, None, &[b"h2"]), "gateway.test").unwrap();
    // Literal headers without an index: method, scheme, authority, path.
    let block: Vec<u8> = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "10.0.0.5"),
        (":path", "/healthz"),
    ]
    .iter()
    .flat_map(|(name, value)| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    })
    .collect();
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1],
        &block,
    ]
    .concat();
    http2.write_all(&request).unwrap();
    eventually("both are counted", || gateway.metric("keyward_health_checks_total") == 2);
    gateway.terminate();
    let frames = frames(&mut http2);
    assert!(frames.iter().any(|(kind, _, payload)| *kind == 0 && payload == b"ok\n"), "{frames:?}");
    assert!(
        frames.iter().any(|(kind, _, payload)| *kind == 7 && payload[4..8] == [0; 4]),
        "GOAWAY without an error: {frames:?}"
    );
    assert!(gateway.wait().success());
    assert_eq!(site.trail().calls().len(), 0);
}
