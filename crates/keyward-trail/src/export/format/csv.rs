//! CSV (RFC 4180) for auditors: one row for each exchange, safe to open in a spreadsheet. A
//! summary: the whole records are in the other forms, and `request_record` and `answer_record` say
//! which ones they are.

use crate::exchange::Exchange;
use keyward_core::terminal::clean;

macro_rules! header {
    () => {
        "time,id,caller,kind,groups,assurance,key_id,source,service,action,method,host,path,resource_type,resource,decision,reason,policies,message,outcome,status,detail,bundle,request_record,answer_record\r\n"
    };
}

/// The first row.
pub const HEADER: &str = header!();

/// The same behind the mark by which spreadsheets know UTF-8.
pub const HEADER_MARKED: &str = concat!("\u{feff}", header!());

/// The row, with its end.
pub fn row(exchange: &Exchange) -> String {
    let request = &exchange.request;
    let (asked, answer) = (request.asked(), exchange.answer.as_ref());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let (caller, call, decision) = (&asked.caller, &asked.call, &asked.decision);
    let fields = [
        request.time.rfc3339(),
        exchange.id.to_string(),
        text(caller.name),
        text(caller.kind),
        caller.groups.as_ref().map_or_else(String::new, |groups| groups.join(" ")),
        text(caller.assurance),
        text(caller.credential.key_id),
        text(asked.source.address),
        text(call.service),
        text(asked.action()),
        text(call.method),
        text(call.host),
        text(call.path),
        text(asked.resource.as_ref().map(|resource| resource.r#type.as_str())),
        text(asked.resource.as_ref().map(|resource| resource.id.as_str())),
        text(decision.verdict),
        text(decision.reason),
        asked.policies().collect::<Vec<_>>().join(" "),
        text(decision.message),
        exchange.outcome().to_owned(),
        exchange.status().map_or_else(String::new, |status| status.to_string()),
        text(answer.and_then(|answer| answer.answered().detail)),
        text(decision.bundle),
        request.seq.to_string(),
        answer.map_or_else(String::new, |answer| answer.seq.to_string()),
    ];
    fields.map(|value| field(&value)).join(",") + "\r\n"
}

/// One field: control characters spelt out, so that a row stays one line; what a spreadsheet would
/// take for a formula begins with an apostrophe, which makes it a text.
fn field(value: &str) -> String {
    let mut value = clean(value);
    // Spreadsheets look past leading blanks, and some fold wide characters.
    let seen = value
        .trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'));
    if seen.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']) {
        value.insert(0, '\'');
    }
    if value.contains([',', '"', ' ']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_runs_in_a_spreadsheet_and_a_row_is_a_line() {
        for (value, wanted) in [
            ("deploy", "deploy"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\\u{9}=1"),
            ("\r=1", "\\u{d}=1"),
            (" =1", "\"' =1\""),
            ("\u{feff}=1", "'\u{feff}=1"),
            ("\u{200b}@A1", "'\u{200b}@A1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("two\r\nlines", "two\\u{d}\\u{a}lines"),
        ] {
            assert_eq!(field(value), wanted);
        }
    }
}
