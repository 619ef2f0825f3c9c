//! Composing records: from what was asked, decided and answered to canonical, redacted bytes.

use super::outcome::Outcome;
use super::record::{Content, Kind, Record, VERSION, canonical};
use super::redact::{Redactor, Shown};
use crate::caller::CallerKind;
use crate::catalog::Target;
use crate::catalog::source::Step;
use crate::clock::{AuditId, Timestamp};
use crate::inspect::Inspected;
use crate::inspect::facts::{Fact, Facts, Item, Resource};
use crate::policy::{Deciding, Decision, Effect, Question, Verdict};
use crate::reason::Reason;
use crate::request::RequestHead;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Leaves longer than this are shortened: the frame's format and the proofs to come bound them.
pub const LEAF_BYTES_MAX: usize = 60 * 1024;

/// Microseconds by stage.
pub type Timings = BTreeMap<&'static str, u64>;

/// Composes records.
#[derive(Debug)]
pub struct Composer {
    /// Hides secrets.
    pub redactor: Redactor,
    /// Bytes of a redacted body that are kept; the rest is cut and marked so.
    pub body_bytes_max: usize,
    /// The digest of the catalogue in force.
    pub catalog: String,
}

/// A call that has been judged.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its body.
    pub inspected: &'a Inspected,
    /// What was asked of the policies.
    pub question: &'a Question,
    /// What they answered.
    pub decision: &'a Decision,
}

/// An answer as it was seen, before redaction.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status, when there was one.
    pub status: Option<u16>,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body's first bytes, up to the limit of what is examined.
    pub body: Bytes,
    /// The body's true length.
    pub body_length: u64,
    /// `sha256:` of the true bytes, for bodies without secrets.
    pub body_digest: String,
    /// The end of the answer was seen.
    pub whole: bool,
    /// The request was, or may have been, sent.
    pub sent: bool,
    /// The upstream's address.
    pub upstream: String,
    /// What went wrong; empty when nothing did.
    pub fault: String,
    /// Stages, in microseconds.
    pub timings: Timings,
}

impl Composer {
    /// The record of a call and of what was decided about it.
    pub fn request(&self, judged: Judged, timings: &Timings) -> (Record, Shown) {
        let Judged { head, inspected, question, decision } = judged;
        let mut shown = Shown::default();
        let (marked, secret_parameters): (&[Vec<Step>], Vec<&str>) = match &question.target {
            Target::Operation(op, _) => {
                (op.body.as_ref().map_or(&[], |b| b.secrets.as_slice()), op.query.iter().filter(|f| f.secret).map(|f| f.name.as_str()).collect())
            }
            _ => (&[], Vec::new()),
        };
        let headers = self.redactor.headers(&head.headers, &mut shown);
        let query = head.query().map(|q| self.redactor.query(q, &secret_parameters, &mut shown));
        // Only a body of an operation that the catalogue knows is kept: of others nobody knows where the secrets are.
        let json = inspected.json.clone();
        let (mut body, content) = self.body(&inspected.body, None, json, marked, &mut shown);
        if let Some(media_type) = head.header("content-type") {
            body.insert("media_type".to_owned(), Value::from(cut(media_type, 128)));
        }
        if !inspected.read_whole {
            body.insert("read_whole".to_owned(), Value::Bool(false));
        }
        let mut leaf = json!({
            "v": VERSION, "kind": "request", "id": head.id.to_string(), "time": head.received.rfc3339(),
            "caller": caller(question),
            "source": {"address": head.client.ip().to_string(), "port": head.client.port(), "agent": head.header("user-agent").map(|a| cut(a, 256)), "forwarded_for_claimed": head.header("x-forwarded-for").map(|a| cut(a, 256))},
            "call": call(head, &question.target, headers, query),
            "items": items(question),
            "body": body,
            "decision": decided(decision, &self.catalog),
            "now": question.now.rfc3339(),
            "timing_us": timings,
        });
        if let Some(signed) = Redactor::signed(&head.headers) {
            set(&mut leaf, "signed", signed);
        }
        if let Ok(facts) = &question.facts
            && let Some(resource) = facts.items.first().and_then(|item| item.resource.as_ref())
        {
            set(&mut leaf, "resource", resource_json(resource));
        }
        let kind = if decision.verdict == Verdict::Allow { Kind::Forwarded } else { Kind::Refused };
        (self.finish(&shown, head.id, kind, head.received, leaf, content), shown)
    }

    /// The record of a forwarded call's outcome.
    pub fn answer(&self, id: AuditId, target: &Target, shown: &mut Shown, answer: Answer) -> (Record, Outcome) {
        let time = Timestamp::now();
        let plain = !answer.headers.contains_key(http::header::CONTENT_ENCODING);
        let examined_whole = answer.whole && answer.body_length == answer.body.len() as u64;
        let json = (plain && examined_whole).then(|| crate::inspect::json::parse(&answer.body).ok()).flatten();
        let outcome = match answer.status {
            _ if !answer.sent => Outcome::NotSent,
            Some(status) if answer.whole => super::outcome::read(target, status, json.as_ref()),
            _ => Outcome::Unknown,
        };
        let status = answer.status.unwrap_or(0);
        let marked = match target {
            Target::Operation(op, _) => op.answer(status).map_or(&[][..], |a| a.secrets.as_slice()),
            _ => &[],
        };
        let headers = self.redactor.headers(&answer.headers, shown);
        let known = matches!(target, Target::Operation(..));
        let (mut body, content) = self.body(&answer.body, Some((answer.body_length, &answer.body_digest)), json.filter(|_| known), marked, shown);
        if let Some(media_type) = answer.headers.get("content-type").and_then(|v| v.to_str().ok()) {
            body.insert("media_type".to_owned(), Value::from(cut(media_type, 128)));
        }
        let mut leaf = json!({
            "v": VERSION, "kind": "answer", "id": id.to_string(), "time": time.rfc3339(),
            "outcome": outcome.code(),
            "whole": answer.whole,
            "sent": answer.sent,
            "headers": headers,
            "body": body,
            "upstream": {"address": answer.upstream},
            "timing_us": answer.timings,
        });
        if let Some(status) = answer.status {
            set(&mut leaf, "status", Value::from(status));
            // The claim that a signature makes is settled by the cloud's own check.
            set(&mut leaf, "caller_accepted", Value::Bool(status != 401));
        }
        if !answer.fault.is_empty() {
            set(&mut leaf, "detail", Value::from(cut(&answer.fault, 512)));
        }
        (self.finish(shown, id, Kind::Answer, time, leaf, content), outcome)
    }

    /// Scrubs, bounds and freezes a leaf.
    fn finish(&self, shown: &Shown, id: AuditId, kind: Kind, time: Timestamp, mut leaf: Value, content: Option<Content>) -> Record {
        self.redactor.scrub(&mut leaf, shown);
        let mut bytes = canonical(&leaf);
        // Headers and items are the parts that a caller can make long; what is left out is said.
        for part in ["headers", "items"] {
            if bytes.len() <= LEAF_BYTES_MAX {
                break;
            }
            let holder = if part == "headers" && leaf.get("call").is_some() { leaf.get_mut("call") } else { Some(&mut leaf) };
            if let Some(Value::Object(holder)) = holder {
                let size = holder.get(part).map_or(0, |v| v.to_string().len());
                holder.insert(part.to_owned(), json!([{"left_out_bytes": size}]));
            }
            bytes = canonical(&leaf);
        }
        Record { id, kind, time, leaf: bytes, content }
    }

    /// What a leaf says of a body, and what is kept beside the leaf. `truth` is given where `bytes` may be a part.
    fn body(
        &self,
        bytes: &Bytes,
        truth: Option<(u64, &str)>,
        json: Option<Value>,
        marked: &[Vec<Step>],
        shown: &mut Shown,
    ) -> (Map<String, Value>, Option<Content>) {
        let mut out = Map::new();
        let length = truth.map_or(bytes.len() as u64, |(length, _)| length);
        out.insert("length".to_owned(), Value::from(length));
        if length == 0 {
            return (out, None);
        }
        let Some(mut value) = json else {
            // Not JSON, compressed, cut or unknown: a keyed digest, since nobody knows what is in it.
            let digest = if bytes.len() as u64 == length {
                self.redactor.digest(bytes)
            } else {
                truth.map_or_else(String::new, |(_, digest)| self.redactor.digest(digest.as_bytes()))
            };
            out.insert("digest".to_owned(), Value::from(digest));
            return (out, None);
        };
        let hidden = self.redactor.body(&mut value, marked, shown) | self.redactor.scrub(&mut value, shown);
        // An unkeyed digest of a body with a secret would let a short secret be guessed.
        let digest = if hidden { self.redactor.digest(bytes) } else { crate::secret::sha256(bytes) };
        out.insert("digest".to_owned(), Value::from(digest));
        if hidden {
            out.insert("redacted".to_owned(), Value::Bool(true));
        }
        let text = if hidden { Bytes::from(value.to_string()) } else { bytes.clone() };
        let kept = text.slice(..text.len().min(self.body_bytes_max));
        out.insert("kept".to_owned(), Value::from(kept.len()));
        if kept.len() < text.len() {
            out.insert("cut".to_owned(), Value::Bool(true));
        }
        let content = (!kept.is_empty()).then(|| Content::new(kept).ok()).flatten();
        if let Some(content) = &content {
            out.insert("commit".to_owned(), Value::from(content.commitment()));
        }
        (out, content)
    }
}

/// The record of something that the gateway itself did.
pub fn event(event: &str, detail: Value) -> Record {
    let (id, time) = (AuditId::new(), Timestamp::now());
    let leaf = json!({"v": VERSION, "kind": "event", "id": id.to_string(), "time": time.rfc3339(), "event": event, "detail": detail});
    Record { id, kind: Kind::Event, time, leaf: canonical(&leaf), content: None }
}

fn caller(question: &Question) -> Value {
    let caller = &question.caller;
    let mut out = json!({
        "assurance": caller.assurance.code(),
        "credential": {"scheme": caller.credential.scheme, "key_id": caller.credential.key_id, "digest": caller.credential.digest},
    });
    match &caller.identity {
        Some(identity) => {
            set(&mut out, "name", Value::from(identity.name.as_str()));
            set(&mut out, "kind", Value::from(if identity.kind == CallerKind::User { "user" } else { "robot" }));
            set(&mut out, "groups", Value::from(identity.groups.clone()));
        }
        None => {
            set(&mut out, "name", Value::from("anonymous"));
            set(&mut out, "kind", Value::from("anonymous"));
            set(&mut out, "why", Value::from(caller.why.as_str()));
        }
    }
    out
}

fn call(head: &RequestHead, target: &Target, headers: Value, query: Option<String>) -> Value {
    let path = head.target.split(|b| *b == b'?').next().unwrap_or_default();
    let mut out = json!({
        "service": target.service(), "action": target.action(), "method": head.method.as_str(),
        "host": cut(&head.host, 256), "path": cut(&String::from_utf8_lossy(path), 4096), "version": head.version, "headers": headers,
    });
    if let Some(query) = query {
        set(&mut out, "query", Value::from(cut(&query, 8192)));
    }
    match target {
        Target::Operation(operation, _) => {
            set(&mut out, "operation", Value::from(operation.operation_id.as_str()));
            set(&mut out, "groups", Value::from(operation.groups.clone()));
        }
        Target::Passing(passing) => set(&mut out, "passing", Value::from(passing.template.as_str())),
        Target::Unknown(..) => {}
    }
    out
}

fn decided(decision: &Decision, catalog: &str) -> Value {
    let verdict = match (decision.verdict, decision.reason) {
        (Verdict::Allow, Reason::Passing) => "pass",
        (Verdict::Allow, _) => "allow",
        (Verdict::Deny, _) => "deny",
    };
    let list = |policies: &[Deciding]| -> Value {
        policies
            .iter()
            .map(|p| json!({"id": p.policy, "effect": if p.effect == Effect::Permit { "permit" } else { "forbid" }, "item": p.item, "message": p.message}))
            .collect()
    };
    json!({
        "verdict": verdict, "reason": decision.reason.code(), "message": decision.message, "policies": list(&decision.deciding), "shadow": list(&decision.shadow),
        "errors": decision.errors, "explanation": decision.explanation, "bundle": decision.bundle, "catalog": catalog,
    })
}

fn items(question: &Question) -> Value {
    let Ok(facts) = &question.facts else { return json!([]) };
    facts.items.iter().map(|item: &Item| json!({"fields": facts_json(&item.fields), "resource": item.resource.as_ref().map(resource_json)})).collect()
}

fn resource_json(resource: &Resource) -> Value {
    let mut out = json!({"type": resource.kind, "id": resource.id});
    if let Some((kind, id)) = &resource.parent {
        set(&mut out, "parent", json!({"type": kind, "id": id}));
    }
    out
}

fn facts_json(facts: &Facts) -> Value {
    facts.iter().map(|(name, fact)| (name.clone(), fact_json(fact))).collect::<Map<_, _>>().into()
}

fn fact_json(fact: &Fact) -> Value {
    match fact {
        Fact::Text(text) | Fact::Choice { value: text, .. } => Value::from(text.as_str()),
        Fact::Flag(flag) => Value::from(*flag),
        Fact::Number(number) => Value::from(*number),
        Fact::Time(time) => Value::from(time.rfc3339()),
        Fact::Key(key) => json!({"algorithm": key.algorithm, "bits": key.bits}),
        Fact::List(list) => list.iter().map(fact_json).collect(),
        Fact::Record(facts) => facts_json(facts),
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}

/// At most so many characters.
fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
