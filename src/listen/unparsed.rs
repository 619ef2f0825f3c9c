//! Requests that never became calls: what was wrong with them, for the record and for the client.

use super::classify::classify;
use super::connection::Connection;
use super::rejected::Class;
use super::watch::CloseReason;
use crate::answer;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_decision::head;
use keyward_decision::request::{HeadFault, RequestHead};
use std::time::Duration;

/// Time for a client to take an answer before its connection is closed under what it still sends.
pub const LINGER: Duration = Duration::from_secs(1);

/// Method in the record of a request in which none could be read.
const NO_METHOD: &str = "UNREADABLE";

/// What is wrong with a head that never became a call.
///
/// # Errors
/// When nobody waits for an answer: the class under which that is counted, if it is worth counting.
pub fn fault(ending: CloseReason, raw: &[u8]) -> Result<HeadFault, Option<Class>> {
    match ending {
        CloseReason::Unreadable => Ok(classify(raw)),
        CloseReason::TooLong => Ok(HeadFault {
            reason: Reason::HeadTooLarge,
            detail: format!("the head is longer than {} bytes", head::HEAD_BYTES_MAX),
        }),
        CloseReason::TooSlow if raw.is_empty() => Err(Some(Class::Silent)),
        CloseReason::TooSlow => Ok(HeadFault {
            reason: Reason::HeadTooSlow,
            detail: "the request's head was not whole before the deadline".to_owned(),
        }),
        CloseReason::Gone if raw.is_empty() => Err(None),
        CloseReason::Gone => Err(Some(Class::HeadCut)),
    }
}

/// The head as far as it goes: who sent it, its bytes, and what is wrong with it.
pub fn head(connection: &Connection, raw: Bytes, fault: HeadFault) -> RequestHead {
    let token = raw.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
    let method = Some(token)
        .filter(|token| token.len() <= 32)
        .and_then(|token| Method::from_bytes(token).ok());
    RequestHead {
        id: AuditId::new(),
        received: Timestamp::now(),
        client: connection.peer.address,
        via: connection.peer.via,
        tls: connection.peer.tls.clone(),
        bound_service: None,
        version: "unread",
        method: method
            .or_else(|| Method::from_bytes(NO_METHOD.as_bytes()).ok())
            .unwrap_or_default(),
        target: Bytes::new(),
        host: String::new(),
        headers: HeaderMap::new(),
        raw: Some(raw),
        fault: Some(fault),
    }
}

/// An HTTP/1.1 answer, whole, after which the connection is closed.
pub fn answer(status: u16, code: &str, message: &str, id: Option<&str>) -> Vec<u8> {
    let phrase = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let body = answer::body(None, code, message, id.unwrap_or_default());
    let mut head = format!("HTTP/1.1 {status} {phrase}\r\n");
    for (name, value) in answer::headers(body.len(), id) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("connection: close\r\n\r\n");
    [head.as_bytes(), &body].concat()
}
