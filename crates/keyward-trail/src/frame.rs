//! A frame: up to 32 records in one stored value, so that a durable commit writes few keys.
//!
//! ```text
//! frame  version u8 | count u8 | first seq u64 | zstd level 1 of the entries | crc32 u32 of everything before it
//! entry  time u64 | kind u8 | id 16 bytes | length u32 | leaf
//! ```
//!
//! Numbers are big-endian. A frame says by itself where its records belong, so that one that is
//! found in a damaged file is worth as much as one in a sound one. The leaf's bytes are stored as
//! they were hashed. Decoding trusts nothing: it neither panics nor allocates more than the largest
//! honest frame, whatever the bytes are.

use crate::zipped::{Zipper, unzip};
use bytes::{Buf, BufMut, Bytes};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::{Entry, Kind};
use std::ops::Range;

/// Records in one frame, at most.
pub const FRAME_RECORDS_MAX: usize = 32;
/// Bytes of one stored frame, at most. Larger values would reach sled's blob files, which are never
/// synced.
pub const FRAME_BYTES_MAX: usize = 60 * 1024;
/// Bytes of one leaf, at most: the entry bundles of a tiled log have a 16-bit length.
pub const LEAF_BYTES_MAX: usize = 64 * 1024 - 1;

pub(super) const VERSION: u8 = 2;
/// What stands before the compressed entries.
pub(super) const HEAD_BYTES: usize = 1 + 1 + 8;
/// What stands behind them.
pub(super) const CRC_BYTES: usize = 4;
pub(super) const ENTRY_HEAD_BYTES: usize = 8 + 1 + 16 + 4;
const PLAIN_BYTES_MAX: usize = FRAME_RECORDS_MAX * (ENTRY_HEAD_BYTES + LEAF_BYTES_MAX);
/// What zstd adds to bytes that it cannot compress, and this frame's own head and checksum;
/// generous.
const OVERHEAD_BYTES: usize = 1024;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame holds 1 to [`FRAME_RECORDS_MAX`] records.
    #[error("a frame cannot hold {0} records")]
    Count(usize),
    /// The leaf is longer than [`LEAF_BYTES_MAX`].
    #[error("the record has {0} bytes, {LEAF_BYTES_MAX} are the limit")]
    LeafTooLong(usize),
    /// The compressed frame is longer than [`FRAME_BYTES_MAX`].
    #[error("the record takes {0} bytes compressed, {FRAME_BYTES_MAX} are the limit")]
    TooLarge(usize),
    /// zstd refused.
    #[error("compression")]
    Compression(#[source] std::io::Error),
    /// The stored bytes are no frame.
    #[error("damaged frame: {0}")]
    Damaged(&'static str),
}

/// Turns entries into frames, keeping its working memory.
pub struct Encoder(Zipper);

impl Encoder {
    /// A new encoder.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new() -> Result<Self, FrameError> {
        Zipper::new(1, &[]).map(Self).map_err(FrameError::Compression)
    }

    /// Any bytes, compressed.
    ///
    /// # Errors
    /// When zstd refuses.
    pub fn compress(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        self.0.zip(bytes)
    }

    /// One frame of all `entries`, of which the first is the record `first_seq`.
    ///
    /// # Errors
    /// When there are none or too many, a leaf is too long, or the frame would be too large.
    pub fn encode(&mut self, first_seq: u64, entries: &[Entry]) -> Result<Vec<u8>, FrameError> {
        let count = u8::try_from(entries.len())
            .ok()
            .filter(|n| (1..=FRAME_RECORDS_MAX).contains(&usize::from(*n)));
        let count = count.ok_or(FrameError::Count(entries.len()))?;
        let mut plain =
            Vec::with_capacity(entries.iter().map(|e| ENTRY_HEAD_BYTES + e.leaf.len()).sum());
        for entry in entries {
            if entry.leaf.len() > LEAF_BYTES_MAX {
                return Err(FrameError::LeafTooLong(entry.leaf.len()));
            }
            put_entry(entry, &mut plain);
        }
        let packed = self.0.zip(&plain).map_err(FrameError::Compression)?;
        let mut frame = Vec::with_capacity(HEAD_BYTES + packed.len() + CRC_BYTES);
        frame.put_slice(&[VERSION, count]);
        frame.put_u64(first_seq);
        frame.put_slice(&packed);
        frame.put_u32(crc32fast::hash(&frame));
        if frame.len() > FRAME_BYTES_MAX {
            Err(FrameError::TooLarge(frame.len()))
        } else {
            Ok(frame)
        }
    }

    /// As few frames as hold all `entries` in order: the number of records of each, and its bytes.
    ///
    /// # Errors
    /// When a leaf alone is too long or too large.
    pub fn pack(
        &mut self,
        first_seq: u64,
        entries: &[Entry],
    ) -> Result<Vec<(usize, Vec<u8>)>, FrameError> {
        let mut frames = Vec::with_capacity(entries.len().div_ceil(FRAME_RECORDS_MAX));
        for (n, chunk) in entries.chunks(FRAME_RECORDS_MAX).enumerate() {
            self.pack_chunk(
                first_seq.saturating_add((n * FRAME_RECORDS_MAX) as u64),
                chunk,
                &mut frames,
            )?;
        }
        Ok(frames)
    }

    fn pack_chunk(
        &mut self,
        first_seq: u64,
        chunk: &[Entry],
        frames: &mut Vec<(usize, Vec<u8>)>,
    ) -> Result<(), FrameError> {
        match self.encode(first_seq, chunk) {
            Ok(frame) => frames.push((chunk.len(), frame)),
            Err(FrameError::TooLarge(_)) if chunk.len() > 1 => {
                let (left, right) = chunk.split_at(chunk.len() / 2);
                self.pack_chunk(first_seq, left, frames)?;
                self.pack_chunk(first_seq.saturating_add(left.len() as u64), right, frames)?;
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Whether a record with this leaf can be stored at all. Asked before a record gets its place in
/// the trail, so that one impossible record does not fail those beside it.
///
/// # Errors
/// When the leaf is too long, or too large even compressed.
pub fn check_leaf(leaf: &Bytes) -> Result<(), FrameError> {
    if leaf.len() + OVERHEAD_BYTES <= FRAME_BYTES_MAX {
        return Ok(());
    }
    let entry = Entry {
        time: Timestamp(0),
        kind: Kind::Event,
        id: AuditId(uuid::Uuid::nil()),
        leaf: leaf.clone(),
    };
    let frame = Encoder::new()?.encode(0, &[entry])?;
    // The real head compresses worse than the zeros of this one.
    if frame.len() + ENTRY_HEAD_BYTES > FRAME_BYTES_MAX {
        Err(FrameError::TooLarge(frame.len()))
    } else {
        Ok(())
    }
}

/// The entries of a stored frame, and the place of the first.
///
/// # Errors
/// When the bytes are not exactly one whole frame.
pub fn decode(frame: &[u8]) -> Result<(u64, Vec<Entry>), FrameError> {
    let (first_seq, count, packed) = parts(frame)?;
    let plain = unzip(packed, PLAIN_BYTES_MAX, None).map_err(FrameError::Compression)?;
    Ok((first_seq, entries(plain, usize::from(count))?))
}

/// The places of a frame's records, if it is one, without unpacking them.
pub(super) fn numbers(frame: &[u8]) -> Option<Range<u64>> {
    let (first_seq, count, _) = parts(frame).ok()?;
    Some(first_seq..first_seq.saturating_add(u64::from(count)))
}

/// The place of the first record, their number, and the records, packed.
fn parts(frame: &[u8]) -> Result<(u64, u8, &[u8]), FrameError> {
    let (body, crc) = frame.split_last_chunk::<4>().ok_or(FrameError::Damaged("too short"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(FrameError::Damaged("wrong checksum"));
    }
    let ([version, count], rest) =
        body.split_first_chunk::<2>().ok_or(FrameError::Damaged("too short"))?;
    if *version != VERSION {
        return Err(FrameError::Damaged("unknown version"));
    }
    if !(1..=FRAME_RECORDS_MAX).contains(&usize::from(*count)) {
        return Err(FrameError::Damaged("impossible count"));
    }
    let (first_seq, packed) =
        rest.split_first_chunk::<8>().ok_or(FrameError::Damaged("too short"))?;
    Ok((u64::from_be_bytes(*first_seq), *count, packed))
}

/// Adds an entry, whose leaf is no longer than [`LEAF_BYTES_MAX`].
pub(super) fn put_entry(entry: &Entry, plain: &mut Vec<u8>) {
    plain.put_u64(entry.time.0);
    plain.put_u8(kind_code(entry.kind));
    plain.put_slice(entry.id.0.as_bytes());
    plain.put_u32(u32::try_from(entry.leaf.len()).unwrap_or(u32::MAX));
    plain.put_slice(&entry.leaf);
}

/// Exactly `count` entries, which share the bytes.
pub(super) fn entries(plain: Vec<u8>, count: usize) -> Result<Vec<Entry>, FrameError> {
    let mut rest = Bytes::from(plain);
    let entries = (0..count)
        .map(|_| entry(&mut rest))
        .collect::<Option<Vec<_>>>()
        .ok_or(FrameError::Damaged("cut or malformed entry"))?;
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(FrameError::Damaged("bytes after the last entry"))
    }
}

fn entry(rest: &mut Bytes) -> Option<Entry> {
    let time = Timestamp(rest.try_get_u64().ok()?);
    let kind = kind_from_code(rest.try_get_u8().ok()?)?;
    let id = AuditId(uuid::Uuid::from_u128(rest.try_get_u128().ok()?));
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    if length > LEAF_BYTES_MAX || length > rest.len() {
        return None;
    }
    Some(Entry { time, kind, id, leaf: rest.split_to(length) })
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Forwarded => 1,
        Kind::Refused => 2,
        Kind::Answer => 3,
        Kind::Event => 4,
    }
}

fn kind_from_code(code: u8) -> Option<Kind> {
    [Kind::Forwarded, Kind::Refused, Kind::Answer, Kind::Event]
        .into_iter()
        .find(|kind| kind_code(*kind) == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_entry(leaf_max: usize) -> impl Strategy<Value = Entry> {
        (any::<u64>(), 1..=4_u8, any::<u128>(), prop::collection::vec(any::<u8>(), 0..leaf_max))
            .prop_map(|(time, kind, id, leaf)| Entry {
                time: Timestamp(time),
                kind: kind_from_code(kind).unwrap(),
                id: AuditId(uuid::Uuid::from_u128(id)),
                leaf: leaf.into(),
            })
    }

    fn encode(entries: &[Entry]) -> Result<Vec<u8>, FrameError> {
        Encoder::new().unwrap().encode(7, entries)
    }

    fn leaf(leaf: Vec<u8>) -> Entry {
        Entry { time: Timestamp(1), kind: Kind::Answer, id: AuditId::new(), leaf: leaf.into() }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(entries in prop::collection::vec(any_entry(600), 1..=FRAME_RECORDS_MAX)) {
            prop_assert_eq!(decode(&encode(&entries).unwrap()).unwrap(), (7, entries));
        }

        #[test]
        fn any_flipped_bit_is_noticed(entries in prop::collection::vec(any_entry(60), 1..5), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut frame = encode(&entries).unwrap();
            let at = at.index(frame.len());
            frame[at] ^= 1_u8 << bit;
            prop_assert!(decode(&frame).is_err());
        }

        #[test]
        fn hostile_bytes_under_a_right_checksum_are_survived(mut body in prop::collection::vec(any::<u8>(), 0..300), count in 0..40_u8, packed in any::<bool>()) {
            if packed {
                body = Zipper::new(1, &[]).unwrap().zip(&body).unwrap();
            }
            let mut frame = vec![VERSION, count];
            frame.put_u64(7);
            frame.extend(body);
            let crc = crc32fast::hash(&frame);
            frame.put_u32(crc);
            let _ = decode(&frame);
        }

        #[test]
        fn packing_keeps_order_and_limits(entries in prop::collection::vec((0..20_000_usize, any::<u8>()), 0..80)) {
            let entries: Vec<_> = entries.into_iter().map(|(length, byte)| leaf(if byte < 200 { noise(length) } else { vec![byte; length] })).collect();
            let frames = Encoder::new().unwrap().pack(40, &entries).unwrap();
            prop_assert!(frames.iter().all(|(_, bytes)| bytes.len() <= FRAME_BYTES_MAX));
            let mut next = 40;
            let back: Vec<_> = frames.iter().flat_map(|(count, bytes)| {
                let (first_seq, entries) = decode(bytes).unwrap();
                assert_eq!((first_seq, entries.len()), (next, *count));
                next += *count as u64;
                entries
            }).collect();
            prop_assert_eq!(back, entries);
        }
    }

    #[test]
    fn limits_are_errors() {
        assert!(matches!(encode(&[]), Err(FrameError::Count(0))));
        assert!(matches!(encode(&vec![leaf(vec![]); 33]), Err(FrameError::Count(33))));
        assert!(matches!(
            encode(&[leaf(vec![b'a'; LEAF_BYTES_MAX + 1])]),
            Err(FrameError::LeafTooLong(65_536))
        ));
        assert!(matches!(encode(&[leaf(noise(LEAF_BYTES_MAX))]), Err(FrameError::TooLarge(_))));
        assert!(encode(&[leaf(vec![b'a'; LEAF_BYTES_MAX])]).is_ok());
    }

    #[test]
    fn what_passes_the_check_can_be_packed() {
        for length in [
            0,
            1,
            59 * 1024,
            60_415,
            60_416,
            60_417,
            61_000,
            61_300,
            61_400,
            61_440,
            LEAF_BYTES_MAX,
        ] {
            let leaf = leaf(noise(length));
            if check_leaf(&leaf.leaf).is_ok() {
                Encoder::new().unwrap().pack(0, std::slice::from_ref(&leaf)).unwrap();
            }
        }
        assert!(check_leaf(&Bytes::from(vec![b'a'; LEAF_BYTES_MAX])).is_ok());
        assert!(check_leaf(&Bytes::from(vec![b'a'; LEAF_BYTES_MAX + 1])).is_err());
    }

    #[test]
    fn a_claimed_size_beyond_the_limit_is_refused() {
        let bomb = Zipper::new(1, &[]).unwrap().zip(&vec![0; PLAIN_BYTES_MAX + 1]).unwrap();
        let mut frame = vec![VERSION, 1];
        frame.put_u64(0);
        frame.extend(bomb);
        let crc = crc32fast::hash(&frame);
        frame.put_u32(crc);
        assert!(matches!(decode(&frame), Err(FrameError::Compression(_))));
    }
}
