//! The closed list of events: what the gateway itself does and finds. One entry serves the record,
//! its JSON Schema and the documentation alike.

use crate::{Kind, Record, VERSION, canonical};
use keyward_core::clock::{AuditId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

mod detail;

pub use detail::{
    By, FilterTerm, Hold, Occurred, PackedRecords, Policies, PolicyChanges, Removal,
    RetentionPolicy, Salvaged, Span, TreeHead, TurnedAway,
};

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal { $($(#[$meta:meta])* $field:ident: $type:ty,)* })+) => {
        /// The name of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventName { $($(#[doc = $doc])+ $name,)+ }

        impl EventName {
            /// Every event there is, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable name, as it stands in records and questions.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }
        }

        /// An event: its name, and what its record tells under `detail`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "event", content = "detail")]
        pub enum Event { $($(#[doc = $doc])+ #[serde(rename = $code)] $name { $($(#[$meta])* $field: $type,)* },)+ }

        impl Event {
            /// Its name.
            pub const fn name(&self) -> EventName {
                match self { $(Self::$name { .. } => EventName::$name,)+ }
            }
        }
    };
}

events! {
    /// A gateway has started.
    Started = "started" {
        /// Its version.
        version: String,
        /// The hash of the policies in force.
        bundle: String,
        /// The digest of the catalogue in force.
        catalog: String,
        /// The key that checkpoints are verified by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint_key: Option<String>,
    }
    /// A gateway has stopped in order.
    Stopped = "stopped" {
        /// Exchanges whose outcome it did not wait for; the next start closes them as unknown.
        open_exchanges: i64,
    }
    /// Policies and callers were read again, and are in force.
    RulesLoaded = "rules-loaded" {
        /// The hash of the policies in force from here on.
        bundle: String,
        /// The hash of those before.
        before: String,
        /// How many policies there are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policies: Option<u64>,
        /// How many callers are listed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        callers: Option<u64>,
        /// Which policies came, went and changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changes: Option<PolicyChanges>,
    }
    /// Policies and callers were read again and are wrong: the old ones stay in force.
    RulesRefused = "rules-refused" {
        /// What is wrong, a sentence each.
        problems: Vec<String>,
        /// The hash of the policies in force.
        in_force: String,
    }
    /// Certificates were read again, and are in use.
    CertificatesLoaded = "certificates-loaded" {
        /// The files.
        files: Vec<String>,
    }
    /// Certificates were read again and cannot be used: the old ones stay.
    CertificatesRefused = "certificates-refused" {
        /// What is wrong.
        problem: String,
    }
    /// Equal refusals were counted together; caller, source and decision stand where a refusal's record has them.
    RefusalsCounted = "refusals-counted" {
        /// How many they are.
        count: u64,
        /// The first one.
        first: Occurred,
        /// The last one.
        last: Occurred,
    }
    /// Connections ended before they made a call.
    TurnedAway = "turned-away" {
        /// How many, by class.
        connections: BTreeMap<String, TurnedAway>,
    }
    /// Lines of the log could not be written.
    LogLinesLost = "log-lines-lost" {
        /// How many since the last such record.
        lines: u64,
        /// How many since the start.
        since_start: u64,
    }
    /// The clock is far ahead of the trail's end. Nothing is pruned by age for a day.
    ClockAhead = "clock-ahead" {
        /// By how much, in seconds.
        seconds: u64,
        /// The time at the trail's end.
        trail_at: String,
    }
    /// The clock has gone back. Records keep the trail's time until it has caught up.
    ClockGoneBack = "clock-gone-back" {
        /// By how much, in seconds.
        seconds: u64,
        /// The time at the trail's end.
        trail_at: String,
    }
    /// An export was asked for.
    ExportBegun = "export-begun" {
        /// Who asked.
        by: By,
        /// The form.
        form: String,
        /// Which exchanges.
        filter: Vec<FilterTerm>,
        /// Whether it goes on as the trail grows.
        follow: bool,
        /// The first record to look at.
        cursor: u64,
        /// The record to end before; none while it follows.
        #[serde(default)]
        end: Option<u64>,
    }
    /// An export has ended.
    ExportEnded = "export-ended" {
        /// The record of its beginning, by id.
        export: String,
        /// Lines sent.
        lines: u64,
        /// Bytes sent.
        bytes: u64,
        /// The first record that was not looked at.
        cursor: u64,
        /// Whether it was sent to its end.
        whole: bool,
    }
    /// A pack of evidence was made.
    PackMade = "pack-made" {
        /// Who asked.
        by: By,
        /// The record of the export that it was made from, by id.
        export: String,
        /// Which exchanges.
        filter: Vec<FilterTerm>,
        /// Records in the trail when it was asked.
        #[serde(default)]
        records_in_trail: Option<u64>,
        /// Records in the pack.
        records: PackedRecords,
        /// The digest of its list of digests.
        sums: String,
    }
    /// A backup was asked for.
    BackupBegun = "backup-begun" {
        /// Who asked.
        by: By,
        /// Records in it.
        records: u64,
    }
    /// A backup has ended.
    BackupEnded = "backup-ended" {
        /// The record of its beginning, by id.
        backup: String,
        /// Whether it was sent to its end.
        whole: bool,
    }
    /// The trail was restored from a backup.
    TrailRestored = "trail-restored" {
        /// When the backup was made.
        backup_made: String,
        /// Records in it.
        records: u64,
        /// Who did it.
        by: By,
    }
    /// What is on hold has changed.
    HoldsInForce = "holds-in-force" {
        /// All that is on hold from here on.
        holds: Vec<Hold>,
    }
    /// Records went by the policy of retention.
    RecordsPruned = "records-pruned" {
        /// Which.
        #[serde(default)]
        records: Vec<Span>,
        /// Records that stay and whose bodies were erased as only records that went tell.
        #[serde(default)]
        erased: Vec<Span>,
        /// The time of the last one.
        #[serde(default)]
        until: Option<String>,
        /// Bytes that were freed.
        #[serde(default)]
        bytes: u64,
        /// The policy.
        #[serde(default)]
        policy: RetentionPolicy,
        /// What was on hold, by name.
        #[serde(default)]
        holds: Vec<String>,
    }
    /// The bodies of an exchange were erased. Its records stay.
    BodiesErased = "bodies-erased" {
        /// The exchange.
        exchange: String,
        /// The records whose bodies went.
        records: Vec<Span>,
        /// Why.
        #[serde(default)]
        reason: String,
        /// Who asked.
        #[serde(default)]
        by: By,
    }
    /// Records of a damaged store were given up.
    RecordsLost = "records-lost" {
        /// Which.
        records: Vec<Span>,
        /// Why an operator went on without them.
        #[serde(default)]
        reason: String,
        /// Who did it.
        #[serde(default)]
        by: By,
        /// What was found.
        #[serde(flatten)]
        found: Salvaged,
    }
    /// A damaged store was rebuilt, and no record is lost.
    StoreRebuilt = "store-made-anew" {
        /// None.
        #[serde(default)]
        records: Vec<Span>,
        /// Why.
        reason: String,
        /// Who did it.
        by: By,
        /// What was found.
        #[serde(flatten)]
        found: Salvaged,
    }
    /// An operator went on with a trail that does not continue what was signed.
    TrailAccepted = "trail-accepted" {
        /// Why.
        reason: String,
        /// What is wrong with it.
        problem: String,
        /// The key that checkpoints are verified by from here on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The checkpoints that it does not continue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoints: Option<Vec<String>>,
        /// The tree of what was found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<TreeHead>,
        /// Records that are gone and for whose hashes nothing vouches that was signed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hashes_unproven: Vec<Span>,
    }
    /// Checkpoints are signed by another key from here on.
    CheckpointKeyChanged = "checkpoint-key-changed" {
        /// The old key.
        from: String,
        /// The new key.
        to: String,
    }
    /// A start has found records that no checkpoint covers, as after a crash.
    UnsignedRecordsFound = "unsigned-records-found" {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    }
}

impl Event {
    /// Its record, as of now.
    pub fn record(&self) -> Record {
        self.record_as(AuditId::new(), [])
    }

    /// Its record with this id, and with parts that stand beside `detail`.
    pub fn record_as<const N: usize>(&self, id: AuditId, beside: [(&str, Value); N]) -> Record {
        let time = Timestamp::now();
        let mut leaf =
            json!({"v": VERSION, "kind": "event", "id": id.to_string(), "time": time.rfc3339()});
        if let (Value::Object(leaf), Ok(Value::Object(own))) =
            (&mut leaf, serde_json::to_value(self))
        {
            leaf.extend(own);
            leaf.extend(beside.map(|(name, value)| (name.to_owned(), value)));
        }
        Record { id, kind: Kind::Event, time, leaf: canonical(&leaf), content: None }
    }

    /// What a record tells, if it is of an event that is known here, and says all that such an
    /// event says.
    pub fn of_leaf(leaf: &[u8]) -> Option<Self> {
        serde_json::from_slice(leaf).ok()
    }

    /// The same of a record that was parsed already.
    pub fn of_json(json: &Value) -> Option<Self> {
        Self::deserialize(json).ok()
    }

    /// The records that it tells are gone.
    pub fn gone(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let spans: &[Span] = match self {
            Self::RecordsPruned { records, .. } | Self::RecordsLost { records, .. } => records,
            _ => &[],
        };
        spans.iter().filter_map(|span| span.range())
    }

    /// The records whose bodies it tells are erased: an erasure, or a pruning that took the record
    /// of one away.
    pub fn bodies_erased(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let spans: &[Span] = match self {
            Self::BodiesErased { records, .. } => records,
            Self::RecordsPruned { erased, .. } => erased,
            _ => &[],
        };
        spans.iter().filter_map(|span| span.range())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_once_and_each_has_a_sentence() {
        let mut codes: Vec<_> = EventName::ALL.iter().map(|name| name.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), EventName::ALL.len());
        assert!(EventName::ALL.iter().all(|name| name.meaning().ends_with('.')));
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_known_is_none() {
        let event = Event::BodiesErased {
            exchange: "x".to_owned(),
            records: vec![
                Span { first: 3, last: 4 },
                Span { first: 9, last: 8 },
                Span { first: 1, last: u64::MAX },
            ],
            reason: "r".to_owned(),
            by: By::default(),
        };
        let record = event.record();
        assert_eq!(Event::of_leaf(&record.leaf), Some(event.clone()));
        assert!(event.bodies_erased().eq(std::iter::once(3..5)));
        assert_eq!(event.name().code(), "bodies-erased");
        assert_eq!(Event::of_leaf(br#"{"event":"from-the-future","detail":{}}"#), None);
        assert_eq!(Event::of_leaf(br#"{"event":"bodies-erased","detail":{"records":7}}"#), None);
    }

    #[test]
    fn older_records_are_read() {
        let pruned = br#"{"v":1,"kind":"event","id":"i","time":"t","event":"records-pruned","detail":{"records":[{"first":0,"last":7}]}}"#;
        assert!(Event::of_leaf(pruned).unwrap().gone().eq(std::iter::once(0..8)));
        let lost = Event::of_leaf(
            br#"{"event":"records-lost","detail":{"records":[{"first":0,"last":7}]}}"#,
        )
        .unwrap();
        assert!(
            matches!(&lost, Event::RecordsLost { found, .. } if *found == Salvaged::default())
                && lost.gone().eq(std::iter::once(0..8))
        );
    }
}
