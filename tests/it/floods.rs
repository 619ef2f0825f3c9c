//! Floods of refusals: many equal ones are counted in one record with their exact number, and bury
//! nothing.

use crate::support::cli::keyward;
use crate::support::{Answer, Gateway, Request, Site, Trail, Upstream};
use keyward_record::Kind;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const EACH: usize = 20;
const BOUND: &str = "limits.equal_refusals_per_minute=20";

/// A stranger's call.
fn strange(target: &str) -> Request {
    Request::new("GET", target).header("X-Auth-Token", "MIITESTTOKENOFNOBODYWHOISKNOWN01")
}

/// So many calls on one connection; their answers.
fn calls(gateway: &Gateway, count: usize, request: impl Fn(usize) -> Request) -> Vec<Answer> {
    let mut client = gateway.client();
    (0..count).map(|n| client.call(&request(n))).collect()
}

/// The events that count refusals.
fn counted(trail: &Trail) -> Vec<&Value> {
    trail.0.iter().filter(|r| r.text("/event") == "refusals-counted").map(|r| &r.leaf).collect()
}

fn refused(trail: &Trail, reason: &str) -> usize {
    trail
        .0
        .iter()
        .filter(|r| r.kind == Kind::Refused && r.text("/decision/reason") == reason)
        .count()
}

#[test]
fn a_flood_is_counted_exactly_and_what_policies_judge_is_recorded_one_by_one() {
    const FLOOD: usize = 1000;
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&[BOUND]);
    let flood = calls(&gateway, FLOOD, |n| strange(&format!("/v1/blobs/{n}")));
    assert!(
        flood.iter().all(|answer| answer.refusal() == (401, "caller-unknown".to_owned())),
        "{:?}",
        flood[FLOOD - 1]
    );
    let ids: BTreeSet<&str> = flood.iter().map(Answer::id).collect();
    assert_eq!(ids.len(), FLOOD, "each caller has an id of its own");
    let denied = calls(&gateway, 2 * EACH, |_| Request::new("DELETE", "/v1/blobs/forbidden"));
    let allowed = calls(&gateway, 2 * EACH, |_| Request::new("GET", "/v1/blobs/a"));
    assert!(
        denied.iter().all(|answer| answer.code() == "policy-forbids")
            && allowed.iter().all(|answer| answer.status == 200)
    );
    assert_eq!(
        gateway.metric("keyward_refusals_counted_total{reason=\"caller-unknown\"}"),
        (FLOOD - EACH) as u64
    );
    assert_eq!(gateway.metric("keyward_refusals_total{reason=\"caller-unknown\"}"), FLOOD as u64);
    let pending = gateway.exchange(flood[FLOOD - 1].id());
    assert!(pending["error"].as_str().unwrap().contains("counted together"), "{pending}");
    gateway.stop();

    let trail = site.trail();
    assert_eq!(
        (refused(&trail, "caller-unknown"), refused(&trail, "policy-forbids")),
        (EACH, 2 * EACH)
    );
    let told = counted(&trail);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["detail"]["count"], FLOOD - EACH);
    assert_eq!(
        (&told[0]["detail"]["first"]["id"], &told[0]["detail"]["last"]["id"]),
        (&flood[EACH].id().into(), &flood[FLOOD - 1].id().into())
    );
    assert!(
        told[0]["detail"]["first"]["time"].as_str() < told[0]["detail"]["last"]["time"].as_str()
    );
    assert_eq!(
        (&told[0]["caller"]["name"], &told[0]["source"]["address"]),
        (&"anonymous".into(), &"127.0.0.1".into())
    );

    let dir = site.audit.display().to_string();
    for answer in [&flood[EACH], &flood[EACH + 7], &flood[FLOOD - 1]] {
        let shown = String::from_utf8(keyward(&[
            "audit",
            "show",
            answer.id(),
            "--dir",
            &dir,
            "--format",
            "table",
        ]))
        .unwrap();
        assert!(
            shown.starts_with(told[0]["id"].as_str().unwrap())
                && shown.contains("980 equal refusals, counted in this record"),
            "{shown}"
        );
    }
    let count = |filter: &[&str]| {
        let asked =
            [&["audit", "query", "--dir", &dir, "--count", "--format", "json"], filter].concat();
        let answer: Value = serde_json::from_slice(&keyward(&asked)).unwrap();
        (answer["total"].as_u64().unwrap(), answer["counted"]["refusals"].as_u64().unwrap())
    };
    assert_eq!(count(&["--reason", "caller-unknown"]), (EACH as u64, 980));
    assert_eq!(
        count(&["--decision", "deny", "--source", "127.0.0.0/8", "--status", "401"]),
        (EACH as u64, 980)
    );
    assert_eq!(
        count(&["--action", "test.blobs.ReadBlob", "--outcome", "refused"]),
        (EACH as u64, 980),
        "they may have been of this action"
    );
    assert_eq!(count(&["--where", "not action = other.*"]).1, 980);
    for other in [
        ["--caller", "tester"],
        ["--reason", "policy-forbids"],
        ["--decision", "allow"],
        ["--source", "10.0.0.1"],
        ["--where", "reason = head-line or status = 200"],
    ] {
        assert_eq!(count(&other).1, 0, "{other:?}");
    }
    assert_eq!(
        count(&["--where", "event = refusals-counted"]),
        (1, 0),
        "whoever asks for the events gets them"
    );
    let table = String::from_utf8(keyward(&[
        "audit",
        "query",
        "--dir",
        &dir,
        "--decision",
        "deny",
        "--format",
        "table",
    ]))
    .unwrap();
    assert!(
        table.contains("Beside them 980 refusals were counted together, in 1 record"),
        "{table}"
    );
    let ocsf =
        String::from_utf8(keyward(&["audit", "export", "--dir", &dir, "--form", "ocsf"])).unwrap();
    let event: Value =
        serde_json::from_str(ocsf.lines().find(|line| line.contains("refusals-counted")).unwrap())
            .unwrap();
    assert!(
        event["count"] == 980 && event["start_time"].as_i64() <= event["end_time"].as_i64(),
        "{event}"
    );
    keyward(&["audit", "verify", "--dir", &dir]);
}

#[test]
fn whoever_varies_all_is_counted_too_and_takes_no_place_of_known_callers() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("[admin]", "forwarded_for_from = [\"127.0.0.1/32\"]\n[admin]");
    let gateway = site.serve_with(&[BOUND, "limits.refusals_per_minute=100"]);
    let from = |source: String| strange("/v1/blobs/a").header("X-Forwarded-For", &source);
    // A network of IPv6 is one source.
    calls(&gateway, 2 * EACH, |n| from(format!("2001:db8:0:7::{n:x}")));
    // Many sources, of which each is told apart; and more of them than are.
    calls(&gateway, 1500, |n| from(format!("10.7.{}.{}", n / 250, n % 250)));
    calls(&gateway, 3, |n| {
        Request::new("GET", &format!("/v1/nothing/{n}")).header("X-Forwarded-For", "10.0.0.1")
    });
    gateway.stop();
    let trail = site.trail();
    let own = refused(&trail, "caller-unknown");
    assert_eq!(
        (own, refused(&trail, "operation-unknown")),
        (100, 3),
        "strangers have so many together, and a known caller its own"
    );
    let told = counted(&trail);
    let number = |event: &&Value| event["detail"]["count"].as_u64().unwrap();
    assert_eq!(told.iter().map(number).sum::<u64>(), (2 * EACH + 1500 - own) as u64);
    assert_eq!(
        told.iter()
            .filter(|event| event["source"]["network"] == "2001:db8:0:7::/64")
            .map(number)
            .sum::<u64>(),
        EACH as u64
    );
    let others: Vec<_> =
        told.iter().filter(|event| event["source"] == serde_json::json!({})).collect();
    assert!(
        others.len() == 1 && number(others[0]) > 400 && told.len() <= 1024,
        "{} events",
        told.len()
    );
}

#[test]
fn a_crash_loses_no_more_than_a_minute() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&[BOUND]);
    calls(&gateway, 3 * EACH, |n| strange(&format!("/v1/blobs/{n}")));
    let started = Instant::now();
    let events =
        || gateway.json("/api/v1/counts?event=refusals-counted")["total"].as_u64().unwrap();
    while events() == 0 {
        assert!(started.elapsed() < Duration::from_secs(90), "the minute is over");
        std::thread::sleep(Duration::from_millis(500));
    }
    calls(&gateway, 3 * EACH, |n| strange(&format!("/v1/blobs/{n}")));
    gateway.kill();
    site.serve().stop();
    let trail = site.trail();
    assert_eq!(
        counted(&trail).iter().map(|event| event["detail"]["count"].as_u64().unwrap()).sum::<u64>(),
        2 * EACH as u64
    );
    assert_eq!(refused(&trail, "caller-unknown"), 2 * EACH, "each minute has its own");
}
