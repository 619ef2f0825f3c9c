//! The sealed segments of a folder, read from their files alone: a running gateway's too, and
//! without its engine.
//!
//! What is not sealed is in the engine's file, which only the gateway's program reads: verification
//! says so, and says how.

use super::TREE;
use crate::segment::bodies::Bodies;
use crate::segment::dictionary::Dictionaries;
use crate::segment::records::Records;
use crate::segment::{BLOCK_RECORDS, SegmentError, files, path};
use crate::store::CONTENT_BYTES_MAX;
use anyhow::{Context, ensure};
use keyward_core::error_chain::error_chain;
use keyward_record::Content;
use keyward_tlog::checkpoint_store::{CheckpointStore, HistoricCheckpoint};
use keyward_tlog::key::LogKey;
use keyward_tlog::source::{Head, Recorded, Run, Runs, Source, Tombstone, Unread, Unreadable};
use keyward_tlog::tree::{Levels, Tiles};
use std::io;
use std::path::{Path, PathBuf};

/// The segments, opened. Nothing is written, and nothing is locked.
pub struct Segments {
    dir: PathBuf,
    segments: Vec<Result<(Records, Bodies), Unreadable>>,
    levels: Option<Levels>,
    kept: CheckpointStore,
    end: u64,
}

impl Segments {
    /// Opens the segments of an audit folder. One that cannot be opened is reported when its turn
    /// comes.
    ///
    /// # Errors
    /// When there is no folder with segments, or it cannot be read.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let folder = dir.join("segments");
        let found = files(&folder).with_context(|| folder.display().to_string())?;
        let firsts: Vec<_> =
            found.iter().filter(|(_, kind)| kind == "records").map(|(first, _)| *first).collect();
        ensure!(
            !firsts.is_empty(),
            "there are no sealed segments in `{}`: {}",
            dir.display(),
            advice(dir)
        );
        let dictionaries = Dictionaries::default();
        let open = |first: u64| -> Result<(Records, Bodies), SegmentError> {
            let records = Records::open(&path(&folder, first, "records"), &dictionaries)?;
            let bodies = Bodies::open(
                &path(&folder, first, "bodies"),
                first,
                records.count(),
                &dictionaries,
            )?;
            Ok((records, bodies))
        };
        let segments: Vec<_> = firsts
            .into_iter()
            .map(|first| {
                open(first)
                    .map_err(|error| Unreadable { seq: Some(first), why: error_chain(&error) })
            })
            .collect();
        let ends = segments
            .iter()
            .flatten()
            .map(|(records, _)| records.first_seq().saturating_add(records.count().into()));
        let (end, tree) = (ends.max().unwrap_or(0), dir.join(TREE));
        Ok(Self {
            dir: dir.to_owned(),
            end,
            segments,
            levels: Levels::open(&tree).ok(),
            kept: CheckpointStore::new(&tree),
        })
    }

    /// The segment that has a record.
    fn of(&self, seq: u64) -> Option<&(Records, Bodies)> {
        let within = |(records, _): &&(Records, Bodies)| {
            seq.checked_sub(records.first_seq()).is_some_and(|place| place < records.count().into())
        };
        self.segments.iter().flatten().find(within)
    }
}

fn advice(dir: &Path) -> String {
    format!(
        "stop the gateway and run `keyward audit verify --dir {}` to read what is not sealed yet",
        dir.display()
    )
}

impl Tiles for Segments {
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
        self.levels.as_ref().ok_or(io::ErrorKind::NotFound)?.tile(level, n, width)
    }
}

impl Source for Segments {
    fn name(&self) -> String {
        format!("the sealed segments of {}", self.dir.display())
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
        Ok(self.end)
    }

    fn ends_by_checkpoint(&self) -> bool {
        false
    }

    fn absent(&self) -> io::Result<Vec<Tombstone>> {
        Ok(Vec::new())
    }

    fn unread(&self) -> Option<Unread> {
        Some(Unread { from: self.end, how: advice(&self.dir) })
    }

    fn runs(&self, first: u64, _: u64) -> Runs<'_> {
        Box::new(self.segments.iter().flat_map(move |segment| -> Runs<'_> {
            match segment {
                // Whoever reads all is told of a file that is not as it was written, whatever of it
                // no hash of a record covers.
                Ok((records, bodies)) if first == 0 => Box::new(
                    unsound(records, bodies).map(Err).into_iter().chain(runs(records, first)),
                ),
                Ok((records, _)) => Box::new(runs(records, first)),
                Err(error) => Box::new(std::iter::once(Err(Unreadable {
                    seq: error.seq,
                    why: error.why.clone(),
                }))),
            }
        }))
    }

    fn has_tiles(&self) -> bool {
        self.levels.is_some()
    }

    fn content(&self, seq: u64) -> io::Result<Option<Content>> {
        let Some((records, bodies)) = self.of(seq) else { return Ok(None) };
        let place = u32::try_from(seq - records.first_seq()).map_err(io::Error::other)?;
        bodies.body(place, CONTENT_BYTES_MAX).map_err(|error| io::Error::other(error_chain(&error)))
    }

    fn has_content(&self) -> bool {
        true
    }
}

/// What is wrong with a segment's files as a whole.
fn unsound(records: &Records, bodies: &Bodies) -> Option<Unreadable> {
    let whole = || {
        Ok(records.real_digest()? == records.digest()
            && bodies.real_digest()? == bodies.digest()
            && records.times_hold()?)
    };
    let why = match whole().map_err(|error: SegmentError| error_chain(&error)) {
        Ok(true) => return None,
        Ok(false) => "the files of its segment are not those that were written".to_owned(),
        Err(why) => why,
    };
    Some(Unreadable { seq: Some(records.first_seq()), why })
}

/// The blocks of a segment that end above `first`.
fn runs(records: &Records, first: u64) -> impl Iterator<Item = Result<Run, Unreadable>> + '_ {
    let begin = |block: usize| records.first_seq().saturating_add((block * BLOCK_RECORDS) as u64);
    (0..records.blocks()).filter(move |block| begin(block + 1) > first).map(move |block| {
        let seq = begin(block);
        let entries = records
            .block(block)
            .map_err(|error| Unreadable { seq: Some(seq), why: error_chain(&error) })?;
        let recorded = |entry: keyward_record::Entry| Recorded {
            head: Some(Head { time: entry.time, kind: entry.kind, id: entry.id }),
            leaf: entry.leaf,
        };
        Ok(Run { first: seq, records: entries.into_iter().map(recorded).collect() })
    })
}
