//! Proofs of a pack: that each of its records stands in the log under a signed checkpoint. One file
//! with a line for each record, since a file for each would be too many.
//!
//! ```text
//! proofs/inclusion.ndjson   {"record": N, "hashes": [base64, …]}: the inclusion proof of RFC 6962
//! proofs/checkpoint         the checkpoint that all of them lead to: C2SP tlog-checkpoint
//! proofs/checkpoints.ndjson the checkpoints that were kept before it
//! proofs/log.vkey           the log's verifier key, as the trail says
//! ```

use anyhow::Context;
use keyward_tlog::note::Signed;
use keyward_tlog::source::Source;
use keyward_tlog::tree::{self, Tiles};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use tlog_tiles::Hash;

/// The folder in the pack.
pub(super) const DIR: &str = "proofs/";
/// Tiles that are kept; a tile has 8 KiB.
const TILES_MAX: usize = 256;

#[derive(Deserialize, Serialize)]
struct Line {
    record: u64,
    hashes: Vec<String>,
}

/// Writes the proofs of records, given as place and hash, through `write`, which takes a file's
/// name and bytes to add.
///
/// # Errors
/// When the checkpoint does not cover a record, or a proof does not hold.
pub(super) fn prove(
    source: &dyn Source,
    records: impl Iterator<Item = anyhow::Result<(u64, [u8; 32])>>,
    mut write: impl FnMut(&str, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let keys = source.keys()?;
    let note = source.checkpoint()?.context("the trail has no checkpoint yet")?;
    let signed = Signed::open(&note, &keys)?;
    let inclusion = format!("{DIR}inclusion.ndjson");
    write(&inclusion, b"")?;
    let tiles = Kept { tiles: source, kept: RefCell::default() };
    for record in records {
        let (record, hash) = record?;
        let proof = tree::inclusion(&tiles, signed.size(), signed.root(), record, hash);
        let proof = proof.map_err(|error| {
            anyhow::anyhow!(
                "record {record} cannot be proved ({error}): see what `keyward audit verify` says"
            )
        })?;
        let line = Line { record, hashes: proof.iter().map(ToString::to_string).collect() };
        write(&inclusion, format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
    }
    write(&format!("{DIR}checkpoint"), &note)?;
    for past in source.history()? {
        let line = json!({"time": past.time, "why": past.why, "note": past.note});
        write(&format!("{DIR}checkpoints.ndjson"), format!("{line}\n").as_bytes())?;
    }
    let signers = signed.signers(&keys)?;
    write(
        &format!("{DIR}log.vkey"),
        format!("{}\n", signers.last().context("no key has signed the checkpoint")?).as_bytes(),
    )
}

/// Tiles, each read once as long as it is near.
struct Kept<'a> {
    tiles: &'a dyn Source,
    kept: RefCell<HashMap<(u8, u64, u32), Vec<u8>>>,
}

impl Tiles for Kept<'_> {
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
        if let Some(tile) = self.kept.borrow().get(&(level, n, width)) {
            return Ok(tile.clone());
        }
        let tile = self.tiles.tile(level, n, width)?;
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= TILES_MAX {
            kept.clear();
        }
        kept.insert((level, n, width), tile.clone());
        Ok(tile)
    }
}

/// The place and the hashes that a line of inclusion.ndjson has.
pub(super) fn read(line: &str) -> Option<(u64, Vec<Hash>)> {
    let line: Line = serde_json::from_str(line).ok()?;
    let hashes =
        line.hashes.iter().map(|hash| Hash::parse_hash(hash).ok()).collect::<Option<Vec<_>>>()?;
    Some((line.record, hashes))
}
