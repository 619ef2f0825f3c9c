//! The index of what is not sealed yet, in memory. It follows the writer: each question brings it
//! up to date, and so does the sealer between questions, so that a question finds little to do.
//! What the writer had in its hands last is handed over; what is not there any more is read from
//! the log.

use super::Shared;
use super::seal::STEP_RECORDS;
use crate::index::builder::{Builder, Growing, OpenRequests};
use crate::index::{Index, Span};
use crate::store::{Frame, StoreError};
use crate::tombstone::skip_tombstones;
use keyward_record::Entry;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Segments that are followed before they are sealed. Behind them, when sealing does not keep up,
/// records are read.
const FOLLOWED_MAX: usize = 8;

/// Bytes of records that may wait to be followed: what does not fit is read again.
const HANDED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Durable records on their way from the writer to the index.
#[derive(Default)]
pub(super) struct Handed(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Handed {
    /// Records that are durable now.
    pub fn put(&self, first_seq: u64, entries: &[Entry]) {
        let bytes = bytes_of(entries);
        let mut waiting = self.waiting();
        if waiting.bytes + bytes > HANDED_BYTES_MAX {
            return;
        }
        waiting.bytes += bytes;
        let firsts = (first_seq..).step_by(STEP_RECORDS);
        waiting.frames.extend(
            firsts
                .zip(entries.chunks(STEP_RECORDS))
                .map(|(first_seq, entries)| Frame { first_seq, entries: entries.to_vec() }),
        );
    }

    /// The records from `seq` on, if they are here; those before it are let go.
    fn take(&self, seq: u64) -> Option<Frame> {
        let mut waiting = self.waiting();
        while waiting.frames.front().is_some_and(|frame| frame.first_seq <= seq) {
            let frame = waiting.frames.pop_front()?;
            waiting.bytes = waiting.bytes.saturating_sub(bytes_of(&frame.entries));
            if frame.end() > seq {
                return Some(frame);
            }
        }
        None
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.leaf.len()).sum()
}

pub(super) struct Tail {
    growing: VecDeque<Arc<Growing>>,
    /// Records below are followed, or sealed.
    next: u64,
    open: OpenRequests,
}

impl Tail {
    /// The tail behind the sealed segments.
    pub fn new(sealed_end: u64) -> Self {
        Self { growing: VecDeque::new(), next: sealed_end, open: OpenRequests::default() }
    }

    /// Follows the trail in whole frames, until it is at `end`: below that all is durable.
    pub fn follow(&mut self, shared: &Shared, end: u64) -> Result<(), StoreError> {
        while self.next < end {
            let handed = shared.handed.take(self.next).map(Ok);
            let Some(frame) = handed.or_else(|| shared.frame_from(self.next)).transpose()? else {
                return Ok(());
            };
            let mut gap = frame.first_seq > self.next;
            if gap
                && (frame.first_seq >= end
                    || frame.first_seq > skip_tombstones(&shared.absent.load(), self.next))
            {
                // It is not durable yet; or nobody knows why there is a gap: what is behind it is
                // read, not indexed.
                return Ok(());
            }
            for (seq, entry) in (frame.first_seq..).zip(&frame.entries) {
                if seq < self.next {
                    continue;
                }
                let full = self.growing.back().is_none_or(|growing| {
                    growing.first_seq().saturating_add(shared.segment_records) <= seq
                });
                let full = full || std::mem::take(&mut gap);
                if full && self.growing.len() == FOLLOWED_MAX {
                    return Ok(());
                }
                if full {
                    self.growing.push_back(Arc::new(Growing::of(Builder::new(seq))));
                }
                if let Some(growing) = self.growing.back() {
                    growing.grow(|builder| builder.add(entry));
                }
                if let Some(request) =
                    self.open.request_of(seq, entry).filter(|request| *request != seq)
                    && let Some(growing) =
                        self.growing.iter().rev().find(|growing| growing.first_seq() <= request)
                {
                    growing.grow(|builder| builder.settle(request, seq, entry));
                }
                self.next = seq.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Where it goes on.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The indexes in memory, the oldest first.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.growing.iter().map(|growing| Span {
            range: growing.range(),
            index: Some(Arc::clone(growing) as Arc<dyn Index>),
        })
    }

    /// A copy of the oldest index as it is now; `None` when it does not begin at `first_seq`.
    pub fn oldest(&self, first_seq: u64) -> Option<Builder> {
        let oldest = self.growing.front().filter(|growing| growing.first_seq() == first_seq)?;
        Some(oldest.read(Builder::clone))
    }

    /// Forgets what is sealed up to `end`. An index that reaches beyond is begun anew there, and
    /// all behind it.
    pub fn forget(&mut self, end: u64) {
        let beyond = self
            .growing
            .iter()
            .map(|growing| growing.range())
            .any(|range| range.start < end && range.end > end);
        let kept = if beyond { u64::MAX } else { end };
        self.growing.retain(|growing| growing.first_seq() >= kept);
        self.open.forget(kept);
        self.next = if beyond { end } else { self.next.max(end) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyward_core::clock::{AuditId, Timestamp};
    use keyward_record::Kind;

    fn entries(count: usize, length: usize) -> Vec<Entry> {
        vec![
            Entry {
                time: Timestamp(1),
                kind: Kind::Event,
                id: AuditId::new(),
                leaf: vec![b'x'; length].into()
            };
            count
        ]
    }

    #[test]
    fn what_is_handed_over_is_taken_from_any_record_and_what_does_not_fit_is_read() {
        let handed = Handed::default();
        let take = |seq| handed.take(seq).map(|frame| (frame.first_seq, frame.end()));
        handed.put(10, &entries(STEP_RECORDS + 5, 10));
        let (second, end) = (10 + STEP_RECORDS as u64, 15 + STEP_RECORDS as u64);
        assert_eq!(take(9), None, "what is before must be followed first");
        assert_eq!((take(12), take(12)), (Some((10, second)), None));
        assert_eq!((take(end), handed.waiting().bytes), (None, 0), "it was read meanwhile");
        handed.put(end, &entries(1, HANDED_BYTES_MAX));
        handed.put(end + 1, &entries(1, 1));
        assert_eq!((take(end), take(end + 1)), (Some((end, end + 1)), None));
    }
}
