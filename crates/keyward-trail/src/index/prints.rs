//! Fingerprints with the ordinals that have them, sorted: for what has about as many values as
//! records.

use super::IndexError;
use crate::held::Held;

/// Reads a part of an index. When another file has taken its place, the records are read instead.
pub(super) fn read(file: &Held, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    file.read(bytes, at, |_| Ok(false))
}

/// How many bits of a fingerprint are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Those who find one must look at the record.
    Bits32,
    /// As good as the value itself.
    Bits64,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    fn bucket(self, print: u64) -> usize {
        match self {
            Self::Bits32 => (print >> 24) as usize & 0xff,
            Self::Bits64 => (print >> 56) as usize,
        }
    }
}

/// Where sorted fingerprints stand in a file: how many have which first byte.
#[derive(Debug)]
pub struct Prints {
    width: Width,
    at: u64,
    /// Fingerprints before each first byte.
    starts: Vec<u32>,
}

impl Prints {
    /// Writes fingerprints to the end of `out`, and the starts of their buckets to `directory`.
    pub fn write(
        width: Width,
        mut prints: Vec<(u64, u16)>,
        out: &mut Vec<u8>,
        directory: &mut Vec<u8>,
    ) {
        prints.sort_unstable();
        prints.dedup();
        directory.extend((out.len() as u64).to_be_bytes());
        for bucket in 0..=256_usize {
            let before = prints.partition_point(|(print, _)| width.bucket(*print) < bucket);
            directory.extend(u32::try_from(before).unwrap_or(u32::MAX).to_be_bytes());
        }
        for (print, ordinal) in prints {
            out.extend(print.to_be_bytes().get(8 - width.bytes()..).unwrap_or_default());
            out.extend(ordinal.to_be_bytes());
        }
    }

    /// Reads what [`Prints::write`] has written to the directory.
    pub fn read(width: Width, directory: &mut bytes::Bytes) -> Option<Self> {
        use bytes::Buf;
        let at = directory.try_get_u64().ok()?;
        let starts = (0..=256).map(|_| directory.try_get_u32().ok()).collect::<Option<Vec<_>>>()?;
        starts.is_sorted().then_some(Self { width, at, starts })
    }

    /// The ordinals that have a fingerprint.
    pub fn find(&self, file: &Held, print: u64) -> Result<Vec<u16>, IndexError> {
        let bucket = self.width.bucket(print);
        let (Some(begin), Some(end)) = (self.starts.get(bucket), self.starts.get(bucket + 1))
        else {
            return Ok(Vec::new());
        };
        let size = self.width.bytes() + 2;
        let mut bytes = vec![0; (end - begin) as usize * size];
        read(file, &mut bytes, self.at + u64::from(*begin) * size as u64)?;
        let wanted = print.to_be_bytes();
        let wanted = wanted.get(8 - self.width.bytes()..).unwrap_or_default();
        let ordinals =
            bytes.chunks_exact(size).filter_map(|one| one.strip_prefix(wanted)?.first_chunk());
        Ok(ordinals.map(|ordinal| u16::from_be_bytes(*ordinal)).collect())
    }
}
