//! An exchange as auditors see it: what was asked and decided, and what came of it.

use super::frame::Entry;
use super::record::{Content, Kind};
use crate::clock::{AuditId, Timestamp};
use crate::reason::Reason;
use bytes::Bytes;
use serde_json::Value;

/// A request's record with its answer's. The gateway's own events stand alone, in `request`.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its id.
    pub id: AuditId,
    /// What was asked and decided.
    pub request: Part,
    /// What came of it; `None` for refused calls, for events, and while the exchange is open.
    pub answer: Option<Part>,
}

/// One record of an exchange.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its place in the trail.
    pub seq: u64,
    /// The trail's own time, which never goes back. The leaf has the observed one.
    pub time: Timestamp,
    /// What it records.
    pub kind: Kind,
    /// The record, byte for byte.
    pub leaf: Bytes,
    /// The record, parsed. `Null` when it is no JSON.
    pub json: Value,
    /// The body beside it, when it was asked for.
    pub content: Option<Content>,
}

impl Part {
    /// The record at `seq`. The leaf is copied, so that it does not keep its whole frame in memory.
    pub fn new(seq: u64, entry: &Entry) -> Self {
        let json = serde_json::from_slice(&entry.leaf).unwrap_or_default();
        Self { seq, time: entry.time, kind: entry.kind, leaf: Bytes::copy_from_slice(&entry.leaf), json, content: None }
    }

    /// The text at a JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.json.pointer(pointer)?.as_str()
    }

    /// The stored body parsed, when it is JSON and was stored whole.
    pub fn content_json(&self) -> Option<Value> {
        let cut = self.json.pointer("/body/cut").and_then(Value::as_bool).unwrap_or(false);
        self.content.as_ref().filter(|_| !cut).and_then(|content| serde_json::from_slice(&content.bytes).ok())
    }
}

impl Exchange {
    /// What came of it: the answer's outcome, `refused`, `open`, or `event`.
    pub fn outcome(&self) -> &str {
        match (&self.answer, self.request.kind) {
            (Some(answer), _) => answer.text("/outcome").unwrap_or("unknown"),
            (None, Kind::Refused) => "refused",
            (None, Kind::Event) => "event",
            (None, Kind::Forwarded | Kind::Answer) => "open",
        }
    }

    /// The HTTP status that the caller was given: the answer's, or that of the refusal's reason.
    pub fn status(&self) -> Option<u16> {
        match &self.answer {
            Some(answer) => answer.json.get("status")?.as_u64()?.try_into().ok(),
            None if self.request.kind == Kind::Refused => {
                let code = self.request.text("/decision/reason")?;
                Reason::ALL.iter().find(|reason| reason.code() == code).map(|reason| reason.status())
            }
            None => None,
        }
    }
}
