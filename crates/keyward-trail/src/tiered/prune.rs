//! Letting go of sealed segments for good.

use super::{Pace, Segment, Shared, TieredStore};
use crate::segment::{KINDS, SegmentError, files, output, path};
use crate::store::StoreError;
use crate::tombstone::{Removal, Tombstone, joined};
use crate::wal::Note;
use keyward_core::clock::Timestamp;
use keyward_record::Head;
use std::ops::Range;
use std::sync::Arc;

/// What is known of a sealed segment, for whoever decides how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its records.
    pub range: Range<u64>,
    /// The trail's time of the last of them.
    pub last_time: Timestamp,
    /// Bytes of its files.
    pub bytes: u64,
}

impl TieredStore {
    /// The sealed segments, the oldest first.
    pub fn sealed(&self) -> Vec<About> {
        self.shared.segments.load().iter().map(|segment| self.shared.about(segment)).collect()
    }

    /// Removes sealed segments: noted, durably, then nobody finds them any more, then their files
    /// go. `told_by` is the record, durable already, that tells of it.
    ///
    /// # Errors
    /// When a range is not that of a segment, or the store or the disk fails. What was noted is
    /// removed by the next start.
    pub fn prune(&self, ranges: &[Range<u64>], told_by: u64) -> Result<(), StoreError> {
        let shared = &self.shared;
        let _changing = shared.change();
        let segments = shared.segments.load_full();
        let known = |range: &Range<u64>| {
            segments.iter().any(|segment| (segment.first_seq()..segment.end()) == *range)
        };
        if let Some(wrong) = ranges.iter().find(|range| !known(range)) {
            let why = "no such segment is sealed".to_owned();
            return Err(StoreError::SegmentLost {
                first_seq: wrong.start,
                last_seq: wrong.end.saturating_sub(1),
                why,
            });
        }
        let absent = retold(&shared.absent.load(), ranges, told_by);
        shared.wal.note(Note::Tombstones(&absent))?;
        {
            // Whoever publishes segments holds the tail.
            let _tail = shared.tail();
            shared.absent.store(Arc::new(absent));
            let left = segments
                .iter()
                .filter(|segment| !ranges.iter().any(|range| range.start == segment.first_seq()))
                .cloned()
                .collect();
            shared.segments.store(Arc::new(left));
        }
        ranges.iter().try_for_each(|range| shared.remove_files(range.start))?;
        output::sync(&shared.dir)?;
        // What stays may have had answers among what went.
        let (segments, absent) = (shared.segments.load_full(), shared.absent.load());
        let stale = |segment: &&Arc<Segment>| {
            segment
                .index
                .load()
                .as_ref()
                .is_some_and(|index| Shared::knows_what_is_gone(index, &absent))
        };
        segments
            .iter()
            .filter(stale)
            .try_for_each(|segment| shared.reindex(segment, &mut Pace::without_rest()))
    }

    /// Where answers to the requests of a sealed segment stand behind it: by its index, or, when
    /// that is not to be believed, by the records.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn answers_behind(
        &self,
        range: &Range<u64>,
        by_records: bool,
    ) -> Result<Vec<u64>, StoreError> {
        self.shared
            .segment_of(range.start)
            .map_or(Ok(Vec::new()), |segment| self.shared.answers_behind(&segment, by_records))
    }

    /// The newest time in a sealed segment, by its records alone, once its file is known to be the
    /// one that was sealed: what goes cannot be had back. A record's own time counts too,
    /// because it is signed.
    ///
    /// # Errors
    /// When a record cannot be read, or the file is another.
    pub fn newest_time(&self, range: &Range<u64>) -> Result<Timestamp, StoreError> {
        let Some(segment) = self.shared.segment_of(range.start) else {
            return Ok(Timestamp(u64::MAX));
        };
        let records = &segment.records;
        if records.real_digest()? != records.digest() {
            let why = "it is not as it was sealed; `keyward audit salvage` seals again what can be read of it".to_owned();
            return Err(SegmentError::Damaged {
                path: path(&self.shared.dir, range.start, "records"),
                why,
            }
            .into());
        }
        let mut newest = Timestamp(0);
        for block in 0..records.blocks() {
            for entry in records.block(block)? {
                let signed = Head::read(&entry.leaf).and_then(|head| head.time());
                newest = newest.max(entry.time).max(signed.unwrap_or(Timestamp(0)));
            }
        }
        Ok(newest)
    }
}

impl Shared {
    fn about(&self, segment: &Segment) -> About {
        let bytes = KINDS
            .iter()
            .filter_map(|kind| path(&self.dir, segment.first_seq(), kind).metadata().ok())
            .map(|file| file.len())
            .sum();
        About {
            range: segment.first_seq()..segment.end(),
            last_time: segment.records.last_time(),
            bytes,
        }
    }

    /// Removes the files of segments that are noted as gone; a crash may have left some.
    pub(super) fn remove_absent(&self) -> Result<(), StoreError> {
        let absent = self.absent.load();
        let failed = |source| SegmentError::Io { path: self.dir.clone(), source };
        let files = files(&self.dir).map_err(failed)?;
        let gone = |seq: &u64| {
            absent
                .iter()
                .any(|absent| absent.why == Removal::Pruned && absent.range().contains(seq))
        };
        files
            .iter()
            .map(|(first_seq, _)| *first_seq)
            .filter(gone)
            .try_for_each(|first_seq| self.remove_files(first_seq))?;
        if files.is_empty() { Ok(()) } else { Ok(output::sync(&self.dir)?) }
    }

    /// Removes a segment's files. Whoever reads one still does so.
    fn remove_files(&self, first_seq: u64) -> Result<(), StoreError> {
        for path in KINDS.map(|kind| path(&self.dir, first_seq, kind)) {
            output::remove(&path)?;
        }
        Ok(())
    }
}

/// All that is gone once these ranges are, as the newest record tells of it: it tells anew of all
/// that is older, because the records that told of that may go too.
pub fn retold(absent: &[Tombstone], ranges: &[Range<u64>], told_by: u64) -> Vec<Tombstone> {
    let until = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let new = ranges.iter().map(|range| Tombstone {
        first_seq: range.start,
        end: range.end,
        why: Removal::Pruned,
        told_by,
    });
    let mut all: Vec<_> = absent
        .iter()
        .map(|old| {
            if old.end <= until {
                Tombstone { why: Removal::Pruned, told_by, ..*old }
            } else {
                *old
            }
        })
        .chain(new)
        .collect();
    all.sort_unstable_by_key(|absent| absent.first_seq);
    joined(all)
}
