//! Which exchanges are wanted: conditions that must all hold.
//!
//! A filter is a list of names and values, the same on the command line, in a URL's query and in a
//! cursor's hash. The name `where` takes a whole expression. A name or value that cannot match
//! anything is an error that says what is allowed.

pub(crate) mod condition;
pub(crate) mod expression;
pub mod field;
pub(crate) mod moment;

use self::condition::Test;
use self::expression::Expression;
use crate::exchange::Exchange;
use keyward_core::clock::Timestamp;
use keyward_record::event::FilterTerm;
use keyward_record::{Content, Kind};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use sha2::{Digest, Sha256};

pub use self::condition::{FilterError, OUTCOMES};

/// The name whose value is an expression.
pub const WHERE: &str = "where";

/// Conditions that must all hold. The empty filter takes every exchange, and no event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Sorted by name and value, so that equal filters are equal however they were written.
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    name: String,
    value: String,
    expression: Expression,
}

impl Filter {
    /// A filter of names and values.
    ///
    /// # Errors
    /// When a name or value is unknown, or a name that is neither a path nor `where` is given
    /// twice.
    pub fn parse<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        pairs
            .into_iter()
            .try_for_each(|(name, value)| filter.add(name.as_ref(), value.as_ref()))?;
        Ok(filter)
    }

    /// One condition.
    pub(super) fn of(test: Test) -> Self {
        Self {
            conditions: vec![Condition {
                name: WHERE.to_owned(),
                value: String::new(),
                expression: Expression::Test(test),
            }],
        }
    }

    /// Adds a condition.
    ///
    /// # Errors
    /// When the name or value is unknown, or the name is neither a path nor `where` and was given
    /// before.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let expression = if name == WHERE {
            Expression::parse(value)?
        } else {
            Expression::Test(Test::equal(name, value)?)
        };
        if name != WHERE
            && !name.contains('.')
            && self.conditions.iter().any(|condition| condition.name == name)
        {
            return Err(FilterError::Twice(name.to_owned()));
        }
        self.conditions.push(Condition {
            name: name.to_owned(),
            value: value.to_owned(),
            expression,
        });
        self.conditions.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
        Ok(())
    }

    /// Its names and values, as they were given.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.conditions.iter().map(|condition| (condition.name.as_str(), condition.value.as_str()))
    }

    /// The same for a record.
    pub fn terms(&self) -> Vec<FilterTerm> {
        self.pairs()
            .map(|(name, value)| FilterTerm { name: name.to_owned(), value: value.to_owned() })
            .collect()
    }

    /// The query of a URL that asks for the same.
    pub fn to_query(&self) -> String {
        serde_urlencoded::to_string(self.pairs().collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Names the filter in a cursor. Equal for equal names and values: `2h` stays `2h` while time
    /// goes on.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        for text in self.pairs().flat_map(|(name, value)| [name, value]) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }

    /// The times between which it looks, the later one excluded, by the trail's own time, as far as
    /// its conditions must hold.
    pub fn bounds(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        self.at(now).0.times()
    }

    /// The question that it asks at this moment.
    pub(super) fn at(&self, now: Timestamp) -> Question {
        Question(Expression::All(
            self.conditions.iter().map(|condition| condition.expression.at(now)).collect(),
        ))
    }
}

/// A filter at the moment of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question(pub Expression);

impl Question {
    /// Whether an exchange is wanted. Bodies are loaded, through `content`, only when all else
    /// leaves it open.
    ///
    /// # Errors
    /// When `content` fails.
    pub fn matches<E>(
        &self,
        exchange: &mut Exchange,
        content: impl Fn(u64) -> Result<Option<Content>, E>,
    ) -> Result<bool, E> {
        if !self.wants(exchange.request.kind) {
            return Ok(false);
        }
        if let Some(holds) = self.0.holds(exchange, false) {
            return Ok(holds);
        }
        for part in exchange.parts_mut() {
            part.content = content(part.seq)?;
        }
        Ok(self.0.holds(exchange, true).unwrap_or(false))
    }

    /// Whether it can match records of this kind.
    pub fn wants(&self, kind: Kind) -> bool {
        self.0.wants(kind)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.conditions.len()))?;
        self.pairs().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Filter;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("filters, such as `caller=deploy` or `since=2h`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter, A::Error> {
                let mut filter = Filter::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    filter.add(&name, &value).map_err(de::Error::custom)?;
                }
                Ok(filter)
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests;
