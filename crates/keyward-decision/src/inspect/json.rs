//! Strict JSON: RFC 8259 by `serde_json`, and nothing that two parsers could read differently.

use super::facts::Unreadable;
use super::{name, text};
use crate::request::printable;
use keyward_core::reason::Reason;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Objects and arrays nested deeper than this are refused.
pub const DEPTH_MAX: usize = 32;
/// More values than this in one document are refused.
pub const VALUES_MAX: usize = 20_000;
/// Integers beyond this, either way, are not exact in parsers that keep numbers as floating point:
/// 2^53 - 1.
const INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// Reads one document.
///
/// # Errors
/// For bytes that are not UTF-8 or not JSON, for anything behind the document, for names that stand
/// twice in an object or are not plain (`name`), for strings that are not plain (`text`), for
/// numbers that parsers read as different values or types, and for documents beyond the limits
/// above.
pub fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
    read(bytes, true)
}

/// Reads a document that a cloud has answered. It is read for its outcome and its secrets, and
/// judged by nobody: names, texts and numbers are as the cloud writes them. A name that stands
/// twice is still none that could be read.
///
/// # Errors
/// As for [`parse`], without its rules of names, strings and numbers.
pub fn parse_answer(bytes: &[u8]) -> Result<Value, Unreadable> {
    read(bytes, false)
}

fn read(bytes: &[u8], plain: bool) -> Result<Value, Unreadable> {
    let text = text::decode(bytes)?;
    let fault = Cell::new(Reason::BodyNotJson);
    let values = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let strict = Strict { depth: 0, plain, values: &values, fault: &fault };
    let value = strict.deserialize(&mut deserializer).map_err(|e| say(&e, fault.get()))?;
    deserializer.end().map_err(|e| {
        unreadable(
            Reason::BodyTrailing,
            format!(
                "something follows the JSON document: send one document (line {}, column {})",
                e.line(),
                e.column()
            ),
        )
    })?;
    Ok(value)
}

/// What the parser found: its own errors are told apart by their words alone, which a test holds.
/// They hold at most a character of the body, never a value.
fn say(e: &serde_json::Error, fault: Reason) -> Unreadable {
    let (line, column) = (e.line(), e.column());
    let said = e.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    let known = [
        (
            "control character",
            Reason::BodyControl,
            "a control character stands raw in a string: escape it, or leave it out",
        ),
        (
            "lone leading surrogate",
            Reason::BodySurrogate,
            "half of a surrogate pair stands in a string: write the whole character",
        ),
        (
            "unexpected end of hex escape",
            Reason::BodySurrogate,
            "half of a surrogate pair stands in a string: write the whole character",
        ),
        (
            "number out of range",
            Reason::BodyNumber,
            "a number is out of range: write a smaller one",
        ),
    ];
    let (reason, why) = match known
        .into_iter()
        .find(|(start, ..)| fault == Reason::BodyNotJson && said.starts_with(start))
    {
        Some((_, reason, why)) => (reason, why.to_owned()),
        None if fault == Reason::BodyNotJson => {
            (fault, format!("the body is not JSON as RFC 8259 has it: {said}"))
        }
        None => (fault, said.to_owned()),
    };
    unreadable(reason, format!("{why} (line {line}, column {column})"))
}

fn unreadable(reason: Reason, detail: String) -> Unreadable {
    Unreadable { reason, detail }
}

/// Builds a `Value` and refuses on the way what a lenient reader would resolve in its own fashion.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// Names, strings and numbers must be plain, as in a call.
    plain: bool,
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
            return Err(self.refuse(
                Reason::BodyTooComplex,
                format_args!("objects and arrays are nested deeper than {DEPTH_MAX}"),
            ));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn text<E: Error>(&self, text: &str) -> Result<(), E> {
        match text::unplain(text).filter(|_| self.plain) {
            Some(c) => Err(self.refuse(
                Reason::BodyControl,
                format_args!("U+{:04X} in a string: leave it out", u32::from(c)),
            )),
            None => Ok(()),
        }
    }

    fn name<E: Error>(&self, name: &str, escaped: bool) -> Result<(), E> {
        let escaped = escaped.then_some((Reason::BodyName, "is escaped: write it as it is"));
        match name::fault(name).or(escaped).filter(|_| self.plain) {
            Some((reason, why)) => {
                Err(self.refuse(reason, format_args!("the name `{}` {why}", printable(name))))
            }
            None => Ok(()),
        }
    }

    /// Two names that a lenient binder takes for one are one name that stands twice.
    fn spelt_once<E: Error>(
        &self,
        mut folded: Vec<u64>,
        object: &Map<String, Value>,
    ) -> Result<(), E> {
        folded.sort_unstable();
        let Some(twice) = folded
            .windows(2)
            .find_map(|pair| (pair.first() == pair.last()).then(|| pair.first().copied())?)
        else {
            return Ok(());
        };
        let names: Vec<_> = object
            .keys()
            .filter(|name| name::fold_hash(name) == twice)
            .map(|name| format!("`{}`", printable(name)))
            .collect();
        Err(self.refuse(
            Reason::BodyDuplicate,
            format_args!(
                "{} are one name to a lenient reader: send one of them",
                names.join(" and ")
            ),
        ))
    }

    fn integer<E: Error>(&self, number: impl Into<Number>, magnitude: u64) -> Result<Value, E> {
        if self.plain && magnitude > INTEGER_MAX {
            return Err(self.refuse(Reason::BodyNumber, "an integer beyond 2^53, which parsers round: write it as a string, or a smaller one"));
        }
        Ok(Value::Number(number.into()))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Err(self.refuse(
                Reason::BodyTooComplex,
                format_args!("the body has more than {VALUES_MAX} values"),
            ));
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
        self.integer(number, number.unsigned_abs())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        self.integer(number, number)
    }

    /// Also `-0`, `1.0`, `1e0` and integers of many digits come here: an integer to one parser, a
    /// float to another.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        if self.plain && number.fract() == 0.0 {
            return Err(self.refuse(Reason::BodyNumber, "a number that some parsers read as an integer and others not: write it in digits alone, within 2^53"));
        }
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number out of range"))
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
        let mut folded = Vec::new();
        while let Some((name, escaped)) = entries.next_key_seed(Name)? {
            if object.contains_key(&name) {
                return Err(self.refuse(
                    Reason::BodyDuplicate,
                    format_args!(
                        "the name `{}` stands twice in one object: send it once",
                        printable(&name)
                    ),
                ));
            }
            self.name(&name, escaped)?;
            folded.push(name::fold_hash(&name));
            object.insert(name, entries.next_value_seed(inner)?);
        }
        if self.plain {
            self.spelt_once(folded, &object)?;
        }
        Ok(Value::Object(object))
    }
}

/// A name of an object, and whether it was escaped: the parser lends only what it did not have to
/// unescape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = (String, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = (String, bool);

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok((name.to_owned(), false))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok((name.to_owned(), true))
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
        assert_eq!(reason(b"{\"a\":\"x\ny\"}"), Reason::BodyControl);
        assert_eq!(reason(br#"{"a":"\u2028"}"#), Reason::BodyControl);
        assert_eq!(reason(br#"{"a":"\udbff\udfff"}"#), Reason::BodyControl);
        for number in [
            "1e999",
            "-1e999",
            "-0",
            "-0.0",
            "0.0",
            "1.0",
            "1e0",
            "1E2",
            "100e-2",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551616",
            "9007199254740991.0",
        ] {
            assert_eq!(
                reason(format!("{{\"a\":{number}}}").as_bytes()),
                Reason::BodyNumber,
                "{number}"
            );
        }
        for number in ["0", "-1", "9007199254740991", "-9007199254740991", "1.5", "15e-1"] {
            assert!(parse(format!("{{\"a\":{number}}}").as_bytes()).is_ok(), "{number}");
        }
        assert_eq!(reason(b"{\"a\":\"\xc0\xaf\"}"), Reason::BodyNotUtf8);
        for text in [
            &b"{'a':1}"[..],
            b"{a:1}",
            b"{\"a\":1,}",
            b"// c\n{}",
            b"{\"a\":01}",
            b"{\"a\":NaN}",
            b"",
            b" ",
            b"{\"a\":1",
            b"{\"a\":.5}",
            b"{\"a\":+1}",
            b"{\"a\":1.}",
            b"{\"a\":0x1}",
            b"{\"a\":1_0}",
            b"{\"a\":True}",
            b"{\"a\":Infinity}",
            b"{\"a\":-}",
            b"{\"a\":\"\\x41\"}",
            b"{\"a\":'b'}",
            b"{\"a\" \"b\"}",
            b"{,}",
            b"{\"a\":1 \"b\":2}",
            b"{\"a\":1,,\"b\":2}",
            b"[1,]",
            b"\x0c{}",
            b"{\"a\":1/**/}",
            b"{\"a\":undefined}",
            b"\xc2\xa0{}",
            b"{\"a\":1;}",
            b"{1:2}",
            b"{null:2}",
        ] {
            assert_eq!(reason(text), Reason::BodyNotJson, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(reason("[".repeat(40).as_bytes()), Reason::BodyTooComplex);
        assert_eq!(
            reason(format!("[{}0]", "0,".repeat(VALUES_MAX)).as_bytes()),
            Reason::BodyTooComplex
        );
    }

    #[test]
    fn names_have_one_spelling() {
        for text in [
            r#"{"keyScope":"READ","KeyScope":"ALL"}"#,
            r#"{"a":{"key_scope":1,"b":2,"keyScope":3}}"#,
            r#"{"a-b":1,"ab":2}"#,
            r#"{"_":1,"-":2}"#,
        ] {
            assert_eq!(reason(text.as_bytes()), Reason::BodyDuplicate, "{text}");
        }
        let detail = parse(br#"{"b":0,"KeyScope":1,"keyScope":2}"#).unwrap_err().detail;
        assert!(detail.contains("`KeyScope` and `keyScope`"), "{detail}");
        for text in [
            r#"{"\u006beyScope":"READ"}"#,
            r#"{"a":[{"b\/c":1}]}"#,
            r#"{"\u200bkeyScope":1}"#,
            "{\"\u{ff4b}eyScope\":1}",
            r#"{"":1}"#,
            r#"{"a ":1}"#,
            r#"{"a":{"$ref":"$"}}"#,
            r#"{"@type":"x"}"#,
        ] {
            assert_eq!(reason(text.as_bytes()), Reason::BodyName, "{text}");
        }
        assert_eq!(reason(br#"{"_method":"DELETE"}"#), Reason::MethodOverride);
        assert_eq!(reason(br#"{"a\u0000":1}"#), Reason::BodyName);
    }

    /// Many names that all differ cost no more than sorting them.
    #[test]
    fn an_object_of_many_names_is_read() {
        let pairs: Vec<String> = (0..VALUES_MAX - 1).map(|n| format!("\"n{n}\":0")).collect();
        assert!(parse(format!("{{{}}}", pairs.join(",")).as_bytes()).is_ok());
    }

    #[test]
    fn an_answer_is_read_as_the_cloud_writes_it() {
        for text in [
            r#"{"job_id":"j1","size":1.0}"#,
            r#"{"id":1234567890123456789}"#,
            r#"{"__os_version":"a","os_version":"b"}"#,
            "{\"\\u006aob_id\":\"a\\u2028\"}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
            assert_eq!(
                parse_answer(text.as_bytes()).unwrap(),
                serde_json::from_str::<Value>(text).unwrap()
            );
        }
        assert!(parse_answer(br#"{"job_id":"a","job_id":"b"}"#).is_err());
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
