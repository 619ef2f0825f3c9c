//! Sealed segments: 65,536 records in two flat files beside sled, written once and never changed
//! but to erase a body.
//!
//! ```text
//! seg-<first seq>.records   the leaves, in small compressed blocks
//! seg-<first seq>.bodies    the bodies beside them
//! seg-<first seq>.index     what they can be asked by; derived, and rebuilt when it is missing
//! ```
//!
//! Each file says by itself what it holds, has a checksum for every piece, and ends with the
//! SHA-256 of all before, so that it can be read and checked without sled. The store keeps that
//! SHA-256 too.

pub mod bodies;
pub mod dictionary;
pub(crate) mod input;
pub(crate) mod output;
pub mod records;

use self::bodies::BodiesWriter;
use self::dictionary::Dictionary;
use self::records::RecordsWriter;
use crate::frame::FrameError;
use keyward_record::{Content, Entry};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io;
use std::path::{Path, PathBuf};

/// Records in one segment.
pub const SEGMENT_RECORDS: u64 = 65_536;
/// Records in one block: a page of scattered records reads one block for each.
pub const BLOCK_RECORDS: usize = 16;

/// The kinds of its files. The one but last is to take the place of the one before it, so that some
/// bodies are erased.
pub(super) const KINDS: [&str; 4] = ["records", "bodies", "bodies-new", "index"];

/// Why a segment's file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The system.
    #[error("`{path}`")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("`{path}` is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An entry cannot be read.
    #[error("`{path}` is damaged")]
    Entry {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: FrameError,
    },
    /// The work was called off; nothing is lost by that.
    #[error("sealing was called off")]
    Stopped,
}

impl SegmentError {
    /// Whether the file is not as it was written, or not there. Else nothing is known of it: it may
    /// be sound.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Damaged { .. } | Self::Entry { .. } => true,
            Self::Stopped => false,
        }
    }
}

/// What is known of a sealed segment apart from its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The sequence number of its first record.
    #[serde(rename = "first")]
    pub first_seq: u64,
    /// How many records it has.
    pub count: u32,
    /// The file of records.
    pub records: FileDigest,
    /// The file of bodies.
    pub bodies: FileDigest,
}

/// A file's length and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of all but the file's foot, which repeats it.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub sha256: [u8; 32],
}

fn to_hex<S: Serializer>(sha256: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(sha256))
}

fn from_hex<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(String::deserialize(from)?, &mut sha256).map_err(D::Error::custom)?;
    Ok(sha256)
}

impl Sealed {
    const BYTES: usize = 8 + 4 + 2 * 40;

    /// The sequence number after its last record.
    pub fn end(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count))
    }

    /// As the store keeps it.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.extend(self.first_seq.to_be_bytes());
        out.extend(self.count.to_be_bytes());
        for digest in [self.records, self.bodies] {
            out.extend(digest.length.to_be_bytes());
            out.extend(digest.sha256);
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (first_seq, rest) = bytes.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let digest = |rest: &[u8]| {
            let (length, rest) = rest.split_first_chunk()?;
            Some(FileDigest { length: u64::from_be_bytes(*length), sha256: *rest.first_chunk()? })
        };
        let sealed = Self {
            first_seq: u64::from_be_bytes(*first_seq),
            count: u32::from_be_bytes(*count),
            records: digest(rest)?,
            bodies: digest(rest.get(40..)?)?,
        };
        (bytes.len() == Self::BYTES && sealed.count > 0).then_some(sealed)
    }
}

/// Writes both files of a segment, record by record.
pub(super) struct SegmentWriter {
    first_seq: u64,
    records: RecordsWriter,
    bodies: BodiesWriter,
}

impl SegmentWriter {
    /// Begins them.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn create(
        dir: &Path,
        first_seq: u64,
        records: &Dictionary,
        bodies: &Dictionary,
    ) -> Result<Self, SegmentError> {
        let records = RecordsWriter::create(&path(dir, first_seq, "records"), first_seq, records)?;
        Ok(Self {
            first_seq,
            records,
            bodies: BodiesWriter::create(&path(dir, first_seq, "bodies"), first_seq, bodies)?,
        })
    }

    /// Adds the next record, and the body beside it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn push(&mut self, entry: &Entry, content: Option<&Content>) -> Result<(), SegmentError> {
        self.records.push(entry)?;
        self.bodies.push(content)
    }

    /// Ends both and makes them durable.
    ///
    /// # Errors
    /// When they cannot be.
    pub fn finish(self) -> Result<Sealed, SegmentError> {
        let (count, records) = self.records.finish()?;
        Ok(Sealed { first_seq: self.first_seq, count, records, bodies: self.bodies.finish()? })
    }
}

/// One of a segment's files.
pub(super) fn path(dir: &Path, first_seq: u64, kind: &str) -> PathBuf {
    dir.join(format!("seg-{first_seq:020}.{kind}"))
}

/// The files of segments in a folder: the number in each one's name, and its kind. None when the
/// folder is not there.
pub(super) fn files(dir: &Path) -> io::Result<Vec<(u64, String)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let parts = name.strip_prefix("seg-").and_then(|rest| rest.split_once('.'));
        files
            .extend(parts.and_then(|(number, kind)| Some((number.parse().ok()?, kind.to_owned()))));
    }
    files.sort_unstable();
    Ok(files)
}

/// What a file begins with: its magic, its segment, and the dictionary of its pieces.
fn head(magic: &[u8; 8], first_seq: u64, dictionary: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + dictionary.len());
    out.extend(magic);
    out.extend(first_seq.to_be_bytes());
    out.extend(u32::try_from(dictionary.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(dictionary);
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out
}

/// Reads a [`head`]: the segment, the dictionary, and the head's length.
fn read_head(file: &input::Input, magic: &[u8; 8]) -> Result<(u64, Vec<u8>, u64), SegmentError> {
    let fixed: [u8; 20] = file.array(0)?;
    let (found, rest) = fixed.split_at(8);
    let (first_seq, length) = rest.split_at(8);
    if found != magic {
        return Err(file.damaged("it begins with something else"));
    }
    let length = length.first_chunk().map_or(0, |l| u32::from_be_bytes(*l)) as usize;
    if length > dictionary::BYTES_MAX {
        return Err(file.damaged("impossible dictionary"));
    }
    let whole = file.bytes(0, fixed.len() + length + 4)?;
    let dictionary = checked(&whole)
        .and_then(|head| head.get(20..))
        .ok_or_else(|| file.damaged("wrong checksum of its head"))?;
    let first_seq = first_seq.first_chunk().map_or(0, |seq| u64::from_be_bytes(*seq));
    Ok((first_seq, dictionary.to_vec(), whole.len() as u64))
}

/// The bytes before a CRC-32, if it is theirs.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(body) == u32::from_be_bytes(*crc)).then_some(body)
}
