//! What is not there any more: what the trail's own records tell of, and what is lost.

use super::tail::Tail;
use crate::audit::absent::{Absent, Why, bodies_told};
use crate::audit::frame::Entry;
use crate::audit::record::Kind;
use crate::audit::segment::Sealed;
use serde_json::Value;
use std::ops::Range;

/// The event of a salvage that has lost no record.
pub(super) const MADE_ANEW: &str = "store-made-anew";

/// What records tell of.
#[derive(Default)]
pub(super) struct Told {
    /// Records that are gone: why, and which record tells of it.
    pub absent: Vec<Absent>,
    /// Records whose bodies were erased.
    pub erased: Vec<Range<u64>>,
    /// Earlier salvages that have lost bodies: their records, and of how many.
    pub bodies_lost: Vec<(u64, u64)>,
}

impl Told {
    /// Takes in what a record tells.
    pub(super) fn look(&mut self, seq: u64, entry: &Entry) {
        if entry.kind == Kind::Event {
            let leaf: Value = serde_json::from_slice(&entry.leaf).unwrap_or_default();
            self.absent.extend(tells(seq, &leaf));
            self.erased.extend(bodies_told(&leaf));
            let salvaged = leaf.get("event").and_then(Value::as_str).is_some_and(|event| [MADE_ANEW, Why::Lost.event()].contains(&event));
            let count = leaf.pointer("/detail/bodies_lost").and_then(Value::as_u64).filter(|count| salvaged && *count > 0);
            self.bodies_lost.extend(count.map(|count| (seq, count)));
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.absent.extend(more.absent);
        self.erased.extend(more.erased);
        self.bodies_lost.extend(more.bodies_lost);
    }

    /// What was pruned.
    pub(super) fn pruned(&self) -> impl Iterator<Item = Range<u64>> {
        self.absent.iter().filter(|absent| absent.why == Why::Pruned).map(Absent::range)
    }
}

/// What an event says is gone.
pub(super) fn tells(seq: u64, leaf: &Value) -> Vec<Absent> {
    let event = leaf.get("event").and_then(Value::as_str);
    let Some(why) = [Why::Pruned, Why::Lost].into_iter().find(|why| event == Some(why.event())) else { return Vec::new() };
    let ranges = leaf.pointer("/detail/records").and_then(Value::as_array).cloned().unwrap_or_default();
    let range = |range: &Value| Some(Absent { first_seq: range.get("first")?.as_u64()?, end: range.get("last")?.as_u64()?.checked_add(1)?, why, told_by: seq });
    ranges.iter().filter_map(range).filter(|absent| absent.first_seq < absent.end && absent.end <= seq).collect()
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

/// What neither a segment nor the tail has.
pub(super) fn gaps(sealed: &[Sealed], tail: &Tail, end: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    for gap in between(sealed, end) {
        let mut next = gap.start;
        for seq in tail.entries.range(gap.clone()).map(|(seq, _)| *seq).chain([gap.end]) {
            gaps.push(next..seq);
            next = seq + 1;
        }
    }
    gaps.retain(|gap| gap.start < gap.end);
    gaps
}

/// A gap in parts: those that a record tells of, and those that are lost now.
pub(super) fn explained(gap: &Range<u64>, known: &[Absent], told_by: u64) -> Vec<Absent> {
    let mut parts = Vec::new();
    let mut next = gap.start;
    while next < gap.end {
        let here = known.iter().find(|absent| absent.range().contains(&next));
        let part = match here {
            Some(absent) => Absent { first_seq: next, end: absent.end.min(gap.end), ..*absent },
            None => {
                let end = known.iter().map(|absent| absent.first_seq).filter(|first| *first > next).min().unwrap_or(gap.end).min(gap.end);
                Absent { first_seq: next, end, why: Why::Lost, told_by }
            }
        };
        next = part.end;
        parts.push(part);
    }
    parts
}
