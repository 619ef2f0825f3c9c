//! Pages, cursors and counts, over real sled.

use super::scan::LOOK_AHEAD;
use super::*;
use crate::exchange::Exchange;
use crate::store::Batch;
use crate::wal::SledStore;
use keyward_core::clock::Timestamp;
use keyward_record::Entry;
use keyward_record::{Kind, canonical};
use model::{Both, Call, FILTERS, SECOND, any_calls, any_tree, write};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Mutex;

mod model;

fn reader(dir: &Path) -> Reader {
    Reader {
        store: Arc::new(SledStore::open(dir).unwrap().0),
        durable: Arc::default(),
        called_off: Arc::default(),
        known: None,
    }
}

/// All pages of a filter, checked against their limits.
fn pages(
    reader: &Reader,
    filter: &Filter,
    limit: usize,
    mut between: impl FnMut(),
) -> Vec<Exchange> {
    let mut all = vec![];
    let mut cursor = None;
    loop {
        let page = reader.query(filter, limit, cursor).unwrap();
        assert!(page.exchanges.len() <= limit);
        all.extend(page.exchanges);
        match page.next {
            Some(next) => cursor = Some(next.to_string().parse().unwrap()),
            None => return all,
        }
        between();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_filter_finds_what_a_naive_scan_finds(
        mut calls in any_calls(),
        wanted in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        batch_records in 1..70_usize,
        limit in 1..20_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let reader = reader(dir.path());
        let end = write(&*reader.store, &mut calls, batch_records, 0);
        reader.durable.store(end, Ordering::Release);
        let alone = FILTERS.iter().map(|filter| vec![filter]);
        let mut together: Vec<_> = wanted.iter().map(|index| index.get(FILTERS)).collect();
        together.sort_by_key(|(name, ..)| *name);
        together.dedup_by_key(|(name, ..)| *name);
        for conditions in alone.chain([together, vec![]]) {
            let filter = Filter::parse(conditions.iter().map(|(name, value, _)| (name, value))).unwrap();
            let expected: Vec<_> = calls.iter().rev().filter(|call| conditions.iter().all(|(.., meaning)| meaning(call))).collect();
            let found = pages(&reader, &filter, limit, || ());
            let ids = |found: &[Exchange]| found.iter().map(|exchange| exchange.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(&found), expected.iter().map(|call| call.id).collect::<Vec<_>>(), "{:?}", filter);
            for (exchange, call) in found.iter().zip(&expected) {
                prop_assert_eq!((exchange.outcome(), exchange.status()), (call.outcome(), call.status()));
                prop_assert_eq!(&exchange.request.leaf, &canonical(&call.request()));
                prop_assert_eq!(exchange.answer.as_ref().map(|a| a.leaf.clone()), call.answered.then(|| canonical(&call.answer())));
            }
            let counts = reader.count(&filter, Some("outcome")).unwrap();
            prop_assert_eq!(counts.total, expected.len() as u64);
            prop_assert_eq!(counts.groups.iter().map(|(_, n)| n).sum::<u64>(), counts.total);
            prop_assert!(counts.groups.iter().all(|(value, n)| expected.iter().filter(|call| call.outcome() == value).count() as u64 == *n));
        }
    }

    /// The index against the model and against a store without one, which reads everything: any expression, segments
    /// sealed at any moment.
    #[test]
    fn an_index_answers_what_reading_answers(
        mut calls in any_calls(),
        trees in prop::collection::vec(any_tree(), 1..6),
        batch_records in 1..70_usize,
        segment in prop::sample::select(vec![16_u64, 32, 64, 4096]),
        seals in prop::collection::vec(any::<bool>(), 8),
        limit in 1..20_usize,
    ) {
        let (dir, plain_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let plain = reader(plain_dir.path());
        let mut seals = seals.into_iter().cycle();
        let tiered = Arc::new(TieredStore::open_with(dir.path(), segment).unwrap().0);
        let both = Both { plain: plain.store.clone(), tiered: tiered.clone(), seal: Mutex::new(Box::new(move || seals.next().unwrap())) };
        let end = write(&both, &mut calls, batch_records, 0);
        let indexed = Reader { store: tiered, durable: Arc::new(AtomicU64::new(end)), called_off: Arc::default(), known: None };
        plain.durable.store(end, Ordering::Release);
        for tree in &trees {
            let filter = Filter::parse([("where", tree.text())]).unwrap();
            let ids = |found: Vec<Exchange>| found.iter().map(|e| (e.id, e.outcome().to_owned(), e.status())).collect::<Vec<_>>();
            let expected: Vec<_> = calls.iter().rev().filter(|call| tree.holds(call)).map(|c| (c.id, c.outcome().to_owned(), c.status())).collect();
            prop_assert_eq!(&ids(pages(&indexed, &filter, limit, || ())), &expected, "{}", tree.text());
            for by in [None, Some("outcome"), Some("status"), Some("resource"), Some("policy"), Some("request.call.method"), Some("answer.content.job_id")] {
                let counts = indexed.count(&filter, by).unwrap();
                prop_assert_eq!(counts.total, expected.len() as u64);
                prop_assert_eq!(counts, plain.count(&filter, by).unwrap(), "{} by {:?}", tree.text(), by);
            }
            let histogram = indexed.histogram(&filter, "10s").unwrap();
            prop_assert_eq!(histogram.total, expected.len() as u64);
            prop_assert_eq!(histogram.buckets.iter().map(|(_, n)| n).sum::<u64>(), histogram.total);
            for (begin, count) in &histogram.buckets {
                let within = calls.iter().filter(|call| tree.holds(call) && (begin.0..begin.0 + 10 * SECOND).contains(&call.time)).count() as u64;
                prop_assert_eq!(*count, within);
            }
            prop_assert_eq!(histogram, plain.histogram(&filter, "10s").unwrap());
        }
        for call in &calls {
            let exchange = indexed.show(call.id).unwrap().unwrap();
            prop_assert_eq!((exchange.outcome(), exchange.status()), (call.outcome(), call.status()));
            prop_assert_eq!(exchange.request.content.unwrap().bytes, call.body());
        }
        prop_assert!(indexed.show(AuditId::new()).unwrap().is_none());
    }

    #[test]
    fn pages_are_stable_while_records_are_added(mut calls in any_calls(), mut later in any_calls(), limit in 1..9_usize, batch_records in 1..40_usize) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(TieredStore::open_with(dir.path(), 32).unwrap().0);
        let reader = Reader { store: store.clone(), durable: Arc::default(), called_off: Arc::default(), known: None };
        let end = write(&*reader.store, &mut calls, batch_records, 0);
        reader.durable.store(end, Ordering::Release);
        let filter = Filter::parse([("decision", "allow")]).unwrap();
        let still = pages(&reader, &filter, limit, || ());
        let mut appended = false;
        let moving = pages(&reader, &filter, limit, || if !std::mem::replace(&mut appended, true) {
            let end = write(&*reader.store, &mut later, batch_records, end);
            reader.durable.store(end, Ordering::Release);
            store.seal().unwrap();
        });
        prop_assert_eq!(still.iter().map(|e| e.id).collect::<Vec<_>>(), moving.iter().map(|e| e.id).collect::<Vec<_>>());
    }
}

/// One exchange whose answer comes after so many others that no page looks that far ahead.
#[test]
fn a_slow_answer_is_found_from_any_page_and_nothing_undurable_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path());
    let slow = AuditId::new();
    let entry = |time, kind, id| Entry {
        time: Timestamp(time),
        kind,
        id,
        leaf: r#"{"outcome":"succeeded"}"#.into(),
    };
    let mut entries =
        vec![entry(0, Kind::Refused, AuditId::new()), entry(1, Kind::Forwarded, slow)];
    entries.extend((0..2 * LOOK_AHEAD).map(|n| entry(n + 2, Kind::Refused, AuditId::new())));
    entries.push(entry(100_000, Kind::Answer, slow));
    let end = entries.len() as u64;
    reader.store.append(&Batch { entries, ..Batch::default() }).unwrap();

    reader.durable.store(end, Ordering::Release);
    let filter = Filter::default();
    let cursor = Cursor { before: 2, filter: filter.fingerprint() };
    assert_eq!(reader.query(&filter, 1, Some(cursor)).unwrap().exchanges[0].outcome(), "succeeded");
    assert_eq!(reader.show(slow).unwrap().unwrap().outcome(), "succeeded");
    assert_eq!(
        reader.count(&Filter::parse([("outcome", "succeeded")]).unwrap(), None).unwrap().total,
        1
    );

    // It is not read for somebody who has gone.
    let (asked, asker) = reader.clone().asked();
    assert_eq!(asked.query(&filter, 1, None).unwrap().exchanges.len(), 1);
    drop(asker);
    assert!(matches!(asked.query(&filter, 1, None), Err(QueryError::Store(StoreError::CalledOff))));

    reader.durable.store(end - 1, Ordering::Release);
    assert_eq!(reader.query(&filter, 1, Some(cursor)).unwrap().exchanges[0].outcome(), "open");
    assert_eq!(reader.show(slow).unwrap().unwrap().outcome(), "open");
    reader.durable.store(0, Ordering::Release);
    assert!(reader.query(&filter, 1, None).unwrap().exchanges.is_empty());
    assert!(reader.show(slow).unwrap().is_none());
}

#[test]
fn times_are_found_by_halving() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path());
    let times: Vec<u64> = (0..300).map(|n| n / 3 * 10).collect();
    let entries = times
        .iter()
        .map(|time| Entry {
            time: Timestamp(*time),
            kind: Kind::Event,
            id: AuditId::new(),
            leaf: "{}".into(),
        })
        .collect();
    reader.store.append(&Batch { entries, ..Batch::default() }).unwrap();
    for time in 0..1010 {
        let expected = times.iter().filter(|t| **t < time).count() as u64;
        assert_eq!(reader.first_at(Timestamp(time), 300).unwrap(), expected, "{time}");
    }
}

#[test]
fn show_gives_records_and_bodies_and_events_are_asked_for_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path());
    let mut calls: Vec<_> = (0..20)
        .map(|n| Call {
            id: AuditId::new(),
            kind: Kind::Forwarded,
            pick: [n % 3; 6],
            answered_after: Some(3),
            time: 0,
            answered: false,
        })
        .collect();
    let end = write(&*reader.store, &mut calls, 9, 0);
    reader.durable.store(end, Ordering::Release);
    for call in &calls {
        let exchange = reader.show(call.id).unwrap().unwrap();
        assert_eq!(exchange.request.content.unwrap().bytes, call.body());
        assert_eq!(exchange.answer.unwrap().content.is_some(), call.pick[5] == 0);
        let one =
            reader.query(&Filter::parse([("id", call.id.to_string())]).unwrap(), 9, None).unwrap();
        assert_eq!((one.exchanges.len(), one.next), (1, None));
    }
    assert!(reader.show(AuditId::new()).unwrap().is_none());
    let events =
        reader.query(&Filter::parse([("event", "bun*")]).unwrap(), 9, None).unwrap().exchanges;
    assert_eq!(events.len(), 3);
    assert!(reader.show(events[0].id).unwrap().is_some());
    let none =
        Filter::parse([("id", calls[0].id.to_string()), ("caller", "nobody".to_owned())]).unwrap();
    assert!(reader.query(&none, 9, None).unwrap().exchanges.is_empty());
    let counts = reader.count(&Filter::default(), Some("request.content.keys.n")).unwrap();
    assert_eq!(
        counts.groups,
        [("(none)".to_owned(), 13), ("1".to_owned(), 7), ("2".to_owned(), 7)]
    );
    assert!(
        reader
            .count(&Filter::default(), Some("calller"))
            .unwrap_err()
            .to_string()
            .contains("`caller`")
    );
}

#[test]
fn a_cursor_belongs_to_its_filter() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path());
    let filter = Filter::parse([("caller", "deploy"), ("since", "2h")]).unwrap();
    let same = Filter::parse([("since", "2h"), ("caller", "deploy")]).unwrap();
    let cursor = Cursor { before: 5, filter: filter.fingerprint() };
    assert!(reader.query(&same, 9, Some(cursor)).is_ok());
    assert!(matches!(
        reader.query(&Filter::default(), 9, Some(cursor)),
        Err(QueryError::ForeignCursor)
    ));
    for wrong in
        ["", "5", "5-", "5-1", "x-0123456789abcdef", "5-0123456789abcdeg", "-1-0123456789abcdef"]
    {
        assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
    }
}

#[test]
fn a_page_is_cut_by_bytes_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path());
    let leaf = canonical(&json!({"pad": "x".repeat(60_000)}));
    let entries = (0..200)
        .map(|n| Entry {
            time: Timestamp(n),
            kind: Kind::Refused,
            id: AuditId::new(),
            leaf: leaf.clone(),
        })
        .collect();
    reader.store.append(&Batch { entries, ..Batch::default() }).unwrap();
    reader.durable.store(200, Ordering::Release);
    let page = reader.query(&Filter::default(), 1000, None).unwrap();
    assert_eq!(page.exchanges.len(), PAGE_BYTES_MAX / leaf.len());
    assert_eq!(pages(&reader, &Filter::default(), 1000, || ()).len(), 200);
}

#[test]
fn a_stopped_gateways_trail_is_read_and_a_mistyped_directory_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("traill");
    assert!(matches!(Reader::open(&missing), Err(QueryError::NoTrail(_))));
    assert!(!missing.exists());
    let (journal, _) = crate::testing::open(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let id = AuditId::new();
    runtime.block_on(journal.append(crate::testing::forwarded(id))).unwrap();
    let of_running = Reader::of(&journal).query(&Filter::default(), 9, None).unwrap();
    assert_eq!(of_running.exchanges.len(), 1);
    assert!(Reader::open(dir.path()).err().unwrap().to_string().contains("cannot be read"));
    drop(journal);
    assert_eq!(Reader::open(dir.path()).unwrap().show(id).unwrap().unwrap().outcome(), "open");
}

#[test]
fn a_week_begins_on_monday() {
    let dir = tempfile::tempdir().unwrap();
    let reader = reader(dir.path());
    let entry = |time: &&str| {
        let leaf = json!({"v": 1, "kind": "event", "event": "x"});
        Entry {
            time: Timestamp::parse(time).unwrap(),
            kind: Kind::Event,
            id: AuditId::new(),
            leaf: canonical(&leaf),
        }
    };
    let sunday_and_monday = ["2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z"];
    reader
        .store()
        .append(&Batch {
            entries: sunday_and_monday.iter().map(entry).collect(),
            open_floor: Some(2),
            ..Batch::default()
        })
        .unwrap();
    reader.durable.store(2, Ordering::Release);
    let begins = |step| -> Vec<String> {
        reader
            .histogram(&Filter::parse([("event", "x")]).unwrap(), step)
            .unwrap()
            .buckets
            .iter()
            .map(|(at, n)| format!("{} {n}", at.rfc3339()))
            .collect()
    };
    assert_eq!(begins("7d"), ["2026-11-16T00:00:00.000000Z 1", "2026-11-23T00:00:00.000000Z 1"]);
    assert_eq!(begins("1d"), ["2026-11-22T00:00:00.000000Z 1", "2026-11-23T00:00:00.000000Z 1"]);
}
