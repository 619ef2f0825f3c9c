//! The wall clock goes back, while the gateway runs and between two runs.

use super::shim::Shim;
use super::{Told, check, check_closed, check_verified};
use crate::support::cli::keyward;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of};
use std::os::unix::fs::FileExt;

const SETS: [&str; 1] = ["audit.segment_records=16"];
const DAY: i64 = 24 * 3600;

fn calls(gateway: &Gateway, tag: &str) -> Told {
    let mut client = gateway.client();
    let call = |n| {
        let name = if n % 3 == 2 { "forbidden".to_owned() } else { format!("{tag}-{n}") };
        let answer = client.call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(500)));
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
    std::fs::write(shim.file("clock"), 0_i64.to_ne_bytes()).unwrap();
    let clock = std::fs::File::options().write(true).open(shim.file("clock")).unwrap();
    let set = |seconds: i64| clock.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    let env = shim.watching(&site.audit, &[("SHIM_CLOCK", shim.file("clock").display().to_string())]);

    let gateway = Gateway::start_watched(&site, &SETS, &env);
    let mut told = calls(&gateway, "today");
    set(-DAY);
    told.extend(calls(&gateway, "a-day-back"));
    eventually("it is on record", || site.log().contains("the clock has gone back by 86"));
    assert!(site.log().contains("see to the host's time"), "{}", site.log());
    eventually("segments are sealed", || gateway.metric("keyward_sealed_records") >= 32);
    // An auditor finds what was called then, by whatever now is.
    let sure = told.keys().all(|id| gateway.exchange(id)["id"] == id.as_str());
    assert!(sure && gateway.json("/api/v1/exchanges?since=2h&limit=100")["exchanges"].as_array().unwrap().len() >= told.len());
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
    let listed: serde_json::Value =
        serde_json::from_slice(&keyward(&["audit", "query", "--dir", dir, "--since", "2h", "--limit", "1000", "--format", "json"])).unwrap();
    let listed: Vec<_> = listed["exchanges"].as_array().unwrap().iter().map(|exchange| exchange["id"].as_str().unwrap()).collect();
    assert!(told.keys().all(|id| listed.contains(&id.as_str())), "{} of {}", listed.len(), told.len());
}

#[test]
fn a_clock_that_jumps_ahead_prunes_nothing_before_somebody_can_notice() {
    let Some(shim) = Shim::build("a_clock_that_jumps_ahead") else { return };
    let site = Site::new(Upstream::ok().address);
    std::fs::create_dir_all(&site.audit).unwrap();
    std::fs::write(shim.file("clock"), 0_i64.to_ne_bytes()).unwrap();
    let clock = std::fs::File::options().write(true).open(shim.file("clock")).unwrap();
    let set = |seconds: i64| clock.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    let env = shim.watching(&site.audit, &[("SHIM_CLOCK", shim.file("clock").display().to_string())]);
    let sets = ["audit.segment_records=16", "retention.max_age_days=30", "retention.every_seconds=1"];
    let waits = "segments that are due to be pruned wait";

    let gateway = Gateway::start_watched(&site, &sets, &env);
    calls(&gateway, "today");
    eventually("a segment is sealed", || gateway.metric("keyward_sealed_records") >= 16);
    set(400 * DAY);
    calls(&gateway, "after-a-year");
    eventually("it is on record", || site.log().contains(" s ahead of the trail") && site.log().contains("see to the host's time"));
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
