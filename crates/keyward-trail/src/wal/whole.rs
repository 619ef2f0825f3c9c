//! Is the engine's file whole? Asked before the engine opens it, for it takes whatever it cannot
//! read for what was never written: it cuts its log there and zeroes what lies behind. Nothing is
//! written here.
//!
//! A killed process, or a power cut, leaves at the end of the log what was being written. Records
//! are written a batch at a time: the next one is begun when the one before, and all that stands
//! before that, is on the disk. Batches without records, by which what is sealed is let go of, are
//! not waited for, and the engine hands several pieces to the disk at once: of those an earlier one
//! may be missing. So where the log cannot be read any more, what lies behind tells a damage from
//! an end: two batches of records, or one that does not go on with the last record before that
//! place.

use super::carve::frames;
use super::log::{
    Does, Head, Message, Page, Part, SEGMENT, SEGMENT_HEAD, Snapshot, batches, head, is_zero,
    message, walk,
};
use keyward_core::durable;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What the engine's file has.
#[derive(Debug, Default)]
pub struct Examined {
    /// Records that an opened engine will have at most, by the last of their numbers; sealed ones
    /// may not be among them.
    pub end: u64,
    /// Records below were on the disk before later ones were written: whoever waited for them was
    /// told so.
    pub acknowledged: u64,
    /// A batch at the end was not written whole: to open the file takes it away.
    pub torn: bool,
    /// What is wrong with it.
    pub damage: Option<Damage>,
}

/// What is wrong with the engine's file, or one beside it.
#[derive(Debug)]
pub struct Damage {
    /// A sentence.
    pub what: String,
    /// Records from here on may be concerned, as far as the file tells.
    pub from: u64,
    /// The engine must not even be tried on a copy: it would end in a panic.
    pub deadly: bool,
}

/// Bytes of a segment of the log.
const SIZE: u64 = SEGMENT as u64;

/// A segment of the file.
struct Slot {
    offset: u64,
    /// Its head cannot be read, but what is in it says which segment it was.
    headless: bool,
}

/// Reads all of the engine's file, and its snapshot.
pub fn examine(trail: &Path) -> io::Result<Examined> {
    let file = match File::open(trail.join("db")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Examined::default()),
        file => file?,
    };
    let mut examination = Examination::new(file)?;
    match newest_snapshot(trail)?.map(|bytes| Snapshot::read(&bytes)) {
        Some(Some(snapshot)) => examination.snapshot = snapshot,
        Some(None) => examination.wrong("the engine's snapshot is not as it was written"),
        None => (),
    }
    examination.run()?;
    Ok(examination.found)
}

/// The snapshot that the engine would take.
fn newest_snapshot(trail: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(trail)? {
        let name = entry?.file_name();
        names.extend(
            name.to_str()
                .filter(|name| name.starts_with("snap.") && !name.ends_with(".generating"))
                .map(str::to_owned),
        );
    }
    names.iter().max().map(|name| durable::read(&trail.join(name))).transpose()
}

/// What is seen of the log so far, in its order.
struct Examination {
    file: File,
    length: u64,
    buffer: Vec<u8>,
    snapshot: Snapshot,
    /// By offset in the file: the segments that the engine uses, their places, and where messages
    /// begin in them.
    sound: BTreeMap<u64, (u64, Vec<usize>)>,
    found: Examined,
    /// The last message of the batch that was begun last.
    batch: Option<u64>,
    /// The end of the records that were seen, and what it was when that batch was begun; whether
    /// the batch has new ones.
    highest: u64,
    base: u64,
    is_new: bool,
    /// The first place that cannot be read at the log's end though a batch begins behind it, and
    /// the record it may concern; how many batches of records begin there.
    hole: Option<(u64, u64)>,
    behind: usize,
    /// What the batch does to which page, and what comes behind it.
    pending: Vec<(u64, Does, Part)>,
    ended: bool,
}

impl Examination {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            length: file.metadata()?.len(),
            file,
            buffer: Vec::with_capacity(SEGMENT),
            snapshot: Snapshot::default(),
            sound: BTreeMap::new(),
            found: Examined::default(),
            batch: None,
            highest: 0,
            base: 0,
            is_new: false,
            hole: None,
            behind: 0,
            pending: Vec::new(),
            ended: false,
        })
    }

    /// The first thing that is wrong is told.
    fn wrong(&mut self, what: impl Into<String>) {
        let from = self.base;
        self.found.damage.get_or_insert_with(|| Damage { what: what.into(), from, deadly: false });
    }

    fn deadly(&mut self, what: impl Into<String>) {
        self.wrong(what);
        if let Some(damage) = &mut self.found.damage {
            damage.deadly = true;
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let (mut slots, written) = self.slots()?;
        let tail = written / SIZE * SIZE;
        if slots.get(&tail).is_none_or(|slot| slot.headless)
            && (tail > self.earliest() || self.snapshot.active)
        {
            self.wrong("the part of its log that was written last is missing");
        }
        let behind = slots.split_off(&tail);
        for (place, slot) in slots {
            self.old(place, &slot)?;
        }
        self.tail(tail, behind)?;
        self.check_pages();
        Ok(())
    }

    /// From here on the engine reads its log; what stands before is in the snapshot.
    fn earliest(&self) -> u64 {
        self.snapshot.stable.unwrap_or(0) / SIZE * SIZE
    }

    fn read(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let mut segment = std::mem::take(&mut self.buffer);
        segment.resize(usize::try_from(SIZE.min(self.length - offset)).unwrap_or(SEGMENT), 0);
        self.file.read_exact_at(&mut segment, offset)?;
        Ok(segment)
    }

    /// The segments by their places in the log, and how far it was written, by their heads.
    fn slots(&mut self) -> io::Result<(BTreeMap<u64, Slot>, u64)> {
        let (mut slots, mut headless) = (BTreeMap::new(), Vec::new());
        let mut written = self.earliest();
        for offset in (0..self.length).step_by(SEGMENT) {
            let mut bytes = [0; SEGMENT_HEAD];
            let bytes = bytes
                .get_mut(
                    ..usize::try_from(self.length - offset)
                        .unwrap_or(SEGMENT_HEAD)
                        .min(SEGMENT_HEAD),
                )
                .unwrap_or_default();
            self.file.read_exact_at(bytes, offset)?;
            let Some(Head { place, stable }) = head(bytes) else {
                headless.push(offset);
                continue;
            };
            if place >= self.earliest() {
                written = written.max(stable);
            }
            if slots.insert(place, Slot { offset, headless: false }).is_some() {
                self.deadly(format!("a part of its log is there twice, once at byte {offset}"));
            }
        }
        for offset in headless {
            let segment = self.read(offset)?;
            let first = if is_zero(&segment) {
                None
            } else {
                message(&segment, SEGMENT_HEAD).map(|message| message.number)
            };
            let number = first.or_else(|| batches(&segment, 0).map(|batch| batch.number).max());
            if let Some(number) = number {
                slots.entry(number.saturating_mul(SIZE)).or_insert(Slot { offset, headless: true });
            }
            self.buffer = segment;
        }
        Ok((slots, written))
    }

    /// A segment before the log's end is whole, unless it was let go of and is being written over.
    fn old(&mut self, place: u64, slot: &Slot) -> io::Result<()> {
        let segment = self.read(slot.offset)?;
        if slot.headless {
            self.wrong(format!(
                "the head of a part of its log, at byte {}, is not as it was written",
                slot.offset
            ));
        }
        let torn = self.walk(&segment, place, slot, SEGMENT_HEAD, true);
        if let Some(at) = torn
            && !batches(&segment, at).any(|batch| batch.number > place / SIZE)
        {
            self.wrong(format!("it is not as it was written at byte {}", slot.offset + at as u64));
        }
        self.go_on(&segment, place, slot, torn);
        self.buffer = segment;
        Ok(())
    }

    /// The log's end. It is where the log cannot be read any more, if no later batch begins behind
    /// that.
    fn tail(&mut self, from: u64, slots: BTreeMap<u64, Slot>) -> io::Result<()> {
        let (mut next, mut at_byte) = (from, self.length);
        for (place, slot) in slots {
            let segment = self.read(slot.offset)?;
            let follows = !self.ended && place == next && !slot.headless;
            let torn = if follows {
                self.walk(&segment, place, &slot, SEGMENT_HEAD, true)
            } else {
                Some(SEGMENT_HEAD)
            };
            if let Some(at) = torn {
                if !self.ended {
                    at_byte = slot.offset + at as u64;
                    self.end_of_log(if follows { place + at as u64 } else { next });
                }
                self.found.torn |= !is_zero(segment.get(at..).unwrap_or_default());
                if batches(&segment, at).any(|batch| batch.number == place / SIZE) {
                    self.hole.get_or_insert((at_byte, self.base));
                }
                self.go_on(&segment, place, &slot, torn);
            }
            next = place + SIZE;
            self.buffer = segment;
        }
        self.end_of_log(next);
        if let Some((at, from)) = self.hole
            && (self.behind > 1 || self.found.acknowledged > self.found.end)
        {
            self.base = from;
            self.wrong(format!("it is not as it was written at byte {at}, and what was written later stands behind that"));
        }
        Ok(())
    }

    /// Goes on behind a place that cannot be read, with what can be.
    fn go_on(&mut self, segment: &[u8], place: u64, slot: &Slot, mut torn: Option<usize>) {
        while let Some(batch) =
            torn.and_then(|at| batches(segment, at).find(|batch| batch.number == place / SIZE))
        {
            torn = self.walk(segment, place, slot, batch.at, false);
        }
    }

    /// Where the engine takes its log to end: a batch of which a part is missing is none.
    fn end_of_log(&mut self, end: u64) {
        if !std::mem::replace(&mut self.ended, true) {
            let cut = self.batch.is_some_and(|last| last >= end);
            self.found.torn |= cut;
            self.found.end = if cut { self.base } else { self.highest };
            if cut {
                self.pending.clear();
            }
            self.settle();
            if self.snapshot.stable.is_some_and(|stable| end < stable) {
                self.wrong("its log ends before what its snapshot tells of");
            }
        }
    }

    fn settle(&mut self) {
        for (page, does, part) in std::mem::take(&mut self.pending) {
            if !self.snapshot.apply(page, does, part) {
                self.deadly(format!("at byte {} it tells of a page that cannot be", part.offset));
            }
        }
    }

    /// Looks at messages from an offset on; `used` says that the engine will take them.
    fn walk(
        &mut self,
        segment: &[u8],
        place: u64,
        slot: &Slot,
        from: usize,
        used: bool,
    ) -> Option<usize> {
        let mut starts = Vec::new();
        let torn = walk(segment, place / SIZE, from, |message| {
            starts.push(message.at);
            self.look(
                message,
                Part { place: place + message.at as u64, offset: slot.offset + message.at as u64 },
                used,
            );
        });
        if used && !slot.headless {
            self.sound.insert(slot.offset, (place, starts));
        }
        torn
    }

    fn look(&mut self, message: &Message<'_>, part: Part, used: bool) {
        if let Does::Batch(last) = message.does {
            if used {
                self.settle();
                self.batch = Some(last);
            }
            (self.base, self.is_new) = (self.highest, false);
        }
        for records in frames(message.payload).filter(|records| records.end > self.base) {
            // Within a batch they stand in any order.
            self.behind += usize::from(self.hole.is_some() && !used && !self.is_new);
            let first = if self.is_new {
                self.found.acknowledged.min(records.start)
            } else {
                records.start
            };
            (self.found.acknowledged, self.is_new) = (first, true);
            self.highest = self.highest.max(records.end);
        }
        if used
            && matches!(message.does, Does::Replace | Does::Link | Does::Free)
            && part.place >= self.snapshot.stable.unwrap_or(0)
        {
            self.pending.push((message.page, message.does, part));
        }
    }

    /// Everything that the engine will look for must be where it will look.
    fn check_pages(&mut self) {
        let sound = |part: &Part| {
            let slot = part.offset / SIZE * SIZE;
            let at = usize::try_from(part.offset - slot).unwrap_or(SEGMENT);
            self.sound.get(&slot).is_some_and(|(place, starts)| {
                place + at as u64 == part.place && starts.binary_search(&at).is_ok()
            })
        };
        let lost = self.snapshot.pages.iter().flat_map(|page| match page {
            Page::Unknown => &[],
            Page::Free(part) => std::slice::from_ref(part),
            Page::Present(parts) => parts.as_slice(),
        });
        let lost = lost.filter(|part| !sound(part)).map(|part| part.offset).next();
        if self.snapshot.pages.contains(&Page::Unknown) {
            self.deadly("a page is missing");
        }
        if let Some(offset) = lost {
            self.deadly(format!("what was written at byte {offset} is missing"));
        }
    }
}
