//! A trail that the journal and the notary have made, and copies of it on which somebody has laid
//! hands.

use super::*;
use crate::metrics::Metrics;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::{Content, Kind, Record, canonical};
use keyward_tlog::key::LogKey;
use keyward_tlog::key::SigningKey;
use keyward_tlog::note::Signed;
use keyward_tlog::source::{Copy, Export, Source};
use keyward_tlog::verify::report::{Report, Verdict};
use keyward_tlog::verify::{Options, verify};
use keyward_trail::filter::Filter;
use keyward_trail::journal::{self, Journal};
use keyward_trail::query::Reader;
use keyward_trail::query::render;
use keyward_trail::segment::SEGMENT_RECORDS;
use keyward_trail::store::{Batch, Store};
use keyward_trail::verify::Folder;
use keyward_trail::wal::SledStore;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn record(kind: Kind, id: AuditId, mut leaf: Value, content: Option<Content>) -> Record {
    let time = Timestamp::now();
    leaf["v"] = json!(1);
    leaf["id"] = json!(id.to_string());
    leaf["time"] = json!(time.rfc3339());
    leaf["kind"] = json!(match kind {
        Kind::Forwarded | Kind::Refused => "request",
        Kind::Answer => "answer",
        Kind::Event => "event",
    });
    match kind {
        Kind::Forwarded => leaf["decision"] = json!({"verdict": "allow"}),
        Kind::Refused => leaf["decision"] = json!({"verdict": "deny"}),
        Kind::Answer | Kind::Event => (),
    }
    if let Some(content) = &content {
        leaf["body"] = json!({"commit": content.commitment()});
    }
    Record { id, kind, time, leaf: canonical(&leaf), content }
}

struct Site {
    dir: tempfile::TempDir,
    key: LogKey,
}

impl Site {
    /// 200 exchanges with an answer, each tenth with a body, and 200 refusals: 600 records.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Self::run(dir.path(), Self::records);
        Self { dir, key }
    }

    fn records() -> impl Iterator<Item = Record> {
        (0..200).flat_map(|n| {
            let id = AuditId::new();
            let body =
                (n % 10 == 0).then(|| Content::new(format!("{{\"body\":{n}}}").into()).unwrap());
            [
                record(Kind::Forwarded, id, json!({"n": n}), body),
                record(Kind::Refused, AuditId::new(), json!({"n": n}), None),
                record(Kind::Answer, id, json!({"outcome": "succeeded"}), None),
            ]
        })
    }

    /// Runs journal and notary over some records, and ends in order.
    fn run<I: Iterator<Item = Record>>(dir: &Path, records: impl FnOnce() -> I) -> LogKey {
        Self::serve(dir, SEGMENT_RECORDS, |journal, _| {
            records().for_each(|record| journal.append_detached(record))
        })
    }

    /// Does something to a journal with segments of so many records, beside its notary, and ends in
    /// order.
    fn serve(dir: &Path, segment_records: u64, work: impl FnOnce(&Journal, &Evidence)) -> LogKey {
        let settings = Settings {
            key_file: dir.join("evidence.key"),
            origin: Some("example.com/log".to_owned()),
            every: Duration::from_millis(5),
            accept: None,
            off_host: OffHost::default(),
        };
        let journal = journal::Settings {
            free_bytes_min: 1,
            segment_records,
            ..journal::Settings::new(dir.join("audit"))
        };
        let (journal, _, evidence) =
            open(journal, &settings, Arc::new(Metrics::new().unwrap())).unwrap();
        work(&journal, &evidence);
        journal.close().unwrap();
        evidence.close();
        evidence.notary().key().clone()
    }

    fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    fn entries(&self) -> Vec<(u64, Entry)> {
        let store = SledStore::open(&self.audit()).unwrap().0;
        store
            .oldest_first(0)
            .map(Result::unwrap)
            .flat_map(|frame| (frame.first_seq..).zip(frame.entries))
            .collect()
    }

    fn contents(&self) -> Vec<(u64, Content)> {
        let store = SledStore::open(&self.audit()).unwrap().0;
        (0..600).filter_map(|seq| Some((seq, store.content(seq).unwrap()?))).collect()
    }

    /// A copy whose records are these, with the tree and the checkpoints as they were.
    fn copy(&self, entries: &[(u64, Entry)], contents: &[(u64, Content)]) -> Folder {
        let copy = self.dir.path().join(AuditId::new().to_string());
        std::fs::create_dir_all(copy.join("tree")).unwrap();
        for file in std::fs::read_dir(self.audit().join("tree")).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), copy.join("tree").join(file.file_name())).unwrap();
        }
        let store = SledStore::open(&copy).unwrap().0;
        for run in entries.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
            for chunk in run.chunks(20) {
                let of_chunk = |seq: &u64| (chunk[0].0..=chunk[chunk.len() - 1].0).contains(seq);
                let contents = contents.iter().filter(|(seq, _)| of_chunk(seq)).cloned().collect();
                let entries = chunk.iter().map(|(_, entry)| entry.clone()).collect();
                store
                    .append(&Batch { first_seq: chunk[0].0, entries, contents, open_floor: None })
                    .unwrap();
            }
        }
        drop(store);
        Folder::open(&copy).unwrap()
    }

    fn options(&self) -> Options {
        Options { full: true, keys: vec![self.key.clone()], ..Options::default() }
    }

    fn verify(&self, source: &dyn Source) -> Report {
        verify(source, &self.options(), &mut |_, _| ()).unwrap()
    }
}

mod pruned;

/// The findings in short: kind and records.
fn found(report: &Report) -> Vec<(&'static str, u64, u64)> {
    report
        .findings
        .iter()
        .filter_map(|f| f.records.map(|(first, last)| (f.kind, first, last)))
        .collect()
}

#[track_caller]
fn check(report: &Report, status: u8, expected: &[(&'static str, u64, u64)]) {
    assert_eq!((report.status(), found(report)), (status, expected.to_vec()), "{}", report.text());
}

#[test]
fn a_sound_trail_holds_at_both_levels() {
    let site = Site::new();
    let source = Folder::open(&site.audit()).unwrap();
    for full in [true, false] {
        let mut told = 0;
        let report =
            verify(&source, &Options { full, ..site.options() }, &mut |done, _| told = done)
                .unwrap();
        assert_eq!((report.status(), report.read, told), (0, 600, 600), "{}", report.text());
        assert!(
            report.findings.is_empty()
                && report.trusted
                && report.json()["integrity"]["verdict"] == "holds"
        );
        assert!(
            report.counts.contains(&("forwarded", 200)) && report.counts.contains(&("bodies", 20)),
            "{:?}",
            report.counts
        );
    }
    let report =
        verify(&source, &Options { full: true, ..Options::default() }, &mut |_, _| ()).unwrap();
    assert!(
        report.status() == 0 && !report.trusted && report.text().contains("give --vkey to be sure")
    );
}

#[test]
fn a_changed_record_is_named() {
    let site = Site::new();
    let mut entries = site.entries();
    let mut leaf = entries[100].1.leaf.to_vec();
    let at = leaf.windows(4).position(|w| w == b"\"n\":").unwrap() + 4;
    leaf[at] = if leaf[at] == b'1' { b'2' } else { b'1' };
    entries[100].1.leaf = leaf.into();
    check(&site.verify(&site.copy(&entries, &site.contents())), 3, &[("changed", 100, 100)]);
}

#[test]
fn a_missing_record_is_named_wherever_the_others_stand() {
    let site = Site::new();
    let (entries, contents) = (site.entries(), site.contents());
    // Its place is empty.
    let without: Vec<_> = entries.iter().filter(|(seq, _)| *seq != 101).cloned().collect();
    check(&site.verify(&site.copy(&without, &contents)), 4, &[("missing", 101, 101)]);
    // The others of its frame have moved up.
    let mut moved = without.clone();
    moved.iter_mut().filter(|(seq, _)| (102..120).contains(seq)).for_each(|(seq, _)| *seq -= 1);
    check(&site.verify(&site.copy(&moved, &contents)), 4, &[("missing", 101, 101)]);
    // All that came after it have moved up, and the trail is one shorter.
    let mut moved = without;
    moved.iter_mut().filter(|(seq, _)| *seq > 101).for_each(|(seq, _)| *seq -= 1);
    let bodies: Vec<_> =
        contents.into_iter().map(|(seq, content)| (seq - u64::from(seq > 101), content)).collect();
    let report = site.verify(&site.copy(&moved, &bodies));
    assert_eq!(report.status(), 5, "{}", report.text());
    for expected in [("missing", 101, 101), ("moved", 101, 598), ("missing", 599, 599)] {
        assert!(found(&report).contains(&expected), "{expected:?}: {}", report.text());
    }
    assert!(report.text().contains("at the place of records 101 to 598 stand the records that were signed as records 102 to 599"), "{}", report.text());
}

#[test]
fn a_cut_tail_is_named() {
    let site = Site::new();
    let entries = site.entries();
    let report = site.verify(&site.copy(&entries[..590], &site.contents()));
    check(&report, 4, &[("missing", 590, 599)]);
    assert!(
        report.notes.iter().any(|note| note.contains("tail of the trail was cut")),
        "{:?}",
        report.notes
    );
}

#[test]
fn swapped_records_are_named() {
    let site = Site::new();
    let mut entries = site.entries();
    let (a, b) = (entries[100].1.clone(), entries[130].1.clone());
    (entries[100].1, entries[130].1) = (b, a);
    let report = site.verify(&site.copy(&entries, &site.contents()));
    assert_eq!(report.integrity, Verdict::Fails);
    assert!(
        found(&report).contains(&("moved", 100, 100))
            && found(&report).contains(&("moved", 130, 130)),
        "{}",
        report.text()
    );
    assert!(
        report
            .text()
            .contains("at the place of record 100 stands the record that was signed as record 130"),
        "{}",
        report.text()
    );
}

#[test]
fn what_stands_beside_a_record_must_agree_with_it() {
    let site = Site::new();
    let (entries, contents) = (site.entries(), site.contents());
    let mut headed = entries.clone();
    headed[50].1.time = Timestamp(headed[50].1.time.0 - 60_000_000_000);
    headed[60].1.id = AuditId::new();
    check(&site.verify(&site.copy(&headed, &contents)), 3, &[("head", 50, 50), ("head", 60, 60)]);
    let mut other = contents.clone();
    other[2].1.bytes = "{}".into();
    check(&site.verify(&site.copy(&entries, &other)), 3, &[("body", other[2].0, other[2].0)]);
    // One that is not there must have been erased, on record.
    check(&site.verify(&site.copy(&entries, &contents[1..])), 4, &[("body-missing", 0, 0)]);
}

#[test]
fn a_body_may_be_gone_when_a_record_tells_that_it_was_erased() {
    let site = Site::new();
    let told = json!({"event": "bodies-erased", "detail": {"exchange": "x", "records": [{"first": 0, "last": 0}, {"first": 60, "last": 60}], "reason": "r", "by": {"name_claimed": "b"}}});
    Site::run(site.dir.path(), || std::iter::once(record(Kind::Event, AuditId::new(), told, None)));
    let (entries, contents) = (site.entries(), site.contents());
    // Records 0 and 30 have the first two.
    let report = site.verify(&site.copy(&entries, &contents[1..]));
    assert_eq!(
        (report.status(), report.erased.iter().copied().collect::<Vec<_>>()),
        (0, vec![600]),
        "{}",
        report.text()
    );
    assert!(
        report.counts.contains(&("bodies erased", 1)) && report.counts.contains(&("bodies", 19)),
        "{:?}",
        report.counts
    );
    check(&site.verify(&site.copy(&entries, &contents[2..])), 4, &[("body-missing", 30, 30)]);
}

#[test]
fn a_damaged_tree_is_told_from_damaged_records() {
    let site = Site::new();
    for (level, offset, expected) in
        [("level0", 300 * 32, vec![("tile", 300, 300)]), ("level1", 32, vec![])]
    {
        let source = site.copy(&site.entries(), &site.contents());
        let path = PathBuf::from(source.name()).join("tree").join(level);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[offset] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let report = site.verify(&source);
        assert_eq!(report.status(), 3, "{}", report.text());
        assert!(report.findings.iter().all(|f| f.kind == "tile"), "{}", report.text());
        assert_eq!(found(&report), expected, "{}", report.text());
    }
}

#[test]
fn an_answer_without_request_and_a_request_without_answer_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (early, late) = (AuditId::new(), AuditId::new());
    let old = |mut record: Record| {
        record.time = Timestamp(record.time.0 - 3_600_000_000_000);
        let mut leaf: Value = serde_json::from_slice(&record.leaf).unwrap();
        leaf["time"] = json!(record.time.rfc3339());
        record.leaf = canonical(&leaf);
        record
    };
    let key = Site::run(dir.path(), || {
        [
            old(record(Kind::Forwarded, early, json!({}), None)),
            record(Kind::Forwarded, late, json!({}), None),
        ]
        .into_iter()
    });
    let site = Site { dir, key };
    let report = site.verify(&Folder::open(&site.audit()).unwrap());
    check(&report, 4, &[("pairing", 0, 0)]);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("1 exchanges have no outcome yet, the first at record 1")),
        "{:?}",
        report.notes
    );
    // The next start closes both.
    Site::run(site.dir.path(), std::iter::empty);
    assert_eq!(site.verify(&Folder::open(&site.audit()).unwrap()).status(), 0);
}

/// A start asks why the trail of an older key is empty, unless that was begun.
fn begun(dir: &Path) {
    std::fs::create_dir_all(dir.join("audit/tree")).unwrap();
    std::fs::write(dir.join("audit/tree/keys"), b"").unwrap();
}

#[test]
fn a_checkpoint_from_outside_must_be_grown_from() {
    let site = Site::new();
    let outside = std::fs::read(site.audit().join("tree/checkpoint")).unwrap();
    let with = |source: &dyn Source, note: &[u8]| {
        verify(
            source,
            &Options { checkpoints: vec![("mine".to_owned(), note.to_owned())], ..site.options() },
            &mut |_, _| (),
        )
        .unwrap()
    };
    // The trail has grown since.
    Site::run(site.dir.path(), || {
        std::iter::once(record(Kind::Event, AuditId::new(), json!({"event": "x"}), None))
    });
    assert_eq!(with(&Folder::open(&site.audit()).unwrap(), &outside).status(), 0);
    // Somebody with the key has written another trail, and signed it.
    let forged = tempfile::tempdir().unwrap();
    std::fs::copy(site.dir.path().join("evidence.key"), forged.path().join("evidence.key"))
        .unwrap();
    begun(forged.path());
    Site::run(forged.path(), || {
        (0..700).map(|n| record(Kind::Event, AuditId::new(), json!({"event": "x", "n": n}), None))
    });
    let report = with(&Folder::open(&forged.path().join("audit")).unwrap(), &outside);
    assert_eq!(report.integrity, Verdict::Fails, "{}", report.text());
    assert!(report.findings.iter().all(|f| f.kind == "outside"), "{}", report.text());
    // Somebody without the key has.
    std::fs::remove_file(forged.path().join("evidence.key")).unwrap();
    std::fs::remove_dir_all(forged.path().join("audit")).unwrap();
    Site::run(forged.path(), || {
        (0..7).map(|n| record(Kind::Event, AuditId::new(), json!({"event": "x", "n": n}), None))
    });
    let report = site.verify(&Folder::open(&forged.path().join("audit")).unwrap());
    assert!(report.findings.iter().any(|f| f.kind == "signature"), "{}", report.text());
    assert_eq!(report.integrity, Verdict::Fails);
    // A trail that was cut before the checkpoint that somebody kept.
    let short = tempfile::tempdir().unwrap();
    std::fs::copy(site.dir.path().join("evidence.key"), short.path().join("evidence.key")).unwrap();
    begun(short.path());
    Site::run(short.path(), || {
        (0..7).map(|n| record(Kind::Event, AuditId::new(), json!({"event": "x", "n": n}), None))
    });
    let report = with(&Folder::open(&short.path().join("audit")).unwrap(), &outside);
    assert!(
        report.completeness == Verdict::Fails && found(&report).contains(&("missing", 7, 599)),
        "{}",
        report.text()
    );
}

#[test]
fn an_export_is_verified_by_a_checkpoint() {
    let site = Site::new();
    let reader = Reader::open(&site.audit()).unwrap();
    let page = reader.query(&Filter::default(), 1000, None).unwrap();
    let text = render::page_ndjson(&page);
    drop(reader);
    let path = site.dir.path().join("export.ndjson");
    let note = std::fs::read(site.audit().join("tree/checkpoint")).unwrap();
    let verify = |text: &str, outside: bool| {
        std::fs::write(&path, text).unwrap();
        let checkpoints =
            if outside { vec![("mine".to_owned(), note.clone())] } else { Vec::new() };
        verify(
            &Export::open(&path).unwrap(),
            &Options { checkpoints, ..site.options() },
            &mut |_, _| (),
        )
        .unwrap()
    };
    let report = verify(&text, true);
    assert_eq!((report.status(), report.read), (0, 600), "{}", report.text());
    assert_eq!(verify(&text, false).status(), 6);
    let changed = text.replacen("\"succeeded\"", "\"succeedee\"", 5);
    assert_eq!(verify(&changed, true).integrity, Verdict::Fails);
    let lines: Vec<_> = text.lines().collect();
    let dropped = [&lines[..50], &lines[51..]].concat().join("\n");
    let report = verify(&dropped, true);
    assert_eq!(report.completeness, Verdict::Fails, "{}", report.text());
    assert!(report.findings.iter().all(|f| f.kind == "missing"), "{}", report.text());
    std::fs::write(&path, "{\"v\":1}\n").unwrap();
    assert!(Export::open(&path).err().unwrap().to_string().contains("export.ndjson:1"));
}

#[test]
fn a_rotated_key_is_believed_because_of_the_one_before_it() {
    let site = Site::new();
    let key_file = site.dir.path().join("evidence.key");
    let old = keyward_trail::notary::continuity::old_key_file(&key_file);
    std::fs::rename(&key_file, &old).unwrap();
    let new = Site::run(site.dir.path(), std::iter::empty);
    assert_ne!(new, site.key);
    std::fs::remove_file(&old).unwrap();
    Site::run(site.dir.path(), || {
        std::iter::once(record(Kind::Event, AuditId::new(), json!({"event": "x"}), None))
    });
    // By the old key alone, which signs no more.
    let report = site.verify(&Folder::open(&site.audit()).unwrap());
    assert_eq!(report.status(), 0, "{}", report.text());
    assert!(
        report.notes.iter().any(|note| note.contains(&format!("the key {new} is endorsed"))),
        "{:?}",
        report.notes
    );
    // Without the endorsement it proves nothing.
    std::fs::remove_file(site.audit().join("tree/checkpoints.ndjson")).unwrap();
    let report = site.verify(&Folder::open(&site.audit()).unwrap());
    assert!(report.findings.iter().any(|f| f.kind == "signature"), "{}", report.text());
    let _ = SigningKey::read(&key_file).unwrap();
}

#[test]
fn a_checkpoint_over_more_records_than_there_can_be_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (
        SigningKey::generate("example.com/log").unwrap().0,
        SigningKey::generate("example.com/log").unwrap().0,
    );
    for (signer, kind) in [(&other, "signature"), (&own, "tile")] {
        let note = Signed::sign(u64::MAX - 1, tlog_tiles::Hash([7; 32]), &[signer]).unwrap();
        std::fs::write(dir.path().join("checkpoint"), note.bytes()).unwrap();
        let options =
            Options { full: true, keys: vec![own.verifier().clone()], ..Options::default() };
        let report = verify(&Copy::open(dir.path()).unwrap(), &options, &mut |_, _| ()).unwrap();
        assert!(
            report.findings.iter().any(|f| f.kind == kind) && report.read == 0,
            "{}",
            report.text()
        );
        assert_ne!(report.status(), 0);
    }
}

#[test]
fn a_trail_without_checkpoint_cannot_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = keyward_trail::journal::Journal::open(
        journal::Settings::new(dir.path()),
        Arc::clone(&Metrics::new().unwrap().trail),
    )
    .unwrap();
    journal.append_detached(record(Kind::Event, AuditId::new(), json!({"event": "x"}), None));
    journal.close().unwrap();
    drop(journal);
    let report = verify(
        &Folder::open(dir.path()).unwrap(),
        &Options { full: true, ..Options::default() },
        &mut |_, _| (),
    )
    .unwrap();
    assert_eq!((report.status(), report.integrity), (6, Verdict::Unknown), "{}", report.text());
}
