//! Retention: how long the trail is kept, by age and by size, and what is kept longer because
//! somebody may still need it.
//!
//! What goes is whole sealed segments, the oldest first, and a record that tells of it is durable
//! before they do. The tree keeps the hashes, so that what remains, and what was exported, is
//! proved as before.

pub mod erasure;
mod holds;
mod keeper;
mod state;

pub use self::holds::{Hold, Holds, HoldsError};
pub use self::keeper::Keeper;
pub use self::state::{Held, Next, Sealed, State};

use crate::filter::{Filter, FilterError, WHERE};
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::query::{PAGE_EXCHANGES_MAX, QueryError, Reader};
use crate::store::{Store, StoreError};
use crate::tiered::{About, TieredStore, retold};
use crate::tombstone::{Removal, Tombstone};
use keyward_core::clock::Timestamp;
use keyward_core::error_chain::error_chain;
use keyward_record::event::{RetentionPolicy, Span};
use keyward_record::{Event, EventName};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the state of retention is shown on the admin listener.
pub const RETENTION: &str = "/api/v1/retention";
/// Segments of which one record tells: more would not fit.
const TOLD_MAX: usize = 200;
/// How long nothing is pruned by age after the clock has jumped ahead: time to notice it.
const CLOCK_TRUSTED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a record may wait for a checkpoint: they are signed every second.
const SIGNED_WITHIN: Duration = Duration::from_secs(30);

/// How long the trail is kept. Without bounds, for ever.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Segments whose last record is older go.
    pub max_age: Option<Duration>,
    /// The oldest segments go while all of them together have more bytes on the disk.
    pub max_bytes: Option<u64>,
    /// What is kept nevertheless.
    pub holds_file: Option<PathBuf>,
    /// How often that is looked at.
    pub every: Duration,
}

/// Removal nothing, or no more, was pruned.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// What is on hold is not known, so that everything is.
    #[error(transparent)]
    Holds(#[from] HoldsError),
    /// A hold is no question.
    #[error("hold `{name}`")]
    Filter {
        /// The hold.
        name: String,
        /// What is wrong with it.
        source: FilterError,
    },
    /// The trail cannot be asked.
    #[error("the trail cannot be asked what is on hold")]
    Query(#[from] QueryError),
    /// A segment that is due cannot be read.
    #[error(
        "a segment that is due cannot be read, so that it is not known whether it may go: nothing is pruned"
    )]
    Unread(#[source] StoreError),
    /// The pruning cannot be recorded, so it is not done.
    #[error("the pruning cannot be recorded, so nothing is pruned")]
    Journal(#[from] JournalError),
    /// Nobody signs.
    #[error(
        "the pruning is recorded as record {0}, which no checkpoint covers yet, so nothing is pruned: whoever verifies could not believe it"
    )]
    Unsigned(u64),
    /// The store failed.
    #[error("what is recorded as pruned could not be removed; the next start goes on with it")]
    Store(#[from] StoreError),
}

/// What would go now, and what would not.
#[derive(Debug, Default)]
pub struct Plan {
    /// What goes.
    pub prune: Vec<About>,
    /// What would go, and the hold that keeps it.
    pub held: Vec<(String, About)>,
    /// What would go, and waits: no checkpoint covers it, a push has not sent it, an exchange in
    /// it is open, or the clock has jumped ahead.
    pub waiting: Vec<About>,
    /// Bytes of all sealed segments.
    pub bytes: u64,
    /// How many there are.
    pub segments: usize,
}

/// Whoever prunes.
pub struct Retention {
    policy: Policy,
    journal: Arc<Journal>,
    store: Arc<TieredStore>,
    metrics: Arc<Metrics>,
    /// Records below have been sent wherever they are to be sent.
    sent: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Records below are under a checkpoint.
    signed: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Retention {
    /// By a policy, over a journal's trail. `sent` says up to which record everything has been sent
    /// on.
    pub fn new(
        policy: Policy,
        journal: Arc<Journal>,
        store: Arc<TieredStore>,
        metrics: Arc<Metrics>,
        sent: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            policy,
            journal,
            store,
            metrics,
            sent: Box::new(sent),
            signed: Box::new(|| u64::MAX),
        }
    }

    /// Waits for checkpoints: `signed` says how many records the newest covers. What goes leaves
    /// its hashes in the tree and nowhere else, and the record that tells of it counts once it
    /// is signed.
    pub fn behind(mut self, signed: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.signed = Box::new(signed);
        self
    }

    /// The journal of the trail.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is on hold.
    ///
    /// # Errors
    /// When the file cannot be read, or makes no sense.
    pub fn holds(&self) -> Result<Holds, HoldsError> {
        self.policy.holds_file.as_deref().map_or(Ok(Holds::default()), Holds::read)
    }

    /// What would go now, by what the segments' tables and indexes say.
    ///
    /// # Errors
    /// When a hold cannot be evaluated.
    pub fn plan(&self, holds: &Holds, now: Timestamp) -> Result<Plan, RetentionError> {
        self.plan_by(holds, now, false)
    }

    /// The same, or by the records alone: whoever can write a table or an index can make it say
    /// anything.
    fn plan_by(
        &self,
        holds: &Holds,
        now: Timestamp,
        by_records: bool,
    ) -> Result<Plan, RetentionError> {
        let sealed = self.store.sealed();
        let mut plan = Plan {
            bytes: sealed.iter().map(|about| about.bytes).sum(),
            segments: sealed.len(),
            ..Plan::default()
        };
        let oldest = self.policy.max_age.map(|age| {
            Timestamp(now.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
        });
        let jumped = oldest.is_some() && self.clock_has_jumped(now)?;
        let settled = (self.sent)().min((self.signed)()).min(self.store.open_floor()?);
        let mut bytes = plan.bytes;
        let mut answers: Vec<(u64, String)> = Vec::new();
        for mut about in sealed {
            let mut old = oldest.is_some_and(|oldest| about.last_time < oldest);
            if old && by_records {
                about.last_time =
                    self.store.newest_time(&about.range).map_err(RetentionError::Unread)?;
                old = oldest.is_some_and(|oldest| about.last_time < oldest);
            }
            let too_much = self.policy.max_bytes.is_some_and(|max| bytes > max);
            if !old && !too_much {
                break;
            }
            let for_answers = answers
                .iter()
                .find(|(answer, _)| about.range.contains(answer))
                .map(|(_, name)| name.clone());
            let own = self.hold_on(holds, &about.range, by_records)?;
            if let Some(name) = &own {
                // Answers to its requests may stand anywhere behind it; the segment right behind
                // stays in any case.
                let behind = self
                    .store
                    .answers_behind(&about.range, by_records)
                    .map_err(RetentionError::Unread)?;
                answers.extend(
                    behind
                        .into_iter()
                        .chain([about.range.end])
                        .map(|answer| (answer, name.clone())),
                );
            }
            match own.or(for_answers) {
                Some(name) => plan.held.push((name, about)),
                None if about.range.end > settled || jumped && !too_much => {
                    plan.waiting.push(about)
                }
                None => {
                    bytes = bytes.saturating_sub(about.bytes);
                    plan.prune.push(about);
                }
            }
        }
        Ok(plan)
    }

    /// Whether the clock has jumped ahead less than a day ago, so that what looks old may not be.
    fn clock_has_jumped(&self, now: Timestamp) -> Result<bool, RetentionError> {
        let since = Timestamp(now.0.saturating_sub(CLOCK_TRUSTED_AFTER.as_nanos() as u64));
        let mut jumps = Filter::default();
        let expression = format!(
            "event = {} and time > {} and time <= {}",
            EventName::ClockAhead.code(),
            since.rfc3339(),
            now.rfc3339()
        );
        jumps
            .add(WHERE, &expression)
            .map_err(|source| RetentionError::Filter { name: expression, source })?;
        Ok(Reader::of(&self.journal).count(&jumps, None)?.total > 0)
    }

    /// The first hold that an exchange in this range is under.
    fn hold_on(
        &self,
        holds: &Holds,
        range: &Range<u64>,
        by_records: bool,
    ) -> Result<Option<String>, RetentionError> {
        let reader = Reader::of(&self.journal);
        for hold in &holds.holds {
            if by_records {
                if reader
                    .has_by_reading(&hold.filter, range.clone())
                    .map_err(RetentionError::Unread)?
                {
                    return Ok(Some(hold.name.clone()));
                }
                continue;
            }
            let mut filter = hold.filter.clone();
            let within =
                filter.add(WHERE, &format!("seq >= {} and seq < {}", range.start, range.end));
            within.map_err(|source| RetentionError::Filter { name: hold.name.clone(), source })?;
            if reader.count(&filter, None)?.total > 0 {
                return Ok(Some(hold.name.clone()));
            }
        }
        Ok(None)
    }

    /// Prunes what is due: recorded first, then done.
    ///
    /// # Errors
    /// When what is on hold is not known, the record cannot be written, or the disk fails.
    pub fn prune(&self, holds: &Holds, now: Timestamp) -> Result<Plan, RetentionError> {
        let mut plan = self.plan(holds, now)?;
        if !plan.prune.is_empty() {
            // What goes cannot be had back.
            plan = self.plan_by(holds, now, true)?;
        }
        self.metrics.held_segments.set(plan.held.len() as i64);
        for part in plan.prune.chunks(TOLD_MAX) {
            let ranges: Vec<_> = part.iter().map(|about| about.range.clone()).collect();
            let told = self.told(part, &ranges, holds)?;
            let told_by = self.journal.append_blocking(told.record())?.seq();
            self.wait_until_signed(told_by)?;
            self.store.prune(&ranges, told_by)?;
            self.metrics
                .pruned_records
                .inc_by(ranges.iter().map(|range| range.end - range.start).sum());
        }
        Ok(plan)
    }

    fn wait_until_signed(&self, record: u64) -> Result<(), RetentionError> {
        let begun = Instant::now();
        while (self.signed)() <= record {
            if begun.elapsed() > SIGNED_WITHIN {
                return Err(RetentionError::Unsigned(record));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the record says: all that is gone by then, because the records that told of the rest
    /// may have gone too.
    fn told(
        &self,
        part: &[About],
        ranges: &[Range<u64>],
        holds: &Holds,
    ) -> Result<Event, RetentionError> {
        let all = retold(&self.store.tombstones(), ranges, u64::MAX);
        let gone = all.iter().filter(|absent| absent.told_by == u64::MAX);
        let records: Vec<_> = joined(gone.map(Tombstone::range)).iter().map(Span::of).collect();
        let erased: Vec<_> = self.erased(ranges, &all)?.iter().map(Span::of).collect();
        Ok(Event::RecordsPruned {
            records,
            erased,
            until: part.last().map(|about| about.last_time.rfc3339()),
            bytes: part.iter().map(|about| about.bytes).sum(),
            policy: self.recorded_policy(),
            holds: holds.names().into_iter().map(str::to_owned).collect(),
        })
    }

    /// Records that stay, and whose bodies were erased as only records in these ranges tell: a hold
    /// keeps the one and not the other.
    fn erased(
        &self,
        ranges: &[Range<u64>],
        gone: &[Tombstone],
    ) -> Result<Vec<Range<u64>>, RetentionError> {
        let reader = Reader::of(&self.journal);
        let mut erased = BTreeSet::new();
        for range in ranges {
            let mut filter = Filter::default();
            let expression = format!(
                "event in ({}, {}) and seq >= {} and seq < {}",
                EventName::BodiesErased.code(),
                EventName::RecordsPruned.code(),
                range.start,
                range.end
            );
            filter
                .add(WHERE, &expression)
                .map_err(|source| RetentionError::Filter { name: expression, source })?;
            let mut cursor = None;
            loop {
                let page = reader.query(&filter, PAGE_EXCHANGES_MAX, cursor)?;
                erased.extend(
                    page.exchanges
                        .iter()
                        .filter_map(|exchange| exchange.request.event())
                        .flat_map(|event| event.bodies_erased().flatten().collect::<Vec<_>>()),
                );
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        let stay = erased
            .into_iter()
            .filter(|seq| !gone.iter().any(|absent| absent.range().contains(seq)));
        Ok(joined(stay.map(|seq| seq..seq.saturating_add(1))))
    }

    fn recorded_policy(&self) -> RetentionPolicy {
        RetentionPolicy {
            max_age_seconds: self.policy.max_age.map(|age| age.as_secs()),
            max_bytes: self.policy.max_bytes,
        }
    }

    /// The policy, what is on hold, what would go now and what is gone, for people and programs.
    pub fn state(&self, now: Timestamp) -> State {
        let absent = self.store.tombstones();
        let gone = |why: Removal| {
            joined(absent.iter().filter(|absent| absent.why == why).map(Tombstone::range))
                .iter()
                .map(Span::of)
                .collect()
        };
        let planned = self
            .holds()
            .map_err(RetentionError::from)
            .and_then(|holds| Ok((self.plan(&holds, now)?, holds)));
        let next = match planned {
            Ok((plan, holds)) => Next::Planned {
                segments: plan.segments as u64,
                bytes: plan.bytes,
                due: plan.prune.iter().map(Sealed::of).collect(),
                waiting: plan.waiting.iter().map(Sealed::of).collect(),
                held: plan
                    .held
                    .iter()
                    .map(|(hold, about)| Held { hold: hold.clone(), segment: Sealed::of(about) })
                    .collect(),
                holds: holds.recorded(),
            },
            Err(error) => Next::Unknown { error: error_chain(&error) },
        };
        State {
            policy: self.recorded_policy(),
            pruned: gone(Removal::Pruned),
            lost: gone(Removal::Lost),
            next,
        }
    }
}

/// Ranges, those that touch as one.
fn joined(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
