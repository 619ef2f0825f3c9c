//! What Prometheus and auditors get: bounded series, and nothing for pages under other names.

use crate::support::upstream::ok;
use crate::support::{Act, Client, Request, Site, Upstream};
use std::collections::BTreeSet;
use std::time::Duration;

fn series(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn what_callers_invent_makes_no_new_series() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let invent = |tag: &str| {
        for n in 0..20 {
            let mut client = gateway.client();
            for target in [
                format!("/v1/{tag}/{n}"),
                format!("/v1/blobs/{tag}{n}"),
                format!("/raw/{tag}/{n}"),
                format!("/{tag}{n}?q={n}"),
            ] {
                client.call(&Request::new("GET", &target));
                client.call(
                    &Request::new("POST", &target).header("Host", &format!("{tag}{n}.example.com")),
                );
                client.call(
                    &Request::new("DELETE", &target)
                        .header("X-Auth-Token", &format!("unknown-{tag}-{n}")),
                );
            }
            gateway
                .client()
                .call(&Request::new(&format!("{}{n}", tag.to_ascii_uppercase()), "/raw/x"));
        }
    };
    invent("first");
    let first = gateway.metrics();
    invent("second");
    let second = gateway.metrics();
    assert_eq!(series(&first), series(&second));
    for invented in ["first", "second"] {
        assert!(
            !series(&second).iter().any(|name| name.contains('{')
                && name.to_lowercase().contains(&format!("=\"{invented}"))),
            "{invented} is a label"
        );
    }
    assert!(series(&second).contains(r#"keyward_requests_total{action="unknown",decision="deny",reason="host-unknown",service="unknown"}"#), "{second}");
    assert!(series(&second).contains(r#"keyward_requests_total{action="passing",decision="allow",reason="passing",service="test.blobs"}"#), "{second}");
}

/// A counter that appears with its first 1 shows no rise: what is known beforehand is there from
/// the first scrape.
#[test]
fn what_can_be_counted_is_there_before_it_happens() {
    let upstream = Upstream::always(&[Act::Wait(Duration::from_millis(300)), ok()]);
    let site = Site::new(upstream.address);
    let folder = site.path("bucket");
    std::fs::create_dir(&folder).unwrap();
    site.append("[evidence]\ndirectory = \"bucket\"\n[[push]]\nname = \"siem\"\nurl = \"https://localhost:1\"\nca_file = \"ca.pem\"\n");
    std::fs::write(
        site.path("ca.pem"),
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem(),
    )
    .unwrap();
    let gateway = site.serve();
    let text = gateway.metrics();
    let there = series(&text);
    for wanted in [
        r#"keyward_upstream_errors_total{class="connect",service="test.blobs"}"#,
        r#"keyward_upstream_errors_total{class="timeout",service="test.blobs"}"#,
        r#"keyward_refusals_total{reason="policy-forbids"}"#,
        r#"keyward_refusals_total{reason="journal-unavailable"}"#,
        r#"keyward_turned_away_total{class="tls-handshake"}"#,
        r#"keyward_checkpoint_failures_total{place="tree"}"#,
        r#"keyward_checkpoint_failures_total{place="directory"}"#,
        r#"keyward_push_failures_total{push="siem"}"#,
        r#"keyward_push_lines_total{push="siem"}"#,
        r#"keyward_journal_records_total{kind="refused"}"#,
        r#"keyward_stage_seconds_count{stage="upstream"}"#,
        r#"keyward_stage_seconds_bucket{stage="total",le="60"}"#,
    ] {
        assert!(there.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!there.iter().any(|name| name.contains("reason=\"permitted\"")), "{text}");
    assert_eq!(
        gateway
            .client()
            .call(&Request::new("POST", "/v1/blobs/x").json(br#"{"data":"x"}"#.to_vec()))
            .status,
        200
    );
    gateway.settle();
    assert_eq!(gateway.metric(r#"keyward_stage_seconds_count{stage="upstream"}"#), 1);
    assert_eq!(gateway.metric(r#"keyward_stage_seconds_bucket{stage="upstream",le="0.25"}"#), 0);
    assert_eq!(gateway.metric(r#"keyward_stage_seconds_bucket{stage="upstream",le="20"}"#), 1);
    gateway.stop();
}

#[test]
fn a_page_under_another_name_cannot_ask_the_admin() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["admin.hosts=[\"Keyward.internal\"]"]);
    let port = gateway.admin.port();
    let (own, others) = (
        ["127.0.0.1", "localhost", "[::1]", "keyward.internal", "KEYWARD.INTERNAL"],
        ["evil.example", "127.0.0.1.evil.example", "x.keyward.internal", ""],
    );
    for (host, status) in
        own.map(|host| (host, 200)).into_iter().chain(others.map(|host| (host, 421)))
    {
        let mut client = Client::new(gateway.admin);
        client.send(
            format!(
                "GET /api/v1/exchanges HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
            )
            .as_bytes(),
        );
        assert_eq!(client.answer().status, status, "{host}");
    }
    gateway.stop();
}
