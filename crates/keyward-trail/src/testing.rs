//! What the tests of this directory share: records, and a store that can be made to fail, hang and
//! count.

use crate::journal::{Journal, JournalError, Recovery, Settings};
use crate::metrics::Metrics;
use crate::store::{Batch, Frames, Store, StoreError};
use crate::wal::{DataFile, Opened, SledStore};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Content, Kind, Record, canonical};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

pub fn record(id: AuditId, kind: Kind, mut leaf: Value) -> Record {
    let time = Timestamp::now();
    leaf["v"] = json!(1);
    leaf["id"] = json!(id.to_string());
    leaf["time"] = json!(time.rfc3339());
    leaf["kind"] = json!(match kind {
        Kind::Forwarded | Kind::Refused => "request",
        Kind::Answer => "answer",
        Kind::Event => "event",
    });
    Record { id, kind, time, leaf: canonical(&leaf), content: None }
}

pub fn forwarded(id: AuditId) -> Record {
    record(id, Kind::Forwarded, json!({"call": {"service": "huawei.kps"}}))
}

pub fn answer(id: AuditId) -> Record {
    record(id, Kind::Answer, json!({"outcome": "succeeded", "status": 200}))
}

pub fn event(name: &str) -> Record {
    record(AuditId::new(), Kind::Event, json!({"event": name}))
}

pub fn with_content(mut record: Record, bytes: impl Into<bytes::Bytes>) -> Record {
    record.content = Some(Content::new(bytes.into()).unwrap());
    record
}

pub fn settings(dir: &Path) -> Settings {
    Settings { free_bytes_min: 1, ..Settings::new(dir) }
}

pub fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&prometheus::Registry::new()).unwrap())
}

pub fn open(dir: &Path) -> (Journal, Recovery) {
    Journal::open(settings(dir), metrics()).unwrap()
}

pub fn open_faulty(settings: Settings) -> (Journal, Arc<Faults>, Arc<Metrics>) {
    let (store, opened) = SledStore::open(&settings.dir).unwrap();
    let faults = Arc::new(Faults::default());
    let store = Faulty { inner: store, faults: faults.clone() };
    let metrics = metrics();
    let (journal, _) = Journal::start(Arc::new(store), opened, settings, metrics.clone()).unwrap();
    (journal, faults, metrics)
}

pub fn start(
    store: SledStore,
    opened: Opened,
    dir: &Path,
) -> Result<(Journal, Recovery), JournalError> {
    Journal::start(Arc::new(store), opened, settings(dir), metrics())
}

/// Every entry of a store, with its sequence number.
pub fn entries(store: &dyn Store) -> Vec<(u64, keyward_record::Entry)> {
    let frames: Result<Vec<_>, _> = store.oldest_first(0).collect();
    frames.unwrap().into_iter().flat_map(|frame| (frame.first_seq..).zip(frame.entries)).collect()
}

/// Switches of a [`Faulty`] store.
#[derive(Default)]
pub struct Faults {
    /// The next append fails.
    pub fail: AtomicBool,
    /// The next append panics.
    pub panic: AtomicBool,
    /// Appends that were begun.
    pub appends: AtomicU64,
    hang: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    pub fn hang(&self, hang: bool) {
        *self.hang.lock().unwrap() = hang;
        self.released.notify_all();
    }
}

struct Faulty {
    inner: SledStore,
    faults: Arc<Faults>,
}

impl Store for Faulty {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.faults.appends.fetch_add(1, Ordering::SeqCst);
        let hang = self.faults.hang.lock().unwrap();
        drop(self.faults.released.wait_while(hang, |hang| *hang).unwrap());
        assert!(!self.faults.panic.load(Ordering::SeqCst), "asked to panic");
        if self.faults.fail.load(Ordering::SeqCst) {
            return Err(StoreError::Sync(std::io::Error::other("asked to fail")));
        }
        self.inner.append(batch)
    }

    fn newest_first(&self, end: u64) -> Frames<'_> {
        self.inner.newest_first(end)
    }

    fn oldest_first(&self, from: u64) -> Frames<'_> {
        self.inner.oldest_first(from)
    }

    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError> {
        self.inner.content(seq)
    }

    fn open_floor(&self) -> Result<u64, StoreError> {
        self.inner.open_floor()
    }
}

/// A data file that counts its syncs, and fails them when asked.
pub struct CountingFile {
    pub inner: Box<dyn DataFile>,
    pub syncs: Arc<AtomicU64>,
    pub fail: Arc<AtomicBool>,
}

impl DataFile for CountingFile {
    fn sync_data(&self) -> std::io::Result<()> {
        if self.fail.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("asked to fail"));
        }
        self.inner.sync_data()?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
