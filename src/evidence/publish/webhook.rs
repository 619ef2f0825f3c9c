//! A URL to which checkpoints are posted, as `text/plain`.

use super::{CheckpointSink, DEADLINE, runtime};
use anyhow::Context;
use keyward_delivery::client::busy::Busy;
use keyward_delivery::webhook::Webhook;
use keyward_tlog::note::Signed;
use std::sync::Arc;

impl CheckpointSink for Webhook {
    fn name(&self) -> &str {
        "webhook"
    }

    fn publish(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        let delivered = runtime()?.block_on(self.deliver(
            "text/plain; charset=utf-8",
            signed.bytes().into(),
            DEADLINE,
        ));
        delivered
            .map_err(|failure| failure.wait.map_or(failure.error, |wait| Busy(wait).into()))
            .with_context(|| self.url.to_string())
    }
}
