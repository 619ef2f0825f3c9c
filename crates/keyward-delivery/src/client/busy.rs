//! Servers that have too much to do, and say when to come again (RFC 9110, 10.2.3).

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use keyward_core::clock::Timestamp;
use std::time::{Duration, UNIX_EPOCH};

/// The longest wait that a server can ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(600);

/// A server wants to be asked again, later.
#[derive(Debug, thiserror::Error)]
#[error("it has too much to do, and wants to be asked again in {} s", .0.as_secs())]
pub struct Busy(pub Duration);

/// The wait that is asked for with 429 or 503: as seconds, or as a date. `None` when there is none
/// that can be read.
pub fn asked_wait(answer: &Response<Bytes>) -> Option<Duration> {
    if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().unwrap_or(u64::MAX))
        .filter(|_| !text.is_empty());
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
        asked_wait(
            &Response::builder()
                .status(status)
                .header("retry-after", value)
                .body(Bytes::new())
                .unwrap(),
        )
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_date_and_has_a_bound() {
        let seconds = Duration::from_secs;
        for status in [429, 503] {
            assert_eq!(asks(status, "7"), Some(seconds(7)));
            assert_eq!(asks(status, "0"), Some(seconds(0)));
            assert_eq!(asks(status, "86400"), Some(WAIT_MAX));
            assert_eq!(asks(status, "99999999999999999999999"), Some(WAIT_MAX));
            let at = httpdate::fmt_http_date(
                UNIX_EPOCH + seconds(u64::try_from(Timestamp::now().millis()).unwrap() / 1000 + 30),
            );
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
