//! Founding a trail's store anew over its segments: after the engine's file was damaged, and from a backup.

use super::super::absent::Absent;
use super::super::segment::bodies::{Bodies, BodiesWriter};
use super::super::segment::dictionary::{Dictionaries, train};
use super::super::segment::records::Records;
use super::super::segment::{Sealed, path};
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
    /// What is wrong, a sentence each. What cannot be used at all is put aside.
    pub problems: Vec<String>,
}

/// Looks at every segment of a trail, reading all of each. `progress` is told how many are done, and of how many.
///
/// # Errors
/// When the folder cannot be read, or what cannot be used not be put aside.
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
        if survey.sealed.last().is_some_and(|before| before.end() > *first_seq) {
            survey.put_aside(dir, *first_seq, "it begins before the one before it ends")?;
        } else {
            survey.look(dir, *first_seq, &dictionaries)?;
        }
        progress(n + 1, firsts.len());
    }
    Ok(survey)
}

impl Survey {
    fn look(&mut self, dir: &Path, first_seq: u64, dictionaries: &Dictionaries) -> Result<(), StoreError> {
        let segments = dir.join("segments");
        let records = match Records::open(&path(&segments, first_seq, "records"), dictionaries) {
            Ok(records) if records.first_seq() == first_seq => records,
            Ok(records) => return self.put_aside(dir, first_seq, &format!("it says that it begins at record {}", records.first_seq())),
            Err(error) => return self.put_aside(dir, first_seq, &super::chain(&error)),
        };
        if records.real_digest()? != records.digest() {
            self.problems.push(format!("some records of the segment at record {first_seq} are damaged; verification names them"));
        }
        let count = records.count();
        newer_bodies(&segments, first_seq, count, dictionaries)?;
        let file = path(&segments, first_seq, "bodies");
        let bodies = match Bodies::open(&file, first_seq, count, dictionaries) {
            Ok(bodies) => {
                if bodies.real_digest()? != bodies.digest() {
                    self.problems.push(format!("some bodies of the segment at record {first_seq} are damaged; verification names them"));
                }
                bodies.digest()
            }
            Err(error) => {
                self.problems.push(format!("the bodies of records {first_seq} to {} are lost: {}", first_seq + u64::from(count) - 1, super::chain(&error)));
                move_aside(dir, &file)?;
                let mut none = BodiesWriter::create(&file, first_seq, &*dictionaries.share(train(&[])).ok_or_else(|| at(&file)(io::Error::other("zstd")))?)?;
                for _ in 0..count {
                    none.push(None)?;
                }
                none.finish()?
            }
        };
        self.sealed.push(Sealed { first_seq, count, records: records.digest(), bodies });
        Ok(())
    }

    fn put_aside(&mut self, dir: &Path, first_seq: u64, why: &str) -> Result<(), StoreError> {
        self.problems.push(format!("the segment at record {first_seq} cannot be used: {why}"));
        for kind in ["records", "bodies", "bodies-new", "index"] {
            let file = path(&dir.join("segments"), first_seq, kind);
            if file.exists() {
                move_aside(dir, &file)?;
            }
        }
        Ok(())
    }
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
        let aside = if trail.exists() { Some(move_aside(&dir, &trail)?) } else { None };
        // A crash here leaves no trail: a start says so, and this is done again.
        std::fs::rename(&new, &trail).map_err(at(&new))?;
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
