//! Salvage: the engine's file is damaged, and the trail is founded anew over its sealed segments.
//!
//! What was not sealed is looked for in the damaged file. The tree has the hash of every record that was signed, so each
//! record that is found again is known to be the one that was signed, and at its place; of the last second, not signed yet,
//! the frames themselves say where they belong. What is not found is lost: that becomes a record, and everything else is
//! proved as before.

use super::TREE;
use super::kept::Kept;
use super::note::Signed;
use super::tree::{Levels, TILE_WIDTH, Tiles};
use crate::audit::absent::{Absent, Why, bodies_told};
use crate::audit::frame::Entry;
use crate::audit::leaf;
use crate::audit::record::{Content, Kind, LeafHash, leaf_hash};
use crate::audit::segment::SEGMENT_RECORDS;
use crate::audit::segment::Sealed;
use crate::audit::store::carve::{Carved, carve};
use crate::audit::store::{Batch, SledStore, Store, StoreError};
use crate::audit::tiered::TieredStore;
use crate::audit::tiered::found::{Founding, Lock, Survey, put_aside, survey, write_segment};
use anyhow::ensure;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tlog_tiles::HASH_SIZE;

/// A copy of the damaged file, which the engine may try to read.
const COPY: &str = "salvage";
/// Records and bodies of one batch.
const BATCH_RECORDS: usize = 256;

/// What the salvage may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Only what loses nothing that is known of; else all stays as it is.
    NoLoss,
    /// Whatever it takes.
    Loss,
}

/// What was found, and what was not.
#[derive(Debug, Default, serde::Serialize)]
pub struct Report {
    /// Sealed segments that go on.
    pub segments: usize,
    /// Records below are sealed.
    pub sealed_end: u64,
    /// Records that the newest checkpoint here was signed over.
    pub signed: u64,
    /// Records behind the segments that were found again, each known to be the one that was signed, or behind all that was.
    pub found_again: u64,
    /// Records that are lost.
    pub lost: Vec<Range<u64>>,
    /// Records that were found again without the body that they had.
    pub bodies_lost: Vec<u64>,
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
        Ok(())
    }
}

/// Founds a trail's store anew. `progress` is told what is being done, how far it is, and of how much.
///
/// # Errors
/// When another process has the trail, or the disk fails.
pub fn salvage(dir: &Path, reason: &str, by: &Value, accept: Accept, progress: &mut dyn FnMut(&str, usize, usize)) -> anyhow::Result<Report> {
    let lock = Lock::take(dir)?;
    let Survey { mut sealed, problems, unusable } = survey(dir, |done, all| progress("segments", done, all))?;
    let mut report = Report { segments: sealed.len(), notes: problems, ..Report::default() };
    let tree = dir.join(TREE);
    let newest = Kept::new(&tree).newest()?.and_then(|note| Signed::parse(&note).ok());
    report.signed = newest.map_or(0, |signed| signed.size());
    report.sealed_end = sealed.last().map_or(0, Sealed::end);
    progress("the damaged file", 0, 1);
    let places = places(&tree, &sealed, report.signed, &mut report.notes);
    let left: Vec<_> = unusable.iter().filter_map(|(number, readable)| readable.map(|readable| (*number, readable))).collect();
    let mut tail = Tail::read(dir, &places, &left, report.sealed_end, report.signed, &mut report.notes)?;
    let end = tail.settle_end(report.signed.max(report.sealed_end), &mut report.notes);
    report.told_by = end;
    report.found_again = tail.entries.len() as u64;
    let gaps = gaps(&sealed, &tail, end);
    progress("what is known of gaps", 0, 1);
    let known = if gaps.is_empty() { Vec::new() } else { told(dir, &sealed, &tail)? };
    let absent: Vec<_> = gaps.iter().flat_map(|gap| explained(gap, &known, end)).collect();
    report.lost = absent.iter().filter(|absent| absent.told_by == end).map(Absent::range).collect();
    if !between(&sealed, report.sealed_end).is_empty() || !left.is_empty() {
        // What was erased may still stand in what was put aside; it does not come back.
        tail.erase(&erased(dir, &sealed, &tail)?);
    }
    report.bodies_lost = tail.without_body();
    if accept == Accept::NoLoss {
        report.refuse_loss()?;
    }
    put_aside(dir, unusable.iter().map(|(first_seq, _)| *first_seq))?;
    // What is found again before the seam is sealed again: what stands there in the store is let go of.
    for gap in between(&sealed, report.sealed_end) {
        sealed.extend(tail.seal(dir, &gap)?);
    }
    sealed.sort_unstable_by_key(|segment| segment.first_seq);
    progress("the new store", 0, 1);
    let founding = Founding::begin(dir, lock, &sealed, &absent)?;
    for batch in tail.batches(report.sealed_end) {
        founding.append(&batch)?;
    }
    founding.append(&last_batch(&report, reason, by, end))?;
    report.aside = founding.finish()?;
    Ok(report)
}

/// The record of the salvage, at the trail's new end.
fn last_batch(report: &Report, reason: &str, by: &Value, end: u64) -> Batch {
    let records: Vec<_> = report.lost.iter().map(|range| json!({"first": range.start, "last": range.end - 1})).collect();
    let detail = json!({"records": records, "reason": reason, "by": by, "found_again": report.found_again, "bodies_lost": report.bodies_lost.len(), "notes": report.notes});
    let event = leaf::event(if report.lost.is_empty() { "store-made-anew" } else { Why::Lost.event() }, detail);
    // Exchanges that the last run has left open, and whose answers are lost, are closed by the next start: it looks from here on.
    let first_lost = report.lost.first().map_or(report.sealed_end, |range| range.start);
    let open_floor = first_lost.min(report.sealed_end).saturating_sub(SEGMENT_RECORDS);
    let entry = Entry { time: event.time, kind: event.kind, id: event.id, leaf: event.leaf };
    Batch { first_seq: end, entries: vec![entry], contents: Vec::new(), open_floor: Some(open_floor) }
}

/// Where each signed record that is not sealed belongs, by its hash.
fn places(tree: &Path, sealed: &[Sealed], signed: u64, notes: &mut Vec<String>) -> HashMap<LeafHash, u64> {
    let mut places = HashMap::new();
    let Ok(levels) = Levels::open(tree) else {
        notes.push("the tree cannot be read, so that what is found in the damaged file cannot be placed".to_owned());
        return places;
    };
    let width = u64::from(TILE_WIDTH);
    for gap in between(sealed, signed) {
        for n in gap.start / width..gap.end.div_ceil(width) {
            let count = u32::try_from(width.min(signed - n * width)).unwrap_or(TILE_WIDTH);
            let Ok(tile) = levels.tile(0, n, count) else { continue };
            for (seq, hash) in (n * width..).zip(tile.as_chunks::<HASH_SIZE>().0).filter(|(seq, _)| gap.contains(seq)) {
                places.insert(*hash, seq);
            }
        }
    }
    places
}

/// What no segment has, up to `end`.
fn between(sealed: &[Sealed], end: u64) -> Vec<Range<u64>> {
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

/// A record that was found again, with its body if that was.
type Found = (Entry, Option<Content>);

/// Records behind the segments, and between them.
#[derive(Default)]
struct Tail {
    entries: BTreeMap<u64, Entry>,
    contents: BTreeMap<u64, Content>,
    /// Those whose bodies were erased, on record.
    erased: BTreeSet<u64>,
}

impl Tail {
    /// Everything that a damaged store still gives: by the engine, if it opens a copy, and by looking into its file.
    fn read(
        dir: &Path,
        places: &HashMap<LeafHash, u64>,
        left: &[(u64, Sealed)],
        sealed_end: u64,
        signed: u64,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let (mut tail, mut bodies) = (Self::default(), HashMap::new());
        let place = |seq, entry| tail.place(seq, vec![entry], places, signed);
        TieredStore::each_left(dir, left, place, |content| drop(bodies.insert(content.commitment(), content)));
        let db = dir.join("trail").join("db");
        if db.exists() {
            if let Err(error) = tail.by_engine(dir, places, sealed_end, signed) {
                notes.push(format!("the engine cannot read its file: {error:#}"));
            }
            carve(&db, &mut |carved| match carved {
                Carved::Frame(first_seq, entries) => tail.place(first_seq, entries, places, signed),
                Carved::Content(content) => drop(bodies.insert(content.commitment(), content)),
            })?;
        } else {
            notes.push("there is no file of the engine to look into".to_owned());
        }
        for (seq, entry) in &tail.entries {
            let commit = commitment(&entry.leaf);
            let by_engine = tail.contents.remove(seq).filter(|content| commit.as_ref() == Some(&content.commitment()));
            let content = by_engine.or_else(|| commit.and_then(|commit| bodies.get(&commit).cloned()));
            tail.contents.extend(content.map(|content| (*seq, content)));
        }
        Ok(tail)
    }

    /// Reads what the engine can, from a copy: opening changes the file.
    fn by_engine(&mut self, dir: &Path, places: &HashMap<LeafHash, u64>, sealed_end: u64, signed: u64) -> anyhow::Result<()> {
        let copy = dir.join(COPY);
        if copy.exists() {
            std::fs::remove_dir_all(&copy)?;
        }
        copy_folder(&dir.join("trail"), &copy.join("trail"))?;
        let read = self.read_copy(&copy, places, sealed_end, signed);
        std::fs::remove_dir_all(&copy)?;
        read
    }

    fn read_copy(&mut self, copy: &Path, places: &HashMap<LeafHash, u64>, sealed_end: u64, signed: u64) -> anyhow::Result<()> {
        let (store, _) = SledStore::open(copy)?;
        for frame in store.oldest_first(sealed_end).flatten() {
            for (seq, entry) in (frame.first_seq..).zip(&frame.entries).filter(|(seq, _)| *seq >= sealed_end) {
                // What was signed must be what was signed; nobody knows better of what was not.
                if seq >= signed || places.get(&leaf_hash(&entry.leaf)) == Some(&seq) {
                    self.entries.insert(seq, entry.clone());
                    if let Ok(Some(content)) = store.content(seq) {
                        self.contents.insert(seq, content);
                    }
                }
            }
        }
        Ok(())
    }

    /// A signed record belongs where the tree says. Of what was not signed yet the frame's own word is all there is; of two
    /// at one place the later was written when the earlier had not become part of the trail.
    fn place(&mut self, first_seq: u64, entries: Vec<Entry>, places: &HashMap<LeafHash, u64>, signed: u64) {
        for (says, entry) in (first_seq..).zip(entries) {
            match places.get(&leaf_hash(&entry.leaf)) {
                Some(seq) => drop(self.entries.insert(*seq, entry)),
                None if says >= signed && self.entries.get(&says).is_none_or(|other| other.time < entry.time) => drop(self.entries.insert(says, entry)),
                None => (),
            }
        }
    }

    /// Where the trail goes on: behind all that was signed and what follows on it without a gap.
    fn settle_end(&mut self, from: u64, notes: &mut Vec<String>) -> u64 {
        let mut end = from;
        while self.entries.contains_key(&end) {
            end += 1;
        }
        let behind = self.entries.split_off(&end);
        self.contents.split_off(&end);
        if !behind.is_empty() {
            notes.push(format!("{} records that nothing binds stood behind a gap, and were left out", behind.len()));
        }
        notes.push(
            "what was recorded after the newest checkpoint and is not in the file any more cannot be counted: with defaults that is at most the last second"
                .to_owned(),
        );
        end
    }

    /// Writes what is here of a gap into segments.
    fn seal(&self, dir: &Path, gap: &Range<u64>) -> Result<Vec<Sealed>, StoreError> {
        let mut runs: Vec<(u64, Vec<Found>)> = Vec::new();
        for (seq, entry) in self.entries.range(gap.clone()) {
            let record = (entry.clone(), self.contents.get(seq).cloned());
            match runs.last_mut().filter(|(first, run)| first + run.len() as u64 == *seq && (run.len() as u64) < SEGMENT_RECORDS) {
                Some((_, run)) => run.push(record),
                None => runs.push((*seq, vec![record])),
            }
        }
        runs.iter().map(|(first_seq, run)| write_segment(dir, *first_seq, run)).collect()
    }

    fn erase(&mut self, erased: &[Range<u64>]) {
        let is_erased = |seq: &u64| erased.iter().any(|range| range.contains(seq));
        self.contents.retain(|seq, _| !is_erased(seq));
        self.erased = self.entries.keys().copied().filter(is_erased).collect();
    }

    fn without_body(&self) -> Vec<u64> {
        let lacks = |seq: &u64, entry: &Entry| commitment(&entry.leaf).is_some() && !self.contents.contains_key(seq) && !self.erased.contains(seq);
        self.entries.iter().filter(|(seq, entry)| lacks(seq, entry)).map(|(seq, _)| *seq).collect()
    }

    /// The records in batches without gaps.
    fn batches(&self, sealed_end: u64) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for (seq, entry) in self.entries.range(sealed_end..) {
            let fits = |batch: &&mut Batch| batch.first_seq + batch.entries.len() as u64 == *seq && batch.entries.len() < BATCH_RECORDS;
            match batches.last_mut().filter(fits) {
                Some(batch) => batch.entries.push(entry.clone()),
                None => batches.push(Batch { first_seq: *seq, entries: vec![entry.clone()], ..Batch::default() }),
            }
            if let (Some(batch), Some(content)) = (batches.last_mut(), self.contents.get(seq)) {
                batch.contents.push((*seq, content.clone()));
            }
        }
        batches
    }
}

fn commitment(leaf: &[u8]) -> Option<String> {
    let leaf: Value = serde_json::from_slice(leaf).ok()?;
    leaf.pointer("/body/commit")?.as_str().map(str::to_owned)
}

/// What neither a segment nor the tail has.
fn gaps(sealed: &[Sealed], tail: &Tail, end: u64) -> Vec<Range<u64>> {
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

/// What the trail's own records tell of records that are gone: the range, why, and which record tells of it.
fn told(dir: &Path, sealed: &[Sealed], tail: &Tail) -> anyhow::Result<Vec<Absent>> {
    let mut told = Vec::new();
    TieredStore::each_sealed(dir, sealed, |seq, entry| told.extend(tells(seq, entry)))?;
    tail.entries.iter().for_each(|(seq, entry)| told.extend(tells(*seq, entry)));
    Ok(told)
}

/// The records whose bodies were erased, as the trail's own records tell.
fn erased(dir: &Path, sealed: &[Sealed], tail: &Tail) -> anyhow::Result<Vec<Range<u64>>> {
    let mut erased = Vec::new();
    let mut look = |entry: &Entry| {
        if entry.kind == Kind::Event {
            erased.extend(bodies_told(&serde_json::from_slice(&entry.leaf).unwrap_or_default()));
        }
    };
    TieredStore::each_sealed(dir, sealed, |_, entry| look(entry))?;
    tail.entries.values().for_each(look);
    Ok(erased)
}

fn tells(seq: u64, entry: &Entry) -> Vec<Absent> {
    if entry.kind != Kind::Event {
        return Vec::new();
    }
    let leaf: Value = serde_json::from_slice(&entry.leaf).unwrap_or_default();
    let event = leaf.get("event").and_then(Value::as_str);
    let Some(why) = [Why::Pruned, Why::Lost].into_iter().find(|why| event == Some(why.event())) else { return Vec::new() };
    let ranges = leaf.pointer("/detail/records").and_then(Value::as_array).cloned().unwrap_or_default();
    let range = |range: &Value| Some(Absent { first_seq: range.get("first")?.as_u64()?, end: range.get("last")?.as_u64()?.checked_add(1)?, why, told_by: seq });
    ranges.iter().filter_map(range).filter(|absent| absent.first_seq < absent.end && absent.end <= seq).collect()
}

/// A gap in parts: those that a record tells of, and those that are lost now.
fn explained(gap: &Range<u64>, known: &[Absent], told_by: u64) -> Vec<Absent> {
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

fn copy_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: to.to_owned(), source };
    std::fs::create_dir_all(to).map_err(failed)?;
    for file in std::fs::read_dir(from).map_err(failed)? {
        let file = file.map_err(failed)?;
        let (path, copy) = (file.path(), to.join(file.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            std::fs::copy(&path, &copy).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
