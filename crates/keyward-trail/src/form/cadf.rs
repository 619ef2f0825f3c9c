//! CADF (DMTF DSP0262): one event for each exchange, and for each of the gateway's own events. A refusal is a `control`
//! with the policy that decided as its reason; everything else is an `activity`.

use super::rest::{Rest, filled};
use super::verb::Verb;
use crate::exchange::{Exchange, Part};
use keyward_record::Kind;
use serde_json::{Value, json};

const EVENT: &str = "http://schemas.dmtf.org/cloud/audit/1.0/event";
const HTTP_STATUS: &str = "https://www.iana.org/assignments/http-status-codes";
/// What a policy is: by its `@id`, in the bundle of its record.
const POLICY: &str = "urn:keyward:policy";
/// What a reason is, where no policy decided: one of keyward's reason codes.
const REASON: &str = "urn:keyward:reason";

/// The event. What CADF has no place for stands in `attachments`.
pub fn event(exchange: &Exchange) -> Value {
    let mut request = Rest::of(&exchange.request);
    let mut answer = exchange.answer.as_ref().map_or_else(Rest::none, Rest::of);
    let refused = exchange.request.kind == Kind::Refused;
    request.take("/id", |id| (*id == exchange.id.to_string()).then_some(()));
    answer.take("/id", |id| (*id == exchange.id.to_string()).then_some(()));
    let time = exchange.request.time.rfc3339();
    // What the clock said is told beside it where that is something else.
    request.take("/time", |observed| (*observed == time).then_some(()));
    let event = filled(json!({
        "typeURI": EVENT,
        "eventType": if refused { "control" } else { "activity" },
        "id": exchange.id.to_string(),
        "eventTime": time,
        "name": request.text("/call/action").or_else(|| request.text("/event")),
        "action": action(exchange),
        "outcome": outcome(exchange),
        "reason": reason(exchange),
        "initiator": initiator(exchange, &mut request),
        "target": target(exchange, &mut request),
        "observer": {"id": "keyward", "typeURI": "service/security/audit/filter", "name": "keyward"},
    }));
    let Value::Object(mut event) = event else { return event };
    let attachments = std::iter::once(attachment("request", &exchange.request, request))
        .chain(exchange.answer.as_ref().map(|part| attachment("answer", part, answer)))
        .collect();
    event.extend([("attachments".to_owned(), attachments)]);
    event.into()
}

fn action(exchange: &Exchange) -> &'static str {
    match (exchange.request.kind, Verb::of(exchange)) {
        (Kind::Event, _) => match exchange.request.text("/event") {
            Some("started") => "start",
            Some("stopped") => "stop",
            _ => "configure",
        },
        (_, Verb::Create) => "create",
        (_, Verb::Read) => "read",
        (_, Verb::Update) => "update",
        (_, Verb::Delete) => "delete",
        (_, Verb::Other) => "unknown",
    }
}

fn outcome(exchange: &Exchange) -> &'static str {
    match exchange.outcome() {
        "succeeded" | "event" => "success",
        "accepted" | "open" => "pending",
        "failed" | "partly-failed" | "not-sent" | "refused" => "failure",
        _ => "unknown",
    }
}

/// Why: the status, and the first policy that decided. A `control` must name one; where none decided, its reason's code.
fn reason(exchange: &Exchange) -> Value {
    let request = &exchange.request;
    let policy = request.text("/decision/policies/0/id");
    let code = if request.kind == Kind::Refused { request.text("/decision/reason") } else { None };
    let status = exchange.status().map(|status| status.to_string());
    json!({
        "reasonType": status.is_some().then_some(HTTP_STATUS), "reasonCode": status,
        "policyType": policy.map(|_| POLICY).or(code.map(|_| REASON)), "policyId": policy.or(code),
    })
}

fn initiator(exchange: &Exchange, request: &mut Rest) -> Value {
    if exchange.request.kind == Kind::Event {
        return json!({"id": "keyward", "typeURI": "service/security", "name": "keyward"});
    }
    let name = request.text("/caller/name").unwrap_or_else(|| "unknown".to_owned());
    let key = request.text("/caller/credential/key_id");
    let scheme = key.is_some().then(|| request.text("/caller/credential/scheme")).flatten();
    json!({
        "id": name, "name": name, "typeURI": "service/security/account/user",
        // An id, not a secret: CADF calls it a token.
        "credential": key.map(|key| json!({"token": key, "type": scheme})),
        "host": {"address": request.text("/source/address"), "agent": request.text("/source/agent")},
    })
}

fn target(exchange: &Exchange, request: &mut Rest) -> Value {
    if exchange.request.kind == Kind::Event {
        return json!({"id": "keyward", "typeURI": "service/security", "name": "keyward"});
    }
    let service = request.text("/call/service").unwrap_or_else(|| "unknown".to_owned());
    let host = request.text("/call/host");
    let kind = exchange.request.text("/resource/type").map(|kind| format!("data/{}", kind.to_lowercase()));
    let id = request.text("/resource/id").unwrap_or_else(|| service.clone());
    json!({
        "id": id, "typeURI": kind.unwrap_or_else(|| "service".to_owned()), "name": service,
        "addresses": host.map(|host| json!([{"url": format!("https://{host}"), "name": "host"}])),
    })
}

/// What is left of a record, and its place in the trail.
fn attachment(name: &str, part: &Part, rest: Rest) -> Value {
    let content = json!({"sequence": part.seq, "record": rest.left().unwrap_or_default()});
    json!({"typeURI": "application/json", "name": format!("keyward {name}"), "content": content})
}
