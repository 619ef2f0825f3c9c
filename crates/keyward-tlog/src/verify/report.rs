//! What was found, for people and for programs.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Findings that are spelt out, at most.
const FINDINGS_MAX: usize = 1000;

/// One of the two questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Is everything as it was signed?
    Integrity,
    /// Is everything there?
    Completeness,
}

/// The answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Holds,
    /// No.
    Fails,
    /// It cannot be told.
    #[default]
    Unknown,
}

impl Verdict {
    /// As in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Unknown => "unknown",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which question it answers with no.
    pub about: About,
    /// What it is, for programs: `changed`, `moved`, `missing`, `lost`, `inserted`, `unreadable`,
    /// `head`, `body`, `body-missing`, `malformed`, `pairing`, `derived`, `tile`, `root`,
    /// `signature` or `outside`.
    pub kind: &'static str,
    /// The records that it concerns, the first and the last.
    pub records: Option<(u64, u64)>,
    /// A sentence.
    pub text: String,
}

/// A checkpoint that was compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Where it came from.
    pub place: String,
    /// Records under it.
    pub size: u64,
    /// Its root, in base64.
    pub root: String,
    /// Whether the records lead to this root; `None` when that could not be computed.
    pub agrees: Option<bool>,
}

/// Records that were pruned by policy, as a record of the trail tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The first of them.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The record that tells of it.
    pub told_by: u64,
    /// The policy, as that record has it.
    pub policy: Value,
}

/// The report of one verification.
#[derive(Debug, Default)]
pub struct Report {
    /// What was verified.
    pub source: String,
    /// Every record was read.
    pub full: bool,
    /// The log's name.
    pub origin: String,
    /// The keys that checkpoints were verified by.
    pub keys: Vec<String>,
    /// The keys were given from outside, not taken from what was verified.
    pub trusted: bool,
    /// Records that were read.
    pub read: u64,
    /// Where the trail ends.
    pub end: u64,
    /// The checkpoints that were compared.
    pub checkpoints: Vec<Compared>,
    /// Is everything as it was signed?
    pub integrity: Verdict,
    /// Is everything there?
    pub completeness: Verdict,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Findings that are not spelt out.
    pub more: u64,
    /// Records that are not there, and were pruned by policy: no failure.
    pub pruned: Vec<Pruned>,
    /// Records that tell of erased bodies.
    pub erased: BTreeSet<u64>,
    /// What is gone is excused by records that no checkpoint could be compared with.
    pub unsure: bool,
    /// The source does not read all that was signed: whether all is there cannot be told.
    pub unread: bool,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// Counts of what was read, by name.
    pub counts: Vec<(&'static str, u64)>,
}

impl Report {
    /// Adds a finding.
    pub fn find(
        &mut self,
        about: About,
        kind: &'static str,
        records: Option<(u64, u64)>,
        text: String,
    ) {
        match about {
            About::Integrity => self.integrity = Verdict::Fails,
            About::Completeness => self.completeness = Verdict::Fails,
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { about, kind, records, text });
        } else {
            self.more += 1;
        }
    }

    /// The exit status: 0 when both hold, 3 when integrity fails, 4 when completeness does, 5 when
    /// both do, 6 when neither fails but one cannot be told.
    pub fn status(&self) -> u8 {
        match (self.integrity, self.completeness) {
            (Verdict::Fails, Verdict::Fails) => 5,
            (Verdict::Fails, _) => 3,
            (_, Verdict::Fails) => 4,
            (Verdict::Holds, Verdict::Holds) => 0,
            _ => 6,
        }
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let of = |about| {
            self.findings.iter().filter(|f| f.about == about).map(finding_json).collect::<Vec<_>>()
        };
        let checkpoint = |c: &Compared| json!({"place": c.place, "size": c.size, "root": c.root, "agrees": c.agrees});
        json!({
            "source": self.source, "full": self.full, "origin": self.origin,
            "keys": self.keys, "keys_from_outside": self.trusted,
            "records_read": self.read, "end": self.end,
            "checkpoints": self.checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
            "integrity": {"verdict": self.integrity.word(), "findings": of(About::Integrity)},
            "completeness": {"verdict": self.completeness.word(), "findings": of(About::Completeness)},
            "pruned": self.pruned.iter().map(|p| json!({"first": p.first, "last": p.last, "told_by": p.told_by, "policy": p.policy})).collect::<Vec<_>>(),
            "bodies_erased_told_by": self.erased,
            "findings_left_out": self.more, "notes": self.notes,
            "counts": self.counts.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count))).collect::<serde_json::Map<_, _>>(),
            "status": self.status(),
        })
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.source);
        let mut line =
            |name: &str, value: &str| writeln!(text, "  {name:<13} {value}").unwrap_or_default();
        line("log", &self.origin);
        for key in &self.keys {
            line(
                "key",
                &format!(
                    "{key}{}",
                    if self.trusted {
                        ""
                    } else {
                        "  (as the trail itself says: give --vkey to be sure)"
                    }
                ),
            );
        }
        let read = match self.read {
            read if self.full && read == self.end => "all read".to_owned(),
            read if self.full => format!("all read that are there: {read}"),
            read => format!("{read} of them read"),
        };
        line("records", &format!("{}, {read}", self.end));
        for (name, count) in &self.counts {
            line(name, &count.to_string());
        }
        for pruned in self.pruned_lines() {
            line("pruned", &pruned);
        }
        let (agree, other): (Vec<_>, Vec<_>) =
            self.checkpoints.iter().partition(|c| c.agrees == Some(true));
        if let Some(last) = agree.iter().max_by_key(|c| c.size) {
            line(
                "checkpoints",
                &format!(
                    "{} agree, the largest over {} records: {}",
                    agree.len(),
                    last.size,
                    last.root
                ),
            );
        }
        for checkpoint in other {
            let how = if checkpoint.agrees.is_some() {
                "DOES NOT AGREE"
            } else {
                "could not be compared"
            };
            line(
                "checkpoint",
                &format!("{}, over {} records, {how}", checkpoint.place, checkpoint.size),
            );
        }
        for (about, name, verdict) in [
            (About::Integrity, "integrity", self.integrity),
            (About::Completeness, "completeness", self.completeness),
        ] {
            let says = match (about, verdict) {
                (About::Integrity, Verdict::Holds) => {
                    "holds: nothing was changed since it was signed"
                }
                (About::Completeness, Verdict::Holds) if !self.pruned.is_empty() => {
                    "holds: nothing is missing but what was pruned by policy, and every request that is there has its outcome"
                }
                (About::Completeness, Verdict::Holds) => {
                    "holds: nothing is missing, and every request has its outcome"
                }
                (_, Verdict::Fails) => "FAILS",
                (_, Verdict::Unknown) => "cannot be told",
            };
            text += &format!("\n{name} {says}\n");
            self.findings
                .iter()
                .filter(|f| f.about == about)
                .for_each(|f| text += &format!("  - {}\n", f.text));
        }
        if self.more > 0 {
            text += &format!("\n{} findings more\n", self.more);
        }
        self.notes.iter().for_each(|note| text += &format!("\nnote: {note}\n"));
        text
    }
}

/// Records that tell of one stretch of pruned records that are spelt out, at most.
const TELLERS_MAX: usize = 3;

impl Report {
    /// A line for each stretch of pruned records, and who tells of it by which policy.
    fn pruned_lines(&self) -> Vec<String> {
        let stretches = self.pruned.chunk_by(|a, b| a.last + 1 == b.first);
        let line = |stretch: &[Pruned]| {
            let (first, last) = (stretch.first()?, stretch.last()?);
            let tellers: BTreeSet<_> = stretch.iter().map(|pruned| pruned.told_by).collect();
            let told: Vec<_> =
                tellers.iter().rev().take(TELLERS_MAX).map(ToString::to_string).collect();
            let more = tellers.len().saturating_sub(TELLERS_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let newest = stretch.iter().max_by_key(|pruned| pruned.told_by)?;
            let tell = if tellers.len() == 1 { "record" } else { "records" };
            Some(format!(
                "{} by policy, told by {tell} {}{more}: {}",
                named(first.first, last.last),
                told.join(", "),
                newest.policy
            ))
        };
        stretches.filter_map(line).collect()
    }
}

fn finding_json(finding: &Finding) -> Value {
    let records = finding.records.map(|(first, last)| json!({"first": first, "last": last}));
    json!({"kind": finding.kind, "records": records, "text": finding.text})
}

/// `record 7`, or `records 7 to 9`.
pub fn named(first: u64, last: u64) -> String {
    if first == last { format!("record {first}") } else { format!("records {first} to {last}") }
}
