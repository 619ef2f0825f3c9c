//! Retention over a real journal with short segments.

mod forged;
mod late;

use super::*;
use crate::journal::Settings;
use crate::testing::metrics;
use keyward_core::clock::AuditId;
use keyward_record::Event;
use keyward_record::event::{By, Span};
use keyward_record::{Kind, Record, canonical};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

const SEGMENT: u64 = 64;
/// Between two records. All are made within the last two hours, so that the clock does not look as
/// if it had jumped.
const STEP: u64 = 10 * 1_000_000_000;
static BEGAN: LazyLock<u64> = LazyLock::new(|| Timestamp::now().0 - 2 * 3600 * 1_000_000_000);

struct Site {
    retention: Retention,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    sent: Arc<AtomicU64>,
}

fn site(dir: &Path, max_age: Option<Duration>, max_bytes: Option<u64>) -> Site {
    let metrics = metrics();
    let settings = Settings {
        free_bytes_min: 1,
        segment_records: SEGMENT,
        seal_after: Duration::MAX,
        ..Settings::new(dir)
    };
    let journal = Arc::new(Journal::open(settings, metrics.clone()).unwrap().0);
    let sent = Arc::new(AtomicU64::new(u64::MAX));
    let told = sent.clone();
    let policy = Policy {
        max_age,
        max_bytes,
        holds_file: Some(dir.join("holds.toml")),
        every: Duration::from_secs(1),
    };
    let store = journal.tiered().unwrap();
    let retention = Retention::new(policy, journal.clone(), store, metrics.clone(), move || {
        told.load(Ordering::SeqCst)
    });
    Site { retention, journal, metrics, sent }
}

impl Site {
    /// One refusal a step, each by one of 100 callers in turn.
    fn fill(&self, steps: std::ops::Range<u64>) {
        for step in steps {
            let (id, time) = (AuditId::new(), at(step));
            let leaf = json!({"v": 1, "kind": "request", "id": id.to_string(), "time": time.rfc3339(), "caller": {"name": format!("c{}", step % 100)}, "decision": {"verdict": "deny"}});
            self.journal
                .append_blocking(Record {
                    id,
                    kind: Kind::Refused,
                    time,
                    leaf: canonical(&leaf),
                    content: None,
                })
                .unwrap();
        }
    }

    fn seal(&self) {
        self.journal.tiered().unwrap().seal().unwrap();
    }

    fn holds(&self, text: &str) -> Holds {
        std::fs::write(self.retention.policy.holds_file.as_ref().unwrap(), text).unwrap();
        self.retention.holds().unwrap()
    }

    /// Every record that is there, by its number.
    fn there(&self) -> Vec<u64> {
        let store = self.journal.tiered().unwrap();
        let there: Vec<_> = store
            .oldest_first(0)
            .map(Result::unwrap)
            .flat_map(|frame| frame.first_seq..frame.end())
            .collect();
        let mut backwards: Vec<_> = store
            .newest_first(u64::MAX)
            .map(Result::unwrap)
            .flat_map(|frame| (frame.first_seq..frame.end()).rev())
            .collect();
        backwards.reverse();
        assert_eq!(there, backwards);
        there
    }
}

fn firsts(abouts: &[About]) -> Vec<u64> {
    abouts.iter().map(|about| about.range.start).collect()
}

fn at(step: u64) -> Timestamp {
    Timestamp(*BEGAN + step * STEP)
}

#[test]
fn what_is_too_old_goes_after_a_record_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), Some(Duration::from_secs(100 * 10)), None);
    let holds = site.holds("");
    site.fill(0..4 * SEGMENT);
    site.seal();
    // The second segment's last record, of step 127, is 100 steps old: the third's is younger.
    let plan = site.retention.prune(&holds, at(227)).unwrap();
    assert_eq!(firsts(&plan.prune), [0], "not older than");
    let plan = site.retention.prune(&holds, at(228)).unwrap();
    assert_eq!(firsts(&plan.prune), [64]);
    assert_eq!(site.retention.prune(&holds, at(228)).unwrap().prune, []);
    let there = site.there();
    assert!(there.iter().copied().eq(2 * SEGMENT..4 * SEGMENT + 2), "{there:?}");
    assert_eq!(site.metrics.pruned_records.get(), 2 * SEGMENT);
    // Each went after its record, which the trail keeps.
    let store = site.journal.tiered().unwrap();
    let absent = store.tombstones();
    assert_eq!(
        absent.iter().map(|gone| (gone.first_seq, gone.end, gone.told_by)).collect::<Vec<_>>(),
        [(0, 128, 257)],
        "the newer one tells of all"
    );
    let frame = store.oldest_first(256).next().unwrap().unwrap();
    let told: Value =
        serde_json::from_slice(&frame.entries[(256 - frame.first_seq) as usize].leaf).unwrap();
    assert_eq!(
        (&told["event"], &told["detail"]["records"]),
        (&json!("records-pruned"), &json!([{"first": 0, "last": 63}]))
    );
    assert_eq!(told["detail"]["policy"]["max_age_seconds"], 1000);
    // Their files are gone, and the trail opens, and grows, as before.
    let files = |first: u64| {
        std::fs::read_dir(dir.path().join("segments"))
            .unwrap()
            .filter(|f| {
                f.as_ref().unwrap().file_name().to_string_lossy().contains(&format!("{first:020}"))
            })
            .count()
    };
    assert_eq!((files(0), files(64), files(128)), (0, 0, 3));
    drop(store);
    drop(site);
    let site = self::site(dir.path(), None, None);
    assert!(site.there().into_iter().eq(2 * SEGMENT..4 * SEGMENT + 2));
    site.fill(300..400);
    site.seal();
    // And one that the clock has gone back: the steps are before the records about the pruning.
    assert!(site.there().into_iter().eq(2 * SEGMENT..4 * SEGMENT + 103));
    assert_eq!(
        Reader::of(&site.journal)
            .count(&crate::filter::Filter::parse([("caller", "c42")]).unwrap(), None)
            .unwrap()
            .total,
        3,
        "steps 142, 242, 342"
    );
}

#[test]
fn the_oldest_goes_while_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), None, Some(1));
    site.fill(0..3 * SEGMENT);
    site.seal();
    let sealed = site.journal.tiered().unwrap().sealed();
    let site = Site {
        retention: Retention {
            policy: Policy {
                max_bytes: Some(sealed[1].bytes + sealed[2].bytes),
                ..site.retention.policy.clone()
            },
            ..site.retention
        },
        ..site
    };
    let holds = site.holds("");
    assert_eq!(firsts(&site.retention.plan(&holds, at(0)).unwrap().prune), [0]);
    // Nothing is younger than a bound on bytes, and nothing goes that was not sent on.
    site.sent.store(10, Ordering::SeqCst);
    let plan = site.retention.prune(&holds, at(0)).unwrap();
    assert_eq!((firsts(&plan.prune), plan.waiting.len()), (vec![], 3));
    site.sent.store(SEGMENT, Ordering::SeqCst);
    assert_eq!(firsts(&site.retention.prune(&holds, at(0)).unwrap().prune), [0]);
}

#[test]
fn a_hold_keeps_its_segment_and_the_one_with_its_answers() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), Some(Duration::from_secs(1)), None);
    site.fill(0..5 * SEGMENT);
    site.seal();
    let holds = site.holds("[[hold]]\nname = 'case 17'\nwhere = 'caller = c5 and seq < 100'\nreason = 'asked for by counsel'\n");
    let plan = site.retention.prune(&holds, at(10_000)).unwrap();
    // c5 is at 5, 105, 205, …; the expression keeps the first alone.
    assert_eq!(
        plan.held
            .iter()
            .map(|(name, about)| (name.as_str(), about.range.start))
            .collect::<Vec<_>>(),
        [("case 17", 0), ("case 17", 64)]
    );
    assert_eq!(firsts(&plan.prune), [128, 192, 256]);
    assert!(site.there().into_iter().eq((0..128).chain(320..321)));
    assert_eq!(site.metrics.held_segments.get(), 2);
    let state = json!(site.retention.state(at(10_000)));
    assert_eq!(
        (&state["pruned"], &state["holds"][0]["reason"]),
        (&json!([{"first": 128, "last": 319}]), &json!("asked for by counsel"))
    );
    // Released, it goes.
    let holds = site.holds("");
    assert_eq!(firsts(&site.retention.prune(&holds, at(10_000)).unwrap().prune), [0, 64]);
    drop(site);
    assert!(self::site(dir.path(), None, None).there().into_iter().eq(320..322));
}

#[test]
fn unreadable_holds_keep_everything() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), Some(Duration::from_secs(1)), None);
    std::fs::write(
        dir.path().join("holds.toml"),
        "[[hold]]\nname = 'x'\nwhere = 'caller ='\nreason = 'y'\n",
    )
    .unwrap();
    assert!(site.retention.holds().unwrap_err().to_string().contains("hold `x`"));
    assert!(
        json!(site.retention.state(at(9)))["error"].as_str().unwrap().contains("nothing is pruned")
    );
}

#[test]
fn a_pruning_that_a_crash_has_cut_is_ended_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), Some(Duration::from_secs(1)), None);
    site.fill(0..3 * SEGMENT);
    site.seal();
    let file = crate::segment::path(&dir.path().join("segments"), 0, "records");
    let bytes = std::fs::read(&file).unwrap();
    site.retention.prune(&site.holds(""), at(10_000)).unwrap();
    assert!(!file.exists());
    drop(site);
    // As if only the note had been made durable.
    std::fs::write(&file, bytes).unwrap();
    let site = self::site(dir.path(), None, None);
    let patience = std::time::Instant::now();
    while file.exists() {
        assert!(patience.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(site.there().into_iter().eq(192..193));
}

#[test]
fn what_is_old_is_sealed_before_a_segment_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        free_bytes_min: 1,
        segment_records: SEGMENT,
        seal_after: Duration::from_millis(1),
        ..Settings::new(dir.path())
    };
    let journal = Journal::open(settings, metrics()).unwrap().0;
    let mut appended = 0;
    for round in 1..=4 {
        for _ in 0..round * 7 {
            let (id, time) = (AuditId::new(), Timestamp::now());
            let leaf = json!({"v": 1, "kind": "event", "id": id.to_string(), "time": time.rfc3339(), "event": "x", "detail": {}});
            journal
                .append_blocking(Record {
                    id,
                    kind: Kind::Event,
                    time,
                    leaf: canonical(&leaf),
                    content: None,
                })
                .unwrap();
            appended += 1;
        }
        let patience = std::time::Instant::now();
        while journal.tiered().unwrap().sealed_end() < appended {
            assert!(patience.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let sealed = journal.tiered().unwrap().sealed();
    assert!(
        sealed.len() >= 4
            && sealed.iter().all(|about| about.range.end - about.range.start <= SEGMENT),
        "{sealed:?}"
    );
    assert!(sealed.windows(2).all(|pair| pair[0].range.end == pair[1].range.start));
    let store = journal.tiered().unwrap();
    assert!(
        store
            .oldest_first(0)
            .map(Result::unwrap)
            .flat_map(|frame| frame.first_seq..frame.end())
            .eq(0..appended)
    );
    let reader = Reader::of(&journal);
    assert_eq!(
        reader
            .count(
                &crate::filter::Filter::parse([(WHERE, "kind = event")]).unwrap_or_default(),
                None
            )
            .unwrap()
            .total,
        0,
        "events are asked for by name"
    );
}

#[test]
fn nothing_goes_before_it_and_the_record_of_it_are_signed() {
    let dir = tempfile::tempdir().unwrap();
    let Site { retention, journal, metrics, sent } = site(dir.path(), None, Some(1));
    let signed = Arc::new(AtomicU64::new(64));
    let told = signed.clone();
    let site = Site {
        retention: retention.behind(move || told.load(Ordering::SeqCst)),
        journal,
        metrics,
        sent,
    };
    site.fill(0..150);
    site.seal();
    let plan = site.retention.plan(&Holds::default(), Timestamp(0)).unwrap();
    let of = |parts: &[About]| parts.iter().map(|about| about.range.clone()).collect::<Vec<_>>();
    assert_eq!(
        (of(&plan.prune), of(&plan.waiting)),
        (
            of(&site.journal.tiered().unwrap().sealed()[..1]),
            of(&site.journal.tiered().unwrap().sealed()[1..])
        )
    );
    std::thread::scope(|threads| {
        let pruning =
            threads.spawn(|| site.retention.prune(&Holds::default(), Timestamp(0)).unwrap());
        let begun = Instant::now();
        while Reader::of(&site.journal).durable() < 151 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(site.there().len(), 151, "it is recorded, and waits");
        signed.store(151, Ordering::SeqCst);
        pruning.join().unwrap();
    });
    assert!(site.there().into_iter().eq(64..151));
}

/// A hold keeps a record, and what told of the erasure of its body goes: the record of the pruning
/// tells of it, and the next one tells anew.
#[test]
fn erasures_are_told_anew_while_what_they_tell_of_stays() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), Some(Duration::from_secs(3600)), None);
    let holds = site.holds("[[hold]]\nname = 'case'\nwhere = 'caller = c7'\nreason = 'r'\n");
    site.fill(0..SEGMENT);
    let records = vec![Span { first: 7, last: 8 }, Span { first: 70, last: 70 }];
    let erased = Event::BodiesErased {
        exchange: "x".to_owned(),
        records,
        reason: "a test".to_owned(),
        by: By::default(),
    };
    site.journal.append_blocking(erased.record()).unwrap();
    // The caller of the hold is not among these.
    site.fill(208..208 + SEGMENT);
    site.fill(208..208 + SEGMENT - 1);
    let made = |seq: u64| -> Value {
        let store = site.journal.tiered().unwrap();
        let frame = store.oldest_first(seq).next().unwrap().unwrap();
        serde_json::from_slice(&frame.entries[(seq - frame.first_seq) as usize].leaf).unwrap()
    };
    site.seal();
    let far = Timestamp(Timestamp::now().0 + 1000 * 3600 * 1_000_000_000);
    let plan = site.retention.prune(&holds, far).unwrap();
    // The segment behind the held one has its answers.
    assert_eq!((firsts(&plan.prune), plan.held.len()), (vec![2 * SEGMENT], 2));
    let told_by = site.journal.tiered().unwrap().tombstones()[0].told_by;
    let told = made(told_by);
    assert_eq!(told["detail"]["erased"], json!([]), "what tells of it stays: {told_by} {told}");
    // The segment that tells of it goes alone.
    let about: Vec<_> = site
        .journal
        .tiered()
        .unwrap()
        .sealed()
        .into_iter()
        .filter(|about| about.range.start == SEGMENT)
        .collect();
    let range = SEGMENT..2 * SEGMENT;
    let ranges = std::slice::from_ref(&range);
    let told = site.retention.told(&about, ranges, &Holds::default()).unwrap();
    assert!(told.bodies_erased().eq(std::iter::once(7..9)), "not of the record that goes too");
    let by = site.journal.append_blocking(told.record()).unwrap().seq();
    assert!((3 * SEGMENT..4 * SEGMENT).contains(&by), "{by}");
    site.journal.tiered().unwrap().prune(ranges, by).unwrap();
    // And so does what told of it then.
    site.fill(500..500 + 2 * SEGMENT);
    site.seal();
    let range = 3 * SEGMENT..4 * SEGMENT;
    let ranges = std::slice::from_ref(&range);
    let told = site.retention.told(&[], ranges, &Holds::default()).unwrap();
    assert!(told.bodies_erased().eq(std::iter::once(7..9)));
}
