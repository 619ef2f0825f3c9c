//! Where calls go: by Host or by listener, over TLS that is always verified.

use crate::support::upstream::{ok, raw};
use crate::support::{Act, Gateway, Request, Site, TOKEN, Upstream, eventually, json_of, skipped};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A cloud that speaks TLS under the given name, for one connection. Its receiver gets what it
/// could decrypt.
fn secure(name: &str) -> (SocketAddr, String, Receiver<Vec<u8>>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream =
            rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
        let mut buffer = [0; 64 * 1024];
        let read = stream.read(&mut buffer).unwrap_or(0);
        heard.send(buffer[..read].to_vec()).ok();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").ok();
        stream.flush().ok();
    });
    (address, cert.pem(), hears)
}

/// One call to a site whose upstream is `https://localhost`, trusting `ca`.
fn call(upstream: SocketAddr, ca: &str) -> (u16, String, (String, String)) {
    let site = Site::new(upstream);
    site.rewrite(
        &format!("url = \"http://{upstream}\""),
        &format!("url = \"https://localhost:{}\"", upstream.port()),
    );
    std::fs::write(site.path("ca.pem"), ca).unwrap();
    let gateway = site.serve_with(&["upstreams.ca_file=ca.pem"]);
    let answer = gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100)));
    let code = answer.refusal().1;
    gateway.settle();
    if code == "upstream-unreachable" {
        assert_eq!(
            gateway.metric(r#"keyward_upstream_errors_total{class="tls",service="test.blobs"}"#),
            1
        );
    }
    gateway.stop();
    let trail = site.trail();
    let (outcome, detail) = trail.only_outcome();
    (answer.status, code, (outcome.to_owned(), detail.to_owned()))
}

#[test]
fn an_upstream_that_the_given_authority_vouches_for_is_used() {
    let (address, pem, heard) = secure("localhost");
    let (status, _, (outcome, detail)) = call(address, &pem);
    assert_eq!((status, outcome.as_str()), (200, "succeeded"), "{detail}");
    assert!(heard.recv().unwrap().starts_with(b"POST /v1/blobs/x HTTP/1.1\r\n"));
}

#[test]
fn an_upstream_that_nobody_vouches_for_gets_nothing() {
    let (address, _, heard) = secure("localhost");
    let (_, other, _) = secure("localhost");
    let (status, code, (outcome, detail)) = call(address, &other);
    assert_eq!(
        (status, code.as_str(), outcome.as_str()),
        (502, "upstream-unreachable", "not-sent"),
        "{detail}"
    );
    assert_eq!(heard.recv().unwrap(), b"");
}

/// The clouds' CA is changed under a running gateway, to a file of the same time, and back to one
/// that is none.
#[test]
fn another_authority_counts_as_soon_as_its_file_is_there() {
    let (address, old, _heard) = secure("localhost");
    let (other, new, heard) = secure("localhost");
    let site = Site::new(address);
    site.rewrite(
        &format!("url = \"http://{address}\""),
        &format!("url = \"https://localhost:{}\"", other.port()),
    );
    let ca = site.path("ca.pem");
    std::fs::write(&ca, &old).unwrap();
    let time = std::fs::metadata(&ca).unwrap().modified().unwrap();
    let gateway = site.serve_with(&["upstreams.ca_file=ca.pem"]);
    std::fs::write(&ca, "no certificate").unwrap();
    eventually("a bad file is said", || site.log().contains("ca.pem: holds no certificate"));
    std::fs::write(&ca, old + &new).unwrap();
    std::fs::File::options().append(true).open(&ca).unwrap().set_modified(time).unwrap();
    eventually("the new file is loaded", || {
        site.log().contains("CA certificates of upstreams are loaded anew")
    });
    let answer = gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100)));
    assert_eq!(answer.status, 200);
    assert!(heard.recv().unwrap().starts_with(b"POST /v1/blobs/x HTTP/1.1\r\n"));
    gateway.stop();
    let events: Vec<String> = site.trail().events().collect();
    assert_eq!(events, ["started", "certificates-refused", "certificates-loaded", "stopped"]);
}

/// Connections that wait for the next call: the gateway ends them before the cloud does, and looks
/// at them before it sends.
#[test]
fn no_call_goes_to_a_connection_that_has_ended() {
    let closing = [ok(), Act::Wait(Duration::from_millis(5)), Act::Close];
    let upstream = Upstream::always(&closing);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    for _ in 0..20 {
        assert_eq!(
            gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100))).status,
            200
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(
        (upstream.requests().len(), upstream.connections()),
        (20, 20),
        "nothing is sent twice"
    );
    gateway.stop();

    let head = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\n{}";
    for (answer, idle) in [(ok(), "300"), (raw(head), "15000")] {
        let upstream = Upstream::always(&[answer]);
        let site = Site::new(upstream.address);
        let gateway = site.serve_with(&[&format!("upstreams.idle_ms={idle}")]);
        let call = || {
            gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100))).status
        };
        assert_eq!(
            (call(), call(), upstream.connections()),
            (200, 200, 1),
            "one connection for calls in a row"
        );
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!((call(), upstream.connections()), (200, 2), "{idle}");
        gateway.stop();
    }
}

#[test]
fn an_upstream_can_be_an_ipv6_address() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return skipped("an_upstream_can_be_an_ipv6_address", "there is no IPv6 here");
    };
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 64 * 1024]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    });
    let site = Site::new(address);
    let gateway = site.serve();
    assert_eq!(
        gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100))).status,
        200
    );
    gateway.stop();
}

#[test]
fn a_proxy_in_the_environment_is_said_not_to_be_used() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = Gateway::start_watched(
        &site,
        &[],
        &[("HTTPS_PROXY".to_owned(), "http://127.0.0.1:1".to_owned())],
    );
    assert_eq!(
        gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100))).status,
        200
    );
    site.logs("HTTPS_PROXY, which is not used");
    gateway.stop();
}

#[test]
fn an_upstream_with_another_name_gets_nothing() {
    let (address, pem, heard) = secure("elsewhere.example.com");
    let (status, code, (outcome, detail)) = call(address, &pem);
    assert_eq!(
        (status, code.as_str(), outcome.as_str()),
        (502, "upstream-unreachable", "not-sent"),
        "{detail}"
    );
    assert_eq!(heard.recv().unwrap(), b"");
}

#[test]
fn a_listener_can_stand_for_a_service_whatever_the_host() {
    let upstream = Upstream::always(&[ok()]);
    let site = Site::new(upstream.address);
    site.rewrite("[[listener]]\n", "[[listener]]\nservice = \"test.blobs\"\n");
    site.rewrite(r#"hosts = ["blobs.example.com"]"#, r#"service = "test.blobs""#);
    let gateway = site.serve();
    let host = site.address.to_string();
    let head = format!("GET /v1/blobs/x HTTP/1.1\r\nHost: {host}\r\nx-auth-token: {TOKEN}\r\n\r\n");
    let mut client = gateway.client();
    client.send(head.as_bytes());
    assert_eq!(client.answer().status, 200);
    assert!(upstream.only().head.contains(&host), "Host goes on as it came");
    gateway.stop();
}

#[test]
fn a_host_is_known_whatever_its_case_and_port_and_no_other_is() {
    let upstream = Upstream::always(&[ok()]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    for (host, status) in [
        ("BLOBS.Example.com", 200),
        ("blobs.example.com:443", 200),
        ("blobs.example.com.evil.example", 403),
        ("xblobs.example.com", 403),
        ("127.0.0.1", 403),
    ] {
        let mut client = gateway.client();
        client.send(
            format!("GET /v1/blobs/x HTTP/1.1\r\nHost: {host}\r\nx-auth-token: {TOKEN}\r\n\r\n")
                .as_bytes(),
        );
        let answer = client.answer();
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.refusal().1 == "host-unknown", status == 403, "{host}");
    }
    gateway.stop();
}
