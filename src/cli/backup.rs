//! `keyward audit backup` and `restore`.

use super::trail::who;
use super::trail::{Trail, problem, unreachable};
use crate::backup::{self, BACKUP, Snapshot};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use keyward_delivery::client;
use keyward_trail::notary::continuity::is_whole;
use keyward_trail::store::Store;
use keyward_trail::tiered::TieredStore;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::net::TcpStream;

/// What to back up, and where to.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The archive: a new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    trail: Trail,
}

/// Which backup to restore, and where to.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The archive.
    archive: PathBuf,
    /// The audit folder to make of it: a new one, or an empty one.
    #[arg(long)]
    dir: PathBuf,
}

/// Makes a backup.
///
/// # Errors
/// When the trail cannot be reached or read, or the archive not be written. Then there is no
/// archive.
pub fn backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    ensure!(!args.out.exists(), "`{}` exists already: name a new file", args.out.display());
    let part = args.out.with_added_extension("part");
    let made = to_file(args, &part);
    if made.is_err() {
        std::fs::remove_file(&part).ok();
    }
    made?;
    std::fs::rename(&part, &args.out)?;
    let dir = args.out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()?;
    sayln!(
        "{}, {} bytes. The keys are not in it: keep those of evidence.key_file and audit.digest_key_file apart",
        args.out.display(),
        args.out.metadata()?.len()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn to_file(args: &BackupArgs, part: &Path) -> anyhow::Result<()> {
    let file = File::create(part).with_context(|| part.display().to_string())?;
    let bar = bar("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    match &args.trail.dir {
        Some(dir) => {
            ensure!(dir.join("trail").is_dir(), "there is no trail in `{}`", dir.display());
            let (store, _) = TieredStore::open(dir)?;
            is_whole(
                dir,
                store.newest_first(u64::MAX).next().transpose()?.map_or(0, |frame| frame.end()),
            )?;
            let snapshot = Snapshot::make(&store, dir)?;
            bar.set_length(snapshot.bytes());
            let mut out = BufWriter::new(&file);
            snapshot.write(&mut out, |bytes| bar.set_position(bytes))?;
            out.flush()?;
        }
        None => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(receive(&args.trail, &file, &bar))?,
    }
    file.sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

async fn receive(trail: &Trail, mut file: &File, bar: &ProgressBar) -> anyhow::Result<()> {
    let (address, host) = trail.address()?;
    let auditor = std::env::var("USER").unwrap_or_default();
    let request = http::Request::get(BACKUP)
        .header("host", host)
        .header("x-keyward-auditor", auditor)
        .body(Bytes::new())?;
    let stream = TcpStream::connect(address).await.with_context(|| unreachable(&trail.url))?;
    let answer = client::open(stream, request).await.with_context(|| unreachable(&trail.url))?;
    let status = answer.status();
    if let Some(bytes) = answer
        .headers()
        .get("x-keyward-bytes")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
    {
        bar.set_length(bytes);
    }
    let mut body = answer.into_body();
    let mut refusal = Vec::new();
    while let Some(piece) = body.next().await.context("the backup broke off")? {
        if status.is_success() {
            file.write_all(&piece)?;
            bar.inc(piece.len() as u64);
        } else {
            refusal.extend_from_slice(&piece);
        }
    }
    if !status.is_success() {
        bail!("{}", problem(&String::from_utf8_lossy(&refusal)));
    }
    Ok(())
}

/// A bar on a terminal, and nowhere else.
fn bar(template: &str) -> ProgressBar {
    ProgressBar::new(0).with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

/// Makes a trail of a backup.
///
/// # Errors
/// When the archive is cut, damaged or something else, or the folder holds something.
pub fn restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let mut archive =
        File::open(&args.archive).with_context(|| args.archive.display().to_string())?;
    let bar = bar("{bar:40} {pos} of {len} segments read, {eta} left");
    let restored = backup::restore(&mut archive, &args.dir, &who(), &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    sayln!(
        "{} records as of {} are restored into {}; record {} tells of it. Put the keys back, and start the gateway on it",
        restored.records,
        restored.made,
        args.dir.display(),
        restored.told_by
    )?;
    Ok(ExitCode::SUCCESS)
}
