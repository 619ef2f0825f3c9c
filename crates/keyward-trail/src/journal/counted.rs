//! Refusals that are counted, not recorded one by one: one event tells of many equal ones, with
//! their exact number.

use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_record::event::Occurred;
use keyward_record::{Event, Record};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Equal refusals: of one caller, from one source, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Of the record that tells of them; see [`AuditId::counts`].
    pub id: AuditId,
    /// Who asked; `None` for callers who are not known.
    pub caller: Option<String>,
    /// From where: an IPv4 address, or the first one of a /64 of IPv6; `None` for many sources
    /// together.
    pub source: Option<IpAddr>,
    /// Why they were refused.
    pub reason: Reason,
    /// How many they are.
    pub count: u64,
    /// The first one: when, and the id that its caller was given.
    pub first: (Timestamp, AuditId),
    /// The last one.
    pub last: (Timestamp, AuditId),
}

impl Counted {
    /// The first of those that the record with this id will tell of. The id that its caller is
    /// given is in `first`.
    pub fn begin(
        id: AuditId,
        caller: Option<String>,
        source: Option<IpAddr>,
        reason: Reason,
        time: Timestamp,
    ) -> Self {
        let first = (time, id.counted(time, 1));
        Self { id, caller, source, reason, count: 1, first, last: first }
    }

    /// One more. The id that its caller is given.
    pub fn add(&mut self, time: Timestamp) -> AuditId {
        self.count += 1;
        self.last = (time, self.id.counted(time, self.count));
        self.last.1
    }

    /// The record. Caller, source and decision stand where a refusal's record has them, so that it
    /// is found by them.
    pub fn record(&self) -> Record {
        let mut source = Map::new();
        match self.source {
            Some(IpAddr::V4(address)) => {
                drop(source.insert("address".to_owned(), Value::from(address.to_string())))
            }
            Some(IpAddr::V6(network)) => {
                drop(source.insert("network".to_owned(), Value::from(format!("{network}/64"))))
            }
            None => {}
        }
        let caller = match &self.caller {
            Some(name) => json!({"name": name}),
            None => json!({"name": "anonymous", "kind": "anonymous"}),
        };
        let occurred = |(time, id): (Timestamp, AuditId)| Occurred {
            time: time.rfc3339(),
            id: id.to_string(),
        };
        let message = format!(
            "{} equal refusals, counted in this record from {} to {}",
            self.count,
            self.first.0.rfc3339(),
            self.last.0.rfc3339()
        );
        let decision = json!({"verdict": "deny", "reason": self.reason.code(), "message": message});
        let event = Event::RefusalsCounted {
            count: self.count,
            first: occurred(self.first),
            last: occurred(self.last),
        };
        event.record_as(
            self.id,
            [("caller", caller), ("source", Value::Object(source)), ("decision", decision)],
        )
    }
}
