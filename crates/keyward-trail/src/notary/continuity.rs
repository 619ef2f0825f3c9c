//! The start: does the trail still begin with what was signed before?
//!
//! The newest checkpoints that are known, here and off the host, must be of trees that this trail's
//! tree grows from. A trail that is shorter, or other, is not continued unless an operator says
//! why; that becomes a record.

mod grow;
pub mod known;

use crate::store::{Store, StoreError};
use crate::tombstone::skip_tombstones;
use grow::{build, put_in_place};
use keyward_core::error_chain::error_chain;
use keyward_record::Event;
use keyward_record::event::{Span, TreeHead};
use keyward_record::leaf_hash;
use keyward_tlog::checkpoint_store::{CheckpointStore, Why};
use keyward_tlog::key::{KeyError, LogKey, SigningKey};
use keyward_tlog::note::Signed;
use keyward_tlog::tree::{self, Levels, Tiles, Tree};
use known::{accepted, foreign_pruning, kept_largest, orphaned_key, unsigned};
use std::io;
use std::path::{Path, PathBuf};
use tlog_tiles::{HASH_SIZE, Hash};

pub use grow::{Gone, catch_up};
pub use known::is_whole;

/// Signed records before the end that are compared with their hashes at each start: some tens of
/// milliseconds.
const RECENT: u64 = 4096;

/// Why the trail is not continued.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The trail does not continue what was signed.
    #[error(
        "{0}. If you know why and want to go on, start once with `--accept-trail \"WHY\"`: your reason becomes a record, and whoever verifies is shown it"
    )]
    Broken(String),
    /// The tree does not have hashes that nothing else has.
    #[error(
        "records {first} to {last} are gone from the trail, and only the files of the tree have their hashes: they cannot be read there. Restore the tree's folder from a backup"
    )]
    Hashes {
        /// The first of the records.
        first: u64,
        /// The last.
        last: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The trail cannot be read.
    #[error("the trail cannot be read{hint}")]
    Unreadable {
        /// What to do.
        hint: &'static str,
        /// Why.
        source: StoreError,
    },
    /// The trail's end is missing.
    #[error(
        "the trail has {end} records, but its newest checkpoint was signed over {signed}: the last {missing} are missing; `keyward audit salvage --dir {dir} --reason WHY` looks for them, and says what is lost"
    )]
    CutShort {
        /// The trail's folder.
        dir: PathBuf,
        /// Records that are there.
        end: u64,
        /// Records that there were.
        signed: u64,
        /// How many are missing.
        missing: u64,
    },
    /// The tree cannot be read or written.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What there is to go on with.
pub struct Opened {
    /// The tree over all that is stored.
    pub tree: Tree,
    /// What is kept of checkpoints.
    pub kept: CheckpointStore,
    /// The key that signs.
    pub key: SigningKey,
    /// The key that signed before, when it endorses the new one.
    pub old_key: Option<SigningKey>,
    /// The newest checkpoint of this tree, when there is one.
    pub newest: Option<Signed>,
    /// What must be recorded before anything else: an event's name and its detail.
    pub events: Vec<Event>,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

/// A checkpoint that somebody has.
#[derive(Clone, Debug)]
pub struct KnownCheckpoint {
    /// Where it was found.
    pub place: String,
    /// The note.
    pub note: Vec<u8>,
}

/// What the start is given.
#[derive(Clone, Debug)]
pub struct Start {
    /// The folder of the tree.
    pub dir: PathBuf,
    /// The signing key's file.
    pub key_file: PathBuf,
    /// The log's name for a new key.
    pub origin: Option<String>,
    /// Why an operator accepts a trail that does not continue what was signed.
    pub accept: Option<String>,
}

impl Start {
    /// Compares what is stored with the newest known checkpoints, and brings the tree up to date.
    ///
    /// # Errors
    /// When the trail does not continue them, the key cannot be used, or the disk fails.
    pub fn check(
        &self,
        store: &dyn Store,
        elsewhere: Vec<KnownCheckpoint>,
    ) -> Result<Opened, StartError> {
        std::fs::create_dir_all(&self.dir).map_err(at("the tree's folder"))?;
        let kept = CheckpointStore::new(&self.dir);
        let (mut notes, mut events) = (Vec::new(), Vec::new());
        let orphaned = self.key_file.exists()
            && !kept.is_begun()
            && store.newest_first(u64::MAX).next().is_none()
            && store.tombstones().is_empty();
        let key = self.signing_key(&kept, &mut notes)?;
        if orphaned {
            let why = orphaned_key(&self.key_file, &key);
            let reason = self.accept.as_ref().ok_or_else(|| StartError::Broken(why.clone()))?;
            events.push(accepted(reason, why, Some(key.verifier())));
        }
        let (old_key, keys) = match self.old_key(&kept, &key) {
            Ok(found) => found,
            Err(why) => {
                let reason = self.accept.as_ref().ok_or_else(|| StartError::Broken(why.clone()))?;
                events.push(accepted(reason, why, Some(key.verifier())));
                kept.mend_keys().map_err(at("the list of keys"))?;
                self.old_key(&kept, &key).unwrap_or_else(|_| (None, vec![key.verifier().clone()]))
            }
        };
        let mut known = elsewhere;
        let newest = kept.newest().map_err(at("the newest checkpoint"))?;
        let local = newest.is_some();
        if let Some(note) = newest {
            known.insert(
                0,
                KnownCheckpoint { place: self.dir.join("checkpoint").display().to_string(), note },
            );
        }
        known.extend(kept_largest(&kept, &keys).map_err(at("the history of checkpoints"))?);
        let checked = continues(&self.dir, store, local, &known, &keys, &mut notes);
        let (tree, newest) = match (checked, &self.accept) {
            (Ok((tree, newest)), _) => {
                events.extend(unsigned(
                    newest.as_ref().map_or(0, Signed::size),
                    tree.size(),
                    &mut notes,
                ));
                (tree, newest)
            }
            (Err(StartError::Broken(why)), Some(reason)) => {
                let new = self.dir.join("new");
                let tree = build(&new, store, &self.dir)?;
                let unproven =
                    unproven(&self.dir, store, local.then(|| known.first()).flatten(), &keys);
                disown(&kept, &tree, &known)?;
                put_in_place(&self.dir, &new)?;
                let checkpoints: Vec<_> =
                    known.iter().map(|k| String::from_utf8_lossy(&k.note).into_owned()).collect();
                let root = tree::root(&*tree.levels(), tree.size()).map_err(broken_tree)?;
                if !unproven.is_empty() {
                    notes.push(
                        "nothing that was signed vouches for the hashes that the tree has of some records that are gone: the record of this says which"
                            .to_owned(),
                    );
                }
                events.push(Event::TrailAccepted {
                    reason: reason.clone(),
                    problem: why,
                    key: None,
                    checkpoints: Some(checkpoints),
                    found: Some(TreeHead { size: tree.size(), root: root.to_string() }),
                    hashes_unproven: unproven,
                });
                (tree, None)
            }
            (Err(error), _) => return Err(error),
        };
        if self.accept.is_some() && events.is_empty() {
            notes.push(
                "`--accept-trail` was not needed: the trail continues what was signed".to_owned(),
            );
        }
        if let Some(old) = &old_key {
            events.push(Event::CheckpointKeyChanged {
                from: old.verifier().to_string(),
                to: key.verifier().to_string(),
            });
        } else if keys.last().is_none_or(|last| !kept.keys().is_ok_and(|kept| kept.contains(last)))
        {
            kept.add_key(key.verifier()).map_err(at("the list of keys"))?;
        }
        Ok(Opened { tree, kept, key, old_key, newest, events, notes })
    }

    fn signing_key(
        &self,
        kept: &CheckpointStore,
        notes: &mut Vec<String>,
    ) -> Result<SigningKey, StartError> {
        let key = if self.key_file.exists() {
            SigningKey::read(&self.key_file)?
        } else {
            let name = match (&self.origin, kept.keys().map_err(at("the list of keys"))?.last()) {
                (Some(origin), _) => origin.clone(),
                (None, Some(last)) => last.origin().to_owned(),
                (None, None) => default_origin()?,
            };
            kept.begin().map_err(at("the list of keys"))?;
            let key = SigningKey::create(&self.key_file, &name)?;
            let path = self.key_file.display();
            notes.push(format!(
                "a new key for signing checkpoints was made in `{path}`: keep it away from whoever may change the trail. Its verifier key, for whoever \
                 verifies: {}",
                key.verifier()
            ));
            key
        };
        match &self.origin {
            Some(wanted) if wanted != key.verifier().origin() => Err(KeyError::Origin {
                path: self.key_file.clone(),
                found: key.verifier().origin().to_owned(),
                wanted: wanted.clone(),
            }
            .into()),
            _ => Ok(key),
        }
    }

    /// The key that signed last, when it is not the one that signs now, and all keys that have
    /// signed.
    fn old_key(
        &self,
        kept: &CheckpointStore,
        key: &SigningKey,
    ) -> Result<(Option<SigningKey>, Vec<LogKey>), String> {
        let mut keys =
            kept.keys().map_err(|error| format!("the list of keys cannot be read: {error}"))?;
        let Some(last) = keys.last().filter(|last| *last != key.verifier()).cloned() else {
            if keys.is_empty() {
                keys.push(key.verifier().clone());
            }
            return Ok((None, keys));
        };
        let file = old_key_file(&self.key_file);
        let sentence = |why: String| {
            format!(
                "the checkpoints so far are signed by {last}, the key in `{}` is another, and the old one does not endorse it: {why}",
                self.key_file.display()
            )
        };
        let old = SigningKey::read(&file).map_err(|error| sentence(error_chain(&error)))?;
        if *old.verifier() != last {
            return Err(sentence(format!("`{}` holds {}", file.display(), old.verifier())));
        }
        if last.origin() != key.verifier().origin() {
            return Err(sentence(format!("it is for the log `{}`", key.verifier().origin())));
        }
        keys.push(key.verifier().clone());
        Ok((Some(old), keys))
    }
}

/// Where the key that signed before is looked for, beside the one that signs.
pub fn old_key_file(key_file: &Path) -> PathBuf {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// A name of its own for a log that was given none.
fn default_origin() -> Result<String, KeyError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| KeyError::Random(error.to_string()))?;
    Ok(format!("keyward.invalid/{}", hex::encode(random)))
}

/// The tree over all that is stored, if it grows from every known checkpoint; and the newest of
/// them. `local` is the one that was stored with the tree.
fn continues(
    dir: &Path,
    store: &dyn Store,
    local: bool,
    known: &[KnownCheckpoint],
    keys: &[LogKey],
    notes: &mut Vec<String>,
) -> Result<(Tree, Option<Signed>), StartError> {
    let end = store
        .newest_first(u64::MAX)
        .next()
        .transpose()
        .map_err(unreadable)?
        .map_or(0, |frame| frame.end());
    let mut signed = Vec::new();
    for known in known {
        let opened = Signed::open(&known.note, keys);
        let opened = opened.map_err(|error| {
            StartError::Broken(format!(
                "the checkpoint in `{}` cannot be used: {error}",
                known.place
            ))
        })?;
        if opened.size() > end {
            return Err(StartError::Broken(format!(
                "the trail has {end} records, but the checkpoint in `{}` was signed over {}: the last {} are missing; `keyward audit salvage` may find \
                 them again",
                known.place,
                opened.size(),
                opened.size() - end
            )));
        }
        signed.push((known.place.as_str(), opened));
    }
    foreign_pruning(store, signed.iter().map(|(_, signed)| signed.size()).max().unwrap_or(0))?;
    let stored = signed.first().filter(|_| local).map(|(_, signed)| signed);
    let tree = match stored.map_or_else(
        || Err("there is no checkpoint beside it".to_owned()),
        |stored| usable(dir, stored),
    ) {
        Ok(levels) => {
            let size = stored.map_or(0, Signed::size);
            if let Some(record) =
                first_difference(&levels, store, size.saturating_sub(RECENT), size)?
            {
                return Err(StartError::Broken(format!(
                    "record {record} is not the one that was signed"
                )));
            }
            drop(levels);
            if let Some(gone) = store.tombstones().iter().find(|absent| absent.end > size) {
                // To open it would take away what its files have beyond the checkpoint.
                return Err(StartError::Broken(format!(
                    "records {} to {} are gone, and the checkpoint in `{}` does not cover them",
                    gone.first_seq,
                    gone.end - 1,
                    dir.join("checkpoint").display()
                )));
            }
            let mut tree = Tree::open(dir, size).map_err(at("the tree"))?;
            catch_up(&mut tree, store, end, &Gone::of(store, None))?;
            agree(&tree, &signed, false)?;
            tree
        }
        Err(why) => {
            let new = dir.join("new");
            let tree = build(&new, store, dir)?;
            agree(&tree, &signed, !store.tombstones().is_empty())?;
            put_in_place(dir, &new)?;
            if tree.size() > 0 {
                let taken = if store.tombstones().is_empty() {
                    ""
                } else {
                    ", and from the hashes of those that are gone"
                };
                notes.push(format!(
                    "the tree was computed anew from all {} records{taken}: {why}",
                    tree.size()
                ));
            }
            tree
        }
    };
    Ok((tree, signed.into_iter().map(|(_, signed)| signed).max_by_key(Signed::size)))
}

/// The tree's own files, when they are those over which the stored checkpoint was signed.
fn usable(dir: &Path, stored: &Signed) -> Result<Levels, String> {
    let levels =
        Levels::open(dir).map_err(|error| format!("its files cannot be opened ({error})"))?;
    let unreadable =
        |error: &dyn std::fmt::Display| format!("its files could not be read ({error})");
    let foreign = || "its files were not those that the checkpoint was signed over".to_owned();
    let (size, root) = (stored.size(), stored.root());
    if tree::root(&levels, size).map_err(|e| unreadable(&e))? != root {
        return Err(foreign());
    }
    // The tiles that records are compared with must be the signed ones too.
    if proven(&levels, stored, size.saturating_sub(RECENT)..size) {
        Ok(levels)
    } else {
        Err(foreign())
    }
}

/// Whether the hashes that a tree's files have of some records are the signed ones: a proof from
/// each tile leads to the root.
fn proven(levels: &Levels, signed: &Signed, records: std::ops::Range<u64>) -> bool {
    let width = u64::from(tree::TILE_WIDTH);
    let leads = |n: u64| {
        let first = levels.tile(0, n, 1).ok()?;
        tree::inclusion(
            levels,
            signed.size(),
            signed.root(),
            n * width,
            *first.first_chunk::<HASH_SIZE>()?,
        )
        .ok()
    };
    records.end <= signed.size()
        && (records.start / width..records.end.div_ceil(width)).all(|n| leads(n).is_some())
}

/// Records that are gone and for whose hashes the newest checkpoint, stored with them, does not
/// vouch.
fn unproven(
    dir: &Path,
    store: &dyn Store,
    newest: Option<&KnownCheckpoint>,
    keys: &[LogKey],
) -> Vec<Span> {
    let old = newest
        .and_then(|newest| Some((Signed::open(&newest.note, keys).ok()?, Levels::open(dir).ok()?)));
    let vouched =
        |range| old.as_ref().is_some_and(|(signed, levels)| proven(levels, signed, range));
    let gone = store.tombstones();
    let left = gone.iter().filter(|gone| !vouched(gone.range()));
    left.map(|gone| Span::of(&gone.range())).collect()
}

/// `taken` says that the tree has hashes from old files, of records that are gone.
fn agree(tree: &Tree, signed: &[(&str, Signed)], taken: bool) -> Result<(), StartError> {
    let Some(place) = disagreeing(&tree.levels(), signed)? else { return Ok(()) };
    let taken = if taken {
        ", or the hashes that the tree's files have of records that are gone are not: a backup of those files may help"
    } else {
        ""
    };
    Err(StartError::Broken(format!(
        "the records are not those over which the checkpoint in `{place}` was signed{taken}"
    )))
}

/// The place of a checkpoint whose root is not this tree's.
fn disagreeing<'a>(
    levels: &Levels,
    signed: &[(&'a str, Signed)],
) -> Result<Option<&'a str>, StartError> {
    for (place, signed) in signed {
        if tree::root(levels, signed.size()).map_err(broken_tree)? != signed.root() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The first record of `from..to` that does not have the hash that the tree has of it.
fn first_difference(
    levels: &Levels,
    store: &dyn Store,
    from: u64,
    to: u64,
) -> Result<Option<u64>, StartError> {
    let width = u64::from(tree::TILE_WIDTH);
    let mut tile: Option<(u64, Vec<Hash>)> = None;
    let gone = store.tombstones();
    let mut expected = skip_tombstones(&gone, from);
    for frame in store.oldest_first(from) {
        let frame = frame.map_err(unreadable)?;
        for (seq, entry) in (frame.first_seq..).zip(&frame.entries).filter(|(seq, _)| *seq >= from)
        {
            if seq >= to {
                return Ok(None);
            }
            if seq != expected {
                return Ok(Some(expected));
            }
            expected = skip_tombstones(&gone, expected + 1);
            let n = seq / width;
            if tile.as_ref().is_none_or(|(held, _)| *held != n) {
                let count = u32::try_from(width.min(to - n * width)).unwrap_or(tree::TILE_WIDTH);
                let bytes = levels.tile(0, n, count).map_err(at("the tree"))?;
                tile = Some((
                    n,
                    bytes.as_chunks::<HASH_SIZE>().0.iter().map(|hash| Hash(*hash)).collect(),
                ));
            }
            let at = usize::try_from(seq % width).unwrap_or_default();
            if tile
                .as_ref()
                .and_then(|(_, hashes)| hashes.get(at))
                .is_none_or(|hash| hash.0 != leaf_hash(&entry.leaf))
            {
                return Ok(Some(seq));
            }
        }
    }
    Ok(if expected < to { Some(expected) } else { None })
}

/// Marks every checkpoint that this tree does not grow from; they stay in the history.
fn disown(
    kept: &CheckpointStore,
    tree: &Tree,
    known: &[KnownCheckpoint],
) -> Result<(), StartError> {
    let levels = tree.levels();
    let grows = |note: &[u8]| {
        let signed = Signed::parse(note).ok().filter(|signed| signed.size() <= tree.size());
        signed.is_some_and(|signed| {
            tree::root(&*levels, signed.size()).is_ok_and(|root| root == signed.root())
        })
    };
    let past = kept.history().map_err(at("the history of checkpoints"))?;
    let notes: std::collections::BTreeSet<_> = known
        .iter()
        .map(|k| k.note.clone())
        .chain(past.into_iter().map(|past| past.note.into_bytes()))
        .collect();
    for note in notes.iter().filter(|note| !grows(note)) {
        kept.remember(Why::Disowned, note).map_err(at("the history of checkpoints"))?;
    }
    kept.drop_newest().map_err(at("the newest checkpoint"))
}

fn at(what: &str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what: what.to_owned(), source }
}

fn unreadable(error: StoreError) -> StartError {
    StartError::Unreadable { hint: error.hint(), source: error }
}

fn broken_tree(error: tlog_tiles::Error) -> StartError {
    StartError::Io {
        what: "the tree cannot be read".to_owned(),
        source: io::Error::other(error.to_string()),
    }
}

/// Why there is no start, in one line, and what to do.
pub fn refusal(error: &StartError) -> String {
    let remedy = if matches!(error, StartError::Io { .. } | StartError::Key(KeyError::Io { .. })) {
        "; see to the disk, then start again"
    } else {
        ""
    };
    error_chain(error) + remedy
}

#[cfg(test)]
mod tests;
