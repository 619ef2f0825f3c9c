//! Records and bodies that are not there, and what the trail itself tells of them.
//!
//! An event tells of records that were pruned by policy, of records that were lost, and of bodies
//! that were erased. It stands behind what it tells of, so that nothing is settled before the walk
//! has ended. It counts once a checkpoint covers it: whoever takes records away without the log's
//! key cannot excuse it.

use super::report::{About, Pruned, Report, named};
use crate::source::Tombstone;
use keyward_record::Event;
use keyward_record::event::Removal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Range;

/// What events tell of.
#[derive(Debug, Default)]
pub struct Told {
    gone: Vec<Telling>,
    erased: Vec<Telling>,
}

/// A record that tells of others before it.
#[derive(Debug)]
struct Telling {
    range: Range<u64>,
    /// `None` of bodies.
    why: Option<Removal>,
    by: u64,
    /// The policy, or the operator's reason.
    because: Value,
}

impl Told {
    /// Looks at the event that is record `seq`. What it says of records that are not before it says
    /// nothing.
    pub fn look(&mut self, seq: u64, event: &Event) {
        let because = match event {
            Event::RecordsPruned { policy, .. } => serde_json::to_value(policy).unwrap_or_default(),
            Event::RecordsLost { reason, .. } | Event::BodiesErased { reason, .. } => {
                Value::from(reason.as_str())
            }
            _ => return,
        };
        tell(&mut self.gone, seq, Removal::of(event), event.gone(), &because);
        tell(&mut self.erased, seq, None, event.bodies_erased(), &because);
    }
}

/// Takes down the ranges that record `seq` tells of.
fn tell(
    to: &mut Vec<Telling>,
    seq: u64,
    why: Option<Removal>,
    ranges: impl Iterator<Item = Range<u64>>,
    because: &Value,
) {
    for range in ranges.filter(|range| range.end <= seq) {
        match to.last_mut().filter(|telling| telling.by == seq && telling.range.end == range.start)
        {
            Some(telling) => telling.range.end = range.end,
            None => to.push(Telling { range, why, by: seq, because: because.clone() }),
        }
    }
}

/// Which of the records that tell can be believed.
#[derive(Clone, Copy, Debug)]
pub struct Bound(
    /// Records below are under a checkpoint that agrees; `None` when none could be compared.
    pub Option<u64>,
);

impl Bound {
    fn believes(self, by: u64) -> bool {
        self.0.is_none_or(|size| by < size)
    }
}

/// What the walk has not found.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Places without records, in order, apart from each other.
    pub records: Vec<Range<u64>>,
    /// Records whose bodies are not there, in order.
    pub bodies: Vec<Range<u64>>,
}

impl Gaps {
    /// One more place, or some, behind all that came before.
    pub fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
        match ranges.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => ranges.push(range),
        }
    }

    /// Takes out what is missing from a record on, because nobody looked there. Where it began and
    /// ended, if anything was.
    pub fn leave_out(&mut self, from: u64) -> Option<Range<u64>> {
        let mut left: Option<Range<u64>> = None;
        for range in &mut self.records {
            let cut = range.start.max(from)..range.end;
            if !cut.is_empty() {
                left = Some(left.map_or(cut.start, |left| left.start)..cut.end);
                range.end = range.end.min(from);
            }
        }
        self.records.retain(|range| !range.is_empty());
        left
    }

    /// Says of all records that are missing why, if a record tells, and of what is told though it
    /// is there. `from` is where the walk began, `absent` what the source notes. Returns where
    /// the last of what is told of ends.
    pub fn settle_records(
        &self,
        told: &Told,
        bound: Bound,
        from: u64,
        absent: &[Tombstone],
        report: &mut Report,
    ) -> u64 {
        let telling = disjoint(&told.gone);
        let mut until = 0;
        for (range, by) in split(&self.records, &telling) {
            let by = by.and_then(|by| told.gone.get(by));
            if by.is_some_and(|by| bound.believes(by.by)) {
                until = range.end;
            }
            tell_missing(range, by, bound, absent, report);
        }
        let there = split(&rest(&telling, &self.records, from), &telling);
        for (range, by) in
            there.into_iter().filter_map(|(range, by)| Some((range, told.gone.get(by?)?)))
        {
            let what = if by.why == Some(Removal::Lost) { "lost" } else { "pruned" };
            let (whose, are) = (
                named(range.start, range.end - 1),
                if range.end - range.start == 1 { "is" } else { "are" },
            );
            report.notes.push(format!("record {} says that {whose} {are} {what}, but they are there: whoever did it may have been stopped", by.by));
        }
        until
    }

    /// Says which bodies are missing although no record tells that they were erased. How many were.
    pub fn settle_bodies(&self, told: &Told, bound: Bound, report: &mut Report) -> u64 {
        let mut erased = 0;
        for (range, by) in split(&self.bodies, &disjoint(&told.erased)) {
            let by = by.and_then(|by| told.erased.get(by));
            if let Some(by) = by.filter(|by| bound.believes(by.by)) {
                erased += range.end - range.start;
                report.unsure |= bound.0.is_none();
                report.erased.insert(by.by);
                continue;
            }
            let (first, last) = (range.start, range.end - 1);
            let (body, is) = if first == last { ("body", "is") } else { ("bodies", "are") };
            let why = match by {
                Some(by) => format!(
                    "record {} tells of an erasure, but no checkpoint covers that record yet: start the gateway, which signs it, and verify again",
                    by.by
                ),
                None => "no record tells of an erasure".to_owned(),
            };
            let text = format!("the {body} of {} {is} missing, and {why}", named(first, last));
            if by.is_none() && report.unread {
                report
                    .notes
                    .push(format!("{text} that was read here: those that were not read may"));
                continue;
            }
            report.find(About::Completeness, "body-missing", Some((first, last)), text);
        }
        erased
    }
}

fn tell_missing(
    range: Range<u64>,
    by: Option<&Telling>,
    bound: Bound,
    absent: &[Tombstone],
    report: &mut Report,
) {
    let (first, last) = (range.start, range.end - 1);
    let are = if first == last { "is" } else { "are" };
    let mut text = format!("{} {are} missing", named(first, last));
    match by {
        Some(by) if bound.believes(by.by) && by.why == Some(Removal::Pruned) => {
            report.unsure |= bound.0.is_none();
            report.pruned.push(Pruned { first, last, told_by: by.by, policy: by.because.clone() });
            return;
        }
        Some(by) if bound.believes(by.by) => {
            let reason = by.because.as_str().map_or_else(|| by.because.to_string(), str::to_owned);
            text += &format!(
                ": record {} tells that they were lost, and why an operator went on: {reason}",
                by.by
            );
            return report.find(About::Completeness, "lost", Some((first, last)), text);
        }
        Some(by) => {
            text += &format!(
                "; record {} tells of it, but no checkpoint covers that record yet: start the gateway, which signs it, and verify again",
                by.by
            )
        }
        None => {
            let noted = absent
                .iter()
                .find(|absent| absent.range.start < range.end && absent.range.end > range.start);
            text += &noted.map_or(String::new(), |absent| {
                format!("; the gateway says that record {} tells of it, but what was read does not: if it is later, verify again", absent.told_by)
            });
        }
    }
    if by.is_none() && report.unread {
        report.notes.push(format!(
            "{text}, and no record that was read here says why: those that were not read may"
        ));
        return;
    }
    report.find(About::Completeness, "missing", Some((first, last)), text);
}

/// What is told, as ranges that do not meet, in order, each with the place of what counts there:
/// that records were lost before that they were pruned, and what was told first.
fn disjoint(told: &[Telling]) -> Vec<(Range<u64>, usize)> {
    let mut order: Vec<_> = (0..told.len()).collect();
    order.sort_by_key(|at| {
        told.get(*at).map(|telling| (telling.why != Some(Removal::Lost), telling.by))
    });
    let mut edges: Vec<(u64, usize)> = Vec::new();
    for (rank, at) in order.iter().enumerate() {
        let range = told.get(*at).map(|telling| telling.range.clone()).unwrap_or_default();
        edges.extend([(range.start, rank), (range.end, rank)]);
    }
    edges.sort_unstable();
    let (mut open, mut parts): (BTreeSet<usize>, Vec<(Range<u64>, usize)>) =
        (BTreeSet::new(), Vec::new());
    let mut from = 0;
    for (place, rank) in edges {
        if let Some(at) = open.first().and_then(|first| order.get(*first)).filter(|_| from < place)
        {
            match parts.last_mut().filter(|(range, last)| range.end == from && last == at) {
                Some((range, _)) => range.end = place,
                None => parts.push((from..place, *at)),
            }
        }
        from = place;
        if !open.remove(&rank) {
            open.insert(rank);
        }
    }
    parts
}

/// Ranges, cut where what is told of them begins and ends. Both are in order.
fn split(ranges: &[Range<u64>], told: &[(Range<u64>, usize)]) -> Vec<(Range<u64>, Option<usize>)> {
    let mut parts = Vec::new();
    for range in ranges {
        let mut next = range.start;
        let begin = told.partition_point(|(told, _)| told.end <= range.start);
        for (told, by) in told.iter().skip(begin).take_while(|(told, _)| told.start < range.end) {
            if next < told.start {
                parts.push((next..told.start, None));
            }
            parts.push((told.start.max(next)..told.end.min(range.end), Some(*by)));
            next = told.end.min(range.end);
        }
        if next < range.end {
            parts.push((next..range.end, None));
        }
    }
    parts
}

/// What is told of from `from` on, without what is missing.
fn rest(told: &[(Range<u64>, usize)], missing: &[Range<u64>], from: u64) -> Vec<Range<u64>> {
    let missing: Vec<_> = missing.iter().map(|range| (range.clone(), 0)).collect();
    let told: Vec<_> = told
        .iter()
        .map(|(range, _)| range.start.max(from)..range.end)
        .filter(|range| range.start < range.end)
        .collect();
    split(&told, &missing)
        .into_iter()
        .filter(|(_, missing)| missing.is_none())
        .map(|(range, _)| range)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event_of(name: &str, detail: Value) -> Option<Event> {
        Event::of_json(&json!({"event": name, "detail": detail}))
    }

    fn why(told: &Told, seq: u64) -> Option<(Removal, u64)> {
        let of = |telling: &&Telling| telling.range.contains(&seq);
        let lost = told
            .gone
            .iter()
            .filter(|telling| telling.why == Some(Removal::Lost))
            .filter(of)
            .map(|telling| telling.by)
            .min();
        let pruned = told.gone.iter().filter(of).map(|telling| telling.by).min();
        lost.map(|by| (Removal::Lost, by)).or_else(|| pruned.map(|by| (Removal::Pruned, by)))
    }

    proptest! {
        /// Each record that is missing is told of by what counts, however tellings overlap.
        #[test]
        fn every_missing_record_has_its_reason(
            tellings in prop::collection::vec((0..40_u64, 0..12_u64, any::<bool>()), 0..8),
            missing in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut told = Told::default();
            for (n, (first, more, lost)) in tellings.iter().enumerate() {
                let event = if *lost { Removal::Lost } else { Removal::Pruned }.event();
                told.look(100 + n as u64, &event_of(event.code(), json!({"records": [{"first": first, "last": first + more}]})).unwrap());
            }
            let mut gaps = Gaps::default();
            (0..40).filter(|seq| missing[*seq as usize]).for_each(|seq| Gaps::add(&mut gaps.records, seq..seq + 1));
            let mut report = Report::default();
            gaps.settle_records(&told, Bound(Some(1000)), 0, &[], &mut report);
            for seq in 0..40 {
                let within = |(first, last): (u64, u64)| (first..=last).contains(&seq);
                let found: Vec<_> = report.findings.iter().filter(|f| f.records.is_some_and(within)).map(|f| f.kind).collect();
                let pruned: Vec<_> = report.pruned.iter().filter(|pruned| within((pruned.first, pruned.last))).map(|pruned| pruned.told_by).collect();
                let expected = match (missing[seq as usize], why(&told, seq)) {
                    (false, _) => (vec![], vec![]),
                    (true, None) => (vec!["missing"], vec![]),
                    (true, Some((Removal::Lost, _))) => (vec!["lost"], vec![]),
                    (true, Some((Removal::Pruned, by))) => (vec![], vec![by]),
                };
                prop_assert_eq!((found, pruned), expected, "{}", seq);
            }
            let there = (0..52).any(|seq| why(&told, seq).is_some() && !missing.get(seq as usize).copied().unwrap_or(false));
            prop_assert_eq!(there, !report.notes.is_empty());
        }
    }

    #[test]
    fn a_pruning_tells_of_erasures_whose_own_record_it_took() {
        let mut told = Told::default();
        let detail = json!({"records": [{"first": 20, "last": 29}], "erased": [{"first": 3, "last": 4}, {"first": 50, "last": 60}]});
        told.look(50, &event_of("records-pruned", detail).unwrap());
        let mut gaps = Gaps::default();
        Gaps::add(&mut gaps.bodies, 3..6);
        let mut report = Report::default();
        assert_eq!(gaps.settle_bodies(&told, Bound(Some(100)), &mut report), 2);
        let found: Vec<_> =
            report.findings.iter().map(|finding| (finding.kind, finding.records)).collect();
        assert_eq!(found, [("body-missing", Some((5, 5)))]);
        let mut report = Report::default();
        assert_eq!(gaps.settle_bodies(&told, Bound(Some(50)), &mut report), 0, "nothing binds it");
    }

    #[test]
    fn what_makes_no_sense_tells_nothing() {
        let mut told = Told::default();
        for detail in [
            json!({}),
            json!({"records": 7}),
            json!({"records": [{"first": 9, "last": 3}, {"first": -1, "last": 3}, {"first": 3, "last": 50}, {"last": 3}]}),
        ] {
            event_of("records-pruned", detail).iter().for_each(|event| told.look(50, event));
        }
        assert_eq!(event_of("another", json!({"records": [{"first": 0, "last": 3}]})), None);
        assert!(told.gone.is_empty() && told.erased.is_empty());
    }
}
