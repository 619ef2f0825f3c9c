//! A record as far as it can be read: also one that lacks something, that says more than is known
//! here, or that is damaged.
//!
//! [`crate::Leaf`] reads a record whole or not at all. Who shows or exports a trail must not refuse
//! what a newer version has written: here each field is read for itself, and `None` where it is not
//! there, or is nothing of its kind.

use crate::call::{DeterminingPolicy, Entry, Resource};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What can be read of any value.
trait Read<'a>: Default {
    fn read(value: &'a Value) -> Self;
}

impl<'a, T: Deserialize<'a>> Read<'a> for Option<T> {
    fn read(value: &'a Value) -> Self {
        T::deserialize(value).ok()
    }
}

/// What was read, for whoever takes fields out of it and hands over the rest.
pub trait Reading {
    /// The fields that are not the same as in what is `left`: as they were, and as they are there.
    fn taken(&self, left: &Self) -> [Map<String, Value>; 2];
}

macro_rules! readings {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $of:literal])+ $field:ident: $type:ty,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub struct $name<'a> { $($(#[doc = $of])+ pub $field: $type,)+ }

        impl Reading for $name<'_> {
            fn taken(&self, left: &Self) -> [Map<String, Value>; 2] {
                let mut parts = [Map::new(), Map::new()];
                $(if self.$field != left.$field {
                    for (part, of) in parts.iter_mut().zip([self, left]) {
                        part.insert(stringify!($field).to_owned(), serde_json::to_value(&of.$field).unwrap_or_default());
                    }
                })+
                parts
            }
        }

        impl<'a> Read<'a> for $name<'a> {
            fn read(value: &'a Value) -> Self {
                Self { $($field: value.get(stringify!($field)).map(Read::read).unwrap_or_default(),)+ }
            }
        }
    )+};
}

readings! {
    /// The record of a call, or of an event.
    Asked {
        /// The version of the form.
        v: Option<u64>,
        /// What it is.
        kind: Option<&'a str>,
        /// The audit id.
        id: Option<&'a str>,
        /// When it was made.
        time: Option<&'a str>,
        /// Who asked.
        caller: Caller<'a>,
        /// From where.
        source: Source<'a>,
        /// What the call is.
        call: Call<'a>,
        /// What it asks for.
        items: Option<Vec<Item>>,
        /// What the first item is about.
        resource: Option<Resource>,
        /// The body.
        body: Body<'a>,
        /// What was decided.
        decision: Decision<'a>,
        /// Of an event: its name.
        event: Option<&'a str>,
        /// Of an event: what it tells.
        detail: Detail<'a>,
    }
    /// The record of an answer.
    Answered {
        /// The version of the form.
        v: Option<u64>,
        /// What it is.
        kind: Option<&'a str>,
        /// The audit id.
        id: Option<&'a str>,
        /// When it was made.
        time: Option<&'a str>,
        /// What became of the call.
        outcome: Option<&'a str>,
        /// The HTTP status.
        status: Option<u16>,
        /// The headers.
        headers: Option<Headers<'a>>,
        /// The body.
        body: Body<'a>,
        /// Who answered.
        upstream: Upstream<'a>,
        /// What went wrong.
        detail: Option<&'a str>,
    }
    /// Who asked.
    Caller {
        /// The name.
        name: Option<&'a str>,
        /// `user`, `robot` or `anonymous`.
        kind: Option<&'a str>,
        /// The groups.
        groups: Option<Vec<&'a str>>,
        /// How sure that is.
        assurance: Option<&'a str>,
        /// What was shown.
        credential: Credential<'a>,
    }
    /// What was shown as a credential.
    Credential {
        /// The scheme.
        scheme: Option<&'a str>,
        /// The id of the key that signs.
        key_id: Option<&'a str>,
    }
    /// From where a call came.
    Source {
        /// The address of the client.
        address: Option<&'a str>,
        /// Its port.
        port: Option<u16>,
        /// The program, as it says.
        agent: Option<&'a str>,
    }
    /// What a call is.
    Call {
        /// The service.
        service: Option<&'a str>,
        /// The action.
        action: Option<&'a str>,
        /// The operation's name in its document.
        operation: Option<&'a str>,
        /// The groups of actions that it is in.
        groups: Option<Vec<&'a str>>,
        /// The method.
        method: Option<&'a str>,
        /// The version of HTTP towards the caller.
        version: Option<&'a str>,
        /// The host.
        host: Option<&'a str>,
        /// The path.
        path: Option<&'a str>,
        /// The query, where it was not left out.
        query: Option<&'a str>,
        /// The headers, where they were not left out.
        headers: Option<Headers<'a>>,
    }
    /// What a record says of a body.
    Body {
        /// Its true length in bytes.
        length: Option<u64>,
        /// The digest of its true bytes.
        digest: Option<&'a str>,
        /// What is kept was cut.
        cut: Option<bool>,
        /// What binds the body that stands beside the record.
        commit: Option<&'a str>,
        /// `Content-Type`.
        media_type: Option<&'a str>,
    }
    /// What was decided.
    Decision {
        /// Whether the call may go on.
        verdict: Option<&'a str>,
        /// The code of the reason.
        reason: Option<&'a str>,
        /// The sentence that the caller was given.
        message: Option<&'a str>,
        /// The policies that decided.
        policies: Option<Vec<Entry<DeterminingPolicy>>>,
        /// The hash of the policies in force.
        bundle: Option<&'a str>,
        /// The digest of the catalogue in force.
        catalog: Option<&'a str>,
    }
    /// What an event tells, as far as more than its own readers look at it.
    Detail {
        /// The hash of the policies in force.
        bundle: Option<&'a str>,
        /// The digest of the catalogue in force.
        catalog: Option<&'a str>,
        /// How many refusals are counted.
        count: Option<u64>,
        /// The first one.
        first: Occurred<'a>,
        /// The last one.
        last: Occurred<'a>,
    }
    /// When something happened.
    Occurred {
        /// The time.
        time: Option<&'a str>,
    }
    /// Who answered.
    Upstream {
        /// The address.
        address: Option<&'a str>,
    }
}

/// Headers by name in lower case, each with its values in order.
pub type Headers<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// What an item is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The thing in a cloud.
    #[serde(default)]
    pub resource: Option<Resource>,
}

impl<'a> Asked<'a> {
    /// What this record says.
    pub fn of(json: &'a Value) -> Self {
        Self::read(json)
    }

    /// The action that was asked for; of an event its name.
    pub fn action(&self) -> Option<&'a str> {
        self.event.or(self.call.action)
    }

    /// The ids of the policies that decided.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.decision.policies.iter().flatten().filter_map(|entry| match entry {
            Entry::Of(policy) => Some(policy.id()),
            Entry::LeftOut(_) => None,
        })
    }

    /// The things that its items are about.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.items.iter().flatten().filter_map(|item| item.resource.as_ref())
    }
}

impl<'a> Answered<'a> {
    /// What this record says.
    pub fn of(json: &'a Value) -> Self {
        Self::read(json)
    }
}

/// A record as a page shows it: the decision for itself, and what else it says beside what every
/// record has.
#[derive(Clone, Debug, Deserialize)]
pub struct Parts {
    #[serde(default, rename = "v")]
    _v: IgnoredAny,
    #[serde(default, rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    /// What was decided.
    #[serde(default)]
    pub decision: Option<Value>,
    /// The rest, also what is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Parts {
    /// The parts of a record; `None` where it is no JSON object.
    pub fn of(json: &Value) -> Option<Self> {
        Self::deserialize(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Leaf;
    use serde_json::json;

    /// The members of `all` that `of` has, as far as both go into depth.
    fn within(of: &Value, all: &Value) -> bool {
        match (of, all) {
            (Value::Object(of), Value::Object(all)) => {
                of.iter().all(|(name, inner)| all.get(name).is_some_and(|all| within(inner, all)))
            }
            (Value::Array(of), Value::Array(all)) => {
                of.len() == all.len() && of.iter().zip(all).all(|(of, all)| within(of, all))
            }
            _ => of == all,
        }
    }

    #[test]
    fn every_field_is_one_of_the_form() {
        let body = json!({"length": 7, "digest": "sha256:d", "cut": true, "commit": "sha256:c", "media_type": "application/json"});
        let resource =
            json!({"type": "Image", "id": "i", "parent": {"type": "Project", "id": "p"}});
        let request = json!({
            "kind": "request", "v": 1, "id": "i", "time": "t",
            "caller": {"name": "n", "kind": "user", "groups": ["g"], "assurance": "token", "credential": {"scheme": "s", "key_id": "k"}},
            "source": {"address": "192.0.2.7", "port": 1, "agent": "a"},
            "call": {
                "service": "s", "action": "a", "operation": "o", "groups": ["g"], "method": "GET", "version": "HTTP/1.1", "host": "h", "path": "/",
                "query": "q", "headers": {"h": ["v"]},
            },
            "items": [{"fields": {}, "resource": resource}], "resource": resource, "body": body,
            "decision": {"verdict": "deny", "reason": "r", "message": "m", "policies": [{"id": "p"}, {"left_out": 1}], "bundle": "b", "catalog": "c"},
        });
        let answer = json!({
            "kind": "answer", "v": 1, "id": "i", "time": "t", "outcome": "failed", "status": 500, "headers": {"h": ["v"]}, "body": body,
            "upstream": {"address": "192.0.2.9:443"}, "detail": "d",
        });
        for record in [&request, &answer] {
            let leaf = Leaf::deserialize(record).unwrap();
            assert!(
                within(record, &serde_json::to_value(leaf).unwrap()),
                "the sample is of the form"
            );
        }
        let asked = Asked::of(&request);
        assert_eq!(
            (asked.policies().collect::<Vec<_>>(), asked.resources().count(), asked.action()),
            (vec!["p"], 1, Some("a"))
        );
        let mut told = serde_json::to_value(Asked { items: None, ..asked }).unwrap();
        ["items", "event", "detail"]
            .iter()
            .for_each(|name| drop(told.as_object_mut().unwrap().remove(*name)));
        assert!(within(&told, &request), "{told}");
        assert_eq!(serde_json::to_value(Answered::of(&answer)).unwrap(), answer);
    }

    #[test]
    fn an_event_is_read_whatever_it_is() {
        let at = |time: &str| json!({"time": time, "id": "i"});
        let json = json!({"kind": "event", "event": "of-tomorrow", "detail": {"bundle": "b", "catalog": "c", "count": 2, "first": at("1"), "last": at("2")}});
        let asked = Asked::of(&json);
        let Detail { bundle, catalog, count, first, last } = asked.detail.clone();
        assert_eq!(
            (asked.action(), bundle, catalog, count, first.time, last.time),
            (Some("of-tomorrow"), Some("b"), Some("c"), Some(2), Some("1"), Some("2"))
        );
    }

    #[test]
    fn what_is_of_no_kind_is_none_and_hides_nothing_beside_it() {
        let json = json!({"v": -1, "caller": {"name": 7, "kind": "user"}, "call": [], "body": null, "decision": {"policies": [7], "verdict": "perhaps"}});
        let asked = Asked::of(&json);
        assert_eq!(
            (asked.v, asked.caller.name, asked.caller.kind, asked.decision.verdict),
            (None, None, Some("user"), Some("perhaps"))
        );
        assert_eq!(
            (&asked.call, &asked.body, asked.policies().count()),
            (&Call::default(), &Body::default(), 0)
        );
        assert_eq!(Asked::of(&Value::Null), Asked::default());
    }

    #[test]
    fn what_was_taken_is_told() {
        let json = json!({"id": "i", "caller": {"name": "n"}, "source": {"address": "a", "port": 1}, "items": [], "event": "e"});
        let (asked, mut left) = (Asked::of(&json), Asked::of(&json));
        (left.source.port, left.event) = (None, None);
        let [taken, left] = asked.taken(&left).map(Value::from);
        assert_eq!(
            taken,
            json!({"source": {"address": "a", "port": 1, "agent": null}, "event": "e"})
        );
        assert_eq!(
            left,
            json!({"source": {"address": "a", "port": null, "agent": null}, "event": null})
        );
    }

    #[test]
    fn a_page_has_what_is_not_known_here() {
        let parts = Parts::of(&json!({"v": 1, "kind": "event", "id": "i", "decision": {"reason": "r"}, "of-tomorrow": 7})).unwrap();
        assert_eq!(
            (parts.decision, Value::from(parts.rest)),
            (Some(json!({"reason": "r"})), json!({"of-tomorrow": 7}))
        );
        assert!(Parts::of(&Value::Null).is_none() && Parts::of(&json!([])).is_none());
    }
}
