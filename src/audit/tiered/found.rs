//! Founding a trail's store anew over its segments: after the engine's file was damaged, and from a backup.

use super::super::absent::Absent;
use super::super::frame::Entry;
use super::super::record::Content;
use super::super::segment::bodies::{Bodies, BodiesWriter};
use super::super::segment::dictionary::{Dictionaries, train};
use super::super::segment::records::{Records, RecordsWriter};
use super::super::segment::{FileDigest, Sealed, output, path};
use super::super::store::{Batch, SledStore, Store, StoreError};
use super::erase::newer_bodies;
use crate::clock::Timestamp;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The trail's folder, held: no other process has it.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        super::super::store::lock(dir).map(|file| Self { _file: file })
    }
}

/// Where a new store is built.
const BUILT: &str = "founding";

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
/// When the folder cannot be read.
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
        let records = Records::open(&path(segments, first_seq, "records"), dictionaries).ok();
        let overlapping = self.sealed.last().is_some_and(|before| before.end() > first_seq);
        let Some(records) = records else {
            self.unusable.push((first_seq, None));
            return Ok(());
        };
        let count = records.count();
        if records.first_seq() != first_seq || overlapping {
            let misplaced = Sealed { first_seq: records.first_seq(), count, records: records.digest(), bodies: FileDigest::default() };
            self.unusable.push((first_seq, Some(misplaced)));
            return Ok(());
        }
        newer_bodies(segments, first_seq, count, dictionaries)?;
        let bodies = Bodies::open(&path(segments, first_seq, "bodies"), first_seq, count, dictionaries);
        let sealed = |bodies| Sealed { first_seq, count, records: records.digest(), bodies };
        let Ok(bodies) = bodies else {
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

/// Puts aside what is there of segments.
///
/// # Errors
/// When the disk fails.
pub fn put_aside(dir: &Path, segments: impl Iterator<Item = u64>) -> Result<(), StoreError> {
    for first_seq in segments {
        for kind in ["records", "bodies", "bodies-new", "index"] {
            let file = path(&dir.join("segments"), first_seq, kind);
            if file.exists() {
                move_aside(dir, &file)?;
            }
        }
    }
    Ok(())
}

/// Writes a segment of records that were found again, each with its body if that was.
///
/// # Errors
/// When the disk fails.
pub fn write_segment(dir: &Path, first_seq: u64, found: &[(Entry, Option<Content>)]) -> Result<Sealed, StoreError> {
    let segments = dir.join("segments");
    output::make_directory(&segments)?;
    let none = Dictionaries::default().share(train(&[])).ok_or_else(|| at(dir)(io::Error::other("zstd has no memory")))?;
    let mut records = RecordsWriter::create(&path(&segments, first_seq, "records"), first_seq, &none)?;
    let mut bodies = BodiesWriter::create(&path(&segments, first_seq, "bodies"), first_seq, &none)?;
    for (entry, content) in found {
        records.push(entry)?;
        bodies.push(content.as_ref())?;
    }
    let (count, records) = records.finish()?;
    Ok(Sealed { first_seq, count, records, bodies: bodies.finish()? })
}

/// A store in the making, beside the trail that it is for.
pub struct Founding {
    dir: PathBuf,
    built: PathBuf,
    store: SledStore,
    _lock: Lock,
}

impl Founding {
    /// Begins. The trail stays as it is until [`Founding::finish`].
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin(dir: &Path, lock: Lock, sealed: &[Sealed], absent: &[Absent]) -> Result<Self, StoreError> {
        let built = dir.join(BUILT);
        if built.exists() {
            std::fs::remove_dir_all(&built).map_err(at(&built))?;
        }
        let (store, _) = SledStore::open(&built)?;
        for sealed in sealed {
            store.note_sealed(sealed)?;
        }
        store.note_absent(absent)?;
        Ok(Self { dir: dir.to_owned(), built, store, _lock: lock })
    }

    /// Adds records behind the segments.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.store.append(batch)
    }

    /// Puts the new store in the place of the old one. Where the old one is kept, if there was one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn finish(self) -> Result<Option<PathBuf>, StoreError> {
        let Self { dir, built, store, _lock } = self;
        drop(store);
        let (new, trail) = (built.join("trail"), dir.join("trail"));
        let aside = if trail.exists() {
            // At one stroke, so that a crash leaves the old one or the new one.
            rustix::fs::renameat_with(rustix::fs::CWD, &new, rustix::fs::CWD, &trail, rustix::fs::RenameFlags::EXCHANGE)
                .map_err(|error| at(&trail)(error.into()))?;
            Some(move_aside(&dir, &new)?)
        } else {
            std::fs::rename(&new, &trail).map_err(at(&new))?;
            None
        };
        std::fs::remove_dir_all(&built).map_err(at(&built))?;
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(at(&dir))?;
        Ok(aside)
    }
}

/// Moves something of a trail into its folder of what was put aside.
///
/// # Errors
/// When it cannot be.
pub fn move_aside(dir: &Path, what: &Path) -> Result<PathBuf, StoreError> {
    let aside = dir.join("aside");
    std::fs::create_dir_all(&aside).map_err(at(&aside))?;
    let name = what.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let to = aside.join(format!("{name}.{}", Timestamp::now().0));
    std::fs::rename(what, &to).map_err(at(what))?;
    File::open(&aside).and_then(|aside| aside.sync_all()).map_err(at(&aside))?;
    Ok(to)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { path, source }
}
