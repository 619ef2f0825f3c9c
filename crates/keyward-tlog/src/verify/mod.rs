//! Verification, with two verdicts: *integrity*, nothing was changed since it was signed;
//! *completeness*, nothing is missing and every request has its outcome.
//!
//! The quick level checks signatures, that every kept checkpoint grows from the one before, and the
//! last records. The full level reads every record, and names what is wrong by its sequence number.

mod edge;
mod gaps;
mod meaning;
pub mod report;
mod walk;

use super::key::{LogKey, WitnessKey};
use super::note::{NoteError, Signed};
use super::source::Source;
use super::tree;
use gaps::{Bound, Gaps};
use report::{About, Compared, Report, Verdict};
use std::collections::HashSet;
use walk::{Reached, Walk, Wanted};

/// Records that the quick level reads.
const RECENT: u64 = 4096;

/// What to verify by.
#[derive(Default)]
pub struct Options {
    /// Reads every record.
    pub full: bool,
    /// The log's keys, from outside. Without any, what the trail says is believed.
    pub keys: Vec<LogKey>,
    /// Checkpoints from outside, each with its place.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// Witnesses whose cosignatures are looked for.
    pub witnesses: Vec<WitnessKey>,
}

/// A checkpoint that is signed.
struct Claim {
    place: String,
    signed: Signed,
    /// The one up to which there are tiles.
    newest: bool,
    outside: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Newest,
    Kept,
    Outside,
}

/// Verifies. `progress` is told how many records are done, and of how many.
///
/// # Errors
/// When the source cannot be read at all.
pub fn verify(
    source: &dyn Source,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> std::io::Result<Report> {
    let mut report = Report {
        source: source.name(),
        full: options.full,
        trusted: !options.keys.is_empty(),
        ..Report::default()
    };
    report.end = source.end()?;
    let claims = claims(source, options, &mut report)?;
    let tiled = claims.iter().find(|claim| claim.newest).map_or(0, |claim| claim.signed.size());
    if tiled == 0 && source.ends_by_checkpoint() {
        // Whoever wrote it may have written any number of records into it.
        report.end = 0;
        report.notes.push(
            "no record was read: there is no checkpoint of this log that a known key has signed"
                .to_owned(),
        );
    }
    let claimed = claims.iter().map(|claim| claim.signed.size()).max().unwrap_or(0);
    let end = report.end.max(claimed);
    let wanted: Vec<_> = claims
        .iter()
        .map(|claim| Wanted { size: claim.signed.size(), root: claim.signed.root() })
        .collect();
    let first = if options.full { 0 } else { end.saturating_sub(RECENT) };
    let absent = source.absent()?;
    let mut walk =
        Walk::new(source, first, tiled, if options.full { &wanted } else { &[] }, &absent);
    walk.go(end, &mut report, &mut |done| progress(done, end));
    progress(end, end);
    walk.judge(&mut report);
    if !options.full {
        walk.reached = by_tiles(source, &wanted, tiled);
    }
    judge_roots(&claims, &walk, &mut report, options.full);
    report.read = walk.read;
    settle_gaps(&mut walk, first, &mut report)?;
    settle(&claims, tiled, options, &mut report);
    Ok(report)
}

/// The checkpoints that hold for this trail, by signature: its newest, its kept ones, and those
/// from outside.
fn claims(
    source: &dyn Source,
    options: &Options,
    report: &mut Report,
) -> std::io::Result<Vec<Claim>> {
    let history = source.history()?;
    let own = source.keys()?;
    let mut keys = if options.keys.is_empty() { own.clone() } else { options.keys.clone() };
    for past in history.iter().filter(|past| past.why == "new-key") {
        endorse(past.note.as_bytes(), &own, &mut keys, report);
    }
    let mut notes: Vec<(String, Vec<u8>, From)> = Vec::new();
    notes.extend(
        source.checkpoint()?.map(|note| ("its newest checkpoint".to_owned(), note, From::Newest)),
    );
    notes.extend(
        source
            .cosigned()?
            .map(|note| ("its newest cosigned checkpoint".to_owned(), note, From::Kept)),
    );
    let disowned: HashSet<_> =
        history.iter().filter(|past| past.disowned()).map(|past| past.note.clone()).collect();
    if !disowned.is_empty() {
        let count = disowned.len();
        report.notes.push(format!("{count} checkpoints were disowned when an operator went on with a trail that does not grow from them"));
    }
    let kept = history.into_iter().filter(|past| !disowned.contains(&past.note));
    notes.extend(kept.map(|past| {
        (format!("the checkpoint kept {}", past.time), past.note.into_bytes(), From::Kept)
    }));
    notes.extend(
        options
            .checkpoints
            .iter()
            .map(|(place, note)| (place.clone(), note.clone(), From::Outside)),
    );
    let (mut claims, mut foreign) = (Vec::new(), 0);
    for (place, note, from) in notes {
        let (kept, outside) = (from == From::Kept, from == From::Outside);
        match Signed::open(&note, &keys) {
            Ok(signed) => {
                for (name, time) in signed.seen_by(&options.witnesses) {
                    let at = keyward_core::clock::Timestamp(time.saturating_mul(1_000_000_000))
                        .rfc3339();
                    report.notes.push(format!(
                        "witness {name} saw {place}, over {} records, at {at}",
                        signed.size()
                    ));
                }
                claims.push(Claim { place, signed, newest: from == From::Newest, outside });
            }
            // One of an older key proves nothing to whoever does not have that key, and takes
            // nothing away.
            Err(NoteError::Unknown(_)) if kept => foreign += 1,
            Err(error) => {
                report.find(About::Integrity, "signature", None, format!("{place}: {error}"))
            }
        }
    }
    if foreign > 0 {
        report.notes.push(format!(
            "{foreign} kept checkpoints are signed by keys that were not given, and were left out"
        ));
    }
    report.origin = claims.first().map_or_else(
        || keys.first().map_or(String::new(), |key| key.origin().to_owned()),
        |claim| claim.signed.origin().to_owned(),
    );
    report.keys = keys.iter().map(ToString::to_string).collect();
    Ok(claims)
}

/// A checkpoint that a known key has signed together with a new one makes that known too.
fn endorse(note: &[u8], own: &[LogKey], keys: &mut Vec<LogKey>, report: &mut Report) {
    let Ok(signed) = Signed::open(note, keys) else { return };
    let unknown: Vec<_> = own.iter().filter(|key| !keys.contains(key)).cloned().collect();
    for key in signed.signers(&unknown).unwrap_or_default() {
        report.notes.push(format!(
            "the key {key} is endorsed by one before it, over {} records",
            signed.size()
        ));
        keys.push(key.clone());
    }
}

/// Roots by the tree's own hashes alone.
fn by_tiles(source: &dyn Source, wanted: &[Wanted], tiled: u64) -> Vec<Option<Reached>> {
    let reach = |wanted: &Wanted| {
        let root = (wanted.size <= tiled && source.has_tiles())
            .then(|| tree::root(source, wanted.size).ok())
            .flatten();
        Some(Reached { by_records: root.map(|root| root == wanted.root), by_tiles: None })
    };
    wanted.iter().map(reach).collect()
}

fn judge_roots(claims: &[Claim], walk: &Walk, report: &mut Report, full: bool) {
    for (claim, reached) in claims.iter().zip(&walk.reached) {
        let reached = reached.unwrap_or(Reached { by_records: None, by_tiles: None });
        let (place, size) = (&claim.place, claim.signed.size());
        report.checkpoints.push(Compared {
            place: place.clone(),
            size,
            root: claim.signed.root().to_string(),
            agrees: reached.by_records,
        });
        if reached.by_records == Some(false) {
            let which = match (full, reached.by_tiles) {
                (true, Some(true)) => "; which of them, the tree tells",
                (true, _) => "; the tree, whose hashes are not those either, does not tell which",
                (false, _) => "; the full level may tell which",
            };
            let kind = if claim.outside { "outside" } else { "root" };
            report.find(
                About::Integrity,
                kind,
                None,
                format!(
                    "the first {size} records are not those over which {place} was signed{which}"
                ),
            );
        }
    }
}

/// Says of what is not there why, once it is known which records can be believed.
fn settle_gaps(walk: &mut Walk, first: u64, report: &mut Report) -> std::io::Result<()> {
    let bound =
        Bound(report.checkpoints.iter().filter(|c| c.agrees == Some(true)).map(|c| c.size).max());
    let meaning = std::mem::take(&mut walk.meaning);
    let mut gaps = Gaps { records: std::mem::take(&mut walk.gaps), ..Gaps::default() };
    let unread =
        walk.source.unread().and_then(|unread| Some((gaps.leave_out(unread.from)?, unread.how)));
    report.unread = unread.is_some();
    // A gateway may have pruned while it was read.
    let absent = if gaps.records.is_empty() { Vec::new() } else { walk.source.absent()? };
    let told_until = gaps.settle_records(&meaning.told, bound, first, &absent, report);
    let unread_until = unread.as_ref().map_or(0, |(range, _)| range.end);
    meaning.finish(bound, told_until.max(unread_until), report);
    if let Some((range, how)) = unread {
        report.notes.push(format!(
            "{} are signed, and were not read here: {how}",
            report::named(range.start, range.end - 1)
        ));
    }
    if walk.substituted > 0 && report.full {
        let count = walk.substituted;
        report.notes.push(format!(
            "{count} records are not there: their hashes are the tree's own, which with those of the records that are there must lead to the signed roots"
        ));
    }
    Ok(())
}

/// What has not failed holds, if enough was looked at.
fn settle(claims: &[Claim], tiled: u64, options: &Options, report: &mut Report) {
    let agreed = report.checkpoints.iter().filter(|c| c.agrees == Some(true)).map(|c| c.size).max();
    let compared =
        !report.checkpoints.is_empty() && report.checkpoints.iter().all(|c| c.agrees.is_some());
    if claims.is_empty() {
        report.notes.push(
            "there is no checkpoint to compare with: give one with --checkpoint and --vkey"
                .to_owned(),
        );
    }
    if report.integrity == Verdict::Unknown && compared {
        report.integrity = Verdict::Holds;
    }
    if report.unsure {
        report.notes.push("no checkpoint could be compared, so that what records tell of others that are gone is their word alone".to_owned());
    } else if report.completeness == Verdict::Unknown
        && !report.unread
        && (options.full || tiled > 0)
    {
        report.completeness = Verdict::Holds;
    }
    if !options.full {
        report.notes.push(format!(
            "only the last {} records were read: the full level reads all",
            report.read
        ));
    }
    if let Some(agreed) = agreed.filter(|agreed| *agreed < report.end) {
        report.notes.push(format!(
            "{} are newer than the newest checkpoint: nothing binds them yet",
            report::named(agreed, report.end - 1)
        ));
    }
}
