//! Real receivers, restarted under load: what is confirmed is there.

use crate::support::cli::keyward;
use crate::support::load::Load;
use crate::support::rsyslog::Rsyslog;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of, skipped};
use serde_json::Value;
use std::collections::HashSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A site with a trail that has something to send on.
fn site(upstream: &Upstream, records: u32) -> Site {
    let site = Site::new(upstream.address);
    keyward(&[
        "audit",
        "generate",
        "--records",
        &records.to_string(),
        "--dir",
        site.audit.to_str().unwrap(),
    ]);
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
    let missing: Vec<_> = wanted
        .iter()
        .enumerate()
        .filter(|(_, record)| !there.contains(std::str::from_utf8(&record.bytes).unwrap()))
        .map(|(seq, _)| seq)
        .collect();
    assert!(
        missing.is_empty(),
        "{} of {} records are missing: {missing:?}",
        missing.len(),
        wanted.len()
    );
}

/// rsyslog, stopped in order and killed while records come in, with its queue in memory: all that
/// was confirmed is there.
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

/// A receiver of POSTs as a process of its own. Dropped, it is killed.
struct Http(Child);

impl Http {
    /// One that takes bodies of `limit` bytes, and answers 429 to each `busy`th POST.
    fn start(site: &Site, port: u16, limit: usize, busy: usize) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/receiver.py");
        let mut command = Command::new("python3");
        command.args([script, &port.to_string(), &limit.to_string(), &busy.to_string()]);
        command
            .args([site.path("receiver.pem"), site.path("receiver.key"), site.path("received")])
            .stdin(Stdio::null());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(site.path("receiver.stderr"))
            .unwrap();
        Self(command.stderr(log).spawn().unwrap())
    }

    /// Its answers: status, bytes, seconds, and the headers that let keyward in.
    fn answers(site: &Site) -> Vec<(u16, usize, f64, String)> {
        let log = std::fs::read_to_string(site.path("received.log")).unwrap_or_default();
        let line = |line: &str| {
            let mut parts = line.splitn(4, ' ');
            let mut next = || parts.next().unwrap().to_owned();
            (next().parse().unwrap(), next().parse().unwrap(), next().parse().unwrap(), next())
        };
        log.lines().map(line).collect()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A site that pushes to such a receiver, which wants Splunk's token and another header.
fn http_site(upstream: &Upstream, records: u32, port: u16, form: &str) -> Site {
    let site = site(upstream, records);
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(site.path("receiver.pem"), cert.pem()).unwrap();
    std::fs::write(site.path("receiver.key"), signing_key.serialize_pem()).unwrap();
    std::fs::write(site.path("siem.token"), "the-token-x\n").unwrap();
    std::fs::set_permissions(site.path("siem.token"), std::fs::Permissions::from_mode(0o600))
        .unwrap();
    site.append(&format!(
        "[[push]]\nname = \"siem\"\nurl = \"https://localhost:{port}/in\"\nform = \"{form}\"\nca_file = \"receiver.pem\"\n\
         token_file = \"siem.token\"\ntoken_scheme = \"Splunk\"\nheaders = {{ X-Channel = \"0a1b\" }}\n"
    ));
    site
}

/// A receiver of POSTs that takes 40,000 bytes and is too busy for each third batch, killed again
/// and again under load.
#[test]
fn an_http_receiver_with_limits_has_every_record() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped(
            "an_http_receiver_with_limits_has_every_record",
            "python3 is not installed",
        );
    }
    let upstream = Upstream::ok();
    let port = free_port();
    let site = http_site(&upstream, 1_000, port, "ndjson");
    let gateway = site.serve_args(&["--accept-trail", "made up for this test"]);
    let load = Load::start(&site);
    for round in 0..3 {
        let taken = || Http::answers(&site).iter().filter(|answer| answer.0 == 200).count();
        let before = taken();
        let receiver = Http::start(&site, port, 40_000, 3);
        eventually("it takes some", || taken() >= before + 3);
        std::thread::sleep(Duration::from_millis(30 * round));
        drop(receiver);
        load.more(5);
    }
    load.stop();
    let _receiver = Http::start(&site, port, 40_000, 0);
    gateway.settle();
    eventually("all is confirmed", || state(&gateway)["lag_records"] == 0);
    gateway.stop();
    check_all_there(&site, &std::fs::read_to_string(site.path("received")).unwrap());
    let answers = Http::answers(&site);
    assert!(
        answers.iter().all(|(_, _, _, headers)| headers == "Splunk the-token-x 0a1b"),
        "{answers:?}"
    );
    assert!(
        answers.iter().any(|answer| answer.0 == 413)
            && answers.iter().filter(|answer| answer.0 == 200).all(|answer| answer.1 <= 40_000),
        "{answers:?}"
    );
    let waits =
        answers.windows(2).filter(|pair| pair[0].0 == 429).map(|pair| pair[1].2 - pair[0].2);
    assert!(
        waits.clone().count() > 0 && waits.clone().all(|wait| wait >= 1.0),
        "{:?}",
        waits.collect::<Vec<_>>()
    );
    assert!(!site.log().contains("the-token-x"), "{}", site.log());
}

/// One record is more than the receiver takes at all: the failure names it, and what came before it
/// is there.
#[test]
fn a_record_that_no_limit_fits_is_named() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("a_record_that_no_limit_fits_is_named", "python3 is not installed");
    }
    let upstream = Upstream::ok();
    let port = free_port();
    let site = http_site(&upstream, 200, port, "exchange");
    let gateway = site.serve_args(&["--accept-trail", "made up for this test"]);
    let answer = gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(40_000)));
    assert_eq!(answer.status, 200);
    gateway.settle();
    let receiver = Http::start(&site, port, 30_000, 0);
    eventually("the record is named", || {
        state(&gateway)["error"]
            .as_str()
            .is_some_and(|error| error.contains("413") && error.contains("alone"))
    });
    let shown = state(&gateway);
    let error = shown["error"].as_str().unwrap();
    let id = answer.header("x-keyward-audit-id");
    assert!(!id.is_empty() && error.contains(id) && error.contains("siem.cursor"), "{error}");
    assert!(shown["lag_records"].as_u64().unwrap() <= 6, "{shown}");
    drop(receiver);
    let _receiver = Http::start(&site, port, 1_000_000, 0);
    eventually("it goes on", || state(&gateway)["lag_records"] == 0);
    gateway.stop();
}
