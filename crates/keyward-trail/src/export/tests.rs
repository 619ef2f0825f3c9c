//! Exports over real sled: whole, in order, each exchange once, wherever they are cut.

use super::*;
use crate::query::PAGE_EXCHANGES_MAX;
use crate::query::ask::{Ask, Form};
use crate::store::{Batch, Store};
use crate::tiered::TieredStore;
use crate::wal::SledStore;
use keyward_core::reason::Reason;
use keyward_record::canonical;
use proptest::prelude::*;
use serde_json::json;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What is recorded, in order: a request that is forwarded, one that is refused, an event, or the
/// answer to the nth open one.
#[derive(Clone, Copy, Debug)]
enum Step {
    Forwarded,
    Refused,
    Event,
    Answer(usize),
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => Just(Step::Forwarded), 1 => Just(Step::Refused), 1 => Just(Step::Event), 4 => (0..5_usize).prop_map(Step::Answer)];
    prop::collection::vec(step, 0..90)
}

/// The trail of these steps.
struct Writer {
    store: SledStore,
    open: Vec<AuditId>,
    seq: u64,
    entries: Vec<Entry>,
}

impl Writer {
    fn new(dir: &Path) -> Self {
        Self { store: SledStore::open(dir).unwrap().0, open: vec![], seq: 0, entries: vec![] }
    }

    fn write(&mut self, steps: &[Step], batch_records: usize) {
        for chunk in steps.chunks(batch_records) {
            let entries: Vec<_> = chunk.iter().filter_map(|step| self.entry(*step)).collect();
            self.store
                .append(&Batch {
                    first_seq: self.seq,
                    entries: entries.clone(),
                    ..Batch::default()
                })
                .unwrap();
            self.seq += entries.len() as u64;
            self.entries.extend(entries);
        }
    }

    fn entry(&mut self, step: Step) -> Option<Entry> {
        let seconds = 1_000 + (self.seq + self.entries.len() as u64);
        let (id, kind, leaf) = match step {
            Step::Forwarded => (
                AuditId::new(),
                Kind::Forwarded,
                json!({"kind": "request", "decision": {"verdict": "allow"}, "caller": {"name": "a"}}),
            ),
            Step::Refused => {
                let reason = Reason::Forbidden.code();
                (
                    AuditId::new(),
                    Kind::Refused,
                    json!({"kind": "request", "decision": {"verdict": "deny", "reason": reason}, "caller": {"name": "b"}}),
                )
            }
            Step::Event => {
                (AuditId::new(), Kind::Event, json!({"kind": "event", "event": "started"}))
            }
            Step::Answer(_) if self.open.is_empty() => return None,
            Step::Answer(n) => {
                let outcome = ["succeeded", "failed"][n % 2];
                (
                    self.open.remove(n % self.open.len()),
                    Kind::Answer,
                    json!({"kind": "answer", "outcome": outcome, "status": 200}),
                )
            }
        };
        if kind == Kind::Forwarded {
            self.open.push(id);
        }
        Some(Entry { time: Timestamp(seconds * 1_000_000_000), kind, id, leaf: canonical(&leaf) })
    }

    fn reader(self) -> (Reader, Vec<Entry>, u64) {
        (Reader::over(self.store, self.seq), self.entries, self.seq)
    }
}

fn export(form: ExportFormat, filter: &[(&str, &str)]) -> Export {
    Export {
        form,
        filter: Filter::parse(filter.iter().copied()).unwrap(),
        start: Start::Oldest,
        follow: false,
    }
}

/// All lines; with `cut`, each step is made by an exporter that knows nothing but the cursor.
fn lines(reader: &Reader, export: &Export, bounds: Bounds, cut: bool) -> Vec<Line> {
    let mut exporter = Exporter::new(reader.clone(), export.clone()).unwrap();
    let mut lines = vec![];
    loop {
        exporter.bounds = bounds;
        let step = exporter.step().unwrap();
        assert_eq!(step.next, exporter.next());
        lines.extend(step.lines);
        match step.state {
            State::More if cut => {
                exporter = Exporter::new(
                    reader.clone(),
                    Export { start: Start::At(step.next), ..export.clone() },
                )
                .unwrap()
            }
            State::More => {}
            State::Later | State::Ended => return lines,
        }
    }
}

const SMALL: Bounds = Bounds { step_records: 3, step_bytes: 200, open_bytes: 200 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_record_comes_once_and_in_order(steps in any_steps(), batch in 1..9_usize) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(&steps, batch);
        let (reader, entries, _) = writer.reader();
        let wanted: Vec<_> = entries.iter().map(|entry| [entry.leaf.as_ref(), b"\n"].concat()).collect();
        for (bounds, cut) in [(BOUNDS, false), (SMALL, false), (SMALL, true)] {
            let lines = lines(&reader, &export(ExportFormat::Ndjson, &[]), bounds, cut);
            prop_assert_eq!(lines.iter().map(|line| line.bytes.clone()).collect::<Vec<_>>(), wanted.clone());
            prop_assert_eq!(lines.iter().map(|line| line.next).collect::<Vec<_>>(), (1..=wanted.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn exchanges_are_those_of_the_query(steps in any_steps(), batch in 1..9_usize) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(&steps, batch);
        let (reader, _, _) = writer.reader();
        for filter in [
            &[("caller", "a")][..], &[("outcome", "failed")], &[("outcome", "open")], &[("decision", "deny")], &[("event", "started")],
            &[("caller", "a"), ("since", "1970-01-01T00:17:00Z"), ("until", "1970-01-01T00:17:40Z")],
        ] {
            let export = export(ExportFormat::Exchange, filter);
            let mut wanted: Vec<_> = reader.query(&export.filter, PAGE_EXCHANGES_MAX, None).unwrap().exchanges.iter().map(|exchange| exchange.id).collect();
            wanted.sort();
            for bounds in [BOUNDS, SMALL] {
                let mut found: Vec<_> = lines(&reader, &export, bounds, false).iter().map(|line| line.id).collect();
                found.sort();
                prop_assert_eq!(&found, &wanted, "{:?}", filter);
            }
        }
    }

    /// Whoever follows is given each exchange once, complete, however often it begins anew and whatever was open then.
    #[test]
    fn a_follower_gets_each_exchange_once(steps in any_steps(), restarts in prop::collection::vec(1..20_usize, 0..8)) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(&steps, 4);
        let open = writer.open.clone();
        let (reader, entries, end) = writer.reader();
        let follow = Export { follow: true, ..export(ExportFormat::Exchange, &[]) };
        let (mut found, mut restarts): (Vec<Line>, _) = (vec![], restarts.into_iter());
        let (mut exporter, mut left) = (Exporter::new(reader.clone(), follow.clone()).unwrap(), restarts.next());
        loop {
            exporter.bounds = SMALL;
            let step = exporter.step().unwrap();
            // What it has not taken when it begins anew, it is given again.
            for line in step.lines {
                left = left.map(|left| left - 1);
                found.push(line);
                if left == Some(0) {
                    let start = Start::At(found.last().unwrap().next);
                    exporter = Exporter::new(reader.clone(), Export { start, ..follow.clone() }).unwrap();
                    break;
                }
            }
            match left {
                Some(0) => left = restarts.next(),
                _ if step.state == State::Later => break,
                _ => {}
            }
        }
        prop_assert_eq!(exporter.next(), end);
        let wanted: Vec<_> = entries.iter().filter(|entry| entry.kind != Kind::Forwarded).map(|entry| entry.id).collect();
        prop_assert_eq!(found.iter().map(|line| line.id).collect::<Vec<_>>(), wanted);
        for line in &found {
            let exchange = Exchange::read(std::str::from_utf8(&line.bytes).unwrap()).unwrap();
            prop_assert!(!open.contains(&exchange.id) && (exchange.answer.is_some() == (exchange.request.kind == Kind::Forwarded)));
        }
    }
}

/// A trail that begins later than its numbers do.
fn trail_of(dir: &Path, records: Range<u64>) -> Reader {
    let mut writer = Writer::new(dir);
    writer.seq = records.start;
    writer.write(&vec![Step::Event; usize::try_from(records.end - records.start).unwrap()], 2);
    writer.reader().0
}

#[test]
fn what_is_missing_is_said_and_never_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let reader = trail_of(dir.path(), 4..10);
    let at = |start| {
        Exporter::new(reader.clone(), Export { start, ..export(ExportFormat::Ndjson, &[]) })
    };
    assert_eq!(at(Start::Oldest).unwrap().step().unwrap().lines.len(), 6);
    assert_eq!(at(Start::At(5)).unwrap().step().unwrap().lines.len(), 5);
    assert_eq!(at(Start::At(10)).unwrap().step().unwrap().state, State::Ended);
    assert_eq!(at(Start::End).unwrap().next(), 10);
    let gone = at(Start::At(2)).unwrap().step().unwrap_err().to_string();
    assert!(
        gone.contains("records 2 to 3 are in the trail no longer")
            && gone.contains("begin at record 4"),
        "{gone}"
    );
    let beyond = at(Start::At(11)).map(|exporter| exporter.next()).unwrap_err().to_string();
    assert!(beyond.contains("the trail has 10 records"), "{beyond}");
}

#[test]
fn an_export_survives_its_url() {
    for start in [Start::Oldest, Start::At(7), Start::End] {
        let export = Export {
            start,
            follow: true,
            ..export(ExportFormat::Cadf, &[("decision", "deny"), ("request.call.path", "/a b&c")])
        };
        let target = export.target();
        let (path, query) = target.split_once('?').unwrap();
        assert_eq!(
            (path, Export::read(&serde_urlencoded::from_str::<Vec<_>>(query).unwrap()).unwrap()),
            (EXPORT, (export, true))
        );
    }
    for (name, value) in
        [("form", "xml"), ("cursor", "x"), ("follow", "maybe"), ("decison", "deny")]
    {
        let error = Export::read(&[(name.to_owned(), value.to_owned())]).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn gaps_are_passed_but_for_a_cursor_that_points_into_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = TieredStore::open_with(dir.path(), 64).unwrap();
    let entry = |n: u64| Entry {
        time: Timestamp(n * 1_000_000_000),
        kind: Kind::Event,
        id: AuditId::new(),
        leaf: format!("{n}").into(),
    };
    store
        .append(&Batch {
            entries: (0..300).map(entry).collect(),
            open_floor: Some(300),
            ..Batch::default()
        })
        .unwrap();
    store.seal().unwrap();
    let store = Arc::new(store);
    let reader = Reader::over_shared(store.clone(), 300);
    let at = |start, filter| {
        Exporter::new(reader.clone(), Export { start, ..export(ExportFormat::Ndjson, filter) })
            .unwrap()
    };
    let mut begun = at(Start::At(60), &[]);
    begun.bounds = Bounds { step_records: 4, ..BOUNDS };
    let mut waiting = at(Start::At(64), &[]);
    store.prune(&[0..64, 128..192, 192..256], 299).unwrap();
    let numbers = |lines: Vec<Line>| {
        lines
            .iter()
            .map(|line| std::str::from_utf8(&line.bytes).unwrap().trim().parse().unwrap())
            .collect::<Vec<u64>>()
    };
    let left: Vec<_> = (64..128).chain(256..300).collect();
    for (bounds, cut) in [(BOUNDS, false), (SMALL, false), (SMALL, true)] {
        let lines = lines(&reader, &export(ExportFormat::Ndjson, &[]), bounds, cut);
        assert!(lines.iter().all(|line| !(128..256).contains(&line.next)));
        assert_eq!(numbers(lines), left);
    }
    assert_eq!(numbers(waiting.step().unwrap().lines), left, "what it stood before is there");
    let refused = |start, filter: &[_]| {
        Exporter::new(reader.clone(), Export { start, ..export(ExportFormat::Ndjson, filter) })
            .err()
            .map(|error| error.to_string())
    };
    for start in [Start::At(5), Start::At(128), Start::At(255)] {
        let gone = refused(start, &[]).unwrap();
        assert!(gone.contains("are in the trail no longer, record 299 tells why: to go on without them, begin at record"), "{gone}");
        // Unless they are older than what is wanted.
        assert_eq!(at(start, &[("since", "1970-01-01T00:04:50Z")]).step().unwrap().lines.len(), 10);
    }
    let gone = begun.step().unwrap_err();
    assert!(matches!(gone, ExportError::Gone { from: 60, to: 63, told_by: Some(299) }), "{gone}");
    // A time in a gap is the time of what comes behind it.
    assert_eq!(
        numbers(at(Start::Oldest, &[("since", "1970-01-01T00:02:20Z")]).step().unwrap().lines),
        (256..300).collect::<Vec<_>>()
    );
    assert!(refused(Start::At(140), &[("since", "1970-01-01T00:02:20Z")]).is_some());
    assert_eq!(
        numbers(at(Start::At(70), &[("since", "1970-01-01T00:02:20Z")]).step().unwrap().lines),
        (256..300).collect::<Vec<_>>()
    );
}

#[test]
fn whoever_asks_for_what_was_pruned_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = TieredStore::open_with(dir.path(), 64).unwrap();
    let id = |n: u64| AuditId(uuid::Uuid::new_v7(uuid::Timestamp::from_unix_time(n * 10, 0, 0, 0)));
    let ids: Vec<_> = (0..200).map(id).collect();
    let entry = |n: u64| Entry {
        time: Timestamp(n * 10_000_000_000),
        kind: Kind::Event,
        id: ids[n as usize],
        leaf: format!("{n}").into(),
    };
    store
        .append(&Batch {
            entries: (0..200).map(entry).collect(),
            open_floor: Some(200),
            ..Batch::default()
        })
        .unwrap();
    store.seal().unwrap();
    store.prune(&[0..64, 128..192], 199).unwrap();
    let reader = Reader::over(store, 200);
    let ask = |id| {
        Ask::Exchange(id)
            .answer(&reader, Form::Json)
            .map_err(|error| (error.status(), error.to_string()))
    };
    for n in [64, 127, 192, 199] {
        ask(ids[n]).unwrap();
    }
    for (n, records) in [(0, "0 to 63"), (63, "0 to 63"), (128, "128 to 191"), (150, "128 to 191")]
    {
        let (status, why) = ask(ids[n]).unwrap_err();
        assert!(
            status == 404 && why.ends_with(&format!("at its time stood records {records}, which were pruned by policy: record 199 tells of it")),
            "{n}: {why}"
        );
    }
    for n in [90, 196, 5000] {
        let (status, why) = ask(id(n)).unwrap_err();
        assert!(status == 404 && !why.contains("at its time"), "{n}: {why}");
    }
}

#[test]
fn what_waits_for_its_answer_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer
        .write(&[Step::Forwarded, Step::Refused, Step::Forwarded, Step::Answer(0), Step::Event], 2);
    let reader = writer.reader().0;
    for (form, needed) in [(ExportFormat::Exchange, 2), (ExportFormat::Ndjson, 5)] {
        let mut exporter =
            Exporter::new(reader.clone(), Export { follow: true, ..export(form, &[]) }).unwrap();
        exporter.step().unwrap();
        assert_eq!((exporter.next(), exporter.needed()), (5, needed), "{form:?}");
    }
}
