//! What is told of gaps, and what belongs where. The whole is tried on the built binary, in
//! `tests/it/keeping.rs` and `tests/it/survival/salvage.rs`.

use super::candidates::{Candidates, Places};
use super::gaps::{between, explained, gaps};
use super::*;
use crate::segment::{FileDigest, Sealed};
use crate::tombstone::{Removal, Tombstone, told};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Entry, Event, Kind, leaf_hash};

fn segment(first_seq: u64, count: u32) -> Sealed {
    Sealed { first_seq, count, records: FileDigest::default(), bodies: FileDigest::default() }
}

fn entry(time: u64, leaf: &str) -> Entry {
    Entry {
        time: Timestamp(time),
        kind: Kind::Event,
        id: AuditId::new(),
        leaf: leaf.to_owned().into(),
    }
}

/// A tree that was signed over some hashes, and has others in its files.
struct Tree {
    signed: Vec<LeafHash>,
    here: Vec<LeafHash>,
    unproven: Vec<Range<u64>>,
}

impl Tree {
    fn over(signed: Vec<LeafHash>) -> Self {
        Self { here: signed.clone(), signed, unproven: Vec::new() }
    }
}

impl SignedTree for Tree {
    fn size(&self) -> u64 {
        self.signed.len() as u64
    }

    fn unproven(&self) -> &[Range<u64>] {
        &self.unproven
    }

    fn hash(&self, seq: u64) -> Option<LeafHash> {
        self.here.get(seq as usize).copied()
    }

    fn is_root_of(&self, hashes: &mut dyn Iterator<Item = LeafHash>) -> bool {
        hashes.eq(self.signed.iter().copied())
    }
}

#[test]
fn a_gap_is_what_no_segment_has_and_was_not_found_again() {
    let sealed = [segment(0, 10), segment(20, 10)];
    let mut found = Candidates::default();
    for seq in [12, 13, 30, 31, 33] {
        found.entries.insert(seq, entry(seq, "{}"));
    }
    assert_eq!(gaps(&sealed, &found.entries, 35), [10..12, 14..20, 32..33, 34..35]);
    assert_eq!(between(&sealed, 35), [10..20, 30..35]);
}

#[test]
fn what_a_record_tells_of_is_not_lost_now() {
    let pruned = Tombstone { first_seq: 0, end: 8, why: Removal::Pruned, told_by: 40 };
    let lost = |first_seq, end| Tombstone { first_seq, end, why: Removal::Lost, told_by: 50 };
    assert_eq!(
        explained(&(2..12), &[pruned], 50),
        [Tombstone { first_seq: 2, ..pruned }, lost(8, 12)]
    );
    assert_eq!(explained(&(10..12), &[pruned], 50), [lost(10, 12)]);
    let later = Tombstone { first_seq: 14, end: 16, ..pruned };
    assert_eq!(explained(&(10..20), &[pruned, later], 50), [lost(10, 14), later, lost(16, 20)]);
}

#[test]
fn only_a_record_before_which_they_stood_tells_of_them() {
    let tells = |seq, leaf: &str| {
        Event::of_leaf(leaf.as_bytes())
            .iter()
            .flat_map(|event| told(seq, event))
            .collect::<Vec<_>>()
    };
    let pruned = r#"{"event":"records-pruned","detail":{"records":[{"first":0,"last":9},{"first":90,"last":200},{"first":5,"last":4}]}}"#;
    assert_eq!(
        tells(100, pruned),
        [Tombstone { first_seq: 0, end: 10, why: Removal::Pruned, told_by: 100 }]
    );
    assert_eq!(
        tells(100, r#"{"event":"started","detail":{"records":[{"first":0,"last":9}]}}"#),
        []
    );
}

#[test]
fn of_two_frames_for_one_place_the_signed_one_counts_and_else_the_later() {
    let one = entry(5, r#"{"signed":true}"#);
    let mut leaves = vec![[1; 32]; 7];
    leaves.push(leaf_hash(&one.leaf));
    let tree = Tree::over(leaves);
    let places = Places::of(&tree, &[]);
    let mut found = Candidates::default();
    found.place(7, vec![entry(9, "{}"), entry(9, "{}")], &places);
    assert_eq!(
        found.entries.keys().copied().collect::<Vec<_>>(),
        [8],
        "what was signed is known by its hash alone"
    );
    found.place(1, vec![one.clone()], &places);
    found.place(8, vec![entry(10, r#"{"later":true}"#)], &places);
    found.place(8, vec![entry(4, r#"{"earlier":true}"#)], &places);
    assert_eq!(
        (&found.entries[&7], found.entries[&8].leaf.as_ref()),
        (&one, &br#"{"later":true}"#[..])
    );
}

#[test]
fn what_leads_to_the_root_without_the_hashes_of_a_damaged_tree_is_proven() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..300).map(|n| entry(n, &format!(r#"{{"n":{n}}}"#))).collect();
    let mut tree = Tree::over(entries.iter().map(|entry| leaf_hash(&entry.leaf)).collect());
    tree.here[70] = [1; 32];
    tree.unproven = vec![0..256; 1];
    assert_eq!(
        [0, 255, 256, 299, 300].map(|seq| tree.is_proven(seq)),
        [false, false, true, true, false]
    );
    let mut found = Candidates::default();
    found.place(0, entries, &Places::of(&tree, &[]));
    assert_eq!(found.entries.len(), 300);
    let unproven = |found: &Candidates| plan::unproven(dir.path(), &tree, &[], found).unwrap();
    assert_eq!(unproven(&found), []);
    // What is not here counts by its hash, which is another one now.
    let gone = found.entries.remove(&70).unwrap();
    assert_eq!(unproven(&found), vec![0..256; 1]);
    // Another record in the place of one: nothing proves the tile then. What the tree proves is
    // beyond doubt.
    found.entries.insert(70, gone);
    found.entries.insert(60, entry(0, "{}"));
    assert_eq!(unproven(&found), vec![0..256; 1]);
}
