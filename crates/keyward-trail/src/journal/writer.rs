//! The one writer: gives records their places, makes them durable together, then tells their
//! waiters.
//!
//! There is no timer: while one commit is being synced the next group gathers.

use super::feed::Feed;
use super::open_exchanges::{Closing, OpenExchanges};
use super::queue::{DiskLow, JournalError, Pending, Queue, Taken};
use crate::frame;
use crate::store::{Batch, CONTENT_BYTES_MAX, Store, StoreError};
use crate::tombstone::skip_tombstones;
use crate::wal::ballast::{self, Ballast, Kept};
use keyward_core::clock::Timestamp;
use keyward_record::Entry;
use keyward_record::Event;
use keyward_record::{Kind, Record, unknown_outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GROUP_RECORDS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often an idle writer looks after the disk.
const TICK: Duration = Duration::from_secs(1);
/// How long a batch for which there is no memory is tried again, and what passes between two tries.
const MEMORY_PATIENCE: Duration = Duration::from_secs(60);
const MEMORY_PAUSE: Duration = Duration::from_millis(100);
/// A clock that goes back by less is being adjusted, or the records are of threads that overtook
/// each other.
const CLOCK_BACK_MIN: Duration = Duration::from_secs(10);
/// A clock that is ahead of the trail by more than has passed, and by this, has jumped; or no
/// gateway ran for so long.
const CLOCK_AHEAD_MIN: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Writer {
    queue: Arc<Queue>,
    store: Arc<dyn Store>,
    /// Records below are durable: what readers may show.
    durable: Arc<AtomicU64>,
    feed: Arc<Feed>,
    open: OpenExchanges,
    open_floor: u64,
    next_seq: u64,
    last_time: Timestamp,
    /// When the record of that time came; `None` when that was in another run.
    last_came: Option<Instant>,
    ballast: Ballast,
    /// When the ballast was last seen to, and whether its failure was told.
    ballast_kept: Option<Instant>,
    ballast_failed: bool,
    /// Whether it was told that there is no room for it.
    ballast_unfit: bool,
    clock_is_back: bool,
}

impl Writer {
    /// Reads where the trail ends and closes what the last run left open. Also the number of
    /// exchanges closed.
    pub fn recover(
        queue: Arc<Queue>,
        store: Arc<dyn Store>,
        durable: Arc<AtomicU64>,
        feed: Arc<Feed>,
    ) -> Result<(Self, usize), JournalError> {
        let unreadable = |error| JournalError::Open(Arc::new(error));
        let open_floor = store.open_floor().map_err(unreadable)?;
        let mut open = OpenExchanges::default();
        let mut last_time = Timestamp(0);
        let mut next_seq = None;
        let absent = store.tombstones();
        for frame in store.oldest_first(open_floor) {
            let frame = frame.map_err(unreadable)?;
            // The first frame may begin below the floor; all others follow without a gap.
            let expected =
                skip_tombstones(&absent, next_seq.unwrap_or(open_floor.min(frame.first_seq)));
            if frame.first_seq != expected {
                return Err(JournalError::Gap(expected.min(frame.first_seq)));
            }
            next_seq = Some(frame.end());
            for (seq, entry) in (frame.first_seq..).zip(&frame.entries) {
                last_time = last_time.max(entry.time);
                match entry.kind {
                    Kind::Forwarded => open.open(entry.id, seq),
                    Kind::Answer => drop(open.close(entry.id, seq)),
                    Kind::Refused | Kind::Event => (),
                }
            }
        }
        let next_seq = match next_seq {
            Some(next_seq) => next_seq,
            // Everything was closed at the last commit. The record before the floor must still be
            // there.
            None => match store.newest_first(open_floor).next().transpose().map_err(unreadable)? {
                Some(last) if skip_tombstones(&absent, last.end()) < open_floor => {
                    return Err(JournalError::Gap(last.end()));
                }
                None if skip_tombstones(&absent, 0) < open_floor => {
                    return Err(JournalError::Gap(0));
                }
                Some(last) => {
                    last_time = last.entries.last().map_or(last_time, |entry| entry.time);
                    open_floor
                }
                None => open_floor,
            },
        };
        durable.store(next_seq, Ordering::Release);
        let ballast = Ballast::new(&queue.settings.dir, queue.settings.ballast_bytes);
        let mut writer = Self {
            queue,
            store,
            durable,
            feed,
            open,
            open_floor,
            next_seq,
            last_time,
            last_came: None,
            ballast,
            ballast_kept: None,
            ballast_failed: false,
            ballast_unfit: false,
            clock_is_back: false,
        };
        let left_open = writer.open.ids();
        for ids in left_open.chunks(GROUP_RECORDS_MAX) {
            let close = |id: &_| {
                Pending::new(
                    unknown_outcome(*id, "the gateway stopped before the outcome was recorded"),
                    None,
                )
            };
            writer.commit(ids.iter().map(close).collect())?;
        }
        writer.queue.metrics.unknown_outcomes.inc_by(left_open.len() as u64);
        writer.look_after_disk();
        writer.queue.set_slow(false);
        Ok((writer, left_open.len()))
    }

    /// The sequence number of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Commits until the queue is closed and empty, or the store fails.
    pub fn run(mut self) {
        let _epitaph = Epitaph(self.queue.clone());
        loop {
            let done = match self.queue.take(GROUP_RECORDS_MAX, GROUP_BYTES_MAX, TICK) {
                Taken::Group(group) => self.commit(group),
                Taken::Idle => self.idle(),
                Taken::End => return,
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// One group: one batch, one sync, then all acknowledgements.
    fn commit(&mut self, group: Vec<Pending>) -> Result<(), JournalError> {
        let oldest = group.iter().map(|pending| pending.since).min();
        let disk_low = self.look_after_disk();
        let mut batch = Batch { first_seq: self.next_seq, ..Batch::default() };
        let mut accepted = Vec::with_capacity(group.len());
        let mut hashes = Vec::with_capacity(group.len());
        for mut pending in group {
            let seq = self.next_seq.saturating_add(batch.entries.len() as u64);
            match self.admit(&pending.record, seq, disk_low) {
                Ok(place) => {
                    if place == seq {
                        batch
                            .contents
                            .extend(pending.record.content.take().map(|content| (seq, content)));
                        batch.entries.push(self.entry(&pending.record));
                        hashes.push(pending.hash);
                    }
                    accepted.push((place, pending));
                }
                Err(error) => pending.reject(error, &self.queue.metrics),
            }
        }
        // A crash before the next line loses records that nobody was told of. A crash after it
        // leaves them in the trail, perhaps without their waiters knowing: the next start
        // closes what they opened.
        if !batch.entries.is_empty() {
            let floor = self.open.floor(self.next_seq.saturating_add(batch.entries.len() as u64));
            batch.open_floor = (floor != self.open_floor).then_some(floor);
            if let Err(error) = self.append(&batch) {
                accepted
                    .into_iter()
                    .for_each(|(_, pending)| pending.reject(error.clone(), &self.queue.metrics));
                return Err(error);
            }
            self.feed.put(batch.first_seq, &hashes);
            self.queue.set_slow(
                oldest.is_some_and(|since| since.elapsed() > self.queue.settings.commit_deadline),
            );
        }
        for (place, pending) in accepted {
            pending.acknowledge(place, &self.queue);
        }
        Ok(())
    }

    /// Where the record is to stand: at `seq`, or where its exchange was closed already.
    fn admit(
        &mut self,
        record: &Record,
        seq: u64,
        disk_low: Option<DiskLow>,
    ) -> Result<u64, JournalError> {
        if let Some(DiskLow { free, min, by_limit }) = disk_low {
            // The last room is for answers to what was forwarded.
            let min = match record.kind {
                Kind::Forwarded | Kind::Refused => min,
                Kind::Event => min.min(ballast::ENGINE_BYTES),
                Kind::Answer => 0,
            };
            if free < min {
                return Err(if by_limit {
                    JournalError::FileLimit { free, min }
                } else {
                    JournalError::DiskLow { free, min }
                });
            }
        }
        frame::check_leaf(&record.leaf)
            .map_err(|error| JournalError::Unstorable(Arc::new(error)))?;
        if let Some(content) =
            record.content.as_ref().filter(|content| content.bytes.len() > CONTENT_BYTES_MAX)
        {
            return Err(JournalError::ContentTooLong(content.bytes.len()));
        }
        match record.kind {
            Kind::Forwarded => self.open.open(record.id, seq),
            Kind::Answer => match self.open.close(record.id, seq) {
                Closing::First => (),
                Closing::Already(first) => return Ok(first),
                Closing::NotOpen => return Err(JournalError::NotOpen(record.id)),
            },
            Kind::Refused | Kind::Event => (),
        }
        Ok(seq)
    }

    fn entry(&mut self, record: &Record) -> Entry {
        self.look_at_clock(record);
        self.last_time = self.last_time.max(record.time);
        self.last_came = Some(Instant::now());
        Entry { time: self.last_time, kind: record.kind, id: record.id, leaf: record.leaf.clone() }
    }

    /// The trail's own times do not run back. When the clock does, that is told, and becomes a
    /// record, once; and when it jumps ahead, by which records would grow old at once.
    fn look_at_clock(&mut self, record: &Record) {
        let ahead = Duration::from_nanos(record.time.0.saturating_sub(self.last_time.0));
        let jumped = ahead.saturating_sub(self.last_came.map_or(Duration::ZERO, |at| at.elapsed()));
        if jumped >= CLOCK_AHEAD_MIN && self.last_time > Timestamp(0) {
            let (seconds, last) = (jumped.as_secs(), self.last_time.rfc3339());
            tracing::warn!(
                "the clock is {seconds} s ahead of the trail, which ends at {last}: no gateway ran for that long, or the clock has jumped; nothing is pruned by age for a day: see to the host's time"
            );
            self.queue.push_detached(Event::ClockAhead { seconds, trail_at: last }.record());
        }
        let back = Duration::from_nanos(self.last_time.0.saturating_sub(record.time.0));
        if back < CLOCK_BACK_MIN {
            // It has caught up when a call says so.
            self.clock_is_back &= !back.is_zero() || record.kind == Kind::Event;
        } else if !self.clock_is_back {
            self.clock_is_back = true;
            let (seconds, last) = (back.as_secs(), self.last_time.rfc3339());
            tracing::error!(
                "the clock has gone back by {seconds} s: calls are recorded, and stand in the trail at {last} until it has caught up; see to the host's time"
            );
            self.queue.push_detached(Event::ClockGoneBack { seconds, trail_at: last }.record());
        }
    }

    /// Makes a batch durable. An error is the end: after a failed sync nobody knows what is on the
    /// disk, and a second one would report success without having written what the first one
    /// dropped.
    fn append(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let started = Instant::now();
        let mut appended = self.store.append(batch);
        while appended.as_ref().is_err_and(StoreError::can_be_tried_again)
            && started.elapsed() < MEMORY_PATIENCE
        {
            std::thread::sleep(MEMORY_PAUSE);
            appended = self.store.append(batch);
        }
        if let Err(error) = appended {
            let error = JournalError::Failed(Arc::new(error));
            self.queue.fail(error.clone());
            tracing::error!("{}", self.queue.health().err().unwrap_or_default());
            return Err(error);
        }
        self.next_seq = self.next_seq.saturating_add(batch.entries.len() as u64);
        self.open_floor = batch.open_floor.unwrap_or(self.open_floor);
        self.durable.store(self.next_seq, Ordering::Release);
        let metrics = &self.queue.metrics;
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        metrics.commit_records.observe(batch.entries.len() as f64);
        for entry in &batch.entries {
            metrics.records.with_label_values(&[label(entry.kind)]).inc();
        }
        Ok(())
    }

    /// Nothing waits: see whether the disk has space again, and whether it is fast again.
    fn idle(&mut self) -> Result<(), JournalError> {
        self.look_after_disk();
        if self.queue.is_slow() {
            let started = Instant::now();
            self.queue.commits();
            self.append(&Batch {
                first_seq: self.next_seq,
                open_floor: Some(self.open_floor),
                ..Batch::default()
            })?;
            self.queue.set_slow(started.elapsed() > self.queue.settings.commit_deadline);
        }
        Ok(())
    }

    /// Whether the disk has too little room to take calls.
    fn look_after_disk(&mut self) -> Option<DiskLow> {
        let dir = &self.queue.settings.dir;
        let free = ballast::free_bytes(dir).unwrap_or_else(|error| {
            tracing::error!(%error, "the journal's disk cannot be asked for its free space");
            0
        });
        let growth = ballast::growth(dir).filter(|growth| *growth < free);
        self.queue.metrics.journal_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        self.keep_ballast(free);
        let min = self.queue.settings.free_bytes_min.saturating_add(self.ballast.owed());
        let low = match growth {
            // What was given up is owed by the disk.
            Some(growth) if growth < self.growth_min() => {
                Some(DiskLow { free: growth, min: self.growth_min(), by_limit: true })
            }
            _ => (free < min).then_some(DiskLow { free, min, by_limit: false }),
        };
        self.queue.set_disk_low(low);
        low
    }

    /// By how much the engine's file must be allowed to grow. The engine writes in segments: one
    /// that does not fit is its end.
    fn growth_min(&self) -> u64 {
        self.queue.settings.free_bytes_min.max(ballast::OPENING_BYTES)
    }

    /// Sees to the ballast, and whether all files are there, once a second.
    fn keep_ballast(&mut self, free: u64) {
        if self.ballast_kept.is_some_and(|at| at.elapsed() < TICK) {
            return;
        }
        self.ballast_kept = Some(Instant::now());
        self.queue.set_missing(self.store.missing());
        match self.ballast.keep(free, self.queue.settings.free_bytes_min) {
            Ok(kept) => {
                self.ballast_failed = false;
                let (dir, bytes, spare) = (
                    &self.queue.settings.dir,
                    self.queue.settings.ballast_bytes,
                    self.queue.settings.free_bytes_min,
                );
                // That one was given up is told where it is.
                let unfit = kept == Kept::NoRoom && self.ballast.owed() == 0;
                if unfit && !self.ballast_unfit {
                    tracing::warn!("{}", ballast::does_not_fit(dir, bytes, free, spare));
                }
                // It grows again, or is there: else the same is not said anew whenever a little is
                // freed.
                self.ballast_unfit = unfit;
            }
            Err(error) if !self.ballast_failed => {
                self.ballast_failed = true;
                let dir = self.queue.settings.dir.display();
                tracing::error!(%error, "the ballast in `{dir}` cannot be made: were the disk to fill up, the trail could not be opened; see to the disk, it is tried again");
            }
            Err(_) => (),
        }
    }
}

/// Speaks when the writer ends, however it ends: nobody may wait for a thread that is gone.
struct Epitaph(Arc<Queue>);

impl Drop for Epitaph {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.0.fail(JournalError::WriterGone);
        }
    }
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Forwarded => "forwarded",
        Kind::Refused => "refused",
        Kind::Answer => "answer",
        Kind::Event => "event",
    }
}
