//! What is there of a trail's segments.

use crate::segment::bodies::Bodies;
use crate::segment::dictionary::Dictionaries;
use crate::segment::records::Records;
use crate::segment::{FileDigest, Sealed, SegmentError, files, path};
use crate::store::{CONTENT_BYTES_MAX, StoreError};
use crate::wal::{Piece, at};
use keyward_record::Entry;
use std::path::Path;

/// A trail's segments, as their files say of themselves.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Those that can be used, in order, none reaching into the next.
    pub sealed: Vec<Sealed>,
    /// Those that cannot be used as they are, by the numbers in their files' names: half written,
    /// damaged, or in another's place. What the file of records says of itself, if it can be
    /// read.
    pub unusable: Vec<(u64, Option<Sealed>)>,
    /// What is worth knowing of them, a sentence each.
    pub problems: Vec<String>,
}

/// Looks at every segment of a trail, reading all of each. `progress` is told how many are done,
/// and of how many.
///
/// # Errors
/// When the folder cannot be read, or the system does not let a file be read: that is no damage.
pub(super) fn survey(
    dir: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Survey, StoreError> {
    let segments = dir.join("segments");
    let mut survey = Survey::default();
    let files = files(&segments).map_err(at(&segments))?.into_iter();
    let firsts: Vec<_> =
        files.filter(|(_, kind)| kind == "records").map(|(first_seq, _)| first_seq).collect();
    let dictionaries = Dictionaries::default();
    for (n, first_seq) in firsts.iter().enumerate() {
        survey.look(&segments, *first_seq, &dictionaries)?;
        progress(n + 1, firsts.len());
    }
    Ok(survey)
}

impl Survey {
    fn look(
        &mut self,
        segments: &Path,
        first_seq: u64,
        dictionaries: &Dictionaries,
    ) -> Result<(), StoreError> {
        let overlapping = self.sealed.last().is_some_and(|before| before.end() > first_seq);
        let Some(records) =
            undamaged(Records::open(&path(segments, first_seq, "records"), dictionaries))?
        else {
            self.unusable.push((first_seq, None));
            return Ok(());
        };
        let count = records.count();
        if records.first_seq() != first_seq || overlapping {
            let misplaced = Sealed {
                first_seq: records.first_seq(),
                count,
                records: records.digest(),
                bodies: FileDigest::default(),
            };
            self.unusable.push((first_seq, Some(misplaced)));
            return Ok(());
        }
        let sealed = |bodies| Sealed { first_seq, count, records: records.digest(), bodies };
        let Some(bodies) = newest_bodies(segments, first_seq, count, dictionaries)? else {
            self.unusable.push((first_seq, Some(sealed(FileDigest::default()))));
            return Ok(());
        };
        if records.real_digest()? != records.digest() || bodies.real_digest()? != bodies.digest() {
            // It would be in the way of starts and backups; what can be read is sealed again.
            self.problems.push(format!("the segment at record {first_seq} was damaged: what could be read of it was sealed again"));
            self.unusable.push((first_seq, Some(sealed(bodies.digest()))));
            return Ok(());
        }
        self.sealed.push(sealed(bodies.digest()));
        Ok(())
    }
}

/// The bodies that were written anew to erase some, if that file is whole: the record of the
/// erasure came before it, and whoever opens the store that is founded on it puts it in its place.
/// Else those that they were to replace.
fn newest_bodies(
    segments: &Path,
    first_seq: u64,
    count: u32,
    dictionaries: &Dictionaries,
) -> Result<Option<Bodies>, SegmentError> {
    let open = |kind| {
        undamaged(Bodies::open(&path(segments, first_seq, kind), first_seq, count, dictionaries))
    };
    match open("bodies-new")? {
        Some(new) if new.real_digest()? == new.digest() => Ok(Some(new)),
        _ => open("bodies"),
    }
}

/// The records of a segment, in order; those that are damaged are left out. An error is no damage.
pub(super) fn readable<'a>(
    dir: &Path,
    sealed: &Sealed,
    dictionaries: &Dictionaries,
) -> Box<dyn Iterator<Item = Result<(u64, Entry), StoreError>> + 'a> {
    match Records::open(&path(&dir.join("segments"), sealed.first_seq, "records"), dictionaries) {
        Ok(records) => Box::new(records.into_readable().map(|record| Ok(record?))),
        Err(error) => Box::new(std::iter::once(Err(error.into()))),
    }
}

/// Shows what can be read of segments that are not as they were sealed, whatever is wrong with
/// them: each has the number in its files' names, and what its file of records says of itself.
/// Files may have changed places.
///
/// # Errors
/// When the system does not let a file be read: that is no damage.
pub(super) fn each_left(
    dir: &Path,
    left: &[(u64, Sealed)],
    mut visit: impl FnMut(Piece),
) -> Result<(), StoreError> {
    let (segments, dictionaries) = (dir.join("segments"), Dictionaries::default());
    for (number, _) in left {
        let records =
            undamaged(Records::open(&path(&segments, *number, "records"), &dictionaries))?;
        for record in records.into_iter().flat_map(Records::into_readable) {
            let (seq, entry) = record?;
            visit(Piece::Records(seq, vec![entry]));
        }
        for kind in ["bodies", "bodies-new"] {
            for (_, Sealed { first_seq, count, .. }) in left {
                let Some(bodies) = undamaged(Bodies::open(
                    &path(&segments, *number, kind),
                    *first_seq,
                    *count,
                    &dictionaries,
                ))?
                else {
                    continue;
                };
                for place in 0..*count {
                    undamaged(bodies.body(place, CONTENT_BYTES_MAX))?
                        .flatten()
                        .into_iter()
                        .for_each(|body| visit(Piece::Content(body)));
                }
            }
        }
    }
    Ok(())
}

/// What was opened; `None` when it is damaged or missing. What the system says besides tells
/// nothing of the file: it may be sound, so nobody may go on without it.
fn undamaged<T>(opened: Result<T, SegmentError>) -> Result<Option<T>, SegmentError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}
