//! What stands between a directory and an open engine.

use super::log::SEGMENT;
use super::whole::examine;
use super::{StoreError, at, end};
use crate::segment::dictionary::Dictionaries;
use crate::segment::records::Records;
use crate::segment::{files, path as segment_path};
use keyward_core::durable;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// The engine's own, whose start it takes for granted: it waits for ever for what none of them
/// does. And the one beside it.
pub const ENGINE_THREADS: usize = 9;
const ENGINE_LOCK_WAIT: Duration = Duration::from_secs(5);

/// What a trail's folder has for folders, and for files; anything else in it is somebody else's.
pub(super) const FOLDERS: [&str; 5] = ["trail", "segments", "tree", "texts", "push"];
pub(super) const FILES: [&str; 3] = ["lock", "ballast", "operator.token"];

/// Where a store is founded anew, in the trail's folder; the file in it that says that it is whole,
/// and is to be put in its place; and the file that says that a backup is being restored.
pub(crate) const FOUNDING: &str = "founding";
pub(crate) const DECIDED: &str = "decided.json";
pub(crate) const RESTORING: &str = "restoring";

/// Whether something was begun with the whole folder and not ended, so that nothing of it may be
/// taken for the trail.
///
/// # Errors
/// What that is.
pub(super) fn check_ended(dir: &Path) -> Result<(), StoreError> {
    check_restored(dir)?;
    if dir.join(FOUNDING).join(DECIDED).exists() {
        Err(StoreError::HalfSalvaged(dir.to_owned()))
    } else {
        Ok(())
    }
}

/// Whether the folder is a whole one, as far as a restore is concerned.
///
/// # Errors
/// When a restore was cut.
pub(crate) fn check_restored(dir: &Path) -> Result<(), StoreError> {
    if dir.join(RESTORING).exists() {
        Err(StoreError::HalfRestored(dir.to_owned()))
    } else {
        Ok(())
    }
}

/// Takes the folder for this process, once it is known to have nothing in it that would be waited
/// for.
pub(crate) fn lock(dir: &Path) -> Result<File, StoreError> {
    look_for_strangers(dir)?;
    let path = dir.join("lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(StoreError::File { path, source }),
    }
}

/// A trail is plain files in folders. Whoever opens a pipe waits for ever, and a folder under a
/// file's name is told of by the system in words that nobody can follow.
fn look_for_strangers(dir: &Path) -> Result<(), StoreError> {
    for (folder, top) in
        std::iter::once((dir.to_owned(), true)).chain(FOLDERS.map(|name| (dir.join(name), false)))
    {
        let entries = match std::fs::read_dir(&folder) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                continue;
            }
            entries => entries.map_err(at(&folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(at(&folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            // A link is as good as what it leads to.
            let Ok(kind) = path.metadata().map(|metadata| metadata.file_type()) else { continue };
            let is = |names: &[&str]| names.iter().any(|known| name == **known);
            let wanted = match (top, kind.is_dir(), kind.is_file()) {
                (true, false, _) if is(&FOLDERS) => "folder",
                (true, true, _) if is(&FILES) => "file",
                // The engine has a folder of its own in its folder.
                (false, true, _)
                    if !(folder.ends_with("trail") && name == "blobs"
                        || folder.ends_with("tree") && name == "new") =>
                {
                    "file"
                }
                (_, false, false) => "file",
                _ => continue,
            };
            return Err(StoreError::Stranger { path, wanted });
        }
    }
    Ok(())
}

/// Refuses what the engine would not open as it was written: it cuts off and zeroes whatever it
/// cannot read.
///
/// # Errors
/// What is wrong, from which record on, and what helps.
pub(super) fn check_whole(dir: &Path, trail: &Path) -> Result<(), StoreError> {
    let damaged = |why: String| Err(StoreError::Damaged { dir: dir.to_owned(), why });
    let db = trail.join("db");
    let (noted, signed) = (end::noted(trail), signed_end(dir));
    if !db.exists() {
        // One that was never written to is founded. Where all of the folder is gone there is
        // nothing to be taken away.
        let begun = |name: &str| name.starts_with("snap.");
        let begun = std::fs::read_dir(trail).is_ok_and(|mut files| {
            files.any(|file| file.is_ok_and(|file| begun(&file.file_name().to_string_lossy())))
        });
        let missing = trail.exists() && (begun || noted > 0 || signed > 0);
        return if missing {
            damaged(format!("its file `{}` is missing. {PROVED}", db.display()))
        } else {
            Ok(())
        };
    }
    let examined = examine(trail).map_err(at(trail))?;
    if let Some(damage) = examined.damage {
        return damaged(format!(
            "its file `{}` is damaged: {}; record {} and what follows may be concerned. {PROVED}",
            db.display(),
            damage.what,
            damage.from
        ));
    }
    // What is signed binds whoever opens only where opening would change something: others can say
    // more of it.
    let known = if examined.torn || examined.end == 0 { noted.max(signed) } else { noted };
    if examined.end >= known {
        return Ok(());
    }
    let end = examined.end.max(sealed_end(dir));
    if end >= known {
        return Ok(());
    }
    let told =
        if known == noted { "it was closed with" } else { "its newest checkpoint was signed over" };
    damaged(format!(
        "{told} {known} records, and there are only {end} that are whole: the last {} are cut off or damaged. {PROVED}",
        known - end
    ))
}

/// What stays as it was, whatever became of the engine's file.
const PROVED: &str = "Sealed segments have files of their own, and checkpoints prove every record that is found again. Nothing was changed";

/// Records that the newest checkpoint beside the trail was signed over, whoever signed it.
fn signed_end(dir: &Path) -> u64 {
    let note = durable::read_text(&dir.join("tree/checkpoint")).unwrap_or_default();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// Where the last sealed segment ends.
fn sealed_end(dir: &Path) -> u64 {
    let segments = dir.join("segments");
    let last = files(&segments)
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, kind)| kind == "records")
        .map(|(first_seq, _)| first_seq)
        .max();
    let records = last.and_then(|first| {
        Records::open(&segment_path(&segments, first, "records"), &Dictionaries::default()).ok()
    });
    records.map_or(0, |records| records.first_seq().saturating_add(u64::from(records.count())))
}

/// sled keeps its own lock for a moment after it was dropped, until its threads have let go of the
/// file. No other process can be meant: ours is held already.
pub(super) fn open_engine(trail: &Path) -> Result<sled::Db, sled::Error> {
    let config = sled::Config::new().path(trail).segment_size(SEGMENT).cache_capacity(CACHE_BYTES);
    let begun = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && begun.elapsed() < ENGINE_LOCK_WAIT =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

/// A snapshot that was being written when the process died can keep sled from opening. It is
/// derived from the log, so it is put away, not deleted: somebody may want to look at it.
pub(super) fn move_leftovers_aside(dir: &Path, trail: &Path) -> Result<Vec<String>, StoreError> {
    let mut notes = Vec::new();
    for file in std::fs::read_dir(trail).map_err(at(trail))? {
        let file = file.map_err(at(trail))?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let aside = dir.join("aside");
            std::fs::create_dir_all(&aside).map_err(at(&aside))?;
            let to = aside.join(format!("{name}.{}", keyward_core::clock::Timestamp::now().0));
            std::fs::rename(file.path(), &to).map_err(at(&to))?;
            notes.push(format!(
                "an unfinished snapshot was moved to `{}`; records do not depend on it",
                to.display()
            ));
        }
    }
    Ok(notes)
}

/// A file survives a power cut only if its name does: syncs what creation has written and sled has
/// not synced, and the names of `levels` directories from the trail upwards.
pub(super) fn sync_directories(trail: &Path, levels: usize) -> Result<(), StoreError> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(at(path));
    for file in std::fs::read_dir(trail).map_err(at(trail))? {
        sync(&file.map_err(at(trail))?.path())?;
    }
    trail.ancestors().take(levels).try_for_each(sync)
}

/// What the engine says when it finds its own file not as it wrote it; what the system said of the
/// disk is no such thing.
pub(super) fn damaged(dir: &Path, source: sled::Error) -> StoreError {
    let of_its_file = [
        ErrorKind::InvalidData,
        ErrorKind::InvalidInput,
        ErrorKind::Other,
        ErrorKind::UnexpectedEof,
    ];
    let why = match &source {
        sled::Error::Io(error) if !of_its_file.contains(&error.kind()) => return source.into(),
        // The engine's own words are for its makers.
        sled::Error::Corruption { .. } => "it reads something else than it wrote".to_owned(),
        _ => source.to_string(),
    };
    StoreError::Damaged { dir: dir.to_owned(), why }
}
