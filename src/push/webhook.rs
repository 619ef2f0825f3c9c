//! Webhooks: batches of JSON lines by POST over TLS, each confirmed whole by the status of its answer.

use crate::audit::export::Line;
use crate::client::{Tls, Url, post};
use crate::durable;
use crate::secret::check_private;
use anyhow::{Context, ensure};
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::path::Path;
use std::time::Duration;

/// What confirms a whole batch. Other statuses of 2xx are about parts, or about other things.
const CONFIRMS: [StatusCode; 4] = [StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
/// Bytes of an answer that are read, and thrown away.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Posts lines.
pub(super) async fn deliver(to: &Url, tls: &Tls, token_file: Option<&Path>, lines: &[Line], deadline: Duration) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("keyward/", env!("CARGO_PKG_VERSION"))));
    if let Some(file) = token_file {
        // Read each time, so that it can be renewed.
        headers.insert(AUTHORIZATION, read_token(file)?);
    }
    let body: Vec<u8> = lines.iter().flat_map(|line| line.bytes.iter().copied()).collect();
    let answer = post(to, Some(tls), headers, body.into(), deadline, ANSWER_BYTES_MAX).await?;
    // What it says may repeat what it was sent, the token too: its status is enough.
    ensure!(CONFIRMS.contains(&answer.status()), "the receiver answered {}", answer.status());
    Ok(())
}

/// The header that shows a token.
pub(super) fn read_token(file: &Path) -> anyhow::Result<HeaderValue> {
    let name = || format!("token_file {}", file.display());
    check_private(file).map_err(anyhow::Error::msg).with_context(name)?;
    let token = durable::read_text(file).with_context(name)?;
    ensure!(!token.trim().is_empty(), "{} is empty", name());
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).with_context(name)?;
    value.set_sensitive(true);
    Ok(value)
}
