//! The evidence: what makes of the trail something that others can check, with software that we did not write.
//!
//! Each record is a leaf of a Merkle tree (RFC 6962). A notary signs the tree's head every second when it has grown, as a
//! checkpoint in the form of C2SP's signed notes, over durable records only; publishers carry it to places off the host.
//! Tiles and checkpoint are served in the layout of C2SP's tiled logs. What a checkpoint covers and somebody else holds
//! cannot be changed, removed or reordered without showing.
//!
//! The modules stand from the tree outwards; a module imports only from lines above its own.

pub mod tree;
pub mod key;
pub mod note;
pub mod kept;
pub mod board;
pub mod start;
mod notary;

use crate::audit::journal::{self, Journal, JournalError, Recovery};
use crate::audit::leaf;
use crate::audit::store::Store;
use crate::metrics::Metrics;
use board::Board;
use key::LogKey;
use notary::Notary;
use start::{Opened, Start};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tree::Levels;

/// The tree's folder in the trail's.
pub const TREE: &str = "tree";

/// How evidence is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The signing key's file.
    pub key_file: PathBuf,
    /// The log's name, for a new key.
    pub origin: Option<String>,
    /// How often a grown tree is signed.
    pub every: Duration,
    /// Why an operator accepts a trail that does not continue what was signed.
    pub accept: Option<String>,
}

/// The evidence of a running gateway.
pub struct Evidence {
    store: Arc<dyn Store>,
    levels: Arc<Levels>,
    board: Arc<Board>,
    key: LogKey,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Why the trail could not be opened with its evidence.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The trail.
    #[error("audit log {dir}")]
    Journal {
        /// The folder.
        dir: String,
        /// Why.
        source: JournalError,
    },
    /// A thread could not be started.
    #[error("the notary cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Opens the trail, compares it with what was signed before, and starts the notary.
///
/// # Errors
/// When the trail cannot be opened, or does not continue what was signed.
pub fn open(journal: journal::Settings, evidence: &Settings, metrics: Arc<Metrics>) -> Result<(Journal, Recovery, Evidence), OpenError> {
    let dir = journal.dir.clone();
    let start = Start { dir: dir.join(TREE), key_file: evidence.key_file.clone(), origin: evidence.origin.clone(), accept: evidence.accept.clone() };
    let check = |store: &dyn Store| start.check(store, Vec::new()).map_err(|error| start::causes(&error));
    let failed = |source| OpenError::Journal { dir: dir.display().to_string(), source };
    let (journal, mut recovery, mut opened) = Journal::open_checked(journal, Arc::clone(&metrics), check).map_err(failed)?;
    recovery.notes.append(&mut opened.notes);
    let recorded = record(&journal, &opened).map_err(failed)?;
    let evidence = Evidence::start(&journal, opened, recorded, start.dir, evidence.every, metrics).map_err(OpenError::Thread)?;
    Ok((journal, recovery, evidence))
}

/// Records what the start has found, durably. Where the trail then ends.
fn record(journal: &Journal, opened: &Opened) -> Result<u64, JournalError> {
    let mut end = 0;
    for (event, detail) in &opened.events {
        end = journal.append_blocking(leaf::event(event, detail.clone()))?.seq() + 1;
    }
    Ok(end)
}

impl Evidence {
    fn start(journal: &Journal, opened: Opened, recorded: u64, dir: PathBuf, every: Duration, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (store, durable) = journal.parts();
        let board = Arc::new(Board::default());
        let levels = opened.tree.levels();
        let key = opened.key.verifier().clone();
        let signed = opened.newest.as_ref().map(note::Signed::size);
        if let Some(newest) = opened.newest {
            board.show(Arc::new(newest));
        }
        let notary = Notary {
            dir,
            store: Arc::clone(&store),
            durable,
            feed: journal.feed(),
            kept: opened.kept,
            key: opened.key,
            endorsed_until: opened.old_key.map(|old| (old, recorded)),
            board: Arc::clone(&board),
            metrics,
            every,
            tree: Some(opened.tree),
            levels: Arc::clone(&levels),
            signed,
            remembered: None,
        };
        let thread = std::thread::Builder::new().name("keyward-notary".to_owned()).spawn(|| notary.run())?;
        Ok(Self { store, levels, board, key, threads: Mutex::new(vec![thread]) })
    }

    /// The key by which checkpoints are verified.
    pub fn key(&self) -> &LogKey {
        &self.key
    }

    /// The newest checkpoint.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Signs what is durable by now and ends. Call it when the journal is closed.
    pub fn close(&self) {
        self.board.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the evidence did not end in order");
            }
        }
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        self.close();
    }
}
