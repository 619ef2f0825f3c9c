//! What the admin listener serves of the evidence: only what the newest checkpoint covers, and nothing that changes.

use super::Evidence;
use super::layout::{BUNDLE_RECORDS, Resource, put_entry};
use super::note::Signed;
use super::tree::Tiles;
use crate::audit::store::StoreError;
use std::io;

impl Evidence {
    /// A tile, or a bundle of records; `None` when the newest checkpoint does not cover all of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn resource(&self, resource: Resource) -> io::Result<Option<Vec<u8>>> {
        let size = self.board.newest().map_or(0, |newest| newest.size());
        if !resource.is_within(size) {
            return Ok(None);
        }
        match resource.level {
            Some(level) => self.levels.tile(level, resource.n, resource.width).map(Some),
            None => self.bundle(resource.n * BUNDLE_RECORDS, resource.width.into()).map_err(io::Error::other),
        }
    }

    /// Records from `first` on. `None` when one is not there any more.
    fn bundle(&self, first: u64, count: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bundle = Vec::new();
        let (mut next, end) = (first, first + count);
        for frame in self.store.oldest_first(first) {
            let frame = frame?;
            for (seq, entry) in (frame.first_seq..end).zip(&frame.entries).filter(|(seq, _)| *seq >= first) {
                if seq != next {
                    return Ok(None);
                }
                put_entry(&mut bundle, &entry.leaf);
                next += 1;
            }
            if next == end {
                return Ok(Some(bundle));
            }
        }
        Ok(None)
    }

    /// The kept checkpoints, as JSON lines.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn history(&self) -> io::Result<String> {
        let line = |past: super::kept::Past| serde_json::json!({"time": past.time, "why": past.why, "note": past.note}).to_string() + "\n";
        Ok(self.kept.history()?.into_iter().map(line).collect())
    }

    /// The keys that have signed checkpoints, one a line, in the order of their use.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn keys(&self) -> io::Result<String> {
        Ok(self.kept.keys()?.iter().map(|key| format!("{key}\n")).collect())
    }

    /// The newest checkpoint, or the newest that a witness has cosigned.
    pub fn checkpoint(&self, cosigned: bool) -> Option<Vec<u8>> {
        let signed = if cosigned { self.board.cosigned() } else { self.board.newest() };
        signed.map(|signed| Signed::bytes(&signed))
    }
}
