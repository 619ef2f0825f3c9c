//! What the records say of each other: every request with its outcome, heads that say what their
//! records say, bodies that their records commit to, time that does not run back.

use super::gaps::{Bound, Gaps, Told};
use super::report::{About, Report};
use crate::source::{Recorded, Source};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Event, Head, Kind};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A request without an outcome that is younger than this at the trail's end may be in flight.
const IN_FLIGHT_NANOS: u64 = 15 * 60 * 1_000_000_000;
/// Closed exchanges that are remembered, to tell a second answer from one without a request.
const CLOSED_MAX: usize = 100_000;

/// What has been read so far.
#[derive(Default)]
pub struct Meaning {
    open: HashMap<AuditId, (u64, Timestamp)>,
    closed: HashSet<AuditId>,
    /// Records are missing, so that an answer may lack its request.
    pub gap: bool,
    time: Clock,
    requests: u64,
    refused: u64,
    answers: u64,
    events: u64,
    bodies: u64,
    /// Records whose bodies are not there.
    bodyless: Vec<Range<u64>>,
    /// What events tell of records and bodies that are gone.
    pub told: Told,
    accepted: Vec<String>,
    /// How often a start found records that nothing signed covered, and the last time.
    unsigned: (usize, String),
}

/// Microseconds: the latest that a record has, and the trail's own.
#[derive(Default)]
struct Clock {
    observed: u64,
    trail: Option<u64>,
}

impl Meaning {
    /// Nothing was read; `gap` says that something before is not going to be.
    pub fn new(gap: bool) -> Self {
        Self { gap, ..Self::default() }
    }

    /// Looks at one record. One that is not `sound`, not the one whose hash the tree has, tells
    /// nothing of others.
    pub fn look(
        &mut self,
        seq: u64,
        recorded: &Recorded,
        sound: bool,
        source: &dyn Source,
        report: &mut Report,
    ) {
        let leaf: Value = serde_json::from_slice(&recorded.leaf).unwrap_or_default();
        let head = Head::of_json(&leaf);
        let Some((kind, id, time)) =
            head.as_ref().and_then(|head| Some((head.kind()?, head.id()?, head.time()?)))
        else {
            return report.find(
                About::Integrity,
                "malformed",
                Some((seq, seq)),
                format!("record {seq} is none: kind, id or time is missing"),
            );
        };
        self.check_head(seq, recorded, (kind, id, time), report);
        match kind {
            Kind::Forwarded => {
                self.requests += 1;
                if self.open.insert(id, (seq, time)).is_some() {
                    report.find(
                        About::Integrity,
                        "pairing",
                        Some((seq, seq)),
                        format!("record {seq} opens exchange {id} a second time"),
                    );
                }
            }
            Kind::Refused => self.refused += 1,
            Kind::Answer => self.answered(seq, id, report),
            Kind::Event => {
                self.events += 1;
                if let Some(event) = Event::of_json(&leaf) {
                    if sound {
                        self.told.look(seq, &event);
                    }
                    self.operated(seq, &event);
                }
            }
        }
        if source.has_content() {
            self.check_body(seq, head.as_ref().and_then(Head::commit), source, report);
        }
    }

    /// What whoever verifies must be shown of a start.
    fn operated(&mut self, seq: u64, event: &Event) {
        match event {
            Event::TrailAccepted { problem, reason, .. } => {
                self.accepted.push(format!(
                    "record {seq}: an operator went on with a trail that {problem}: {reason}"
                ));
            }
            Event::UnsignedRecordsFound { first, last } => {
                self.unsigned.0 += 1;
                self.unsigned.1 = format!("records {first} to {last}, told by record {seq}");
            }
            _ => (),
        }
    }

    fn answered(&mut self, seq: u64, id: AuditId, report: &mut Report) {
        self.answers += 1;
        if self.open.remove(&id).is_some() {
            if self.closed.len() >= CLOSED_MAX {
                self.closed.clear();
            }
            self.closed.insert(id);
        } else if self.closed.contains(&id) {
            report.find(
                About::Integrity,
                "pairing",
                Some((seq, seq)),
                format!("record {seq} is a second answer of exchange {id}"),
            );
        } else if !self.gap {
            report.find(
                About::Completeness,
                "pairing",
                Some((seq, seq)),
                format!("record {seq} is an answer of exchange {id}, whose request is not there"),
            );
        }
    }

    /// Kind, id and time stand in the store beside the record, and no hash covers them.
    fn check_head(
        &mut self,
        seq: u64,
        recorded: &Recorded,
        leaf: (Kind, AuditId, Timestamp),
        report: &mut Report,
    ) {
        let (kind, id, time) = leaf;
        // A record's time has microseconds; the trail's own never runs back.
        self.time.observed = self.time.observed.max(time.0 / 1000);
        let Some(head) = recorded.head else { return };
        let trail = head.time.0 / 1000;
        let wanted = self.time.trail.unwrap_or(0).max(time.0 / 1000);
        self.time.trail = Some(trail);
        // A record that is missing may have had a later time.
        let in_time = trail == wanted || self.gap && trail > wanted;
        if (head.kind, head.id) != (kind, id) || !in_time {
            report.find(
                About::Integrity,
                "head",
                Some((seq, seq)),
                format!("what the store says of record {seq}, its kind, id or time, is not what the record says"),
            );
        }
    }

    fn check_body(
        &mut self,
        seq: u64,
        commit: Option<&str>,
        source: &dyn Source,
        report: &mut Report,
    ) {
        let at = Some((seq, seq));
        match (commit, source.content(seq)) {
            (_, Err(error)) => report.find(
                About::Integrity,
                "body",
                at,
                format!("the body of record {seq} cannot be read: {error}"),
            ),
            (Some(commit), Ok(Some(content))) if content.commitment() == commit => self.bodies += 1,
            (_, Ok(Some(_))) => report.find(
                About::Integrity,
                "body",
                at,
                format!("the body of record {seq} is not the one that the record commits to"),
            ),
            (Some(_), Ok(None)) => Gaps::add(&mut self.bodyless, seq..seq + 1),
            (None, Ok(None)) => (),
        }
    }

    /// What is left at the end. `gaps` are the records that are missing, `told_until` is where the
    /// last of those ends of which a record tells.
    pub fn finish(self, bound: Bound, told_until: u64, report: &mut Report) {
        let mut open: Vec<_> =
            self.open.into_iter().map(|(id, (seq, time))| (seq, id, time)).collect();
        open.sort_unstable();
        let limit = Timestamp((self.time.observed * 1000).saturating_sub(IN_FLIGHT_NANOS));
        // Nothing goes before what is open is closed.
        let (beside, open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(seq, ..)| *seq < told_until);
        let (late, in_flight): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(_, _, time)| *time < limit);
        if let Some((seq, ..)) = beside.first() {
            report.notes.push(format!(
                "{} requests, the first of them record {seq}, stand before records that are gone or were not read, and have no outcome: it may be among those",
                beside.len()
            ));
        }
        for (seq, id, _) in late {
            report.find(
                About::Completeness,
                "pairing",
                Some((seq, seq)),
                format!("record {seq} is a request, exchange {id}, whose outcome is not there"),
            );
        }
        if !in_flight.is_empty() {
            let places: Vec<_> =
                in_flight.iter().take(10).map(|(seq, ..)| seq.to_string()).collect();
            report.notes.push(format!(
                "{} exchanges have no outcome yet, the first at record {}: in flight, or left by a crash, and then closed as unknown by the next start",
                in_flight.len(),
                places.join(", ")
            ));
        }
        report.notes.extend(self.accepted);
        if let (times @ 1.., last) = self.unsigned {
            report
                .notes
                .push(format!("{times} times a start found records that no checkpoint covered, as after a crash, and signed them; the last time {last}"));
        }
        let erased = Gaps { bodies: self.bodyless, ..Gaps::default() }
            .settle_bodies(&self.told, bound, report);
        report.counts = vec![
            ("forwarded", self.requests),
            ("answers", self.answers),
            ("refused", self.refused),
            ("events", self.events),
            ("bodies", self.bodies),
            ("bodies erased", erased),
        ];
    }
}
