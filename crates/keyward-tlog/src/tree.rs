//! The Merkle tree of RFC 6962 over the trail's records, kept as one file for each level of tiles.
//!
//! `tree/level0` holds the hash of every record, `tree/level1` that of every 256 records, and so
//! on: 32 bytes each, in order. A tile of the tiled log is a slice of such a file. All of it is
//! derived from the records, so nothing here is worth a sync before an acknowledgement: what is
//! missing or damaged is computed anew.

use keyward_record::LeafHash;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tlog_tiles::{Error, HASH_SIZE, Hash, HashReader, RecordProof, Tile, TreeProof};

/// Hashes in a full tile.
pub const TILE_WIDTH: u32 = 256;
/// The height of a tile: two to this power is its width.
pub const TILE_HEIGHT: u8 = 8;
/// Levels of tiles that a tree of any size has.
const LEVELS: usize = 8;

/// A source of tiles. `width` hashes of the `n`-th tile at `level`; it may hold more.
pub trait Tiles {
    /// The first `width` hashes of a tile.
    ///
    /// # Errors
    /// When the source cannot be read, or does not have them.
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>>;
}

/// The files of the levels. Read by many while one [`Tree`] appends.
#[derive(Debug)]
pub struct Levels {
    files: Vec<File>,
    /// Records whose hashes are in the files.
    size: AtomicU64,
}

impl Levels {
    /// Opens what is there, for reading; `size` is what the first level holds.
    ///
    /// # Errors
    /// When there is no tree.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let files = (0..LEVELS)
            .map(|level| File::open(dir.join(format!("level{level}"))))
            .collect::<io::Result<Vec<_>>>()?;
        let length = files.first().map_or(Ok(0), |file| file.metadata().map(|m| m.len()))?;
        Ok(Self { files, size: AtomicU64::new(length / HASH_SIZE as u64) })
    }

    /// Records whose hashes are there.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn file(&self, level: usize) -> io::Result<&File> {
        self.files.get(level).ok_or_else(|| {
            io::Error::new(ErrorKind::NotFound, format!("no tree has a level {level}"))
        })
    }
}

impl Tiles for Levels {
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; width as usize * HASH_SIZE];
        let offset =
            n.checked_mul(u64::from(TILE_WIDTH) * HASH_SIZE as u64).ok_or(ErrorKind::NotFound)?;
        self.file(level.into())?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// The tree, growing.
pub struct Tree {
    levels: Arc<Levels>,
    /// The hashes of the last, partial tile of each level.
    edges: Vec<Vec<Hash>>,
}

impl Tree {
    /// Opens the tree's folder, or makes it, and keeps the first `size` records: what follows was
    /// not known to be synced.
    ///
    /// # Errors
    /// When the files cannot be opened, or hold less (`UnexpectedEof`).
    pub fn open(dir: &Path, size: u64) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let files = (0..LEVELS)
            .map(|level| options.open(dir.join(format!("level{level}"))))
            .collect::<io::Result<Vec<_>>>()?;
        let levels = Levels { files, size: AtomicU64::new(size) };
        let mut edges = Vec::with_capacity(LEVELS);
        for (level, file) in levels.files.iter().enumerate() {
            let count = count_at(size, level);
            let length = count * HASH_SIZE as u64;
            let found = file.metadata()?.len();
            if found < length {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    format!("level {level} of the tree has {found} bytes of {length}"),
                ));
            }
            file.set_len(length)?;
            let width = u32::try_from(count % u64::from(TILE_WIDTH)).unwrap_or(0);
            edges.push(hashes(&levels.tile(
                u8::try_from(level).unwrap_or(u8::MAX),
                count / u64::from(TILE_WIDTH),
                width,
            )?));
        }
        File::open(dir)?.sync_all()?;
        Ok(Self { levels: Arc::new(levels), edges })
    }

    /// The files, for readers.
    pub fn levels(&self) -> Arc<Levels> {
        Arc::clone(&self.levels)
    }

    /// Records in the tree.
    pub fn size(&self) -> u64 {
        self.levels.size()
    }

    /// Appends the hashes of the next records and syncs them.
    ///
    /// # Errors
    /// Any error is final: open the tree anew at the last size that is known to be good.
    pub fn extend(&mut self, leaves: &[LeafHash]) -> io::Result<()> {
        let mut writes: Vec<Vec<u8>> = vec![Vec::new(); LEVELS];
        for leaf in leaves {
            self.push(Hash(*leaf), &mut writes);
        }
        let before = self.size();
        for (level, bytes) in writes.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let file = self.levels.file(level)?;
            file.write_all_at(bytes, count_at(before, level) * HASH_SIZE as u64)?;
            file.sync_data()?;
        }
        self.levels.size.store(before + leaves.len() as u64, Ordering::Release);
        Ok(())
    }

    /// One more hash, and those that it completes above.
    fn push(&mut self, leaf: Hash, writes: &mut [Vec<u8>]) {
        let mut hash = leaf;
        for (edge, write) in self.edges.iter_mut().zip(writes) {
            write.extend_from_slice(&hash.0);
            edge.push(hash);
            if edge.len() < TILE_WIDTH as usize {
                return;
            }
            let full: Vec<u8> = edge.drain(..).flat_map(|hash| hash.0).collect();
            hash = Tile::subtree_hash(&full);
        }
    }
}

/// Hashes at a level of tiles in a tree of `size` records.
fn count_at(size: u64, level: usize) -> u64 {
    size >> (usize::from(TILE_HEIGHT) * level)
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<HASH_SIZE>().0.iter().map(|hash| Hash(*hash)).collect()
}

/// The hashes of a tree, read from its tiles. They are taken at their word: what is made of them is
/// checked.
struct Hashes<'a> {
    tiles: &'a dyn Tiles,
    size: u64,
}

impl HashReader for Hashes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        indexes.iter().map(|index| self.hash(*index)).collect()
    }
}

impl Hashes<'_> {
    fn hash(&self, index: u64) -> Result<Hash, Error> {
        // As wide as it is in a tree of this size: servers have no others.
        let tile = Tile::from_index(TILE_HEIGHT, index)
            .parent(0, self.size)
            .ok_or(Error::IndexesNotInTree)?;
        let bytes = self.tiles.tile(tile.level(), tile.level_index(), tile.width());
        let bytes = bytes.map_err(|e| {
            Error::InvalidInput(format!(
                "tile {} of level {}: {e}",
                tile.level_index(),
                tile.level()
            ))
        })?;
        tile.hash_at_index(&bytes, index)
    }
}

/// The root of the first `size` records.
///
/// # Errors
/// When a tile cannot be had.
pub fn root(tiles: &dyn Tiles, size: u64) -> Result<Hash, Error> {
    tlog_tiles::tree_hash(size, &Hashes { tiles, size })
}

/// The proof that the record with this hash is number `n` of the tree of `size` records with this
/// root. It holds: it was checked.
///
/// # Errors
/// When it is not, or a tile cannot be had or does not belong to the root.
pub fn inclusion(
    tiles: &dyn Tiles,
    size: u64,
    root: Hash,
    n: u64,
    leaf: LeafHash,
) -> Result<RecordProof, Error> {
    if n >= size {
        return Err(Error::InvalidInput(format!("record {n} is not in a tree of {size}")));
    }
    let proof = tlog_tiles::prove_record(size, n, &Hashes { tiles, size })?;
    tlog_tiles::check_record(&proof, size, root, n, Hash(leaf))?;
    Ok(proof)
}

/// The proof that the tree of `size` records with this root begins with its own first `old`
/// records. It holds: it was checked.
///
/// # Errors
/// When `old` is larger, or a tile cannot be had or does not belong to the root.
pub fn consistency(tiles: &dyn Tiles, size: u64, root: Hash, old: u64) -> Result<TreeProof, Error> {
    if old > size {
        return Err(Error::InvalidInput(format!(
            "a tree of {size} does not begin with {old} records"
        )));
    }
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let hashes = Hashes { tiles, size };
    let proof = tlog_tiles::prove_tree(size, old, &hashes)?;
    tlog_tiles::check_tree(&proof, size, root, old, tlog_tiles::tree_hash(old, &hashes)?)?;
    Ok(proof)
}

/// The root of a tree over hashes that come in order, none of which is kept.
#[derive(Debug, Default)]
pub struct Peaks {
    /// The whole subtrees so far, the largest first: how many records each has, and its hash.
    peaks: Vec<(u64, Hash)>,
}

impl Peaks {
    /// Adds the next record's hash.
    pub fn push(&mut self, leaf: LeafHash) {
        let mut new = (1, Hash(leaf));
        while let Some((size, left)) = self.peaks.pop_if(|(size, _)| *size == new.0) {
            new = (size * 2, tlog_tiles::node_hash(left, new.1));
        }
        self.peaks.push(new);
    }

    /// Records so far.
    pub fn size(&self) -> u64 {
        self.peaks.iter().map(|(size, _)| size).sum()
    }

    /// The root; `None` over no records.
    pub fn root(&self) -> Option<Hash> {
        self.peaks
            .iter()
            .rev()
            .map(|(_, hash)| *hash)
            .reduce(|right, left| tlog_tiles::node_hash(left, right))
    }
}

#[cfg(test)]
mod tests;
