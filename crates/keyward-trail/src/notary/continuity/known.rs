//! What a start may believe: the folder alone says nothing that somebody who can write there could
//! not have made up.

use super::{KnownCheckpoint, StartError, at};
use crate::notary::TREE;
use crate::store::Store;
use crate::tombstone::Removal;
use keyward_record::Event;
use keyward_tlog::checkpoint_store::CheckpointStore;
use keyward_tlog::key::{LogKey, SigningKey};
use keyward_tlog::note::Signed;
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// The checkpoint over the most records that is kept for good and was not disowned. A line that no
/// key has signed, as a damaged disk may leave it, is none.
pub fn kept_largest(
    kept: &CheckpointStore,
    keys: &[LogKey],
) -> io::Result<Option<KnownCheckpoint>> {
    let history = kept.history()?;
    let disowned: HashSet<&str> =
        history.iter().filter(|past| past.disowned()).map(|past| past.note.as_str()).collect();
    let mut all: Vec<_> = history
        .iter()
        .filter(|past| !disowned.contains(past.note.as_str()))
        .filter_map(|past| Some((Signed::parse(past.note.as_bytes()).ok()?.size(), past)))
        .collect();
    all.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let largest =
        all.into_iter().find(|(_, past)| Signed::open(past.note.as_bytes(), keys).is_ok());
    Ok(largest.map(|(_, past)| KnownCheckpoint {
        place: kept.history_file().display().to_string(),
        note: past.note.clone().into_bytes(),
    }))
}

/// Refuses a pruning that no gateway with this key can have done: one removes nothing before the
/// record that tells of it is signed.
pub(super) fn foreign_pruning(store: &dyn Store, signed: u64) -> Result<(), StartError> {
    match store
        .tombstones()
        .iter()
        .find(|gone| gone.why == Removal::Pruned && gone.told_by >= signed)
    {
        None => Ok(()),
        Some(gone) => Err(StartError::Broken(format!(
            "records {} to {} are gone, pruned as record {} says, but no checkpoint that is known here covers that record, and a gateway signs it before \
             it prunes: somebody else may have removed them",
            gone.first_seq,
            gone.end.saturating_sub(1),
            gone.told_by
        ))),
    }
}

/// Whether a trail of so many records has all that its newest checkpoint was signed over. Whoever
/// answers from a stopped gateway's folder asks first: the engine takes records that it cannot read
/// at its end for such as were never written.
///
/// # Errors
/// When it has not, or the checkpoint cannot be read.
pub fn is_whole(dir: &Path, end: u64) -> Result<(), StartError> {
    let kept = CheckpointStore::new(&dir.join(TREE));
    let newest = kept.newest().map_err(at("the newest checkpoint"))?;
    let largest = kept_largest(&kept, &kept.keys().unwrap_or_default())
        .map_err(at("the history of checkpoints"))?;
    let notes = newest.into_iter().chain(largest.map(|known| known.note));
    let signed = notes
        .filter_map(|note| Signed::parse(&note).ok())
        .map(|signed| signed.size())
        .max()
        .unwrap_or(0);
    if end < signed {
        Err(StartError::CutShort { dir: dir.to_owned(), end, signed, missing: signed - end })
    } else {
        Ok(())
    }
}

/// What is said of a key that is older than the trail.
pub(super) fn orphaned_key(key_file: &Path, key: &SigningKey) -> String {
    format!(
        "the trail is empty, and the signing key `{}` ({}) was there before it: if that has signed another trail, the other one is not here, and what is \
         begun now does not continue it. Put the trail's folder back, or see whether it is mounted; or name a new file in `evidence.key_file`",
        key_file.display(),
        key.verifier()
    )
}

/// Records behind everything that was signed are signed from now on, as a crash needs it. It is on
/// record: until then, whoever could write into the folder could have written them.
pub(super) fn unsigned(signed: u64, end: u64, notes: &mut Vec<String>) -> Option<Event> {
    let last = end.checked_sub(1).filter(|last| *last >= signed)?;
    notes.push(format!(
        "records {signed} to {last} stand behind the newest checkpoint, as after a crash: they are signed from now on, and that nobody vouched for them \
         until now is on record"
    ));
    Some(Event::UnsignedRecordsFound { first: signed, last })
}

/// That an operator went on, and over what.
pub(super) fn accepted(reason: &str, problem: String, key: Option<&LogKey>) -> Event {
    let key = key.map(ToString::to_string);
    Event::TrailAccepted {
        reason: reason.to_owned(),
        problem,
        key,
        checkpoints: None,
        found: None,
        hashes_unproven: Vec::new(),
    }
}
