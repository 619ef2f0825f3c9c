//! A file that is read at any place, by any thread.

use super::{FileDigest, SegmentError};
use rustix::fs::Advice;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a file's foot: where its table is, the table's CRC-32, SHA-256 of all before, magic.
pub(super) const FOOT_BYTES: u64 = 8 + 4 + 32 + 8;
const CHUNK_BYTES: usize = 256 * 1024;

/// An open file.
#[derive(Debug)]
pub struct Input {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Input {
    /// Opens it.
    ///
    /// # Errors
    /// When it is missing or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        let failed = |source| SegmentError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { file, path: path.to_owned(), length })
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// So many bytes from a place on.
    ///
    /// # Errors
    /// When the file is shorter, or cannot be read.
    pub fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>, SegmentError> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(self.damaged("it is shorter than it says"));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).map_err(|source| self.failed(source))?;
        Ok(bytes)
    }

    /// The same for a length that is known.
    ///
    /// # Errors
    /// As [`Input::bytes`].
    pub fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], SegmentError> {
        let mut bytes = [0; N];
        if at.checked_add(N as u64).is_none_or(|end| end > self.length) {
            return Err(self.damaged("it is shorter than it says"));
        }
        self.file.read_exact_at(&mut bytes, at).map_err(|source| self.failed(source))?;
        Ok(bytes)
    }

    /// The file's foot: where its table begins, the table's checksum, and the digest that the file says it has.
    pub(super) fn foot(&self, magic: &[u8; 8]) -> Result<(u64, u32, FileDigest), SegmentError> {
        let at = self.length.checked_sub(FOOT_BYTES).ok_or_else(|| self.damaged("it is shorter than its foot"))?;
        let foot: [u8; FOOT_BYTES as usize] = self.array(at)?;
        let (table, rest) = foot.split_at(8);
        let (crc, rest) = rest.split_at(4);
        let (sha256, found) = rest.split_at(32);
        match (table.first_chunk(), crc.first_chunk(), sha256.first_chunk()) {
            (Some(table), Some(crc), Some(sha256)) if found == magic => {
                let table = u64::from_be_bytes(*table);
                if table > at {
                    return Err(self.damaged("impossible foot"));
                }
                Ok((table, u32::from_be_bytes(*crc), FileDigest { length: self.length, sha256: *sha256 }))
            }
            _ => Err(self.damaged("it does not end as it should")),
        }
    }

    /// What the file really holds, read from the disk as far as the system can be made to.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self) -> Result<FileDigest, SegmentError> {
        // Advice: whether it is followed does not matter for what is read.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        let mut hash = Sha256::new();
        let (mut at, end) = (0, self.length.saturating_sub(FOOT_BYTES));
        while at < end {
            let bytes = self.bytes(at, CHUNK_BYTES.min(usize::try_from(end - at).unwrap_or(CHUNK_BYTES)))?;
            hash.update(&bytes);
            at += bytes.len() as u64;
        }
        Ok(FileDigest { length: self.length, sha256: hash.finalize().into() })
    }

    /// An error about this file.
    pub fn damaged(&self, why: impl Into<String>) -> SegmentError {
        SegmentError::Damaged { path: self.path.clone(), why: why.into() }
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, source: io::Error) -> SegmentError {
        SegmentError::Io { path: self.path.clone(), source }
    }
}
