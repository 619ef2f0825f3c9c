//! Backup and restore: one archive with all that a trail is, made while the gateway runs.
//!
//! ```text
//! segments/…      records and bodies: what was sealed, and what was not, as short segments
//! tree/…          the hashes up to the newest checkpoint, the checkpoints that were kept, the keys that signed
//! texts/…         the policies and catalogues that were in force
//! manifest.json   what all this is, with the SHA-256 of each segment's files; the last file, so that a cut archive shows
//! ```
//!
//! The keys by which checkpoints are signed and secrets digested are not in it: they are kept
//! apart.

use anyhow::{Context, ensure};
use keyward_core::clock::Timestamp;
use keyward_core::texts;
use keyward_record::Entry;
use keyward_record::Event;
use keyward_record::Record;
use keyward_record::event::By;
use keyward_trail::notary::{TREE, copy_tree};
use keyward_trail::recovery::{Lock, restored};
use keyward_trail::store::Batch;
use keyward_trail::tiered::{Contents, TieredStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where a backup is asked for on the admin listener.
pub const BACKUP: &str = "/api/v1/backup";
const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "keyward-backup-1";
/// What the folder of a snapshot under way begins with, in the trail's: nothing that somebody would
/// name a folder of their own, because what is left of it is removed.
const UNDER_WAY: &str = ".keyward-snapshot-";
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What an archive says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    /// When it was made.
    pub made: String,
    /// By which version.
    pub by: String,
    /// The trail.
    pub trail: Contents,
}

/// A snapshot of a trail, until it is dropped.
pub struct Snapshot {
    dir: TempDir,
    /// What it holds.
    pub manifest: Manifest,
}

impl Snapshot {
    /// Makes one, beside the trail.
    ///
    /// # Errors
    /// When the trail or the disk fails.
    pub fn make(store: &TieredStore, audit_dir: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(UNDER_WAY)
            .tempdir_in(audit_dir)
            .context("the folder of the snapshot")?;
        // The tree first: what is stored is at least as long as what is signed.
        copy_tree(&audit_dir.join(TREE), &dir.path().join(TREE)).context("the tree")?;
        let trail = store.snapshot(dir.path())?;
        trail.check(dir.path())?;
        texts::copy(audit_dir, dir.path()).context("the texts of policies and catalogues")?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            made: Timestamp::now().rfc3339(),
            by: concat!("keyward ", env!("CARGO_PKG_VERSION")).to_owned(),
            trail,
        };
        Ok(Self { dir, manifest })
    }

    /// Writes the archive. `progress` is told how many bytes are written.
    ///
    /// # Errors
    /// When the snapshot cannot be read or the archive not be written.
    pub fn write(&self, out: impl Write, mut progress: impl FnMut(u64)) -> anyhow::Result<()> {
        let mut archive = tar::Builder::new(Counted { out, bytes: 0, progress: &mut progress });
        archive.mode(tar::HeaderMode::Deterministic);
        for folder in ["segments", TREE, texts::DIR] {
            if self.dir.path().join(folder).is_dir() {
                archive.append_dir_all(folder, self.dir.path().join(folder))?;
            }
        }
        let manifest = serde_json::to_vec_pretty(&self.manifest)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(manifest.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, MANIFEST, manifest.as_slice())?;
        archive.into_inner()?.flush()?;
        Ok(())
    }

    /// Bytes of its files, about those of the archive.
    pub fn bytes(&self) -> u64 {
        fn of(dir: &Path) -> u64 {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            files
                .map(|file| {
                    if file.path().is_dir() {
                        of(&file.path())
                    } else {
                        file.metadata().map_or(0, |about| about.len())
                    }
                })
                .sum()
        }
        of(self.dir.path())
    }
}

struct Counted<'a, W> {
    out: W,
    bytes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        (self.progress)(self.bytes);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Removes what a crash has left of snapshots.
pub fn remove_left_over(audit_dir: &Path) {
    for entry in std::fs::read_dir(audit_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNDER_WAY) && entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// When the backup was made.
    pub made: String,
    /// Records, those that were gone by then included.
    pub records: u64,
    /// The record that tells of the restoration.
    pub told_by: u64,
}

/// Makes a trail of a backup, in a folder that must be new or empty. `progress` is told how much is
/// done, and of how much.
///
/// # Errors
/// When the archive is cut, damaged or something else, or the folder holds something.
pub fn restore(
    archive: &mut dyn Read,
    dir: &Path,
    by: &By,
    progress: &mut dyn FnMut(usize, usize),
) -> anyhow::Result<Restored> {
    let empty = !dir.exists()
        || std::fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_none();
    ensure!(
        empty,
        "`{}` is not empty: a backup is restored into a new folder, so that nothing is lost",
        dir.display()
    );
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let lock = Lock::take_to_restore(dir)?;
    unpack(archive, dir)?;
    let manifest = read_manifest(dir)?;
    let contents = &manifest.trail;
    let event = Event::TrailRestored {
        backup_made: manifest.made.clone(),
        records: contents.end,
        by: by.clone(),
    }
    .record();
    let founding = contents.found(dir, lock, progress)?;
    founding.append(&batch(contents.end, event))?;
    founding.finish(&[], Value::Null)?;
    std::fs::remove_file(dir.join(MANIFEST))?;
    restored(dir)?;
    Ok(Restored { made: manifest.made, records: contents.end, told_by: contents.end })
}

fn batch(first_seq: u64, event: Record) -> Batch {
    let entry = Entry { time: event.time, kind: event.kind, id: event.id, leaf: event.leaf };
    Batch { first_seq, entries: vec![entry], ..Batch::default() }
}

/// Unpacks plain files and folders below `dir`, and nothing else.
fn unpack(archive: &mut dyn Read, dir: &Path) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_mtime(false);
    for entry in archive.entries()? {
        let mut entry = entry.context("this is no backup, or it is cut")?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        ensure!(
            kind.is_file() || kind.is_dir(),
            "`{}` in the archive is neither a file nor a folder",
            path.display()
        );
        let inside = entry.unpack_in(dir).with_context(|| {
            format!(
                "`{}` cannot be unpacked: the archive is cut, or the disk is full",
                path.display()
            )
        })?;
        ensure!(inside, "`{}` in the archive would leave the folder", path.display());
    }
    Ok(())
}

fn read_manifest(dir: &Path) -> anyhow::Result<Manifest> {
    let path: PathBuf = dir.join(MANIFEST);
    let file = File::open(&path)
        .context("the archive has no manifest at its end: it is cut, or no backup")?;
    let manifest: Manifest =
        serde_json::from_reader(file.take(MANIFEST_BYTES_MAX)).context("the archive's manifest")?;
    ensure!(
        manifest.format == FORMAT,
        "this backup is of the format `{}`, this program reads `{FORMAT}`",
        manifest.format
    );
    Ok(manifest)
}
