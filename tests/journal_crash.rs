//! What was acknowledged survives `kill -9`: a child appends and tells each receipt, the parent
//! kills it at a random moment, opens what it left and compares. Segments are short, so that
//! sealing and pruning go on all the time. (A killed process leaves the page cache behind, so this
//! says nothing about power cuts; that each acknowledgement follows a sync is tested beside the
//! journal.)

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use keyward::metrics::Metrics;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Content, Kind, Record, canonical};
use keyward_trail::journal::{Journal, Settings};
use keyward_trail::retention::{Holds, Policy, Retention};
use keyward_trail::store::Store;
use keyward_trail::tiered::TieredStore;
use keyward_trail::tombstone::skip_tombstones;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CHILD: &str = "KEYWARD_TEST_JOURNAL_DIR";
const ROUNDS: u32 = 30;
const SEGMENT_RECORDS: u64 = 64;
/// Some segments, so that most records are pruned soon after they are sealed.
const PRUNED_ABOVE_BYTES: u64 = 300_000;

fn record(id: AuditId, kind: Kind, body: Option<usize>) -> Record {
    let time = Timestamp::now();
    let content = body.map(|length| Content::new(vec![b'x'; length].into()).unwrap());
    let leaf = canonical(
        &json!({"v": 1, "id": id.to_string(), "time": time.rfc3339(), "commit": content.as_ref().map(Content::commitment)}),
    );
    Record { id, kind, time, leaf, content }
}

fn open(dir: &Path) -> (Journal, keyward_trail::journal::Recovery) {
    let settings =
        Settings { free_bytes_min: 1, segment_records: SEGMENT_RECORDS, ..Settings::new(dir) };
    Journal::open(settings, Arc::clone(&Metrics::new().unwrap().trail)).unwrap()
}

/// The role of the re-executed test binary: appends for ever, from several threads.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let journal = Arc::new(open(Path::new(&dir)).0);
    let policy = Policy {
        max_age: None,
        max_bytes: Some(PRUNED_ABOVE_BYTES),
        holds_file: None,
        every: Duration::MAX,
    };
    let store = journal.tiered().unwrap();
    let retention = Retention::new(
        policy,
        journal.clone(),
        store,
        Arc::clone(&Metrics::new().unwrap().trail),
        || u64::MAX,
    );
    std::thread::scope(|threads| {
        threads.spawn(|| {
            loop {
                retention.prune(&Holds::default(), Timestamp::now()).unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        for thread in 0..6_usize {
            let journal = &*journal;
            threads.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                for n in 0.. {
                    let id = AuditId::new();
                    let told = |receipt: keyward_trail::journal::Receipt, what| {
                        // One write call, so that a kill cannot mix lines of two threads.
                        std::io::stdout()
                            .lock()
                            .write_all(
                                format!("\nacked {} {id} {what}\n", receipt.seq()).as_bytes(),
                            )
                            .unwrap();
                    };
                    let body = (n % 5 == 0).then_some(thread * 20_000);
                    told(
                        runtime
                            .block_on(journal.append(record(id, Kind::Forwarded, body)))
                            .unwrap(),
                        "request",
                    );
                    if n % 7 != 0 {
                        told(
                            runtime
                                .block_on(journal.append(record(id, Kind::Answer, None)))
                                .unwrap(),
                            "answer",
                        );
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked = HashMap::new();
    let mut next_seq = 0;
    let mut half_sealed = 0;
    let rounds =
        std::env::var("KEYWARD_SURVIVE_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let told = run_and_kill(dir.path(), round);
        half_sealed += u32::from(is_half_sealed(dir.path()));
        next_seq = check(dir.path(), round, next_seq, &told);
        acked.extend(told);
    }
    check(dir.path(), rounds, 0, &acked);
    assert!(acked.len() > rounds as usize, "the child acknowledged only {} records", acked.len());
    let sealed = TieredStore::open(dir.path()).unwrap().0.sealed_end();
    println!(
        "{rounds} kills, {half_sealed} of them while a segment was being written; {next_seq} records, {sealed} of them sealed"
    );
    assert!(half_sealed > 0, "no kill came while a segment was being written");
    assert!(
        sealed > 10 * SEGMENT_RECORDS && sealed <= next_seq,
        "{sealed} of {next_seq} records are sealed"
    );
}

/// How many segments are sealed, or nearly.
fn indexes(dir: &Path) -> usize {
    let Ok(files) = std::fs::read_dir(dir.join("segments")) else { return 0 };
    files
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "index"))
        .count()
}

/// Whether the kill came while a file of a segment was being written.
fn is_half_sealed(dir: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(dir.join("segments")) else { return false };
    files
        .map(|file| file.unwrap().path())
        .any(|path| path.extension().is_some_and(|extension| extension == "tmp"))
}

/// The receipts of one run: by place, the exchange and whether it is an answer.
type Acked = HashMap<u64, (String, bool)>;

/// Kills a child at a random moment: every third while it opens the trail, every third soon after
/// its first records, the others when they have sealed something.
fn run_and_kill(dir: &Path, round: u32) -> Acked {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (writing, wrote) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let acked = lines.map_while(Result::ok).filter_map(|line| acknowledged(&line));
        // The parent stops listening after the first.
        acked.inspect(|_| writing.send(()).unwrap_or_default()).collect::<Acked>()
    });
    let mut random = [0; 1];
    getrandom::fill(&mut random).unwrap();
    if round % 3 == 2 {
        std::thread::sleep(Duration::from_millis(u64::from(random[0]) / 8));
    } else {
        wrote.recv_timeout(Duration::from_secs(60)).unwrap();
        let (sealed, patience) = (indexes(dir), Instant::now());
        while round % 3 == 1 && indexes(dir) < sealed + 2 {
            assert!(
                patience.elapsed() < Duration::from_secs(120),
                "round {round}: nothing is sealed"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(u64::from(random[0]) / 2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn acknowledged(line: &str) -> Option<(u64, (String, bool))> {
    let mut words = line.strip_prefix("acked ")?.split(' ');
    let (seq, id, what) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    // A line that was cut by the kill lacks its end.
    matches!(what, "request" | "answer").then(|| (seq, (id.to_owned(), what == "answer")))
}

/// Checks the trail from `first_seq` on, and what the next start makes of it; where it ends then.
fn check(dir: &Path, round: u32, first_seq: u64, acked: &Acked) -> u64 {
    // As the kill has left it: whole frames without a gap, and no body without its record.
    let (store, opened) = TieredStore::open(dir).unwrap();
    assert_eq!(opened.torn, 0, "round {round}");
    assert!(
        opened.notes.iter().all(|note| note.contains("unfinished snapshot")),
        "round {round}: {:?}",
        opened.notes
    );
    let absent = store.tombstones();
    // Each pruning was on record before anything went.
    for gone in &absent {
        let frame = store.oldest_first(gone.told_by).next().unwrap().unwrap();
        let told = &frame.entries[(gone.told_by - frame.first_seq) as usize];
        assert!(
            told.kind == Kind::Event && told.leaf.windows(14).any(|w| w == b"records-pruned"),
            "round {round}: record {} of {gone:?}",
            gone.told_by
        );
    }
    let mut next_seq = skip_tombstones(&absent, first_seq);
    let first_seq = next_seq;
    let mut open_ones = HashSet::new();
    for frame in store.oldest_first(first_seq) {
        let frame = frame.unwrap();
        // The first may begin before the record that is asked for.
        next_seq = skip_tombstones(&absent, next_seq);
        assert!(
            frame.first_seq == next_seq || (next_seq == first_seq && frame.first_seq < next_seq),
            "round {round}: a gap"
        );
        next_seq = frame.end();
        for (seq, entry) in
            (frame.first_seq..).zip(&frame.entries).filter(|(seq, _)| *seq >= first_seq)
        {
            if entry.kind == Kind::Forwarded {
                open_ones.insert(entry.id)
            } else {
                open_ones.remove(&entry.id)
            };
            if let Some((id, is_answer)) = acked.get(&seq) {
                assert_eq!(
                    (&entry.id.to_string(), entry.kind == Kind::Answer),
                    (id, *is_answer),
                    "round {round}: record {seq}"
                );
            }
            let leaf: serde_json::Value = serde_json::from_slice(&entry.leaf).unwrap();
            let content = store.content(seq).unwrap();
            assert_eq!(
                leaf["commit"].as_str(),
                content.map(|c| c.commitment()).as_deref(),
                "round {round}: body of {seq}"
            );
        }
    }
    assert!(
        acked.keys().all(|seq| *seq < next_seq),
        "round {round}: an acknowledged record is lost"
    );
    drop(store);

    let (journal, recovery) = open(dir);
    assert_eq!(recovery.closed_unknown, open_ones.len(), "round {round}");
    journal.close().unwrap();
    drop(journal);
    let (store, _) = TieredStore::open(dir).unwrap();
    let frames = store.oldest_first(next_seq).map(|frame| frame.unwrap());
    let closing: Vec<_> = frames
        .flat_map(|frame| (frame.first_seq..).zip(frame.entries))
        .filter(|(seq, _)| *seq >= next_seq)
        .map(|(_, entry)| entry)
        .collect();
    assert!(closing.iter().all(|e| e.kind == Kind::Answer
        && open_ones.contains(&e.id)
        && e.leaf.windows(9).any(|w| w == br#""unknown""#)));
    assert_eq!(closing.len(), open_ones.len(), "round {round}: each open exchange is closed once");
    next_seq + closing.len() as u64
}
