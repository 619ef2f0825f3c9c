//! What policies see of a call: one tree, from which both the schema's text and the conversion of
//! facts derive, so that the two cannot come apart.

use crate::catalog::schema::{Field, Shape, TextMeaning};
use crate::inspect::facts::{Fact, Facts};
use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use keyward_core::clock::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The type of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `String`.
    Text,
    /// `Bool`.
    Flag,
    /// `Long`.
    Number,
    /// `datetime`.
    Time,
    /// One of a closed set: an enumerated entity type.
    Choice(EntityTypeName),
    /// `PublicKey`, with the type of its algorithms.
    Key(EntityTypeName),
    /// `Set<…>`.
    Set(Box<Type>),
    /// A record.
    Record(Attributes),
    /// Not shown to policies: secrets, arrays of objects, and what the catalogue leaves open.
    Hidden,
}

/// The attributes of a record.
pub type Attributes = BTreeMap<String, Attribute>;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Whether every call has it: policies may read it without a guard.
    pub required: bool,
    /// Its type.
    pub of: Type,
}

/// Turns the names of closed sets into Cedar types, and takes note of their values.
pub trait Names {
    /// The type of that closed set; `at` says where it stands. None after a fault, which the
    /// implementor keeps.
    fn choice(&mut self, name: &str, values: &[String], at: &str) -> Option<EntityTypeName>;
    /// The type of the algorithms of public keys.
    fn algorithm(&self) -> Option<EntityTypeName>;
    /// Takes note of a fault.
    fn fault(&mut self, at: &str, why: String);
}

impl Type {
    /// The type of a shape of the catalogue; `at` says where it stands.
    pub fn of_shape(shape: &Shape, names: &mut impl Names, at: &str) -> Self {
        match shape {
            Shape::Object { fields, .. } => Self::Record(of_fields(fields, names, at)),
            Shape::Array { element, .. } => match Self::of_shape(element, names, at) {
                // Cedar has no quantifiers: what stands in an array of objects is judged item by
                // item.
                Self::Record(_) | Self::Set(_) | Self::Hidden => Self::Hidden,
                scalar => Self::Set(Box::new(scalar)),
            },
            Shape::Text { meaning, .. } => match meaning {
                TextMeaning::Plain | TextMeaning::Name | TextMeaning::Uuid => Self::Text,
                TextMeaning::Choice { name, values } => {
                    names.choice(name, values, at).map_or(Self::Hidden, Self::Choice)
                }
                TextMeaning::DateTime => Self::Time,
                TextMeaning::SshPublicKey => names.algorithm().map_or(Self::Hidden, Self::Key),
            },
            Shape::Integer { .. } => Self::Number,
            Shape::Boolean => Self::Flag,
            Shape::Either(_) | Shape::Any => Self::Hidden,
        }
    }

    /// The type that two routes of one action give to the same attribute.
    ///
    /// # Errors
    /// When they differ: the place within the attribute, and the two types.
    fn merge(self, other: Self) -> Result<Self, String> {
        match (self, other) {
            (Self::Record(a), Self::Record(b)) => merge(a, b).map(Self::Record),
            (a, b) if a == b => Ok(a),
            (a, b) => Err(format!("` is {} in one and {} in the other", a.name(), b.name())),
        }
    }

    /// The type as the schema writes it, on one line.
    pub fn name(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Writes the type in Cedar's schema syntax.
    pub fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Text => out.push_str("String"),
            Self::Flag => out.push_str("Bool"),
            Self::Number => out.push_str("Long"),
            Self::Time => out.push_str("datetime"),
            Self::Choice(name) => out.push_str(name.basename()),
            Self::Key(_) => out.push_str("PublicKey"),
            Self::Set(element) => {
                out.push_str("Set<");
                element.write(out, indent);
                out.push('>');
            }
            Self::Record(attributes) => write_record(attributes, out, indent),
            Self::Hidden => out.push_str("hidden"),
        }
    }

    /// The fact as a Cedar value of this type. None for what policies do not see.
    ///
    /// # Errors
    /// When the fact is of another type; `at` is its place in the context.
    pub fn convert(&self, fact: &Fact, at: &str) -> Result<Option<RestrictedExpression>, String> {
        let value = match (self, fact) {
            (Self::Hidden, _) => return Ok(None),
            (Self::Text, Fact::Text(text)) => RestrictedExpression::new_string(text.clone()),
            (Self::Flag, Fact::Flag(flag)) => RestrictedExpression::new_bool(*flag),
            (Self::Number, Fact::Number(number)) => RestrictedExpression::new_long(*number),
            (Self::Time, Fact::Time(time)) => RestrictedExpression::new_datetime(time.rfc3339(3)),
            (Self::Choice(name), Fact::Choice { kind, value }) if name.basename() == kind => {
                entity(name, value)
            }
            (Self::Key(algorithm), Fact::Key(key)) => {
                let long = RestrictedExpression::new_long;
                let fields = [
                    ("algorithm", entity(algorithm, key.algorithm)),
                    ("bits", long(key.bits)),
                    ("exponent", long(key.exponent)),
                ];
                record(fields.map(|(name, value)| (name.to_owned(), value)), at)?
            }
            (Self::Set(element), Fact::List(list)) => {
                let values: Vec<_> =
                    list.iter().map(|fact| element.convert(fact, at)).collect::<Result<_, _>>()?;
                RestrictedExpression::new_set(values.into_iter().flatten())
            }
            (Self::Record(attributes), Fact::Record(facts)) => {
                record(convert(attributes, facts, at)?, at)?
            }
            (wanted, found) => {
                return Err(format!(
                    "`{at}` is {}, but the schema wants {}",
                    kind_of(found),
                    wanted.name()
                ));
            }
        };
        Ok(Some(value))
    }
}

/// The facts as Cedar values of these attributes. The request's validation would notice what is
/// missing here, but tell it by quoting the whole call.
///
/// # Errors
/// When a fact is of another type, none of the attributes, or missing.
pub fn convert(
    attributes: &Attributes,
    facts: &Facts,
    at: &str,
) -> Result<Vec<(String, RestrictedExpression)>, String> {
    let missing = attributes.iter().find(|(name, attribute)| {
        attribute.required && attribute.of != Type::Hidden && !facts.contains_key(*name)
    });
    if let Some((name, _)) = missing {
        return Err(format!("`{at}.{name}` is missing"));
    }
    let mut values = Vec::with_capacity(facts.len());
    for (name, fact) in facts {
        let at = format!("{at}.{name}");
        let attribute =
            attributes.get(name).ok_or_else(|| format!("`{at}` is not in the schema"))?;
        if let Some(value) = attribute.of.convert(fact, &at)? {
            values.push((name.clone(), value));
        }
    }
    Ok(values)
}

/// The attributes of an object's fields, under the names that policies see.
pub fn of_fields(fields: &[Field], names: &mut impl Names, at: &str) -> Attributes {
    let mut attributes = Attributes::new();
    for field in fields {
        let at = format!("{at}.{}", field.name);
        let of = if field.secret { Type::Hidden } else { Type::of_shape(&field.shape, names, &at) };
        let attribute = Attribute { required: field.required || field.default.is_some(), of };
        if attributes.insert(field.fact.clone(), attribute).is_some() {
            names.fault(&at, format!("two fields are shown to policies as `{}`", field.fact));
        }
    }
    attributes
}

/// The union of what two routes of one action show. What one of them lacks is optional.
///
/// # Errors
/// When the two give one attribute different types: its place, and how they differ.
pub fn merge(mut a: Attributes, b: Attributes) -> Result<Attributes, String> {
    for (name, attribute) in &mut a {
        attribute.required &= b.get(name).is_some_and(|other| other.required);
    }
    for (name, theirs) in b {
        let merged = match a.remove(&name) {
            None => Attribute { required: false, of: theirs.of },
            Some(ours) => Attribute {
                required: ours.required,
                of: ours.of.merge(theirs.of).map_err(|rest| format!(".{name}{rest}"))?,
            },
        };
        a.insert(name, merged);
    }
    Ok(a)
}

/// The same attributes, none of them required: those of a body that may be absent.
pub fn optional(attributes: Attributes) -> Attributes {
    attributes
        .into_iter()
        .map(|(name, attribute)| (name, Attribute { required: false, ..attribute }))
        .collect()
}

/// The attribute at a dotted place, and whether every call has it.
pub fn find<'a>(attributes: &'a Attributes, place: &[String]) -> Option<(&'a Type, bool)> {
    let (first, rest) = place.split_first()?;
    let attribute = attributes.get(first)?;
    match (&attribute.of, rest.is_empty()) {
        (Type::Hidden, _) => None,
        (of, true) => Some((of, attribute.required)),
        (Type::Record(inner), false) => {
            find(inner, rest).map(|(of, required)| (of, required && attribute.required))
        }
        (_, false) => None,
    }
}

/// A point in time as Cedar's `datetime`, to the millisecond.
pub fn datetime(time: Timestamp) -> RestrictedExpression {
    let time = jiff::Timestamp::from_millisecond(time.millis()).unwrap_or(jiff::Timestamp::MAX);
    RestrictedExpression::new_datetime(format!("{time:.3}"))
}

/// An entity as a value.
pub fn entity(of: &EntityTypeName, id: &str) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(EntityUid::from_type_name_and_id(
        of.clone(),
        EntityId::new(id),
    ))
}

/// A record as a value.
///
/// # Errors
/// When a name occurs twice.
pub fn record(
    fields: impl IntoIterator<Item = (String, RestrictedExpression)>,
    at: &str,
) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(fields).map_err(|e| format!("`{at}`: {e}"))
}

/// Writes a record's type in Cedar's schema syntax.
pub fn write_record(attributes: &Attributes, out: &mut String, indent: usize) {
    let mut shown =
        attributes.iter().filter(|(_, attribute)| attribute.of != Type::Hidden).peekable();
    if shown.peek().is_none() {
        out.push_str("{}");
        return;
    }
    out.push_str("{\n");
    for (name, attribute) in shown {
        let mark = if attribute.required { "" } else { "?" };
        let _ = write!(out, "{:1$}{name:?}{mark}: ", "", indent + 2);
        attribute.of.write(out, indent + 2);
        out.push_str(",\n");
    }
    let _ = write!(out, "{:indent$}}}", "");
}

fn kind_of(fact: &Fact) -> &'static str {
    match fact {
        Fact::Text(_) => "text",
        Fact::Flag(_) => "a Boolean",
        Fact::Number(_) => "an integer",
        Fact::Time(_) => "a point in time",
        Fact::Choice { .. } => "one of a closed set",
        Fact::Key(_) => "a public key",
        Fact::List(_) => "a list",
        Fact::Record(_) => "an object",
    }
}
