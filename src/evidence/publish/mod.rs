//! Checkpoints, carried to places off the host. What somebody else holds cannot be taken back.
//!
//! Each place has a thread of its own, and takes the newest checkpoint when it is ready for one: a
//! place that is slow or away holds up nobody, and misses only checkpoints that later ones cover.

pub mod directory;
mod syslog;
mod webhook;
pub mod witness;

pub use directory::Directory;
pub use keyward_delivery::webhook::Webhook;
pub use syslog::Syslog;
pub use witness::Witness;

use crate::metrics::Metrics;
use keyward_delivery::client::busy::Busy;
use keyward_delivery::retry::{Pauses, Status};
use keyward_tlog::note::Signed;
use keyward_trail::notary::latest::{Latest, Lifecycle};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one attempt may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// When the newest is brought again to a place that confirms nothing.
const AGAIN: Duration = Duration::from_secs(60);

/// Somewhere that keeps checkpoints.
pub trait CheckpointSink: Send {
    /// What it is called in metrics and logs.
    fn name(&self) -> &str;

    /// Whether it says itself that it keeps what it was brought. To one that does not, the newest
    /// is brought twice.
    fn confirms(&self) -> bool {
        true
    }

    /// Brings it a checkpoint. Blocks, for some seconds at most.
    ///
    /// # Errors
    /// When it was not taken, as far as is known.
    fn publish(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()>;
}

/// Brings checkpoints to a place until the board is closed.
pub(super) fn run(
    mut place: Box<dyn CheckpointSink>,
    board: &Latest,
    metrics: &Metrics,
    every: Duration,
) {
    let name = place.name().to_owned();
    let size = metrics.checkpoint_place_size.with_label_values(&[&name]);
    let behind = metrics.checkpoint_place_behind_seconds.with_label_values(&[&name]);
    metrics.trail.checkpoint_failures.with_label_values(&[&name]).inc_by(0);
    let (mut brought, mut again) = (None, None::<Instant>);
    let mut since: Option<Instant> = None;
    let (mut pauses, mut status) =
        (Pauses::new(every.saturating_mul(2), PAUSE_MAX), Status::default());
    loop {
        let stage = board.stage();
        let next = board.next(brought, every.max(Duration::from_secs(1)));
        let is_due = again.is_some_and(|at| at <= Instant::now());
        if let Some(signed) = next.or_else(|| board.newest().filter(|_| is_due)) {
            let waited = *since.get_or_insert_with(Instant::now);
            match place.publish(&signed) {
                Ok(()) => {
                    if status.succeeded() {
                        tracing::info!(place = name, "the place takes checkpoints again");
                    }
                    let first = brought != Some(signed.size());
                    again = (first && !place.confirms()).then(|| Instant::now() + AGAIN);
                    (brought, since) = (Some(signed.size()), None);
                    pauses.reset();
                    size.set(i64::try_from(signed.size()).unwrap_or(i64::MAX));
                    behind.set(0);
                    board.sleep(every, Lifecycle::Closed);
                }
                Err(error) => {
                    let error_text = format!("{error:#}");
                    if status.failed(&error_text) {
                        tracing::error!(
                            place = name,
                            error = error_text,
                            "a checkpoint could not be brought there; trying again"
                        );
                    }
                    metrics.trail.checkpoint_failures.with_label_values(&[&name]).inc();
                    behind
                        .set(i64::try_from(waited.elapsed().as_secs()).unwrap_or(i64::MAX).max(1));
                    let asked = error
                        .chain()
                        .find_map(|cause| cause.downcast_ref::<Busy>())
                        .map(|busy| busy.0);
                    board.sleep(pauses.after_failure(asked), Lifecycle::Closed);
                }
            }
        }
        // The last checkpoint was up before this round: one attempt at it has been made.
        if stage == Lifecycle::Closed {
            return;
        }
    }
}

/// For places behind a network.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests;
