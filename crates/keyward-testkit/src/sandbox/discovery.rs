//! Version documents, given without a credential. OpenStack clients send nothing else until they
//! have one; they take the path of its self link and keep the host that they dialled.

use super::call::Call;
use super::errors::Success;
use keyward_decision::catalog::operation::ErrorShape;
use serde_json::{Value, json};

pub(super) fn answer(call: &Call<'_>) -> Success {
    let link = |path: &str| json!([{"rel": "self", "href": format!("http://{}{path}", call.host)}]);
    match (call.shape, call.name()) {
        (_, name) if !name.contains("Version") => Success::Example,
        (ErrorShape::Nova, "ListVersions") => {
            Success::Json(json!({"versions": [nova_v2(&link("/v2/")), nova_v21(&link("/v2.1/"))]}))
        }
        (ErrorShape::Nova, _) if call.operation.template.starts_with("/v2.1") => {
            Success::Json(json!({"version": nova_v21(&link("/v2.1/"))}))
        }
        (ErrorShape::Nova, _) => Success::Json(json!({"version": nova_v2(&link("/v2/"))})),
        (ErrorShape::Ims, _) => Success::Json(json!({"versions": [
            {"id": "v2.7", "status": "CURRENT", "links": link("/v2/")},
            {"id": "v2.0", "status": "SUPPORTED", "links": link("/v2/")},
            {"id": "v1", "status": "SUPPORTED", "links": link("/v1/")},
        ]})),
        _ => Success::Example,
    }
}

fn nova_v21(links: &Value) -> Value {
    json!({"id": "v2.1", "status": "CURRENT", "version": "2.60", "min_version": "2.1", "updated": "2013-07-23T11:33:21Z", "links": links})
}

fn nova_v2(links: &Value) -> Value {
    json!({"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z", "links": links})
}
