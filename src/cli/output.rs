//! Where an export goes: a file or standard output, with a cursor that is kept beside it.
//!
//! The cursor file says how long the output was when the cursor was right. Whoever goes on cuts the
//! output there, so that nothing is missing and nothing stands twice, even after a power cut.

use super::trail::warn;
use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use keyward_core::durable;
use keyward_trail::exchange::Exchange;
use keyward_trail::query::render;
use keyward_verify::progress_bar;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the cursor is kept.
const OFTEN: Duration = Duration::from_secs(1);

/// What a cursor file holds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Saved {
    /// The next record; none while the first was not written yet.
    pub cursor: Option<u64>,
    /// Bytes of the output before it.
    bytes: u64,
}

impl Saved {
    /// What a cursor file says; `None` when there is none yet.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
        let bytes =
            std::fs::read(path).with_context(|| format!("cursor file {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is no cursor file", path.display()))
    }

    fn write(self, path: &Path) -> anyhow::Result<()> {
        durable::replace(path, &serde_json::to_vec(&self)?)
            .with_context(|| format!("cursor file {}", path.display()))
    }
}

enum To {
    File(BufWriter<File>),
    Stdout(BufWriter<std::io::Stdout>),
}

/// What takes the lines of an export.
pub(super) trait Sink {
    /// Takes a line, with its end, behind which the cursor is `next`. An empty one moves the
    /// cursor.
    fn put(&mut self, line: &[u8], next: u64) -> anyhow::Result<()>;

    /// Comes after a batch of lines.
    fn flush(&mut self) -> anyhow::Result<()>;

    /// Where the export ends, when that is known.
    fn ends_at(&mut self, end: Option<u64>);

    /// What must be known beside it, in sentences.
    fn warned(&mut self, warnings: &[String]) {
        warn(warnings);
    }

    /// Which export of a gateway it is: the audit id of the record of its beginning.
    fn known_as(&mut self, _export: &str) {}

    /// The cursor.
    fn next(&self) -> Option<u64>;
}

/// The output of an export.
pub(super) struct Output {
    to: To,
    cursor_file: Option<PathBuf>,
    /// One line to read for each exchange, in place of its JSON.
    pub readable: bool,
    next: Option<u64>,
    bar: ProgressBar,
    bytes: u64,
    saved: Instant,
    /// There is a cursor to go on from.
    kept: bool,
}

impl Output {
    /// Opens the output. With `saved`, a file is cut to where it was; with `append`, it goes on at
    /// its end; else it must be new.
    ///
    /// # Errors
    /// When the file exists already, is shorter than it was, or cannot be opened.
    pub fn open(
        out: Option<&Path>,
        cursor_file: Option<PathBuf>,
        saved: Option<Saved>,
        append: bool,
    ) -> anyhow::Result<Self> {
        let bar = if out.is_some() || !std::io::stdout().is_terminal() {
            progress_bar()
        } else {
            ProgressBar::hidden()
        };
        let mut bytes = saved.map_or(0, |saved| saved.bytes);
        let to = match out {
            None => To::Stdout(BufWriter::new(std::io::stdout())),
            Some(path) => {
                let name = || path.display().to_string();
                let mut file = File::options()
                    .create(saved.is_none())
                    .truncate(false)
                    .write(true)
                    .open(path)
                    .with_context(name)?;
                let length = file.metadata().with_context(name)?.len();
                // An empty one is what an export leaves that was ended before its first line.
                ensure!(
                    saved.is_some() || append || length == 0,
                    "{}: it must be new, or come with the --cursor-file of its export",
                    name()
                );
                if saved.is_some() {
                    ensure!(
                        length >= bytes,
                        "{}: {length} bytes, but the cursor file says {bytes}: it is not the output that belongs to it",
                        name()
                    );
                    file.set_len(bytes).with_context(name)?;
                } else {
                    bytes = length;
                }
                file.seek(SeekFrom::End(0)).with_context(name)?;
                if let (Some(cursor_file), None) = (&cursor_file, saved) {
                    // Whoever was ended before the first cursor goes on too: at the beginning.
                    Saved { cursor: None, bytes }.write(cursor_file)?;
                }
                To::File(BufWriter::new(file))
            }
        };
        let next = saved.and_then(|saved| saved.cursor);
        Ok(Self {
            to,
            cursor_file,
            readable: false,
            next,
            bar,
            bytes,
            saved: Instant::now(),
            kept: next.is_some(),
        })
    }

    /// Writes what stands before the first line.
    pub fn head(&mut self, header: &str) -> std::io::Result<()> {
        self.write(header.as_bytes())
    }

    /// Makes the output durable, then its cursor.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.saved = Instant::now();
        match &mut self.to {
            To::File(file) => {
                file.flush()?;
                file.get_ref().sync_data()?;
            }
            To::Stdout(stdout) => stdout.flush()?,
        }
        if let (Some(path), Some(cursor)) = (&self.cursor_file, self.next) {
            Saved { cursor: Some(cursor), bytes: self.bytes }.write(path)?;
            self.kept = true;
        }
        Ok(())
    }

    /// The last word.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.save()?;
        self.bar.finish_and_clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes += bytes.len() as u64;
        match &mut self.to {
            To::File(file) => file.write_all(bytes),
            To::Stdout(stdout) => stdout.write_all(bytes),
        }
    }
}

impl Sink for Output {
    fn put(&mut self, line: &[u8], next: u64) -> anyhow::Result<()> {
        if !line.is_empty() {
            match std::str::from_utf8(line).ok().filter(|_| self.readable).and_then(Exchange::read)
            {
                Some(exchange) => self.write(render::line(&exchange).as_bytes())?,
                None => self.write(line)?,
            }
        }
        self.next = Some(next);
        self.bar.set_position(next);
        Ok(())
    }

    /// Hands the lines on, and keeps the cursor: with the first of them, then now and then.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.saved.elapsed() >= OFTEN || (self.cursor_file.is_some() && !self.kept) {
            return self.save();
        }
        match &mut self.to {
            To::File(file) => file.flush()?,
            To::Stdout(stdout) => stdout.flush()?,
        }
        Ok(())
    }

    fn ends_at(&mut self, end: Option<u64>) {
        end.into_iter().for_each(|end| self.bar.set_length(end));
    }

    fn next(&self) -> Option<u64> {
        self.next
    }
}
