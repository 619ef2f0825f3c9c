//! What keyward is tried with: `keyward demo`, `keyward sandbox`, and `keyward audit generate`, a
//! made-up trail.

use super::maintenance::Progress;
use crate::app::Problems;
use crate::demo;
use crate::generate::{self, END, Options, Site};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use keyward_core::clock::Timestamp;
use keyward_decision::catalog::Catalog;
use keyward_testkit::sandbox;
use keyward_trail::tiered::TieredStore;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Commands that a gateway for production does not have.
#[derive(Debug, Subcommand)]
pub enum Trial {
    /// Shows keyward at work on loopback: sandbox clouds, a gateway with the shipped policies, a
    /// score of calls.
    #[command(
        after_help = "Examples:\n  keyward demo           stays up until Ctrl-C, so that you can look around\n  keyward demo --once    exits with 0 only if every call went as it should\n  keyward demo --dir try keeps its folder: change try/policies, and SIGHUP reads them anew"
    )]
    Demo(Demo),
    /// Runs the sandbox clouds alone: stand-ins with state for every service of the catalogue, on
    /// one port, by Host.
    #[command(
        after_help = "Example:\n  keyward sandbox --listen 127.0.0.1:9090 &\n  curl -s -H 'Host: openapi-rdc.aliyuncs.com' -H 'x-yunxiao-token: pt-sandboxBuildBot_0002' \\\n    http://127.0.0.1:9090/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys"
    )]
    Sandbox(SandboxArgs),
}

impl Trial {
    /// Runs it.
    ///
    /// # Errors
    /// When a port is taken, or a folder cannot be used.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(Demo { listen, admin, once, dir }) => {
                Ok(ExitCode::from(demo::run(&demo::Options { listen, admin, once, dir })?))
            }
            Self::Sandbox(args) => run_sandbox(&args),
        }
    }
}

/// Where the demo stands.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the admin listens.
    #[arg(long, default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Ends after the calls.
    #[arg(long)]
    once: bool,
    /// Works in this folder and keeps it, with the policies and the trail that it finds there; by
    /// default in a temporary one.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Where the clouds stand.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// Where the clouds listen. Loopback only: their credentials are in the source.
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// The folder of OpenAPI documents.
    #[arg(long, default_value = "config/apis")]
    apis: PathBuf,
}

fn run_sandbox(args: &SandboxArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.listen.ip().is_loopback(),
        "the sandbox listens on loopback only: anybody who reads its source knows its credentials"
    );
    let catalog = Catalog::load(&args.apis)
        .map_err(|errors| Problems(errors.iter().map(ToString::to_string).collect()))?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("sandbox listener {}", args.listen))?;
        tracing::info!(address = %listener.local_addr()?, "the sandbox clouds listen");
        let ended = async {
            tokio::signal::ctrl_c().await.ok();
        };
        sandbox::serve(listener, Arc::new(catalog), sandbox::Settings::default(), ended).await?;
        Ok(ExitCode::SUCCESS)
    })
}

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
    let end = Timestamp::parse(&args.end)
        .with_context(|| format!("--end {}: write a time such as {END}", args.end))?;
    let empty = !args.dir.exists()
        || std::fs::read_dir(&args.dir)
            .with_context(|| args.dir.display().to_string())?
            .next()
            .is_none();
    ensure!(
        empty,
        "`{}` is not empty: made-up records must not mix with real ones; name a new folder",
        args.dir.display()
    );
    let (store, _) = TieredStore::open(&args.dir)?;
    let mut progress = Progress::new("records", args.records);
    let mut failed = Ok(());
    let made = generate::generate(
        &store,
        &Site::new()?,
        Options { records: args.records, seed: args.seed, end },
        |done| {
            progress.show(done.records);
            failed = std::mem::replace(&mut failed, Ok(())).and_then(|()| store.seal());
        },
    )?;
    failed?;
    progress.end();
    sayln!(
        "{} records, {} MB before compression, in {}",
        made.records,
        made.bytes / 1_000_000,
        args.dir.display()
    )?;
    Ok(ExitCode::SUCCESS)
}
