//! A syslog server: RFC 5424, over UDP, or over TCP and TLS with octet counting. Syslog
//! acknowledges nothing. Over TCP and TLS a checkpoint counts as brought when the server ends the
//! connection in order, by which it has read it; over UDP when it is sent. What the server then
//! does with it nobody tells, so the newest one is brought a second time after a minute.

use super::{CheckpointSink, DEADLINE, runtime};
use anyhow::Context;
use keyward_core::clock::Timestamp;
use keyward_delivery::client::{Tls, Url};
use keyward_delivery::syslog::{Message, Severity, send};
use keyward_tlog::note::Signed;
use serde_json::json;
use std::sync::Arc;

/// The server.
pub struct Syslog {
    /// `udp`, `tcp` or `tls`.
    pub url: Url,
    /// For `tls`.
    pub tls: Option<Tls>,
}

/// One line, of ASCII alone: some servers cut at line ends, or at what they do not know.
fn text(signed: &Signed) -> String {
    let note = json!({"checkpoint": signed.to_string()}).to_string();
    note.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
        text
    })
}

impl CheckpointSink for Syslog {
    fn name(&self) -> &str {
        "syslog"
    }

    fn confirms(&self) -> bool {
        false
    }

    fn publish(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        let text = text(signed);
        let message = Message {
            severity: Severity::Informational,
            id: "checkpoint",
            time: Timestamp::now(),
            data: "-",
            text: text.as_bytes(),
        };
        let sending = async {
            tokio::time::timeout(DEADLINE, send(&self.url, self.tls.as_ref(), &message)).await
        };
        runtime()?
            .block_on(sending)
            .context("it does not take it in time")
            .flatten()
            .with_context(|| self.url.to_string())
    }
}
