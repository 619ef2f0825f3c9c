//! Sealing one segment, step by step, and letting sled go of it.

use super::derived::note;
use super::{Segment, Shared, open_segment};
use crate::index::builder::{Builder, Digests};
use crate::segment::dictionary::{self, Dictionary};
use crate::segment::output;
use crate::segment::{Sealed, SegmentError, SegmentWriter, path};
use crate::store::{CONTENT_BYTES_MAX, Frame, StoreError};
use crate::wal::Note;
use keyward_core::clock::Timestamp;
use keyward_record::{Content, Kind};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A new dictionary is trained each so many segments: training costs more than a dictionary loses
/// in between.
const DICTIONARY_SEGMENTS: usize = 8;
/// Every so many frames one is looked at for the dictionary, and of it so many records.
const SAMPLED_FRAMES: usize = 4;
const SAMPLED_RECORDS: usize = 4;
/// Records between two steps.
pub(super) const STEP_RECORDS: usize = 256;
const REST_MAX: Duration = Duration::from_millis(50);

/// How work behind the writer is spread: after each small step it rests as long as it has worked,
/// and it can be called off.
pub struct Pace<'a> {
    stop: Option<&'a AtomicBool>,
    hurry: bool,
    since: Instant,
}

impl<'a> Pace<'a> {
    /// Work that nobody else waits for.
    pub fn without_rest() -> Self {
        Self { stop: None, hurry: true, since: Instant::now() }
    }

    /// Work beside a writer, until `stop` is set.
    pub fn beside_a_writer(stop: &'a AtomicBool) -> Self {
        Self { stop: Some(stop), hurry: false, since: Instant::now() }
    }

    /// Whether to go on without rest, because much waits.
    pub fn hurry(&mut self, hurry: bool) {
        self.hurry = hurry;
    }

    /// A step is done.
    ///
    /// # Errors
    /// When the work is called off.
    pub fn step(&mut self) -> Result<(), SegmentError> {
        let Some(stop) = self.stop else { return Ok(()) };
        if stop.load(Ordering::Acquire) {
            return Err(SegmentError::Stopped);
        }
        if self.hurry {
            return Ok(());
        }
        std::thread::sleep(self.since.elapsed().min(REST_MAX));
        self.since = Instant::now();
        Ok(())
    }
}

impl Shared {
    /// Seals the next segment if it is complete. False when there is none.
    ///
    /// # Errors
    /// When the disk or the store fails, or the work is called off. Nothing is lost then: sled has
    /// the records.
    pub(super) fn seal_next(&self, pace: &mut Pace) -> Result<bool, StoreError> {
        let _changing = self.change();
        let (first_seq, all) = (self.sealed_end(), self.end.load(Ordering::Acquire));
        let end = self.segment_end(first_seq);
        // Exchanges that stay open for a whole segment more are sealed open.
        let settled = self.open_floor.load(Ordering::Acquire) >= end
            || all >= end.saturating_add(self.segment_records);
        if all < end || !settled {
            return Ok(false);
        }
        self.seal_to(first_seq, end, pace)?;
        Ok(true)
    }

    /// Seals what is closed of the next segment, although it is not complete. False when there is
    /// nothing.
    pub(super) fn seal_early(&self, pace: &mut Pace) -> Result<bool, StoreError> {
        let _changing = self.change();
        let first_seq = self.sealed_end();
        let end = self
            .segment_end(first_seq)
            .min(self.open_floor.load(Ordering::Acquire))
            .min(self.end.load(Ordering::Acquire));
        if end <= first_seq {
            return Ok(false);
        }
        self.seal_to(first_seq, end, pace)?;
        Ok(true)
    }

    /// The time of the oldest record that is not sealed.
    pub(super) fn oldest_unsealed(&self) -> Result<Option<Timestamp>, StoreError> {
        let oldest = self.frame_from(self.sealed_end()).transpose()?;
        Ok(oldest.and_then(|frame| frame.entries.first().map(|entry| entry.time)))
    }

    /// Where a segment ends that begins at `first_seq`: it has no gaps.
    pub(super) fn segment_end(&self, first_seq: u64) -> u64 {
        let full = first_seq.saturating_add(self.segment_records);
        self.absent
            .load()
            .iter()
            .map(|absent| absent.first_seq)
            .find(|gap| *gap > first_seq)
            .map_or(full, |gap| gap.min(full))
    }

    fn seal_to(&self, first_seq: u64, end: u64, pace: &mut Pace) -> Result<(), StoreError> {
        // To the end, so that the index knows the answers that stand behind the segment: what it
        // does not know is read whenever something is asked.
        self.follow(self.end.load(Ordering::Acquire), pace)?;
        output::make_directory(&self.dir)?;
        let index = self.tail().oldest(first_seq);
        let index = match index.filter(|index| index.end() == end) {
            Some(index) => index,
            None => self.build(first_seq, end, pace, |_, _, _| Ok(()))?,
        };
        let (sealed, digests) = self.write(first_seq, end, &index, pace)?;
        let segment = open_segment(&self.dir, &sealed, &self.dictionaries, &self.sets)?;
        self.compare(&segment, &sealed, pace)?;
        self.write_index(&segment, &index, digests)?;
        self.wal.note(Note::Sealed(&sealed))?;
        {
            let mut tail = self.tail();
            let mut segments = self.segments.load().to_vec();
            segments.push(Arc::new(segment));
            self.segments.store(Arc::new(segments));
            tail.forget(end);
        }
        self.let_go(pace)
    }

    /// Brings the index in memory up to a record, in small steps.
    pub(super) fn follow(&self, end: u64, pace: &mut Pace) -> Result<(), StoreError> {
        let mut next = self.tail().next();
        while next < end {
            next = next.saturating_add(STEP_RECORDS as u64).min(end);
            self.tail().follow(self, next)?;
            pace.step()?;
        }
        Ok(())
    }

    /// Removes from sled what is sealed.
    pub(super) fn let_go(&self, pace: &mut Pace) -> Result<(), StoreError> {
        let end = self.sealed_end();
        while end > 0 && self.wal.trim(end)? {
            pace.step()?;
        }
        Ok(())
    }

    /// Shows every record of a part of sled, in order, with its body.
    pub(super) fn each(
        &self,
        first_seq: u64,
        end: u64,
        pace: &mut Pace,
        mut visit: impl FnMut(u64, &keyward_record::Entry, Option<Content>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut next = first_seq;
        for frame in self.wal.oldest_first(first_seq) {
            let Frame { first_seq, entries } = frame?;
            if first_seq > next {
                break;
            }
            for (seq, entry) in
                (first_seq..).zip(&entries).filter(|(seq, _)| (next..end).contains(seq))
            {
                visit(seq, entry, self.wal.content(seq)?)?;
                if seq % STEP_RECORDS as u64 == 0 {
                    pace.step()?;
                }
            }
            next = first_seq.saturating_add(entries.len() as u64);
            if next >= end {
                return Ok(());
            }
        }
        Err(StoreError::SegmentLost {
            first_seq: next,
            last_seq: end.saturating_sub(1),
            why: "the store does not have them".to_owned(),
        })
    }

    /// Writes both files of a segment, durable, and gathers the keyed digests in them.
    pub(super) fn write(
        &self,
        first_seq: u64,
        end: u64,
        index: &Builder,
        pace: &mut Pace,
    ) -> Result<(Sealed, Digests), StoreError> {
        let (records_dictionary, bodies_dictionary) =
            self.dictionaries_for(first_seq, end, pace)?;
        let mut writer =
            SegmentWriter::create(&self.dir, first_seq, &records_dictionary, &bodies_dictionary)?;
        let request_of: HashMap<u64, u32> = index.answered().collect();
        let mut digests = Digests::default();
        self.each(first_seq, end, pace, |seq, entry, content| {
            writer.push(entry, content.as_ref())?;
            let place = if entry.kind == Kind::Answer {
                request_of.get(&seq).copied()
            } else {
                u32::try_from(seq - first_seq).ok()
            };
            if let Some(place) = place {
                note(&mut digests, place, &entry.leaf, content.as_ref());
            }
            Ok(())
        })?;
        for (answer, place) in request_of.into_iter().filter(|(answer, _)| *answer >= end) {
            self.note_answer(answer, place, &mut digests)?;
        }
        Ok((writer.finish()?, digests))
    }

    /// Dictionaries for records and bodies: those of the segment before, or new ones.
    pub(super) fn dictionaries_for(
        &self,
        first_seq: u64,
        end: u64,
        pace: &mut Pace,
    ) -> Result<(Arc<Dictionary>, Arc<Dictionary>), StoreError> {
        let segments = self.segments.load();
        if let Some(before) = segments.last()
            && segments
                .iter()
                .rev()
                .take_while(|segment| {
                    Arc::ptr_eq(segment.records.dictionary(), before.records.dictionary())
                })
                .count()
                < DICTIONARY_SEGMENTS
        {
            return Ok((
                Arc::clone(before.records.dictionary()),
                Arc::clone(before.bodies.dictionary()),
            ));
        }
        let (mut leaves, mut bodies) = (Vec::new(), Vec::new());
        for range in self.wal.ranges(first_seq).step_by(SAMPLED_FRAMES) {
            let Some(frame) = self
                .wal
                .oldest_first(range?.start)
                .next()
                .transpose()?
                .filter(|frame| frame.first_seq < end)
            else {
                break;
            };
            for (seq, entry) in (frame.first_seq..).zip(&frame.entries).take(SAMPLED_RECORDS) {
                leaves.push(entry.leaf.to_vec());
                bodies.extend(self.wal.content(seq)?.map(|content| content.bytes.to_vec()));
            }
            pace.step()?;
        }
        let share = |samples: &[Vec<u8>]| {
            self.dictionaries
                .share(dictionary::train(samples))
                .map_err(|source| SegmentError::Io { path: self.dir.clone(), source })
        };
        Ok((share(&leaves)?, share(&bodies)?))
    }

    /// Reads a new segment back from the disk and compares it with what sled has, record by record.
    pub(super) fn compare(
        &self,
        segment: &Segment,
        sealed: &Sealed,
        pace: &mut Pace,
    ) -> Result<(), StoreError> {
        let differs = |what: String| {
            let path = path(&self.dir, sealed.first_seq, "records");
            StoreError::from(SegmentError::Damaged {
                path,
                why: format!("{what} differs from what the store has; the segment is not used"),
            })
        };
        if segment.records.real_digest()? != sealed.records
            || segment.bodies.real_digest()? != sealed.bodies
        {
            return Err(differs("its digest".to_owned()));
        }
        let mut block = (usize::MAX, Vec::new());
        self.each(sealed.first_seq, sealed.end(), pace, |seq, entry, content| {
            let place = (seq - sealed.first_seq) as usize;
            let wanted = place / crate::segment::BLOCK_RECORDS;
            if block.0 != wanted {
                block = (wanted, segment.records.block(wanted)?);
            }
            let same = block.1.get(place % crate::segment::BLOCK_RECORDS) == Some(entry);
            let body = segment.bodies.body(place as u32, CONTENT_BYTES_MAX)?;
            let same_body = body.map(|body| (body.salt, body.bytes))
                == content.map(|content| (content.salt, content.bytes));
            if same && same_body { Ok(()) } else { Err(differs(format!("record {seq}"))) }
        })
    }
}
