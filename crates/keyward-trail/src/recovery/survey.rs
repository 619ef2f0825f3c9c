//! What is there of a trail's segments, for whoever founds its store anew.

use crate::segment::bodies::Bodies;
use crate::segment::dictionary::Dictionaries;
use crate::segment::records::Records;
use crate::segment::{FileDigest, Sealed, SegmentError, path};
use crate::store::StoreError;
use crate::wal::{RESTORING, check_restored, lock};
use std::fs::File;
use std::io;
use std::path::Path;

/// The trail's folder, held: no other process has it.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another process has it, or a backup was being restored into it.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let file = lock(dir)?;
        check_restored(dir)?;
        Ok(Self { _file: file })
    }

    /// Takes a folder into which a backup is restored. Until [`restored`], nobody takes what is in it for a trail.
    ///
    /// # Errors
    /// When another process has it, or the disk fails.
    pub fn take_to_restore(dir: &Path) -> Result<Self, StoreError> {
        let (mark, trail) = (dir.join(RESTORING), dir.join("trail"));
        File::create_new(&mark).and_then(|mark| mark.sync_all()).map_err(at(&mark))?;
        // Whoever asks for a trail finds one, and is told what is the matter with it.
        std::fs::create_dir(&trail).map_err(at(&trail))?;
        Ok(Self { _file: lock(dir)? })
    }
}

/// Ends a restore: all that is in the folder is durable, and is a trail.
///
/// # Errors
/// When the disk fails.
pub fn restored(dir: &Path) -> Result<(), StoreError> {
    let mark = dir.join(RESTORING);
    let folder = File::open(dir).map_err(at(dir))?;
    rustix::fs::syncfs(&folder).map_err(|error| at(dir)(error.into()))?;
    std::fs::remove_file(&mark).map_err(at(&mark))?;
    folder.sync_all().map_err(at(dir))
}

/// A trail's segments, as their files say of themselves.
#[derive(Debug, Default)]
pub struct Survey {
    /// Those that can be used, in order, none reaching into the next.
    pub sealed: Vec<Sealed>,
    /// Those that cannot be used as they are, by the numbers in their files' names: half written, damaged, or in another's place.
    /// What the file of records says of itself, if it can be read.
    pub unusable: Vec<(u64, Option<Sealed>)>,
    /// What is worth knowing of them, a sentence each.
    pub problems: Vec<String>,
}

/// Looks at every segment of a trail, reading all of each. `progress` is told how many are done, and of how many.
///
/// # Errors
/// When the folder cannot be read, or the system does not let a file be read: that is no damage.
pub fn survey(dir: &Path, mut progress: impl FnMut(usize, usize)) -> Result<Survey, StoreError> {
    let segments = dir.join("segments");
    let mut survey = Survey::default();
    let mut firsts = Vec::new();
    let files = match std::fs::read_dir(&segments) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(survey),
        files => files.map_err(at(&segments))?,
    };
    for file in files {
        let name = file.map_err(at(&segments))?.file_name().to_string_lossy().into_owned();
        let first = name.strip_prefix("seg-").and_then(|rest| rest.strip_suffix(".records")).and_then(|seq| seq.parse::<u64>().ok());
        firsts.extend(first);
    }
    firsts.sort_unstable();
    let dictionaries = Dictionaries::default();
    for (n, first_seq) in firsts.iter().enumerate() {
        survey.look(&segments, *first_seq, &dictionaries)?;
        progress(n + 1, firsts.len());
    }
    Ok(survey)
}

impl Survey {
    fn look(&mut self, segments: &Path, first_seq: u64, dictionaries: &Dictionaries) -> Result<(), StoreError> {
        let overlapping = self.sealed.last().is_some_and(|before| before.end() > first_seq);
        let Some(records) = undamaged(Records::open(&path(segments, first_seq, "records"), dictionaries))? else {
            self.unusable.push((first_seq, None));
            return Ok(());
        };
        let count = records.count();
        if records.first_seq() != first_seq || overlapping {
            let misplaced = Sealed { first_seq: records.first_seq(), count, records: records.digest(), bodies: FileDigest::default() };
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

/// The bodies that were written anew to erase some, if that file is whole: the record of the erasure came before it, and
/// whoever opens the store that is founded on it puts it in its place. Else those that they were to replace.
fn newest_bodies(segments: &Path, first_seq: u64, count: u32, dictionaries: &Dictionaries) -> Result<Option<Bodies>, SegmentError> {
    let open = |kind| undamaged(Bodies::open(&path(segments, first_seq, kind), first_seq, count, dictionaries));
    match open("bodies-new")? {
        Some(new) if new.real_digest()? == new.digest() => Ok(Some(new)),
        _ => open("bodies"),
    }
}

/// What was opened; `None` when it is damaged or missing. What the system says besides tells nothing of the file: it may be
/// sound, so nobody may go on without it.
pub(crate) fn undamaged<T>(opened: Result<T, SegmentError>) -> Result<Option<T>, SegmentError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { path, source }
}
