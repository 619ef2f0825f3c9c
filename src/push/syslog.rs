//! Syslog (RFC 5424) over TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. The one thing that a receiver says is the end of a connection, which tells that it has read
//! all ([`crate::client::wire`]). So each batch is a connection. What the receiver does with what it has read nobody tells,
//! but one that dies ends its connections: so the next one is opened as soon as a batch is read, and as long as it stands the
//! receiver lives, and works on what it has read. When it ends, or none can be opened, the last batches are sent again.

use crate::client::wire::Wire;
use crate::client::{Tls, Url};
use keyward_record::Kind;
use keyward_trail::export::Line;
use std::fmt::Write;
use std::time::Duration;

/// Facility 13, log audit.
const FACILITY: u32 = 13;
/// Time for the end of a connection that brought nothing.
const FAREWELL: Duration = Duration::from_secs(1);
/// RFC 5424's `sequenceId` runs from 1 to here, and begins anew.
const SEQUENCE_MAX: u64 = 2_147_483_647;

/// What is the same in all messages.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    host: String,
    process: u32,
    /// Lines are records, whose numbers have no gaps.
    numbered: bool,
}

impl Origin {
    pub fn new(numbered: bool) -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let sound = !name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic());
        Self { host: if sound { name } else { "-".to_owned() }, process: std::process::id(), numbered }
    }

    /// One message with its frame. The text is JSON in UTF-8 without the mark that RFC 5424 puts before UTF-8: receivers
    /// would take the mark for a part of the JSON. So it counts as MSG-ANY.
    fn message(&self, line: &Line) -> Vec<u8> {
        let (kind, severity) = match line.kind {
            Kind::Forwarded => ("forwarded", 6),
            Kind::Refused => ("refused", 4),
            Kind::Answer => ("answer", 6),
            Kind::Event => ("event", 5),
        };
        let sequence = if self.numbered { format!("[meta sequenceId=\"{}\"]", line.next.saturating_sub(1) % SEQUENCE_MAX + 1) } else { String::new() };
        let mut head = String::new();
        let _ = write!(head, "<{}>1 {} {} keyward {} {kind} ", FACILITY * 8 + severity, line.time.rfc3339(), self.host, self.process);
        let _ = write!(head, "[origin software=\"keyward\" swVersion=\"{}\"]{sequence} ", env!("CARGO_PKG_VERSION"));
        let text = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
        [format!("{} {head}", head.len() + text.len()).as_bytes(), text].concat()
    }
}

/// The way to a receiver.
pub(super) struct Sender {
    to: Url,
    tls: Tls,
    origin: Origin,
    accept_bare_close: bool,
    /// Opened beforehand, and idle.
    next: Option<Wire>,
}

impl Sender {
    pub fn new(to: &Url, tls: &Tls, origin: Origin, accept_bare_close: bool) -> Self {
        Self { to: to.clone(), tls: tls.clone(), origin, accept_bare_close, next: None }
    }

    /// Sends lines on a connection of their own. They are read when this returns.
    pub async fn deliver(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let mut wire = match self.next.take() {
            Some(wire) => wire,
            None => self.connect().await?,
        };
        for line in lines {
            wire.send(&self.origin.message(line)).await?;
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
    use keyward_core::clock::{AuditId, Timestamp};

    #[test]
    fn a_message_is_framed_numbered_and_graded() {
        let origin = Origin { host: "gw-1".to_owned(), process: 42, numbered: true };
        let line = |kind, next, bytes: &[u8]| Line { next, id: AuditId::new(), kind, time: Timestamp(1_795_357_250_123_456_000), bytes: bytes.to_vec() };
        let version = env!("CARGO_PKG_VERSION");
        let text = format!(
            "<108>1 2026-11-22T14:20:50.123456Z gw-1 keyward 42 refused [origin software=\"keyward\" swVersion=\"{version}\"][meta sequenceId=\"8\"] {{\"\u{e9}\":1}}"
        );
        let message = origin.message(&line(Kind::Refused, 8, "{\"\u{e9}\":1}\n".as_bytes()));
        assert_eq!(String::from_utf8(message).unwrap(), format!("{} {text}", text.len()));
        let wrapped = String::from_utf8(origin.message(&line(Kind::Event, SEQUENCE_MAX + 1, b"{}\n"))).unwrap();
        assert!(wrapped.contains("<109>1") && wrapped.contains("sequenceId=\"1\""), "{wrapped}");
        let exchange = Origin { numbered: false, ..origin }.message(&line(Kind::Forwarded, 3, b"{}\n"));
        assert!(!String::from_utf8(exchange).unwrap().contains("sequenceId"));
    }
}
