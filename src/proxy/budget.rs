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
        Held { budget: self.clone(), steps: Vec::new(), long: Vec::new() }
    }
}

async fn take(from: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(PATIENCE, Arc::clone(from).acquire_owned()).await.ok()?.ok()
}

/// What one body holds of the budget; dropped, it is free.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    steps: Vec<OwnedSemaphorePermit>,
    /// One for each step of a long body.
    long: Vec<OwnedSemaphorePermit>,
}

impl Held {
    /// Makes sure that so many bytes of a body may be held, waiting for a while if need be; `announced` is its whole
    /// length, if that is known. False when there is no room.
    pub async fn reserve(&mut self, bytes: usize, announced: usize) -> bool {
        let steps = bytes.div_ceil(STEP_BYTES);
        while bytes.max(announced) > STEP_BYTES && self.long.len() < steps {
            let Some(permit) = take(&self.budget.long).await else { return false };
            self.long.push(permit);
        }
        while self.steps.len() < steps {
            let Some(permit) = take(&self.budget.all).await else { return false };
            self.budget.metrics.buffered_bytes.add(STEP_BYTES as i64);
            self.steps.push(permit);
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
        let (mut long, mut announced, mut grown) = (budget.body(), budget.body(), budget.body());
        assert!(long.reserve(6 * STEP_BYTES, 0).await);
        assert!(!announced.reserve(1, 2 * STEP_BYTES).await, "a second long body finds no room for its first byte");
        assert!(grown.reserve(STEP_BYTES, 0).await && !grown.reserve(STEP_BYTES + 1, 0).await, "nor does one that turns out to be long");
        drop(grown);
        let (mut short, mut other) = (budget.body(), budget.body());
        assert!(short.reserve(1, 1).await && other.reserve(STEP_BYTES, 0).await, "short ones do");
        assert_eq!(metrics.buffered_bytes.get(), 8 * STEP_BYTES as i64);
        drop((long, announced, short, other));
        assert_eq!(metrics.buffered_bytes.get(), 0);
        assert!(budget.body().reserve(6 * STEP_BYTES, 0).await);
    }
}
