//! Real receivers, restarted under load: what is confirmed is there.

use crate::support::cli::keyward;
use crate::support::load::Load;
use crate::support::rsyslog::Rsyslog;
use crate::support::{Gateway, Site, Upstream, eventually};
use serde_json::Value;
use std::collections::HashSet;
use std::net::TcpListener;
use std::time::Duration;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A site with a trail that has something to send on.
fn site(upstream: &Upstream, records: u32) -> Site {
    let site = Site::new(upstream.address);
    keyward(&["audit", "generate", "--records", &records.to_string(), "--dir", site.audit.to_str().unwrap()]);
    site
}

/// The state of the one push.
fn state(gateway: &Gateway) -> Value {
    gateway.json("/api/v1/pushes")[0].clone()
}

/// Records that are confirmed.
fn confirmed(gateway: &Gateway) -> u64 {
    state(gateway)["cursor"].as_u64().unwrap()
}

/// All but the last record, which says that the gateway stopped.
fn check_all_there(site: &Site, received: &str) {
    let there: HashSet<&str> = received.lines().collect();
    let trail = site.trail();
    let wanted = &trail.0[..trail.0.len() - 1];
    let missing: Vec<_> =
        wanted.iter().enumerate().filter(|(_, record)| !there.contains(std::str::from_utf8(&record.bytes).unwrap())).map(|(seq, _)| seq).collect();
    assert!(missing.is_empty(), "{} of {} records are missing: {missing:?}", missing.len(), wanted.len());
}

/// rsyslog, stopped in order and killed while records come in, with its queue in memory: all that was confirmed is there.
fn rsyslog_has_every_record(test: &str, driver: &str) {
    if !Rsyslog::is_there(test, driver) {
        return;
    }
    let upstream = Upstream::ok();
    let site = site(&upstream, 4_000);
    Rsyslog::prepare(&site);
    let port = free_port();
    let bare = driver == "gtls";
    site.append(&format!(
        "[[push]]\nname = \"logs\"\nurl = \"tls://localhost:{port}\"\nca_file = \"rsyslog/cert.pem\"\naccept_bare_close = {bare}\nresend_seconds = 2\n"
    ));
    let gateway = site.serve_args(&["--accept-trail", "made up for this test"]);
    let load = Load::start(&site);
    for round in 0..6 {
        let rsyslog = Rsyslog::start(&site, port, driver);
        let before = Rsyslog::received(&site).len();
        eventually("rsyslog takes some", || Rsyslog::received(&site).len() > before);
        std::thread::sleep(Duration::from_millis(40 * round));
        match round % 3 {
            2 => drop(rsyslog),
            _ => rsyslog.stop(),
        }
        load.more(5);
    }
    let rsyslog = Rsyslog::start(&site, port, driver);
    let before = confirmed(&gateway);
    eventually("more is confirmed", || confirmed(&gateway) > before);
    load.stop();
    gateway.settle();
    eventually("all is confirmed", || state(&gateway)["lag_records"] == 0);
    let shown = state(&gateway)["confirmation"].to_string();
    assert!(shown.contains("syslog confirms nothing") && shown.contains("for 2 s"), "{shown}");
    rsyslog.stop();
    gateway.stop();
    check_all_there(&site, &Rsyslog::received(&site));
}

#[test]
fn rsyslog_with_gnutls_has_every_record() {
    rsyslog_has_every_record("rsyslog_with_gnutls_has_every_record", "gtls");
}

#[test]
fn rsyslog_with_openssl_has_every_record() {
    rsyslog_has_every_record("rsyslog_with_openssl_has_every_record", "ossl");
}
