//! A tree that is only as wide as its right edge: enough for its roots.

use crate::tree::{TILE_WIDTH, Tiles};
use tlog_tiles::{EMPTY_HASH, HASH_SIZE, Hash, Tile, node_hash};

/// Complete subtrees from left to right, each with its height.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    subtrees: Vec<(u32, Hash)>,
    size: u64,
}

impl Edge {
    /// One more leaf.
    pub fn push(&mut self, leaf: Hash) {
        let (mut height, mut hash) = (0, leaf);
        while let Some((_, left)) = self.subtrees.pop_if(|(other, _)| *other == height) {
            hash = node_hash(left, hash);
            height += 1;
        }
        self.subtrees.push((height, hash));
        self.size += 1;
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root.
    pub fn root(&self) -> Hash {
        self.subtrees
            .iter()
            .rev()
            .map(|(_, hash)| *hash)
            .reduce(|right, left| node_hash(left, right))
            .unwrap_or(EMPTY_HASH)
    }
}

/// The tiles above the leaves, as they must be; compared with those that are there.
#[derive(Debug, Default)]
pub struct Upper {
    /// The hashes of the tile that is being filled, for level 0 and above, and how many tiles were
    /// full before it.
    levels: Vec<(Vec<Hash>, u64)>,
}

impl Upper {
    /// One more leaf. The first tile, if any, that is not as it must be: its level and number.
    pub fn push(&mut self, leaf: Hash, tiles: &dyn Tiles) -> Option<(u8, u64)> {
        let (mut hash, mut level, mut wrong) = (leaf, 0_usize, None);
        loop {
            if self.levels.len() == level {
                self.levels.push((Vec::new(), 0));
            }
            let (open, n) = self.levels.get_mut(level)?;
            open.push(hash);
            if open.len() < TILE_WIDTH as usize {
                return wrong;
            }
            let full = std::mem::take(open);
            if level > 0 && !same(tiles, level, *n, &full) {
                wrong = wrong.or(Some((u8::try_from(level).unwrap_or(u8::MAX), *n)));
            }
            *n += 1;
            hash = Tile::subtree_hash(&full.iter().flat_map(|hash| hash.0).collect::<Vec<_>>());
            level += 1;
        }
    }

    /// The partial tiles at the end that are not as they must be.
    pub fn finish(&self, tiles: &dyn Tiles) -> Vec<(u8, u64)> {
        let partial =
            self.levels.iter().enumerate().skip(1).filter(|(_, (open, _))| !open.is_empty());
        let wrong = partial.filter(|(level, (open, n))| !same(tiles, *level, *n, open));
        wrong.map(|(level, (_, n))| (u8::try_from(level).unwrap_or(u8::MAX), *n)).collect()
    }
}

fn same(tiles: &dyn Tiles, level: usize, n: u64, hashes: &[Hash]) -> bool {
    let width = u32::try_from(hashes.len()).unwrap_or(TILE_WIDTH);
    let found = tiles.tile(u8::try_from(level).unwrap_or(u8::MAX), n, width);
    found.is_ok_and(|bytes| {
        bytes.as_chunks::<HASH_SIZE>().0.iter().zip(hashes).filter(|(a, b)| **a == b.0).count()
            == hashes.len()
    })
}
