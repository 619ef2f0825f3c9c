//! Answers that the gateway itself gives: JSON that every real client shows properly, never 2xx or
//! 3xx.

use crate::answer;
use crate::gate::Refusal;
use bytes::Bytes;
use keyward_core::clock::AuditId;
use keyward_decision::catalog::operation::ErrorShape;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use std::time::Duration;

/// Time for a client to finish sending what is refused.
const LINGER: Duration = Duration::from_secs(2);

/// What went wrong with an upstream, for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// It could not be reached; nothing was sent.
    Unreachable,
    /// It did not answer in time; what became of the call is unknown.
    Timeout,
    /// It broke off; what became of the call is unknown.
    Broken,
    /// It answered, but the answer could not be recorded.
    Unrecorded,
}

impl UpstreamFault {
    /// Code, status and sentence.
    pub fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Unreachable => {
                ("upstream-unreachable", 502, "the cloud could not be reached; nothing was sent")
            }
            Self::Timeout => (
                "upstream-timeout",
                504,
                "the cloud did not answer in time; it is not known whether it carried out the call",
            ),
            Self::Broken => (
                "upstream-broken",
                502,
                "the cloud broke off before its answer was whole; it is not known whether it carried out the call",
            ),
            Self::Unrecorded => (
                "journal-unavailable",
                503,
                "the cloud answered, but the audit record could not be written, so the answer is withheld",
            ),
        }
    }
}

/// Refuses a call.
///
/// # Errors
/// When the client has left.
pub async fn refuse(session: &mut Session, refusal: &Refusal) -> Result<()> {
    if !refusal.read_whole {
        // Bytes of the body may be on the wire still; the next request would begin in their midst.
        session.set_keepalive(None);
    }
    let retry_after = refusal.retry_after.map(|wait| wait.as_secs() + 1);
    let (code, status) = (refusal.reason.code(), refusal.reason.status());
    let body = answer::body(refusal.errors, code, &refusal.message, &refusal.id.to_string());
    write(session, status, body, refusal.id, retry_after).await?;
    if !refusal.read_whole && !session.is_body_empty() {
        linger(session).await;
    }
    Ok(())
}

/// Lets a client that is still sending come to the answer: a connection closed over unread bytes is
/// reset, which breaks its sending, and with some systems takes the answer back.
async fn linger(session: &mut Session) {
    let rest =
        async { while let Ok(Some(_)) = session.as_downstream_mut().read_request_body().await {} };
    tokio::time::timeout(LINGER, rest).await.ok();
}

/// Says that the upstream failed.
///
/// # Errors
/// When the client has left.
pub async fn upstream_failed(
    session: &mut Session,
    fault: UpstreamFault,
    errors: Option<ErrorShape>,
    id: AuditId,
) -> Result<()> {
    let (code, status, message) = fault.parts();
    session.set_keepalive(None);
    write(session, status, answer::body(errors, code, message, &id.to_string()), id, None).await
}

async fn write(
    session: &mut Session,
    status: u16,
    body: Bytes,
    id: AuditId,
    retry_after: Option<u64>,
) -> Result<()> {
    let id = id.to_string();
    let mut header = ResponseHeader::build(status, Some(8))?;
    for (name, value) in answer::headers(body.len(), Some(&id)) {
        header.insert_header(name, value)?;
    }
    if let Some(seconds) = retry_after {
        header.insert_header("retry-after", seconds.to_string())?;
    }
    let head_only = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(header), head_only).await?;
    if head_only {
        return Ok(());
    }
    session.write_response_body(Some(body), true).await
}
