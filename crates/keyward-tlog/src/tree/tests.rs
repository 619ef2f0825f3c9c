//! Against RFC 6962's own vectors, against a second implementation at every size, and across
//! reopening.

use super::*;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use keyward_record::leaf_hash;
use sha2::Sha256;

/// The leaves of Certificate Transparency's own test trees.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
/// Their roots, from none to all eight.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn leaf(n: u64) -> Vec<u8> {
    format!("{{\"n\":{n}}}").into_bytes()
}

fn leaf_hashes(range: std::ops::Range<u64>) -> Vec<LeafHash> {
    range.map(|n| leaf_hash(&leaf(n))).collect()
}

fn filled(dir: &Path, size: u64) -> Tree {
    let mut tree = Tree::open(dir, 0).unwrap();
    tree.extend(&leaf_hashes(0..size)).unwrap();
    tree
}

#[test]
fn the_vectors_of_certificate_transparency() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(dir.path(), 0).unwrap();
    for (size, expected) in ROOTS.iter().enumerate() {
        assert_eq!(hex::encode(root(&*tree.levels(), size as u64).unwrap().0), *expected);
        if let Some(leaf) = LEAVES.get(size) {
            tree.extend(&[leaf_hash(&hex::decode(leaf).unwrap())]).unwrap();
        }
    }
}

/// Every size from none to a little above 4 tiles: roots, an inclusion proof and a consistency
/// proof each way.
#[test]
fn a_second_implementation_agrees_at_every_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::open(dir.path(), 0).unwrap();
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut roots = Vec::new();
    for size in 0..=1025_u64 {
        assert_eq!(tree.size(), size);
        let levels = tree.levels();
        let own = root(&*levels, size).unwrap();
        assert_eq!(own.0.as_slice(), other.root().as_bytes().as_slice(), "root of {size}");
        roots.push((own, other.root()));
        if size > 0 {
            let n = (size * size) / 3 % size;
            let proof = inclusion(&*levels, size, own, n, leaf_hash(&leaf(n))).unwrap();
            let theirs = other.prove_inclusion(usize::try_from(n).unwrap());
            assert_eq!(
                proof.iter().flat_map(|h| h.0).collect::<Vec<_>>(),
                theirs.as_bytes(),
                "inclusion of {n} in {size}"
            );
            let old = size / 2 + size % 3;
            if (1..size).contains(&old) {
                let proof = consistency(&*levels, size, own, old).unwrap();
                let theirs = other.prove_consistency(usize::try_from(size - old).unwrap());
                assert_eq!(
                    proof.iter().flat_map(|h| h.0).collect::<Vec<_>>(),
                    theirs.as_bytes(),
                    "from {old} to {size}"
                );
                let (before, _) = roots[usize::try_from(old).unwrap()];
                tlog_tiles::check_tree(&proof, size, own, old, before).unwrap();
                assert!(tlog_tiles::check_tree(&proof, size, own, old, own).is_err());
            }
        }
        tree.extend(&leaf_hashes(size..size + 1)).unwrap();
        other.push(leaf(size));
    }
}

#[test]
fn a_tree_grows_alike_in_any_portions_and_across_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let whole = root(&*filled(&dir.path().join("whole"), 70_000).levels(), 70_000).unwrap();
    let parts = dir.path().join("parts");
    let mut at = 0;
    for portion in [1, 254, 1, 1, 255, 256, 600, 65_536 - 1368, 1, 3000, 1463] {
        let mut tree = Tree::open(&parts, at).unwrap();
        tree.extend(&leaf_hashes(at..at + portion)).unwrap();
        at += portion;
    }
    assert_eq!(at, 70_000);
    assert_eq!(root(&Levels::open(&parts).unwrap(), at).unwrap(), whole);
}

#[test]
fn what_was_not_synced_is_dropped_and_what_is_missing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let before = root(&*filled(dir.path(), 600).levels(), 520).unwrap();
    let mut tree = Tree::open(dir.path(), 520).unwrap();
    assert_eq!(tree.size(), 520);
    assert_eq!(root(&*tree.levels(), 520).unwrap(), before);
    tree.extend(&leaf_hashes(520..530)).unwrap();
    assert_eq!(Levels::open(dir.path()).unwrap().size(), 530);
    for size in [531, 1 << 40] {
        assert_eq!(
            Tree::open(dir.path(), size).map(|_| ()).unwrap_err().kind(),
            ErrorKind::UnexpectedEof,
            "{size}"
        );
    }
}

#[test]
fn a_changed_tile_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tree = filled(dir.path(), 1000);
    let levels = tree.levels();
    let own = root(&*levels, 1000).unwrap();
    levels.file(0).unwrap().write_all_at(&[9; 32], 700 * 32).unwrap();
    let prove = |n: u64, leaf_of: u64| inclusion(&*levels, 1000, own, n, leaf_hash(&leaf(leaf_of)));
    assert!(matches!(prove(701, 701), Err(Error::InvalidProof)));
    assert!(matches!(prove(3, 4), Err(Error::InvalidProof)));
    assert!(prove(3, 3).is_ok());
    assert!(prove(1000, 1000).is_err());
    assert!(matches!(consistency(&*levels, 1000, own, 701), Err(Error::InvalidProof)));
    assert!(consistency(&*levels, 1000, own, 1001).is_err());
    assert!(Levels::open(dir.path()).unwrap().tile(0, u64::MAX, 1).is_err());
    assert!(Levels::open(dir.path()).unwrap().tile(200, 0, 1).is_err());
}

#[test]
fn the_root_of_hashes_that_come_one_by_one_is_the_tree_s() {
    let dir = tempfile::tempdir().unwrap();
    let leaves: Vec<LeafHash> =
        (0..600_u32).map(|n| keyward_record::leaf_hash(&n.to_be_bytes())).collect();
    let mut tree = Tree::open(dir.path(), 0).unwrap();
    tree.extend(&leaves).unwrap();
    let mut peaks = Peaks::default();
    assert_eq!(peaks.root(), None);
    for (n, leaf) in (1..).zip(&leaves) {
        peaks.push(*leaf);
        assert_eq!((peaks.size(), peaks.root()), (n, root(&*tree.levels(), n).ok()), "{n}");
    }
}
