//! The record of a pack's making: what the gateway itself says of a pack. It commits to question,
//! number and range of the records, to the records as the gateway gave them out, and, by the digest
//! of SHA256SUMS, to every file of the pack but its own proof. So whoever rewrites a pack needs the
//! log's signing key, or another pack on record.
//!
//! ```text
//! made/record-N.json         the record, byte for byte
//! made/record-N.tlog-proof   its place, its inclusion proof and the checkpoint: C2SP tlog-proof
//! ```

use keyward_record::Event;
use keyward_record::event::{By, PackedRecords};
use keyward_trail::exchange::{Exchange, Part};
use keyward_trail::filter::Filter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where the making of a pack is told on the admin listener.
pub const PACKS: &str = "/api/v1/packs";
/// The purpose of the export behind a pack.
pub const PURPOSE: &str = "evidence pack";
/// The header in which an export says which one it is.
pub const EXPORT_ID: &str = "x-keyward-export";
/// Its folder in the pack.
pub(super) const DIR: &str = "made/";

/// What is told of a pack.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Making {
    /// The export behind it: the audit id of its `export-begun`.
    pub export: String,
    /// `sha256:` of the pack's SHA256SUMS.
    pub sums: String,
}

impl Making {
    /// Whether it names a digest.
    pub fn is_sound(&self) -> bool {
        self.sums.strip_prefix("sha256:").is_some_and(|digits| {
            digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
}

/// What was given out for a pack, by the count of whoever gave it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    records: u64,
    range: Option<(u64, u64)>,
    hash: Sha256,
    unreadable: bool,
}

impl Given {
    /// Counts an exchange, as a line of JSON with its end.
    pub fn add_line(&mut self, line: &[u8]) {
        let line = std::str::from_utf8(line).unwrap_or_default();
        match (Exchange::read(line), Exchange::read_answer(line)) {
            (Some(exchange), _) => std::iter::once(&exchange.request)
                .chain(&exchange.answer)
                .for_each(|part| self.add(part)),
            (None, Some((_, answer))) => self.add(&answer),
            (None, None) => self.unreadable = true,
        }
    }

    /// Counts a record.
    pub(super) fn add(&mut self, part: &Part) {
        self.records += 1;
        self.range = Some(self.range.map_or((part.seq, part.seq), |(first, last)| {
            (first.min(part.seq), last.max(part.seq))
        }));
        self.hash.update(&part.leaf);
        self.hash.update(b"\n");
    }

    /// How many records.
    pub(super) fn number(&self) -> u64 {
        self.records
    }

    /// Whether all of it could be counted.
    pub fn is_whole(&self) -> bool {
        !self.unreadable
    }

    /// What the record says of it.
    fn detail(&self) -> PackedRecords {
        let (first, last) = self.range.unzip();
        PackedRecords {
            number: self.records,
            first,
            last,
            sha256: hex::encode(self.hash.clone().finalize()),
        }
    }

    /// The event that a pack of it was made. `end` is where the trail ended when it was asked.
    pub fn event(&self, making: &Making, filter: &Filter, end: Option<u64>, by: By) -> Event {
        let (export, sums) = (making.export.clone(), making.sums.clone());
        Event::PackMade {
            by,
            export,
            filter: filter.terms(),
            records_in_trail: end,
            records: self.detail(),
            sums,
        }
    }

    /// What the record of the making says that is not so of what was counted here: the name of the
    /// part.
    pub(super) fn disagrees(&self, told: &PackedRecords) -> Option<&'static str> {
        let own = self.detail();
        let parts = [
            ("number", told.number == own.number),
            ("first", told.first == own.first),
            ("last", told.last == own.last),
            ("sha256", told.sha256 == own.sha256),
        ];
        parts.into_iter().find(|(_, agrees)| !agrees).map(|(name, _)| name)
    }
}
