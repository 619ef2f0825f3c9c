//! The engine's log as it lies in its file, read and never written: what sled 0.34 says of its
//! format in its modules `logger`, `iterator` and `snapshot`, and no more than it takes to tell a
//! whole log from a damaged one.
//!
//! ```text
//! segment   crc32 u32 | place i64 | stable i64 | messages … | a cap, or fewer than 32 bytes
//! message   crc32 u32 | kind u8 | length | number of the segment | page | payload
//! snapshot  stable i64 | active segment | pages … | length u64 | crc32 u32
//! ```
//!
//! Numbers are little-endian, those without a type of one to nine bytes. A place in the log never
//! returns; the parts of the file are used again for later ones.

use memchr::memmem;

/// Bytes of a segment, fixed at creation. A page holds up to 17 values of 60 KiB; its limit before it
/// becomes a blob is a quarter of this.
pub(super) const SEGMENT: usize = 8 * 1024 * 1024;
/// What a segment begins with.
pub(super) const SEGMENT_HEAD: usize = 20;
/// Behind this no message begins.
const LAST: usize = SEGMENT - 32;
/// Pages, at most: more than a terabyte of them has.
const PAGES_MAX: usize = 1 << 28;
/// The page by which the beginning of a batch is told.
const BATCH_PAGE: u64 = u64::MAX - 666;

/// The head of a segment: its place in the log, and how far the log was written then.
pub(super) struct Head {
    pub place: u64,
    pub stable: u64,
}

/// What a message does to its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Nothing,
    /// Nothing more comes in this segment.
    Cap,
    /// A batch begins, whose last message stands there.
    Batch(u64),
    Free,
    Replace,
    Link,
}

/// A message that is as it was written.
pub(super) struct Message<'a> {
    /// Its offset in the segment, and that of the byte behind it.
    pub at: usize,
    pub end: usize,
    /// The number of the segment it was written for.
    pub number: u64,
    pub page: u64,
    pub does: Does,
    pub payload: &'a [u8],
}

/// The head at the beginning of a segment, if it is as it was written.
pub(super) fn head(segment: &[u8]) -> Option<Head> {
    let (crc, rest) = segment.get(..SEGMENT_HEAD)?.split_first_chunk::<4>()?;
    if crc32fast::hash(rest) ^ u32::MAX != u32::from_le_bytes(*crc) {
        return None;
    }
    let (place, stable) = rest.split_first_chunk::<8>()?;
    let number = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes) ^ i64::MAX;
    let place =
        u64::try_from(number(place)).ok().filter(|place| place.is_multiple_of(SEGMENT as u64))?;
    // Before anything was written it is -1.
    Some(Head { place, stable: u64::try_from(number(stable.first_chunk::<8>()?)).unwrap_or(0) })
}

/// The message at an offset, if there is a whole one.
pub(super) fn message(segment: &[u8], at: usize) -> Option<Message<'_>> {
    let (crc, rest) = segment.get(at..)?.split_first_chunk::<4>()?;
    let mut reader = Reader(rest);
    let kind = reader.byte()?;
    let length = usize::try_from(reader.number()?).ok()?;
    let (number, page) = (reader.number()?, reader.number()?);
    let payload = reader.0.get(..length)?;
    let head = rest.len() - reader.0.len();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(payload);
    hasher.update(rest.get(..head)?);
    if hasher.finalize() ^ u32::MAX != u32::from_le_bytes(*crc) {
        return None;
    }
    let does = match kind {
        1 => Does::Nothing,
        2 => Does::Cap,
        3 => Does::Batch(u64::try_from(i64::from_le_bytes(*payload.first_chunk::<8>()?)).ok()?),
        4 => Does::Free,
        5..=9 => Does::Replace,
        10 | 11 => Does::Link,
        _ => return None,
    };
    Some(Message { at, end: at + 4 + head + length, number, page, does, payload })
}

/// Shows the messages of one number from an offset on. Where that ends: `None` at the segment's own
/// end.
pub(super) fn walk<'a>(
    segment: &'a [u8],
    number: u64,
    from: usize,
    mut visit: impl FnMut(&Message<'a>),
) -> Option<usize> {
    let mut at = from;
    while at <= LAST {
        match message(segment, at).filter(|message| message.number == number) {
            Some(message) => {
                visit(&message);
                if message.does == Does::Cap {
                    return None;
                }
                at = message.end;
            }
            None => return Some(at),
        }
    }
    None
}

/// The beginnings of batches from an offset on, whatever lies between.
pub(super) fn batches(segment: &[u8], from: usize) -> impl Iterator<Item = Message<'_>> {
    let mut page = [255; 9];
    if let Some(number) = page.last_chunk_mut::<8>() {
        *number = BATCH_PAGE.to_le_bytes();
    }
    let bytes = segment.get(from..).unwrap_or_default();
    let bytes = if is_zero(bytes) { &[] } else { bytes };
    let found: Vec<_> = memmem::find_iter(bytes, &page).collect();
    found.into_iter().filter_map(move |at| {
        // Before the page stand checksum, kind, length and number.
        let starts = (1..=9).filter_map(move |number| (from + at).checked_sub(number + 6));
        starts
            .filter_map(|start| message(segment, start))
            .find(|message| matches!(message.does, Does::Batch(_)) && message.page == BATCH_PAGE)
    })
}

/// Whether there is nothing but zeros: what was never written, or was let go of.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

/// What a page consists of: where each part of it was written in the log, and where it lies in the
/// file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    Unknown,
    Free(Part),
    Present(Vec<Part>),
}

/// A message that a page needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub place: u64,
    pub offset: u64,
}

/// All pages as of a place in the log.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub stable: Option<u64>,
    /// Whether the segment that was written to then had room.
    pub active: bool,
    pub pages: Vec<Page>,
}

impl Snapshot {
    /// Reads one, if it is as it was written.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        let (bytes, _) = bytes.split_last_chunk::<8>()?;
        if crc32fast::hash(bytes) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut reader = Reader(bytes);
        // Both are one more than they say, and nothing when they are 0.
        let (stable, active) = (reader.place()?.checked_sub(1), reader.number()? > 0);
        let mut snapshot = Self { stable, active, pages: Vec::new() };
        while !reader.0.is_empty() {
            let page = match reader.byte()? {
                0 => Page::Free(reader.part()?),
                parts => Page::Present(
                    (0..parts)
                        .map(|_| reader.part().filter(|_| reader.number().is_some()))
                        .collect::<Option<_>>()?,
                ),
            };
            snapshot.pages.push(page);
        }
        Some(snapshot)
    }

    /// Does what a message at `part` says of a page, as the engine does it. False when no engine
    /// wrote that.
    pub fn apply(&mut self, page: u64, does: Does, part: Part) -> bool {
        let Some(page) = usize::try_from(page).ok().filter(|page| *page < PAGES_MAX) else {
            return false;
        };
        if does == Does::Link
            && self.pages.get(page).is_none_or(|page| !matches!(page, Page::Present(_)))
        {
            return true;
        }
        if self.pages.len() <= page {
            self.pages.resize(page + 1, Page::Unknown);
        }
        if let Some(state) = self.pages.get_mut(page) {
            match (does, &mut *state) {
                (Does::Replace, _) => *state = Page::Present(vec![part]),
                (Does::Free, _) => *state = Page::Free(part),
                (_, Page::Present(parts))
                    if parts.last().is_none_or(|last| last.place < part.place) =>
                {
                    parts.push(part)
                }
                _ => (),
            }
        }
        true
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        Some(match first {
            0..=240 => u64::from(first),
            241..=248 => 240 + 256 * (u64::from(first) - 241) + u64::from(self.byte()?),
            249 => 2288 + 256 * u64::from(self.byte()?) + u64::from(self.byte()?),
            _ => {
                let (bytes, rest) = self.0.split_at_checked(usize::from(first) - 247)?;
                self.0 = rest;
                bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
        })
    }

    fn place(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        u64::try_from(i64::from_le_bytes(*bytes)).ok()
    }

    fn part(&mut self) -> Option<Part> {
        let place = self.place()?;
        let blob = self.byte()? == 1;
        let part = Part { place, offset: self.number()? };
        if blob { self.place().map(|_| part) } else { Some(part) }
    }
}
