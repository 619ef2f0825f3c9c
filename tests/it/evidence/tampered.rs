//! A real run, and copies of it on which somebody has laid hands.

use super::go::{complaint, content, program};
use super::*;
use crate::support::Trail;
use keyward_record::Entry;
use keyward_trail::store::{Batch, Store};
use keyward_trail::wal::SledStore;

/// The record that something is done to.
const VICTIM: usize = 300;

/// What was done to a copy.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Changed,
    Dropped,
    Cut,
    Swapped,
}

const DEEDS: [Deed; 4] = [Deed::Changed, Deed::Dropped, Deed::Cut, Deed::Swapped];

impl Deed {
    /// Does it to the records.
    fn to<T>(self, records: &mut Vec<T>, change: impl FnOnce(&mut T)) {
        match self {
            Self::Changed => change(&mut records[VICTIM]),
            Self::Dropped => drop(records.remove(VICTIM)),
            Self::Cut => records.truncate(records.len() - 3),
            Self::Swapped => records.swap(VICTIM, VICTIM + 1),
        }
    }

    /// What must be found: the verdict that fails for it, what is found, and where, in a trail of
    /// so many records.
    fn found(self, size: u64) -> (&'static str, Vec<Found>) {
        let victim = VICTIM as u64;
        let at = |kind: &str, first: u64, last: u64| (kind.to_owned(), Some(first), Some(last));
        match self {
            Self::Changed => ("integrity", vec![at("changed", victim, victim)]),
            Self::Dropped => ("completeness", vec![at("missing", victim, victim)]),
            Self::Cut => ("completeness", vec![at("missing", size - 3, size - 1)]),
            Self::Swapped => (
                "integrity",
                vec![at("moved", victim, victim), at("moved", victim + 1, victim + 1)],
            ),
        }
    }

    /// A part of what Go's verifier must say.
    fn complaint(self, size: u64) -> String {
        match self {
            Self::Changed => format!("these differ: {VICTIM}"),
            Self::Dropped => format!("from record {VICTIM} on"),
            Self::Cut => format!("from record {} on", size - 3),
            Self::Swapped => format!("these differ: {VICTIM} {}", VICTIM + 1),
        }
    }
}

#[track_caller]
fn check(deed: Deed, size: u64, (status, report): (i32, Value)) {
    let (verdict, expected) = deed.found(size);
    let found: Vec<_> = findings(&report, verdict)
        .into_iter()
        .filter(|(kind, ..)| kind != "root" && kind != "pairing")
        .collect();
    assert_eq!(found, expected, "{deed:?}: {report:#}");
    assert_eq!(report[verdict]["verdict"], "fails", "{deed:?}");
    let other = if verdict == "integrity" { "completeness" } else { "integrity" };
    let unswapped = !matches!(deed, Deed::Swapped);
    assert!(!unswapped || report[other]["verdict"] == "holds", "{deed:?}: {report:#}");
    assert!([3, 4, 5].contains(&status), "{deed:?}: {status}");
}

/// The one test that starts a gateway, for its output is checked again and again.
#[test]
fn go_and_keyward_check_a_real_run_and_name_what_was_done_to_copies() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve();
    calls(&gateway, 100);
    let kept = site.path("kept");
    std::fs::write(&kept, checkpoint_over(&gateway, 100)).unwrap();
    let id = calls(&gateway, 180);
    gateway.settle();
    let records = gateway
        .metrics()
        .lines()
        .filter(|line| line.starts_with("keyward_journal_records_total"))
        .map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    let note = checkpoint_over(&gateway, records);
    let (key, url, kept) = (vkey(&gateway), url(&gateway), kept.to_str().unwrap().to_owned());
    let size = size(&note);
    assert!(size > 512, "there are full tiles and records after them: {size}");

    // As it is, asked of the running gateway.
    let (status, report) = verify(&["--url", &url, "--vkey", &key, "--checkpoint", &kept]);
    assert_eq!((status, report["records_read"].as_u64()), (0, Some(size)), "{report:#}");
    assert_eq!(verify(&["--url", &url, "--vkey", &key, "--quick"]).0, 0);
    let proof = site.path("proof");
    let output = keyward(&["audit", "prove", &id, "--url", &url, "--out", proof.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = keyward(&["audit", "verify", "--proof", proof.to_str().unwrap(), "--vkey", &key]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("its body is the one that it commits to")
    );

    let Some(go) = program("go_and_keyward_check_a_real_run") else { return };
    assert!(content(&go, &["log", &url, &key]).contains(&format!("{size} records are those")));
    content(&go, &["grown", &url, &key, &kept]);
    assert_eq!(content(&go, &["proof", proof.to_str().unwrap(), &key]).lines().count(), 2);
    let copy = site.path("copy");
    let copy = copy.to_str().unwrap();
    content(&go, &["copy", &url, copy]);
    gateway.stop();
    content(&go, &["log", copy, &key]);
    assert_eq!(verify(&["--copy", copy, "--vkey", &key, "--checkpoint", &kept]).0, 0);

    for deed in DEEDS {
        let tampered = copy_folder(Path::new(copy), &site.path(&format!("copy-{deed:?}")));
        tamper_with_copy(&tampered, size, deed);
        let tampered = tampered.to_str().unwrap();
        let said = complaint(&go, &["log", tampered, &key]);
        assert!(said.contains(&deed.complaint(size)), "{deed:?}: {said}");
        check(deed, size, verify(&["--copy", tampered, "--vkey", &key]));
    }
    a_changed_proof_proves_nothing(&go, &proof, &key);
    a_forged_log_is_caught(&go, &site, copy, &key, &kept);
    tampered_trails_are_caught(&site, &key);
}

fn bundle(copy: &Path, n: u64, size: u64) -> PathBuf {
    let width = size - n * 256;
    copy.join(if width >= 256 {
        format!("tile/entries/{n:03}")
    } else {
        format!("tile/entries/{n:03}.p/{width}")
    })
}

/// Does something to the records of a copy; the bundles keep their names.
fn tamper_with_copy(copy: &Path, size: u64, deed: Deed) {
    let bundles = size.div_ceil(256);
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut counts = Vec::new();
    for n in 0..bundles {
        let mut bytes = &std::fs::read(bundle(copy, n, size)).unwrap()[..];
        let before = records.len();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (record, rest) = rest.split_at(u16::from_be_bytes(*length).into());
            records.push(record.to_vec());
            bytes = rest;
        }
        counts.push(records.len() - before);
    }
    let all = records.len();
    deed.to(&mut records, |record| record[20] ^= 1);
    // Whoever drops one leaves the other bundles alone: the gap is in its own.
    let hole = all - records.len();
    let own = if matches!(deed, Deed::Cut) { counts.len() - 1 } else { VICTIM / 256 };
    counts[own] -= hole;
    let mut records = records.into_iter();
    for (n, count) in counts.into_iter().enumerate() {
        let bytes: Vec<u8> = records
            .by_ref()
            .take(count)
            .flat_map(|r| [&u16::try_from(r.len()).unwrap().to_be_bytes()[..], &r].concat())
            .collect();
        std::fs::write(bundle(copy, n as u64, size), bytes).unwrap();
    }
}

fn a_changed_proof_proves_nothing(go: &Path, proof: &Path, key: &str) {
    let record = std::fs::read_dir(proof)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "json"))
        .unwrap();
    for file in [record.clone(), record.with_extension("tlog-proof")] {
        let bytes = std::fs::read(&file).unwrap();
        for at in [40, bytes.len() / 2, bytes.len() - 10] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&file, &changed).unwrap();
            complaint(go, &["proof", proof.to_str().unwrap(), key]);
            let output =
                keyward(&["audit", "verify", "--proof", proof.to_str().unwrap(), "--vkey", key]);
            assert_eq!(output.status.code(), Some(3), "{} byte {at}", file.display());
        }
        std::fs::write(&file, bytes).unwrap();
    }
    content(go, &["proof", proof.to_str().unwrap(), key]);
}

/// Somebody writes another log of the same name, and signs it with another key; or with the right
/// one.
fn a_forged_log_is_caught(go: &Path, site: &Site, copy: &str, key: &str, kept: &str) {
    let forged = Site::new(site.address);
    forged.rewrite("[limits]", "[evidence]\norigin = \"audit.example.com/keyward\"\n[limits]");
    let upstream = Upstream::ok();
    forged.rewrite(&format!("http://{}", site.address), &format!("http://{}", upstream.address));
    let right_key = site.path("evidence.key");
    for with_key in [false, true] {
        if with_key {
            std::fs::remove_dir_all(&forged.audit).unwrap();
            std::fs::copy(&right_key, forged.path("evidence.key")).unwrap();
        }
        // Whoever begins another trail by a key that was there is asked for a word, which is then
        // on record.
        let gateway = if with_key {
            forged.serve_args(&["--accept-trail", "a new beginning"])
        } else {
            forged.serve()
        };
        calls(&gateway, 120);
        checkpoint_over(&gateway, 200);
        let url = url(&gateway);
        let said = complaint(go, &["grown", &url, key, kept]);
        let (status, report) = verify(&["--url", &url, "--vkey", key, "--checkpoint", kept]);
        assert_eq!(
            (status, report["integrity"]["verdict"].as_str()),
            (3, Some("fails")),
            "{report:#}"
        );
        let kind = if with_key { "outside" } else { "signature" };
        assert!(
            findings(&report, "integrity").iter().any(|(found, ..)| found == kind),
            "{report:#}"
        );
        assert!(with_key || said.contains("verifiable signatures"), "{said}");
        gateway.stop();
    }
    // An old copy is no lie, but it is not all.
    let older = site.path("older");
    std::fs::create_dir_all(&older).unwrap();
    let newest = Path::new(copy).join("checkpoint");
    let gateway = forged.serve();
    content(go, &["copy", &url(&gateway), older.to_str().unwrap()]);
    gateway.stop();
    let said = complaint(go, &["grown", older.to_str().unwrap(), key, newest.to_str().unwrap()]);
    assert!(said.contains("the last ones are missing"), "{said}");
}

/// The same deeds on the trail itself, in a copy of the audit folder.
fn tampered_trails_are_caught(site: &Site, key: &str) {
    let store = SledStore::open(&site.audit).unwrap().0;
    let entries: Vec<Entry> =
        store.oldest_first(0).flat_map(|frame| frame.unwrap().entries).collect();
    let contents: Vec<_> =
        (0..entries.len() as u64).map(|seq| store.content(seq).unwrap()).collect();
    drop(store);
    let size = entries.len() as u64;
    assert_eq!(verify(&["--dir", site.audit.to_str().unwrap(), "--vkey", key]).0, 0);
    for deed in DEEDS {
        let copy = site.path(&format!("trail-{deed:?}"));
        copy_folder(&site.audit.join("tree"), &copy.join("tree"));
        let store = SledStore::open(&copy).unwrap().0;
        let mut records: Vec<_> = (0_u64..).zip(entries.iter().cloned()).collect();
        deed.to(&mut records, |(_, entry)| {
            let mut leaf = entry.leaf.to_vec();
            leaf[20] ^= 1;
            entry.leaf = leaf.into();
        });
        if matches!(deed, Deed::Swapped) {
            (records[VICTIM].0, records[VICTIM + 1].0) = (VICTIM as u64, VICTIM as u64 + 1);
        }
        for run in records.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
            for chunk in run.chunks(32) {
                let first_seq = chunk[0].0;
                let bodies = chunk
                    .iter()
                    .filter_map(|(seq, _)| {
                        Some((*seq, contents[usize::try_from(*seq).unwrap()].clone()?))
                    })
                    .collect();
                store
                    .append(&Batch {
                        first_seq,
                        entries: chunk.iter().map(|(_, e)| e.clone()).collect(),
                        contents: bodies,
                        open_floor: None,
                    })
                    .unwrap();
            }
        }
        drop(store);
        let (status, report) = verify(&["--dir", copy.to_str().unwrap(), "--vkey", key]);
        let (verdict, expected) = deed.found(size);
        let found: Vec<_> = findings(&report, verdict)
            .into_iter()
            .filter(|(kind, ..)| ["changed", "missing", "moved"].contains(&kind.as_str()))
            .collect();
        assert_eq!(found, expected, "{deed:?}: {report:#}");
        assert!([3, 4, 5].contains(&status), "{deed:?}");
    }
    drop(Trail::read(&site.audit));
}
