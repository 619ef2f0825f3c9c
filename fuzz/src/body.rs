//! What a body says: whatever passes is JSON to an ordinary parser, and the same however it is
//! written.

use crate::CATALOG;
use bytes::Bytes;
use keyward_decision::catalog::Target;
use keyward_decision::catalog::operation::Operation;
use keyward_decision::catalog::schema::Shape;
use keyward_decision::inspect::facts::CallFacts;
use keyward_decision::inspect::inspect;
use keyward_decision::request::RequestHead;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

/// The operations that take a body, each with parameters that fit, as far as those of one form can.
static TAKING: LazyLock<Vec<(Arc<Operation>, Vec<(String, String)>, String)>> =
    LazyLock::new(|| {
        let taking = CATALOG.operations().iter().filter(|op| op.body.is_some());
        taking
            .map(|op| {
                let value = |shape: &Shape| match shape {
                    Shape::Integer { min, .. } => (*min).max(1).to_string(),
                    Shape::Text { max, .. } => {
                        "465076de-dc36-4aec-80f5-ef9d8009428f".chars().take(*max).collect()
                    }
                    _ => "true".to_owned(),
                };
                let parameters =
                    op.path.iter().map(|f| (f.name.clone(), value(&f.shape))).collect();
                let query: Vec<_> = op
                    .query
                    .iter()
                    .filter(|f| f.required)
                    .map(|f| format!("{}={}", f.name, value(&f.shape)))
                    .collect();
                let target = if query.is_empty() {
                    "/".to_owned()
                } else {
                    format!("/?{}", query.join("&"))
                };
                (Arc::clone(op), parameters, target)
            })
            .collect()
    });

/// The input is a body: sent to every operation that documents one of its names.
pub fn fuzz(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        // No JSON to anybody: one operation is as good as another.
        return TAKING.iter().take(1).for_each(|(operation, parameters, target)| {
            assert_eq!(read(operation, parameters, target, data), None)
        });
    };
    let plain = value.to_string();
    for (operation, parameters, target) in TAKING
        .iter()
        .filter(|(op, ..)| op.body.as_ref().is_some_and(|b| shares_a_name(&b.shape, &value)))
    {
        if let Some(facts) = read(operation, parameters, target, data) {
            // The same document without blanks and needless escapes says the same.
            assert_eq!(
                read(operation, parameters, target, plain.as_bytes()),
                Some(facts),
                "{plain}"
            );
        }
    }
}

fn shares_a_name(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Object { fields, .. }, Value::Object(object)) => {
            fields.iter().any(|f| object.contains_key(&f.name))
        }
        (Shape::Array { element, .. }, Value::Array(elements)) => {
            elements.first().is_some_and(|first| shares_a_name(element, first))
        }
        _ => false,
    }
}

fn read(
    operation: &Arc<Operation>,
    parameters: &[(String, String)],
    target: &str,
    body: &[u8],
) -> Option<CallFacts> {
    let media_type = operation.body.as_ref().map(|b| b.media_type.parse()).and_then(Result::ok)?;
    let head = RequestHead::plain(
        operation.method.clone(),
        target.to_owned(),
        "h.test",
        http::HeaderMap::from_iter([(http::header::CONTENT_TYPE, media_type)]),
    );
    let meant = Target::Operation(Arc::clone(operation), parameters.to_vec());
    let (inspected, facts) = inspect(&meant, &head, Bytes::copy_from_slice(body));
    match facts {
        Ok(facts) => {
            is_plain_json(inspected.json.as_ref(), body);
            Some(facts)
        }
        Err(why) => {
            assert!(why.reason.status() >= 400 && !why.detail.is_empty(), "{why:?}");
            None
        }
    }
}

/// A body that passed is what an ordinary parser reads, and each of its names stands once in its
/// object.
pub fn is_plain_json(read: Option<&Value>, body: &[u8]) {
    let Some(read) = read else { return assert!(body.is_empty()) };
    let value: Value =
        serde_json::from_slice(body).unwrap_or_else(|e| panic!("passed, and is no JSON: {e}"));
    assert_eq!(*read, value);
    // As many colons outside of strings as the tree has names: none was dropped for another.
    assert_eq!(names(read), colons(body), "{value}");
}

fn names(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.len() + object.values().map(names).sum::<usize>(),
        Value::Array(elements) => elements.iter().map(names).sum(),
        _ => 0,
    }
}

fn colons(body: &[u8]) -> usize {
    let (mut count, mut quoted, mut bytes) = (0, false, body.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            b':' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}
