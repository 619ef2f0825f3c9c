//! What a record may hold, said from the types: a JSON Schema for programs, and a page for people.

use crate::Leaf;
use serde_json::Value;
use std::fmt::Write;

/// The JSON Schema of a record (draft 2020-12).
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Leaf).to_value();
    schema.sort_all_objects();
    unwrap(&mut schema);
    schema
}

/// Where a line ends in the source says nothing.
fn unwrap(part: &mut Value) {
    match part {
        Value::Object(object) => {
            for (name, part) in object {
                match part {
                    Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    part => unwrap(part),
                }
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(unwrap),
        _ => {}
    }
}

/// The page that says of each part what it means.
pub fn page() -> String {
    let schema = schema();
    let mut page = HEAD.to_owned();
    let parts = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    for name in ["Request", "Answer", "EventRecord"] {
        if let Some(part) = parts.get(name) {
            section(name, part, &mut page);
        }
    }
    for (name, part) in parts
        .iter()
        .filter(|(name, _)| !["Request", "Answer", "EventRecord"].contains(&name.as_str()))
    {
        section(name, part, &mut page);
    }
    page
}

const HEAD: &str = "# The record

<!-- Written from the types in `crates/keyward-record` by `KEYWARD_GOLDEN=write cargo test --test it record_form`. -->

A record is one JSON object in canonical form (RFC 8785: sorted names, no blanks; no floating point stands in it). Its bytes are
hashed into the Merkle tree and never change. `keyward audit export --form ndjson` gives out nothing else. The JSON Schema is
[record.schema.json](record.schema.json); every record in the project's tests is held against it.

The form `v` 1 grows by fields and by events alone. A field never changes its meaning or type, and none goes away: a program reads
what it knows and passes over the rest. What is marked with `?` may be missing; older records lack what came later.

`kind` says which of three a record is: `request`, `answer` or `event`. The three have `v`, `id` and `time`.

A record has 60 KiB at most. Where a call, or an answer, would have more, the longest parts end early: a list ends with a
[LeftOut](#leftout), and headers, a query or facts may be a list with one alone. Texts of more than 1,024 characters are cut, with their
length and digest behind.

";

fn section(name: &str, part: &Value, page: &mut String) {
    let _ = writeln!(page, "## {name}\n\n{}\n", said(part));
    let variants = part.get("oneOf").and_then(Value::as_array);
    for variant in variants.into_iter().flatten() {
        let constant =
            |value: &Value| value.get("const").and_then(Value::as_str).map(str::to_owned);
        if let Some(code) = constant(variant) {
            let _ = writeln!(page, "- `{code}`: {}", said(variant));
        } else if let Some(code) = variant.pointer("/properties/event").and_then(constant) {
            let _ = writeln!(page, "### `{code}`\n\n{}\n", said(variant));
            fields(variant.pointer("/properties/detail").unwrap_or(&Value::Null), "detail.", page);
        }
    }
    if variants.is_some() && !page.ends_with("\n\n") {
        page.push('\n');
    }
    fields(part, "", page);
}

fn fields(part: &Value, before: &str, page: &mut String) {
    let Some(properties) =
        part.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty())
    else {
        return;
    };
    let required = part.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    page.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in properties {
        let optional = if required.contains(&Value::from(name.as_str())) { "" } else { "?" };
        let _ =
            writeln!(page, "| `{before}{name}`{optional} | {} | {} |", kind(field), said(field));
    }
    page.push('\n');
}

/// What the documentation says, on one line.
fn said(part: &Value) -> String {
    let text = part.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type in a word or two.
fn kind(part: &Value) -> String {
    let named = |part: &Value| {
        part.get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| path.rsplit('/').next())
            .map(str::to_owned)
    };
    if let Some(name) = named(part) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(some) = ["anyOf", "oneOf", "allOf"].iter().find_map(|any| part.get(any)?.as_array())
    {
        let mut kinds: Vec<_> = some
            .iter()
            .filter(|one| one.get("type") != Some(&Value::from("null")))
            .map(kind)
            .collect();
        // What stands for a part that was left out is said once, above.
        if kinds.len() > 1 {
            kinds.retain(|kind| !kind.contains("[LeftOut]") && kind != "list of any");
        }
        return kinds.join(" or ");
    }
    let of = |kind: &str| match kind {
        "array" => part
            .get("items")
            .map_or("list".to_owned(), |items| format!("list of {}", self::kind(items))),
        "object" => match part.get("additionalProperties").filter(|inner| inner.is_object()) {
            Some(inner) => format!("object of {}", self::kind(inner)),
            None => kind.to_owned(),
        },
        kind => kind.to_owned(),
    };
    match part.get("type") {
        Some(Value::String(kind)) => of(kind),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .filter(|kind| *kind != "null")
            .map(of)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn every_part_of_a_record_says_what_it_means() {
        fn look(path: &str, part: &Value) {
            let Value::Object(object) = part else { return };
            for (name, field) in
                object.get("properties").and_then(Value::as_object).unwrap_or(&Map::new())
            {
                let tag = field.get("const").is_some() || name == "detail";
                assert!(tag || !said(field).is_empty(), "{path}.{name} says nothing");
                look(&format!("{path}.{name}"), field);
            }
            for variant in object.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
                look(path, variant);
            }
        }
        let schema = schema();
        for (name, part) in schema["$defs"].as_object().unwrap() {
            look(name, part);
        }
    }
}
