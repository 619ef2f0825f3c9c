//! One follower: reads, sends, keeps its cursor. Whatever fails is tried again, later and later,
//! for ever.

use super::Prepared;
use crate::metrics::Metrics;
use anyhow::{Context, anyhow};
use keyward_core::clock::Timestamp;
use keyward_delivery::client::Url;
use keyward_delivery::cursor::Cursor;
use keyward_delivery::retry::{Pauses, Status};
use keyward_delivery::settling::{Position, Settling};
use keyward_delivery::syslog::{self, Message, Severity};
use keyward_delivery::webhook::{Failure, Webhook};
use keyward_record::Kind;
use keyward_trail::export::format::ExportFormat;
use keyward_trail::export::{Export, Exporter, Line, Start, State};
use keyward_trail::filter::Filter;
use keyward_trail::query::Reader;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Time for one batch, all in all.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long records gather before they are sent.
const GATHER: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(60);
/// Of what is posted.
pub(super) const CONTENT_TYPE: &str = "application/x-ndjson";
/// RFC 5424's `sequenceId` runs from 1 to here, and begins anew.
const SEQUENCE_MAX: u64 = 2_147_483_647;
/// Bytes of lines in a batch, at most, beside its last line. Receivers as they come take a MiB.
const BATCH_BYTES: usize = 512 * 1024;
/// After so many batches of a size that a receiver takes, twice the size is tried again.
const TAKEN_BEFORE_MORE: u32 = 64;

/// What is shown of a push.
pub(super) struct Board {
    name: String,
    to: String,
    form: &'static str,
    confirmation: String,
    reader: Reader,
    state: Mutex<Shown>,
}

#[derive(Clone, Debug, Default)]
struct Shown {
    /// All below is confirmed.
    cursor: u64,
    /// All below was handed over, and may have to be again.
    handed_over: u64,
    /// Nothing below is needed any more, not even after a restart.
    kept: u64,
    status: Status,
}

impl Board {
    pub fn json(&self) -> Value {
        let shown = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "name": self.name, "to": self.to, "form": self.form,
            "cursor": shown.cursor, "lag_records": self.lag(shown.cursor), "handed_over": shown.handed_over, "confirmation": self.confirmation,
            "last_success": shown.status.last_success.map(Timestamp::rfc3339),
            "failing_since": shown.status.failing.as_ref().map(|(since, _)| since.rfc3339()), "error": shown.status.failing.map(|(_, error)| error),
        })
    }

    /// All of the records below is confirmed, and the exchanges that begin there too.
    pub fn sent(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept
    }

    /// Durable records from the cursor on.
    fn lag(&self, cursor: u64) -> u64 {
        self.reader.durable().saturating_sub(cursor)
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A push under way.
pub(super) struct Follower {
    push: Prepared,
    reader: Reader,
    metrics: Arc<Metrics>,
    cursor: Cursor,
    board: Arc<Board>,
}

/// The way to the receiver.
enum Way {
    Syslog(Box<syslog::Sender>),
    Webhook(Box<Webhook>),
}

impl Follower {
    pub fn new(push: Prepared, reader: Reader, metrics: Arc<Metrics>, dir: &Path) -> Self {
        let settings = &push.settings;
        let board = Board {
            name: settings.name.clone(),
            to: without_query(&settings.to),
            form: settings.form.name(),
            confirmation: settings.confirmation(),
            reader: reader.clone(),
            state: Mutex::default(),
        };
        // Each series is there before anything happens to it.
        metrics.push_lag.with_label_values(&[&board.name]).set(0);
        metrics.push_success.with_label_values(&[&board.name]).set(0);
        for counter in [&metrics.push_lines, &metrics.push_failures] {
            counter.with_label_values(&[&board.name]).inc_by(0);
        }
        let cursor = Cursor::new(dir.join(format!("{}.cursor", settings.name)));
        Self { reader, metrics, cursor, board: Arc::new(board), push }
    }

    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Until it is told to stop. What is not confirmed by then is sent again at the next start.
    pub fn run(mut self, mut stop: watch::Receiver<bool>) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    () = self.go_on() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }),
            Err(error) => self.failed(&format!("no runtime: {error}")),
        }
    }

    async fn go_on(&mut self) {
        let mut pauses = Pauses::new(RETRY_FIRST, RETRY_LAST);
        let mut settling = Settling::new(self.push.settings.resend);
        let mut size = Size::new();
        loop {
            let Err(failure) = self.follow(&mut pauses, &mut settling, &mut size).await;
            if failure.too_large {
                // Not a failure yet: what is too much together may do in parts.
                continue;
            }
            self.failed(&format!("{:#}", failure.error));
            let mut wait = pauses.after_failure(failure.wait);
            while !wait.is_zero() {
                let part = wait.min(Duration::from_secs(1));
                tokio::time::sleep(part).await;
                wait -= part;
                // The lag grows while nothing goes out.
                self.show();
            }
        }
    }

    /// From the cursor on, until something fails.
    async fn follow(
        &mut self,
        pauses: &mut Pauses,
        settling: &mut Settling,
        size: &mut Size,
    ) -> Result<Infallible, Failure> {
        let kept = self.cursor.read()?;
        let start = kept.map_or(Start::Oldest, Start::At);
        let export = Export {
            form: self.push.settings.form,
            filter: Filter::default(),
            start,
            follow: true,
        };
        let mut exporter = Exporter::new(self.reader.clone(), export)
            .map_err(|error| self.cursor.with_file(&error))?;
        let mut way = self.way();
        settling.begin();
        self.board.change(|shown| {
            shown.kept = kept.unwrap_or(0);
            shown.cursor = shown.cursor.max(shown.kept);
        });
        loop {
            exporter = exporter.with_step_bytes(size.bytes);
            let step = exporter.step().map_err(|error| self.cursor.with_file(&error))?;
            let here = Position { next: step.next, needed: exporter.needed() };
            if !step.lines.is_empty() {
                self.send(&mut way, &step.lines, size).await?;
                self.succeeded(step.lines.len());
                settling.handed_over(here);
                pauses.reset();
            } else if step.state != State::More {
                // Records without a line are passed.
                settling.handed_over(here);
            }
            self.settle(settling)?;
            self.board.change(|shown| shown.handed_over = step.next);
            self.show();
            if step.state != State::More {
                self.wait(&mut way, settling).await?;
            }
        }
    }

    fn way(&self) -> Way {
        let Prepared { settings, tls } = &self.push;
        if settings.is_webhook() {
            let (url, credential) = (settings.to.clone(), settings.credential.clone());
            return Way::Webhook(Box::new(Webhook {
                url,
                tls: Some(tls.clone()),
                credential,
                any_success: false,
            }));
        }
        Way::Syslog(Box::new(syslog::Sender::new(&settings.to, tls, settings.accept_bare_close)))
    }

    /// Lets records gather. A receiver that goes away meanwhile may have lost what it was handed
    /// last.
    async fn wait(&self, way: &mut Way, settling: &Settling) -> Result<(), Failure> {
        let Way::Syslog(sender) = way else {
            tokio::time::sleep(GATHER).await;
            return Ok(());
        };
        if settling.is_settled() {
            sender.rest().await;
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => Ok(()),
            () = sender.gone() => Err(anyhow!(
                "the receiver ended an idle connection, as one that ends does: what it took in the last {} s is sent again",
                self.push.settings.resend.as_secs()
            )
            .into()),
        }
    }

    /// Keeps what is confirmed by now. A restart begins there: lines may come twice, but a request
    /// that is pruned is one whose exchange was sent.
    fn settle(&mut self, settling: &mut Settling) -> anyhow::Result<()> {
        let Some(Position { next, needed }) = settling.settled() else { return Ok(()) };
        self.cursor.keep(needed)?;
        self.board.change(|shown| (shown.kept, shown.cursor) = (needed, next));
        Ok(())
    }

    async fn send(&self, way: &mut Way, lines: &[Line], size: &mut Size) -> Result<(), Failure> {
        match way {
            Way::Webhook(webhook) => {
                let body: Vec<u8> =
                    lines.iter().flat_map(|line| line.bytes.iter().copied()).collect();
                let sent = webhook.deliver(CONTENT_TYPE, body.into(), DEADLINE).await;
                size.learn(lines, &sent);
                match (sent, lines) {
                    (Err(failure), [line]) if failure.too_large => {
                        Err(self.too_large(line, &failure.error).into())
                    }
                    (sent, _) => sent,
                }
            }
            Way::Syslog(sender) => {
                let numbered = self.push.settings.form == ExportFormat::Ndjson;
                let data: Vec<_> = lines.iter().map(|line| data(line, numbered)).collect();
                let messages = lines.iter().zip(&data).map(|(line, data)| message(line, data));
                let sending = tokio::time::timeout(DEADLINE, sender.deliver(messages)).await;
                Ok(sending.with_context(|| {
                    format!("no confirmation within {} s", DEADLINE.as_secs())
                })??)
            }
        }
    }

    /// A record that the receiver does not take even alone.
    fn too_large(&self, line: &Line, error: &anyhow::Error) -> anyhow::Error {
        let (record, bytes) = (line.next.saturating_sub(1), line.bytes.len());
        let why = format!(
            "{error:#} to record {record} alone (id {}, {bytes} bytes): raise the receiver's limit; to go on without this record, write {} into the cursor's file",
            line.id, line.next
        );
        self.cursor.with_file(&why)
    }

    fn show(&self) {
        self.board.change(|shown| {
            let lag = i64::try_from(self.board.lag(shown.cursor)).unwrap_or(i64::MAX);
            self.metrics.push_lag.with_label_values(&[&self.board.name]).set(lag);
        });
    }

    fn succeeded(&self, lines: usize) {
        let now = Timestamp::now();
        self.metrics.push_lines.with_label_values(&[&self.board.name]).inc_by(lines as u64);
        self.metrics.push_success.with_label_values(&[&self.board.name]).set(now.millis() / 1000);
        self.board.change(|shown| {
            if shown.status.succeeded() {
                tracing::info!(push = self.board.name, "the push goes on");
            }
        });
    }

    fn failed(&self, error: &str) {
        self.metrics.push_failures.with_label_values(&[&self.board.name]).inc();
        self.board.change(|shown| {
            if shown.status.failed(error) {
                tracing::warn!(
                    push = self.board.name,
                    to = self.board.to,
                    error,
                    "the push fails; it is tried again until it succeeds"
                );
            }
        });
    }
}

/// How long batches are. A receiver may take less than usual, and it may say so by ending the
/// connection.
struct Size {
    /// Bytes after which a batch ends.
    bytes: usize,
    /// What the receiver took at most, when it has refused more.
    most: usize,
    /// Batches that it took since then.
    taken: u32,
}

impl Size {
    fn new() -> Self {
        Self { bytes: BATCH_BYTES, most: BATCH_BYTES, taken: 0 }
    }

    fn learn(&mut self, lines: &[Line], sent: &Result<(), Failure>) {
        match sent {
            Ok(()) => {
                self.taken += 1;
                if self.taken.is_multiple_of(TAKEN_BEFORE_MORE) {
                    self.most = (self.most * 2).min(BATCH_BYTES);
                }
                self.bytes = (self.bytes * 2).min(self.most);
            }
            Err(failure) => {
                let sent: usize = lines.iter().map(|line| line.bytes.len()).sum();
                self.bytes = (self.bytes.min(sent) / 2).max(1);
                if failure.too_large {
                    (self.most, self.taken) = (self.bytes, 0);
                }
            }
        }
    }
}

/// Some receivers want a token in the query.
fn without_query(url: &Url) -> String {
    url.to_string().split('?').next().unwrap_or_default().to_owned()
}

/// A line as a message of syslog.
fn message<'a>(line: &'a Line, data: &'a str) -> Message<'a> {
    let (id, severity) = match line.kind {
        Kind::Forwarded => ("forwarded", Severity::Informational),
        Kind::Refused => ("refused", Severity::Warning),
        Kind::Answer => ("answer", Severity::Informational),
        Kind::Event => ("event", Severity::Notice),
    };
    Message {
        severity,
        id,
        time: line.time,
        data,
        text: line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes),
    }
}

/// Its structured data. Only records are numbered: exchanges have gaps.
fn data(line: &Line, numbered: bool) -> String {
    let origin =
        concat!("[origin software=\"keyward\" swVersion=\"", env!("CARGO_PKG_VERSION"), "\"]");
    if numbered {
        format!("{origin}[meta sequenceId=\"{}\"]", line.next.saturating_sub(1) % SEQUENCE_MAX + 1)
    } else {
        origin.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyward_core::clock::AuditId;

    #[test]
    fn lines_are_graded_and_records_numbered() {
        let line = |kind, next| Line {
            next,
            id: AuditId::new(),
            kind,
            time: Timestamp(0),
            bytes: b"{}\n".to_vec(),
        };
        let refused = line(Kind::Refused, 8);
        let origin =
            format!("[origin software=\"keyward\" swVersion=\"{}\"]", env!("CARGO_PKG_VERSION"));
        assert_eq!(data(&refused, true), format!("{origin}[meta sequenceId=\"8\"]"));
        assert_eq!(data(&refused, false), origin);
        assert!(data(&line(Kind::Event, SEQUENCE_MAX + 1), true).contains("sequenceId=\"1\""));
        let message = message(&refused, "-");
        assert_eq!(
            (message.severity, message.id, message.text),
            (Severity::Warning, "refused", &b"{}"[..])
        );
    }
}
