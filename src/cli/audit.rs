//! `keyward audit`: questions to the trail of a running gateway, or of a stopped one's folder.

use super::backup::{self, BackupArgs, RestoreArgs};
use super::export::{self, ExportArgs, FollowArgs};
use super::maintenance::{self, ReindexArgs};
use super::pack::{self, PackArgs};
use super::retention::{self, EraseArgs, RetentionArgs, SalvageArgs};
use super::trail::{FilterArgs, Trail, ask_with_warnings, folder, warn};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use keyward_core::clock::AuditId;
use keyward_trail::query::ask::{Answer, Ask, Form, LIMIT_DEFAULT, LIMITS, limit_of};
use std::io::IsTerminal;
use std::process::ExitCode;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Lists exchanges, the newest first.
    #[command(
        after_help = "Examples:\n  keyward audit query --decision deny --since 2h\n  keyward audit query --action 'huawei.kps.*' --caller ci-keys --format ndjson\n  keyward audit query --where 'decision = deny and (action = huawei.ims.* or caller in (ci-keys, build-bot)) and not status = 4xx'\n  keyward audit query --where request.content.keyScope=ALL\n  keyward audit query --decision deny --since 7d --histogram 1h\n  keyward audit query --decision deny --count --by policy\n  keyward audit query --secret \"$(printf %s \"$TOKEN\" | keyward digest)\""
    )]
    Query(Box<QueryArgs>),
    /// Shows one exchange: both records, bodies, and the decision explained.
    #[command(
        after_help = "Example:\n  keyward audit show 01a2043b-69db-752d-a7e3-7a867bd75517\n\nThe id is in every answer's X-Keyward-Audit-Id, and in every refusal's body."
    )]
    Show(ShowArgs),
    /// Exports the trail, oldest first: as it is, or as OCSF, CADF or CSV.
    #[command(
        after_help = "Examples:\n  keyward audit export > trail.ndjson                              every record, byte for byte\n  keyward audit export --form csv --since 30d --decision deny --out denials.csv\n  keyward audit export --form ocsf --follow --out siem.ndjson --cursor-file siem.cursor\n\nWith --out and --cursor-file an export that was cut off, even by a power cut, goes on where it ended."
    )]
    Export(Box<ExportArgs>),
    /// Makes an evidence pack: records and bodies, the policies in force, a report, and how to
    /// check all of it.
    #[command(
        after_help = "Example:\n  keyward audit pack --since 2026-10-01 --until 2026-10-31 --action 'huawei.kps.*' --out october.zip\n\nOf a running gateway the export behind it is on record: who, when, and what was asked."
    )]
    Pack(Box<PackArgs>),
    /// Verifies that nothing in the trail was changed, and that nothing is missing.
    #[command(after_help = format!("{}\n\n{}", keyward_verify::VERDICTS, super::evidence::VERIFY_EXAMPLES))]
    Verify(super::evidence::VerifyArgs),
    /// Writes a folder with an exchange's records and proofs, which anybody can check without
    /// keyward.
    #[command(
        after_help = "Example:\n  keyward audit prove 01a2043b-69db-752d-a7e3-7a867bd75517 --out for-the-auditor\n\nThe folder says how it is checked, with keyward and without."
    )]
    Prove(super::evidence::ProveArgs),
    /// Makes a new key for signing checkpoints; at the next start the old one endorses it, on
    /// record.
    #[command(after_help = "Example:\n  keyward audit rotate-key --config config/keyward.toml")]
    RotateKey(super::Configured),
    /// Shows how long the trail is kept, what is on hold, what would be pruned now and what was.
    #[command(after_help = "Example:\n  keyward audit retention --url http://127.0.0.1:9901")]
    Retention(RetentionArgs),
    /// Erases the bodies of one exchange, for a reason that is recorded first. Its records stay.
    #[command(
        after_help = "Example:\n  keyward audit erase 01a2043b-69db-752d-a7e3-7a867bd75517 --reason 'request of a data subject, ticket 4711'\n\nWorks beside a running gateway, for whoever may read the trail's folder, and on a stopped one's trail."
    )]
    Erase(EraseArgs),
    /// Makes an archive of all that the trail is, while the gateway runs, or of a stopped one's.
    #[command(
        after_help = "Example:\n  keyward audit backup --out keyward-2026-11-26.tar\n\nThe archive is a tar file that verifies like the trail itself once it is restored. The keys are not in it."
    )]
    Backup(BackupArgs),
    /// Makes a trail of a backup, in a new folder.
    #[command(
        after_help = "Example:\n  keyward audit restore keyward-2026-11-26.tar --dir data/audit\n  keyward audit verify --dir data/audit"
    )]
    Restore(RestoreArgs),
    /// Makes the store of a damaged trail anew, from its sealed segments and what else can be read,
    /// and says what is lost.
    #[command(
        after_help = "Example:\n  keyward audit salvage --dir data/audit --reason 'bad sector on the audit disk, 26 November'\n\nThe damaged store is put aside, not deleted. What is lost becomes a record."
    )]
    Salvage(SalvageArgs),
    /// Makes a trail to try things on, of the form that a gateway writes.
    #[command(
        after_help = "Example:\n  keyward audit generate --records 1000000 --dir trail\n  keyward audit query --dir trail --decision deny --count --by policy"
    )]
    #[cfg(feature = "demo")]
    Generate(super::demo::GenerateArgs),
    /// Makes the indexes of a stopped gateway's trail anew; they are derived from its records, and
    /// made by a gateway too.
    #[command(after_help = "Example:\n  keyward audit reindex --dir data/audit")]
    Reindex(ReindexArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
    Ndjson,
}

/// One exchange.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its audit id.
    id: String,
    /// The form of the answer; a table on a terminal, else JSON.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    trail: Trail,
}

/// A page, or counts, of the exchanges that match.
#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// How many exchanges at most: 1 to 1000. The page says how to get the next.
    #[arg(long, default_value_t = LIMIT_DEFAULT, value_parser = limit)]
    limit: usize,
    /// The next page: what the page before printed. With --follow: where it ended.
    #[arg(long)]
    cursor: Option<String>,
    /// Counts instead of listing.
    #[arg(long)]
    count: bool,
    /// Counts by a filter's name or a field.
    #[arg(long, requires = "count", conflicts_with = "histogram", value_name = "FIELD")]
    by: Option<String>,
    /// Stays and lists exchanges as they end, from now on or from --since or --cursor, until
    /// Ctrl-C.
    #[arg(long, conflicts_with_all = ["count", "limit", "histogram"])]
    follow: bool,
    /// The form of the answer; a table on a terminal, else JSON.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Counts in each stretch of time, such as 5m, 1h or 1d, in UTC.
    #[arg(long, value_name = "STEP", conflicts_with = "count")]
    histogram: Option<String>,
    #[command(flatten)]
    trail: Trail,
}

fn limit(text: &str) -> Result<usize, String> {
    limit_of(text).ok_or_else(|| format!("it takes {LIMITS}"))
}

/// Runs a subcommand.
///
/// # Errors
/// When the question cannot be, or the trail cannot be reached.
pub fn run(audit: Audit) -> anyhow::Result<ExitCode> {
    let (ask, trail, format) = match audit {
        Audit::Query(args) if args.follow => {
            let lines = !matches!(
                (args.format, std::io::stdout().is_terminal()),
                (Some(Format::Table), _) | (None, true)
            );
            return export::follow(&FollowArgs {
                filter: args.filter.filter()?,
                cursor: args.cursor,
                lines,
                trail: args.trail,
            });
        }
        Audit::Query(args) => (args.ask()?, args.trail, args.format),
        Audit::Show(args) => (
            Ask::Exchange(
                AuditId::parse(&args.id)
                    .with_context(|| format!("`{}` is no audit id", args.id))?,
            ),
            args.trail,
            args.format,
        ),
        Audit::Export(args) => return export::run(*args),
        Audit::Pack(args) => return pack::run(&args),
        Audit::Verify(args) => return super::evidence::run_verify(&args),
        Audit::Prove(args) => return super::evidence::run_prove(&args),
        Audit::RotateKey(configured) => {
            return super::evidence::run_rotate_key(&configured.settings()?);
        }
        Audit::Retention(args) => return retention::retention(&args),
        Audit::Erase(args) => return retention::erase(&args),
        Audit::Backup(args) => return backup::backup(&args),
        Audit::Restore(args) => return backup::restore(&args),
        Audit::Salvage(args) => return retention::run_salvage(&args),
        #[cfg(feature = "demo")]
        Audit::Generate(args) => return super::demo::generate(&args),
        Audit::Reindex(args) => return maintenance::reindex(&args),
    };
    let form = form(format);
    let Answer { text, warnings } = match &trail.dir {
        Some(dir) => ask.answer(&folder(dir)?, form)?,
        None => ask_with_warnings(&trail, &ask.target(form))?,
    };
    say!("{text}")?;
    // A table has them in it; who reads JSON lines, or one field of a document, sees them here.
    if !matches!(form, Form::Table(_)) {
        warn(&warnings);
    }
    Ok(ExitCode::SUCCESS)
}

impl QueryArgs {
    fn ask(&self) -> anyhow::Result<Ask> {
        let filter = self.filter.filter()?;
        if let Some(step) = &self.histogram {
            return Ok(Ask::Histogram { filter, step: step.clone() });
        }
        if self.count {
            return Ok(Ask::Counts { filter, by: self.by.clone() });
        }
        Ok(Ask::Exchanges {
            filter,
            limit: self.limit,
            cursor: self.cursor.as_deref().map(str::parse).transpose()?,
        })
    }
}

fn form(format: Option<Format>) -> Form {
    let terminal = std::io::stdout().is_terminal();
    match format {
        Some(Format::Json) => Form::Json,
        Some(Format::Ndjson) => Form::Ndjson,
        None if !terminal => Form::Json,
        Some(Format::Table) | None => Form::Table(
            rustix::termios::tcgetwinsize(std::io::stdout())
                .map_or(150, |size| size.ws_col.max(60)),
        ),
    }
}
