//! How the journal is kept.

use crate::segment::SEGMENT_RECORDS;
use std::path::PathBuf;
use std::time::Duration;

/// What is not sealed after a day is sealed then: pruning is by segments, and damage to the store
/// costs what is not sealed.
const SEAL_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How the journal is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The trail's directory.
    pub dir: PathBuf,
    /// How long a record may wait for its commit.
    pub commit_deadline: Duration,
    /// Free bytes on the disk below which no new exchange is taken; open ones can still be closed.
    pub free_bytes_min: u64,
    /// Bytes kept back so that the trail can be opened on a full disk: see
    /// [`crate::wal::ballast`]. 0 is none.
    pub ballast_bytes: u64,
    /// Records that may wait.
    pub queue_records_max: usize,
    /// Bytes of leaves and contents that may wait.
    pub queue_bytes_max: usize,
    /// Records in a sealed segment of the trail; at most 65,536.
    pub segment_records: u64,
    /// A segment is sealed although it is not full when its first record is older.
    pub seal_after: Duration,
}

impl Settings {
    /// The defaults: 5 s, 64 MiB free, no ballast, 8,192 records or 64 MiB waiting, segments of
    /// 65,536 records or a day.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            commit_deadline: Duration::from_secs(5),
            free_bytes_min: 64 * 1024 * 1024,
            ballast_bytes: 0,
            queue_records_max: 8192,
            queue_bytes_max: 64 * 1024 * 1024,
            segment_records: SEGMENT_RECORDS,
            seal_after: SEAL_AFTER,
        }
    }
}
