//! One walk over a JSON value and its schema: every check, and the facts that policies see.

use super::facts::{Fact, Facts, Unreadable};
use super::key;
use super::name::lookalike;
use super::place::FieldPath;
use super::refuse;
use super::text::{NAMED, is_identifier, is_uuid};
use crate::catalog::schema::{Field, Shape, TextMeaning};
use crate::names;
use crate::request::printable;
use keyward_core::clock::Moment;
use keyward_core::reason::Reason;
use serde_json::{Map, Value};

/// Checks a value against its shape and gives its fact. `place` is said in errors:
/// `body.servers[2]`. `None` for what policies do not see.
///
/// # Errors
/// The first thing that does not fit, with its place; never with a value.
pub fn check(shape: &Shape, value: &Value, place: FieldPath) -> Result<Option<Fact>, Unreadable> {
    match (shape, value) {
        (Shape::Any, _) => Ok(None),
        (Shape::Either(shapes), _)
            if shapes.iter().any(|shape| check(shape, value, place).is_ok()) =>
        {
            Ok(None)
        }
        (Shape::Boolean, Value::Bool(flag)) => Ok(Some(Fact::Flag(*flag))),
        (Shape::Integer { min, max }, Value::Number(number)) => {
            let number = number.as_i64().ok_or_else(|| wrong_type(shape, place))?;
            if number < *min || number > *max {
                return Err(refuse(
                    Reason::BodyValue,
                    format!("`{place}` must be {}", range(*min, *max)),
                ));
            }
            Ok(Some(Fact::Number(number)))
        }
        (Shape::Text { min, max, pattern, meaning }, Value::String(text)) => {
            length(text.chars().count(), *min, *max, place, "characters")?;
            if pattern.as_ref().is_some_and(|p| !p.is_match(text)) {
                return Err(refuse(
                    Reason::BodyValue,
                    format!("`{place}` does not fit its pattern"),
                ));
            }
            text_fact(meaning, text, place).map(Some)
        }
        (Shape::Array { element, min, max }, Value::Array(elements)) => {
            length(elements.len(), *min, *max, place, "elements")?;
            let check =
                |(i, element_value)| check(element, element_value, FieldPath::Element(&place, i));
            let facts = elements.iter().enumerate().map(check).collect::<Result<Vec<_>, _>>()?;
            Ok(Some(Fact::List(facts.into_iter().flatten().collect())))
        }
        (Shape::Object { fields, additional }, Value::Object(object)) => {
            check_object(fields, *additional, object, place).map(|facts| Some(Fact::Record(facts)))
        }
        _ => Err(wrong_type(shape, place)),
    }
}

fn check_object(
    fields: &[Field],
    additional: bool,
    object: &Map<String, Value>,
    place: FieldPath,
) -> Result<Facts, Unreadable> {
    for name in object.keys().filter(|name| !fields.iter().any(|f| f.name == **name)) {
        unknown_field(fields, additional, name, place)?;
    }
    let mut facts = Facts::new();
    for field in fields {
        let place = FieldPath::Field(&place, &field.name);
        let fact = match object
            .get(&field.name)
            .filter(|value| !(field.null_is_absent && value.is_null()))
        {
            Some(value) => check(&field.shape, value, place)
                .map_err(|wrong| if value.is_null() { null(wrong) } else { wrong })?,
            None if field.required => {
                return Err(refuse(Reason::BodyMissingField, format!("`{place}` is required")));
            }
            None => default(field),
        };
        if let (Some(fact), false) = (fact, field.secret) {
            facts.insert(field.fact.clone(), fact);
        }
    }
    Ok(facts)
}

/// A field that the document does not name. One that a lenient binder would take for a documented
/// one is refused even where others may occur.
fn unknown_field(
    fields: &[Field],
    additional: bool,
    name: &str,
    place: FieldPath,
) -> Result<(), Unreadable> {
    let shown = printable(name);
    if let Some(near) = lookalike(fields.iter().map(|f| f.name.as_str()), name) {
        return Err(refuse(
            Reason::BodyLookalike,
            format!(
                "`{place}.{shown}` can be taken for the documented `{near}`: write it exactly so, or leave it out"
            ),
        ));
    }
    if additional && matches!(place, FieldPath::Root(_)) && names::is_credential_field(name) {
        let why = "can be taken for a credential, beside the one that was looked at: leave it out";
        return Err(refuse(Reason::BodyUnknownField, format!("`{place}.{shown}` {why}")));
    }
    if additional {
        return Ok(());
    }
    let known: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
    Err(refuse(
        Reason::BodyUnknownField,
        format!(
            "`{place}.{shown}` is not a field of this operation: leave it out; known are {}",
            known.join(", ")
        ),
    ))
}

/// The fact of the vendor's default for a field that the call leaves out.
pub fn default(field: &Field) -> Option<Fact> {
    check(&field.shape, field.default.as_ref()?, FieldPath::Root(&field.name)).ok().flatten()
}

/// Checks the text of a parameter, which has no JSON type of its own.
///
/// # Errors
/// As [`check`].
pub fn check_parameter(
    field: &Field,
    text: &str,
    place: FieldPath,
) -> Result<Option<Fact>, Unreadable> {
    let value = match field.shape {
        Shape::Integer { .. } => {
            // One spelling for one number: no sign, no leading zeros.
            let number = text.parse::<i64>().ok().filter(|n| n.to_string() == text);
            Value::from(number.ok_or_else(|| wrong_type(&field.shape, place))?)
        }
        Shape::Boolean => match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(wrong_type(&field.shape, place)),
        },
        _ => Value::String(text.to_owned()),
    };
    check(&field.shape, &value, place).map(|fact| fact.filter(|_| !field.secret))
}

fn text_fact(meaning: &TextMeaning, text: &str, place: FieldPath) -> Result<Fact, Unreadable> {
    match meaning {
        TextMeaning::Plain => Ok(Fact::Text(text.to_owned())),
        TextMeaning::Name if is_identifier(text) => Ok(Fact::Text(text.to_owned())),
        TextMeaning::Name => {
            Err(refuse(Reason::BodyValue, format!("`{place}` must be a name {NAMED}")))
        }
        TextMeaning::Uuid if is_uuid(text) => Ok(Fact::Text(text.to_owned())),
        TextMeaning::Uuid => Err(refuse(
            Reason::BodyValue,
            format!(
                "`{place}` must be a UUID of 32 hexadecimal digits and four hyphens, as 8-4-4-4-12"
            ),
        )),
        TextMeaning::Choice { name, values } if values.iter().any(|v| v == text) => {
            Ok(Fact::Choice { kind: name.clone(), value: text.to_owned() })
        }
        TextMeaning::Choice { values, .. } => Err(refuse(
            Reason::BodyValue,
            format!("`{place}` must be exactly one of {}", values.join(", ")),
        )),
        TextMeaning::DateTime => match Moment::parse(text) {
            Some(time) => Ok(Fact::Time(time)),
            None => Err(refuse(
                Reason::BodyValue,
                format!(
                    "`{place}` must be a date and time with its offset, for example 2026-12-31T15:30:45Z"
                ),
            )),
        },
        TextMeaning::SshPublicKey => Ok(Fact::Key(key::read(text))),
    }
}

fn range(min: i64, max: i64) -> String {
    match (min, max) {
        (_, i64::MAX) => format!("{min} or more"),
        (i64::MIN, _) => format!("{max} or less"),
        _ => format!("from {min} to {max}"),
    }
}

fn length(
    count: usize,
    min: usize,
    max: usize,
    place: FieldPath,
    unit: &str,
) -> Result<(), Unreadable> {
    if count < min {
        return Err(refuse(
            Reason::BodyValue,
            format!("`{place}` must have at least {min} {unit}"),
        ));
    }
    if count > max {
        return Err(refuse(Reason::BodyValue, format!("`{place}` may have at most {max} {unit}")));
    }
    Ok(())
}

/// Whoever writes null means nothing by it, and mostly knows no better.
fn null(wrong: Unreadable) -> Unreadable {
    refuse(wrong.reason, format!("{}, and is null: leave it out", wrong.detail))
}

fn wrong_type(shape: &Shape, place: FieldPath) -> Unreadable {
    refuse(Reason::BodyType, format!("`{place}` must be {}", wanted(shape)))
}

fn wanted(shape: &Shape) -> String {
    let one = match shape {
        Shape::Object { .. } => "an object",
        Shape::Array { element, .. } if matches!(**element, Shape::Text { .. }) => {
            "an array of strings"
        }
        Shape::Array { .. } => "an array",
        Shape::Text { .. } => "a string",
        Shape::Integer { .. } => "an integer",
        Shape::Boolean => "true or false, without quotes",
        Shape::Either(shapes) => {
            return shapes.iter().map(wanted).collect::<Vec<_>>().join(", or ");
        }
        Shape::Any => "a value",
    };
    one.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::schema::compile;
    use serde_json::json;

    fn shape() -> Shape {
        let doc = json!({"s": {"type": "object", "additionalProperties": false, "required": ["keyScope", "title"], "properties": {
            "keyScope": {"type": "string", "enum": ["READ", "ALL"]}, "title": {"type": "string", "minLength": 1, "maxLength": 4},
            "force": {"type": "boolean", "default": false}, "n": {"type": "integer", "minimum": 1, "maximum": 3},
            "secret": {"type": "string", "x-keyward-secret": true}, "at": {"type": "string", "format": "date-time"},
            "id": {"type": "string", "format": "uuid"}}}});
        compile(&doc, "/s", "").unwrap()
    }

    fn reason(value: Value) -> (Reason, String) {
        let fault = check(&shape(), &value, FieldPath::Root("body")).unwrap_err();
        (fault.reason, fault.detail)
    }

    #[test]
    fn facts_have_defaults_and_no_secrets() {
        let value = json!({"keyScope": "READ", "title": "abc", "secret": "s", "at": "2026-12-31T00:00:00Z", "id": "0B2C9AD1-7f3e-4c5d-8e6f-a1b2c3d4e5f6"});
        let Some(Fact::Record(facts)) = check(&shape(), &value, FieldPath::Root("body")).unwrap()
        else {
            panic!("a record")
        };
        assert_eq!(
            facts.get("keyScope"),
            Some(&Fact::Choice { kind: "KeyScope".into(), value: "READ".into() })
        );
        assert_eq!(facts.get("force"), Some(&Fact::Flag(false)));
        assert!(matches!(facts.get("at"), Some(Fact::Time(_))));
        assert_eq!(
            facts.get("id"),
            Some(&Fact::Text("0B2C9AD1-7f3e-4c5d-8e6f-a1b2c3d4e5f6".into()))
        );
        assert_eq!(facts.get("secret"), None);
        assert_eq!(facts.get("n"), None);
    }

    #[test]
    fn types_are_never_coerced() {
        let ok = json!({"keyScope": "READ", "title": "abc"});
        for (name, value, wanted) in [
            ("force", json!("true"), Reason::BodyType),
            ("force", json!(1), Reason::BodyType),
            ("force", json!(null), Reason::BodyType),
            ("n", json!(1.0), Reason::BodyType),
            ("n", json!("1"), Reason::BodyType),
            ("n", json!(4), Reason::BodyValue),
            ("keyScope", json!(["READ", "ALL"]), Reason::BodyType),
            ("keyScope", json!("READ "), Reason::BodyValue),
            ("keyScope", json!("ＲＥＡＤ"), Reason::BodyValue),
            ("title", json!(""), Reason::BodyValue),
            ("title", json!("abcde"), Reason::BodyValue),
            ("at", json!("2026-12-31 00:00:00"), Reason::BodyValue),
            ("id", json!("0b2c9ad17f3e4c5d8e6fa1b2c3d4e5f6"), Reason::BodyValue),
            ("id", json!("{0b2c9ad1-7f3e-4c5d-8e6f-a1b2c3d4e5f6}"), Reason::BodyValue),
            ("id", json!("0b2c9ad1-7f3e-4c5d-8e6f-a1b2c3d4e5f"), Reason::BodyValue),
            ("id", json!("0b2c9ad1-7f3e-4c5d-8e6f-a1b2c3d4e5fg"), Reason::BodyValue),
            ("id", json!("0b2c9ad17-f3e-4c5d-8e6f-a1b2c3d4e5f6"), Reason::BodyValue),
            ("id", json!("0b2c9ad1-7f3e-4c5d-8e6f-a1b2c3d4e5f6\n"), Reason::BodyValue),
        ] {
            let mut body = ok.clone();
            body[name] = value.clone();
            assert_eq!(reason(body).0, wanted, "{name} {value}");
        }
        assert_eq!(
            reason(json!({"title": "a"})),
            (Reason::BodyMissingField, "`body.keyScope` is required".into())
        );
    }

    #[test]
    fn null_is_absence_only_where_the_document_says_so() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["name"], "properties": {
            "name": {"type": "string"}, "force": {"type": "boolean", "default": false},
            "in": {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}},
            "list": {"type": "array", "items": {"type": "string"}}}});
        let read = |absent: &[&str], value: Value| {
            let doc = json!({"x-keyward-absent": absent, "s": schema});
            check(&compile(&doc, "/s", "").unwrap(), &value, FieldPath::Root("body"))
                .map_err(|fault| (fault.reason, fault.detail))
        };
        let all = json!({"name": "a", "force": null, "in": {"at": null}, "list": null});
        let Some(Fact::Record(facts)) = read(&["null-field"], all.clone()).unwrap() else {
            panic!("a record")
        };
        assert_eq!(facts.get("force"), Some(&Fact::Flag(false)));
        assert_eq!(facts.get("in"), Some(&Fact::Record(Facts::new())));
        assert_eq!(facts.get("list"), None);
        assert_eq!(
            read(&["null-field"], json!({"name": null})).unwrap_err(),
            (Reason::BodyMissingField, "`body.name` is required".into())
        );
        assert_eq!(
            read(&["null-field"], json!({"name": "a", "list": [null]})).unwrap_err().0,
            Reason::BodyType
        );
        assert_eq!(
            read(&["null-field"], json!({"name": "a", "other": null})).unwrap_err().0,
            Reason::BodyUnknownField
        );
        let (reason, detail) = read(&["empty-object"], all).unwrap_err();
        assert_eq!(
            (reason, detail.as_str()),
            (
                Reason::BodyType,
                "`body.force` must be true or false, without quotes, and is null: leave it out"
            )
        );
    }

    #[test]
    fn a_name_that_a_lenient_binder_would_take_is_named() {
        for name in ["KeyScope", "key_scope", "KEY-SCOPE"] {
            let (reason, detail) = reason(json!({"keyScope": "READ", "title": "a", name: "ALL"}));
            assert_eq!(reason, Reason::BodyLookalike);
            assert!(detail.contains("documented `keyScope`"), "{detail}");
        }
    }
}
