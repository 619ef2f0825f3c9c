//! What the catalogue says of one operation. Built once, at load; shared behind an `Arc`.

use super::credential::Credentials;
use super::route::Template;
use super::schema::{Field, Shape};
use super::source::{Source, Step};
use http::Method;
use std::collections::BTreeMap;

/// One route of one operation.
#[derive(Debug)]
pub struct Operation {
    /// `huawei.ims`.
    pub service: String,
    /// The document's own id, unique in it: `CopyImageInRegionSafe`.
    pub operation_id: String,
    /// The action that policies judge, the same for all routes of an operation:
    /// `huawei.ims.CopyImageInRegion`.
    pub action: String,
    /// One line from the document.
    pub summary: String,
    /// `read`, `write` or `discovery` first, then free names.
    pub groups: Vec<String>,
    /// The method.
    pub method: Method,
    /// The path template: `/v1/cloudimages/{image_id}/copy`.
    pub template: String,
    /// Path parameters, all required.
    pub path: Vec<Field>,
    /// Names of path parameters in which `%2F` may occur.
    pub raw_segments: Vec<String>,
    /// Query parameters.
    pub query: Vec<Field>,
    /// Header parameters that the document names; the names are in lower case.
    pub headers: Vec<Field>,
    /// The header that names the project again, and the path parameter that it must equal.
    pub project: Option<ProjectHeader>,
    /// The JSON body, if the operation takes one.
    pub body: Option<BodySpec>,
    /// Whether an empty object is no body, where the operation takes none.
    pub empty_object_is_absent: bool,
    /// What is acted on. None for discovery.
    pub resource: Option<ResourceSpec>,
    /// Attribute to source: one decision for each item.
    pub items: BTreeMap<String, Source>,
    /// How to read an answer.
    pub outcome: OutcomeSpec,
    /// Answers by status text (`200`, `default`).
    pub answers: BTreeMap<String, AnswerSpec>,
}

/// Where a call names its project twice.
#[derive(Clone, Debug)]
pub struct ProjectHeader {
    /// The header, in lower case: `x-project-id`.
    pub header: String,
    /// The path parameter: `project_id`.
    pub parameter: String,
}

/// What an operation says of its body.
#[derive(Debug)]
pub struct BodySpec {
    /// Whether the call needs one.
    pub required: bool,
    /// `application/json`, or another media type of JSON that the document names instead.
    pub media_type: String,
    /// The compiled schema.
    pub shape: Shape,
    /// Places that hold secrets.
    pub secrets: Vec<Vec<Step>>,
    /// The document's example, for the sandbox and the documentation.
    pub example: Option<serde_json::Value>,
}

/// What an operation says of its answers with one status.
#[derive(Default)]
pub struct AnswerSpec {
    /// Places that hold secrets; the empty path when the whole body is one.
    pub secrets: Vec<Vec<Step>>,
    /// The media type; empty for an answer without a body.
    pub media_type: String,
    /// The document's example.
    pub example: Option<serde_json::Value>,
    /// What the body must be, compiled. Fields that are not required may be null too, as many
    /// services write them.
    pub promise: Option<jsonschema::Validator>,
    /// The names of the body's own fields.
    pub fields: Vec<String>,
}

impl std::fmt::Debug for AnswerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerSpec")
            .field("media_type", &self.media_type)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl AnswerSpec {
    /// Whether a JSON body is what the document promises: of its schema, and with at least one of
    /// its fields.
    pub fn fits(&self, body: &serde_json::Value) -> bool {
        let says = match body.as_object() {
            Some(object) if !self.fields.is_empty() => self
                .fields
                .iter()
                .any(|name| object.get(name).is_some_and(|value| !value.is_null())),
            _ => true,
        };
        says && self.promise.as_ref().is_none_or(|promise| promise.is_valid(body))
    }
}

/// The thing acted on, as a Cedar entity.
#[derive(Clone, Debug)]
pub struct ResourceSpec {
    /// The entity type: `Image`.
    pub kind: String,
    /// Where its id stands.
    pub id: Source,
    /// The entity that holds it: type and source.
    pub parent: Option<(String, Source)>,
}

/// How to read an answer with a 2xx status. HTTP 200 is not success.
#[derive(Clone, Debug, Default)]
pub struct OutcomeSpec {
    /// One of them present: the call was accepted and goes on asynchronously.
    pub accepted: Vec<Source>,
    /// One value for each element that went well.
    pub succeeded: Option<Source>,
    /// One value for each element that did not.
    pub failed: Option<Source>,
    /// The call failed when the value at the source is this one.
    pub failed_if: Option<(Source, serde_json::Value)>,
}

/// Calls that a document lets through unread, for known callers whom a policy permits it.
#[derive(Debug)]
pub struct Passthrough {
    /// `huawei.kps`.
    pub service: String,
    /// The action that policies judge, one for all families of a service: `huawei.kps.passing`.
    pub action: String,
    /// The compiled template.
    pub pattern: Template,
    /// The header that names the project again, and the path parameter that it must equal.
    pub project: Option<ProjectHeader>,
    /// The methods that pass.
    pub methods: Vec<Method>,
    /// The path template, perhaps with `**` at its end.
    pub template: String,
    /// Whether an empty object is no body, where the method takes none.
    pub empty_object_is_absent: bool,
    /// Why they are not read.
    pub why: String,
}

/// The group of what passes, and the last part of its actions' names: no operation may have either.
pub const PASSING: &str = "passing";

/// The service's way of wording an error: the sandbox's, and the gateway's where clients of the
/// service insist on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{error_code, error_msg}`.
    Flat,
    /// `{error: {code, message}}`.
    Ims,
    /// `{forbidden: {code, message}}` and its kin.
    Nova,
    /// `{errorCode, errorMessage, requestId}`.
    Codeup,
    /// `{errorCode, errorMessage, requestId, success: false}`.
    Acs,
}

/// One service: a document.
#[derive(Debug)]
pub struct Service {
    /// `huawei.ims`.
    pub name: String,
    /// The document's title.
    pub title: String,
    /// The document's file name.
    pub file: String,
    /// How it words errors.
    pub errors: ErrorShape,
    /// What it verifies.
    pub credentials: Credentials,
}

impl Operation {
    /// Whether the operation changes something.
    pub fn is_write(&self) -> bool {
        self.groups.first().is_some_and(|g| g == "write")
    }

    /// Whether every call of the operation has something at a source.
    pub fn always_has(&self, source: &Source) -> bool {
        let required = |fields: &[Field], name: &str| {
            fields.iter().any(|field| field.name == name && field.required)
        };
        match source {
            Source::Path(_) => true,
            Source::Query(name) => required(&self.query, name),
            Source::Header(name) => name == "host" || required(&self.headers, name),
            // An item is made of what is there, an element at a time.
            Source::Item(name) => {
                self.items.get(name).is_some_and(|source| self.always_has(source))
            }
            Source::Body(steps) => {
                self.body.as_ref().is_some_and(|body| body.required && body.shape.always_has(steps))
            }
        }
    }

    /// What the document promises of a success with this status: the status' own entry, or else
    /// those of the other successes.
    pub fn promises(&self, status: u16) -> Vec<&AnswerSpec> {
        let own = self.answers.get(&status.to_string()).or_else(|| self.answers.get("2XX"));
        own.map_or_else(
            || {
                self.answers
                    .iter()
                    .filter(|(known, _)| known.starts_with('2'))
                    .map(|(_, answer)| answer)
                    .collect()
            },
            |own| vec![own],
        )
    }

    /// What the document says of answers with this status: its own entry, its class (`2XX`) or
    /// `default`.
    pub fn answer(&self, status: u16) -> Option<&AnswerSpec> {
        self.answers
            .get(&status.to_string())
            .or_else(|| self.answers.get(&format!("{}XX", status / 100)))
            .or_else(|| self.answers.get("default"))
    }
}
