//! `cargo bench --bench journal`: the journal alone, as it is and with the tree and its signed
//! checkpoints beside it, in one run, round by round, so that a noisy machine is noisy for both.
//! Ratios mean something, single figures little.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a mistake here should end the run"
)]

use keyward::evidence::{self, Evidence, OffHost};
use keyward::metrics::Metrics;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Kind, Record, canonical, leaf_hash};
use keyward_tlog::verify::{Options, verify};
use keyward_trail::journal::{Journal, Settings};
use keyward_trail::verify::Folder;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const SECONDS: f64 = 2.0;

/// An exchange's size, and about as compressible as one.
fn record(n: u64) -> Record {
    let (id, time) = (AuditId::new(), Timestamp::now());
    let salt: String =
        (0..8).map(|i| format!("{:016x}", (n + i).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let words = "the quick brown fox asks for a copy of a key pair; ".repeat(22);
    let leaf = json!({"v": 1, "kind": "event", "id": id.to_string(), "time": time.rfc3339(), "event": "bench", "detail": {"salt": salt, "words": words}});
    Record { id, kind: Kind::Event, time, leaf: canonical(&leaf), content: None }
}

fn open(dir: &Path, with_tree: bool) -> (Journal, Option<Evidence>) {
    let (settings, metrics) = (
        Settings { free_bytes_min: 1, ..Settings::new(dir.join("audit")) },
        Arc::new(Metrics::new().unwrap()),
    );
    if !with_tree {
        return (Journal::open(settings, Arc::clone(&metrics.trail)).unwrap().0, None);
    }
    let key_file = dir.join("evidence.key");
    let evidence = evidence::Settings {
        key_file,
        origin: Some("bench".to_owned()),
        every: Duration::from_secs(1),
        accept: None,
        off_host: OffHost::default(),
    };
    let (journal, _, evidence) = evidence::open(settings, &evidence, metrics).unwrap();
    (journal, Some(evidence))
}

/// Durable records a second, from so many closed loops.
fn measure(journal: &Journal, producers: usize) -> f64 {
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let count: u64 = std::thread::scope(|scope| {
        let producer = |producer: usize| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                runtime.block_on(journal.append(record(n * 64 + producer as u64))).unwrap();
                n += 1;
            }
            n
        };
        let producers: Vec<_> = (0..producers).map(|p| scope.spawn(move || producer(p))).collect();
        std::thread::sleep(Duration::from_secs_f64(SECONDS));
        over.store(true, Ordering::Relaxed);
        producers.into_iter().map(|p| p.join().unwrap()).sum()
    });
    count as f64 / begun.elapsed().as_secs_f64()
}

/// What a start and a verification cost on what one round has left.
fn read_back(dir: &Path) {
    let begun = Instant::now();
    let (journal, evidence) = open(dir, true);
    let start = begun.elapsed();
    let size = evidence.as_ref().unwrap().notary().board().newest().unwrap().size();
    drop((evidence, journal));
    let source = Folder::open(&dir.join("audit")).unwrap();
    for full in [false, true] {
        let begun = Instant::now();
        let report =
            verify(&source, &Options { full, ..Options::default() }, &mut |_, _| ()).unwrap();
        assert_eq!(report.status(), 0, "{}", report.text());
        let time = begun.elapsed().as_secs_f64();
        println!(
            "verify, {}: {} records read in {time:.3} s, {:.0} a second",
            if full { "full" } else { "quick" },
            report.read,
            report.read as f64 / time
        );
    }
    println!("a start on {size} records takes {:.0} ms", start.as_secs_f64() * 1e3);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let root =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{}", std::process::id()));
    let leaf = record(1).leaf;
    let begun = Instant::now();
    let hashed = (0..20_000_u32)
        .fold(0_u64, |sum, _| sum + u64::from(leaf_hash(std::hint::black_box(&leaf))[0]));
    println!(
        "a leaf of {} bytes is hashed in {:.2} us ({hashed:x})",
        leaf.len(),
        begun.elapsed().as_secs_f64() * 1e6 / 20_000.0
    );
    println!(
        "{:>9}  {:>15}  {:>15}  {:>22}",
        "producers", "journal, rec/s", "with tree", "ratio (least to most)"
    );
    for producers in [1, 8, 64] {
        let (mut plain, mut with_tree) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // The order changes, so that neither always comes after the other.
            for tree in [round % 2 == 0, round % 2 == 1] {
                let dir = root.join(format!("{producers}-{round}-{tree}"));
                std::fs::create_dir_all(&dir).unwrap();
                let (journal, evidence) = open(&dir, tree);
                let rate = measure(&journal, producers);
                journal.close().unwrap();
                drop((evidence, journal));
                if (producers, round, tree) == (64, ROUNDS - 1, true) {
                    read_back(&dir);
                }
                std::fs::remove_dir_all(&dir).unwrap();
                if tree { &mut with_tree } else { &mut plain }.push(rate);
            }
        }
        let mut ratios: Vec<_> =
            with_tree.iter().zip(&plain).map(|(tree, plain)| tree / plain).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "{producers:>9}  {:>15.0}  {:>15.0}  {:>8.2} ({least:.2} to {most:.2})",
            median(plain),
            median(with_tree),
            median(ratios)
        );
    }
    std::fs::remove_dir_all(&root).ok();
}
