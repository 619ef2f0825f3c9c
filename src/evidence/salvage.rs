//! Salvage: the engine's file is damaged, and the trail is founded anew over its sealed segments.
//!
//! What was not sealed is looked for in the damaged file. The tree has the hash of every record that was signed, so each
//! record that is found again is known to be the one that was signed, and at its place; of the last second, not signed yet,
//! and where the tree's own files do not lead to what was signed, the frames themselves say where they belong. What is not
//! found is lost: that becomes a record, and everything else is proved as before. What was pruned stays away.

mod gone;
mod places;
mod tail;

use self::gone::{Told, between, explained, gaps};
use self::places::{Hashes, Places};
use self::tail::Tail;
use anyhow::{Context, anyhow, ensure};
use keyward_core::causes::causes;
use keyward_record::Entry;
use keyward_record::Event;
use keyward_record::event::{By, Salvaged, Span};
use keyward_record::leaf_hash;
use keyward_tlog::verify::report::named;
use keyward_trail::notary::TREE;
use keyward_trail::recovery::founding::{Decided, Founding};
use keyward_trail::recovery::survey::{Lock, Survey, survey};
use keyward_trail::segment::{SEGMENT_RECORDS, Sealed};
use keyward_trail::store::{Batch, StoreError};
use keyward_trail::tiered::TieredStore;
use keyward_trail::tombstone::{Absent, Why};
use keyward_trail::wal;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the salvage may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Only what loses nothing that is known of; else all stays as it is.
    NoLoss,
    /// Whatever it takes.
    Loss,
}

/// What was found, and what was not.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Sealed segments that go on.
    pub segments: usize,
    /// Records below are sealed.
    pub sealed_end: u64,
    /// Records that the newest checkpoint here was signed over.
    pub signed: u64,
    /// Records that no sound segment has and that were found again.
    pub found_again: u64,
    /// Records that are lost.
    pub lost: Vec<Range<u64>>,
    /// Records that an earlier salvage has lost: a record tells of them already.
    pub lost_before: Vec<Range<u64>>,
    /// Records that were found again without the body that they had.
    pub bodies_lost: Vec<u64>,
    /// Records of which nothing proves that they are the ones that were signed: the tree is damaged too.
    pub unproven: Vec<Range<u64>>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// Where the damaged store is kept.
    pub aside: Option<PathBuf>,
    /// The record that tells of it.
    pub told_by: u64,
}

impl Report {
    fn refuse_loss(&self) -> anyhow::Result<()> {
        let lost: u64 = self.lost.iter().map(|range| range.end - range.start).sum();
        ensure!(lost == 0 && self.bodies_lost.is_empty(), "{lost} records and {} bodies cannot be found again", self.bodies_lost.len());
        ensure!(self.unproven.is_empty(), "nothing proves that what is found again is what was signed: the tree is damaged");
        Ok(())
    }
}

/// Founds a trail's store anew. `progress` is told what is being done, how far it is, and of how much.
///
/// # Errors
/// When another process has the trail, or the disk fails: then the trail is as it was, or this can be done again, and ends with
/// the same report.
pub fn salvage(dir: &Path, reason: &str, by: &By, accept: Accept, progress: &mut dyn FnMut(&str, usize, usize)) -> anyhow::Result<Report> {
    let lock = Lock::take(dir)?;
    if let Some(decided) = Decided::read(dir)? {
        return resume(dir, &lock, &decided, accept);
    }
    let (plan, mut report) = examine(dir, progress).map_err(untouched)?;
    if accept == Accept::NoLoss {
        report.refuse_loss()?;
    }
    progress("the new store", 0, 1);
    let founding = Founding::begin(dir, lock).map_err(|error| untouched(error.into()))?;
    plan.write(&founding, &report, &last_batch(&report, reason, by)).map_err(|error| untouched(error.into()))?;
    let report_kept = serde_json::to_value(&report)?;
    report.aside = founding.finish(&plan.unusable, report_kept).map_err(|error| unended(&error))?;
    Ok(report)
}

fn untouched(error: anyhow::Error) -> anyhow::Error {
    anyhow!(
        "{error:#}; nothing was changed: see to the disk, then try again; a file that it cannot read any more may be moved away, and salvage goes on without it"
    )
}

fn unended(error: &StoreError) -> anyhow::Error {
    anyhow!("{}; see to the disk, then run the salvage again: it ends what was begun", causes(error))
}

/// Carries out what an earlier run has decided.
fn resume(dir: &Path, lock: &Lock, decided: &Decided, accept: Accept) -> anyhow::Result<Report> {
    let mut report: Report = serde_json::from_value(decided.report.clone())?;
    if accept == Accept::NoLoss {
        report.refuse_loss()?;
    }
    report.aside = decided.carry_out(dir, lock).map_err(|error| unended(&error))?;
    Ok(report)
}

/// What the new trail is to be.
struct Plan {
    /// The segments that go on.
    sealed: Vec<Sealed>,
    /// What no segment has.
    tail: Tail,
    /// What is gone.
    absent: Vec<Absent>,
    /// Segments that are put aside, by the numbers in their files' names.
    unusable: Vec<u64>,
}

impl Plan {
    /// Makes all of it beside the trail.
    fn write(&self, founding: &Founding, report: &Report, last: &Batch) -> Result<(), StoreError> {
        let mut sealed = self.sealed.clone();
        // What is found again before the seam is sealed again: what stands there in the store is let go of.
        for (first_seq, run) in between(&self.sealed, report.sealed_end).iter().flat_map(|gap| self.tail.runs(gap)) {
            sealed.push(founding.write_segment(first_seq, &run)?);
        }
        sealed.sort_unstable_by_key(|segment| segment.first_seq);
        founding.note(&sealed, &self.absent)?;
        self.tail.batches(report.sealed_end).iter().chain([last]).try_for_each(|batch| founding.append(batch))
    }
}

/// Looks at all that is there.
fn examine(dir: &Path, progress: &mut dyn FnMut(&str, usize, usize)) -> anyhow::Result<(Plan, Report)> {
    let mut report = Report::default();
    let hashes = Hashes::read(&dir.join(TREE), &mut report.notes).context("the checkpoints cannot be read")?;
    let mut found = survey(dir, |done, all| progress("segments", done, all))?;
    report.notes.append(&mut found.problems);
    let mut told = sound(dir, &hashes, &mut found, &mut report.notes, progress)?;
    let Survey { sealed, unusable, .. } = found;
    report.segments = sealed.len();
    report.signed = hashes.signed();
    report.sealed_end = sealed.last().map_or(0, Sealed::end);
    progress("the damaged file", 0, 1);
    let left: Vec<_> = unusable.iter().filter_map(|(number, readable)| readable.map(|readable| (*number, readable))).collect();
    let engine = wal::examine(&dir.join("trail")).context("the engine's file cannot be read")?;
    let mut tail = Tail::read(dir, &engine, &Places::of(&hashes, &sealed), &left, &mut report.notes)?;
    tail.entries.iter().for_each(|(seq, entry)| told.look(*seq, entry));
    let pruned: Vec<_> = told.pruned().collect();
    let end = tail.settle_end(report.signed.max(report.sealed_end).max(engine.acknowledged).max(wal::noted_end(dir)), &pruned, &mut report.notes);
    told.absent.retain(|absent| absent.told_by < end);
    report.told_by = end;
    // While what was pruned is still here, so are its hashes.
    report.unproven = hashes.unproven(dir, &sealed, &tail)?;
    report.notes.extend(report.unproven.iter().map(unproven));
    tail.forget(&told);
    report.found_again = tail.entries.len() as u64;
    let absent: Vec<_> = gaps(&sealed, &tail, end).iter().flat_map(|gap| explained(gap, &told.absent, end)).collect();
    report.lost = absent.iter().filter(|absent| absent.told_by == end).map(Absent::range).collect();
    report.lost_before = absent.iter().filter(|absent| absent.why == Why::Lost && absent.told_by != end).map(Absent::range).collect();
    report.bodies_lost = tail.without_body();
    report.notes.extend(told.bodies_lost.iter().map(|(seq, count)| format!("record {seq} tells of an earlier salvage, which has lost {count} bodies")));
    let unusable = unusable.into_iter().map(|(number, _)| number).collect();
    Ok((Plan { sealed, tail, absent, unusable }, report))
}

/// Reads the segments that can be used, and leaves those out in which a record is not the one that was signed. What the others'
/// records tell.
fn sound(dir: &Path, hashes: &Hashes, found: &mut Survey, notes: &mut Vec<String>, progress: &mut dyn FnMut(&str, usize, usize)) -> Result<Told, StoreError> {
    let (mut told, all) = (Told::default(), std::mem::take(&mut found.sealed));
    for (n, sealed) in all.iter().enumerate() {
        let (mut tells, mut leaves) = (Told::default(), Vec::new());
        TieredStore::each_sealed(dir, &[*sealed], |seq, entry| {
            tells.look(seq, entry);
            leaves.push(leaf_hash(&entry.leaf));
        })?;
        if leaves.len() == sealed.count as usize && hashes.agree(sealed.first_seq, &leaves) {
            told.extend(tells);
            found.sealed.push(*sealed);
        } else {
            notes.push(format!("the segment at record {} has something else than what was signed: what else it has was sealed again", sealed.first_seq));
            found.unusable.push((sealed.first_seq, Some(*sealed)));
        }
        progress("records", n + 1, all.len());
    }
    Ok(told)
}

fn unproven(records: &Range<u64>) -> String {
    format!(
        "the files of the tree do not lead to the checkpoint that was signed: what is here of {} stands where it says itself that it belongs, and nothing proves that it is what was signed; put the folder `{TREE}` back from a backup, if there is one",
        named(records.start, records.end - 1)
    )
}

/// The record of the salvage, at the trail's new end.
fn last_batch(report: &Report, reason: &str, by: &By) -> Batch {
    let records: Vec<_> = report.lost.iter().map(Span::of).collect();
    let (reason, by) = (reason.to_owned(), by.clone());
    let found = Salvaged { found_again: report.found_again, bodies_lost: report.bodies_lost.len() as u64, notes: report.notes.clone() };
    let event = match records.is_empty() {
        true => Event::StoreRebuilt { records, reason, by, found },
        false => Event::RecordsLost { records, reason, by, found },
    };
    let event = event.record();
    // Exchanges that the last run has left open, and whose answers are lost, are closed by the next start: it looks from here on.
    let first_lost = report.lost.first().map_or(report.sealed_end, |range| range.start);
    let open_floor = first_lost.min(report.sealed_end).saturating_sub(SEGMENT_RECORDS);
    let entry = Entry { time: event.time, kind: event.kind, id: event.id, leaf: event.leaf };
    Batch { first_seq: report.told_by, entries: vec![entry], contents: Vec::new(), open_floor: Some(open_floor) }
}

#[cfg(test)]
mod tests;
