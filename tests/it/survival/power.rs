//! Power cuts: a recorder sees every write, sync and change of a name, and every answer, in one
//! order; what a cut at some moment would have left is rebuilt and opened. What was told before
//! that moment must be there.

use super::recording::{Luck, Recording};
use super::shim::{Shim, rounds, thorough};
use super::{Callers, Told, check_closed, check_told, check_verified, verify};
use crate::support::{Gateway, Site, Trail, Upstream, eventually};
use keyward::evidence::salvage::{Accept, salvage};
use keyward_record::event::By;
use keyward_trail::tiered::TieredStore;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Short segments, so that sealing goes on all the time; no ballast, which is no part of what is
/// rebuilt.
const SETS: [&str; 2] = ["audit.segment_records=64", "audit.ballast=0"];

/// Two runs under load, the second one ended by a kill, so that it does what a start has to do;
/// recorded.
fn record(shim: &Shim, site: &Site) -> Recording {
    std::fs::create_dir_all(&site.audit).unwrap();
    let log = shim.file("record");
    let env = shim.watching(&site.audit, &[("SHIM_LOG", log.display().to_string())]);
    for run in 0..2 {
        let gateway = Gateway::start_watched(site, &SETS, &env);
        let sealed = gateway.metric("keyward_sealed_records");
        let callers = Callers::start(site.address, &format!("run{run}"), 3);
        eventually("segments are sealed", || {
            gateway.metric("keyward_sealed_records") >= sealed + 128
        });
        eventually("checkpoints are signed", || {
            gateway.metric("keyward_checkpoint_size") > sealed + 64
        });
        if run == 0 {
            callers.stop();
            gateway.stop();
        } else {
            gateway.kill();
            callers.stop();
        }
    }
    Recording::read(&log, &site.audit)
}

/// What callers had been told before an event, and which paths had been sent.
fn told_before(recording: &Recording, cut: usize) -> (Told, BTreeSet<String>) {
    let (mut told, mut sent) = (Told::new(), BTreeSet::new());
    for message in recording.sent.iter().take_while(|message| message.at < cut) {
        let text = String::from_utf8_lossy(&message.bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap();
        let id = lines.find_map(|line| {
            line.split_once(": ")
                .filter(|(name, _)| name.eq_ignore_ascii_case("x-keyward-audit-id"))
        });
        match (first, id) {
            ("HTTP/1.1 200 OK" | "HTTP/1.1 200 Said", Some((_, id))) => {
                told.insert(id.to_owned(), true);
            }
            (first, Some((_, id))) if first.starts_with("HTTP/1.1 403") => {
                told.insert(id.to_owned(), false);
            }
            (first, _) if first.starts_with("PUT /v1/blobs/") => {
                sent.insert(first.split(' ').nth(1).unwrap().to_owned());
            }
            _ => (),
        }
    }
    (told, sent)
}

/// All files of a folder, but for what is not watched.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(
                    entry.path().strip_prefix(dir).unwrap().display().to_string(),
                    std::fs::read(entry.path()).unwrap(),
                );
            }
        }
    }
    found
}

/// Moments of a recording: behind answers, which were just told, and anywhere.
fn moments(recording: &Recording, count: usize, seed: u64) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let behind_answers: Vec<_> = recording
        .sent
        .iter()
        .filter(|m| m.bytes.starts_with(b"HTTP/1.1 200"))
        .map(|m| m.at + 1)
        .collect();
    let moment = |n: usize| {
        if n.is_multiple_of(2) {
            behind_answers[rng.usize(0..behind_answers.len())]
        } else {
            rng.usize(0..=recording.len)
        }
    };
    (0..count).map(moment).collect()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let Some(shim) = Shim::build("what_was_acknowledged_survives_a_power_cut") else { return };
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let recording = record(&shim, &site);

    // The recorder has missed nothing: with all that it saw the folder is rebuilt byte for byte.
    let whole = tempfile::tempdir().unwrap();
    recording.rebuild(usize::MAX, Luck::All, whole.path());
    let (real, rebuilt) = (files(&site.audit), files(whole.path()));
    assert_eq!(real.keys().collect::<Vec<_>>(), rebuilt.keys().collect::<Vec<_>>());
    for (name, bytes) in &real {
        assert!(rebuilt[name] == *bytes, "{name} is not what the recorder saw");
    }
    assert!(
        real.keys().filter(|name| name.ends_with(".records")).count() >= 4,
        "{:?}",
        real.keys()
    );

    let seed = fastrand::u64(..);
    println!("{} events, seed {seed}", recording.len);
    let (mut acknowledged, mut opened, mut repaired) = (0, 0, 0);
    for (n, cut) in moments(&recording, if thorough() { rounds(0) * 4 } else { 40 }, seed)
        .into_iter()
        .enumerate()
    {
        for luck in [Luck::None, Luck::Some(seed.wrapping_add(n as u64))] {
            let left = tempfile::tempdir().unwrap();
            recording.rebuild(cut, luck, left.path());
            let (told, sent) = told_before(&recording, cut);
            if left.path().join("trail").is_dir() {
                // The engine cannot always read what a cut has left of its file. All that was
                // acknowledged is in it.
                repaired += u32::from(repair(left.path()));
                let (trail, notes) = Trail::read_what_is_left(left.path());
                check_told(
                    &trail,
                    &told,
                    sent.iter().map(String::as_str),
                    &format!("cut {cut}, {luck:?}, {notes:?}"),
                );
                opened += 1;
            }
            assert!(
                told.is_empty() || left.path().join("trail").is_dir(),
                "cut {cut}, {luck:?}: there is no trail"
            );
            acknowledged = acknowledged.max(told.len());
        }
    }
    println!("{opened} folders, {repaired} of them with a file that the engine could not read");
    assert!(opened > 20 && acknowledged > 100, "{opened} folders, {acknowledged} calls");

    // And the gateway goes on with what is left.
    for (n, cut) in
        moments(&recording, if thorough() { rounds(0) } else { 6 }, !seed).into_iter().enumerate()
    {
        let luck =
            if n.is_multiple_of(3) { Luck::None } else { Luck::Some(seed.wrapping_add(n as u64)) };
        go_on(&site, &recording, cut, luck);
    }
}

/// What a start does when the engine cannot read its file. False when it can.
fn repair(dir: &Path) -> bool {
    let Err(error) = TieredStore::open(dir) else { return false };
    assert!(error.is_damage(), "{}: {error:?}", dir.display());
    let repaired =
        salvage(dir, "the power was cut", &By::default(), Accept::NoLoss, &mut |_, _, _| ());
    repaired.unwrap_or_else(|why| panic!("{}: {error:?}: {why:#}", dir.display()));
    true
}

/// Puts what a cut has left in the site's place, and starts the gateway on it.
fn go_on(site: &Site, recording: &Recording, cut: usize, luck: Luck) {
    let (told, sent) = told_before(recording, cut);
    std::fs::remove_dir_all(&site.audit).unwrap();
    std::fs::create_dir_all(&site.audit).unwrap();
    recording.rebuild(cut, luck, &site.audit);
    let readable = site.audit.join("trail").is_dir() && TieredStore::open(&site.audit).is_ok();
    if readable {
        let report = verify(site);
        let verdicts = [&report["integrity"]["verdict"], &report["completeness"]["verdict"]];
        assert!(
            verdicts.iter().all(|verdict| *verdict != "fails"),
            "cut {cut}, {luck:?}: {report:#}"
        );
    }
    let gateway = site.serve_with(&SETS);
    assert_eq!(gateway.ready().0, 200, "cut {cut}, {luck:?}");
    let after = Callers::start(site.address, "after", 1);
    eventually("calls are taken", || {
        gateway.metric(r#"keyward_journal_records_total{kind="answer"}"#) > 2
    });
    let more = after.stop();
    gateway.stop();
    check_verified(site);
    let (trail, notes) = Trail::read_what_is_left(&site.audit);
    check_told(
        &trail,
        &told.into_iter().chain(more).collect(),
        sent.iter().map(String::as_str),
        &format!("cut {cut}, {luck:?}, {notes:?}"),
    );
    check_closed(&trail);
}
