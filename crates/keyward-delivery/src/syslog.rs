//! Syslog: RFC 5424 over TLS (RFC 5425), over TCP with octet counting, or over UDP.
//!
//! Syslog has no acknowledgement. The one thing that a receiver says is the end of a connection,
//! which tells that it has read all ([`crate::client::wire`]). So each batch is a connection. What
//! the receiver does with what it has read nobody tells, but one that dies ends its connections: so
//! the next one is opened as soon as a batch is read, and as long as it stands the receiver lives,
//! and works on what it has read. When it ends, or none can be opened, the last batches are sent
//! again.

use crate::client::wire::Wire;
use crate::client::{Tls, Url};
use crate::resolve::resolve;
use anyhow::{Context, ensure};
use keyward_core::clock::Timestamp;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Facility 13, log audit.
const FACILITY: u8 = 13;
/// Time for the end of a connection that brought nothing.
const FAREWELL: Duration = Duration::from_secs(1);

/// How grave a message is: RFC 5424's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// 4
    Warning = 4,
    /// 5
    Notice = 5,
    /// 6
    Informational = 6,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// How grave it is.
    pub severity: Severity,
    /// What it is about: MSGID, printable ASCII without blanks, at most 32 characters.
    pub id: &'a str,
    /// When it happened.
    pub time: Timestamp,
    /// STRUCTURED-DATA, well-formed; `-` for none.
    pub data: &'a str,
    /// JSON in UTF-8, without the mark that RFC 5424 puts before UTF-8: receivers would take the
    /// mark for a part of the JSON. So it counts as MSG-ANY.
    pub text: &'a [u8],
}

/// Who sends: what is the same in all messages.
#[derive(Clone, Debug)]
pub struct Origin {
    host: String,
    process: u32,
}

impl Origin {
    /// This process.
    pub fn here() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let sound = !name.is_empty()
            && name.len() <= 255
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        Self { host: if sound { name } else { "-".to_owned() }, process: std::process::id() }
    }

    /// One message as it is written, without a frame.
    pub fn message(&self, message: &Message<'_>) -> Vec<u8> {
        let Message { severity, id, time, data, text } = message;
        let priority = FACILITY * 8 + *severity as u8;
        [
            format!(
                "<{priority}>1 {} {} keyward {} {id} {data} ",
                time.rfc3339(),
                self.host,
                self.process
            )
            .as_bytes(),
            text,
        ]
        .concat()
    }
}

/// A message with its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    [format!("{} ", message.len()).as_bytes(), message].concat()
}

/// Sends one message: over `udp`, where nobody confirms anything, or on a connection of its own,
/// `tcp` or `tls`, at whose end the receiver has read it.
///
/// # Errors
/// When it could not be sent, or not be read.
pub async fn send(to: &Url, tls: Option<&Tls>, message: &Message<'_>) -> anyhow::Result<()> {
    let message = Origin::here().message(message);
    if to.scheme == "udp" {
        let addresses = resolve(&to.host, to.port).await?;
        let address = *addresses.first().context("no address")?;
        let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let sent = UdpSocket::bind(own).await?.send_to(&message, address).await?;
        ensure!(sent == message.len(), "only {sent} bytes were sent");
        return Ok(());
    }
    let mut wire = Wire::connect(to, tls).await?;
    wire.send(&framed(&message)).await?;
    wire.end(true).await
}

/// The way to a receiver.
pub struct Sender {
    to: Url,
    tls: Tls,
    origin: Origin,
    accept_bare_close: bool,
    /// Opened beforehand, and idle.
    next: Option<Wire>,
}

impl Sender {
    /// Nothing is opened yet. `accept_bare_close` takes the end of TCP alone for the receiver's
    /// word.
    pub fn new(to: &Url, tls: &Tls, accept_bare_close: bool) -> Self {
        Self {
            to: to.clone(),
            tls: tls.clone(),
            origin: Origin::here(),
            accept_bare_close,
            next: None,
        }
    }

    /// Sends messages on a connection of their own. They are read when this returns.
    ///
    /// # Errors
    /// Unless the receiver has read them all.
    pub async fn deliver(
        &mut self,
        messages: impl IntoIterator<Item = Message<'_>>,
    ) -> anyhow::Result<()> {
        let mut wire = match self.next.take() {
            Some(wire) => wire,
            None => self.connect().await?,
        };
        for message in messages {
            wire.send(&framed(&self.origin.message(&message))).await?;
        }
        wire.end(self.accept_bare_close).await?;
        self.next = Some(self.connect().await?);
        Ok(())
    }

    /// Waits until the receiver ends the connection that is idle; for ever when there is none.
    pub async fn gone(&mut self) {
        match &mut self.next {
            Some(wire) => wire.over().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the connection that is idle, as politely as it goes.
    pub async fn rest(&mut self) {
        if let Some(wire) = self.next.take() {
            tokio::time::timeout(FAREWELL, wire.end(true)).await.ok();
        }
    }

    async fn connect(&self) -> anyhow::Result<Wire> {
        Wire::connect(&self.to, Some(&self.tls)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_graded_and_framed() {
        let origin = Origin { host: "gw-1".to_owned(), process: 42 };
        let message = Message {
            severity: Severity::Warning,
            id: "refused",
            time: Timestamp(1_795_357_250_123_456_000),
            data: "[meta sequenceId=\"8\"]",
            text: "{\"\u{e9}\":1}".as_bytes(),
        };
        let text = "<108>1 2026-11-22T14:20:50.123456Z gw-1 keyward 42 refused [meta sequenceId=\"8\"] {\"\u{e9}\":1}";
        assert_eq!(origin.message(&message), text.as_bytes());
        assert_eq!(framed(text.as_bytes()), format!("{} {text}", text.len()).into_bytes());
    }
}
