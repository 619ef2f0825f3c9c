//! Dictionaries: what small pieces of one kind have in common, so that each compresses as if it stood among many.

use super::SegmentError;
use super::input::Input;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use zstd::zstd_safe::{self, DCtx, DDict};

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

    /// What a piece holds, at most `max` bytes. `None` when the bytes are no such piece.
    pub fn read(&self, piece: &[u8], max: usize) -> Option<Vec<u8>> {
        thread_local! {
            static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
        }
        let length = zstd_safe::get_frame_content_size(piece).ok().flatten().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= max)?;
        let mut out = Vec::with_capacity(length);
        CONTEXT.with(|context| {
            let mut context = context.try_borrow_mut().ok()?;
            if context.is_none() {
                *context = DCtx::try_create();
            }
            context.as_mut()?.decompress_using_ddict(&mut out, piece, &self.ready).ok()
        })?;
        (out.len() == length).then_some(out)
    }

    /// What writes pieces that [`Dictionary::read`] reads.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn writer(&self) -> std::io::Result<zstd::bulk::Compressor<'static>> {
        zstd::bulk::Compressor::with_dictionary(LEVEL, &self.bytes)
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dictionary({} bytes)", self.bytes.len())
    }
}

/// A dictionary for pieces like the samples; an empty one when they are too few to have anything in common.
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
    /// When zstd has no memory for it.
    pub fn get(&self, bytes: Vec<u8>, of: &Input) -> Result<Arc<Dictionary>, SegmentError> {
        self.share(bytes).ok_or_else(|| of.damaged("its dictionary cannot be used"))
    }

    /// The same for a file that is about to be written.
    pub fn share(&self, bytes: Vec<u8>) -> Option<Arc<Dictionary>> {
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dictionary) = known.get(&digest).and_then(Weak::upgrade) {
            return Some(dictionary);
        }
        let ready = DDict::try_create(&bytes)?;
        let dictionary = Arc::new(Dictionary { bytes, ready });
        known.retain(|_, dictionary| dictionary.strong_count() > 0);
        known.insert(digest, Arc::downgrade(&dictionary));
        Some(dictionary)
    }
}
