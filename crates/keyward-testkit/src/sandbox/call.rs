//! A call as the services see it: authenticated, routed, its body read the way an ordinary server
//! reads it.

use keyward_core::clock::Timestamp;
use keyward_decision::catalog::operation::{ErrorShape, Operation};
use serde_json::Value;

/// One call.
pub(super) struct Call<'a> {
    /// What the catalogue takes it for.
    pub operation: &'a Operation,
    /// Decoded path parameters.
    pub path: &'a [(String, String)],
    /// Decoded query parameters.
    pub query: Vec<(String, String)>,
    /// Host, as received.
    pub host: &'a str,
    /// `X-Project-Id`, where the path names no project.
    pub project_header: Option<&'a str>,
    /// The JSON body; null without one.
    pub body: Value,
    /// Name of the caller.
    pub user: &'a str,
    /// The answer's id.
    pub request_id: &'a str,
    /// When it came.
    pub now: Timestamp,
    /// How the service that the route belongs to words its answers.
    pub shape: ErrorShape,
}

impl Call<'_> {
    /// A path parameter; empty when the route has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The first query parameter of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A number from the query.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.query(name)?.parse().ok()
    }

    /// A text in the body, by JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        text(&self.body, pointer)
    }

    /// The elements of an array in the body.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.body.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The last part of the action: `CopyKeypairs`.
    pub fn name(&self) -> &str {
        self.operation.action.rsplit('.').next().unwrap_or_default()
    }
}

/// A text at a JSON pointer.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// A flag as loose servers read it: `"true"` and 1 count. The gateway must not depend on a strict
/// upstream.
pub(super) fn flag(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(set)) => *set,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text == "1",
        Some(Value::Number(number)) => number.as_i64() != Some(0),
        _ => false,
    }
}
