//! Records that were in the trail and are known not to be any more: pruned by policy, or lost and
//! given up on record.
//!
//! The tree keeps their hashes, so that all that remains can be proved as before. A record of the
//! trail itself tells of each, written before they went; whoever finds them missing without one has
//! found a hole.

use keyward_record::Event;
pub use keyward_record::event::Removal;
use std::ops::Range;

/// Consecutive records that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The first of them.
    pub first_seq: u64,
    /// The first behind them.
    pub end: u64,
    /// Removal they are gone.
    pub why: Removal,
    /// The record that tells of it: of the event [`Removal::event`].
    pub told_by: u64,
}

/// What an event, which is record `seq`, says is gone. What it says of records that are not before
/// it says nothing.
pub fn told(seq: u64, event: &Event) -> impl Iterator<Item = Tombstone> + '_ {
    let why = Removal::of(event);
    let ranges = event.gone().filter(move |range| range.end <= seq);
    ranges.filter_map(move |range| {
        Some(Tombstone { first_seq: range.start, end: range.end, why: why?, told_by: seq })
    })
}

impl std::fmt::Display for Tombstone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.why {
            Removal::Pruned => "pruned by policy",
            Removal::Lost => "lost",
        };
        write!(
            f,
            "records {} to {}, which were {how}: record {} tells of it",
            self.first_seq,
            self.end.saturating_sub(1),
            self.told_by
        )
    }
}

impl Tombstone {
    const BYTES: usize = 8 + 1 + 8;

    /// The records.
    pub fn range(&self) -> Range<u64> {
        self.first_seq..self.end
    }

    /// As the store keeps it, under its first record.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let why = match self.why {
            Removal::Pruned => 0,
            Removal::Lost => 1,
        };
        [self.end.to_be_bytes().as_slice(), &[why], &self.told_by.to_be_bytes()].concat()
    }

    pub(super) fn from_bytes(first_seq: u64, bytes: &[u8]) -> Option<Self> {
        let (end, rest) = bytes.split_first_chunk()?;
        let (why, told_by) = rest.split_first()?;
        let why = match why {
            0 => Removal::Pruned,
            1 => Removal::Lost,
            _ => return None,
        };
        let absent = Self {
            first_seq,
            end: u64::from_be_bytes(*end),
            why,
            told_by: u64::from_be_bytes(*told_by.first_chunk()?),
        };
        (bytes.len() == Self::BYTES && absent.first_seq < absent.end).then_some(absent)
    }
}

/// Ranges that are gone, those that touch and are told of together as one. `all` are in order.
pub fn joined(all: impl IntoIterator<Item = Tombstone>) -> Vec<Tombstone> {
    let mut joined: Vec<Tombstone> = Vec::new();
    for next in all {
        match joined.last_mut().filter(|last| {
            last.end == next.first_seq && (last.why, last.told_by) == (next.why, next.told_by)
        }) {
            Some(last) => last.end = next.end,
            None => joined.push(next),
        }
    }
    joined
}

/// The first record at or behind `seq` that is not known to be gone. `all` are in order.
pub fn skip_tombstones(all: &[Tombstone], mut seq: u64) -> u64 {
    for absent in all {
        if absent.range().contains(&seq) {
            seq = absent.end;
        }
    }
    seq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_that_touch_are_passed_as_one() {
        let gap = |first_seq, end| Tombstone { first_seq, end, why: Removal::Pruned, told_by: 99 };
        let all = [gap(0, 10), gap(10, 20), gap(30, 40)];
        assert_eq!(
            [0, 5, 19, 20, 30, 39, 40].map(|seq| skip_tombstones(&all, seq)),
            [20, 20, 20, 20, 40, 40, 40]
        );
        assert_eq!(joined(all), [gap(0, 20), gap(30, 40)]);
        let lost = Tombstone { why: Removal::Lost, ..gap(20, 30) };
        assert_eq!(joined([all[1], lost, all[2]]), [all[1], lost, all[2]]);
        assert_eq!(lost.to_string(), "records 20 to 29, which were lost: record 99 tells of it");
    }

    #[test]
    fn what_is_kept_reads_back_and_nothing_else_does() {
        let absent = Tombstone { first_seq: 7, end: 9, why: Removal::Lost, told_by: 12 };
        let bytes = absent.to_bytes();
        assert_eq!(Tombstone::from_bytes(7, &bytes), Some(absent));
        assert_eq!(Tombstone::from_bytes(9, &bytes), None);
        assert_eq!((0..bytes.len()).find_map(|cut| Tombstone::from_bytes(7, &bytes[..cut])), None);
        assert_eq!(Tombstone::from_bytes(7, &[bytes.as_slice(), &[0]].concat()), None);
    }
}
