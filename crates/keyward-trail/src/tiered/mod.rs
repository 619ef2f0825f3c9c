//! The trail as one: its unsealed end in sled, all before it in sealed segments.
//!
//! Records are appended to sled. Behind the writer, every 65,536 of them become a segment: flat
//! files, written, made durable, read back and compared; then a note in sled, and only then sled
//! lets go of them. From the note on the files are the trail; until then sled is. A crash anywhere
//! leaves one of the two whole.

mod derived;
mod erase;
mod frames;
mod prune;
mod seal;
mod snapshot;
mod sealer;
mod tail;

use self::sealer::Sealer;
use self::tail::{Handed, Tail};
use crate::index::file::{Cache, IndexFile};
use crate::index::{Index, Span};
use crate::metrics::Metrics;
use crate::segment::bodies::Bodies;
use crate::segment::dictionary::Dictionaries;
use crate::segment::records::Records;
use crate::segment::{BLOCK_RECORDS, SEGMENT_RECORDS, Sealed, SegmentError, path};
use crate::store::{Batch, CONTENT_BYTES_MAX, Frames, Store, StoreError};
use crate::tombstone::{Tombstone, skip_tombstones};
use crate::wal::{self, Manifest, Opened, Wal, gone};
use arc_swap::{ArcSwap, ArcSwapOption};
use keyward_core::clock::Timestamp;
use keyward_core::error_chain::error_chain;
use keyward_record::Content;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::derived::Differing;
pub use self::prune::{About, retold};
pub use self::seal::Pace;
pub use self::snapshot::Contents;

/// The whole trail of a directory.
pub struct TieredStore {
    shared: Arc<Shared>,
    /// Ends before the rest is let go.
    sealer: Option<Sealer>,
}

/// What readers, the writer and the sealer share.
struct Shared {
    wal: Box<dyn Wal>,
    dir: PathBuf,
    /// How many records make a segment.
    segment_records: u64,
    /// Without gaps, the oldest first. A segment is here before sled lets go of its records.
    segments: ArcSwap<Vec<Arc<Segment>>>,
    /// Records that are gone, in order.
    absent: ArcSwap<Vec<Tombstone>>,
    tail: Mutex<Tail>,
    handed: Handed,
    /// Held by whoever writes, replaces or removes segments.
    changing: Mutex<()>,
    /// Records below are durable.
    end: AtomicU64,
    /// Exchanges below are closed.
    open_floor: AtomicU64,
    dictionaries: Dictionaries,
    sets: Cache,
    /// How many looks were taken whether segments' files are there.
    looked: AtomicUsize,
}

/// A sealed segment, to be read.
struct Segment {
    records: Records,
    bodies: Bodies,
    index: ArcSwapOption<IndexFile>,
}

impl Segment {
    fn first_seq(&self) -> u64 {
        self.records.first_seq()
    }

    fn end(&self) -> u64 {
        self.records.first_seq().saturating_add(u64::from(self.records.count()))
    }
}

impl TieredStore {
    /// Opens a trail to read it, or makes an empty one. Nothing is sealed behind the reader's back.
    ///
    /// # Errors
    /// As [`SledStore::open`]; and when a sealed segment is missing or not the one that was sealed.
    pub fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        Self::open_with(dir, SEGMENT_RECORDS)
    }

    /// The same with segments of another length, at most 65,536 records; whole blocks.
    pub(super) fn open_with(
        dir: &Path,
        segment_records: u64,
    ) -> Result<(Self, Opened), StoreError> {
        let blocks = (segment_records.min(SEGMENT_RECORDS) / BLOCK_RECORDS as u64).max(1);
        let (shared, opened, lost) = Shared::open(dir, blocks * BLOCK_RECORDS as u64)?;
        match lost.into_iter().next() {
            Some(lost) => Err(lost),
            None => Ok((Self { shared: Arc::new(shared), sealer: None }, opened)),
        }
    }

    /// Opens a trail to examine what is left of it: segments that are lost are gaps. Also what is
    /// wrong with them.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    pub fn open_as_it_is(dir: &Path) -> Result<(Self, Vec<StoreError>), StoreError> {
        let (shared, opened, lost) = Shared::open(dir, SEGMENT_RECORDS)?;
        opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
        Ok((Self { shared: Arc::new(shared), sealer: None }, lost))
    }

    /// Starts a thread of low priority that seals what is complete, or older than `seal_after`,
    /// until the store is dropped.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start_sealing(
        &mut self,
        seal_after: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<(), StoreError> {
        let sealer = Sealer::start(Arc::clone(&self.shared), seal_after, metrics);
        self.sealer = Some(
            sealer.map_err(|source| StoreError::File { path: self.shared.dir.clone(), source })?,
        );
        Ok(())
    }

    /// Seals all that is complete, at once. For whoever has no sealer running.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub fn seal(&self) -> Result<(), StoreError> {
        let mut pace = Pace::without_rest();
        while self.shared.seal_next(&mut pace)? {}
        Ok(())
    }

    /// Makes the indexes anew: all, or those that are missing. Tells after each how many are done,
    /// and of how many.
    ///
    /// # Errors
    /// When records cannot be read, or an index cannot be written.
    pub fn reindex(
        &self,
        all: bool,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<usize, StoreError> {
        self.shared.reindex_all(all, &mut Pace::without_rest(), &mut progress)
    }

    /// The number of the first record that is not sealed.
    pub fn sealed_end(&self) -> u64 {
        self.shared.sealed_end()
    }
}

impl Drop for TieredStore {
    fn drop(&mut self) {
        // The sealer holds the directory too: it must have ended before somebody else may have it.
        drop(self.sealer.take());
    }
}

impl Shared {
    /// Opens a trail; apart from it, what is wrong with segments that are lost.
    fn open(
        dir: &Path,
        segment_records: u64,
    ) -> Result<(Self, Opened, Vec<StoreError>), StoreError> {
        let (wal, mut opened) = wal::open(dir)?;
        let dir = dir.join("segments");
        let (dictionaries, sets) = (Dictionaries::default(), Cache::default());
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let Manifest { sealed, absent } = wal.manifest()?;
        let (mut unindexed, mut lost, mut noted_end) = (0, Vec::new(), 0);
        for sealed in sealed {
            let missing = |first_seq, end: u64, why| StoreError::SegmentLost {
                first_seq,
                last_seq: end.saturating_sub(1),
                why,
            };
            let wanted = skip_tombstones(&absent, noted_end);
            if wanted != sealed.first_seq {
                lost.push(missing(
                    wanted,
                    sealed.first_seq,
                    "no segment is noted that has them".to_owned(),
                ));
            }
            noted_end = sealed.end();
            match open_segment(&dir, &sealed, &dictionaries, &sets) {
                Ok(segment) => {
                    if segment
                        .index
                        .load()
                        .as_ref()
                        .is_some_and(|index| Self::knows_what_is_gone(index, &absent))
                    {
                        segment.index.store(None);
                    }
                    unindexed += usize::from(segment.index.load().is_none());
                    segments.push(Arc::new(segment));
                }
                Err(error) => {
                    lost.push(missing(sealed.first_seq, sealed.end(), error_chain(&error)))
                }
            }
        }
        if unindexed > 0 {
            opened.notes.push(format!(
                "{unindexed} of {} segments have no usable index, and are read whenever something is asked; a gateway makes it by itself, `keyward audit reindex` at once",
                segments.len()
            ));
        }
        let sealed_end = skip_tombstones(&absent, noted_end);
        lost.extend(
            gap(&*wal, sealed_end, &absent)?
                .map(|gap| StoreError::Gap { first_seq: gap.start, last_seq: gap.end - 1 }),
        );
        let end = wal
            .newest_first(u64::MAX)
            .next()
            .transpose()?
            .map_or(0, |frame| frame.end())
            .max(sealed_end);
        let shared = Self {
            absent: ArcSwap::from_pointee(absent),
            open_floor: AtomicU64::new(wal.open_floor()?),
            tail: Mutex::new(Tail::new(sealed_end)),
            handed: Handed::default(),
            changing: Mutex::default(),
            end: AtomicU64::new(end),
            segments: ArcSwap::from_pointee(segments),
            segment_records,
            wal,
            dir,
            dictionaries,
            sets,
            looked: AtomicUsize::new(0),
        };
        Ok((shared, opened, lost))
    }

    /// The body beside a record.
    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError> {
        loop {
            let segments = self.segments.load();
            if let Some(segment) = frames::segment_of(&segments, seq) {
                let found =
                    segment.bodies.body((seq - segment.first_seq()) as u32, CONTENT_BYTES_MAX);
                if found.is_err() && !Arc::ptr_eq(&segments, &self.segments.load()) {
                    // It was pruned, or its bodies were written anew.
                    continue;
                }
                return Ok(found?);
            }
            let found = self.wal.content(seq)?;
            // A body that is not there may have been sealed since.
            if found.is_some() || Arc::ptr_eq(&segments, &self.segments.load()) {
                return Ok(found);
            }
        }
    }

    /// Records below are sealed, or gone.
    fn sealed_end(&self) -> u64 {
        skip_tombstones(
            &self.absent.load(),
            self.segments.load().last().map_or(0, |segment| segment.end()),
        )
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first records from a place on that are neither in the log nor noted as gone, though later
/// ones are there.
fn gap(wal: &dyn Wal, from: u64, absent: &[Tombstone]) -> Result<Option<Range<u64>>, StoreError> {
    let mut next = from;
    for records in wal.ranges(from) {
        let (records, wanted) = (records?, skip_tombstones(absent, next));
        if records.end > wanted && records.start > wanted {
            return Ok(Some(wanted..records.start));
        }
        next = next.max(records.end);
    }
    Ok(None)
}

/// Opens a segment and compares what its files say of themselves with what was noted when it was
/// sealed.
fn open_segment(
    dir: &Path,
    sealed: &Sealed,
    dictionaries: &Dictionaries,
    sets: &Cache,
) -> Result<Segment, SegmentError> {
    let (first_seq, count) = (sealed.first_seq, sealed.count);
    let records = path(dir, first_seq, "records");
    let other = |path: PathBuf| SegmentError::Damaged {
        path,
        why: "it is not the file that was sealed".to_owned(),
    };
    let opened = Records::open(&records, dictionaries)?;
    if (opened.first_seq(), opened.count(), opened.digest()) != (first_seq, count, sealed.records) {
        return Err(other(records));
    }
    erase::put_in_place(dir, sealed)?;
    let bodies = path(dir, first_seq, "bodies");
    let opened_bodies = Bodies::open(&bodies, first_seq, count, dictionaries)?;
    if opened_bodies.digest() != sealed.bodies {
        return Err(other(bodies));
    }
    let index = IndexFile::open(
        &path(dir, first_seq, "index"),
        first_seq,
        count,
        &sealed.records.sha256,
        sets.clone(),
    );
    Ok(Segment {
        records: opened,
        bodies: opened_bodies,
        index: ArcSwapOption::new(index.ok().map(Arc::new)),
    })
}

impl Store for TieredStore {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.wal.append(batch)?;
        if let Some(floor) = batch.open_floor {
            shared.open_floor.store(floor, Ordering::Release);
        }
        shared.end.fetch_max(
            batch.first_seq.saturating_add(batch.entries.len() as u64),
            Ordering::AcqRel,
        );
        if let Some(sealer) = &self.sealer {
            shared.handed.put(batch.first_seq, &batch.entries);
            sealer.wake();
        }
        Ok(())
    }

    fn newest_first(&self, end: u64) -> Frames<'_> {
        Box::new(self.shared.newest_first(end))
    }

    fn oldest_first(&self, from: u64) -> Frames<'_> {
        Box::new(self.shared.oldest_first(from))
    }

    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError> {
        self.shared.content(seq)
    }

    fn open_floor(&self) -> Result<u64, StoreError> {
        self.shared.wal.open_floor()
    }

    fn missing(&self) -> Option<String> {
        const LOOKS: usize = 16;
        let shared = &self.shared;
        let segments = shared.segments.load();
        let from = shared.looked.fetch_add(LOOKS, Ordering::Relaxed) % segments.len().max(1);
        let files = segments.iter().cycle().skip(from).take(LOOKS.min(segments.len()));
        let mut paths = files.flat_map(|segment| {
            ["records", "bodies"].map(|kind| path(&shared.dir, segment.first_seq(), kind))
        });
        // One that was pruned meanwhile is not looked for.
        let lost = paths
            .find(|path| !path.exists())
            .filter(|_| Arc::ptr_eq(&segments, &shared.segments.load()));
        shared.wal.missing().or_else(|| lost.map(|path| gone(&path)))
    }

    fn tombstones(&self) -> Vec<Tombstone> {
        self.shared.absent.load().to_vec()
    }

    fn spans(&self, end: u64) -> Vec<Span> {
        let shared = &self.shared;
        let mut tail = shared.tail();
        // An error shows again where the records are read.
        let _ = tail.follow(shared, shared.end.load(Ordering::Acquire));
        // Under the tail's lock no segment is published, so that the two fit together.
        let segments = shared.segments.load();
        let sealed = segments.iter().map(|segment| Span {
            range: segment.first_seq()..segment.end(),
            index: segment.index.load_full().map(|index| index as Arc<dyn Index>),
        });
        let mut spans: Vec<_> = sealed.chain(tail.spans()).collect();
        let seen = spans.last().map_or(0, |span| span.range.end);
        spans.push(Span { range: seen..u64::MAX, index: None });
        spans.retain_mut(|span| {
            span.range.end = span.range.end.min(end);
            !span.range.is_empty()
        });
        spans.reverse();
        spans
    }

    fn around(&self, time: Timestamp) -> Range<u64> {
        let segments = self.shared.segments.load();
        let before = segments.partition_point(|segment| segment.records.last_time() < time);
        match segments.get(before) {
            Some(segment) => segment.records.around(time),
            None => segments.last().map_or(0, |segment| segment.end())..u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests;
