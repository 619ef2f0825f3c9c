//! The thread that prunes, for as long as a gateway runs.

use super::{Holds, Plan, Retention, RetentionError};
use keyward_core::clock::Timestamp;
use keyward_core::error_chain::error_chain;
use keyward_record::Event;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// After a start, others have work to do first.
const FIRST: Duration = Duration::from_secs(60);

/// The thread; it ends when this is dropped or closed.
pub struct Keeper {
    retention: Arc<Retention>,
    running: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Keeper {
    /// Starts it. What the last run has left undone comes first, by `begin`.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(
        retention: Arc<Retention>,
        begin: impl FnOnce(&Retention) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let own = Arc::clone(&retention);
        let run = move || {
            begin(&own);
            let mut known = None;
            let mut wait = FIRST.min(own.policy().every);
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                look(&own, &mut known);
                wait = own.policy().every;
            }
        };
        let thread = std::thread::Builder::new().name("keyward-keeper".to_owned()).spawn(run)?;
        Ok(Self { retention, running: Mutex::new(Some((stop, thread))) })
    }

    /// What it goes by, and what it would do now.
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Ends it, when it has done what it is doing. Call it before the journal is closed.
    pub fn close(&self) {
        let Some((stop, thread)) =
            self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the keeper of the trail ended by a panic; nothing more was pruned");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
    }
}

/// Records what is on hold when that has changed, and prunes.
fn look(retention: &Retention, known: &mut Option<Holds>) {
    match prune(retention, known) {
        Ok(plan) if !plan.prune.is_empty() => {
            let records: u64 =
                plan.prune.iter().map(|about| about.range.end - about.range.start).sum();
            tracing::info!(
                records,
                segments = plan.prune.len(),
                held = plan.held.len(),
                "the trail was pruned by policy"
            );
        }
        Ok(plan) if !plan.waiting.is_empty() => {
            tracing::warn!(
                segments = plan.waiting.len(),
                "segments that are due to be pruned wait: no checkpoint covers them, a push has not sent them, an exchange in them is open, or the clock has jumped ahead less than a day ago"
            );
        }
        Ok(_) => (),
        Err(error) => {
            retention.metrics.prune_failures.inc();
            tracing::error!(error = error_chain(&error), "the trail was not pruned");
        }
    }
}

fn prune(retention: &Retention, known: &mut Option<Holds>) -> Result<Plan, RetentionError> {
    let holds = retention.holds()?;
    if known.as_ref().unwrap_or(&Holds::default()) != &holds {
        retention
            .journal
            .append_blocking(Event::HoldsInForce { holds: holds.recorded() }.record())?;
    }
    let plan = retention.prune(known.insert(holds), Timestamp::now())?;
    Ok(plan)
}
