//! A segment's records: blocks of 16 leaves, compressed with a dictionary that the file holds.
//!
//! ```text
//! file    head | block … | table | foot
//! head    magic | first seq u64 | length u32 | dictionary | crc32 u32
//! block   length u32 | crc32 u32 | zstd of up to 16 entries, each as in a frame
//! table   count u32 | last time u64 | for each block: offset u64, time of its first entry u64
//! foot    offset of the table u64 | crc32 of the table u32 | SHA-256 of all before | magic
//! ```
//!
//! Numbers are big-endian. A block can be read without the table, and the whole file without
//! anything else.

use super::dictionary::{Dictionaries, Dictionary};
use super::input::Input;
use super::output::Output;
use super::{BLOCK_RECORDS, FileDigest, SEGMENT_RECORDS, SegmentError, head, read_head};
use crate::frame;
use crate::zipped::Zipper;
use bytes::{Buf, Bytes};
use keyward_core::clock::Timestamp;
use keyward_record::Entry;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"KWRECS1\n";
const BLOCK_BYTES_MAX: usize = BLOCK_RECORDS * (frame::ENTRY_HEAD_BYTES + frame::LEAF_BYTES_MAX);

/// Writes the file, record by record.
pub struct RecordsWriter {
    output: Output,
    zipper: Zipper,
    block: Vec<u8>,
    block_time: Timestamp,
    in_block: usize,
    /// Where each block begins, and its first entry's time.
    blocks: Vec<(u64, Timestamp)>,
    count: u32,
    last_time: Timestamp,
}

impl RecordsWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(
        path: &Path,
        first_seq: u64,
        dictionary: &Dictionary,
    ) -> Result<Self, SegmentError> {
        let failed = |source| SegmentError::Io { path: path.to_owned(), source };
        let mut output = Output::create(path)?;
        output.write(&head(MAGIC, first_seq, dictionary.bytes()))?;
        let zipper = dictionary.writer().map_err(failed)?;
        let (block, blocks) =
            (Vec::new(), Vec::with_capacity((SEGMENT_RECORDS as usize).div_ceil(BLOCK_RECORDS)));
        Ok(Self {
            output,
            zipper,
            block,
            block_time: Timestamp(0),
            in_block: 0,
            blocks,
            count: 0,
            last_time: Timestamp(0),
        })
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn push(&mut self, entry: &Entry) -> Result<(), SegmentError> {
        if self.in_block == 0 {
            self.block_time = entry.time;
        }
        frame::put_entry(entry, &mut self.block);
        self.in_block += 1;
        self.count += 1;
        self.last_time = entry.time;
        if self.in_block == BLOCK_RECORDS { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), SegmentError> {
        if self.in_block == 0 {
            return Ok(());
        }
        let packed = self
            .zipper
            .zip(&self.block)
            .map_err(|source| SegmentError::Io { path: "zstd".into(), source })?;
        self.blocks.push((self.output.length(), self.block_time));
        self.output.write(&u32::try_from(packed.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        self.output.write(&crc32fast::hash(&packed).to_be_bytes())?;
        self.output.write(&packed)?;
        self.block.clear();
        self.in_block = 0;
        Ok(())
    }

    /// Ends the file and makes it durable.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn finish(mut self) -> Result<(u32, FileDigest), SegmentError> {
        self.end_block()?;
        let mut table = Vec::with_capacity(12 + 16 * self.blocks.len());
        table.extend(self.count.to_be_bytes());
        table.extend(self.last_time.0.to_be_bytes());
        for (offset, time) in &self.blocks {
            table.extend(offset.to_be_bytes());
            table.extend(time.0.to_be_bytes());
        }
        let at = self.output.length();
        self.output.write(&table)?;
        Ok((self.count, self.output.finish_with_foot(at, crc32fast::hash(&table), MAGIC)?))
    }
}

/// The file, open for reading.
#[derive(Debug)]
pub struct Records {
    input: Input,
    first_seq: u64,
    count: u32,
    dictionary: Arc<Dictionary>,
    /// Where each block begins, and its first entry's time.
    blocks: Vec<(u64, Timestamp)>,
    last_time: Timestamp,
    digest: FileDigest,
}

impl Records {
    /// Opens it; its pieces are checked as they are read.
    ///
    /// # Errors
    /// When it is missing, or its head or table is not as it should be.
    pub fn open(path: &Path, dictionaries: &Dictionaries) -> Result<Self, SegmentError> {
        let input = Input::open(path)?;
        let (first_seq, dictionary, first_block) = read_head(&input, MAGIC)?;
        let (at, crc, digest) = input.foot(MAGIC)?;
        let length = usize::try_from(
            input.length().saturating_sub(at).saturating_sub(super::input::FOOT_BYTES),
        )
        .unwrap_or(usize::MAX);
        if length > 12 + 16 * (SEGMENT_RECORDS as usize).div_ceil(BLOCK_RECORDS) {
            return Err(input.damaged("its table is too long"));
        }
        let table = Bytes::from(input.bytes(at, length)?);
        if crc32fast::hash(&table) != crc {
            return Err(input.damaged("wrong checksum of its table"));
        }
        let (count, last_time, blocks) =
            read_table(table).ok_or_else(|| input.damaged("its table is cut"))?;
        let sound = blocks.len() == (count as usize).div_ceil(BLOCK_RECORDS)
            && blocks.first().is_some_and(|(begin, _)| *begin == first_block)
            && blocks.is_sorted()
            && blocks.last().is_some_and(|(begin, time)| *begin < at && *time <= last_time);
        if !sound {
            return Err(input.damaged("its table makes no sense"));
        }
        let dictionary = dictionaries.get(dictionary, &input)?;
        Ok(Self { input, first_seq, count, dictionary, blocks, last_time, digest })
    }

    /// The sequence number of its first record.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// How many records it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Its length, and the SHA-256 that it says it has.
    pub fn digest(&self) -> FileDigest {
        self.digest
    }

    /// The SHA-256 that it has, read anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn real_digest(&self) -> Result<FileDigest, SegmentError> {
        self.input.digest()
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The time of the last record.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// Among which sequence numbers the first record not before `time` is, when the last record is
    /// not before it.
    pub fn around(&self, time: Timestamp) -> Range<u64> {
        // It is in the last block that begins before, or it is the first of the next.
        let next =
            self.blocks.partition_point(|(_, first)| *first < time) as u64 * BLOCK_RECORDS as u64;
        let begin = self.first_seq + next.saturating_sub(BLOCK_RECORDS as u64);
        begin..(self.first_seq + next + 1).min(self.first_seq + u64::from(self.count))
    }

    /// Whether the table has the times of the records.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn times_hold(&self) -> Result<bool, SegmentError> {
        let mut last = Timestamp(0);
        for (block, (_, first)) in self.blocks.iter().enumerate() {
            let entries = self.block(block)?;
            if entries.first().map(|entry| entry.time) != Some(*first) {
                return Ok(false);
            }
            last = entries.last().map_or(last, |entry| entry.time);
        }
        Ok(last == self.last_time)
    }

    /// What its blocks are compressed with.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// The entries of one block.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn block(&self, block: usize) -> Result<Vec<Entry>, SegmentError> {
        let damaged = || {
            self.input.damaged(format!(
                "the block of record {}",
                self.first_seq + (block * BLOCK_RECORDS) as u64
            ))
        };
        let (at, _) = self.blocks.get(block).copied().ok_or_else(damaged)?;
        // Almost always the next block's place tells how much to read.
        let guess = self.blocks.get(block + 1).map_or(0, |(next, _)| next.saturating_sub(at));
        let bytes = match usize::try_from(guess) {
            Ok(length @ 1..) if length <= BLOCK_BYTES_MAX => self.input.bytes(at, length)?,
            _ => {
                let length: [u8; 4] = self.input.array(at)?;
                let length = u32::from_be_bytes(length) as usize;
                if length > BLOCK_BYTES_MAX {
                    return Err(damaged());
                }
                self.input.bytes(at, 8 + length)?
            }
        };
        let mut rest = bytes.as_slice();
        let (length, crc) = (
            rest.try_get_u32().map_err(|_| damaged())?,
            rest.try_get_u32().map_err(|_| damaged())?,
        );
        let packed = rest
            .get(..length as usize)
            .filter(|packed| crc32fast::hash(packed) == crc)
            .ok_or_else(damaged)?;
        let plain = self
            .dictionary
            .read(packed, BLOCK_BYTES_MAX)
            .map_err(|source| self.input.failed(source))?;
        let wanted = (self.count as usize - (block * BLOCK_RECORDS).min(self.count as usize))
            .min(BLOCK_RECORDS);
        frame::entries(plain, wanted)
            .map_err(|source| SegmentError::Entry { path: self.input.path().to_owned(), source })
    }
}

impl Records {
    /// Every entry, in order; those of damaged blocks are left out. An error is one of the system.
    pub fn into_readable(self) -> impl Iterator<Item = Result<(u64, Entry), SegmentError>> {
        (0..self.blocks()).flat_map(move |block| {
            let first = self.first_seq.saturating_add((block * BLOCK_RECORDS) as u64);
            let (entries, failed) = match self.block(block) {
                Ok(entries) => (entries, None),
                Err(error) => (Vec::new(), Some(error).filter(|error| !error.is_damage())),
            };
            (first..).zip(entries).map(Ok).chain(failed.map(Err))
        })
    }
}

/// How many records, the last one's time, and where each block begins with its first entry's time.
type Table = (u32, Timestamp, Vec<(u64, Timestamp)>);

fn read_table(mut table: Bytes) -> Option<Table> {
    let (count, last_time) = (table.try_get_u32().ok()?, Timestamp(table.try_get_u64().ok()?));
    let mut blocks = Vec::with_capacity(table.len() / 16);
    while !table.is_empty() {
        blocks.push((table.try_get_u64().ok()?, Timestamp(table.try_get_u64().ok()?)));
    }
    (u64::from(count) <= SEGMENT_RECORDS && count > 0).then_some((count, last_time, blocks))
}

#[cfg(test)]
mod tests;
