//! How the gateway words its own answers: JSON that every real client shows properly.

use bytes::Bytes;
use keyward_decision::catalog::operation::ErrorShape;
use serde_json::json;

/// The header that leads from an answer to its record.
pub const AUDIT_ID: &str = "x-keyward-audit-id";
/// The header from which Huawei's clients take the id that they show.
pub const REQUEST_ID: &str = "x-request-id";
/// The header from which OpenStack's clients take it.
pub const OPENSTACK_REQUEST_ID: &str = "x-openstack-request-id";
/// The header from which Nova's own client takes it.
pub const COMPUTE_REQUEST_ID: &str = "x-compute-request-id";

/// The body of a refusal, for a call to a service that words its errors so. The names are those
/// that real clients read: measured, each client reads another one.
///
/// OpenStack's clients take every value of an error for an object with a `message`, and some want
/// no second one; so where they call there is one object alone, under the name that the vendors'
/// SDKs read it by.
pub fn body(errors: Option<ErrorShape>, code: &str, message: &str, id: &str) -> Bytes {
    let code = format!("KEYWARD.{code}");
    let body = match errors {
        Some(ErrorShape::Ims | ErrorShape::Nova) => {
            json!({"error": {"code": code, "message": message, "request_id": id}})
        }
        Some(ErrorShape::Flat | ErrorShape::Codeup | ErrorShape::Acs) | None => json!({
            "error_code": code, "error_msg": message,
            "code": code, "message": message,
            "errorCode": code, "errorMessage": message,
            "request_id": id, "requestId": id,
        }),
    };
    Bytes::from(body.to_string())
}

/// Code, without its prefix, and message of a body that may be a refusal; no code when the gateway
/// did not word it.
pub fn said(body: &serde_json::Value) -> (Option<&str>, &str) {
    let text = |nested: &str, flat: &str| {
        body.pointer(nested)
            .or_else(|| body.pointer(flat))
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    (
        text("/error/code", "/error_code").strip_prefix("KEYWARD."),
        text("/error/message", "/error_msg"),
    )
}

/// Its headers.
pub fn headers(body_bytes: usize, id: Option<&str>) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("content-length", body_bytes.to_string()),
        ("cache-control", "no-store".to_owned()),
    ];
    headers.extend(id.into_iter().flat_map(|id| {
        [REQUEST_ID, OPENSTACK_REQUEST_ID, COMPUTE_REQUEST_ID, AUDIT_ID]
            .map(|name| (name, id.to_owned()))
    }));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn worded(errors: Option<ErrorShape>) -> Value {
        serde_json::from_slice(&body(errors, "policy-forbids", "no", "id-1")).unwrap()
    }

    #[test]
    fn clients_of_openstack_find_one_object_and_no_other_value() {
        for errors in [ErrorShape::Nova, ErrorShape::Ims] {
            assert_eq!(
                worded(Some(errors)),
                json!({"error": {"code": "KEYWARD.policy-forbids", "message": "no", "request_id": "id-1"}})
            );
        }
    }

    #[test]
    fn every_shape_says_the_same() {
        for errors in [
            None,
            Some(ErrorShape::Flat),
            Some(ErrorShape::Codeup),
            Some(ErrorShape::Acs),
            Some(ErrorShape::Nova),
            Some(ErrorShape::Ims),
        ] {
            assert_eq!(said(&worded(errors)), (Some("policy-forbids"), "no"), "{errors:?}");
        }
        assert_eq!(said(&json!({"error_code": "APIGW.0301", "error_msg": "who?"})), (None, "who?"));
        assert_eq!(said(&json!({"error": {"code": "IMG.0001", "message": "gone"}})).0, None);
    }
}
