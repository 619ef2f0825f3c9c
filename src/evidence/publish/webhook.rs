//! A URL to which checkpoints are posted, as `text/plain`.

use super::super::note::Signed;
use super::{DEADLINE, Place, runtime};
use crate::client::{Tls, Url, post};
use crate::durable;
use anyhow::{Context, ensure};
use http::{HeaderMap, HeaderValue, header};
use std::path::PathBuf;
use std::sync::Arc;

/// The URL, and how to get in.
pub struct Webhook {
    /// Where to.
    pub url: Url,
    /// For `https`.
    pub tls: Option<Tls>,
    /// A file with a bearer token, read at each call.
    pub token_file: Option<PathBuf>,
}

impl Place for Webhook {
    fn name(&self) -> &str {
        "webhook"
    }

    fn bring(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(file) = &self.token_file {
            let token = durable::read_text(file).with_context(|| file.display().to_string())?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let answer = runtime()?.block_on(post(&self.url, self.tls.as_ref(), headers, signed.bytes().into(), DEADLINE, 64 * 1024))?;
        ensure!(answer.status().is_success(), "{} answers {}", self.url, answer.status());
        Ok(())
    }
}
