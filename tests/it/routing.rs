//! Where calls go: by Host or by listener, over TLS that is always verified.

use crate::support::upstream::ok;
use crate::support::{Request, Site, TOKEN, Upstream, json_of};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// A cloud that speaks TLS under the given name, for one connection. Its receiver gets what it could decrypt.
fn secure(name: &str) -> (SocketAddr, String, Receiver<Vec<u8>>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
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
    site.rewrite(&format!("url = \"http://{upstream}\""), &format!("url = \"https://localhost:{}\"", upstream.port()));
    std::fs::write(site.path("ca.pem"), ca).unwrap();
    let gateway = site.serve_with(&["upstreams.ca_file=ca.pem"]);
    let answer = gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100)));
    let code = answer.refusal().1;
    gateway.settle();
    if code == "upstream-unreachable" {
        assert_eq!(gateway.metric(r#"keyward_upstream_errors_total{class="tls",service="test.blobs"}"#), 1);
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
    assert_eq!((status, code.as_str(), outcome.as_str()), (502, "upstream-unreachable", "not-sent"), "{detail}");
    assert_eq!(heard.recv().unwrap(), b"");
}

#[test]
fn an_upstream_with_another_name_gets_nothing() {
    let (address, pem, heard) = secure("elsewhere.example.com");
    let (status, code, (outcome, detail)) = call(address, &pem);
    assert_eq!((status, code.as_str(), outcome.as_str()), (502, "upstream-unreachable", "not-sent"), "{detail}");
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
    for (host, status) in
        [("BLOBS.Example.com", 200), ("blobs.example.com:443", 200), ("blobs.example.com.evil.example", 403), ("xblobs.example.com", 403), ("127.0.0.1", 403)]
    {
        let mut client = gateway.client();
        client.send(format!("GET /v1/blobs/x HTTP/1.1\r\nHost: {host}\r\nx-auth-token: {TOKEN}\r\n\r\n").as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.refusal().1 == "host-unknown", status == 403, "{host}");
    }
    gateway.stop();
}
