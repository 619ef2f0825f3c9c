//! What retention says of itself on the admin listener.

use super::super::tiered::About;
use keyward_record::event::{Hold, RetentionPolicy, Span};
use serde::{Deserialize, Serialize};

/// How long the trail is kept, what is on hold, what would go now and what is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The policy.
    pub policy: RetentionPolicy,
    /// Records that went by it.
    pub pruned: Vec<Span>,
    /// Records that were lost.
    pub lost: Vec<Span>,
    /// What comes.
    #[serde(flatten)]
    pub next: Next,
}

/// What would go now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Next {
    /// What is known of it.
    Planned {
        /// Sealed segments.
        segments: u64,
        /// Their bytes on the disk.
        bytes: u64,
        /// Those that would go.
        due: Vec<Sealed>,
        /// Those that would go, were they not still needed.
        waiting: Vec<Sealed>,
        /// Those that are on hold.
        held: Vec<Held>,
        /// All that is on hold.
        holds: Vec<Hold>,
    },
    /// Nobody knows: nothing goes.
    Unknown {
        /// Why.
        error: String,
    },
}

/// A sealed segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// Its records.
    #[serde(flatten)]
    pub records: Span,
    /// The time of the last of them: RFC 3339, UTC, microseconds.
    pub until: String,
    /// Its bytes on the disk.
    pub bytes: u64,
}

impl Sealed {
    pub(super) fn of(about: &About) -> Self {
        Self {
            records: Span::of(&about.range),
            until: about.last_time.rfc3339(),
            bytes: about.bytes,
        }
    }
}

/// A segment that stays though its time has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The hold, by name.
    pub hold: String,
    /// The segment.
    pub segment: Sealed,
}
