//! Reading a call whole and turning it into typed facts, or into the reason why that cannot be done.

pub mod facts;
pub mod items;
pub mod json;
pub mod key;
pub mod query;
pub mod value;

use crate::catalog::Target;
use crate::catalog::operation::Operation;
use crate::reason::Reason;
use crate::request::{Authorization, BodyFault, BodySource, RequestHead};
use bytes::Bytes;
use facts::{CallFacts, Fact, Facts, Unreadable};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A call, read whole.
#[derive(Debug)]
pub struct Inspected {
    /// The body's exact bytes: what is judged is what is sent. Empty when it could not be read.
    pub body: Bytes,
    /// The body as strict JSON, when it is that.
    pub json: Option<Value>,
    /// False when bytes of the request may still be on the wire: the connection cannot be used again.
    pub read_whole: bool,
}

/// A call read whole, and what it says or why that cannot be told.
pub type Reading = (Inspected, Result<CallFacts, Unreadable>);

/// Reads a call: its body to the end, then everything that it says.
pub async fn read(target: &Target, head: &RequestHead, body: &mut impl BodySource, limit_bytes: usize) -> Reading {
    if let Some(fault) = &head.fault {
        // Where the head can be read in two ways, so can the body's framing: not a byte of it is read.
        return unreadable(fault.reason, fault.detail.clone());
    }
    match body.read(limit_bytes).await {
        Ok(bytes) => inspect(target, head, bytes),
        Err(BodyFault::TooLarge) => unreadable(Reason::BodyTooLarge, format!("the body is longer than the limit of {limit_bytes} bytes")),
        Err(BodyFault::TooSlow) => unreadable(Reason::BodyTooSlow, "the body did not arrive before the deadline".to_owned()),
        Err(BodyFault::NoRoom) => unreadable(Reason::BuffersFull, "the gateway holds as many bodies as it may; try again later".to_owned()),
        Err(BodyFault::Cut(why)) => unreadable(Reason::BodyCut, format!("the request ended before its body was whole ({why})")),
    }
}

/// The part of [`read`] behind the wire; pure.
pub fn inspect(target: &Target, head: &RequestHead, body: Bytes) -> Reading {
    let mut json = None;
    let facts = match target {
        Target::Operation(operation, path) => call_facts(operation, path, head, &body, &mut json),
        Target::Passing(_) => query::no_override(head.query()).map(|()| CallFacts::default()),
        Target::Unknown(_, reason) => Err(refuse(*reason, reason.meaning().to_owned())),
    };
    (Inspected { body, json, read_whole: true }, facts)
}

fn unreadable(reason: Reason, detail: String) -> Reading {
    (Inspected { body: Bytes::new(), json: None, read_whole: false }, Err(refuse(reason, detail)))
}

fn call_facts(operation: &Operation, path: &[(String, String)], head: &RequestHead, body: &Bytes, json: &mut Option<Value>) -> Result<CallFacts, Unreadable> {
    *json = body_json(operation, head, body)?;
    readable_answer(operation, head)?;
    header_values(operation, head)?;
    query::no_override(head.query())?;
    let pairs = query::split(head.query(), operation.is_write())?;
    let mut facts = CallFacts { path: path_facts(operation, path)?, query: query::facts(operation, &pairs)?, ..CallFacts::default() };
    if let (Some(value), Some(spec)) = (json.as_ref(), &operation.body)
        && let Some(Fact::Record(fields)) = value::check(&spec.shape, value, "body")?
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
        if text.chars().any(char::is_control) {
            return Err(refuse(Reason::PathInvalid, format!("the path parameter `{name}` holds a control character")));
        }
        let fact = value::check_parameter(field, text, &format!("path.{name}")).map_err(|u| refuse(Reason::PathInvalid, u.detail))?;
        if let Some(fact) = fact {
            facts.insert(field.fact.clone(), fact);
        }
    }
    Ok(facts)
}

/// The answer to a write says what was done. The gateway asks for it plain, unless that would break a signature.
fn readable_answer(operation: &Operation, head: &RequestHead) -> Result<(), Unreadable> {
    let Some(wanted) = head.headers.get(http::header::ACCEPT_ENCODING).filter(|v| operation.is_write() && !v.as_bytes().eq_ignore_ascii_case(b"identity"))
    else {
        return Ok(());
    };
    let signed = head.header("authorization").and_then(Authorization::parse).map(|a| a.signed_headers()).unwrap_or_default();
    if signed.iter().any(|name| name.eq_ignore_ascii_case("accept-encoding")) {
        let wanted = String::from_utf8_lossy(wanted.as_bytes());
        let why = format!("the signature covers Accept-Encoding `{}`, so the answer could come unreadable: leave it unsigned", json::printable(&wanted));
        return Err(refuse(Reason::AcceptEncoding, why));
    }
    Ok(())
}

/// Headers that the document describes: a value that it does not allow may make another call of it.
fn header_values(operation: &Operation, head: &RequestHead) -> Result<(), Unreadable> {
    for field in operation.headers.iter().filter(|field| !field.secret) {
        for text in head.headers.get_all(&field.name).iter().map(|v| v.to_str().unwrap_or_default()) {
            value::check_parameter(field, text, &format!("header.{}", field.name)).map_err(|u| refuse(Reason::HeaderInvalid, u.detail))?;
        }
    }
    Ok(())
}

/// The body as JSON, if the operation takes one and it is there.
fn body_json(operation: &Operation, head: &RequestHead, body: &Bytes) -> Result<Option<Value>, Unreadable> {
    if head.headers.contains_key(http::header::CONTENT_ENCODING) {
        return Err(refuse(Reason::ContentEncoding, "the call has a Content-Encoding: send the body plain".to_owned()));
    }
    let Some(spec) = &operation.body else {
        return if body.is_empty() { Ok(None) } else { Err(refuse(Reason::BodyNotExpected, format!("{} takes no body", operation.action))) };
    };
    if body.is_empty() {
        return if spec.required { Err(refuse(Reason::BodyMissing, format!("{} needs a JSON body", operation.action))) } else { Ok(None) };
    }
    content_type(head, &spec.media_type)?;
    body_digest(operation, head, body)?;
    json::parse(body).map(Some)
}

/// The operation's media type, with `charset=utf-8` or nothing behind it.
fn content_type(head: &RequestHead, media_type: &str) -> Result<(), Unreadable> {
    let refuse = || refuse(Reason::ContentType, format!("Content-Type must be {media_type}, with charset=utf-8 or no parameter"));
    let text = head.header("content-type").ok_or_else(refuse)?.to_ascii_lowercase();
    let (kind, parameter) = text.split_once(';').unwrap_or((&text, ""));
    let charset = parameter.trim().replace('"', "");
    if kind.trim() == media_type && ["", "charset=utf-8", "charset=utf8"].contains(&charset.as_str()) { Ok(()) } else { Err(refuse()) }
}

/// A write whose signature does not cover this very body could be changed behind the gateway.
fn body_digest(operation: &Operation, head: &RequestHead, body: &[u8]) -> Result<(), Unreadable> {
    if !operation.is_write() || !head.headers.contains_key("x-sdk-content-sha256") {
        return Ok(());
    }
    match head.header("x-sdk-content-sha256") {
        Some(claimed) if claimed.eq_ignore_ascii_case(&hex::encode(Sha256::digest(body))) => Ok(()),
        _ => Err(refuse(Reason::BodyDigest, "X-Sdk-Content-Sha256 is not the SHA-256 of this body: sign the body itself".to_owned())),
    }
}

fn refuse(reason: Reason, detail: String) -> Unreadable {
    Unreadable { reason, detail }
}
