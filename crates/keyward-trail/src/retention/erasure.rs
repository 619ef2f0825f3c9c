//! Erasure: the bodies of one exchange are taken out of the trail, for a reason that is recorded
//! first. Its records stay.

use crate::filter::{Filter, FilterError};
use crate::journal::{Journal, JournalError};
use crate::query::{PAGE_EXCHANGES_MAX, QueryError, Reader, no_exchange};
use crate::retention::{Holds, Retention};
use crate::store::StoreError;
use crate::tiered::TieredStore;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::error_chain::error_chain;
use keyward_record::event::{By, Span};
use keyward_record::{Event, EventName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where an erasure is asked for on the admin listener, by POST.
pub const ERASURES: &str = "/api/v1/erasures";
/// Characters of a reason, at most.
const REASON_CHARS_MAX: usize = 1000;

/// What is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// The exchange.
    pub id: String,
    /// Why; it is recorded.
    pub reason: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The exchange.
    pub id: String,
    /// The records whose bodies are gone.
    pub records: Vec<u64>,
    /// The record that tells of it.
    pub told_by: u64,
    /// It was begun before, when that record was written, and was not ended until now.
    #[serde(default)]
    pub ended: bool,
}

/// Why nothing was erased, or perhaps not all.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The request for it makes no sense.
    #[error("{0}")]
    Asked(String),
    /// There is nothing to erase.
    #[error("{0}")]
    Nothing(String),
    /// It is not the time for it.
    #[error("{0}")]
    Conflict(String),
    /// The trail cannot be read.
    #[error("the trail cannot be read")]
    Query(#[from] QueryError),
    /// The trail cannot be asked for erasures.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The erasure cannot be recorded, so it is not done.
    #[error("the erasure cannot be recorded, so nothing is erased")]
    Journal(#[from] JournalError),
    /// The store failed.
    #[error("the erasure is recorded, but was not done: ask for it again")]
    Store(#[from] StoreError),
}

impl Erasure {
    /// Erases. `by` says who asked. An erasure of the exchange that is on record, and was not
    /// ended, is ended. Blocks for about a second for each segment concerned.
    ///
    /// # Errors
    /// When there is nothing to erase, the exchange is open or on hold, or the record or the disk
    /// fails.
    pub fn run(&self, journal: &Journal, holds: &Holds, by: By) -> Result<Erased, ErasureError> {
        let id = AuditId::parse(&self.id)
            .ok_or_else(|| ErasureError::Asked(format!("`{}` is no audit id", self.id)))?;
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            return Err(ErasureError::Asked(format!(
                "say why in 1 to {REASON_CHARS_MAX} characters: the reason is recorded"
            )));
        }
        let reader = Reader::of(journal);
        let begun = told(&reader)?.into_iter().find(|told| told.id == id);
        let Some(wanted) = wanted(journal, holds, id)? else {
            return Err(ErasureError::Nothing(no_exchange(
                id,
                reader.gone_about(id).map_err(QueryError::from)?,
            )));
        };
        if wanted.records.is_empty() {
            let before =
                begun.map_or(String::new(), |told| format!(", as record {} tells", told.by));
            return Err(ErasureError::Nothing(format!(
                "exchange {id} has no bodies, or they were erased before{before}"
            )));
        }
        wanted.seal()?;
        if let Some(begun) = begun.filter(|begun| wanted.records.is_subset(&begun.records)) {
            return wanted.erase(begun.by, true);
        }
        let records = wanted.records.iter().map(|seq| Span { first: *seq, last: *seq }).collect();
        let event = Event::BodiesErased {
            exchange: self.id.clone(),
            records,
            reason: reason.to_owned(),
            by,
        };
        let told_by = journal.append_blocking(event.record())?.seq();
        wanted.erase(told_by, false)
    }
}

/// Ends the erasures that are on record and were not ended, because a gateway died meanwhile. For
/// whoever starts it.
pub fn end_begun(retention: &Retention) {
    let failed = |error: ErasureError| {
        tracing::error!(
            error = error_chain(&error),
            "an erasure that was recorded and not ended cannot be ended: ask for it again"
        )
    };
    let journal = retention.journal();
    let begun = retention
        .holds()
        .map_err(|error| ErasureError::Conflict(error.to_string()))
        .and_then(|holds| Ok((holds, told(&Reader::of(journal))?)));
    match begun {
        Ok((holds, told)) => told.into_iter().for_each(|told| {
            if let Err(error) = told.end(journal, &holds) {
                failed(error);
            }
        }),
        Err(error) => failed(error),
    }
}

/// An erasure, as its record tells of it.
struct Told {
    id: AuditId,
    records: BTreeSet<u64>,
    by: u64,
}

impl Told {
    /// Ends it if a body is still there.
    fn end(self, journal: &Journal, holds: &Holds) -> Result<(), ErasureError> {
        let bodies = journal.parts().0;
        let mut left = false;
        for seq in &self.records {
            left = left || bodies.content(*seq)?.is_some();
        }
        let Some(wanted) = (if left { wanted(journal, holds, self.id)? } else { None }) else {
            return Ok(());
        };
        wanted.seal()?;
        let erased = wanted.erase(self.by, true)?;
        tracing::warn!(
            exchange = erased.id,
            told_by = erased.told_by,
            "an erasure that was recorded before the last stop, and not ended, is ended now"
        );
        Ok(())
    }
}

/// The erasures on record, the newest first.
fn told(reader: &Reader) -> Result<Vec<Told>, ErasureError> {
    let mut told = Vec::new();
    let filter = Filter::parse([("event", EventName::BodiesErased.code())])?;
    let mut cursor = None;
    loop {
        let page = reader.query(&filter, PAGE_EXCHANGES_MAX, cursor)?;
        for event in page.exchanges {
            let Some(erased @ Event::BodiesErased { exchange, .. }) = &event.request.event() else {
                continue;
            };
            let Some(id) = AuditId::parse(exchange) else { continue };
            told.push(Told {
                id,
                records: erased.bodies_erased().flatten().collect(),
                by: event.request.seq,
            });
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(told);
        }
    }
}

/// An exchange, and its records that have bodies.
struct Wanted {
    id: AuditId,
    request: u64,
    records: BTreeSet<u64>,
    store: Arc<TieredStore>,
}

/// What there is to erase of an exchange; `None` when the trail has no such exchange.
fn wanted(journal: &Journal, holds: &Holds, id: AuditId) -> Result<Option<Wanted>, ErasureError> {
    let Some(mut exchange) = Reader::of(journal).show(id)? else { return Ok(None) };
    let bodies = journal.parts().0;
    for hold in &holds.holds {
        if hold.filter.at(Timestamp::now()).matches(&mut exchange, |seq| bodies.content(seq))? {
            return Err(ErasureError::Conflict(format!(
                "exchange {id} is on hold by `{}`: release it first",
                hold.name
            )));
        }
    }
    let parts = std::iter::once(&exchange.request).chain(&exchange.answer);
    let records = parts.filter(|part| part.content.is_some()).map(|part| part.seq).collect();
    let store = journal
        .tiered()
        .ok_or_else(|| ErasureError::Conflict("this trail has no sealed segments".to_owned()))?;
    Ok(Some(Wanted { id, request: exchange.request.seq, records, store }))
}

impl Wanted {
    fn seal(&self) -> Result<(), ErasureError> {
        let last = self.records.last().copied().unwrap_or(self.request);
        if self.store.seal_below(last.saturating_add(1))? {
            return Ok(());
        }
        Err(ErasureError::Conflict(format!(
            "record {last} cannot be sealed while its exchange, or an older one, is open: ask again later"
        )))
    }

    fn erase(self, told_by: u64, ended: bool) -> Result<Erased, ErasureError> {
        self.store.erase(&self.records, self.request)?;
        Ok(Erased {
            id: self.id.to_string(),
            records: self.records.into_iter().collect(),
            told_by,
            ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Settings;
    use crate::testing::metrics;
    use keyward_record::{Content, Kind, Record, canonical};
    use serde_json::json;

    fn record(id: AuditId, kind: Kind, body: &str) -> Record {
        let content = Content::new(body.as_bytes().to_vec().into()).unwrap();
        let time = Timestamp::now();
        let (name, verdict) =
            if kind == Kind::Answer { ("answer", "") } else { ("request", "allow") };
        let leaf = json!({"v": 1, "kind": name, "id": id.to_string(), "time": time.rfc3339(), "caller": {"name": "alice"}, "decision": {"verdict": verdict}, "body": {"commit": content.commitment()}});
        Record { id, kind, time, leaf: canonical(&leaf), content: Some(content) }
    }

    #[test]
    fn both_bodies_go_and_the_records_stay() {
        let dir = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics())
                .unwrap()
                .0;
        let (id, other) = (AuditId::new(), AuditId::new());
        for id in [other, id] {
            journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
            journal.append_blocking(record(id, Kind::Answer, "answered")).unwrap();
        }
        let erasure =
            Erasure { id: id.to_string(), reason: "request of a data subject".to_owned() };
        let run = |erasure: &Erasure, holds: &Holds| erasure.run(&journal, holds, By::default());

        let nobody =
            run(&Erasure { id: AuditId::new().to_string(), ..erasure.clone() }, &Holds::default())
                .unwrap_err();
        let unsaid = run(&Erasure { reason: " ".to_owned(), ..erasure.clone() }, &Holds::default())
            .unwrap_err();
        let mut filter = crate::filter::Filter::default();
        filter.add("where", "caller = alice").unwrap();
        let hold = crate::retention::Hold {
            name: "case".to_owned(),
            expression: String::new(),
            filter,
            reason: "r".to_owned(),
        };
        let held = run(&erasure, &Holds { holds: vec![hold] }).unwrap_err();
        assert!(
            matches!(
                (&nobody, &unsaid, &held),
                (ErasureError::Nothing(_), ErasureError::Asked(_), ErasureError::Conflict(_))
            ),
            "{nobody} {unsaid} {held}"
        );

        let erased = run(&erasure, &Holds::default()).unwrap();
        assert_eq!(
            erased,
            Erased { id: id.to_string(), records: vec![2, 3], told_by: 4, ended: false }
        );
        let reader = Reader::of(&journal);
        let shown = reader.show(id).unwrap().unwrap();
        assert!(
            shown.request.content.is_none() && shown.answer.as_ref().unwrap().content.is_none()
        );
        let other = reader.show(other).unwrap().unwrap();
        assert_eq!(
            (
                other.request.content.unwrap().bytes.as_ref(),
                other.answer.unwrap().content.unwrap().bytes.as_ref()
            ),
            (&b"asked"[..], &b"answered"[..])
        );
        assert!(matches!(run(&erasure, &Holds::default()), Err(ErasureError::Nothing(_))), "once");
    }

    #[test]
    fn what_is_open_is_not_erased() {
        let dir = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics())
                .unwrap()
                .0;
        let id = AuditId::new();
        journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
        let error = Erasure { id: id.to_string(), reason: "r".to_owned() }
            .run(&journal, &Holds::default(), By::default())
            .unwrap_err();
        assert!(matches!(error, ErasureError::Conflict(_)), "{error}");
    }

    /// Others go on writing meanwhile: an erasure seals what it needs, and does not run after them.
    #[test]
    fn an_erasure_beside_a_writer_ends_and_seals_no_more_than_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics())
                .unwrap()
                .0;
        let ids: Vec<_> = std::iter::repeat_with(AuditId::new).take(3).collect();
        let call = |id| {
            journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
            journal.append_blocking(record(id, Kind::Answer, "answered")).unwrap();
        };
        ids.iter().copied().for_each(call);
        let done = std::sync::atomic::AtomicBool::new(false);
        let store = journal.tiered().unwrap();
        std::thread::scope(|threads| {
            let writing = threads.spawn(|| {
                let begun = std::time::Instant::now();
                while !done.load(std::sync::atomic::Ordering::SeqCst)
                    && begun.elapsed() < std::time::Duration::from_secs(10)
                {
                    call(AuditId::new());
                }
            });
            for id in &ids {
                Erasure { id: id.to_string(), reason: "r".to_owned() }
                    .run(&journal, &Holds::default(), By::default())
                    .unwrap();
            }
            assert!(!writing.is_finished(), "it waited until nobody wrote");
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        assert_eq!(
            store.sealed().len(),
            1,
            "one segment had all that was to be sealed: {:?}",
            store.sealed()
        );
    }

    /// The record of it was written, and then the power failed: asking again, or the next start,
    /// ends it, and nothing is recorded twice.
    #[test]
    fn an_erasure_that_was_recorded_and_not_done_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(
            Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics())
                .unwrap()
                .0,
        );
        let ids = [AuditId::new(), AuditId::new(), AuditId::new()];
        for id in ids {
            journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
            journal.append_blocking(record(id, Kind::Answer, "answered")).unwrap();
        }
        for (first, id) in (0..).step_by(2).zip(&ids) {
            let records = [first, first + 1].map(|seq| Span { first: seq, last: seq }).to_vec();
            let event = Event::BodiesErased {
                exchange: id.to_string(),
                records,
                reason: "a test".to_owned(),
                by: By::default(),
            };
            journal.append_blocking(event.record()).unwrap();
        }
        let bodies = |id| {
            let shown = Reader::of(&journal).show(id).unwrap().unwrap();
            usize::from(shown.request.content.is_some())
                + usize::from(shown.answer.unwrap().content.is_some())
        };
        let erasure = Erasure { id: ids[0].to_string(), reason: "r".to_owned() };
        let ended = erasure.run(&journal, &Holds::default(), By::default()).unwrap();
        assert_eq!(
            ended,
            Erased { id: ids[0].to_string(), records: vec![0, 1], told_by: 6, ended: true }
        );
        assert_eq!((ids.map(bodies), Reader::of(&journal).durable()), ([0, 2, 2], 9));
        let again =
            erasure.run(&journal, &Holds::default(), By::default()).unwrap_err().to_string();
        assert!(again.contains("were erased before, as record 6 tells"), "{again}");

        // What came under a hold since stays.
        let holds = dir.path().join("holds.toml");
        std::fs::write(
            &holds,
            format!("[[hold]]\nname = 'case'\nwhere = 'id = {}'\nreason = 'r'\n", ids[1]),
        )
        .unwrap();
        let policy = crate::retention::Policy {
            max_age: None,
            max_bytes: None,
            holds_file: Some(holds),
            every: std::time::Duration::from_secs(1),
        };
        end_begun(&Retention::new(
            policy,
            Arc::clone(&journal),
            journal.tiered().unwrap(),
            metrics(),
            || u64::MAX,
        ));
        assert_eq!((ids.map(bodies), Reader::of(&journal).durable()), ([0, 2, 0], 9));
    }

    #[test]
    fn what_was_pruned_is_told_from_what_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics())
                .unwrap()
                .0;
        let id = AuditId::new();
        journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
        journal.append_blocking(record(id, Kind::Answer, "answered")).unwrap();
        let store = journal.tiered().unwrap();
        assert!(store.seal_below(2).unwrap());
        store.prune(std::slice::from_ref(&(0..2)), 2).unwrap();
        let error = Erasure { id: id.to_string(), reason: "r".to_owned() }
            .run(&journal, &Holds::default(), By::default())
            .unwrap_err();
        assert!(matches!(error, ErasureError::Nothing(_)), "{error}");
        assert!(
            error
                .to_string()
                .contains("records 0 to 1, which were pruned by policy: record 2 tells of it"),
            "{error}"
        );
    }
}
