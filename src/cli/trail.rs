//! `keyward audit generate`, a made-up trail, and `keyward audit reindex`: what is done to a trail that no gateway holds.

use crate::generate::{self, END, Options, Site};
use anyhow::{Context, ensure};
use clap::Args;
use keyward_core::clock::Timestamp;
use keyward_trail::tiered::TieredStore;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What to generate, and where to.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// How many records; a forwarded call has two.
    #[arg(long)]
    records: u64,
    /// The folder: a new one, or an empty one.
    #[arg(long)]
    dir: PathBuf,
    /// What chance follows: the same seed gives the same records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The end of the trail; it begins 90 days before.
    #[arg(long, default_value = END)]
    end: String,
}

/// Makes a trail.
///
/// # Errors
/// When the folder holds something, or cannot be written.
pub fn generate(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let end = Timestamp::parse(&args.end).with_context(|| format!("--end {}: write a time such as {END}", args.end))?;
    let empty = !args.dir.exists() || std::fs::read_dir(&args.dir).with_context(|| args.dir.display().to_string())?.next().is_none();
    ensure!(empty, "`{}` is not empty: made-up records must not mix with real ones; name a new folder", args.dir.display());
    let (store, _) = TieredStore::open(&args.dir)?;
    let mut progress = Progress::new("records", args.records);
    let mut failed = Ok(());
    let made = generate::generate(&store, &Site::new()?, Options { records: args.records, seed: args.seed, end }, |done| {
        progress.show(done.records);
        failed = std::mem::replace(&mut failed, Ok(())).and_then(|()| store.seal());
    })?;
    failed?;
    progress.end();
    sayln!("{} records, {} MB before compression, in {}", made.records, made.bytes / 1_000_000, args.dir.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Which trail, and how much of it.
#[derive(Debug, Args)]
pub struct ReindexArgs {
    /// The audit folder of a stopped gateway.
    #[arg(long)]
    dir: PathBuf,
    /// Also those that are there and sound.
    #[arg(long)]
    all: bool,
}

/// Makes indexes anew.
///
/// # Errors
/// When there is no trail, another process holds it, or it cannot be read or written.
pub fn reindex(args: &ReindexArgs) -> anyhow::Result<ExitCode> {
    ensure!(args.dir.join("trail").is_dir(), "there is no trail in `{}`", args.dir.display());
    let (store, _) = TieredStore::open(&args.dir)?;
    let mut progress = Progress::new("segments", 0);
    let made = store.reindex(args.all, |done, all| {
        progress.all = all as u64;
        progress.show(done as u64);
    })?;
    progress.end();
    sayln!("{made} indexes were made")?;
    Ok(ExitCode::SUCCESS)
}

/// A line on a terminal that says how far it is.
struct Progress {
    what: &'static str,
    all: u64,
    begun: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(what: &'static str, all: u64) -> Self {
        Self { what, all, begun: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u64) {
        if !self.terminal || self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(200)) {
            return;
        }
        self.shown = Some(Instant::now());
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let mut terminal = std::io::stderr();
        write!(terminal, "\r{:3} %  {done} of {} {}, {rate:.0} a second ", done * 100 / self.all.max(1), self.all, self.what).ok();
        terminal.flush().ok();
    }

    fn end(&self) {
        if self.shown.is_some() {
            writeln!(std::io::stderr()).ok();
        }
    }
}
