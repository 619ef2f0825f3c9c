//! The ballast: room on the disk that is kept back, so that a trail on a full disk can still be
//! opened.
//!
//! sled writes when it opens. `<dir>/ballast` holds the room for that: allocated by the journal's
//! writer, given up by whoever must open the trail on a full disk, and allocated again when there
//! is room. While it stands there empty, it was given up: what is free then is owed to it, and is
//! not for calls.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// With less free than this, opening is not tried without giving the ballast up: sled writes in
/// segments of 8 MiB.
pub const OPENING_BYTES: u64 = 16 * 1024 * 1024;
/// With less than this the engine may fail to write at all, and that is the end of the journal.
pub const ENGINE_BYTES: u64 = OPENING_BYTES / 2;
/// What is written at a time where the file system does not allocate by itself: the journal's
/// writer waits for it.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// How it stands with a ballast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is as it should be.
    Whole,
    /// It becomes so, a step at a time.
    Grows,
    /// There is no room for it.
    NoRoom,
}

/// The ballast of a trail's directory.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast of a directory; 0 bytes are none.
    pub fn new(dir: &Path, bytes: u64) -> Self {
        Self { path: path(dir), bytes }
    }

    /// Free bytes that are not for calls, because the ballast was given up.
    pub fn owed(&self) -> u64 {
        if length(&self.path).is_ok_and(|length| length == Some(0)) { self.bytes } else { 0 }
    }

    /// Allocates it, or some more of it, when `spare` bytes stay free then; removes it when there
    /// is to be none.
    ///
    /// # Errors
    /// When the disk does not give the room after all.
    pub fn keep(&self, free: u64, spare: u64) -> io::Result<Kept> {
        let found = length(&self.path)?;
        if self.bytes == 0 {
            return if found.is_some() {
                std::fs::remove_file(&self.path).map(|()| Kept::Whole)
            } else {
                Ok(Kept::Whole)
            };
        }
        let held = found.unwrap_or(0);
        if held == self.bytes {
            return Ok(Kept::Whole);
        }
        if held < self.bytes && free.saturating_sub(spare) < self.bytes - held {
            return Ok(Kept::NoRoom);
        }
        let file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        let allocated =
            if held > self.bytes { file.set_len(self.bytes) } else { self.allocate(&file, held) };
        if allocated.is_err() {
            // Of what is new nobody knows whether it is really there; and an empty file would say
            // that it was given up.
            if found.is_none() { std::fs::remove_file(&self.path)? } else { file.set_len(held)? }
        }
        allocated.map(|()| {
            if length(&self.path).is_ok_and(|length| length == Some(self.bytes)) {
                Kept::Whole
            } else {
                Kept::Grows
            }
        })
    }

    fn allocate(&self, file: &File, held: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, self.bytes) {
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL,
            ) => write(file, held, STEP_BYTES.min(self.bytes - held)),
            allocated => Ok(allocated?),
        }
    }
}

/// Adds bytes that no file system can compress away or share.
fn write(mut file: &File, at: u64, bytes: u64) -> io::Result<()> {
    let mut noise = vec![0; usize::try_from(bytes).unwrap_or(0)];
    fastrand::fill(&mut noise);
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&noise)?;
    file.sync_data()
}

/// Gives the ballast of a directory up. How many bytes that frees; 0 when there is none any more.
///
/// # Errors
/// When it cannot be cut.
pub fn give_up(dir: &Path) -> io::Result<u64> {
    let path = path(dir);
    match length(&path)? {
        None | Some(0) => Ok(0),
        Some(length) => File::options().write(true).open(&path)?.set_len(0).map(|()| length),
    }
}

/// Free bytes on the disk of a directory.
///
/// # Errors
/// When the disk cannot be asked.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// How many more bytes the engine's file in a directory may grow, as far as the system limits the
/// length of files; `None` where it does not.
pub fn growth(dir: &Path) -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current?;
    Some(limit.saturating_sub(dir.join("trail/db").metadata().map_or(0, |file| file.len())))
}

/// How many bytes of a ballast a directory does not hold yet.
pub fn missing(dir: &Path, bytes: u64) -> u64 {
    bytes.saturating_sub(length(&path(dir)).ok().flatten().unwrap_or(0))
}

/// That a ballast does not fit, and what to do.
pub fn does_not_fit(dir: &Path, bytes: u64, free: u64, spare: u64) -> String {
    format!(
        "the ballast of {bytes} bytes does not fit on the disk of `{}`, where {free} bytes are free, of which {spare} are for calls: were the disk to fill up, \
         the trail could not be opened. Free some space, or make audit.ballast smaller",
        dir.display()
    )
}

fn path(dir: &Path) -> PathBuf {
    dir.join("ballast")
}

fn length(path: &Path) -> io::Result<Option<u64>> {
    match path.metadata() {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn it_is_made_when_there_is_room_owed_once_given_up_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path(), 2 * MIB);
        assert_eq!(
            ballast.keep(3 * MIB, 2 * MIB).unwrap(),
            Kept::NoRoom,
            "it leaves room for others"
        );
        assert_eq!(
            (ballast.owed(), give_up(dir.path()).unwrap()),
            (0, 0),
            "what never was is not owed"
        );
        assert_eq!(ballast.keep(4 * MIB, 2 * MIB).unwrap(), Kept::Whole);
        let about = path(dir.path()).metadata().unwrap();
        assert_eq!((about.len(), ballast.owed()), (2 * MIB, 0));
        assert!(about.blocks() * 512 >= 2 * MIB, "{} blocks", about.blocks());
        assert_eq!((give_up(dir.path()).unwrap(), give_up(dir.path()).unwrap()), (2 * MIB, 0));
        assert_eq!((ballast.owed(), path(dir.path()).metadata().unwrap().blocks()), (2 * MIB, 0));
        assert_eq!(ballast.keep(MIB, 0).unwrap(), Kept::NoRoom);
        assert_eq!(ballast.keep(8 * MIB, 0).unwrap(), Kept::Whole);
        assert_eq!(ballast.owed(), 0);
    }

    #[test]
    fn another_size_is_taken_over_and_none_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [2 * MIB, MIB, 3 * MIB] {
            assert_eq!(Ballast::new(dir.path(), bytes).keep(u64::MAX, 0).unwrap(), Kept::Whole);
            assert_eq!(length(&path(dir.path())).unwrap(), Some(bytes));
        }
        assert_eq!(Ballast::new(dir.path(), 0).keep(0, 0).unwrap(), Kept::Whole);
        assert_eq!(Ballast::new(dir.path(), 0).keep(0, 0).unwrap(), Kept::Whole);
        assert_eq!(length(&path(dir.path())).unwrap(), None);
    }

    #[test]
    fn where_nothing_is_allocated_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(path(dir.path())).unwrap();
        write(&file, 0, MIB).unwrap();
        write(&file, MIB, MIB).unwrap();
        let about = file.metadata().unwrap();
        assert!(about.len() == 2 * MIB && about.blocks() * 512 >= 2 * MIB);
    }
}
