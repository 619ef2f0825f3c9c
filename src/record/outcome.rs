//! What became of a forwarded call. HTTP 200 is not success: the answer must be the one that the
//! document promises, and must not say that the call failed.

use keyward_decision::catalog::Target;
use keyward_decision::catalog::operation::{AnswerSpec, Operation, OutcomeSpec};
use keyward_decision::catalog::source::{Source, select};
use keyward_record::call::Outcome;
use serde_json::{Map, Value};

/// A whole answer with a 2xx status, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Success<'a> {
    /// The status.
    pub status: u16,
    /// The media type that it claims; empty when it claims none.
    pub media_type: &'a str,
    /// The body's length in bytes.
    pub length: u64,
    /// The body as JSON, when it is that.
    pub json: Option<&'a Value>,
    /// False for a body that is encoded, or too long to be examined: it may hold anything.
    pub examined: bool,
}

/// Reads the outcome of an answer with a success status.
pub fn read(target: &Target, success: Success) -> Outcome {
    let Target::Operation(operation, _) = target else {
        return if success.status == 202 { Outcome::Accepted } else { Outcome::Succeeded };
    };
    let promises = operation.promises(success.status);
    let kept = promises.iter().any(|promise| keeps(&success, promise, operation.is_write()));
    if success.json.is_some_and(|body| says_no(body, operation, &promises, kept)) {
        return Outcome::Failed;
    }
    match success.json {
        _ if !kept => Outcome::Unknown,
        Some(body) => by_body(&operation.outcome, body, success.status),
        None if success.status == 202 => Outcome::Accepted,
        None => Outcome::Succeeded,
    }
}

/// Whether the answer is the one that was promised.
fn keeps(success: &Success, promise: &AnswerSpec, write: bool) -> bool {
    if promise.media_type.is_empty() {
        return true;
    }
    let claimed =
        success.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let of_type = claimed.is_empty()
        || claimed == promise.media_type
        || (is_json(&claimed) && is_json(&promise.media_type));
    if success.length == 0 || !of_type {
        return false;
    }
    if !is_json(&promise.media_type) {
        return true;
    }
    match success.json {
        Some(body) => promise.fits(body),
        // A look has done nothing; of what was done nobody knows.
        None => !success.examined && !write,
    }
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || media_type.ends_with("+json")
        || media_type.ends_with("-json-patch")
}

/// Whether a body says that the call failed, in any of the shapes in which services do. What a
/// document names as a field of the answer to a read is what was asked for: the state of a job that
/// failed, for example.
fn says_no(body: &Value, operation: &Operation, promises: &[&AnswerSpec], kept: bool) -> bool {
    let Some(object) = body.as_object() else { return false };
    let documented = |name: &str| {
        kept && promises.iter().any(|promise| promise.fields.iter().any(|field| field == name))
    };
    let meant = |name: &str| documented(name) && !operation.is_write();
    let message = object.keys().any(|name| {
        matches!(plain(name).as_str(), "message" | "msg" | "errormessage" | "errormsg" | "reason")
    });
    let one = |(name, value): (&String, &Value)| match plain(name).as_str() {
        _ if meant(name) => false,
        "errorcode" | "errcode" | "errno" => is_failure(value),
        "errormessage" | "errormsg" | "errmsg" => {
            value.as_str().is_some_and(|text| !text.is_empty())
                && !object.keys().any(|name| plain(name) == "errorcode")
        }
        "error" | "fault" => is_something(value),
        "errors" => !documented(name) && is_something(value),
        "success" | "issuccess" | "succeeded" => {
            *value == false || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"))
        }
        "code" => !documented(name) && message && is_failure(value),
        _ => false,
    };
    object.iter().any(one) || is_named_fault(object, &documented)
}

/// `{"badRequest": {"code": 400, "message": …}}`, as Nova writes it.
fn is_named_fault(object: &Map<String, Value>, documented: &impl Fn(&str) -> bool) -> bool {
    let mut fields = object.iter();
    match (fields.next(), fields.next()) {
        (Some((name, Value::Object(fault))), None) => {
            !documented(name) && fault.contains_key("message") && fault.contains_key("code")
        }
        _ => false,
    }
}

/// A code that stands for a failure. Some services write one for success too.
fn is_failure(code: &Value) -> bool {
    match code {
        Value::String(text) => {
            !["", "0", "200", "ok", "success", "succeed", "succeeded", "null", "none"]
                .contains(&text.trim().to_ascii_lowercase().as_str())
        }
        Value::Number(number) => {
            number.as_f64().is_none_or(|n| n != 0.0 && !(200.0..300.0).contains(&n))
        }
        Value::Object(_) | Value::Array(_) => is_something(code),
        Value::Bool(_) | Value::Null => false,
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// A name in lower case, without what parts its words.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).flat_map(char::to_lowercase).collect()
}

fn by_body(spec: &OutcomeSpec, body: &Value, status: u16) -> Outcome {
    let values = |source: &Source| match source {
        Source::Body(steps) => {
            select(body, steps).into_iter().filter(|v| !v.is_null() && *v != "").count()
        }
        _ => 0,
    };
    if let Some((Source::Body(steps), wanted)) = &spec.failed_if
        && select(body, steps).contains(&wanted)
    {
        return Outcome::Failed;
    }
    let accepted: usize = spec.accepted.iter().map(values).sum();
    let (succeeded, failed) =
        (spec.succeeded.as_ref().map_or(0, values), spec.failed.as_ref().map_or(0, values));
    match (accepted + succeeded, failed) {
        // It was to name what it took on, and names nothing.
        (0, 0) if !spec.accepted.is_empty() => Outcome::Unknown,
        (_, 0) if accepted == 0 && status != 202 => Outcome::Succeeded,
        (_, 0) => Outcome::Accepted,
        (0, _) => Outcome::Failed,
        _ => Outcome::PartlyFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use http::Method;
    use serde_json::json;

    #[test]
    fn a_success_status_is_not_success() {
        let spec = OutcomeSpec {
            accepted: vec!["body.jobs[].job_id".parse().unwrap()],
            failed: Some("body.jobs[].error_code".parse().unwrap()),
            failed_if: Some(("body.success".parse().unwrap(), json!(false))),
            ..OutcomeSpec::default()
        };
        for (body, wanted) in [
            (json!({"jobs": [{"job_id": "1"}, {"job_id": "2"}]}), Outcome::Accepted),
            (json!({"jobs": [{"job_id": "1"}, {"error_code": "CPS.1"}]}), Outcome::PartlyFailed),
            (json!({"jobs": [{"error_code": "CPS.1"}]}), Outcome::Failed),
            (json!({"jobs": [{"job_id": "1", "error_code": ""}]}), Outcome::Accepted),
            (json!({"success": false}), Outcome::Failed),
            (json!({}), Outcome::Unknown),
        ] {
            assert_eq!(by_body(&spec, &body, 200), wanted, "{body}");
        }
        assert_eq!(by_body(&OutcomeSpec::default(), &json!({"x": 1}), 200), Outcome::Succeeded);
        assert_eq!(by_body(&OutcomeSpec::default(), &json!({"x": 1}), 202), Outcome::Accepted);
    }

    /// Every route of the documents that ship.
    fn targets() -> Vec<Target> {
        let catalog = builtin::catalog().unwrap();
        let targets: Vec<Target> = catalog
            .operations()
            .iter()
            .map(|operation| Target::Operation(std::sync::Arc::clone(operation), Vec::new()))
            .collect();
        assert!(targets.len() > 100, "{}", targets.len());
        targets
    }

    fn operation(target: &Target) -> &Operation {
        let Target::Operation(operation, _) = target else { panic!("an operation") };
        operation
    }

    fn told(target: &Target, status: u16, body: &str) -> Outcome {
        let json: Option<Value> = serde_json::from_str(body).ok();
        read(
            target,
            Success {
                status,
                media_type: "application/json",
                length: body.len() as u64,
                json: json.as_ref(),
                examined: true,
            },
        )
    }

    /// The first success that the document has for the operation, with a body or without.
    fn promised(target: &Target, with_body: bool) -> Option<u16> {
        let answers = operation(target).answers.iter();
        answers
            .filter(|(status, answer)| {
                status.starts_with('2') && answer.media_type.is_empty() != with_body
            })
            .find_map(|(status, _)| status.parse().ok())
    }

    #[test]
    fn no_operation_that_ships_takes_another_answer_for_its_own() {
        for target in targets() {
            let name = format!("{} {}", operation(&target).method, operation(&target).operation_id);
            let Some(status) = promised(&target, true) else { continue };
            let lists: &[&str] = if operation(&target).is_write() {
                &[
                    "{\"jobs\":[]}",
                    "{\"tasks\":[]}",
                    "{\"succeeded_keypairs\":[],\"failed_keypairs\":[]}",
                ]
            } else {
                &[]
            };
            let bodies = [
                "{}",
                "",
                "null",
                "true",
                "\"done\"",
                "5",
                "{\"ok\":true}",
                "<html></html>",
                "{\"a\":",
                "[5]",
                "{\"jobs\":null}",
                "{\"keypair\":null}",
                "{\"keypair\":{}}",
                "{\"success\":null,\"failed\":null}",
            ];
            for body in bodies.iter().chain(lists) {
                let answer = operation(&target).answer(status).unwrap();
                // Of an object whose fields the document does not name, any will do but none.
                let named = !answer.fields.is_empty()
                    || !matches!(serde_json::from_str(body), Ok(Value::Object(fields)) if !fields.is_empty());
                if answer.media_type == "application/json" && named {
                    assert_eq!(told(&target, status, body), Outcome::Unknown, "{name}: {body}");
                }
            }
        }
    }

    #[test]
    fn every_operation_that_ships_hears_a_no() {
        for target in targets() {
            let operation = operation(&target);
            let name = format!("{} {}", operation.method, operation.operation_id);
            for body in [
                r#"{"error_code":"KPS.0002","error_msg":"parameter error"}"#,
                r#"{"error":{"code":"KPS.0002","message":"parameter error"}}"#,
                r#"{"error":"no"}"#,
                r#"{"code":"Throttling","message":"slow down"}"#,
                r#"{"Code":"Throttling","Message":"slow down","RequestId":"1"}"#,
                r#"{"code":403,"message":"no"}"#,
                r#"{"errorCode":"NoPermission","errorMessage":"no","requestId":"1","success":false}"#,
                r#"{"requestId":"1","success":false}"#,
                r#"{"error_msg":"no"}"#,
                r#"{"badRequest":{"code":400,"message":"no"}}"#,
                r#"{"errors":[{"code":"1"}]}"#,
                r#"{"request_id":"1","error_code":"CPS.0001","error_msg":"internal error"}"#,
            ] {
                for status in
                    [promised(&target, true), promised(&target, false)].into_iter().flatten()
                {
                    assert_eq!(told(&target, status, body), Outcome::Failed, "{name}: {body}");
                }
            }
        }
    }

    #[test]
    fn every_promised_answer_is_taken() {
        for target in targets() {
            let operation = operation(&target);
            for (status, answer) in
                operation.answers.iter().filter(|(status, _)| status.starts_with('2'))
            {
                let status = status.parse().unwrap();
                let name = format!("{} {} {status}", operation.method, operation.operation_id);
                let Some(example) = &answer.example else {
                    let none = read(
                        &target,
                        Success { status, media_type: "", length: 0, json: None, examined: true },
                    );
                    if answer.media_type.is_empty() {
                        assert!(
                            matches!(none, Outcome::Succeeded | Outcome::Accepted),
                            "{name}: {none:?}"
                        );
                    }
                    continue;
                };
                let outcome = told(&target, status, &example.to_string());
                assert!(
                    !matches!(outcome, Outcome::Unknown | Outcome::Failed),
                    "{name}: {outcome:?} {example}"
                );
            }
        }
    }

    fn by_id(id: &str) -> Target {
        targets().into_iter().find(|target| operation(target).operation_id == id).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_not_known_unless_nothing_was_done() {
        let encoded = Success {
            status: 200,
            media_type: "application/json",
            length: 99,
            json: None,
            examined: false,
        };
        assert_eq!(read(&by_id("CopyKeypairs"), encoded), Outcome::Unknown);
        assert_eq!(read(&by_id("ListKeypairs"), encoded), Outcome::Succeeded);
        assert_eq!(
            read(
                &by_id("ListKeypairs"),
                Success { media_type: "text/html; charset=utf-8", ..encoded }
            ),
            Outcome::Unknown
        );
        assert_eq!(
            read(&by_id("ListKeypairs"), Success { length: 0, ..encoded }),
            Outcome::Unknown
        );
    }

    #[test]
    fn what_a_read_was_asked_for_is_no_failure() {
        let job = r#"{"status":"FAIL","job_id":"4010a2a","job_type":"ims_copy","error_code":"IMG.0001","fail_reason":"no space"}"#;
        let target = targets()
            .into_iter()
            .find(|t| {
                operation(t).operation_id == "ShowJob" && operation(t).service == "huawei.ims"
            })
            .unwrap();
        assert_eq!(operation(&target).method, Method::GET);
        assert_eq!(told(&target, 200, job), Outcome::Succeeded);
        assert_eq!(
            told(&target, 200, r#"{"error_code":"IMG.0001","error_msg":"no"}"#),
            Outcome::Failed
        );
    }

    #[test]
    fn copies_are_counted() {
        let target = by_id("CopyKeypairs");
        for (body, wanted) in [
            (
                r#"{"changed":1,"success":[{"keypair":"a","message":"imported"}],"failed":[]}"#,
                Outcome::Succeeded,
            ),
            (
                r#"{"changed":1,"success":[{"keypair":"a","message":"imported"}],"failed":[{"keypair":"b","message":"exist"}]}"#,
                Outcome::PartlyFailed,
            ),
            (
                r#"{"changed":0,"success":[],"failed":[{"keypair":"b","message":"exist"}]}"#,
                Outcome::Failed,
            ),
            (r#"{"success":[],"failed":"all"}"#, Outcome::Unknown),
            (r#"{"changed":"1","success":[],"failed":[]}"#, Outcome::Unknown),
        ] {
            assert_eq!(told(&target, 200, body), wanted, "{body}");
        }
    }

    #[test]
    fn an_order_is_taken_on_as_a_job_is() {
        let target = by_id("CreateServers");
        assert_eq!(told(&target, 200, r#"{"job_id":"1"}"#), Outcome::Accepted);
        assert_eq!(
            told(&target, 200, r#"{"order_id":"CS1","serverIds":["a"]}"#),
            Outcome::Accepted
        );
        assert_eq!(told(&target, 200, r#"{"serverIds":["a"]}"#), Outcome::Unknown);
    }
}
