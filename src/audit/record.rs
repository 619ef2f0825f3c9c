//! One record: its canonical bytes, and the body that stands beside them.

use crate::clock::{AuditId, Timestamp};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The version of the record's form, `v` in its JSON.
pub const VERSION: u32 = 1;

/// A record on its way to the journal.
#[derive(Clone, Debug)]
pub struct Record {
    /// The exchange.
    pub id: AuditId,
    /// What it records.
    pub kind: Kind,
    /// When it was made.
    pub time: Timestamp,
    /// Canonical JSON: sorted names, no floating point, UTF-8. Stored, hashed and exported as it is.
    pub leaf: Bytes,
    /// The body beside it, redacted.
    pub content: Option<Content>,
}

/// What a record records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call that is about to be forwarded: an answer record follows.
    Forwarded,
    /// A call that is refused: its only record.
    Refused,
    /// The outcome of a forwarded call.
    Answer,
    /// The gateway's own doing: start, stop, a new bundle.
    Event,
}

/// A body, redacted and perhaps cut, bound to its leaf by a salted hash so that it can be erased alone.
#[derive(Clone, Debug)]
pub struct Content {
    /// Random, stored with the body, erased with it.
    pub salt: [u8; 32],
    /// The redacted bytes.
    pub bytes: Bytes,
}

impl Content {
    /// Content with a fresh salt.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(bytes: Bytes) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        Ok(Self { salt, bytes })
    }

    /// `sha256:` of salt and bytes: stands in the leaf as `commit`.
    pub fn commitment(&self) -> String {
        let hash = Sha256::new().chain_update(self.salt).chain_update(&self.bytes).finalize();
        format!("sha256:{}", hex::encode(hash))
    }
}

/// Canonical bytes of a JSON value: names sorted, no spaces; floats are not used in records. Sorted here, because a
/// dependency makes `serde_json` keep names in the order in which they were inserted.
pub fn canonical(value: &Value) -> Bytes {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    Bytes::from(sorted.to_string())
}

/// The record that closes an exchange whose outcome nobody knows. `why` says what was seen last.
pub fn unknown_outcome(id: AuditId, why: &str) -> Record {
    let time = Timestamp::now();
    let leaf = json!({"v": VERSION, "kind": "answer", "id": id.to_string(), "time": time.rfc3339(), "outcome": "unknown", "detail": why});
    Record { id, kind: Kind::Answer, time, leaf: canonical(&leaf), content: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_at_every_depth() {
        let value = json!({"b": [{"z": 1, "a": 2}], "a": {"y": null, "x": "e"}});
        assert_eq!(canonical(&value), r#"{"a":{"x":"e","y":null},"b":[{"a":2,"z":1}]}"#);
    }
}
