//! The process is killed under load, again and again: what was acknowledged, and what was sent, is on record.

use crate::support::upstream::ok;
use crate::support::{Client, Gateway, Request, Site, Trail, Upstream, json_of};
use keyward::audit::record::Kind;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ROUNDS: usize = 30;
const CLIENTS: usize = 8;

/// What clients were told: by audit id, whether the call was done or refused.
type Told = HashMap<String, bool>;

/// Calls until the connection breaks or the round is over. Every third call is one that the policies refuse.
fn call_on(client: Option<Client>, tag: &str, over: &AtomicBool) -> Told {
    let mut told = Told::new();
    let Some(mut client) = client else { return told };
    for n in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let name = if n % 3 == 2 { "forbidden".to_owned() } else { format!("{tag}-{n}") };
        let answer = client.call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(50 + n % 7 * 3000)));
        match (answer.status, answer.whole) {
            (200, true) => told.insert(answer.id().to_owned(), true),
            (403, true) => told.insert(answer.id().to_owned(), false),
            (0 | 200 | 403, false) => break,
            _ => panic!("{answer:?}"),
        };
    }
    told
}

/// One run of the gateway under load, ended by a kill at no particular moment.
fn round(site: &Site, round: usize) -> Told {
    let gateway: Gateway = site.serve();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (client, over) = (Client::try_new(gateway.address).ok(), Arc::clone(&over));
            std::thread::spawn(move || call_on(client, &format!("r{round}-c{n}"), &over))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(150 + (round as u64 * 7919) % 350));
    gateway.kill();
    over.store(true, Ordering::SeqCst);
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

/// Every call that a client was told of has its records; every call that the upstream saw has its request's.
fn check(trail: &Trail, told: &Told, upstream: &Upstream) {
    let by_id =
        |kinds: &[Kind]| -> HashMap<&str, &str> { trail.0.iter().filter(|r| kinds.contains(&r.kind)).map(|r| (r.id.as_str(), r.text("/outcome"))).collect() };
    let (forwarded, refused, answered) = (by_id(&[Kind::Forwarded]), by_id(&[Kind::Refused]), by_id(&[Kind::Answer]));
    for (id, done) in told {
        match done {
            true => assert!(forwarded.contains_key(id.as_str()) && answered.get(id.as_str()) == Some(&"succeeded"), "{id} was acknowledged and is lost"),
            false => assert!(refused.contains_key(id.as_str()), "the refusal {id} was told and is lost"),
        }
    }
    let paths: HashSet<_> = trail.0.iter().filter(|r| r.kind == Kind::Forwarded).map(|r| r.text("/call/path")).collect();
    for arrived in upstream.requests() {
        let path = arrived.line().split(' ').nth(1).unwrap();
        assert!(paths.contains(path), "{path} was sent without a record");
    }
}

/// The report of `audit verify` on what a run has left; of a trail that was never signed, what there is to say of it.
fn verify(site: &Site) -> serde_json::Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyward"));
    let output = command.args(["audit", "verify", "--json", "--dir"]).arg(&site.audit).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn what_was_acknowledged_or_sent_survives_kill_9_under_load() {
    let upstream = Upstream::always(&[ok()]);
    let site = Site::new(upstream.address);
    let mut told = Told::new();
    let mut open_before = HashSet::new();
    let mut unknown = 0;
    for n in 0..ROUNDS {
        told.extend(round(&site, n));
        let trail = site.trail();
        check(&trail, &told, &upstream);
        // Whatever the kill has left of it, the tree agrees with the records and with what was signed: the next start says so.
        let verified = verify(&site);
        // The first run may be killed before it has signed anything.
        let never_signed = n == 0 && verified["checkpoints"].as_array().unwrap().is_empty();
        assert!(verified["integrity"]["verdict"] == if never_signed { "unknown" } else { "holds" }, "round {n}: {verified:#}");
        assert_eq!(verified["completeness"]["verdict"], "holds", "round {n}: {verified:#}");
        // What the round before had left open was closed by this round's start, and by nothing else.
        let answers: HashMap<_, _> = trail.0.iter().filter(|r| r.kind == Kind::Answer).map(|r| (r.id.clone(), r)).collect();
        for id in &open_before {
            let closing = answers[id];
            assert_eq!(closing.text("/outcome"), "unknown");
            assert!(closing.text("/detail").contains("the gateway stopped before"), "{closing:?}");
        }
        unknown += open_before.len();
        open_before = trail.0.iter().filter(|r| r.kind == Kind::Forwarded && !answers.contains_key(&r.id)).map(|r| r.id.clone()).collect();
    }
    site.serve().stop();
    let trail = site.trail();
    check(&trail, &told, &upstream);
    let answers: Vec<_> = trail.0.iter().filter(|r| r.kind == Kind::Answer).collect();
    let forwarded = trail.0.iter().filter(|r| r.kind == Kind::Forwarded).count();
    assert_eq!(answers.len(), forwarded, "each forwarded call is closed once");
    let done = told.values().filter(|done| **done).count();
    println!("{ROUNDS} kills, {} calls acknowledged, {done} of them forwarded, {} closed as unknown", told.len(), unknown + open_before.len());
    assert!(done > ROUNDS * CLIENTS && told.len() > done, "{} calls are too few to mean anything", told.len());
    assert!(unknown > 0, "no kill came while a call was under way");
}
