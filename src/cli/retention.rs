//! `keyward audit retention` and `erase`: how long the trail is kept, and what is taken out of it.

use super::Configured;
use super::trail::{Trail, ask_gateway, problem, who};
use crate::admin::operator::Token;
use crate::config::Settings;
use crate::evidence::salvage::{Accept, Report, salvage};
use crate::metrics::Metrics;
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use keyward_delivery::client;
use keyward_record::event::Span;
use keyward_tlog::verify::report::named;
use keyward_trail::journal::{self, Journal};
use keyward_trail::notary::continuity::is_whole;
use keyward_trail::retention::erasure::{ERASURES, Erased, Erasure};
use keyward_trail::retention::{Holds, Next, RETENTION, Sealed, State};
use keyward_trail::store::{Store, StoreError};
use keyward_trail::tiered::TieredStore;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Whose retention.
#[derive(Debug, Args)]
pub struct RetentionArgs {
    /// The admin listener of a running gateway.
    #[arg(long, default_value = "http://127.0.0.1:9901")]
    url: String,
    /// Prints it as JSON.
    #[arg(long)]
    json: bool,
}

/// Shows how long the trail is kept, what is on hold, what would go now and what is gone.
///
/// # Errors
/// When no gateway answers.
pub fn retention(args: &RetentionArgs) -> anyhow::Result<ExitCode> {
    let text = ask_gateway(&Trail { url: args.url.clone(), dir: None }, RETENTION)?;
    if args.json {
        sayln!("{text}")?;
    } else {
        say!("{}", shown(&serde_json::from_str(&text).context("the gateway's answer")?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(state: &State) -> String {
    let mut text = String::new();
    let mut line =
        |name: &str, value: String| writeln!(text, "{name:<10} {value}").unwrap_or_default();
    let days = state.policy.max_age_seconds.map(|seconds| format!("{} days", seconds / 86_400));
    let bytes = state.policy.max_bytes.map(|bytes| format!("{} on the disk", mega(bytes)));
    let bounds: Vec<_> = days.into_iter().chain(bytes).collect();
    line(
        "kept",
        if bounds.is_empty() {
            "for ever".to_owned()
        } else {
            format!("for {}", bounds.join(", and up to "))
        },
    );
    match &state.next {
        Next::Unknown { error } => line("PROBLEM", error.clone()),
        Next::Planned { segments, bytes, .. } => {
            line("sealed", format!("{segments} segments, {}", mega(*bytes)))
        }
    }
    let records = |span: &Span| format!("records {} to {}", span.first, span.last);
    let segment = |sealed: &Sealed| {
        format!("{}, until {}, {}", records(&sealed.records), sealed.until, mega(sealed.bytes))
    };
    state.pruned.iter().for_each(|span| line("pruned", records(span)));
    state.lost.iter().for_each(|span| line("lost", records(span)));
    if let Next::Planned { due, waiting, held, holds, .. } = &state.next {
        due.iter().for_each(|sealed| line("due", segment(sealed)));
        waiting.iter().for_each(|sealed| {
            line(
                "waiting",
                format!("{}: a push has not sent them, or an exchange is open", segment(sealed)),
            )
        });
        held.iter().for_each(|held| {
            line("held", format!("{} by `{}`", segment(&held.segment), held.hold))
        });
        holds.iter().for_each(|hold| {
            line("hold", format!("`{}`: {} ({})", hold.name, hold.r#where, hold.reason))
        });
    }
    text
}

fn mega(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// Which trail to salvage, and why.
#[derive(Debug, Args)]
pub struct SalvageArgs {
    /// The audit folder of a gateway that does not start.
    #[arg(long)]
    dir: PathBuf,
    /// What happened, as far as you know: it is recorded with what is lost.
    #[arg(long)]
    reason: String,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Founds a trail's store anew over what can be read of it.
///
/// # Errors
/// When there is no trail, another process has it, or the disk fails.
pub fn run_salvage(args: &SalvageArgs) -> anyhow::Result<ExitCode> {
    let dir = &args.dir;
    ensure!(
        dir.join("trail").is_dir() || dir.join("segments").is_dir(),
        "there is no trail in `{}`",
        dir.display()
    );
    ensure!(!args.reason.trim().is_empty(), "say with --reason what happened: it is recorded");
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?);
    let report = salvage(dir, args.reason.trim(), &who(), Accept::Loss, &mut |what, done, all| {
        bar.set_message(what.to_owned());
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if args.json {
        sayln!("{}", serde_json::to_string(&report)?)?;
    } else {
        say!("{}", told(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(report: &Report) -> String {
    let mut text = format!(
        "{} sealed segments go on, up to record {}\n",
        report.segments,
        report.sealed_end.saturating_sub(1)
    );
    let mut line = |sentence: String| text += &(sentence + "\n");
    line(format!(
        "{} records behind them were found again; {} records were signed in all",
        report.found_again, report.signed
    ));
    if report.lost.is_empty() && report.lost_before.is_empty() && report.unproven.is_empty() {
        line("no record that was signed is lost".to_owned());
    }
    for range in &report.lost {
        line(format!("LOST: {}", named(range.start, range.end - 1)));
    }
    for range in &report.lost_before {
        line(format!("LOST by an earlier salvage: {}", named(range.start, range.end - 1)));
    }
    if let (Some(first), Some(last)) = (report.bodies_lost.first(), report.bodies_lost.last()) {
        line(format!(
            "LOST: the bodies of {} records, from record {first} to record {last}",
            report.bodies_lost.len()
        ));
    }
    report.notes.iter().for_each(|note| line(format!("note: {note}")));
    if let Some(aside) = &report.aside {
        line(format!("the damaged store is kept as `{}`", aside.display()));
    }
    line(format!(
        "record {} tells of this; start the gateway, and it goes on from there",
        report.told_by
    ));
    text
}

/// What to erase, and why.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The audit id of the exchange.
    id: String,
    /// Why; it is recorded before anything is erased.
    #[arg(long)]
    reason: String,
    /// Prints what was done as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

/// Erases the bodies of an exchange: by the running gateway, or, when none runs, here.
///
/// # Errors
/// When there is nothing to erase, it is on hold or open, or it cannot be recorded.
pub fn erase(args: &EraseArgs) -> anyhow::Result<ExitCode> {
    let settings = args.configured.settings()?;
    let dir = &settings.audit_dir;
    ensure!(dir.join("trail").is_dir(), "there is no trail in `{}`", dir.display());
    let erasure = Erasure { id: args.id.clone(), reason: args.reason.clone() };
    let (erased, running) = match TieredStore::open(dir) {
        Err(StoreError::InUse(_)) => (ask(&settings, &erasure)?, true),
        Err(error) => return Err(error.into()),
        Ok((store, _)) => {
            is_whole(
                dir,
                store.newest_first(u64::MAX).next().transpose()?.map_or(0, |frame| frame.end()),
            )?;
            drop(store);
            (here(&settings, &erasure)?, false)
        }
    };
    if args.json {
        sayln!("{}", serde_json::to_string(&erased)?)?;
    } else {
        let records: Vec<_> = erased.records.iter().map(u64::to_string).collect();
        let ended =
            if erased.ended { ", which had been begun before and is ended now" } else { "" };
        sayln!(
            "the bodies of exchange {} are erased: record {}; record {} tells of it{ended}",
            erased.id,
            records.join(" and "),
            erased.told_by
        )?;
    }
    if running {
        crate::log::say(format_args!(
            "unused parts of the engine's own file may hold them until the gateway is started anew, which writes that file anew"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// By the gateway that has the trail.
fn ask(settings: &Settings, erasure: &Erasure) -> anyhow::Result<Erased> {
    let token = Token::read(&settings.audit_dir).context(
        "the running gateway's token cannot be read: whoever may read the trail's folder may erase",
    )?;
    let request = http::Request::post(ERASURES)
        .header("host", settings.admin.to_string())
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(erasure)?.into())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime
        .block_on(client::send(settings.admin, request))
        .with_context(|| format!("the gateway does not answer at {}", settings.admin))?;
    let text = String::from_utf8_lossy(answer.body());
    if !answer.status().is_success() {
        bail!("{}", problem(&text));
    }
    serde_json::from_str(&text).context("the gateway's answer")
}

/// On a stopped gateway's trail.
fn here(settings: &Settings, erasure: &Erasure) -> anyhow::Result<Erased> {
    let holds =
        settings.retention.holds_file.as_deref().map_or(Ok(Holds::default()), Holds::read)?;
    let journal = journal::Settings {
        free_bytes_min: settings.free_bytes_min,
        segment_records: settings.segment_records,
        ..journal::Settings::new(&settings.audit_dir)
    };
    let (journal, _) = Journal::open(journal, Arc::clone(&Metrics::new()?.trail))?;
    let erased = erasure.run(&journal, &holds, who())?;
    journal.close()?;
    drop(journal);
    // Opened once more, so that the engine's file is written anew.
    let (_, opened) = TieredStore::open(&settings.audit_dir)?;
    opened.notes.iter().for_each(|note| crate::log::say(format_args!("{note}")));
    Ok(erased)
}
