//! What is served of a running trail: only what the newest checkpoint covers, and nothing that
//! changes.

use super::Notary;
use crate::store::StoreError;
use keyward_tlog::layout::{AbsentLine, BUNDLE_RECORDS, LeftLine, Resource, put_entry};
use keyward_tlog::note::Signed;
use keyward_tlog::tree::Tiles;
use std::io;

/// What there is of a tile, or of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// All of it.
    Bytes(Vec<u8>),
    /// The newest checkpoint does not cover all of it.
    NotCovered,
    /// Some of its records are not there any more: which, in a sentence.
    Gone(String),
}

fn line(of: &impl serde::Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(of).map_err(io::Error::other)? + "\n")
}

impl Notary {
    /// A tile, or a bundle of records.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn resource(&self, resource: Resource) -> io::Result<Served> {
        if !self.covers(resource) {
            return Ok(Served::NotCovered);
        }
        if let Some(level) = resource.level {
            return self.levels.tile(level, resource.n, resource.width).map(Served::Bytes);
        }
        let bundle = self
            .bundle(resource.n * BUNDLE_RECORDS, resource.width.into())
            .map_err(io::Error::other)?;
        Ok(bundle.map_or_else(|| self.gone(resource), Served::Bytes))
    }

    fn covers(&self, resource: Resource) -> bool {
        resource.is_within(self.board.newest().map_or(0, |newest| newest.size()))
    }

    /// Which record of a bundle is not there any more, and which tells of it.
    fn gone(&self, resource: Resource) -> Served {
        let first = resource.n * BUNDLE_RECORDS;
        let end = first + u64::from(resource.width);
        let absent = self
            .store
            .tombstones()
            .into_iter()
            .find(|absent| absent.first_seq < end && absent.end > first);
        Served::Gone(match absent {
            Some(absent) => format!(
                "records {} to {} are gone, record {} tells of it",
                absent.first_seq,
                absent.end - 1,
                absent.told_by
            ),
            None => "some of its records are missing".to_owned(),
        })
    }

    /// What is left of a bundle, as JSON lines; `None` when the newest checkpoint does not cover
    /// it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn left(&self, resource: Resource) -> io::Result<Option<String>> {
        if resource.level.is_some() || !self.covers(resource) {
            return Ok(None);
        }
        let (first, mut lines) = (resource.n * BUNDLE_RECORDS, String::new());
        let end = first + u64::from(resource.width);
        for frame in self.store.oldest_first(first) {
            let frame = frame.map_err(io::Error::other)?;
            if frame.first_seq >= end {
                break;
            }
            for (seq, entry) in
                (frame.first_seq..end).zip(&frame.entries).filter(|(seq, _)| *seq >= first)
            {
                lines += &line(&LeftLine { seq, leaf: hex::encode(&entry.leaf) })?;
            }
        }
        Ok(Some(lines))
    }

    /// Which records are gone, as JSON lines, in order.
    ///
    /// # Errors
    /// Never, as things are.
    pub fn absent(&self) -> io::Result<String> {
        self.store
            .tombstones()
            .iter()
            .map(|gone| {
                line(&AbsentLine {
                    first: gone.first_seq,
                    last: gone.end - 1,
                    told_by: gone.told_by,
                })
            })
            .collect()
    }

    /// Records from `first` on. `None` when one is not there any more.
    fn bundle(&self, first: u64, count: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bundle = Vec::new();
        let (mut next, end) = (first, first + count);
        for frame in self.store.oldest_first(first) {
            let frame = frame?;
            for (seq, entry) in
                (frame.first_seq..end).zip(&frame.entries).filter(|(seq, _)| *seq >= first)
            {
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
        let line = |past: keyward_tlog::checkpoint_store::HistoricCheckpoint| {
            serde_json::json!({"time": past.time, "why": past.why, "note": past.note}).to_string()
                + "\n"
        };
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
