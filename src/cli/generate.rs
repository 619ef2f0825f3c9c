//! `keyward audit generate`: a made-up trail.

use crate::audit::generate::{END, Generated, Options, Site, generate};
use crate::audit::store::SledStore;
use crate::clock::Timestamp;
use anyhow::{Context, ensure};
use clap::Args;
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

/// Runs it.
///
/// # Errors
/// When the folder holds something, or cannot be written.
pub fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let end = Timestamp::parse(&args.end).with_context(|| format!("--end {}: write a time such as {END}", args.end))?;
    let empty = !args.dir.exists() || std::fs::read_dir(&args.dir).with_context(|| args.dir.display().to_string())?.next().is_none();
    ensure!(empty, "`{}` is not empty: made-up records must not mix with real ones; name a new folder", args.dir.display());
    let (store, _) = SledStore::open(&args.dir)?;
    let mut progress = Progress::new(args.records);
    let made = generate(&store, &Site::new()?, Options { records: args.records, seed: args.seed, end }, |done| progress.show(done))?;
    progress.end();
    println!("{} records, {} MB before compression, in {}", made.records, made.bytes / 1_000_000, args.dir.display());
    Ok(ExitCode::SUCCESS)
}

/// A line on a terminal that says how far it is.
struct Progress {
    all: u64,
    begun: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(all: u64) -> Self {
        Self { all, begun: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, done: Generated) {
        if !self.terminal || self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(200)) {
            return;
        }
        self.shown = Some(Instant::now());
        let rate = done.records as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        eprint!("\r{:3} %  {} of {} records, {rate:.0} a second ", done.records * 100 / self.all.max(1), done.records, self.all);
        std::io::stderr().flush().ok();
    }

    fn end(&self) {
        if self.shown.is_some() {
            eprintln!();
        }
    }
}
