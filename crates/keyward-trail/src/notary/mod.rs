//! The notary: what makes of a running trail a transparency log. It signs the tree's head every
//! second when it has grown, as a checkpoint over durable records only, and serves tiles and
//! records in the layout of C2SP's tiled logs.
//!
//! A start is held to what was signed before ([`continuity`]); whoever carries checkpoints off the
//! host takes them from the [`latest`]. The modules stand from the newest checkpoint outwards; a
//! module imports only from lines above its own.

pub mod latest;
pub mod continuity;
mod signing;
mod serve;

pub use crate::verify::TREE;
pub use serve::Served;

use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::store::Store;
use continuity::Opened;
use keyward_tlog::checkpoint_store::CheckpointStore;
use keyward_tlog::key::LogKey;
use keyward_tlog::note::Signed;
use keyward_tlog::tree::Levels;
use latest::{Latest, Lifecycle};
use signing::Signing;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The notary of a running trail.
pub struct Notary {
    store: Arc<dyn Store>,
    levels: Arc<Levels>,
    board: Arc<Latest>,
    key: LogKey,
    kept: CheckpointStore,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why there is no notary.
#[derive(Debug, thiserror::Error)]
pub enum NotaryError {
    /// What the start has found could not be recorded.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its thread could not be started.
    #[error("the notary cannot be started")]
    Thread(#[source] std::io::Error),
}

impl Notary {
    /// Records what the start has found, and begins to sign in the tree's folder `dir`, as often as
    /// `every`.
    ///
    /// # Errors
    /// When the journal cannot record that, or there is no thread.
    pub fn start(
        journal: &Journal,
        opened: Opened,
        dir: &Path,
        every: Duration,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, NotaryError> {
        let recorded = record(journal, &opened)?;
        let board = shown(&opened);
        let (store, durable) = journal.parts();
        let (levels, kept, key) =
            (opened.tree.levels(), opened.kept.clone(), opened.key.verifier().clone());
        metrics.checkpoint_failures.with_label_values(&["tree"]).inc_by(0);
        let signing = Signing {
            dir: dir.to_owned(),
            store: Arc::clone(&store),
            durable,
            feed: journal.feed(),
            kept: opened.kept,
            key: opened.key,
            endorsed_until: opened.old_key.map(|old| (old, recorded)),
            board: Arc::clone(&board),
            metrics: Arc::clone(metrics),
            every,
            levels: Arc::clone(&levels),
            known: opened.tree.size(),
            tree: Some(opened.tree),
            signed: opened.newest.as_ref().map(Signed::size),
            remembered: None,
        };
        let thread = std::thread::Builder::new()
            .name("keyward-notary".to_owned())
            .spawn(|| signing.run())
            .map_err(NotaryError::Thread)?;
        Ok(Self { store, levels, board, key, kept, thread: Mutex::new(Some(thread)) })
    }

    /// The key by which checkpoints are verified.
    pub fn key(&self) -> &LogKey {
        &self.key
    }

    /// The newest checkpoint.
    pub fn board(&self) -> &Arc<Latest> {
        &self.board
    }

    /// The tree's hashes.
    pub fn levels(&self) -> &Arc<Levels> {
        &self.levels
    }

    /// The checkpoints on disk.
    pub fn kept(&self) -> &CheckpointStore {
        &self.kept
    }

    /// Records under the newest checkpoint.
    pub fn signed(&self) -> u64 {
        self.board.newest().map_or(0, |newest| newest.size())
    }

    /// Signs what is durable by now, and ends. Call it when the journal is closed.
    pub fn close(&self) {
        self.board.advance(Lifecycle::Closing);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the notary did not end in order");
        }
        self.board.advance(Lifecycle::Closed);
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.close();
    }
}

/// Records what the start has found, durably. Where the trail then ends.
fn record(journal: &Journal, opened: &Opened) -> Result<u64, JournalError> {
    let mut end = 0;
    for event in &opened.events {
        end = journal.append_blocking(event.record())?.seq() + 1;
    }
    Ok(end)
}

/// The board, with what was signed before this run.
fn shown(opened: &Opened) -> Arc<Latest> {
    let board = Latest::default();
    let Some(newest) = &opened.newest else { return Arc::new(board) };
    let parse = |note: &[u8]| Signed::parse(note).ok().map(Arc::new);
    if let Some(newest) = parse(&newest.bytes()) {
        board.show(newest);
    }
    let cosigned = opened.kept.cosigned().ok().flatten().and_then(|note| parse(&note));
    if let Some(cosigned) = cosigned.filter(|cosigned| cosigned.size() <= newest.size()) {
        board.show_cosigned(cosigned);
    }
    Arc::new(board)
}

/// Copies a tree as its newest checkpoint covers it, and what is kept of checkpoints, while it
/// grows.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let copy = |name: &str| match std::fs::copy(from.join(name), to.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    // In this order each covers what was copied before it. Of what is appended to, the beginning is
    // whole.
    ["checkpoint.cosigned", "checkpoints.ndjson", "keys", "checkpoint"]
        .into_iter()
        .try_for_each(copy)?;
    (0..8).try_for_each(|level| copy(&format!("level{level}")))
}
