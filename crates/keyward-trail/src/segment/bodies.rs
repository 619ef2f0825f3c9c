//! The bodies beside a segment's records, each compressed by itself with a dictionary that the file
//! holds.
//!
//! ```text
//! file    head | body … | table | foot
//! body    crc32 u32 | zstd of salt and bytes
//! table   for each 16 records: offset of the first body u64 | 16 lengths u32, 0 for none | crc32 u32
//! ```
//!
//! Head and foot are those of the records' file, but that the foot has, in place of the table's
//! checksum, that of the segment's first sequence number and its count: each group of the table has
//! its own. A body is found by one read of its group in the table and one of its own.

use super::dictionary::{Dictionaries, Dictionary};
use super::input::{FOOT_BYTES, Input};
use super::output::Output;
use super::{BLOCK_RECORDS, FileDigest, SEGMENT_RECORDS, SegmentError, checked, head, read_head};
use crate::zipped::Zipper;
use bytes::{Buf, Bytes};
use keyward_record::Content;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"KWBODY1\n";
const GROUP_BYTES: usize = 8 + 4 * BLOCK_RECORDS + 4;

/// Writes the file, body by body.
pub struct BodiesWriter {
    output: Output,
    zipper: Zipper,
    first_seq: u64,
    count: u32,
    /// For each record that has a body: its number in the segment, and where the body stands.
    bodies: Vec<(u32, u64, u32)>,
}

impl BodiesWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(
        path: &Path,
        first_seq: u64,
        dictionary: &Dictionary,
    ) -> Result<Self, SegmentError> {
        let mut output = Output::create(path)?;
        output.write(&head(MAGIC, first_seq, dictionary.bytes()))?;
        let zipper = dictionary
            .writer()
            .map_err(|source| SegmentError::Io { path: path.to_owned(), source })?;
        Ok(Self { output, zipper, first_seq, count: 0, bodies: Vec::new() })
    }

    /// Goes on to the next record, with its body if it has one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn push(&mut self, content: Option<&Content>) -> Result<(), SegmentError> {
        if let Some(content) = content {
            let plain = [&content.salt, content.bytes.as_ref()].concat();
            let packed = self
                .zipper
                .zip(&plain)
                .map_err(|source| SegmentError::Io { path: "zstd".into(), source })?;
            let length = u32::try_from(packed.len() + 4).unwrap_or(u32::MAX);
            self.bodies.push((self.count, self.output.length(), length));
            self.output.write(&crc32fast::hash(&packed).to_be_bytes())?;
            self.output.write(&packed)?;
        }
        self.count += 1;
        Ok(())
    }

    /// Ends the file and makes it durable.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn finish(mut self) -> Result<FileDigest, SegmentError> {
        let at = self.output.length();
        let mut table = Vec::new();
        let mut bodies = self.bodies.iter().peekable();
        for group in 0..(self.count as usize).div_ceil(BLOCK_RECORDS) {
            let begin = table.len();
            table.extend(bodies.peek().map_or(0, |(_, offset, _)| *offset).to_be_bytes());
            for record in group * BLOCK_RECORDS..(group + 1) * BLOCK_RECORDS {
                let length = bodies
                    .next_if(|(n, ..)| *n as usize == record)
                    .map_or(0, |(.., length)| *length);
                table.extend(length.to_be_bytes());
            }
            table.extend(crc32fast::hash(table.get(begin..).unwrap_or_default()).to_be_bytes());
        }
        self.output.write(&table)?;
        self.output.finish_with_foot(at, owner(self.first_seq, self.count), MAGIC)
    }
}

/// The file, open for reading.
#[derive(Debug)]
pub struct Bodies {
    input: Input,
    count: u32,
    dictionary: Arc<Dictionary>,
    table: u64,
    digest: FileDigest,
}

impl Bodies {
    /// Opens it; its pieces are checked as they are read.
    ///
    /// # Errors
    /// When it is missing, belongs to other records, or its head or foot is not as it should be.
    pub fn open(
        path: &Path,
        first_seq: u64,
        count: u32,
        dictionaries: &Dictionaries,
    ) -> Result<Self, SegmentError> {
        let input = Input::open(path)?;
        let (found, dictionary, _) = read_head(&input, MAGIC)?;
        let (table, check, digest) = input.foot(MAGIC)?;
        let groups = (count as usize).div_ceil(BLOCK_RECORDS) as u64;
        let whole = table + groups * GROUP_BYTES as u64 + FOOT_BYTES == input.length();
        if found != first_seq || check != owner(first_seq, count) || !whole {
            return Err(input.damaged("it belongs to other records"));
        }
        let dictionary = dictionaries.get(dictionary, &input)?;
        Ok(Self { input, count, dictionary, table, digest })
    }

    /// Its length, and the SHA-256 that it says it has.
    pub fn digest(&self) -> FileDigest {
        self.digest
    }

    /// What its bodies are compressed with.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// The SHA-256 that it has, read anew.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn real_digest(&self) -> Result<FileDigest, SegmentError> {
        self.input.digest()
    }

    /// The body of one record; `None` when it has none, or had it erased.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is longer than `max` bytes.
    pub fn body(&self, record: u32, max: usize) -> Result<Option<Content>, SegmentError> {
        if record >= self.count {
            return Ok(None);
        }
        let damaged = || self.input.damaged(format!("the body of its record {record}"));
        let (group, place) =
            (u64::from(record) / BLOCK_RECORDS as u64, record as usize % BLOCK_RECORDS);
        let group: [u8; GROUP_BYTES] = self.input.array(self.table + group * GROUP_BYTES as u64)?;
        let mut group = Bytes::copy_from_slice(checked(&group).ok_or_else(damaged)?);
        let mut at = group.try_get_u64().map_err(|_| damaged())?;
        for _ in 0..place {
            at = at.saturating_add(u64::from(group.try_get_u32().map_err(|_| damaged())?));
        }
        let length = group.try_get_u32().map_err(|_| damaged())? as usize;
        if length == 0 {
            return Ok(None);
        }
        let bytes = self.input.bytes(at, length)?;
        let (crc, packed) = bytes.split_first_chunk().ok_or_else(damaged)?;
        if crc32fast::hash(packed) != u32::from_be_bytes(*crc) {
            return Err(damaged());
        }
        let plain =
            self.dictionary.read(packed, max + 32).map_err(|source| self.input.failed(source))?;
        let (salt, bytes) = plain.split_first_chunk().ok_or_else(damaged)?;
        Ok(Some(Content { salt: *salt, bytes: Bytes::copy_from_slice(bytes) }))
    }
}

/// Which records the bodies belong to.
fn owner(first_seq: u64, count: u32) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&first_seq.to_be_bytes());
    hash.update(&count.to_be_bytes());
    hash.finalize()
}

const _: () = assert!(SEGMENT_RECORDS <= u32::MAX as u64);
