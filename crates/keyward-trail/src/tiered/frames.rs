//! Going through the trail across the seam between segments and sled, which moves while somebody
//! reads: what is not found in sled any more is in a segment by then. What cannot be read is told
//! of, and gone on behind.

use super::{Segment, Shared};
use crate::segment::BLOCK_RECORDS;
use crate::store::{Frame, StoreError};
use crate::tombstone::skip_tombstones;
use std::sync::Arc;

/// The segment that has a record.
pub(super) fn segment_of(segments: &[Arc<Segment>], seq: u64) -> Option<&Arc<Segment>> {
    segment_from(segments, seq).filter(|segment| segment.first_seq() <= seq)
}

/// The segment that has a record, or the next one behind it.
fn segment_from(segments: &[Arc<Segment>], seq: u64) -> Option<&Arc<Segment>> {
    segments.get(segments.partition_point(|segment| segment.end() <= seq))
}

impl Shared {
    /// Records below are sealed, or gone. What is pruned is noted before its segment goes, so that
    /// whoever has seen these segments sees the note of each one that is not among them.
    fn seam(&self, segments: &[Arc<Segment>]) -> u64 {
        skip_tombstones(&self.absent.load(), segments.last().map_or(0, |segment| segment.end()))
    }

    /// The frame that has the record `seq`; else the next one behind it, if there is one.
    pub(super) fn frame_from(&self, seq: u64) -> Option<Result<Frame, StoreError>> {
        loop {
            let segments = self.segments.load();
            if let Some(segment) = segment_from(&segments, seq) {
                let found = block_of(segment, seq.max(segment.first_seq()));
                if found.is_err() && !Arc::ptr_eq(&segments, &self.segments.load()) {
                    // It was pruned, and its file is not there any more.
                    continue;
                }
                return Some(found);
            }
            let sealed_end = self.seam(&segments);
            let found = self.wal.oldest_first(seq).next();
            if Arc::ptr_eq(&segments, &self.segments.load()) {
                return found.map(|frame| Ok(behind(frame?, sealed_end)));
            }
        }
    }

    /// The frame that has the record before `seq`; else the next one before it, if there is one.
    pub(super) fn frame_before(&self, seq: u64) -> Option<Result<Frame, StoreError>> {
        loop {
            let segments = self.segments.load();
            let sealed_end = self.seam(&segments);
            if seq > sealed_end {
                let found = self.wal.newest_first(seq).next();
                if !Arc::ptr_eq(&segments, &self.segments.load()) {
                    continue;
                }
                match found {
                    Some(Ok(frame)) if frame.end() > sealed_end => {
                        return Some(Ok(behind(frame, sealed_end)));
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    // What sled still has before the seam is in the segments.
                    Some(Ok(_)) | None => {}
                }
            }
            let before = segments.partition_point(|segment| segment.first_seq() < seq);
            let segment = segments.get(before.checked_sub(1)?)?;
            let found = block_of(segment, seq.min(segment.end()).saturating_sub(1));
            if found.is_err() && !Arc::ptr_eq(&segments, &self.segments.load()) {
                continue;
            }
            return Some(found);
        }
    }

    /// Frames that end above a record, the oldest first.
    pub(super) fn oldest_first(
        &self,
        from: u64,
    ) -> impl Iterator<Item = Result<Frame, StoreError>> + Send {
        let mut at = Some(from);
        std::iter::from_fn(move || {
            let next = at?;
            let found = self.frame_from(next);
            at = match &found {
                Some(Ok(frame)) => Some(frame.end()),
                Some(Err(error)) => self.behind_error(error).filter(|behind| *behind > next),
                None => None,
            };
            // A block may begin before where a frame of the log has ended.
            found.map(|frame| if next > from { Ok(behind(frame?, next)) } else { frame })
        })
    }

    /// Frames that begin below a record, the newest first.
    pub(super) fn newest_first(
        &self,
        end: u64,
    ) -> impl Iterator<Item = Result<Frame, StoreError>> + Send {
        let mut at = Some(end);
        std::iter::from_fn(move || {
            let before = at?;
            let mut found = self.frame_before(before);
            at = match &mut found {
                Some(Ok(frame)) => {
                    if before < end {
                        frame.entries.truncate(
                            usize::try_from(before.saturating_sub(frame.first_seq))
                                .unwrap_or(usize::MAX),
                        );
                    }
                    Some(frame.first_seq)
                }
                Some(Err(StoreError::Block { seq, .. } | StoreError::Frame { seq, .. })) => {
                    Some(*seq).filter(|seq| *seq < before)
                }
                Some(Err(_)) | None => None,
            };
            found
        })
    }

    /// Where to go on behind what could not be read, or `None` when nothing can be.
    fn behind_error(&self, error: &StoreError) -> Option<u64> {
        match error {
            StoreError::Block { seq, .. } => Some(seq.saturating_add(BLOCK_RECORDS as u64)),
            StoreError::Frame { seq, .. } => self
                .wal
                .ranges(*seq)
                .map_while(Result::ok)
                .map(|records| records.start)
                .find(|start| start > seq),
            _ => None,
        }
    }
}

fn block_of(segment: &Segment, seq: u64) -> Result<Frame, StoreError> {
    let block = seq.saturating_sub(segment.first_seq()) as usize / BLOCK_RECORDS;
    let first_seq = segment.first_seq().saturating_add((block * BLOCK_RECORDS) as u64);
    let entries = segment
        .records
        .block(block)
        .map_err(|source| StoreError::Block { seq: first_seq, source })?;
    Ok(Frame { first_seq, entries })
}

/// What of a frame stands at `seq` or behind it.
fn behind(mut frame: Frame, seq: u64) -> Frame {
    let before = usize::try_from(seq.saturating_sub(frame.first_seq))
        .unwrap_or(usize::MAX)
        .min(frame.entries.len());
    frame.entries.drain(..before);
    frame.first_seq = frame.first_seq.saturating_add(before as u64);
    frame
}
