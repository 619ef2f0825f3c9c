//! Strict JSON: RFC 8259 by `serde_json`, and nothing that two parsers could read differently.

use super::facts::Unreadable;
use crate::reason::Reason;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Objects and arrays nested deeper than this are refused.
pub const DEPTH_MAX: usize = 32;
/// More values than this in one document are refused.
pub const VALUES_MAX: usize = 20_000;

/// Reads one document.
///
/// # Errors
/// For bytes that are not UTF-8 or not JSON, for anything behind the document, for a name that an object
/// holds twice (after unescaping), for NUL in a string, and for documents beyond the limits above.
pub fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(unreadable(Reason::BodyBom, "the body starts with a byte order mark: leave it out".to_owned()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| unreadable(Reason::BodyNotUtf8, format!("byte {} of the body is not UTF-8", e.valid_up_to())))?;
    let fault = Cell::new(Reason::BodyNotJson);
    let values = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let strict = Strict { depth: 0, values: &values, fault: &fault };
    let value = strict.deserialize(&mut deserializer).map_err(|e| unreadable(class(&e, fault.get()), e.to_string()))?;
    deserializer.end().map_err(|e| unreadable(Reason::BodyTrailing, format!("data behind the JSON document at line {} column {}", e.line(), e.column())))?;
    Ok(value)
}

/// The class of what the parser found: its own errors are told apart by their words alone, which a test holds. They
/// hold at most a character of the body, never a value.
fn class(e: &serde_json::Error, fault: Reason) -> Reason {
    let said = e.to_string();
    match fault {
        Reason::BodyNotJson if said.starts_with("control character") => Reason::BodyControl,
        Reason::BodyNotJson if said.starts_with("lone leading surrogate") || said.starts_with("unexpected end of hex escape") => Reason::BodySurrogate,
        Reason::BodyNotJson if said.starts_with("number out of range") => Reason::BodyNumber,
        fault => fault,
    }
}

fn unreadable(reason: Reason, detail: String) -> Unreadable {
    Unreadable { reason, detail }
}

/// Builds a `Value` and refuses on the way what a lenient reader would resolve in its own fashion.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    values: &'a Cell<usize>,
    fault: &'a Cell<Reason>,
}

impl Strict<'_> {
    fn refuse<E: Error>(&self, reason: Reason, detail: impl fmt::Display) -> E {
        self.fault.set(reason);
        E::custom(detail)
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(self.refuse(Reason::BodyTooComplex, format_args!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn text<E: Error>(&self, text: &str) -> Result<(), E> {
        if text.contains('\0') { Err(self.refuse(Reason::BodyControl, "NUL in a string")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Err(self.refuse(Reason::BodyTooComplex, format_args!("more than {VALUES_MAX} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.text(text)?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(value) = elements.next_element_seed(inner)? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            self.text(&name)?;
            if object.contains_key(&name) {
                return Err(self.refuse(Reason::BodyDuplicate, format_args!("the name `{}` stands twice in one object", printable(&name))));
            }
            object.insert(name, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

/// A name from the wire, fit to be shown: escaped. A long one is not shown at all: the first part of a secret that was
/// sent as a name would no longer be recognised as one.
pub fn printable(name: &str) -> String {
    match name.chars().count() {
        0..=64 => name.chars().flat_map(char::escape_debug).collect(),
        n => format!("(a name of {n} characters)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(text: &[u8]) -> Reason {
        parse(text).unwrap_err().reason
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        assert_eq!(reason(br#"{"keyScope":"READ","keyScope":"ALL"}"#), Reason::BodyDuplicate);
        assert_eq!(reason(br#"{"keyScope":"READ","\u006beyScope":"ALL"}"#), Reason::BodyDuplicate);
        assert_eq!(reason(br#"{"a":{"b":[{"c":1,"c":2}]}}"#), Reason::BodyDuplicate);
        assert_eq!(reason(br#"{"a":1}{"a":2}"#), Reason::BodyTrailing);
        assert_eq!(reason(br#"{"a":1} x"#), Reason::BodyTrailing);
        assert_eq!(reason(b"\xef\xbb\xbf{}"), Reason::BodyBom);
        assert_eq!(reason(br#"{"a":"\ud800"}"#), Reason::BodySurrogate);
        assert_eq!(reason(br#"{"a":"\ud800\u0041"}"#), Reason::BodySurrogate);
        assert_eq!(reason(br#"{"a":"\udc00"}"#), Reason::BodySurrogate);
        assert_eq!(reason(br#"{"a":"\u0000"}"#), Reason::BodyControl);
        assert_eq!(reason(b"{\"a\":\"\x01\"}"), Reason::BodyControl);
        assert_eq!(reason(b"{\"a\":1e999}"), Reason::BodyNumber);
        assert_eq!(reason(b"{\"a\":\"\xc0\xaf\"}"), Reason::BodyNotUtf8);
        assert_eq!(reason("{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice()), Reason::BodyNotJson);
        for text in [&b"{'a':1}"[..], b"{a:1}", b"{\"a\":1,}", b"// c\n{}", b"{\"a\":01}", b"{\"a\":NaN}", b""] {
            assert_eq!(reason(text), Reason::BodyNotJson, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(reason("[".repeat(40).as_bytes()), Reason::BodyTooComplex);
        assert_eq!(reason(format!("[{}0]", "0,".repeat(VALUES_MAX)).as_bytes()), Reason::BodyTooComplex);
    }

    proptest! {
        #[test]
        fn what_passes_is_what_serde_json_reads(text in r#"[\[\]{}",:0-9a-c\\ue. -]{0,40}"#) {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
