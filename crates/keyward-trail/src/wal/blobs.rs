//! The engine's folder for values that it never syncs: nothing may stand in it.

use super::{StoreError, at};
use rustix::fs::{Dir, Mode, OFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folder, held open: it is looked into with each commit, and that must not hang on whether the
/// process may open one file more.
pub(super) struct Blobs {
    path: PathBuf,
    dir: Mutex<Dir>,
}

impl Blobs {
    /// Opens it.
    ///
    /// # Errors
    /// When it is not there, or cannot be opened.
    pub fn open(trail: &Path) -> Result<Self, StoreError> {
        let path = trail.join("blobs");
        let dir = rustix::fs::open(
            &path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let dir = dir.and_then(Dir::new).map_err(io::Error::from).map_err(at(&path))?;
        Ok(Self { path, dir: Mutex::new(dir) })
    }

    /// Whether it is empty.
    pub fn check_none(&self) -> Result<(), StoreError> {
        let mut dir = self.dir.lock().unwrap_or_else(PoisonError::into_inner);
        dir.rewind();
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(io::Error::from).map_err(at(&self.path))?;
            if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
                return Err(StoreError::Blob(self.path.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_into_the_folder_later_is_seen() {
        let trail = tempfile::tempdir().unwrap();
        std::fs::create_dir(trail.path().join("blobs")).unwrap();
        let blobs = Blobs::open(trail.path()).unwrap();
        for _ in 0..2 {
            blobs.check_none().unwrap();
            std::fs::write(trail.path().join("blobs/17"), b"x").unwrap();
            assert!(matches!(blobs.check_none(), Err(StoreError::Blob(_))));
            std::fs::remove_file(trail.path().join("blobs/17")).unwrap();
        }
    }
}
