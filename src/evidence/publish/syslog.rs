//! A syslog server: RFC 5424, over UDP, or over TCP and TLS with octet counting. Syslog acknowledges nothing. Over TCP and
//! TLS a checkpoint counts as brought when the server ends the connection in order, by which it has read it; over UDP when it
//! is sent. What the server then does with it nobody tells, so the newest one is brought a second time after a minute.

use super::{DEADLINE, Place, runtime};
use crate::client::wire::Wire;
use crate::client::{Tls, Url};
use crate::threads;
use anyhow::Context;
use keyward_core::clock::Timestamp;
use keyward_tlog::note::Signed;
use serde_json::json;
use std::sync::Arc;
use tokio::net::UdpSocket;

/// Facility "log audit", severity "informational".
const PRIORITY: u8 = 13 * 8 + 6;

/// The server.
pub struct Syslog {
    /// `udp`, `tcp` or `tls`.
    pub url: Url,
    /// For `tls`.
    pub tls: Option<Tls>,
}

impl Syslog {
    async fn send(&self, message: &str) -> anyhow::Result<()> {
        if self.url.scheme == "udp" {
            let addresses = threads::resolve(&self.url.host, self.url.port).await?;
            let address = *addresses.first().context("no address")?;
            let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let sent = UdpSocket::bind(own).await?.send_to(message.as_bytes(), address).await?;
            anyhow::ensure!(sent == message.len(), "only {sent} bytes were sent");
            return Ok(());
        }
        let mut wire = Wire::connect(&self.url, self.tls.as_ref()).await?;
        wire.send(format!("{} {message}", message.len()).as_bytes()).await?;
        wire.end(true).await
    }
}

/// One line, of ASCII alone: some servers cut at line ends, or at what they do not know.
fn message(signed: &Signed) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let note = json!({"checkpoint": signed.to_string()}).to_string();
    let note = note.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
        text
    });
    let host = if host.is_empty() { "-" } else { &host };
    format!("<{PRIORITY}>1 {} {host} keyward {} checkpoint - {note}", Timestamp::now().rfc3339(), std::process::id())
}

impl Place for Syslog {
    fn name(&self) -> &str {
        "syslog"
    }

    fn confirms(&self) -> bool {
        false
    }

    fn bring(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        let message = message(signed);
        let sent = runtime()?.block_on(async { tokio::time::timeout(DEADLINE, self.send(&message)).await });
        sent.context("it does not take it in time").flatten().with_context(|| self.url.to_string())
    }
}
