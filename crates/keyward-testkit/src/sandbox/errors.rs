//! What a service answers, good or bad, before it becomes bytes. Each service words its errors in
//! its own way.

use keyward_decision::catalog::operation::ErrorShape;
use serde_json::{Value, json};

/// What an operation gives.
pub(super) type Answer = Result<Success, Refused>;

/// A call that went well. The status is the first 2xx that the catalogue documents.
pub(super) enum Success {
    /// A JSON body.
    Json(Value),
    /// No body.
    Empty,
    /// An archive.
    Zip(Vec<u8>),
    /// The document's own example: for operations that leave no state here.
    Example,
}

/// A call that did not.
#[derive(Debug)]
pub(super) struct Refused {
    /// The HTTP status; the older Alibaba API refuses with 200 as well.
    pub status: u16,
    /// The service's code.
    pub code: String,
    /// For people.
    pub message: String,
    /// Refused before the service saw it: worded alike on every Huawei host, and in capitals by
    /// Alibaba's.
    pub front_door: bool,
}

impl Refused {
    /// By the service.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), front_door: false }
    }

    /// By the API front door.
    pub fn at_front_door(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { front_door: true, ..Self::new(status, code, message) }
    }

    /// The body, as the service words it.
    pub fn body(&self, shape: ErrorShape, request_id: &str) -> Value {
        let Self { status, code, message, .. } = self;
        match shape {
            ErrorShape::Codeup => {
                json!({"errorCode": code, "errorMessage": message, "requestId": request_id})
            }
            ErrorShape::Acs if self.front_door => {
                json!({"Code": code, "Message": message, "RequestId": request_id})
            }
            ErrorShape::Acs => {
                json!({"errorCode": code, "errorMessage": message, "requestId": request_id, "success": false})
            }
            ErrorShape::Ims if !self.front_door => {
                json!({"error": {"code": code, "message": message}})
            }
            ErrorShape::Nova if !self.front_door => {
                json!({nova_key(*status): {"code": status, "message": message}})
            }
            _ => json!({"error_code": code, "error_msg": message, "request_id": request_id}),
        }
    }
}

/// Nova names an error by a key, not by a code.
fn nova_key(status: u16) -> &'static str {
    match status {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        409 => "conflictingRequest",
        _ => "computeFault",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_words_its_errors_in_its_own_way() {
        let own = Refused::new(404, "X.1", "gone");
        let front = Refused::at_front_door(401, "APIG.0301", "who?");
        let flat = json!({"error_code": "APIG.0301", "error_msg": "who?", "request_id": "r"});
        assert_eq!(
            own.body(ErrorShape::Flat, "r"),
            json!({"error_code": "X.1", "error_msg": "gone", "request_id": "r"})
        );
        assert_eq!(
            own.body(ErrorShape::Ims, "r"),
            json!({"error": {"code": "X.1", "message": "gone"}})
        );
        assert_eq!(
            own.body(ErrorShape::Nova, "r"),
            json!({"itemNotFound": {"code": 404, "message": "gone"}})
        );
        assert_eq!(
            own.body(ErrorShape::Codeup, "r"),
            json!({"errorCode": "X.1", "errorMessage": "gone", "requestId": "r"})
        );
        assert_eq!(own.body(ErrorShape::Acs, "r")["success"], false);
        assert_eq!(
            front.body(ErrorShape::Acs, "r"),
            json!({"Code": "APIG.0301", "Message": "who?", "RequestId": "r"})
        );
        for shape in [ErrorShape::Flat, ErrorShape::Ims, ErrorShape::Nova] {
            assert_eq!(front.body(shape, "r"), flat);
        }
    }
}
