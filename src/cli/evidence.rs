//! `keyward audit verify`, `prove` and `rotate-key`: the trail as evidence.

use super::audit::{Trail, ask_gateway, folder};
use crate::config::Settings;
use crate::evidence::gateway::Gateway;
use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use keyward_core::clock::AuditId;
use keyward_tlog::key::{LogKey, SigningKey, WitnessKey};
use keyward_tlog::source::{Copy, Export, Source};
use keyward_tlog::verify::{Options, verify};
use keyward_tlog::{layout, proof};
use keyward_trail::notary::derived;
use keyward_trail::notary::source::Dir;
use keyward_trail::notary::start::old_key_file;
use keyward_trail::query::ask::{Ask, Form};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `verify --help` says at its end.
pub const VERIFY_HELP: &str = "Two verdicts: integrity, nothing was changed since it was signed; completeness, nothing is missing and every request has its
outcome. What is wrong is named by its sequence number.

Exit status:
  0  both hold
  1  it could not be verified: the trail cannot be read, or nobody answers
  2  wrong arguments
  3  integrity fails
  4  completeness fails
  5  both fail
  6  neither fails, but one of them cannot be told: there is no checkpoint to compare with

Examples:
  keyward audit verify --dir data/audit --vkey audit.example.com+1a2b3c4d+AX…
  keyward audit verify --quick
  keyward audit verify --export exchanges.ndjson --checkpoint checkpoint --vkey audit.example.com+1a2b3c4d+AX…";

/// What to verify, and by what.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The admin listener of a running gateway.
    #[arg(long, default_value = "http://127.0.0.1:9901", conflicts_with_all = ["dir", "copy", "export", "proof", "pack"])]
    url: String,
    /// The audit folder of a stopped gateway.
    #[arg(long, conflicts_with_all = ["copy", "export", "proof", "pack"])]
    dir: Option<PathBuf>,
    /// A folder in the layout of a tiled log: /checkpoint, /tile/….
    #[arg(long, conflicts_with_all = ["export", "proof", "pack"])]
    copy: Option<PathBuf>,
    /// An export of exchanges as JSON lines.
    #[arg(long, conflicts_with_all = ["proof", "pack"])]
    export: Option<PathBuf>,
    /// A folder that `audit prove` has written.
    #[arg(long, conflicts_with = "pack")]
    proof: Option<PathBuf>,
    /// The folder of an opened evidence pack.
    #[arg(long)]
    pack: Option<PathBuf>,
    /// The log's verifier key, from whoever gave it to you. Without it the trail's own word is taken.
    #[arg(long, value_name = "KEY")]
    vkey: Vec<String>,
    /// A checkpoint that you kept: the trail must grow from it. May be given more than once.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A witness' verifier key: its cosignatures are looked for.
    #[arg(long, value_name = "KEY")]
    witness: Vec<String>,
    /// Checks signatures, that the kept checkpoints grow from each other, and the last records; reads no others.
    #[arg(long)]
    quick: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
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
    let keys = args.vkey.iter().map(|key| LogKey::parse(key)).collect::<Result<Vec<_>, _>>()?;
    if let Some(dir) = &args.proof {
        return check_proof(dir, keys, args.json);
    }
    if let Some(dir) = &args.pack {
        return check_pack(dir, keys, args.json);
    }
    let no_key_of_its_own = args.copy.is_some() || args.export.is_some();
    ensure!(!no_key_of_its_own || !keys.is_empty(), "give the log's verifier key with --vkey: a copy or an export has none of its own");
    let source = args.source()?;
    let checkpoints = args.checkpoint.iter().map(|path| Ok((path.display().to_string(), std::fs::read(path).with_context(|| path.display().to_string())?)));
    let options = Options {
        full: !args.quick,
        keys,
        checkpoints: checkpoints.collect::<anyhow::Result<_>>()?,
        witnesses: args.witness.iter().map(|key| WitnessKey::parse(key)).collect::<Result<_, _>>()?,
    };
    let bar = progress_bar();
    let mut report = verify(&*source, &options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    // One after the other: a folder is held by one reader at a time.
    drop(source);
    if let Some(dir) = args.dir.as_deref().filter(|_| options.full) {
        derived::compare(dir, &mut report, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
    }
    bar.finish_and_clear();
    if args.json {
        sayln!("{:#}", report.json())?;
    } else {
        say!("{}", report.text())?;
    }
    Ok(ExitCode::from(report.status()))
}

impl VerifyArgs {
    fn source(&self) -> anyhow::Result<Box<dyn Source>> {
        Ok(match (&self.dir, &self.copy, &self.export) {
            (Some(dir), ..) => Box::new(Dir::open(dir)?),
            (_, Some(copy), _) => Box::new(Copy::open(copy)?),
            (.., Some(export)) => Box::new(Export::open(export)?),
            _ => Box::new(Gateway::open(&self.url)?),
        })
    }
}

fn check_proof(dir: &std::path::Path, keys: Vec<LogKey>, json: bool) -> anyhow::Result<ExitCode> {
    ensure!(keys.len() <= 1, "--proof: one --vkey is enough");
    let own = keys.is_empty();
    match proof::check(dir, keys.into_iter().next()) {
        Ok(checked) if json => sayln!("{:#}", serde_json::json!({"proved": checked.lines, "key": checked.key.to_string(), "key_from_outside": !own}))?,
        Ok(checked) => {
            checked.lines.iter().try_for_each(|line| sayln!("{line}"))?;
            sayln!("by the key {}{}", checked.key, if own { ", which came with the proof: give --vkey to be sure" } else { "" })?;
        }
        Err(error) => {
            crate::log::say(format_args!("keyward: {error:#}"));
            return Ok(ExitCode::from(3));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_pack(dir: &std::path::Path, keys: Vec<LogKey>, json: bool) -> anyhow::Result<ExitCode> {
    ensure!(keys.len() <= 1, "--pack: one --vkey is enough");
    let own = keys.is_empty();
    let checked = match keyward_pack::check(dir, keys.into_iter().next()) {
        Ok(checked) => checked,
        Err(error) => {
            crate::log::say(format_args!("keyward: {error:#}"));
            return Ok(ExitCode::from(3));
        }
    };
    // What was made before the making of packs was recorded holds as far as it goes.
    let status = if checked.making.is_some() || checked.old { 0 } else { 6 };
    if json {
        let making = checked.making.as_ref().map(|making| serde_json::json!({"record": making.record, "time": making.time, "files": making.files}));
        sayln!(
            "{:#}",
            serde_json::json!({
                "records": checked.records, "of": checked.size, "key": checked.key.to_string(), "key_from_outside": !own, "made": making,
                "bodies": checked.bodies, "bodies_not_there": checked.without_body, "texts": checked.texts, "made_anew": checked.made_anew, "open": checked.open,
            })
        )?;
        return Ok(ExitCode::from(status));
    }
    sayln!("all {} records stand in the log where the pack says, among the {} that its checkpoint covers", checked.records, checked.size)?;
    if let Some(making) = &checked.making {
        sayln!(
            "record {} tells of the making of this pack, at {}: the question, the records and the {} files are those that it commits to",
            making.record,
            making.time,
            making.files
        )?;
    }
    let erased = if checked.without_body > 0 { format!("; {} were not stored, or erased", checked.without_body) } else { String::new() };
    sayln!("{} bodies are those that their records commit to{erased}; {} policies and catalogues are those that records name", checked.bodies, checked.texts)?;
    if checked.made_anew {
        sayln!("report and tables were made anew from the records, and are the same")?;
    }
    checked.open.iter().try_for_each(|open| sayln!("NOT PROVED: {open}"))?;
    sayln!("by the key {}{}", checked.key, if own { ", which came with the pack: give --vkey to be sure" } else { "" })?;
    Ok(ExitCode::from(status))
}

/// On a terminal only; drawn at most some times a second.
pub(super) fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} records, {per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
            proof::prove(&Dir::open(dir)?, &exchange, &out)?
        }
        None => {
            let exchange = ask_gateway(&Trail { url: args.url.clone(), dir: None }, &ask.target(Form::Json))?;
            proof::prove(&Gateway::open(&args.url)?, &exchange, &out)?
        }
    };
    let records: Vec<_> = proved.records.iter().map(ToString::to_string).collect();
    let cosigned = if proved.cosigned { ", cosigned by a witness" } else { "" };
    sayln!("{}: records {}, by a checkpoint over {} records{cosigned}", out.display(), records.join(" and "), proved.size)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a new signing key and puts the old one beside it, for the next start to endorse the new one with.
///
/// # Errors
/// When there is no key, an old one still waits, or the folder cannot be written.
pub fn run_rotate_key(settings: &Settings) -> anyhow::Result<ExitCode> {
    let path = &settings.evidence.key_file;
    let old = SigningKey::read(path)?;
    let aside = old_key_file(path);
    ensure!(!aside.exists(), "`{}` is still there: if the new key has signed already, destroy the old one first", aside.display());
    std::fs::rename(path, &aside).with_context(|| aside.display().to_string())?;
    let new = match SigningKey::create(path, old.verifier().origin()) {
        Ok(new) => new,
        Err(error) => {
            std::fs::rename(&aside, path).with_context(|| path.display().to_string())?;
            return Err(error.into());
        }
    };
    sayln!("new key  {}\nold key  {}, in `{}`", new.verifier(), old.verifier(), aside.display())?;
    sayln!("Restart the gateway: both keys sign one checkpoint, {} tells when. Then destroy the old one.", layout::KEYS)?;
    Ok(ExitCode::SUCCESS)
}
