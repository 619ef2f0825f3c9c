//! sled, and what must be seen to while it runs: whoever waits for it is woken, and its end is no
//! panic.

use super::nudge::Nudge;
use crate::store::{EngineError, StoreError};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An open engine. It can be read as sled's own; batches go through here.
pub(super) struct Engine {
    /// Ends before the engine does.
    nudge: Nudge,
    /// Taken out by drop alone.
    db: Option<sled::Db>,
    /// One batch and its flush at a time: sled lets nobody in while a batch waits for a flush, and
    /// so no nudge.
    writing: Mutex<()>,
}

impl Engine {
    /// Takes an engine over.
    pub fn new(db: sled::Db) -> std::io::Result<Self> {
        Ok(Self { nudge: Nudge::start(&db)?, db: Some(db), writing: Mutex::default() })
    }

    /// Applies a batch. It is on its way to the disk, no more.
    pub fn apply(&self, writes: sled::Batch) -> sled::Result<()> {
        let _writing = self.writing();
        self.nudge.watch(|| self.apply_batch(writes))
    }

    /// Applies a batch and hands all to the kernel.
    pub fn apply_and_flush(&self, writes: sled::Batch) -> sled::Result<()> {
        let _writing = self.writing();
        self.nudge.watch(|| self.apply_batch(writes).and_then(|()| self.flush())).map(drop)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Engine {
    type Target = sled::Db;

    #[expect(clippy::expect_used, reason = "it is taken out by drop alone")]
    fn deref(&self) -> &sled::Db {
        self.db.as_ref().expect("an engine that is not dropped")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.nudge.end();
        // It flushes once more when it is dropped, and tells nobody of a failure in words that
        // help; or it panics.
        let flushed = self.flush().map_err(|error| error.to_string());
        let db = self.db.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(db)))
            .map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default());
        if let Err(error) = flushed.map(drop).and(dropped) {
            tracing::error!(
                error,
                "the storage engine could not write its file at the end; what was acknowledged was synced before: see to the disk, then start again"
            );
        }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::Engine(match error {
            sled::Error::Io(error) => EngineError::Io(error),
            sled::Error::Corruption { .. } => EngineError::Corrupt(error.to_string()),
            other => EngineError::Other(other.to_string()),
        })
    }
}
