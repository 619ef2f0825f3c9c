//! Founding a trail's store anew over its segments: after the engine's file was damaged, and from a
//! backup.
//!
//! All that is new is made in a folder of its own, `founding`, and durable there before anything of
//! the trail is touched. Then a last file says that it counts, and what is to be put aside for it.
//! A crash before that leaves the trail as it was; after it, nobody opens the trail until what was
//! decided is carried out, each step of which can be done again.

use crate::segment::dictionary::{Dictionaries, train};
use crate::segment::{KINDS, Sealed, SegmentWriter, output};
use crate::store::{Batch, StoreError};
use crate::tombstone::Tombstone;
use crate::wal::{self, DECIDED, FOUNDING, Note, RESTORING, Wal, at, check_restored, lock};
use keyward_core::clock::Timestamp;
use keyward_core::durable;
use keyward_record::{Content, Entry};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

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

    /// Takes a folder into which a backup is restored. Until [`restored`], nobody takes what is in
    /// it for a trail.
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

/// A store in the making, beside the trail that it is for.
pub struct Founding {
    dir: PathBuf,
    built: PathBuf,
    store: Box<dyn Wal>,
    lock: Lock,
}

impl Founding {
    /// Begins. The trail stays as it is until [`Founding::finish`].
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin(dir: &Path, lock: Lock) -> Result<Self, StoreError> {
        let built = dir.join(FOUNDING);
        if built.exists() {
            std::fs::remove_dir_all(&built).map_err(at(&built))?;
        }
        let (store, _) = wal::open(&built)?;
        Ok(Self { dir: dir.to_owned(), built, store, lock })
    }

    /// Writes a segment of records that were found again, each with its body if that was.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_segment(
        &self,
        first_seq: u64,
        found: &[(Entry, Option<Content>)],
    ) -> Result<Sealed, StoreError> {
        let segments = self.built.join("segments");
        output::make_directory(&segments)?;
        let none = Dictionaries::default().share(train(&[])).map_err(at(&segments))?;
        let mut writer = SegmentWriter::create(&segments, first_seq, &none, &none)?;
        found.iter().try_for_each(|(entry, content)| writer.push(entry, content.as_ref()))?;
        Ok(writer.finish()?)
    }

    /// Notes the segments that the store goes on over, and what is gone.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn note(&self, sealed: &[Sealed], absent: &[Tombstone]) -> Result<(), StoreError> {
        sealed.iter().try_for_each(|sealed| self.store.note(Note::Sealed(sealed)))?;
        self.store.note(Note::Tombstones(absent))
    }

    /// Adds records behind the segments.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.store.append(batch)
    }

    /// Puts the new store in the place of the old one, and its segments in the place of those of
    /// these numbers. `report` is kept until that is done, for whoever must end it. Where the
    /// old store is kept, if there was one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn finish(self, unusable: &[u64], report: Value) -> Result<Option<PathBuf>, StoreError> {
        let Self { dir, built, store, lock } = self;
        drop(store);
        let (segments, new) = (dir.join("segments"), built.join("segments"));
        let names =
            unusable.iter().flat_map(|number| KINDS.map(|kind| format!("seg-{number:020}.{kind}")));
        // What has a new file under its name is put aside for that; the others must be known by
        // name, lest one that is new goes.
        let aside =
            names.filter(|name| segments.join(name).exists() && !new.join(name).exists()).collect();
        let decided = Decided { time: Timestamp::now().0, aside, report };
        let file = built.join(DECIDED);
        durable::replace(
            &file,
            &serde_json::to_vec(&decided).map_err(|error| at(&file)(error.into()))?,
        )
        .map_err(at(&file))?;
        decided.carry_out(&dir, &lock)
    }
}

/// What a founding has come to. From when it is written on it is carried out, by whoever comes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decided {
    /// Part of the names in `aside`, so that they are the same each time.
    time: u64,
    /// Files of segments that are put aside, and that nothing new takes the place of.
    aside: Vec<String>,
    /// What whoever founded had to tell.
    pub report: Value,
}

impl Decided {
    /// What was decided and not carried out, if something was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let file = dir.join(FOUNDING).join(DECIDED);
        match std::fs::read(&file) {
            Ok(bytes) => {
                let decided: Self =
                    serde_json::from_slice(&bytes).map_err(|error| at(&file)(error.into()))?;
                // Whoever can write here must not have anything moved that stands elsewhere.
                match decided
                    .aside
                    .iter()
                    .find(|name| Path::new(name).file_name() != Some(name.as_ref()))
                {
                    None => Ok(Some(decided)),
                    Some(name) => Err(at(&file)(io::Error::new(
                        ErrorKind::InvalidData,
                        format!("`{name}` is no name of a segment's file"),
                    ))),
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&file)(error)),
        }
    }

    /// Puts all in its place. Where the old store is kept, if there was one.
    ///
    /// # Errors
    /// When the disk fails: it can be done again.
    pub fn carry_out(&self, dir: &Path, _lock: &Lock) -> Result<Option<PathBuf>, StoreError> {
        let (built, segments) = (dir.join(FOUNDING), dir.join("segments"));
        for name in &self.aside {
            self.put_aside(dir, &segments.join(name))?;
        }
        for name in names(&built.join("segments"))? {
            let place = segments.join(&name);
            self.put_aside(dir, &place)?;
            output::make_directory(&segments)?;
            rename(&built.join("segments").join(&name), &place)?;
        }
        let (new, trail) = (built.join("trail"), dir.join("trail"));
        if new.exists() {
            // An empty folder is nothing to keep.
            if !names(&trail)?.is_empty() {
                self.put_aside(dir, &trail)?;
            }
            rename(&new, &trail)?;
        }
        [segments.as_path(), dir]
            .iter()
            .filter(|folder| folder.exists())
            .try_for_each(|folder| sync(folder))?;
        // First what says that there is something to do: the rest may be half removed then.
        let decided = built.join(DECIDED);
        std::fs::remove_file(&decided).map_err(at(&decided))?;
        sync(&built)?;
        std::fs::remove_dir_all(&built).map_err(at(&built))?;
        sync(dir)?;
        let aside = self.name_aside(dir, &trail);
        Ok(aside.exists().then_some(aside))
    }

    /// Moves something of a trail, if it is there, into its folder of what was put aside.
    fn put_aside(&self, dir: &Path, what: &Path) -> Result<(), StoreError> {
        if !what.exists() {
            return Ok(());
        }
        let to = self.name_aside(dir, what);
        let aside = dir.join("aside");
        std::fs::create_dir_all(&aside).map_err(at(&aside))?;
        rename(what, &to)?;
        sync(&aside)
    }

    fn name_aside(&self, dir: &Path, what: &Path) -> PathBuf {
        let name =
            what.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        dir.join("aside").join(format!("{name}.{}", self.time))
    }
}

/// The names in a folder; none when it is not there.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        files => files
            .map_err(at(folder))?
            .map(|file| Ok(file.map_err(at(folder))?.file_name().to_string_lossy().into_owned()))
            .collect(),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::rename(from, to).map_err(at(from))
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_put_aside_that_stands_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let decide = |name: &str| {
            std::fs::create_dir_all(dir.path().join(FOUNDING)).unwrap();
            let decided = Decided { time: 1, aside: vec![name.to_owned()], report: Value::Null };
            std::fs::write(
                dir.path().join(FOUNDING).join(DECIDED),
                serde_json::to_vec(&decided).unwrap(),
            )
            .unwrap();
            Decided::read(dir.path())
        };
        assert!(decide("seg-00000000000000000064.records").unwrap().is_some());
        for name in ["../trail", "/etc/passwd", "..", "a/b", "a/"] {
            assert!(decide(name).unwrap_err().to_string().contains("decided"), "{name}");
        }
    }
}
