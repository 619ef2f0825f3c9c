//! The evidence: what makes of the trail something that others can check, with software that we did
//! not write.
//!
//! Each record is a leaf of a Merkle tree (RFC 6962). A notary signs the tree's head every second
//! when it has grown, as a checkpoint in the form of C2SP's signed notes, over durable records
//! only; publishers carry it to places off the host. Tiles and checkpoint are served in the layout
//! of C2SP's tiled logs. What a checkpoint covers and somebody else holds cannot be changed,
//! removed or reordered without showing.
//!
//! The modules stand from the tree outwards; a module imports only from lines above its own.

pub mod gateway;
pub mod publish;
pub mod salvage;

use crate::metrics::Metrics;
use keyward_core::error_chain::error_chain;
use keyward_delivery::client::credential::Credential;
use keyward_delivery::client::{Tls, Url};
use keyward_record::event::By;
use keyward_tlog::key::WitnessKey;
use keyward_trail::journal::{self, Journal, JournalError, Recovery};
use keyward_trail::notary::continuity::{self, KnownCheckpoint, Start, StartError};
use keyward_trail::notary::{Notary, NotaryError, TREE};
use keyward_trail::store::Store;
use publish::{CheckpointSink, Directory, Syslog, Webhook, Witness};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the last checkpoint may take to the places off the host: one that hangs does not keep
/// the gateway from ending.
const CARRY_LAST: Duration = Duration::from_secs(12);

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
    /// Where checkpoints are carried.
    pub off_host: OffHost,
}

/// Places off the host to which checkpoints are carried.
#[derive(Clone, Debug, Default)]
pub struct OffHost {
    /// How often, but for witnesses.
    pub every: Duration,
    /// A folder, such as a mounted bucket.
    pub directory: Option<PathBuf>,
    /// A URL that takes a POST, `http` or `https`.
    pub webhook: Option<Url>,
    /// What lets it take POSTs.
    pub webhook_credential: Credential,
    /// A syslog server: `udp`, `tcp` or `tls`.
    pub syslog: Option<Url>,
    /// Witnesses.
    pub witnesses: Vec<WitnessAt>,
    /// CA certificates in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// A witness, and where it is.
#[derive(Clone, Debug)]
pub struct WitnessAt {
    /// Its submission prefix, `http` or `https`.
    pub url: Url,
    /// By which its cosignatures are verified.
    pub key: WitnessKey,
    /// How often it is asked.
    pub every: Duration,
}

impl OffHost {
    fn tls(&self, url: &Url) -> anyhow::Result<Option<Tls>> {
        let encrypted = ["https", "tls"].contains(&url.scheme.as_str());
        encrypted.then(|| Tls::new(self.ca_file.as_deref())).transpose()
    }

    /// The newest checkpoints that these places have, as far as they can be asked.
    fn known(&self) -> Result<Vec<KnownCheckpoint>, OpenError> {
        let Some(dir) = &self.directory else { return Ok(Vec::new()) };
        let known = Directory::known(dir)
            .map_err(|source| OpenError::Directory { dir: dir.clone(), source })?;
        Ok(known.into_iter().collect())
    }

    /// The places, each with its pace.
    fn places(&self, notary: &Notary) -> anyhow::Result<Vec<(Box<dyn CheckpointSink>, Duration)>> {
        let mut places: Vec<(Box<dyn CheckpointSink>, Duration)> = Vec::new();
        if let Some(dir) = &self.directory {
            places.push((Box::new(Directory::new(dir)), self.every));
        }
        if let Some(url) = &self.webhook {
            places.push((
                Box::new(Webhook {
                    url: url.clone(),
                    tls: self.tls(url)?,
                    credential: self.webhook_credential.clone(),
                    any_success: true,
                }),
                self.every,
            ));
        }
        if let Some(url) = &self.syslog {
            places.push((Box::new(Syslog { url: url.clone(), tls: self.tls(url)? }), self.every));
        }
        for WitnessAt { url, key, every } in &self.witnesses {
            let witness = Witness::new(url, key.clone(), self.tls(url)?, notary);
            places.push((Box::new(witness), *every));
        }
        Ok(places)
    }
}

/// The evidence of a running gateway: its notary, and whoever carries checkpoints off the host.
pub struct Evidence {
    notary: Notary,
    publishers: Mutex<Vec<JoinHandle<()>>>,
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
    /// The configured folder off the host.
    #[error(
        "evidence.directory {dir}: it must be there, and readable: what it holds binds this start"
    )]
    Directory {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A place off the host cannot be used as configured.
    #[error("evidence: {0}")]
    OffHost(String),
    /// A thread could not be started.
    #[error("the notary cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Opens the trail, compares it with what was signed before, and starts the notary and whoever
/// carries checkpoints.
///
/// # Errors
/// When the trail cannot be opened, or does not continue what was signed.
pub fn open(
    journal: journal::Settings,
    evidence: &Settings,
    metrics: Arc<Metrics>,
) -> Result<(Journal, Recovery, Evidence), OpenError> {
    let dir = journal.dir.clone();
    let start = Start {
        dir: dir.join(TREE),
        key_file: evidence.key_file.clone(),
        origin: evidence.origin.clone(),
        accept: evidence.accept.clone(),
    };
    let known = evidence.off_host.known()?;
    let failed = |source| OpenError::Journal { dir: dir.display().to_string(), source };
    let cut_short = Cell::new(false);
    let try_open = |whole: bool| {
        let check = |store: &dyn Store| {
            let end = store
                .newest_first(u64::MAX)
                .next()
                .and_then(Result::ok)
                .map_or(0, |frame| frame.end());
            match continuity::is_whole(&dir, end) {
                Err(error @ StartError::CutShort { .. }) if whole => {
                    cut_short.set(true);
                    Err(error_chain(&error))
                }
                _ => start.check(store, known.clone()).map_err(|error| continuity::refusal(&error)),
            }
        };
        Journal::open_checked(journal.clone(), Arc::clone(&metrics.trail), check)
    };
    let (tried, repaired) = match try_open(true) {
        Err(error)
            if cut_short.get()
                || matches!(&error, JournalError::Open(error) if error.is_damage()) =>
        {
            match repair(&dir, &error) {
                Ok(note) => (try_open(false), Some(note)),
                Err(why) => {
                    tracing::warn!("the damaged store cannot be made anew without loss: {why:#}");
                    (if cut_short.get() { try_open(false) } else { Err(error) }, None)
                }
            }
        }
        tried => (tried, None),
    };
    let (journal, mut recovery, mut opened) = tried.map_err(failed)?;
    recovery.notes.extend(repaired);
    recovery.notes.append(&mut opened.notes);
    let notary = Notary::start(&journal, opened, &start.dir, evidence.every, &metrics.trail)
        .map_err(|error| match error {
            NotaryError::Journal(source) => failed(source),
            NotaryError::Thread(source) => OpenError::Thread(source),
        })?;
    let places = evidence
        .off_host
        .places(&notary)
        .map_err(|error| OpenError::OffHost(format!("{error:#}")))?;
    let mut started = Evidence { notary, publishers: Mutex::default() };
    for (place, every) in places {
        started.start_publisher(place, every, &metrics).map_err(OpenError::Thread)?;
    }
    Ok((journal, recovery, started))
}

/// Makes a damaged store anew, if that loses nothing: a power cut may leave one, with all that was
/// acknowledged in it.
fn repair(dir: &std::path::Path, error: &JournalError) -> anyhow::Result<String> {
    let why = error_chain(error);
    let by = By { name_claimed: Some("keyward, by itself".to_owned()), ..By::default() };
    let report = salvage::salvage(dir, &why, &by, salvage::Accept::NoLoss, &mut |_, _, _| ())?;
    let aside = report.aside.map_or_else(String::new, |aside| {
        format!("; the damaged one is kept as `{}`", aside.display())
    });
    Ok(format!(
        "the store could not be read, and was made anew: {} sealed segments go on, and all {} records behind them were found again{aside}. Look after the disk of `{}`",
        report.segments,
        report.found_again,
        dir.display()
    ))
}

impl Evidence {
    /// Who signs, and serves what was signed.
    pub fn notary(&self) -> &Notary {
        &self.notary
    }

    fn start_publisher(
        &mut self,
        place: Box<dyn CheckpointSink>,
        every: Duration,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<()> {
        let (board, metrics) = (Arc::clone(self.notary.board()), Arc::clone(metrics));
        let thread = std::thread::Builder::new()
            .name("keyward-publish".to_owned())
            .spawn(move || publish::run(place, &board, &metrics, every))?;
        self.publishers.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Signs what is durable by now, carries it away and ends. Call it when the journal is closed.
    pub fn close(&self) {
        self.notary.close();
        let mut publishers =
            std::mem::take(&mut *self.publishers.lock().unwrap_or_else(PoisonError::into_inner));
        let begun = Instant::now();
        while publishers.iter().any(|publisher| !publisher.is_finished())
            && begun.elapsed() < CARRY_LAST
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let away = publishers.extract_if(.., |publisher| !publisher.is_finished()).count();
        if away > 0 {
            tracing::error!(places = away, "the last checkpoint did not get everywhere in time");
        }
        join(publishers);
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the evidence did not end in order");
        }
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
