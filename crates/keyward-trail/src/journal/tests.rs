//! The journal under faults: a store that fails, hangs or is nearly full.

use super::*;
use crate::frame::LEAF_BYTES_MAX;
use crate::testing::*;
use crate::wal::SledStore;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Kind, Record, canonical};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What stands in the trail of a closed journal.
fn trail(dir: &std::path::Path) -> Vec<(u64, keyward_record::Entry)> {
    entries(&SledStore::open(dir).unwrap().0)
}

#[tokio::test]
async fn receipts_are_dense_and_records_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let id = AuditId::new();
    let (journal, recovery) = open(dir.path());
    assert_eq!(recovery, Recovery { closed_unknown: 0, next_seq: 0, torn: 0, notes: vec![] });
    assert_eq!(journal.append(with_content(forwarded(id), "{}")).await.unwrap().seq(), 0);
    assert_eq!(journal.append(answer(id)).await.unwrap().seq(), 1);
    assert_eq!(journal.append(event("start")).await.unwrap().seq(), 2);
    journal.close().unwrap();
    assert!(matches!(journal.append(event("late")).await, Err(JournalError::Closed)));
    drop(journal);

    let (journal, recovery) = open(dir.path());
    assert_eq!((recovery.next_seq, recovery.closed_unknown), (3, 0));
    let (store, _) = journal.parts();
    assert_eq!(store.content(0).unwrap().unwrap().bytes, "{}");
    assert!(store.content(1).unwrap().is_none());
    assert_eq!(
        entries(&*store).iter().map(|(seq, e)| (*seq, e.kind)).collect::<Vec<_>>(),
        [(0, Kind::Forwarded), (1, Kind::Answer), (2, Kind::Event)]
    );
}

#[tokio::test]
async fn what_was_open_is_closed_as_unknown_once() {
    let dir = tempfile::tempdir().unwrap();
    let (closed, open_one) = (AuditId::new(), AuditId::new());
    let (journal, _) = open(dir.path());
    for record in [forwarded(closed), forwarded(open_one), answer(closed)] {
        journal.append(record).await.unwrap();
    }
    drop(journal);
    let (journal, recovery) = open(dir.path());
    assert_eq!((recovery.closed_unknown, recovery.next_seq), (1, 4));
    assert_eq!(journal.queue.metrics.unknown_outcomes.get(), 1);
    drop(journal);
    let (journal, recovery) = open(dir.path());
    assert_eq!((recovery.closed_unknown, recovery.next_seq), (0, 4));
    assert_eq!(journal.parts().0.open_floor().unwrap(), 4);
    drop(journal);
    let (_, last) = trail(dir.path()).pop().unwrap();
    assert_eq!(last.id, open_one);
    assert!(
        std::str::from_utf8(&last.leaf)
            .unwrap()
            .contains("the gateway stopped before the outcome was recorded")
    );
}

#[tokio::test]
async fn the_first_answer_wins() {
    let dir = tempfile::tempdir().unwrap();
    let id = AuditId::new();
    let (journal, _) = open(dir.path());
    journal.append(forwarded(id)).await.unwrap();
    let (first, second) = tokio::join!(journal.append(answer(id)), journal.append(answer(id)));
    assert_eq!((first.unwrap().seq(), second.unwrap().seq()), (1, 1));
    journal.append_detached(answer(id));
    assert_eq!(journal.append(answer(id)).await.unwrap().seq(), 1);
    let stranger = AuditId::new();
    assert!(
        matches!(journal.append(answer(stranger)).await, Err(JournalError::NotOpen(id)) if id == stranger)
    );
    drop(journal);
    assert_eq!(trail(dir.path()).len(), 2);
}

#[tokio::test]
async fn an_impossible_record_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut long = event("long");
    long.leaf = vec![b'a'; LEAF_BYTES_MAX + 1].into();
    let (bad, good) = tokio::join!(journal.append(long), journal.append(event("good")));
    assert!(matches!(bad, Err(JournalError::Unstorable(_))));
    assert_eq!(good.unwrap().seq(), 0);
    let fat = with_content(event("fat"), vec![0; crate::store::CONTENT_BYTES_MAX + 1]);
    assert!(matches!(journal.append(fat).await, Err(JournalError::ContentTooLong(_))));
    assert_eq!(journal.health(), Ok(()));
    assert_eq!(journal.queue.metrics.record_failures.get(), 2);
}

#[tokio::test]
async fn time_in_the_trail_never_goes_back_and_the_leaf_keeps_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let at = |time| Record {
        time: Timestamp(time),
        leaf: canonical(&serde_json::json!({"time": time})),
        ..event("e")
    };
    for time in [5, 9, 7] {
        journal.append(at(time)).await.unwrap();
    }
    drop(journal);
    let (journal, _) = open(dir.path());
    journal.append(at(8)).await.unwrap();
    let times: Vec<_> =
        entries(&*journal.parts().0).into_iter().map(|(_, e)| (e.time.0, e.leaf)).collect();
    assert_eq!(
        times,
        [(5, r#"{"time":5}"#), (9, r#"{"time":9}"#), (9, r#"{"time":7}"#), (9, r#"{"time":8}"#)]
            .map(|(t, l)| (t, l.into()))
    );
}

#[tokio::test]
async fn a_failed_append_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, faults, metrics) = open_faulty(settings(dir.path()));
    journal.append(event("before")).await.unwrap();
    assert_eq!(metrics.journal_healthy.get(), 1);
    faults.fail.store(true, Ordering::SeqCst);
    let (first, second) = tokio::join!(journal.append(event("a")), journal.append(event("b")));
    assert!(matches!(
        (first, second),
        (Err(JournalError::Failed(_)), Err(JournalError::Failed(_)))
    ));
    faults.fail.store(false, Ordering::SeqCst);
    let appends = faults.appends.load(Ordering::SeqCst);
    assert!(matches!(journal.append(event("c")).await, Err(JournalError::Failed(_))));
    journal.append_detached(event("d"));
    assert_eq!(faults.appends.load(Ordering::SeqCst), appends, "nothing is tried again");
    let health = journal.health().unwrap_err();
    assert!(
        health.contains("could not be synced: asked to fail") && health.contains("restart"),
        "{health}"
    );
    assert_eq!((metrics.journal_healthy.get(), metrics.record_failures.get()), (0, 4));
    assert!(journal.close().is_err());
}

#[tokio::test]
async fn a_writer_that_dies_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, faults, _) = open_faulty(settings(dir.path()));
    faults.panic.store(true, Ordering::SeqCst);
    assert!(matches!(journal.append(event("a")).await, Err(JournalError::WriterGone)));
    assert!(matches!(journal.append(event("b")).await, Err(JournalError::WriterGone)));
    assert!(journal.health().is_err());
}

#[tokio::test]
async fn a_hanging_disk_is_too_slow_and_the_journal_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, faults, metrics) = open_faulty(Settings {
        commit_deadline: Duration::from_millis(500),
        ..settings(dir.path())
    });
    faults.hang(true);
    let id = AuditId::new();
    assert!(matches!(journal.append(forwarded(id)).await, Err(JournalError::TooSlow(_))));
    assert!(journal.health().unwrap_err().contains("longer than 0.5 s"));
    assert_eq!(metrics.journal_healthy.get(), 0);
    faults.hang(false);
    let started = Instant::now();
    while journal.health().is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", journal.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(journal);
    let trail = trail(dir.path());
    let closed = trail.iter().find(|(_, e)| e.kind == Kind::Answer).unwrap();
    assert!(
        closed.1.id == id
            && std::str::from_utf8(&closed.1.leaf).unwrap().contains("was not forwarded"),
        "{trail:?}"
    );
}

#[tokio::test]
async fn a_write_outlives_its_waiter() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, faults, _) = open_faulty(settings(dir.path()));
    faults.hang(true);
    let left = AuditId::new();
    let waiting =
        tokio::time::timeout(Duration::from_millis(20), journal.append(forwarded(left))).await;
    assert!(waiting.is_err(), "cancelled while the disk hangs");
    faults.hang(false);
    journal.close().unwrap();
    drop(journal);
    assert_eq!(
        trail(dir.path()).iter().map(|(_, e)| (e.id, e.kind)).collect::<Vec<_>>(),
        [(left, Kind::Forwarded), (left, Kind::Answer)]
    );
}

#[tokio::test]
async fn a_full_queue_refuses_but_not_what_closes_an_exchange() {
    let dir = tempfile::tempdir().unwrap();
    let limits =
        Settings { queue_records_max: 2, queue_bytes_max: 100_000, ..settings(dir.path()) };
    let (journal, faults, _) = open_faulty(limits);
    let id = AuditId::new();
    journal.append(forwarded(id)).await.unwrap();
    faults.hang(true);
    journal.append_detached(event("in the writer's hands"));
    while faults.appends.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let large = with_content(event("large"), vec![0; 100_001]);
    assert!(matches!(journal.append(large).await, Err(JournalError::QueueFull)), "by bytes");
    journal.append_detached(event("1"));
    journal.append_detached(event("2"));
    assert!(matches!(journal.append(event("3")).await, Err(JournalError::QueueFull)), "by records");
    journal.append_detached(answer(id));
    faults.hang(false);
    drop(journal);
    assert_eq!(trail(dir.path()).len(), 5);
}

#[tokio::test]
async fn a_low_disk_takes_no_new_call_but_closes_open_ones() {
    let dir = tempfile::tempdir().unwrap();
    let id = AuditId::new();
    let (journal, _) = open(dir.path());
    journal.append(forwarded(id)).await.unwrap();
    drop(journal);
    let (journal, recovery) =
        Journal::open(Settings { free_bytes_min: u64::MAX, ..settings(dir.path()) }, metrics())
            .unwrap();
    assert_eq!(recovery.closed_unknown, 1);
    assert!(matches!(
        journal.append(forwarded(AuditId::new())).await,
        Err(JournalError::DiskLow { min: u64::MAX, .. })
    ));
    assert!(matches!(
        journal.append(Record { kind: Kind::Refused, ..forwarded(AuditId::new()) }).await,
        Err(JournalError::DiskLow { .. })
    ));
    journal.append(event("bundle")).await.unwrap();
    assert!(journal.health().unwrap_err().contains("Free some space"));
    assert!(journal.queue.metrics.journal_free_bytes.get() > 0);
}

#[tokio::test]
async fn no_acknowledgement_without_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (syncs, fail) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (store, opened) = SledStore::open(dir.path()).unwrap();
    let store = store.with_data_file(|inner| {
        Box::new(CountingFile { inner, syncs: syncs.clone(), fail: fail.clone() })
    });
    let (journal, _) = start(store, opened, dir.path()).unwrap();
    for n in 0..20 {
        let before = syncs.load(Ordering::SeqCst);
        journal.append(event(&n.to_string())).await.unwrap();
        assert!(syncs.load(Ordering::SeqCst) > before, "acknowledged before it was synced");
    }
    fail.store(true, Ordering::SeqCst);
    assert!(matches!(journal.append(event("unsynced")).await, Err(JournalError::Failed(_))));
}

#[test]
fn many_producers_share_commits_and_the_trail_is_dense() {
    let dir = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (journal, _) = open(dir.path());
    let journal = Arc::new(journal);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let journal = journal.clone();
            runtime.spawn(async move {
                let mut seqs = vec![];
                for _ in 0..20 {
                    let id = AuditId::new();
                    seqs.push((id, journal.append(forwarded(id)).await.unwrap().seq()));
                    journal.append(answer(id)).await.unwrap();
                }
                seqs
            })
        })
        .collect();
    let acked: Vec<_> =
        tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    let commits = journal.queue.metrics.commit_seconds.get_sample_count();
    assert!(commits < 64 * 40 / 2, "{commits} commits for 2,560 records");
    drop(journal);
    let trail = trail(dir.path());
    assert!(trail.iter().enumerate().all(|(n, (seq, _))| n as u64 == *seq));
    assert!(acked.iter().all(|(id, seq)| trail[*seq as usize].1.id == *id));
    assert_eq!(trail.len(), 64 * 40);
}

#[test]
fn the_journal_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Journal>();
}
