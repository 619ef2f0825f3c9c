//! Taking bodies out of sealed segments: their file is written anew without them. The records stay, and with them the
//! salted hash of what was there, of which nothing can be guessed without the salt that goes too.

use super::Pace;
use super::{Segment, Shared, TieredStore, frames, open_segment};
use crate::audit::segment::bodies::BodiesWriter;
use crate::audit::segment::dictionary::train;
use crate::audit::segment::{Sealed, SegmentError, path};
use crate::audit::store::{CONTENT_BYTES_MAX, StoreError};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A file of bodies that takes the place of another once the store has noted it.
const ANEW: &str = "bodies-new";

impl TieredStore {
    /// Seals what is closed, although no segment is full. Records of exchanges that are open stay unsealed.
    ///
    /// # Errors
    /// When the store or the disk fails.
    pub fn seal_early(&self) -> Result<(), StoreError> {
        while self.shared.seal_early(&mut Pace::without_rest())? {}
        Ok(())
    }

    /// Erases the bodies beside these records, which must be sealed, durably. How many there were.
    ///
    /// The engine's own file keeps what was in it before it was sealed until it is written anew, at the next start.
    ///
    /// # Errors
    /// When a record is not sealed, or the store or the disk fails: then some may be erased, and it can be tried again.
    pub fn erase(&self, seqs: &BTreeSet<u64>) -> Result<u64, StoreError> {
        let shared = &self.shared;
        let _changing = shared.change();
        let segments = shared.segments.load_full();
        let mut erased = 0;
        let mut rest = seqs.iter().copied().peekable();
        while let Some(seq) = rest.peek().copied() {
            let segment = frames::segment_of(&segments, seq).ok_or(StoreError::NotSealed(seq))?;
            let mut places = BTreeSet::new();
            while let Some(seq) = rest.next_if(|seq| *seq < segment.end()) {
                places.insert((seq - segment.first_seq()) as u32);
            }
            let gone = shared.erase(segment, &places)?;
            if gone > 0 {
                shared.forget_dictionary(segment)?;
            }
            erased += gone;
        }
        if erased > 0 {
            shared.hot.want_rewrite()?;
        }
        Ok(erased)
    }
}

impl Shared {
    /// Erases from one segment.
    fn erase(&self, segment: &Segment, places: &BTreeSet<u32>) -> Result<u64, StoreError> {
        let has = |place: &u32| segment.bodies.body(*place, CONTENT_BYTES_MAX).map(|body| u64::from(body.is_some()));
        let erased = places.iter().map(has).sum::<Result<u64, _>>()?;
        if erased > 0 {
            self.write_bodies_anew(segment, places)?;
        }
        Ok(erased)
    }

    /// A dictionary is made of pieces of bodies, perhaps of one that was erased: whoever shares it does without.
    fn forget_dictionary(&self, erased: &Segment) -> Result<(), StoreError> {
        let bytes = erased.bodies.dictionary().bytes();
        let sharing = |segment: &&Arc<Segment>| !bytes.is_empty() && segment.bodies.dictionary().bytes() == bytes;
        let segments = self.segments.load_full();
        segments.iter().filter(sharing).try_for_each(|segment| self.write_bodies_anew(segment, &BTreeSet::new()))
    }

    /// Writes the bodies of a segment anew, without some of them and without a dictionary.
    fn write_bodies_anew(&self, segment: &Segment, without: &BTreeSet<u32>) -> Result<(), StoreError> {
        let (first_seq, count) = (segment.first_seq(), segment.records.count());
        let new = path(&self.dir, first_seq, ANEW);
        let none =
            self.dictionaries.share(train(&[])).ok_or_else(|| SegmentError::Damaged { path: new.clone(), why: "no dictionary can be made".to_owned() })?;
        let mut writer = BodiesWriter::create(&new, first_seq, &none)?;
        for place in 0..count {
            let body = segment.bodies.body(place, CONTENT_BYTES_MAX)?;
            writer.push(body.filter(|_| !without.contains(&place)).as_ref())?;
        }
        let sealed = Sealed { first_seq, count, records: segment.records.digest(), bodies: writer.finish()? };
        // From the note on the new file is the one that counts; the next start ends what a crash cuts here.
        self.hot.note_sealed(&sealed)?;
        put_in_place(&self.dir, &sealed)?;
        let anew = Arc::new(open_segment(&self.dir, &sealed, &self.dictionaries, &self.sets)?);
        {
            let _tail = self.tail();
            let replaced = self.segments.load().iter().map(|old| if old.first_seq() == first_seq { Arc::clone(&anew) } else { Arc::clone(old) }).collect();
            self.segments.store(Arc::new(replaced));
        }
        // Keyed digests of what was in the bodies stand in the index.
        self.reindex(&anew, &mut Pace::without_rest())
    }
}

/// Puts a file of bodies that was written anew in its place, if it is there and is the one that is noted.
pub(super) fn put_in_place(dir: &Path, sealed: &Sealed) -> Result<(), SegmentError> {
    let (new, old) = (path(dir, sealed.first_seq, ANEW), path(dir, sealed.first_seq, "bodies"));
    let digest = match crate::audit::segment::input::Input::open(&new) {
        Ok(input) => input.digest()?,
        Err(SegmentError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let failed = |source| SegmentError::Io { path: new.clone(), source };
    if digest == sealed.bodies {
        std::fs::rename(&new, &old).map_err(failed)?;
    } else {
        std::fs::remove_file(&new).map_err(failed)?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}
