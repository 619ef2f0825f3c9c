//! Whatever becomes of the engine's files, opening either finds all that was stored, or refuses and
//! changes nothing.

use super::*;
use crate::testing::entries;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

type Stored = (Vec<(u64, Entry)>, BTreeMap<u64, bytes::Bytes>);

/// All that is in a store.
fn stored(store: &SledStore) -> Stored {
    let entries = entries(store);
    let bodies = entries
        .iter()
        .filter_map(|(seq, _)| Some((*seq, store.content(*seq).unwrap()?.bytes)))
        .collect();
    (entries, bodies)
}

/// A trail of some parts of the file, some of which were let go of and used again, closed and
/// opened several times.
fn grown(dir: &Path) {
    let mut first_seq = 0;
    for run in 0..4 {
        let store = SledStore::open(dir).unwrap().0;
        for n in 0..40_u64 {
            let count = 1 + (n * 7 + run) % 40;
            let entries = (first_seq..first_seq + count).map(entry).collect();
            let contents = (first_seq..first_seq + count)
                .filter(|seq| seq % 3 == 0)
                .map(|seq| (seq, content(1 + (seq as usize * 977) % 40_000)))
                .collect();
            store
                .append(&Batch { first_seq, entries, contents, open_floor: Some(first_seq) })
                .unwrap();
            first_seq += count;
            if n % 10 == 9 && run > 0 {
                while store.trim(first_seq * 2 / 3).unwrap() {}
            }
        }
    }
}

/// Whether nothing is missing. What was let go of and not synced may be there again.
fn has(found: &Stored, wanted: &Stored) -> bool {
    let (entries, bodies): (BTreeMap<_, _>, _) =
        (found.0.iter().map(|(seq, entry)| (seq, entry)).collect(), &found.1);
    wanted.0.iter().all(|(seq, entry)| entries.get(seq) == Some(&entry))
        && wanted.1.iter().all(|(seq, body)| bodies.get(seq) == Some(body))
}

/// Whether to take the time for everything.
fn thorough() -> bool {
    std::env::var_os("KEYWARD_THOROUGH").is_some()
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    std::fs::create_dir_all(to.join("trail/blobs")).unwrap();
    for file in std::fs::read_dir(from.join("trail"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
    {
        std::fs::copy(&file, to.join("trail").join(file.file_name().unwrap())).unwrap();
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, u32> {
    let paths = std::fs::read_dir(dir.join("trail"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file());
    paths.map(|path| (path.clone(), crc32fast::hash(&std::fs::read(path).unwrap()))).collect()
}

/// The one file of the engine whose name begins so.
fn file(dir: &Path, begins: &str) -> PathBuf {
    let mut paths = std::fs::read_dir(dir.join("trail")).unwrap().map(|file| file.unwrap().path());
    paths.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begins)).unwrap()
}

/// Writes at an offset of a file, or cuts it there.
fn damage(path: &Path, at: u64, bytes: Option<&[u8]>) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    match bytes {
        Some(bytes) => file.write_all_at(bytes, at).unwrap(),
        None => file.set_len(at).unwrap(),
    }
}

#[test]
fn damage_is_told_before_anything_is_changed() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    grown(dir.path());
    copy(dir.path(), copied.path());
    let wanted = stored(&SledStore::open(copied.path()).unwrap().0);
    assert!(wanted.0.len() > 500 && wanted.1.len() > 100, "{}", wanted.0.len());
    let db = copied.path().join("trail/db");
    let length = std::fs::metadata(dir.path().join("trail/db")).unwrap().len();
    assert!(length > 2 * log::SEGMENT as u64, "{length}");
    let mut rng = fastrand::Rng::with_seed(7);
    let mut trials: Vec<(&str, u64, usize)> = Vec::new();
    for n in 0..if thorough() { 60 } else { 6 } {
        trials.push(("flip", rng.u64(0..length), 2));
        trials.push(("zero", rng.u64(0..length / 4096) * 4096, [512, 4096, 65536][n % 3]));
        trials.push(("cut", rng.u64(1..length), 0));
    }
    // Heads, the first messages behind them, and whole parts of the file.
    for slot in (0..length).step_by(log::SEGMENT).take(if thorough() { 99 } else { 2 }) {
        trials.extend([
            ("flip", slot + 5, 1),
            ("flip", slot + 13, 1),
            ("flip", slot + 22, 1),
            ("flip", slot + 30, 2),
            ("zero", slot, log::SEGMENT),
            ("cut", slot, 0),
        ]);
    }
    trials.extend(
        (1..if thorough() { 40 } else { 4 }).map(|n| ("flip", length.saturating_sub(n * 1013), 1)),
    );
    let (mut refused, mut opened) = (0, 0);
    for (how, at, size) in trials {
        copy(dir.path(), copied.path());
        let size = size.min((length - at) as usize);
        let before: Vec<u8> = std::fs::read(&db).unwrap()[at as usize..at as usize + size].to_vec();
        let bytes: Vec<u8> = if how == "zero" {
            vec![0; size]
        } else {
            before.iter().map(|byte| byte ^ 0x24).collect()
        };
        if how == "cut" {
            damage(&db, at, None)
        } else {
            damage(&db, at, Some(&bytes))
        };
        let files_before = files(copied.path());
        match SledStore::open(copied.path()) {
            Ok((store, _)) => {
                assert!(
                    has(&stored(&store), &wanted),
                    "{how} at {at}: something is left out silently"
                );
                opened += 1;
            }
            Err(error) => {
                assert!(error.is_damage(), "{how} at {at}: {error}");
                assert_eq!(files(copied.path()), files_before, "{how} at {at}: {error}");
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {opened} opened");
    assert!(refused > 15 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn a_file_that_is_missing_or_older_is_told() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    grown(dir.path());
    let sentence = |change: &dyn Fn(&Path)| {
        copy(dir.path(), copied.path());
        change(copied.path());
        let before = files(copied.path());
        let error = SledStore::open(copied.path()).map(|_| ()).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains("--reason WHY"), "{error}");
        assert_eq!(files(copied.path()), before, "{error}");
        error.to_string()
    };
    assert!(
        sentence(&|dir| std::fs::remove_file(dir.join("trail/db")).unwrap()).contains("is missing")
    );
    assert!(sentence(&|dir| damage(&file(dir, "snap."), 40, Some(b"x"))).contains("snapshot"));
    let shorter = sentence(&|dir| {
        let end = note(dir);
        std::fs::write(dir.join("trail/end"), format!("{}\n", end + 3)).unwrap();
    });
    assert!(shorter.contains("the last 3 are cut off"), "{shorter}");
    let signed = sentence(&|dir| {
        std::fs::remove_file(dir.join("trail/db")).unwrap();
        std::fs::remove_file(file(dir, "snap.")).unwrap();
    });
    assert!(signed.contains("is missing"), "{signed}");
    // What is derived can be missing.
    copy(dir.path(), copied.path());
    std::fs::remove_file(copied.path().join("trail/conf")).unwrap();
    std::fs::remove_file(copied.path().join("trail/end")).unwrap();
    SledStore::open(copied.path()).unwrap();
    copy(dir.path(), copied.path());
    std::fs::remove_file(file(copied.path(), "snap.")).unwrap();
    let wanted = stored(&SledStore::open(dir.path()).unwrap().0);
    assert!(stored(&SledStore::open(copied.path()).unwrap().0) == wanted);
}

/// What the engine's folder says of the trail's end.
fn note(dir: &Path) -> u64 {
    noted_end(dir)
}

/// A killed process leaves the beginning of a batch: that is no damage, and what was before it is
/// all there.
#[test]
fn a_batch_that_was_not_written_whole_is_no_damage() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    grown(dir.path());
    std::fs::remove_file(dir.path().join("trail/end")).unwrap();
    let wanted = stored(&SledStore::open(dir.path()).unwrap().0);
    copy(dir.path(), copied.path());
    let before = std::fs::read(copied.path().join("trail/db")).unwrap();
    let store = SledStore::open(copied.path()).unwrap().0;
    let first_seq = wanted.0.last().unwrap().0 + 1;
    let contents = (0..20).map(|n| (first_seq + n, content(30_000))).collect();
    store
        .append(&Batch {
            first_seq,
            entries: (first_seq..first_seq + 300).map(entry).collect(),
            contents,
            ..Batch::default()
        })
        .unwrap();
    let all = stored(&store);
    drop(store);
    let after = std::fs::read(copied.path().join("trail/db")).unwrap();
    let from = before
        .iter()
        .zip(&after)
        .position(|(before, after)| before != after)
        .unwrap_or(before.len().min(after.len()));
    let to = after.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(to - from > 100_000, "{from} to {to}");
    let cuts = if thorough() { 40 } else { 7 };
    for n in 0..cuts {
        let cut = from + (to - from) * n / cuts;
        copy(dir.path(), copied.path());
        let left = [&after[..cut], before.get(cut..).unwrap_or_default()].concat();
        std::fs::write(copied.path().join("trail/db"), left).unwrap();
        let found = stored(
            &SledStore::open(copied.path())
                .unwrap_or_else(|error| panic!("cut at {cut}: {error}"))
                .0,
        );
        assert!(found == wanted || found == all, "cut at {cut}: {} records", found.0.len());
    }
}

/// What a kill leaves where the engine has handed several pieces to the disk at once: of what
/// nobody waited for, an earlier piece may be missing. Of what somebody waited for, it is a damage.
#[test]
fn a_hole_before_the_last_batch_is_no_damage_unless_records_were_there() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = copied.path().join("trail/db");
    let store = SledStore::open(dir.path()).unwrap().0;
    let append = |first_seq: u64| {
        store
            .append(&Batch {
                first_seq,
                entries: (first_seq..first_seq + 5).map(entry).collect(),
                ..Batch::default()
            })
            .unwrap();
        let bytes = std::fs::read(dir.path().join("trail/db")).unwrap();
        // Where its batch begins: a few bytes of the head of its first message stand before the
        // page.
        let page = bytes
            .windows(9)
            .rposition(|nine| nine[0] == 255 && nine[1..] == (u64::MAX - 666).to_le_bytes())
            .unwrap();
        page - 8
    };
    // A copy as a kill leaves it, with a hole.
    let killed = |hole: std::ops::Range<usize>| {
        copy(dir.path(), copied.path());
        let mut bytes = std::fs::read(&db).unwrap();
        bytes[hole].fill(0);
        std::fs::write(&db, bytes).unwrap();
        SledStore::open(copied.path()).map(|(store, _)| entries(&store).len())
    };
    let first = append(0);
    let free = std::fs::read(dir.path().join("trail/db"))
        .unwrap()
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
        + 1;
    let mut unwaited = sled::Batch::default();
    unwaited.insert(b"x", b"nobody waits for this");
    store.db.apply(unwaited).unwrap();
    let second = append(5);
    assert!(free + 20 < second, "{first} {free} {second}");
    assert_eq!(killed(free..free).unwrap(), 10);
    assert_eq!(killed(free..second).unwrap(), 5, "what was before is there");
    let refused = |hole| matches!(killed(hole), Err(StoreError::Damaged { .. }));
    assert!(refused(first..free), "records that were waited for");
    append(10);
    assert!(refused(free..second), "the batch behind was waited for");
    assert_eq!(killed(free..free).unwrap(), 15);
}
