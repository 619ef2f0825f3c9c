//! Webhooks: a body by POST, confirmed whole by the status of its answer.

use crate::client::busy::asked_wait;
use crate::client::credential::Credential;
use crate::client::{Tls, Url, post};
use anyhow::anyhow;
use bytes::Bytes;
use http::StatusCode;
use std::time::Duration;

/// What confirms a whole body. Other statuses of 2xx are about parts, or about other things.
const CONFIRMS: [StatusCode; 4] =
    [StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
/// Bytes of an answer that are read, and thrown away.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why a body was not confirmed.
#[derive(Debug)]
pub struct Failure {
    /// What happened, for people.
    pub error: anyhow::Error,
    /// The receiver takes no body of this size.
    pub too_large: bool,
    /// When the receiver wants to be asked again.
    pub wait: Option<Duration>,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, too_large: false, wait: None }
    }
}

/// A receiver, and how to get in.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to: `http` or `https`.
    pub url: Url,
    /// For `https`.
    pub tls: Option<Tls>,
    /// What lets it take POSTs.
    pub credential: Credential,
    /// Any status of 2xx confirms: for what is so small that it is taken whole, or not at all.
    pub any_success: bool,
}

impl Webhook {
    /// Posts a body.
    ///
    /// # Errors
    /// Unless the receiver confirms it within `deadline`.
    pub async fn deliver(
        &self,
        content_type: &'static str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<(), Failure> {
        let headers = self.credential.headers(content_type)?;
        let answer =
            post(&self.url, self.tls.as_ref(), headers, body, deadline, ANSWER_BYTES_MAX).await?;
        let status = answer.status();
        if CONFIRMS.contains(&status) || self.any_success && status.is_success() {
            return Ok(());
        }
        let wait = asked_wait(&answer);
        // What it says may repeat what it was sent, the token too: its status is enough.
        let error = match wait {
            Some(wait) => anyhow!(
                "the receiver answered {status}, and wants to be asked again in {} s",
                wait.as_secs()
            ),
            None => anyhow!("the receiver answered {status}"),
        };
        Err(Failure { error, too_large: status == StatusCode::PAYLOAD_TOO_LARGE, wait })
    }
}
