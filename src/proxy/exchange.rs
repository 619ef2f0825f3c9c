//! One forwarded exchange: the permit, and what has been seen of the answer. Shared by the hooks
//! and the replay session; closed exactly once, by whoever sees the end first.

use super::budget::{Held, SHORT_BYTES_MAX};
use crate::gate::Permit;
use crate::record::compose::{Answer, Timings};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use keyward_core::clock::AuditId;
use keyward_decision::catalog::operation::ErrorShape;
use pingora::protocols::http::HttpTask;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Answers are examined (outcome, redaction) up to this length, and while there is room; others are
/// hashed and counted.
pub const EXAMINED_BYTES_MAX: usize = 1024 * 1024;

/// The beginning of an answer that the call's own room is for: short answers are always examined.
const ANSWER_BYTES_OF_CALL: usize = 8 * 1024;

/// One forwarded exchange.
pub struct Exchange {
    /// The exchange.
    pub id: AuditId,
    /// The length of the body that is sent, in bytes.
    pub body_length: usize,
    /// How the called service words its errors.
    pub errors: Option<ErrorShape>,
    service: String,
    seen: Mutex<Seen>,
}

/// What a client did before its answer was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientFate {
    /// It waited.
    Waited,
    /// It sent its last byte; it may listen still, or may have left.
    ClosedItsSide,
    /// It left.
    Left,
}

struct Seen {
    /// Gone once the outcome is on its way to the record.
    permit: Option<Permit>,
    /// The outcome is on record.
    recorded: bool,
    started: Instant,
    status: Option<u16>,
    headers: HeaderMap,
    body: BytesMut,
    /// What the body holds of the budget; `None` once the body is given up.
    held: Option<Held>,
    /// It was given up for want of room.
    crowded: bool,
    /// Interim answers (1xx): nobody asked for them, and they are not passed on.
    interim: usize,
    length: u64,
    hash: Sha256,
    sent: bool,
    attempts: usize,
    upstream: String,
    client: ClientFate,
    timings: Timings,
}

impl Exchange {
    /// An exchange that begins, and holds its answer in this room.
    pub fn new(permit: Permit, held: Held) -> Self {
        let seen = Seen {
            started: Instant::now(),
            status: None,
            headers: HeaderMap::new(),
            body: BytesMut::new(),
            held: Some(held),
            crowded: false,
            interim: 0,
            length: 0,
            hash: Sha256::new(),
            sent: false,
            attempts: 0,
            upstream: String::new(),
            client: ClientFate::Waited,
            timings: Timings::new(),
            permit: None,
            recorded: false,
        };
        let service = permit.target().service().to_owned();
        Self {
            id: permit.id(),
            body_length: permit.body().len(),
            errors: permit.errors(),
            service,
            seen: Mutex::new(Seen { permit: Some(permit), ..seen }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // A panic under the lock leaves counters at worst; the record must still be written.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service, for metrics.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// How many attempts to connect there have been.
    pub fn attempts(&self) -> usize {
        self.lock().attempts
    }

    /// An attempt to connect begins.
    pub fn attempt(&self, upstream: &str) {
        let mut seen = self.lock();
        seen.attempts += 1;
        upstream.clone_into(&mut seen.upstream);
    }

    /// A connection stands: from here on the request may have been sent.
    pub fn connected(&self) {
        let mut seen = self.lock();
        seen.sent = true;
        seen.mark("connect");
    }

    /// Takes note of what the client did.
    pub fn client_did(&self, fate: ClientFate) {
        let mut seen = self.lock();
        seen.client = seen.client.max(fate);
    }

    /// Looks at one piece of the answer, in order.
    pub fn see(&self, task: &HttpTask) {
        let mut seen = self.lock();
        match task {
            HttpTask::Header(header, _) if header.status.is_informational() => seen.interim += 1,
            HttpTask::Header(header, _) => {
                seen.status = Some(header.status.as_u16());
                seen.headers = header.headers.clone();
                seen.mark("first_byte");
            }
            HttpTask::Body(Some(piece), _) | HttpTask::UpgradedBody(Some(piece), _) => {
                seen.length += piece.len() as u64;
                seen.hash.update(piece);
                seen.keep(piece);
            }
            _ => {}
        }
    }

    /// The end of the answer is here: records it. False when the record could not be made durable.
    pub async fn close_whole(&self) -> bool {
        self.close(true, String::new()).await
    }

    /// The exchange broke off: records it, if that has not been tried before. False when its
    /// outcome is not on record.
    pub async fn close_broken(&self, fault: String) -> bool {
        self.close(false, fault).await
    }

    async fn close(&self, whole: bool, fault: String) -> bool {
        let (permit, answer) = {
            let mut seen = self.lock();
            let Some(permit) = seen.permit.take() else { return seen.recorded };
            (permit, seen.answer(whole, fault))
        };
        let recorded = permit.close(answer).await;
        if let Err(error) = &recorded {
            tracing::error!(id = %self.id, %error, "the answer's record could not be made durable; its end is withheld");
        }
        self.lock().recorded = recorded.is_ok();
        recorded.is_ok()
    }
}

impl Seen {
    fn mark(&mut self, stage: &'static str) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.timings.entry(stage).or_insert(micros);
    }

    /// Keeps a piece to be examined. A part of an answer tells nothing: without room for all, none
    /// is kept.
    fn keep(&mut self, piece: &Bytes) {
        let Some(held) = &mut self.held else { return };
        let length = self.body.len() + piece.len();
        let short = length <= EXAMINED_BYTES_MAX;
        if short
            && held.grow_now(length.saturating_sub(ANSWER_BYTES_OF_CALL), length > SHORT_BYTES_MAX)
        {
            self.body.extend_from_slice(piece);
            return;
        }
        self.crowded = short;
        self.body = BytesMut::new();
        self.held = None;
    }

    fn answer(&mut self, whole: bool, fault: String) -> Answer {
        self.mark("upstream");
        let client = match self.client {
            ClientFate::Waited => "",
            ClientFate::ClosedItsSide => "the client closed its side before its answer was whole",
            ClientFate::Left => "the client left before its answer was whole",
        };
        let crowded = if self.crowded {
            "there was no room to examine the answer, so only its length and digest are on record"
        } else {
            ""
        };
        let interim = if self.interim > 0 {
            format!("{} interim answers of the upstream were not passed on", self.interim)
        } else {
            String::new()
        };
        let said = [fault.as_str(), client, crowded, &interim]
            .into_iter()
            .filter(|said| !said.is_empty())
            .collect::<Vec<_>>();
        Answer {
            status: self.status,
            headers: std::mem::take(&mut self.headers),
            body: std::mem::take(&mut self.body).freeze(),
            body_length: self.length,
            body_digest: format!(
                "sha256:{}",
                hex::encode(std::mem::take(&mut self.hash).finalize())
            ),
            whole,
            sent: self.sent,
            upstream: std::mem::take(&mut self.upstream),
            fault: said.join("; "),
            timings: std::mem::take(&mut self.timings),
        }
    }
}
