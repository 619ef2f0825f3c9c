//! The replay session: hands the judged bytes back to pingora, and holds the end of the answer back
//! until its record is durable.
//!
//! pingora's proxy loop sends only body bytes that it reads itself, and its own buffer for bytes
//! read earlier ends at 64 KiB without an error. This session stands in for the client's own while
//! a call is forwarded: it serves the body from memory, and sees every piece of the answer. It
//! implements a doc-hidden trait, which is why the version of pingora is pinned
//! (`docs/decisions/0002-replay-session.md`).

use super::exchange::{ClientFate, Exchange};
use super::fault::too_slow;
use super::upstream::Timeouts;
use crate::listen::phase::Phase;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::custom::{CustomMessageWrite, server::Session as CustomSession};
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::{Digest, l4::socket::SocketAddr};
use pingora::{Error, ErrorType, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the client's own session waits for its return.
pub type Slot = Arc<Mutex<Option<Box<ServerSession>>>>;

/// Pieces in which the body goes upstream.
const PIECE_BYTES: usize = 256 * 1024;

/// Stands in for the client's session while a call is forwarded.
pub struct Replay {
    client: Option<Box<ServerSession>>,
    slot: Slot,
    body: Bytes,
    sent: usize,
    exchange: Arc<Exchange>,
    head_out: bool,
    /// The client has done what it does at most once: close its side, talk on, or leave. Nothing
    /// more is read.
    unheard: bool,
    /// Nothing more can be written to the client.
    client_gone: bool,
    /// Time that is left for the client to take its answer.
    patience: Duration,
    timeouts: Timeouts,
    /// When the request's last byte was handed over, and when the answer's head came.
    handed: Option<Instant>,
    answered: Option<Instant>,
    /// Bytes of the answer's body that came, and the time that the client took for what was
    /// written of it.
    came: u64,
    taking: Duration,
    phase: Arc<Phase>,
}

/// What passes beside the time for a read before an upstream is late: a short call is in the
/// system's buffers by then, and of one that says nothing at all pingora has told.
const SLACK: Duration = Duration::from_millis(500);

/// Puts a replay session in the place of the client's own.
pub fn install(
    session: &mut Box<ServerSession>,
    body: Bytes,
    exchange: Arc<Exchange>,
    patience: Duration,
    timeouts: Timeouts,
    phase: Arc<Phase>,
) -> Slot {
    let slot = Slot::default();
    let client = std::mem::replace(session, nobody());
    let replay = Replay {
        client: Some(client),
        slot: Arc::clone(&slot),
        body,
        sent: 0,
        exchange,
        head_out: false,
        unheard: false,
        client_gone: false,
        patience,
        timeouts,
        handed: None,
        answered: None,
        came: 0,
        taking: Duration::ZERO,
        phase,
    };
    **session = ServerSession::new_custom(Box::new(replay));
    slot
}

/// Puts the client's own session back, so that error answers and keep-alive act on it.
pub fn restore(session: &mut Box<ServerSession>, slot: &Slot) {
    // Dropping the replay session leaves the client's own in the slot.
    drop(std::mem::replace(session, nobody()));
    if let Some(client) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
        *session = client;
    }
}

fn nobody() -> Box<ServerSession> {
    Box::new(ServerSession::new_custom(Box::new(())))
}

impl Drop for Replay {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.client.take();
    }
}

impl Replay {
    #[expect(clippy::expect_used, reason = "INVARIANT: the client's session leaves only in `drop`")]
    fn client(&self) -> &ServerSession {
        self.client.as_deref().expect("the client's session is here until drop")
    }

    #[expect(clippy::expect_used, reason = "INVARIANT: the client's session leaves only in `drop`")]
    fn client_mut(&mut self) -> &mut ServerSession {
        self.client.as_deref_mut().expect("the client's session is here until drop")
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let end = self.body.len().min(self.sent + PIECE_BYTES);
        let piece = (self.sent < end).then(|| self.body.slice(self.sent..end));
        self.sent = end;
        piece
    }

    /// Writes pieces of the answer. A client that has left does not end the exchange: the call is
    /// under way in the cloud, and its answer belongs on record.
    async fn deliver(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        if self.client_gone || tasks.is_empty() {
            return Ok(false);
        }
        if self.phase.ends_connections() {
            // Said in the head, if that is still to come.
            self.client_mut().set_keepalive(None);
        }
        self.head_out |= tasks.iter().any(|task| matches!(task, HttpTask::Header(..)));
        let (patience, started) = (self.patience, Instant::now());
        let delivered =
            tokio::time::timeout(patience, self.client_mut().response_duplex_vec(tasks)).await;
        let took = started.elapsed();
        self.patience = patience.saturating_sub(took);
        self.taking += took;
        match delivered {
            Ok(Ok(done)) => Ok(done),
            left => {
                tracing::debug!(id = %self.exchange.id, error = ?left.map(|done| done.map_err(|e| e.to_string())), "the client left, or took its answer too slowly");
                self.client_left();
                Ok(false)
            }
        }
    }

    /// When the upstream is too slow: the head must be whole in the time for a read, and the body
    /// has a pace. Each read of an upstream that drips would begin pingora's own time anew.
    fn late_at(&self) -> Option<Instant> {
        let Timeouts { read, write, pace, .. } = self.timeouts;
        match (self.answered, self.handed) {
            (None, handed) => handed
                .map(|at| at + read + if self.body.len() > PIECE_BYTES { write } else { SLACK }),
            (Some(at), _) => self
                .came
                .saturating_mul(1000)
                .checked_div(pace)
                .map(|millis| at + read + SLACK + self.taking + Duration::from_millis(millis)),
        }
    }

    /// Notes what came of the answer.
    fn note(&mut self, tasks: &[HttpTask]) {
        for task in tasks {
            match task {
                HttpTask::Header(header, _) if !header.status.is_informational() => {
                    self.answered.get_or_insert_with(Instant::now);
                }
                HttpTask::Body(Some(piece), _) => self.came += piece.len() as u64,
                _ => {}
            }
        }
    }

    fn client_left(&mut self) {
        self.client_gone = true;
        self.exchange.client_did(ClientFate::Left);
    }

    /// Takes note of what the client does while it waits for its answer. None of it ends the
    /// exchange: the answer, or the upstream's timeout, does.
    fn heard(&mut self, sign: &Error) {
        self.unheard = true;
        match sign.etype() {
            // Whether it still listens only a write can tell.
            ErrorType::ConnectionClosed => self.exchange.client_did(ClientFate::ClosedItsSide),
            // A first byte behind the request is gone, so what follows cannot be read as a request
            // of its own.
            ErrorType::ConnectError => self.client_mut().set_keepalive(None),
            _ => self.client_left(),
        }
    }
}

/// Takes the failure of the upstream out of its last pieces.
fn failure(tasks: &mut Vec<HttpTask>) -> Option<Box<Error>> {
    let at = tasks.iter().position(|task| matches!(task, HttpTask::Failed(_)))?;
    tasks
        .drain(at..)
        .next()
        .and_then(|task| if let HttpTask::Failed(e) = task { Some(e) } else { None })
}

/// Whether a piece is an interim answer. The gateway asks for none, and the record has room for one
/// answer.
fn is_interim(task: &HttpTask) -> bool {
    matches!(task, HttpTask::Header(header, _) if header.status.is_informational())
}

/// Whether a piece is the answer's last.
fn is_last(task: &HttpTask) -> bool {
    match task {
        HttpTask::Header(_, end) | HttpTask::Body(_, end) | HttpTask::UpgradedBody(_, end) => *end,
        HttpTask::Trailer(_) | HttpTask::Done => true,
        HttpTask::Failed(_) => false,
    }
}

#[async_trait]
impl CustomSession for Replay {
    /// Every piece of the answer passes here. All but the last go on at once; the last waits for
    /// the record.
    async fn response_duplex_vec(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        let mut failure = failure(&mut tasks);
        self.note(&tasks);
        if failure.is_none()
            && !tasks.iter().any(is_last)
            && self.late_at().is_some_and(|late| Instant::now() > late)
        {
            failure = Some(too_slow("its body"));
        }
        tasks.iter().for_each(|task| self.exchange.see(task));
        tasks.retain(|task| !is_interim(task));
        if let Some(failure) = failure {
            // What came is passed on; the error then breaks the connection, so that a cut answer
            // never ends well.
            self.deliver(tasks).await?;
            return Err(failure);
        }
        let Some(end) = tasks.iter().position(is_last) else { return self.deliver(tasks).await };
        // When the whole answer is here, not even its head goes before the record.
        let last = if self.head_out { tasks.split_off(end) } else { std::mem::take(&mut tasks) };
        self.deliver(tasks).await?;
        if !self.exchange.close_whole().await {
            return Err(Error::explain(
                ErrorType::InternalError,
                "the answer's record could not be made durable",
            ));
        }
        self.deliver(last).await?;
        if self.client_gone {
            return Err(Error::explain(
                ErrorType::WriteError,
                "the client left before its answer was whole",
            )
            .into_down());
        }
        Ok(true)
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(self.next_piece())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && let Some(piece) = self.next_piece() {
            return Ok(Some(piece));
        }
        self.handed.get_or_insert_with(Instant::now);
        let late = self.late_at();
        let waits = async {
            if !self.unheard {
                match self.client_mut().read_body_or_idle(true).await {
                    Ok(idle) => return Ok(idle),
                    Err(sign) => self.heard(&sign),
                }
            }
            futures::future::pending().await
        };
        let Some(late) = late else { return waits.await };
        match tokio::time::timeout_at(late.into(), waits).await {
            Ok(idle) => idle,
            Err(_) => Err(too_slow("its head, or its body")),
        }
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_body_done(&mut self) -> bool {
        self.sent >= self.body.len()
    }

    fn is_body_empty(&mut self) -> bool {
        self.body.is_empty()
    }

    /// The start of an attempt: the replay begins anew.
    fn enable_retry_buffering(&mut self) {
        self.sent = 0;
        self.handed = None;
    }

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    fn req_header(&self) -> &RequestHeader {
        self.client().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.client_mut().req_header_mut()
    }

    async fn write_response_header(
        &mut self,
        header: Box<ResponseHeader>,
        _end: bool,
    ) -> Result<()> {
        self.client_mut().write_response_header(header).await
    }

    async fn write_response_header_ref(
        &mut self,
        header: &ResponseHeader,
        _end: bool,
    ) -> Result<()> {
        self.client_mut().write_response_header_ref(header).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.client_mut().write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.client_mut().write_response_trailers(trailers).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.client_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.client().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.client_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.client().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.client_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.client().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        // pingora logs it; the target may hold a token.
        format!("exchange {}", self.exchange.id)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.client().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.client_mut().shutdown().await;
    }

    async fn finish(&mut self) -> Result<()> {
        self.client_mut().finish_body().await.map(|_| ())
    }

    fn body_bytes_sent(&self) -> usize {
        self.client().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.client().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.client().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.client_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.client().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.client().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.client().to_h1_raw()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
