//! What is told of gaps. The whole is tried on the built binary, in `tests/it/keeping.rs`.

use super::*;
use crate::audit::segment::FileDigest;
use crate::clock::{AuditId, Timestamp};

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
    let told = entry(1, r#"{"event":"records-pruned","detail":{"records":[{"first":0,"last":9},{"first":90,"last":200},{"first":5,"last":4}]}}"#);
    assert_eq!(tells(100, &told), [Absent { first_seq: 0, end: 10, why: Why::Pruned, told_by: 100 }]);
    assert_eq!(tells(100, &entry(1, r#"{"event":"started","detail":{"records":[{"first":0,"last":9}]}}"#)), []);
}

#[test]
fn of_two_frames_for_one_place_the_signed_one_counts_and_else_the_later() {
    let signed = entry(5, r#"{"signed":true}"#);
    let places = HashMap::from([(leaf_hash(&signed.leaf), 7)]);
    let mut tail = Tail::default();
    tail.place(7, vec![entry(9, "{}"), entry(9, "{}")], &places, 8);
    assert_eq!(tail.entries.keys().copied().collect::<Vec<_>>(), [8], "what was signed is known by its hash alone");
    tail.place(1, vec![signed.clone()], &places, 8);
    tail.place(8, vec![entry(10, r#"{"later":true}"#)], &places, 8);
    tail.place(8, vec![entry(4, r#"{"earlier":true}"#)], &places, 8);
    assert_eq!((&tail.entries[&7], tail.entries[&8].leaf.as_ref()), (&signed, &br#"{"later":true}"#[..]));
}
