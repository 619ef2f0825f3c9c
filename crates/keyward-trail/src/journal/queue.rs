//! The way to the writer: a bounded queue, acknowledgements, and the journal's state of health.

use super::settings::Settings;
use crate::frame::FrameError;
use crate::metrics::Metrics;
use crate::store::StoreError;
use keyward_core::clock::AuditId;
use keyward_record::{Kind, LeafHash, Record, leaf_hash, unknown_outcome};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A commit that has not ended for so long, and for twelve deadlines, is not waited for any more.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Why a record is not durable, or not known to be, or why the journal cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Too many records wait.
    #[error("the journal's queue is full: records come faster than the disk takes them")]
    QueueFull,
    /// The commit takes too long. The record may still become durable; a call to be forwarded is
    /// then closed as unknown.
    #[error("the record was not durable within {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    /// Too little space is left on the disk; nothing was written.
    #[error("{free} bytes are free on the journal's disk, {min} are needed to take new calls")]
    DiskLow {
        /// Free bytes.
        free: u64,
        /// The limit: `free_bytes_min`, and the ballast while it is given up.
        min: u64,
    },
    /// The system lets no file grow longer; nothing was written.
    #[error(
        "the system lets the journal's file grow by {free} bytes (`ulimit -f`), {min} are needed to take new calls"
    )]
    FileLimit {
        /// Bytes by which it may grow.
        free: u64,
        /// The limit: `free_bytes_min`.
        min: u64,
    },
    /// The record cannot be stored; nothing was written.
    #[error("the record cannot be stored")]
    Unstorable(#[source] Arc<FrameError>),
    /// The record's content is too long; nothing was written.
    #[error("the record's body has {0} bytes, {max} are the limit", max = crate::store::CONTENT_BYTES_MAX)]
    ContentTooLong(usize),
    /// An answer to an exchange that is not open; nothing was written.
    #[error("exchange {0} is not open")]
    NotOpen(AuditId),
    /// The store failed, and with it the journal. Nothing is known about the record.
    #[error("the journal has failed")]
    Failed(#[source] Arc<StoreError>),
    /// The writer is gone.
    #[error("the journal's writer stopped without a word")]
    WriterGone,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The trail could not be opened.
    #[error("the trail cannot be opened{}", .0.hint())]
    Open(#[source] Arc<StoreError>),
    /// What is stored is not what it should be.
    #[error("{0}")]
    Refused(String),
    /// Records are missing in the trail.
    #[error("record {0} is missing in the trail: restore it before new records are written")]
    Gap(u64),
    /// The writer could not be started.
    #[error("the journal's writer cannot be started")]
    Thread(#[source] Arc<std::io::Error>),
}

/// Proof that a record is durable. Only the journal makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    id: AuditId,
    seq: u64,
}

impl Receipt {
    /// The exchange.
    pub fn id(&self) -> AuditId {
        self.id
    }

    /// The record's place in the trail, counted from 0 without gaps.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// An acknowledgement on its way to the waiter. When it is dropped unopened, whoever wanted to
/// forward the call has left; nobody else knows of the exchange, so it is closed from here.
pub(super) struct Ack {
    receipt: Option<Receipt>,
    kind: Kind,
    queue: Arc<Queue>,
}

impl Ack {
    pub fn new(record: &Record, seq: u64, queue: &Arc<Queue>) -> Self {
        Self {
            receipt: Some(Receipt { id: record.id, seq }),
            kind: record.kind,
            queue: queue.clone(),
        }
    }

    pub fn open(mut self) -> Option<Receipt> {
        self.receipt.take()
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take()
            && self.kind == Kind::Forwarded
        {
            let record = unknown_outcome(
                receipt.id,
                "the caller or the gateway gave up before the record was durable; the call was not forwarded",
            );
            self.queue.metrics.unknown_outcomes.inc();
            self.queue.push_detached(record);
        }
    }
}

/// A record that waits for its commit.
pub(super) struct Pending {
    pub record: Record,
    /// Computed before the queue, where many threads share the work.
    pub hash: LeafHash,
    pub since: Instant,
    bytes: usize,
    waiter: Option<oneshot::Sender<Result<Ack, JournalError>>>,
}

impl Pending {
    pub fn new(record: Record, waiter: Option<oneshot::Sender<Result<Ack, JournalError>>>) -> Self {
        let bytes =
            record.leaf.len() + record.content.as_ref().map_or(0, |content| content.bytes.len());
        Self { hash: leaf_hash(&record.leaf), record, since: Instant::now(), bytes, waiter }
    }

    /// The record is durable at `seq`.
    pub fn acknowledge(self, seq: u64, queue: &Arc<Queue>) {
        if let Some(waiter) = self.waiter {
            // A waiter that has left drops the acknowledgement, which then sees to the exchange.
            let _ = waiter.send(Ok(Ack::new(&self.record, seq, queue)));
        }
    }

    /// The record is not durable, or not known to be.
    pub fn reject(self, error: JournalError, metrics: &Metrics) {
        // A waiter counts the failure itself.
        let told = self.waiter.is_some_and(|waiter| waiter.send(Err(error.clone())).is_ok());
        if !told {
            metrics.record_failures.inc();
            tracing::error!(id = %self.record.id, kind = ?self.record.kind, %error, "a record was lost");
        }
    }
}

/// What the writer gets.
pub(super) enum Taken {
    /// Records for one commit.
    Group(Vec<Pending>),
    /// Nothing came.
    Idle,
    /// Nothing will come any more.
    End,
}

/// A disk with too little room to take new calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskLow {
    /// Free bytes.
    pub free: u64,
    /// How many it takes.
    pub min: u64,
    /// It is not the disk that is full: the system limits the length of files.
    pub by_limit: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    bytes: usize,
    /// When the writer took what it is committing.
    busy_since: Option<Instant>,
    slow: bool,
    disk_low: Option<DiskLow>,
    /// What has been taken away of the trail.
    missing: Option<String>,
    failed: Option<JournalError>,
    closing: bool,
    ended: bool,
}

/// The queue. One writer takes from it.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    pub settings: Settings,
    pub metrics: Arc<Metrics>,
}

impl Queue {
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), settings, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record whose waiter is told.
    pub fn push(
        &self,
        record: Record,
    ) -> Result<oneshot::Receiver<Result<Ack, JournalError>>, JournalError> {
        let (waiter, told) = oneshot::channel();
        let pending = Pending::new(record, Some(waiter));
        let mut state = self.state();
        state.refusal()?;
        let full = state.waiting.len() >= self.settings.queue_records_max
            || state.bytes.saturating_add(pending.bytes) > self.settings.queue_bytes_max;
        if full {
            return Err(JournalError::QueueFull);
        }
        state.put(pending);
        self.wake.notify_one();
        Ok(told)
    }

    /// Queues a record that nobody waits for, beyond the bounds if need be: it closes an exchange,
    /// and exchanges are bounded.
    pub fn push_detached(&self, record: Record) {
        let pending = Pending::new(record, None);
        let mut state = self.state();
        let failed = state.failed.clone().or(state.ended.then_some(JournalError::Closed));
        match failed {
            Some(error) => {
                drop(state);
                pending.reject(error, &self.metrics);
            }
            None => {
                state.put(pending);
                self.wake.notify_one();
            }
        }
    }

    /// All that waits, up to both limits; blocks up to `tick` when nothing does.
    pub fn take(&self, records_max: usize, bytes_max: usize, tick: Duration) -> Taken {
        let mut state = self.state();
        state.busy_since = None;
        if state.waiting.is_empty() && !state.closing {
            state = self.wake.wait_timeout(state, tick).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < records_max && bytes < bytes_max {
            let Some(pending) = state.waiting.pop_front() else { break };
            state.bytes = state.bytes.saturating_sub(pending.bytes);
            bytes += pending.bytes;
            group.push(pending);
        }
        if !group.is_empty() {
            state.busy_since = Some(Instant::now());
            Taken::Group(group)
        } else if state.closing {
            state.ended = true;
            Taken::End
        } else {
            Taken::Idle
        }
    }

    /// Refuses new records; the writer takes what waits, then ends.
    pub fn close(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    /// The journal is over. Whoever waits is told.
    pub fn fail(&self, error: JournalError) {
        let waiting = {
            let mut state = self.state();
            let error = state.failed.get_or_insert(error).clone();
            state.busy_since = None;
            state.bytes = 0;
            (std::mem::take(&mut state.waiting), error)
        };
        for pending in waiting.0 {
            pending.reject(waiting.1.clone(), &self.metrics);
        }
        self.publish_health();
    }

    /// The writer commits something that nobody has queued.
    pub fn commits(&self) {
        self.state().busy_since = Some(Instant::now());
    }

    /// Whether commits are in time.
    pub fn set_slow(&self, slow: bool) {
        self.state().slow = slow;
        self.publish_health();
    }

    /// Whether commits have been too slow.
    pub fn is_slow(&self) -> bool {
        self.state().slow
    }

    /// Whether the disk has too little room.
    pub fn set_disk_low(&self, low: Option<DiskLow>) {
        self.state().disk_low = low;
        self.publish_health();
    }

    /// What of the trail is missing. It is logged when it begins.
    pub fn set_missing(&self, missing: Option<String>) {
        let before = std::mem::replace(&mut self.state().missing, missing.clone());
        if let Some(missing) = missing.filter(|_| before.is_none()) {
            tracing::error!("{missing}");
        }
        self.publish_health();
    }

    /// Whether the writer ended in order.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// What ended the journal, when something did.
    pub fn failure(&self) -> Option<JournalError> {
        self.state().failed.clone()
    }

    fn publish_health(&self) {
        self.metrics.journal_healthy.set(i64::from(self.health().is_ok()));
    }

    /// Whether the journal may go on without being started anew.
    ///
    /// # Errors
    /// Why it will not: it has failed, or a commit does not end.
    pub fn alive(&self) -> Result<(), String> {
        let state = self.state();
        let over = state.failed.is_some() || self.stuck(&state).is_some();
        drop(state);
        if over { self.health() } else { Ok(()) }
    }

    /// Whether a commit has not ended for so long that nobody can expect any more that it will.
    pub fn is_stuck(&self) -> bool {
        self.stuck(&self.state()).is_some()
    }

    /// Since when a commit has not ended, when nobody can expect any more that it will.
    fn stuck(&self, state: &State) -> Option<Duration> {
        let deadline = self.settings.commit_deadline.saturating_mul(12).max(STUCK_AFTER);
        state.busy_since.map(|since| since.elapsed()).filter(|busy| *busy > deadline)
    }

    /// Why the journal does not take calls as it should, and what to do.
    pub fn health(&self) -> Result<(), String> {
        let state = self.state();
        let dir = self.settings.dir.display();
        let deadline = self.settings.commit_deadline;
        if let Some(error) = &state.failed {
            let causes: Vec<_> =
                std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source())
                    .map(ToString::to_string)
                    .collect();
            return Err(format!(
                "{}. No call is taken. See to the disk of `{dir}`, then restart the gateway: what it could not record it closes as unknown",
                causes.join(": ")
            ));
        }
        if state.closing {
            return Err("the journal is closed: the gateway is stopping".to_owned());
        }
        if let Some(busy) = self.stuck(&state) {
            return Err(format!(
                "a commit has not ended for {} s: the disk of `{dir}` does not answer, or the storage engine has stopped for want of memory. No call is taken. See \
                 to disk and memory, then restart the gateway: what it could not record it closes as unknown",
                busy.as_secs()
            ));
        }
        if let Some(missing) = &state.missing {
            return Err(missing.clone());
        }
        if state.slow || state.busy_since.is_some_and(|since| since.elapsed() > deadline) {
            return Err(format!(
                "a commit takes longer than {} s: the disk of `{dir}` does not keep up. The journal recovers by itself when a commit is in time again",
                deadline.as_secs_f64()
            ));
        }
        if let Some(DiskLow { free, min, by_limit: true }) = state.disk_low {
            return Err(format!(
                "the system lets the journal's file in `{dir}` grow by {free} bytes, {min} are needed: no new call is taken, open ones are closed. Raise the limit \
                 (`ulimit -f`, LimitFSIZE= of a unit; `prlimit` of a running gateway, which then recovers by itself)"
            ));
        }
        if let Some(DiskLow { free, min, .. }) = state.disk_low {
            return Err(format!(
                "{free} bytes are free on the disk of `{dir}`, {min} are needed: no new call is taken, open ones are closed. Free some space; the journal \
                 recovers by itself"
            ));
        }
        Ok(())
    }
}

impl State {
    fn refusal(&self) -> Result<(), JournalError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.closing => Err(JournalError::Closed),
            None => Ok(()),
        }
    }

    fn put(&mut self, pending: Pending) {
        self.bytes = self.bytes.saturating_add(pending.bytes);
        self.waiting.push_back(pending);
    }
}

#[cfg(test)]
mod tests;
