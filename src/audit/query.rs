//! Reading the trail: pages, counts and single exchanges, the newest first.
//!
//! An answer stands after its request, so on the way back answers are met first and kept until their request comes.
//! Calls block and may read the whole trail; on a runtime they belong on a blocking thread.

use super::exchange::{Exchange, Part};
use super::field::Field;
use super::filter::{Filter, holds};
use super::frame::Entry;
use super::journal::Journal;
use super::record::Kind;
use super::store::{Frame, SledStore, Store, StoreError};
use crate::clock::{AuditId, Timestamp};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Exchanges on one page, at most.
pub const PAGE_EXCHANGES_MAX: usize = 1000;
/// Bytes of records on one page beyond the first exchange, at most.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Values that a count tells apart, at most.
pub const GROUPS_MAX: usize = 10_000;

/// Answers that wait for their request. As many exchanges would have to be open at one time to exceed it.
const ANSWERS_MAX: usize = 16_384;
/// Records after a page's start that are searched for the answers of exchanges before it.
const LOOK_AHEAD: u64 = 4096;

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The trail could not be read.
    #[error("the trail cannot be read")]
    Store(#[from] StoreError),
    /// There is no trail in the directory.
    #[error("there is no trail in `{0}`")]
    NoTrail(PathBuf),
    /// The cursor is no cursor.
    #[error("`{0}` is no cursor: take the one that came with the page before")]
    Cursor(String),
    /// The cursor came with a page of other exchanges.
    #[error("the cursor belongs to another filter: ask with the filter of the page that it came with")]
    ForeignCursor,
    /// Counts by something that does not exist.
    #[error("cannot count by `{name}`: use {allowed}, or a path such as `request.call.method`")]
    Field {
        /// What was given.
        name: String,
        /// What there is.
        allowed: String,
    },
}

/// Where the next page begins. A text for URLs; stable while records are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    before: u64,
    filter: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:016x}", self.before, self.filter)
    }
}

impl std::str::FromStr for Cursor {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let parsed = text.split_once('-').and_then(|(before, filter)| {
            let filter = (filter.len() == 16).then(|| u64::from_str_radix(filter, 16).ok())??;
            Some(Self { before: before.parse().ok()?, filter })
        });
        parsed.ok_or_else(|| QueryError::Cursor(text.to_owned()))
    }
}

/// A page of exchanges, the newest first.
#[derive(Debug)]
pub struct Page {
    /// The exchanges, without their bodies.
    pub exchanges: Vec<Exchange>,
    /// Where the next page begins; `None` when nothing is left. A full page may be followed by an empty one.
    pub next: Option<Cursor>,
}

/// How many exchanges match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// By value, the most frequent first. An exchange with several values counts for each. `(none)` has none;
    /// `(others)` is what came after [`GROUPS_MAX`] different values.
    pub groups: Vec<(String, u64)>,
}

/// The read side of the trail. Sees what is durable, and nothing else. A clone costs nothing.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    durable: Arc<AtomicU64>,
}

impl Reader {
    /// Reads what a running journal has made durable.
    pub fn of(journal: &Journal) -> Self {
        let (store, durable) = journal.parts();
        Self { store, durable }
    }

    /// Reads a stopped gateway's directory.
    ///
    /// # Errors
    /// When there is no trail, another process holds it, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, QueryError> {
        if !dir.join("trail").is_dir() {
            return Err(QueryError::NoTrail(dir.to_owned()));
        }
        let (store, _) = SledStore::open(dir)?;
        let end = store.newest_first(u64::MAX).next().transpose()?.map_or(0, |frame| frame.end());
        Ok(Self { store: Arc::new(store), durable: Arc::new(AtomicU64::new(end)) })
    }

    /// Reads records below `durable` of a store.
    #[cfg(test)]
    pub(super) fn over(store: impl Store + 'static, durable: u64) -> Self {
        Self { store: Arc::new(store), durable: Arc::new(AtomicU64::new(durable)) }
    }

    /// The number of records that are durable.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Up to `limit` exchanges that match, from the newest or from where `cursor` points.
    ///
    /// # Errors
    /// When the cursor came with another filter, or the trail cannot be read.
    pub fn query(&self, filter: &Filter, limit: usize, cursor: Option<Cursor>) -> Result<Page, QueryError> {
        let fingerprint = filter.fingerprint();
        if cursor.is_some_and(|cursor| cursor.filter != fingerprint) {
            return Err(QueryError::ForeignCursor);
        }
        let limit = limit.clamp(1, PAGE_EXCHANGES_MAX);
        let mut page = Page { exchanges: Vec::new(), next: None };
        let mut bytes = 0_usize;
        self.scan(filter, cursor.map_or(u64::MAX, |cursor| cursor.before), |mut exchange| {
            bytes = bytes.saturating_add(exchange.request.leaf.len() + exchange.answer.as_ref().map_or(0, |answer| answer.leaf.len()));
            let full = bytes > PAGE_BYTES_MAX && !page.exchanges.is_empty();
            if !full {
                exchange.request.content = None;
                exchange.answer.iter_mut().for_each(|answer| answer.content = None);
                page.exchanges.push(exchange);
            }
            if full || page.exchanges.len() == limit {
                page.next = page.exchanges.last().map(|last| Cursor { before: last.request.seq, filter: fingerprint });
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }

    /// How many exchanges match, by the values of `by` when it is given: a filter's name or a path.
    ///
    /// # Errors
    /// When `by` is no field, or the trail cannot be read.
    pub fn count(&self, filter: &Filter, by: Option<&str>) -> Result<Counts, QueryError> {
        let by = by.map(|name| {
            let allowed = || Field::names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Field::parse(name).ok_or_else(|| QueryError::Field { name: name.to_owned(), allowed: allowed() })
        });
        let by = by.transpose()?;
        let mut total = 0;
        let mut groups: BTreeMap<String, u64> = BTreeMap::new();
        let mut failed = None;
        self.scan(filter, u64::MAX, |mut exchange| {
            total += 1;
            let Some(field) = &by else { return ControlFlow::Continue(()) };
            if field.needs_content()
                && let Err(error) = self.load_content(&mut exchange)
            {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            let mut values = field.values(&exchange);
            if values.is_empty() {
                values.push("(none)".to_owned());
            }
            for value in values {
                let known = groups.len() < GROUPS_MAX || groups.contains_key(&value);
                *groups.entry(if known { value } else { "(others)".to_owned() }).or_default() += 1;
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        Ok(Counts { total, groups })
    }

    /// The exchange, or the event, with this id: records and bodies. `None` when the trail has none.
    ///
    /// # Errors
    /// When the trail cannot be read.
    pub fn show(&self, id: AuditId) -> Result<Option<Exchange>, QueryError> {
        let mut exchange = self.find(id)?;
        if let Some(exchange) = &mut exchange {
            self.load_content(exchange)?;
        }
        Ok(exchange)
    }

    pub(super) fn load_content(&self, exchange: &mut Exchange) -> Result<(), StoreError> {
        exchange.request.content = self.store.content(exchange.request.seq)?;
        if let Some(answer) = &mut exchange.answer {
            answer.content = self.store.content(answer.seq)?;
        }
        Ok(())
    }

    /// Shows `visit` each matching exchange whose request stands below `before`, the newest first.
    fn scan(&self, filter: &Filter, before: u64, mut visit: impl FnMut(Exchange) -> ControlFlow<()>) -> Result<(), QueryError> {
        let (since, until) = filter.bounds(Timestamp::now());
        let matches = |exchange: &mut Exchange| filter.matches(exchange, |seq| self.store.content(seq));
        if let Some(id) = filter.id() {
            if let Some(mut exchange) = self.find(id)?
                && exchange.request.seq < before
                && (since..until).contains(&exchange.request.time)
                && matches(&mut exchange)?
            {
                let _ = visit(exchange);
            }
            return Ok(());
        }
        let durable = self.durable.load(Ordering::Acquire);
        let end = before.min(if until.0 == u64::MAX { durable } else { self.first_at(until, durable)? });
        let needles = filter.needles();
        let mut answers = Answers::ahead(&*self.store, end, durable)?;
        for frame in self.store.newest_first(end) {
            let frame = frame?;
            for (seq, entry) in numbered(&frame).rev().filter(|(seq, _)| *seq < end) {
                if entry.time < since {
                    return Ok(());
                }
                if entry.kind == Kind::Answer {
                    answers.keep(seq, entry);
                    continue;
                }
                let answer = answers.take(&entry.id);
                if !filter.wants(entry.kind) || !needles.iter().all(|needle| holds(&entry.leaf, needle)) {
                    continue;
                }
                let answer = match answer {
                    Some((seq, entry)) => Some(Part::new(seq, &entry)),
                    None if entry.kind == Kind::Forwarded => answers.search(&*self.store, entry.id, seq, durable)?,
                    None => None,
                };
                let mut exchange = Exchange { id: entry.id, request: Part::new(seq, entry), answer };
                if matches(&mut exchange)? && visit(exchange).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The exchange without bodies. An id tells when it was made, so the search begins there.
    pub(super) fn find(&self, id: AuditId) -> Result<Option<Exchange>, QueryError> {
        let durable = self.durable.load(Ordering::Acquire);
        let made = id.0.get_timestamp().map_or(0, |time| time.to_unix().0.saturating_sub(1).saturating_mul(1_000_000_000));
        let begin = self.first_at(Timestamp(made), durable)?;
        let wanted = |entry: &Entry| entry.id == id && entry.kind != Kind::Answer;
        let found = match first(self.store.oldest_first(begin), durable, wanted)? {
            // A clock that was set back puts a record before its id's time.
            None => first(self.store.newest_first(begin), durable, wanted)?,
            found => found,
        };
        let Some(request) = found else { return Ok(None) };
        let answer = match request.kind {
            Kind::Forwarded => first(self.store.oldest_first(request.seq), durable, |entry| entry.id == id && entry.kind == Kind::Answer)?,
            Kind::Refused | Kind::Event | Kind::Answer => None,
        };
        Ok(Some(Exchange { id, request, answer }))
    }

    /// The first record not before `time`, or `durable`. The trail's time never goes back, so halving finds it.
    pub(super) fn first_at(&self, time: Timestamp, durable: u64) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, durable);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.store.oldest_first(middle).next().transpose()? {
                Some(frame) if frame.first_seq < high => match numbered(&frame).find(|(_, entry)| entry.time >= time) {
                    Some((seq, _)) if seq > frame.first_seq => return Ok(seq.min(durable)),
                    Some(_) => high = frame.first_seq.min(middle),
                    None => low = frame.end(),
                },
                _ => high = middle,
            }
        }
        Ok(low.min(durable))
    }
}

/// Answers whose request has not been met yet.
struct Answers {
    waiting: HashMap<AuditId, (u64, Entry)>,
    /// All records from the scan's start to here were searched.
    searched_to: u64,
    /// There were too many to keep all.
    forgot: bool,
}

impl Answers {
    /// The answers, shortly after `end`, of exchanges that began before it.
    fn ahead(store: &dyn Store, end: u64, durable: u64) -> Result<Self, StoreError> {
        let mut answers = Self { waiting: HashMap::new(), searched_to: end, forgot: false };
        let mut opened_here = HashSet::new();
        let frames = if end < durable { store.oldest_first(end) } else { Box::new(std::iter::empty()) };
        for frame in frames {
            let frame = frame?;
            for (seq, entry) in numbered(&frame).filter(|(seq, _)| (end..durable).contains(seq)) {
                match entry.kind {
                    Kind::Answer if !opened_here.contains(&entry.id) => answers.keep(seq, entry),
                    Kind::Forwarded => drop(opened_here.insert(entry.id)),
                    Kind::Answer | Kind::Refused | Kind::Event => (),
                }
            }
            answers.searched_to = frame.end().min(durable);
            if answers.searched_to >= end.saturating_add(LOOK_AHEAD).min(durable) {
                break;
            }
        }
        Ok(answers)
    }

    fn keep(&mut self, seq: u64, entry: &Entry) {
        if self.waiting.len() < ANSWERS_MAX {
            // A copy, so that it does not keep its whole frame in memory.
            let leaf = Bytes::copy_from_slice(&entry.leaf);
            self.waiting.insert(entry.id, (seq, Entry { leaf, ..entry.clone() }));
        } else {
            self.forgot = true;
        }
    }

    fn take(&mut self, id: &AuditId) -> Option<(u64, Entry)> {
        self.waiting.remove(id)
    }

    /// The answer that is not at hand: it comes later than was looked, or never.
    fn search(&self, store: &dyn Store, id: AuditId, request: u64, durable: u64) -> Result<Option<Part>, StoreError> {
        let from = if self.forgot { request } else { self.searched_to };
        if from >= durable {
            return Ok(None);
        }
        first(store.oldest_first(from), durable, |entry| entry.id == id && entry.kind == Kind::Answer)
    }
}

fn numbered(frame: &Frame) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
    frame.entries.iter().enumerate().map(|(n, entry)| (frame.first_seq.saturating_add(n as u64), entry))
}

/// The first durable entry that is wanted, in the order of the frames.
fn first(frames: impl Iterator<Item = Result<Frame, StoreError>>, durable: u64, wanted: impl Fn(&Entry) -> bool) -> Result<Option<Part>, StoreError> {
    for frame in frames {
        let frame = frame?;
        if let Some((seq, entry)) = numbered(&frame).find(|(seq, entry)| *seq < durable && wanted(entry)) {
            return Ok(Some(Part::new(seq, entry)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
