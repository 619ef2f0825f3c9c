//! Growing the tree over what is stored, and making it anew beside its old files.
//!
//! A record that is gone left its hash in the tree, and nowhere else: whoever makes the tree anew
//! takes it from there.

use super::{StartError, at, unreadable};
use crate::store::Store;
use crate::tombstone::{Tombstone, skip_tombstones};
use keyward_core::clock::Timestamp;
use keyward_record::{LeafHash, leaf_hash};
use keyward_tlog::tree::Tree;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tlog_tiles::HASH_SIZE;

/// Hashes that are added to the tree at a time.
const PORTION: usize = 1 << 16;
/// Files of the tree.
const LEVELS: usize = 8;

/// The records that are gone, and the files that have their hashes.
pub struct Gone {
    absent: Vec<Tombstone>,
    /// The folder of a tree; `None` where nobody has looked for one.
    old: Option<PathBuf>,
}

impl Gone {
    /// Those of a store. Their hashes are in a tree's files.
    pub fn of(store: &dyn Store, old: Option<&Path>) -> Self {
        Self { absent: store.tombstones(), old: old.map(Path::to_owned) }
    }

    /// The hashes of records of which every one is gone.
    fn hashes(&self, range: &Range<u64>) -> Result<Vec<LeafHash>, StartError> {
        if skip_tombstones(&self.absent, range.start) < range.end {
            return Err(StartError::Broken(format!(
                "records {} to {} are missing in the trail",
                range.start,
                range.end - 1
            )));
        }
        let read = || -> io::Result<Vec<LeafHash>> {
            let old = self.old.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let file = File::open(old.join("level0"))?;
            let mut bytes = vec![
                0;
                usize::try_from(range.end - range.start)
                    .map_err(io::Error::other)?
                    .saturating_mul(HASH_SIZE)
            ];
            file.read_exact_at(&mut bytes, range.start.saturating_mul(HASH_SIZE as u64))?;
            Ok(bytes.as_chunks::<HASH_SIZE>().0.to_vec())
        };
        read().map_err(|source| StartError::Hashes {
            first: range.start,
            last: range.end - 1,
            source,
        })
    }
}

/// Grows the tree over the stored records up to `end`.
///
/// # Errors
/// When a record is missing, or gone and its hash too, or the disk fails.
pub fn catch_up(
    tree: &mut Tree,
    store: &dyn Store,
    end: u64,
    gone: &Gone,
) -> Result<(), StartError> {
    let from = tree.size();
    if from >= end {
        return Ok(());
    }
    let mut hashes = Vec::new();
    let mut expected = from;
    for frame in store.oldest_first(from) {
        let frame = frame.map_err(unreadable)?;
        while expected < frame.first_seq.min(end) {
            let part =
                expected..frame.first_seq.min(end).min(expected.saturating_add(PORTION as u64));
            hashes.extend(gone.hashes(&part)?);
            expected = part.end;
            add(tree, &mut hashes, PORTION)?;
        }
        let fresh = (frame.first_seq..end).zip(&frame.entries).filter(|(seq, _)| *seq >= from);
        hashes.extend(fresh.map(|(_, entry)| leaf_hash(&entry.leaf)));
        expected = frame.end().min(end).max(expected);
        add(tree, &mut hashes, PORTION)?;
        if expected == end {
            break;
        }
    }
    add(tree, &mut hashes, 0)
}

/// Adds what has gathered to the tree, if it is as much as `least`.
fn add(tree: &mut Tree, hashes: &mut Vec<LeafHash>, least: usize) -> Result<(), StartError> {
    if hashes.len() >= least {
        tree.extend(hashes).map_err(at("the tree"))?;
        hashes.clear();
    }
    Ok(())
}

/// The tree of all records in a folder of its own, with the hashes that the one in `old` has of
/// those that are gone.
pub(super) fn build(new: &Path, store: &dyn Store, old: &Path) -> Result<Tree, StartError> {
    std::fs::create_dir_all(new).map_err(at("the folder of the new tree"))?;
    let mut tree = Tree::open(new, 0).map_err(at("the new tree"))?;
    catch_up(&mut tree, store, u64::MAX, &Gone::of(store, Some(old)))?;
    Ok(tree)
}

/// Puts the new files in the place of the old ones, and keeps those aside for whoever wants to see
/// what was wrong with them. At no time is there a level without a file: the old ones may be all
/// that has the hashes of what is gone.
pub(super) fn put_in_place(dir: &Path, new: &Path) -> Result<(), StartError> {
    let levels: Vec<_> = (0..LEVELS).map(|level| format!("level{level}")).collect();
    if levels.iter().any(|level| dir.join(level).metadata().is_ok_and(|about| about.len() > 0)) {
        let aside = dir.with_file_name("aside").join(format!("tree.{}", Timestamp::now().0));
        std::fs::create_dir_all(&aside).map_err(at("the folder for what is put aside"))?;
        for level in levels.iter().filter(|level| dir.join(level).exists()) {
            let (from, to) = (dir.join(level), aside.join(level));
            // Not every file system has hard links.
            std::fs::hard_link(&from, &to)
                .or_else(|_| std::fs::copy(&from, &to).map(drop))
                .map_err(at("a file of the old tree"))?;
        }
    }
    levels
        .iter()
        .try_for_each(|level| std::fs::rename(new.join(level), dir.join(level)))
        .map_err(at("a file of the new tree"))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at("the tree's folder"))?;
    std::fs::remove_dir(new).map_err(at("the folder of the new tree"))
}
