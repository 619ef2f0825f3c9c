//! The trail's files as the system has them: for whom they are, and whether they are still there
//! while we write to them.

use super::opening::{FILES, FOLDERS};
use super::{StoreError, at};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// What a trail does not lose while it is held, once it was there.
const LASTING: [&str; 7] =
    ["trail", "trail/blobs", "segments", "tree", "tree/level0", "tree/keys", "texts"];

/// The engine's file as it was opened, and what else must stay.
pub(super) struct Place {
    dir: PathBuf,
    db: PathBuf,
    file: File,
    identity: (u64, u64),
    /// Which of [`LASTING`] were there.
    seen: AtomicU16,
}

impl Place {
    pub fn new(dir: &Path, trail: &Path) -> Result<Self, StoreError> {
        let db = trail.join("db");
        let file = File::open(&db).map_err(at(&db))?;
        let identity = identity(&file.metadata().map_err(at(&db))?);
        Ok(Self { dir: dir.to_owned(), db, file, identity, seen: AtomicU16::new(0) })
    }

    /// Whether the engine's file is still the one that is written to: another process may have
    /// taken it away.
    ///
    /// # Errors
    /// When it is not, and how to get at it.
    pub fn check(&self) -> Result<(), StoreError> {
        match std::fs::metadata(&self.db) {
            Ok(about) if identity(&about) == self.identity => Ok(()),
            // Of a system that has no room for an answer nothing can be said.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            _ => Err(StoreError::Gone {
                path: self.db.clone(),
                copy: PathBuf::from(format!(
                    "/proc/{}/fd/{}",
                    std::process::id(),
                    self.file.as_raw_fd()
                )),
            }),
        }
    }

    /// What is missing of the trail's folder.
    pub fn missing(&self) -> Option<String> {
        if let Err(error) = self.check() {
            return Some(error.to_string());
        }
        let missing = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        for (n, name) in LASTING.iter().enumerate() {
            let (path, bit) = (self.dir.join(name), 1 << n);
            if !missing(&path) {
                self.seen.fetch_or(bit, Ordering::Relaxed);
            } else if self.seen.load(Ordering::Relaxed) & bit != 0 {
                return Some(gone(&path));
            }
        }
        None
    }
}

/// A sentence about something that is not there any more.
pub(crate) fn gone(path: &Path) -> String {
    format!(
        "`{}` has been removed under the running gateway: put it back from a backup, then start again",
        path.display()
    )
}

fn identity(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

/// Takes from everybody but the owner what they may do with a trail, which an older version, or a
/// copy, may have left open.
pub(super) fn narrow(dir: &Path) {
    let (mut narrowed, mut failed) = (0_u64, None);
    narrow_one(dir, &mut narrowed, &mut failed);
    for name in FILES {
        narrow_one(&dir.join(name), &mut narrowed, &mut failed);
    }
    for name in FOLDERS.iter().chain(&["aside"]) {
        narrow_all(&dir.join(name), &mut narrowed, &mut failed);
    }
    if narrowed > 0 {
        tracing::warn!(
            "{narrowed} files and folders of the trail in `{}` were open to others than their owner: they are so no more",
            dir.display()
        );
    }
    if let Some((path, error)) = failed {
        tracing::warn!(
            "`{}` is open to others than its owner, and that cannot be changed ({error}): run `chmod -R go= {}`",
            path.display(),
            dir.display()
        );
    }
}

fn narrow_all(path: &Path, narrowed: &mut u64, failed: &mut Option<(PathBuf, io::Error)>) {
    narrow_one(path, narrowed, failed);
    // A link may lead anywhere.
    if path.symlink_metadata().is_ok_and(|about| about.is_dir()) {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| narrow_all(&entry.path(), narrowed, failed));
    }
}

fn narrow_one(path: &Path, narrowed: &mut u64, failed: &mut Option<(PathBuf, io::Error)>) {
    let Ok(about) = path.symlink_metadata() else { return };
    let mode = about.mode() & 0o7777;
    if about.is_symlink() || mode & 0o077 == 0 {
        return;
    }
    match std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700)) {
        Ok(()) => *narrowed += 1,
        Err(error) => *failed = failed.take().or_else(|| Some((path.to_owned(), error))),
    }
}
