//! The head check: a request head that two parsers could read differently is refused, with the
//! class named (`docs/unambiguous.md`).
//!
//! pingora forwards many odd shapes untouched; this is the one place that decides which of them
//! pass. Only `line` looks at the bytes of HTTP/1: every other layer judges what HTTP/2 has too.

mod framing;
mod headers;
mod host;
mod line;
mod target;

use crate::request::HeadFault;
use http::{HeaderMap, Method, Version};
use keyward_core::reason::Reason;

pub use line::HEAD_BYTES_MAX;
pub use target::TARGET_BYTES_MAX;

/// What is checked.
#[derive(Debug)]
pub struct Head<'a> {
    /// The head's bytes as they came, on HTTP/1.
    pub raw: Option<&'a [u8]>,
    /// The version.
    pub version: Version,
    /// The method.
    pub method: &'a Method,
    /// The target's bytes, as they go upstream.
    pub target: &'a [u8],
    /// Host, or `:authority` where there is no Host; empty when both are missing.
    pub host: &'a str,
    /// `:scheme`, on HTTP/2.
    pub scheme: Option<&'a str>,
    /// `:authority`, on HTTP/2.
    pub authority: Option<&'a str>,
    /// The name for which the TLS connection was made, if it was made for one.
    pub sni: Option<&'a str>,
    /// All header fields.
    pub headers: &'a HeaderMap,
}

/// The first thing that is wrong with a head, or `None`.
pub fn check(head: &Head) -> Option<HeadFault> {
    line::check(head)
        .and_then(|()| target::check(head.target))
        .and_then(|()| headers::check(head.headers))
        .and_then(|()| host::check(head))
        .and_then(|()| framing::check(head))
        .err()
}

type Checked = Result<(), HeadFault>;

fn fault(reason: Reason, detail: impl Into<String>) -> HeadFault {
    HeadFault { reason, detail: detail.into() }
}

fn refuse(reason: Reason, detail: impl Into<String>) -> Checked {
    Err(fault(reason, detail))
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::request::tests::head;

    /// Why a head of HTTP/1.1 with these headers is refused.
    pub fn reason(headers: &[(&'static str, &str)]) -> Option<Reason> {
        let head = head("POST", "/a", headers);
        check(&of(&head.method, &head.headers)).map(|fault| fault.reason)
    }

    /// A head without fault, but for what is given.
    pub fn of<'a>(method: &'a Method, headers: &'a HeaderMap) -> Head<'a> {
        Head {
            raw: None,
            version: Version::HTTP_11,
            method,
            target: b"/a",
            host: "h.example",
            scheme: None,
            authority: None,
            sni: None,
            headers,
        }
    }

    #[test]
    fn a_plain_head_passes() {
        assert_eq!(
            reason(&[
                ("host", "h.example"),
                ("accept", "*/*"),
                ("user-agent", "a (b; c) d/1.0"),
                ("x-sdk-date", "20261122T142050Z")
            ]),
            None
        );
    }
}
