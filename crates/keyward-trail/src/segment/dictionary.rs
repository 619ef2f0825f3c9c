//! Dictionaries: what small pieces of one kind have in common, so that each compresses as if it
//! stood among many.

use super::SegmentError;
use super::input::Input;
use crate::zipped::{Zipper, unzip};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use zstd::zstd_safe::DDict;

/// Bytes of a dictionary, at most.
pub const BYTES_MAX: usize = 64 * 1024;
const LEVEL: i32 = 3;

/// A dictionary, ready to read with.
pub struct Dictionary {
    bytes: Vec<u8>,
    ready: DDict<'static>,
}

impl Dictionary {
    /// Its bytes; none when there is no dictionary.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a piece holds, at most `max` bytes.
    ///
    /// # Errors
    /// When the bytes are no such piece (`InvalidData`), or zstd has no memory.
    pub fn read(&self, piece: &[u8], max: usize) -> io::Result<Vec<u8>> {
        unzip(piece, max, Some(&self.ready))
    }

    /// What writes pieces that [`Dictionary::read`] reads.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn writer(&self) -> io::Result<Zipper> {
        Zipper::new(LEVEL, &self.bytes)
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dictionary({} bytes)", self.bytes.len())
    }
}

/// A dictionary for pieces like the samples; an empty one when they are too few to have anything in
/// common.
pub fn train(samples: &[Vec<u8>]) -> Vec<u8> {
    zstd::dict::from_samples(samples, BYTES_MAX).unwrap_or_default()
}

/// Dictionaries in use: files with the same one share it.
#[derive(Debug, Default)]
pub struct Dictionaries(Mutex<HashMap<[u8; 32], Weak<Dictionary>>>);

impl Dictionaries {
    /// The dictionary with these bytes.
    ///
    /// # Errors
    /// When it is none, or zstd has no memory for it.
    pub fn get(&self, bytes: Vec<u8>, of: &Input) -> Result<Arc<Dictionary>, SegmentError> {
        self.share(bytes).map_err(|_| of.damaged("its dictionary cannot be used"))
    }

    /// The same for a file that is about to be written.
    ///
    /// # Errors
    /// When zstd has no memory for it.
    pub fn share(&self, bytes: Vec<u8>) -> io::Result<Arc<Dictionary>> {
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dictionary) = known.get(&digest).and_then(Weak::upgrade) {
            return Ok(dictionary);
        }
        let ready = DDict::try_create(&bytes).ok_or(io::ErrorKind::OutOfMemory)?;
        let dictionary = Arc::new(Dictionary { bytes, ready });
        known.retain(|_, dictionary| dictionary.strong_count() > 0);
        known.insert(digest, Arc::downgrade(&dictionary));
        Ok(dictionary)
    }
}
