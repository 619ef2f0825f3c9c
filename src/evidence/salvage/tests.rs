//! What is told of gaps. The whole is tried on the built binary, in `tests/it/keeping.rs` and `tests/it/survival/salvage.rs`.

use super::gone::gaps;
use super::*;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Event;
use keyward_record::{Kind, LeafHash};
use keyward_tlog::kept::Kept;
use keyward_tlog::key::SigningKey;
use keyward_tlog::note::Signed;
use keyward_tlog::tree::{self, Tree};
use keyward_trail::segment::FileDigest;
use keyward_trail::tombstone::told;

fn segment(first_seq: u64, count: u32) -> Sealed {
    Sealed { first_seq, count, records: FileDigest::default(), bodies: FileDigest::default() }
}

fn entry(time: u64, leaf: &str) -> Entry {
    Entry { time: Timestamp(time), kind: Kind::Event, id: AuditId::new(), leaf: leaf.to_owned().into() }
}

#[test]
fn a_gap_is_what_neither_a_segment_nor_the_tail_has() {
    let sealed = [segment(0, 10), segment(20, 10)];
    let mut tail = Tail::default();
    for seq in [12, 13, 30, 31, 33] {
        tail.entries.insert(seq, entry(seq, "{}"));
    }
    assert_eq!(gaps(&sealed, &tail, 35), [10..12, 14..20, 32..33, 34..35]);
    assert_eq!(between(&sealed, 35), [10..20, 30..35]);
}

#[test]
fn what_a_record_tells_of_is_not_lost_now() {
    let pruned = Absent { first_seq: 0, end: 8, why: Why::Pruned, told_by: 40 };
    let lost = |first_seq, end| Absent { first_seq, end, why: Why::Lost, told_by: 50 };
    assert_eq!(explained(&(2..12), &[pruned], 50), [Absent { first_seq: 2, ..pruned }, lost(8, 12)]);
    assert_eq!(explained(&(10..12), &[pruned], 50), [lost(10, 12)]);
    let later = Absent { first_seq: 14, end: 16, ..pruned };
    assert_eq!(explained(&(10..20), &[pruned, later], 50), [lost(10, 14), later, lost(16, 20)]);
}

#[test]
fn only_a_record_before_which_they_stood_tells_of_them() {
    let tells = |seq, leaf: &str| Event::of_leaf(leaf.as_bytes()).iter().flat_map(|event| told(seq, event)).collect::<Vec<_>>();
    let pruned = r#"{"event":"records-pruned","detail":{"records":[{"first":0,"last":9},{"first":90,"last":200},{"first":5,"last":4}]}}"#;
    assert_eq!(tells(100, pruned), [Absent { first_seq: 0, end: 10, why: Why::Pruned, told_by: 100 }]);
    assert_eq!(tells(100, r#"{"event":"started","detail":{"records":[{"first":0,"last":9}]}}"#), []);
}

/// A tree over so many records, and its checkpoint.
fn signed(dir: &Path, leaves: &[LeafHash]) -> Hashes {
    let mut tree = Tree::open(dir, 0).unwrap();
    tree.extend(leaves).unwrap();
    let root = tree::root(&*tree.levels(), tree.size()).unwrap();
    let key = SigningKey::generate("a").unwrap().0;
    Kept::new(dir).put_newest(&Signed::sign(tree.size(), root, &[&key]).unwrap().bytes()).unwrap();
    Hashes::read(dir, &mut Vec::new()).unwrap()
}

#[test]
fn of_two_frames_for_one_place_the_signed_one_counts_and_else_the_later() {
    let dir = tempfile::tempdir().unwrap();
    let one = entry(5, r#"{"signed":true}"#);
    let mut leaves = vec![[1; 32]; 7];
    leaves.push(leaf_hash(&one.leaf));
    let hashes = signed(dir.path(), &leaves);
    let places = Places::of(&hashes, &[]);
    let mut tail = Tail::default();
    tail.place(7, vec![entry(9, "{}"), entry(9, "{}")], &places);
    assert_eq!(tail.entries.keys().copied().collect::<Vec<_>>(), [8], "what was signed is known by its hash alone");
    tail.place(1, vec![one.clone()], &places);
    tail.place(8, vec![entry(10, r#"{"later":true}"#)], &places);
    tail.place(8, vec![entry(4, r#"{"earlier":true}"#)], &places);
    assert_eq!((&tail.entries[&7], tail.entries[&8].leaf.as_ref()), (&one, &br#"{"later":true}"#[..]));
}

#[test]
fn a_hash_that_does_not_lead_to_the_root_is_not_believed_and_what_leads_there_without_it_is_proven() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..300).map(|n| entry(n, &format!(r#"{{"n":{n}}}"#))).collect();
    let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(&entry.leaf)).collect();
    signed(dir.path(), &leaves);
    let mut level0 = std::fs::read(dir.path().join("level0")).unwrap();
    level0[32 * 70] ^= 1;
    std::fs::write(dir.path().join("level0"), level0).unwrap();
    let hashes = Hashes::read(dir.path(), &mut Vec::new()).unwrap();
    assert_eq!([0, 255, 256, 299, 300].map(|seq| hashes.is_proven(seq)), [false, false, true, true, false]);
    let places = Places::of(&hashes, &[]);
    let mut tail = Tail::default();
    tail.place(0, entries.clone(), &places);
    assert_eq!(tail.entries.len(), 300);
    assert_eq!(hashes.unproven(dir.path(), &[], &tail).unwrap(), []);
    // Another record in the place of one: nothing proves the tile then. What the tree proves is beyond doubt.
    tail.entries.insert(60, entry(0, "{}"));
    assert_eq!(hashes.unproven(dir.path(), &[], &tail).unwrap(), vec![0..256; 1]);
    assert!(hashes.agree(256, &leaves[256..]) && !hashes.agree(257, &leaves[256..299]));
}
