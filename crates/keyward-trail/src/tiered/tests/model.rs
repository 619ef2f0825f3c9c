//! A trail under any sequence of what can be done to it, beside a plain list.

use super::entry;
use crate::recovery::Lock;
use crate::store::{Batch, Store};
use crate::tiered::TieredStore;
use crate::tombstone::Tombstone;
use keyward_core::clock::AuditId;
use keyward_record::{Content, Kind};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SEGMENT: u64 = 32;

/// Something that is done to a trail.
#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Seal,
    SealEarly,
    /// So many of the oldest segments.
    Prune(usize),
    /// Every so many records, from one on.
    Erase(u64, u64),
    Reopen,
    Reindex,
    /// Another store, made of a snapshot, takes its place.
    Restore,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..100_u64).prop_map(Step::Append),
        2 => Just(Step::Seal),
        2 => Just(Step::SealEarly),
        1 => (0..3_usize).prop_map(Step::Prune),
        1 => (1..40_u64, 0..40_u64).prop_map(|(every, from)| Step::Erase(every, from)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Reindex),
        1 => Just(Step::Restore),
    ]
}

/// What should be there: by place, the record's text and its body.
type Model = BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>;

struct Trail {
    dir: tempfile::TempDir,
    store: Option<TieredStore>,
    model: Model,
    end: u64,
}

impl Trail {
    fn store(&self) -> &TieredStore {
        self.store.as_ref().unwrap()
    }

    fn open(&mut self) {
        self.store = None;
        self.store = Some(TieredStore::open_with(self.dir.path(), SEGMENT).unwrap().0);
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(count) => self.append(*count),
            Step::Seal => self.store().seal().unwrap(),
            Step::SealEarly => assert!(self.store().seal_below(self.end).unwrap()),
            Step::Prune(count) => self.prune(*count),
            Step::Erase(every, from) => self.erase(*every, *from),
            Step::Reopen => self.open(),
            Step::Reindex => drop(self.store().reindex(true, |_, _| ()).unwrap()),
            Step::Restore => self.restore(),
        }
    }

    fn append(&mut self, count: u64) {
        let mut batch =
            Batch { first_seq: self.end, open_floor: Some(self.end + count), ..Batch::default() };
        for seq in self.end..self.end + count {
            let entry = entry(seq, Kind::Event, AuditId::new());
            let body = (seq % 3 == 0)
                .then(|| Content { salt: [seq as u8; 32], bytes: format!("body of {seq}").into() });
            self.model
                .insert(seq, (entry.leaf.to_vec(), body.as_ref().map(|body| body.bytes.to_vec())));
            batch.entries.push(entry);
            batch.contents.extend(body.map(|body| (seq, body)));
        }
        self.store().append(&batch).unwrap();
        self.end += count;
    }

    fn prune(&mut self, count: usize) {
        let ranges: Vec<_> =
            self.store().sealed().into_iter().take(count).map(|about| about.range).collect();
        if ranges.is_empty() {
            return;
        }
        self.store().prune(&ranges, self.end).unwrap();
        self.model.retain(|seq, _| !ranges.iter().any(|range| range.contains(seq)));
    }

    fn erase(&mut self, every: u64, from: u64) {
        let sealed: Vec<_> = self.store().sealed().into_iter().map(|about| about.range).collect();
        let wanted: BTreeSet<_> = (from..self.end)
            .step_by(every as usize)
            .filter(|seq| sealed.iter().any(|range| range.contains(seq)))
            .collect();
        let there = wanted.iter().filter(|seq| self.model[*seq].1.is_some()).count() as u64;
        assert_eq!(self.store().erase(&wanted, from).unwrap(), there);
        wanted.iter().for_each(|seq| self.model.get_mut(seq).unwrap().1 = None);
    }

    fn restore(&mut self) {
        let to = tempfile::tempdir().unwrap();
        let contents = self.store().snapshot(to.path()).unwrap();
        self.store = None;
        self.dir = to;
        let dir = self.dir.path();
        let lock = Lock::take(dir).unwrap();
        contents.found(dir, lock, |_, _| ()).unwrap().finish(&[], serde_json::Value::Null).unwrap();
        self.open();
    }

    /// Everything is as in the list, forwards, backwards and one by one.
    fn check(&self) {
        let store = self.store();
        let forwards: Vec<_> = store
            .oldest_first(0)
            .map(Result::unwrap)
            .flat_map(|frame| (frame.first_seq..frame.end()).zip(frame.entries))
            .collect();
        let backwards: Vec<_> = store
            .newest_first(u64::MAX)
            .map(Result::unwrap)
            .flat_map(|frame| (frame.first_seq..frame.end()).rev().collect::<Vec<_>>())
            .collect();
        assert!(
            forwards.iter().map(|(seq, _)| *seq).eq(self.model.keys().copied()),
            "{:?}",
            forwards.iter().map(|(seq, _)| *seq).collect::<Vec<_>>()
        );
        assert!(backwards.iter().rev().eq(self.model.keys()));
        for ((seq, entry), (leaf, body)) in forwards.iter().zip(self.model.values()) {
            assert_eq!(
                (
                    &entry.leaf[..],
                    store.content(*seq).unwrap().map(|content| content.bytes.to_vec())
                ),
                (&leaf[..], body.clone()),
                "record {seq}"
            );
        }
        let gone: Vec<_> = store.tombstones().iter().flat_map(Tombstone::range).collect();
        assert!(gone.into_iter().eq((0..self.end).filter(|seq| !self.model.contains_key(seq))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_trail_is_what_was_done_to_it(steps in prop::collection::vec(any_step(), 1..25)) {
        let mut trail = Trail { dir: tempfile::tempdir().unwrap(), store: None, model: Model::new(), end: 0 };
        trail.open();
        for step in &steps {
            trail.run(step);
            trail.check();
        }
    }
}
