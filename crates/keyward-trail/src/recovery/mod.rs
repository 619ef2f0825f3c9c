//! Recovery: the engine's file is damaged, and the trail is founded anew over its sealed segments.
//!
//! What was not sealed is looked for in the damaged file. The tree has the hash of every record
//! that was signed, so each record that is found again is known to be the one that was signed, and
//! at its place; of the last second, not signed yet, and where the tree's own files do not lead to
//! what was signed, the frames themselves say where they belong. What is not found is lost: that
//! becomes a record, and everything else is proved as before. What was pruned stays away.

mod candidates;
mod commit;
mod gaps;
mod plan;
mod survey;

use self::commit::Decided;
pub use self::commit::{Founding, Lock, restored};
use crate::store::StoreError;
use keyward_core::error_chain::error_chain;
use keyward_record::LeafHash;
use keyward_record::event::By;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the recovery may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Only what loses nothing that is known of; else all stays as it is.
    NoLoss,
    /// Whatever it takes.
    Loss,
}

/// Why a trail was not made anew.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The trail cannot be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It would take a loss.
    #[error("{0}")]
    Loss(String),
    /// Something failed before anything was touched.
    #[error(
        "{0}; nothing was changed: see to the disk, then try again; a file that it cannot read any more may be moved away, and salvage goes on without it"
    )]
    Untouched(String),
    /// What was decided was not ended.
    #[error("{0}; see to the disk, then run the salvage again: it ends what was begun")]
    Unended(String),
}

/// The tree over the records, as far as its files have it.
pub trait SignedTree {
    /// How many records were signed.
    fn size(&self) -> u64;

    /// Those of them whose hashes in its files do not lead to the root that was signed, in order.
    fn unproven(&self) -> &[Range<u64>];

    /// The hash of a record in its files.
    fn hash(&self, seq: u64) -> Option<LeafHash>;

    /// Whether hashes, one for each record that was signed, lead to the root that was signed.
    fn is_root_of(&self, hashes: &mut dyn Iterator<Item = LeafHash>) -> bool;

    /// Whether it is known which record was signed at this place.
    fn is_proven(&self, seq: u64) -> bool {
        let next = self.unproven().partition_point(|range| range.end <= seq);
        seq < self.size() && self.unproven().get(next).is_none_or(|range| !range.contains(&seq))
    }

    /// The hash of the record that was signed at this place, if that is known.
    fn proven(&self, seq: u64) -> Option<LeafHash> {
        self.is_proven(seq).then(|| self.hash(seq)).flatten()
    }
}

/// What was found, and what was not.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Sealed segments that go on.
    pub segments: usize,
    /// Records below are sealed.
    pub sealed_end: u64,
    /// Records that the newest checkpoint here was signed over.
    pub signed: u64,
    /// Records that no sound segment has and that were found again.
    pub found_again: u64,
    /// Records that are lost.
    pub lost: Vec<Range<u64>>,
    /// Records that an earlier salvage has lost: a record tells of them already.
    pub lost_before: Vec<Range<u64>>,
    /// Records that were found again without the body that they had.
    pub bodies_lost: Vec<u64>,
    /// Records of which nothing proves that they are the ones that were signed: the tree is
    /// damaged too.
    pub unproven: Vec<Range<u64>>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// Where the damaged store is kept.
    pub aside: Option<PathBuf>,
    /// The record that tells of it.
    pub told_by: u64,
}

impl Report {
    /// # Errors
    /// When something is lost that may not be.
    fn check(&self, accept: Accept) -> Result<(), RecoveryError> {
        let lost: u64 = self.lost.iter().map(|range| range.end - range.start).sum();
        let why = match accept {
            Accept::NoLoss if lost > 0 || !self.bodies_lost.is_empty() => {
                format!(
                    "{lost} records and {} bodies cannot be found again",
                    self.bodies_lost.len()
                )
            }
            Accept::NoLoss if !self.unproven.is_empty() => {
                "nothing proves that what is found again is what was signed: the tree is damaged"
                    .to_owned()
            }
            _ => return Ok(()),
        };
        Err(RecoveryError::Loss(why))
    }
}

/// Founds a trail's store anew. `tree` reads what was signed, and notes what is worth knowing of
/// that; `progress` is told what is being done, how far it is, and of how much.
///
/// # Errors
/// When another process has the trail, or the disk fails: then the trail is as it was, or this can
/// be done again, and ends with the same report.
pub fn recover<T: SignedTree>(
    dir: &Path,
    tree: impl FnOnce(&mut Vec<String>) -> io::Result<T>,
    reason: &str,
    by: &By,
    accept: Accept,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Report, RecoveryError> {
    let untouched = |error: &dyn std::error::Error| RecoveryError::Untouched(error_chain(error));
    let unended = |error: StoreError| RecoveryError::Unended(error_chain(&error));
    let lock = Lock::take(dir)?;
    if let Some(decided) = Decided::read(dir)? {
        // An earlier run has decided.
        let mut report: Report =
            serde_json::from_value(decided.report.clone()).map_err(|error| untouched(&error))?;
        report.check(accept)?;
        report.aside = decided.carry_out(dir, &lock).map_err(unended)?;
        return Ok(report);
    }
    let mut report = Report::default();
    let tree = tree(&mut report.notes).map_err(|error| {
        RecoveryError::Untouched(format!("the checkpoints cannot be read: {error}"))
    })?;
    let plan =
        plan::examine(dir, &tree, &mut report, progress).map_err(|error| untouched(&error))?;
    report.check(accept)?;
    progress("the new store", 0, 1);
    let founding = Founding::begin(dir, lock).map_err(|error| untouched(&error))?;
    plan.write(&founding, &report, reason, by).map_err(|error| untouched(&error))?;
    let kept = serde_json::to_value(&report).map_err(|error| untouched(&error))?;
    report.aside = founding.finish(&plan.unusable, kept).map_err(unended)?;
    Ok(report)
}

#[cfg(test)]
mod tests;
