//! CADF (DMTF DSP0262): one event for each exchange, and for each of the gateway's own events. A
//! refusal is a `control` with the policy that decided as its reason; everything else is an
//! `activity`.

use super::rest::{filled, rest, text};
use super::verb::Verb;
use crate::exchange::{Exchange, Part};
use keyward_record::Kind;
use keyward_record::reading::Asked;
use serde_json::{Value, json};

const EVENT: &str = "http://schemas.dmtf.org/cloud/audit/1.0/event";
const HTTP_STATUS: &str = "https://www.iana.org/assignments/http-status-codes";
/// What a policy is: by its `@id`, in the bundle of its record.
const POLICY: &str = "urn:keyward:policy";
/// What a reason is, where no policy decided: one of keyward's reason codes.
const REASON: &str = "urn:keyward:reason";

/// The event. What CADF has no place for stands in `attachments`.
pub fn event(exchange: &Exchange) -> Value {
    let (asked, answered) = (
        exchange.request.asked(),
        exchange.answer.as_ref().map(Part::answered).unwrap_or_default(),
    );
    let (mut request, mut answer) = (asked.clone(), answered.clone());
    let refused = exchange.request.kind == Kind::Refused;
    let (id, time) = (exchange.id.to_string(), exchange.request.time.rfc3339());
    request.id.take_if(|own| *own == id);
    answer.id.take_if(|own| *own == id);
    // What the clock said is told beside it where that is something else.
    request.time.take_if(|observed| *observed == time);
    let event = filled(json!({
        "typeURI": EVENT,
        "eventType": if refused { "control" } else { "activity" },
        "id": id,
        "eventTime": time,
        "name": text(&mut request.call.action).or_else(|| text(&mut request.event)),
        "action": action(exchange.request.kind, &asked),
        "outcome": outcome(exchange),
        "reason": reason(exchange, &asked),
        "initiator": initiator(exchange, &mut request),
        "target": target(exchange, &mut request),
        "observer": {"id": "keyward", "typeURI": "service/security/audit/filter", "name": "keyward"},
    }));
    let Value::Object(mut event) = event else { return event };
    let attachments = std::iter::once(attachment(
        "request",
        &exchange.request,
        rest(&exchange.request, &asked, &request),
    ))
    .chain(
        exchange
            .answer
            .as_ref()
            .map(|part| attachment("answer", part, rest(part, &answered, &answer))),
    )
    .collect();
    event.extend([("attachments".to_owned(), attachments)]);
    event.into()
}

fn action(kind: Kind, asked: &Asked) -> &'static str {
    match (kind, Verb::of(&asked.call)) {
        (Kind::Event, _) => match asked.event {
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

/// Why: the status, and the first policy that decided. A `control` must name one; where none
/// decided, its reason's code.
fn reason(exchange: &Exchange, asked: &Asked) -> Value {
    let policy = asked.policies().next();
    let code = asked.decision.reason.filter(|_| exchange.request.kind == Kind::Refused);
    let status = exchange.status().map(|status| status.to_string());
    json!({
        "reasonType": status.is_some().then_some(HTTP_STATUS), "reasonCode": status,
        "policyType": policy.map(|_| POLICY).or(code.map(|_| REASON)), "policyId": policy.or(code),
    })
}

fn initiator(exchange: &Exchange, request: &mut Asked) -> Value {
    if exchange.request.kind == Kind::Event {
        return json!({"id": "keyward", "typeURI": "service/security", "name": "keyward"});
    }
    let name = text(&mut request.caller.name).unwrap_or("unknown");
    let key = text(&mut request.caller.credential.key_id);
    let scheme = key.and_then(|_| text(&mut request.caller.credential.scheme));
    json!({
        "id": name, "name": name, "typeURI": "service/security/account/user",
        // An id, not a secret: CADF calls it a token.
        "credential": key.map(|key| json!({"token": key, "type": scheme})),
        "host": {"address": text(&mut request.source.address), "agent": text(&mut request.source.agent)},
    })
}

fn target(exchange: &Exchange, request: &mut Asked) -> Value {
    if exchange.request.kind == Kind::Event {
        return json!({"id": "keyward", "typeURI": "service/security", "name": "keyward"});
    }
    let service = text(&mut request.call.service).unwrap_or("unknown");
    let host = text(&mut request.call.host);
    let kind = request.resource.as_ref().map_or_else(
        || "service".to_owned(),
        |resource| format!("data/{}", resource.r#type.to_lowercase()),
    );
    let id = request
        .resource
        .as_mut()
        .map(|resource| std::mem::take(&mut resource.id))
        .filter(|id| !id.is_empty());
    json!({
        "id": id.as_deref().unwrap_or(service), "typeURI": kind, "name": service,
        "addresses": host.map(|host| json!([{"url": format!("https://{host}"), "name": "host"}])),
    })
}

/// What is left of a record, and its place in the trail.
fn attachment(name: &str, part: &Part, rest: Option<Value>) -> Value {
    let content = json!({"sequence": part.seq, "record": rest});
    json!({"typeURI": "application/json", "name": format!("keyward {name}"), "content": content})
}
