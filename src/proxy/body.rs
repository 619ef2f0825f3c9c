//! Reading a client's body whole, before an upstream connection exists.

use super::budget::{CALL_BYTES, Held, SHORT_BYTES_MAX};
use crate::listen::chunks::Ends;
use crate::listen::connection::{Call, Connection};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use keyward_decision::request::{BodyFault, BodySource};
use pingora::proxy::Session;
use std::time::Duration;

/// The body of the client's request.
pub struct ClientBody<'a> {
    /// The client's session.
    pub session: &'a mut Session,
    /// Time for the whole body. pingora's own timeout is one for each read.
    pub deadline: Duration,
    /// The connection, which looks at the body's chunks.
    pub connection: &'a Connection,
    /// The call.
    pub call: &'a mut Call,
    /// What the call and its body hold: nothing yet.
    pub held: Held,
}

#[async_trait]
impl BodySource for ClientBody<'_> {
    fn attribute_to(&mut self, caller: Option<&str>) {
        self.held = self.held.room().of(caller).hold();
        if caller.is_none() {
            // Strangers in calls would take all connections; a call that is allowed takes its place
            // again.
            self.call.give_way();
        }
    }

    async fn read(&mut self, limit_bytes: usize) -> Result<Bytes, BodyFault> {
        let announced = self.session.req_header().headers.get(http::header::CONTENT_LENGTH);
        let announced = announced
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<u64>().ok())
            .unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > limit_bytes {
            return Err(BodyFault::TooLarge);
        }
        let deadline = self.deadline;
        tokio::time::timeout(deadline, self.read_all(announced, limit_bytes))
            .await
            .unwrap_or(Err(BodyFault::TooSlow))
    }
}

impl ClientBody<'_> {
    async fn read_all(&mut self, announced: usize, limit_bytes: usize) -> Result<Bytes, BodyFault> {
        let Self { session, connection, held, .. } = self;
        if !held.begin().await {
            return Err(BodyFault::NoRoom);
        }
        if session.is_body_empty() {
            return Ok(Bytes::new());
        }
        let cut = |e: &pingora::Error| BodyFault::Cut(e.etype().as_str().to_owned());
        if session.req_header().headers.contains_key(http::header::EXPECT) {
            // pingora does not answer it, and the client would wait for it. Nor would pingora use a
            // connection again on which something was written before the body's end; a
            // refusal that leaves a body unread closes it itself.
            session.as_downstream_mut().set_close_on_response_before_downstream_finish(false);
            session.write_continue_response().await.map_err(|e| cut(&e))?;
        }
        // What is announced is not yet here: a client that only announces costs little.
        let mut body = BytesMut::with_capacity(announced.clamp(1024, 4096));
        let odd = || connection.chunks_end() == Some(Ends::Oddly);
        while let Some(piece) = session
            .as_downstream_mut()
            .read_request_body()
            .await
            .map_err(|e| if odd() { BodyFault::Framing } else { cut(&e) })?
        {
            if odd() {
                return Err(BodyFault::Framing);
            }
            let length = body.len() + piece.len();
            if length > limit_bytes {
                return Err(BodyFault::TooLarge);
            }
            if !held.grow(CALL_BYTES + length, length.max(announced) > SHORT_BYTES_MAX).await {
                return Err(BodyFault::NoRoom);
            }
            body.extend_from_slice(&piece);
        }
        match connection.chunks_end() {
            // pingora has seen an end where there is none, or none that is everybody's.
            Some(Ends::Oddly | Ends::NotYet) => Err(BodyFault::Framing),
            Some(Ends::Plainly) | None => Ok(body.freeze()),
        }
    }
}
