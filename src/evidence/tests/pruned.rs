//! Trails of which segments were pruned, or lost, and those of which somebody says so.

use super::*;
use keyward_record::Entry;
use keyward_record::{Event, EventName};
use keyward_tlog::layout::{ABSENT, BUNDLE_RECORDS, CHECKPOINT, LEFT, Resource};
use keyward_trail::export as exported;
use keyward_trail::export::format::ExportFormat;
use keyward_trail::notary::Served;
use keyward_trail::tiered::TieredStore;
use std::time::Instant;

const SEGMENT: u64 = 64;

/// Requests and answers in turn, an hour old, so that each must have its outcome: answer 65 to
/// request 62, and so on.
fn old(count: u64) -> Vec<Record> {
    of_age(count, 3_600_000_000_000)
}

fn of_age(count: u64, nanos: u64) -> Vec<Record> {
    let ids: Vec<_> = (0..count).map(|_| AuditId::new()).collect();
    let old = |mut record: Record| {
        record.time = Timestamp(record.time.0 - nanos);
        let mut leaf: Value = serde_json::from_slice(&record.leaf).unwrap();
        leaf["time"] = json!(record.time.rfc3339());
        record.leaf = canonical(&leaf);
        record
    };
    let at = |n: usize| match n % 2 {
        0 if n < 598 => record(
            Kind::Forwarded,
            ids[n / 2],
            json!({"n": n}),
            Some(Content::new(format!("{{\"body\":{n}}}").into()).unwrap()),
        ),
        1 if n > 1 => record(Kind::Answer, ids[(n - 3) / 2], json!({"outcome": "succeeded"}), None),
        _ => record(Kind::Event, AuditId::new(), json!({"event": "x"}), None),
    };
    (0..usize::try_from(count).unwrap()).map(at).map(old).collect()
}

/// Waits until so many records are sealed.
fn sealed(journal: &Journal, end: u64) {
    let begun = Instant::now();
    while journal.tiered().unwrap().sealed_end() < end {
        assert!(begun.elapsed() < Duration::from_secs(30), "sealing does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Records that ranges are gone. The record's place.
fn tell(journal: &Journal, event: EventName, ranges: &[(u64, u64)]) -> u64 {
    let records: Vec<_> =
        ranges.iter().map(|(first, end)| json!({"first": first, "last": end - 1})).collect();
    let detail = json!({"records": records, "policy": {"max_age_seconds": 60}, "reason": "the disk was struck by lightning"});
    let event = Event::of_json(&json!({"event": event.code(), "detail": detail})).unwrap();
    journal.append_blocking(event.record()).unwrap().seq()
}

/// A trail of 600 records of which these segments were pruned; the record that tells of it is 600,
/// and 601 the last one.
fn pruned(ranges: &[(u64, u64)], then: impl FnOnce(&Evidence)) -> Site {
    pruned_of(old(600), ranges, then)
}

fn pruned_of(records: Vec<Record>, ranges: &[(u64, u64)], then: impl FnOnce(&Evidence)) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let key = Site::serve(dir.path(), SEGMENT, |journal, evidence| {
        records.into_iter().for_each(|record| journal.append_detached(record));
        sealed(journal, 512);
        signed(evidence, 600);
        let told_by = tell(journal, EventName::RecordsPruned, ranges);
        let segments: Vec<_> = ranges
            .iter()
            .flat_map(|(first, end)| (*first..*end).step_by(64).map(|first| first..first + SEGMENT))
            .collect();
        journal.tiered().unwrap().prune(&segments, told_by).unwrap();
        journal
            .append_blocking(record(Kind::Event, AuditId::new(), json!({"event": "x"}), None))
            .unwrap();
        signed(evidence, 602);
        then(evidence);
    });
    Site { dir, key }
}

fn signed(evidence: &Evidence, size: u64) {
    let begun = Instant::now();
    while evidence.notary().board().newest().is_none_or(|newest| newest.size() < size) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is signed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn gone(report: &Report) -> Vec<(u64, u64, u64)> {
    report.pruned.iter().map(|pruned| (pruned.first, pruned.last, pruned.told_by)).collect()
}

/// What the admin listener serves, as files.
fn copy(evidence: &Evidence, dir: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let size = evidence.notary().board().newest().unwrap().size();
    for level in [None, Some(0), Some(1)] {
        let count = if level == Some(1) { size / BUNDLE_RECORDS } else { size };
        for n in 0..count.div_ceil(BUNDLE_RECORDS) {
            let resource = Resource {
                level,
                n,
                width: u32::try_from((count - n * BUNDLE_RECORDS).min(BUNDLE_RECORDS)).unwrap(),
            };
            match evidence.notary().resource(resource).unwrap() {
                Served::Bytes(bytes) => write(&resource.path(), &bytes),
                Served::Gone(why) => {
                    assert!(
                        level.is_none() && why.contains("are gone, record 600 tells of it"),
                        "{why}"
                    );
                    write(
                        &format!("{LEFT}{}", resource.path()),
                        evidence.notary().left(resource).unwrap().unwrap().as_bytes(),
                    );
                }
                Served::NotCovered => panic!("{resource:?}"),
            }
        }
    }
    write(ABSENT, evidence.notary().absent().unwrap().as_bytes());
    write(CHECKPOINT, &evidence.notary().checkpoint(false).unwrap());
}

#[test]
fn pruned_segments_are_no_failure_wherever_they_stand() {
    for (ranges, read, expected) in [
        (&[(0, 64)][..], 538, vec![(0, 63, 600)]),
        (&[(64, 192)], 474, vec![(64, 191, 600)]),
        (
            &[(0, 64), (320, 384), (448, 512)],
            410,
            vec![(0, 63, 600), (320, 383, 600), (448, 511, 600)],
        ),
        (&[(0, 512)], 90, vec![(0, 511, 600)]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let site = pruned(ranges, |evidence| copy(evidence, folder.path()));
        for full in [true, false] {
            let sources: [Box<dyn Source>; 2] = [
                Box::new(Folder::open(&site.audit()).unwrap()),
                Box::new(Copy::open(folder.path()).unwrap()),
            ];
            for source in sources {
                let report =
                    verify(&*source, &Options { full, ..site.options() }, &mut |_, _| ()).unwrap();
                assert_eq!(
                    (report.status(), report.read, gone(&report)),
                    (0, read, expected.clone()),
                    "{}",
                    report.text()
                );
                assert!(
                    report.text().contains(
                        "by policy, told by record 600: {\"max_age_seconds\":60,\"max_bytes\":null}"
                    ),
                    "{}",
                    report.text()
                );
                assert_eq!(report.json()["pruned"][0]["told_by"], 600);
            }
        }
    }
}

/// The leaf of each record that is left, as [`Site::copy`] takes them.
fn left(site: &Site) -> Vec<(u64, Entry)> {
    let store = TieredStore::open(&site.audit()).unwrap().0;
    store
        .oldest_first(0)
        .map(Result::unwrap)
        .flat_map(|frame| (frame.first_seq..).zip(frame.entries))
        .collect()
}

fn bodies(site: &Site) -> Vec<(u64, Content)> {
    let store = TieredStore::open(&site.audit()).unwrap().0;
    (0..602).filter_map(|seq| Some((seq, store.content(seq).unwrap()?))).collect()
}

#[test]
fn what_no_record_tells_of_is_missing_as_before() {
    let site = pruned(&[(0, 64), (128, 192)], |_| ());
    let (entries, bodies) = (left(&site), bodies(&site));
    // One more than was pruned, beside it and elsewhere.
    let less = |seqs: &[u64]| {
        let entries: Vec<_> =
            entries.iter().filter(|(seq, _)| !seqs.contains(seq)).cloned().collect();
        site.verify(&site.copy(
            &entries,
            &bodies.iter().filter(|(seq, _)| !seqs.contains(seq)).cloned().collect::<Vec<_>>(),
        ))
    };
    check(&less(&[]), 0, &[]);
    let report = less(&[64, 193, 300]);
    let missing: Vec<_> =
        found(&report).into_iter().filter(|(kind, ..)| *kind == "missing").collect();
    assert_eq!(
        (missing, report.status(), gone(&report).len()),
        (vec![("missing", 64, 64), ("missing", 193, 193), ("missing", 300, 300)], 4, 2)
    );
    // Without the record that tells, all of it.
    assert_eq!(found(&less(&[600])).iter().filter(|(kind, ..)| *kind == "missing").count(), 3);
    // A record that was changed tells nothing: nobody knows what it said.
    let mut changed = entries.clone();
    let told = changed.iter_mut().find(|(seq, _)| *seq == 600).unwrap();
    told.1.leaf = String::from_utf8(told.1.leaf.to_vec())
        .unwrap()
        .replace("\"first\":128", "\"first\":64")
        .into();
    changed.retain(|(seq, _)| !(64..128).contains(seq));
    let report = site.verify(&site.copy(&changed, &bodies));
    assert!(
        report.status() == 5
            && report.pruned.is_empty()
            && found(&report).contains(&("missing", 0, 191)),
        "{}",
        report.text()
    );
}

#[test]
fn a_record_that_nobody_has_signed_excuses_nothing() {
    let site = Site::new();
    let mut entries: Vec<_> =
        site.entries().into_iter().filter(|(seq, _)| !(60..120).contains(seq)).collect();
    let detail = json!({"records": [{"first": 60, "last": 119}], "policy": {}});
    let forged = record(
        Kind::Event,
        AuditId::new(),
        json!({"event": "records-pruned", "detail": detail}),
        None,
    );
    entries.push((
        600,
        Entry { time: forged.time, kind: forged.kind, id: forged.id, leaf: forged.leaf },
    ));
    let report = site.verify(
        &site.copy(
            &entries,
            &site
                .contents()
                .into_iter()
                .filter(|(seq, _)| !(60..120).contains(seq))
                .collect::<Vec<_>>(),
        ),
    );
    check(&report, 4, &[("missing", 60, 119)]);
    assert!(
        report.text().contains("record 600 tells of it, but no checkpoint covers that record yet: start the gateway, which signs it, and verify again"),
        "{}",
        report.text()
    );
    // Nor one that stands before what it tells of.
    let dir = tempfile::tempdir().unwrap();
    let key = Site::serve(dir.path(), SEGMENT_RECORDS, |journal, _| {
        tell(journal, EventName::RecordsPruned, &[(1, 5)]);
        (0..9).for_each(|n| {
            journal.append_detached(record(
                Kind::Event,
                AuditId::new(),
                json!({"event": "x", "n": n}),
                None,
            ))
        });
    });
    let site = Site { dir, key };
    let entries: Vec<_> =
        site.entries().into_iter().filter(|(seq, _)| !(1..5).contains(seq)).collect();
    check(&site.verify(&site.copy(&entries, &[])), 4, &[("missing", 1, 4)]);
}

#[test]
fn lost_records_fail_completeness_with_the_operators_reason() {
    let site = Site::new();
    Site::serve(site.dir.path(), SEGMENT_RECORDS, |journal, _| {
        assert_eq!(tell(journal, EventName::RecordsLost, &[(60, 120)]), 600);
    });
    let (entries, contents) = (site.entries(), site.contents());
    let kept: Vec<_> =
        entries.iter().filter(|(seq, _)| !(60..120).contains(seq)).cloned().collect();
    let bodies: Vec<_> =
        contents.iter().filter(|(seq, _)| !(60..120).contains(seq)).cloned().collect();
    let report = site.verify(&site.copy(&kept, &bodies));
    check(&report, 4, &[("lost", 60, 119)]);
    assert!(
        report.text().contains("record 600 tells that they were lost")
            && report.text().contains("struck by lightning"),
        "{}",
        report.text()
    );
    // What is told of and is there is worth a note.
    let report = site.verify(&site.copy(&entries, &contents));
    check(&report, 0, &[]);
    assert!(
        report.notes.iter().any(|note| note
            .contains("record 600 says that records 60 to 119 are lost, but they are there")),
        "{:?}",
        report.notes
    );
}

#[test]
fn an_outcome_may_be_among_what_was_pruned_and_nowhere_else() {
    // Request 62 has its answer at 65, request 126 at 129.
    let site = pruned(&[(64, 128)], |_| ());
    let report = site.verify(&Folder::open(&site.audit()).unwrap());
    check(&report, 0, &[]);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("1 requests, the first of them record 62,")),
        "{:?}",
        report.notes
    );
    let (entries, bodies) = (left(&site), bodies(&site));
    let entries: Vec<_> = entries.into_iter().filter(|(seq, _)| *seq != 303).collect();
    let report = site.verify(&site.copy(&entries, &bodies));
    check(&report, 4, &[("missing", 303, 303), ("pairing", 300, 300)]);
}

/// An export of exchanges, of all that is there.
fn exported(dir: &Path) -> Vec<u8> {
    let export = exported::Export {
        form: ExportFormat::Exchange,
        filter: Filter::default(),
        start: exported::Start::Oldest,
        follow: false,
    };
    let mut exporter = exported::Exporter::new(Reader::open(dir).unwrap(), export).unwrap();
    let mut text = Vec::new();
    loop {
        let step = exporter.step().unwrap();
        text.extend(step.lines.into_iter().flat_map(|line| line.bytes));
        if step.state == exported::State::Ended {
            return text;
        }
    }
}

#[test]
fn an_export_of_what_is_left_cannot_be_bound_and_is_not_called_complete() {
    // Between exchanges; and in the middle of one, so that answer 65 stands alone.
    for (records, gap, alone) in [(Site::records().collect(), (0, 192), 0), (old(600), (0, 64), 1)]
    {
        let site = pruned_of(records, &[gap], |_| ());
        let path = site.dir.path().join("export.ndjson");
        let text = exported(&site.audit());
        assert_eq!(
            String::from_utf8_lossy(&text)
                .matches("\"request\":null,\"answer\":{\"seq\":65,")
                .count(),
            alone
        );
        std::fs::write(&path, text).unwrap();
        let note = std::fs::read(site.audit().join("tree/checkpoint")).unwrap();
        for checkpoints in [Vec::new(), vec![("mine".to_owned(), note)]] {
            let report = super::verify(
                &Export::open(&path).unwrap(),
                &Options { checkpoints, ..site.options() },
                &mut |_, _| (),
            )
            .unwrap();
            check(&report, 6, &[]);
            assert_eq!(
                (gone(&report), report.completeness),
                (vec![(gap.0, gap.1 - 1, 600)], Verdict::Unknown),
                "{}",
                report.text()
            );
            assert!(report.text().contains("is their word alone"), "{}", report.text());
        }
    }
}

/// Nothing is pruned before what is open is closed, so that a request whose outcome went is not in
/// flight, however new it is.
#[test]
fn a_request_whose_outcome_was_pruned_is_not_in_flight() {
    let site = pruned_of(of_age(600, 0), &[(64, 128)], |_| ());
    let report =
        verify(&Folder::open(&site.audit()).unwrap(), &site.options(), &mut |_, _| ()).unwrap();
    assert_eq!(report.status(), 0, "{}", report.text());
    let told = |words: &str| report.notes.iter().filter(|note| note.contains(words)).count();
    assert_eq!(
        (told("record 62, stand before records that are gone"), told("no outcome yet")),
        (1, 0),
        "{:?}",
        report.notes
    );
}
