//! Files that are read at any place, of which only some are open: those that were read last. What
//! is opened again is still the file that was opened first, or nothing is read of it.

use lru::LruCache;
use std::fs::{File, Metadata};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Files that are open at one time, unless it is said otherwise.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);

/// The system counts open files for the whole process, and so it is done here.
static OPEN: LazyLock<Mutex<LruCache<u64, Arc<File>>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(OPEN_MAX)));

fn open() -> MutexGuard<'static, LruCache<u64, Arc<File>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how many files may be open at one time; whoever reads one at the moment has it beside.
pub fn keep_open(files: usize) {
    open().resize(NonZeroUsize::new(files).unwrap_or(NonZeroUsize::MIN));
}

/// What tells a file from another that has taken its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    place: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Identity {
    fn from(about: &Metadata) -> Self {
        Self {
            place: (about.dev(), about.ino()),
            length: about.len(),
            written: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// A file that can be read, whether or not it is open.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    number: u64,
    identity: Mutex<Identity>,
}

impl Held {
    /// Opens it.
    ///
    /// # Errors
    /// When it is missing or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let file = File::open(path)?;
        let held = Self {
            path: path.to_owned(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            identity: Mutex::new(Identity::from(&file.metadata()?)),
        };
        open().put(held.number, Arc::new(file));
        Ok(held)
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.identity().length
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `bytes` from a place on. When another file may have taken its place, `is_same` looks
    /// at that one.
    ///
    /// # Errors
    /// When it cannot be read, is shorter, or is another file.
    pub fn read(
        &self,
        bytes: &mut [u8],
        at: u64,
        is_same: impl FnOnce(&File) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.file(is_same)?.read_exact_at(bytes, at)
    }

    /// The open file.
    ///
    /// # Errors
    /// As above.
    pub fn file(&self, is_same: impl FnOnce(&File) -> io::Result<bool>) -> io::Result<Arc<File>> {
        if let Some(file) = open().get(&self.number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(&self.path)?);
        let found = Identity::from(&file.metadata()?);
        let known = self.identity();
        if found != known {
            // What links to it, or copies it in its place, changes no byte of it.
            if found.length != known.length || !is_same(&file)? {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "another file has taken its place",
                ));
            }
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        open().put(self.number, Arc::clone(&file));
        Ok(file)
    }

    fn identity(&self) -> Identity {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        open().pop(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(held: &Held, same: bool) -> Result<Vec<u8>, io::ErrorKind> {
        let mut bytes = vec![0; 3];
        held.read(&mut bytes, 1, |_| Ok(same)).map(|()| bytes).map_err(|error| error.kind())
    }

    /// Closes a file, as reading many others would.
    fn close(held: &Held) {
        open().pop(&held.number);
    }

    #[test]
    fn what_is_opened_again_is_the_same_file_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, b"hello").unwrap();
        let held = Held::open(&path).unwrap();
        assert_eq!((held.length(), read(&held, false)), (5, Ok(b"ell".to_vec())));
        close(&held);
        assert_eq!(
            read(&held, false),
            Ok(b"ell".to_vec()),
            "nobody is asked when nothing has changed"
        );
        std::fs::write(&other, b"jelly").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(read(&held, false), Ok(b"ell".to_vec()), "an open file is what it was");
        close(&held);
        assert_eq!(read(&held, false), Err(io::ErrorKind::InvalidData));
        assert_eq!(
            read(&held, true),
            Ok(b"ell".to_vec()),
            "whoever looks at its bytes may know it"
        );
        close(&held);
        assert_eq!(read(&held, false), Ok(b"ell".to_vec()), "and it is known then");
        close(&held);
        std::fs::write(&path, b"longer than it was").unwrap();
        assert_eq!(read(&held, true), Err(io::ErrorKind::InvalidData));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&held, true), Err(io::ErrorKind::NotFound));
    }
}
