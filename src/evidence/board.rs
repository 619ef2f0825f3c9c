//! The newest checkpoint, shown to everybody in the process who waits for one.

use super::note::Signed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    newest: Option<Arc<Signed>>,
    closing: bool,
}

/// The board.
#[derive(Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest checkpoint; `None` until the first record.
    pub fn newest(&self) -> Option<Arc<Signed>> {
        self.state().newest.clone()
    }

    /// Shows a newer one.
    pub(super) fn show(&self, signed: Arc<Signed>) {
        self.state().newest = Some(signed);
        self.changed.notify_all();
    }

    /// Shows the same checkpoint with more signatures, unless a newer one is up already.
    pub(super) fn amend(&self, signed: Arc<Signed>) {
        let mut state = self.state();
        if state.newest.as_ref().is_some_and(|newest| newest.size() == signed.size()) {
            state.newest = Some(signed);
        }
    }

    /// No newer one will come.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    /// Whether no newer one will come.
    pub fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Waits up to `time`, or until the board closes.
    pub(super) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state();
        while !state.closing {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a checkpoint of another size than `size`. `None` when none will come, or none came for `time`.
    pub(super) fn next(&self, size: Option<u64>, time: Duration) -> Option<Arc<Signed>> {
        let is_new = |state: &State| state.newest.as_ref().is_some_and(|newest| Some(newest.size()) != size);
        let state = self.state();
        let (state, _) = self.changed.wait_timeout_while(state, time, |state| !is_new(state) && !state.closing).unwrap_or_else(PoisonError::into_inner);
        if is_new(&state) { state.newest.clone() } else { None }
    }
}
