//! Proof bundles: one exchange with all that anybody needs to check it without keyward.
//!
//! ```text
//! record-SEQ.json         the record, byte for byte: the leaf
//! record-SEQ.tlog-proof   its place, its inclusion proof and the checkpoint: C2SP tlog-proof
//! record-SEQ.body         the redacted body beside it, if there is one, and
//! record-SEQ.salt         the salt that binds it, in hexadecimal
//! log.vkey                the log's verifier key, as the trail says: compare it with the one that you were given
//! README.txt              what to do
//! ```

use super::key::LogKey;
use super::note::Signed;
use super::source::{Source, records_of_line};
use super::tree;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use keyward_record::Head;
use keyward_record::{Content, leaf_hash};
use std::path::Path;
use tlog_tiles::Hash;

const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// What was proved.
#[derive(Debug)]
pub struct Proved {
    /// The records' places.
    pub records: Vec<u64>,
    /// Records under the checkpoint.
    pub size: u64,
    /// Witnesses, or others beside the log, have signed the checkpoint too.
    pub cosigned: bool,
}

/// Writes the bundle of an exchange, given as `audit show` gives it as JSON, into a folder that
/// must not exist yet.
///
/// # Errors
/// When no checkpoint covers its records, a proof does not hold, or the folder cannot be written.
pub fn prove(source: &dyn Source, exchange: &str, out: &Path) -> anyhow::Result<Proved> {
    let records = records_of_line(exchange.trim())?;
    let last = records.iter().map(|(seq, ..)| *seq).max().unwrap_or(0);
    let keys = source.keys()?;
    let (signed, cosigned) = covering(source, &keys, last)?;
    let proofs = records
        .iter()
        .map(|(seq, leaf, _)| proof(source, &signed, *seq, leaf))
        .collect::<anyhow::Result<Vec<_>>>()?;
    std::fs::create_dir(out).with_context(|| out.display().to_string())?;
    let write = |name: String, bytes: &[u8]| {
        std::fs::write(out.join(&name), bytes)
            .with_context(|| out.join(&name).display().to_string())
    };
    for ((seq, leaf, content), proof) in records.iter().zip(proofs) {
        write(format!("record-{seq}.json"), leaf)?;
        write(format!("record-{seq}.tlog-proof"), proof.as_bytes())?;
        if let Some(content) = content {
            write(format!("record-{seq}.body"), &content.bytes)?;
            write(
                format!("record-{seq}.salt"),
                format!("{}\n", hex::encode(content.salt)).as_bytes(),
            )?;
        }
    }
    let signers = signed.signers(&keys)?;
    let key = signers.last().context("no key has signed the checkpoint")?;
    write("log.vkey".to_owned(), format!("{key}\n").as_bytes())?;
    write("README.txt".to_owned(), README.as_bytes())?;
    Ok(Proved {
        records: records.iter().map(|(seq, ..)| *seq).collect(),
        size: signed.size(),
        cosigned,
    })
}

/// The best checkpoint over a record: one that a witness has cosigned, if there is one.
fn covering(source: &dyn Source, keys: &[LogKey], seq: u64) -> anyhow::Result<(Signed, bool)> {
    if let Some(note) = source.cosigned()? {
        let signed = Signed::open(&note, keys)?;
        if signed.size() > seq {
            return Ok((signed, true));
        }
    }
    let note = source.checkpoint()?.context("the trail has no checkpoint yet")?;
    let signed = Signed::open(&note, keys)?;
    ensure!(
        signed.size() > seq,
        "no checkpoint covers record {seq} yet: the newest is over {} records; try again in a second",
        signed.size()
    );
    Ok((signed, false))
}

/// The proof of one record, as a bundle has it.
///
/// # Errors
/// When no checkpoint covers it, or the proof does not hold.
pub fn prove_record(source: &dyn Source, seq: u64, leaf: &[u8]) -> anyhow::Result<String> {
    let (signed, _) = covering(source, &source.keys()?, seq)?;
    proof(source, &signed, seq, leaf)
}

/// Checks such a proof: the record's place, and the number of records under its checkpoint.
///
/// # Errors
/// When it is none, the key has not signed its checkpoint, or it is of another record.
pub fn check_record(leaf: &[u8], proof: &[u8], key: &LogKey) -> anyhow::Result<(u64, u64)> {
    let (seq, hashes, signed) = parse(proof).context("it is no proof")?;
    let signed = Signed::open(&signed, std::slice::from_ref(key))?;
    tlog_tiles::check_record(&hashes, signed.size(), signed.root(), seq, Hash(leaf_hash(leaf)))
        .map_err(|error| anyhow::anyhow!("it is not record {seq} of the log: {error}"))?;
    Ok((seq, signed.size()))
}

fn proof(source: &dyn Source, signed: &Signed, seq: u64, leaf: &[u8]) -> anyhow::Result<String> {
    let proof = tree::inclusion(source, signed.size(), signed.root(), seq, leaf_hash(leaf));
    let proof = proof.map_err(|error| {
        anyhow::anyhow!(
            "record {seq} cannot be proved ({error}): see what `keyward audit verify` says"
        )
    })?;
    let hashes: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
    Ok(format!("{MAGIC}\nindex {seq}\n{hashes}\n{signed}"))
}

/// What a bundle proves, once it is checked.
#[derive(Debug)]
pub struct Checked {
    /// A line for each record.
    pub lines: Vec<String>,
    /// The keys by which it was checked.
    pub key: LogKey,
}

/// Checks a bundle by a key from outside; by its own when none is given.
///
/// # Errors
/// What is wrong, with the file.
pub fn check(dir: &Path, key: Option<LogKey>) -> anyhow::Result<Checked> {
    let read = |name: &str| {
        std::fs::read(dir.join(name)).with_context(|| dir.join(name).display().to_string())
    };
    let key = match key {
        Some(key) => key,
        None => LogKey::parse(&String::from_utf8_lossy(&read("log.vkey")?))?,
    };
    let mut lines = Vec::new();
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()) {
        let Some(stem) = name.strip_suffix(".tlog-proof") else { continue };
        let leaf = read(&format!("{stem}.json"))?;
        let (seq, size) =
            check_record(&leaf, &read(name)?, &key).with_context(|| name.to_owned())?;
        let body = if dir.join(format!("{stem}.body")).exists() {
            check_body(
                &leaf,
                read(&format!("{stem}.body"))?.into(),
                &read(&format!("{stem}.salt"))?,
            )
            .with_context(|| format!("{stem}.body"))?;
            ", and its body is the one that it commits to"
        } else {
            ""
        };
        lines.push(format!(
            "{stem}.json is record {seq} of the {size} that the checkpoint covers{body}"
        ));
    }
    ensure!(!lines.is_empty(), "{}: there is no proof", dir.display());
    Ok(Checked { lines, key })
}

fn check_body(leaf: &[u8], bytes: Bytes, salt: &[u8]) -> anyhow::Result<()> {
    let mut content = Content { salt: [0; 32], bytes };
    hex::decode_to_slice(String::from_utf8_lossy(salt).trim(), &mut content.salt)
        .context("the salt")?;
    match Head::read(leaf) {
        Some(head) if head.commit() == Some(&content.commitment()) => Ok(()),
        _ => bail!("it is not the body that the record commits to"),
    }
}

/// Place, hashes and note of a proof.
fn parse(proof: &[u8]) -> Option<(u64, Vec<Hash>, Vec<u8>)> {
    let text = std::str::from_utf8(proof).ok()?;
    let (head, note) = text.split_once("\n\n")?;
    let mut lines = head.lines();
    if lines.next()? != MAGIC {
        return None;
    }
    let mut index = lines.next()?;
    if index.starts_with("extra ") {
        index = lines.next()?;
    }
    let seq = index.strip_prefix("index ")?;
    let hashes = lines.map(|line| Hash::parse_hash(line).ok()).collect::<Option<Vec<_>>>()?;
    Some((
        seq.parse().ok().filter(|n: &u64| n.to_string() == seq)?,
        hashes,
        note.as_bytes().to_vec(),
    ))
}

const README: &str = "\
This folder proves that records stand in the audit log of a keyward gateway, as they stood when its checkpoint was signed.

  record-N.json        record number N (counted from 0), byte for byte
  record-N.tlog-proof  its place, its inclusion proof (RFC 6962) and the log's signed checkpoint; the format is
                       c2sp.org/tlog-proof
  record-N.body, .salt the redacted body beside the record: its `body.commit` is `sha256:` and the SHA-256 of the 32 bytes
                       of the salt (given in hexadecimal) followed by the body
  log.vkey             the log's verifier key (c2sp.org/signed-note). Compare it with the one that you were given by
                       another way: a forger would put an own key here.

To check it with keyward:                     keyward audit verify --proof . --vkey KEY
To check it without: any implementation of the formats above does, for example Go's golang.org/x/mod/sumdb packages `note`
and `tlog`: note.Open on the checkpoint, tlog.RecordHash on record-N.json, tlog.CheckRecord on the proof. A program of a page
that does so is in keyward's sources, tests/verify-go.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_proofs_are_read() {
        let hash = Hash([7; 32]);
        let proof =
            format!("{MAGIC}\nindex 12\n{hash}\n{hash}\n\na\n1\n{hash}\n\n\u{2014} a AAAAAAAA\n");
        let (seq, hashes, note) = parse(proof.as_bytes()).unwrap();
        assert_eq!((seq, hashes.len()), (12, 2));
        assert!(note.starts_with(b"a\n1\n"));
        let extra = proof.replacen("index", "extra AAAA\nindex", 1);
        assert_eq!(parse(extra.as_bytes()).unwrap().0, 12);
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 12", "index 012"),
            ("index", "ondex"),
            ("\n\na", "\na"),
            ("Bwc", "?wc"),
        ] {
            assert!(parse(proof.replacen(from, to, 1).as_bytes()).is_none(), "{from}");
        }
    }
}
