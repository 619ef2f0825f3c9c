//! Salvage: a damaged store is made anew from what is left of it, and what was signed tells what
//! belongs where.

use keyward_record::LeafHash;
use keyward_record::event::By;
use keyward_tlog::checkpoint_store::CheckpointStore;
use keyward_tlog::note::Signed;
use keyward_tlog::tree::{Levels, Peaks, TILE_WIDTH, Tiles, inclusion};
use keyward_trail::notary::TREE;
use keyward_trail::notary::continuity::known::kept_largest;
use keyward_trail::recovery::{RecoveryError, SignedTree, recover};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tlog_tiles::HASH_SIZE;

pub use keyward_trail::recovery::{Accept, Report};

const WIDTH: u64 = TILE_WIDTH as u64;

/// Founds a trail's store anew. `progress` is told what is being done, how far it is, and of how
/// much.
///
/// # Errors
/// When another process has the trail, or the disk fails: then the trail is as it was, or this can
/// be done again, and ends with the same report.
pub fn salvage(
    dir: &Path,
    reason: &str,
    by: &By,
    accept: Accept,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Report, RecoveryError> {
    recover(dir, |notes| Hashes::read(&dir.join(TREE), notes), reason, by, accept, progress)
}

/// The hashes that the tree's files have, as far as they are known to be those that were signed.
struct Hashes {
    level0: Option<File>,
    newest: Option<Signed>,
    /// The tiles of records whose hashes do not lead to the root that was signed.
    unproven: Vec<Range<u64>>,
}

impl Hashes {
    /// Reads a tree, and what was signed over it: the largest of the checkpoints that are kept.
    /// That beside the tree may be damaged, or an older one.
    ///
    /// # Errors
    /// When the system does not let the checkpoints be read.
    fn read(tree: &Path, notes: &mut Vec<String>) -> std::io::Result<Self> {
        let kept = CheckpointStore::new(tree);
        let keys = kept.keys().unwrap_or_default();
        // Without keys nobody can tell a checkpoint from a damaged one.
        let signed = |note: &Vec<u8>| {
            if keys.is_empty() { Signed::parse(note).ok() } else { Signed::open(note, &keys).ok() }
        };
        let beside = kept.newest()?.as_ref().and_then(signed);
        let past = kept_largest(&kept, &keys)?.and_then(|known| signed(&known.note));
        if beside.is_none() {
            notes.push("the newest checkpoint is not there, or damaged: what was signed last is known only as far as older ones tell".to_owned());
        }
        let newest = past.into_iter().chain(beside).max_by_key(Signed::size);
        let (levels, mut unproven) = (Levels::open(tree).ok(), Vec::<Range<u64>>::new());
        let signed = newest.as_ref().map_or(0, Signed::size);
        let (log, root) = (levels.as_ref(), newest.as_ref());
        let proven =
            |first| log.zip(root).and_then(|(log, root)| prove(log, root, first)).is_some();
        for first in (0..signed).step_by(TILE_WIDTH as usize) {
            let end = first.saturating_add(WIDTH).min(signed);
            match unproven.last_mut().filter(|last| last.end == first) {
                _ if proven(first) => {}
                Some(last) => last.end = end,
                None => unproven.push(first..end),
            }
        }
        Ok(Self { level0: File::open(tree.join("level0")).ok(), newest, unproven })
    }
}

/// Whether a proof leads from the tile that begins with a record to the root.
fn prove(levels: &Levels, newest: &Signed, first: u64) -> Option<()> {
    let tile = levels.tile(0, first / WIDTH, 1).ok()?;
    inclusion(levels, newest.size(), newest.root(), first, *tile.first_chunk::<HASH_SIZE>()?)
        .ok()
        .map(drop)
}

impl SignedTree for Hashes {
    fn size(&self) -> u64 {
        self.newest.as_ref().map_or(0, Signed::size)
    }

    fn unproven(&self) -> &[Range<u64>] {
        &self.unproven
    }

    fn hash(&self, seq: u64) -> Option<LeafHash> {
        let mut hash = [0; HASH_SIZE];
        self.level0
            .as_ref()?
            .read_exact_at(&mut hash, seq.checked_mul(HASH_SIZE as u64)?)
            .ok()
            .map(|()| hash)
    }

    fn is_root_of(&self, hashes: &mut dyn Iterator<Item = LeafHash>) -> bool {
        let mut peaks = Peaks::default();
        hashes.for_each(|hash| peaks.push(hash));
        peaks.size() == self.size() && peaks.root() == self.newest.as_ref().map(Signed::root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyward_record::leaf_hash;
    use keyward_tlog::key::SigningKey;
    use keyward_tlog::tree::{self, Tree};

    #[test]
    fn a_hash_that_does_not_lead_to_the_root_is_not_believed_and_what_leads_there_without_it_is_proven()
     {
        let dir = tempfile::tempdir().unwrap();
        let leaves: Vec<_> =
            (0..300).map(|n| leaf_hash(format!(r#"{{"n":{n}}}"#).as_bytes())).collect();
        let mut tree = Tree::open(dir.path(), 0).unwrap();
        tree.extend(&leaves).unwrap();
        let root = tree::root(&*tree.levels(), tree.size()).unwrap();
        let key = SigningKey::generate("a").unwrap().0;
        CheckpointStore::new(dir.path())
            .put_newest(&Signed::sign(tree.size(), root, &[&key]).unwrap().bytes())
            .unwrap();
        let sound = Hashes::read(dir.path(), &mut Vec::new()).unwrap();
        assert_eq!(
            (sound.size(), sound.unproven(), sound.proven(70)),
            (300, &[][..], Some(leaves[70]))
        );

        let mut level0 = std::fs::read(dir.path().join("level0")).unwrap();
        level0[32 * 70] ^= 1;
        std::fs::write(dir.path().join("level0"), level0).unwrap();
        let hashes = Hashes::read(dir.path(), &mut Vec::new()).unwrap();
        assert_eq!(hashes.unproven(), vec![0..256; 1]);
        assert_eq!(
            [0, 255, 256, 299, 300].map(|seq| hashes.is_proven(seq)),
            [false, false, true, true, false]
        );
        assert!(
            hashes.hash(70).is_some_and(|hash| hash != leaves[70]) && hashes.proven(70).is_none()
        );
        assert!(hashes.is_root_of(&mut leaves.iter().copied()));
        assert!(
            !hashes.is_root_of(&mut (0..300).filter_map(|seq| hashes.hash(seq)))
                && !hashes.is_root_of(&mut leaves.iter().copied().take(299))
        );
    }
}
