//! A record as it is read: one of three kinds.

use crate::Kind;
use crate::call::{Answer, Body, Request};
use crate::event::Event;
use keyward_core::clock::{AuditId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Leaf {
    /// A call, and what was decided about it.
    Request(Box<Request>),
    /// What came of a call that was forwarded.
    Answer(Box<Answer>),
    /// Something that the gateway itself did or found.
    Event(Box<EventRecord>),
}

/// The record of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// The version of the form: 1.
    pub v: u32,
    /// Its audit id.
    pub id: String,
    /// When it was made: RFC 3339, UTC, microseconds.
    pub time: String,
    /// Of `refusals-counted` alone: whose refusals, as in the record of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Value>,
    /// Of `refusals-counted` alone: from where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Value>,
    /// Of `refusals-counted` alone: why they were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Value>,
    /// What was done or found.
    #[serde(flatten)]
    pub event: Event,
}

impl Leaf {
    /// Reads a record; `None` where it is none of this form, or an event that is not known here.
    pub fn read(leaf: &[u8]) -> Option<Self> {
        serde_json::from_slice(leaf).ok()
    }
}

/// What every reader needs of a record, also of one whose event is not known here, or that lacks
/// something.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Head {
    kind: String,
    id: String,
    time: String,
    decision: Judged,
    body: Body,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Judged {
    verdict: String,
}

impl Head {
    /// Reads it; `None` where it is no record at all.
    pub fn read(leaf: &[u8]) -> Option<Self> {
        serde_json::from_slice(leaf).ok()
    }

    /// The same of a record that was parsed already.
    pub fn of_json(json: &Value) -> Option<Self> {
        Self::deserialize(json).ok()
    }

    /// What it records; `None` where it does not say.
    pub fn kind(&self) -> Option<Kind> {
        match (self.kind.as_str(), self.decision.verdict.as_str()) {
            ("request", "allow" | "pass") => Some(Kind::Forwarded),
            ("request", "deny") => Some(Kind::Refused),
            ("answer", _) => Some(Kind::Answer),
            ("event", _) => Some(Kind::Event),
            _ => None,
        }
    }

    /// The exchange.
    pub fn id(&self) -> Option<AuditId> {
        AuditId::parse(&self.id)
    }

    /// When it was made.
    pub fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.time)
    }

    /// What it says of the body beside it.
    pub fn commit(&self) -> Option<&str> {
        self.body.commit.as_deref()
    }
}
