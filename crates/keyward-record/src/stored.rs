//! One record: its canonical bytes, and the body that stands beside them.

use crate::call::{Answer, Outcome};
use crate::{Leaf, canonical};
use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
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
    /// Canonical JSON: sorted names, no floating point, UTF-8. Stored, hashed and exported as it
    /// is.
    pub leaf: Bytes,
    /// The body beside it, redacted.
    pub content: Option<Content>,
}

/// A record in the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The trail's own time: never earlier than the entry before it. The leaf keeps the observed
    /// time.
    pub time: Timestamp,
    /// What it records.
    pub kind: Kind,
    /// The exchange.
    pub id: AuditId,
    /// Canonical JSON, byte for byte.
    pub leaf: Bytes,
}

/// The hash of a leaf in the tree of RFC 6962.
pub type LeafHash = [u8; 32];

/// The hash of a leaf: of a zero byte and the record as stored.
pub fn leaf_hash(leaf: &[u8]) -> LeafHash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
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

/// A body, redacted and perhaps cut, bound to its leaf by a salted hash so that it can be erased
/// alone.
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

/// The record that closes an exchange whose outcome nobody knows. `why` says what was seen last.
pub fn unknown_outcome(id: AuditId, why: &str) -> Record {
    let time = Timestamp::now();
    let answer = Answer {
        v: VERSION,
        id: id.to_string(),
        time: time.rfc3339(),
        outcome: Outcome::Unknown,
        detail: Some(why.to_owned()),
        whole: None,
        sent: None,
        status: None,
        caller_accepted: None,
        headers: None,
        body: None,
        upstream: None,
        timing_us: None,
    };
    let leaf = serde_json::to_value(Leaf::Answer(Box::new(answer))).unwrap_or_default();
    Record { id, kind: Kind::Answer, time, leaf: canonical(&leaf), content: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_binds_salt_and_bytes() {
        let content = Content { salt: [1; 32], bytes: Bytes::from_static(b"x") };
        assert_ne!(content.commitment(), Content { salt: [2; 32], ..content.clone() }.commitment());
        assert_ne!(
            content.commitment(),
            Content { bytes: Bytes::from_static(b"y"), ..content }.commitment()
        );
    }
}
