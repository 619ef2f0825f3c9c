//! A snapshot: all of the trail as sealed segments in a folder of its own, while the trail goes on
//! growing. Sealed files are linked, not copied; what is not sealed is written as short segments.

use super::{Pace, Shared, TieredStore};
use crate::recovery::{Founding, Lock};
use crate::segment::input::Input;
use crate::segment::{Sealed, SegmentError, SegmentWriter, output, path};
use crate::store::{Batch, StoreError};
use crate::tombstone::{Removal, Tombstone};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::Ordering;

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// The segments, in order.
    pub segments: Vec<Sealed>,
    /// What was gone when it was made.
    pub absent: Vec<AbsentContents>,
    /// The number of records, those that are gone included.
    pub end: u64,
    /// Exchanges below are closed.
    pub open_floor: u64,
}

/// Records that were gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbsentContents {
    first: u64,
    last: u64,
    pruned: bool,
    told_by: u64,
}

impl TieredStore {
    /// Makes a snapshot of all that is durable, in the folder `to`, which must be on the trail's
    /// own disk. Sealing waits meanwhile, appending does not.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub fn snapshot(&self, to: &Path) -> Result<Contents, StoreError> {
        let shared = &self.shared;
        let segments_dir = to.join("segments");
        output::make_directory(&segments_dir)?;
        let _changing = shared.change();
        let end = shared.end.load(Ordering::Acquire);
        let open_floor = shared.wal.open_floor()?.min(end);
        let mut sealed = Vec::new();
        for segment in shared.segments.load().iter() {
            let (first_seq, count) = (segment.first_seq(), segment.records.count());
            for kind in ["records", "bodies"] {
                link(&path(&shared.dir, first_seq, kind), &path(&segments_dir, first_seq, kind))?;
            }
            sealed.push(Sealed {
                first_seq,
                count,
                records: segment.records.digest(),
                bodies: segment.bodies.digest(),
            });
        }
        let mut next = shared.sealed_end();
        while next < end {
            let until = shared.segment_end(next).min(end);
            sealed.push(shared.copy(next, until, &segments_dir)?);
            next = crate::tombstone::skip_tombstones(&shared.absent.load(), until);
        }
        let absent = shared.absent.load().to_vec();
        Ok(Contents {
            segments: sealed,
            absent: absent.iter().map(AbsentContents::from).collect(),
            end,
            open_floor,
        })
    }
}

impl Shared {
    /// Writes what is not sealed into a segment elsewhere.
    fn copy(&self, first_seq: u64, end: u64, dir: &Path) -> Result<Sealed, StoreError> {
        let mut pace = Pace::without_rest();
        let (records_dictionary, bodies_dictionary) =
            self.dictionaries_for(first_seq, end, &mut pace)?;
        let mut writer =
            SegmentWriter::create(dir, first_seq, &records_dictionary, &bodies_dictionary)?;
        self.each(first_seq, end, &mut pace, |_, entry, content| {
            Ok(writer.push(entry, content.as_ref())?)
        })?;
        Ok(writer.finish()?)
    }
}

impl Contents {
    /// Reads every file of a snapshot whole: a backup of one that is damaged could not be restored.
    ///
    /// # Errors
    /// When one is not as it was sealed.
    pub fn check(&self, dir: &Path) -> Result<(), StoreError> {
        let why = "it is not as it was sealed: `keyward audit verify` says what is wrong, and `keyward audit salvage` goes on with what can be read";
        self.segments.iter().try_for_each(|segment| check(segment, dir, why))
    }

    /// Begins a store over a snapshot's files, each of which is read whole and must be as it was
    /// written. The events that are to be recorded first come with `events`. `progress` is told
    /// how many segments are read, and of how many.
    ///
    /// # Errors
    /// When a file is missing or is not the one that was written, or the disk fails.
    pub fn found(
        &self,
        dir: &Path,
        lock: Lock,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Founding, StoreError> {
        for (n, segment) in self.segments.iter().enumerate() {
            check(segment, dir, "it is not the file that was copied")?;
            progress(n + 1, self.segments.len());
        }
        let absent: Vec<_> = self.absent.iter().map(AbsentContents::absent).collect();
        let founding = Founding::begin(dir, lock)?;
        founding.note(&self.segments, &absent)?;
        founding.append(&Batch {
            first_seq: self.end,
            open_floor: Some(self.open_floor),
            ..Batch::default()
        })?;
        Ok(founding)
    }
}

/// Whether a segment's files are those that are said.
fn check(segment: &Sealed, dir: &Path, why: &str) -> Result<(), StoreError> {
    for (kind, wanted) in [("records", segment.records), ("bodies", segment.bodies)] {
        let input = Input::open(&path(&dir.join("segments"), segment.first_seq, kind))?;
        if input.digest().ok() != Some(wanted) {
            return Err(input.damaged(why).into());
        }
    }
    Ok(())
}

impl From<&Tombstone> for AbsentContents {
    fn from(absent: &Tombstone) -> Self {
        Self {
            first: absent.first_seq,
            last: absent.end.saturating_sub(1),
            pruned: absent.why == Removal::Pruned,
            told_by: absent.told_by,
        }
    }
}

impl AbsentContents {
    fn absent(&self) -> Tombstone {
        let why = if self.pruned { Removal::Pruned } else { Removal::Lost };
        Tombstone {
            first_seq: self.first,
            end: self.last.saturating_add(1),
            why,
            told_by: self.told_by,
        }
    }
}

/// A second name for a file that never changes; a copy where the disk knows no second names.
fn link(from: &Path, to: &Path) -> Result<(), SegmentError> {
    let failed = |source| SegmentError::Io { path: to.to_owned(), source };
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(|_| ())).map_err(failed)
}
