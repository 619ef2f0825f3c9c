//! Erasing bodies: from every file that has them, also when it is cut half way.

use super::*;
use crate::wal::Note;

#[test]
fn an_erased_body_is_gone_from_every_file_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 100);
    // Does not compress, so that it can be found on the disk.
    let mut secret = vec![0; 3000];
    getrandom::fill(&mut secret).unwrap();
    let id = AuditId::new();
    let content = Content { salt: [7; 32], bytes: secret.clone().into() };
    store
        .append(&Batch {
            first_seq: 100,
            entries: vec![entry(100, Kind::Refused, id)],
            contents: vec![(100, content)],
            open_floor: Some(101),
        })
        .unwrap();
    let mut before = read(&store);
    assert!(!traces(dir.path(), &secret[..64]).is_empty(), "it can be found");
    assert!(matches!(store.erase(&BTreeSet::from([100]), 100), Err(StoreError::NotSealed(100))));
    assert!(store.seal_below(101).unwrap());
    assert_eq!(store.sealed_end(), 101);
    assert_eq!(store.erase(&BTreeSet::from([3, 100]), 100).unwrap(), 2);
    assert_eq!(store.erase(&BTreeSet::from([3, 100]), 100).unwrap(), 0, "once");
    before[3].2 = None;
    before[100].2 = None;
    assert!(read(&store) == before);
    fill(&store, 50);
    drop(store);
    let (store, opened) = TieredStore::open_with(dir.path(), SEGMENT).unwrap();
    assert!(opened.notes[0].contains("written anew"), "{:?}", opened.notes);
    assert!(read(&store)[..101] == before);
    assert_eq!(read(&store).len(), 151);
    assert_eq!(traces(dir.path(), &secret[..64]), Vec::<PathBuf>::new());
    drop(store);
    assert_eq!(read(&open(dir.path())).len(), 151, "once only");
}

/// A dictionary is made of pieces of bodies: an erased one must not live on in those of its segment
/// and of the next.
#[test]
fn an_erased_body_does_not_live_on_in_a_dictionary() {
    let dir = tempfile::tempdir().unwrap();
    let (store, segment) = with_a_dictionary(dir.path());
    let before = read(&store);
    assert_eq!(store.erase(&(0..segment).collect(), 0).unwrap(), segment);
    assert_eq!(traces(&store.shared.dir, b"Ada Example"), Vec::<PathBuf>::new());
    let after = read(&store);
    assert!(
        after[..segment as usize].iter().all(|(.., body)| body.is_none())
            && after[segment as usize..] == before[segment as usize..]
    );
}

#[test]
fn an_erasure_that_a_crash_has_cut_is_ended_or_has_not_begun() {
    for noted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        fill(&store, SEGMENT);
        store.seal().unwrap();
        let before = read(&store);
        let old = std::fs::read(path(&store.shared.dir, 0, "bodies")).unwrap();
        let sealed = store.shared.wal.manifest().unwrap().sealed[0];
        store.erase(&BTreeSet::from([3]), 3).unwrap();
        let after = read(&store);
        // Back to before the rename, and before the note too.
        std::fs::rename(
            path(&store.shared.dir, 0, "bodies"),
            path(&store.shared.dir, 0, "bodies-new"),
        )
        .unwrap();
        std::fs::write(path(&store.shared.dir, 0, "bodies"), old).unwrap();
        if !noted {
            store.shared.wal.note(Note::Sealed(&sealed)).unwrap();
        }
        drop(store);
        let store = TieredStore::open_with(dir.path(), SEGMENT).unwrap().0;
        assert!(read(&store) == if noted { after } else { before }, "{noted}");
        assert!(!path(&store.shared.dir, 0, "bodies-new").exists());
    }
}

/// Two segments of bodies that share a dictionary with pieces of an erased one.
fn with_a_dictionary(dir: &Path) -> (TieredStore, u64) {
    let segment = 32 * SEGMENT;
    let store = TieredStore::open_with(dir, segment).unwrap().0;
    let secret: String =
        (0..6).map(|n| format!("{{\"holder-{n}\":\"Ada Example, 12 Main Street\"}},")).collect();
    for first_seq in [0, segment] {
        let mut batch =
            Batch { first_seq, open_floor: Some(first_seq + segment), ..Batch::default() };
        for seq in first_seq..first_seq + segment {
            batch.entries.push(entry(seq, Kind::Refused, AuditId::new()));
            let bytes = if seq < segment {
                format!("{seq}{secret}")
            } else {
                format!("{seq} is somebody else")
            };
            batch.contents.push((seq, Content { salt: [seq as u8; 32], bytes: bytes.into() }));
        }
        store.append(&batch).unwrap();
    }
    store.seal().unwrap();
    assert!(
        !traces(&store.shared.dir, b"Ada Example").is_empty(),
        "the dictionary has it, else this shows nothing"
    );
    (store, segment)
}

/// The disk takes the file of one segment and not that of the other: whoever asks again has it
/// done, and the engine's file is written anew whether or not anybody does.
#[test]
fn an_erasure_that_failed_half_way_is_ended_by_asking_again() {
    for obstacle in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let (store, segment) = with_a_dictionary(dir.path());
        let obstacle = path(&store.shared.dir, obstacle * segment, "bodies-new.tmp");
        std::fs::create_dir(&obstacle).unwrap();
        store.erase(&(0..segment).collect(), 0).unwrap_err();
        drop(store);
        std::fs::remove_dir(&obstacle).unwrap();
        let (store, opened) = TieredStore::open_with(dir.path(), segment).unwrap();
        assert!(
            opened.notes.iter().any(|note| note.contains("written anew")),
            "{:?}",
            opened.notes
        );
        assert_eq!(store.erase(&(0..segment).collect(), 0).unwrap(), segment);
        assert_eq!(traces(&store.shared.dir, b"Ada Example"), Vec::<PathBuf>::new());
    }
}

/// Keyed digests of what was in an answer's body stand in the index of its request's segment.
#[test]
fn an_erased_answer_leaves_no_digest_in_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, digest) = (AuditId::new(), "ab".repeat(32));
    for seq in 0..2 * SEGMENT {
        let kind = match seq {
            3 => Kind::Forwarded,
            100 => Kind::Answer,
            _ => Kind::Event,
        };
        let id = if kind == Kind::Event { AuditId::new() } else { id };
        let text = format!("{}{digest}", keyward_core::secret::DIGEST_PREFIX);
        let contents = if kind == Kind::Answer {
            vec![(seq, Content { salt: [7; 32], bytes: text.into() })]
        } else {
            Vec::new()
        };
        store
            .append(&Batch {
                first_seq: seq,
                entries: vec![entry(seq, kind, id)],
                contents,
                open_floor: Some(seq + 1),
            })
            .unwrap();
    }
    store.seal().unwrap();
    let digest = format!("{}{digest}", keyward_core::secret::DIGEST_PREFIX);
    let found = |store: &TieredStore| {
        store.shared.segments.load()[0]
            .index
            .load_full()
            .unwrap()
            .secret(&digest)
            .unwrap()
            .unwrap()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&store), [3], "it can be found");
    assert_eq!(store.erase(&BTreeSet::from([100]), 3).unwrap(), 1);
    assert_eq!(found(&store), [0; 0]);
}
