//! The newest checkpoint, shown to everybody in the process who waits for one.

use keyward_tlog::key::WitnessKey;
use keyward_tlog::note::Signed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How far the evidence is from its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Checkpoints come.
    #[default]
    Open,
    /// The last one is being signed.
    Closing,
    /// None will come.
    Closed,
}

#[derive(Default)]
struct State {
    newest: Option<Arc<Signed>>,
    cosigned: Option<Arc<Signed>>,
    stage: Lifecycle,
}

/// The board.
#[derive(Default)]
pub struct Latest {
    state: Mutex<State>,
    changed: Condvar,
}

impl Latest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest checkpoint; `None` until the first record.
    pub fn newest(&self) -> Option<Arc<Signed>> {
        self.state().newest.clone()
    }

    /// The newest checkpoint that a witness has cosigned.
    pub fn cosigned(&self) -> Option<Arc<Signed>> {
        self.state().cosigned.clone()
    }

    /// Shows a newer one.
    pub fn show(&self, signed: Arc<Signed>) {
        self.state().newest = Some(signed);
        self.changed.notify_all();
    }

    /// Shows what was cosigned in an earlier run.
    pub fn show_cosigned(&self, signed: Arc<Signed>) {
        self.state().cosigned = Some(signed);
    }

    /// Adds a witness' cosignature to a checkpoint. The checkpoint with all that it has; `None`
    /// when `lines` hold none.
    pub fn cosign(
        &self,
        signed: &Arc<Signed>,
        lines: &[u8],
        witness: &WitnessKey,
    ) -> Option<Arc<Signed>> {
        let mut state = self.state();
        let same = |other: &&Arc<Signed>| other.size() == signed.size();
        let base = state.cosigned.as_ref().filter(same).unwrap_or(signed);
        let cosigned = Arc::new(base.cosigned(lines, witness)?);
        if state.newest.as_ref().is_some_and(|newest| same(&newest)) {
            state.newest = Some(Arc::clone(&cosigned));
        }
        if state.cosigned.as_ref().is_none_or(|other| other.size() <= signed.size()) {
            state.cosigned = Some(Arc::clone(&cosigned));
        }
        Some(cosigned)
    }

    /// Goes on towards the end.
    pub fn advance(&self, stage: Lifecycle) {
        let mut state = self.state();
        state.stage = state.stage.max(stage);
        drop(state);
        self.changed.notify_all();
    }

    /// How far the end is.
    pub fn stage(&self) -> Lifecycle {
        self.state().stage
    }

    /// Waits up to `time`, or until `stage` is reached.
    pub fn sleep(&self, time: Duration, stage: Lifecycle) {
        let until = Instant::now() + time;
        let mut state = self.state();
        while state.stage < stage {
            let Some(left) =
                until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return;
            };
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits up to `time` for a checkpoint of another size than `size`.
    pub fn next(&self, size: Option<u64>, time: Duration) -> Option<Arc<Signed>> {
        let is_new =
            |state: &State| state.newest.as_ref().is_some_and(|newest| Some(newest.size()) != size);
        let waits = |state: &mut State| !is_new(state) && state.stage < Lifecycle::Closed;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), time, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if is_new(&state) { state.newest.clone() } else { None }
    }
}
