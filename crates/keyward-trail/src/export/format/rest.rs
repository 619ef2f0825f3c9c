//! What a form has not taken yet. Each form takes what it has a place for out of what it has read
//! of a record, and hands over what is left: so nothing is dropped silently, whatever a record
//! holds.

use crate::exchange::Part;
use keyward_record::reading::Reading;
use serde_json::{Map, Value, json};

/// Takes what was read, when `fits` has a form for it; else it stays.
pub(super) fn take<T, U>(field: &mut Option<T>, fits: impl FnOnce(&T) -> Option<U>) -> Option<U> {
    let taken = fits(field.as_ref()?)?;
    *field = None;
    Some(taken)
}

/// Takes a text that is not empty.
pub(super) fn text<'a>(field: &mut Option<&'a str>) -> Option<&'a str> {
    field.take_if(|text| !text.is_empty())
}

/// What nobody took of a record: all of it but what was `read` and is not `left`. `None` when that
/// is nothing. A record that is no JSON object is left over as the text that it is.
pub(super) fn rest<R: Reading>(part: &Part, read: &R, left: &R) -> Option<Value> {
    let Value::Object(record) = &part.json else {
        return Some(json!({"damaged": String::from_utf8_lossy(&part.leaf)}));
    };
    let (mut rest, [read, left]) = (record.clone(), read.taken(left));
    remove_taken(&mut rest, &read, &left);
    Some(rest).filter(|rest| !rest.is_empty()).map(Value::from)
}

/// A member goes when all that it holds was read and taken. The object from which the last member
/// goes, goes too.
fn remove_taken(
    rest: &mut Map<String, Value>,
    read: &Map<String, Value>,
    left: &Map<String, Value>,
) {
    for (name, read) in read {
        let left = left.get(name).unwrap_or(&Value::Null);
        let Some(own) = rest.get_mut(name).filter(|_| read != left) else { continue };
        let gone = match (own, read, left) {
            (Value::Object(own), Value::Object(read), Value::Object(left)) => {
                remove_taken(own, read, left);
                own.is_empty()
            }
            (own, ..) => own == read,
        };
        if gone {
            rest.remove(name);
        }
    }
}

/// The value without members that are null, and without what is empty.
pub(super) fn filled(value: Value) -> Value {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(array) => !array.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => true,
    };
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(name, value)| (name, filled(value)))
            .filter(|(_, value)| says(value))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(array) => array.into_iter().map(filled).filter(says).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_stays_and_what_is_emptied_goes() {
        let left = |mut record: Value, read: Value, left: Value| {
            remove_taken(
                record.as_object_mut().unwrap(),
                read.as_object().unwrap(),
                left.as_object().unwrap(),
            );
            record
        };
        let record = json!({"a": {"b": {"c": "x"}}, "n": -1, "e": "", "list": [], "null": null});
        let read = json!({"a": {"b": {"c": "x"}}, "n": null, "e": "", "list": null, "null": null});
        assert_eq!(left(record.clone(), read.clone(), read.clone()), record);
        let taken =
            json!({"a": {"b": {"c": null}}, "n": null, "e": "", "list": null, "null": null});
        assert_eq!(left(record, read, taken), json!({"n": -1, "e": "", "list": [], "null": null}));
        assert_eq!(
            left(json!({"a": {"b": 1}}), json!({"a": {"b": 1}}), json!({"a": null})),
            json!({})
        );
        let newer = json!({"a": {"b": 1, "of-tomorrow": 2}});
        assert_eq!(
            left(newer.clone(), json!({"a": {"b": 1}}), json!({"a": null})),
            newer,
            "it was not read whole"
        );
    }

    #[test]
    fn what_is_taken_is_no_more_there() {
        let (mut some, mut empty, mut number) = (Some("x"), Some(""), Some(7));
        assert_eq!(
            (text(&mut some), text(&mut some), text(&mut empty), empty),
            (Some("x"), None, None, Some(""))
        );
        assert_eq!(
            (take(&mut number, |_| None::<()>), take(&mut number, |n| Some(n + 1)), number),
            (None, Some(8), None)
        );
    }

    #[test]
    fn only_what_says_something_is_filled_in() {
        assert_eq!(
            filled(json!({"a": null, "b": {"c": null}, "d": [{}, {"e": false}], "f": ""})),
            json!({"d": [{"e": false}], "f": ""})
        );
    }
}
