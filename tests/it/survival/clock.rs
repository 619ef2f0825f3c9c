//! The wall clock goes back, while the gateway runs and between two runs.

use super::shim::Shim;
use super::{Told, check, check_closed, check_verified};
use crate::support::cli::keyward;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of};
use serde_json::Value;

const SETS: [&str; 1] = ["audit.segment_records=16"];
const DAY: i64 = 24 * 3600;

fn calls(gateway: &Gateway, tag: &str) -> Told {
    let mut client = gateway.client();
    let call = |n| {
        let name = if n % 3 == 2 { "forbidden".to_owned() } else { format!("{tag}-{n}") };
        let answer =
            client.call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(500)));
        assert!([200, 403].contains(&answer.status), "{answer:?}");
        (answer.id().to_owned(), answer.status == 200)
    };
    (0..12).map(call).collect()
}

#[test]
fn a_clock_that_goes_back_loses_nothing_and_is_told() {
    let Some(shim) = Shim::build("a_clock_that_goes_back") else { return };
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    std::fs::create_dir_all(&site.audit).unwrap();
    let (clock, set) = shim.number("clock");
    let env = shim.watching(&site.audit, &[("SHIM_CLOCK", clock)]);

    let gateway = Gateway::start_watched(&site, &SETS, &env);
    let mut told = calls(&gateway, "today");
    set(-DAY);
    told.extend(calls(&gateway, "a-day-back"));
    eventually("it is on record", || site.log().contains("the clock has gone back by 86"));
    site.logs("see to the host's time");
    eventually("segments are sealed", || gateway.metric("keyward_sealed_records") >= 32);
    // An auditor finds what was called then, by whatever now is.
    let sure = told.keys().all(|id| gateway.exchange(id)["id"] == id.as_str());
    assert!(
        sure && gateway.json("/api/v1/exchanges?since=2h&limit=100")["exchanges"]
            .as_array()
            .unwrap()
            .len()
            >= told.len()
    );
    gateway.stop();

    set(-2 * DAY);
    let gateway = Gateway::start_watched(&site, &SETS, &env);
    told.extend(calls(&gateway, "two-days-back"));
    eventually("it is told again", || site.log().contains("the clock has gone back by 172"));
    gateway.kill();
    check_verified(&site);

    // And forward again.
    set(0);
    let gateway = Gateway::start_watched(&site, &SETS, &env);
    told.extend(calls(&gateway, "today-again"));
    gateway.stop();
    check_verified(&site);
    let trail = site.trail();
    check(&trail, &told, &upstream);
    check_closed(&trail);
    let back: Vec<_> = trail.0.iter().filter(|r| r.text("/event") == "clock-gone-back").collect();
    assert_eq!(back.len(), 2, "{back:#?}");
    let dir = site.audit.to_str().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&keyward(&[
        "audit", "query", "--dir", dir, "--since", "2h", "--limit", "1000", "--format", "json",
    ]))
    .unwrap();
    let listed: Vec<_> = listed["exchanges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|exchange| exchange["id"].as_str().unwrap())
        .collect();
    assert!(
        told.keys().all(|id| listed.contains(&id.as_str())),
        "{} of {}",
        listed.len(),
        told.len()
    );
}

#[test]
fn a_clock_that_jumps_ahead_prunes_nothing_before_somebody_can_notice() {
    let Some(shim) = Shim::build("a_clock_that_jumps_ahead") else { return };
    let site = Site::new(Upstream::ok().address);
    std::fs::create_dir_all(&site.audit).unwrap();
    let (clock, set) = shim.number("clock");
    let env = shim.watching(&site.audit, &[("SHIM_CLOCK", clock)]);
    let sets =
        ["audit.segment_records=16", "retention.max_age_days=30", "retention.every_seconds=1"];
    let waits = "segments that are due to be pruned wait";

    let gateway = Gateway::start_watched(&site, &sets, &env);
    calls(&gateway, "today");
    eventually("a segment is sealed", || gateway.metric("keyward_sealed_records") >= 16);
    set(400 * DAY);
    calls(&gateway, "after-a-year");
    eventually("it is on record", || {
        site.log().contains(" s ahead of the trail")
            && site.log().contains("see to the host's time")
    });
    eventually("what looks old waits", || site.log().contains(waits));
    gateway.stop();
    // Also behind a restart, and nearly a day later.
    set(400 * DAY + 23 * 3600);
    let gateway = Gateway::start_watched(&site, &sets, &env);
    calls(&gateway, "23-hours-later");
    eventually("what looks old still waits", || site.log().matches(waits).count() > 3);
    assert_eq!(gateway.metric("keyward_pruned_records_total"), 0);
    // Nobody has set it right, so it is believed.
    set(400 * DAY + 25 * 3600);
    eventually("what is old goes", || gateway.metric("keyward_pruned_records_total") >= 16);
    gateway.stop();
    check_verified(&site);
}

/// The trail's own time stands still, sorts and is asked by; what the clock said is beside it, in
/// the record.
#[test]
fn whoever_asks_the_trail_sees_its_own_time_and_what_the_clock_said_beside_it() {
    let Some(shim) = Shim::build("whoever_asks_the_trail_sees_its_own_time") else { return };
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    std::fs::create_dir_all(&site.audit).unwrap();
    let (clock, set) = shim.number("clock");
    let env = shim.watching(&site.audit, &[("SHIM_CLOCK", clock)]);
    let gateway = Gateway::start_watched(&site, &SETS, &env);
    let call = |name: &str| {
        gateway
            .client()
            .call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(500)))
            .id()
            .to_owned()
    };
    let today: Vec<_> = (0..6).map(|n| call(&format!("today-{n}"))).collect();
    set(-DAY);
    let back: Vec<_> = (0..20).map(|n| call(&format!("back-{n}"))).collect();
    // Some of both is sealed, some is not: both are asked.
    eventually("a segment is sealed", || gateway.metric("keyward_sealed_records") >= 16);
    gateway.stop();

    let dir = site.audit.to_str().unwrap();
    let ask = |arguments: &[&str]| {
        String::from_utf8(keyward(&[&["audit"], arguments, &["--dir", dir]].concat())).unwrap()
    };
    let listed = |more: &[&str]| -> Vec<Value> {
        let lines =
            ask(&[&["query", "--limit", "1000", "--format", "ndjson", "--method", "PUT"], more]
                .concat());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let time = |of: &Value| {
        keyward_core::clock::Timestamp::parse(
            of.as_str().unwrap_or_else(|| panic!("no time: {of}")),
        )
        .unwrap()
        .0
    };
    let day = DAY as u64 * 1_000_000_000;
    let all = listed(&[]);
    let ids: Vec<_> = all.iter().map(|exchange| exchange["id"].as_str().unwrap()).collect();
    let wanted: Vec<_> = today.iter().chain(&back).map(String::as_str).rev().collect();
    assert_eq!(ids, wanted, "the newest first, as they were recorded");
    assert!(
        all.windows(2)
            .all(|pair| time(&pair[0]["request"]["time"]) >= time(&pair[1]["request"]["time"])),
        "{all:#?}"
    );
    let said = |exchange: &Value| {
        time(&exchange["request"]["time"]) - time(&exchange["request"]["record"]["time"])
    };
    assert!(
        all[..20]
            .iter()
            .all(|exchange| (day - day / 100..day + day / 100).contains(&said(exchange))),
        "{:#}",
        all[0]
    );
    assert!(all[20..].iter().all(|exchange| said(exchange) < day / 100), "{:#}", all[20]);

    // Asked by the trail's time: none of them is of yesterday, and one moment divides them in the
    // order of the trail.
    let first_back = all[19]["request"]["time"].as_str().unwrap();
    assert_eq!(listed(&["--until", "12h"]), [] as [Value; 0]);
    assert_eq!(listed(&["--since", "12h"]).len(), 26);
    assert!(
        listed(&["--since", first_back]).len() >= 20 && listed(&["--until", first_back]).len() <= 6
    );
    let histogram: Value = serde_json::from_str(&ask(&[
        "query",
        "--histogram",
        "1d",
        "--format",
        "json",
        "--method",
        "PUT",
    ]))
    .unwrap();
    let buckets: Vec<_> = histogram["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| time(&bucket["from"]))
        .collect();
    assert!(
        histogram["total"] == 26
            && buckets.iter().all(|from| *from + day > time(&all[25]["request"]["time"])),
        "{histogram:#}"
    );

    let shown: Value = serde_json::from_str(&ask(&["show", &back[3], "--format", "json"])).unwrap();
    assert!(
        said(&shown) > day / 2 && shown["request"]["time"] == all[16]["request"]["time"],
        "{shown:#}"
    );
    let table = ask(&["query", "--limit", "1", "--method", "PUT", "--format", "table"]);
    assert!(
        table.contains(&all[0]["request"]["time"].as_str().unwrap()[..19].replace('T', " ")),
        "{table}"
    );
    let csv = ask(&["export", "--form", "csv"]);
    assert!(
        csv.lines().any(|line| line.starts_with(&format!(
            "{},{}",
            all[0]["request"]["time"].as_str().unwrap(),
            ids[0]
        ))),
        "{csv}"
    );
    let ocsf = ask(&["export", "--form", "ocsf"]);
    let event: Value =
        serde_json::from_str(ocsf.lines().find(|line| line.contains(ids[0])).unwrap()).unwrap();
    assert_eq!(event["time"].as_u64().unwrap(), time(&all[0]["request"]["time"]) / 1_000_000);
    assert_eq!(
        event["metadata"]["original_time"], all[0]["request"]["record"]["time"],
        "{event:#}"
    );
}
