//! One follower: reads, sends, keeps its cursor. Whatever fails is tried again, later and later, for ever.

use super::Prepared;
use super::settling::{Place, Settling};
use super::syslog::{self, Origin};
use super::webhook::{self, Failure};
use crate::client::Url;
use crate::metrics::Metrics;
use anyhow::{Context, anyhow};
use keyward_core::clock::Timestamp;
use keyward_core::durable;
use keyward_trail::export::{Export, Exporter, Line, Start, State};
use keyward_trail::filter::Filter;
use keyward_trail::form::RecordForm;
use keyward_trail::query::Reader;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Time for one batch, all in all.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long records gather before they are sent.
const GATHER: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(60);
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
    last_success: Option<Timestamp>,
    /// Since when it fails, and why.
    failing: Option<(Timestamp, String)>,
}

impl Board {
    pub fn json(&self) -> Value {
        let shown = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "name": self.name, "to": self.to, "form": self.form,
            "cursor": shown.cursor, "lag_records": self.lag(shown.cursor), "handed_over": shown.handed_over, "confirmation": self.confirmation,
            "last_success": shown.last_success.map(Timestamp::rfc3339),
            "failing_since": shown.failing.as_ref().map(|(since, _)| since.rfc3339()), "error": shown.failing.map(|(_, error)| error),
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
    cursor_file: PathBuf,
    board: Arc<Board>,
}

/// The way to the receiver.
enum Way {
    Syslog(Box<syslog::Sender>),
    Webhook,
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
        let cursor_file = dir.join(format!("{}.cursor", settings.name));
        Self { reader, metrics, cursor_file, board: Arc::new(board), push }
    }

    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Until it is told to stop. What is not confirmed by then is sent again at the next start.
    pub fn run(self, mut stop: watch::Receiver<bool>) {
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

    async fn go_on(&self) {
        let mut retry = RETRY_FIRST;
        let mut settling = Settling::new(self.push.settings.resend);
        let mut size = Size::new();
        loop {
            let Err(failure) = self.follow(&mut retry, &mut settling, &mut size).await;
            if failure.too_large {
                // Not a failure yet: what is too much together may do in parts.
                continue;
            }
            self.failed(&format!("{:#}", failure.error));
            let mut wait = jitter(retry) + failure.wait.unwrap_or_default();
            while !wait.is_zero() {
                let part = wait.min(Duration::from_secs(1));
                tokio::time::sleep(part).await;
                wait -= part;
                // The lag grows while nothing goes out.
                self.show();
            }
            retry = (retry * 2).min(RETRY_LAST);
        }
    }

    /// From the cursor on, until something fails.
    async fn follow(&self, retry: &mut Duration, settling: &mut Settling, size: &mut Size) -> Result<Infallible, Failure> {
        let mut kept = self.cursor()?;
        let start = kept.map_or(Start::Oldest, Start::At);
        let export = Export { form: self.push.settings.form, filter: Filter::default(), start, follow: true };
        let mut exporter = Exporter::new(self.reader.clone(), export).map_err(|error| self.with_file(&error))?;
        let mut way = self.way();
        settling.begin();
        self.board.change(|shown| {
            shown.kept = kept.unwrap_or(0);
            shown.cursor = shown.cursor.max(shown.kept);
        });
        loop {
            exporter = exporter.with_step_bytes(size.bytes);
            let step = exporter.step().map_err(|error| self.with_file(&error))?;
            let here = Place { next: step.next, needed: exporter.needed() };
            if !step.lines.is_empty() {
                self.send(&mut way, &step.lines, size).await?;
                self.succeeded(step.lines.len());
                settling.handed_over(here);
                *retry = RETRY_FIRST;
            } else if step.state != State::More {
                // Records without a line are passed.
                settling.handed_over(here);
            }
            self.settle(settling, &mut kept)?;
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
            return Way::Webhook;
        }
        let origin = Origin::new(settings.form == RecordForm::Ndjson);
        Way::Syslog(Box::new(syslog::Sender::new(&settings.to, tls, origin, settings.accept_bare_close)))
    }

    /// Lets records gather. A receiver that goes away meanwhile may have lost what it was handed last.
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

    /// Keeps what is confirmed by now.
    fn settle(&self, settling: &mut Settling, kept: &mut Option<u64>) -> anyhow::Result<()> {
        let Some(Place { next, needed }) = settling.settled() else { return Ok(()) };
        self.keep(needed, kept)?;
        self.board.change(|shown| shown.cursor = next);
        Ok(())
    }

    /// Where a restart begins: lines may come twice, but a request that is pruned is one whose exchange was sent.
    fn keep(&self, cursor: u64, kept: &mut Option<u64>) -> anyhow::Result<()> {
        if *kept != Some(cursor) {
            durable::replace(&self.cursor_file, format!("{cursor}\n").as_bytes()).map_err(|error| self.with_file(&error))?;
            *kept = Some(cursor);
        }
        self.board.change(|shown| shown.kept = cursor);
        Ok(())
    }

    async fn send(&self, way: &mut Way, lines: &[Line], size: &mut Size) -> Result<(), Failure> {
        let Prepared { settings, tls } = &self.push;
        match way {
            Way::Webhook => {
                let sent = webhook::deliver(&settings.to, tls, &settings.credential, lines, DEADLINE).await;
                size.learn(lines, &sent);
                match (sent, lines) {
                    (Err(failure), [line]) if failure.too_large => Err(self.too_large(line, &failure.error).into()),
                    (sent, _) => sent,
                }
            }
            Way::Syslog(sender) => {
                let sending = tokio::time::timeout(DEADLINE, sender.deliver(lines)).await;
                Ok(sending.with_context(|| format!("no confirmation within {} s", DEADLINE.as_secs()))??)
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
        self.with_file(&why)
    }

    /// The next record; `None` before the first.
    fn cursor(&self) -> anyhow::Result<Option<u64>> {
        match std::fs::read_to_string(&self.cursor_file) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| self.with_file(&"it holds no number of a record")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.with_file(&error)),
        }
    }

    /// Whoever has to mend the cursor must know where it is.
    fn with_file(&self, error: &dyn std::fmt::Display) -> anyhow::Error {
        anyhow!("{error} (the cursor is kept in {})", self.cursor_file.display())
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
            shown.last_success = Some(now);
            if shown.failing.take().is_some() {
                tracing::info!(push = self.board.name, "the push goes on");
            }
        });
    }

    fn failed(&self, error: &str) {
        self.metrics.push_failures.with_label_values(&[&self.board.name]).inc();
        self.board.change(|shown| {
            let known = shown.failing.as_ref().is_some_and(|(_, before)| before == error);
            if !known {
                tracing::warn!(push = self.board.name, to = self.board.to, error, "the push fails; it is tried again until it succeeds");
            }
            let since = shown.failing.take().map_or_else(Timestamp::now, |(since, _)| since);
            shown.failing = Some((since, error.to_owned()));
        });
    }
}

/// How long batches are. A receiver may take less than usual, and it may say so by ending the connection.
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

/// Between half of a time and all of it, so that many who wait for one receiver do not come back together.
fn jitter(time: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    time.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}
