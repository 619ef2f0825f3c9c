//! `keyward audit reindex`: indexes of a trail that no gateway holds.

use anyhow::ensure;
use clap::Args;
use keyward_trail::tiered::TieredStore;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
pub struct Progress {
    what: &'static str,
    all: u64,
    begun: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub fn new(what: &'static str, all: u64) -> Self {
        Self {
            what,
            all,
            begun: Instant::now(),
            shown: None,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    pub fn show(&mut self, done: u64) {
        if !self.terminal
            || self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(200))
        {
            return;
        }
        self.shown = Some(Instant::now());
        let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let mut terminal = std::io::stderr();
        write!(
            terminal,
            "\r{:3} %  {done} of {} {}, {rate:.0} a second ",
            done * 100 / self.all.max(1),
            self.all,
            self.what
        )
        .ok();
        terminal.flush().ok();
    }

    pub fn end(&self) {
        if self.shown.is_some() {
            writeln!(std::io::stderr()).ok();
        }
    }
}
