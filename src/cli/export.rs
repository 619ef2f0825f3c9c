//! `keyward audit export`, and whatever follows the trail of a running gateway.

use super::output::{Output, Saved, Sink};
use super::trail::{FilterArgs, Trail, folder, problem, unreachable};
use anyhow::{Context, bail, ensure};
use clap::Args;
use keyward_delivery::client::{self, Body};
use keyward_pack::making::EXPORT_ID;
use keyward_trail::export::format::ExportFormat;
use keyward_trail::export::{CONTINUED, Export, Exporter, Start, State, WHOLE};
use keyward_trail::filter::Filter;
use keyward_trail::query::ask::{WARNINGS, warnings_of};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

/// A connection on which nothing comes for so long is dead: the gateway says every few seconds that
/// it is there.
const SILENCE: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(5);
const OTHER_FORM: &str = "the gateway answers in another form: is it of another version?";

/// What to export, and where to.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// ndjson: the records, byte for byte; exchange: with the bodies beside them; ocsf, cadf:
    /// events; csv: a table.
    #[arg(long, default_value = "ndjson", value_parser = form)]
    form: ExportFormat,
    #[command(flatten)]
    filter: FilterArgs,
    /// Goes on with what is recorded later, across restarts of the gateway, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// The number of the record to begin with: what an export said at its end.
    #[arg(long, conflicts_with = "cursor_file")]
    cursor: Option<u64>,
    /// Keeps the cursor here, and goes on from it.
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// Where to; by default to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    trail: Trail,
}

/// What to watch.
pub(super) struct FollowArgs {
    /// Which exchanges.
    pub filter: Filter,
    /// From where on; as given.
    pub cursor: Option<String>,
    /// As JSON lines, and not for people.
    pub lines: bool,
    /// Where.
    pub trail: Trail,
}

fn form(name: &str) -> Result<ExportFormat, String> {
    ExportFormat::parse(name).ok_or_else(|| format!("it takes {}", ExportFormat::NAMES))
}

/// Exports.
///
/// # Errors
/// When the trail cannot be reached or read, or the output cannot be written.
pub fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let saved = Saved::read(args.cursor_file.as_deref())?;
    let cursor = args.cursor.or(saved.and_then(|saved| saved.cursor));
    let export = Export {
        form: args.form,
        filter: args.filter.filter()?,
        start: cursor.map_or(Start::Oldest, Start::At),
        follow: args.follow,
    };
    if args.follow {
        refuse_dir(args.trail.dir.as_deref())?;
    }
    let mut output =
        Output::open(args.out.as_deref(), args.cursor_file, saved, args.cursor.is_some())?;
    export_to(&args.trail, export, &mut output)?;
    Ok(ExitCode::SUCCESS)
}

/// Watches exchanges as they end.
///
/// # Errors
/// As [`run`].
pub(super) fn follow(args: &FollowArgs) -> anyhow::Result<ExitCode> {
    refuse_dir(args.trail.dir.as_deref())?;
    let start = match &args.cursor {
        Some(cursor) => Start::At(cursor.parse().with_context(|| {
            format!("--cursor {cursor}: with --follow it is the number of a record")
        })?),
        None if args.filter.pairs().any(|(name, _)| name == "since") => Start::Oldest,
        None => Start::End,
    };
    let mut output = Output::open(None, None, None, false)?;
    output.readable = !args.lines;
    export_to(
        &args.trail,
        Export { form: ExportFormat::Exchange, filter: args.filter.clone(), start, follow: true },
        &mut output,
    )?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_dir(dir: Option<&Path>) -> anyhow::Result<()> {
    ensure!(
        dir.is_none(),
        "--follow follows a running gateway: give its --url; the trail of a stopped one does not grow"
    );
    Ok(())
}

fn export_to(trail: &Trail, export: Export, output: &mut Output) -> anyhow::Result<()> {
    if !matches!(export.start, Start::At(_)) {
        output.head(export.form.header())?;
    }
    let follows = export.follow;
    let result = export_into(trail, export, None, output);
    output.finish()?;
    match (result, output.next()) {
        (Ok(true), _) => Ok(()),
        (Ok(false), Some(next)) if follows => {
            crate::log::say(format_args!("keyward: to go on from here: --cursor {next}"));
            Ok(())
        }
        (Ok(false), _) => bail!("interrupted: the export is not whole"),
        (Err(error), Some(next)) => Err(error.context(format!(
            "the export is not whole; to go on from where it broke off: --cursor {next}"
        ))),
        (Err(error), None) => Err(error),
    }
}

/// Exports into anything. False when somebody ended it before it was whole. `purpose` stands in the
/// record of the export.
pub(super) fn export_into(
    trail: &Trail,
    export: Export,
    purpose: Option<&str>,
    sink: &mut dyn Sink,
) -> anyhow::Result<bool> {
    match &trail.dir {
        Some(dir) => from_folder(dir, export, sink),
        None => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(from_gateway(trail, export, purpose, sink)),
    }
}

fn from_folder(dir: &Path, export: Export, sink: &mut dyn Sink) -> anyhow::Result<bool> {
    let mut exporter = Exporter::new(folder(dir)?, export)?;
    sink.ends_at(exporter.end());
    sink.warned(exporter.warnings());
    loop {
        let step = exporter.step()?;
        for line in &step.lines {
            sink.put(&line.bytes, line.next)?;
        }
        sink.put(b"", step.next)?;
        sink.flush()?;
        if step.state == State::Ended {
            return Ok(true);
        }
    }
}

/// Until the export is whole, or somebody ends it.
async fn from_gateway(
    trail: &Trail,
    export: Export,
    purpose: Option<&str>,
    sink: &mut dyn Sink,
) -> anyhow::Result<bool> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        result = receive(trail, export, purpose, sink) => result.map(|()| true),
        _ = term.recv() => Ok(false),
        _ = int.recv() => Ok(false),
    }
}

/// Receives all of it; when it follows, connects anew whenever the connection breaks.
async fn receive(
    trail: &Trail,
    mut export: Export,
    purpose: Option<&str>,
    sink: &mut dyn Sink,
) -> anyhow::Result<()> {
    let mut retry = RETRY_FIRST;
    loop {
        let before = sink.next();
        let error = match connect(trail, &export, purpose, sink).await {
            Ok(mut stream) => match read_lines(&mut stream, sink).await {
                Ok(()) => return Ok(()),
                Err(error)
                    if error
                        .downcast_ref::<std::io::Error>()
                        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) =>
                {
                    return Err(error);
                }
                Err(error) => error,
            },
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Passthrough(error)) if before.is_none() => return Err(error),
            Err(Refusal::Passthrough(error)) => error,
        };
        let (true, Some(next)) = (export.follow, sink.next()) else { return Err(error) };
        if sink.next() != before {
            retry = RETRY_FIRST;
        }
        if retry == RETRY_FIRST {
            crate::log::say(format_args!("keyward: {error:#}; trying again, from record {next}"));
        }
        export.start = Start::At(next);
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_LAST);
    }
}

/// Why no export begins.
enum Refusal {
    /// Another try may do better.
    Passthrough(anyhow::Error),
    /// None will.
    Final(anyhow::Error),
}

async fn connect(
    trail: &Trail,
    export: &Export,
    purpose: Option<&str>,
    sink: &mut dyn Sink,
) -> Result<Body, Refusal> {
    let (address, host) = trail.address().map_err(Refusal::Final)?;
    let auditor = std::env::var("USER").unwrap_or_default();
    let request = http::Request::get(export.target())
        .header("host", host)
        .header("user-agent", concat!("keyward/", env!("CARGO_PKG_VERSION")));
    let request = purpose
        .into_iter()
        .fold(request, |request, purpose| request.header("x-keyward-purpose", purpose));
    let request = match http::HeaderValue::from_str(&auditor) {
        Ok(name) if !auditor.is_empty() => request.header("x-keyward-auditor", name),
        _ => request,
    };
    let request =
        request.body(bytes::Bytes::new()).map_err(|error| Refusal::Final(error.into()))?;
    let opening = async { client::open(TcpStream::connect(address).await?, request).await };
    let opened = tokio::time::timeout(SILENCE, opening)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer")));
    let (head, mut stream) =
        opened.with_context(|| unreachable(&trail.url)).map_err(Refusal::Passthrough)?.into_parts();
    if head.status.is_success() {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        sink.ends_at(header("x-keyward-end").and_then(|end| end.parse().ok()));
        sink.warned(&warnings_of(header(WARNINGS)));
        header(EXPORT_ID).into_iter().for_each(|export| sink.known_as(export));
        return Ok(stream);
    }
    let mut text = Vec::new();
    while let Ok(Some(bytes)) = stream.next().await {
        text.extend_from_slice(&bytes);
    }
    let error = anyhow::anyhow!("{}", problem(&String::from_utf8_lossy(&text)));
    Err(if head.status.as_u16() == 503 {
        Refusal::Passthrough(error)
    } else {
        Refusal::Final(error)
    })
}

/// Reads lines, each after its cursor and a tab, up to the one that says that this is all. What is
/// continued is handed over with what continues it, so that no cursor stands between the two.
async fn read_lines(stream: &mut Body, sink: &mut dyn Sink) -> anyhow::Result<()> {
    let (mut rest, mut begun): (Vec<u8>, Vec<u8>) = Default::default();
    loop {
        let piece = tokio::time::timeout(SILENCE, stream.next())
            .await
            .context("the gateway has fallen silent")??;
        rest.extend_from_slice(&piece.context("the gateway ended the export before it was whole")?);
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = rest.drain(..end).collect();
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            if line.strip_suffix(b"\n") == Some(WHOLE.as_bytes()) {
                return Ok(());
            }
            let (next, text) = numbered(line).context(OTHER_FORM)?;
            begun.extend_from_slice(if text == b"\n" { b"" } else { text });
            if next != CONTINUED.as_bytes() {
                let next = std::str::from_utf8(next)
                    .ok()
                    .and_then(|next| next.parse().ok())
                    .context(OTHER_FORM)?;
                sink.put(&std::mem::take(&mut begun), next)?;
            }
        }
        sink.flush()?;
    }
}

/// What stands before a line's tab, and behind it.
fn numbered(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'\t')?;
    let (number, text) = line.split_at_checked(at)?;
    Some((number, text.get(1..)?))
}
