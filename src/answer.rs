//! How the gateway words its own answers: JSON that every real client shows properly.

use bytes::Bytes;
use serde_json::json;

/// The header that leads from an answer to its record.
pub const AUDIT_ID: &str = "x-keyward-audit-id";
/// The header from which Huawei's clients take the id that they show.
pub const REQUEST_ID: &str = "x-request-id";
/// The header from which OpenStack's clients take it.
pub const OPENSTACK_REQUEST_ID: &str = "x-openstack-request-id";

/// The body of a refusal. The names are those that real clients read: measured, each client reads another one.
pub fn body(code: &str, message: &str, id: &str) -> Bytes {
    let code = format!("KEYWARD.{code}");
    let body = json!({
        "error_code": code, "error_msg": message,
        "code": code, "message": message,
        "errorCode": code, "errorMessage": message,
        "request_id": id, "requestId": id,
    });
    Bytes::from(body.to_string())
}

/// Its headers.
pub fn headers(body_bytes: usize, id: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers =
        vec![("content-type", "application/json".to_owned()), ("content-length", body_bytes.to_string()), ("cache-control", "no-store".to_owned())];
    headers.extend(id.into_iter().flat_map(|id| [REQUEST_ID, OPENSTACK_REQUEST_ID, AUDIT_ID].map(|name| (name, id.to_owned()))));
    headers
}
