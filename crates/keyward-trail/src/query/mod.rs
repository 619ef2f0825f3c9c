//! Reading the trail: pages, counts and single exchanges, the newest first.
//!
//! Where the trail has an index, only what may match is read; where it has none, all is. Calls
//! block and may read the whole trail; on a runtime they belong on a blocking thread.

pub mod ask;
mod count;
mod counted;
mod doubts;
mod gone;
mod histogram;
pub mod known;
mod plan;
pub mod render;
mod scan;

use self::known::Names;
use crate::exchange::Exchange;
use crate::filter::Filter;
#[cfg(feature = "sled")]
use crate::journal::Journal;
use crate::store::{Store, StoreError};
#[cfg(feature = "sled")]
use crate::tiered::TieredStore;
use keyward_core::clock::AuditId;
use std::ops::ControlFlow;
#[cfg(feature = "sled")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Exchanges on one page, at most.
pub const PAGE_EXCHANGES_MAX: usize = 1000;
/// Bytes of records on one page beyond the first exchange, at most.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

pub use self::count::{Counts, GROUPS_MAX};
pub use self::counted::CountedRefusals;
pub(super) use self::gone::no_exchange;
pub use self::histogram::{BUCKETS_MAX, Histogram};

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The trail could not be read.
    #[error("the trail cannot be read")]
    Store(#[from] StoreError),
    /// There is no trail in the directory.
    #[error("there is no trail in `{0}`")]
    NoTrail(PathBuf),
    /// Nothing knows a name that is asked for.
    #[error("{0}")]
    Unknown(String),
    /// Nothing can be between the times.
    #[error("{0}")]
    Times(String),
    /// The cursor is no cursor.
    #[error("`{0}` is no cursor: take the one that came with the page before")]
    Cursor(String),
    /// The cursor came with a page of other exchanges.
    #[error(
        "the cursor belongs to another filter: ask with the filter of the page that it came with"
    )]
    ForeignCursor,
    /// Counts by something that does not exist.
    #[error("cannot count by `{name}`: use {allowed}, or a path such as `request.call.method`")]
    Field {
        /// What was given.
        name: String,
        /// What there is.
        allowed: String,
    },
    /// A histogram of a step that cannot be, or makes too many bars.
    #[error("a histogram by `{step}` cannot be: {why}")]
    Step {
        /// What was given.
        step: String,
        /// Why not.
        why: String,
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
    /// Where the next page begins; `None` when nothing is left. A full page may be followed by an
    /// empty one.
    pub next: Option<Cursor>,
    /// Refusals of this part of the trail that were counted together and may match: they stand
    /// beside.
    pub counted: CountedRefusals,
}

/// The read side of the trail. Sees what is durable, and nothing else. A clone costs nothing.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    durable: Arc<AtomicU64>,
    /// Set when nobody waits for the answer any more.
    called_off: Arc<AtomicBool>,
    /// Where names are looked up that no record has.
    known: Option<Arc<dyn Fn() -> Names + Send + Sync>>,
}

/// Calls a question off when it is dropped, before its answer or behind it.
#[derive(Debug)]
pub struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Reader {
    /// For one question: it ends soon after the asker is dropped, with an error.
    pub fn asked(mut self) -> (Self, Asker) {
        self.called_off = Arc::default();
        let asker = Asker(Arc::clone(&self.called_off));
        (self, asker)
    }

    /// Looks up names that no record has.
    pub fn knowing(mut self, names: impl Fn() -> Names + Send + Sync + 'static) -> Self {
        self.known = Some(Arc::new(names));
        self
    }

    fn names(&self) -> Names {
        self.known.as_ref().map_or_else(Names::default, |names| names())
    }

    /// # Errors
    /// When nobody waits any more.
    fn go_on(&self) -> Result<(), StoreError> {
        if self.called_off.load(Ordering::Relaxed) { Err(StoreError::CalledOff) } else { Ok(()) }
    }

    /// Reads what a running journal has made durable.
    #[cfg(feature = "sled")]
    pub fn of(journal: &Journal) -> Self {
        let (store, durable) = journal.parts();
        Self { store, durable, called_off: Arc::default(), known: None }
    }

    /// Reads a stopped gateway's directory.
    ///
    /// # Errors
    /// When there is no trail, another process holds it, or it cannot be read.
    #[cfg(feature = "sled")]
    pub fn open(dir: &Path) -> Result<Self, QueryError> {
        if !dir.join("trail").is_dir() {
            return Err(QueryError::NoTrail(dir.to_owned()));
        }
        let (store, opened) = TieredStore::open(dir)?;
        opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let end = store.newest_first(u64::MAX).next().transpose()?.map_or(0, |frame| frame.end());
        Ok(Self {
            store: Arc::new(store),
            durable: Arc::new(AtomicU64::new(end)),
            called_off: Arc::default(),
            known: None,
        })
    }

    /// Reads records below `durable` of a store.
    #[cfg(test)]
    pub(super) fn over(store: impl Store + 'static, durable: u64) -> Self {
        Self::over_shared(Arc::new(store), durable)
    }

    #[cfg(test)]
    pub(super) fn over_shared(store: Arc<dyn Store>, durable: u64) -> Self {
        Self {
            store,
            durable: Arc::new(AtomicU64::new(durable)),
            called_off: Arc::default(),
            known: None,
        }
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
    pub fn query(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<Page, QueryError> {
        let fingerprint = filter.fingerprint();
        if cursor.is_some_and(|cursor| cursor.filter != fingerprint) {
            return Err(QueryError::ForeignCursor);
        }
        let limit = limit.clamp(1, PAGE_EXCHANGES_MAX);
        let mut page =
            Page { exchanges: Vec::new(), next: None, counted: CountedRefusals::default() };
        let mut bytes = 0_usize;
        let before = cursor.map_or(u64::MAX, |cursor| cursor.before);
        self.scan(&self.question(filter)?, before, &mut |mut exchange| {
            bytes = bytes.saturating_add(
                exchange.request.leaf.len()
                    + exchange.answer.as_ref().map_or(0, |answer| answer.leaf.len()),
            );
            let full = bytes > PAGE_BYTES_MAX && !page.exchanges.is_empty();
            if !full {
                exchange.request.content = None;
                exchange.answer.iter_mut().for_each(|answer| answer.content = None);
                page.exchanges.push(exchange);
            }
            if full || page.exchanges.len() == limit {
                page.next = page
                    .exchanges
                    .last()
                    .map(|last| Cursor { before: last.request.seq, filter: fingerprint });
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let from = page.next.map_or(0, |next| next.before);
        page.counted = self.counted_within(filter, from..before)?;
        Ok(page)
    }

    /// The exchange, or the event, with this id: records and bodies. `None` when the trail has
    /// none.
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
}

#[cfg(test)]
mod tests;
