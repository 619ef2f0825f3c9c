//! `keyward audit verify`, `prove` and `rotate-key`: the trail as evidence.

use super::trail::{Trail, ask_gateway, folder};
use crate::config::Settings;
use crate::evidence::gateway::Gateway;
use anyhow::{Context, ensure};
use clap::Args;
use keyward_core::clock::AuditId;
use keyward_tlog::key::SigningKey;
use keyward_tlog::source::Source;
use keyward_tlog::verify::report::Report;
use keyward_tlog::{layout, proof};
use keyward_trail::notary::continuity::old_key_file;
use keyward_trail::query::ask::{Ask, Form};
use keyward_trail::verify::Folder;
use keyward_trail::verify::compare;
use keyward_verify::{Opens, Progress};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The end of `verify --help`.
pub const VERIFY_EXAMPLES: &str = "Examples:
  keyward audit verify --dir data/audit --vkey audit.example.com+1a2b3c4d+AX…
  keyward audit verify --quick
  keyward audit verify --export exchanges.ndjson --checkpoint checkpoint --vkey audit.example.com+1a2b3c4d+AX…";

/// What to verify, and by what.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The admin listener of a running gateway.
    #[arg(long, default_value = "http://127.0.0.1:9901", conflicts_with_all = ["dir", "copy", "export", "proof", "pack"])]
    url: String,
    #[command(flatten)]
    what: keyward_verify::VerifyOptions,
}

/// What to prove.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The audit id of an exchange or an event.
    id: String,
    /// The admin listener of a running gateway.
    #[arg(long, default_value = "http://127.0.0.1:9901", conflicts_with = "dir")]
    url: String,
    /// The audit folder of a stopped gateway.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The folder to write, which must not exist yet; by default `ID.proof`.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// Runs `verify`.
///
/// # Errors
/// When it cannot be verified.
pub fn run_verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let outcome = keyward_verify::run(&args.what, &Gateways { url: &args.url })?;
    if let Some(why) = outcome.refused {
        crate::log::say(format_args!("keyward: {why}"));
    }
    say!("{}", outcome.text)?;
    Ok(ExitCode::from(outcome.status))
}

/// Stopped gateways, whole, and running ones.
struct Gateways<'a> {
    url: &'a str,
}

impl Opens for Gateways<'_> {
    fn folder(&self, dir: &Path) -> anyhow::Result<Box<dyn Source>> {
        Ok(Box::new(Folder::open(dir)?))
    }

    fn unnamed(&self) -> anyhow::Result<Box<dyn Source>> {
        Ok(Box::new(Gateway::open(self.url)?))
    }

    fn derived(
        &self,
        dir: &Path,
        report: &mut Report,
        progress: Progress<'_>,
    ) -> anyhow::Result<()> {
        Ok(compare(dir, report, &|done, all| progress(done as u64, all as u64))?)
    }
}

/// Runs `prove`.
///
/// # Errors
/// When there is no such exchange, no checkpoint covers it, or the folder cannot be written.
pub fn run_prove(args: &ProveArgs) -> anyhow::Result<ExitCode> {
    let id = AuditId::parse(&args.id).with_context(|| format!("`{}` is no audit id", args.id))?;
    let ask = Ask::Exchange(id);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{id}.proof")));
    let proved = match &args.dir {
        Some(dir) => {
            // One after the other: a folder is held by one reader at a time.
            let exchange = ask.answer(&folder(dir)?, Form::Json)?.text;
            proof::prove(&Folder::open(dir)?, &exchange, &out)?
        }
        None => {
            let exchange =
                ask_gateway(&Trail { url: args.url.clone(), dir: None }, &ask.target(Form::Json))?;
            proof::prove(&Gateway::open(&args.url)?, &exchange, &out)?
        }
    };
    let records: Vec<_> = proved.records.iter().map(ToString::to_string).collect();
    let cosigned = if proved.cosigned { ", cosigned by a witness" } else { "" };
    sayln!(
        "{}: records {}, by a checkpoint over {} records{cosigned}",
        out.display(),
        records.join(" and "),
        proved.size
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a new signing key and puts the old one beside it, for the next start to endorse the new
/// one with.
///
/// # Errors
/// When there is no key, an old one still waits, or the folder cannot be written.
pub fn run_rotate_key(settings: &Settings) -> anyhow::Result<ExitCode> {
    let path = &settings.evidence.key_file;
    let old = SigningKey::read(path)?;
    let aside = old_key_file(path);
    ensure!(
        !aside.exists(),
        "`{}` is still there: if the new key has signed already, destroy the old one first",
        aside.display()
    );
    std::fs::rename(path, &aside).with_context(|| aside.display().to_string())?;
    let new = match SigningKey::create(path, old.verifier().origin()) {
        Ok(new) => new,
        Err(error) => {
            std::fs::rename(&aside, path).with_context(|| path.display().to_string())?;
            return Err(error.into());
        }
    };
    sayln!("new key  {}\nold key  {}, in `{}`", new.verifier(), old.verifier(), aside.display())?;
    sayln!(
        "Restart the gateway: both keys sign one checkpoint, {} tells when. Then destroy the old one.",
        layout::KEYS
    )?;
    Ok(ExitCode::SUCCESS)
}
