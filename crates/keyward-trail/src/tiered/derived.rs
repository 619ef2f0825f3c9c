//! What is derived from a segment's records: its index, made anew, and compared with the file that
//! is there. Whoever can write that file can write another that is sound in itself, so that only
//! the records tell.

use super::{Pace, Segment, Shared, TieredStore};
use crate::index::builder::{Builder, Digests, OpenRequests};
use crate::index::file::{self, IndexFile};
use crate::segment::output::Output;
use crate::segment::{BLOCK_RECORDS, SEGMENT_RECORDS, SegmentError, path};
use crate::store::{CONTENT_BYTES_MAX, StoreError};
use crate::tombstone::Tombstone;
use keyward_core::error_chain::error_chain;
use keyward_record::Entry;
use keyward_record::{Content, Kind};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Records behind a segment in which answers to its last requests are sought when an index is made
/// anew.
const LOOK_AHEAD: u64 = SEGMENT_RECORDS;

/// What says something else than the records from which it is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Differing {
    /// The index of these records.
    Index(Range<u64>),
    /// The times in the table of these records' file.
    Times(Range<u64>),
}

impl TieredStore {
    /// What of a stopped gateway's trail says something else than the records from which it is
    /// derived, in order. What cannot be read is no matter of this. Tells how many segments are
    /// done, and of how many.
    ///
    /// # Errors
    /// As [`TieredStore::open`].
    pub fn differing(
        dir: &Path,
        progress: &(impl Fn(usize, usize) + Sync),
    ) -> Result<Vec<Differing>, StoreError> {
        let shared = Shared::open(dir, SEGMENT_RECORDS)?.0;
        let segments = shared.segments.load_full();
        let (next, done, found) =
            (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(segment) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
                let differing = shared.differing(segment).unwrap_or_default();
                found.lock().unwrap_or_else(PoisonError::into_inner).extend(differing);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, segments.len());
            }
        };
        std::thread::scope(|threads| {
            // Those for which there is no thread are left to the others, and to this one.
            (1..std::thread::available_parallelism().map_or(1, usize::from))
                .for_each(|_| drop(std::thread::Builder::new().spawn_scoped(threads, work)));
            work();
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable_by_key(|differing| match differing {
            Differing::Index(range) | Differing::Times(range) => range.start,
        });
        Ok(found)
    }
}

impl Shared {
    fn differing(&self, segment: &Segment) -> Result<Vec<Differing>, StoreError> {
        let range = segment.first_seq()..segment.end();
        let mut found = Vec::new();
        if !segment.records.times_hold()? {
            found.push(Differing::Times(range.clone()));
        }
        if let Some(index) = segment.index.load_full()
            && !self.is_of_its_records(segment, &index)?
        {
            found.push(Differing::Index(range));
        }
        Ok(found)
    }

    /// Whether an index says what the records say. Which answers had come when it was made, it may
    /// say itself, if they are.
    fn is_of_its_records(&self, segment: &Segment, index: &IndexFile) -> Result<bool, StoreError> {
        let Ok(answered) = index.answered() else { return Ok(false) };
        let (request_of, first_seq): (BTreeMap<u64, u32>, _) =
            (answered.into_iter().collect(), segment.first_seq());
        let mut rebuilt = Rebuilt {
            builder: Builder::new(first_seq),
            digests: Digests::default(),
            open: OpenRequests::default(),
        };
        for block in 0..segment.records.blocks() {
            for (seq, entry) in
                (first_seq + (block * BLOCK_RECORDS) as u64..).zip(segment.records.block(block)?)
            {
                rebuilt.builder.add(&entry);
                let ordinal = match entry.kind {
                    Kind::Answer => request_of.get(&seq).copied(),
                    _ => u32::try_from(seq - first_seq).ok(),
                };
                let content = segment.bodies.body((seq - first_seq) as u32, CONTENT_BYTES_MAX)?;
                if !rebuilt.take(seq, &entry, ordinal, content.as_ref()) {
                    return Ok(false);
                }
            }
        }
        for (answer, ordinal) in request_of.range(segment.end()..) {
            let Some(frame) = self.frame_from(*answer).transpose()? else { return Ok(false) };
            let Some(entry) = frame.get(*answer) else { return Ok(false) };
            if entry.kind != Kind::Answer
                || !rebuilt.take(*answer, entry, Some(*ordinal), self.content(*answer)?.as_ref())
            {
                return Ok(false);
            }
        }
        let failed =
            |source| SegmentError::Io { path: path(&self.dir, first_seq, "index"), source };
        let bytes =
            file::encode(&rebuilt.builder, rebuilt.digests, &segment.records.digest().sha256)
                .map_err(failed)?;
        Ok(index.has(&bytes).map_err(failed)?)
    }

    /// Where answers to a segment's requests stand behind it: by its index, or, when that is not to
    /// be believed, by reading.
    pub(super) fn answers_behind(
        &self,
        segment: &Segment,
        by_records: bool,
    ) -> Result<Vec<u64>, StoreError> {
        if let Some(index) = segment.index.load().as_ref().filter(|_| !by_records) {
            return Ok(index.answers_behind().to_vec());
        }
        let (mut open, mut behind) = (OpenRequests::default(), Vec::new());
        for frame in self.oldest_first(segment.first_seq()) {
            let frame = frame?;
            for (seq, entry) in (frame.first_seq..).zip(&frame.entries) {
                if seq < segment.end() || entry.kind == Kind::Answer {
                    let request = open.request_of(seq, entry);
                    behind.extend(request.filter(|_| seq >= segment.end()).map(|_| seq));
                }
            }
            if frame.end() >= segment.end() && open.is_empty() {
                break;
            }
        }
        Ok(behind)
    }

    /// Whether an index knows answers that are gone. It would find exchanges by what nobody can
    /// read any more.
    pub(super) fn knows_what_is_gone(index: &IndexFile, absent: &[Tombstone]) -> bool {
        index
            .answers_behind()
            .iter()
            .any(|answer| absent.iter().any(|absent| absent.range().contains(answer)))
    }

    pub(super) fn write_index(
        &self,
        segment: &Segment,
        index: &Builder,
        digests: Digests,
    ) -> Result<(), StoreError> {
        let (first_seq, count, sha256) =
            (segment.first_seq(), segment.records.count(), segment.records.digest().sha256);
        let path = path(&self.dir, first_seq, "index");
        let failed = |source| SegmentError::Io { path: path.clone(), source };
        let mut output = Output::create(&path)?;
        output.write(&file::encode(index, digests, &sha256).map_err(failed)?)?;
        output.finish()?;
        let opened = IndexFile::open(&path, first_seq, count, &sha256, self.sets.clone());
        let opened = opened.map_err(|error| SegmentError::Damaged {
            path: path.clone(),
            why: error_chain(&error),
        })?;
        segment.index.store(Some(Arc::new(opened)));
        Ok(())
    }

    /// Makes indexes anew: all, or those that are missing. How many.
    pub(super) fn reindex_all(
        &self,
        all: bool,
        pace: &mut Pace,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<usize, StoreError> {
        let wanted = |segment: &Segment| all || segment.index.load().is_none();
        let firsts: Vec<_> = self
            .segments
            .load()
            .iter()
            .filter(|segment| wanted(segment))
            .map(|segment| segment.first_seq())
            .collect();
        for (n, first_seq) in firsts.iter().enumerate() {
            // Who erases or prunes puts others in the place of these, or none.
            let _changing = self.change();
            if let Some(segment) = self.segment_of(*first_seq).filter(|segment| wanted(segment)) {
                self.reindex(&segment, pace)?;
            }
            progress(n + 1, firsts.len());
        }
        Ok(firsts.len())
    }

    /// Makes a segment's index anew from its records.
    pub(super) fn reindex(&self, segment: &Segment, pace: &mut Pace) -> Result<(), StoreError> {
        let mut digests = Digests::default();
        let index =
            self.build(segment.first_seq(), segment.end(), pace, |ordinal, seq, entry| {
                note(&mut digests, ordinal, &entry.leaf, self.content(seq)?.as_ref());
                Ok(())
            })?;
        self.write_index(segment, &index, digests)
    }

    /// The index of a part of the trail, with the answers that come shortly behind it. Shows each
    /// record that is in it, with the ordinal of its exchange.
    pub(super) fn build(
        &self,
        first_seq: u64,
        end: u64,
        pace: &mut Pace,
        mut visit: impl FnMut(u32, u64, &Entry) -> Result<(), StoreError>,
    ) -> Result<Builder, StoreError> {
        let mut index = Builder::new(first_seq);
        let mut open = OpenRequests::default();
        for frame in self.oldest_first(first_seq) {
            let frame = frame?;
            for (seq, entry) in
                (frame.first_seq..).zip(&frame.entries).filter(|(seq, _)| *seq >= first_seq)
            {
                if seq < end {
                    index.add(entry);
                }
                if seq >= end && entry.kind != Kind::Answer {
                    continue;
                }
                if let Some(request) = open.request_of(seq, entry) {
                    if entry.kind == Kind::Answer {
                        index.settle(request, seq, entry);
                    }
                    visit((request - first_seq) as u32, seq, entry)?;
                }
            }
            if frame.end() >= end
                && (open.is_empty() || frame.end() >= end.saturating_add(LOOK_AHEAD))
            {
                break;
            }
            pace.step()?;
        }
        Ok(index)
    }

    pub(super) fn note_answer(
        &self,
        answer: u64,
        ordinal: u32,
        digests: &mut Digests,
    ) -> Result<(), StoreError> {
        if let Some(frame) = self.frame_from(answer).transpose()?
            && let Some(entry) = frame.get(answer)
        {
            note(digests, ordinal, &entry.leaf, self.content(answer)?.as_ref());
        }
        Ok(())
    }
}

/// An index that is made of the records once more.
struct Rebuilt {
    builder: Builder,
    digests: Digests,
    open: OpenRequests,
}

impl Rebuilt {
    /// Takes the next record, which belongs to the exchange at `ordinal`. False when it is no
    /// answer to what stands there.
    fn take(
        &mut self,
        seq: u64,
        entry: &Entry,
        ordinal: Option<u32>,
        content: Option<&Content>,
    ) -> bool {
        let Some(ordinal) = ordinal else { return true };
        note(&mut self.digests, ordinal, &entry.leaf, content);
        let request = self.builder.first_seq().saturating_add(u64::from(ordinal));
        if self.open.request_of(seq, entry) != Some(request) {
            return false;
        }
        if entry.kind == Kind::Answer {
            self.builder.settle(request, seq, entry);
        }
        true
    }
}

pub(super) fn note(digests: &mut Digests, ordinal: u32, leaf: &[u8], content: Option<&Content>) {
    digests.note(ordinal, leaf);
    if let Some(content) = content {
        digests.note(ordinal, &content.bytes);
    }
}
