//! What is found again of records that no sound segment has.

use super::SignedTree;
use super::gaps::{Told, between};
use super::survey::each_left;
use crate::segment::{SEGMENT_RECORDS, Sealed};
use crate::store::{Batch, StoreError};
use crate::wal::{Examined, Piece, pieces};
use keyward_record::{Content, Entry, Head, LeafHash, leaf_hash};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

/// Records and bodies of one batch.
const BATCH_RECORDS: usize = 256;

/// A record that was found again, with its body if that was.
type Found = (Entry, Option<Content>);

/// Where records that no segment has belong.
pub(super) struct Places<'a> {
    tree: &'a dyn SignedTree,
    /// What no segment has. The last has no end.
    gaps: Vec<Range<u64>>,
    by_hash: HashMap<LeafHash, u64>,
}

impl<'a> Places<'a> {
    pub fn of(tree: &'a dyn SignedTree, sealed: &[Sealed]) -> Self {
        let signed = between(sealed, tree.size()).into_iter().flatten();
        let by_hash = signed.filter_map(|seq| Some((tree.proven(seq)?, seq))).collect();
        Self { tree, gaps: between(sealed, u64::MAX), by_hash }
    }

    /// Where a record belongs that says of itself where, and whether it is known to be the one that
    /// was signed there; `None` when it is none of those that are looked for.
    pub fn find(&self, says: u64, leaf: &[u8]) -> Option<(u64, bool)> {
        let proven = self.by_hash.get(&leaf_hash(leaf)).map(|seq| (*seq, true));
        proven.or_else(|| {
            (!self.tree.is_proven(says) && self.gaps.iter().any(|gap| gap.contains(&says)))
                .then_some((says, false))
        })
    }
}

/// Records behind the segments, and between them.
#[derive(Default)]
pub(super) struct Candidates {
    pub entries: BTreeMap<u64, Entry>,
    pub contents: BTreeMap<u64, Content>,
    /// Those whose bodies were erased, on record.
    erased: BTreeSet<u64>,
}

impl Candidates {
    /// Everything that segments which cannot be used and a damaged store still give.
    pub fn read(
        dir: &Path,
        examined: &Examined,
        places: &Places<'_>,
        left: &[(u64, Sealed)],
        notes: &mut Vec<String>,
    ) -> Result<Self, StoreError> {
        let (mut found, mut bodies) = (Self::default(), HashMap::new());
        let mut take = |piece| match piece {
            Piece::Records(first_seq, entries) => found.place(first_seq, entries, places),
            Piece::Content(content) => drop(bodies.insert(content.commitment(), content)),
        };
        each_left(dir, left, &mut take)?;
        notes.extend(pieces(dir, examined, &mut take)?);
        for (seq, entry) in &found.entries {
            let content =
                commitment(&entry.leaf).and_then(|commitment| bodies.get(&commitment).cloned());
            found.contents.extend(content.map(|content| (*seq, content)));
        }
        Ok(found)
    }

    /// A signed record belongs where the tree says. Where nothing that was signed is known, the
    /// frame's own word is all there is; of two at one place the later was written when the
    /// earlier had not become part of the trail.
    pub fn place(&mut self, first_seq: u64, entries: Vec<Entry>, places: &Places<'_>) {
        for (says, entry) in (first_seq..).zip(entries) {
            if let Some((seq, proven)) = places.find(says, &entry.leaf)
                && (proven || self.entries.get(&seq).is_none_or(|other| other.time < entry.time))
            {
                self.entries.insert(seq, entry);
            }
        }
    }

    /// Where the trail goes on: behind all that was signed, or pruned, and what follows on it
    /// without a gap.
    pub fn settle_end(&mut self, from: u64, pruned: &[Range<u64>], notes: &mut Vec<String>) -> u64 {
        let mut end = from;
        loop {
            match pruned.iter().find(|range| range.contains(&end)) {
                Some(range) => end = range.end,
                None if self.entries.contains_key(&end) => end += 1,
                None => break,
            }
        }
        let behind = self.entries.split_off(&end);
        self.contents.split_off(&end);
        if !behind.is_empty() {
            notes.push(format!(
                "{} records that nothing binds stood behind a gap, and were left out",
                behind.len()
            ));
        }
        notes.push(
            "what was recorded after the newest checkpoint and is not in the file any more cannot be counted: with defaults that is at most the last second"
                .to_owned(),
        );
        end
    }

    /// What was pruned does not come back, nor do bodies that were erased: unused parts of the file
    /// may still have them.
    pub fn forget(&mut self, told: &Told) {
        self.entries.retain(|seq, _| !told.pruned().any(|range| range.contains(seq)));
        self.erased = self
            .entries
            .keys()
            .copied()
            .filter(|seq| told.erased.iter().any(|range| range.contains(seq)))
            .collect();
        let (entries, erased) = (&self.entries, &self.erased);
        self.contents.retain(|seq, _| entries.contains_key(seq) && !erased.contains(seq));
    }

    /// What is here of a gap, as segments are to have it: without gaps, and not too long.
    pub fn runs(&self, gap: &Range<u64>) -> Vec<(u64, Vec<Found>)> {
        let mut runs: Vec<(u64, Vec<Found>)> = Vec::new();
        for (seq, entry) in self.entries.range(gap.clone()) {
            let record = (entry.clone(), self.contents.get(seq).cloned());
            match runs.last_mut().filter(|(first, run)| {
                first + run.len() as u64 == *seq && (run.len() as u64) < SEGMENT_RECORDS
            }) {
                Some((_, run)) => run.push(record),
                None => runs.push((*seq, vec![record])),
            }
        }
        runs
    }

    /// Records that had a body, and have none.
    pub fn without_body(&self) -> Vec<u64> {
        let lacks = |seq: &u64, entry: &Entry| {
            commitment(&entry.leaf).is_some()
                && !self.contents.contains_key(seq)
                && !self.erased.contains(seq)
        };
        self.entries.iter().filter(|(seq, entry)| lacks(seq, entry)).map(|(seq, _)| *seq).collect()
    }

    /// The records in batches without gaps.
    pub fn batches(&self, sealed_end: u64) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for (seq, entry) in self.entries.range(sealed_end..) {
            let fits = |batch: &&mut Batch| {
                batch.first_seq + batch.entries.len() as u64 == *seq
                    && batch.entries.len() < BATCH_RECORDS
            };
            match batches.last_mut().filter(fits) {
                Some(batch) => batch.entries.push(entry.clone()),
                None => batches.push(Batch {
                    first_seq: *seq,
                    entries: vec![entry.clone()],
                    ..Batch::default()
                }),
            }
            if let (Some(batch), Some(content)) = (batches.last_mut(), self.contents.get(seq)) {
                batch.contents.push((*seq, content.clone()));
            }
        }
        batches
    }
}

fn commitment(leaf: &[u8]) -> Option<String> {
    Head::read(leaf)?.commit().map(str::to_owned)
}
