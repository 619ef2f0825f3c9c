//! The evidence pack: one archive that answers an auditor's question, with what is needed to check
//! the answer.
//!
//! Records go through in the order in which they come and are written to files at once, so a pack
//! may be larger than the memory. Nothing in it depends on keyward: text, JSON lines, CSV and HTML.
//! A module imports only from lines above its own.

mod spool;
mod manifest;
mod summary;
mod report;
mod proofs;
pub mod making;
mod verify;

use anyhow::{Context, ensure};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::texts::Text;
use keyward_record::event::FilterTerm;
use keyward_record::leaf_hash;
use keyward_tlog::source::Source;
use keyward_trail::exchange::{Exchange, Part};
use manifest::{FORM, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use spool::Spool;
use std::io::{BufRead, BufReader};
use std::path::Path;
use summary::Summary;

pub use verify::{Checked, check};

/// What was asked, by whom, and of what.
#[derive(Clone, Debug)]
pub struct Question {
    /// Names and values of the filter, times among them, as they were given.
    pub filter: Vec<(String, String)>,
    /// The address of the gateway, or the folder.
    pub source: String,
    /// Who asks, as the system knows them.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What was said beside the answer, as of a name that the trail does not know.
    pub warnings: Vec<String>,
}

/// Rules that were in force for a time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct InForce {
    /// From when on.
    pub from: String,
    /// Until when; `None` while nothing else has come into force.
    pub until: Option<String>,
    /// The policies' hash.
    pub bundle: String,
    /// The catalogue's hash; empty when it was not said, and so stayed as it was.
    pub catalog: String,
}

/// Records that are gone from the trail, and may have been such as were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Gone {
    /// The first of them.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// They were lost, and not pruned by policy.
    #[serde(rename = "why", with = "manifest::why")]
    pub lost: bool,
    /// The record that tells of it.
    pub told_by: u64,
    /// When the last of them was recorded, as far as is said.
    pub until: Option<String>,
}

/// A pack in the making.
pub struct Pack {
    question: Question,
    spool: Spool,
    summary: Summary,
    lines: u64,
    /// The record after the last one.
    end: u64,
    /// Requests whose answers are gone.
    answers_gone: Vec<u64>,
    /// Which keyward makes it.
    keyward: String,
}

/// What binds a pack to the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    /// Its records are proved.
    proofs: bool,
    /// A record tells of its making.
    recorded: bool,
}

/// A pack that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Exchanges in it.
    pub exchanges: u64,
    /// Records in it.
    pub records: u64,
    /// `sha256:` of the archive.
    pub sha256: String,
}

impl Pack {
    /// Begins, with a folder for its files beside `out`, which must not exist.
    ///
    /// # Errors
    /// When the folder cannot be made, or `out` exists.
    pub fn new(question: Question, out: &Path) -> anyhow::Result<Self> {
        ensure!(!out.exists(), "{} exists already", out.display());
        Self::over(question, Spool::new(out)?, env!("CARGO_PKG_VERSION").to_owned())
    }

    fn over(question: Question, mut spool: Spool, keyward: String) -> anyhow::Result<Self> {
        spool.write("records.ndjson", b"")?;
        spool.write("bodies.ndjson", b"")?;
        spool.write("records.csv", b"line,record,exchange,kind,time,leaf_hash\r\n")?;
        spool.write("exchanges.csv", keyward_trail::export::format::csv::HEADER.as_bytes())?;
        Ok(Self {
            question,
            spool,
            summary: Summary::default(),
            lines: 0,
            end: 0,
            answers_gone: Vec::new(),
            keyward,
        })
    }

    /// Keeps what must be known beside the answer.
    pub fn warned(&mut self, warnings: &[String]) {
        self.question.warnings = warnings.to_vec();
    }

    /// Takes an exchange with its bodies, as one line of JSON.
    ///
    /// # Errors
    /// When it is none, or cannot be written.
    pub fn add(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let line =
            std::str::from_utf8(line).context("the trail gave out something that is no text")?;
        let Some(exchange) = Exchange::read(line) else {
            // Of a call that is gone nothing is left to be summed up, but its answer is a record
            // like others.
            let (id, answer) = Exchange::read_answer(line)
                .context("the trail gave out something that is no exchange")?;
            return self.put(id, &answer);
        };
        self.take(&exchange)
    }

    fn take(&mut self, exchange: &Exchange) -> anyhow::Result<()> {
        if exchange.answer_gone {
            self.answers_gone.push(exchange.request.seq);
        }
        for part in std::iter::once(&exchange.request).chain(&exchange.answer) {
            self.put(exchange.id, part)?;
        }
        self.spool
            .write("exchanges.csv", keyward_trail::export::format::csv::row(exchange).as_bytes())?;
        self.summary.add(exchange);
        Ok(())
    }

    fn put(&mut self, id: AuditId, part: &Part) -> anyhow::Result<()> {
        self.lines += 1;
        self.end = self.end.max(part.seq.saturating_add(1));
        self.spool.write("records.ndjson", &part.leaf)?;
        self.spool.write("records.ndjson", b"\n")?;
        let kind = part.asked().kind.unwrap_or("unreadable");
        let row = format!(
            "{},{},{id},{kind},{},{}\r\n",
            self.lines,
            part.seq,
            part.time.rfc3339(),
            hex::encode(leaf_hash(&part.leaf))
        );
        self.spool.write("records.csv", row.as_bytes())?;
        let Some(content) = &part.content else { return Ok(()) };
        let (commit, salt) = (content.commitment(), hex::encode(content.salt));
        let body = match std::str::from_utf8(&content.bytes) {
            Ok(text) => json!({"record": part.seq, "commit": commit, "salt": salt, "text": text}),
            Err(_) => {
                json!({"record": part.seq, "commit": commit, "salt": salt, "hex": hex::encode(&content.bytes)})
            }
        };
        self.spool.write("bodies.ndjson", format!("{body}\n").as_bytes())
    }

    /// The number of the record after its last one.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The hashes of policies and catalogues that the records name.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.summary.texts.iter().map(String::as_str)
    }

    /// Adds the policies, or the catalogue, of a hash; or says that they were not kept.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add_text(&mut self, hash: &str, text: Option<&Text>) -> anyhow::Result<()> {
        let short = short(hash);
        let Some(text) = text else {
            self.summary.missing.insert(hash.to_owned());
            return Ok(());
        };
        let folder = match text {
            Text::Bundle(_) => "policies",
            Text::Catalog { .. } => "catalogue",
        };
        for (name, text) in text.files() {
            self.spool.write(&format!("{folder}/{short}/{}", sound(&name)), text.as_bytes())?;
        }
        // As one document, from which the hash can be made again.
        self.spool.write(&format!("{folder}/{short}.json"), &serde_json::to_vec_pretty(text)?)
    }

    /// Adds a proof for each record.
    ///
    /// # Errors
    /// When the newest checkpoint does not cover all of them, a proof does not hold, or something
    /// cannot be written.
    pub fn prove(&mut self, source: &dyn Source) -> anyhow::Result<()> {
        let table = BufReader::new(self.spool.read("records.csv")?);
        let records = table.lines().skip(1).map(|row| {
            let row = row?;
            let (head, hash) = row.rsplit_once(',').context("a row without a hash")?;
            let record = head.split(',').nth(1).context("a row without a record")?.parse()?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes)?;
            Ok((record, bytes))
        });
        proofs::prove(source, records, |name, bytes| self.spool.write(name, bytes))
    }

    /// Writes report, manifest, instructions, and the digests of all files. `end` is the number of
    /// records in the trail; `recorded` says that a record will tell of the making. `sha256:`
    /// of SHA256SUMS, for that record.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn seal(
        &mut self,
        in_force: &[InForce],
        gone: &[Gone],
        end: Option<u64>,
        recorded: bool,
    ) -> anyhow::Result<String> {
        let proofs = self.is_proved();
        self.describe(in_force, gone, end, Bound { proofs, recorded })?;
        self.spool.seal()
    }

    /// Whether proofs were added.
    pub fn is_proved(&self) -> bool {
        self.spool.has(proofs::DIR)
    }

    fn describe(
        &mut self,
        in_force: &[InForce],
        gone: &[Gone],
        end: Option<u64>,
        bound: Bound,
    ) -> anyhow::Result<()> {
        let Self { question, spool, summary, lines, .. } = self;
        let filter = question
            .filter
            .iter()
            .map(|(name, value)| FilterTerm { name: name.clone(), value: value.clone() })
            .collect();
        let manifest = Manifest {
            form: FORM,
            made: question.at.rfc3339(),
            by: question.by.clone(),
            of: question.source.clone(),
            keyward: self.keyward.clone(),
            filter,
            warnings: question.warnings.clone(),
            exchanges: summary.exchanges,
            records: *lines,
            records_in_trail: end,
            records_gone: gone.to_vec(),
            answers_gone: self.answers_gone.clone(),
            rules_in_force: in_force.to_vec(),
            texts: summary.texts.clone(),
            texts_not_kept: summary.missing.clone(),
            recorded: bound.recorded,
        };
        let report = report::render(question, summary, &manifest, bound)?;
        spool.write("report.html", report.as_bytes())?;
        spool.write("README.txt", report::instructions(bound).as_bytes())?;
        spool.write("manifest.json", (serde_json::to_string_pretty(&manifest)? + "\n").as_bytes())
    }

    /// Adds the record of the making and its proof, to a pack that is sealed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_making(&mut self, seq: u64, leaf: &[u8], proof: &str) -> anyhow::Result<()> {
        let name = |extension: &str| format!("{}record-{seq}.{extension}", making::DIR);
        self.spool.write(&name("json"), leaf)?;
        self.spool.write(&name("tlog-proof"), proof.as_bytes())
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn archive(mut self, out: &Path) -> anyhow::Result<Made> {
        Ok(Made {
            exchanges: self.summary.exchanges,
            records: self.lines,
            sha256: self.spool.archive(out)?,
        })
    }
}

/// How files are named after a hash.
fn short(hash: &str) -> String {
    hash.trim_start_matches("sha256:").chars().take(16).collect()
}

/// A file's name without what an archive could misread.
fn sound(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    if name.trim_matches('.').is_empty() { "unnamed".to_owned() } else { name }
}
