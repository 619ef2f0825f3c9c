//! What can be verified: a stopped gateway's folder, a running gateway, a copy in the layout of a tiled log, an export.

mod copy;
mod dir;
mod export;
mod gateway;

pub use copy::Copy;
pub use dir::Dir;
pub use export::{Export, records_of_line};
pub use gateway::Gateway;

use super::kept::Past;
use super::key::LogKey;
use super::layout::{BUNDLE_RECORDS, Resource, entries};
use super::tree::{TILE_WIDTH, Tiles};
use crate::audit::record::{Content, Kind};
use crate::clock::{AuditId, Timestamp};
use bytes::Bytes;
use std::io;

/// Records that were stored together, as far as they are known to be: the first one's place, and what is there.
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
    fn history(&self) -> io::Result<Vec<Past>>;

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
trait Resources {
    fn get(&self, resource: Resource) -> io::Result<Bytes>;
}

/// A tile of the asked width. One that is cut is as good as none.
fn tile_of(resources: &dyn Resources, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
    let bytes = resources.get(Resource { level: Some(level), n, width })?;
    let length = width as usize * tlog_tiles::HASH_SIZE;
    if bytes.len() == length { Ok(bytes.to_vec()) } else { Err(io::Error::other(format!("the tile has {} bytes, not {length}", bytes.len()))) }
}

/// The records of a tiled log, bundle by bundle. When many cannot be read one after the other, none after them is tried.
fn bundles<'a>(resources: &'a dyn Resources, first: u64, end: u64) -> Runs<'a> {
    let mut failures = 0_u32;
    let runs = (first / BUNDLE_RECORDS..end.div_ceil(BUNDLE_RECORDS)).map(move |n| {
        let first = n * BUNDLE_RECORDS;
        let width = u32::try_from(BUNDLE_RECORDS.min(end - first)).unwrap_or(TILE_WIDTH);
        let failed = |why: String| Unreadable { seq: Some(first), why: format!("bundle {n} of records: {why}") };
        let bundle = resources.get(Resource { level: None, n, width }).map_err(|error| failed(error.to_string()))?;
        let leaves = entries(bundle).ok_or_else(|| failed("it is cut, or its lengths are wrong".to_owned()))?;
        Ok(Run { first, records: leaves.into_iter().map(|leaf| Recorded { leaf, head: None }).collect() })
    });
    Box::new(runs.take_while(move |run| {
        failures = if run.is_ok() { 0 } else { failures + 1 };
        failures < FAILURES_MAX
    }))
}
