//! Where the trail ended when it was closed. What is damaged, or cut off, at the very end of the
//! engine's file can be told from what was never written by this alone.

use keyward_core::durable;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The file in the engine's folder.
const END: &str = "end";

/// Writes it when it is dropped, if something was appended.
pub(super) struct EndNote {
    trail: PathBuf,
    end: AtomicU64,
}

impl EndNote {
    pub fn new(trail: &Path) -> Self {
        Self { trail: trail.to_owned(), end: AtomicU64::default() }
    }

    /// Records below are durable.
    pub fn reached(&self, end: u64) {
        self.end.fetch_max(end, Ordering::Relaxed);
    }
}

impl Drop for EndNote {
    fn drop(&mut self) {
        let end = self.end.load(Ordering::Relaxed);
        if end > 0
            && let Err(error) = note(&self.trail, end)
        {
            tracing::warn!(
                %error,
                "where the trail ends could not be noted in `{}`: all of it is there, but until it is tried again, when the trail is closed the next time, \
                 what is cut off of its very end is found by its checkpoints alone. See to the disk, and free some space if it is full",
                self.trail.display()
            );
        }
    }
}

/// How many records there were for sure; 0 where nobody has noted it, or the note cannot be read.
pub(super) fn noted(trail: &Path) -> u64 {
    durable::read_text(&trail.join(END)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn note(trail: &Path, end: u64) -> io::Result<()> {
    durable::replace(&trail.join(END), format!("{end}\n").as_bytes())
}
