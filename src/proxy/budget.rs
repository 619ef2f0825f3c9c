//! Bytes of bodies that the gateway holds at one time, all connections together.

use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is reserved at a time, in bytes.
pub const STEP_BYTES: usize = 64 * 1024;

/// How long a body waits for room before its call is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// The budget. Bodies of more than one step may use three quarters of it: a few long ones cannot shut out the many
/// short ones.
#[derive(Clone, Debug)]
pub struct Budget {
    all: Arc<Semaphore>,
    long: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Budget {
    /// A budget of so many bytes, at least room for one body of `body_bytes_max`.
    pub fn new(bytes: usize, body_bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        let steps = bytes.max(2 * body_bytes_max).div_ceil(STEP_BYTES).clamp(4, Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(steps)), long: Arc::new(Semaphore::new(steps - steps / 4)), metrics }
    }

    /// Room for one body, of which nothing is held yet.
    pub fn body(&self) -> Held {
        Held { budget: self.clone(), steps: Vec::new() }
    }

    async fn step(&self, long: bool) -> Option<Step> {
        let take = async {
            let long = match long {
                true => Some(Arc::clone(&self.long).acquire_owned().await.ok()?),
                false => None,
            };
            Some(Step { _all: Arc::clone(&self.all).acquire_owned().await.ok()?, _long: long })
        };
        tokio::time::timeout(PATIENCE, take).await.ok().flatten()
    }
}

#[derive(Debug)]
struct Step {
    _all: OwnedSemaphorePermit,
    _long: Option<OwnedSemaphorePermit>,
}

/// What one body holds of the budget; dropped, it is free.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    steps: Vec<Step>,
}

impl Held {
    /// Makes sure that so many bytes may be held, waiting for a while if need be. False when there is no room.
    pub async fn reserve(&mut self, bytes: usize) -> bool {
        while self.steps.len() * STEP_BYTES < bytes {
            let Some(step) = self.budget.step(!self.steps.is_empty()).await else { return false };
            self.budget.metrics.buffered_bytes.add(STEP_BYTES as i64);
            self.steps.push(step);
        }
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.metrics.buffered_bytes.sub((self.steps.len() * STEP_BYTES) as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_bodies_leave_room_for_short_ones() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let budget = Budget::new(8 * STEP_BYTES, 1, Arc::clone(&metrics));
        let (mut long, mut more) = (budget.body(), budget.body());
        assert!(long.reserve(6 * STEP_BYTES).await);
        assert!(!more.reserve(3 * STEP_BYTES).await, "a second long body finds no room");
        drop(more);
        let mut short = budget.body();
        assert!(short.reserve(1).await, "a short one does");
        assert_eq!(metrics.buffered_bytes.get(), 7 * STEP_BYTES as i64);
        drop((long, short));
        assert_eq!(metrics.buffered_bytes.get(), 0);
        assert!(budget.body().reserve(7 * STEP_BYTES).await);
    }
}
