//! Hashes of durable records, on their way from the writer to whoever keeps the tree over them.
//!
//! Whoever takes may be slow, or away: what does not fit is dropped, and read back from the store.

use keyward_record::LeafHash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Hashes that may wait, 8 MiB of them.
const HASHES_MAX: usize = 1 << 18;

/// Consecutive hashes, the first of which belongs to record `first`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// The record of the first hash.
    pub first: u64,
    /// A hash for each record.
    pub hashes: Vec<LeafHash>,
}

impl Hashes {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.hashes.len() as u64)
    }
}

/// The way to the tree.
#[derive(Debug, Default)]
pub struct Feed(Mutex<Option<Hashes>>);

impl Feed {
    /// Whatever has come since the last call; from the first call on, something is kept.
    pub fn take(&self) -> Hashes {
        let mut waiting = self.waiting();
        let end = waiting.as_ref().map_or(0, Hashes::end);
        waiting.replace(Hashes { first: end, hashes: Vec::new() }).unwrap_or_default()
    }

    /// Records from `first` on are durable. Never blocks for long, and never refuses.
    pub(super) fn put(&self, first: u64, hashes: &[LeafHash]) {
        if let Some(waiting) = self.waiting().as_mut() {
            if waiting.end() != first || waiting.hashes.len() + hashes.len() > HASHES_MAX {
                *waiting = Hashes { first, hashes: Vec::new() };
            }
            waiting.hashes.extend_from_slice(hashes);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Hashes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_nobody_and_no_more_than_fits() {
        let feed = Feed::default();
        feed.put(0, &[[1; 32]]);
        assert_eq!(feed.take(), Hashes::default());
        feed.put(1, &[[2; 32], [3; 32]]);
        feed.put(3, &[[4; 32]]);
        assert_eq!(feed.take(), Hashes { first: 1, hashes: vec![[2; 32], [3; 32], [4; 32]] });
        feed.put(4, &vec![[5; 32]; HASHES_MAX]);
        let last = 4 + HASHES_MAX as u64;
        feed.put(last, &[[6; 32]]);
        assert_eq!(feed.take(), Hashes { first: last, hashes: vec![[6; 32]] });
        assert_eq!(feed.take().hashes.len(), 0);
    }
}
