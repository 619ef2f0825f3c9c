//! The walk over all records: where each stands, whether it has the hash that the tree has of it,
//! and to which roots they lead.

use super::edge::{Edge, Upper};
use super::gaps::Gaps;
use super::meaning::Meaning;
use super::report::{About, Report, named};
use crate::source::{Recorded, Run, Source, Tombstone, Unreadable, noted};
use crate::tree::TILE_WIDTH;
use keyward_record::leaf_hash;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use tlog_tiles::{HASH_SIZE, Hash};

/// Records with another hash than the tree's that are looked into, at most.
const DIFFERING_MAX: usize = 10_000;

/// Tiles that are wrong or cannot be read, before no more are asked for.
const WRONG_TILES_MAX: usize = 100;

/// A root that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of how many records.
    pub size: u64,
    /// What was signed.
    pub root: Hash,
}

/// To what a root was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The records lead to it; `None` when one of them is missing, and its hash too.
    pub by_records: Option<bool>,
    /// The tree's own hashes lead to it; `None` when they are not there.
    pub by_tiles: Option<bool>,
}

/// The walk.
pub struct Walk<'a> {
    pub source: &'a dyn Source,
    /// Tiles are there for this many records.
    tiled: u64,
    tile: Option<(u64, Vec<Hash>)>,
    /// The place of the next record.
    next: u64,
    records: Option<Edge>,
    tiles: Option<Edge>,
    upper: Upper,
    wrong_tiles: Vec<(u8, u64)>,
    differing: Vec<(u64, Hash, Hash)>,
    more_differing: u64,
    /// Places that are empty, and what was signed there.
    lost: Vec<(u64, Hash)>,
    wanted: VecDeque<(usize, Wanted)>,
    sizes: Vec<u64>,
    /// By the order of what was wanted.
    pub reached: Vec<Option<Reached>>,
    /// Places without records.
    pub gaps: Vec<Range<u64>>,
    /// What the source notes as gone: what nobody has moved elsewhere.
    absent: &'a [Tombstone],
    /// Hashes of the tree that stand for records that are not there.
    pub substituted: u64,
    /// What the records say.
    pub meaning: Meaning,
    /// Records that were read.
    pub read: u64,
}

impl<'a> Walk<'a> {
    /// A walk from the record `first`; roots can be wanted only of one from the beginning.
    pub fn new(
        source: &'a dyn Source,
        first: u64,
        tiled: u64,
        wanted: &[Wanted],
        absent: &'a [Tombstone],
    ) -> Self {
        let mut order: Vec<_> = wanted.iter().copied().enumerate().collect();
        order.sort_by_key(|(_, wanted)| wanted.size);
        let tiled = if source.has_tiles() { tiled } else { 0 };
        let whole = first == 0;
        let mut walk = Self {
            source,
            tiled,
            tile: None,
            next: first,
            records: whole.then(Edge::default),
            tiles: (whole && tiled > 0).then(Edge::default),
            upper: Upper::default(),
            wrong_tiles: Vec::new(),
            differing: Vec::new(),
            more_differing: 0,
            lost: Vec::new(),
            wanted: order.into(),
            sizes: wanted.iter().map(|wanted| wanted.size).collect(),
            reached: vec![None; wanted.len()],
            gaps: Vec::new(),
            absent,
            substituted: 0,
            meaning: Meaning::new(!whole),
            read: 0,
        };
        walk.compare();
        walk
    }

    /// Walks to `end`, at least; what is not there by then is missing.
    pub fn go(&mut self, end: u64, report: &mut Report, progress: &mut dyn FnMut(u64)) {
        let mut held: Option<Run> = None;
        let mut unreadable = Vec::new();
        let begin = self.next;
        for run in self.source.runs(self.next, end) {
            match run {
                Ok(mut run) => {
                    if run.first < begin {
                        let skip = usize::try_from(begin - run.first)
                            .unwrap_or(usize::MAX)
                            .min(run.records.len());
                        run.records.drain(..skip);
                        run.first = begin;
                        if run.records.is_empty() {
                            continue;
                        }
                    }
                    if let Some(before) = held.replace(run) {
                        let until = held.as_ref().map_or(end, |run| run.first);
                        self.run(before, until, report);
                        progress(self.next);
                    }
                }
                Err(error) => unreadable.push(error),
            }
        }
        if let Some(last) = held {
            let until = end.max(last.first + last.records.len() as u64);
            self.run(last, until, report);
        }
        if self.next < end {
            let (first, last) = (self.next, end - 1);
            if self.source.unread().is_none_or(|unread| first < unread.from) {
                report
                    .notes
                    .push(format!("the tail of the trail was cut, or never came here: it ends before record {first}, and was signed up to record {last}"));
            }
        }
        self.missing(end);
        tell_unreadable(unreadable, report);
    }

    /// Records that stand together; the next ones stand at `until`.
    fn run(&mut self, run: Run, until: u64, report: &mut Report) {
        if run.first < self.next {
            let text = format!("{} stand in the trail twice", named(run.first, self.next - 1));
            return report.find(
                About::Integrity,
                "inserted",
                Some((run.first, self.next - 1)),
                text,
            );
        }
        self.missing(run.first);
        let mut records: VecDeque<_> = run.records.into();
        while let Some(recorded) = records.pop_front() {
            let hash = Hash(leaf_hash(&recorded.leaf));
            let (left, places) = (records.len() as u64 + 1, until.saturating_sub(self.next));
            if left > places {
                let text = format!(
                    "before record {until} stand {} records more than there are places",
                    left - places
                );
                report.find(About::Integrity, "inserted", Some((until, until)), text);
                return;
            }
            if left < places
                && self.tile_hash(self.next).is_some_and(|tile| tile != hash)
                && !self.has_moved_up()
            {
                // Some are missing here. This one may have moved up within its frame.
                let moved =
                    (self.next + 1..=until - left).find(|seq| self.tile_hash(*seq) == Some(hash));
                self.missing(moved.unwrap_or(self.next));
            }
            self.place(&recorded, hash, report);
        }
    }

    /// The record that belongs at the next place stands one before it: all have moved up, across
    /// frames.
    fn has_moved_up(&mut self) -> bool {
        let tile = self.tile_hash(self.next);
        self.differing
            .last()
            .is_some_and(|(seq, hash, _)| seq + 1 == self.next && Some(*hash) == tile)
    }

    /// A record stands at the next place.
    fn place(&mut self, recorded: &Recorded, hash: Hash, report: &mut Report) {
        let seq = self.next;
        let tile = self.tile_hash(seq);
        if let Some(tile) = tile.filter(|tile| *tile != hash) {
            if self.differing.len() < DIFFERING_MAX {
                self.differing.push((seq, hash, tile));
            } else {
                self.more_differing += 1;
            }
        }
        self.meaning.look(seq, recorded, tile.is_none_or(|tile| tile == hash), self.source, report);
        self.read += 1;
        self.advance(Some(hash), tile);
    }

    /// Nothing stands from the next place up to `until`.
    fn missing(&mut self, until: u64) {
        if self.next >= until {
            return;
        }
        Gaps::add(&mut self.gaps, self.next..until);
        self.meaning.gap = true;
        while self.next < until {
            if self.records.is_none() && self.next >= self.tiled {
                // Nothing can be computed any more: a large gap costs nothing.
                self.next = until;
                self.compare();
                break;
            }
            let tile = self.tile_hash(self.next);
            if noted(self.absent, self.next).is_none() {
                self.lost.extend(
                    tile.filter(|_| self.lost.len() < DIFFERING_MAX).map(|tile| (self.next, tile)),
                );
            }
            self.substituted += u64::from(tile.is_some());
            self.advance(tile, tile);
        }
    }

    fn advance(&mut self, hash: Option<Hash>, tile: Option<Hash>) {
        match (&mut self.records, hash) {
            (Some(records), Some(hash)) => records.push(hash),
            (records, _) => *records = None,
        }
        match (&mut self.tiles, tile) {
            (Some(tiles), Some(tile)) => {
                tiles.push(tile);
                self.wrong_tiles.extend(self.upper.push(tile, self.source));
            }
            // Past the end of the tiles it stays as it is.
            (Some(_), None) if self.next >= self.tiled => (),
            (tiles, _) => *tiles = None,
        }
        self.next += 1;
        self.compare();
    }

    fn compare(&mut self) {
        while let Some((at, wanted)) =
            self.wanted.front().copied().filter(|(_, wanted)| wanted.size <= self.next)
        {
            self.wanted.pop_front();
            let same = |edge: &Option<Edge>| {
                edge.as_ref()
                    .filter(|edge| edge.size() == wanted.size)
                    .map(|edge| edge.root() == wanted.root)
            };
            let reached = Reached { by_records: same(&self.records), by_tiles: same(&self.tiles) };
            if let Some(slot) = self.reached.get_mut(at) {
                *slot = Some(reached);
            }
        }
    }

    /// The hash that the tree has of a record.
    fn tile_hash(&mut self, seq: u64) -> Option<Hash> {
        if seq >= self.tiled {
            return None;
        }
        let width = u64::from(TILE_WIDTH);
        let n = seq / width;
        if self.tile.as_ref().is_none_or(|(held, _)| *held != n) {
            if self.wrong_tiles.len() >= WRONG_TILES_MAX {
                self.tiled = seq;
                return None;
            }
            let count = u32::try_from(width.min(self.tiled - n * width)).unwrap_or(TILE_WIDTH);
            // A tile that cannot be read tells nothing; that it cannot is told at the end.
            let bytes = self.source.tile(0, n, count).unwrap_or_else(|_| {
                self.wrong_tiles.push((0, n));
                Vec::new()
            });
            self.tile = Some((
                n,
                bytes.as_chunks::<HASH_SIZE>().0.iter().map(|hash| Hash(*hash)).collect(),
            ));
        }
        let at = usize::try_from(seq % width).ok()?;
        self.tile.as_ref().and_then(|(_, hashes)| hashes.get(at)).copied()
    }

    /// Says which records are not those that were signed, or which hashes of the tree are not those
    /// of the records: which of the two, the roots to which the records lead tell.
    pub fn judge(&mut self, report: &mut Report) {
        let sound = self
            .sizes
            .iter()
            .zip(&self.reached)
            .filter(|(_, r)| r.is_some_and(|r| r.by_records == Some(true)))
            .map(|(size, _)| *size)
            .max();
        let at: HashMap<[u8; 32], u64> = self
            .differing
            .iter()
            .map(|(seq, _, tile)| (tile.0, *seq))
            .chain(self.lost.iter().map(|(seq, tile)| (tile.0, *seq)))
            .collect();
        let mut moved: Vec<(u64, u64, u64)> = Vec::new();
        for (seq, hash, _) in &self.differing {
            if sound.is_some_and(|size| *seq < size) {
                let text = format!(
                    "the tree's hash of record {seq} is not that of the record, which is as it was signed"
                );
                report.find(About::Integrity, "tile", Some((*seq, *seq)), text);
            } else if let Some(other) = at.get(&hash.0) {
                match moved
                    .last_mut()
                    .filter(|(_, last, signed)| *seq == last + 1 && *other == signed + 1)
                {
                    Some((_, last, signed)) => (*last, *signed) = (*seq, *other),
                    None => moved.push((*seq, *seq, *other)),
                }
            } else {
                report.find(
                    About::Integrity,
                    "changed",
                    Some((*seq, *seq)),
                    format!("record {seq} is not the one that was signed"),
                );
            }
        }
        for (first, last, signed) in moved {
            let (whose, stands) = (
                named(first, last),
                if first == last {
                    "stands the record that was"
                } else {
                    "stand the records that were"
                },
            );
            let text = format!(
                "at the place of {whose} {stands} signed as {}",
                named(signed - (last - first), signed)
            );
            report.find(About::Integrity, "moved", Some((first, last)), text);
        }
        self.tell_dropped(report);
        if self.more_differing > 0 {
            report.notes.push(format!(
                "{} records more are not those that were signed",
                self.more_differing
            ));
        }
        if self.tiles.is_some() {
            self.wrong_tiles.extend(self.upper.finish(self.source));
        }
        self.wrong_tiles.sort_unstable();
        self.wrong_tiles.dedup();
        for (level, n) in &self.wrong_tiles {
            report.find(
                About::Integrity,
                "tile",
                None,
                format!(
                    "tile {n} of level {level} cannot be read, or is not that of the tiles below it"
                ),
            );
        }
    }
}

impl Walk<'_> {
    /// Records that were signed and stand nowhere, although their places are taken: others have
    /// moved up.
    fn tell_dropped(&self, report: &mut Report) {
        let there: HashSet<[u8; 32]> = self.differing.iter().map(|(_, hash, _)| hash.0).collect();
        let changed: HashSet<[u8; 32]> = self.differing.iter().map(|(_, _, tile)| tile.0).collect();
        // Where every record is one that was signed, or none is, nothing can have moved up.
        if there.is_disjoint(&changed) {
            return;
        }
        let moved_in = |seq: u64| {
            self.differing.iter().any(|(at, hash, _)| *at == seq && changed.contains(&hash.0))
        };
        for (seq, ..) in self
            .differing
            .iter()
            .filter(|(seq, _, tile)| !there.contains(&tile.0) && moved_in(*seq))
        {
            report.find(
                About::Completeness,
                "missing",
                Some((*seq, *seq)),
                format!("the record that was signed as record {seq} is missing, and another has its place"),
            );
        }
    }
}

fn tell_unreadable(unreadable: Vec<Unreadable>, report: &mut Report) {
    for error in unreadable {
        let at = error.seq.map_or(String::new(), |seq| format!(" from record {seq} on"));
        report.find(
            About::Integrity,
            "unreadable",
            error.seq.map(|seq| (seq, seq)),
            format!("something{at} cannot be read: {error}"),
        );
    }
}
