//! Taking bodies out of sealed segments: their file is written anew without them. The records stay,
//! and with them the salted hash of what was there, of which nothing can be guessed without the
//! salt that goes too.

use super::Pace;
use super::{Segment, Shared, TieredStore, frames, open_segment};
use crate::segment::bodies::BodiesWriter;
use crate::segment::dictionary::train;
use crate::segment::{Sealed, SegmentError, output, path};
use crate::store::{CONTENT_BYTES_MAX, StoreError};
use crate::wal::Note;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file of bodies that takes the place of another once the store has noted it.
const ANEW: &str = "bodies-new";

impl TieredStore {
    /// Seals all records below `wanted`, although no segment is full; what comes meanwhile waits
    /// for the next segment. False, and nothing is sealed, while an exchange that began below
    /// is open.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub fn seal_below(&self, wanted: u64) -> Result<bool, StoreError> {
        let shared = &self.shared;
        if shared.open_floor.load(Ordering::Acquire) >= wanted {
            while shared.sealed_end() < wanted && shared.seal_early(&mut Pace::without_rest())? {}
        }
        Ok(shared.sealed_end() >= wanted)
    }

    /// Erases the bodies beside these records, which must be sealed, durably. How many there were.
    /// They are records of one exchange, whose request is the record `request`, or of several
    /// that stand in one segment.
    ///
    /// The engine's own file keeps what was in it before it was sealed until it is written anew, at
    /// the next start.
    ///
    /// # Errors
    /// When a record is not sealed, or the store or the disk fails: then some may be erased, and it
    /// can be tried again. What was made of a body goes before the body does, so that whoever
    /// finds no body has nothing left to do.
    pub fn erase(&self, seqs: &BTreeSet<u64>, request: u64) -> Result<u64, StoreError> {
        let shared = &self.shared;
        let _changing = shared.change();
        let mut places: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        for seq in seqs {
            let segment = shared.segment_of(*seq).ok_or(StoreError::NotSealed(*seq))?;
            let place = (seq - segment.first_seq()) as u32;
            if segment.bodies.body(place, CONTENT_BYTES_MAX)?.is_some() {
                places.entry(segment.first_seq()).or_default().insert(place);
            }
        }
        if places.is_empty() {
            return Ok(0);
        }
        // Sled lets go of what is sealed first: what is still in it then is not in its new file.
        shared.let_go(&mut Pace::without_rest())?;
        shared.wal.note(Note::Rewrite)?;
        // Keyed digests of what is in the bodies stand in the indexes of their segments, and of
        // their request's.
        let indexes: BTreeSet<u64> = places
            .keys()
            .copied()
            .chain(shared.segment_of(request).map(|segment| segment.first_seq()))
            .collect();
        places.keys().try_for_each(|first_seq| shared.forget_dictionary(*first_seq))?;
        indexes.iter().try_for_each(|first_seq| shared.forget_index(*first_seq))?;
        for (first_seq, places) in &places {
            shared.write_bodies_anew(*first_seq, places)?;
        }
        for segment in indexes.iter().filter_map(|first_seq| shared.segment_of(*first_seq)) {
            shared.reindex(&segment, &mut Pace::without_rest())?;
        }
        Ok(places.values().map(|places| places.len() as u64).sum())
    }
}

impl Shared {
    pub(super) fn segment_of(&self, seq: u64) -> Option<Arc<Segment>> {
        frames::segment_of(&self.segments.load(), seq).cloned()
    }

    /// A dictionary is made of pieces of bodies, perhaps of one that is to be erased: all who share
    /// it with this segment do without. The segment itself comes last, when its bodies go, so
    /// that it can be asked again whose dictionary that was.
    fn forget_dictionary(&self, first_seq: u64) -> Result<(), StoreError> {
        let Some(erased) = self.segment_of(first_seq) else { return Ok(()) };
        let bytes = erased.bodies.dictionary().bytes();
        let sharing = |segment: &&Arc<Segment>| {
            segment.first_seq() != first_seq
                && !bytes.is_empty()
                && segment.bodies.dictionary().bytes() == bytes
        };
        let segments = self.segments.load_full();
        segments
            .iter()
            .filter(sharing)
            .try_for_each(|segment| self.write_bodies_anew(segment.first_seq(), &BTreeSet::new()))
    }

    /// Removes an index, durably. Where there is none a start makes it anew.
    fn forget_index(&self, first_seq: u64) -> Result<(), StoreError> {
        let file = path(&self.dir, first_seq, "index");
        output::remove(&file)?;
        output::sync(&self.dir)?;
        self.segment_of(first_seq).into_iter().for_each(|segment| segment.index.store(None));
        Ok(())
    }

    /// Writes the bodies of a segment anew, without some of them and without a dictionary.
    fn write_bodies_anew(&self, first_seq: u64, without: &BTreeSet<u32>) -> Result<(), StoreError> {
        let segment = self.segment_of(first_seq).ok_or(StoreError::NotSealed(first_seq))?;
        let count = segment.records.count();
        let new = path(&self.dir, first_seq, ANEW);
        let none = self
            .dictionaries
            .share(train(&[]))
            .map_err(|source| SegmentError::Io { path: new.clone(), source })?;
        let mut writer = BodiesWriter::create(&new, first_seq, &none)?;
        for place in 0..count {
            let body = segment.bodies.body(place, CONTENT_BYTES_MAX)?;
            writer.push(body.filter(|_| !without.contains(&place)).as_ref())?;
        }
        let sealed = Sealed {
            first_seq,
            count,
            records: segment.records.digest(),
            bodies: writer.finish()?,
        };
        // From the note on the new file is the one that counts; the next start ends what a crash
        // cuts here.
        self.wal.note(Note::Sealed(&sealed))?;
        put_in_place(&self.dir, &sealed)?;
        let anew = Arc::new(open_segment(&self.dir, &sealed, &self.dictionaries, &self.sets)?);
        let _tail = self.tail();
        let replaced = self
            .segments
            .load()
            .iter()
            .map(
                |old| {
                    if old.first_seq() == first_seq { Arc::clone(&anew) } else { Arc::clone(old) }
                },
            )
            .collect();
        self.segments.store(Arc::new(replaced));
        Ok(())
    }
}

/// Puts a file of bodies that was written anew in its place, if it is there and is the one that is
/// noted.
pub(super) fn put_in_place(dir: &Path, sealed: &Sealed) -> Result<(), SegmentError> {
    let (new, old) = (path(dir, sealed.first_seq, ANEW), path(dir, sealed.first_seq, "bodies"));
    let digest = match crate::segment::input::Input::open(&new) {
        Ok(input) => input.digest()?,
        Err(SegmentError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let failed = |source| SegmentError::Io { path: new.clone(), source };
    if digest == sealed.bodies {
        std::fs::rename(&new, &old).map_err(failed)?;
    } else {
        std::fs::remove_file(&new).map_err(failed)?;
    }
    output::sync(dir)
}
