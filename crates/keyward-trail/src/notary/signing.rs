//! The notary's thread: it grows the tree over durable records and signs its head when it has
//! grown.
//!
//! It never holds up the journal's writer: it is handed hashes and reads the store. When the disk
//! fails it, it opens its files anew at the last checkpoint, and metrics tell how far behind it is.

use super::continuity::{Gone, StartError, catch_up};
use super::latest::{Latest, Lifecycle};
use crate::journal::feed::Feed;
use crate::metrics::Metrics;
use crate::store::Store;
use keyward_core::clock::Timestamp;
use keyward_core::error_chain::error_chain;
use keyward_tlog::checkpoint_store::{CheckpointStore, Why};
use keyward_tlog::key::SigningKey;
use keyward_tlog::note::Signed;
use keyward_tlog::tree::{self, Levels, Tree};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a checkpoint is kept for good.
const KEEP_EVERY: Duration = Duration::from_secs(3600);

/// The thread's state.
pub(super) struct Signing {
    pub dir: PathBuf,
    pub store: Arc<dyn Store>,
    pub durable: Arc<AtomicU64>,
    pub feed: Arc<Feed>,
    pub kept: CheckpointStore,
    pub key: SigningKey,
    /// Signs together with `key` until a checkpoint covers this many records.
    pub endorsed_until: Option<(SigningKey, u64)>,
    pub board: Arc<Latest>,
    pub metrics: Arc<Metrics>,
    pub every: Duration,
    /// `None` after a failure, until it could be opened anew.
    pub tree: Option<Tree>,
    pub levels: Arc<Levels>,
    /// Records of the tree that the start has found or made: signed or not, nothing before is ever
    /// taken away. Of those that are gone from the trail it could not be had again.
    pub known: u64,
    /// Records under the newest checkpoint.
    pub signed: Option<u64>,
    pub remembered: Option<Instant>,
}

impl Signing {
    /// Signs until the end is near, and once more then.
    pub fn run(mut self) {
        let mut said = String::new();
        loop {
            let closing = self.board.stage() >= Lifecycle::Closing;
            match self.tick(closing) {
                Ok(()) => said.clear(),
                Err(error) => {
                    self.tree = None;
                    self.metrics.checkpoint_failures.with_label_values(&["tree"]).inc();
                    let words = error_chain(&error);
                    if words != said {
                        tracing::error!(error = %words, "no checkpoint could be signed; the notary tries again, records are taken all the same");
                        said = words;
                    }
                }
            }
            if closing {
                return;
            }
            self.board.sleep(self.every, Lifecycle::Closing);
        }
    }

    fn tick(&mut self, closing: bool) -> Result<(), StartError> {
        let size = self.grow()?;
        if size == 0 || self.signed == Some(size) {
            self.metrics.checkpoint_behind_records.set(0);
            return Ok(());
        }
        let failed = |what: &str, error: &dyn std::error::Error| StartError::Io {
            what: what.to_owned(),
            source: std::io::Error::other(error_chain(error)),
        };
        let root = tree::root(&*self.levels, size).map_err(|e| failed("the tree", &e))?;
        let endorsing = self.endorsed_until.as_ref().map(|(old, _)| old);
        let keys: Vec<_> = std::iter::once(&self.key).chain(endorsing).collect();
        let signed = Signed::sign(size, root, &keys).map_err(|e| failed("the checkpoint", &e))?;
        let note = signed.bytes();
        // Stored before anybody sees it: what was seen must bind the next start.
        self.kept.put_newest(&note).map_err(|e| failed("the newest checkpoint", &e))?;
        self.remember(size, &note, closing)
            .map_err(|e| failed("the history of checkpoints", &e))?;
        self.signed = Some(size);
        self.board.show(Arc::new(signed));
        self.metrics.checkpoint_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        self.metrics.checkpoint_time.set(Timestamp::now().millis() / 1000);
        let behind = self.durable.load(Ordering::Acquire).saturating_sub(size);
        self.metrics.checkpoint_behind_records.set(i64::try_from(behind).unwrap_or(i64::MAX));
        Ok(())
    }

    fn remember(&mut self, size: u64, note: &[u8], closing: bool) -> std::io::Result<()> {
        if self.endorsed_until.as_ref().is_some_and(|(_, until)| size >= *until) {
            self.kept.remember(Why::NewKey, note)?;
            self.kept.add_key(self.key.verifier())?;
            self.endorsed_until = None;
            tracing::warn!(key = %self.key.verifier(), "checkpoints are signed by the new key from now on; the old one has endorsed it and may be destroyed");
        } else if closing {
            self.kept.remember(Why::Stop, note)?;
        } else if self.remembered.is_none_or(|at| at.elapsed() >= KEEP_EVERY) {
            self.kept.remember(Why::Regular, note)?;
        } else {
            return Ok(());
        }
        self.remembered = Some(Instant::now());
        Ok(())
    }

    /// Brings the tree up to what is durable, and tells how far that is.
    fn grow(&mut self) -> Result<u64, StartError> {
        let io = |source| StartError::Io { what: "the tree".to_owned(), source };
        let fed = self.feed.take();
        let mut tree = match self.tree.take() {
            Some(tree) => tree,
            None => {
                let tree =
                    Tree::open(&self.dir, self.signed.unwrap_or(0).max(self.known)).map_err(io)?;
                self.levels = tree.levels();
                tree
            }
        };
        let until =
            if fed.hashes.is_empty() { self.durable.load(Ordering::Acquire) } else { fed.first };
        catch_up(&mut tree, &*self.store, until, &Gone::of(&*self.store, None))?;
        let known = usize::try_from(tree.size().saturating_sub(fed.first)).unwrap_or(usize::MAX);
        tree.extend(fed.hashes.get(known..).unwrap_or_default()).map_err(io)?;
        let size = tree.size();
        self.tree = Some(tree);
        Ok(size)
    }
}
