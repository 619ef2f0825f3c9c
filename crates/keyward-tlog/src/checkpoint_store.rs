//! What is kept of checkpoints beside the tree: the newest, a history, and the keys that have
//! signed.
//!
//! ```text
//! tree/checkpoint            the newest, as served
//! tree/checkpoint.cosigned   the newest that a witness has cosigned
//! tree/checkpoints.ndjson    a line for each one to be kept: {"time":…,"why":…,"note":…}
//! tree/keys                  verifier keys, one a line, in the order of their use
//! ```

use super::key::LogKey;
use keyward_core::clock::Timestamp;
use keyward_core::durable;
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const NEWEST: &str = "checkpoint";
const COSIGNED: &str = "checkpoint.cosigned";
const HISTORY: &str = "checkpoints.ndjson";
const KEYS: &str = "keys";

/// Why a checkpoint is kept for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Some time has passed since the one before.
    Regular,
    /// The gateway stopped.
    Stop,
    /// The old key and the new one have both signed it.
    NewKey,
    /// An operator has accepted a trail that does not continue it.
    Disowned,
}

impl Why {
    fn code(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Stop => "stop",
            Self::NewKey => "new-key",
            Self::Disowned => "disowned",
        }
    }
}

/// A checkpoint of the history.
#[derive(Clone, Debug, Deserialize)]
pub struct HistoricCheckpoint {
    /// When it was kept, by the gateway's clock.
    pub time: String,
    /// Why, as written.
    pub why: String,
    /// The note.
    pub note: String,
}

impl HistoricCheckpoint {
    /// Whether an operator has gone on with a trail that does not continue it.
    pub fn disowned(&self) -> bool {
        self.why == Why::Disowned.code()
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    dir: PathBuf,
    /// Several witnesses may answer at one time.
    cosigning: Arc<Mutex<()>>,
}

impl CheckpointStore {
    /// What is kept in this folder, which must exist before anything is written.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), cosigning: Arc::default() }
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.dir.join(NEWEST))
    }

    /// The newest checkpoint with a cosignature.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn cosigned(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.dir.join(COSIGNED))
    }

    /// Replaces the newest checkpoint.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_newest(&self, note: &[u8]) -> io::Result<()> {
        durable::swap(&self.dir.join(NEWEST), note)
    }

    /// Replaces the newest cosigned checkpoint.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_cosigned(&self, note: &[u8]) -> io::Result<()> {
        let _one = self.cosigning.lock().unwrap_or_else(PoisonError::into_inner);
        durable::swap(&self.dir.join(COSIGNED), note)
    }

    /// Takes the newest checkpoint away, once it is in the history.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_newest(&self) -> io::Result<()> {
        for name in [NEWEST, COSIGNED] {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(())
    }

    /// Keeps a checkpoint for good.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(&self, why: Why, note: &[u8]) -> io::Result<()> {
        let line = json!({"time": Timestamp::now().rfc3339(), "why": why.code(), "note": String::from_utf8_lossy(note)});
        append(&self.dir.join(HISTORY), &line.to_string())
    }

    /// The history, the oldest first. A line that was cut by a crash is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn history(&self) -> io::Result<Vec<HistoricCheckpoint>> {
        let text = read(&self.dir.join(HISTORY))?.unwrap_or_default();
        Ok(history(&String::from_utf8_lossy(&text)))
    }

    /// The file of the history.
    pub fn history_file(&self) -> PathBuf {
        self.dir.join(HISTORY)
    }

    /// The keys that have signed, the first one first.
    ///
    /// # Errors
    /// When they cannot be read, or one is none.
    pub fn keys(&self) -> io::Result<Vec<LogKey>> {
        let path = self.dir.join(KEYS);
        let text = read(&path)?.unwrap_or_default();
        let key = |line: &str| {
            LogKey::parse(line).map_err(|error| {
                io::Error::new(
                    ErrorKind::InvalidData,
                    format!("`{}` is damaged, put it back from a backup: {error}", path.display()),
                )
            })
        };
        String::from_utf8_lossy(&text).lines().map(key).collect()
    }

    /// Takes lines out of the list of keys that are none.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn mend_keys(&self) -> io::Result<()> {
        let path = self.dir.join(KEYS);
        let text = read(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let sound: String = text
            .lines()
            .filter(|line| LogKey::parse(line).is_ok())
            .map(|line| format!("{line}\n"))
            .collect();
        if sound.lines().count() < text.lines().count() {
            durable::swap(&path, sound.as_bytes())
        } else {
            Ok(())
        }
    }

    /// Whether a start has got as far as to make or take a key for this tree.
    pub fn is_begun(&self) -> bool {
        self.dir.join(KEYS).exists()
    }

    /// Says that a key is about to be made for this tree, so that a start that is cut off then can
    /// be told from a key whose trail is gone. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&self) -> io::Result<()> {
        if !self.is_begun() {
            durable::replace(&self.dir.join(KEYS), b"")?;
        }
        self.dir.parent().map_or(Ok(()), |trail| File::open(trail)?.sync_all())
    }

    /// A key signs from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_key(&self, key: &LogKey) -> io::Result<()> {
        append(&self.dir.join(KEYS), &key.to_string())
    }
}

/// The lines of a history. One that is none is left out.
pub fn history(text: &str) -> Vec<HistoricCheckpoint> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match durable::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds a line. One that a crash has cut before is ended first.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let cut = read(path)?.is_some_and(|text| text.last().is_some_and(|last| *last != b'\n'));
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{}{line}\n", if cut { "\n" } else { "" }).as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    #[test]
    fn what_is_kept_comes_back_and_a_cut_line_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let kept = CheckpointStore::new(dir.path());
        assert!(
            kept.newest().unwrap().is_none()
                && kept.history().unwrap().is_empty()
                && kept.keys().unwrap().is_empty()
        );
        kept.put_newest(b"one").unwrap();
        kept.put_newest(b"two").unwrap();
        assert_eq!(kept.newest().unwrap().unwrap(), b"two");
        kept.remember(Why::Regular, b"a\nb\n").unwrap();
        let path = dir.path().join(HISTORY);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"time\":\"cu");
        std::fs::write(&path, text).unwrap();
        kept.remember(Why::Disowned, b"c\n").unwrap();
        let history = kept.history().unwrap();
        assert_eq!(
            history.iter().map(|past| (past.why.as_str(), past.note.as_str())).collect::<Vec<_>>(),
            [("regular", "a\nb\n"), ("disowned", "c\n")]
        );
        let keys: Vec<_> =
            (0..2).map(|_| SigningKey::generate("a").unwrap().0.verifier().clone()).collect();
        keys.iter().for_each(|key| kept.add_key(key).unwrap());
        assert_eq!(kept.keys().unwrap(), keys);
        std::fs::write(dir.path().join(KEYS), format!("{}\n?{}\n", keys[0], keys[1])).unwrap();
        assert!(kept.keys().unwrap_err().to_string().contains("/keys` is damaged"));
        kept.mend_keys().unwrap();
        assert_eq!(kept.keys().unwrap(), keys[..1]);
        kept.drop_newest().unwrap();
        assert!(kept.newest().unwrap().is_none());
    }
}
