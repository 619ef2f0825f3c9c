//! Pushes: each record sent on, in order, whatever becomes of the receiver and of the gateway, and
//! no call held up by it.

use crate::support::cli::{keyward, keyward_fails};
use crate::support::load::Load;
use crate::support::receiver::{Mood, Receiver};
use crate::support::{Gateway, Request, Site, Stored, Upstream, eventually, json_of};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

fn call(gateway: &Gateway) -> u16 {
    gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(80))).status
}

fn leaves(records: &[Stored]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.bytes.clone()).unwrap()).collect()
}

/// Two receivers, and the site that pushes to both.
fn site(upstream: &Upstream) -> (Site, Receiver, Receiver) {
    let site = Site::new(upstream.address);
    let (syslog, webhook) =
        (Receiver::syslog(&site.path("syslog.pem")), Receiver::webhook(&site.path("webhook.pem")));
    let token = site.path("token");
    std::fs::write(&token, "the-token-x\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    site.append(&format!(
        "[[push]]\nname = \"logs\"\nurl = \"tls://localhost:{}\"\nca_file = \"syslog.pem\"\nresend_seconds = 1\n\
         [[push]]\nname = \"siem\"\nurl = \"https://localhost:{}/in?key=the-token-x\"\nca_file = \"webhook.pem\"\ntoken_file = \"token\"\n",
        syslog.address.port(),
        webhook.address.port()
    ));
    (site, syslog, webhook)
}

/// The state of one push, as the admin shows it.
fn state(gateway: &Gateway, name: &str) -> Value {
    let all = gateway.json("/api/v1/pushes");
    all.as_array().unwrap().iter().find(|push| push["name"] == name).unwrap().clone()
}

fn wait_for_no_lag(gateway: &Gateway) {
    for name in ["logs", "siem"] {
        eventually("the push has come to the end", || state(gateway, name)["lag_records"] == 0);
    }
}

#[test]
fn each_record_reaches_both_receivers_in_order() {
    let upstream = Upstream::ok();
    let (site, syslog, webhook) = site(&upstream);
    let gateway = site.serve();
    for _ in 0..30 {
        assert_eq!(call(&gateway), 200);
    }
    gateway.settle();
    wait_for_no_lag(&gateway);
    for name in ["logs", "siem"] {
        assert_eq!(gateway.metric(&format!("keyward_push_lines_total{{push=\"{name}\"}}")), 61);
        assert_eq!(gateway.metric(&format!("keyward_push_lag_records{{push=\"{name}\"}}")), 0);
        assert!(
            gateway
                .metric(&format!("keyward_push_last_success_timestamp_seconds{{push=\"{name}\"}}"))
                > 1_700_000_000
        );
    }
    let shown = gateway.json("/api/v1/pushes").to_string();
    assert!(shown.contains("https://localhost:") && !shown.contains("the-token-x"), "{shown}");
    gateway.stop();
    let trail = site.trail();
    let wanted = leaves(&trail.0[..61]);
    assert_eq!(syslog.lines()[..61], wanted);
    assert_eq!(webhook.lines()[..61], wanted);
    let heads: Vec<_> =
        syslog.deliveries().into_iter().flat_map(|delivery| delivery.heads).collect();
    for (seq, head) in heads.iter().enumerate() {
        assert!(
            head.starts_with('<')
                && head.contains(" keyward ")
                && head.ends_with(&format!("[meta sequenceId=\"{}\"", seq + 1)),
            "{head}"
        );
    }
    let head = webhook.deliveries()[0].head.to_lowercase();
    assert!(
        head.starts_with("post /in?key=the-token-x http/1.1\r\n")
            && head.contains("authorization: bearer the-token-x\r\n"),
        "{head}"
    );
    assert!(!site.log().contains("the-token-x"), "{}", site.log());
}

/// Receivers die, refuse and fall silent under load, and so does the gateway: nothing is skipped,
/// and calls go on.
#[test]
fn nothing_is_skipped_whatever_dies() {
    let upstream = Upstream::ok();
    let (site, syslog, webhook) = site(&upstream);
    let gateway = site.serve();
    let load = Load::start(&site);
    load.more(30);
    for (mood, times) in
        [(Mood::Dies(3000), 2), (Mood::Refuses, 1), (Mood::Well, 1), (Mood::Dies(1), 1)]
    {
        syslog.mood(mood);
        webhook.mood(mood);
        let before = (syslog.connections(), webhook.connections());
        eventually("both receivers are tried", || {
            syslog.connections() >= before.0 + times && webhook.connections() >= before.1 + times
        });
        load.more(20);
    }
    for name in ["logs", "siem"] {
        eventually("it says that it fails", || state(&gateway, name)["failing_since"].is_string());
        let failing = state(&gateway, name);
        assert!(!failing.to_string().contains("the-token-x"), "{failing}");
        assert!(gateway.metric(&format!("keyward_push_failures_total{{push=\"{name}\"}}")) >= 3);
    }
    gateway.kill();
    syslog.mood(Mood::Well);
    webhook.mood(Mood::Well);
    let gateway = site.serve();
    load.more(50);
    // What was taken, but not confirmed, when the gateway dies comes again.
    syslog.mood(Mood::Mute);
    webhook.mood(Mood::Mute);
    let before = (syslog.deliveries().len(), webhook.deliveries().len());
    eventually("both have taken something", || {
        syslog.deliveries().len() > before.0 && webhook.deliveries().len() > before.1
    });
    let slow = Instant::now();
    load.more(30);
    assert!(slow.elapsed() < Duration::from_secs(15), "calls wait for no receiver");
    gateway.kill();
    syslog.mood(Mood::Well);
    webhook.mood(Mood::Well);
    let gateway = site.serve();
    load.more(30);
    load.stop();
    gateway.settle();
    wait_for_no_lag(&gateway);
    gateway.stop();
    let wanted = leaves(&site.trail().0);
    for receiver in [&syslog, &webhook] {
        let distinct = receiver.distinct();
        assert!(receiver.lines().len() > distinct.len(), "something came twice, as it should");
        // Only what the gateway recorded at its very end may be missing.
        assert!(distinct.len() + 2 >= wanted.len(), "{} of {}", distinct.len(), wanted.len());
        assert_eq!(distinct, wanted[..distinct.len()]);
    }
}

#[test]
fn a_cursor_that_does_not_fit_is_said_and_nothing_is_sent() {
    let upstream = Upstream::ok();
    let (site, syslog, webhook) = site(&upstream);
    std::fs::create_dir_all(site.audit.join("push")).unwrap();
    std::fs::write(site.audit.join("push/logs.cursor"), "999\n").unwrap();
    std::fs::write(site.audit.join("push/siem.cursor"), "abc\n").unwrap();
    let gateway = site.serve();
    assert_eq!(call(&gateway), 200);
    eventually("both say so", || {
        state(&gateway, "logs")["error"].is_string() && state(&gateway, "siem")["error"].is_string()
    });
    let (logs, siem) = (
        state(&gateway, "logs")["error"].to_string(),
        state(&gateway, "siem")["error"].to_string(),
    );
    assert!(
        logs.contains("the cursor is of another trail") && logs.contains("logs.cursor"),
        "{logs}"
    );
    assert!(siem.contains("holds no number") && siem.contains("siem.cursor"), "{siem}");
    assert_eq!((syslog.connections(), webhook.connections()), (0, 0));
    // Mended, it goes on.
    std::fs::write(site.audit.join("push/logs.cursor"), "1\n").unwrap();
    std::fs::remove_file(site.audit.join("push/siem.cursor")).unwrap();
    wait_for_no_lag(&gateway);
    gateway.stop();
    let wanted = leaves(&site.trail().0);
    assert_eq!(syslog.lines()[0], wanted[1]);
    assert_eq!(webhook.lines()[0], wanted[0]);
}

#[test]
fn a_receiver_is_verified() {
    let upstream = Upstream::ok();
    let (site, syslog, webhook) = site(&upstream);
    // Each has the other's certificate.
    site.rewrite("ca_file = \"syslog.pem\"", "ca_file = \"x.pem\"");
    site.rewrite("ca_file = \"webhook.pem\"", "ca_file = \"syslog.pem\"");
    site.rewrite("ca_file = \"x.pem\"", "ca_file = \"webhook.pem\"");
    let gateway = site.serve();
    assert_eq!(call(&gateway), 200);
    for name in ["logs", "siem"] {
        eventually("the certificate is refused", || {
            state(&gateway, name)["error"]
                .as_str()
                .is_some_and(|error| error.contains("certificate"))
        });
    }
    gateway.stop();
    assert_eq!((syslog.lines().len(), webhook.lines().len()), (0, 0));
}

#[test]
fn what_cannot_be_pushed_is_an_error_before_anything_starts() {
    let upstream = Upstream::ok();
    for (push, wanted) in [
        ("name = \"a b\"\nurl = \"https://x\"", "push.name"),
        ("name = \"a\"\nurl = \"http://x\"", "push.url"),
        ("name = \"a\"\nurl = \"https://x\"\nform = \"csv\"", "push.form"),
        ("name = \"a\"\nurl = \"https://x\"\nca_file = \"none.pem\"", "none.pem"),
        ("name = \"a\"\nurl = \"https://x\"\ntoken_file = \"callers.toml\"", "readable by others"),
        ("name = \"a\"\nurl = \"tls://x\"\ntoken_file = \"callers.toml\"", "push.token_file"),
        ("name = \"a\"\nurl = \"tls://x\"\nkey_file = \"callers.toml\"", "push.key_file"),
        ("name = \"a\"\nurl = \"https://x\"\ntoken = \"x\"", "unknown key `token`"),
        ("name = \"a\"\nurl = \"https://x\"\nresend_seconds = 1", "push.resend_seconds"),
        ("name = \"a\"\nurl = \"https://x\"\ntoken_scheme = \"Splunk\"", "push.token_scheme"),
        (
            "name = \"a\"\nurl = \"https://x\"\nheaders = { Authorization = \"Splunk x\" }",
            "push.headers",
        ),
        ("name = \"a\"\nurl = \"tls://x\"\nheaders = { A = \"b\" }", "push.headers"),
    ] {
        let site = Site::new(upstream.address);
        site.append(&format!("[[push]]\n{push}\n"));
        let config = site.path("keyward.toml");
        let error = keyward_fails(&["check", "--config", config.to_str().unwrap()]);
        assert!(error.contains(wanted), "{push}: {error}");
        // Without it, all is well.
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.split("[[push]]").next().unwrap()).unwrap();
        keyward(&["check", "--config", config.to_str().unwrap()]);
    }
}

#[test]
fn pruning_waits_for_every_push_and_a_cursor_into_what_is_gone_is_said() {
    let upstream = Upstream::ok();
    let (site, syslog, webhook) = site(&upstream);
    site.rewrite("[audit]", "[audit]\nsegment_records = 16");
    site.append("[retention]\nmax_bytes = 1\nevery_seconds = 1\n");
    webhook.mood(Mood::Refuses);
    let gateway = site.serve();
    (0..20).for_each(|_| assert_eq!(call(&gateway), 200));
    gateway.settle();
    eventually("one has all of it", || state(&gateway, "logs")["lag_records"] == 0);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(gateway.metric("keyward_pruned_records_total"), 0);
    webhook.mood(Mood::Well);
    eventually("both have it, and it is pruned", || {
        gateway.metric("keyward_pruned_records_total") >= 32
    });
    gateway.stop();
    assert_eq!(syslog.distinct()[..41], webhook.distinct()[..41]);

    std::fs::write(site.audit.join("push/logs.cursor"), "5\n").unwrap();
    let gateway = site.serve();
    eventually("it says so", || state(&gateway, "logs")["error"].is_string());
    let error = state(&gateway, "logs")["error"].to_string();
    assert!(
        error.contains("records 5 to ")
            && error.contains("are in the trail no longer, record ")
            && error.contains("logs.cursor"),
        "{error}"
    );
    eventually("the other goes on", || state(&gateway, "siem")["lag_records"] == 0);
    // Mended, it begins with the oldest record that there is.
    std::fs::remove_file(site.audit.join("push/logs.cursor")).unwrap();
    wait_for_no_lag(&gateway);
}
