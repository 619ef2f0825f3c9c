//! The folder of a stopped gateway.

use super::TREE;
use crate::store::{Store, StoreError};
use crate::tiered::TieredStore;
use keyward_core::error_chain::error_chain;
use keyward_record::Content;
use keyward_tlog::checkpoint_store::{CheckpointStore, HistoricCheckpoint};
use keyward_tlog::key::LogKey;
use keyward_tlog::source::{Head, Recorded, Run, Runs, Source, Tombstone, Unreadable};
use keyward_tlog::tree::{Levels, Tiles};
use std::io;
use std::path::{Path, PathBuf};

/// The folder, opened. Nothing of the evidence is written.
pub struct Folder {
    dir: PathBuf,
    store: TieredStore,
    levels: Option<Levels>,
    kept: CheckpointStore,
}

impl Folder {
    /// Opens an audit folder.
    ///
    /// # Errors
    /// When there is no trail, another process has it, or it cannot be read.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(dir.join("trail").is_dir(), "there is no trail in `{}`", dir.display());
        // Segments that are lost are gaps: verification says so.
        let store = TieredStore::open_as_it_is(dir)?.0;
        let tree = dir.join(TREE);
        let kept = CheckpointStore::new(&tree);
        Ok(Self { dir: dir.to_owned(), store, levels: Levels::open(&tree).ok(), kept })
    }
}

impl Tiles for Folder {
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
        self.levels.as_ref().ok_or(io::ErrorKind::NotFound)?.tile(level, n, width)
    }
}

impl Source for Folder {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        self.kept.newest()
    }

    fn cosigned(&self) -> io::Result<Option<Vec<u8>>> {
        self.kept.cosigned()
    }

    fn history(&self) -> io::Result<Vec<HistoricCheckpoint>> {
        self.kept.history()
    }

    fn keys(&self) -> io::Result<Vec<LogKey>> {
        self.kept.keys()
    }

    fn end(&self) -> io::Result<u64> {
        // A frame that cannot be read is told of when its turn comes.
        Ok(self.store.newest_first(u64::MAX).find_map(Result::ok).map_or(0, |frame| frame.end()))
    }

    fn ends_by_checkpoint(&self) -> bool {
        false
    }

    fn absent(&self) -> io::Result<Vec<Tombstone>> {
        Ok(self
            .store
            .tombstones()
            .iter()
            .map(|absent| Tombstone { range: absent.range(), told_by: absent.told_by })
            .collect())
    }

    fn runs(&self, first: u64, _: u64) -> Runs<'_> {
        Box::new(self.store.oldest_first(first).map(|frame| {
            let seq = |error: &StoreError| {
                if let StoreError::Frame { seq, .. } | StoreError::Block { seq, .. } = error {
                    Some(*seq)
                } else {
                    None
                }
            };
            let frame =
                frame.map_err(|error| Unreadable { seq: seq(&error), why: error_chain(&error) })?;
            let head = |entry: &keyward_record::Entry| Head {
                time: entry.time,
                kind: entry.kind,
                id: entry.id,
            };
            let records = frame
                .entries
                .iter()
                .map(|entry| Recorded { head: Some(head(entry)), leaf: entry.leaf.clone() })
                .collect();
            Ok(Run { first: frame.first_seq, records })
        }))
    }

    fn has_tiles(&self) -> bool {
        self.levels.is_some()
    }

    fn content(&self, seq: u64) -> io::Result<Option<Content>> {
        self.store.content(seq).map_err(io::Error::other)
    }

    fn has_content(&self) -> bool {
        true
    }
}
