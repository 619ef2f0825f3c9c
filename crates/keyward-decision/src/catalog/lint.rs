//! The keys of a document. A key that is misspelt, or that stands where it is not read, would be a
//! check that nobody makes or a secret that nobody hides: every key is one that is read there, or
//! one that OpenAPI and JSON Schema have for people alone.

use super::schema::{SchemaFault, escape};
use serde_json::Value;

/// What stands under a key.
#[derive(Clone, Copy)]
enum Under {
    /// Whatever it is, it is checked elsewhere or not read.
    Any,
    /// `true` or `false`.
    Flag,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    One(&'static Kind),
    Map(&'static Kind),
    List(&'static Kind),
}

use Under::{Any, Flag, List, Map, One, Text, Texts};

/// A kind of object, by its keys.
struct Kind {
    name: &'static str,
    keys: &'static [(&'static str, Under)],
    /// Whether a `$ref` may take its place; then nothing beside it is read but what is for people.
    reference: bool,
}

static ROOT: Kind = Kind {
    name: "a document",
    reference: false,
    keys: &[
        ("openapi", Text),
        ("info", One(&INFO)),
        ("servers", List(&SERVER)),
        ("paths", Map(&ITEM)),
        ("components", One(&COMPONENTS)),
        ("security", Any),
        ("tags", Any),
        ("externalDocs", Any),
        ("x-keyward-service", Text),
        ("x-keyward-error-shape", Text),
        ("x-keyward-passing", List(&PASSING)),
        ("x-keyward-project", One(&PROJECT)),
        ("x-keyward-absent", Any),
    ],
};
static INFO: Kind = Kind {
    name: "`info`",
    reference: false,
    keys: &[
        ("title", Text),
        ("version", Text),
        ("summary", Any),
        ("description", Any),
        ("contact", Any),
        ("license", Any),
        ("termsOfService", Any),
    ],
};
static SERVER: Kind = Kind {
    name: "a server",
    reference: false,
    keys: &[("url", Text), ("description", Any), ("variables", Map(&VARIABLE))],
};
static VARIABLE: Kind = Kind {
    name: "a server variable",
    reference: false,
    keys: &[("default", Text), ("enum", Texts), ("description", Any)],
};
static PASSING: Kind = Kind {
    name: "`x-keyward-passing`",
    reference: false,
    keys: &[("methods", Texts), ("path", Text), ("reason", Text)],
};
static PROJECT: Kind = Kind {
    name: "`x-keyward-project`",
    reference: false,
    keys: &[("header", Text), ("path", Text)],
};
static ITEM: Kind = Kind {
    name: "a path item",
    reference: false,
    keys: &[
        ("get", One(&OPERATION)),
        ("put", One(&OPERATION)),
        ("post", One(&OPERATION)),
        ("delete", One(&OPERATION)),
        ("patch", One(&OPERATION)),
        ("head", One(&OPERATION)),
        ("options", One(&OPERATION)),
        ("trace", One(&OPERATION)),
        ("parameters", List(&PARAMETER)),
        ("summary", Any),
        ("description", Any),
    ],
};
static OPERATION: Kind = Kind {
    name: "an operation",
    reference: false,
    keys: &[
        ("operationId", Text),
        ("summary", Any),
        ("description", Any),
        ("tags", Any),
        ("externalDocs", Any),
        ("deprecated", Any),
        ("security", Any),
        ("parameters", List(&PARAMETER)),
        ("requestBody", One(&BODY)),
        ("responses", Map(&RESPONSE)),
        ("x-keyward-groups", Texts),
        ("x-keyward-alias-of", Text),
        ("x-keyward-resource", One(&RESOURCE)),
        ("x-keyward-items", Any),
        ("x-keyward-outcome", One(&OUTCOME)),
    ],
};
static RESOURCE: Kind = Kind {
    name: "`x-keyward-resource`",
    reference: false,
    keys: &[("type", Text), ("id", Text), ("in", One(&HOLDER))],
};
static HOLDER: Kind =
    Kind { name: "`in`", reference: false, keys: &[("type", Text), ("id", Text)] };
const OUTCOME: Kind = Kind {
    name: "`x-keyward-outcome`",
    reference: false,
    keys: &[
        ("accepted", Any),
        ("succeeded", Text),
        ("failed", Text),
        ("failed-if", One(&FAILED_IF)),
    ],
};
static FAILED_IF: Kind =
    Kind { name: "`failed-if`", reference: false, keys: &[("at", Text), ("is", Any)] };
static PARAMETER: Kind = Kind {
    name: "a parameter",
    reference: true,
    keys: &[
        ("name", Text),
        ("in", Text),
        ("required", Flag),
        ("description", Any),
        ("deprecated", Any),
        ("example", Any),
        ("examples", Any),
        ("schema", One(&SCHEMA)),
        ("x-keyward-secret", Flag),
        ("x-keyward-as", Text),
        ("x-keyward-raw-segment", Flag),
    ],
};
static BODY: Kind = Kind {
    name: "a request body",
    reference: true,
    keys: &[("description", Any), ("required", Flag), ("content", Map(&MEDIA))],
};
static MEDIA: Kind = Kind {
    name: "a media type",
    reference: false,
    keys: &[("schema", One(&SCHEMA)), ("example", Any), ("examples", Map(&EXAMPLE))],
};
static EXAMPLE: Kind = Kind {
    name: "an example",
    reference: true,
    keys: &[("summary", Any), ("description", Any), ("value", Any)],
};
static RESPONSE: Kind = Kind {
    name: "an answer",
    reference: true,
    keys: &[("description", Any), ("headers", Map(&HEADER)), ("content", Map(&MEDIA))],
};
static HEADER: Kind = Kind {
    name: "a header",
    reference: true,
    keys: &[
        ("description", Any),
        ("required", Any),
        ("deprecated", Any),
        ("example", Any),
        ("examples", Any),
        ("schema", One(&UNREAD)),
    ],
};
static COMPONENTS: Kind = Kind {
    name: "`components`",
    reference: false,
    keys: &[
        ("schemas", Map(&SCHEMA)),
        ("parameters", Map(&PARAMETER)),
        ("headers", Map(&HEADER)),
        ("responses", Map(&RESPONSE)),
        ("requestBodies", Map(&BODY)),
        ("examples", Map(&EXAMPLE)),
        ("securitySchemes", Map(&SCHEME)),
    ],
};
static SCHEME: Kind = Kind {
    name: "a security scheme",
    reference: false,
    keys: &[
        ("type", Text),
        ("in", Text),
        ("name", Text),
        ("scheme", Text),
        ("description", Any),
        ("bearerFormat", Any),
        ("flows", Any),
        ("openIdConnectUrl", Any),
        ("x-keyward-signatures", Texts),
    ],
};
/// A schema: JSON Schema 2020-12. Which keywords a request may have is the compiler's affair.
static SCHEMA: Kind = Kind {
    name: "a schema",
    reference: true,
    keys: &[
        ("properties", Map(&SCHEMA)),
        ("items", One(&SCHEMA)),
        ("allOf", List(&SCHEMA)),
        ("anyOf", List(&SCHEMA)),
        ("oneOf", List(&SCHEMA)),
        ("x-keyward-secret", Flag),
        ("x-keyward-as", Text),
        ("x-keyward-enum", Text),
        ("x-keyward-free-name", Flag),
    ],
};
/// A schema in which nobody looks for secrets: below a keyword that does not lead to a place of its
/// own, or in a header.
static UNREAD: Kind = Kind {
    name: "a schema at this place",
    reference: true,
    keys: &[
        ("properties", Map(&UNREAD)),
        ("items", One(&UNREAD)),
        ("allOf", List(&UNREAD)),
        ("anyOf", List(&UNREAD)),
        ("oneOf", List(&UNREAD)),
    ],
};

/// Further keywords of schemas.
const KEYWORDS: &[(&str, Under)] = &[
    ("$ref", Text),
    ("$comment", Any),
    ("$defs", Any),
    ("type", Any),
    ("enum", Any),
    ("const", Any),
    ("default", Any),
    ("format", Text),
    ("pattern", Text),
    ("minLength", Any),
    ("maxLength", Any),
    ("minimum", Any),
    ("maximum", Any),
    ("exclusiveMinimum", Any),
    ("exclusiveMaximum", Any),
    ("multipleOf", Any),
    ("minItems", Any),
    ("maxItems", Any),
    ("uniqueItems", Any),
    ("minContains", Any),
    ("maxContains", Any),
    ("minProperties", Any),
    ("maxProperties", Any),
    ("required", Texts),
    ("dependentRequired", Any),
    ("not", One(&UNREAD)),
    ("if", One(&UNREAD)),
    ("then", One(&UNREAD)),
    ("else", One(&UNREAD)),
    ("contains", One(&UNREAD)),
    ("propertyNames", One(&UNREAD)),
    ("additionalProperties", One(&UNREAD)),
    ("unevaluatedItems", One(&UNREAD)),
    ("unevaluatedProperties", One(&UNREAD)),
    ("prefixItems", List(&UNREAD)),
    ("patternProperties", Map(&UNREAD)),
    ("dependentSchemas", Map(&UNREAD)),
    ("title", Any),
    ("description", Any),
    ("deprecated", Any),
    ("readOnly", Any),
    ("writeOnly", Any),
    ("example", Any),
    ("examples", Any),
    ("contentEncoding", Any),
    ("contentMediaType", Any),
    ("discriminator", Any),
    ("externalDocs", Any),
];

/// What may stand beside a `$ref`.
const BESIDE: &[&str] = &[
    "$ref",
    "$comment",
    "summary",
    "description",
    "title",
    "example",
    "examples",
    "deprecated",
    "default",
    "x-keyward-secret",
    "x-keyward-as",
];

/// Every key of a document that is not known at its place, or has a value of another type.
pub fn check(root: &Value) -> Vec<SchemaFault> {
    let mut faults = Vec::new();
    walk(root, &ROOT, String::new(), &mut faults);
    faults
}

fn walk(node: &Value, kind: &'static Kind, at: String, faults: &mut Vec<SchemaFault>) {
    let schema = std::ptr::eq(kind, &SCHEMA) || std::ptr::eq(kind, &UNREAD);
    let Some(object) = node.as_object() else {
        // `true` and `false` are schemas; what else is no object is told where it is read.
        return;
    };
    let reference = kind.reference && object.contains_key("$ref");
    for (key, value) in object {
        let place = format!("{at}/{}", escape(key));
        let keywords = if schema { KEYWORDS } else { &[] };
        let known = kind
            .keys
            .iter()
            .chain(keywords)
            .find(|(known, _)| known == key)
            .map(|(_, under)| *under);
        let mut fault = |why: String| faults.push(SchemaFault { pointer: at.clone(), why });
        if reference {
            let people_only = !schema && (key == "default" || key.starts_with("x-keyward-"));
            if !BESIDE.contains(&key.as_str()) || people_only {
                fault(format!(
                    "`{key}` stands beside `$ref`, where it is not read: write it where that leads, or write this out"
                ));
            }
            if !schema {
                continue;
            }
        }
        match known {
            None if is_foreign(key) || (reference && BESIDE.contains(&key.as_str())) => {}
            None => fault(format!(
                "`{key}` is no key of {}: known here are {}",
                kind.name,
                listed(kind)
            )),
            Some(under) => below(value, under, place, key, faults),
        }
    }
}

fn below(value: &Value, under: Under, at: String, key: &str, faults: &mut Vec<SchemaFault>) {
    let is_texts = || value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let wanted = match under {
        Flag if !value.is_boolean() => "true or false, without quotes",
        Text if !value.is_string() => "a text",
        Texts if !is_texts() => "a list of texts",
        _ => "",
    };
    if !wanted.is_empty() {
        faults.push(SchemaFault { pointer: at, why: format!("`{key}` must be {wanted}") });
        return;
    }
    match under {
        One(kind) => walk(value, kind, at, faults),
        Map(kind) => value
            .as_object()
            .into_iter()
            .flatten()
            .for_each(|(name, one)| walk(one, kind, format!("{at}/{}", escape(name)), faults)),
        List(kind) => value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .for_each(|(i, one)| walk(one, kind, format!("{at}/{i}"), faults)),
        Any | Flag | Text | Texts => {}
    }
}

/// An extension of somebody else, which means nothing here. What looks like one of ours is none.
fn is_foreign(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.starts_with("x-") && !key.starts_with("x-k")
}

fn listed(kind: &Kind) -> String {
    kind.keys.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(document: Value) -> Vec<String> {
        check(&document)
            .into_iter()
            .map(|fault| format!("{}: {}", fault.pointer, fault.why))
            .collect()
    }

    fn one(document: Value, place: &str, text: &str) {
        let found = faults(document.clone());
        assert!(
            found.len() == 1
                && found[0].starts_with(&format!("{place}: "))
                && found[0].contains(text),
            "{document}: {found:?}"
        );
    }

    fn operation(operation: Value) -> Value {
        json!({"paths": {"/a": {"post": operation}}})
    }

    #[test]
    fn a_misspelt_key_is_found_wherever_it_stands() {
        let schema = |schema: Value| {
            operation(
                json!({"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}),
            )
        };
        let at = "/paths/~1a/post/responses/200/content/application~1json/schema";
        one(
            schema(json!({"properties": {"a": {"type": "string", "x-keyward-secrt": true}}})),
            &format!("{at}/properties/a"),
            "`x-keyward-secrt`",
        );
        one(schema(json!({"type": "object", "requried": ["a"]})), at, "`requried`");
        one(
            schema(json!({"items": {"x-keyward-secret": "true"}})),
            &format!("{at}/items/x-keyward-secret"),
            "true or false",
        );
        one(
            schema(json!({"oneOf": [{"allOf": [{"X-Keyward-Secret": true}]}]})),
            &format!("{at}/oneOf/0/allOf/0"),
            "`X-Keyward-Secret`",
        );
        one(schema(json!({"x-kewyard-secret": true})), at, "`x-kewyard-secret`");
        // Nobody would hide it there.
        one(
            schema(json!({"additionalProperties": {"x-keyward-secret": true}})),
            &format!("{at}/additionalProperties"),
            "`x-keyward-secret`",
        );
        one(
            schema(
                json!({"patternProperties": {"a": {"properties": {"b": {"x-keyward-secret": true}}}}}),
            ),
            &format!("{at}/patternProperties/a/properties/b"),
            "secret",
        );
        for (document, place, text) in [
            (json!({"x-keyward-servce": "a"}), "", "`x-keyward-servce`"),
            (
                json!({"x-keyward-passing": [{"method": ["GET"]}]}),
                "/x-keyward-passing/0",
                "`method`",
            ),
            (operation(json!({"x-keyward-group": []})), "/paths/~1a/post", "`x-keyward-group`"),
            (
                operation(json!({"x-keyward-groups": "write"})),
                "/paths/~1a/post/x-keyward-groups",
                "a list of texts",
            ),
            (
                operation(json!({"x-keyward-resource": {"typ": "A"}})),
                "/paths/~1a/post/x-keyward-resource",
                "`typ`",
            ),
            (
                operation(json!({"x-keyward-outcome": {"accept": "body"}})),
                "/paths/~1a/post/x-keyward-outcome",
                "`accept`",
            ),
            (
                operation(json!({"parameters": [{"x-keyward-rawsegment": true}]})),
                "/paths/~1a/post/parameters/0",
                "`x-keyward-rawsegment`",
            ),
            (
                operation(json!({"parameters": [{"required": "true"}]})),
                "/paths/~1a/post/parameters/0/required",
                "true or false",
            ),
            (
                operation(json!({"parameters": [{"$ref": "#/a", "x-keyward-secret": true}]})),
                "/paths/~1a/post/parameters/0",
                "beside `$ref`",
            ),
            (
                operation(json!({"requestBody": {"x-keyward-secret": true}})),
                "/paths/~1a/post/requestBody",
                "`x-keyward-secret`",
            ),
            (
                operation(json!({"responses": {"200": {"x-keyward-secret": true}}})),
                "/paths/~1a/post/responses/200",
                "`x-keyward-secret`",
            ),
            (
                operation(
                    json!({"responses": {"200": {"headers": {"A": {"x-keyward-secret": true}}}}}),
                ),
                "/paths/~1a/post/responses/200/headers/A",
                "`x-keyward-secret`",
            ),
            (
                json!({"components": {"schemas": {"A": {"$ref": "#/b", "maxLength": 3}}}}),
                "/components/schemas/A",
                "`maxLength` stands beside",
            ),
            (json!({"components": {"schema": {}}}), "/components", "`schema`"),
            (
                json!({"components": {"securitySchemes": {"a": {"x-keyward-signature": ["SDK"]}}}}),
                "/components/securitySchemes/a",
                "`x-keyward-signature`",
            ),
            (json!({"paths": {"/a": {"pots": {}}}}), "/paths/~1a", "`pots`"),
        ] {
            one(document, place, text);
        }
    }

    #[test]
    fn what_is_for_people_or_for_others_is_no_mistake() {
        assert_eq!(
            faults(
                json!({"x-logo": {"url": "a"}, "tags": [], "info": {"title": "a", "version": "1", "x-audience": "all"}})
            ),
            Vec::<String>::new()
        );
        let schema = json!({"$ref": "#/components/schemas/B", "description": "d", "x-keyward-as": "b", "default": 1});
        assert_eq!(
            faults(
                json!({"components": {"schemas": {"A": {"properties": {"a": schema, "x-keyward-odd": {"type": "string"}}}}}})
            ),
            Vec::<String>::new()
        );
    }
}
