//! The report of a pack: a page that explains itself, on the screen and on paper.

use super::manifest::Manifest;
use super::summary::{Decided, ROWS_MAX, Row, Summary};
use super::{Bound, Gone, InForce, Question};
use askama::Template;
use keyward_core::clock::Timestamp;
use keyward_trail::filter::Filter;

/// Values in one of the small tables.
const TOP: usize = 20;

/// Its title, what it counts, the counts by value, and how many values there are.
type Table = (&'static str, &'static str, Vec<(String, u64)>, usize);

#[derive(Template)]
#[template(path = "report.html")]
struct Report<'a> {
    question: &'a Question,
    made: String,
    /// The filter without its times.
    conditions: Vec<&'a (String, String)>,
    period: String,
    /// What its times come to: from this one on, and before this one.
    since: Option<String>,
    until: Option<String>,
    records: u64,
    end: Option<u64>,
    summary: &'a Summary,
    figures: Vec<(&'static str, u64)>,
    tables: Vec<Table>,
    policies: Vec<(&'a String, &'a Decided)>,
    in_force: &'a [InForce],
    gone: &'a [Gone],
    notable: &'a [Row],
    rows: &'a [Row],
    rows_max: usize,
    bound: Bound,
    version: &'a str,
}

/// The report.
///
/// # Errors
/// When the page cannot be written.
pub(super) fn render(
    question: &Question,
    summary: &Summary,
    manifest: &Manifest,
    bound: Bound,
) -> askama::Result<String> {
    let time = |name: &str| {
        question.filter.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    };
    let period = match (time("since"), time("until")) {
        (None, None) => "the whole trail".to_owned(),
        (Some(since), None) => format!("since {since}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(since), Some(until)) => format!("{since} to {until}"),
    };
    let bounds = Filter::parse(question.filter.iter().map(|(name, value)| (name, value)))
        .map(|filter| filter.bounds(question.at));
    let (since, until) = bounds.unwrap_or((Timestamp(0), Timestamp(u64::MAX)));
    let since = (since > Timestamp(0)).then(|| since.rfc3339());
    let until = (until < Timestamp(u64::MAX)).then(|| until.rfc3339());
    let outcome = |name| summary.outcomes.of(name);
    let (mut rest, mut policies) = (0, summary.policies.iter().collect::<Vec<_>>());
    policies.sort_by(|(a, m), (b, n)| n.count.cmp(&m.count).then_with(|| a.cmp(b)));
    let mut table = |title, heading, counts: &super::summary::Counts| {
        let mut sorted = counts.sorted();
        rest = sorted.len().saturating_sub(TOP);
        sorted.truncate(TOP);
        (title, heading, sorted, rest)
    };
    let tables = vec![
        table("What became of them", "outcome", &summary.outcomes),
        table("Who asked", "caller", &summary.callers),
        table("What for", "action", &summary.actions),
        table("Why calls were refused", "reason", &summary.refusals),
    ];
    Report {
        question,
        made: question.at.rfc3339(),
        conditions: question
            .filter
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "since" | "until"))
            .collect(),
        period,
        since,
        until,
        records: manifest.records,
        end: manifest.records_in_trail,
        summary,
        figures: vec![
            ("calls", summary.exchanges),
            ("succeeded or accepted", outcome("succeeded") + outcome("accepted")),
            ("refused", outcome("refused")),
            (
                "failed, in whole or part",
                outcome("failed") + outcome("partly-failed") + outcome("not-sent"),
            ),
            ("outcome unknown or open", outcome("unknown") + outcome("open")),
        ],
        tables,
        policies,
        in_force: &manifest.rules_in_force,
        gone: &manifest.records_gone,
        notable: &summary.notable,
        rows: &summary.rows,
        rows_max: ROWS_MAX,
        bound,
        version: &manifest.keyward,
    }
    .render()
}

/// How to read and check a pack, for whoever has never seen keyward.
pub(super) fn instructions(bound: Bound) -> String {
    let tail = match bound {
        Bound { proofs: false, .. } => NO_PROOFS.to_owned(),
        Bound { recorded: true, .. } => [PROOFS, RECORDED, NOT_PROVED].concat(),
        Bound { recorded: false, .. } => [PROOFS, NOT_RECORDED, NOT_PROVED].concat(),
    };
    format!("{README}\n{tail}")
}

const README: &str = "\
AUDIT EVIDENCE FROM A KEYWARD GATEWAY

keyward stands between callers and cloud APIs. Before it forwards a call it
writes a record of who asked for what and what was decided; before the caller
has the whole answer it writes a second record of what came of it. Refused calls
have one record. Secrets are replaced by keyed digests (hmac-sha256:...) before
anything is written.

WHAT IS IN HERE

report.html      read this first; it prints well
exchanges.csv    one row for each call, for spreadsheets
records.ndjson   the records, one a line, byte for byte as they were stored
records.csv      for each line of records.ndjson: its number in the trail, the
                 call it belongs to, and its hash
bodies.ndjson    bodies of calls and answers, redacted, with their salts
policies/        the policies that were in force, under the first digits of
                 their hash
catalogue/       what the gateway knew of the cloud APIs, likewise
manifest.json    what was asked, by whom, when, and what was in force
proofs/          that the records are those of the log that the gateway signs
made/            the record of the making of this pack, with its proof
SHA256SUMS       a digest of each file but those in made/

HOW TO CHECK IT

Take the verifier, keyward itself or the program in the folder tests/verify-go
of its sources, from where keyward is published, and never from this archive or
from whoever gave it to you: who forges a pack can forge a verifier that praises
it. The same goes for KEY, the log's verifier key.

1. That no file has changed since SHA256SUMS was written. Whoever changes a file
   can write SHA256SUMS anew, so this finds accidents only; step 6 finds the rest:

     sha256sum -c SHA256SUMS

2. That a record is the one that its hash in records.csv names (line 7 here). A
   hash is the SHA-256 of a zero byte and the line, without its line end:

     (printf '\\0'; sed -n 7p records.ndjson | tr -d '\\n') | sha256sum

3. That a body is the one that was recorded: `commit` in its record is the
   SHA-256 of the salt (32 bytes) and the body. For the first line of
   bodies.ndjson, with jq and xxd:

     (head -1 bodies.ndjson | jq -r .salt | xxd -r -p
      head -1 bodies.ndjson | jq -j .text) | sha256sum

4. That the policies are those by which a call was judged: `decision.bundle` in
   its record is the SHA-256 over schema, policy files, patterns and groups, each
   preceded by its length in bytes as 8 bytes, the highest first, in the order of
   policies/<hash>.json. `decision.catalog` is the SHA-256 over a byte of 255, and
   then name and text of each document, with their lengths in the same way, in
   the order of catalogue/<hash>.json. In records of before it is that of the
   texts alone, one after the other.
";

const NO_PROOFS: &str = "\
WHAT THIS PACK DOES NOT PROVE

It holds no proofs that its records are those of the gateway's trail, and that
none is missing. Ask the gateway's operator for the signed checkpoints of the
trail, and for proofs against them.
";

const PROOFS: &str = "\
5. That each record is one of the log that the gateway signs, and stands where
   records.csv says. proofs/checkpoint is the signed head of the log
   (C2SP tlog-checkpoint, over the RFC 6962 tree of all records), and each line of
   proofs/inclusion.ndjson the inclusion proof of the record in the same line of
   records.ndjson. KEY is the log's verifier key: take it from whoever runs the
   gateway, by another way than this archive; proofs/log.vkey is only what the
   archive says that it is. With keyward, in the folder of this file; it checks
   all that stands here, and makes report and tables anew to compare them:

     keyward audit verify --pack . --vkey KEY

   With the program in tests/verify-go, on Go's own golang.org/x/mod/sumdb, or
   with one of your own (note.Open, tlog.RecordHash, tlog.CheckRecord):

     verify-go pack . KEY

";

const RECORDED: &str = "\
6. That this is the pack that was made. made/record-N.json is a record of the log
   (event pack-made), proved like the others by made/record-N.tlog-proof. It says
   what was asked, the number and range of the records, the SHA-256 of
   records.ndjson as the gateway gave it out, and under `sums` the SHA-256 of
   SHA256SUMS:

     sha256sum records.ndjson SHA256SUMS

";

const NOT_RECORDED: &str = "\
6. NO RECORD TELLS OF THE MAKING OF THIS PACK: it was made of a stopped gateway's
   folder. Records, bodies and policies prove themselves. That none was left out,
   what was asked, by whom and when, and the times in records.csv rest on the word
   of whoever made it. Ask for a pack that a running gateway has made.

";

const NOT_PROVED: &str = "\
WHAT IT DOES NOT PROVE

That no call was left out which the question should have found: whoever made the
pack asked the question. The log itself has no gaps but for what was pruned by
policy or lost, of which records tell: manifest.json names those records under
`records_gone`. `keyward audit verify` on the whole trail tells whether one is
missing that nothing tells of.
";

#[cfg(test)]
mod tests {
    #[test]
    fn instructions_fit_a_terminal() {
        for (proofs, recorded) in [(false, false), (true, false), (true, true)] {
            let text = super::instructions(super::Bound { proofs, recorded });
            assert!(text.lines().all(|line| line.chars().count() <= 82), "{text}");
        }
    }
}
