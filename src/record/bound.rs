//! The bounds of a record: whatever a caller sends, its record can be stored, and still says who asked for what and
//! what was decided. What is left out is said.

use bytes::Bytes;
use keyward_core::secret::sha256;
use keyward_record::canonical;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Leaves longer than this are shortened: the frame's format and the proofs to come bound them.
pub const LEAF_BYTES_MAX: usize = 60 * 1024;

/// Characters that are kept of one text.
const TEXT_CHARACTERS_MAX: usize = 1024;

/// Parts whose texts have no bound of their own.
const TEXTS: &[&str] = &["/caller", "/decision", "/facts", "/items", "/resource", "/signed"];

/// One entry for each policy is enough to say which ones decided.
const POLICIES: &[&str] = &["/decision/policies", "/decision/shadow"];

/// Parts that a caller, a cloud or a large batch can make long, what matters least first.
const PARTS: &[&str] = &["/headers", "/call/headers", "/signed/headers", "/decision/explanation", "/decision/errors", "/facts", "/items", "/call/query"];

/// The leaf's canonical bytes, at most [`LEAF_BYTES_MAX`].
pub fn shorten(mut leaf: Value) -> Bytes {
    for part in TEXTS {
        leaf.pointer_mut(part).map(shorten_texts);
    }
    let mut bytes = canonical(&leaf);
    if bytes.len() > LEAF_BYTES_MAX {
        for part in POLICIES {
            leaf.pointer_mut(part).and_then(Value::as_array_mut).map(once_each);
        }
        bytes = canonical(&leaf);
    }
    for part in PARTS {
        let excess = bytes.len().saturating_sub(LEAF_BYTES_MAX);
        if excess == 0 {
            break;
        }
        if let Some(value) = leaf.pointer_mut(part) {
            leave_out(value, excess);
            bytes = canonical(&leaf);
        }
    }
    bytes
}

/// Cuts long texts. The digest tells two of them apart, and is of what is left when secrets are out.
fn shorten_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > TEXT_CHARACTERS_MAX => {
            let kept: String = text.chars().take(TEXT_CHARACTERS_MAX).collect();
            if kept.len() < text.len() {
                *text = format!("{kept}… ({} bytes, {})", text.len(), sha256(text.as_bytes()));
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(shorten_texts),
        Value::Object(object) => object.values_mut().for_each(shorten_texts),
        _ => {}
    }
}

fn once_each(entries: &mut Vec<Value>) {
    let (all, mut seen) = (entries.len(), HashSet::new());
    entries.retain(|entry| seen.insert(entry.get("id").map(Value::to_string)));
    if entries.len() < all {
        entries.push(json!({"left_out": all - entries.len()}));
    }
}

/// Takes at least `excess` bytes out of a value, if it has them: elements of an array from its end, anything else whole.
fn leave_out(value: &mut Value, excess: usize) {
    let size = canonical(value).len();
    match value {
        Value::Array(elements) => {
            // Room for the entry that says so.
            let mut room = size.saturating_sub(excess + 64);
            let fits = |element: &Value| match room.checked_sub(canonical(element).len() + 1) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            };
            let kept = elements.iter().map(fits).take_while(|fits| *fits).count();
            let (count, left) = (elements.len(), canonical(&elements.iter().skip(kept).cloned().collect()).len());
            elements.truncate(kept);
            elements.push(json!({"left_out": count - kept, "left_out_bytes": left}));
        }
        _ => *value = Value::Array(vec![Value::Object(Map::from_iter([("left_out_bytes".to_owned(), Value::from(size))]))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_as_it_is() {
        let leaf = json!({"call": {"headers": {"a": ["b"]}}, "items": [{"a": 1}], "decision": {"policies": [{"id": "p", "item": 0}, {"id": "p", "item": 1}]}});
        assert_eq!(shorten(leaf.clone()), canonical(&leaf));
    }

    #[test]
    fn a_long_leaf_keeps_what_matters_most() {
        let items: Vec<Value> = (0..2000).map(|i| json!({"image": format!("{i:036}")})).collect();
        let policies: Vec<Value> = (0..2000).map(|i| json!({"id": if i == 1999 { "last" } else { "first" }, "item": i, "message": "m".repeat(50)})).collect();
        let leaf = json!({
            "call": {"action": "a", "headers": {"x": ["y".repeat(50_000)]}}, "resource": {"id": "r".repeat(100_000)},
            "items": items, "decision": {"reason": "permitted", "policies": policies, "explanation": vec!["e".repeat(5000); 20]},
        });
        let bytes = shorten(leaf);
        assert!(bytes.len() <= LEAF_BYTES_MAX, "{}", bytes.len());
        let leaf: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(leaf["decision"]["reason"], "permitted");
        assert_eq!(leaf["decision"]["policies"][1]["id"], "last");
        assert_eq!(leaf["decision"]["policies"][2], json!({"left_out": 1998}));
        assert!(leaf["call"]["headers"][0]["left_out_bytes"].as_u64().unwrap() > 50_000);
        let kept = leaf["items"].as_array().unwrap();
        assert!(kept.len() > 900, "{} items", kept.len());
        assert_eq!(kept.last().unwrap()["left_out"], 2000 - (kept.len() - 1));
        assert!(leaf["resource"]["id"].as_str().unwrap().ends_with(')'));
    }

    #[test]
    fn a_text_that_needs_escapes_is_bounded_too() {
        let long = "\u{1}".repeat(100_000);
        let items: Vec<Value> = (0..100).map(|_| json!({"a": &long})).collect();
        let leaf = json!({"items": items, "resource": {"id": &long, "parent": {"id": &long}}, "decision": {"message": &long, "explanation": [&long]}});
        assert!(shorten(leaf).len() <= LEAF_BYTES_MAX);
    }
}
