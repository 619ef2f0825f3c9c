//! What the new trail is to be, by all that is there of the old one.

use super::candidates::{Candidates, Places};
use super::commit::Founding;
use super::gaps::{Told, between, explained, gaps};
use super::survey::{Survey, readable, survey};
use super::{Report, SignedTree};
use crate::segment::dictionary::Dictionaries;
use crate::segment::{SEGMENT_RECORDS, Sealed};
use crate::store::{Batch, StoreError};
use crate::tombstone::{Removal, Tombstone};
use crate::wal;
use keyward_record::event::{By, Salvaged, Span};
use keyward_record::{Entry, Event, leaf_hash};
use std::ops::Range;
use std::path::Path;

/// What the new trail is to be.
pub(super) struct Plan {
    /// The segments that go on.
    sealed: Vec<Sealed>,
    /// What no segment has.
    found: Candidates,
    /// What is gone.
    absent: Vec<Tombstone>,
    /// Segments that are put aside, by the numbers in their files' names.
    pub unusable: Vec<u64>,
}

impl Plan {
    /// Makes all of it beside the trail, with the record that tells of it.
    pub fn write(
        &self,
        founding: &Founding,
        report: &Report,
        reason: &str,
        by: &By,
    ) -> Result<(), StoreError> {
        let mut sealed = self.sealed.clone();
        // What is found again before the seam is sealed again: what stands there in the store is
        // let go of.
        for (first_seq, run) in
            between(&self.sealed, report.sealed_end).iter().flat_map(|gap| self.found.runs(gap))
        {
            sealed.push(founding.write_segment(first_seq, &run)?);
        }
        sealed.sort_unstable_by_key(|segment| segment.first_seq);
        founding.note(&sealed, &self.absent)?;
        let last = last_batch(report, reason, by);
        self.found
            .batches(report.sealed_end)
            .iter()
            .chain([&last])
            .try_for_each(|batch| founding.append(batch))
    }
}

/// Looks at all that is there.
pub(super) fn examine(
    dir: &Path,
    tree: &dyn SignedTree,
    report: &mut Report,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Plan, StoreError> {
    let mut survey = survey(dir, |done, all| progress("segments", done, all))?;
    report.notes.append(&mut survey.problems);
    let mut told = sound(dir, tree, &mut survey, &mut report.notes, progress)?;
    let Survey { sealed, unusable, .. } = survey;
    report.segments = sealed.len();
    report.signed = tree.size();
    report.sealed_end = sealed.last().map_or(0, Sealed::end);
    progress("the damaged file", 0, 1);
    let left: Vec<_> = unusable
        .iter()
        .filter_map(|(number, readable)| readable.map(|readable| (*number, readable)))
        .collect();
    let trail = dir.join("trail");
    let engine = wal::examine(&trail).map_err(|source| StoreError::File { path: trail, source })?;
    let mut found =
        Candidates::read(dir, &engine, &Places::of(tree, &sealed), &left, &mut report.notes)?;
    found.entries.iter().for_each(|(seq, entry)| told.look(*seq, entry));
    let pruned: Vec<_> = told.pruned().collect();
    let end = found.settle_end(
        report.signed.max(report.sealed_end).max(engine.acknowledged).max(wal::noted_end(dir)),
        &pruned,
        &mut report.notes,
    );
    told.absent.retain(|absent| absent.told_by < end);
    report.told_by = end;
    // While what was pruned is still here, so are its hashes.
    report.unproven = unproven(dir, tree, &sealed, &found)?;
    report.notes.extend(report.unproven.iter().map(tell_unproven));
    found.forget(&told);
    report.found_again = found.entries.len() as u64;
    let absent: Vec<_> = gaps(&sealed, &found.entries, end)
        .iter()
        .flat_map(|gap| explained(gap, &told.absent, end))
        .collect();
    report.lost =
        absent.iter().filter(|absent| absent.told_by == end).map(Tombstone::range).collect();
    report.lost_before = absent
        .iter()
        .filter(|absent| absent.why == Removal::Lost && absent.told_by != end)
        .map(Tombstone::range)
        .collect();
    report.bodies_lost = found.without_body();
    report.notes.extend(told.bodies_lost.iter().map(|(seq, count)| {
        format!("record {seq} tells of an earlier salvage, which has lost {count} bodies")
    }));
    let unusable = unusable.into_iter().map(|(number, _)| number).collect();
    Ok(Plan { sealed, found, absent, unusable })
}

/// Reads the segments that can be used, and leaves those out in which a record is not the one that
/// was signed. What the others' records tell.
fn sound(
    dir: &Path,
    tree: &dyn SignedTree,
    survey: &mut Survey,
    notes: &mut Vec<String>,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Told, StoreError> {
    let (mut told, all, dictionaries) =
        (Told::default(), std::mem::take(&mut survey.sealed), Dictionaries::default());
    for (n, sealed) in all.iter().enumerate() {
        let (mut tells, mut count, mut agree) = (Told::default(), 0, true);
        for record in readable(dir, sealed, &dictionaries) {
            let (seq, entry) = record?;
            tells.look(seq, &entry);
            count += 1;
            agree &= tree.proven(seq).is_none_or(|signed| signed == leaf_hash(&entry.leaf));
        }
        if agree && count == sealed.count {
            told.extend(tells);
            survey.sealed.push(*sealed);
        } else {
            notes.push(format!("the segment at record {} has something else than what was signed: what else it has was sealed again", sealed.first_seq));
            survey.unusable.push((sealed.first_seq, Some(*sealed)));
        }
        progress("records", n + 1, all.len());
    }
    Ok(told)
}

/// The records of which nothing proves that they are the ones that were signed: none, if all that
/// is here, with the hashes that the tree has of what is not, leads to the root all the same.
pub(super) fn unproven(
    dir: &Path,
    tree: &dyn SignedTree,
    sealed: &[Sealed],
    found: &Candidates,
) -> Result<Vec<Range<u64>>, StoreError> {
    if tree.unproven().is_empty() {
        return Ok(Vec::new());
    }
    let (mut failed, dictionaries) = (None, Dictionaries::default());
    let mut records =
        sealed.iter().flat_map(|sealed| readable(dir, sealed, &dictionaries)).peekable();
    let mut hashes = (0..tree.size()).map_while(|seq| {
        match records.next_if(|record| record.as_ref().map_or(true, |(at, _)| *at == seq)) {
            Some(Ok((_, entry))) => Some(leaf_hash(&entry.leaf)),
            Some(Err(error)) => {
                failed = Some(error);
                None
            }
            None => found
                .entries
                .get(&seq)
                .map(|entry| leaf_hash(&entry.leaf))
                .or_else(|| tree.hash(seq)),
        }
    });
    let proven = tree.is_root_of(&mut hashes);
    match failed {
        Some(error) => Err(error),
        None if proven => Ok(Vec::new()),
        None => Ok(tree.unproven().to_vec()),
    }
}

fn tell_unproven(records: &Range<u64>) -> String {
    let last = records.end - 1;
    let named = if records.start == last {
        format!("record {last}")
    } else {
        format!("records {} to {last}", records.start)
    };
    format!(
        "the files of the tree do not lead to the checkpoint that was signed: what is here of {named} stands where it says itself that it belongs, and nothing proves that it is what was signed; put the folder `tree` back from a backup, if there is one"
    )
}

/// The record of the salvage, at the trail's new end.
fn last_batch(report: &Report, reason: &str, by: &By) -> Batch {
    let records: Vec<_> = report.lost.iter().map(Span::of).collect();
    let (reason, by) = (reason.to_owned(), by.clone());
    let found = Salvaged {
        found_again: report.found_again,
        bodies_lost: report.bodies_lost.len() as u64,
        notes: report.notes.clone(),
    };
    let event = match records.is_empty() {
        true => Event::StoreRebuilt { records, reason, by, found },
        false => Event::RecordsLost { records, reason, by, found },
    };
    let event = event.record();
    // Exchanges that the last run has left open, and whose answers are lost, are closed by the next
    // start: it looks from here on.
    let first_lost = report.lost.first().map_or(report.sealed_end, |range| range.start);
    let open_floor = first_lost.min(report.sealed_end).saturating_sub(SEGMENT_RECORDS);
    let entry = Entry { time: event.time, kind: event.kind, id: event.id, leaf: event.leaf };
    Batch {
        first_seq: report.told_by,
        entries: vec![entry],
        contents: Vec::new(),
        open_floor: Some(open_floor),
    }
}
