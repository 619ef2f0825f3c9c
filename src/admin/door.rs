//! The admin's door: how many connections there may be, and for how long one may say nothing, or
//! take nothing.
//!
//! At the bound the connection that has waited longest without a question makes room, as on the
//! gateway's own listeners.

use super::places::Leave;
use crate::listen::registry::{ConnectionSlot, Registry};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Pause when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const FULL: &str =
    "as many questions are being answered as the admin may have connections: try again later\n";

/// Bounds of the door.
#[derive(Debug)]
pub struct Bounds {
    /// Connections that have a place.
    pub places: Arc<Registry>,
    /// Open connections, with those that are being taken leave of.
    pub open: usize,
    /// For how long one may say nothing, and for how long one may take nothing of an answer.
    pub idle: Duration,
}

/// Takes connections until the gateway stops, and sees those that are there to their end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    mut shutdown: watch::Receiver<bool>,
) {
    let open = Arc::new(Semaphore::new(bounds.open));
    let mut connections = JoinSet::new();
    let stop = shutdown.clone();
    loop {
        let accepted = async {
            // Who comes now waits in the system's queue until one has gone.
            let room = Arc::clone(&open).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(tcp, address)| (room, tcp, address))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            _ = shutdown.changed() => break,
        };
        match accepted {
            Ok((room, tcp, address)) => match bounds.places.enter(address.ip()) {
                Ok(place) => {
                    let (router, stop, idle) = (router.clone(), stop.clone(), bounds.idle);
                    connections.spawn(async move {
                        visit(tcp, address, place, router, stop, idle).await;
                        drop(room);
                    });
                }
                // Fits into the socket's buffer, so it does not wait for anybody.
                Err(_) => {
                    let answer = format!(
                        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{FULL}",
                        FULL.len()
                    );
                    tcp.try_write(answer.as_bytes()).ok();
                }
            },
            Err(error) => {
                tracing::error!(%error, "the admin can accept no connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection's whole life.
async fn visit(
    tcp: TcpStream,
    address: SocketAddr,
    place: ConnectionSlot,
    router: Router,
    mut stop: watch::Receiver<bool>,
    idle: Duration,
) {
    tcp.set_nodelay(true).ok();
    let leave = place.leave();
    let (place, cut_off) = (Arc::new(place), Leave(Arc::clone(&leave)));
    let routes = TowerToHyperService::new(router);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let question = place.in_call().then(|| Question(Arc::clone(&place)));
        request.extensions_mut().insert(ConnectInfo(address));
        request.extensions_mut().insert(cut_off.clone());
        let answer = routes.call(request);
        async move {
            let question =
                question.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            let response: Response = answer.await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(response.map(|body| Answer { body, _question: question }))
        }
    });
    let io = TokioIo::new(Impatient { tcp, idle, stalled: None });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .serve_connection(io, answer)
    );
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%address, %error, "a connection of the admin ended early");
                }
                return;
            }
            () = leave.notified() => return,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// While it lives its connection keeps its place.
struct Question(Arc<ConnectionSlot>);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.waits();
    }
}

/// An answer on its way.
struct Answer {
    body: Body,
    _question: Question,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that breaks when its other end takes nothing for too long.
struct Impatient {
    tcp: TcpStream,
    idle: Duration,
    /// Since something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn wait<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let idle = self.idle;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.wait(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.wait(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
