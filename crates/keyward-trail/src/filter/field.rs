//! What can be asked of an exchange by name: `caller`, `status`, or any path such as
//! `request.call.method`.

use crate::exchange::Exchange;
use serde_json::Value;
use std::net::IpAddr;

/// Names for what is asked most, and the paths that they stand for.
const NAMED: &[(&str, &[&str])] = &[
    ("caller", &["request.caller.name"]),
    ("action", &["request.call.action"]),
    ("service", &["request.call.service"]),
    ("resource", &["request.resource.id", "request.items.resource.id"]),
    ("project", &[]),
    ("decision", &["request.decision.verdict"]),
    ("reason", &["request.decision.reason"]),
    ("policy", &[]),
    ("shadow", &["request.decision.shadow.id", "request.decision.shadow"]),
    ("source", &["request.source.address"]),
    ("key", &["request.caller.credential.key_id"]),
    ("operation", &["request.call.operation"]),
    ("method", &["request.call.method"]),
    ("cloud-request-id", &["answer.headers.x-request-id"]),
    ("event", &["request.event"]),
    ("outcome", &[]),
    ("status", &[]),
];

/// Something that an exchange has no, one or several values of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Project,
    /// The policies that decided as the call went: forbids where it was denied, permits where it
    /// was let through. A batch that is denied may have permits for its other items, and these
    /// did not decide.
    Policy,
    Outcome,
    Status,
    Paths(Vec<Path>),
}

/// A path into a record or into the body beside it. Steps are object names or array indexes; a name
/// that meets an array goes into each of its elements. A name that holds a dot cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    place: RecordPart,
    steps: Vec<String>,
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordPart {
    Request,
    RequestContent,
    Answer,
    AnswerContent,
}

impl RecordPart {
    /// How a path into it begins.
    pub(crate) fn prefix(self) -> &'static str {
        Self::ALL.iter().find(|(_, place)| *place == self).map_or("", |(prefix, _)| prefix)
    }

    const ALL: [(&'static str, Self); 4] = [
        // The longer prefix first.
        ("request.content.", Self::RequestContent),
        ("answer.content.", Self::AnswerContent),
        ("request.", Self::Request),
        ("answer.", Self::Answer),
    ];
}

impl Field {
    /// The field of this name; `None` when there is none.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "project" => Some(Self(Kind::Project)),
            "policy" => Some(Self(Kind::Policy)),
            "outcome" => Some(Self(Kind::Outcome)),
            "status" => Some(Self(Kind::Status)),
            _ => match NAMED.iter().find(|(named, _)| *named == name) {
                Some((_, paths)) => paths
                    .iter()
                    .map(|path| Path::parse(path))
                    .collect::<Option<_>>()
                    .map(|paths| Self(Kind::Paths(paths))),
                None => Path::parse(name).map(|path| Self(Kind::Paths(vec![path]))),
            },
        }
    }

    /// The names that are no paths.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The short name of what a path stands for, if it has one.
    pub fn short(name: &str) -> Option<&'static str> {
        let field = Self::parse(name)?;
        NAMED
            .iter()
            .map(|(named, _)| *named)
            .find(|named| Self::parse(named).as_ref() == Some(&field))
    }

    /// Whether bodies must be read to know its values.
    pub fn needs_content(&self) -> bool {
        self.places()
            .any(|place| matches!(place, RecordPart::RequestContent | RecordPart::AnswerContent))
    }

    fn is_source(&self) -> bool {
        matches!(&self.0, Kind::Paths(paths) if matches!(paths.as_slice(), [Path { place: RecordPart::Request, steps }] if steps == &["source", "address"]))
    }

    /// Where its values stand; none when they are computed.
    pub(crate) fn places(&self) -> impl Iterator<Item = RecordPart> {
        let paths: &[Path] = if let Kind::Paths(paths) = &self.0 { paths } else { &[] };
        paths.iter().map(|path| path.place)
    }

    /// Where it begins and the path from there, when it is one path.
    pub(crate) fn path(&self) -> Option<(RecordPart, String)> {
        match &self.0 {
            Kind::Paths(paths) => match paths.as_slice() {
                [only] => Some((only.place, only.steps.join("."))),
                _ => None,
            },
            Kind::Project | Kind::Policy | Kind::Outcome | Kind::Status => None,
        }
    }

    /// The paths, from the top of a record, that decide on its values.
    pub(crate) fn reads(&self) -> Vec<Vec<&str>> {
        match &self.0 {
            Kind::Project => ["resource", "items.resource"]
                .iter()
                .flat_map(|holder| {
                    ["type", "id", "parent.type", "parent.id"]
                        .map(|path| holder.split('.').chain(path.split('.')).collect())
                })
                .collect(),
            Kind::Policy => vec![
                vec!["decision", "verdict"],
                vec!["decision", "policies", "id"],
                vec!["decision", "policies", "effect"],
            ],
            Kind::Outcome => vec![vec!["outcome"]],
            Kind::Status => vec![vec!["status"], vec!["decision", "reason"]],
            Kind::Paths(paths) => {
                paths.iter().map(|path| path.steps.iter().map(String::as_str).collect()).collect()
            }
        }
    }

    /// Its values in this exchange, as text, each once.
    pub fn values(&self, exchange: &Exchange) -> Vec<String> {
        let mut values = Vec::new();
        match &self.0 {
            Kind::Project => {
                let json = &exchange.request.json;
                let items = json.get("items").and_then(Value::as_array).into_iter().flatten();
                values.extend(
                    std::iter::once(json)
                        .chain(items)
                        .filter_map(|holder| project(holder.get("resource")?))
                        .map(str::to_owned),
                );
            }
            Kind::Policy => values.extend(deciding(&exchange.request.json).map(str::to_owned)),
            Kind::Outcome => values.push(exchange.outcome().to_owned()),
            Kind::Status => values.extend(exchange.status().map(|status| status.to_string())),
            Kind::Paths(paths) => paths.iter().for_each(|path| path.values(exchange, &mut values)),
        }
        if self.is_source() {
            values.iter_mut().for_each(|value| *value = address(value));
        }
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// The policies that decided as the call went.
fn deciding(request: &Value) -> impl Iterator<Item = &str> {
    let of_decision = |name: &str| request.get("decision").and_then(|decision| decision.get(name));
    let effect = if of_decision("verdict").and_then(Value::as_str) == Some("deny") {
        "forbid"
    } else {
        "permit"
    };
    let policies = of_decision("policies").and_then(Value::as_array).into_iter().flatten();
    let decided = policies.filter(move |policy| {
        policy.get("effect").and_then(Value::as_str).is_none_or(|own| own == effect)
    });
    decided.filter_map(|policy| policy.get("id")?.as_str())
}

/// An address by its one name: older records have IPv4 callers of an IPv6 listener as
/// `::ffff:192.0.2.7`.
fn address(text: &str) -> String {
    text.parse::<IpAddr>()
        .map_or_else(|_| text.to_owned(), |address| address.to_canonical().to_string())
}

/// The project that a resource is, or is in.
fn project(resource: &Value) -> Option<&str> {
    let holder = [Some(resource), resource.get("parent")]
        .into_iter()
        .flatten()
        .find(|one| one.get("type").is_some_and(|kind| kind == "Project"));
    holder?.get("id")?.as_str()
}

impl Path {
    fn parse(text: &str) -> Option<Self> {
        let (prefix, place) =
            RecordPart::ALL.into_iter().find(|(prefix, _)| text.starts_with(prefix))?;
        let steps: Vec<_> = text.strip_prefix(prefix)?.split('.').map(str::to_owned).collect();
        let whole_body = steps == ["content"];
        (!whole_body && steps.iter().all(|step| !step.is_empty())).then_some(Self { place, steps })
    }

    fn values(&self, exchange: &Exchange, values: &mut Vec<String>) {
        let answer = exchange.answer.as_ref();
        match self.place {
            RecordPart::Request => collect(&exchange.request.json, &self.steps, values),
            RecordPart::Answer => {
                collect(answer.map_or(&Value::Null, |answer| &answer.json), &self.steps, values)
            }
            RecordPart::RequestContent => {
                collect(&exchange.request.content_json().unwrap_or_default(), &self.steps, values)
            }
            RecordPart::AnswerContent => collect(
                &answer.and_then(|answer| answer.content_json()).unwrap_or_default(),
                &self.steps,
                values,
            ),
        }
    }
}

fn collect(value: &Value, steps: &[String], values: &mut Vec<String>) {
    match (value, steps.split_first()) {
        (Value::Object(object), Some((step, rest))) => {
            if let Some(value) = object.get(step) {
                collect(value, rest, values);
            }
        }
        (Value::Array(array), Some((step, rest))) => {
            if let Some(value) = step.parse().ok().and_then(|index: usize| array.get(index)) {
                collect(value, rest, values);
            }
            array.iter().for_each(|value| collect(value, steps, values));
        }
        (Value::Array(array), None) => array.iter().for_each(|value| collect(value, steps, values)),
        (Value::String(text), None) => values.push(text.clone()),
        (Value::Null | Value::Bool(_) | Value::Number(_), None) => values.push(value.to_string()),
        (Value::Object(_), None) | (_, Some(_)) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value, path: &str, expected: &[&str]) {
        let steps: Vec<_> = path.split('.').map(str::to_owned).collect();
        let mut values = vec![];
        collect(value, &steps, &mut values);
        assert_eq!(values, expected, "{path}");
    }

    #[test]
    fn a_policy_that_would_have_decided_did_not() {
        let exchange = |decision: Value| Exchange {
            id: keyward_core::clock::AuditId::new(),
            request: crate::exchange::Part {
                seq: 0,
                time: keyward_core::clock::Timestamp(0),
                kind: keyward_record::Kind::Refused,
                leaf: bytes::Bytes::new(),
                json: json!({"decision": decision, "source": {"address": "::ffff:192.0.2.7"}}),
                content: None,
            },
            answer: None,
            answer_gone: false,
        };
        let policies = json!([{"id": "of-one-item", "effect": "permit"}, {"id": "no-all", "effect": "forbid"}, {"id": "old"}]);
        let of = |verdict: &str, name: &str| {
            let decision = json!({"verdict": verdict, "policies": policies, "shadow": [{"id": "trial", "effect": "forbid"}, "old-trial"]});
            Field::parse(name).unwrap().values(&exchange(decision))
        };
        assert_eq!(
            (of("deny", "policy"), of("allow", "policy")),
            (
                vec!["no-all".to_owned(), "old".to_owned()],
                vec!["of-one-item".to_owned(), "old".to_owned()]
            )
        );
        assert_eq!(of("deny", "shadow"), ["old-trial", "trial"]);
        assert_eq!(of("deny", "request.decision.policies.id").len(), 3);
        assert_eq!(of("deny", "source"), ["192.0.2.7"]);
    }

    #[test]
    fn paths_reach_through_objects_and_arrays() {
        let value = json!({"a": {"b": [{"c": 1}, {"c": [true, null, "x"]}]}, "0": "zero"});
        check(&value, "a.b.c", &["1", "true", "null", "x"]);
        check(&value, "a.b.0.c", &["1"]);
        check(&value, "a.b", &[]);
        check(&value, "a.b.c.d", &[]);
        check(&value, "0", &["zero"]);
    }

    #[test]
    fn names_and_paths_are_told_apart() {
        assert!(Field::names().all(|name| Field::parse(name).is_some()));
        assert_eq!(Field::parse("caller"), Field::parse("request.caller.name"));
        assert!(Field::parse("request.content.keyScope").unwrap().needs_content());
        assert!(!Field::parse("answer.status").unwrap().needs_content());
        for wrong in
            ["callers", "request", "request.", "request..a", "request.content", "content.a", ""]
        {
            assert_eq!(Field::parse(wrong), None, "{wrong}");
        }
    }
}
