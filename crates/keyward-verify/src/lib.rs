//! Verification as a command: what `keyward-verify` and `keyward audit verify` have in common. The
//! two differ in what they can read: a running gateway, and the unsealed end of a stopped one, only
//! the latter.

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use keyward_core::terminal::clean_lines;
use keyward_tlog::key::{LogKey, WitnessKey};
use keyward_tlog::proof;
use keyward_tlog::source::{Copy, Export, Source};
use keyward_tlog::verify::report::Report;
use keyward_tlog::verify::{Options, verify};
use serde_json::json;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What the two verdicts and the exit statuses mean; for the end of a `--help`.
pub const VERDICTS: &str = "Two verdicts: integrity, nothing was changed since it was signed; completeness, nothing is missing and every request has its
outcome. What is wrong is named by its sequence number.

Exit status:
  0  both hold
  1  it could not be verified: the trail cannot be read, or nobody answers
  2  wrong arguments
  3  integrity fails
  4  completeness fails
  5  both fail
  6  neither fails, but one of them cannot be told: there is no checkpoint to compare with, or not all was read";

/// What to verify, and by what.
#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// The audit folder of a gateway; `keyward audit verify` takes that of a stopped one.
    #[arg(long, conflicts_with_all = ["copy", "export", "proof", "pack"])]
    pub dir: Option<PathBuf>,
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
    /// The log's verifier key, from whoever gave it to you. Without it the trail's own word is
    /// taken.
    #[arg(long, value_name = "KEY")]
    vkey: Vec<String>,
    /// A checkpoint that you kept: the trail must grow from it. May be given more than once.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A witness' verifier key: its cosignatures are looked for.
    #[arg(long, value_name = "KEY")]
    witness: Vec<String>,
    /// Checks signatures, that the kept checkpoints grow from each other, and the last records;
    /// reads no others.
    #[arg(long)]
    quick: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What to print.
    pub text: String,
    /// The exit status.
    pub status: u8,
    /// What was verified does not hold: for standard error.
    pub refused: Option<String>,
}

/// How many are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What a program can read beside files of their own.
pub trait Opens {
    /// Opens the audit folder that was named.
    ///
    /// # Errors
    /// When it cannot be read.
    fn folder(&self, dir: &Path) -> anyhow::Result<Box<dyn Source>>;

    /// Opens what is meant when nothing was named.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read.
    fn unnamed(&self) -> anyhow::Result<Box<dyn Source>>;

    /// Adds what of a folder no hash covers, once all of it was read.
    ///
    /// # Errors
    /// When it cannot be read.
    fn derived(
        &self,
        _dir: &Path,
        _report: &mut Report,
        _progress: Progress<'_>,
    ) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Verifies. What is verified may be hostile: no text of it can steer the reader's terminal.
///
/// # Errors
/// When it cannot be verified.
pub fn run(args: &VerifyOptions, opens: &dyn Opens) -> anyhow::Result<Outcome> {
    let Outcome { text, status, refused } = verified(args, opens)?;
    Ok(Outcome { text: clean_lines(&text), status, refused: refused.as_deref().map(clean_lines) })
}

fn verified(args: &VerifyOptions, opens: &dyn Opens) -> anyhow::Result<Outcome> {
    let keys = args.vkey.iter().map(|key| LogKey::parse(key)).collect::<Result<Vec<_>, _>>()?;
    if let Some(dir) = &args.proof {
        ensure!(keys.len() <= 1, "--proof: one --vkey is enough");
        return Ok(check_proof(dir, keys, args.json).unwrap_or_else(refused));
    }
    if let Some(dir) = &args.pack {
        ensure!(keys.len() <= 1, "--pack: one --vkey is enough");
        return Ok(check_pack(dir, keys, args.json).unwrap_or_else(refused));
    }
    let no_key_of_its_own = args.copy.is_some() || args.export.is_some();
    ensure!(
        !no_key_of_its_own || !keys.is_empty(),
        "give the log's verifier key with --vkey: a copy or an export has none of its own"
    );
    let source: Box<dyn Source> = match (&args.dir, &args.copy, &args.export) {
        (Some(dir), ..) => opens.folder(dir)?,
        (_, Some(copy), _) => Box::new(Copy::open(copy)?),
        (.., Some(export)) => Box::new(Export::open(export)?),
        _ => opens.unnamed()?,
    };
    let checkpoints = args.checkpoint.iter().map(|path| {
        Ok((
            path.display().to_string(),
            std::fs::read(path).with_context(|| path.display().to_string())?,
        ))
    });
    let options = Options {
        full: !args.quick,
        keys,
        checkpoints: checkpoints.collect::<anyhow::Result<_>>()?,
        witnesses: args
            .witness
            .iter()
            .map(|key| WitnessKey::parse(key))
            .collect::<Result<_, _>>()?,
    };
    let bar = progress_bar();
    let show = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let mut report = verify(&*source, &options, &mut |done, all| show(done, all))?;
    // One after the other: a folder is held by one reader at a time.
    drop(source);
    if let Some(dir) = args.dir.as_deref().filter(|_| options.full) {
        opens.derived(dir, &mut report, &show)?;
    }
    bar.finish_and_clear();
    let text = if args.json { format!("{:#}\n", report.json()) } else { report.text() };
    Ok(Outcome { text, status: report.status(), refused: None })
}

fn refused(error: anyhow::Error) -> Outcome {
    Outcome { text: String::new(), status: 3, refused: Some(format!("{error:#}")) }
}

fn check_proof(dir: &Path, keys: Vec<LogKey>, json: bool) -> anyhow::Result<Outcome> {
    let own = keys.is_empty();
    let checked = proof::check(dir, keys.into_iter().next())?;
    let text = if json {
        format!(
            "{:#}\n",
            json!({"proved": checked.lines, "key": checked.key.to_string(), "key_from_outside": !own})
        )
    } else {
        let lines: String = checked.lines.iter().map(|line| format!("{line}\n")).collect();
        format!(
            "{lines}by the key {}{}\n",
            checked.key,
            if own { ", which came with the proof: give --vkey to be sure" } else { "" }
        )
    };
    Ok(Outcome { text, status: 0, refused: None })
}

fn check_pack(dir: &Path, keys: Vec<LogKey>, json: bool) -> anyhow::Result<Outcome> {
    let own = keys.is_empty();
    let checked = keyward_pack::check(dir, keys.into_iter().next())?;
    // What was made before the making of packs was recorded holds as far as it goes.
    let status = if checked.making.is_some() || checked.old { 0 } else { 6 };
    if json {
        let making = checked.making.as_ref().map(
            |making| json!({"record": making.record, "time": making.time, "files": making.files}),
        );
        let text = json!({
            "records": checked.records, "of": checked.size, "key": checked.key.to_string(), "key_from_outside": !own, "made": making,
            "bodies": checked.bodies, "bodies_not_there": checked.without_body, "texts": checked.texts, "made_anew": checked.made_anew, "open": checked.open,
        });
        return Ok(Outcome { text: format!("{text:#}\n"), status, refused: None });
    }
    let mut text = String::new();
    writeln!(
        text,
        "all {} records stand in the log where the pack says, among the {} that its checkpoint covers",
        checked.records, checked.size
    )?;
    if let Some(making) = &checked.making {
        writeln!(
            text,
            "record {} tells of the making of this pack, at {}: the question, the records and the {} files are those that it commits to",
            making.record, making.time, making.files
        )?;
    }
    let erased = if checked.without_body > 0 {
        format!("; {} were not stored, or erased", checked.without_body)
    } else {
        String::new()
    };
    writeln!(
        text,
        "{} bodies are those that their records commit to{erased}; {} policies and catalogues are those that records name",
        checked.bodies, checked.texts
    )?;
    if checked.made_anew {
        writeln!(text, "report and tables were made anew from the records, and are the same")?;
    }
    checked.open.iter().try_for_each(|open| writeln!(text, "NOT PROVED: {open}"))?;
    writeln!(
        text,
        "by the key {}{}",
        checked.key,
        if own { ", which came with the pack: give --vkey to be sure" } else { "" }
    )?;
    Ok(Outcome { text, status, refused: None })
}

/// On a terminal only; drawn at most some times a second.
pub fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{bar:40} {human_pos} of {human_len} records, {per_sec}, {eta} left",
    );
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
