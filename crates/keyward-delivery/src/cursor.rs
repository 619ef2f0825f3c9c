//! How far something was delivered, in a file of its own.

use anyhow::anyhow;
use keyward_core::durable;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The file: one number, the next that is to be delivered.
#[derive(Clone, Debug)]
pub struct Cursor {
    file: PathBuf,
    kept: Option<u64>,
}

impl Cursor {
    /// The cursor that is kept in this file.
    pub fn new(file: PathBuf) -> Self {
        Self { file, kept: None }
    }

    /// Where to go on; `None` at the beginning.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no number.
    pub fn read(&mut self) -> anyhow::Result<Option<u64>> {
        self.kept = match durable::read_text(&self.file) {
            Ok(text) => Some(
                text.trim()
                    .parse()
                    .map_err(|_| self.with_file(&"it holds no number of a record"))?,
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.with_file(&error)),
        };
        Ok(self.kept)
    }

    /// Keeps a number. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&mut self, next: u64) -> anyhow::Result<()> {
        if self.kept != Some(next) {
            durable::replace(&self.file, format!("{next}\n").as_bytes())
                .map_err(|error| self.with_file(&error))?;
            self.kept = Some(next);
        }
        Ok(())
    }

    /// Whoever has to mend the cursor must know where it is.
    pub fn with_file(&self, error: &dyn std::fmt::Display) -> anyhow::Error {
        anyhow!("{error} (the cursor is kept in {})", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_what_is_none_is_told_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("siem.cursor");
        let mut cursor = Cursor::new(file.clone());
        assert_eq!(cursor.read().unwrap(), None);
        cursor.keep(7).unwrap();
        assert_eq!(Cursor::new(file.clone()).read().unwrap(), Some(7));
        std::fs::write(&file, "seven").unwrap();
        let error = cursor.read().unwrap_err().to_string();
        assert!(error.contains("no number") && error.contains("siem.cursor"), "{error}");
    }
}
