//! Canonical JSON: one form for one value.

use bytes::Bytes;
use serde_json::Value;

/// Canonical bytes of a JSON value, as in RFC 8785: names sorted by UTF-16 code units, no blanks.
/// Records hold no floating point, whose canonical form is the hard part of that document. The
/// names are sorted here because `serde_json` keeps them in the order of insertion as soon as any
/// crate in the build asks for that.
pub fn canonical(value: &Value) -> Bytes {
    let mut out = String::with_capacity(1024);
    write_canonical(value, &mut out);
    Bytes::from(out)
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by(|(a, _), (b, _)| {
                if a.is_ascii() && b.is_ascii() {
                    a.cmp(b)
                } else {
                    a.encode_utf16().cmp(b.encode_utf16())
                }
            });
            out.push('{');
            for (i, (name, inner)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write_canonical(inner, out);
            }
            out.push('}');
        }
        Value::Array(elements) => {
            out.push('[');
            for (i, inner) in elements.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(inner, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, out),
        // Null, Booleans and integers have one form.
        _ => out.push_str(&value.to_string()),
    }
}

/// A JSON string with the fewest escapes; text without any, the usual case, is copied as it is.
fn write_text(text: &str, out: &mut String) {
    if text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.push_str(&Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_bytes_do_not_depend_on_the_order_of_insertion() {
        let value = json!({"b": [1, {"z": null, "a": true}], "a": "x\"\n\u{e9}", "\u{1F600}": 1, "\u{FFFD}": 2});
        // RFC 8785 sorts by UTF-16 code units: a surrogate pair comes before U+FFFD.
        assert_eq!(canonical(&value), "{\"a\":\"x\\\"\\n\u{e9}\",\"b\":[1,{\"a\":true,\"z\":null}],\"\u{1F600}\":1,\"\u{FFFD}\":2}".as_bytes());
    }
}
