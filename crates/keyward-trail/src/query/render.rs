//! How exchanges look: a table, a page for one of them, JSON and JSON lines. Pure: text in, text
//! out.
//!
//! Names, paths and bodies come from callers, so everything that is meant for a terminal is
//! stripped of control characters first. JSON carries each record byte for byte.

use crate::exchange::{Exchange, Part};
use crate::query::{CountedRefusals, Counts, Histogram, Page};
use crate::tombstone::{Removal, Tombstone};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use keyward_core::clock::AuditId;
use keyward_core::terminal::clean;
use keyward_record::reading::{Asked, Parts};
use keyward_record::{Content, EventName, Kind};
use serde_json::{Value, json};
use std::fmt::Write;

/// Columns below which what belongs together is stacked, not spread.
const NARROW: u16 = 140;
/// Ranges of which a table tells.
const GONE_MAX: usize = 3;

/// A page as a table that is at most `width` columns wide, and how to get the next one.
pub fn table(page: &Page, width: u16) -> String {
    if page.exchanges.is_empty() {
        return "No exchange matches.\n".to_owned() + &counted_table(page.counted);
    }
    let mut table = plain_table(width);
    let rows = page.exchanges.iter().map(summary);
    if width < NARROW {
        table.set_header(["time, id", "caller, action, resource", "what became of it"]);
        table.add_rows(rows.map(|[time, id, caller, action, resource, result]| {
            [stack(&[time, id]), stack(&[caller, action, resource]), result]
        }));
        table.set_constraints([ColumnConstraint::ContentWidth]);
    } else {
        table.set_header(["time", "id", "caller", "action", "resource", "what became of it"]);
        table.add_rows(rows);
        // Times and ids are for copying, so they stay in one piece.
        table.set_constraints([ColumnConstraint::ContentWidth, ColumnConstraint::ContentWidth]);
    }
    let next = page.next.map_or(String::new(), |next| format!("For older ones: --cursor {next}\n"));
    format!("{}\n{next}{}", table.trim_fmt(), counted_table(page.counted))
}

/// An exchange as one line to read, for whoever watches.
pub fn line(exchange: &Exchange) -> String {
    summary(exchange).into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("  ")
        + "\n"
}

/// Counts as a table.
pub fn counts_table(counts: &Counts, by: Option<&str>, width: u16) -> String {
    let mut text = String::new();
    if let Some(by) = by {
        let mut table = plain_table(width);
        table.set_header([by, "exchanges"]);
        table
            .add_rows(counts.groups.iter().map(|(value, count)| [clean(value), count.to_string()]));
        table
            .column_iter_mut()
            .skip(1)
            .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        text = table.trim_fmt() + "\n";
    }
    text + &format!("{} in all\n{}", counts.total, counted_table(counts.counted))
}

/// What is on record by its number alone, for people.
fn counted_table(counted: CountedRefusals) -> String {
    let CountedRefusals { refusals, records } = counted;
    if records == 0 {
        String::new()
    } else {
        format!(
            "Beside them {refusals} refusals were counted together, in {records} records: --where 'event = {}'\n",
            EventName::RefusalsCounted.code()
        )
    }
}

fn counted_json(counted: CountedRefusals) -> Value {
    json!({"refusals": counted.refusals, "records": counted.records})
}

/// What must be known beside an answer, for people.
pub fn warnings_table(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("Warning: {}.\n", clean(warning))).collect()
}

/// What an answer may lack, for people.
pub fn gone_table(gone: &[Tombstone]) -> String {
    let mut lines: String =
        gone.iter().take(GONE_MAX).map(|gone| format!("Not here are {gone}.\n")).collect();
    if let more @ 1.. = gone.len().saturating_sub(GONE_MAX) {
        lines +=
            &format!("And {more} ranges more, as /absent/ranges on the admin listener tells.\n");
    }
    lines
}

fn gone_json(gone: &[Tombstone]) -> Value {
    let range = |gone: &Tombstone| {
        let why = match gone.why {
            Removal::Pruned => "pruned",
            Removal::Lost => "lost",
        };
        json!({"first": gone.first_seq, "last": gone.end.saturating_sub(1), "why": why, "told_by": gone.told_by})
    };
    gone.iter().map(range).collect()
}

/// Counts as JSON.
pub fn counts_json(counts: &Counts, gone: &[Tombstone], warnings: &[String]) -> Value {
    let groups: Vec<_> = counts
        .groups
        .iter()
        .map(|(value, count)| json!({"value": value, "exchanges": count}))
        .collect();
    json!({"total": counts.total, "groups": groups, "counted": counted_json(counts.counted), "gone": gone_json(gone), "warnings": warnings})
}

/// A histogram as a table with bars.
pub fn histogram_table(histogram: &Histogram, width: u16) -> String {
    const BLOCKS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let most = histogram.buckets.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let digits = most.to_string().len().max("exchanges".len());
    let room = u64::from(width).saturating_sub(20 + digits as u64 + 4).clamp(8, 100);
    let mut text = format!("{:20}  {:>digits$}\n", "from", "exchanges");
    for (begin, count) in &histogram.buckets {
        let eighths = count * room * 8 / most;
        let bar = "█".repeat(usize::try_from(eighths / 8).unwrap_or(0))
            + BLOCKS.get((eighths % 8) as usize).unwrap_or(&"");
        let line = format!("{}  {count:digits$}  {bar}", seconds(&begin.rfc3339()));
        text += line.trim_end();
        text.push('\n');
    }
    text + &format!("{} in all\n{}", histogram.total, counted_table(histogram.counted))
}

/// A histogram as JSON.
pub fn histogram_json(histogram: &Histogram, gone: &[Tombstone], warnings: &[String]) -> Value {
    let buckets: Vec<_> = histogram
        .buckets
        .iter()
        .map(|(begin, count)| json!({"from": begin.rfc3339(), "exchanges": count}))
        .collect();
    json!({"total": histogram.total, "step_seconds": histogram.step / 1_000_000_000, "buckets": buckets, "counted": counted_json(histogram.counted), "gone": gone_json(gone), "warnings": warnings})
}

/// A page as one JSON document: `exchanges`, `next`, the cursor or null, `counted`, refusals that
/// stand beside by their number, `gone`, what the answer may lack, and `warnings`.
pub fn page_json(page: &Page, gone: &[Tombstone], warnings: &[String]) -> String {
    let exchanges: Vec<_> = page.exchanges.iter().map(exchange_json).collect();
    let next = json!(page.next.map(|next| next.to_string()));
    let (counted, gone, warnings) = (counted_json(page.counted), gone_json(gone), json!(warnings));
    format!(
        "{{\"exchanges\":[{}],\"next\":{next},\"counted\":{counted},\"gone\":{gone},\"warnings\":{warnings}}}",
        exchanges.join(",")
    )
}

/// A page as JSON lines, one exchange on each.
pub fn page_ndjson(page: &Page) -> String {
    page.exchanges.iter().map(|exchange| exchange_json(exchange) + "\n").collect()
}

/// One exchange as JSON in one line. `record` holds the stored bytes, unchanged; a body comes as
/// `text`, or as `hex` when it is none, with the `salt` that binds it to its record.
pub fn exchange_json(exchange: &Exchange) -> String {
    let (id, outcome, status) =
        (json!(exchange.id.to_string()), json!(exchange.outcome()), json!(exchange.status()));
    let answer = exchange.answer.as_ref().map_or("null".to_owned(), part_json);
    format!(
        "{{\"id\":{id},\"outcome\":{outcome},\"status\":{status},\"request\":{},\"answer\":{answer}}}",
        part_json(&exchange.request)
    )
}

/// The same of an answer whose request is gone from the trail.
pub fn answer_json(id: AuditId, answer: &Part) -> String {
    let (id, outcome, status) =
        (json!(id.to_string()), json!(answer.answered().outcome), json!(answer.answered().status));
    format!(
        "{{\"id\":{id},\"outcome\":{outcome},\"status\":{status},\"request\":null,\"answer\":{}}}",
        part_json(answer)
    )
}

fn part_json(part: &Part) -> String {
    let record = match std::str::from_utf8(&part.leaf) {
        Ok(leaf) if !part.json.is_null() => leaf.to_owned(),
        _ => json!({"damaged": String::from_utf8_lossy(&part.leaf)}).to_string(),
    };
    let content = part.content.as_ref().map_or(Value::Null, |content| {
        match std::str::from_utf8(&content.bytes) {
            Ok(text) => json!({"salt": hex::encode(content.salt), "text": text}),
            Err(_) => {
                json!({"salt": hex::encode(content.salt), "hex": hex::encode(&content.bytes)})
            }
        }
    });
    format!(
        "{{\"seq\":{},\"time\":{},\"record\":{record},\"content\":{content}}}",
        part.seq,
        json!(part.time.rfc3339())
    )
}

/// One exchange as a page to read: what happened in a sentence, the decision, both records and
/// their bodies.
pub fn show(exchange: &Exchange) -> String {
    let mut page = format!("{}\n{}\n", exchange.id, sentence(exchange));
    let request = &exchange.request;
    if let Some(decision) = Parts::of(&request.json).and_then(|parts| parts.decision) {
        page += "\nDecision\n";
        tree(&decision, 2, &mut page);
    }
    part(if request.kind == Kind::Event { "Event" } else { "Request" }, request, &mut page);
    match &exchange.answer {
        Some(answer) => part("Answer", answer, &mut page),
        None if request.kind == Kind::Forwarded => page += "\nNo answer is recorded yet.\n",
        None => (),
    }
    page
}

fn stack(lines: &[String]) -> String {
    lines.iter().filter(|line| !line.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// Time, id, caller, action, resource, and what became of it in a few words: its reason only where
/// it was refused.
pub fn summary(exchange: &Exchange) -> [String; 6] {
    let asked = exchange.request.asked();
    let [time, id, caller, action, resource, _, outcome] = row(exchange, &asked);
    let reason = asked.decision.reason.filter(|_| exchange.request.kind == Kind::Refused);
    let words = [outcome, clean(reason.unwrap_or_default())]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    [time, id, caller, action, resource, words]
}

fn row(exchange: &Exchange, asked: &Asked) -> [String; 7] {
    let text = |text: Option<&str>| clean(text.unwrap_or_default());
    let words = |words: [String; 2]| {
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    // The trail's time, by which is sorted and asked. Seconds are enough to read; the page of the
    // exchange has the rest, and what the clock said.
    let time = seconds(&exchange.request.time.rfc3339());
    let resource = asked.resource.as_ref().map(|resource| resource.id.as_str());
    let outcome = words([
        exchange.outcome().to_owned(),
        exchange.status().map(|status| status.to_string()).unwrap_or_default(),
    ]);
    let decision = words([text(asked.decision.verdict), text(asked.decision.reason)]);
    [
        time,
        exchange.id.to_string(),
        text(asked.caller.name),
        text(asked.action()),
        text(resource),
        decision,
        clean(&outcome),
    ]
}

/// A time in RFC 3339, to the second, with a blank in the middle.
fn seconds(time: &str) -> String {
    time.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ") + "Z"
}

pub(crate) fn sentence(exchange: &Exchange) -> String {
    let asked = exchange.request.asked();
    let [_, _, caller, action, resource, decision, outcome] = row(exchange, &asked);
    if exchange.request.kind == Kind::Event {
        if action != EventName::RefusalsCounted.code() {
            return format!("{action}, an event of the gateway");
        }
        let [message, reason] = [asked.decision.message, asked.decision.reason]
            .map(|text| clean(text.unwrap_or_default()));
        return format!("{caller}: {message}; {reason}");
    }
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let on = if resource.is_empty() { resource } else { format!(" on {resource}") };
    format!(
        "{} asked for {}{on}: {}; {outcome}",
        or(caller, "an unknown caller"),
        or(action, "an unknown operation"),
        or(decision, "no decision")
    )
}

fn part(title: &str, part: &Part, page: &mut String) {
    let _ = writeln!(page, "\n{title}, record {} of the trail", part.seq);
    match Parts::of(&part.json) {
        // The decision has its own section; what is left out beside it is in the page's first line,
        // or says nothing.
        Some(parts) => tree(&parts.rest.into(), 2, page),
        None => *page += "  its record cannot be read as JSON\n",
    }
    match &part.content {
        Some(content) => body(title, part, content, page),
        None if part.asked().body.commit.is_some() => {
            *page += "\n  Its body is not stored, or was erased.\n"
        }
        None => (),
    }
}

fn body(title: &str, part: &Part, content: &Content, page: &mut String) {
    let told = part.asked().body;
    let bound = match told.commit {
        Some(commit) if commit == content.commitment() => "as its record commits to it",
        Some(_) => "WHICH IS NOT THE ONE THAT ITS RECORD COMMITS TO",
        None => "which its record does not commit to",
    };
    let cut = if told.cut == Some(true) { ", cut" } else { "" };
    let _ = writeln!(page, "\n{title} body{cut}, {bound}");
    let text = match (
        serde_json::from_slice::<Value>(&content.bytes),
        std::str::from_utf8(&content.bytes),
    ) {
        (Ok(json), _) => format!("{json:#}"),
        (_, Ok(text)) => text.to_owned(),
        _ => format!("{} bytes that are no text", content.bytes.len()),
    };
    text.lines().for_each(|line| *page += &format!("  {}\n", clean(line)));
}

/// A JSON value as indented lines; what is empty is left out.
fn tree(value: &Value, indent: usize, page: &mut String) {
    let named: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, value)| (clean(name), value)).collect(),
        Value::Array(array) => {
            array.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect()
        }
        _ => return,
    };
    let named: Vec<_> = named.into_iter().filter(|(_, value)| !is_empty(value)).collect();
    let width = named.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(16);
    for (name, value) in named {
        match inline(value) {
            Some(text) => *page += &format!("{:indent$}{name:width$}  {text}\n", ""),
            None => {
                *page += &format!("{:indent$}{name}\n", "");
                tree(value, indent + 2, page);
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(array) => array.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What fits on its name's line: a plain value, or a few short ones.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(clean(text)),
        Value::Array(array) => {
            let plain = array.iter().map(|value| {
                if value.is_array() || value.is_object() { None } else { inline(value) }
            });
            plain
                .collect::<Option<Vec<_>>>()
                .map(|values| values.join(", "))
                .filter(|text| text.len() <= 80)
        }
        Value::Object(_) => None,
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

fn plain_table(width: u16) -> Table {
    let mut table = Table::new();
    // The width is given, and the text may go anywhere: nothing is asked of a terminal.
    table
        .force_no_tty()
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table
}

#[cfg(test)]
mod tests;
