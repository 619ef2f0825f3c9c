//! One connection, as the listener knows it: where it comes from, what TLS showed, and whether it
//! is in a call. pingora carries it to the hooks in the connection's digest.

use super::chunks::{Chunks, Ends};
use super::registry::ConnectionSlot;
use super::rejected::{Class, TurnedAway};
use bytes::{Bytes, BytesMut};
use keyward_decision::request::Peer;
use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::protocols::raw_connect::ProxyDigest;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a head that are read before the connection is ended. The head check refuses shorter
/// ones, and says so better; this bounds what a client can make pingora keep.
pub const HEAD_BYTES_READ_MAX: usize = 256 * 1024;

/// Bytes of an unfinished head that are kept to say what is wrong with it. pingora reads no more of
/// one in one go.
const KEPT_BYTES_MAX: usize = HEAD_BYTES_READ_MAX;

/// A connection that a client has opened.
#[derive(Debug)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: Peer,
    place: ConnectionSlot,
    turned_away: Arc<TurnedAway>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that are under way.
    calls: usize,
    /// Those of them that keep the connection its place.
    keeping: usize,
    /// Calls that there have been.
    begun: u64,
    /// What has been read of a head that is not whole yet.
    head: BytesMut,
    /// The chunks of the body of the call that is under way.
    chunks: Option<Chunks>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For a first byte since it was opened.
    First,
    /// For a further request, of which nothing has come yet.
    Next,
    /// For the rest of a head.
    Rest,
    /// For nothing: a call is under way.
    InCall,
}

impl Connection {
    /// A connection that waits for its first request.
    pub fn new(peer: Peer, place: ConnectionSlot, turned_away: Arc<TurnedAway>) -> Arc<Self> {
        Arc::new(Self { peer, place, turned_away, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves a count at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole head has been read: a call begins, and ends with the guard. `None` when the
    /// connection has just given its place to another and is about to be closed.
    pub fn call(self: &Arc<Self>) -> Option<Call> {
        let mut state = self.lock();
        if !self.keep(&mut state) {
            return None;
        }
        state.calls += 1;
        state.begun += 1;
        let mut head = std::mem::take(&mut state.head);
        let end =
            head.windows(4).position(|four| four == b"\r\n\r\n").map_or(head.len(), |at| at + 4);
        let behind = head.split_off(end).freeze();
        Some(Call { connection: Arc::clone(self), keeps: true, head: head.freeze(), behind })
    }

    /// One call more keeps the place. False when the place has been given away.
    fn keep(&self, state: &mut State) -> bool {
        let kept = state.keeping > 0 || self.place.in_call();
        state.keeping += usize::from(kept);
        kept
    }

    /// One call less does.
    fn let_go(&self, state: &mut State) {
        state.keeping = state.keeping.saturating_sub(1);
        if state.keeping == 0 {
            self.place.waits();
        }
    }

    /// What it waits for.
    pub fn waits(&self) -> Waits {
        let state = self.lock();
        match (state.calls, state.head.is_empty(), state.begun) {
            (1.., _, _) => Waits::InCall,
            (0, false, _) => Waits::Rest,
            (0, true, 0) => Waits::First,
            (0, true, _) => Waits::Next,
        }
    }

    /// Notes bytes of a head. The number of bytes of it so far.
    pub fn read(&self, bytes: &[u8]) -> usize {
        let mut state = self.lock();
        if state.calls == 0 {
            let room = KEPT_BYTES_MAX.saturating_sub(state.head.len());
            let part = bytes.get(..room).unwrap_or(bytes);
            state.head.extend_from_slice(part);
        }
        state.head.len()
    }

    /// Looks at the chunks of a body from here on; `behind` is what was read with the head.
    pub fn watch_chunks(&self, behind: &[u8]) {
        let mut chunks = Chunks::default();
        chunks.see(behind);
        self.lock().chunks = Some(chunks);
    }

    /// Looks at the next bytes of a body, if it is in chunks.
    pub fn read_body(&self, bytes: &[u8]) {
        if let Some(chunks) = &mut self.lock().chunks {
            chunks.see(bytes);
        }
    }

    /// Where a body in chunks ends; `None` when it is in none.
    pub fn chunks_end(&self) -> Option<Ends> {
        self.lock().chunks.as_ref().map(Chunks::ends)
    }

    /// Takes what was read of a head that never became a call.
    pub fn take_head(&self) -> Bytes {
        std::mem::take(&mut self.lock().head).freeze()
    }

    /// For pingora's digest, in which the hooks find it again with [`Connection::of`].
    pub fn digest(self: &Arc<Self>) -> Option<Arc<ProxyDigest>> {
        // The place is meant for the answer of a proxy on the way to an upstream; here it carries
        // the connection alone.
        let nothing = ResponseHeader::build(200, Some(0)).ok()?;
        Some(Arc::new(ProxyDigest::new(Box::new(nothing), Some(Box::new(Arc::clone(self))))))
    }

    /// The connection of a session.
    pub fn of(digest: Option<&Digest>) -> Option<&Arc<Self>> {
        digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// Counts it, or one of its streams, among those that came to nothing.
    pub fn turned_away(&self, class: Class) {
        self.turned_away.count(class, self.peer.address.ip());
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    connection: Arc<Connection>,
    /// The connection does not make room for another while it lasts.
    keeps: bool,
    /// Its head's bytes as the client sent them; empty on HTTP/2.
    pub head: Bytes,
    /// What was read with the head: the body's first bytes.
    pub behind: Bytes,
}

impl Call {
    /// The connection may make room for another in the midst of this call.
    pub fn give_way(&mut self) {
        if std::mem::take(&mut self.keeps) {
            self.connection.let_go(&mut self.connection.lock());
        }
    }

    /// From here on it may not. False when it has done so already, and is about to be closed.
    pub fn keep_place(&mut self) -> bool {
        self.keeps = self.keeps || self.connection.keep(&mut self.connection.lock());
        self.keeps
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.give_way();
        let mut state = self.connection.lock();
        state.calls = state.calls.saturating_sub(1);
        state.chunks = None;
    }
}
