//! The index of a sealed segment, in a file.
//!
//! ```text
//! file       magic | answers | ids | digests | sets and values … | directory | foot
//! answers    for each record u32: how far behind it its answer stands, 0 when that is not known
//! ids        sorted fingerprints with offsets, see `prints`; digests the same
//! values     for each 64 values of a field, sorted: length u16 | value | set
//! set        count u32 | up to 16 ordinals u16, or where more of them stand: offset u64, length u32 of a roaring bitmap
//! directory  version u32 | first seq u64 | count u32 | SHA-256 of the records | sets of exchanges, events, open, partial |
//!            ids | digests | for each field: values u32, groups u32, and for each group its first value, offset u64, length u32
//! foot       offset of the directory u64 | crc32 of all before u32 | magic
//! ```
//!
//! The whole file is checked when it is opened; what is then kept in memory is the directory, and
//! the values of fields that have few.

use super::builder::{Builder, Digests, answered};
use super::prints::{Prints, Width, read};
use super::{FIELDS, Index, IndexError, Ordinals, digest_print, id_print};
use crate::filter::condition::Match;
use crate::held::Held;
use bytes::{Buf, Bytes};
use keyward_core::clock::AuditId;
use keyward_core::secret::DIGEST_PREFIX;
use lru::LruCache;
use roaring::RoaringBitmap;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAGIC: &[u8; 8] = b"KWINDX1\n";
/// Raised whenever a field, or what a field means, changes: older files are then made anew.
const VERSION: u32 = 3;
const GROUP_VALUES: usize = 64;
/// Fields with up to so many values in a segment are kept in memory.
const HELD_VALUES_MAX: usize = 256;
/// Sets of up to so many ordinals stand beside their value.
const INLINE_MAX: usize = 16;
/// Sets that are kept in memory, over all segments; at most 8 KiB each.
const CACHED_SETS: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(2047);
/// The largest honest file is far smaller.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Sets that were read lately, by file and offset.
#[derive(Clone)]
pub struct Cache {
    sets: Arc<Mutex<LruCache<(u64, u64), Ordinals>>>,
    /// Files that were opened: one that is made anew has other sets at its offsets.
    opened: Arc<AtomicU64>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { sets: Arc::new(Mutex::new(LruCache::new(CACHED_SETS))), opened: Arc::default() }
    }
}

impl Cache {
    fn sets(&self) -> MutexGuard<'_, LruCache<(u64, u64), Ordinals>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a builder's index file, for records with this digest.
///
/// # Errors
/// Never for a builder of at most 65,536 records.
pub fn encode(builder: &Builder, digests: Digests, records: &[u8; 32]) -> std::io::Result<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    let mut directory = Vec::new();
    directory.extend(VERSION.to_be_bytes());
    directory.extend(builder.first_seq().to_be_bytes());
    directory.extend(builder.count().to_be_bytes());
    directory.extend(records);
    builder.answers.iter().for_each(|behind| out.extend(behind.to_be_bytes()));
    for ordinals in [&builder.exchanges, &builder.events, &builder.open, &builder.partial] {
        write_set(ordinals, &mut out, &mut directory)?;
    }
    Prints::write(Width::Bits32, builder.ids.clone(), &mut out, &mut directory);
    Prints::write(Width::Bits64, digests.0, &mut out, &mut directory);
    for values in &builder.fields {
        let mut values: Vec<_> = values.iter().collect();
        values.sort_unstable_by_key(|(value, _)| *value);
        directory.extend(u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
        directory.extend(
            u32::try_from(values.len().div_ceil(GROUP_VALUES)).unwrap_or(u32::MAX).to_be_bytes(),
        );
        for group in values.chunks(GROUP_VALUES) {
            let mut bytes = Vec::new();
            for (value, ordinals) in group {
                write_text(value, &mut bytes);
                write_set(ordinals, &mut out, &mut bytes)?;
            }
            if let Some((first, _)) = group.first() {
                write_text(first, &mut directory);
            }
            directory.extend((out.len() as u64).to_be_bytes());
            directory.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(bytes);
        }
    }
    let at = out.len() as u64;
    out.extend(directory);
    out.extend(at.to_be_bytes());
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out.extend(MAGIC);
    Ok(out)
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

/// A small set goes to `beside`; a large one to the end of `out`, and its place there to `beside`.
fn write_set(
    ordinals: &RoaringBitmap,
    out: &mut Vec<u8>,
    beside: &mut Vec<u8>,
) -> std::io::Result<()> {
    beside.extend(u32::try_from(ordinals.len()).unwrap_or(u32::MAX).to_be_bytes());
    if ordinals.len() <= INLINE_MAX as u64 {
        ordinals.iter().for_each(|ordinal| beside.extend((ordinal as u16).to_be_bytes()));
        return Ok(());
    }
    let begin = out.len();
    // Without runs: a set of runs is slower to join with others than it is smaller.
    ordinals.serialize_into(&mut *out)?;
    beside.extend((begin as u64).to_be_bytes());
    beside.extend(u32::try_from(out.len() - begin).unwrap_or(u32::MAX).to_be_bytes());
    Ok(())
}

/// A set, or where it stands.
#[derive(Debug)]
enum Set {
    Here(Ordinals),
    There { at: u64, length: u32 },
}

#[derive(Debug)]
struct Group {
    first: Box<str>,
    at: u64,
    length: u32,
}

/// The values of one field.
#[derive(Debug)]
enum Values {
    Held(Vec<(Box<str>, Set)>),
    Grouped(Vec<Group>),
}

/// An index file, open.
pub struct IndexFile {
    file: Held,
    first_seq: u64,
    count: u32,
    exchanges: Ordinals,
    events: Ordinals,
    unsettled: Ordinals,
    ids: Prints,
    digests: Prints,
    fields: Vec<Values>,
    /// Where answers stand behind the segment.
    answers_behind: Vec<u64>,
    /// Which of all that were opened.
    number: u64,
    cache: Cache,
}

impl IndexFile {
    /// Opens the index of records with this first sequence number, count and digest, and checks all
    /// of it.
    ///
    /// # Errors
    /// When it is missing, damaged, of other records, or of another version.
    pub fn open(
        path: &Path,
        first_seq: u64,
        count: u32,
        records: &[u8; 32],
        cache: Cache,
    ) -> Result<Self, IndexError> {
        let file = Held::open(path)?;
        let length = file.length();
        let length = usize::try_from(length)
            .ok()
            .filter(|_| length <= FILE_BYTES_MAX)
            .ok_or(IndexError::Damaged("too long"))?;
        let mut bytes = vec![0; length];
        read(&file, &mut bytes, 0)?;
        let body = bytes
            .strip_suffix(MAGIC)
            .and_then(|rest| rest.split_last_chunk::<4>())
            .filter(|_| bytes.starts_with(MAGIC));
        let (body, crc) = body.ok_or(IndexError::Damaged("no index"))?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(IndexError::Damaged("wrong checksum"));
        }
        let (rest, at) = body.split_last_chunk::<8>().ok_or(IndexError::Damaged("too short"))?;
        let at = usize::try_from(u64::from_be_bytes(*at)).unwrap_or(usize::MAX);
        let directory =
            Bytes::copy_from_slice(rest.get(at..).ok_or(IndexError::Damaged("no directory"))?);
        let index = Self::read(file, directory, rest, records, cache)?;
        if (index.first_seq, index.count) == (first_seq, count) {
            Ok(index)
        } else {
            Err(IndexError::Foreign)
        }
    }

    fn read(
        file: Held,
        mut directory: Bytes,
        whole: &[u8],
        records: &[u8; 32],
        cache: Cache,
    ) -> Result<Self, IndexError> {
        let from = &mut directory;
        let cut = || IndexError::Damaged("its directory is cut");
        if from.try_get_u32().ok() != Some(VERSION) {
            return Err(IndexError::Foreign);
        }
        let (first_seq, count) =
            (from.try_get_u64().map_err(|_| cut())?, from.try_get_u32().map_err(|_| cut())?);
        if from.split_to(32.min(from.len())).as_ref() != records {
            return Err(IndexError::Foreign);
        }
        let mut set = || -> Result<Ordinals, IndexError> {
            match read_set(from).ok_or_else(cut)? {
                Set::Here(ordinals) => Ok(ordinals),
                Set::There { at, length } => {
                    let bytes = whole
                        .get(at as usize..)
                        .and_then(|rest| rest.get(..length as usize))
                        .ok_or_else(cut)?;
                    Ok(Arc::new(RoaringBitmap::deserialize_from(bytes)?))
                }
            }
        };
        let (exchanges, events, open, partial) = (set()?, set()?, set()?, set()?);
        let unsettled = Arc::new(&*open | &*partial);
        let ids = Prints::read(Width::Bits32, from).ok_or_else(cut)?;
        let digests = Prints::read(Width::Bits64, from).ok_or_else(cut)?;
        let fields = FIELDS
            .iter()
            .map(|_| read_field(from, whole).ok_or_else(cut))
            .collect::<Result<_, _>>()?;
        if !from.is_empty() {
            return Err(IndexError::Damaged("more than a directory"));
        }
        let answers = whole
            .get(MAGIC.len()..)
            .and_then(|rest| rest.get(..4 * count as usize))
            .ok_or_else(cut)?;
        let end = first_seq.saturating_add(u64::from(count));
        let answers_behind = answered(first_seq, &distances(answers))
            .map(|(answer, _)| answer)
            .filter(|answer| *answer >= end)
            .collect();
        let number = cache.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            file,
            first_seq,
            count,
            exchanges,
            events,
            unsettled,
            ids,
            digests,
            fields,
            answers_behind,
            number,
            cache,
        })
    }

    /// Where the answers that it knows stand, each with the ordinal of its request.
    pub fn answered(&self) -> Result<Vec<(u64, u32)>, IndexError> {
        let mut bytes = vec![0; 4 * self.count as usize];
        read(&self.file, &mut bytes, MAGIC.len() as u64)?;
        Ok(answered(self.first_seq, &distances(&bytes)).collect())
    }

    /// Those that stand behind the segment.
    pub fn answers_behind(&self) -> &[u64] {
        &self.answers_behind
    }

    /// Whether the file has these bytes.
    pub fn has(&self, bytes: &[u8]) -> std::io::Result<bool> {
        let mut found = vec![0; bytes.len()];
        Ok(self.file.length() == bytes.len() as u64
            && read(&self.file, &mut found, 0).map(|()| found == bytes)?)
    }

    /// A large set, read or remembered.
    fn load(&self, set: &Set) -> Result<Ordinals, IndexError> {
        match set {
            Set::Here(ordinals) => Ok(Arc::clone(ordinals)),
            Set::There { at, length } => {
                let key = (self.number, *at);
                let known = self.cache.sets().get(&key).cloned();
                if let Some(ordinals) = known {
                    return Ok(ordinals);
                }
                let ordinals = Arc::new(RoaringBitmap::deserialize_from(
                    self.bytes(*at, *length)?.as_slice(),
                )?);
                self.cache.sets().put(key, Arc::clone(&ordinals));
                Ok(ordinals)
            }
        }
    }

    fn bytes(&self, at: u64, length: u32) -> Result<Vec<u8>, IndexError> {
        let mut bytes = vec![0; length as usize];
        read(&self.file, &mut bytes, at)?;
        Ok(bytes)
    }

    /// Shows the values from `from` on, in order, until `visit` says that it has seen enough.
    fn walk(
        &self,
        field: usize,
        from: &str,
        visit: &mut dyn FnMut(&str, &Set) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        match self.fields.get(field) {
            None => {}
            Some(Values::Held(values)) => {
                let begin = values.partition_point(|(value, _)| &**value < from);
                for (value, set) in values.iter().skip(begin) {
                    if !visit(value, set)? {
                        return Ok(());
                    }
                }
            }
            Some(Values::Grouped(groups)) => {
                let begin = groups.partition_point(|group| &*group.first <= from).saturating_sub(1);
                for group in groups.iter().skip(begin) {
                    let mut bytes = Bytes::from(self.bytes(group.at, group.length)?);
                    while !bytes.is_empty() {
                        let (value, set) = read_value(&mut bytes)
                            .ok_or(IndexError::Damaged("a group of values is cut"))?;
                        if &*value >= from && !visit(&value, &set)? {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// For each record, how far behind it its answer stands.
fn distances(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|behind| u32::from_be_bytes(*behind)).collect()
}

fn read_field(from: &mut Bytes, whole: &[u8]) -> Option<Values> {
    let (values, groups) = (from.try_get_u32().ok()? as usize, from.try_get_u32().ok()?);
    let group = |from: &mut Bytes| {
        Some(Group {
            first: read_text(from)?,
            at: from.try_get_u64().ok()?,
            length: from.try_get_u32().ok()?,
        })
    };
    let groups = (0..groups).map(|_| group(from)).collect::<Option<Vec<_>>>()?;
    if values > HELD_VALUES_MAX {
        return Some(Values::Grouped(groups));
    }
    let mut held = Vec::with_capacity(values);
    for group in groups {
        let mut bytes = Bytes::copy_from_slice(
            whole.get(usize::try_from(group.at).ok()?..)?.get(..group.length as usize)?,
        );
        while !bytes.is_empty() {
            held.push(read_value(&mut bytes)?);
        }
    }
    Some(Values::Held(held))
}

fn read_value(from: &mut Bytes) -> Option<(Box<str>, Set)> {
    Some((read_text(from)?, read_set(from)?))
}

fn read_text(from: &mut Bytes) -> Option<Box<str>> {
    let length = usize::from(from.try_get_u16().ok()?);
    let text = (length <= from.len()).then(|| from.split_to(length))?;
    Some(std::str::from_utf8(&text).ok()?.into())
}

fn read_set(from: &mut Bytes) -> Option<Set> {
    let count = from.try_get_u32().ok()? as usize;
    if count > INLINE_MAX {
        return Some(Set::There { at: from.try_get_u64().ok()?, length: from.try_get_u32().ok()? });
    }
    let ordinals = (0..count)
        .map(|_| from.try_get_u16().ok().map(u32::from))
        .collect::<Option<RoaringBitmap>>()?;
    Some(Set::Here(Arc::new(ordinals)))
}

impl Index for IndexFile {
    fn first_seq(&self) -> u64 {
        self.first_seq
    }

    fn exchanges(&self) -> Ordinals {
        Arc::clone(&self.exchanges)
    }

    fn events(&self) -> Ordinals {
        Arc::clone(&self.events)
    }

    fn unsettled(&self) -> Ordinals {
        Arc::clone(&self.unsettled)
    }

    fn matching(&self, field: usize, wanted: &Match) -> Result<Ordinals, IndexError> {
        let mut found: Option<Ordinals> = None;
        let mut add = |ordinals: Ordinals| match &mut found {
            None => found = Some(ordinals),
            Some(all) => *Arc::make_mut(all) |= &*ordinals,
        };
        match wanted {
            Match::Exact(text) => self.walk(field, text, &mut |value, set| {
                if value == text {
                    add(self.load(set)?);
                }
                Ok(false)
            })?,
            Match::Prefix(text) => self.walk(field, text, &mut |value, set| {
                let begins = value.starts_with(text.as_str());
                if begins {
                    add(self.load(set)?);
                }
                Ok(begins)
            })?,
            Match::Net(..) | Match::Number(_) => self.walk(field, "", &mut |value, set| {
                if wanted.holds(value) {
                    add(self.load(set)?);
                }
                Ok(true)
            })?,
        }
        Ok(found.unwrap_or_default())
    }

    fn values(
        &self,
        field: usize,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<(), IndexError> {
        self.walk(field, "", &mut |value, set| {
            visit(value, &*self.load(set)?);
            Ok(true)
        })
    }

    fn secret(&self, digest: &str) -> Result<Option<RoaringBitmap>, IndexError> {
        let print =
            digest.strip_prefix(DIGEST_PREFIX).and_then(|digits| digest_print(digits.as_bytes()));
        let Some(print) = print else { return Ok(None) };
        Ok(Some(self.digests.find(&self.file, print)?.into_iter().map(u32::from).collect()))
    }

    fn with_id(&self, id: AuditId) -> Result<Vec<u32>, IndexError> {
        Ok(self.ids.find(&self.file, id_print(id))?.into_iter().map(u32::from).collect())
    }

    fn is_current(&self) -> bool {
        false
    }

    fn answer(&self, ordinal: u32) -> Result<Option<u64>, IndexError> {
        if ordinal >= self.count {
            return Ok(None);
        }
        let mut behind = [0; 4];
        read(&self.file, &mut behind, MAGIC.len() as u64 + 4 * u64::from(ordinal))?;
        let behind = u32::from_be_bytes(behind);
        Ok((behind > 0).then(|| {
            self.first_seq.saturating_add(u64::from(ordinal)).saturating_add(u64::from(behind))
        }))
    }
}

#[cfg(test)]
mod tests;
