//! Composing records: from what was asked, decided and answered to canonical, redacted bytes.

use super::outcome::{self, Success};
use super::redact::{Redactor, Shown};
use super::truncate;
use bytes::Bytes;
use http::HeaderMap;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_decision::caller::CallerKind;
use keyward_decision::catalog::Target;
use keyward_decision::catalog::source::Step;
use keyward_decision::inspect::Inspected;
use keyward_decision::inspect::facts::{self, Fact, Facts, PublicKey};
use keyward_decision::policy::{Deciding, Decision, Effect, Question, Verdict};
use keyward_decision::request::{PeerTls, RequestHead};
use keyward_record::call::{
    self, Body, Bounded, Call, Caller, Certificate, Credential, DeterminingPolicy, Entry, Outcome,
    Parent, RawHead, Request, Source, Tls, Upstream,
};
use keyward_record::{Content, Kind, Leaf, Record, VERSION, canonical};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

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
        // Only a body of an operation that the catalogue knows is kept: of others nobody knows
        // where the secrets are.
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
        let (mut body, content) =
            self.body(&inspected.body, None, json, undocumented, marked, &mut shown);
        shown.join(in_headers);
        let open: Vec<&str> = operation.map_or_else(Vec::new, |op| {
            op.query.iter().filter(|f| !f.secret).map(|f| f.name.as_str()).collect()
        });
        let query = head.query().map(|q| self.redactor.query(q, &open, &mut shown));
        self.redactor.scrub_headers(&mut headers, &shown);
        let path =
            String::from_utf8_lossy(head.target.split(|b| *b == b'?').next().unwrap_or_default())
                .into_owned();
        let kept = content
            .as_ref()
            .map_or(Cow::Borrowed(""), |content| String::from_utf8_lossy(&content.bytes));
        shown.release(&[&path, &kept, query.as_deref().unwrap_or_default()]);
        let text = |text: &str, characters: usize| self.cut(text, characters, &shown);
        body.media_type = head.header("content-type").map(|media_type| text(media_type, 128));
        body.read_whole = (!inspected.read_whole).then_some(false);
        let source = Source {
            address: head.client.ip().to_string(),
            port: Some(head.client.port()),
            agent: head.header("user-agent").map(|agent| text(agent, 256)),
            forwarded_for_claimed: head.header("x-forwarded-for").map(|claimed| text(claimed, 256)),
            via: head.via.map(|via| via.ip().to_string()),
            tls: head.tls.as_ref().map(tls),
        };
        let call = Call {
            method: cut(head.method.as_str(), 32),
            version: head.version.to_owned(),
            host: self.cut(&head.host, 256, &Shown::default()),
            path: self.cut(&path, 4096, &Shown::default()),
            query: query.map(|query| Bounded::Of(text(&query, 8192))),
            headers: Bounded::Of(headers),
            // What stands above is one reading of these bytes.
            raw_head: head
                .raw
                .as_ref()
                .filter(|_| head.fault.is_some())
                .map(|raw| RawHead { length: raw.len() as u64, digest: self.redactor.digest(raw) }),
            ..call(&question.target)
        };
        let facts = question.facts.as_ref().ok();
        let request = Request {
            v: VERSION,
            id: head.id.to_string(),
            time: head.received.rfc3339(),
            caller: caller(question),
            source,
            call,
            items: facts
                .map(|facts| facts.items.iter().map(item).map(Entry::Of).collect())
                .unwrap_or_default(),
            // What was judged must not be in the part that is cut off.
            facts: facts.filter(|_| body.cut.is_some()).map(|facts| facts_json(&facts.body)),
            body,
            decision: decided(decision, &self.catalog),
            now: Some(question.now.rfc3339()),
            timing_us: timings
                .iter()
                .map(|(stage, micros)| ((*stage).to_owned(), *micros))
                .collect(),
            signed: Redactor::signed(&head.headers),
            resource: facts.and_then(|facts| facts.items.first()?.resource.as_ref()).map(resource),
        };
        let kind = if decision.verdict == Verdict::Allow { Kind::Forwarded } else { Kind::Refused };
        (
            self.finish(
                &shown,
                head.id,
                kind,
                head.received,
                Leaf::Request(Box::new(request)),
                content,
            ),
            shown,
        )
    }

    /// The record of a forwarded call's outcome.
    pub fn answer(
        &self,
        id: AuditId,
        target: &Target,
        shown: &mut Shown,
        answer: Answer,
    ) -> (Record, Outcome) {
        let time = Timestamp::now();
        let plain = !answer.headers.contains_key(http::header::CONTENT_ENCODING);
        let examined_whole = answer.whole && answer.body_length == answer.body.len() as u64;
        let json = (plain && examined_whole)
            .then(|| keyward_decision::inspect::json::parse_answer(&answer.body).ok())
            .flatten();
        let status = answer.status.unwrap_or(0);
        let success = (200..300).contains(&status);
        let media_type = answer
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let outcome = match answer.status {
            _ if !answer.sent => Outcome::NotSent,
            Some(status) if answer.whole && success => {
                let examined = plain && examined_whole;
                outcome::read(
                    target,
                    Success {
                        status,
                        media_type,
                        length: answer.body_length,
                        json: json.as_ref(),
                        examined,
                    },
                )
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
        let (mut body, content) = self.body(
            &answer.body,
            Some((answer.body_length, &answer.body_digest)),
            json.filter(|_| known),
            false,
            marked,
            shown,
        );
        body.media_type = answer
            .headers
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .map(|media_type| self.cut(media_type, 128, shown));
        let leaf = call::Answer {
            v: VERSION,
            id: id.to_string(),
            time: time.rfc3339(),
            outcome,
            whole: Some(answer.whole),
            sent: Some(answer.sent),
            status: answer.status,
            // The claim that a signature makes is settled by the cloud's own check.
            caller_accepted: answer.status.map(|status| status != 401),
            headers: Some(Bounded::Of(headers)),
            body: Some(body),
            upstream: Some(Upstream { address: answer.upstream }),
            timing_us: Some(
                answer
                    .timings
                    .iter()
                    .map(|(stage, micros)| ((*stage).to_owned(), *micros))
                    .collect(),
            ),
            detail: (!answer.fault.is_empty()).then(|| self.cut(&answer.fault, 512, shown)),
        };
        (self.finish(shown, id, Kind::Answer, time, Leaf::Answer(Box::new(leaf)), content), outcome)
    }

    /// Scrubs, bounds and freezes a leaf.
    fn finish(
        &self,
        shown: &Shown,
        id: AuditId,
        kind: Kind,
        time: Timestamp,
        mut leaf: Leaf,
        content: Option<Content>,
    ) -> Record {
        self.scrub_echoes(&mut leaf, shown);
        let mut json = serde_json::to_value(&leaf).unwrap_or_default();
        let clean = if self.redactor.scrub(&mut json, &Shown::default()) {
            Leaf::deserialize(&json).ok()
        } else {
            Some(leaf)
        };
        let leaf = match clean {
            Some(leaf) => truncate::truncate(leaf, json),
            // It is no record any more; its secrets are out of it all the same.
            None => canonical(&json),
        };
        Record { id, kind, time, leaf, content }
    }

    /// Takes what was shown out of the parts of a leaf into which a cloud or a caller can write it.
    /// The rest is what the gateway saw and judged: there nothing gives way to an echo, or a
    /// caller could blank its own record by calling its facts a secret.
    fn scrub_echoes(&self, leaf: &mut Leaf, shown: &Shown) {
        let mut texts: Vec<&mut String> = Vec::new();
        match leaf {
            Leaf::Request(request) => {
                let call::Decision { message, errors, explanation, shadow_errors, .. } =
                    &mut request.decision;
                let lists = [
                    Some(errors),
                    Some(explanation),
                    request.signed.as_mut().map(|signed| &mut signed.headers),
                ];
                texts.push(message);
                texts.extend(lists.into_iter().flatten().filter_map(Bounded::whole_mut).flatten());
                texts.extend(shadow_errors.iter_mut().flatten());
            }
            Leaf::Answer(answer) => {
                texts.extend(&mut answer.detail);
                if let Some(headers) = answer.headers.as_mut().and_then(Bounded::whole_mut) {
                    self.redactor.scrub_headers(headers, shown);
                }
            }
            Leaf::Event(_) => {}
        }
        for text in texts {
            if let Some(clean) = self.redactor.scrub_text(text, shown) {
                *text = clean;
            }
        }
    }

    /// At most so many characters, once secrets are out: the first part of one would no longer be
    /// recognised.
    fn cut(&self, text: &str, characters: usize, shown: &Shown) -> String {
        cut(self.redactor.scrub_text(text, shown).as_deref().unwrap_or(text), characters)
    }

    /// What a leaf says of a body, and what is kept beside the leaf. `truth` is given where `bytes`
    /// may be a part; `hidden` says that something in `json` was replaced already.
    fn body(
        &self,
        bytes: &Bytes,
        truth: Option<(u64, &str)>,
        json: Option<Value>,
        hidden: bool,
        marked: &[Vec<Step>],
        shown: &mut Shown,
    ) -> (Body, Option<Content>) {
        let length = truth.map_or(bytes.len() as u64, |(length, _)| length);
        let out = Body { length, ..Body::default() };
        if length == 0 {
            return (out, None);
        }
        let Some(mut value) = json else {
            // Not JSON, compressed, cut or unknown: a keyed digest, since nobody knows what is in
            // it.
            let digest = if bytes.len() as u64 == length {
                self.redactor.digest(bytes)
            } else {
                truth
                    .map_or_else(String::new, |(_, digest)| self.redactor.digest(digest.as_bytes()))
            };
            return (Body { digest: Some(digest), ..out }, None);
        };
        let hidden = hidden
            | self.redactor.body(&mut value, marked, shown)
            | self.redactor.scrub(&mut value, shown);
        // An unkeyed digest of a body with a secret would let a short secret be guessed.
        let digest = match truth {
            _ if hidden => self.redactor.digest(bytes),
            // JSON is read from whole bodies only, so the running hash is that of `bytes`.
            Some((_, digest)) => digest.to_owned(),
            None => keyward_core::secret::sha256(bytes),
        };
        // A body that is too long is kept without its blanks: they must not push out what it says.
        let whole = !hidden && bytes.len() <= self.body_bytes_max;
        let text = if whole { bytes.clone() } else { Bytes::from(value.to_string()) };
        let kept = text.slice(..text.len().min(self.body_bytes_max));
        let out = Body {
            digest: Some(digest),
            redacted: hidden.then_some(true),
            kept: Some(kept.len() as u64),
            cut: (kept.len() < text.len()).then_some(true),
            ..out
        };
        let content = (!kept.is_empty()).then(|| Content::new(kept).ok()).flatten();
        (Body { commit: content.as_ref().map(Content::commitment), ..out }, content)
    }
}

fn tls(tls: &PeerTls) -> Tls {
    let certificate = tls.certificate.as_ref().map(|certificate| Certificate {
        fingerprint: certificate.fingerprint.clone(),
        names: certificate.names.iter().take(16).map(|name| cut(name, 256)).collect(),
    });
    Tls { version: Some(tls.version.to_owned()), server_name: tls.server_name.clone(), certificate }
}

fn caller(question: &Question) -> Caller {
    let caller = &question.caller;
    let credential = Credential {
        scheme: Some(caller.credential.scheme.clone()),
        key_id: caller.credential.key_id.clone(),
        digest: caller.credential.digest.clone(),
    };
    let out =
        Caller { assurance: caller.assurance.code().to_owned(), credential, ..Caller::default() };
    match &caller.identity {
        Some(identity) => Caller {
            name: identity.name.to_string(),
            kind: if identity.kind == CallerKind::User { "user" } else { "robot" }.to_owned(),
            groups: Some(identity.groups.clone()),
            ..out
        },
        None => Caller {
            name: "anonymous".to_owned(),
            kind: "anonymous".to_owned(),
            why: Some(caller.why.to_string()),
            ..out
        },
    }
}

fn call(target: &Target) -> Call {
    let out = Call {
        service: target.service().to_owned(),
        action: target.action().to_owned(),
        ..Call::default()
    };
    match target {
        Target::Operation(operation, _) => Call {
            operation: Some(operation.operation_id.clone()),
            groups: Some(operation.groups.clone()),
            ..out
        },
        Target::Passthrough(passing) => Call { passing: Some(passing.template.clone()), ..out },
        Target::Unknown(..) => out,
    }
}

fn decided(decision: &Decision, catalog: &str) -> call::Decision {
    let verdict = match (decision.verdict, decision.reason) {
        (Verdict::Allow, Reason::Passthrough) => call::Verdict::Pass,
        (Verdict::Allow, _) => call::Verdict::Allow,
        (Verdict::Deny, _) => call::Verdict::Deny,
    };
    let list = |policies: &[Deciding]| policies.iter().map(determining).map(Entry::Of).collect();
    let failed =
        decision.shadow_errors.iter().map(|failed| failed.error.clone()).collect::<Vec<_>>();
    call::Decision {
        verdict,
        reason: decision.reason.code().to_owned(),
        message: decision.message.clone(),
        policies: list(&decision.deciding),
        shadow: list(&decision.shadow),
        errors: Bounded::Of(decision.errors.clone()),
        explanation: Bounded::Of(decision.explanation.clone()),
        bundle: decision.bundle.to_string(),
        catalog: catalog.to_owned(),
        shadow_errors: (!failed.is_empty()).then_some(failed),
    }
}

fn determining(policy: &Deciding) -> DeterminingPolicy {
    DeterminingPolicy::Of {
        id: policy.policy.to_string(),
        effect: Some(if policy.effect == Effect::Permit { "permit" } else { "forbid" }.to_owned()),
        item: Some(policy.item as u64),
        message: Some(policy.message.to_string()),
    }
}

fn item(item: &facts::Item) -> call::Item {
    call::Item { fields: facts_json(&item.fields), resource: item.resource.as_ref().map(resource) }
}

fn resource(resource: &facts::Resource) -> call::Resource {
    let parent = resource
        .parent
        .as_ref()
        .map(|(kind, id)| Parent { r#type: kind.to_string(), id: id.to_string() });
    call::Resource { r#type: resource.kind.to_string(), id: resource.id.to_string(), parent }
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
