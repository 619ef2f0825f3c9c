//! What a form has not taken yet. Each form takes out what it has a place for, and hands over what is left: so nothing
//! is dropped silently, whatever a record holds.

use crate::exchange::Part;
use serde_json::{Map, Value, json};

/// A record, less what was taken out of it.
#[derive(Debug)]
pub(super) struct Rest(Value);

impl Rest {
    /// Nothing at all: the answer of an exchange that has none.
    pub fn none() -> Self {
        Self(Value::Object(Map::new()))
    }

    /// All of a record. One that is no JSON object is left over as the text that it is.
    pub fn of(part: &Part) -> Self {
        match &part.json {
            Value::Object(_) => Self(part.json.clone()),
            _ => Self(json!({"damaged": String::from_utf8_lossy(&part.leaf)})),
        }
    }

    /// Takes what stands at a JSON pointer, when `fits` has a form for it; else it stays. The object from which the last
    /// member is taken goes too.
    pub fn take<T>(&mut self, pointer: &str, fits: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let taken = fits(self.0.pointer(pointer)?)?;
        let mut pointer = pointer;
        while let Some((parent, name)) = pointer.rsplit_once('/') {
            let object = self.0.pointer_mut(parent).and_then(Value::as_object_mut)?;
            object.remove(name);
            if !object.is_empty() {
                break;
            }
            pointer = parent;
        }
        Some(taken)
    }

    /// A text that is not empty.
    pub fn text(&mut self, pointer: &str) -> Option<String> {
        self.take(pointer, |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// A whole number that is not negative.
    pub fn number(&mut self, pointer: &str) -> Option<u64> {
        self.take(pointer, Value::as_u64)
    }

    /// What nobody took; `None` when that is nothing.
    pub fn left(self) -> Option<Value> {
        Some(self.0).filter(|value| value.as_object().is_none_or(|object| !object.is_empty()))
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
        Value::Object(object) => object.into_iter().map(|(name, value)| (name, filled(value))).filter(|(_, value)| says(value)).collect::<Map<_, _>>().into(),
        Value::Array(array) => array.into_iter().map(filled).filter(says).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_stays_and_what_is_emptied_goes() {
        let mut rest = Rest(json!({"a": {"b": {"c": "x"}}, "n": -1, "e": "", "list": []}));
        assert_eq!(rest.text("/a/b/c").as_deref(), Some("x"));
        assert_eq!((rest.text("/a/b/c"), rest.number("/n"), rest.text("/e"), rest.text("/list/0")), (None, None, None, None));
        assert_eq!(rest.left(), Some(json!({"n": -1, "e": "", "list": []})));
        let mut rest = Rest(json!({"a": {"b": 1}}));
        assert_eq!(rest.number("/a/b"), Some(1));
        assert_eq!(rest.left(), None);
    }

    #[test]
    fn only_what_says_something_is_filled_in() {
        assert_eq!(filled(json!({"a": null, "b": {"c": null}, "d": [{}, {"e": false}], "f": ""})), json!({"d": [{"e": false}], "f": ""}));
    }
}
