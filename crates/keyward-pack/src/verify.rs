//! Checking an opened pack. Each record by its proof; each file by its digest, and the digests by
//! the record of the making; bodies and policies by the records that commit to them. Then the pack
//! is made anew from its records and compared, so that report and tables say what the records say.

use super::making::{self, Given};
use super::manifest::{FORM, Manifest};
use super::spool::{SUMS, Spool, digest};
use super::{Bound, Pack, proofs, short};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::texts;
use keyward_record::{Content, Event, EventRecord, Kind, Leaf, leaf_hash};
use keyward_tlog::key::LogKey;
use keyward_tlog::note::Signed;
use keyward_tlog::proof;
use keyward_trail::exchange::{ContentLine, Exchange, Part};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use tlog_tiles::Hash;

/// How deep folders stand in a pack.
const DEPTH_MAX: usize = 4;

/// What was checked.
#[derive(Debug)]
pub struct Checked {
    /// Records that stand in the log.
    pub records: u64,
    /// Records under the checkpoint.
    pub size: u64,
    /// The key by which it was checked.
    pub key: LogKey,
    /// The record of its making, if it has one.
    pub making: Option<Recorded>,
    /// Bodies that are those that their records commit to.
    pub bodies: u64,
    /// Records that commit to a body which is not here.
    pub without_body: u64,
    /// Policies and catalogues that are those that records name.
    pub texts: u64,
    /// Report and tables were made anew, and are the same.
    pub made_anew: bool,
    /// What the pack does not commit to, in sentences.
    pub open: Vec<String>,
    /// It was made before the making of packs was recorded.
    pub old: bool,
}

/// The record of a pack's making.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its number.
    pub record: u64,
    /// When it was recorded.
    pub time: String,
    /// Files that it commits to.
    pub files: u64,
}

/// Checks an opened pack by a key from outside; by the pack's own when none is given.
///
/// # Errors
/// What is wrong, with its file.
pub fn check(dir: &Path, key: Option<LogKey>) -> anyhow::Result<Checked> {
    let folder = Folder(dir);
    // First: what is no file is not opened.
    let digests = folder.digests()?;
    let own = LogKey::parse(String::from_utf8_lossy(&folder.read("proofs/log.vkey")?).trim())
        .context("proofs/log.vkey")?;
    let key = key.unwrap_or_else(|| own.clone());
    let checkpoint = folder.read("proofs/checkpoint")?;
    let signed =
        Signed::open(&checkpoint, std::slice::from_ref(&key)).context("proofs/checkpoint")?;
    Signed::open(&checkpoint, &[own])
        .context("proofs/log.vkey: it has not signed proofs/checkpoint")?;
    let given = folder.records(&signed)?;
    folder.sums(&digests)?;
    let manifest: Manifest =
        serde_json::from_slice(&folder.read("manifest.json")?).context("manifest.json")?;
    let making = if manifest.recorded {
        Some(folder.making(&key, &manifest, &given, &digests)?)
    } else {
        None
    };
    let anew = folder.anew(&manifest)?;
    let made_anew = manifest.form == FORM;
    for (name, digest) in &anew.digests {
        let of_records = name.starts_with("policies/")
            || name.starts_with("catalogue/")
            || ["records.ndjson", "records.csv", "bodies.ndjson"].contains(&name.as_str());
        let there = digests.get(name).with_context(|| format!("{name} is not there"))?;
        ensure!(
            there == digest || !(of_records || made_anew),
            "{name} is not what the records of the pack give"
        );
    }
    let of_pack = |name: &str| {
        anew.digests.contains_key(name)
            || name == SUMS
            || name.starts_with(proofs::DIR)
            || (manifest.recorded && name.starts_with(making::DIR))
    };
    if let Some(name) = digests.keys().find(|name| !of_pack(name)) {
        bail!("{name} is no file of this pack");
    }
    let mut open = Vec::new();
    if making.is_none() {
        let before = if manifest.form == 0 {
            "it was made before that was done"
        } else {
            "it was made of a stopped gateway's folder"
        };
        open.push(format!(
            "no record of the log tells of the making of this pack: {before}. That no record was left out of it, what was asked, by whom and when, and the times in records.csv rest on the word of whoever made it"
        ));
    }
    if !made_anew {
        let report = if making.is_some() {
            "only the digests in the record of its making speak for report and tables"
        } else {
            "nothing speaks for report.html, exchanges.csv and README.txt"
        };
        open.push(format!(
            "it is of another form (keyward {}) than this program makes: {report}",
            manifest.keyward
        ));
    }
    if !manifest.texts_not_kept.is_empty() {
        open.push(format!(
            "{} policies or catalogues that records name are not in it",
            manifest.texts_not_kept.len()
        ));
    }
    let Anew { bodies, without_body, texts, .. } = anew;
    let records = given.number();
    Ok(Checked {
        records,
        size: signed.size(),
        key,
        making,
        bodies,
        without_body,
        texts,
        made_anew,
        open,
        old: manifest.form == 0,
    })
}

/// An opened pack.
struct Folder<'a>(&'a Path);

/// What the records of a pack give.
struct Anew {
    digests: BTreeMap<String, String>,
    bodies: u64,
    without_body: u64,
    texts: u64,
}

impl Folder<'_> {
    fn open(&self, name: &str) -> anyhow::Result<BufReader<File>> {
        let path = self.0.join(name);
        File::open(&path).map(BufReader::new).with_context(|| path.display().to_string())
    }

    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.0.join(name);
        std::fs::read(&path).with_context(|| path.display().to_string())
    }

    /// Each line of records.ndjson is the record of the log that the same row of records.csv says.
    fn records(&self, signed: &Signed) -> anyhow::Result<Given> {
        let (mut rows, mut proofs) =
            (Rows::new(self)?, self.open("proofs/inclusion.ndjson")?.lines());
        let (mut given, mut late) = (Given::default(), BTreeMap::new());
        for leaf in self.open("records.ndjson")?.split(b'\n') {
            let n = given.number() + 1;
            let at = || format!("line {n} of records.ndjson");
            let (row, proof) = (rows.next().with_context(at)??, proofs.next().with_context(at)??);
            let (place, hashes) = proofs::read(&proof)
                .with_context(|| format!("line {n} of proofs/inclusion.ndjson"))?;
            ensure!(place == row.record, "{}: its proof is of another record", at());
            let leaf = Bytes::from(leaf?);
            let checked = tlog_tiles::check_record(
                &hashes,
                signed.size(),
                signed.root(),
                place,
                Hash(leaf_hash(&leaf)),
            );
            checked.map_err(|error| {
                anyhow::anyhow!("{} is not record {place} of the log: {error}", at())
            })?;
            let part = row.part(leaf, None).with_context(|| {
                format!("line {n} of records.csv says something else than its record")
            })?;
            match part.asked().time.and_then(Timestamp::parse) {
                Some(own) if row.time > own => drop(late.insert(row.record, row.time)),
                Some(own) => ensure!(
                    row.time == own,
                    "{}: records.csv has a time before the record's own",
                    at()
                ),
                None => {}
            }
            given.add(&part);
        }
        ensure!(
            rows.next().is_none() && proofs.next().is_none(),
            "records.ndjson has {} lines: some are missing",
            given.number()
        );
        // The trail's time of a record is the record's own, or, since it never goes back, that of
        // the one before it.
        for row in Rows::new(self)? {
            let row = row?;
            let same = late.get(&row.record.saturating_add(1)).is_none_or(|time| *time == row.time);
            ensure!(
                same,
                "records.csv: the time of record {} is neither its own nor that of the record before it",
                row.record.saturating_add(1)
            );
        }
        Ok(given)
    }

    /// The digests of all files.
    fn digests(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let (mut digests, mut folders) = (BTreeMap::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(self.0.join(&folder))
                .with_context(|| self.0.join(&folder).display().to_string())?
            {
                let entry = entry?;
                let file = entry.file_name().into_string().ok().with_context(|| {
                    format!("{}: no file of a pack has such a name", entry.path().display())
                })?;
                let (name, kind) = (format!("{folder}{file}"), entry.file_type()?);
                ensure!(kind.is_file() || kind.is_dir(), "{name} is neither file nor folder");
                if kind.is_file() {
                    digests.insert(
                        name.clone(),
                        digest(File::open(entry.path())?).with_context(|| name)?,
                    );
                } else {
                    ensure!(name.matches('/').count() < DEPTH_MAX, "{name} is no folder of a pack");
                    folders.push(format!("{name}/"));
                }
            }
        }
        Ok(digests)
    }

    /// SHA256SUMS names every file, but itself and the record of the making, with its digest.
    fn sums(&self, digests: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let mut named = BTreeSet::new();
        for line in self.open(SUMS)?.lines() {
            let line = line?;
            let (sum, name) = line
                .split_once("  ")
                .with_context(|| format!("{SUMS}: `{line}` is no digest and name"))?;
            let there = digests
                .get(name)
                .with_context(|| format!("{name} is not there, though {SUMS} names it"))?;
            ensure!(there == sum, "{name} is not the file that {SUMS} names");
            ensure!(named.insert(name.to_owned()), "{SUMS} names {name} twice");
        }
        let beside = |name: &str| name == SUMS || name.starts_with(making::DIR);
        match digests.keys().find(|name| !named.contains(*name) && !beside(name)) {
            Some(name) => bail!("{name} is no file of this pack: {SUMS} does not name it"),
            None => Ok(()),
        }
    }

    /// The record of the making, which agrees with what is here.
    fn making(
        &self,
        key: &LogKey,
        manifest: &Manifest,
        given: &Given,
        digests: &BTreeMap<String, String>,
    ) -> anyhow::Result<Recorded> {
        let mut files = digests.keys().filter(|name| name.starts_with(making::DIR));
        let missing =
            "the record of the pack's making is not there: manifest.json says that it was recorded";
        let (Some(leaf_name), Some(proof_name), None) = (files.next(), files.next(), files.next())
        else {
            bail!("made/: {missing}, in a file with its proof beside it")
        };
        let leaf = self.read(leaf_name)?;
        let (record, _) = proof::check_record(&leaf, &self.read(proof_name)?, key)
            .with_context(|| leaf_name.clone())?;
        let at = |extension: &str| format!("{}record-{record}.{extension}", making::DIR);
        ensure!((leaf_name, proof_name) == (&at("json"), &at("tlog-proof")), "made/: {missing}");
        let Some(Leaf::Event(told)) = Leaf::read(&leaf) else {
            bail!("{leaf_name} is no record of an event")
        };
        let EventRecord {
            time,
            event: Event::PackMade { filter, records_in_trail, records, sums, .. },
            ..
        } = *told
        else {
            bail!("{leaf_name} does not tell of the making of a pack")
        };
        ensure!(
            digests.get(SUMS).is_some_and(|own| sums == format!("sha256:{own}")),
            "{SUMS} is not the one of the pack that was made: {leaf_name} names another"
        );
        if let Some(name) = given.disagrees(&records) {
            bail!(
                "records.ndjson does not hold the records that were given out: `{name}` in {leaf_name} is another"
            );
        }
        ensure!(
            filter == manifest.filter,
            "manifest.json does not have the question that {leaf_name} has"
        );
        ensure!(
            records_in_trail == manifest.records_in_trail,
            "manifest.json does not have the number of records in the trail that {leaf_name} has"
        );
        Ok(Recorded {
            record,
            time,
            files: digests.keys().filter(|name| !name.starts_with(making::DIR)).count() as u64,
        })
    }

    /// The pack as its own records give it.
    fn anew(&self, manifest: &Manifest) -> anyhow::Result<Anew> {
        let question = manifest.question().context("manifest.json: `made` is no time")?;
        let mut pack = Pack::over(question, Spool::of_digests(), manifest.keyward.clone())?;
        let mut parts = Parts::new(self)?;
        let gone: BTreeSet<u64> = manifest.answers_gone.iter().copied().collect();
        let mut next = parts.next()?;
        while let Some((id, request)) = next {
            next = parts.next()?;
            if request.kind == Kind::Answer {
                pack.put(id, &request)?;
                continue;
            }
            let (mut answer, forwarded) = (None, request.kind == Kind::Forwarded);
            if let Some((_, part)) =
                next.take_if(|(other, part)| forwarded && *other == id && part.kind == Kind::Answer)
            {
                answer = Some(part);
                next = parts.next()?;
            }
            let answer_gone = answer.is_none() && gone.contains(&request.seq);
            pack.take(&Exchange { id, request, answer, answer_gone })?;
        }
        let (bodies, without_body) = parts.end()?;
        let texts = self.texts(&mut pack, manifest)?;
        pack.describe(
            &manifest.rules_in_force,
            &manifest.records_gone,
            manifest.records_in_trail,
            Bound { proofs: true, recorded: manifest.recorded },
        )?;
        Ok(Anew { digests: pack.spool.digests(), bodies, without_body, texts })
    }

    /// Adds the texts that records, and the rules that were in force, name.
    fn texts(&self, pack: &mut Pack, manifest: &Manifest) -> anyhow::Result<u64> {
        let in_force = manifest
            .rules_in_force
            .iter()
            .flat_map(|rules| [&rules.bundle, &rules.catalog])
            .filter(|hash| !hash.is_empty());
        let hashes: BTreeSet<String> =
            pack.hashes().map(str::to_owned).chain(in_force.cloned()).collect();
        let mut there = 0;
        for hash in hashes {
            if manifest.texts_not_kept.contains(&hash) {
                pack.add_text(&hash, None)?;
                continue;
            }
            let names =
                ["policies", "catalogue"].map(|folder| format!("{folder}/{}.json", short(&hash)));
            let name = names.into_iter().find(|name| self.0.join(name).is_file());
            let name = name.with_context(|| {
                format!("the policies or the catalogue that records name by `{hash}` are not there")
            })?;
            let text = texts::parse(&self.read(&name)?, &hash)
                .with_context(|| format!("{name} is not the text that records name by `{hash}`"))?;
            pack.add_text(&hash, Some(&text))?;
            there += 1;
        }
        Ok(there)
    }
}

/// A row of records.csv.
struct Row {
    line: u64,
    record: u64,
    id: AuditId,
    kind: String,
    time: Timestamp,
}

impl Row {
    fn read(text: &str) -> Option<Self> {
        let [line, record, id, kind, time, _hash] =
            text.trim_end_matches('\r').split(',').collect::<Vec<_>>().try_into().ok()?;
        Some(Self {
            line: line.parse().ok()?,
            record: record.parse().ok()?,
            id: AuditId::parse(id)?,
            kind: kind.to_owned(),
            time: Timestamp::parse(time)?,
        })
    }

    /// The record that it is of, if that says the same.
    fn part(&self, leaf: Bytes, content: Option<Content>) -> Option<Part> {
        let part = Part::of_leaf(self.record, self.time, leaf, content)?;
        let told = part.asked();
        let same =
            told.kind == Some(&self.kind) && told.id.and_then(AuditId::parse) == Some(self.id);
        same.then_some(part)
    }
}

/// The rows of records.csv, the first one left out.
struct Rows(Lines<BufReader<File>>, u64);

impl Rows {
    fn new(folder: &Folder) -> anyhow::Result<Self> {
        let mut lines = folder.open("records.csv")?.lines();
        lines.next().transpose()?;
        Ok(Self(lines, 0))
    }
}

impl Iterator for Rows {
    type Item = anyhow::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.0.next()?;
        self.1 += 1;
        let row = line.map_err(Into::into).and_then(|line| {
            Row::read(&line)
                .filter(|row| row.line == self.1)
                .with_context(|| format!("line {} of records.csv", self.1))
        });
        Some(row)
    }
}

/// Records with their bodies.
struct Parts {
    rows: Rows,
    leaves: std::io::Split<BufReader<File>>,
    bodies: Lines<BufReader<File>>,
    body: Option<BodyLine>,
    with: u64,
    without: u64,
}

#[derive(Deserialize)]
struct BodyLine {
    record: u64,
    #[serde(flatten)]
    content: ContentLine,
}

impl Parts {
    fn new(folder: &Folder) -> anyhow::Result<Self> {
        let (rows, leaves, bodies) = (
            Rows::new(folder)?,
            folder.open("records.ndjson")?.split(b'\n'),
            folder.open("bodies.ndjson")?.lines(),
        );
        let mut parts = Self { rows, leaves, bodies, body: None, with: 0, without: 0 };
        parts.read_body()?;
        Ok(parts)
    }

    fn read_body(&mut self) -> anyhow::Result<()> {
        let line = self.bodies.next().transpose()?;
        let read = |line: String| {
            serde_json::from_str(&line)
                .with_context(|| format!("body {} of bodies.ndjson", self.with + 1))
        };
        self.body = line.map(read).transpose()?;
        Ok(())
    }

    fn next(&mut self) -> anyhow::Result<Option<(AuditId, Part)>> {
        let (Some(row), Some(leaf)) =
            (self.rows.next().transpose()?, self.leaves.next().transpose()?)
        else {
            return Ok(None);
        };
        let content =
            self.body.take_if(|body| body.record == row.record).map(|body| body.content.read());
        let read = content.is_some();
        let content = content
            .map(|content| content.context("it has no text and no salt"))
            .transpose()
            .with_context(|| format!("the body of record {}", row.record))?;
        let part =
            row.part(leaf.into(), content).with_context(|| format!("record {}", row.record))?;
        match (&part.content, part.asked().body.commit) {
            (Some(content), Some(commit)) if content.commitment() == commit => self.with += 1,
            (Some(_), _) => bail!(
                "bodies.ndjson: the body of record {} is not the one that the record commits to",
                row.record
            ),
            (None, Some(_)) => self.without += 1,
            (None, None) => {}
        }
        if read {
            self.read_body()?;
        }
        Ok(Some((row.id, part)))
    }

    /// How many records have their bodies, and how many commit to one that is not there.
    fn end(self) -> anyhow::Result<(u64, u64)> {
        match &self.body {
            Some(body) => bail!(
                "bodies.ndjson: the body of record {} belongs to no record here, or not there",
                body.record
            ),
            None => Ok((self.with, self.without)),
        }
    }
}
