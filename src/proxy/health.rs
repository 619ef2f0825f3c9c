//! Health checks on the ports of calls: one path that balancers ask for. It is answered here, never
//! forwarded, and not on record; whatever is not exactly such a question takes the road of every
//! call.

use crate::listen::phase::{Phase, Stage};
use crate::listen::source::Peers;
use bytes::Bytes;
use http::{Method, header};
use keyward_trail::journal::Journal;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use std::net::IpAddr;

/// What a listener answers of its health, as configured.
#[derive(Clone, Debug)]
pub struct Health {
    /// The path.
    pub path: String,
    /// Who may ask; everybody when there are none.
    pub from: Peers,
}

/// Headers with which a request is more than a question.
const MORE: &[header::HeaderName] = &[
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::TRAILER,
    header::AUTHORIZATION,
    header::COOKIE,
];

impl Health {
    /// Whether a request asks for it, from here. `whole` says that nothing comes behind its head.
    pub fn is_asked(&self, request: &RequestHeader, source: IpAddr, whole: bool) -> bool {
        whole
            && matches!(request.method, Method::GET | Method::HEAD)
            && request.raw_path() == self.path.as_bytes()
            && (self.from.0.is_empty() || self.from.hold(source))
            && !MORE.iter().any(|name| request.headers.contains_key(name))
            && !request.headers.contains_key("x-forwarded-for")
    }
}

/// Answers: 200 while calls are taken, else 503.
///
/// # Errors
/// When the client has left.
pub async fn answer(session: &mut Session, phase: &Phase, journal: &Journal) -> Result<()> {
    let well = phase.now() == Stage::Serving && journal.health().is_ok();
    let (status, text) = if well { (200, "ok\n") } else { (503, "not ready\n") };
    let mut head = ResponseHeader::build(status, Some(3))?;
    head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    head.insert_header(header::CONTENT_LENGTH, text.len().to_string())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    let head_only = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head), head_only).await?;
    if head_only {
        Ok(())
    } else {
        session.write_response_body(Some(Bytes::from_static(text.as_bytes())), true).await
    }
}
