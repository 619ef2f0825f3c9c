//! A URL to which checkpoints are posted, as `text/plain`.

use super::{DEADLINE, Place, runtime};
use crate::client::busy::{Busy, asked_wait};
use crate::client::credential::Credential;
use crate::client::{Tls, Url, post};
use anyhow::{Context, ensure};
use keyward_tlog::note::Signed;
use std::sync::Arc;

/// The URL, and how to get in.
pub struct Webhook {
    /// Where to.
    pub url: Url,
    /// For `https`.
    pub tls: Option<Tls>,
    /// What lets it take POSTs.
    pub credential: Credential,
}

impl Place for Webhook {
    fn name(&self) -> &str {
        "webhook"
    }

    fn bring(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        let headers = self.credential.headers("text/plain; charset=utf-8")?;
        let answer = runtime()?.block_on(post(&self.url, self.tls.as_ref(), headers, signed.bytes().into(), DEADLINE, 64 * 1024))?;
        let said = || format!("{} answers {}", self.url, answer.status());
        if let Some(wait) = asked_wait(&answer) {
            return Err(Busy(wait)).with_context(said);
        }
        ensure!(answer.status().is_success(), said());
        Ok(())
    }
}
