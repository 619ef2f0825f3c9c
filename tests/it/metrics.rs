//! What Prometheus and auditors get: bounded series, and nothing for pages under other names.

use crate::support::{Client, Request, Site, Upstream};
use std::collections::BTreeSet;

fn series(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn what_callers_invent_makes_no_new_series() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let invent = |tag: &str| {
        for n in 0..20 {
            let mut client = gateway.client();
            for target in [format!("/v1/{tag}/{n}"), format!("/v1/blobs/{tag}{n}"), format!("/raw/{tag}/{n}"), format!("/{tag}{n}?q={n}")] {
                client.call(&Request::new("GET", &target));
                client.call(&Request::new("POST", &target).header("Host", &format!("{tag}{n}.example.com")));
                client.call(&Request::new("DELETE", &target).header("X-Auth-Token", &format!("unknown-{tag}-{n}")));
            }
            gateway.client().call(&Request::new(&format!("{}{n}", tag.to_ascii_uppercase()), "/raw/x"));
        }
    };
    invent("first");
    let first = gateway.metrics();
    invent("second");
    let second = gateway.metrics();
    assert_eq!(series(&first), series(&second));
    for invented in ["first", "second"] {
        assert!(!series(&second).iter().any(|name| name.contains('{') && name.to_lowercase().contains(&format!("=\"{invented}"))), "{invented} is a label");
    }
    assert!(series(&second).contains(r#"keyward_requests_total{action="unknown",decision="deny",reason="host-unknown",service="unknown"}"#), "{second}");
    assert!(series(&second).contains(r#"keyward_requests_total{action="passing",decision="allow",reason="passing",service="test.blobs"}"#), "{second}");
}

#[test]
fn a_page_under_another_name_cannot_ask_the_admin() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let port = gateway.admin.port();
    for (host, status) in [("127.0.0.1", 200), ("localhost", 200), ("[::1]", 200), ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421)] {
        let mut client = Client::new(gateway.admin);
        client.send(format!("GET /api/v1/exchanges HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(client.answer().status, status, "{host}");
    }
    gateway.stop();
}
