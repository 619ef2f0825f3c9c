//! Trails that continue what was signed, and trails that do not.

use super::*;
use crate::journal::{self, Journal};
use crate::notary::latest::{Latest, Lifecycle};
use crate::notary::signing::Signing;
use crate::store::{Batch, Store};
use crate::tiered::TieredStore;
use crate::wal::SledStore;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::Kind;
use keyward_record::event::{RetentionPolicy, Span};
use keyward_record::{Event, EventName};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The event of a pruning that says nothing of which records.
fn pruning() -> Event {
    Event::RecordsPruned {
        records: vec![],
        erased: vec![],
        until: None,
        bytes: 0,
        policy: RetentionPolicy::default(),
        holds: vec![],
    }
}

/// Records for whose hashes nothing vouches, as the start says.
fn unproven(opened: &Opened) -> Vec<Span> {
    let Event::TrailAccepted { hashes_unproven, .. } = &opened.events[0] else {
        panic!("{:?}", opened.events)
    };
    hashes_unproven.clone()
}

struct Site {
    dir: tempfile::TempDir,
    accept: Option<String>,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), accept: None }
    }

    fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    fn start(&self) -> Start {
        let key_file = self.dir.path().join("evidence.key");
        Start {
            dir: self.audit().join("tree"),
            key_file,
            origin: Some("example.com/log".to_owned()),
            accept: self.accept.clone(),
        }
    }

    /// Appends records; the leaf of record n says n.
    fn fill(&self, range: std::ops::Range<u64>) -> SledStore {
        let store = SledStore::open(&self.audit()).unwrap().0;
        fill(&store, range, "n");
        store
    }

    fn check(&self, store: &dyn Store) -> Result<Opened, StartError> {
        self.start().check(store, Vec::new())
    }

    /// Opens, and signs what is there as the notary does.
    fn sign(&self, store: &dyn Store) -> Vec<u8> {
        let opened = self.check(store).unwrap();
        let root = tree::root(&*opened.tree.levels(), opened.tree.size()).unwrap();
        let keys: Vec<_> = std::iter::once(&opened.key).chain(&opened.old_key).collect();
        let note = Signed::sign(opened.tree.size(), root, &keys).unwrap().bytes();
        opened.kept.put_newest(&note).unwrap();
        note
    }
}

fn fill(store: &dyn Store, range: std::ops::Range<u64>, name: &str) {
    let entry = |n: u64| Entry {
        time: Timestamp(n),
        kind: Kind::Event,
        id: AuditId::new(),
        leaf: format!("{{\"{name}\":{n}}}").into(),
    };
    for first_seq in range.clone().step_by(100) {
        let entries = (first_seq..range.end.min(first_seq + 100)).map(entry).collect();
        store.append(&Batch { first_seq, entries, ..Batch::default() }).unwrap();
    }
}

fn refusal(result: Result<Opened, StartError>) -> String {
    match result {
        Err(error @ StartError::Broken(_)) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

fn level_bytes(dir: &Path, level: u32) -> u64 {
    dir.join(format!("tree/level{level}")).metadata().unwrap().len()
}

#[test]
fn a_trail_that_goes_on_is_opened_from_its_files_and_grown() {
    let site = Site::new();
    let store = site.fill(0..700);
    let note = site.sign(&store);
    fill(&store, 700..900, "n");
    let opened = site.check(&store).unwrap();
    assert_eq!((opened.tree.size(), opened.newest.unwrap().bytes()), (900, note));
    // What nobody vouched for until now is signed, and that is on record.
    assert_eq!(opened.events, [Event::UnsignedRecordsFound { first: 700, last: 899 }]);
    assert!(
        opened.notes.len() == 1
            && opened.notes[0].contains("records 700 to 899 stand behind the newest checkpoint"),
        "{:?}",
        opened.notes
    );
    assert_eq!((level_bytes(&site.audit(), 0), level_bytes(&site.audit(), 1)), (900 * 32, 3 * 32));
}

#[test]
fn a_shorter_trail_is_refused_until_an_operator_says_why() {
    let mut site = Site::new();
    let store = site.fill(0..600);
    let note = site.sign(&store);
    drop(store);
    std::fs::remove_dir_all(site.audit().join("trail")).unwrap();
    let store = site.fill(0..590);
    let why = refusal(site.check(&store));
    assert!(
        why.contains("590 records")
            && why.contains("over 600: the last 10 are missing")
            && why.contains("--accept-trail"),
        "{why}"
    );
    // Nothing was touched: the tree that was signed is still there.
    assert_eq!(level_bytes(&site.audit(), 0), 600 * 32);
    site.accept = Some("restored from the backup of Monday".to_owned());
    let opened = site.check(&store).unwrap();
    assert_eq!(opened.tree.size(), 590);
    let Event::TrailAccepted { reason, found: Some(found), checkpoints: Some(checkpoints), .. } =
        &opened.events[0]
    else {
        panic!("{:?}", opened.events)
    };
    assert_eq!((reason.as_str(), found.size), ("restored from the backup of Monday", 590));
    assert_eq!(checkpoints[0].as_bytes(), note);
    assert_eq!(opened.kept.history().unwrap()[0].note.as_bytes(), note);
    drop(opened);
    site.accept = None;
    site.sign(&store);
    fill(&store, 590..620, "n");
    assert_eq!(site.check(&store).unwrap().tree.size(), 620);
}

#[test]
fn an_empty_folder_beside_an_old_key_is_asked_about() {
    let mut site = Site::new();
    let store = site.fill(0..10);
    site.sign(&store);
    drop(store);
    std::fs::remove_dir_all(site.audit()).unwrap();
    let store = SledStore::open(&site.audit()).unwrap().0;
    let why = refusal(site.check(&store));
    assert!(
        why.contains("the trail is empty")
            && why.contains("evidence.key")
            && why.contains("--accept-trail"),
        "{why}"
    );
    // Nor the second time.
    assert!(site.check(&store).is_err());
    site.accept = Some("the first start with a key that was given".to_owned());
    let opened = site.check(&store).unwrap();
    assert!(
        matches!(&opened.events[0], Event::TrailAccepted { reason, .. } if Some(reason) == site.accept.as_ref())
    );
    // A start that was cut off when the key was made is no such thing.
    let cut = Site::new();
    let store = SledStore::open(&cut.audit()).unwrap().0;
    cut.check(&store).unwrap();
    std::fs::write(cut.audit().join("tree/keys"), b"").unwrap();
    cut.check(&store).unwrap();
}

#[test]
fn a_trail_that_is_set_back_with_its_newest_checkpoint_is_refused_by_a_kept_one() {
    let site = Site::new();
    let store = site.fill(0..600);
    let early = site.sign(&store);
    fill(&store, 600..700, "n");
    let late = site.sign(&store);
    let kept = CheckpointStore::new(&site.audit().join("tree"));
    kept.remember(Why::Stop, &late).unwrap();
    drop(store);
    std::fs::remove_dir_all(site.audit().join("trail")).unwrap();
    let store = site.fill(0..600);
    kept.put_newest(&early).unwrap();
    let why = refusal(site.check(&store));
    assert!(
        why.contains("600 records")
            && why.contains("checkpoints.ndjson` was signed over 700: the last 100 are missing"),
        "{why}"
    );
    assert!(is_whole(&site.audit(), 600).unwrap_err().to_string().contains("signed over 700"));
    // A line that nobody has signed, as a damaged disk leaves it, is none.
    let file = kept.history_file();
    let line = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        line.replace(
            "\n700\n".escape_default().to_string().as_str(),
            "\n701\n".escape_default().to_string().as_str(),
        ),
    )
    .unwrap();
    assert_eq!(site.check(&store).unwrap().tree.size(), 600);
}

#[test]
fn a_pruning_that_nobody_signed_is_refused() {
    let mut site = Site::new();
    let store = pruned(&site, &[]);
    let entry = Entry {
        time: Timestamp(577),
        kind: Kind::Event,
        id: AuditId::new(),
        leaf: pruning().record().leaf,
    };
    store
        .append(&Batch {
            first_seq: 577,
            entries: vec![entry],
            open_floor: Some(578),
            ..Batch::default()
        })
        .unwrap();
    store.prune(std::slice::from_ref(&(64..128)), 577).unwrap();
    drop(store);
    let store = TieredStore::open(&site.audit()).unwrap().0;
    let why = refusal(site.check(&store));
    assert!(
        why.contains("records 64 to 127 are gone, pruned as record 577 says, but no checkpoint"),
        "{why}"
    );
    site.accept = Some("a gateway with another key had the folder".to_owned());
    assert_eq!(site.check(&store).unwrap().events[0].name(), EventName::TrailAccepted);
}

#[test]
fn other_records_are_refused_and_the_first_one_is_named() {
    let site = Site::new();
    let store = site.fill(0..6000);
    site.sign(&store);
    drop(store);
    for (changed, named) in [(5000, true), (100, false)] {
        std::fs::remove_dir_all(site.audit().join("trail")).unwrap();
        let store = site.fill(0..changed);
        fill(&store, changed..changed + 100, "m");
        fill(&store, changed + 100..6000, "n");
        // Only the last records are read at a start; all of them is what `audit verify` is for.
        match site.check(&store) {
            Err(error) => assert!(
                named
                    && error
                        .to_string()
                        .contains(&format!("record {changed} is not the one that was signed")),
                "{error}"
            ),
            Ok(_) => assert!(!named),
        }
        // Without the tree's files all are read.
        let tree = site.audit().join("tree");
        std::fs::copy(tree.join("level0"), tree.join("level0.kept")).unwrap();
        std::fs::remove_file(tree.join("level0")).unwrap();
        let why = refusal(site.check(&store));
        assert!(
            why.contains("the records are not those over which the checkpoint in")
                && why.contains("tree/checkpoint"),
            "{why}"
        );
        std::fs::rename(tree.join("level0.kept"), tree.join("level0")).unwrap();
    }
}

#[test]
fn damaged_or_missing_files_of_the_tree_are_computed_anew() {
    let site = Site::new();
    let store = site.fill(0..1000);
    site.sign(&store);
    let level = site.audit().join("tree/level0");
    for damage in ["cut", "flipped", "gone"] {
        let bytes = std::fs::read(&level).unwrap();
        match damage {
            "cut" => std::fs::write(&level, &bytes[..100]).unwrap(),
            "flipped" => std::fs::write(&level, [&[bytes[0] ^ 1], &bytes[1..]].concat()).unwrap(),
            _ => std::fs::remove_file(&level).unwrap(),
        }
        let opened = site.check(&store).unwrap();
        assert_eq!(opened.tree.size(), 1000);
        assert!(
            opened.notes.iter().any(|note| note.contains("computed anew from all 1000 records")),
            "{damage}: {:?}",
            opened.notes
        );
        assert_eq!(std::fs::read(&level).unwrap(), bytes, "{damage}");
        assert!(site.check(&store).unwrap().notes.is_empty());
    }
}

#[test]
fn a_checkpoint_off_the_host_binds_too() {
    let site = Site::new();
    let store = site.fill(0..300);
    let note = site.sign(&store);
    let known = |note: &[u8]| {
        vec![KnownCheckpoint { place: "/mnt/bucket/checkpoint".to_owned(), note: note.to_owned() }]
    };
    drop(store);
    // The trail and all that was kept beside it is set back to an earlier state.
    std::fs::remove_dir_all(site.audit()).unwrap();
    let store = site.fill(0..200);
    site.sign(&store);
    let why = refusal(site.start().check(&store, known(&note)));
    assert!(
        why.contains("/mnt/bucket/checkpoint") && why.contains("the last 100 are missing"),
        "{why}"
    );
    fill(&store, 200..299, "n");
    fill(&store, 299..310, "m");
    let why = refusal(site.start().check(&store, known(&note)));
    assert!(why.contains("the records are not those over which the checkpoint in `/mnt/bucket/checkpoint` was signed"), "{why}");
    let why = refusal(site.start().check(&store, known(b"nonsense")));
    assert!(why.contains("cannot be used"), "{why}");
}

#[test]
fn a_new_key_must_be_endorsed_by_the_old_one() {
    let mut site = Site::new();
    let store = site.fill(0..10);
    site.sign(&store);
    let key_file = site.dir.path().join("evidence.key");
    let old = old_key_file(&key_file);
    std::fs::rename(&key_file, &old).unwrap();
    let opened = site.check(&store).unwrap();
    assert!(
        matches!(&opened.events[0], Event::CheckpointKeyChanged { to, .. } if *to == opened.key.verifier().to_string())
    );
    assert!(opened.old_key.is_some());
    drop(opened);
    std::fs::remove_file(&old).unwrap();
    let why = refusal(site.check(&store));
    assert!(why.contains("the old one does not endorse it"), "{why}");
    SigningKey::create(&old, "example.com/log").unwrap();
    assert!(refusal(site.check(&store)).contains("holds example.com/log+"));
    site.accept = Some("the old key was lost".to_owned());
    let opened = site.check(&store).unwrap();
    assert_eq!((opened.events[0].name(), opened.events.len()), (EventName::TrailAccepted, 2));
    drop(opened);
    site.accept = None;
    site.sign(&store);
    site.check(&store).unwrap();
}

#[test]
fn a_log_keeps_its_name() {
    let site = Site::new();
    let store = site.fill(0..1);
    site.sign(&store);
    let start = Start { origin: Some("example.com/other".to_owned()), ..site.start() };
    assert!(matches!(
        start.check(&store, Vec::new()),
        Err(StartError::Key(KeyError::Origin { .. }))
    ));
    let start = Start { origin: None, ..site.start() };
    assert_eq!(start.check(&store, Vec::new()).unwrap().key.verifier().origin(), "example.com/log");
}

/// 576 records in segments of 64, and one that tells; signed, and then some segments pruned.
fn pruned(site: &Site, ranges: &[Range<u64>]) -> TieredStore {
    let settings = journal::Settings {
        free_bytes_min: 1,
        segment_records: 64,
        ..journal::Settings::new(site.audit())
    };
    let journal = Journal::open(settings, crate::testing::metrics()).unwrap().0;
    (0..576).for_each(|n| journal.append_detached(Event::Stopped { open_exchanges: n }.record()));
    let begun = Instant::now();
    while journal.tiered().unwrap().sealed_end() < 576 {
        assert!(begun.elapsed() < Duration::from_secs(30), "sealing does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(journal.append_blocking(pruning().record()).unwrap().seq(), 576);
    drop(journal);
    let store = TieredStore::open(&site.audit()).unwrap().0;
    site.sign(&store);
    store.prune(ranges, 576).unwrap();
    drop(store);
    TieredStore::open(&site.audit()).unwrap().0
}

const GAPS: &[Range<u64>] = &[0..64, 320..384, 512..576];

#[test]
fn a_trail_with_gaps_goes_on_from_its_tree() {
    for gaps in [
        GAPS,
        &[0..64, 64..128, 512..576],
        &[0..64, 64..128, 128..192, 192..256, 256..320, 320..384, 384..448, 448..512, 512..576],
    ] {
        let site = Site::new();
        let store = pruned(&site, gaps);
        let opened = site.check(&store).unwrap();
        assert_eq!((opened.tree.size(), opened.newest.unwrap().size()), (577, 577));
        assert!(
            opened.notes.is_empty() && opened.events.is_empty(),
            "{:?} {:?}",
            opened.notes,
            opened.events
        );
        fill(&store, 577..600, "n");
        assert_eq!(site.check(&store).unwrap().tree.size(), 600);
        // Files that are not those that were signed are made anew, of both.
        let level = site.audit().join("tree/level0");
        let mut bytes = std::fs::read(&level).unwrap();
        bytes[576 * HASH_SIZE] ^= 1;
        std::fs::write(&level, bytes).unwrap();
        let opened = site.check(&store).unwrap();
        assert!(
            opened.notes[0].contains(
                "computed anew from all 600 records, and from the hashes of those that are gone"
            ),
            "{:?}",
            opened.notes
        );
    }
}

#[test]
fn a_tree_that_is_made_anew_has_the_hashes_of_what_is_gone() {
    let site = Site::new();
    let store = pruned(&site, GAPS);
    let tree = site.audit().join("tree");
    let (level0, level1) =
        (std::fs::read(tree.join("level0")).unwrap(), std::fs::read(tree.join("level1")).unwrap());
    let flipped = |at: usize| {
        let mut bytes = level0.clone();
        bytes[at * HASH_SIZE] ^= 1;
        std::fs::write(tree.join("level0"), bytes).unwrap();
    };
    // Of records that are there: they tell.
    flipped(70);
    std::fs::remove_file(tree.join("level1")).unwrap();
    let opened = site.check(&store).unwrap();
    assert!(opened.notes[0].contains("computed anew"), "{:?}", opened.notes);
    assert!(
        std::fs::read(tree.join("level0")).unwrap() == level0
            && std::fs::read(tree.join("level1")).unwrap() == level1
    );
    drop(opened);
    // Of records that are gone: nobody tells, and the signed root is not reached.
    flipped(330);
    let why = refusal(site.check(&store));
    assert!(
        why.contains("records that are gone are not: a backup of those files may help"),
        "{why}"
    );
    // Not there at all.
    for left in [None, Some(&level0[..340 * HASH_SIZE])] {
        match left {
            Some(bytes) => std::fs::write(tree.join("level0"), bytes).unwrap(),
            None => std::fs::remove_file(tree.join("level0")).unwrap(),
        }
        for accept in [None, Some("I want to")] {
            let site = Start { accept: accept.map(str::to_owned), ..site.start() };
            let error = site.check(&store, Vec::new()).map(|_| ()).unwrap_err();
            assert!(
                matches!(error, StartError::Hashes { first, .. } if first == left.map_or(0, |_| 320)),
                "{error:?}"
            );
            assert!(
                error.to_string().contains("Restore the tree's folder from a backup"),
                "{error}"
            );
        }
    }
    std::fs::write(tree.join("level0"), &level0).unwrap();
    assert!(site.check(&store).unwrap().notes.is_empty());
}

#[test]
fn an_operator_goes_on_over_gaps_with_what_the_tree_has_of_them() {
    let mut site = Site::new();
    let store = pruned(&site, GAPS);
    let key = SigningKey::read(&site.dir.path().join("evidence.key")).unwrap();
    let longer = Signed::sign(900, Hash([7; 32]), &[&key]).unwrap().bytes();
    let elsewhere = || {
        vec![KnownCheckpoint { place: "/mnt/bucket/checkpoint".to_owned(), note: longer.clone() }]
    };
    assert!(refusal(site.start().check(&store, elsewhere())).contains("the last 323 are missing"));
    site.accept = Some("the other host is gone".to_owned());
    let level0 = std::fs::read(site.audit().join("tree/level0")).unwrap();
    let opened = site.start().check(&store, elsewhere()).unwrap();
    assert_eq!((opened.tree.size(), unproven(&opened)), (577, vec![]));
    assert!(std::fs::read(site.audit().join("tree/level0")).unwrap() == level0);
    drop(opened);
    // The newest checkpoint was put away, and the next one not signed yet: nothing vouches for
    // these hashes but the files.
    let opened = site.start().check(&store, elsewhere()).unwrap();
    assert_eq!(
        unproven(&opened),
        [(0, 63), (320, 383), (512, 575)].map(|(first, last)| Span { first, last })
    );
    assert!(
        opened.notes.iter().any(|note| note.contains("nothing that was signed vouches")),
        "{:?}",
        opened.notes
    );
    assert!(std::fs::read(site.audit().join("tree/level0")).unwrap() == level0);
}

#[test]
fn what_no_checkpoint_covers_must_not_be_gone() {
    let site = Site::new();
    let store = pruned(&site, &[]);
    let (tree, opened) = (site.audit().join("tree"), site.check(&store).unwrap());
    let level0 = std::fs::read(tree.join("level0")).unwrap();
    let note = Signed::sign(500, tree::root(&*opened.tree.levels(), 500).unwrap(), &[&opened.key])
        .unwrap()
        .bytes();
    opened.kept.put_newest(&note).unwrap();
    store.prune(std::slice::from_ref(&(448..512)), 576).unwrap();
    let why = refusal(site.check(&store));
    assert!(
        why.contains("records 448 to 511 are gone, pruned as record 576 says, but no checkpoint"),
        "{why}"
    );
    assert!(
        std::fs::read(tree.join("level0")).unwrap() == level0,
        "the only place that has their hashes was cut"
    );
}

/// After a failure the notary opens its files anew. What was never signed since an operator went on
/// must not be cut off: nothing else has the hashes of what is gone.
#[test]
fn a_notary_that_begins_anew_keeps_the_hashes_of_what_is_gone() {
    let site = Site::new();
    let store: Arc<dyn Store> = Arc::new(pruned(&site, &[0..64, 448..512]));
    let opened = site.start().check(&*store, Vec::new()).unwrap();
    let before = opened.newest.unwrap();
    opened.kept.drop_newest().unwrap();
    let board = Arc::new(Latest::default());
    board.advance(Lifecycle::Closing);
    let signing = Signing {
        dir: site.start().dir,
        durable: Arc::new(before.size().into()),
        store,
        feed: Arc::default(),
        kept: opened.kept.clone(),
        key: opened.key,
        endorsed_until: None,
        board: board.clone(),
        metrics: crate::testing::metrics(),
        every: Duration::from_millis(1),
        levels: opened.tree.levels(),
        known: opened.tree.size(),
        tree: None,
        signed: None,
        remembered: None,
    };
    drop(opened.tree);
    signing.run();
    let after = Signed::parse(&opened.kept.newest().unwrap().unwrap()).unwrap();
    assert_eq!((after.size(), after.root()), (before.size(), before.root()));
}
