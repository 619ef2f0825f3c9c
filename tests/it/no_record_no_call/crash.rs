//! The process is killed under load, again and again: what was acknowledged, and what was sent, is
//! on record.

use crate::support::upstream::ok;
use crate::support::{Gateway, Site, Trail, Upstream};
use crate::survival::shim::rounds;
use crate::survival::{Callers, Told, check, verify};
use keyward_record::Kind;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Kills of one trail; it is read whole after each.
const ROUNDS: usize = 30;
const CLIENTS: usize = 8;
/// Short segments, so that kills come while they are sealed.
const SETS: [&str; 1] = ["audit.segment_records=64"];

/// One run of the gateway under load, ended by a kill at no particular moment.
fn round(site: &Site, round: usize) -> Told {
    let gateway: Gateway = site.serve_with(&SETS);
    let callers = Callers::start(gateway.address, &format!("r{round}"), CLIENTS);
    std::thread::sleep(Duration::from_millis(150 + fastrand::u64(0..350)));
    gateway.kill();
    callers.stop()
}

#[test]
fn what_was_acknowledged_or_sent_survives_kill_9_under_load() {
    for _ in 0..rounds(ROUNDS).div_ceil(ROUNDS) {
        kill_again_and_again();
    }
}

fn kill_again_and_again() {
    let upstream = Upstream::always(&[ok()]);
    let site = Site::new(upstream.address);
    let mut told = Told::new();
    let mut open_before = HashSet::new();
    let mut unknown = 0;
    for n in 0..ROUNDS {
        told.extend(round(&site, n));
        let (trail, _) = Trail::read_what_is_left(&site.audit);
        check(&trail, &told, &upstream);
        // Whatever the kill has left of it, the tree agrees with the records and with what was
        // signed: the next start says so.
        let verified = verify(&site);
        // The first run may be killed before it has signed anything.
        let never_signed = n == 0 && verified["checkpoints"].as_array().unwrap().is_empty();
        assert!(
            verified["integrity"]["verdict"] == if never_signed { "unknown" } else { "holds" },
            "round {n}: {verified:#}"
        );
        assert_eq!(verified["completeness"]["verdict"], "holds", "round {n}: {verified:#}");
        // What the round before had left open was closed by this round's start, and by nothing
        // else.
        let answers: HashMap<_, _> =
            trail.0.iter().filter(|r| r.kind == Kind::Answer).map(|r| (r.id.clone(), r)).collect();
        for id in &open_before {
            let closing = answers[id];
            assert_eq!(closing.text("/outcome"), "unknown");
            assert!(closing.text("/detail").contains("the gateway stopped before"), "{closing:?}");
        }
        unknown += open_before.len();
        open_before = trail
            .0
            .iter()
            .filter(|r| r.kind == Kind::Forwarded && !answers.contains_key(&r.id))
            .map(|r| r.id.clone())
            .collect();
    }
    site.serve_with(&SETS).stop();
    let (trail, _) = Trail::read_what_is_left(&site.audit);
    check(&trail, &told, &upstream);
    let answers: Vec<_> = trail.0.iter().filter(|r| r.kind == Kind::Answer).collect();
    let forwarded = trail.0.iter().filter(|r| r.kind == Kind::Forwarded).count();
    assert_eq!(answers.len(), forwarded, "each forwarded call is closed once");
    let done = told.values().filter(|done| **done).count();
    println!(
        "{ROUNDS} kills, {} calls acknowledged, {done} of them forwarded, {} closed as unknown",
        told.len(),
        unknown + open_before.len()
    );
    assert!(
        done > ROUNDS * CLIENTS && told.len() > done,
        "{} calls are too few to mean anything",
        told.len()
    );
    assert!(unknown > 0, "no kill came while a call was under way");
}
