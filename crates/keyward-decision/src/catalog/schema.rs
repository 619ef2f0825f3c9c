//! Request schemas, compiled to the closed list of checks that are made on the road.
//!
//! A keyword that is not compiled is refused at load: what is silently ignored is a check that
//! nobody makes.

use super::source::Step;
use regex::Regex;
use serde_json::{Map, Value};

/// What a JSON value must look like.
#[derive(Debug)]
pub enum Shape {
    /// An object.
    Object {
        /// The fields that the document names.
        fields: Vec<Field>,
        /// Whether others may occur.
        additional: bool,
    },
    /// An array; both counts inclusive.
    Array {
        /// Every element's shape.
        element: Box<Shape>,
        /// Fewest elements.
        min: usize,
        /// Most elements.
        max: usize,
    },
    /// A string; lengths in characters, inclusive.
    Text {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// A pattern that must occur in it (anchored when the document anchors it).
        pattern: Option<Regex>,
        /// What it stands for.
        meaning: TextMeaning,
    },
    /// An integer, both bounds inclusive.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A Boolean.
    Boolean,
    /// Whatever one of these allows: policies do not see it.
    Either(Vec<Shape>),
    /// Anything: policies do not see it.
    Any,
}

/// What a text stands for, and so how policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextMeaning {
    /// Just text.
    Plain,
    /// The free name of a thing, in one spelling.
    Name,
    /// One of a closed set, as the named Cedar type.
    Choice {
        /// The Cedar type's name.
        name: String,
        /// The documented values.
        values: Vec<String>,
    },
    /// A UUID in its usual form; letters may be of either case.
    Uuid,
    /// RFC 3339 with an offset.
    DateTime,
    /// An OpenSSH public key.
    SshPublicKey,
}

impl Shape {
    /// Whether every value of this shape has something at a place; of arrays, every element.
    pub fn always_has(&self, steps: &[Step]) -> bool {
        match (steps.split_first(), self) {
            (None, _) => true,
            (Some((Step::Each, rest)), Self::Array { element, .. }) => element.always_has(rest),
            (Some((Step::Field(name), rest)), Self::Object { fields, .. }) => fields
                .iter()
                .any(|field| field.name == *name && field.required && field.shape.always_has(rest)),
            _ => false,
        }
    }
}

/// A named value: a property of an object, or a parameter.
#[derive(Debug)]
pub struct Field {
    /// The name on the wire.
    pub name: String,
    /// The name that policies see.
    pub fact: String,
    /// Whether it must be there.
    pub required: bool,
    /// Whether `null` in its place leaves it out.
    pub null_is_absent: bool,
    /// Never recorded, and not shown to policies.
    pub secret: bool,
    /// The vendor's default, shown to policies when it is left out.
    pub default: Option<Value>,
    /// What the document says of it.
    pub description: String,
    /// Its form.
    pub shape: Shape,
}

/// A schema that cannot be compiled: where in the document, and why.
#[derive(Debug)]
pub struct SchemaFault {
    /// JSON pointer into the document.
    pub pointer: String,
    /// What is wrong and what to do.
    pub why: String,
}

/// Compiles the schema at `pointer` of `document`. `name` is the property's, for the name of a
/// closed set.
///
/// # Errors
/// When the schema has a keyword that is not compiled, a dangling or cyclic `$ref`, or bounds of
/// the wrong type.
pub fn compile(document: &Value, pointer: &str, name: &str) -> Result<Shape, SchemaFault> {
    Compiler { document, depth: 0 }.shape(pointer, name)
}

/// Compiles one property or parameter. `required` is the enclosing object's word.
///
/// # Errors
/// As [`compile`].
pub fn compile_field(
    document: &Value,
    pointer: &str,
    name: &str,
    required: bool,
) -> Result<Field, SchemaFault> {
    Compiler { document, depth: 0 }.field(pointer, name, required)
}

/// What a document may take for absence, in `x-keyward-absent`: a field whose value is `null`, …
pub const NULL_FIELD: &str = "null-field";
/// … and an empty object as the body of a call that takes none.
pub const EMPTY_OBJECT: &str = "empty-object";

/// Whether a document takes this for absence.
pub fn says_absent(document: &Value, what: &str) -> bool {
    document
        .get("x-keyward-absent")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|entry| entry == what))
}

/// References nested deeper than this are taken for a cycle.
const DEPTH_MAX: usize = 32;

struct Compiler<'a> {
    document: &'a Value,
    depth: usize,
}

/// Says that a text is the free name of a thing.
const FREE_NAME: &str = "x-keyward-free-name";

const ANNOTATIONS: &[&str] = &[
    "description",
    "title",
    "example",
    "examples",
    "deprecated",
    "x-keyward-secret",
    "x-keyward-as",
    "x-keyward-enum",
    "default",
    "$comment",
];

impl Compiler<'_> {
    /// Follows `$ref` to the schema's own place.
    fn resolve(&mut self, pointer: &str) -> Result<(String, &Map<String, Value>), SchemaFault> {
        let mut at = pointer.to_owned();
        loop {
            let schema = self
                .document
                .pointer(&at)
                .and_then(Value::as_object)
                .ok_or_else(|| fault(pointer, "leads to no schema"))?;
            let Some(target) = schema.get("$ref") else { return Ok((at, schema)) };
            let target = target
                .as_str()
                .and_then(|t| t.strip_prefix('#'))
                .filter(|t| t.starts_with("/components/schemas/"));
            let target = target.ok_or_else(|| {
                fault(&at, "`$ref` must point into `#/components/schemas/` of this document")
            })?;
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(fault(&at, "`$ref` is cyclic or nested too deeply"));
            }
            target.clone_into(&mut at);
        }
    }

    fn shape(&mut self, pointer: &str, name: &str) -> Result<Shape, SchemaFault> {
        let depth = self.depth;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(fault(pointer, "the schema is nested too deeply"));
        }
        let (at, schema) = self.resolve(pointer)?;
        let (at, schema) = (at, schema.clone());
        let shape = match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(&at, &schema),
            Some("array") => self.array(&at, &schema, name),
            Some("string") => text(&at, &schema, name),
            Some("integer") => integer(&at, &schema),
            Some("boolean") => allow(&at, &schema, &["type"]).map(|()| Shape::Boolean),
            None if schema.contains_key("anyOf") => self.either(&at, &schema, name),
            None if !schema.contains_key("type") => allow(&at, &schema, &[]).map(|()| Shape::Any),
            _ => Err(fault(&at, "`type` must be object, array, string, integer or boolean")),
        };
        self.depth = depth;
        shape
    }

    fn either(
        &mut self,
        at: &str,
        schema: &Map<String, Value>,
        name: &str,
    ) -> Result<Shape, SchemaFault> {
        allow(at, schema, &["anyOf"])?;
        let count = schema.get("anyOf").and_then(Value::as_array).map_or(0, Vec::len);
        (0..count)
            .map(|i| self.shape(&format!("{at}/anyOf/{i}"), name))
            .collect::<Result<_, _>>()
            .map(Shape::Either)
    }

    fn object(&mut self, at: &str, schema: &Map<String, Value>) -> Result<Shape, SchemaFault> {
        allow(at, schema, &["type", "properties", "required", "additionalProperties"])?;
        let additional = match schema.get("additionalProperties") {
            None => true,
            Some(Value::Bool(additional)) => *additional,
            Some(_) => return Err(fault(at, "`additionalProperties` must be true or false")),
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if let Some(missing) =
            required.iter().find(|name| !properties.is_some_and(|p| p.contains_key(**name)))
        {
            return Err(fault(at, &format!("`required` names `{missing}`, which is no property")));
        }
        let mut fields = Vec::new();
        for name in properties.into_iter().flat_map(Map::keys) {
            let pointer = format!("{at}/properties/{}", escape(name));
            fields.push(self.field(&pointer, name, required.contains(&name.as_str()))?);
        }
        Ok(Shape::Object { fields, additional })
    }

    fn field(&mut self, pointer: &str, name: &str, required: bool) -> Result<Field, SchemaFault> {
        let shape = self.shape(pointer, name)?;
        let own =
            self.document.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
        let null_is_absent = says_absent(self.document, NULL_FIELD);
        let (_, resolved) = self.resolve(pointer)?;
        let annotation = |key: &str| own.get(key).or_else(|| resolved.get(key)).cloned();
        Ok(Field {
            name: name.to_owned(),
            fact: annotation("x-keyward-as")
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_else(|| name.to_owned()),
            required,
            null_is_absent,
            secret: annotation("x-keyward-secret") == Some(Value::Bool(true)),
            default: annotation("default"),
            description: annotation("description")
                .and_then(|v| v.as_str().map(|s| s.trim().to_owned()))
                .unwrap_or_default(),
            shape,
        })
    }

    fn array(
        &mut self,
        at: &str,
        schema: &Map<String, Value>,
        name: &str,
    ) -> Result<Shape, SchemaFault> {
        allow(at, schema, &["type", "items", "minItems", "maxItems"])?;
        if !schema.contains_key("items") {
            return Err(fault(at, "an array needs `items`"));
        }
        let element = Box::new(self.shape(&format!("{at}/items"), name)?);
        Ok(Shape::Array {
            element,
            min: count(at, schema, "minItems")?.unwrap_or(0),
            max: count(at, schema, "maxItems")?.unwrap_or(usize::MAX),
        })
    }
}

fn text(at: &str, schema: &Map<String, Value>, name: &str) -> Result<Shape, SchemaFault> {
    allow(
        at,
        schema,
        &["type", "enum", "const", "minLength", "maxLength", "pattern", "format", FREE_NAME],
    )?;
    let values: Option<Vec<String>> = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(values)), None) => {
            values.iter().map(|v| v.as_str().map(str::to_owned)).collect()
        }
        (None, Some(Value::String(value))) => Some(vec![value.clone()]),
        (None, None) => Some(Vec::new()),
        _ => None,
    };
    let values = values.ok_or_else(|| {
        fault(at, "`enum` or `const` of a string must hold strings, and only one of both may stand")
    })?;
    let format = match schema.get("format").and_then(Value::as_str) {
        // How a form shows it, and no word on what stands there.
        None | Some("password") => None,
        Some("uuid") => Some(TextMeaning::Uuid),
        Some("date-time") => Some(TextMeaning::DateTime),
        Some("ssh-public-key") => Some(TextMeaning::SshPublicKey),
        Some(other) => {
            return Err(fault(
                at,
                &format!(
                    "`format: {other}` is not checked; use date-time, ssh-public-key or uuid, or a pattern"
                ),
            ));
        }
    };
    let free_name = schema.get(FREE_NAME) == Some(&Value::Bool(true));
    let meaning = match format {
        Some(_) if free_name || !values.is_empty() => {
            return Err(fault(
                at,
                &format!(
                    "`format` would not be checked beside `enum`, `const` or `{FREE_NAME}`: leave it out"
                ),
            ));
        }
        Some(format) => format,
        None if !values.is_empty() => {
            let name = schema
                .get("x-keyward-enum")
                .and_then(Value::as_str)
                .map_or_else(|| pascal_case(name), str::to_owned);
            TextMeaning::Choice { name, values }
        }
        None if free_name => TextMeaning::Name,
        None => TextMeaning::Plain,
    };
    let pattern = match schema.get("pattern").map(|p| p.as_str().map(Regex::new)) {
        None => None,
        Some(Some(Ok(pattern))) => Some(pattern),
        Some(Some(Err(e))) => return Err(fault(at, &format!("`pattern`: {e}"))),
        Some(None) => return Err(fault(at, "`pattern` must be a string")),
    };
    Ok(Shape::Text {
        min: count(at, schema, "minLength")?.unwrap_or(0),
        max: count(at, schema, "maxLength")?.unwrap_or(usize::MAX),
        pattern,
        meaning,
    })
}

fn integer(at: &str, schema: &Map<String, Value>) -> Result<Shape, SchemaFault> {
    allow(at, schema, &["type", "minimum", "maximum", "format"])?;
    let bound = |key: &str| match schema.get(key) {
        None => Ok(None),
        Some(v) => {
            v.as_i64().map(Some).ok_or_else(|| fault(at, &format!("`{key}` must be an integer")))
        }
    };
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        None | Some("int64") => (i64::MIN, i64::MAX),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some(other) => {
            return Err(fault(
                at,
                &format!(
                    "`format: {other}` is not checked; use int32 or int64, or `minimum` and `maximum`"
                ),
            ));
        }
    };
    Ok(Shape::Integer {
        min: bound("minimum")?.map_or(least, |min| min.max(least)),
        max: bound("maximum")?.map_or(most, |max| max.min(most)),
    })
}

fn count(at: &str, schema: &Map<String, Value>, key: &str) -> Result<Option<usize>, SchemaFault> {
    match schema.get(key) {
        None => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(fault(at, &format!("`{key}` must be a whole number"))),
        },
    }
}

fn allow(at: &str, schema: &Map<String, Value>, keywords: &[&str]) -> Result<(), SchemaFault> {
    match schema
        .keys()
        .find(|key| !keywords.contains(&key.as_str()) && !ANNOTATIONS.contains(&key.as_str()))
    {
        Some(key) => Err(fault(
            at,
            &format!(
                "keyword `{key}` is not checked here; see docs/catalogue.md for those that are"
            ),
        )),
        None => Ok(()),
    }
}

fn fault(pointer: &str, why: &str) -> SchemaFault {
    SchemaFault { pointer: pointer.to_owned(), why: why.to_owned() }
}

/// One step of a JSON pointer (RFC 6901).
pub fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

/// `key_scope` and `keyScope` give `KeyScope`.
fn pascal_case(name: &str) -> String {
    let mut out = String::new();
    let mut upper = true;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unchecked_keyword_is_refused_with_its_place() {
        let doc =
            json!({"s": {"type": "object", "properties": {"a": {"type": "string", "not": {}}}}});
        let fault = compile(&doc, "/s", "").unwrap_err();
        assert_eq!(fault.pointer, "/s/properties/a");
        assert!(fault.why.contains("`not`"), "{}", fault.why);
    }

    /// A format that is read and not checked would be a check that nobody makes.
    #[test]
    fn a_format_is_checked_or_refused() {
        let of =
            |schema: Value| compile(&json!({"s": schema}), "/s", "").map_err(|fault| fault.why);
        for format in ["uri", "email", "hostname", "uuidv4", "UUID", "date", "byte"] {
            let why = of(json!({"type": "string", "format": format})).unwrap_err();
            assert!(why.contains(&format!("`format: {format}` is not checked")), "{why}");
            let why = of(json!({"type": "string", "format": format, "enum": ["a"]})).unwrap_err();
            assert!(why.contains("is not checked"), "{why}");
        }
        for beside in ["enum", "const", FREE_NAME] {
            let mut schema = json!({"type": "string", "format": "uuid"});
            schema[beside] = if beside == "enum" {
                json!(["a"])
            } else if beside == "const" {
                json!("a")
            } else {
                json!(true)
            };
            assert!(
                of(schema).unwrap_err().contains("`format` would not be checked beside"),
                "{beside}"
            );
        }
        let why = of(json!({"type": "integer", "format": "uint8"})).unwrap_err();
        assert!(why.contains("`format: uint8` is not checked"), "{why}");
        assert!(matches!(
            of(json!({"type": "integer", "format": "int32", "maximum": 9_999_999_999_i64})),
            Ok(Shape::Integer { min: -2_147_483_648, max: 2_147_483_647 })
        ));
        assert!(matches!(
            of(json!({"type": "integer", "format": "int64", "minimum": 1})),
            Ok(Shape::Integer { min: 1, max: i64::MAX })
        ));
        assert!(matches!(
            of(json!({"type": "string", "format": "password"})),
            Ok(Shape::Text { meaning: TextMeaning::Plain, .. })
        ));
    }

    #[test]
    fn a_cyclic_reference_ends() {
        let doc = json!({"components": {"schemas": {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}}}, "s": {"$ref": "#/components/schemas/A"}});
        assert!(compile(&doc, "/s", "").unwrap_err().why.contains("cyclic"));
        let doc = json!({"components": {"schemas": {"A": {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A"}}}}}});
        assert!(compile(&doc, "/components/schemas/A", "").unwrap_err().why.contains("deeply"));
    }

    #[test]
    fn a_closed_set_is_named_after_its_property() {
        let doc = json!({"s": {"type": "object", "properties": {"key_scope": {"type": "string", "enum": ["READ", "ALL"]}}}});
        let Shape::Object { fields, .. } = compile(&doc, "/s", "").unwrap() else {
            panic!("an object")
        };
        let Some(Field {
            shape: Shape::Text { meaning: TextMeaning::Choice { name, .. }, .. },
            ..
        }) = fields.first()
        else {
            panic!("a choice")
        };
        assert_eq!(name, "KeyScope");
    }
}
