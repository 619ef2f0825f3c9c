//! What a damaged file of the engine still has: what the engine reads of a copy, and what is found
//! in the file without the engine, because a frame has its own beginning and its own checksum, and
//! so is told from whatever lies around it.

use super::{Examined, SALT_BYTES, SledStore, at};
use crate::frame;
use crate::store::{CONTENT_BYTES_MAX, Store, StoreError};
use crate::zipped::unzip;
use keyward_core::error_chain::error_chain;
use keyward_record::{Content, Entry};
use memchr::memmem;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use zstd::zstd_safe;

/// A copy of the damaged file, which the engine may try to read.
const COPY: &str = "salvage";
/// How a compressed piece begins.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// More than any piece has.
const PIECE_BYTES: usize = 128 * 1024;

/// Something whole that was found.
#[derive(Debug)]
pub enum Piece {
    /// Records that were stored together, and the place of the first.
    Records(u64, Vec<Entry>),
    /// A body, which does not say beside which record it was stored.
    Content(Content),
}

/// Shows everything whole that a damaged store still gives, the same thing more than once if it
/// stands there more than once. What keeps the engine from reading it, in a sentence.
///
/// # Errors
/// When the system does not let it be read: that is no damage.
pub fn pieces(
    dir: &Path,
    examined: &Examined,
    visit: &mut dyn FnMut(Piece),
) -> Result<Option<String>, StoreError> {
    let db = dir.join("trail").join("db");
    if !db.exists() {
        return Ok(Some("there is no file of the engine to look into".to_owned()));
    }
    let damage = match examined.damage.as_ref().filter(|damage| damage.deadly) {
        Some(damage) => Some(damage.what.clone()),
        None => by_engine(dir, visit)?.map(|damage| error_chain(&damage)),
    };
    carve(&db, visit).map_err(at(&db))?;
    Ok(damage.map(|damage| format!("the engine cannot read its file: {damage}")))
}

/// Reads what the engine can, from a copy: opening changes the file. What keeps it from that, if it
/// is damage.
fn by_engine(dir: &Path, visit: &mut dyn FnMut(Piece)) -> Result<Option<StoreError>, StoreError> {
    let copy = dir.join(COPY);
    if copy.exists() {
        std::fs::remove_dir_all(&copy).map_err(at(&copy))?;
    }
    copy_folder(&dir.join("trail"), &copy.join("trail"))?;
    let damage = match SledStore::open_copy(&copy) {
        Ok((store, _)) => {
            for frame in store.oldest_first(0).flatten() {
                (frame.first_seq..frame.end())
                    .filter_map(|seq| store.content(seq).ok().flatten())
                    .for_each(|content| visit(Piece::Content(content)));
                visit(Piece::Records(frame.first_seq, frame.entries));
            }
            None
        }
        Err(error) if error.is_of_the_system() => return Err(error),
        Err(error) => Some(error),
    };
    std::fs::remove_dir_all(&copy).map_err(at(&copy))?;
    Ok(damage)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(to).map_err(at(to))?;
    for file in std::fs::read_dir(from).map_err(at(to))? {
        let file = file.map_err(at(to))?;
        let (path, copy) = (file.path(), to.join(file.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            std::fs::copy(&path, &copy).map_err(at(to))?;
        }
    }
    Ok(())
}

/// Shows everything whole that a file holds.
fn carve(file: &Path, visit: &mut dyn FnMut(Piece)) -> io::Result<()> {
    let mut file = File::open(file)?;
    let mut window = Vec::new();
    loop {
        let read = file
            .by_ref()
            .take((WINDOW_BYTES - window.len().min(WINDOW_BYTES)) as u64)
            .read_to_end(&mut window)?;
        // What begins near the end may go on behind it.
        let last = read == 0;
        let until = if last { window.len() } else { window.len().saturating_sub(PIECE_BYTES) };
        for at in memmem::find_iter(&window, &ZSTD).take_while(|at| *at < until) {
            if let Some(piece) = at_magic(&window, at) {
                visit(piece);
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
        let begin = at
            .checked_sub(frame::HEAD_BYTES)
            .filter(|begin| bytes.get(*begin) == Some(&frame::VERSION))?;
        let length = zstd_safe::find_frame_compressed_size(bytes.get(at..)?).ok()?;
        frame::numbers(bytes.get(begin..at + length + frame::CRC_BYTES)?)
    })
}

fn at_magic(window: &[u8], at: usize) -> Option<Piece> {
    let piece = window.get(at..(at + PIECE_BYTES).min(window.len()))?;
    let length = zstd_safe::find_frame_compressed_size(piece).ok()?;
    let frame = at
        .checked_sub(frame::HEAD_BYTES)
        .and_then(|begin| window.get(begin..at + length + frame::CRC_BYTES));
    if let Some((first_seq, entries)) = frame.and_then(|frame| frame::decode(frame).ok()) {
        return Some(Piece::Records(first_seq, entries));
    }
    let plain = unzip(piece.get(..length)?, CONTENT_BYTES_MAX + SALT_BYTES, None).ok()?;
    let (salt, bytes) = plain.split_first_chunk::<SALT_BYTES>()?;
    Some(Piece::Content(Content { salt: *salt, bytes: bytes.to_vec().into() }))
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
        let entry = |n: u64| Entry {
            time: Timestamp(n),
            kind: Kind::Event,
            id: AuditId::new(),
            leaf: format!("{{\"n\":{n}}}").into(),
        };
        let noise = |length: usize| {
            let mut bytes = vec![0; length];
            getrandom::fill(&mut bytes).unwrap();
            bytes
        };
        let frames: Vec<Vec<Entry>> =
            (0..40).map(|n| (0..=n % 32).map(|m| entry(n * 100 + m)).collect()).collect();
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
        carve(&dir.path().join("db"), &mut |piece| match piece {
            Piece::Records(first_seq, entries) => found.push((first_seq, entries)),
            Piece::Content(content) => bodies.push((content.salt, content.bytes)),
        })
        .unwrap();
        found.dedup();
        let wanted: Vec<_> = frames
            .into_iter()
            .enumerate()
            .filter(|(n, _)| n % 10 != 7)
            .map(|(n, frame)| (n as u64, frame))
            .collect();
        assert_eq!(found, wanted);
        assert!(bodies.contains(&([9; 32], bytes::Bytes::from_static(b"a body"))));
    }
}
