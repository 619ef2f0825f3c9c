//! What a pack says of itself, for programs.

use super::{Gone, InForce, Question};
use keyward_core::clock::Timestamp;
use keyward_record::event::FilterTerm;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;

/// The form of packs, raised whenever the same records would make another report or another table:
/// a pack of another form cannot be made anew to be compared. Packs without a form were made before
/// their making was recorded.
pub(super) const FORM: u32 = 2;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Manifest {
    #[serde(default)]
    pub form: u32,
    pub made: String,
    pub by: String,
    pub of: String,
    pub keyward: String,
    pub filter: Vec<FilterTerm>,
    /// What was said beside the answer.
    #[serde(default)]
    pub warnings: Vec<String>,
    pub exchanges: u64,
    pub records: u64,
    pub records_in_trail: Option<u64>,
    pub records_gone: Vec<Gone>,
    /// Requests whose answers are gone: their outcome is unknown, and they are not open.
    #[serde(default)]
    pub answers_gone: Vec<u64>,
    pub rules_in_force: Vec<InForce>,
    pub texts: BTreeSet<String>,
    pub texts_not_kept: BTreeSet<String>,
    /// A record tells of the making.
    #[serde(default)]
    pub recorded: bool,
}

impl Manifest {
    /// What was asked. `None` when its time is none.
    pub fn question(&self) -> Option<Question> {
        let filter = self
            .filter
            .iter()
            .map(|condition| (condition.name.clone(), condition.value.clone()))
            .collect();
        Some(Question {
            filter,
            source: self.of.clone(),
            by: self.by.clone(),
            at: Timestamp::parse(&self.made)?,
            warnings: self.warnings.clone(),
        })
    }
}

/// Why records are gone, in a word.
pub(super) mod why {
    use super::*;

    pub fn serialize<S: Serializer>(lost: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if *lost { "lost" } else { "pruned" })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        Ok(String::deserialize(deserializer)? == "lost")
    }
}
