//! Composing records: from what was asked, decided and answered to canonical, redacted bytes.

use super::bound;
use super::outcome::{self, Outcome, Success};
use super::record::{Content, Kind, Record, VERSION, canonical};
use super::redact::{Redactor, Shown};
use crate::caller::CallerKind;
use crate::catalog::Target;
use crate::catalog::source::Step;
use crate::clock::{AuditId, Timestamp};
use crate::inspect::Inspected;
use crate::inspect::facts::{Fact, Facts, Item, PublicKey, Resource};
use crate::policy::{Deciding, Decision, Effect, Question, Verdict};
use crate::reason::Reason;
use crate::request::{PeerTls, RequestHead};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Parts of a leaf into which a cloud or a caller can write what it was shown. The rest is what the gateway saw and
/// judged: there nothing gives way to an echo, or a caller could blank its own record by calling its facts a secret.
const ECHOING: &[&str] = &["/detail", "/headers", "/signed", "/decision/errors", "/decision/explanation", "/decision/message", "/decision/shadow_errors"];

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
        let operation = match &question.target {
            Target::Operation(operation, _) => Some(operation.as_ref()),
            _ => None,
        };
        // The body first: what headers show does not hide what the body says.
        // Only a body of an operation that the catalogue knows is kept: of others nobody knows where the secrets are.
        let spec = operation.and_then(|op| op.body.as_ref());
        let marked = spec.map_or(&[][..], |spec| spec.secrets.as_slice());
        let mut json = inspected.json.clone();
        let undocumented = match (&mut json, spec) {
            (Some(json), Some(spec)) => self.redactor.undocumented(json, &spec.shape, &mut shown),
            _ => false,
        };
        let mut in_headers = Shown::default();
        let mut headers = self.redactor.headers(&head.headers, &mut in_headers);
        if question.caller.identity.is_some() {
            // A credential that opens something cannot be chosen so that it hides something.
            shown.join(in_headers.known());
        }
        let (mut body, content) = self.body(&inspected.body, None, json, undocumented, marked, &mut shown);
        shown.join(in_headers);
        let open: Vec<&str> = operation.map_or_else(Vec::new, |op| op.query.iter().filter(|f| !f.secret).map(|f| f.name.as_str()).collect());
        let query = head.query().map(|q| self.redactor.query(q, &open, &mut shown));
        self.redactor.scrub(&mut headers, &shown);
        let path = String::from_utf8_lossy(head.target.split(|b| *b == b'?').next().unwrap_or_default()).into_owned();
        let kept = content.as_ref().map_or(Cow::Borrowed(""), |content| String::from_utf8_lossy(&content.bytes));
        shown.release(&[&path, &kept, query.as_deref().unwrap_or_default()]);
        let text = |text: &str, characters: usize| self.cut(text, characters, &shown);
        if let Some(media_type) = head.header("content-type") {
            body.insert("media_type".to_owned(), Value::from(text(media_type, 128)));
        }
        if !inspected.read_whole {
            body.insert("read_whole".to_owned(), Value::Bool(false));
        }
        let mut source = json!({"address": head.client.ip().to_string(), "port": head.client.port(), "agent": head.header("user-agent").map(|a| text(a, 256)), "forwarded_for_claimed": head.header("x-forwarded-for").map(|a| text(a, 256))});
        if let Some(via) = head.via {
            set(&mut source, "via", Value::from(via.ip().to_string()));
        }
        if let Some(tls) = &head.tls {
            set(&mut source, "tls", tls_json(tls));
        }
        let mut call = call(&question.target);
        set(&mut call, "method", Value::from(cut(head.method.as_str(), 32)));
        set(&mut call, "version", Value::from(head.version));
        set(&mut call, "host", Value::from(self.cut(&head.host, 256, &Shown::default())));
        set(&mut call, "path", Value::from(self.cut(&path, 4096, &Shown::default())));
        set(&mut call, "headers", headers);
        if let (Some(raw), Some(_)) = (&head.raw, &head.fault) {
            // What stands above is one reading of these bytes.
            set(&mut call, "raw_head", json!({"length": raw.len(), "digest": self.redactor.digest(raw)}));
        }
        if let Some(query) = query {
            set(&mut call, "query", Value::from(text(&query, 8192)));
        }
        let mut leaf = json!({
            "v": VERSION, "kind": "request", "id": head.id.to_string(), "time": head.received.rfc3339(),
            "caller": caller(question),
            "source": source,
            "call": call,
            "items": items(question),
            "body": body,
            "decision": decided(decision, &self.catalog),
            "now": question.now.rfc3339(),
            "timing_us": timings,
        });
        if let Some(signed) = Redactor::signed(&head.headers) {
            set(&mut leaf, "signed", signed);
        }
        if let Ok(facts) = &question.facts {
            if let Some(resource) = facts.items.first().and_then(|item| item.resource.as_ref()) {
                set(&mut leaf, "resource", resource_json(resource));
            }
            if leaf.pointer("/body/cut").is_some() {
                // What was judged must not be in the part that is cut off.
                set(&mut leaf, "facts", facts_json(&facts.body));
            }
        }
        let kind = if decision.verdict == Verdict::Allow { Kind::Forwarded } else { Kind::Refused };
        (self.finish(&shown, head.id, kind, head.received, leaf, content), shown)
    }

    /// The record of a forwarded call's outcome.
    pub fn answer(&self, id: AuditId, target: &Target, shown: &mut Shown, answer: Answer) -> (Record, Outcome) {
        let time = Timestamp::now();
        let plain = !answer.headers.contains_key(http::header::CONTENT_ENCODING);
        let examined_whole = answer.whole && answer.body_length == answer.body.len() as u64;
        let json = (plain && examined_whole).then(|| crate::inspect::json::parse_answer(&answer.body).ok()).flatten();
        let status = answer.status.unwrap_or(0);
        let success = (200..300).contains(&status);
        let media_type = answer.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let outcome = match answer.status {
            _ if !answer.sent => Outcome::NotSent,
            Some(status) if answer.whole && success => {
                let examined = plain && examined_whole;
                outcome::read(target, Success { status, media_type, length: answer.body_length, json: json.as_ref(), examined })
            }
            Some(_) if answer.whole => Outcome::Failed,
            _ => Outcome::Unknown,
        };
        let marked = match target {
            Target::Operation(op, _) => op.answer(status).map_or(&[][..], |a| a.secrets.as_slice()),
            _ => &[],
        };
        let headers = self.redactor.headers(&answer.headers, shown);
        let known = matches!(target, Target::Operation(..));
        let (mut body, content) = self.body(&answer.body, Some((answer.body_length, &answer.body_digest)), json.filter(|_| known), false, marked, shown);
        if let Some(media_type) = answer.headers.get("content-type").and_then(|v| v.to_str().ok()) {
            body.insert("media_type".to_owned(), Value::from(self.cut(media_type, 128, shown)));
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
            set(&mut leaf, "detail", Value::from(self.cut(&answer.fault, 512, shown)));
        }
        (self.finish(shown, id, Kind::Answer, time, leaf, content), outcome)
    }

    /// Scrubs, bounds and freezes a leaf.
    fn finish(&self, shown: &Shown, id: AuditId, kind: Kind, time: Timestamp, mut leaf: Value, content: Option<Content>) -> Record {
        for part in ECHOING {
            if let Some(part) = leaf.pointer_mut(part) {
                self.redactor.scrub(part, shown);
            }
        }
        self.redactor.scrub(&mut leaf, &Shown::default());
        Record { id, kind, time, leaf: bound::shorten(leaf), content }
    }

    /// At most so many characters, once secrets are out: the first part of one would no longer be recognised.
    fn cut(&self, text: &str, characters: usize, shown: &Shown) -> String {
        cut(self.redactor.scrub_text(text, shown).as_deref().unwrap_or(text), characters)
    }

    /// What a leaf says of a body, and what is kept beside the leaf. `truth` is given where `bytes` may be a part;
    /// `hidden` says that something in `json` was replaced already.
    fn body(
        &self,
        bytes: &Bytes,
        truth: Option<(u64, &str)>,
        json: Option<Value>,
        hidden: bool,
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
        let hidden = hidden | self.redactor.body(&mut value, marked, shown) | self.redactor.scrub(&mut value, shown);
        // An unkeyed digest of a body with a secret would let a short secret be guessed.
        let digest = match truth {
            _ if hidden => self.redactor.digest(bytes),
            // JSON is read from whole bodies only, so the running hash is that of `bytes`.
            Some((_, digest)) => digest.to_owned(),
            None => crate::secret::sha256(bytes),
        };
        out.insert("digest".to_owned(), Value::from(digest));
        if hidden {
            out.insert("redacted".to_owned(), Value::Bool(true));
        }
        // A body that is too long is kept without its blanks: they must not push out what it says.
        let whole = !hidden && bytes.len() <= self.body_bytes_max;
        let text = if whole { bytes.clone() } else { Bytes::from(value.to_string()) };
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

fn tls_json(tls: &PeerTls) -> Value {
    let certificate = tls
        .certificate
        .as_ref()
        .map(|c| json!({"fingerprint": c.fingerprint, "names": c.names.iter().take(16).map(|name| cut(name, 256)).collect::<Vec<_>>()}));
    json!({"version": tls.version, "server_name": tls.server_name, "certificate": certificate})
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

fn call(target: &Target) -> Value {
    let mut out = json!({"service": target.service(), "action": target.action()});
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
    let mut out = json!({
        "verdict": verdict, "reason": decision.reason.code(), "message": decision.message, "policies": list(&decision.deciding), "shadow": list(&decision.shadow),
        "errors": decision.errors, "explanation": decision.explanation, "bundle": decision.bundle, "catalog": catalog,
    });
    if !decision.shadow_errors.is_empty() {
        let failed = decision.shadow_errors.iter().map(|failed| failed.error.as_str());
        set(&mut out, "shadow_errors", failed.collect());
    }
    out
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

/// Facts as JSON, as they stand in a leaf.
pub fn facts_json(facts: &Facts) -> Value {
    facts.iter().map(|(name, fact)| (name.clone(), fact_json(fact))).collect::<Map<_, _>>().into()
}

fn fact_json(fact: &Fact) -> Value {
    match fact {
        Fact::Text(text) | Fact::Choice { value: text, .. } => Value::from(text.as_str()),
        Fact::Flag(flag) => Value::from(*flag),
        Fact::Number(number) => Value::from(*number),
        Fact::Time(time) => Value::from(time.rfc3339(6)),
        Fact::Key(key) => key_json(key),
        Fact::List(list) => list.iter().map(fact_json).collect(),
        Fact::Record(facts) => facts_json(facts),
    }
}

fn key_json(key: &PublicKey) -> Value {
    let mut out = json!({"algorithm": key.algorithm, "bits": key.bits});
    if key.exponent != 0 {
        set(&mut out, "exponent", Value::from(key.exponent));
    }
    if !key.why.is_empty() {
        set(&mut out, "why", Value::from(key.why));
    }
    out
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
