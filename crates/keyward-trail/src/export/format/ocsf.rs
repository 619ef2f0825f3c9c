//! OCSF: one event of class API Activity (6003) for each exchange, and for each of the gateway's
//! own events.

use super::rest::{filled, rest, take, text};
use super::verb::Verb;
use crate::exchange::{Exchange, Part};
use crate::query::render;
use keyward_core::clock::Timestamp;
use keyward_record::EventName;
use keyward_record::Kind;
use keyward_record::call::{DeterminingPolicy, Entry, Resource};
use keyward_record::reading::{Answered, Asked, Headers};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};

/// The version of the schema that the events follow: names move between versions.
pub const VERSION: &str = "1.8.0";

const CLASS: u64 = 6003;
const METHODS: &[&str] =
    &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The event. What the class has no place for stands in `unmapped`.
pub fn event(exchange: &Exchange) -> Value {
    let (asked, answered) = (
        exchange.request.asked(),
        exchange.answer.as_ref().map(Part::answered).unwrap_or_default(),
    );
    let (mut request, mut answer) = (asked.clone(), answered.clone());
    let mut event = Map::new();
    for part in [
        classification(exchange, &asked),
        occurrence(exchange, &mut request, &mut answer),
        outcome(exchange, &mut request, &mut answer),
        decision(&mut request),
        who(exchange, &mut request),
        what(exchange, &mut request),
        wire(exchange, &mut request, &mut answer),
    ] {
        if let Value::Object(part) = filled(part) {
            event.extend(part);
        }
    }
    let mut unmapped = Map::new();
    unmapped
        .extend(rest(&exchange.request, &asked, &request).map(|left| ("request".to_owned(), left)));
    unmapped.extend(
        exchange
            .answer
            .as_ref()
            .and_then(|part| rest(part, &answered, &answer))
            .map(|left| ("answer".to_owned(), left)),
    );
    unmapped.extend(
        exchange.answer.as_ref().map(|answer| ("answer_sequence".to_owned(), answer.seq.into())),
    );
    if !unmapped.is_empty() {
        event.insert("unmapped".to_owned(), unmapped.into());
    }
    event.into()
}

fn is_event(exchange: &Exchange) -> bool {
    exchange.request.kind == Kind::Event
}

fn classification(exchange: &Exchange, asked: &Asked) -> Value {
    let (activity, name) = match Verb::of(&asked.call) {
        Verb::Create => (1, "Create"),
        Verb::Read => (2, "Read"),
        Verb::Update => (3, "Update"),
        Verb::Delete => (4, "Delete"),
        Verb::Other => (99, "Other"),
    };
    let (severity, severity_name) = match exchange.outcome() {
        "refused" | "failed" | "partly-failed" | "not-sent" => (2, "Low"),
        "unknown" => (3, "Medium"),
        _ => (1, "Informational"),
    };
    json!({
        "category_uid": CLASS / 1000, "category_name": "Application Activity", "class_uid": CLASS, "class_name": "API Activity",
        "activity_id": activity, "activity_name": name, "type_uid": CLASS * 100 + activity, "type_name": format!("API Activity: {name}"),
        "severity_id": severity, "severity": severity_name,
    })
}

fn occurrence<'a>(
    exchange: &Exchange,
    request: &mut Asked<'a>,
    answer: &mut Answered<'a>,
) -> Value {
    let (part, id) = (&exchange.request, exchange.id.to_string());
    for (own, kind) in [(&mut request.id, &mut request.kind), (&mut answer.id, &mut answer.kind)] {
        // Said by what the event is.
        own.take_if(|own| *own == id);
        kind.take_if(|kind| ["request", "answer", "event"].contains(kind));
    }
    let version = request.v.take();
    answer.v.take_if(|own| Some(*own) == version);
    let original = text(&mut request.time);
    let counted = (request.event == Some(EventName::RefusalsCounted.code())).then(|| {
        let moment = |time: &mut Option<&str>| {
            take(time, |time| Timestamp::parse(time)).map(Timestamp::millis)
        };
        (
            moment(&mut request.detail.first.time),
            moment(&mut request.detail.last.time),
            request.detail.count.take(),
        )
    });
    let (first, last, count) = counted.unwrap_or_default();
    json!({
        "time": part.time.millis(), "count": count, "start_time": first, "end_time": last,
        "message": render::sentence(exchange),
        "metadata": {
            "version": VERSION, "profiles": ["security_control"],
            "product": {"name": "keyward", "vendor_name": "keyward"},
            "log_name": "audit trail", "log_version": version.map(|version| version.to_string()),
            "uid": id, "sequence": part.seq, "original_time": original, "logged_time": part.time.millis(),
        },
    })
}

fn outcome(exchange: &Exchange, request: &mut Asked, answer: &mut Answered) -> Value {
    let outcome = exchange.outcome();
    let refused = exchange.request.kind == Kind::Refused;
    let (id, name) = match outcome {
        "event" => return json!({}),
        "succeeded" => (1, "Success"),
        "failed" | "refused" | "not-sent" => (2, "Failure"),
        "unknown" | "open" => (0, "Unknown"),
        other => (99, other),
    };
    let code = if refused {
        request.decision.reason.map(str::to_owned)
    } else {
        exchange.status().map(|status| status.to_string())
    };
    let detail =
        if refused { text(&mut request.decision.message) } else { text(&mut answer.detail) };
    json!({"status_id": id, "status": name, "status_code": code, "status_detail": detail})
}

fn decision(request: &mut Asked) -> Value {
    let verdict = |verdict: &&str| match *verdict {
        "allow" | "pass" => Some((1, "Allowed", "Allowed")),
        "deny" => Some((2, "Denied", "Blocked")),
        _ => None,
    };
    let Some((action_id, action, disposition)) = take(&mut request.decision.verdict, verdict)
    else {
        return json!({});
    };
    let bundle = request.decision.bundle;
    let policy = |policy: &Entry<DeterminingPolicy>| {
        let Entry::Of(DeterminingPolicy::Of {
            id,
            effect: Some(effect),
            item,
            message: Some(message),
        }) = policy
        else {
            return None;
        };
        let data = item.map(|item| json!({"item": item}));
        Some(
            json!({"decision": effect, "policy": {"uid": id, "desc": message, "version": bundle, "data": data, "is_applied": true}}),
        )
    };
    let policies: Vec<Value> =
        take(&mut request.decision.policies, |list| list.iter().map(policy).collect())
            .unwrap_or_default();
    json!({
        "action_id": action_id, "action": action, "disposition_id": action_id, "disposition": disposition,
        "policy": policies.first().and_then(|first| first.get("policy")),
        "authorizations": policies,
    })
}

fn who(exchange: &Exchange, request: &mut Asked) -> Value {
    if is_event(exchange) {
        return json!({"actor": {"app_name": "keyward"}, "src_endpoint": {"svc_name": "keyward"}});
    }
    let kind = |kind: &&str| match *kind {
        "user" => Some((1, "User")),
        "robot" => Some((4, "Service")),
        "anonymous" => Some((0, "Unknown")),
        _ => None,
    };
    let caller = &mut request.caller;
    let kind = take(&mut caller.kind, kind);
    let groups: Option<Vec<_>> = caller
        .groups
        .take()
        .map(|groups| groups.iter().map(|group| json!({"name": group})).collect());
    let key = text(&mut caller.credential.key_id);
    let scheme = key.and_then(|_| text(&mut caller.credential.scheme));
    let address = take(&mut request.source.address, |address| address.parse::<IpAddr>().ok());
    let port = request.source.port.take();
    json!({
        "actor": {"user": {
            "name": text(&mut caller.name).unwrap_or("unknown"),
            "type_id": kind.map(|(id, _)| id), "type": kind.map(|(_, name)| name), "groups": groups,
            "programmatic_credentials": key.map(|key| json!([{"uid": key, "type": scheme}])),
        }},
        "src_endpoint": {"ip": address, "port": port, "name": address.is_none().then_some("unknown")},
    })
}

fn what(exchange: &Exchange, request: &mut Asked) -> Value {
    if is_event(exchange) {
        let name = text(&mut request.event).unwrap_or("unknown");
        return json!({"api": {"operation": name, "service": {"name": "keyward"}}});
    }
    // Items stay whole where they are: with each resource goes what is to be done to it.
    let mut resources: Vec<Value> = request.resources().map(resource).collect();
    let first = resources.first();
    let own = take(&mut request.resource, |own| {
        Some(resource(own)).filter(|own| first.is_none_or(|first| first == own))
    });
    if first.is_none() {
        resources.extend(own);
    }
    json!({
        "api": {
            "operation": text(&mut request.call.action).unwrap_or("unknown"),
            "service": {"name": text(&mut request.call.service)},
            "request": {"uid": exchange.id.to_string()},
            "response": {"code": exchange.status()},
        },
        "resources": resources,
    })
}

fn resource(resource: &Resource) -> Value {
    json!({"uid": resource.id, "type": resource.r#type, "data": resource.parent.as_ref().map(|parent| json!({"parent": parent}))})
}

fn wire(exchange: &Exchange, request: &mut Asked, answer: &mut Answered) -> Value {
    if is_event(exchange) {
        return json!({});
    }
    let upstream = take(&mut answer.upstream.address, |address| address.parse::<SocketAddr>().ok());
    let call = &mut request.call;
    let (host, path) = (text(&mut call.host), text(&mut call.path));
    // The schema wants a path in each `url`.
    let url = path
        .map(|path| json!({"hostname": host, "path": path, "query_string": text(&mut call.query)}));
    let http_request = json!({
        "uid": exchange.id.to_string(),
        "http_method": call.method.take_if(|method| METHODS.contains(method)),
        "version": text(&mut call.version),
        "url": url,
        "user_agent": text(&mut request.source.agent),
        "http_headers": call.headers.take().map(headers),
        "body_length": request.body.length.take(),
    });
    let http_response = exchange.status().map(|code| {
        answer.status.take_if(|status| *status == code);
        json!({
            "code": code,
            "content_type": text(&mut answer.body.media_type),
            "http_headers": answer.headers.take().map(headers),
            "body_length": answer.body.length.take(),
        })
    });
    json!({
        "dst_endpoint": {"hostname": host, "ip": upstream.map(|address| address.ip()), "port": upstream.map(|address| address.port())},
        "http_request": http_request, "http_response": http_response,
    })
}

/// `{name: [values]}` as a list of pairs.
fn headers(headers: Headers) -> Value {
    headers
        .iter()
        .flat_map(|(name, values)| {
            values.iter().map(move |value| json!({"name": name, "value": value}))
        })
        .collect()
}
