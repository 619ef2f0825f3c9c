//! What events tell: the parts of their `detail`.

use super::{Event, EventName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Consecutive records, both ends among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

impl Span {
    /// The records; `None` where the ends make no sense.
    pub fn range(self) -> Option<Range<u64>> {
        (self.first <= self.last).then(|| Some(self.first..self.last.checked_add(1)?)).flatten()
    }

    /// Of a range that has records.
    pub fn of(range: &Range<u64>) -> Self {
        Self { first: range.start, last: range.end.saturating_sub(1) }
    }
}

/// Who asked, as far as the gateway can see. What is `claimed` nobody has checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct By {
    /// The address, over the admin listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Their name, as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_claimed: Option<String>,
    /// Their program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What for, as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose_claimed: Option<String>,
    /// The user id of the process, on the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// One condition of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilterTerm {
    /// The field.
    pub name: String,
    /// What it must be.
    pub value: String,
}

/// When something happened, and the id that its caller was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Occurred {
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// The audit id.
    pub id: String,
}

/// Connections of one class that ended before they made a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnedAway {
    /// How many.
    pub total: u64,
    /// How many by address; those beyond the bound of addresses under `others`.
    pub by_source: BTreeMap<String, u64>,
}

/// Which policies a reload brought, took and changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyChanges {
    /// Those that came.
    pub came: Policies,
    /// Those that went.
    pub went: Policies,
    /// Those whose text changed.
    pub changed: Policies,
}

/// Some policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policies {
    /// How many.
    pub count: u64,
    /// Their ids, up to a bound.
    pub ids: Vec<String>,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Its name.
    pub name: String,
    /// Which exchanges stay.
    pub r#where: String,
    /// Why.
    pub reason: String,
}

/// How long records stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetentionPolicy {
    /// Records that are older go; none: age does not count.
    pub max_age_seconds: Option<u64>,
    /// The oldest go while sealed segments have more; none: size does not count.
    pub max_bytes: Option<u64>,
}

/// What was found in a damaged store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
// Its fields stand among those of an event, whose own sentence the schema has.
#[schemars(description = "")]
pub struct Salvaged {
    /// Records that were found again.
    #[serde(default)]
    pub found_again: u64,
    /// Bodies that were lost.
    #[serde(default)]
    pub bodies_lost: u64,
    /// What else was found, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The records of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackedRecords {
    /// How many.
    pub number: u64,
    /// The first.
    pub first: Option<u64>,
    /// The last.
    pub last: Option<u64>,
    /// The digest of their lines, in hexadecimal digits.
    pub sha256: String,
}

/// The head of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeHead {
    /// Records under it.
    pub size: u64,
    /// Its root.
    pub root: String,
}

/// Why records are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A policy of retention.
    Pruned,
    /// The store was damaged, and an operator went on without them.
    Lost,
}

impl Removal {
    /// The event that tells of it.
    pub const fn event(self) -> EventName {
        match self {
            Self::Pruned => EventName::RecordsPruned,
            Self::Lost => EventName::RecordsLost,
        }
    }

    /// Why the records are gone that an event tells of, if it tells of any.
    pub fn of(event: &Event) -> Option<Self> {
        [Self::Pruned, Self::Lost].into_iter().find(|removal| removal.event() == event.name())
    }
}
