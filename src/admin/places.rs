//! Places for what auditors ask, so that none of them takes the gate's time and memory, or all the
//! places of the others: bounds in all and for each source, and threads of low priority. A place is
//! held until the answer has been taken. At the bound whoever has let an answer wait for longest
//! makes room; who takes nothing of it for too long is cut off.

use super::trail::problem;
use crate::rate::Starts;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use keyward_decision::request::source_of;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinError;

/// Bytes of an answer that are handed over at a time: how far a connection has come is seen between
/// two of them.
const PIECE_BYTES: usize = 64 * 1024;
/// For so long an answer may wait to be taken before its place may be given to another.
const GRACE: Duration = Duration::from_secs(5);
/// For so long it may wait at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Threads for what is asked; places bound them before.
const THREADS_MAX: usize = 64;
/// The lowest priority among those that share the processor.
const NICE: i32 = 19;

/// How many a source may begin at once of what is on record, beside one each second.
const STARTS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// Ends the connection of a question.
#[derive(Clone, Debug, Default)]
pub struct Leave(pub Arc<Notify>);

/// Places for one kind of questions.
#[derive(Debug)]
pub struct Places {
    /// What they are for, in the plural.
    what: &'static str,
    all: usize,
    per_source: usize,
    /// How long one more waits for a place.
    wait: Duration,
    starts: Option<Starts>,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    tickets: u64,
    by_ticket: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    source: IpAddr,
    leave: Leave,
    /// Since when a piece of the answer waits to be taken.
    waits: Option<Instant>,
}

impl Places {
    /// Places for so many, and for so many of one source; one more waits for a while.
    pub fn new(what: &'static str, all: usize, per_source: usize, wait: Duration) -> Self {
        Self {
            what,
            all,
            per_source,
            wait,
            starts: None,
            held: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// The same for what is on record: a source may not begin it as often as it likes.
    pub fn recorded(self) -> Self {
        Self { starts: Some(Starts::new(STARTS_AT_ONCE)), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if need be that of one whose answer waits.
    fn take(self: &Arc<Self>, source: IpAddr, leave: &Leave) -> Option<Place> {
        let source = source_of(source);
        let mut held = self.lock();
        let own = held.by_ticket.values().filter(|holder| holder.source == source).count();
        let full = (own >= self.per_source, held.by_ticket.len() >= self.all);
        if (full.0 && !held.make_room(Some(source))) || (!full.0 && full.1 && !held.make_room(None))
        {
            return None;
        }
        let ticket = held.tickets;
        held.tickets += 1;
        held.by_ticket.insert(ticket, Holder { source, leave: leave.clone(), waits: None });
        Some(Place { places: Arc::clone(self), ticket })
    }

    async fn wait(self: &Arc<Self>, source: IpAddr, leave: &Leave) -> Option<Place> {
        let until = Instant::now() + self.wait;
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.take(source, leave) {
                return Some(place);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // In time one of those that are not taken makes room, of which nobody tells.
            tokio::time::timeout(left.min(Duration::from_secs(1)), freed).await.ok();
        }
    }

    /// Cuts off those that take nothing. To be called now and then.
    pub fn sweep(&self) {
        let mut held = self.lock();
        held.by_ticket.retain(|_, holder| {
            let stays = holder.waits.is_none_or(|since| since.elapsed() < PATIENCE);
            if !stays {
                holder.leave.0.notify_one();
            }
            stays
        });
        drop(held);
        self.freed.notify_waiters();
        if let Some(starts) = &self.starts {
            starts.forget();
        }
    }
}

impl Held {
    /// Cuts off the one whose answer has waited for longest. Its place counts as free at once.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let late = |holder: &Holder| {
            holder
                .waits
                .filter(|since| since.elapsed() > GRACE && of.is_none_or(|of| of == holder.source))
        };
        let longest = self
            .by_ticket
            .iter()
            .filter_map(|(ticket, holder)| Some((late(holder)?, *ticket)))
            .min();
        let Some(holder) = longest.and_then(|(_, ticket)| self.by_ticket.remove(&ticket)) else {
            return false;
        };
        holder.leave.0.notify_one();
        true
    }
}

/// One place; dropped, it is free.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    ticket: u64,
}

impl Place {
    /// A piece of the answer waits to be taken, or none does.
    fn waits(&self, since: Option<Instant>) {
        if let Some(holder) = self.places.lock().by_ticket.get_mut(&self.ticket) {
            holder.waits = since;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().by_ticket.remove(&self.ticket);
        self.places.freed.notify_waiters();
    }
}

/// Lets a question in when there is a place for it.
pub async fn enter(State(places): State<Arc<Places>>, request: Request, next: Next) -> Response {
    let source = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(from)| from.ip());
    let leave = request.extensions().get::<Leave>().cloned().unwrap_or_default();
    if let Some(Err(wait)) = places.starts.as_ref().map(|starts| starts.count(source)) {
        let seconds = wait.as_secs() + 1;
        let message = format!(
            "this address begins {} more often than it may, since each is on record: try again in {seconds} s",
            places.what
        );
        let mut response = problem(429, &message);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return response;
    }
    let Some(place) = places.wait(source, &leave).await else {
        let Places { what, all, per_source, .. } = &*places;
        return problem(
            503,
            &format!(
                "there is no place for more {what}, of which {all} may be under way, {per_source} of one address: try again when one has ended"
            ),
        );
    };
    next.run(request).await.map(|body| Body::new(Taken { body, rest: Bytes::new(), place }))
}

/// An answer that holds its place until it has been taken.
struct Taken {
    body: Body,
    rest: Bytes,
    place: Place,
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.place.waits(None);
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context))
                .map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.place.waits(Some(Instant::now()));
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// The threads on which questions are answered. They run when the gate leaves them time.
pub struct Workers {
    handle: Handle,
    /// Taken out by drop alone.
    runtime: Option<Runtime>,
}

impl Workers {
    /// More threads are started when they are needed, and stay: as long as there is one, a question
    /// for which the system has no other waits, where it would be a panic without any.
    ///
    /// # Errors
    /// When the system has nothing to make them of.
    pub fn new() -> io::Result<Self> {
        let lower = || {
            // A system that does not let it be lowered leaves it as it is.
            rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE).ok();
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .max_blocking_threads(THREADS_MAX)
            .thread_keep_alive(Duration::MAX)
            .thread_name("keyward-asked")
            .on_thread_start(lower);
        let runtime = builder.build()?;
        drop(runtime.spawn_blocking(|| ()));
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Does some work that blocks.
    ///
    /// # Errors
    /// When it panics, or the gateway ends.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.handle.spawn_blocking(work).await
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
