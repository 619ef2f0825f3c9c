//! What a part of the trail can be asked by without being read: for each value of a field, the set
//! of requests that have it. All of it is derived from the records, and may be dropped and made
//! anew.
//!
//! Ordinals are offsets from the part's first record, so that a set is one roaring container. Only
//! requests and events have ordinals; what an exchange's answer says stands at the ordinal of its
//! request.

pub mod builder;
pub mod file;
mod partial;
mod prints;

use crate::filter::condition::Match;
use crate::filter::field::Field;
use keyward_core::clock::AuditId;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// A set of ordinals.
pub type Ordinals = Arc<RoaringBitmap>;

/// The fields that are indexed, by name.
const NAMES: &[&str] = &[
    "caller",
    "action",
    "service",
    "resource",
    "project",
    "decision",
    "reason",
    "policy",
    "shadow",
    "source",
    "key",
    "operation",
    "method",
    "cloud-request-id",
    "event",
    "outcome",
    "status",
];

static FIELDS: LazyLock<Vec<Field>> =
    LazyLock::new(|| NAMES.iter().filter_map(|name| Field::parse(name)).collect());

/// The number of a field in the index; `None` for one that is not indexed.
pub(super) fn number(field: &Field) -> Option<usize> {
    FIELDS.iter().position(|indexed| indexed == field)
}

/// The name of a field in the index; `None` for one that is not indexed.
pub(super) fn name_of(field: &Field) -> Option<&'static str> {
    NAMES.get(number(field)?).copied()
}

/// The number of a name in the index.
pub(super) fn number_of(name: &str) -> Option<usize> {
    NAMES.iter().position(|indexed| *indexed == name)
}

/// Why an index could not be read: then the records are.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The system.
    #[error("the index cannot be read")]
    Io(#[from] std::io::Error),
    /// It is not what it should be.
    #[error("the index is damaged: {0}")]
    Damaged(&'static str),
    /// It was made for other records, or by another version.
    #[error("the index is of other records, or of another version")]
    Foreign,
}

/// A part of the trail, and its index if there is one.
#[derive(Clone)]
pub struct Span {
    /// The records' sequence numbers.
    pub range: Range<u64>,
    /// Its index.
    pub index: Option<Arc<dyn Index>>,
}

/// The index of a part of the trail.
pub trait Index: Send + Sync {
    /// The sequence number of its first record: ordinal 0.
    fn first_seq(&self) -> u64;

    /// Ordinals of requests, forwarded or refused.
    fn exchanges(&self) -> Ordinals;

    /// Ordinals of the gateway's own events.
    fn events(&self) -> Ordinals;

    /// Ordinals of which the index does not know all: their answer had not come, or they have more
    /// values than are kept. Any of them may or may not match what it is asked for.
    fn unsettled(&self) -> Ordinals;

    /// Ordinals that have a value which is wanted.
    fn matching(&self, field: usize, wanted: &Match) -> Result<Ordinals, IndexError>;

    /// Shows every value of a field with its ordinals.
    fn values(
        &self,
        field: usize,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<(), IndexError>;

    /// Ordinals of exchanges in which a keyed digest stands; `None` when digests are not indexed
    /// here.
    fn secret(&self, digest: &str) -> Result<Option<RoaringBitmap>, IndexError>;

    /// Offsets of records, answers too, that may have this id.
    fn with_id(&self, id: AuditId) -> Result<Vec<u32>, IndexError>;

    /// Whether an answer that is not known here has not come at all.
    fn is_current(&self) -> bool;

    /// Where the answer to the request at an ordinal stands; `None` when it is not known here.
    fn answer(&self, ordinal: u32) -> Result<Option<u64>, IndexError>;
}

/// What is kept of an id: its last bits, which are random.
fn id_print(id: AuditId) -> u64 {
    (id.0.as_u128() & u128::from(u32::MAX)) as u64
}

/// What is kept of a keyed digest: its first 64 bits. It is an HMAC, so nobody finds two with the
/// same.
fn digest_print(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits.get(..16)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}
