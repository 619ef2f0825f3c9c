//! Where a record that was found belongs: what the tree's files prove, and what nothing proves.

use super::gone::between;
use super::tail::Tail;
use keyward_record::{LeafHash, leaf_hash};
use keyward_tlog::kept::Kept;
use keyward_tlog::note::Signed;
use keyward_tlog::tree::{Levels, Peaks, TILE_WIDTH, Tiles, inclusion};
use keyward_trail::notary::start::known::kept_largest;
use keyward_trail::segment::Sealed;
use keyward_trail::tiered::TieredStore;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tlog_tiles::HASH_SIZE;

const WIDTH: u64 = TILE_WIDTH as u64;

/// The hashes that the tree's files have, as far as they are known to be those that were signed.
pub(super) struct Hashes {
    tree: PathBuf,
    levels: Option<Levels>,
    newest: Option<Signed>,
    /// The tiles of records whose hashes lead to the root that was signed.
    proven: BTreeSet<u64>,
}

impl Hashes {
    /// Reads a tree, and what was signed over it: the largest of the checkpoints that are kept. That beside the tree may be
    /// damaged, or an older one.
    ///
    /// # Errors
    /// When the system does not let the checkpoints be read.
    pub(super) fn read(tree: &Path, notes: &mut Vec<String>) -> std::io::Result<Self> {
        let kept = Kept::new(tree);
        let keys = kept.keys().unwrap_or_default();
        // Without keys nobody can tell a checkpoint from a damaged one.
        let signed = |note: &Vec<u8>| if keys.is_empty() { Signed::parse(note).ok() } else { Signed::open(note, &keys).ok() };
        let beside = kept.newest()?.as_ref().and_then(signed);
        let past = kept_largest(&kept, &keys)?.and_then(|known| signed(&known.note));
        if beside.is_none() {
            notes.push("the newest checkpoint is not there, or damaged: what was signed last is known only as far as older ones tell".to_owned());
        }
        let newest = past.into_iter().chain(beside).max_by_key(Signed::size);
        let mut hashes = Self { tree: tree.to_owned(), levels: Levels::open(tree).ok(), newest, proven: BTreeSet::new() };
        hashes.proven = (0..hashes.signed().div_ceil(WIDTH)).filter(|n| hashes.prove(*n).is_some()).collect();
        Ok(hashes)
    }

    /// Records that were signed.
    pub(super) fn signed(&self) -> u64 {
        self.newest.as_ref().map_or(0, Signed::size)
    }

    /// A tile of records' hashes, if a proof leads from it to the root.
    fn prove(&self, n: u64) -> Option<()> {
        let (levels, newest) = (self.levels.as_ref()?, self.newest.as_ref()?);
        let first = levels.tile(0, n, 1).ok()?;
        inclusion(levels, newest.size(), newest.root(), n * WIDTH, *first.first_chunk::<HASH_SIZE>()?).ok().map(drop)
    }

    /// Whether it is known which record was signed at this place.
    pub(super) fn is_proven(&self, seq: u64) -> bool {
        seq < self.signed() && self.proven.contains(&(seq / WIDTH))
    }

    /// The hashes of the records of a tile, if they are the signed ones.
    fn tile(&self, n: u64) -> Vec<LeafHash> {
        let width = u32::try_from(WIDTH.min(self.signed().saturating_sub(n * WIDTH))).unwrap_or(TILE_WIDTH);
        let tile = self.levels.as_ref().filter(|_| self.proven.contains(&n)).and_then(|levels| levels.tile(0, n, width).ok());
        tile.unwrap_or_default().as_chunks::<HASH_SIZE>().0.to_vec()
    }

    /// Whether each record of a segment is the one that was signed, as far as that is known.
    pub(super) fn agree(&self, first_seq: u64, leaves: &[LeafHash]) -> bool {
        let mut tile: Option<(u64, Vec<LeafHash>)> = None;
        (first_seq..).zip(leaves).filter(|(seq, _)| *seq < self.signed()).all(|(seq, leaf)| {
            let n = seq / WIDTH;
            if tile.as_ref().is_none_or(|(held, _)| *held != n) {
                tile = Some((n, self.tile(n)));
            }
            let at = usize::try_from(seq % WIDTH).unwrap_or_default();
            tile.as_ref().and_then(|(_, hashes)| hashes.get(at)).is_none_or(|hash| hash == leaf)
        })
    }

    /// The records of which nothing proves that they are the ones that were signed: none, if all that is here, with the hashes
    /// that the tree has of what is not, leads to the root all the same.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(super) fn unproven(&self, dir: &Path, sealed: &[Sealed], tail: &Tail) -> anyhow::Result<Vec<Range<u64>>> {
        let doubtful = (0..self.signed().div_ceil(WIDTH)).filter(|n| !self.proven.contains(n));
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in doubtful.map(|n| n * WIDTH..((n + 1) * WIDTH).min(self.signed())) {
            match ranges.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => ranges.push(range),
            }
        }
        if ranges.is_empty() || self.leads_to_root(dir, sealed, tail)? { Ok(Vec::new()) } else { Ok(ranges) }
    }

    fn leads_to_root(&self, dir: &Path, sealed: &[Sealed], tail: &Tail) -> anyhow::Result<bool> {
        let level0 = File::open(self.tree.join("level0")).ok();
        let kept = |seq: u64| {
            let mut hash = [0; HASH_SIZE];
            level0.as_ref()?.read_exact_at(&mut hash, seq.checked_mul(HASH_SIZE as u64)?).ok().map(|()| hash)
        };
        let other = |seq: u64| tail.entries.get(&seq).map(|entry| leaf_hash(&entry.leaf)).or_else(|| kept(seq));
        let (mut peaks, signed) = (Peaks::default(), self.signed());
        let fill = |peaks: &mut Peaks, end: u64| (peaks.size()..end.min(signed)).map_while(other).for_each(|hash| peaks.push(hash));
        TieredStore::each_sealed(dir, sealed, |seq, entry| {
            fill(&mut peaks, seq);
            if seq < signed && peaks.size() == seq {
                peaks.push(leaf_hash(&entry.leaf));
            }
        })?;
        fill(&mut peaks, signed);
        Ok(peaks.size() == signed && peaks.root() == self.newest.as_ref().map(Signed::root))
    }
}

/// Where records that no segment has belong.
pub(super) struct Places<'a> {
    hashes: &'a Hashes,
    /// What no segment has. The last has no end.
    gaps: Vec<Range<u64>>,
    by_hash: HashMap<LeafHash, u64>,
}

/// The place of a record that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the one that was signed there.
    Proven(u64),
    /// It says so, and nothing tells otherwise.
    Said(u64),
}

impl<'a> Places<'a> {
    pub(super) fn of(hashes: &'a Hashes, sealed: &[Sealed]) -> Self {
        let gaps = between(sealed, u64::MAX);
        let mut by_hash = HashMap::new();
        for gap in between(sealed, hashes.signed()) {
            for n in gap.start / WIDTH..gap.end.div_ceil(WIDTH) {
                by_hash.extend((n * WIDTH..).zip(hashes.tile(n)).filter(|(seq, _)| gap.contains(seq)).map(|(seq, hash)| (hash, seq)));
            }
        }
        Self { hashes, gaps, by_hash }
    }

    /// Where a record belongs that says of itself where; `None` when it is none of those that are looked for.
    pub(super) fn find(&self, says: u64, leaf: &[u8]) -> Option<Place> {
        if let Some(seq) = self.by_hash.get(&leaf_hash(leaf)) {
            return Some(Place::Proven(*seq));
        }
        let wanted = !self.hashes.is_proven(says) && self.gaps.iter().any(|gap| gap.contains(&says));
        wanted.then_some(Place::Said(says))
    }
}
