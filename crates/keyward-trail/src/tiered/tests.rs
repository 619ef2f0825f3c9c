//! Sealing: the same trail before and after, whatever happens in between.

mod erasing;
mod model;

use super::*;
use crate::store::Frame;
use crate::testing::{entries, metrics};
use crate::wal::Note;
use keyward_core::clock::AuditId;
use keyward_record::Entry;
use keyward_record::{Content, Kind, canonical};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SEGMENT: u64 = 64;

fn entry(n: u64, kind: Kind, id: AuditId) -> Entry {
    let leaf = json!({"n": n, "call": {"action": format!("a.{}", n % 5)}, "caller": {"name": format!("c{}", n % 3)}, "pad": "x".repeat((n % 40) as usize)});
    Entry { time: Timestamp(n * 1000), kind, id, leaf: canonical(&leaf) }
}

fn body(n: u64) -> Option<Content> {
    n.is_multiple_of(3).then(|| Content {
        salt: [n as u8; 32],
        bytes: format!("{{\"body\":{n},\"pad\":\"{}\"}}", "y".repeat((n % 90) as usize)).into(),
    })
}

/// Appends `count` records in batches that fit no segment: refusals, calls and their answers.
fn fill(store: &TieredStore, count: u64) {
    let mut next = store.shared.end.load(Ordering::Acquire);
    let end = next + count;
    let mut ids = Vec::new();
    while next < end {
        let batch_end = (next + 37).min(end);
        let mut batch = Batch { first_seq: next, open_floor: Some(batch_end), ..Batch::default() };
        for n in next..batch_end {
            let (kind, id) = match n % 4 {
                0 => (Kind::Forwarded, AuditId::new()),
                1 => (Kind::Refused, AuditId::new()),
                2 => (Kind::Answer, ids.pop().unwrap_or_default()),
                _ => (Kind::Event, AuditId::new()),
            };
            if kind == Kind::Forwarded {
                ids.push(id);
            }
            batch.entries.push(entry(n, kind, id));
            batch.contents.extend(body(n).map(|body| (n, body)));
        }
        store.append(&batch).unwrap();
        next = batch_end;
    }
}

fn open(dir: &Path) -> TieredStore {
    let (store, opened) = TieredStore::open_with(dir, SEGMENT).unwrap();
    assert_eq!((opened.torn, opened.notes), (0, vec![]));
    store
}

/// All of a trail: entries and bodies, dense from 0, the same in both directions and from anywhere.
fn read(store: &TieredStore) -> Vec<(u64, Entry, Option<Vec<u8>>)> {
    let all = entries(store);
    assert!(all.iter().map(|(seq, _)| *seq).eq(0..all.len() as u64), "dense");
    let backwards: Vec<_> = store
        .newest_first(u64::MAX)
        .map(|frame| frame.unwrap())
        .flat_map(|frame| {
            (frame.first_seq..frame.end()).zip(frame.entries).collect::<Vec<_>>().into_iter().rev()
        })
        .collect();
    assert!(backwards.iter().rev().eq(all.iter()), "backwards");
    for from in (0..all.len() as u64).step_by(7) {
        let frame = store.oldest_first(from).next().unwrap().unwrap();
        assert!((frame.first_seq..frame.end()).contains(&from));
        if from > 0 {
            let frame = store.newest_first(from).next().unwrap().unwrap();
            assert!((frame.first_seq..frame.end()).contains(&(from - 1)));
        }
    }
    all.into_iter()
        .map(|(seq, entry)| {
            (
                seq,
                entry,
                store.content(seq).unwrap().map(|c| [c.salt.to_vec(), c.bytes.to_vec()].concat()),
            )
        })
        .collect()
}

#[test]
fn a_sealed_trail_reads_like_an_unsealed_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 300);
    let before = read(&store);
    store.seal().unwrap();
    assert_eq!(store.sealed_end(), 4 * SEGMENT);
    assert!(read(&store) == before);
    assert!(
        store.shared.wal.oldest_first(0).next().unwrap().unwrap().end() > 4 * SEGMENT,
        "sled has let go of what is sealed"
    );
    assert!((0..4 * SEGMENT).all(|seq| store.shared.wal.content(seq).unwrap().is_none()));
    drop(store);
    let store = open(dir.path());
    assert!(read(&store) == before);
    fill(&store, 100);
    assert!(read(&store)[..300] == before);
    store.seal().unwrap();
    assert_eq!((store.sealed_end(), read(&store).len()), (6 * SEGMENT, 400));
    assert!(read(&store)[..300] == before);
}

/// What a crash leaves at each point of the way, and what the next start makes of it.
#[test]
fn a_crash_at_any_point_loses_nothing() {
    type Crash = fn(&Shared);
    let crashes: &[(&str, Crash)] = &[
        ("half a file", |shared| {
            std::fs::create_dir_all(&shared.dir).unwrap();
            std::fs::write(shared.dir.join("seg-00000000000000000000.records.tmp"), "half")
                .unwrap();
        }),
        ("the records' file alone, cut", |shared| {
            std::fs::create_dir_all(&shared.dir).unwrap();
            std::fs::write(path(&shared.dir, 0, "records"), "half").unwrap();
        }),
        ("both files, not noted", |shared| {
            let mut pace = Pace::without_rest();
            std::fs::create_dir_all(&shared.dir).unwrap();
            shared.follow(SEGMENT, &mut pace).unwrap();
            let index = shared.tail().oldest(0).unwrap();
            shared.write(0, SEGMENT, &index, &mut pace).unwrap();
        }),
        ("noted, and nothing removed", |shared| {
            let mut pace = Pace::without_rest();
            std::fs::create_dir_all(&shared.dir).unwrap();
            shared.follow(SEGMENT, &mut pace).unwrap();
            let index = shared.tail().oldest(0).unwrap();
            let (sealed, digests) = shared.write(0, SEGMENT, &index, &mut pace).unwrap();
            let segment =
                open_segment(&shared.dir, &sealed, &shared.dictionaries, &shared.sets).unwrap();
            shared.compare(&segment, &sealed, &mut pace).unwrap();
            shared.write_index(&segment, &index, digests).unwrap();
            shared.wal.note(Note::Sealed(&sealed)).unwrap();
        }),
        ("some of it removed", |shared| {
            while shared.sealed_end() < SEGMENT {
                shared.seal_next(&mut Pace::without_rest()).unwrap();
            }
            // What a power cut brings back.
            let first = shared.frame_from(0).unwrap().unwrap();
            shared
                .wal
                .append(&Batch {
                    first_seq: 0,
                    entries: first.entries,
                    contents: vec![(0, body(0).unwrap())],
                    open_floor: None,
                })
                .unwrap();
        }),
    ];
    for (what, crash) in crashes {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        fill(&store, 200);
        let before = read(&store);
        crash(&store.shared);
        drop(store);
        let store = open(dir.path());
        assert!(read(&store) == before, "{what}");
        store.seal().unwrap();
        store.shared.let_go(&mut Pace::without_rest()).unwrap();
        store.shared.remove_unfinished();
        assert_eq!(store.sealed_end(), 3 * SEGMENT, "{what}");
        assert!(read(&store) == before, "{what}");
        assert!(
            store.shared.wal.oldest_first(0).next().unwrap().unwrap().end() > 3 * SEGMENT,
            "{what}"
        );
        assert!(
            std::fs::read_dir(&store.shared.dir).unwrap().all(|file| file
                .unwrap()
                .path()
                .extension()
                .unwrap()
                != "tmp"),
            "{what}"
        );
        drop(store);
        assert!(read(&open(dir.path())) == before, "{what}");
    }
}

#[test]
fn a_damaged_or_missing_segment_is_named_and_an_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 200);
    store.seal().unwrap();
    let before = read(&store);
    drop(store);
    let segments = dir.path().join("segments");
    let file = |kind| path(&segments, SEGMENT, kind);

    // A flipped byte is noticed where it stands, and costs one block.
    let records = std::fs::read(file("records")).unwrap();
    let mut damaged = records.clone();
    let middle = records.len() * 3 / 5;
    damaged[middle] ^= 1;
    std::fs::write(file("records"), &damaged).unwrap();
    let store = TieredStore::open_with(dir.path(), SEGMENT).unwrap().0;
    let bad: Vec<_> =
        (0..200).filter(|seq| store.oldest_first(*seq).next().unwrap().is_err()).collect();
    assert_eq!(bad.len(), BLOCK_RECORDS, "{bad:?}");
    assert!(bad.iter().all(|seq| (SEGMENT..2 * SEGMENT).contains(seq)));
    for frames in [store.oldest_first(0), store.newest_first(u64::MAX)] {
        let (good, errors): (Vec<_>, Vec<_>) = frames.partition(Result::is_ok);
        assert!(
            matches!(errors[..], [Err(StoreError::Block { seq, .. })] if seq == bad[0]),
            "{errors:?}"
        );
        let mut seqs: Vec<_> = good
            .into_iter()
            .map(Result::unwrap)
            .flat_map(|frame| frame.first_seq..frame.end())
            .chain(bad.iter().copied())
            .collect();
        seqs.sort_unstable();
        assert!(seqs.into_iter().eq(0..200));
    }
    drop(store);

    // Another file in its place, or none, is an error that names the records.
    for replacement in [
        Some(std::fs::read(path(&segments, 0, "records")).unwrap()),
        Some(records[..records.len() - 9].to_vec()),
        None,
    ] {
        match replacement {
            Some(bytes) => std::fs::write(file("records"), bytes).unwrap(),
            None => std::fs::remove_file(file("records")).unwrap(),
        }
        let error =
            error_chain(&TieredStore::open_with(dir.path(), SEGMENT).map(|_| ()).unwrap_err());
        assert!(
            error.contains("records 64 to 127 are missing") && error.contains("restore the file"),
            "{error}"
        );
        // Whoever examines it sees the rest.
        let (store, lost) = TieredStore::open_as_it_is(dir.path()).unwrap();
        assert_eq!(lost.len(), 1);
        for frames in [
            store.oldest_first(0),
            store.newest_first(u64::MAX),
            store.oldest_first(SEGMENT + 3),
            store.newest_first(SEGMENT + 3),
        ] {
            let seqs: Vec<_> =
                frames.map(Result::unwrap).flat_map(|frame| frame.first_seq..frame.end()).collect();
            assert!(
                seqs.iter().all(|seq| !(SEGMENT..2 * SEGMENT).contains(seq)) && seqs.len() > 50,
                "{seqs:?}"
            );
        }
    }
    std::fs::write(file("records"), &records).unwrap();

    // An index is derived: without it all is read, and it can be made again, the same.
    let index = std::fs::read(file("index")).unwrap();
    let mut broken = index.clone();
    broken[index.len() / 2] ^= 1;
    for bytes in [Some(broken), Some(vec![]), None] {
        match bytes {
            Some(bytes) => std::fs::write(file("index"), bytes).unwrap(),
            None => std::fs::remove_file(file("index")).unwrap(),
        }
        let (store, opened) = TieredStore::open_with(dir.path(), SEGMENT).unwrap();
        assert!(opened.notes[0].contains("1 of 3 segments"), "{:?}", opened.notes);
        assert!(read(&store) == before);
        assert_eq!(
            store
                .spans(u64::MAX)
                .iter()
                .filter(|span| span.index.is_none() && span.range.end < u64::MAX)
                .count(),
            1
        );
        assert_eq!(store.reindex(false, |_, _| ()).unwrap(), 1);
        assert_eq!(std::fs::read(file("index")).unwrap(), index);
    }
    let store = open(dir.path());
    assert_eq!(store.reindex(true, |_, _| ()).unwrap(), 3);
    assert_eq!(std::fs::read(file("index")).unwrap(), index);
}

/// Each writes the same file beside its place first: one at a time.
#[test]
fn two_that_make_the_same_index_anew_do_not_write_the_same_file_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 200);
    store.seal().unwrap();
    let index = |first_seq| std::fs::read(path(&store.shared.dir, first_seq, "index")).unwrap();
    let before: Vec<_> = (0..3).map(|n| index(n * SEGMENT)).collect();
    std::thread::scope(|threads| {
        let makers: Vec<_> = (0..4)
            .map(|_| {
                threads.spawn(|| (0..20).try_for_each(|_| store.reindex(true, |_, _| ()).map(drop)))
            })
            .collect();
        makers.into_iter().for_each(|maker| maker.join().unwrap().unwrap());
    });
    assert!((0..3).map(|n| index(n * SEGMENT)).eq(before));
}

/// What is left of a body: in the store, and in any file.
fn traces(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(traces(&path, needle)),
            false
                if std::fs::read(&path)
                    .unwrap()
                    .windows(needle.len())
                    .any(|window| window == needle) =>
            {
                found.push(path)
            }
            false => (),
        }
    }
    found
}

#[test]
fn a_note_without_its_neighbour_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 200);
    store.seal().unwrap();
    let second = store.shared.wal.manifest().unwrap().sealed[1];
    store.shared.wal.note(Note::Sealed(&Sealed { first_seq: 4 * SEGMENT, ..second })).unwrap();
    drop(store);
    let error = TieredStore::open_with(dir.path(), SEGMENT).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("records 192 to 255 are missing"), "{error}");
}

/// Readers go through the trail again and again while the sealer moves the seam under them.
#[test]
fn readers_see_every_record_while_segments_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = metrics();
    let mut store = open(dir.path());
    store.start_sealing(Duration::MAX, metrics.clone()).unwrap();
    let end = 3000;
    std::thread::scope(|threads| {
        let writing = threads.spawn(|| (0..end / 60).for_each(|_| fill(&store, 60)));
        let mut rounds = 0;
        while !writing.is_finished() || store.sealed_end() < end / SEGMENT * SEGMENT {
            assert!(rounds < 100_000, "sealing never ends");
            let known = store.shared.end.load(Ordering::Acquire);
            let mut next = 0;
            for frame in store.oldest_first(0) {
                let frame = frame.unwrap();
                assert_eq!(frame.first_seq, next, "a gap");
                next = frame.end();
            }
            assert!(next >= known, "{next} of {known}");
            let mut last = None;
            for frame in store.newest_first(known) {
                let frame = frame.unwrap();
                assert!(last.is_none_or(|last| frame.end() == last), "a gap");
                last = Some(frame.first_seq);
            }
            assert!(last.is_none_or(|last| last == 0));
            assert!(
                (0..known)
                    .step_by(31)
                    .all(|seq| store.content(seq).unwrap().is_some() == body(seq).is_some())
            );
            rounds += 1;
        }
    });
    let patience = Instant::now();
    while metrics.sealed_records.get() < (end / SEGMENT * SEGMENT) as i64 {
        assert!(patience.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(metrics.seal_failures.get(), 0);
    drop(store);
    assert_eq!(read(&open(dir.path())).len() as u64, end);
}

#[test]
fn an_exchange_that_stays_open_does_not_hold_up_sealing_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (slow, other) = (AuditId::new(), AuditId::new());
    let mut entries = vec![entry(0, Kind::Forwarded, slow)];
    entries.extend((1..2 * SEGMENT - 1).map(|n| entry(n, Kind::Refused, AuditId::new())));
    store.append(&Batch { entries, open_floor: Some(0), ..Batch::default() }).unwrap();
    store.seal().unwrap();
    assert_eq!(store.sealed_end(), 0, "it waits for a whole segment more");
    store
        .append(&Batch {
            first_seq: 2 * SEGMENT - 1,
            entries: vec![entry(2 * SEGMENT - 1, Kind::Refused, other)],
            ..Batch::default()
        })
        .unwrap();
    store.seal().unwrap();
    assert_eq!(store.sealed_end(), SEGMENT);
    let span = store.spans(SEGMENT).remove(0);
    assert!(span.index.unwrap().unsettled().contains(0));
}

/// A frame of sled that reaches over the seam keeps records that a segment has. They go with the
/// segment.
#[test]
fn what_was_pruned_is_not_found_in_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 200);
    store.seal().unwrap();
    let before = read(&store);
    assert!(
        store.shared.wal.oldest_first(0).next().unwrap().unwrap().first_seq < 3 * SEGMENT,
        "a frame reaches over the seam"
    );
    let check = |store: &TieredStore, left: &[u64]| {
        let forth: Vec<_> = entries(store).into_iter().map(|(seq, _)| seq).collect();
        let mut back: Vec<_> = store
            .newest_first(u64::MAX)
            .map(Result::unwrap)
            .flat_map(|frame| (frame.first_seq..frame.end()).rev().collect::<Vec<_>>())
            .collect();
        back.reverse();
        assert_eq!((&forth[..], &back[..]), (left, left));
        for seq in 0..200 {
            let begins = |frame: Option<Result<Frame, StoreError>>| {
                frame.map(|frame| frame.unwrap()).map(|frame| (frame.first_seq, frame.end()))
            };
            let (from, to) = (
                begins(store.oldest_first(seq).next()).unwrap(),
                begins(store.newest_first(seq).next()),
            );
            assert!(
                left.contains(&from.0)
                    && from.1 > seq
                    && to.is_none_or(|to| left.contains(&to.0) && to.0 < seq),
                "{seq}: {from:?} {to:?}"
            );
            assert_eq!(
                store.content(seq).unwrap().is_some(),
                left.contains(&seq) && before[seq as usize].2.is_some(),
                "{seq}"
            );
        }
    };
    let mut left: Vec<_> = (0..200).collect();
    for gone in [2 * SEGMENT..3 * SEGMENT, 0..SEGMENT, SEGMENT..2 * SEGMENT] {
        store.prune(std::slice::from_ref(&gone), 199).unwrap();
        left.retain(|seq| !gone.contains(seq));
        check(&store, &left);
    }
    drop(store);
    check(&open(dir.path()), &left);
}

/// A table and its note may be forged together; the records' own times still tell.
#[test]
fn the_newest_time_is_that_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, SEGMENT);
    store.seal().unwrap();
    assert_eq!(store.newest_time(&(0..SEGMENT)).unwrap(), Timestamp((SEGMENT - 1) * 1000));
    let leaf = canonical(&json!({"time": Timestamp(5_000_000_000).rfc3339()}));
    let entry = |n: u64| Entry {
        time: Timestamp(n),
        kind: Kind::Event,
        id: AuditId::new(),
        leaf: leaf.clone(),
    };
    store
        .append(&Batch {
            first_seq: SEGMENT,
            entries: (0..SEGMENT).map(entry).collect(),
            open_floor: Some(2 * SEGMENT),
            ..Batch::default()
        })
        .unwrap();
    store.seal().unwrap();
    assert_eq!(store.sealed()[1].last_time, Timestamp(SEGMENT - 1));
    assert_eq!(
        store.newest_time(&(SEGMENT..2 * SEGMENT)).unwrap(),
        Timestamp(5_000_000_000),
        "what is signed counts"
    );
}
