//! An index that is being made, in memory: of the trail's unsealed end, and of a segment before it
//! is written.

use super::{FIELDS, Index, IndexError, Ordinals, digest_print, id_print, partial};
use crate::exchange::{Exchange, Part};
use crate::filter::condition::Match;
use keyward_core::clock::AuditId;
use keyward_core::secret::DIGEST_PREFIX;
use keyward_record::Entry;
use keyward_record::Kind;
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// Values that are kept of one exchange, and their bytes: one with more is read whenever it is
/// asked for.
const VALUES_MAX: usize = 512;
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of distinct values that are kept of one segment: they stand in memory until it is sealed.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// The index of up to 65,536 records.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    first_seq: u64,
    pub(super) exchanges: RoaringBitmap,
    pub(super) events: RoaringBitmap,
    /// Forwarded, and not answered yet.
    pub(super) open: RoaringBitmap,
    /// With more values than are kept.
    pub(super) partial: RoaringBitmap,
    /// For each field, its values.
    pub(super) fields: Vec<HashMap<Box<str>, RoaringBitmap>>,
    /// For each record, how far behind it its answer stands; 0 when that is not known.
    pub(super) answers: Vec<u32>,
    pub(super) ids: Vec<(u64, u16)>,
    bytes: usize,
}

impl Builder {
    /// The index of no record, to be followed by that of `first_seq`.
    pub fn new(first_seq: u64) -> Self {
        Self {
            first_seq,
            fields: FIELDS.iter().map(|_| HashMap::new()).collect(),
            ..Self::default()
        }
    }

    /// The sequence number of its first record.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// How many records it has seen.
    pub fn count(&self) -> u32 {
        u32::try_from(self.answers.len()).unwrap_or(u32::MAX)
    }

    /// The sequence number of the next record.
    pub fn end(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count()))
    }

    /// Adds the next record. Answers are settled apart.
    pub fn add(&mut self, entry: &Entry) {
        let (seq, ordinal) = (self.end(), self.count());
        self.answers.push(0);
        self.ids.push((id_print(entry.id), ordinal as u16));
        match entry.kind {
            Kind::Answer => return,
            Kind::Event => self.events.insert(ordinal),
            Kind::Forwarded | Kind::Refused => self.exchanges.insert(ordinal),
        };
        if entry.kind == Kind::Forwarded {
            // What depends on the answer is not known yet.
            self.open.insert(ordinal);
        }
        let exchange =
            Exchange { id: entry.id, request: part(seq, entry), answer: None, answer_gone: false };
        self.keep(ordinal, &exchange, |name| {
            entry.kind != Kind::Forwarded || !ANSWERED.contains(&name)
        });
    }

    /// The answer to the request at `request`, a sequence number, stands at `seq`.
    pub fn settle(&mut self, request: u64, seq: u64, answer: &Entry) {
        let Some(ordinal) =
            request.checked_sub(self.first_seq).and_then(|ordinal| u32::try_from(ordinal).ok())
        else {
            return;
        };
        if !self.open.remove(ordinal) {
            return;
        }
        if let (Some(distance), Ok(behind)) =
            (self.answers.get_mut(ordinal as usize), u32::try_from(seq.saturating_sub(request)))
        {
            *distance = behind;
        }
        let part = part(seq, answer);
        let request = Part {
            seq: request,
            kind: Kind::Forwarded,
            json: serde_json::Value::Null,
            ..part.clone()
        };
        self.keep(
            ordinal,
            &Exchange { id: answer.id, request, answer: Some(part), answer_gone: false },
            |name| ANSWERED.contains(&name),
        );
    }

    fn keep(&mut self, ordinal: u32, exchange: &Exchange, wanted: impl Fn(&str) -> bool) {
        let (mut count, mut bytes) = (0, 0);
        for ((field, name), known) in FIELDS.iter().zip(super::NAMES).zip(&mut self.fields) {
            if !wanted(name) {
                continue;
            }
            for value in field.values(exchange) {
                (count, bytes) = (count + 1, bytes + value.len());
                if count > VALUES_MAX || bytes > VALUE_BYTES_MAX || self.bytes > BYTES_MAX {
                    self.partial.insert(ordinal);
                    return;
                }
                if let Some(ordinals) = known.get_mut(value.as_str()) {
                    ordinals.insert(ordinal);
                } else {
                    self.bytes += value.len() + 96;
                    known.insert(value.into(), RoaringBitmap::from_iter([ordinal]));
                }
            }
        }
    }

    /// Where the answers that are known stand, each with the ordinal of its request.
    pub fn answered(&self) -> impl Iterator<Item = (u64, u32)> {
        answered(self.first_seq, &self.answers)
    }
}

/// The same of distances.
pub(super) fn answered(first_seq: u64, answers: &[u32]) -> impl Iterator<Item = (u64, u32)> {
    let known = (0..).zip(answers).filter(|(_, behind)| **behind > 0);
    known.map(move |(ordinal, behind)| {
        (first_seq.saturating_add(u64::from(ordinal)).saturating_add(u64::from(*behind)), ordinal)
    })
}

/// A record as far as fields look at it.
fn part(seq: u64, entry: &Entry) -> Part {
    Part {
        seq,
        time: entry.time,
        kind: entry.kind,
        leaf: entry.leaf.clone(),
        json: partial::read(&entry.leaf),
        content: None,
    }
}

/// What an answer says, or the lack of one.
const ANSWERED: &[&str] = &["outcome", "status", "cloud-request-id"];

/// The keyed digests that stand in a segment's records and in the bodies beside them.
#[derive(Debug, Default)]
pub struct Digests(pub(super) Vec<(u64, u16)>);

impl Digests {
    /// Notes those in some bytes, which belong to the exchange at `ordinal`.
    pub fn note(&mut self, ordinal: u32, bytes: &[u8]) {
        for found in memchr::memmem::find_iter(bytes, DIGEST_PREFIX) {
            let digits = bytes.get(found + DIGEST_PREFIX.len()..).and_then(|rest| rest.get(..64));
            if let Some(print) = digits
                .filter(|digits| digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .and_then(digest_print)
            {
                self.0.push((print, ordinal as u16));
            }
        }
    }
}

/// Calls whose answers have not come yet, where each stands.
#[derive(Default)]
pub struct OpenRequests(HashMap<AuditId, u64>);

impl OpenRequests {
    /// Takes the next record. Where the request of its exchange stands; `None` for an answer to
    /// nothing that is open.
    pub fn request_of(&mut self, seq: u64, entry: &Entry) -> Option<u64> {
        match entry.kind {
            Kind::Answer => return self.0.remove(&entry.id),
            Kind::Forwarded => drop(self.0.insert(entry.id, seq)),
            Kind::Refused | Kind::Event => (),
        }
        Some(seq)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets those before a record.
    pub fn forget(&mut self, end: u64) {
        self.0.retain(|_, seq| *seq >= end);
    }
}

/// A builder as an index, while it grows.
pub struct Growing(RwLock<Builder>);

impl Growing {
    /// It.
    pub fn of(builder: Builder) -> Self {
        Self(RwLock::new(builder))
    }

    /// Reads it.
    pub fn read<T>(&self, read: impl FnOnce(&Builder) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets it grow.
    pub fn grow(&self, grow: impl FnOnce(&mut Builder)) {
        grow(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Its records.
    pub fn range(&self) -> Range<u64> {
        self.read(|builder| builder.first_seq()..builder.end())
    }
}

impl Index for Growing {
    fn first_seq(&self) -> u64 {
        self.read(|builder| builder.first_seq)
    }

    fn exchanges(&self) -> Ordinals {
        self.read(|builder| Arc::new(builder.exchanges.clone()))
    }

    fn events(&self) -> Ordinals {
        self.read(|builder| Arc::new(builder.events.clone()))
    }

    fn unsettled(&self) -> Ordinals {
        self.read(|builder| Arc::new(&builder.open | &builder.partial))
    }

    fn matching(&self, field: usize, wanted: &Match) -> Result<Ordinals, IndexError> {
        self.read(|builder| {
            let Some(values) = builder.fields.get(field) else { return Ok(Ordinals::default()) };
            if let Match::Exact(text) = wanted {
                return Ok(values
                    .get(text.as_str())
                    .map(|ordinals| Arc::new(ordinals.clone()))
                    .unwrap_or_default());
            }
            let found = values.iter().filter(|(value, _)| wanted.holds(value));
            Ok(Arc::new(found.fold(RoaringBitmap::new(), |all, (_, ordinals)| all | ordinals)))
        })
    }

    fn values(
        &self,
        field: usize,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<(), IndexError> {
        self.read(|builder| {
            builder
                .fields
                .get(field)
                .into_iter()
                .flatten()
                .for_each(|(value, ordinals)| visit(value, ordinals))
        });
        Ok(())
    }

    fn secret(&self, _digest: &str) -> Result<Option<RoaringBitmap>, IndexError> {
        // Bodies are looked at when the segment is sealed.
        Ok(None)
    }

    fn with_id(&self, id: AuditId) -> Result<Vec<u32>, IndexError> {
        let print = id_print(id);
        Ok(self.read(|builder| {
            builder
                .ids
                .iter()
                .filter(|(known, _)| *known == print)
                .map(|(_, ordinal)| u32::from(*ordinal))
                .collect()
        }))
    }

    fn is_current(&self) -> bool {
        true
    }

    fn answer(&self, ordinal: u32) -> Result<Option<u64>, IndexError> {
        Ok(self.read(|builder| {
            let behind = builder.answers.get(ordinal as usize).filter(|behind| **behind > 0)?;
            Some(
                builder
                    .first_seq
                    .saturating_add(u64::from(ordinal))
                    .saturating_add(u64::from(*behind)),
            )
        }))
    }
}
