//! Whoever waits for sled to write must not wait for ever.
//!
//! When a write fails that one of sled's own threads has made, sled notes the error but does not
//! wake who waits in `flush`. A second `flush` finds the error, and wakes the first one too. So
//! whenever one takes long, a second one is tried beside it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The first nudge comes after this time, each later one after twice as long: a disk that is merely
/// slow gets few.
const FIRST: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    /// Since when somebody waits, and when the next nudge is due.
    waiting: Option<(Instant, Duration)>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    end: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that nudges, until it is ended.
pub(super) struct Nudge {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Nudge {
    /// Watches over an engine.
    pub fn start(db: &sled::Db) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (db, watched) = (db.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("keyward-nudge".to_owned())
            .spawn(move || run(&db, &watched))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Does what may have to wait. One at a time.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.state().waiting = Some((Instant::now(), FIRST));
        let done = work();
        self.shared.state().waiting = None;
        done
    }

    /// Lets go of the engine.
    pub fn end(&mut self) {
        self.shared.state().ended = true;
        self.shared.end.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches over the storage engine ended by a panic");
        }
    }
}

fn run(db: &sled::Db, shared: &Shared) {
    let mut state = shared.state();
    while !state.ended {
        state = shared.end.wait_timeout(state, FIRST).unwrap_or_else(PoisonError::into_inner).0;
        if let Some((since, due)) = &mut state.waiting
            && since.elapsed() >= *due
        {
            *due *= 2;
            let db = db.clone();
            // It may have to wait as well, until the next one comes. What it finds is for the one
            // who waits.
            let nudge = std::thread::Builder::new()
                .name("keyward-nudge".to_owned())
                .spawn(move || db.flush().is_ok());
            if let Err(error) = nudge {
                tracing::error!(%error, "the storage engine takes long, and cannot be asked why");
            }
        }
    }
}
