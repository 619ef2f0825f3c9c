//! Finding records in a damaged file of the engine, without the engine: a frame has its own beginning and its own
//! checksum, and so is told from whatever lies around it.
use keyward_record::Entry;

use super::{CONTENT_BYTES_MAX, SALT_BYTES};
use crate::frame;
use crate::zipped::unzip;
use keyward_record::Content;
use memchr::memmem;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use zstd::zstd_safe;

/// How a compressed piece begins.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// More than any piece has.
const PIECE_BYTES: usize = 128 * 1024;

/// Something whole that was found.
#[derive(Debug)]
pub enum Carved {
    /// Records that were stored together, and the place of the first.
    Frame(u64, Vec<Entry>),
    /// A body that was stored in one piece, and does not say beside which record.
    Content(Content),
}

/// Shows everything whole that a file holds, the same thing more than once if it stands there more than once.
///
/// # Errors
/// When the file cannot be read.
pub fn carve(file: &Path, visit: &mut dyn FnMut(Carved)) -> io::Result<()> {
    let mut file = File::open(file)?;
    let mut window = Vec::new();
    loop {
        let read = file.by_ref().take((WINDOW_BYTES - window.len().min(WINDOW_BYTES)) as u64).read_to_end(&mut window)?;
        // What begins near the end may go on behind it.
        let last = read == 0;
        let until = if last { window.len() } else { window.len().saturating_sub(PIECE_BYTES) };
        for at in memmem::find_iter(&window, &ZSTD).take_while(|at| *at < until) {
            if let Some(carved) = at_magic(&window, at) {
                visit(carved);
            }
        }
        if last {
            return Ok(());
        }
        // The head of a frame stands before its magic.
        window.drain(..until.saturating_sub(frame::HEAD_BYTES));
    }
}

/// The places of the records of every whole frame among other bytes.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = Range<u64>> {
    memmem::find_iter(bytes, &ZSTD).filter_map(|at| {
        let begin = at.checked_sub(frame::HEAD_BYTES).filter(|begin| bytes.get(*begin) == Some(&frame::VERSION))?;
        let length = zstd_safe::find_frame_compressed_size(bytes.get(at..)?).ok()?;
        frame::numbers(bytes.get(begin..at + length + frame::CRC_BYTES)?)
    })
}

fn at_magic(window: &[u8], at: usize) -> Option<Carved> {
    let piece = window.get(at..(at + PIECE_BYTES).min(window.len()))?;
    let length = zstd_safe::find_frame_compressed_size(piece).ok()?;
    let frame = at.checked_sub(frame::HEAD_BYTES).and_then(|begin| window.get(begin..at + length + frame::CRC_BYTES));
    if let Some((first_seq, entries)) = frame.and_then(|frame| frame::decode(frame).ok()) {
        return Some(Carved::Frame(first_seq, entries));
    }
    let plain = unzip(piece.get(..length)?, CONTENT_BYTES_MAX + SALT_BYTES, None).ok()?;
    let (salt, bytes) = plain.split_first_chunk::<SALT_BYTES>()?;
    Some(Carved::Content(Content { salt: *salt, bytes: bytes.to_vec().into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Encoder;
    use keyward_core::clock::{AuditId, Timestamp};
    use keyward_record::Kind;

    #[test]
    fn frames_and_bodies_are_found_among_anything_and_damaged_ones_are_not() {
        let mut encoder = Encoder::new().unwrap();
        let entry = |n: u64| Entry { time: Timestamp(n), kind: Kind::Event, id: AuditId::new(), leaf: format!("{{\"n\":{n}}}").into() };
        let noise = |length: usize| {
            let mut bytes = vec![0; length];
            getrandom::fill(&mut bytes).unwrap();
            bytes
        };
        let frames: Vec<Vec<Entry>> = (0..40).map(|n| (0..=n % 32).map(|m| entry(n * 100 + m)).collect()).collect();
        let mut file = ZSTD.to_vec();
        for (n, entries) in frames.iter().enumerate() {
            let mut bytes = encoder.encode(n as u64, entries).unwrap();
            if n % 10 == 7 {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            file.extend(bytes);
            // So that some lie across the windows' edges.
            file.extend(noise(999_999));
        }
        file.extend(encoder.compress(&[[9; 32].as_slice(), b"a body"].concat()).unwrap());
        file.extend(ZSTD);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("db"), &file).unwrap();
        let (mut found, mut bodies) = (Vec::new(), Vec::new());
        carve(&dir.path().join("db"), &mut |carved| match carved {
            Carved::Frame(first_seq, entries) => found.push((first_seq, entries)),
            Carved::Content(content) => bodies.push((content.salt, content.bytes)),
        })
        .unwrap();
        found.dedup();
        let wanted: Vec<_> = frames.into_iter().enumerate().filter(|(n, _)| n % 10 != 7).map(|(n, frame)| (n as u64, frame)).collect();
        assert_eq!(found, wanted);
        assert!(bodies.contains(&([9; 32], bytes::Bytes::from_static(b"a body"))));
    }
}
