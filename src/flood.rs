//! Floods of refusals: what says the same again and again is counted, and each minute one record
//! tells of it with the exact number, so that neither a runaway script nor a stranger fills the
//! disk or buries what else is on record.
//!
//! What was allowed, or what a policy has judged, always has a record of its own.

use crate::metrics::Metrics;
use keyward_core::clock::AuditId;
use keyward_core::reason::Reason;
use keyward_decision::policy::{Decision, Question, Verdict};
use keyward_decision::request::source_of;
use keyward_trail::journal::Journal;
use keyward_trail::journal::counted::Counted;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long is counted before it goes on record: what a crash can lose.
const MINUTE: Duration = Duration::from_secs(60);

/// Triples of caller, source and reason that are told apart in a minute, of all known callers and
/// of all strangers. Those beyond are told apart by caller and reason alone.
const KNOWN_MAX: usize = 4096;
const STRANGE_MAX: usize = 1024;

/// Refusals in a minute that have records of their own. `None` is no bound.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Equal ones: of one caller, from one source, for one reason.
    pub equal: Option<NonZeroU32>,
    /// All those of one caller, or of all strangers together.
    pub all: Option<NonZeroU32>,
}

/// What is counted.
#[derive(Debug)]
pub struct Floods {
    bounds: Bounds,
    metrics: Arc<Metrics>,
    minute: Mutex<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    began: Option<Instant>,
    tallies: HashMap<Key, Tally>,
    /// Those that have a source, of known callers and of strangers.
    told_apart: [usize; 2],
    /// Refusals with a record of their own, by caller.
    own: HashMap<Option<String>, u32>,
    closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    caller: Option<String>,
    source: Option<IpAddr>,
    reason: Reason,
}

#[derive(Debug, Default)]
struct Tally {
    /// Those that have a record of their own.
    own: u32,
    counted: Option<Counted>,
}

impl Floods {
    /// Nothing counted yet.
    pub fn new(bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        Self { bounds, metrics, minute: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Minute> {
        // A panic under the lock leaves a count at worst.
        self.minute.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal that is one too many to have a record of its own, if records are taken. The
    /// id that its caller is given leads to the record that will tell of it.
    pub fn count(
        &self,
        question: &Question,
        decision: &Decision,
        records_are_taken: impl FnOnce() -> bool,
    ) -> Option<AuditId> {
        if !may_be_counted(decision) {
            return None;
        }
        let caller = question.caller.identity.as_ref().map(|identity| identity.name.clone());
        let mut minute = self.lock();
        if minute.closed {
            return None;
        }
        minute.began.get_or_insert_with(Instant::now);
        let key = minute.key(caller, source_of(question.source), decision.reason);
        let own_of_all = minute.own.get(&key.caller).copied().unwrap_or(0);
        let tally = minute.tallies.entry(key.clone()).or_default();
        let below =
            |own: u32, bound: Option<NonZeroU32>| bound.is_none_or(|bound| own < bound.get());
        let own = tally.counted.is_none()
            && below(tally.own, self.bounds.equal)
            && below(own_of_all, self.bounds.all);
        if own || !records_are_taken() {
            tally.own = tally.own.saturating_add(1);
            minute.own.insert(key.caller, own_of_all.saturating_add(1));
            return None;
        }
        self.metrics.refusals_counted.with_label_values(&[key.reason.code()]).inc();
        Some(match &mut tally.counted {
            Some(counted) => counted.add(question.now),
            None => {
                let counted = Counted::begin(
                    AuditId::new(),
                    key.caller,
                    key.source,
                    key.reason,
                    question.now,
                );
                let id = counted.first.1;
                tally.counted = Some(counted);
                id
            }
        })
    }

    /// Puts on record what was counted, when its minute is over.
    pub fn record(&self, journal: &Journal) {
        let mut minute = self.lock();
        // While no records are taken, what was counted waits.
        if minute.began.is_some_and(|began| began.elapsed() >= MINUTE) && journal.health().is_ok() {
            minute.end(journal);
        }
    }

    /// Puts on record what was counted, and counts nothing any more.
    pub fn close(&self, journal: &Journal) {
        let mut minute = self.lock();
        minute.end(journal);
        minute.closed = true;
    }

    /// Whether the record that will tell of the refusal with this id is still to come.
    pub fn is_pending(&self, id: AuditId) -> bool {
        self.lock()
            .tallies
            .values()
            .filter_map(|tally| tally.counted.as_ref())
            .any(|counted| counted.id.counts(id))
    }
}

impl Minute {
    /// What is told apart, in bounded memory: a source that varies everything is not told apart
    /// from others in the end.
    fn key(&mut self, caller: Option<String>, source: IpAddr, reason: Reason) -> Key {
        let (kind, max) = if caller.is_some() { (0, KNOWN_MAX) } else { (1, STRANGE_MAX) };
        let key = Key { caller, source: Some(source), reason };
        let Some(told_apart) =
            self.told_apart.get_mut(kind).filter(|_| !self.tallies.contains_key(&key))
        else {
            return key;
        };
        if *told_apart >= max {
            return Key { source: None, ..key };
        }
        *told_apart += 1;
        key
    }

    fn end(&mut self, journal: &Journal) {
        let tallies = std::mem::take(self).tallies;
        let mut counted: Vec<_> = tallies.into_values().filter_map(|tally| tally.counted).collect();
        counted.sort_unstable_by_key(|counted| counted.first);
        counted.iter().for_each(|counted| journal.append_detached(counted.record()));
    }
}

/// Whether a refusal may be counted: no policy has judged the call.
fn may_be_counted(decision: &Decision) -> bool {
    let by_policy =
        matches!(decision.reason, Reason::Forbidden | Reason::NotPermitted | Reason::PolicyError);
    decision.verdict == Verdict::Deny
        && !by_policy
        && decision.deciding.is_empty()
        && decision.errors.is_empty()
}
