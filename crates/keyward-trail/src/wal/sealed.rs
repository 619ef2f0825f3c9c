//! What sled still has to do with a segment once it is sealed: a note of it, and letting go of its records.

use super::{SledStore, StoreError, content_key, data_file, frame_key, key, seq_of_key};
use crate::frame;
use crate::segment::Sealed;
use crate::tombstone::{Absent, next_present};
use std::ops::Range;

/// Keys that are removed in one batch: a batch holds up the writer's.
const REMOVED_MAX: usize = 128;

impl SledStore {
    /// The sealed segments that are noted, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn sealed(&self) -> Result<Vec<Sealed>, StoreError> {
        let mut noted = Vec::new();
        for item in self.db.scan_prefix(b"s") {
            let (key, value) = item?;
            let first_seq = seq_of_key(&key);
            let sealed = Sealed::from_bytes(&value).filter(|sealed| sealed.first_seq == first_seq);
            noted.push(sealed.ok_or(StoreError::SegmentLost { first_seq, last_seq: first_seq, why: "its note is damaged".to_owned() })?);
        }
        Ok(noted)
    }

    /// Notes a segment whose files are durable and were compared with its records. From here on the files are the trail.
    ///
    /// # Errors
    /// As [`super::Store::append`].
    pub(crate) fn note_sealed(&self, sealed: &Sealed) -> Result<(), StoreError> {
        // A failed write is told once to each opening of the file: this one must not take it from the writer's.
        let data = data_file(&self.trail)?;
        let mut writes = sled::Batch::default();
        writes.insert(key(b's', sealed.first_seq, 0).as_slice(), sealed.to_bytes());
        self.commit_to(writes, &data)
    }

    /// The records that are noted as gone, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn noted_absent(&self) -> Result<Vec<Absent>, StoreError> {
        let mut noted = Vec::new();
        for item in self.db.scan_prefix(b"g") {
            let (key, value) = item?;
            let first_seq = seq_of_key(&key);
            let absent = Absent::from_bytes(first_seq, &value);
            noted.push(absent.ok_or(StoreError::SegmentLost { first_seq, last_seq: first_seq, why: "the note of their absence is damaged".to_owned() })?);
        }
        Ok(noted)
    }

    /// Notes all records that are gone, in place of what was noted before, and of the notes of the segments that had them.
    /// From here on nobody looks for them.
    ///
    /// # Errors
    /// As [`super::Store::append`].
    pub(crate) fn note_absent(&self, absent: &[Absent]) -> Result<(), StoreError> {
        let data = data_file(&self.trail)?;
        let mut writes = sled::Batch::default();
        for item in self.db.scan_prefix(b"g").keys() {
            writes.remove(item?);
        }
        for absent in absent {
            for item in self.db.range(key(b's', absent.first_seq, 0).as_slice()..key(b's', absent.end, 0).as_slice()).keys() {
                writes.remove(item?);
            }
            writes.insert(key(b'g', absent.first_seq, 0).as_slice(), absent.to_bytes());
        }
        self.commit_to(writes, &data)
    }

    /// Where the first frame behind a record begins, whether or not it can be read.
    ///
    /// # Errors
    /// When the engine fails.
    pub(crate) fn frame_behind(&self, seq: u64) -> Result<Option<u64>, StoreError> {
        let next = self.db.range(frame_key(seq.saturating_add(1), 0).as_slice()..=frame_key(u64::MAX, u16::MAX).as_slice()).keys().next();
        Ok(next.transpose()?.map(|key| seq_of_key(&key)))
    }

    /// The first records from a place on that are neither here nor noted as gone, though later ones are here.
    ///
    /// # Errors
    /// When the engine fails.
    pub(crate) fn gap(&self, from: u64, absent: &[Absent]) -> Result<Option<Range<u64>>, StoreError> {
        let mut next = from;
        // The frame that holds `from` may begin before it.
        let first = frame_key(from.saturating_sub(frame::FRAME_RECORDS_MAX as u64), 0);
        for key in self.db.range(first.as_slice()..=frame_key(u64::MAX, u16::MAX).as_slice()).keys() {
            let key = key?;
            let (first, end) = (seq_of_key(&key), seq_of_key(&key).saturating_add(frame_records(&key)));
            let wanted = next_present(absent, next);
            if end > wanted && first > wanted {
                return Ok(Some(wanted..first));
            }
            next = next.max(end);
        }
        Ok(None)
    }

    /// Removes some of the frames that end at or below `end`, and of the bodies below it. True while there may be more.
    /// Not synced: what comes back after a power cut is removed again.
    ///
    /// # Errors
    /// When the engine fails.
    pub(crate) fn remove_sealed(&self, end: u64) -> Result<bool, StoreError> {
        let mut writes = sled::Batch::default();
        let mut count = 0;
        for item in self.db.range(frame_key(0, 0).as_slice()..frame_key(end, 0).as_slice()).keys().take(REMOVED_MAX) {
            let key = item?;
            if seq_of_key(&key).saturating_add(frame_records(&key)) <= end {
                writes.remove(key);
                count += 1;
            }
        }
        for item in self.db.range(content_key(0, 0).as_slice()..content_key(end, 0).as_slice()).keys().take(REMOVED_MAX) {
            writes.remove(item?);
            count += 1;
        }
        if count > 0 {
            self.db.apply(writes)?;
        }
        Ok(count > 0)
    }
}

/// How many records a frame has, by its key.
fn frame_records(key: &[u8]) -> u64 {
    let count = key.get(9..).and_then(|count| count.first_chunk::<2>()).map_or(frame::FRAME_RECORDS_MAX as u64, |count| u64::from(u16::from_be_bytes(*count)));
    count.max(1)
}
