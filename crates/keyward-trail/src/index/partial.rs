//! A record read as far as the index asks: everything else is skipped, which is most of it.

use super::FIELDS;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The part of a record that indexed fields look at; `Null` when it is no JSON.
pub fn read(leaf: &[u8]) -> Value {
    // Skipping does not look at the characters of texts.
    let Ok(text) = std::str::from_utf8(leaf) else { return Value::Null };
    let mut from = serde_json::Deserializer::from_str(text);
    WANTED.deserialize(&mut from).ok().filter(|_| from.end().is_ok()).unwrap_or(Value::Null)
}

static WANTED: LazyLock<Wanted> = LazyLock::new(|| {
    let mut wanted = Wanted::default();
    FIELDS.iter().flat_map(|field| field.reads()).for_each(|path| wanted.add(path));
    wanted
});

/// What is read of a value: all of it, or parts by their names; of an array, the same of each
/// element.
#[derive(Debug, Default)]
struct Wanted {
    all: bool,
    parts: Vec<(String, Wanted)>,
}

impl Wanted {
    fn add<'a>(&mut self, path: impl IntoIterator<Item = &'a str>) {
        let mut at = self;
        for step in path {
            let known = at.parts.iter().position(|(name, _)| name == step);
            let index = known.unwrap_or(at.parts.len());
            if known.is_none() {
                at.parts.push((step.to_owned(), Self::default()));
            }
            let Some((_, part)) = at.parts.get_mut(index) else { return };
            at = part;
        }
        at.all = true;
    }
}

impl<'de> DeserializeSeed<'de> for &Wanted {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if self.all { serde::Deserialize::deserialize(from) } else { from.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for &Wanted {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(part) = from.next_key_seed(Name(&self.parts))? {
            match part {
                Some((name, part)) => drop(found.insert(name.clone(), from.next_value_seed(part)?)),
                None => drop(from.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = from.next_element_seed(self)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// A name in an object: the part that is wanted by it, if one is.
struct Name<'a>(&'a [(String, Wanted)]);

impl<'a, 'de> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a (String, Wanted)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a (String, Wanted)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(wanted, _)| wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange, Part};
    use keyward_core::clock::{AuditId, Timestamp};
    use keyward_record::{Kind, canonical};
    use proptest::prelude::*;

    /// Records of any shape, with the names that fields look for in places where they belong and
    /// where not.
    fn any_json() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec![
            "caller", "name", "call", "action", "service", "resource", "id", "type", "parent",
            "items", "decision", "verdict", "reason", "policies", "shadow", "effect", "source",
            "address", "event", "outcome", "status", "other", "Project",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..600_u32).prop_map(Value::from),
            prop::sample::select(vec!["Project", "a", "policy-forbids", "\u{e9}\"\n"])
                .prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((name.clone(), inner), 0..8).prop_map(|pairs| pairs
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn fields_find_in_the_part_what_they_find_in_the_whole(json in any_json(), kind in prop::sample::select(vec![Kind::Forwarded, Kind::Refused, Kind::Event]), answered in any::<bool>()) {
            let leaf = canonical(&json);
            let exchange = |json: Value| {
                let part = Part { seq: 0, time: Timestamp(0), kind, leaf: leaf.clone(), json, content: None };
                let answer = answered.then(|| Part { kind: Kind::Answer, ..part.clone() });
                Exchange { id: AuditId::new(), request: part, answer, answer_gone: false }
            };
            let (whole, part) = (exchange(json.clone()), exchange(read(&leaf)));
            for field in FIELDS.iter() {
                prop_assert_eq!(field.values(&whole), field.values(&part), "{:?}", field);
            }
        }
    }

    #[test]
    fn what_is_no_record_is_nothing() {
        for leaf in [&b""[..], b"{", b"{}x", b"\xff", b"{\"caller\":{\"name\":\"\xff\"}}"] {
            assert_eq!(read(leaf), Value::Null);
        }
    }
}
