//! A file that appears whole and durable, or not at all: written beside its place, synced, renamed,
//! its name synced.

use super::{FileDigest, SegmentError};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is written at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Synced each time so many bytes are new: one sync of a whole file would make the journal's next
/// one wait for it.
const SYNC_BYTES: u64 = 1024 * 1024;

/// A file on its way.
pub struct Output {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
    buffer: Vec<u8>,
    hash: Sha256,
    length: u64,
    unsynced: u64,
    finished: bool,
}

impl Output {
    /// Begins a file that is to stand at `path`.
    pub fn create(path: &Path) -> Result<Self, SegmentError> {
        let temporary = path.with_added_extension("tmp");
        let file = File::create(&temporary)
            .map_err(|source| SegmentError::Io { path: temporary.clone(), source })?;
        let buffer = Vec::with_capacity(CHUNK_BYTES);
        Ok(Self {
            file,
            path: path.to_owned(),
            temporary,
            buffer,
            hash: Sha256::new(),
            length: 0,
            unsynced: 0,
            finished: false,
        })
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush().map_err(|source| self.failed(source))
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Ends the file with its foot, which tells where the table begins and of what checksum it is.
    pub fn finish_with_foot(
        mut self,
        table: u64,
        crc: u32,
        magic: &[u8; 8],
    ) -> Result<FileDigest, SegmentError> {
        let mut foot = Vec::new();
        foot.extend(table.to_be_bytes());
        foot.extend(crc.to_be_bytes());
        let sha256: [u8; 32] = self.hash.clone().finalize().into();
        foot.extend(sha256);
        foot.extend(magic);
        self.write(&foot)?;
        let length = self.length;
        self.finish()?;
        Ok(FileDigest { length, sha256 })
    }

    /// Makes the file durable under its name.
    ///
    /// # Errors
    /// When it cannot be: then nothing stands under the name but what stood there before.
    pub fn finish(mut self) -> Result<(), SegmentError> {
        let done = self
            .flush()
            .and_then(|()| self.file.sync_all())
            .and_then(|()| std::fs::rename(&self.temporary, &self.path))
            .and_then(|()| {
                self.finished = true;
                sync_parent(&self.path)
            });
        done.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> SegmentError {
        SegmentError::Io { path: self.temporary.clone(), source }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            std::fs::remove_file(&self.temporary).ok();
        }
    }
}

/// Makes a directory that survives a power cut, unless it is there.
pub fn make_directory(dir: &Path) -> Result<(), SegmentError> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir)
        .and_then(|()| sync_parent(dir))
        .map_err(|source| SegmentError::Io { path: dir.to_owned(), source })
}

/// Makes it durable which names a directory has.
pub fn sync(dir: &Path) -> Result<(), SegmentError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| SegmentError::Io { path: dir.to_owned(), source })
}

/// Removes a file, if it is there.
pub fn remove(file: &Path) -> Result<(), SegmentError> {
    match std::fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SegmentError::Io { path: file.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
