//! Reading a call whole and turning it into typed facts, or into the reason why that cannot be
//! done.

pub mod envelope;
pub mod facts;
pub mod items;
pub mod json;
pub mod key;
pub mod name;
pub mod place;
pub mod query;
pub mod rsa;
pub mod text;
pub mod value;

use crate::catalog::operation::{Operation, Passthrough, ProjectHeader};
use crate::catalog::{Target, Unknown};
use crate::request::{BodyFault, BodySource, RequestHead, printable};
use bytes::Bytes;
use facts::{CallFacts, Fact, Facts, Unreadable};
use http::Method;
use keyward_core::reason::Reason;
use place::FieldPath;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// A call, read whole.
#[derive(Debug)]
pub struct Inspected {
    /// The body's exact bytes: what is judged is what is sent. Empty when it could not be read.
    pub body: Bytes,
    /// The body as strict JSON, when it is that.
    pub json: Option<Value>,
    /// False when bytes of the request may still be on the wire: the connection cannot be used
    /// again.
    pub read_whole: bool,
}

/// A call read whole, and what it says or why that cannot be told.
pub type Reading = (Inspected, Result<CallFacts, Unreadable>);

/// Reads a call: its body to the end, then everything that it says.
pub async fn read(
    target: &Target,
    head: &RequestHead,
    body: &mut impl BodySource,
    limit_bytes: usize,
) -> Reading {
    if let Some(fault) = &head.fault {
        // Where the head can be read in two ways, so can the body's framing: not a byte of it is
        // read.
        return unread(fault.reason, fault.detail.clone());
    }
    match body.read(limit_bytes).await {
        Ok(bytes) => {
            let (inspected, facts) = walk(target, head, bytes);
            match facts {
                Ok(facts) => (inspected, Ok(prove_aside(facts).await)),
                Err(unreadable) => (inspected, Err(unreadable)),
            }
        }
        Err(BodyFault::TooLarge) => unread(Reason::BodyTooLarge, format!("the body is longer than the limit of {limit_bytes} bytes")),
        Err(BodyFault::TooSlow) => unread(Reason::BodyTooSlow, "the body did not arrive before the deadline".to_owned()),
        Err(BodyFault::NoRoom) => {
            unread(Reason::BuffersFull, "this caller, its address or all together hold as much of the gateway's memory as they may; try again later".to_owned())
        }
        Err(BodyFault::Framing) => unread(
            Reason::BodyFraming,
            "a chunk of the body is not its size in hexadecimal digits, CR LF, so many bytes, CR LF: send it so, or send Content-Length".to_owned(),
        ),
        Err(BodyFault::Cut(why)) => unread(Reason::BodyCut, format!("the body did not come whole: it ended early ({why})")),
    }
}

/// The part of [`read`] behind the wire; pure.
pub fn inspect(target: &Target, head: &RequestHead, body: Bytes) -> Reading {
    let (inspected, mut facts) = walk(target, head, body);
    if let Ok(facts) = &mut facts {
        let findings = rsa::check(&facts.unproved());
        facts.prove(&findings);
    }
    (inspected, facts)
}

/// Checks RSA keys on a thread of their own: it takes so long that other calls would wait. One call
/// at a time, so that nobody can have all processors by sending keys.
async fn prove_aside(mut facts: CallFacts) -> CallFacts {
    static TURN: Semaphore = Semaphore::const_new(1);
    let keys: Arc<[rsa::RsaKey]> = facts.unproved().into();
    if keys.is_empty() {
        return facts;
    }
    let _turn = TURN.acquire().await;
    let (tell, told) = oneshot::channel();
    let theirs = Arc::clone(&keys);
    let started = std::thread::Builder::new()
        .name("keyward-rsa".to_owned())
        .spawn(move || drop(tell.send(rsa::check(&theirs))));
    let findings = match started {
        // Without an answer, after a panic, the keys stay unknown.
        Ok(_) => told.await.unwrap_or_default(),
        Err(_) => rsa::check(&keys),
    };
    facts.prove(&findings);
    facts
}

fn walk(target: &Target, head: &RequestHead, body: Bytes) -> Reading {
    let mut json = None;
    let facts = match target {
        Target::Operation(operation, path) => call_facts(operation, path, head, &body, &mut json),
        Target::Passthrough(of) => passing(of, head, &body),
        Target::Unknown(unknown) => Err(refuse(unknown.reason, said_of(unknown))),
    };
    (Inspected { body, json, read_whole: true }, facts)
}

/// A call of which nothing is read, and why.
pub fn unread(reason: Reason, detail: String) -> Reading {
    (Inspected { body: Bytes::new(), json: None, read_whole: false }, Err(refuse(reason, detail)))
}

fn said_of(unknown: &Unknown) -> String {
    let meaning = unknown.reason.meaning();
    unknown.hint.as_ref().map_or_else(
        || meaning.to_owned(),
        |hint| format!("{} ({hint})", meaning.trim_end_matches('.')),
    )
}

/// What passes unread is plain, or it passes not at all.
fn passing(of: &Passthrough, head: &RequestHead, body: &[u8]) -> Result<CallFacts, Unreadable> {
    let empty =
        body.is_empty() || (of.empty_object_is_absent && envelope::is_empty_object(head, body));
    if !empty && matches!(head.method, Method::GET | Method::HEAD | Method::DELETE) {
        return Err(refuse(
            Reason::BodyNotExpected,
            format!("a {} of this family takes no body: leave it out", head.method),
        ));
    }
    query::no_override(head.query(), &[])?;
    // Nothing tells how its things may be named, so they are named in the one way that every store
    // takes.
    if let Some(segment) =
        head.path().split('/').skip(1).find(|segment| !text::is_plain_name(segment))
    {
        let why = "in a path that passes unread, each part is letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends";
        return Err(refuse(Reason::PathInvalid, format!("`{}`: {why}", printable(segment))));
    }
    let captured = of.pattern.capture(head.path()).unwrap_or_default();
    let path: Vec<(String, String)> =
        captured.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    one_project(of.project.as_ref(), &path, head)?;
    Ok(CallFacts {
        path: path.into_iter().map(|(name, text)| (name, Fact::Text(text))).collect(),
        ..CallFacts::default()
    })
}

fn call_facts(
    operation: &Operation,
    path: &[(String, String)],
    head: &RequestHead,
    body: &Bytes,
    json: &mut Option<Value>,
) -> Result<CallFacts, Unreadable> {
    envelope::check(operation, head, body)?;
    *json = if body.is_empty() { None } else { Some(json::parse(body)?) };
    envelope::readable_answer(operation, head)?;
    header_values(operation, head)?;
    one_project(operation.project.as_ref(), path, head)?;
    query::no_override(head.query(), &operation.query)?;
    let pairs = query::split(head.query(), operation.is_write())?;
    let mut facts = CallFacts {
        path: path_facts(operation, path)?,
        query: query::facts(operation, &pairs).map_err(|wrong| as_documented(operation, wrong))?,
        ..CallFacts::default()
    };
    if let (Some(value), Some(spec)) = (json.as_ref(), &operation.body)
        && let Some(Fact::Record(fields)) =
            value::check(&spec.shape, value, FieldPath::Root("body"))
                .map_err(|wrong| as_documented(operation, wrong))?
    {
        facts.body = fields;
    }
    facts.items = items::items(operation, head, &facts, json.as_ref())?;
    Ok(facts)
}

fn path_facts(operation: &Operation, path: &[(String, String)]) -> Result<Facts, Unreadable> {
    let mut facts = Facts::new();
    for (name, text) in path {
        let Some(field) = operation.path.iter().find(|f| f.name == *name) else { continue };
        if text.chars().any(char::is_control) || text::unplain(text).is_some() {
            return Err(refuse(
                Reason::PathInvalid,
                format!(
                    "the path parameter `{name}` holds a character that readers cut at or drop: leave it out"
                ),
            ));
        }
        let fact =
            value::check_parameter(field, text, FieldPath::Field(&FieldPath::Root("path"), name));
        let fact = fact
            .map_err(|wrong| as_documented(operation, refuse(Reason::PathInvalid, wrong.detail)))?;
        if let Some(fact) = fact {
            facts.insert(field.fact.clone(), fact);
        }
    }
    Ok(facts)
}

/// Headers that the document describes: a value that it does not allow may make another call of it.
fn header_values(operation: &Operation, head: &RequestHead) -> Result<(), Unreadable> {
    for field in operation.headers.iter().filter(|field| !field.secret) {
        if field.required && !head.headers.contains_key(&field.name) {
            return Err(refuse(
                Reason::HeaderInvalid,
                format!("the header {} is required", field.name),
            ));
        }
        for text in head.headers.get_all(&field.name).iter().map(|v| v.to_str().unwrap_or_default())
        {
            let checked = value::check_parameter(
                field,
                text,
                FieldPath::Field(&FieldPath::Root("header"), &field.name),
            );
            checked.map_err(|wrong| {
                as_documented(operation, refuse(Reason::HeaderInvalid, wrong.detail))
            })?;
        }
    }
    Ok(())
}

/// A header that names the project again must name the one of the path.
fn one_project(
    project: Option<&ProjectHeader>,
    path: &[(String, String)],
    head: &RequestHead,
) -> Result<(), Unreadable> {
    let Some(project) = project else { return Ok(()) };
    let named =
        path.iter().find(|(name, _)| *name == project.parameter).map(|(_, value)| value.as_bytes());
    match head.headers.get(&project.header) {
        Some(again) if Some(again.as_bytes()) != named => Err(refuse(
            Reason::HeadProject,
            format!(
                "{} names another project than the path: send the path's, or leave it out",
                project.header
            ),
        )),
        _ => Ok(()),
    }
}

/// What the document does not allow is this project's word: the provider may take more.
fn as_documented(operation: &Operation, wrong: Unreadable) -> Unreadable {
    if matches!(wrong.reason, Reason::BodyLookalike | Reason::QueryUnknown | Reason::QueryBodyField)
    {
        return wrong;
    }
    refuse(
        wrong.reason,
        format!("{} (so says keyward's document of {})", wrong.detail, operation.service),
    )
}

fn refuse(reason: Reason, detail: String) -> Unreadable {
    Unreadable { reason, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::request::tests::head;

    const DOCUMENT: &str = r"
openapi: 3.1.0
info: {title: Test, version: '1'}
x-keyward-service: test.svc
x-keyward-error-shape: flat
x-keyward-passing: [{methods: [GET], path: /passing/**, reason: tests}]
servers: [{url: 'https://svc.test'}]
paths:
  /things:
    get: {operationId: ListThings, x-keyward-groups: [read], x-keyward-resource: {type: Endpoint, id: header.host}, responses: {'200': {description: ok}}}
    delete: {operationId: DropThings, x-keyward-groups: [write], x-keyward-resource: {type: Endpoint, id: header.host}, responses: {'200': {description: ok}}}
";

    fn reason(document: &str, method: &str, path: &str, body: &str) -> Option<Reason> {
        let catalog = Catalog::from_texts(&[("svc.yaml".to_owned(), document.to_owned())]).unwrap();
        let head = head(
            method,
            path,
            &[("host", "svc.test"), ("content-type", "application/json;charset=UTF-8")],
        );
        let target = catalog.classify(None, "svc.test", &head.method, path);
        inspect(&target, &head, Bytes::copy_from_slice(body.as_bytes()))
            .1
            .err()
            .map(|fault| fault.reason)
    }

    #[test]
    fn an_empty_object_is_no_body_only_where_the_document_says_so() {
        let lenient = format!("x-keyward-absent: [empty-object]\n{DOCUMENT}");
        for (method, path) in [("GET", "/things"), ("DELETE", "/things"), ("GET", "/passing/x")] {
            assert_eq!(reason(&lenient, method, path, "{}"), None, "{method} {path}");
            assert_eq!(reason(&lenient, method, path, " { } "), None, "{method} {path}");
            for more in [r#"{"a":1}"#, "[]", "null", "{}{}", "{", "x"] {
                assert_eq!(
                    reason(&lenient, method, path, more),
                    Some(Reason::BodyNotExpected),
                    "{method} {path} {more}"
                );
            }
            assert_eq!(
                reason(DOCUMENT, method, path, "{}"),
                Some(Reason::BodyNotExpected),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn what_the_document_does_not_allow_is_said_to_be_ours() {
        let document = DOCUMENT.replace(
            "operationId: ListThings,",
            "operationId: ListThings, parameters: [{name: limit, in: query, description: x, schema: {type: integer, maximum: 9}}],",
        );
        let catalog = Catalog::from_texts(&[("svc.yaml".to_owned(), document)]).unwrap();
        let head = head("GET", "/things?limit=10", &[("host", "svc.test")]);
        let fault = inspect(
            &catalog.classify(None, "svc.test", &head.method, "/things"),
            &head,
            Bytes::new(),
        )
        .1
        .unwrap_err();
        assert_eq!(
            (fault.reason, fault.detail.as_str()),
            (
                Reason::QueryValue,
                "`query.limit` must be 9 or less (so says keyward's document of test.svc)"
            )
        );
    }

    #[test]
    fn what_is_taken_for_absence_is_of_a_closed_list() {
        for wrong in ["[nul-field]", "[]", "null-field", "[null]", "{null-field: true}"] {
            let text = format!("x-keyward-absent: {wrong}\n{DOCUMENT}");
            let errors = Catalog::from_texts(&[("svc.yaml".to_owned(), text)]).unwrap_err();
            assert!(
                errors[0]
                    .to_string()
                    .contains("/x-keyward-absent: must list `null-field`, `empty-object` or both"),
                "{}",
                errors[0]
            );
        }
    }
}
