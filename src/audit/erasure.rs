//! Erasure: the bodies of one exchange are taken out of the trail, for a reason that is recorded first. Its records stay.

use super::absent::BODIES_ERASED;
use super::journal::{Journal, JournalError};
use super::leaf;
use super::query::{QueryError, Reader};
use super::retention::Holds;
use super::store::StoreError;
use crate::clock::{AuditId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// The erasure cannot be recorded, so it is not done.
    #[error("the erasure cannot be recorded, so nothing is erased")]
    Journal(#[from] JournalError),
    /// The store failed.
    #[error("the erasure is recorded, but was not done: ask for it again")]
    Store(#[from] StoreError),
}

impl Erasure {
    /// Erases. `by` says who asked. Blocks for about a second for each segment concerned.
    ///
    /// # Errors
    /// When there is nothing to erase, the exchange is open or on hold, or the record or the disk fails.
    pub fn run(&self, journal: &Journal, holds: &Holds, by: Value) -> Result<Erased, ErasureError> {
        let id = AuditId::parse(&self.id).ok_or_else(|| ErasureError::Asked(format!("`{}` is no audit id", self.id)))?;
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            return Err(ErasureError::Asked(format!("say why in 1 to {REASON_CHARS_MAX} characters: the reason is recorded")));
        }
        let reader = Reader::of(journal);
        let mut exchange = reader.show(id)?.ok_or_else(|| ErasureError::Nothing(format!("the trail has no exchange {id}")))?;
        let bodies = journal.parts().0;
        for hold in &holds.holds {
            let held = hold.filter.at(Timestamp::now()).matches(&mut exchange, |seq| bodies.content(seq))?;
            if held {
                return Err(ErasureError::Conflict(format!("exchange {id} is on hold by `{}`: release it first", hold.name)));
            }
        }
        let parts = std::iter::once(&exchange.request).chain(&exchange.answer);
        let records: Vec<_> = parts.filter(|part| part.content.is_some()).map(|part| part.seq).collect();
        if records.is_empty() {
            return Err(ErasureError::Nothing(format!("exchange {id} has no bodies, or they were erased before")));
        }
        let store = journal.tiered().ok_or_else(|| ErasureError::Conflict("this trail has no sealed segments".to_owned()))?;
        store.seal_early()?;
        if let Some(open) = records.iter().find(|seq| **seq >= store.sealed_end()) {
            return Err(ErasureError::Conflict(format!("record {open} cannot be sealed while its exchange, or an older one, is open: ask again later")));
        }
        let ranges: Vec<_> = records.iter().map(|seq| json!({"first": seq, "last": seq})).collect();
        let detail = json!({"exchange": self.id, "records": ranges, "reason": reason, "by": by});
        let told_by = journal.append_blocking(leaf::event(BODIES_ERASED, detail))?.seq();
        store.erase(&records.iter().copied().collect())?;
        Ok(Erased { id: self.id.clone(), records, told_by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::Settings;
    use crate::audit::record::{Content, Kind, Record, canonical};
    use crate::audit::testing::metrics;

    fn record(id: AuditId, kind: Kind, body: &str) -> Record {
        let content = Content::new(body.as_bytes().to_vec().into()).unwrap();
        let time = Timestamp::now();
        let (name, verdict) = if kind == Kind::Answer { ("answer", "") } else { ("request", "allow") };
        let leaf = json!({"v": 1, "kind": name, "id": id.to_string(), "time": time.rfc3339(), "caller": {"name": "alice"}, "decision": {"verdict": verdict}, "body": {"commit": content.commitment()}});
        Record { id, kind, time, leaf: canonical(&leaf), content: Some(content) }
    }

    #[test]
    fn both_bodies_go_and_the_records_stay() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics()).unwrap().0;
        let (id, other) = (AuditId::new(), AuditId::new());
        for id in [other, id] {
            journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
            journal.append_blocking(record(id, Kind::Answer, "answered")).unwrap();
        }
        let erasure = Erasure { id: id.to_string(), reason: "request of a data subject".to_owned() };
        let run = |erasure: &Erasure, holds: &Holds| erasure.run(&journal, holds, json!("a test"));

        let nobody = run(&Erasure { id: AuditId::new().to_string(), ..erasure.clone() }, &Holds::default()).unwrap_err();
        let unsaid = run(&Erasure { reason: " ".to_owned(), ..erasure.clone() }, &Holds::default()).unwrap_err();
        let mut filter = crate::audit::filter::Filter::default();
        filter.add("where", "caller = alice").unwrap();
        let hold = crate::audit::retention::Hold { name: "case".to_owned(), expression: String::new(), filter, reason: "r".to_owned() };
        let held = run(&erasure, &Holds { holds: vec![hold] }).unwrap_err();
        assert!(matches!((&nobody, &unsaid, &held), (ErasureError::Nothing(_), ErasureError::Asked(_), ErasureError::Conflict(_))), "{nobody} {unsaid} {held}");

        let erased = run(&erasure, &Holds::default()).unwrap();
        assert_eq!(erased, Erased { id: id.to_string(), records: vec![2, 3], told_by: 4 });
        let reader = Reader::of(&journal);
        let shown = reader.show(id).unwrap().unwrap();
        assert!(shown.request.content.is_none() && shown.answer.as_ref().unwrap().content.is_none());
        let other = reader.show(other).unwrap().unwrap();
        assert_eq!((other.request.content.unwrap().bytes.as_ref(), other.answer.unwrap().content.unwrap().bytes.as_ref()), (&b"asked"[..], &b"answered"[..]));
        assert!(matches!(run(&erasure, &Holds::default()), Err(ErasureError::Nothing(_))), "once");
    }

    #[test]
    fn what_is_open_is_not_erased() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(Settings { free_bytes_min: 1, ..Settings::new(dir.path()) }, metrics()).unwrap().0;
        let id = AuditId::new();
        journal.append_blocking(record(id, Kind::Forwarded, "asked")).unwrap();
        let error = Erasure { id: id.to_string(), reason: "r".to_owned() }.run(&journal, &Holds::default(), json!(null)).unwrap_err();
        assert!(matches!(error, ErasureError::Conflict(_)), "{error}");
    }
}
