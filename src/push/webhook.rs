//! Webhooks: batches of JSON lines by POST over TLS, each confirmed whole by the status of its answer.

use crate::client::busy::asked_wait;
use crate::client::credential::Credential;
use crate::client::{Tls, Url, post};
use anyhow::anyhow;
use http::StatusCode;
use keyward_trail::export::Line;
use std::time::Duration;

/// Of what is posted.
pub(super) const CONTENT_TYPE: &str = "application/x-ndjson";
/// What confirms a whole batch. Other statuses of 2xx are about parts, or about other things.
const CONFIRMS: [StatusCode; 4] = [StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
/// Bytes of an answer that are read, and thrown away.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

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
    let wait = asked_wait(&answer);
    // What it says may repeat what it was sent, the token too: its status is enough.
    let error = match wait {
        Some(wait) => anyhow!("the receiver answered {status}, and wants to be asked again in {} s", wait.as_secs()),
        None => anyhow!("the receiver answered {status}"),
    };
    Err(Failure { error, too_large: status == StatusCode::PAYLOAD_TOO_LARGE, wait })
}
