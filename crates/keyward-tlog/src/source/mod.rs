//! What can be verified: whatever is a [`Source`]. Here are a copy in the layout of a tiled log,
//! and an export; others stand where they read from.

mod copy;
mod export;

pub use copy::Copy;
pub use export::{Export, records_of_line};

use super::checkpoint_store::HistoricCheckpoint;
use super::key::LogKey;
use super::layout::{ABSENT, AbsentLine, BUNDLE_RECORDS, LEFT, LeftLine, Resource, entries};
use super::tree::{TILE_WIDTH, Tiles};
use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Content, Kind};
use std::io;
use std::ops::Range;

/// Records that were stored together, as far as they are known to be: the first one's place, and
/// what is there.
#[derive(Debug)]
pub struct Run {
    /// The place of the first one.
    pub first: u64,
    /// The records, in order. One that was taken out lets the others move up.
    pub records: Vec<Recorded>,
}

/// A record, and what stands beside it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its bytes.
    pub leaf: Bytes,
    /// What the store says of it, which no hash covers.
    pub head: Option<Head>,
}

/// What the store says of a record.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The trail's own time.
    pub time: Timestamp,
    /// What it records.
    pub kind: Kind,
    /// The exchange.
    pub id: AuditId,
}

/// Something unreadable: where, as far as is known, and why.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// The first record that is concerned.
    pub seq: Option<u64>,
    /// Why.
    pub why: String,
}

/// Records that the source notes as gone. No more than a hint of what need not be asked for: what
/// counts is what the records tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The records.
    pub range: Range<u64>,
    /// The record that tells of it, as is said.
    pub told_by: u64,
}

/// What of `absent`, which is in order, has a record.
pub(crate) fn noted(absent: &[Tombstone], seq: u64) -> Option<&Tombstone> {
    absent
        .get(absent.partition_point(|absent| absent.range.end <= seq))
        .filter(|absent| absent.range.start <= seq)
}

/// Records that the source does not read, though they may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The first of them; all behind it too.
    pub from: u64,
    /// How they can be read, for people.
    pub how: String,
}

/// Runs of records, in order.
pub type Runs<'a> = Box<dyn Iterator<Item = Result<Run, Unreadable>> + 'a>;

/// A trail to verify.
pub trait Source: Tiles {
    /// What it is, for people.
    fn name(&self) -> String;

    /// The newest checkpoint.
    ///
    /// # Errors
    /// When it cannot be read.
    fn checkpoint(&self) -> io::Result<Option<Vec<u8>>>;

    /// The newest checkpoint that a witness has cosigned.
    ///
    /// # Errors
    /// When it cannot be read.
    fn cosigned(&self) -> io::Result<Option<Vec<u8>>>;

    /// The checkpoints that were kept, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    fn history(&self) -> io::Result<Vec<HistoricCheckpoint>>;

    /// The keys that it says have signed, in the order of their use.
    ///
    /// # Errors
    /// When they cannot be read.
    fn keys(&self) -> io::Result<Vec<LogKey>>;

    /// Where its records end; those of a tiled log, where its checkpoint says, whoever wrote that.
    ///
    /// # Errors
    /// When it cannot be read.
    fn end(&self) -> io::Result<u64>;

    /// Only its checkpoint says where it ends: one that is not signed says nothing.
    fn ends_by_checkpoint(&self) -> bool;

    /// Records that are noted as gone, in order, as of now.
    ///
    /// # Errors
    /// When that cannot be read.
    fn absent(&self) -> io::Result<Vec<Tombstone>>;

    /// Records that are kept where the source does not read.
    fn unread(&self) -> Option<Unread> {
        None
    }

    /// The records from `first` on: up to `end`, and whatever is stored beyond.
    fn runs(&self, first: u64, end: u64) -> Runs<'_>;

    /// Whether it has tiles, by which a changed record can be named.
    fn has_tiles(&self) -> bool;

    /// The body beside a record. `Ok(None)` when there is none, or it was erased.
    ///
    /// # Errors
    /// When it cannot be read.
    fn content(&self, seq: u64) -> io::Result<Option<Content>>;

    /// Whether bodies can be read at all.
    fn has_content(&self) -> bool;
}

/// Bundles that cannot be read one after the other before it is given up.
const FAILURES_MAX: u32 = 100;

/// Something with resources of a tiled log.
pub trait Resources {
    /// # Errors
    /// Of the kind `NotFound` when there is none.
    fn get(&self, resource: Resource) -> io::Result<Bytes>;

    /// The text at a path that is not of C2SP; empty when there is none.
    fn beside(&self, path: &str) -> io::Result<String>;
}

/// A tile of the asked width. One that is cut is as good as none.
pub fn tile_of(resources: &dyn Resources, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
    let bytes = resources.get(Resource { level: Some(level), n, width })?;
    let length = width as usize * tlog_tiles::HASH_SIZE;
    if bytes.len() == length {
        Ok(bytes.to_vec())
    } else {
        Err(io::Error::other(format!("the tile has {} bytes, not {length}", bytes.len())))
    }
}

/// The records that a tiled log says are gone: in order, and apart from each other.
pub fn absent_of(resources: &dyn Resources) -> io::Result<Vec<Tombstone>> {
    let text = resources.beside(ABSENT)?;
    let mut lines = text
        .lines()
        .map(serde_json::from_str::<AbsentLine>)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| io::Error::other(format!("{ABSENT}: {error}")))?;
    lines.sort_by_key(|line| line.first);
    let mut absent: Vec<Tombstone> = Vec::new();
    for line in lines {
        let first = absent.last().map_or(line.first, |before| before.range.end.max(line.first));
        let range = first..line.last.saturating_add(1);
        if !range.is_empty() {
            absent.push(Tombstone { range, told_by: line.told_by });
        }
    }
    Ok(absent)
}

/// What touches becomes one.
fn merged(absent: &[Tombstone]) -> Vec<Tombstone> {
    let mut merged: Vec<Tombstone> = Vec::new();
    for absent in absent {
        match merged.last_mut().filter(|last| last.range.end == absent.range.start) {
            Some(last) => last.range.end = absent.range.end,
            None => merged.push(absent.clone()),
        }
    }
    merged
}

/// The records of a tiled log, bundle by bundle; bundles that are said to be gone are not asked
/// for. When many are not there, or cannot be read, one after the other, none after them is tried.
pub fn bundles<'a>(resources: &'a dyn Resources, first: u64, end: u64) -> Runs<'a> {
    let gone = match absent_of(resources) {
        Ok(absent) => merged(&absent),
        Err(error) => {
            return Box::new(std::iter::once(Err(Unreadable {
                seq: None,
                why: format!("{ABSENT}: {error}"),
            })));
        }
    };
    let mut next = first / BUNDLE_RECORDS * BUNDLE_RECORDS;
    let mut failures = 0_u32;
    let runs = std::iter::from_fn(move || {
        // What begins in a gap that takes all the rest of its bundle is passed, with all the whole
        // bundles in the gap.
        while let Some(gap) = noted(&gone, next) {
            let behind = gap.range.end.min(end);
            if behind < end && behind < next.saturating_add(BUNDLE_RECORDS) {
                break;
            }
            next = if behind == end { end } else { behind / BUNDLE_RECORDS * BUNDLE_RECORDS };
        }
        if next >= end || failures >= FAILURES_MAX {
            return None;
        }
        let n = next / BUNDLE_RECORDS;
        next = next.saturating_add(BUNDLE_RECORDS);
        let width =
            u32::try_from(BUNDLE_RECORDS.min(end - n * BUNDLE_RECORDS)).unwrap_or(TILE_WIDTH);
        let partly =
            gone.iter().any(|gap| gap.range.start < next && gap.range.end > n * BUNDLE_RECORDS);
        let read = bundle(resources, Resource { level: None, n, width }, partly);
        failures = if read.as_ref().is_ok_and(|runs| !runs.is_empty()) { 0 } else { failures + 1 };
        Some(match read {
            Ok(runs) => runs.into_iter().map(Ok).collect(),
            Err(why) => vec![Err(Unreadable {
                seq: Some(n * BUNDLE_RECORDS),
                why: format!("bundle {n} of records: {why}"),
            })],
        })
    });
    Box::new(runs.flatten())
}

/// The records of a bundle, of which some may be gone; none when there is no bundle.
fn bundle(resources: &dyn Resources, resource: Resource, partly: bool) -> Result<Vec<Run>, String> {
    let recorded = |leaf| Recorded { leaf, head: None };
    match resources.get(resource) {
        Ok(bytes) => {
            let leaves =
                entries(bytes).ok_or_else(|| "it is cut, or its lengths are wrong".to_owned())?;
            Ok(vec![Run {
                first: resource.n * BUNDLE_RECORDS,
                records: leaves.into_iter().map(recorded).collect(),
            }])
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && partly => {
            let text = resources
                .beside(&format!("{LEFT}{}", resource.path()))
                .map_err(|error| error.to_string())?;
            let mut runs: Vec<Run> = Vec::new();
            for line in text.lines() {
                let LeftLine { seq, leaf } =
                    serde_json::from_str(line).map_err(|error| error.to_string())?;
                let record = recorded(hex::decode(leaf).map_err(|error| error.to_string())?.into());
                match runs.last_mut().filter(|run| run.first + run.records.len() as u64 == seq) {
                    Some(run) => run.records.push(record),
                    None => runs.push(Run { first: seq, records: vec![record] }),
                }
            }
            Ok(runs)
        }
        // What is not there is missing, and not unreadable.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}
