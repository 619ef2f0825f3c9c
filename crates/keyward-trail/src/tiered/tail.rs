//! The index of what is not sealed yet, in memory. It follows the writer: each question brings it up to date, and so
//! does the sealer between questions, so that a question finds little to do.

use super::Shared;
use crate::index::builder::{Builder, Growing};
use crate::index::{Index, Span};
use crate::store::StoreError;
use crate::tombstone::next_present;
use keyward_core::clock::AuditId;
use keyward_record::Kind;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

/// Segments that are followed before they are sealed. Behind them, when sealing does not keep up, records are read.
const FOLLOWED_MAX: usize = 8;

pub(super) struct Tail {
    growing: VecDeque<Arc<Growing>>,
    /// Records below are followed, or sealed.
    next: u64,
    /// Forwarded calls without their answers.
    open: HashMap<AuditId, u64>,
}

impl Tail {
    /// The tail behind the sealed segments.
    pub fn new(sealed_end: u64) -> Self {
        Self { growing: VecDeque::new(), next: sealed_end, open: HashMap::new() }
    }

    /// Follows the trail to `end`.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn follow(&mut self, shared: &Shared, end: u64) -> Result<(), StoreError> {
        while self.next < end {
            let Some(frame) = shared.frame_from(self.next).transpose()? else { return Ok(()) };
            let mut gap = frame.first_seq > self.next;
            if gap && frame.first_seq > next_present(&shared.absent.load(), self.next) {
                // Nobody knows why: what is behind it is read, not indexed.
                return Ok(());
            }
            for (seq, entry) in (frame.first_seq..).zip(&frame.entries) {
                if seq < self.next {
                    continue;
                }
                if seq >= end {
                    return Ok(());
                }
                let full = self.growing.back().is_none_or(|growing| growing.first_seq().saturating_add(shared.segment_records) <= seq);
                let full = full || std::mem::take(&mut gap);
                if full && self.growing.len() == FOLLOWED_MAX {
                    return Ok(());
                }
                if full {
                    self.growing.push_back(Arc::new(Growing(RwLock::new(Builder::new(seq)))));
                }
                if let Some(growing) = self.growing.back() {
                    growing.0.write().unwrap_or_else(PoisonError::into_inner).add(entry);
                }
                match entry.kind {
                    Kind::Forwarded => drop(self.open.insert(entry.id, seq)),
                    Kind::Answer => {
                        if let Some(request) = self.open.remove(&entry.id)
                            && let Some(growing) = self.growing_of(request)
                        {
                            growing.0.write().unwrap_or_else(PoisonError::into_inner).settle(request, seq, entry);
                        }
                    }
                    Kind::Refused | Kind::Event => {}
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

    fn growing_of(&self, seq: u64) -> Option<&Arc<Growing>> {
        self.growing.iter().rev().find(|growing| growing.first_seq() <= seq)
    }

    /// The indexes in memory, the oldest first.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.growing.iter().map(|growing| {
            let (first, end) = {
                let builder = growing.0.read().unwrap_or_else(PoisonError::into_inner);
                (builder.first_seq(), builder.end())
            };
            Span { range: first..end, index: Some(Arc::clone(growing) as Arc<dyn Index>) }
        })
    }

    /// A copy of the oldest index as it is now; `None` when it does not begin at `first_seq`.
    pub fn oldest(&self, first_seq: u64) -> Option<Builder> {
        let oldest = self.growing.front().filter(|growing| growing.first_seq() == first_seq)?;
        Some(oldest.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Forgets what is sealed up to `end`. An index that reaches beyond is begun anew there, and all behind it.
    pub fn forget(&mut self, end: u64) {
        let beyond = self.growing.iter().any(|growing| {
            let growing = growing.0.read().unwrap_or_else(PoisonError::into_inner);
            growing.first_seq() < end && growing.end() > end
        });
        self.growing.retain(|growing| growing.first_seq() >= end && !beyond);
        self.open.retain(|_, seq| *seq >= end && !beyond);
        self.next = if beyond { end } else { self.next.max(end) };
    }
}
