//! The thread behind the writer: keeps the index in memory up to date, seals what is complete,
//! makes missing indexes.

use super::{Pace, Shared};
use crate::metrics::Metrics;
use crate::segment::SegmentError;
use crate::store::StoreError;
use keyward_core::clock::Timestamp;
use keyward_core::error_chain::error_chain;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks while records come.
const BUSY: Duration = Duration::from_millis(20);
/// Between two looks while none come: an append wakes the thread earlier.
const IDLE: Duration = Duration::from_secs(1);
/// After a failure: the disk may have room then.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Sealing waits while the disk has less than this for each record of a segment: it needs that
/// room, and calls need it more.
const FREE_BYTES_A_RECORD: u64 = 4096;
/// Behind everybody who answers calls, but not starved by them: what is not sealed stands in memory
/// and in sled.
const NICE: i32 = 10;

/// The thread; it ends when this is dropped.
pub(super) struct Sealer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    pub fn start(
        shared: Arc<Shared>,
        seal_after: Duration,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("keyward-sealer".to_owned())
            .spawn(move || run(&shared, seal_after, &metrics, &told))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Records have come.
    pub fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the sealer ended by a panic; the trail is whole without it");
            }
        }
    }
}

fn run(shared: &Shared, seal_after: Duration, metrics: &Metrics, stop: &AtomicBool) {
    // Where the system refuses, the small steps alone must do.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    let mut pace = Pace::beside_a_writer(stop);
    let mut seen = 0;
    let mut tidied = false;
    let mut has_room = true;
    while !stop.load(Ordering::Acquire) {
        let end = shared.end.load(Ordering::Acquire);
        let wait = match work(shared, seal_after, metrics, &mut tidied, &mut pace) {
            Ok(()) if end > seen => BUSY,
            Ok(()) => IDLE,
            Err(StoreError::Segment(SegmentError::Stopped)) => return,
            Err(error) => {
                metrics.seal_failures.inc();
                tracing::error!(
                    error = error_chain(&error),
                    "a segment could not be sealed; its records stay in the store, and it is tried again"
                );
                AFTER_FAILURE
            }
        };
        if std::mem::replace(&mut has_room, shared.has_room()) && !has_room {
            tracing::warn!(
                needed = shared.room_needed(),
                "too little is free on the disk of `{}`: sealing waits, and with it what is pruned or erased stays in its files; calls are taken all the same. \
                 Free some space",
                shared.dir.display()
            );
        }
        shared.tell(metrics);
        seen = end;
        rest(wait, stop);
    }
}

/// One look: follow, tidy up once, seal.
fn work(
    shared: &Shared,
    seal_after: Duration,
    metrics: &Metrics,
    tidied: &mut bool,
    pace: &mut Pace,
) -> Result<(), StoreError> {
    let end = shared.end.load(Ordering::Acquire);
    if !*tidied {
        // Whatever room there is: they may be what takes it. Others write such files too.
        let _changing = shared.change();
        shared.remove_unfinished();
    }
    if !*tidied && shared.has_room() {
        shared.remove_absent()?;
        shared.let_go(pace)?;
        shared.reindex_all(false, pace, &mut |_, _| ())?;
        *tidied = true;
    }
    pace.hurry(end.saturating_sub(shared.sealed_end()) > 3 * shared.segment_records);
    shared.follow(end, pace)?;
    while shared.has_room() && shared.seal_next(pace)? {
        shared.tell(metrics);
    }
    let due = Timestamp(
        Timestamp::now().0.saturating_sub(u64::try_from(seal_after.as_nanos()).unwrap_or(u64::MAX)),
    );
    if shared.oldest_unsealed()?.is_some_and(|oldest| oldest < due) && shared.has_room() {
        shared.seal_early(pace)?;
    }
    Ok(())
}

/// Waits; an append cuts it short only when it is the long wait of an idle trail.
fn rest(wait: Duration, stop: &AtomicBool) {
    if wait == IDLE {
        std::thread::park_timeout(IDLE);
        return;
    }
    let begun = std::time::Instant::now();
    while begun.elapsed() < wait && !stop.load(Ordering::Acquire) {
        std::thread::sleep((wait - begun.elapsed().min(wait)).min(BUSY));
    }
}

impl Shared {
    /// How far sealing is.
    fn tell(&self, metrics: &Metrics) {
        let (end, sealed) = (self.end.load(Ordering::Acquire), self.sealed_end());
        metrics.sealed_records.set(i64::try_from(sealed).unwrap_or(i64::MAX));
        metrics.unsealed_records.set(i64::try_from(end.saturating_sub(sealed)).unwrap_or(i64::MAX));
    }

    fn has_room(&self) -> bool {
        let dir = if self.dir.exists() {
            self.dir.as_path()
        } else {
            self.dir.parent().unwrap_or(&self.dir)
        };
        rustix::fs::statvfs(dir)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= self.room_needed())
    }

    /// Bytes that must be free to seal.
    fn room_needed(&self) -> u64 {
        self.segment_records.saturating_mul(FREE_BYTES_A_RECORD)
    }

    /// Files that a crash has left half written.
    pub(super) fn remove_unfinished(&self) {
        let Ok(files) = std::fs::read_dir(&self.dir) else { return };
        for file in files
            .flatten()
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|e| e == "tmp"))
        {
            std::fs::remove_file(file).ok();
        }
    }
}
