//! A file that is read at any place, by any thread.

use super::{FileDigest, SegmentError};
use crate::held::Held;
use rustix::fs::Advice;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes of a file's foot: where its table is, the table's CRC-32, SHA-256 of all before, magic.
pub(super) const FOOT_BYTES: u64 = 8 + 4 + 32 + 8;
const CHUNK_BYTES: usize = 256 * 1024;

/// A file that can be read.
#[derive(Debug)]
pub struct Input {
    held: Held,
    length: u64,
    /// The SHA-256 that it says it has: by that it is known again.
    claimed: OnceLock<[u8; 32]>,
}

impl Input {
    /// Opens it.
    ///
    /// # Errors
    /// When it is missing or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        let held = Held::open(path)
            .map_err(|source| SegmentError::Io { path: path.to_owned(), source })?;
        Ok(Self { length: held.length(), held, claimed: OnceLock::new() })
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// So many bytes from a place on.
    pub fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>, SegmentError> {
        if at.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(self.damaged("it is shorter than it says"));
        }
        let mut bytes = vec![0; length];
        self.read(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The same for a length that is known.
    pub fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], SegmentError> {
        let mut bytes = [0; N];
        if at.checked_add(N as u64).is_none_or(|end| end > self.length) {
            return Err(self.damaged("it is shorter than it says"));
        }
        self.read(&mut bytes, at)?;
        Ok(bytes)
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), SegmentError> {
        self.held.read(bytes, at, |file| self.is_same(file)).map_err(|source| self.failed(source))
    }

    /// Whether a file that stands in the place of this one has all of its bytes.
    fn is_same(&self, file: &File) -> io::Result<bool> {
        match self.claimed.get() {
            Some(claimed) => Ok(sha256(file, self.length.saturating_sub(FOOT_BYTES))? == *claimed),
            None => Ok(false),
        }
    }

    /// The file's foot: where its table begins, the table's checksum, and the digest that the file
    /// says it has.
    pub(super) fn foot(&self, magic: &[u8; 8]) -> Result<(u64, u32, FileDigest), SegmentError> {
        let at = self
            .length
            .checked_sub(FOOT_BYTES)
            .ok_or_else(|| self.damaged("it is shorter than its foot"))?;
        let foot: [u8; FOOT_BYTES as usize] = self.array(at)?;
        let (table, rest) = foot.split_at(8);
        let (crc, rest) = rest.split_at(4);
        let (sha256, found) = rest.split_at(32);
        match (table.first_chunk(), crc.first_chunk(), sha256.first_chunk()) {
            (Some(table), Some(crc), Some(sha256)) if found == magic => {
                let table = u64::from_be_bytes(*table);
                let sha256 = self.claimed.get_or_init(|| *sha256);
                if table > at {
                    return Err(self.damaged("impossible foot"));
                }
                Ok((
                    table,
                    u32::from_be_bytes(*crc),
                    FileDigest { length: self.length, sha256: *sha256 },
                ))
            }
            _ => Err(self.damaged("it does not end as it should")),
        }
    }

    /// What the file really holds, read from the disk as far as the system can be made to.
    pub fn digest(&self) -> Result<FileDigest, SegmentError> {
        let file =
            self.held.file(|file| self.is_same(file)).map_err(|source| self.failed(source))?;
        // Advice: whether it is followed does not matter for what is read.
        let _ = rustix::fs::fadvise(&*file, 0, None, Advice::DontNeed);
        let sha256 = sha256(&file, self.length.saturating_sub(FOOT_BYTES))
            .map_err(|source| self.failed(source))?;
        Ok(FileDigest { length: self.length, sha256 })
    }

    /// An error about this file.
    pub fn damaged(&self, why: impl Into<String>) -> SegmentError {
        SegmentError::Damaged { path: self.path().to_owned(), why: why.into() }
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// The same, of what the system or a library said.
    pub fn failed(&self, source: io::Error) -> SegmentError {
        match source.kind() {
            io::ErrorKind::InvalidData => self.damaged(source.to_string()),
            _ => SegmentError::Io { path: self.path().to_owned(), source },
        }
    }
}

/// SHA-256 of the first bytes of a file.
fn sha256(file: &File, length: u64) -> io::Result<[u8; 32]> {
    let (mut hash, mut bytes, mut at) = (Sha256::new(), vec![0; CHUNK_BYTES], 0);
    while at < length {
        let part = usize::try_from(length - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let piece = bytes.get_mut(..part).unwrap_or_default();
        file.read_exact_at(piece, at)?;
        hash.update(&*piece);
        at += part as u64;
    }
    Ok(hash.finalize().into())
}
