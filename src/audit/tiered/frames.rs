//! Going through the trail across the seam between segments and sled, which moves while somebody reads: what is not
//! found in sled any more is in a segment by then.

use super::{Segment, Shared};
use crate::audit::segment::BLOCK_RECORDS;
use crate::audit::store::{Frame, Store, StoreError};
use std::sync::Arc;

/// The segment that has a record.
pub(super) fn segment_of(segments: &[Arc<Segment>], seq: u64) -> Option<&Arc<Segment>> {
    let at = segments.partition_point(|segment| segment.end() <= seq);
    segments.get(at).filter(|segment| segment.first_seq() <= seq)
}

impl Shared {
    /// The frame that has the record `seq`; else the next one behind it, if there is one.
    pub(super) fn frame_from(&self, seq: u64) -> Option<Result<Frame, StoreError>> {
        loop {
            let segments = self.segments.load();
            let sealed_end = segments.last().map_or(0, |segment| segment.end());
            if seq < sealed_end {
                let segment = segment_of(&segments, seq).or(segments.first())?;
                return Some(Self::block_of(segment, seq.max(segment.first_seq())));
            }
            let found = self.hot.oldest_first(seq).next();
            if Arc::ptr_eq(&segments, &self.segments.load()) {
                return found.map(|frame| Ok(behind(frame?, sealed_end)));
            }
        }
    }

    /// The frame that has the record before `seq`; else the next one before it, if there is one.
    pub(super) fn frame_before(&self, seq: u64) -> Option<Result<Frame, StoreError>> {
        loop {
            let segments = self.segments.load();
            let sealed_end = segments.last().map_or(0, |segment| segment.end());
            if seq > sealed_end {
                let found = self.hot.newest_first(seq).next();
                if !Arc::ptr_eq(&segments, &self.segments.load()) {
                    continue;
                }
                match found {
                    Some(Ok(frame)) if frame.end() > sealed_end => return Some(Ok(behind(frame, sealed_end))),
                    Some(Err(error)) => return Some(Err(error)),
                    // What sled still has before the seam is in the segments.
                    Some(Ok(_)) | None => {}
                }
            }
            let last = seq.min(sealed_end).checked_sub(1)?;
            return segment_of(&segments, last).map(|segment| Self::block_of(segment, last));
        }
    }

    fn block_of(segment: &Segment, seq: u64) -> Result<Frame, StoreError> {
        let block = seq.saturating_sub(segment.first_seq()) as usize / BLOCK_RECORDS;
        let first_seq = segment.first_seq().saturating_add((block * BLOCK_RECORDS) as u64);
        Ok(Frame { first_seq, entries: segment.records.block(block)? })
    }
}

/// What of a frame of sled is not sealed.
fn behind(mut frame: Frame, sealed_end: u64) -> Frame {
    let sealed = usize::try_from(sealed_end.saturating_sub(frame.first_seq)).unwrap_or(usize::MAX).min(frame.entries.len());
    frame.entries.drain(..sealed);
    frame.first_seq = frame.first_seq.saturating_add(sealed as u64);
    frame
}

/// Frames that end above a record, the oldest first.
pub(super) struct OldestFirst<'a> {
    shared: &'a Shared,
    next: Option<u64>,
}

impl<'a> OldestFirst<'a> {
    pub fn new(shared: &'a Shared, from: u64) -> Self {
        Self { shared, next: Some(from) }
    }
}

impl Iterator for OldestFirst<'_> {
    type Item = Result<Frame, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.shared.frame_from(self.next?);
        self.next = match &found {
            Some(Ok(frame)) => Some(frame.end()),
            // An error is told once.
            Some(Err(_)) | None => None,
        };
        found
    }
}

/// Frames that begin below a record, the newest first.
pub(super) struct NewestFirst<'a> {
    shared: &'a Shared,
    end: Option<u64>,
}

impl<'a> NewestFirst<'a> {
    pub fn new(shared: &'a Shared, end: u64) -> Self {
        Self { shared, end: Some(end) }
    }
}

impl Iterator for NewestFirst<'_> {
    type Item = Result<Frame, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.shared.frame_before(self.end?);
        self.end = match &found {
            Some(Ok(frame)) => Some(frame.first_seq),
            Some(Err(_)) | None => None,
        };
        found
    }
}
