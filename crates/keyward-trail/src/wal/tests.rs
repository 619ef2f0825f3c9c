//! What sled does on this disk, and what is refused at opening.

mod whole;

use super::*;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Entry, Kind};

fn entry(n: u64) -> Entry {
    Entry {
        time: Timestamp(n),
        kind: Kind::Event,
        id: AuditId::new(),
        leaf: format!("{{\"n\":{n}}}").into(),
    }
}

fn content(length: usize) -> Content {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    Content::new(bytes.into()).unwrap()
}

fn filled(dir: &Path, batches: &[u64]) -> SledStore {
    let store = SledStore::open(dir).unwrap().0;
    let mut first_seq = 0;
    for count in batches {
        let entries = (first_seq..first_seq + count).map(entry).collect();
        store.append(&Batch { first_seq, entries, ..Batch::default() }).unwrap();
        first_seq += count;
    }
    store
}

fn seqs<'a>(frames: Frames<'a>) -> Vec<(u64, u64)> {
    frames.map(|frame| frame.unwrap()).map(|frame| (frame.first_seq, frame.end())).collect()
}

#[test]
fn frames_are_found_from_any_record_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &[1, 40, 3]);
    let all = [(0, 1), (1, 33), (33, 41), (41, 44)];
    assert_eq!(seqs(store.oldest_first(0)), all);
    for from in 0..50 {
        let expected: Vec<_> = all.into_iter().filter(|(_, end)| *end > from).collect();
        assert_eq!(seqs(store.oldest_first(from)), expected, "from {from}");
        let expected: Vec<_> = all.into_iter().filter(|(first, _)| *first < from).rev().collect();
        assert_eq!(seqs(store.newest_first(from)), expected, "below {from}");
    }
}

#[test]
fn a_thousand_large_bodies_leave_no_blob_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap().0;
    let contents: Vec<_> = (0..1000).map(|seq| (seq, content(64 * 1024))).collect();
    for chunk in contents.chunks(50) {
        let first_seq = chunk[0].0;
        let entries = chunk.iter().map(|(seq, _)| entry(*seq)).collect();
        store
            .append(&Batch {
                first_seq,
                entries,
                contents: chunk.to_vec(),
                open_floor: Some(first_seq),
            })
            .unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path().join("trail/blobs")).unwrap().count(), 0);
    drop(store);
    let store = SledStore::open(dir.path()).unwrap().0;
    for (seq, content) in contents {
        let stored = store.content(seq).unwrap().unwrap();
        assert!(stored.salt == content.salt && stored.bytes == content.bytes, "body of {seq}");
    }
    assert_eq!(store.open_floor().unwrap(), 950);
}

#[test]
fn bodies_of_any_length_come_back_and_a_missing_piece_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap().0;
    let contents: Vec<_> = [0, 1, 60 * 1024 - 40, 200_000, CONTENT_BYTES_MAX]
        .into_iter()
        .enumerate()
        .map(|(seq, n)| (seq as u64, content(n)))
        .collect();
    let entries = (0..5).map(entry).collect();
    store.append(&Batch { entries, contents: contents.clone(), ..Batch::default() }).unwrap();
    for (seq, content) in contents {
        assert_eq!(store.content(seq).unwrap().unwrap().commitment(), content.commitment());
    }
    assert!(store.content(5).unwrap().is_none());
    store.db.remove(content_key(3, 1)).unwrap();
    assert!(matches!(store.content(3), Err(StoreError::Content { seq: 3, .. })));
}

#[test]
fn a_second_process_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let first = SledStore::open(dir.path()).unwrap();
    let error = SledStore::open(dir.path()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("ask the running gateway with `--url`"), "{error}");
    drop(first);
    SledStore::open(dir.path()).unwrap();
}

#[test]
fn leftovers_are_put_aside_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &[3]));
    let store = filled(dir.path(), &[]);
    store.db.insert(content_key(9, 0), b"torn").unwrap();
    drop(store);
    std::fs::write(dir.path().join("trail/snap.00000000000000AB.generating"), b"half").unwrap();
    let (store, opened) = SledStore::open(dir.path()).unwrap();
    assert_eq!(opened.torn, 1);
    assert!(
        opened.notes.iter().any(|note| note.contains("unfinished snapshot")),
        "{:?}",
        opened.notes
    );
    assert_eq!(std::fs::read_dir(dir.path().join("aside")).unwrap().count(), 1);
    assert!(store.content(9).unwrap().is_none());
    assert_eq!(seqs(store.oldest_first(0)), [(0, 3)]);
    drop(store);
    assert_eq!(SledStore::open(dir.path()).unwrap().1.notes, Vec::<String>::new());
}

#[test]
fn another_schema_and_damaged_frames_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &[3, 3]);
    let (key, mut frame) = store.db.range(frame_key(3, 0)..).next().unwrap().unwrap();
    frame[5] ^= 1;
    store.db.insert(key, frame).unwrap();
    assert!(matches!(store.newest_first(9).next(), Some(Err(StoreError::Frame { seq: 3, .. }))));
    store.db.insert(SCHEMA_KEY, &[0, 0, 0, 9]).unwrap();
    drop(store);
    assert!(matches!(SledStore::open(dir.path()), Err(StoreError::Schema { found: 9 })));
}

#[test]
fn a_blob_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), &[1]);
    std::fs::write(dir.path().join("trail/blobs/7"), b"").unwrap();
    assert!(matches!(
        store.append(&Batch { first_seq: 1, entries: vec![entry(1)], ..Batch::default() }),
        Err(StoreError::Blob(_))
    ));
}
