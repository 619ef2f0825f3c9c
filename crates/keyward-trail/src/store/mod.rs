//! What storage hands out and takes: batches of records, frames of them, and the spans that have an
//! index.

mod error;

use crate::index::Span;
use crate::tombstone::Tombstone;
use keyward_core::clock::Timestamp;
use keyward_record::{Content, Entry};
use std::ops::Range;

pub use self::error::{EngineError, StoreError};

/// Bytes of one content, at most, before compression.
pub const CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The version of what the directory holds.
pub(crate) const SCHEMA: u32 = 1;

/// What one commit adds: all of it, or nothing.
#[derive(Debug, Default)]
pub struct Batch {
    /// The sequence number of the first entry.
    pub first_seq: u64,
    /// Records, in order, without gaps.
    pub entries: Vec<Entry>,
    /// Bodies by the sequence numbers of their records.
    pub contents: Vec<(u64, Content)>,
    /// The new open floor: every exchange below it is closed.
    pub open_floor: Option<u64>,
}

/// Records as they were stored together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The sequence number of the first entry.
    pub first_seq: u64,
    /// The records, in order.
    pub entries: Vec<Entry>,
}

impl Frame {
    /// The sequence number after the last entry.
    pub fn end(&self) -> u64 {
        self.first_seq.saturating_add(self.entries.len() as u64)
    }

    /// The record with this sequence number, if it is here.
    pub fn get(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq.checked_sub(self.first_seq)?).ok()?)
    }
}

/// Frames, decoded one by one.
pub type Frames<'a> = Box<dyn Iterator<Item = Result<Frame, StoreError>> + Send + 'a>;

/// Durable storage of the trail.
pub trait Store: Send + Sync {
    /// Makes a batch durable: when this returns, it survives a power cut. Called by one thread.
    ///
    /// # Errors
    /// Any error but one that [can be tried again](StoreError::can_be_tried_again) is final:
    /// nothing is known about the batch, and the store must not be appended to again.
    fn append(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Frames that begin below `end`, the newest first.
    fn newest_first(&self, end: u64) -> Frames<'_>;

    /// Frames that end above `from`, the oldest first.
    fn oldest_first(&self, from: u64) -> Frames<'_>;

    /// The body beside a record; `None` when it has none, or had it erased.
    ///
    /// # Errors
    /// When it cannot be read whole.
    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError>;

    /// Every exchange whose request stands below is closed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn open_floor(&self) -> Result<u64, StoreError>;

    /// What has been taken away of its files while it is open: a sentence. Asked now and then, so
    /// it may look at some each time.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Records that are known to be gone, in order.
    fn tombstones(&self) -> Vec<Tombstone> {
        Vec::new()
    }

    /// The trail below `end` in parts, the newest first, each with its index if it has one.
    fn spans(&self, end: u64) -> Vec<Span> {
        vec![Span { range: 0..end, index: None }]
    }

    /// Where the first record that is not before `time` stands, as narrow as can be told without
    /// reading records.
    fn around(&self, _time: Timestamp) -> Range<u64> {
        0..u64::MAX
    }
}
