//! The journal: a record is on disk when its receipt is in hand.
//!
//! One thread writes, so that many waiters share one sync. A write outlives its waiter: once
//! queued, a record is stored whether or not anybody still waits. Whatever the store reports is
//! final; the journal then takes nothing until the gateway is started anew. The gap between a
//! request's record and its answer's has two owners: while the process lives, whoever holds the
//! receipt; after a crash, the next [`Journal::open`].

use self::feed::Feed;
use self::queue::{Ack, Queue};
use self::writer::Writer;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::tiered::TieredStore;
use crate::wal::Opened;
use keyward_record::Record;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::queue::{JournalError, Receipt};
pub use self::settings::Settings;

pub mod counted;
pub mod feed;
mod open_exchanges;
mod queue;
mod settings;
mod writer;

/// How often it is seen whether the writer has ended.
const END_POLL: Duration = Duration::from_millis(2);

/// What was found, and done, while opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Exchanges that the last run left open, closed now as unknown.
    pub closed_unknown: usize,
    /// The place of the next record.
    pub next_seq: u64,
    /// Bodies without a record, left by a cut batch, and removed.
    pub torn: u64,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

/// The write side of the trail. Shared by an `Arc`; closed when dropped.
pub struct Journal {
    queue: Arc<Queue>,
    store: Arc<dyn Store>,
    tiered: Option<Arc<TieredStore>>,
    durable: Arc<AtomicU64>,
    feed: Arc<Feed>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the trail, closes what the last run left open, durably, and starts the writer.
    ///
    /// # Errors
    /// When the directory is in use, full, unreadable or written by another version, or when
    /// records are missing.
    pub fn open(
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Recovery), JournalError> {
        Self::open_checked(settings, metrics, |_| Ok(()))
            .map(|(journal, recovery, ())| (journal, recovery))
    }

    /// The same, after `check` has seen what is stored and before anything is added. What it finds
    /// comes along.
    ///
    /// # Errors
    /// As above, or what `check` says.
    pub fn open_checked<T>(
        settings: Settings,
        metrics: Arc<Metrics>,
        check: impl FnOnce(&dyn Store) -> Result<T, String>,
    ) -> Result<(Self, Recovery, T), JournalError> {
        let failed = |error| JournalError::Open(Arc::new(error));
        let (mut store, opened) =
            TieredStore::open_with(&settings.dir, settings.segment_records).map_err(failed)?;
        let found = check(&store).map_err(JournalError::Refused)?;
        store.start_sealing(settings.seal_after, metrics.clone()).map_err(failed)?;
        let store = Arc::new(store);
        let (mut journal, recovery) = Self::start(store.clone(), opened, settings, metrics)?;
        journal.tiered = Some(store);
        Ok((journal, recovery, found))
    }

    /// The same over any store.
    pub(super) fn start(
        store: Arc<dyn Store>,
        opened: Opened,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Recovery), JournalError> {
        let queue = Arc::new(Queue::new(settings, metrics));
        let durable = Arc::new(AtomicU64::new(0));
        let feed = Arc::new(Feed::default());
        let (writer, closed_unknown) =
            Writer::recover(queue.clone(), store.clone(), durable.clone(), feed.clone())?;
        let recovery = Recovery {
            closed_unknown,
            next_seq: writer.next_seq(),
            torn: opened.torn,
            notes: opened.notes,
        };
        let thread =
            std::thread::Builder::new().name("keyward-journal".to_owned()).spawn(|| writer.run());
        let thread = thread.map_err(|error| JournalError::Thread(Arc::new(error)))?;
        Ok((
            Self { queue, store, tiered: None, durable, feed, writer: Mutex::new(Some(thread)) },
            recovery,
        ))
    }

    /// Makes a record durable. The receipt proves it.
    ///
    /// Dropping the future, or running into the deadline, does not recall the record. A forwarded
    /// call whose receipt nobody took is closed as unknown by the journal. Needs a tokio
    /// runtime with time.
    ///
    /// # Errors
    /// Whenever the record is not known to be durable: then the call must not go on.
    pub async fn append(&self, record: Record) -> Result<Receipt, JournalError> {
        let result = self.wait(record).await;
        if result.is_err() {
            self.queue.metrics.record_failures.inc();
        }
        result
    }

    /// The same for threads without a runtime, as at the start.
    ///
    /// # Errors
    /// As above.
    pub fn append_blocking(&self, record: Record) -> Result<Receipt, JournalError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| JournalError::Thread(Arc::new(error)))?;
        runtime.block_on(self.append(record))
    }

    async fn wait(&self, record: Record) -> Result<Receipt, JournalError> {
        let deadline = self.queue.settings.commit_deadline;
        let told = self.queue.push(record)?;
        match tokio::time::timeout(deadline, told).await {
            Ok(Ok(ack)) => ack.map(Ack::open)?.ok_or(JournalError::WriterGone),
            Ok(Err(_)) => Err(JournalError::WriterGone),
            Err(_) => {
                self.queue.set_slow(true);
                Err(JournalError::TooSlow(deadline))
            }
        }
    }

    /// Records without waiting, for guards that run in `drop`. Never blocks, and is never refused
    /// for want of room; the record is lost only when the journal fails, and its exchange is
    /// then closed as unknown by the next start.
    pub fn append_detached(&self, record: Record) {
        self.queue.push_detached(record);
    }

    /// Whether records are taken, and in time.
    ///
    /// # Errors
    /// Why they are not, and what to do, in a sentence or two.
    pub fn health(&self) -> Result<(), String> {
        self.queue.health()
    }

    /// Whether it may go on without being started anew.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn alive(&self) -> Result<(), String> {
        self.queue.alive()
    }

    /// Commits what waits and ends the writer. Blocks until then; later records are refused.
    ///
    /// # Errors
    /// When the store has failed: records that waited are not durable.
    pub fn close(&self) -> Result<(), JournalError> {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            while !writer.is_finished() {
                if self.queue.is_stuck() {
                    // Whoever stops the gateway need not wait for ever; what is not durable was not
                    // acknowledged.
                    return Err(JournalError::TooSlow(self.queue.settings.commit_deadline));
                }
                std::thread::sleep(END_POLL);
            }
            if writer.join().is_err() {
                return Err(JournalError::WriterGone);
            }
        }
        self.queue.failure().map_or(Ok(()), Err)
    }

    /// The hashes of records, once they are durable.
    pub fn feed(&self) -> Arc<Feed> {
        self.feed.clone()
    }

    /// The store with its sealed segments, for whoever prunes, erases or copies; `None` over
    /// another store.
    pub fn tiered(&self) -> Option<Arc<TieredStore>> {
        self.tiered.clone()
    }

    /// For readers: the store, and the sequence number below which all is durable.
    pub fn parts(&self) -> (Arc<dyn Store>, Arc<AtomicU64>) {
        (self.store.clone(), self.durable.clone())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the journal did not close in order");
        }
    }
}

#[cfg(test)]
mod tests;
