//! Writing the engine's file anew: what was removed from it stands in it until its place is used
//! again, and only a new file is sure not to have it.

use super::ballast;
use super::engine::Engine;
use super::opening::{open_engine, sync_directories};
use super::{REWRITE_KEY, StoreError, at, data_file};
use std::path::Path;

const NEW: &str = "trail.new";
/// Bytes of one batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Writes the engine's file anew if that was asked for, and opens the one that counts. Also a
/// sentence about it.
pub(super) fn rewritten(
    dir: &Path,
    trail: &Path,
    db: sled::Db,
) -> Result<(sled::Db, Option<String>), StoreError> {
    let new = dir.join(NEW);
    if new.exists() {
        // Half of a new one, or the old one: `trail` is whole in any case.
        std::fs::remove_dir_all(&new).map_err(at(&new))?;
    }
    if db.get(REWRITE_KEY)?.is_none() {
        return Ok((db, None));
    }
    let before = data_file(trail)?.metadata().map_or(0, |file| file.len());
    // The new file is no larger. A disk that is full is no reason not to open.
    if ballast::free_bytes(dir).map_err(at(dir))? < before.saturating_add(ballast::OPENING_BYTES) {
        let note =
            "the engine's file could not be written anew, for want of space: bodies that were erased may still be readable in its unused parts".to_owned();
        return Ok((db, Some(note)));
    }
    copy(&db, &new)?;
    drop(db);
    let exchanged = rustix::fs::renameat_with(
        rustix::fs::CWD,
        trail,
        rustix::fs::CWD,
        &new,
        rustix::fs::RenameFlags::EXCHANGE,
    );
    if let Err(error) = exchanged {
        std::fs::remove_dir_all(&new).map_err(at(&new))?;
        let note = format!(
            "the engine's file could not be exchanged for a new one ({error}): bodies that were erased may still be readable in its unused parts"
        );
        return Ok((open_engine(trail)?, Some(note)));
    }
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
    std::fs::remove_dir_all(&new).map_err(at(&new))?;
    let db = open_engine(trail)?;
    let after = data_file(trail)?.metadata().map_or(0, |file| file.len());
    Ok((
        db,
        Some(format!(
            "the engine's file was written anew after bodies were erased: {before} bytes before, {after} now"
        )),
    ))
}

/// Copies everything but the wish for it.
fn copy(db: &sled::Db, new: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(new).map_err(at(new))?;
    let copy = Engine::new(open_engine(new)?).map_err(at(new))?;
    let (mut writes, mut bytes) = (sled::Batch::default(), 0);
    for item in db.iter() {
        let (key, value) = item?;
        if key != REWRITE_KEY {
            bytes += key.len() + value.len();
            writes.insert(key, value);
        }
        if bytes >= BATCH_BYTES {
            copy.apply(std::mem::take(&mut writes))?;
            bytes = 0;
        }
    }
    copy.apply_and_flush(writes)?;
    drop(copy);
    sync_directories(new, 2)
}
