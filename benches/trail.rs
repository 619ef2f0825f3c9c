//! The trail beside SQLite with equivalent indexes and beside a plain file: the same generated
//! records, commit by commit, in one run. Each engine makes every commit durable before the next
//! one begins. Ratios mean something; figures depend on the machine and on what else it does.
//!
//! `KEYWARD_BENCH_RECORDS` says how many records, 400,000 by default. `KEYWARD_BENCH_TRAIL` names a
//! trail that `keyward audit generate` has made: then only that one is opened and asked.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a measurement; whatever goes wrong should end it"
)]

use keyward::generate::{Options, Site, generate};
use keyward::metrics::Metrics;
use keyward_core::clock::Timestamp;
use keyward_record::{Content, Kind};
use keyward_trail::filter::Filter;
use keyward_trail::query::Reader;
use keyward_trail::store::{Batch, Frames, Store, StoreError};
use keyward_trail::tiered::TieredStore;
use rusqlite::{Connection, params};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Records in one commit: what waits while the commit before is synced, under load.
const COMMIT_RECORDS: usize = 64;
/// The page that is asked for.
const PAGE: usize = 100;
const ROUNDS: usize = 9;

fn main() {
    if let Some(dir) = std::env::var_os("KEYWARD_BENCH_TRAIL") {
        return ask(Path::new(&dir));
    }
    let records =
        std::env::var("KEYWARD_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(400_000);
    let dir =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-trail-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let site = Site::new().unwrap();
    let end = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
    appends(&dir, &site, records, end);
    questions(&dir);
    beside_sealing(&dir, &site, end);
    std::fs::remove_dir_all(&dir).ok();
}

/// Every commit goes to each engine in turn, so that whatever else the machine does meets all of
/// them.
struct Engines {
    trail: TieredStore,
    sqlite: Mutex<Connection>,
    file: Mutex<File>,
    /// Seconds of commits: trail, its sealing, SQLite, file.
    spent: Mutex<[f64; 4]>,
}

impl Store for Engines {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut contents = batch.contents.iter().peekable();
        for (n, entries) in batch.entries.chunks(COMMIT_RECORDS).enumerate() {
            let first_seq = batch.first_seq + (n * COMMIT_RECORDS) as u64;
            let end = first_seq + entries.len() as u64;
            let mut part = Batch { first_seq, entries: entries.to_vec(), ..Batch::default() };
            while let Some(content) = contents.next_if(|(seq, _)| *seq < end) {
                part.contents.push(content.clone());
            }
            part.open_floor =
                batch.open_floor.filter(|_| end == batch.first_seq + batch.entries.len() as u64);
            let rows = rows(&part);
            let mut took = [0.0; 4];
            let timed = |slot: &mut f64, work: &mut dyn FnMut()| {
                let begun = Instant::now();
                work();
                *slot = begun.elapsed().as_secs_f64();
            };
            timed(&mut took[0], &mut || self.trail.append(&part).unwrap());
            timed(&mut took[1], &mut || self.trail.seal().unwrap());
            timed(&mut took[2], &mut || insert(&mut self.sqlite.lock().unwrap(), &rows));
            timed(&mut took[3], &mut || append_file(&mut self.file.lock().unwrap(), &part));
            self.spent.lock().unwrap().iter_mut().zip(took).for_each(|(all, took)| *all += took);
        }
        Ok(())
    }

    fn newest_first(&self, end: u64) -> Frames<'_> {
        self.trail.newest_first(end)
    }

    fn oldest_first(&self, from: u64) -> Frames<'_> {
        self.trail.oldest_first(from)
    }

    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError> {
        self.trail.content(seq)
    }

    fn open_floor(&self) -> Result<u64, StoreError> {
        self.trail.open_floor()
    }
}

/// A record as SQLite has it: the columns are read before the clock runs.
struct Row {
    seq: i64,
    time: i64,
    kind: Kind,
    id: String,
    leaf: Vec<u8>,
    body: Option<Vec<u8>>,
    fields: [Option<String>; 9],
    status: Option<i64>,
}

fn rows(batch: &Batch) -> Vec<Row> {
    let mut contents = batch.contents.iter().peekable();
    (batch.first_seq..)
        .zip(&batch.entries)
        .map(|(seq, entry)| {
            let json: Value = serde_json::from_slice(&entry.leaf).unwrap();
            let text =
                |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let project = text("/resource/parent/id").or_else(|| text("/resource/id"));
            let fields = [
                text("/caller/name"),
                text("/call/action"),
                text("/call/service"),
                text("/resource/id"),
                project,
                text("/decision/verdict"),
                text("/decision/reason"),
                text("/source/address"),
                text("/outcome")
                    .or_else(|| (entry.kind == Kind::Refused).then(|| "refused".to_owned())),
            ];
            let body =
                contents.next_if(|(at, _)| *at == seq).map(|(_, content)| content.bytes.to_vec());
            let status = json.get("status").and_then(Value::as_i64);
            Row {
                seq: seq as i64,
                time: entry.time.0 as i64,
                kind: entry.kind,
                id: entry.id.to_string(),
                leaf: entry.leaf.to_vec(),
                body,
                fields,
                status,
            }
        })
        .collect()
}

fn open_sqlite(dir: &Path) -> Connection {
    let connection = Connection::open(dir.join("trail.sqlite")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             CREATE TABLE IF NOT EXISTS exchanges (seq INTEGER PRIMARY KEY, time INTEGER, id TEXT, caller TEXT, action TEXT, service TEXT, resource TEXT,
               project TEXT, decision TEXT, reason TEXT, source TEXT, outcome TEXT, status INTEGER, answer INTEGER, leaf BLOB, body BLOB);
             CREATE TABLE IF NOT EXISTS answers (seq INTEGER PRIMARY KEY, time INTEGER, leaf BLOB, body BLOB);
             CREATE UNIQUE INDEX IF NOT EXISTS by_id ON exchanges (id); CREATE INDEX IF NOT EXISTS by_time ON exchanges (time);
             CREATE INDEX IF NOT EXISTS by_caller ON exchanges (caller); CREATE INDEX IF NOT EXISTS by_action ON exchanges (action);
             CREATE INDEX IF NOT EXISTS by_service ON exchanges (service); CREATE INDEX IF NOT EXISTS by_resource ON exchanges (resource);
             CREATE INDEX IF NOT EXISTS by_project ON exchanges (project); CREATE INDEX IF NOT EXISTS by_decision ON exchanges (decision);
             CREATE INDEX IF NOT EXISTS by_reason ON exchanges (reason); CREATE INDEX IF NOT EXISTS by_source ON exchanges (source);
             CREATE INDEX IF NOT EXISTS by_outcome ON exchanges (outcome); CREATE INDEX IF NOT EXISTS by_status ON exchanges (status);",
        )
        .unwrap();
    connection
}

fn insert(connection: &mut Connection, rows: &[Row]) {
    let transaction = connection.transaction().unwrap();
    {
        let mut request =
            transaction.prepare_cached("INSERT INTO exchanges VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, NULL, ?14, ?15)").unwrap();
        let mut answer =
            transaction.prepare_cached("INSERT INTO answers VALUES (?1, ?2, ?3, ?4)").unwrap();
        let mut settle = transaction
            .prepare_cached(
                "UPDATE exchanges SET outcome = ?2, status = ?3, answer = ?4 WHERE id = ?1",
            )
            .unwrap();
        for row in rows {
            let f = &row.fields;
            if row.kind == Kind::Answer {
                answer.execute(params![row.seq, row.time, row.leaf, row.body]).unwrap();
                settle.execute(params![row.id, f[8], row.status, row.seq]).unwrap();
            } else if row.kind != Kind::Event {
                request
                    .execute(params![
                        row.seq, row.time, row.id, f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7],
                        f[8], row.status, row.leaf, row.body
                    ])
                    .unwrap();
            }
        }
    }
    transaction.commit().unwrap();
}

fn append_file(file: &mut File, batch: &Batch) {
    let mut lines = Vec::new();
    for entry in &batch.entries {
        lines.extend_from_slice(&entry.leaf);
        lines.push(b'\n');
    }
    for (_, content) in &batch.contents {
        lines.extend_from_slice(&content.bytes);
        lines.push(b'\n');
    }
    file.write_all(&lines).unwrap();
    file.sync_data().unwrap();
}

fn appends(dir: &Path, site: &Site, records: u64, end: Timestamp) {
    let file = File::create(dir.join("trail.ndjson")).unwrap();
    let engines = Engines {
        trail: TieredStore::open(&dir.join("trail")).unwrap().0,
        sqlite: Mutex::new(open_sqlite(dir)),
        file: Mutex::new(file),
        spent: Mutex::new([0.0; 4]),
    };
    let made = generate(&engines, site, Options { records, seed: 1, end }, |_| ()).unwrap();
    let spent = *engines.spent.lock().unwrap();
    drop(engines);
    let rate = |seconds: f64| records as f64 / seconds;
    println!(
        "{records} records, {} MB before compression; commits of {COMMIT_RECORDS}, each durable\n",
        made.bytes / 1_000_000
    );
    println!("{:34}  {:>10}  {:>7}  {:>9}  {:>8}", "", "records/s", "ratio", "disk MB", "of raw");
    let disk = [
        size(&dir.join("trail")),
        size(&dir.join("trail.sqlite")) + size(&dir.join("trail.sqlite-wal")),
        size(&dir.join("trail.ndjson")),
    ];
    for (name, seconds, disk) in [
        ("plain file, fdatasync", spent[3], disk[2]),
        ("keyward", spent[0], disk[0]),
        ("keyward, its sealing added", spent[0] + spent[1], disk[0]),
        ("SQLite, WAL, synchronous = FULL", spent[2], disk[1]),
    ] {
        println!(
            "{name:34}  {:>10.0}  {:>7.2}  {:>9}  {:>8.2}",
            rate(seconds),
            spent[3] / seconds,
            disk / 1_000_000,
            disk as f64 / made.bytes as f64
        );
    }
}

fn size(path: &Path) -> u64 {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            std::fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum()
        }
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut took: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[ROUNDS / 2]
}

/// What auditors ask: as an expression, and in SQL.
fn asked(reader: &Reader) -> Vec<(String, String)> {
    let middle = |by: &str, share: f64| {
        let groups = reader.count(&Filter::default(), Some(by)).unwrap().groups;
        groups[((groups.len() - 1) as f64 * share) as usize].0.clone()
    };
    let (caller, project, resource) =
        (middle("caller", 0.3), middle("project", 0.2), middle("resource", 0.05));
    let month = |text: &str| format!("{text} and time >= 2026-10-01");
    let since = Timestamp::parse("2026-10-01T00:00:00Z").unwrap().0;
    let sql_month = |text: &str| format!("{text} AND time >= {since}");
    vec![
        (format!("caller = {caller}"), format!("caller = '{caller}'")),
        (month(&format!("caller = {caller}")), sql_month(&format!("caller = '{caller}'"))),
        ("decision = deny".to_owned(), "decision = 'deny'".to_owned()),
        (month("reason = policy-forbids"), sql_month("reason = 'policy-forbids'")),
        (
            format!("action = huawei.kps.CreateKeypair and project = {project}"),
            format!("action = 'huawei.kps.CreateKeypair' AND project = '{project}'"),
        ),
        ("status = 500".to_owned(), "status = 500".to_owned()),
        (format!("resource = {resource}"), format!("resource = '{resource}'")),
        ("outcome = unknown".to_owned(), "outcome = 'unknown'".to_owned()),
        (
            format!(
                "decision = deny and (action = huawei.ims.* or caller in ({caller}, atlas-keys)) and not reason = caller-unknown"
            ),
            format!(
                "decision = 'deny' AND (action >= 'huawei.ims.' AND action < 'huawei.ims/' OR caller IN ('{caller}', 'atlas-keys')) AND reason <> 'caller-unknown'"
            ),
        ),
        ("service = huawei.kps".to_owned(), "service = 'huawei.kps'".to_owned()),
    ]
}

/// One trail alone: how fast it opens and answers, and what that takes.
fn ask(dir: &Path) {
    let begun = Instant::now();
    let reader = Reader::open(dir).unwrap();
    let opened = begun.elapsed();
    let begun = Instant::now();
    let total = reader.count(&Filter::default(), None).unwrap().total;
    println!(
        "opened in {:.2} s, {total} exchanges counted first in {:.2} s; resident {} MB",
        opened.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        resident()
    );
    println!(
        "\n{:>9}  {:>11} {:>9}  {:>11} {:>9}  question; microseconds, medians of {ROUNDS}",
        "matches", "count first", "again", "page first", "again"
    );
    for (expression, _) in asked(&reader) {
        let filter = Filter::parse([("where", &expression)]).unwrap();
        let begun = Instant::now();
        let matches = reader.count(&filter, None).unwrap().total;
        let (first_count, begun) = (begun.elapsed(), Instant::now());
        let page = reader.query(&filter, PAGE, None).unwrap();
        let first_page = begun.elapsed();
        assert_eq!(page.exchanges.len() as u64, matches.min(PAGE as u64));
        let count = median(|| assert_eq!(reader.count(&filter, None).unwrap().total, matches));
        let page = median(|| drop(reader.query(&filter, PAGE, None).unwrap()));
        let micros = |duration: Duration| duration.as_micros();
        println!(
            "{matches:>9}  {:>11} {:>9}  {:>11} {:>9}  {expression}",
            micros(first_count),
            micros(count),
            micros(first_page),
            micros(page)
        );
    }
    let show = reader.query(&Filter::default(), 1000, None).unwrap().exchanges.last().unwrap().id;
    println!(
        "one exchange by its id: {} us",
        median(|| assert!(reader.show(show).unwrap().is_some())).as_micros()
    );
    println!(
        "an id that is not there: {} us",
        median(|| assert!(reader.show(keyward_core::clock::AuditId::new()).unwrap().is_none()))
            .as_micros()
    );
    for by in ["caller", "reason", "policy", "resource"] {
        println!(
            "counts of all by {by}: {} us",
            median(|| drop(reader.count(&Filter::default(), Some(by)).unwrap())).as_micros()
        );
    }
    for step in ["1d", "1h"] {
        let filter = Filter::parse([("decision", "deny")]).unwrap();
        println!(
            "denials by {step}: {} us",
            median(|| drop(reader.histogram(&filter, step).unwrap())).as_micros()
        );
    }
    println!("resident {} MB", resident());
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn questions(dir: &Path) {
    let begun = Instant::now();
    let reader = Reader::open(&dir.join("trail")).unwrap();
    let opened = begun.elapsed();
    let connection = open_sqlite(dir);
    println!("\nopened in {:.2} s; medians of {ROUNDS}, in microseconds\n", opened.as_secs_f64());
    println!(
        "{:>9}  {:>9} {:>9} {:>7}  {:>9} {:>9} {:>7}  question",
        "matches", "count", "SQLite", "times", "page", "SQLite", "times"
    );
    for (expression, sql) in asked(&reader) {
        let filter = Filter::parse([("where", &expression)]).unwrap();
        let mut count =
            connection.prepare(&format!("SELECT count(*) FROM exchanges WHERE {sql}")).unwrap();
        let mut page = connection
            .prepare(
                &format!("SELECT e.leaf, a.leaf FROM exchanges e LEFT JOIN answers a ON a.seq = e.answer WHERE {sql} ORDER BY e.seq DESC LIMIT {PAGE}")
                    .replace(" time >=", " e.time >="),
            )
            .unwrap();
        let matches = reader.count(&filter, None).unwrap().total;
        let wanted: i64 = count.query_row([], |row| row.get(0)).unwrap();
        assert_eq!(matches as i64, wanted, "{expression}");
        let counted = median(|| assert_eq!(reader.count(&filter, None).unwrap().total, matches));
        let counted_sql =
            median(|| assert_eq!(count.query_row([], |row| row.get::<_, i64>(0)).unwrap(), wanted));
        let shown = median(|| {
            assert_eq!(
                reader.query(&filter, PAGE, None).unwrap().exchanges.len() as u64,
                matches.min(PAGE as u64)
            )
        });
        // Both give parsed records.
        let shown_sql = median(|| {
            let mut rows = page.query([]).unwrap();
            let mut found = 0;
            while let Some(row) = rows.next().unwrap() {
                for column in 0..2 {
                    if let Some(leaf) = row.get::<_, Option<Vec<u8>>>(column).unwrap() {
                        serde_json::from_slice::<Value>(&leaf).unwrap();
                    }
                }
                found += 1;
            }
            assert_eq!(found, matches.min(PAGE as u64));
        });
        let times = |ours: Duration, theirs: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
        println!(
            "{matches:>9}  {:>9} {:>9} {:>7.1}  {:>9} {:>9} {:>7.1}  {expression}",
            counted.as_micros(),
            counted_sql.as_micros(),
            times(counted, counted_sql),
            shown.as_micros(),
            shown_sql.as_micros(),
            times(shown, shown_sql)
        );
    }
    let begun = Instant::now();
    let lines = std::fs::read(dir.join("trail.ndjson")).unwrap();
    let found = lines
        .split(|b| *b == b'\n')
        .filter(|line| line.windows(16).any(|w| w == b"\"verdict\":\"deny\""))
        .count();
    println!(
        "\nreading the plain file for `decision = deny`: {found} found in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
}

/// Commits without and with a sealer at work beside them, in turn.
fn beside_sealing(dir: &Path, site: &Site, end: Timestamp) {
    let batches = Mutex::new(Vec::new());
    struct Kept<'a>(&'a Mutex<Vec<Batch>>);
    impl Store for Kept<'_> {
        fn append(&self, batch: &Batch) -> Result<(), StoreError> {
            for (n, entries) in batch.entries.chunks(COMMIT_RECORDS).enumerate() {
                let first_seq = batch.first_seq + (n * COMMIT_RECORDS) as u64;
                self.0.lock().unwrap().push(Batch {
                    first_seq,
                    entries: entries.to_vec(),
                    open_floor: Some(first_seq),
                    ..Batch::default()
                });
            }
            Ok(())
        }
        fn newest_first(&self, _: u64) -> Frames<'_> {
            Box::new(std::iter::empty())
        }
        fn oldest_first(&self, _: u64) -> Frames<'_> {
            Box::new(std::iter::empty())
        }
        fn content(&self, _: u64) -> Result<Option<Content>, StoreError> {
            Ok(None)
        }
        fn open_floor(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
    }
    generate(&Kept(&batches), site, Options { records: 220_000, seed: 2, end }, |_| ()).unwrap();
    let batches = batches.into_inner().unwrap();
    println!(
        "\n{:24}  {:>10}  {:>8}  {:>8}  {:>14}",
        "commits of 64 records", "records/s", "p50 us", "p99 us", "sealed meanwhile"
    );
    for round in 0..3 {
        for sealing in [false, true] {
            let dir = dir.join(format!("beside-{round}-{sealing}"));
            // Three segments wait when the clock begins, so that there is something to seal.
            let (before, timed) = batches.split_at(batches.len() * 9 / 10);
            let store = TieredStore::open(&dir).unwrap().0;
            before.iter().for_each(|batch| store.append(batch).unwrap());
            drop(store);
            let metrics = Arc::clone(&Metrics::new().unwrap().trail);
            let mut store = TieredStore::open(&dir).unwrap().0;
            if sealing {
                store.start_sealing(Duration::MAX, metrics).unwrap();
            }
            let mut took: Vec<_> = timed
                .iter()
                .map(|batch| {
                    let begun = Instant::now();
                    store.append(batch).unwrap();
                    begun.elapsed()
                })
                .collect();
            let all: Duration = took.iter().sum();
            took.sort_unstable();
            let records: usize = timed.iter().map(|batch| batch.entries.len()).sum();
            println!(
                "{:24}  {:>10.0}  {:>8}  {:>8}  {:>14}",
                if sealing { "with a sealer at work" } else { "alone" },
                records as f64 / all.as_secs_f64(),
                took[took.len() / 2].as_micros(),
                took[took.len() * 99 / 100].as_micros(),
                store.sealed_end()
            );
            drop(store);
            std::fs::remove_dir_all(&dir).ok();
        }
    }
}
