//! Webhooks: batches of JSON lines by POST over TLS, each confirmed whole by the status of its answer.

use crate::audit::export::Line;
use crate::client::credential::Credential;
use crate::client::{Tls, Url, post};
use crate::clock::Timestamp;
use anyhow::anyhow;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

/// Of what is posted.
pub(super) const CONTENT_TYPE: &str = "application/x-ndjson";
/// What confirms a whole batch. Other statuses of 2xx are about parts, or about other things.
const CONFIRMS: [StatusCode; 4] = [StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
/// Bytes of an answer that are read, and thrown away.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest wait that a receiver can ask for.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Why a batch was not confirmed.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: anyhow::Error,
    /// The receiver takes no batch of this size.
    pub too_large: bool,
    /// When the receiver wants to be asked again.
    pub wait: Option<Duration>,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, too_large: false, wait: None }
    }
}

/// Posts lines.
pub(super) async fn deliver(to: &Url, tls: &Tls, credential: &Credential, lines: &[Line], deadline: Duration) -> Result<(), Failure> {
    let headers = credential.headers(CONTENT_TYPE)?;
    let body: Vec<u8> = lines.iter().flat_map(|line| line.bytes.iter().copied()).collect();
    let answer = post(to, Some(tls), headers, body.into(), deadline, ANSWER_BYTES_MAX).await?;
    let status = answer.status();
    if CONFIRMS.contains(&status) {
        return Ok(());
    }
    let wait = wait(&answer);
    // What it says may repeat what it was sent, the token too: its status is enough.
    let error = match wait {
        Some(wait) => anyhow!("the receiver answered {status}, and wants to be asked again in {} s", wait.as_secs()),
        None => anyhow!("the receiver answered {status}"),
    };
    Err(Failure { error, too_large: status == StatusCode::PAYLOAD_TOO_LARGE, wait })
}

/// The wait that a receiver asks for which has too much to do: as seconds, or as a date.
fn wait(answer: &Response<Bytes>) -> Option<Duration> {
    if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX)).filter(|_| !text.is_empty());
    let wait = match seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            let now = Duration::from_millis(u64::try_from(Timestamp::now().millis()).unwrap_or(0));
            at.saturating_sub(now)
        }
    };
    Some(wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(status: u16, value: &str) -> Option<Duration> {
        wait(&Response::builder().status(status).header("retry-after", value).body(Bytes::new()).unwrap())
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_date_and_has_a_bound() {
        let seconds = Duration::from_secs;
        for status in [429, 503] {
            assert_eq!(asks(status, "7"), Some(seconds(7)));
            assert_eq!(asks(status, "0"), Some(seconds(0)));
            assert_eq!(asks(status, "86400"), Some(WAIT_MAX));
            assert_eq!(asks(status, "99999999999999999999999"), Some(WAIT_MAX));
            let at = httpdate::fmt_http_date(UNIX_EPOCH + seconds(u64::try_from(Timestamp::now().millis()).unwrap() / 1000 + 30));
            let asked = asks(status, &at).unwrap();
            assert!(asked > seconds(25) && asked <= seconds(30), "{asked:?}");
            assert_eq!(asks(status, "Sun, 06 Nov 1994 08:49:37 GMT"), Some(seconds(0)));
            assert_eq!(asks(status, "Fri, 31 Dec 9999 23:59:59 GMT"), Some(WAIT_MAX));
            for nonsense in ["", "-1", "1.5", "soon", "1e3"] {
                assert_eq!(asks(status, nonsense), None, "{nonsense}");
            }
        }
        assert_eq!(asks(500, "7"), None);
    }
}
