//! A copy of a tiled log: a folder in the layout in which its resources are served.

use super::{Resources, Runs, Source, Tombstone, absent_of, bundles, tile_of};
use crate::checkpoint_store::HistoricCheckpoint;
use crate::key::LogKey;
use crate::layout::{CHECKPOINT, Resource};
use crate::note::Signed;
use crate::tree::Tiles;
use bytes::Bytes;
use keyward_record::Content;
use std::io;
use std::path::{Path, PathBuf};

/// The folder.
pub struct Copy {
    dir: PathBuf,
    end: u64,
}

impl Copy {
    /// A copy, which must have a checkpoint.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(CHECKPOINT.trim_start_matches('/'));
        let note =
            std::fs::read(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        // Whether it is signed is asked later; where the copy ends stands in it.
        let end = Signed::parse(&note).map_or(0, |signed| signed.size());
        Ok(Self { dir: dir.to_owned(), end })
    }
}

impl Resources for Copy {
    fn get(&self, resource: Resource) -> io::Result<Bytes> {
        std::fs::read(self.dir.join(resource.path().trim_start_matches('/'))).map(Bytes::from)
    }

    fn beside(&self, path: &str) -> io::Result<String> {
        match std::fs::read_to_string(self.dir.join(path.trim_start_matches('/'))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        }
    }
}

impl Tiles for Copy {
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
        tile_of(self, level, n, width)
    }
}

impl Source for Copy {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        std::fs::read(self.dir.join(CHECKPOINT.trim_start_matches('/'))).map(Some)
    }

    fn cosigned(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn history(&self) -> io::Result<Vec<HistoricCheckpoint>> {
        Ok(Vec::new())
    }

    fn keys(&self) -> io::Result<Vec<LogKey>> {
        Ok(Vec::new())
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.end)
    }

    fn ends_by_checkpoint(&self) -> bool {
        true
    }

    fn absent(&self) -> io::Result<Vec<Tombstone>> {
        absent_of(self)
    }

    fn runs(&self, first: u64, end: u64) -> Runs<'_> {
        bundles(self, first, self.end.min(end))
    }

    fn has_tiles(&self) -> bool {
        true
    }

    fn content(&self, _: u64) -> io::Result<Option<Content>> {
        Ok(None)
    }

    fn has_content(&self) -> bool {
        false
    }
}
