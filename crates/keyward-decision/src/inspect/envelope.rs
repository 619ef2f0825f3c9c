//! The body's envelope: what the head says of the body must be true of it, and leave one way to
//! read it.

use super::facts::Unreadable;
use super::{json, refuse};
use crate::catalog::operation::Operation;
use crate::request::{Authorization, RequestHead};
use keyward_core::reason::Reason;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sm3::Sm3;

/// Headers in which a signature puts the body's digest: the cloud verifies them, if it verifies
/// them, instead of the body.
const DIGESTS: &[&str] =
    &["x-acs-content-sha256", "x-acs-content-sm3", "x-sdk-content-sha256", "x-sdk-content-sm3"];

/// What a signature says that does not cover the body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Checks that a body is there when the operation takes one, is of its media type, plain, and the
/// one that was signed.
///
/// # Errors
/// When it is not.
pub fn check(operation: &Operation, head: &RequestHead, body: &[u8]) -> Result<(), Unreadable> {
    if head.headers.contains_key(http::header::CONTENT_ENCODING) {
        return Err(refuse(
            Reason::ContentEncoding,
            "the call has a Content-Encoding: send the body plain".to_owned(),
        ));
    }
    digest(operation, head, body)?;
    match &operation.body {
        None if operation.empty_object_is_absent && is_empty_object(head, body) => Ok(()),
        None if !body.is_empty() => Err(refuse(
            Reason::BodyNotExpected,
            format!("{} takes no body: leave it out", operation.action),
        )),
        Some(spec) if body.is_empty() && spec.required => {
            Err(refuse(Reason::BodyMissing, format!("{} needs a JSON body", operation.action)))
        }
        Some(spec) if !body.is_empty() => content_type(head, &spec.media_type),
        _ => Ok(()),
    }
}

/// Whether a body says no more than that there is nothing to say.
pub fn is_empty_object(head: &RequestHead, body: &[u8]) -> bool {
    let empty = |value: Value| value.as_object().is_some_and(Map::is_empty);
    content_type(head, "application/json").is_ok() && json::parse(body).is_ok_and(empty)
}

/// The operation's media type, with `charset=utf-8` or nothing behind it.
fn content_type(head: &RequestHead, media_type: &str) -> Result<(), Unreadable> {
    let text = head.header("content-type").unwrap_or_default();
    let (kind, parameter) = text.split_once(';').unwrap_or((text, ""));
    let charsets = ["", "charset=utf-8", "charset=\"utf-8\"", "charset=utf8"];
    if kind.trim_ascii().eq_ignore_ascii_case(media_type)
        && charsets.iter().any(|known| parameter.trim_ascii().eq_ignore_ascii_case(known))
    {
        return Ok(());
    }
    Err(refuse(
        Reason::ContentType,
        format!("Content-Type must be {media_type}, with charset=utf-8 or no parameter"),
    ))
}

/// A digest that is not this very body's, or a signature that covers none, leaves the body open to
/// change behind the gateway. A read has nothing to change.
fn digest(operation: &Operation, head: &RequestHead, body: &[u8]) -> Result<(), Unreadable> {
    for name in DIGESTS.iter().filter(|name| head.headers.contains_key(**name)) {
        let claimed = head.header(name).unwrap_or_default();
        let unsigned = claimed == UNSIGNED;
        if unsigned && operation.is_write() {
            let why = "sign the body itself; an SDK that signs none of this media type has to call the operation that takes application/json";
            return Err(refuse(
                Reason::BodyDigest,
                format!("{name} says that the signature covers no body: {why}"),
            ));
        }
        if !unsigned && !claimed.eq_ignore_ascii_case(&hex_digest(head, name, body)) {
            return Err(refuse(
                Reason::BodyDigest,
                format!("{name} is not the digest of this body: sign the body itself"),
            ));
        }
    }
    Ok(())
}

/// ACS3 puts the digest of either algorithm into one header; the scheme says which.
fn hex_digest(head: &RequestHead, name: &str, body: &[u8]) -> String {
    let scheme =
        head.header("authorization").and_then(Authorization::parse).map_or("", |a| a.scheme);
    if name.ends_with("sm3") || scheme.ends_with("-SM3") {
        hex::encode(Sm3::digest(body))
    } else {
        hex::encode(Sha256::digest(body))
    }
}

/// The answer to a write says what was done. The gateway asks for it plain, unless that would break
/// a signature.
///
/// # Errors
/// When the signature covers an Accept-Encoding that allows more than a plain answer.
pub fn readable_answer(operation: &Operation, head: &RequestHead) -> Result<(), Unreadable> {
    let wanted = head
        .headers
        .get_all(http::header::ACCEPT_ENCODING)
        .iter()
        .find(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !operation.is_write() || wanted.is_none() {
        return Ok(());
    }
    let signed = head
        .header("authorization")
        .and_then(Authorization::parse)
        .map(|a| a.signed_headers())
        .unwrap_or_default();
    if signed.iter().any(|name| name.eq_ignore_ascii_case("accept-encoding")) {
        let why = "the signature covers an Accept-Encoding, so the answer could come unreadable: leave it unsigned, or send `identity`";
        return Err(refuse(Reason::AcceptEncoding, why.to_owned()));
    }
    Ok(())
}
