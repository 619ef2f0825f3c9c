//! One record: its canonical bytes, and the body that stands beside them.

use crate::clock::{AuditId, Timestamp};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The version of the record's form, `v` in its JSON.
pub const VERSION: u32 = 1;

/// A record on its way to the journal.
#[derive(Clone, Debug)]
pub struct Record {
    /// The exchange.
    pub id: AuditId,
    /// What it records.
    pub kind: Kind,
    /// When it was made.
    pub time: Timestamp,
    /// Canonical JSON: sorted names, no floating point, UTF-8. Stored, hashed and exported as it is.
    pub leaf: Bytes,
    /// The body beside it, redacted.
    pub content: Option<Content>,
}

/// The hash of a leaf in the tree of RFC 6962.
pub type LeafHash = [u8; 32];

/// The hash of a leaf: of a zero byte and the record as stored.
pub fn leaf_hash(leaf: &[u8]) -> LeafHash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// What a record records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call that is about to be forwarded: an answer record follows.
    Forwarded,
    /// A call that is refused: its only record.
    Refused,
    /// The outcome of a forwarded call.
    Answer,
    /// The gateway's own doing: start, stop, a new bundle.
    Event,
}

/// A body, redacted and perhaps cut, bound to its leaf by a salted hash so that it can be erased alone.
#[derive(Clone, Debug)]
pub struct Content {
    /// Random, stored with the body, erased with it.
    pub salt: [u8; 32],
    /// The redacted bytes.
    pub bytes: Bytes,
}

impl Content {
    /// Content with a fresh salt.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(bytes: Bytes) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        Ok(Self { salt, bytes })
    }

    /// `sha256:` of salt and bytes: stands in the leaf as `commit`.
    pub fn commitment(&self) -> String {
        let hash = Sha256::new().chain_update(self.salt).chain_update(&self.bytes).finalize();
        format!("sha256:{}", hex::encode(hash))
    }
}

/// Canonical bytes of a JSON value, as in RFC 8785: names sorted by UTF-16 code units, no blanks. Records hold no
/// floating point, whose canonical form is the hard part of that document. The names are sorted here because
/// `serde_json` keeps them in the order of insertion as soon as any crate in the build asks for that.
pub fn canonical(value: &Value) -> Bytes {
    let mut out = String::with_capacity(1024);
    write_canonical(value, &mut out);
    Bytes::from(out)
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by(|(a, _), (b, _)| if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) });
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

/// The record that closes an exchange whose outcome nobody knows. `why` says what was seen last.
pub fn unknown_outcome(id: AuditId, why: &str) -> Record {
    let time = Timestamp::now();
    let leaf = json!({"v": VERSION, "kind": "answer", "id": id.to_string(), "time": time.rfc3339(), "outcome": "unknown", "detail": why});
    Record { id, kind: Kind::Answer, time, leaf: canonical(&leaf), content: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_bytes_do_not_depend_on_the_order_of_insertion() {
        let value = json!({"b": [1, {"z": null, "a": true}], "a": "x\"\n\u{e9}", "\u{1F600}": 1, "\u{FFFD}": 2});
        // RFC 8785 sorts by UTF-16 code units: a surrogate pair comes before U+FFFD.
        assert_eq!(canonical(&value), "{\"a\":\"x\\\"\\n\u{e9}\",\"b\":[1,{\"a\":true,\"z\":null}],\"\u{1F600}\":1,\"\u{FFFD}\":2}".as_bytes());
    }

    #[test]
    fn a_commitment_binds_salt_and_bytes() {
        let content = Content { salt: [1; 32], bytes: Bytes::from_static(b"x") };
        assert_ne!(content.commitment(), Content { salt: [2; 32], ..content.clone() }.commitment());
        assert_ne!(content.commitment(), Content { bytes: Bytes::from_static(b"y"), ..content }.commitment());
    }
}
