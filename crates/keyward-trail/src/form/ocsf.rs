//! OCSF: one event of class API Activity (6003) for each exchange, and for each of the gateway's own events.

use super::rest::{Rest, filled};
use super::verb::Verb;
use crate::exchange::Exchange;
use crate::present;
use keyward_core::clock::Timestamp;
use keyward_record::EventName;
use keyward_record::Kind;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};

/// The version of the schema that the events follow: names move between versions.
pub const VERSION: &str = "1.8.0";

const CLASS: u64 = 6003;
const METHODS: &[&str] = &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The event. What the class has no place for stands in `unmapped`.
pub fn event(exchange: &Exchange) -> Value {
    let mut request = Rest::of(&exchange.request);
    let mut answer = exchange.answer.as_ref().map_or_else(Rest::none, Rest::of);
    let mut event = Map::new();
    for part in [
        classification(exchange),
        occurrence(exchange, &mut request, &mut answer),
        outcome(exchange, &mut request, &mut answer),
        decision(exchange, &mut request),
        who(exchange, &mut request),
        what(exchange, &mut request),
        wire(exchange, &mut request, &mut answer),
    ] {
        if let Value::Object(part) = filled(part) {
            event.extend(part);
        }
    }
    let mut unmapped = Map::new();
    unmapped.extend(request.left().map(|left| ("request".to_owned(), left)));
    unmapped.extend(answer.left().map(|left| ("answer".to_owned(), left)));
    unmapped.extend(exchange.answer.as_ref().map(|answer| ("answer_sequence".to_owned(), answer.seq.into())));
    if !unmapped.is_empty() {
        event.insert("unmapped".to_owned(), unmapped.into());
    }
    event.into()
}

fn is_event(exchange: &Exchange) -> bool {
    exchange.request.kind == Kind::Event
}

fn classification(exchange: &Exchange) -> Value {
    let (activity, name) = match Verb::of(exchange) {
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

fn occurrence(exchange: &Exchange, request: &mut Rest, answer: &mut Rest) -> Value {
    let part = &exchange.request;
    let same = |value: &Value, own: &str| (value == own).then_some(());
    for rest in [&mut *request, answer] {
        // Said by what the event is.
        rest.take("/id", |value| same(value, &exchange.id.to_string()));
        rest.take("/kind", |value| ["request", "answer", "event"].iter().find_map(|kind| same(value, kind)));
    }
    let version = request.number("/v");
    answer.take("/v", |value| value.as_u64().filter(|own| Some(*own) == version));
    let original = request.text("/time");
    let counted = (part.text("/event") == Some(EventName::RefusalsCounted.code())).then(|| {
        let mut moment = |pointer| request.take(pointer, |time| Timestamp::parse(time.as_str()?)).map(Timestamp::millis);
        (moment("/detail/first/time"), moment("/detail/last/time"), request.number("/detail/count"))
    });
    let (first, last, count) = counted.unwrap_or_default();
    json!({
        "time": part.time.millis(), "count": count, "start_time": first, "end_time": last,
        "message": present::sentence(exchange),
        "metadata": {
            "version": VERSION, "profiles": ["security_control"],
            "product": {"name": "keyward", "vendor_name": "keyward"},
            "log_name": "audit trail", "log_version": version.map(|version| version.to_string()),
            "uid": exchange.id.to_string(), "sequence": part.seq, "original_time": original, "logged_time": part.time.millis(),
        },
    })
}

fn outcome(exchange: &Exchange, request: &mut Rest, answer: &mut Rest) -> Value {
    let outcome = exchange.outcome();
    let refused = exchange.request.kind == Kind::Refused;
    let (id, name) = match outcome {
        "event" => return json!({}),
        "succeeded" => (1, "Success"),
        "failed" | "refused" | "not-sent" => (2, "Failure"),
        "unknown" | "open" => (0, "Unknown"),
        other => (99, other),
    };
    let code = if refused { exchange.request.text("/decision/reason").map(str::to_owned) } else { exchange.status().map(|status| status.to_string()) };
    let detail = if refused { request.text("/decision/message") } else { answer.text("/detail") };
    json!({"status_id": id, "status": name, "status_code": code, "status_detail": detail})
}

fn decision(exchange: &Exchange, request: &mut Rest) -> Value {
    let verdict = |verdict: &Value| match verdict.as_str()? {
        "allow" | "pass" => Some((1, "Allowed", "Allowed")),
        "deny" => Some((2, "Denied", "Blocked")),
        _ => None,
    };
    let Some((action_id, action, disposition)) = request.take("/decision/verdict", verdict) else { return json!({}) };
    let bundle = exchange.request.text("/decision/bundle");
    let policy = |policy: &Value| {
        let known = policy.as_object().is_some_and(|policy| policy.keys().all(|name| ["id", "effect", "message", "item"].contains(&name.as_str())));
        let [id, effect, message] = ["id", "effect", "message"].map(|name| policy.get(name).and_then(Value::as_str));
        let data = policy.get("item").map(|item| json!({"item": item}));
        known.then_some(json!({"decision": effect?, "policy": {"uid": id?, "desc": message?, "version": bundle, "data": data, "is_applied": true}}))
    };
    let policies: Vec<Value> = request.take("/decision/policies", |list| list.as_array()?.iter().map(policy).collect()).unwrap_or_default();
    json!({
        "action_id": action_id, "action": action, "disposition_id": action_id, "disposition": disposition,
        "policy": policies.first().and_then(|first| first.get("policy")),
        "authorizations": policies,
    })
}

fn who(exchange: &Exchange, request: &mut Rest) -> Value {
    if is_event(exchange) {
        return json!({"actor": {"app_name": "keyward"}, "src_endpoint": {"svc_name": "keyward"}});
    }
    let kind = |kind: &Value| match kind.as_str()? {
        "user" => Some((1, "User")),
        "robot" => Some((4, "Service")),
        "anonymous" => Some((0, "Unknown")),
        _ => None,
    };
    let kind = request.take("/caller/kind", kind);
    let groups = |groups: &Value| groups.as_array()?.iter().map(|group| Some(json!({"name": group.as_str()?}))).collect::<Option<Vec<_>>>();
    let groups = request.take("/caller/groups", groups);
    let key = request.text("/caller/credential/key_id");
    let scheme = key.is_some().then(|| request.text("/caller/credential/scheme")).flatten();
    let address = request.take("/source/address", |address| address.as_str()?.parse::<IpAddr>().ok());
    let port = request.take("/source/port", |port| u16::try_from(port.as_u64()?).ok());
    json!({
        "actor": {"user": {
            "name": request.text("/caller/name").unwrap_or_else(|| "unknown".to_owned()),
            "type_id": kind.map(|(id, _)| id), "type": kind.map(|(_, name)| name), "groups": groups,
            "programmatic_credentials": key.map(|key| json!([{"uid": key, "type": scheme}])),
        }},
        "src_endpoint": {"ip": address, "port": port, "name": address.is_none().then_some("unknown")},
    })
}

fn what(exchange: &Exchange, request: &mut Rest) -> Value {
    if is_event(exchange) {
        let name = request.text("/event").unwrap_or_else(|| "unknown".to_owned());
        return json!({"api": {"operation": name, "service": {"name": "keyward"}}});
    }
    // Items stay whole where they are: with each resource goes what is to be done to it.
    let items = exchange.request.json.get("items").and_then(Value::as_array);
    let mut resources: Vec<Value> = items.into_iter().flatten().filter_map(|item| resource(item.get("resource")?)).collect();
    let first = resources.first().cloned();
    let own = request.take("/resource", |value| resource(value).filter(|value| first.as_ref().is_none_or(|first| first == value)));
    if first.is_none() {
        resources.extend(own);
    }
    json!({
        "api": {
            "operation": request.text("/call/action").unwrap_or_else(|| "unknown".to_owned()),
            "service": {"name": request.text("/call/service")},
            "request": {"uid": exchange.id.to_string()},
            "response": {"code": exchange.status()},
        },
        "resources": resources,
    })
}

fn resource(resource: &Value) -> Option<Value> {
    let object = resource.as_object()?;
    let known = object.keys().all(|name| ["id", "type", "parent"].contains(&name.as_str()));
    let (id, kind) = (object.get("id")?.as_str().filter(|_| known)?, object.get("type")?.as_str()?);
    Some(json!({"uid": id, "type": kind, "data": object.get("parent").map(|parent| json!({"parent": parent}))}))
}

fn wire(exchange: &Exchange, request: &mut Rest, answer: &mut Rest) -> Value {
    if is_event(exchange) {
        return json!({});
    }
    let upstream = answer.take("/upstream/address", |address| address.as_str()?.parse::<SocketAddr>().ok());
    let (host, path) = (request.text("/call/host"), request.text("/call/path"));
    // The schema wants a path in each `url`.
    let url = path.map(|path| json!({"hostname": host, "path": path, "query_string": request.text("/call/query")}));
    let method = request.take("/call/method", |method| METHODS.iter().find(|known| method == **known).copied());
    let http_request = json!({
        "uid": exchange.id.to_string(),
        "http_method": method,
        "version": request.text("/call/version"),
        "url": url,
        "user_agent": request.text("/source/agent"),
        "http_headers": request.take("/call/headers", headers),
        "body_length": request.number("/body/length"),
    });
    let http_response = exchange.status().map(|code| {
        answer.take("/status", |status| (status.as_u64() == Some(code.into())).then_some(()));
        json!({
            "code": code,
            "content_type": answer.text("/body/media_type"),
            "http_headers": answer.take("/headers", headers),
            "body_length": answer.number("/body/length"),
        })
    });
    json!({
        "dst_endpoint": {"hostname": host, "ip": upstream.map(|address| address.ip()), "port": upstream.map(|address| address.port())},
        "http_request": http_request, "http_response": http_response,
    })
}

/// `{name: [values]}` as a list of pairs.
fn headers(headers: &Value) -> Option<Value> {
    let pairs = headers.as_object()?.iter().map(|(name, values)| {
        let values = values.as_array()?.iter().map(|value| Some(json!({"name": name, "value": value.as_str()?})));
        values.collect::<Option<Vec<_>>>()
    });
    pairs.collect::<Option<Vec<_>>>().map(|pairs| pairs.concat().into())
}
