//! What a document promises of an answer, read as services keep it.

use serde_json::{Value, json};

/// The schema of a media type, compiled; `None` when it has none. `lenient` lets fields that are not required be null.
///
/// # Errors
/// Why it is no JSON Schema.
pub fn compile(document: &Value, media: &str, lenient: bool) -> Result<Option<jsonschema::Validator>, String> {
    let Some(schema) = document.pointer(&format!("{media}/schema")) else { return Ok(None) };
    let mut schema = schema.clone();
    if let (Some(schema), Some(schemas)) = (schema.as_object_mut(), document.pointer("/components/schemas")) {
        schema.insert("components".to_owned(), json!({"schemas": schemas}));
    }
    if lenient {
        let_be_null(&mut schema);
    }
    jsonschema::draft202012::new(&schema).map(Some).map_err(|e| format!("not JSON Schema 2020-12: {e}"))
}

/// Lets every field that its schema does not require be null: services write so what they have no value for.
fn let_be_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let required: Vec<String> =
        object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect();
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
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => schemas.iter_mut().for_each(let_be_null),
            ("components" | "schemas" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(let_be_null);
                schemas.get_mut("schemas").and_then(Value::as_object_mut).into_iter().flat_map(|inner| inner.values_mut()).for_each(let_be_null);
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
