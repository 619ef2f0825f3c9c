//! What a document promises of an answer, read as services keep it; and where a schema has secrets.

use super::schema::escape;
use super::source::Step;
use keyward_core::alike;
use serde_json::{Map, Value, json};

/// The schema at a place, compiled; `None` when there is none. `lenient` lets fields that are not
/// required be null.
///
/// # Errors
/// Why it is no JSON Schema.
pub fn compile(
    document: &Value,
    schema: &str,
    lenient: bool,
) -> Result<Option<jsonschema::Validator>, String> {
    let Some(schema) = document.pointer(schema) else { return Ok(None) };
    let mut schema = schema.clone();
    if let (Some(schema), Some(schemas)) =
        (schema.as_object_mut(), document.pointer("/components/schemas"))
    {
        schema.insert("components".to_owned(), json!({"schemas": schemas}));
    }
    if lenient {
        let_be_null(&mut schema);
    }
    jsonschema::draft202012::new(&schema)
        .map(Some)
        .map_err(|e| format!("not JSON Schema 2020-12: {e}"))
}

/// The places below a schema that hold secrets, whatever keywords lead there.
pub fn secrets(document: &Value, schema: &str) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    collect_secrets(document, schema, &mut Vec::new(), 0, &mut found);
    found
}

fn collect_secrets(
    root: &Value,
    at: &str,
    place: &mut Vec<Step>,
    depth: usize,
    found: &mut Vec<Vec<Step>>,
) {
    // A cyclic schema describes ever deeper places; redaction by name covers those.
    let Some(schema) = root.pointer(at).and_then(Value::as_object).filter(|_| depth < 24) else {
        return;
    };
    if schema.get("x-keyward-secret") == Some(&Value::Bool(true)) {
        found.push(place.clone());
        return;
    }
    if let Some(target) =
        schema.get("$ref").and_then(Value::as_str).and_then(|t| t.strip_prefix('#'))
    {
        collect_secrets(root, target, place, depth + 1, found);
    }
    for name in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys)
    {
        place.push(Step::Field(name.clone()));
        collect_secrets(
            root,
            &format!("{at}/properties/{}", escape(name)),
            place,
            depth + 1,
            found,
        );
        place.pop();
    }
    if schema.contains_key("items") {
        place.push(Step::Each);
        collect_secrets(root, &format!("{at}/items"), place, depth + 1, found);
        place.pop();
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for i in 0..schema.get(key).and_then(Value::as_array).map_or(0, Vec::len) {
            collect_secrets(root, &format!("{at}/{key}/{i}"), place, depth + 1, found);
        }
    }
}

/// The schemas of what stands at a place below some schemas, whatever keywords lead there.
///
/// # Errors
/// When none does: what the name was meant to be that is not found, as the end of a sentence.
pub fn below(
    document: &Value,
    schemas: Vec<String>,
    steps: &[Step],
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    schemas.into_iter().for_each(|schema| collect_ways(document, schema, &mut all));
    let Some((step, rest)) = steps.split_first() else { return Ok(all) };
    let next = |at: &String| match step {
        Step::Field(name) => format!("{at}/properties/{}", escape(name)),
        Step::Each => format!("{at}/items"),
    };
    let found: Vec<_> = all.iter().map(next).filter(|at| document.pointer(at).is_some()).collect();
    if found.is_empty() {
        let Step::Field(name) = step else { return Err(String::new()) };
        let properties =
            all.iter().filter_map(|at| document.pointer(&format!("{at}/properties"))?.as_object());
        return Err(alike::did_you_mean(name, properties.flat_map(Map::keys).map(String::as_str)));
    }
    below(document, found, rest)
}

/// A schema, and all those that it refers to for the same value.
fn collect_ways(document: &Value, at: String, found: &mut Vec<String>) {
    let Some(schema) =
        document.pointer(&at).and_then(Value::as_object).filter(|_| !found.contains(&at))
    else {
        return;
    };
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|target| target.strip_prefix('#'))
        .map(str::to_owned);
    let ways = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(|key| {
        let count = schema.get(key).and_then(Value::as_array).map_or(0, Vec::len);
        (0..count).map(move |i| format!("/{key}/{i}"))
    });
    let more: Vec<_> = target.into_iter().chain(ways.map(|way| format!("{at}{way}"))).collect();
    found.push(at);
    more.into_iter().for_each(|at| collect_ways(document, at, found));
}

/// Lets every field that its schema does not require be null: services write so what they have no
/// value for.
fn let_be_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let required: Vec<String> = object
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    for (keyword, inner) in object.iter_mut() {
        match (keyword.as_str(), inner) {
            ("properties", Value::Object(fields)) => {
                for (name, field) in fields {
                    let_be_null(field);
                    if !required.contains(name) {
                        *field = json!({"anyOf": [{"type": "null"}, field.take()]});
                    }
                }
            }
            ("items" | "additionalProperties", inner) => let_be_null(inner),
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(let_be_null)
            }
            ("components" | "schemas" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(let_be_null);
                schemas
                    .get_mut("schemas")
                    .and_then(Value::as_object_mut)
                    .into_iter()
                    .flat_map(|inner| inner.values_mut())
                    .for_each(let_be_null);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_required_may_be_null() {
        let mut schema = json!({
            "type": "object", "required": ["a"],
            "properties": {"a": {"$ref": "#/components/schemas/A"}, "b": {"type": "string"}},
            "components": {"schemas": {"A": {"type": "object", "properties": {"c": {"type": "array", "items": {"type": "object", "required": ["d"], "properties": {"d": {"type": "integer"}}}}}}}},
        });
        let_be_null(&mut schema);
        let promise = jsonschema::draft202012::new(&schema).unwrap();
        for (answer, fits) in [
            (json!({"a": {"c": [{"d": 1}]}, "b": "x"}), true),
            (json!({"a": {"c": null}, "b": null}), true),
            (json!({"a": {}}), true),
            (json!({"a": null}), false),
            (json!({"b": "x"}), false),
            (json!({"a": {"c": [{"d": null}]}}), false),
            (json!({"a": {"c": "x"}}), false),
        ] {
            assert_eq!(promise.is_valid(&answer), fits, "{answer}");
        }
    }
}
