//! What is derived from the records, and decides what is found among them: the indexes, and the
//! tables of times. No hash covers them, so they are compared with what the records lead to.

use crate::store::StoreError;
use crate::tiered::{Differing, TieredStore};
use keyward_tlog::verify::report::{About, Report, named};
use std::path::Path;

/// Compares what is derived in a stopped gateway's folder, and adds what differs. `progress` is
/// told how many segments are done, and of how many.
///
/// # Errors
/// When the folder cannot be opened.
pub fn compare(
    dir: &Path,
    report: &mut Report,
    progress: &(impl Fn(usize, usize) + Sync),
) -> Result<(), StoreError> {
    for differing in TieredStore::differing(dir, progress)? {
        let (range, text) = match &differing {
            Differing::Index(range) => (
                range,
                "the index over {} is not what the records lead to; `keyward audit reindex --all` makes it anew",
            ),
            Differing::Times(range) => (
                range,
                "the table of times over {} is not what the records lead to; restore its file from a backup, or let `keyward audit salvage` seal it anew",
            ),
        };
        let (first, last) = (range.start, range.end.saturating_sub(1));
        report.find(
            About::Integrity,
            "derived",
            Some((first, last)),
            text.replace("{}", &named(first, last)),
        );
    }
    Ok(())
}
