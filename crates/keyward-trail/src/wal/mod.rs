//! The growing end of the trail: frames of records and the bodies beside them, in sled. The only
//! module that names sled.
//!
//! One tree; the first byte of a key says what it holds:
//!
//! ```text
//! f | first seq u64be | count u16be   a frame
//! b | seq u64be | piece u16be         a piece of a record's content: zstd of salt and bytes, cut
//! s | first seq u64be | 0u16          a sealed segment: see `segment`
//! g | first seq u64be | 0u16          records that are gone: see `tombstone`
//! x | name                            meta: `schema`, `open_floor`, `rewrite`
//! ```
//!
//! What sled 0.34 does not do is done here. Its `flush` is `sync_file_range`, which promises
//! nothing after a power cut, so each append ends with an own `fdatasync` of the data file. Page
//! items above a quarter of a segment go to `blobs/` and are never synced, so segments are large,
//! values small, and a blob file is an error.

use self::blobs::Blobs;
pub(crate) use self::carve::{Piece, pieces};
use self::end::EndNote;
use self::engine::Engine;
pub(crate) use self::opening::{DECIDED, FOUNDING, RESTORING, check_restored, lock};
use self::opening::{
    ENGINE_THREADS, check_ended, check_whole, damaged, move_leftovers_aside, open_engine,
    sync_directories,
};
pub(crate) use self::place::gone;
use self::place::{Place, narrow};
use self::rewrite::rewritten;
pub(crate) use self::whole::{Examined, examine};
use crate::frame::{self, Encoder, FrameError};
use crate::segment::Sealed;
use crate::store::{Batch, CONTENT_BYTES_MAX, Frame, Frames, SCHEMA, Store, StoreError};
use crate::tombstone::{Tombstone, skip_tombstones};
use crate::zipped::unzip;
use keyward_core::threads;
use keyward_record::Content;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The places of frames' records, in order.
pub(crate) type Ranges<'a> = Box<dyn Iterator<Item = Result<Range<u64>, StoreError>> + 'a>;

/// The growing end of the trail: durable when it is appended, read in order, trimmed once it is
/// sealed. What is sealed, and what is gone, is noted beside it.
pub(crate) trait Wal: Store {
    /// Which records the frames have that end above `from`, without looking into them.
    fn ranges(&self, from: u64) -> Ranges<'_>;

    /// Removes some of the frames that end at or below `end`, and of the bodies below it. True
    /// while there may be more. Not synced: what comes back after a power cut is removed again.
    fn trim(&self, end: u64) -> Result<bool, StoreError>;

    /// All that is noted.
    fn manifest(&self) -> Result<Manifest, StoreError>;

    /// Notes something, durably. Called by other threads than the one that appends.
    fn note(&self, note: Note<'_>) -> Result<(), StoreError>;
}

/// What is noted beside the records.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// The sealed segments, in order.
    pub sealed: Vec<Sealed>,
    /// The records that are gone, in order.
    pub absent: Vec<Tombstone>,
}

/// Something to be noted.
pub(crate) enum Note<'a> {
    /// A segment whose files are durable and were compared with its records. From here on the files
    /// are the trail.
    Sealed(&'a Sealed),
    /// All records that are gone, in place of what was noted before, and of the notes of the
    /// segments that had them. From here on nobody looks for them.
    Tombstones(&'a [Tombstone]),
    /// The next opening is to write the engine's file anew.
    Rewrite,
}

/// Opens the directory, or makes it: see [`SledStore::open`].
pub(crate) fn open(dir: &Path) -> Result<(Box<dyn Wal>, Opened), StoreError> {
    let (wal, opened) = SledStore::open(dir)?;
    Ok((Box::new(wal), opened))
}

const SCHEMA_KEY: &[u8] = b"xschema";
const OPEN_FLOOR_KEY: &[u8] = b"xopen_floor";
const REWRITE_KEY: &[u8] = b"xrewrite";
const PIECE_BYTES_MAX: usize = frame::FRAME_BYTES_MAX;
const SALT_BYTES: usize = 32;

/// What makes the data file durable. A trait so that tests can count, delay and refuse it.
pub(crate) trait DataFile: Send + Sync {
    fn sync_data(&self) -> io::Result<()>;
}

impl DataFile for File {
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

/// The trail's directory, opened: `<dir>/trail/` is sled's, `<dir>/lock` says that it is in use.
pub struct SledStore {
    db: Engine,
    data: Box<dyn DataFile>,
    encoder: Mutex<Encoder>,
    trail: PathBuf,
    blobs: Blobs,
    end: EndNote,
    place: Place,
    /// Released last, when sled has let go of its files.
    _lock: File,
}

/// What was found while opening.
#[derive(Debug, Default)]
pub struct Opened {
    /// Bodies without a record, left by a batch that was cut, and removed.
    pub torn: u64,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

impl SledStore {
    /// Opens the directory, or makes it.
    ///
    /// # Errors
    /// When another process holds it, its disk is full, it was written by another version, or it is
    /// not whole: then it is as it was.
    pub fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        Self::open_if(dir, check_whole)
    }

    /// Opens a copy of a damaged one, of which the engine reads what it can and takes away the
    /// rest.
    fn open_copy(dir: &Path) -> Result<(Self, Opened), StoreError> {
        Self::open_if(dir, |_, _| Ok(()))
    }

    fn open_if(
        dir: &Path,
        check: fn(&Path, &Path) -> Result<(), StoreError>,
    ) -> Result<(Self, Opened), StoreError> {
        Self::open_inner(dir, check).map_err(|error| {
            if error.is_disk_full() { StoreError::DiskFull(dir.to_owned()) } else { error }
        })
    }

    fn open_inner(
        dir: &Path,
        check: fn(&Path, &Path) -> Result<(), StoreError>,
    ) -> Result<(Self, Opened), StoreError> {
        let dir = &std::path::absolute(dir).map_err(at(dir))?;
        let trail = dir.join("trail");
        if !trail.exists() && dir.join("segments").exists() {
            return Err(StoreError::NoStore(dir.clone()));
        }
        let missing = dir.ancestors().take_while(|path| !path.is_dir()).count();
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let lock = lock(dir)?;
        check_ended(dir)?;
        check(dir, &trail)?;
        threads::probe(ENGINE_THREADS)
            .map_err(|source| StoreError::Threads { dir: dir.clone(), source })?;
        narrow(dir);
        std::fs::create_dir_all(&trail).map_err(at(&trail))?;
        let give_up = || ballast::give_up(dir).map_err(at(dir));
        // Where nobody can say what is free, opening shows whether it is enough.
        let mut given_up =
            if ballast::free_bytes(dir).is_ok_and(|free| free < ballast::OPENING_BYTES) {
                give_up()?
            } else {
                0
            };
        let held = || lock.try_clone().map_err(at(dir));
        let (store, mut opened) = match Self::open_held(dir, &trail, missing, held()?) {
            // A quota, or blocks that are not for everybody.
            Err(error) if given_up == 0 && error.is_disk_full() => {
                given_up = give_up()?;
                if given_up == 0 {
                    return Err(error);
                }
                Self::open_held(dir, &trail, missing, held()?)?
            }
            tried => tried?,
        };
        if given_up > 0 {
            opened.notes.push(format!(
                "the disk of `{}` is full: its ballast of {given_up} bytes was given up so that the trail could be opened. Free some space on it: until \
                 then no call is taken, and the ballast is not there again",
                dir.display()
            ));
        }
        Ok((store, opened))
    }

    fn open_held(
        dir: &Path,
        trail: &Path,
        missing: usize,
        lock: File,
    ) -> Result<(Self, Opened), StoreError> {
        let mut opened = Opened { torn: 0, notes: move_leftovers_aside(dir, trail)? };
        let (db, rewritten) =
            rewritten(dir, trail, open_engine(trail).map_err(|source| damaged(dir, source))?)?;
        opened.notes.extend(rewritten);
        let data = data_file(trail)?;
        let encoder = Encoder::new().map_err(|source| StoreError::Frame { seq: 0, source })?;
        let db = Engine::new(db).map_err(at(trail))?;
        let store = Self {
            db,
            data: Box::new(data),
            encoder: Mutex::new(encoder),
            trail: trail.to_owned(),
            blobs: Blobs::open(trail)?,
            end: EndNote::new(trail),
            place: Place::new(dir, trail)?,
            _lock: lock,
        };
        store.check_schema()?;
        store.blobs.check_none()?;
        opened.torn = store.remove_torn_contents()?;
        if opened.torn > 0 {
            opened.notes.push(format!(
                "{} bodies without a record, left by a cut batch, were removed",
                opened.torn
            ));
        }
        sync_directories(trail, 2 + missing.max(1))?;
        Ok((store, opened))
    }

    /// Replaces the file that is synced.
    #[cfg(test)]
    pub(crate) fn with_data_file(
        mut self,
        wrap: impl FnOnce(Box<dyn DataFile>) -> Box<dyn DataFile>,
    ) -> Self {
        self.data = wrap(self.data);
        self
    }

    fn commit(&self, writes: sled::Batch) -> Result<(), StoreError> {
        self.commit_to(writes, &*self.data)
    }

    fn commit_to(&self, writes: sled::Batch, data: &dyn DataFile) -> Result<(), StoreError> {
        self.place.check()?;
        self.db.apply_and_flush(writes)?;
        // sled has handed all to the kernel, no more. What returns from here on survives a power
        // cut.
        data.sync_data().map_err(StoreError::Sync)?;
        self.blobs.check_none()
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        let found = match self.db.get(SCHEMA_KEY)? {
            Some(bytes) => bytes.as_ref().try_into().map_or(u32::MAX, u32::from_be_bytes),
            None if self.db.is_empty()
                && self.trail.parent().is_some_and(|dir| dir.join("segments").exists()) =>
            {
                return Err(StoreError::NoStore(
                    self.trail.parent().unwrap_or(&self.trail).to_owned(),
                ));
            }
            None if self.db.is_empty() => {
                let mut writes = sled::Batch::default();
                writes.insert(SCHEMA_KEY, &SCHEMA.to_be_bytes());
                self.commit(writes)?;
                SCHEMA
            }
            None => 0,
        };
        if found == SCHEMA { Ok(()) } else { Err(StoreError::Schema { found }) }
    }

    /// Where the frame begins that holds a record, by its key, or the one behind it; or what keeps
    /// that from being known.
    fn begin_of<T>(&self, seq: u64) -> (Option<Result<T, StoreError>>, u64) {
        match self
            .db
            .range(frame_key(0, 0).as_slice()..frame_key(seq, 0).as_slice())
            .keys()
            .next_back()
            .transpose()
        {
            Ok(before) => (
                None,
                before
                    .map(|key| records_of_key(&key))
                    .filter(|before| before.end > seq)
                    .map_or(seq, |before| before.start),
            ),
            Err(error) => (Some(Err(error.into())), seq),
        }
    }

    /// A batch is atomic, so there should be none. Were one left, its pieces could mix with a later
    /// record's.
    fn remove_torn_contents(&self) -> Result<u64, StoreError> {
        let Manifest { sealed, absent } = self.manifest()?;
        let sealed = skip_tombstones(&absent, sealed.last().map_or(0, Sealed::end));
        let next_seq = self
            .newest_first(u64::MAX)
            .next()
            .transpose()?
            .map_or(0, |frame| frame.end())
            .max(sealed);
        let mut writes = sled::Batch::default();
        let mut torn = std::collections::BTreeSet::new();
        for key in self
            .db
            .range(content_key(next_seq, 0).as_slice()..=content_key(u64::MAX, u16::MAX).as_slice())
            .keys()
        {
            let key = key?;
            torn.insert(seq_of_key(&key));
            writes.remove(key);
        }
        if !torn.is_empty() {
            self.commit(writes)?;
        }
        Ok(torn.len() as u64)
    }

    fn write_contents(
        encoder: &mut Encoder,
        contents: &[(u64, Content)],
        writes: &mut sled::Batch,
    ) -> Result<(), StoreError> {
        for (seq, content) in contents {
            let failed = |why: String| StoreError::Content { seq: *seq, why };
            if content.bytes.len() > CONTENT_BYTES_MAX {
                return Err(failed(format!(
                    "{} bytes, {CONTENT_BYTES_MAX} are the limit",
                    content.bytes.len()
                )));
            }
            let packed = encoder.compress(&[&content.salt, content.bytes.as_ref()].concat());
            let packed = packed
                .map_err(|e| StoreError::Frame { seq: *seq, source: FrameError::Compression(e) })?;
            for (piece, bytes) in (0..=u16::MAX).zip(packed.chunks(PIECE_BYTES_MAX)) {
                writes.insert(content_key(*seq, piece).as_slice(), bytes);
            }
        }
        Ok(())
    }
}

impl Store for SledStore {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        let mut seq = batch.first_seq;
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        for (count, bytes) in
            encoder.pack(seq, &batch.entries).map_err(|source| StoreError::Frame { seq, source })?
        {
            writes
                .insert(frame_key(seq, u16::try_from(count).unwrap_or(u16::MAX)).as_slice(), bytes);
            seq = seq.saturating_add(count as u64);
        }
        Self::write_contents(&mut encoder, &batch.contents, &mut writes)?;
        drop(encoder);
        if let Some(floor) = batch.open_floor {
            writes.insert(OPEN_FLOOR_KEY, &floor.to_be_bytes());
        }
        self.commit(writes)?;
        if !batch.entries.is_empty() {
            self.end.reached(seq);
        }
        Ok(())
    }

    fn newest_first(&self, end: u64) -> Frames<'_> {
        let below = self.db.range(frame_key(0, 0).as_slice()..frame_key(end, 0).as_slice());
        Box::new(below.rev().map(stored_frame))
    }

    fn oldest_first(&self, from: u64) -> Frames<'_> {
        let (failed, begin) = self.begin_of(from);
        let rest = self
            .db
            .range(frame_key(begin, 0).as_slice()..=frame_key(u64::MAX, u16::MAX).as_slice());
        Box::new(failed.into_iter().chain(rest.map(stored_frame)))
    }

    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError> {
        let mut packed = Vec::new();
        for piece in self.db.scan_prefix(&content_key(seq, 0)[..9]) {
            packed.extend_from_slice(&piece?.1);
        }
        if packed.is_empty() {
            return Ok(None);
        }
        let failed = |why: String| StoreError::Content { seq, why };
        let plain = unzip(&packed, CONTENT_BYTES_MAX + SALT_BYTES, None)
            .map_err(|e| failed(e.to_string()))?;
        let (salt, bytes) = plain
            .split_first_chunk::<SALT_BYTES>()
            .ok_or_else(|| failed("shorter than its salt".to_owned()))?;
        Ok(Some(Content { salt: *salt, bytes: bytes.to_vec().into() }))
    }

    fn missing(&self) -> Option<String> {
        self.place.missing()
    }

    fn open_floor(&self) -> Result<u64, StoreError> {
        let floor = self.db.get(OPEN_FLOOR_KEY)?;
        Ok(floor.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
    }
}

/// How many records a trail had for sure when it was closed last; 0 where that was not noted.
pub fn noted_end(dir: &Path) -> u64 {
    end::noted(&dir.join("trail"))
}

/// The file that sled writes to, opened once more. The system tells each opening of a failed write
/// once.
fn data_file(trail: &Path) -> Result<File, StoreError> {
    let path = trail.join("db");
    File::options().read(true).write(true).open(&path).map_err(at(&path))
}

fn stored_frame(item: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Frame, StoreError> {
    let (key, value) = item?;
    let first_seq = seq_of_key(&key);
    let failed = |source| StoreError::Frame { seq: first_seq, source };
    let (says, entries) = frame::decode(&value).map_err(failed)?;
    if says != first_seq
        || key.as_ref() != frame_key(first_seq, u16::try_from(entries.len()).unwrap_or(u16::MAX))
    {
        return Err(failed(FrameError::Damaged("key and content differ")));
    }
    Ok(Frame { first_seq, entries })
}

fn frame_key(first_seq: u64, count: u16) -> [u8; 11] {
    key(b'f', first_seq, count)
}

fn content_key(seq: u64, piece: u16) -> [u8; 11] {
    key(b'b', seq, piece)
}

fn key(prefix: u8, seq: u64, part: u16) -> [u8; 11] {
    let mut key = [prefix; 11];
    for (to, from) in
        key.iter_mut().skip(1).zip(seq.to_be_bytes().into_iter().chain(part.to_be_bytes()))
    {
        *to = from;
    }
    key
}

fn seq_of_key(key: &[u8]) -> u64 {
    key.get(1..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |seq| u64::from_be_bytes(*seq))
}

/// The records of a frame, by its key.
fn records_of_key(key: &[u8]) -> Range<u64> {
    let count = key
        .get(9..)
        .and_then(|count| count.first_chunk::<2>())
        .map_or(frame::FRAME_RECORDS_MAX as u64, |count| u64::from(u16::from_be_bytes(*count)));
    seq_of_key(key)..seq_of_key(key).saturating_add(count.max(1))
}

/// An error about a file or folder.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { path, source }
}

pub mod ballast;
mod carve;
mod blobs;
mod end;
mod engine;
mod log;
mod nudge;
mod opening;
mod place;
mod rewrite;
mod notes;
mod whole;

#[cfg(test)]
mod tests;
