//! Where the gateway is in its life: what answers on readiness, and whether connections are kept.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the gateway is in its life. It only goes forward.
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

/// What the phases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is taken yet.
    Starting,
    /// Calls are taken.
    Serving,
    /// Calls are taken still, and whoever sends them is told to go elsewhere.
    Leaving,
    /// The listeners are closed.
    Stopping,
}

impl Phase {
    /// The present one.
    pub fn now(&self) -> Stage {
        match self.0.load(Ordering::SeqCst) {
            0 => Stage::Starting,
            1 => Stage::Serving,
            2 => Stage::Leaving,
            _ => Stage::Stopping,
        }
    }

    /// The listeners take calls.
    pub fn serving(&self) {
        self.0.fetch_max(1, Ordering::SeqCst);
    }

    /// It is about to end.
    pub fn leaving(&self) {
        self.0.fetch_max(2, Ordering::SeqCst);
    }

    /// The listeners are closed.
    pub fn stopping(&self) {
        self.0.fetch_max(3, Ordering::SeqCst);
    }

    /// Whether connections end with their next answer.
    pub fn ends_connections(&self) -> bool {
        matches!(self.now(), Stage::Leaving | Stage::Stopping)
    }

    /// Whether they are closed.
    pub fn is_stopping(&self) -> bool {
        self.now() == Stage::Stopping
    }
}
