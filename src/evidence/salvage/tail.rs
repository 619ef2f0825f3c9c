//! What is found again of records that no sound segment has.

use super::gone::Told;
use super::places::{Place, Places};
use keyward_core::causes::causes;
use keyward_record::Content;
use keyward_record::Entry;
use keyward_record::Head;
use keyward_trail::segment::{SEGMENT_RECORDS, Sealed};
use keyward_trail::store::{Batch, Store, StoreError};
use keyward_trail::tiered::TieredStore;
use keyward_trail::wal::carve::{Carved, carve};
use keyward_trail::wal::{Examined, SledStore};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

/// A copy of the damaged file, which the engine may try to read.
const COPY: &str = "salvage";
/// Records and bodies of one batch.
const BATCH_RECORDS: usize = 256;

/// A record that was found again, with its body if that was.
type Found = (Entry, Option<Content>);
/// Bodies by what records commit to.
type ByCommitment = HashMap<String, Content>;

/// Records behind the segments, and between them.
#[derive(Default)]
pub(super) struct Tail {
    pub entries: BTreeMap<u64, Entry>,
    pub contents: BTreeMap<u64, Content>,
    /// Those whose bodies were erased, on record.
    erased: BTreeSet<u64>,
}

impl Tail {
    /// Everything that segments which cannot be used and a damaged store still give: by the engine, if it opens a copy, and by
    /// looking into its file.
    pub(super) fn read(dir: &Path, found: &Examined, places: &Places<'_>, left: &[(u64, Sealed)], notes: &mut Vec<String>) -> anyhow::Result<Self> {
        let (mut tail, mut bodies) = (Self::default(), ByCommitment::new());
        let keep = |bodies: &mut ByCommitment, content: Content| drop(bodies.insert(content.commitment(), content));
        TieredStore::each_left(dir, left, |seq, entry| tail.place(seq, vec![entry], places), |content| keep(&mut bodies, content))?;
        let db = dir.join("trail").join("db");
        if db.exists() {
            if let Some(damage) = found.damage.as_ref().filter(|damage| damage.deadly) {
                notes.push(format!("the engine cannot read its file: {}", damage.what));
            } else if let Some(damage) = tail.by_engine(dir, places, &mut |content| keep(&mut bodies, content))? {
                notes.push(format!("the engine cannot read its file: {}", causes(&damage)));
            }
            carve(&db, &mut |carved| match carved {
                Carved::Frame(first_seq, entries) => tail.place(first_seq, entries, places),
                Carved::Content(content) => keep(&mut bodies, content),
            })?;
        } else {
            notes.push("there is no file of the engine to look into".to_owned());
        }
        for (seq, entry) in &tail.entries {
            let content = commitment(&entry.leaf).and_then(|commitment| bodies.get(&commitment).cloned());
            tail.contents.extend(content.map(|content| (*seq, content)));
        }
        Ok(tail)
    }

    /// Reads what the engine can, from a copy: opening changes the file. What keeps it from that, if it is damage.
    fn by_engine(&mut self, dir: &Path, places: &Places<'_>, body: &mut dyn FnMut(Content)) -> Result<Option<StoreError>, StoreError> {
        let copy = dir.join(COPY);
        let failed = |source| StoreError::File { path: copy.clone(), source };
        if copy.exists() {
            std::fs::remove_dir_all(&copy).map_err(failed)?;
        }
        copy_folder(&dir.join("trail"), &copy.join("trail"))?;
        let damage = match SledStore::open_copy(&copy) {
            Ok((store, _)) => {
                self.take_all(&store, places, body);
                None
            }
            Err(error) if error.is_of_the_system() => return Err(error),
            Err(error) => Some(error),
        };
        std::fs::remove_dir_all(&copy).map_err(failed)?;
        Ok(damage)
    }

    fn take_all(&mut self, store: &SledStore, places: &Places<'_>, body: &mut dyn FnMut(Content)) {
        for frame in store.oldest_first(0).flatten() {
            (frame.first_seq..frame.end()).filter_map(|seq| store.content(seq).ok().flatten()).for_each(&mut *body);
            self.place(frame.first_seq, frame.entries, places);
        }
    }

    /// A signed record belongs where the tree says. Where nothing that was signed is known, the frame's own word is all there
    /// is; of two at one place the later was written when the earlier had not become part of the trail.
    pub(super) fn place(&mut self, first_seq: u64, entries: Vec<Entry>, places: &Places<'_>) {
        for (says, entry) in (first_seq..).zip(entries) {
            match places.find(says, &entry.leaf) {
                Some(Place::Proven(seq)) => drop(self.entries.insert(seq, entry)),
                Some(Place::Said(seq)) if self.entries.get(&seq).is_none_or(|other| other.time < entry.time) => drop(self.entries.insert(seq, entry)),
                _ => (),
            }
        }
    }

    /// Where the trail goes on: behind all that was signed, or pruned, and what follows on it without a gap.
    pub(super) fn settle_end(&mut self, from: u64, pruned: &[Range<u64>], notes: &mut Vec<String>) -> u64 {
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
            notes.push(format!("{} records that nothing binds stood behind a gap, and were left out", behind.len()));
        }
        notes.push(
            "what was recorded after the newest checkpoint and is not in the file any more cannot be counted: with defaults that is at most the last second"
                .to_owned(),
        );
        end
    }

    /// What was pruned does not come back, nor do bodies that were erased: unused parts of the file may still have them.
    pub(super) fn forget(&mut self, told: &Told) {
        self.entries.retain(|seq, _| !told.pruned().any(|range| range.contains(seq)));
        self.erased = self.entries.keys().copied().filter(|seq| told.erased.iter().any(|range| range.contains(seq))).collect();
        let (entries, erased) = (&self.entries, &self.erased);
        self.contents.retain(|seq, _| entries.contains_key(seq) && !erased.contains(seq));
    }

    /// What is here of a gap, as segments are to have it: without gaps, and not too long.
    pub(super) fn runs(&self, gap: &Range<u64>) -> Vec<(u64, Vec<Found>)> {
        let mut runs: Vec<(u64, Vec<Found>)> = Vec::new();
        for (seq, entry) in self.entries.range(gap.clone()) {
            let record = (entry.clone(), self.contents.get(seq).cloned());
            match runs.last_mut().filter(|(first, run)| first + run.len() as u64 == *seq && (run.len() as u64) < SEGMENT_RECORDS) {
                Some((_, run)) => run.push(record),
                None => runs.push((*seq, vec![record])),
            }
        }
        runs
    }

    /// Records that had a body, and have none.
    pub(super) fn without_body(&self) -> Vec<u64> {
        let lacks = |seq: &u64, entry: &Entry| commitment(&entry.leaf).is_some() && !self.contents.contains_key(seq) && !self.erased.contains(seq);
        self.entries.iter().filter(|(seq, entry)| lacks(seq, entry)).map(|(seq, _)| *seq).collect()
    }

    /// The records in batches without gaps.
    pub(super) fn batches(&self, sealed_end: u64) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for (seq, entry) in self.entries.range(sealed_end..) {
            let fits = |batch: &&mut Batch| batch.first_seq + batch.entries.len() as u64 == *seq && batch.entries.len() < BATCH_RECORDS;
            match batches.last_mut().filter(fits) {
                Some(batch) => batch.entries.push(entry.clone()),
                None => batches.push(Batch { first_seq: *seq, entries: vec![entry.clone()], ..Batch::default() }),
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

fn copy_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: to.to_owned(), source };
    std::fs::create_dir_all(to).map_err(failed)?;
    for file in std::fs::read_dir(from).map_err(failed)? {
        let file = file.map_err(failed)?;
        let (path, copy) = (file.path(), to.join(file.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            std::fs::copy(&path, &copy).map_err(failed)?;
        }
    }
    Ok(())
}
