//! A request as the gate sees it: plain data, and a body that is read once. Knows nothing of pingora.

use crate::clock::{AuditId, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::net::SocketAddr;

/// The head of a request, as it was received. Nothing in it is decoded or normalised.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The exchange's id, given at arrival.
    pub id: AuditId,
    /// When the head was complete, by the wall clock.
    pub received: Timestamp,
    /// The peer of the connection.
    pub client: SocketAddr,
    /// The service to which the listener is bound, if routing is by listener and not by Host.
    pub bound_service: Option<String>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub version: &'static str,
    /// The method, case as sent.
    pub method: Method,
    /// The request target's bytes, as they go upstream. UTF-8 is not assured before the head check.
    pub target: Bytes,
    /// Host or `:authority`, as sent; empty when missing.
    pub host: String,
    /// The header fields, in the order of the wire per name.
    pub headers: HeaderMap,
    /// What the head check found, when the head can be read in two ways.
    pub fault: Option<HeadFault>,
}

impl RequestHead {
    /// The path's raw bytes as text, without the query. Empty if the target is not ASCII.
    pub fn path(&self) -> &str {
        let target = std::str::from_utf8(&self.target).unwrap_or("");
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The raw query, without the question mark. `None` when the target has none.
    pub fn query(&self) -> Option<&str> {
        std::str::from_utf8(&self.target).ok()?.split_once('?').map(|(_, query)| query)
    }

    /// The only value of a header as text. `None` when missing, repeated or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }

    /// The Host without its port, in lower case.
    pub fn host_name(&self) -> String {
        let host = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.host,
        };
        host.to_ascii_lowercase()
    }
}

/// A head that two parsers could read differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadFault {
    /// `head-ambiguous` or `target-ambiguous`.
    pub reason: crate::reason::Reason,
    /// What was found and what to do, for the caller.
    pub detail: String,
}

/// Where a request's body comes from.
#[async_trait]
pub trait BodySource: Send {
    /// Reads the body to its end, within the source's own deadline.
    ///
    /// # Errors
    /// When the body is longer than `limit_bytes`, comes too slowly or is cut off; nothing more can be read then.
    async fn read(&mut self, limit_bytes: usize) -> Result<Bytes, BodyFault>;
}

/// Why a body could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Longer than the limit, by its Content-Length or by count.
    TooLarge,
    /// Not whole before the deadline.
    TooSlow,
    /// The client left, or its framing was broken.
    Cut(String),
}

#[cfg(test)]
#[expect(missing_docs, reason = "tests")]
pub mod tests {
    use super::*;

    /// A head for tests.
    pub fn head(method: &str, target: &str, headers: &[(&'static str, &str)]) -> RequestHead {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        RequestHead {
            id: AuditId::new(),
            received: Timestamp::now(),
            client: SocketAddr::from(([127, 0, 0, 1], 4000)),
            bound_service: None,
            version: "HTTP/1.1",
            method: method.parse().unwrap(),
            target: Bytes::copy_from_slice(target.as_bytes()),
            host: map.get("host").and_then(|h| h.to_str().ok()).unwrap_or("kms.cn-north-4.myhuaweicloud.com").to_owned(),
            headers: map,
            fault: None,
        }
    }

    #[test]
    fn the_port_is_no_part_of_the_name() {
        for (host, name) in [("KMS.Example.com:8080", "kms.example.com"), ("a", "a"), ("a:", "a:"), ("[::1]:80", "[::1]")] {
            assert_eq!(head("GET", "/", &[("host", host)]).host_name(), name);
        }
        assert_eq!(head("GET", "/a?b=c?d", &[]).query(), Some("b=c?d"));
    }
}
