//! An export: exchanges as JSON lines, each record byte for byte beside its place in the trail.

use super::{Recorded, Run, Runs, Source, Tombstone};
use crate::checkpoint_store::HistoricCheckpoint;
use crate::key::LogKey;
use crate::tree::Tiles;
use anyhow::{Context, bail};
use bytes::Bytes;
use keyward_record::Content;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The export, read whole.
pub struct Export {
    path: PathBuf,
    records: BTreeMap<u64, Record>,
}

struct Record {
    leaf: Bytes,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    request: Option<Part<'a>>,
    #[serde(borrow)]
    answer: Option<Part<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    seq: u64,
    #[serde(borrow)]
    record: &'a RawValue,
    content: Option<Body>,
}

#[derive(Deserialize)]
struct Body {
    salt: String,
    text: Option<String>,
    hex: Option<String>,
}

/// The records of an exchange as `audit show` and the exports give it: place, bytes, and the body
/// beside.
///
/// # Errors
/// When it is something else.
pub fn records_of_line(line: &str) -> anyhow::Result<Vec<(u64, Bytes, Option<Content>)>> {
    let Line { request, answer } = serde_json::from_str(line)?;
    if request.is_none() && answer.is_none() {
        bail!(
            "there is no `request` with its `seq` and `record`: export exchanges, not bare records"
        );
    }
    request
        .into_iter()
        .chain(answer)
        .map(|part| {
            Ok((part.seq, Bytes::copy_from_slice(part.record.get().as_bytes()), part.content()?))
        })
        .collect()
}

impl Part<'_> {
    fn content(&self) -> anyhow::Result<Option<Content>> {
        let Some(body) = &self.content else { return Ok(None) };
        let mut salt = [0; 32];
        hex::decode_to_slice(&body.salt, &mut salt).context("`salt`")?;
        let bytes = match (&body.text, &body.hex) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(digits)) => hex::decode(digits).context("`hex`")?,
            (None, None) => bail!("`content` has neither `text` nor `hex`"),
        };
        Ok(Some(Content { salt, bytes: bytes.into() }))
    }
}

impl Export {
    /// Reads an export.
    ///
    /// # Errors
    /// When it cannot be read, with the line at which it is something else.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let mut records = BTreeMap::new();
        for (n, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("{}:{}", path.display(), n + 1);
            let line = line.with_context(place)?;
            if line.trim().is_empty() {
                continue;
            }
            for (seq, leaf, content) in records_of_line(&line).with_context(place)? {
                if records.insert(seq, Record { leaf, content }).is_some() {
                    bail!("{}: record {seq} is there twice", place());
                }
            }
        }
        Ok(Self { path: path.to_owned(), records })
    }
}

impl Tiles for Export {
    fn tile(&self, _: u8, _: u64, _: u32) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, "an export has no tiles"))
    }
}

impl Source for Export {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn cosigned(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn history(&self) -> io::Result<Vec<HistoricCheckpoint>> {
        Ok(Vec::new())
    }

    fn keys(&self) -> io::Result<Vec<LogKey>> {
        Ok(Vec::new())
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.records.last_key_value().map_or(0, |(seq, _)| seq + 1))
    }

    fn ends_by_checkpoint(&self) -> bool {
        false
    }

    fn absent(&self) -> io::Result<Vec<Tombstone>> {
        Ok(Vec::new())
    }

    fn runs(&self, first: u64, _: u64) -> Runs<'_> {
        let run = |(seq, record): (&u64, &Record)| {
            Ok(Run {
                first: *seq,
                records: vec![Recorded { leaf: record.leaf.clone(), head: None }],
            })
        };
        Box::new(self.records.range(first..).map(run))
    }

    fn has_tiles(&self) -> bool {
        false
    }

    fn content(&self, seq: u64) -> io::Result<Option<Content>> {
        Ok(self.records.get(&seq).and_then(|record| record.content.clone()))
    }

    fn has_content(&self) -> bool {
        self.records.values().any(|record| record.content.is_some())
    }
}
