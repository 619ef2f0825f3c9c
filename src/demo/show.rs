//! The demo's table, for people.

use super::Seen;
use super::calls::Call;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Writes to standard output, if somebody reads it.
macro_rules! say {
    ($($text:tt)*) => {
        writeln!(std::io::stdout(), $($text)*).ok()
    };
}

/// Prints every call with its decision, its reason and its audit id. The third part of a row is set
/// when the call did not go as it should: whether it reached the cloud.
pub fn table(rows: &[(Call, Seen, Option<bool>)], admin: SocketAddr) {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(150);
    }
    table.set_header(
        ["call", "decision", "why, and what to do", "audit id"]
            .map(|h| Cell::new(h).add_attribute(Attribute::Bold)),
    );
    for (call, seen, wrong) in rows {
        table.add_row([
            Cell::new(call.title),
            decision(seen, *wrong),
            Cell::new(why(call, seen, *wrong)),
            Cell::new(&seen.audit_id),
        ]);
    }
    let wrong = rows.iter().filter(|(_, _, wrong)| wrong.is_some()).count();
    say!("\n{table}\n");
    say!(
        "{} calls, {} as they should be. Each is on record with who, what, why and the answer, secrets as keyed digests.",
        rows.len(),
        rows.len() - wrong
    );
    if let Some((_, seen, _)) =
        rows.iter().find(|(_, seen, _)| seen.code.as_deref() == Some("policy-forbids"))
    {
        say!(
            "\n  keyward audit show {} --url http://{admin}\n  keyward audit query --decision deny --url http://{admin}\n  curl -s http://{admin}/metrics | grep keyward_requests",
            seen.audit_id
        );
    }
}

/// Prints how to go on from here.
pub fn around(gateway: SocketAddr, admin: SocketAddr, dir: &Path) {
    let (process, dir) = (std::process::id(), dir.display());
    say!(
        "\nThe gateway listens on http://{gateway}, its admin on http://{admin}. Ctrl-C ends the demo.\n\
         Its policies are in {dir}/policies: change one, then `kill -HUP {process}`. A call to try it with:\n  \
         curl -s -H 'Host: openapi-rdc.aliyuncs.com' -H 'x-yunxiao-token: pt-sandboxBuildBot_0002' \\\n    \
         http://{gateway}/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys"
    );
}

fn decision(seen: &Seen, wrong: Option<bool>) -> Cell {
    let (text, color) = match (&seen.status, &seen.code) {
        _ if wrong.is_some() => ("WRONG", Color::Magenta),
        (Err(_), _) => ("no answer", Color::Magenta),
        (Ok(_), Some(code)) if code.starts_with("upstream") => ("allowed", Color::Yellow),
        (Ok(400), _) => ("refused", Color::Red),
        (Ok(_), Some(_)) => ("denied", Color::Red),
        (Ok(_), None) => ("allowed", Color::Green),
    };
    Cell::new(text).fg(color)
}

fn why(call: &Call, seen: &Seen, wrong: Option<bool>) -> String {
    let said = match &seen.status {
        Err(error) => error.clone(),
        Ok(status) if seen.message.is_empty() => {
            format!("{status} from the cloud: {}", seen.outcome)
        }
        Ok(status) => format!("{status} {}", seen.message),
    };
    match wrong {
        None => said,
        Some(forwarded) => {
            let reached = |yes: bool| if yes { "reaching" } else { "not reaching" };
            format!(
                "{said}; {} the cloud. It should have been {} {}, {} it.",
                reached(forwarded),
                call.expected.status,
                call.expected.code.unwrap_or("from the cloud"),
                reached(call.expected.forwarded)
            )
        }
    }
}
