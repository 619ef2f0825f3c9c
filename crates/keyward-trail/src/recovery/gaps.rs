//! What is not there any more: what the trail's own records tell of, and what is lost.

use crate::segment::Sealed;
use crate::tombstone::{Removal, Tombstone, told};
use keyward_record::{Entry, Event, Kind};
use std::collections::BTreeMap;
use std::ops::Range;

/// What records tell of.
#[derive(Default)]
pub(super) struct Told {
    /// Records that are gone: why, and which record tells of it.
    pub absent: Vec<Tombstone>,
    /// Records whose bodies were erased.
    pub erased: Vec<Range<u64>>,
    /// Earlier salvages that have lost bodies: their records, and of how many.
    pub bodies_lost: Vec<(u64, u64)>,
}

impl Told {
    /// Takes in what a record tells.
    pub(super) fn look(&mut self, seq: u64, entry: &Entry) {
        let Some(event) =
            (if entry.kind == Kind::Event { Event::of_leaf(&entry.leaf) } else { None })
        else {
            return;
        };
        self.absent.extend(told(seq, &event));
        self.erased.extend(event.bodies_erased());
        if let Event::RecordsLost { found, .. } | Event::StoreRebuilt { found, .. } = event
            && found.bodies_lost > 0
        {
            self.bodies_lost.push((seq, found.bodies_lost));
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.absent.extend(more.absent);
        self.erased.extend(more.erased);
        self.bodies_lost.extend(more.bodies_lost);
    }

    /// What was pruned.
    pub(super) fn pruned(&self) -> impl Iterator<Item = Range<u64>> {
        self.absent.iter().filter(|absent| absent.why == Removal::Pruned).map(Tombstone::range)
    }
}

/// What no segment has, up to `end`.
pub(super) fn between(sealed: &[Sealed], end: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for segment in sealed {
        gaps.push(next..segment.first_seq);
        next = segment.end();
    }
    gaps.push(next..end);
    gaps.retain(|gap| gap.start < gap.end);
    gaps
}

/// What no segment has, and was not found again.
pub(super) fn gaps(sealed: &[Sealed], found: &BTreeMap<u64, Entry>, end: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    for gap in between(sealed, end) {
        let mut next = gap.start;
        for seq in found.range(gap.clone()).map(|(seq, _)| *seq).chain([gap.end]) {
            gaps.push(next..seq);
            next = seq + 1;
        }
    }
    gaps.retain(|gap| gap.start < gap.end);
    gaps
}

/// A gap in parts: those that a record tells of, and those that are lost now.
pub(super) fn explained(gap: &Range<u64>, known: &[Tombstone], told_by: u64) -> Vec<Tombstone> {
    let mut parts = Vec::new();
    let mut next = gap.start;
    while next < gap.end {
        let here = known.iter().find(|absent| absent.range().contains(&next));
        let part = match here {
            Some(absent) => Tombstone { first_seq: next, end: absent.end.min(gap.end), ..*absent },
            None => {
                let end = known
                    .iter()
                    .map(|absent| absent.first_seq)
                    .filter(|first| *first > next)
                    .min()
                    .unwrap_or(gap.end)
                    .min(gap.end);
                Tombstone { first_seq: next, end, why: Removal::Lost, told_by }
            }
        };
        next = part.end;
        parts.push(part);
    }
    parts
}
