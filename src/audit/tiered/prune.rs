//! Letting go of sealed segments for good.

use super::{Segment, Shared, TieredStore};
use crate::audit::absent::{Absent, Why};
use crate::audit::segment::{SegmentError, path};
use crate::audit::store::StoreError;
use crate::clock::Timestamp;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The files of a segment.
const KINDS: [&str; 3] = ["records", "bodies", "index"];

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

    /// Removes sealed segments: noted, durably, then nobody finds them any more, then their files go. `told_by` is the
    /// record, durable already, that tells of it.
    ///
    /// # Errors
    /// When a range is not that of a segment, or the store or the disk fails. What was noted is removed by the next start.
    pub fn prune(&self, ranges: &[Range<u64>], told_by: u64) -> Result<(), StoreError> {
        let shared = &self.shared;
        let _changing = shared.change();
        let segments = shared.segments.load();
        let known = |range: &Range<u64>| segments.iter().any(|segment| (segment.first_seq()..segment.end()) == *range);
        if let Some(wrong) = ranges.iter().find(|range| !known(range)) {
            let why = "no such segment is sealed".to_owned();
            return Err(StoreError::SegmentLost { first_seq: wrong.start, last_seq: wrong.end.saturating_sub(1), why });
        }
        let gone: Vec<_> = ranges.iter().map(|range| Absent { first_seq: range.start, end: range.end, why: Why::Pruned, told_by }).collect();
        shared.hot.note_absent(&gone)?;
        {
            // Whoever publishes segments holds the tail.
            let _tail = shared.tail();
            let mut absent = shared.absent.load().to_vec();
            absent.extend(&gone);
            absent.sort_unstable_by_key(|absent| absent.first_seq);
            shared.absent.store(Arc::new(absent));
            let left = shared.segments.load().iter().filter(|segment| !gone.iter().any(|gone| gone.first_seq == segment.first_seq())).cloned().collect();
            shared.segments.store(Arc::new(left));
        }
        shared.remove_absent()
    }
}

impl Shared {
    fn about(&self, segment: &Segment) -> About {
        let bytes = KINDS.iter().filter_map(|kind| path(&self.dir, segment.first_seq(), kind).metadata().ok()).map(|file| file.len()).sum();
        About { range: segment.first_seq()..segment.end(), last_time: segment.records.last_time(), bytes }
    }

    /// Removes the files of segments that are noted as gone; a crash may have left some. Whoever reads one still does so.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn remove_absent(&self) -> Result<(), StoreError> {
        let absent = self.absent.load();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SegmentError::Io { path, source }
        };
        let mut removed = false;
        for gone in absent.iter().filter(|absent| absent.why == Why::Pruned) {
            for file in KINDS.map(|kind| path(&self.dir, gone.first_seq, kind)) {
                match std::fs::remove_file(&file) {
                    Ok(()) => removed = true,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                    Err(error) => return Err(failed(&file)(error).into()),
                }
            }
        }
        if removed {
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed(&self.dir))?;
        }
        Ok(())
    }
}
