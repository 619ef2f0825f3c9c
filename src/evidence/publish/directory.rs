//! A folder off the host, such as a mounted bucket.
//!
//! ```text
//! checkpoint                     the newest
//! checkpoints/2026-11-22T14Z     the first one of each hour, never written again
//! checkpoint.disowned.SIZE       one that the trail does not continue, as an operator has accepted
//! ```

use super::CheckpointSink;
use anyhow::Context;
use keyward_core::clock::Timestamp;
use keyward_core::durable;
use keyward_tlog::note::Signed;
use keyward_trail::notary::continuity::KnownCheckpoint;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder.
pub struct Directory(PathBuf);

impl Directory {
    /// A folder that exists.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The newest checkpoint that it has.
    ///
    /// # Errors
    /// When the folder cannot be read: one that is configured must be there.
    pub fn known(dir: &Path) -> io::Result<Option<KnownCheckpoint>> {
        let mut found: Vec<_> = match std::fs::read_dir(dir.join("checkpoints")) {
            Ok(entries) => {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        std::fs::read_dir(dir)?;
        found.sort();
        let newest = dir.join("checkpoint");
        let path = if newest.exists() { Some(newest) } else { found.pop() };
        let known = |path: PathBuf| {
            Ok(KnownCheckpoint { note: durable::read(&path)?, place: path.display().to_string() })
        };
        path.map(known).transpose()
    }

    /// Keeps what the trail does not continue.
    fn put_disowned_aside(&self, signed: &Signed) -> io::Result<()> {
        let path = self.0.join("checkpoint");
        let there = match durable::read(&path) {
            Ok(bytes) => Signed::parse(&bytes).ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match there {
            Some(there)
                if there.size() > signed.size()
                    || (there.size() == signed.size() && there.root() != signed.root()) =>
            {
                std::fs::rename(&path, self.0.join(format!("checkpoint.disowned.{}", there.size())))
            }
            _ => Ok(()),
        }
    }

    fn keep_hourly(&self, note: &[u8]) -> io::Result<()> {
        let hour: String = Timestamp::now().rfc3339().chars().take("2026-11-22T14".len()).collect();
        let path = self.0.join("checkpoints").join(format!("{hour}Z"));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(mut file) => file
                .write_all(note)
                .and_then(|()| for_everybody(&path, 0o644))
                .and_then(|()| file.sync_all()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Of the two folders only this one is ours to make: a missing one above is a bucket
                // that is not mounted.
                let hours = self.0.join("checkpoints");
                std::fs::create_dir(&hours)?;
                for_everybody(&hours, 0o755)?;
                self.keep_hourly(note)
            }
            Err(error) => Err(error),
        }
    }
}

/// What the trail's files are not: whoever verifies reads these. Where a disk knows no modes, its
/// own hold.
fn for_everybody(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
        Err(error)
            if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        set => set,
    }
}

impl CheckpointSink for Directory {
    fn name(&self) -> &str {
        "directory"
    }

    fn publish(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        let note = signed.bytes();
        let write = || {
            self.put_disowned_aside(signed)?;
            self.keep_hourly(&note)?;
            durable::swap(&self.0.join("checkpoint"), &note)?;
            for_everybody(&self.0.join("checkpoint"), 0o644)
        };
        write().with_context(|| self.0.display().to_string())
    }
}
