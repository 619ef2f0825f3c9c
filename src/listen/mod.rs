//! The listeners: where connections come in, and what each must be before pingora gets it. Bounds
//! of their number and time, TLS, the source's address; and what pingora's parser refuses is
//! recorded and answered here.

pub mod chunks;
pub mod connection;
mod classify;
mod frames;
pub mod phase;
pub mod registry;
pub mod source;
pub mod tls;
pub mod rejected;
mod unparsed;
pub mod watch;

use crate::gate::Gate;
use async_trait::async_trait;
use connection::Connection;
use keyward_decision::request::{Peer, PeerTls};
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use registry::{ConnectionSlot, Full, Registry};
use rejected::{Class, TurnedAway};
use source::Peers;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tls::Tls;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use watch::{Unread, Watched, Wire};

/// The first byte of a TLS hello.
const TLS_HELLO: u8 = 0x16;

/// Pause when no connection can be accepted, for instance because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all listeners share.
#[derive(Clone)]
pub struct Shared {
    /// Records what never became a call.
    pub gate: Arc<Gate>,
    /// How many connections there are.
    pub registry: Arc<Registry>,
    /// How many may be open, with those that are being taken leave of.
    pub open: Arc<Semaphore>,
    /// Connections that came to nothing.
    pub turned_away: Arc<TurnedAway>,
    /// For a whole head, TLS handshake and PROXY header included for the first.
    pub head_time: Duration,
}

/// One listener, as a service of pingora's server.
pub struct Listener<A> {
    socket: Mutex<Option<std::net::TcpListener>>,
    started: Sender<()>,
    door: Arc<Acceptor<A>>,
}

/// What a connection goes through.
struct Acceptor<A> {
    app: Arc<A>,
    shared: Shared,
    tls: Option<Arc<Tls>>,
    /// Peers that begin each connection with a PROXY header.
    proxies: Peers,
}

impl<A> Listener<A> {
    /// A listener on a bound, non-blocking socket that gives its connections to `app`. It says so
    /// once it takes some.
    pub fn new(
        socket: std::net::TcpListener,
        app: A,
        shared: Shared,
        tls: Option<Arc<Tls>>,
        proxies: Peers,
        started: Sender<()>,
    ) -> Self {
        Self {
            socket: Mutex::new(Some(socket)),
            started,
            door: Arc::new(Acceptor { app: Arc::new(app), shared, tls, proxies }),
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for Listener<A> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = socket.and_then(|socket| TcpListener::from_std(socket).ok()) else {
            tracing::error!("a listener cannot be used");
            return;
        };
        self.started.send(()).ok();
        loop {
            let accept = async {
                // Those that make room go in their own time; who comes meanwhile waits in the
                // system's queue.
                let room = Arc::clone(&self.door.shared.open)
                    .acquire_owned()
                    .await
                    .map_err(io::Error::other)?;
                listener.accept().await.map(|(tcp, address)| (room, tcp, address))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                changed = shutdown.changed() => {
                    if changed.is_err() || *shutdown.borrow() {
                        break;
                    }
                    continue;
                }
            };
            match accepted {
                Ok((room, tcp, address)) => {
                    // Places are taken in the order in which connections came.
                    let place = self.door.place(address);
                    let served =
                        Arc::clone(&self.door).serve(tcp, address, place, shutdown.clone());
                    tokio::spawn(async move {
                        served.await;
                        drop(room);
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.door.app.cleanup().await;
    }

    fn name(&self) -> &'static str {
        "gateway"
    }
}

/// Waits until the gateway stops.
async fn stopping(mut shutdown: ShutdownWatch) {
    while !*shutdown.borrow() && shutdown.changed().await.is_ok() {}
}

/// A connection that may become calls.
struct Opened {
    wire: Wire,
    peer: Peer,
    place: ConnectionSlot,
}

impl<A: ServerApp + Send + Sync + 'static> Acceptor<A> {
    /// A place for a connection; `None` as long as only its PROXY header can tell for whom.
    fn place(&self, address: SocketAddr) -> Option<Result<ConnectionSlot, Full>> {
        (!self.proxies.hold(address.ip())).then(|| self.shared.registry.enter(address.ip()))
    }

    /// A connection's whole life.
    async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        place: Option<Result<ConnectionSlot, Full>>,
        shutdown: ShutdownWatch,
    ) {
        let address = source::plain(address);
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.shared.head_time, self.open(tcp, address, place)) => opened,
            () = stopping(shutdown.clone()) => return,
        };
        let opened = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(_) => return self.turn_away(Class::Silent, address),
        };
        let leave = opened.place.leave();
        let connection =
            Connection::new(opened.peer, opened.place, Arc::clone(&self.shared.turned_away));
        let (watched, mut back) =
            Watched::new(opened.wire, Arc::clone(&connection), self.shared.head_time);
        let calls = async {
            let mut next: Option<Stream> = Some(Box::new(watched));
            while let Some(stream) = next {
                next = self.app.process_new(stream, &shutdown).await;
            }
        };
        tokio::select! {
            () = calls => {}
            () = leave.notified() => return connection.turned_away(Class::MadeRoom),
        }
        if let Ok(unread) = back.try_recv() {
            self.end(&connection, unread).await;
        }
    }

    /// Everything before the first request: the source, a place, TLS. `None` when it came to
    /// nothing, which is counted.
    async fn open(
        &self,
        mut tcp: TcpStream,
        address: SocketAddr,
        place: Option<Result<ConnectionSlot, Full>>,
    ) -> Option<Opened> {
        tcp.set_nodelay(true).ok();
        let mut peer = Peer { address, via: None, tls: None };
        if place.is_none() {
            match source::proxy_header(&mut tcp).await {
                Ok(Some(source)) => peer = Peer { address: source, via: Some(address), tls: None },
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
                Err(error) => {
                    tracing::warn!(peer = %address, %error, "a peer that must send a PROXY header sent something else");
                    self.turn_away(Class::ProxyHeader, address);
                    return None;
                }
            }
        }
        let place = match place.unwrap_or_else(|| self.shared.registry.enter(peer.address.ip())) {
            Ok(place) => place,
            Err(full) => return self.refuse_full(tcp, full, &peer).await,
        };
        let leave = place.leave();
        let class = tokio::select! {
            opened = self.secure(tcp) => match opened {
                Ok((wire, tls)) => return Some(Opened { wire, peer: Peer { tls, ..peer }, place }),
                Err(class) => class?,
            },
            () = leave.notified() => Class::MadeRoom,
        };
        self.turn_away(class, peer.address);
        None
    }

    /// TLS, if the listener has it, and no mistaking one for the other.
    ///
    /// # Errors
    /// The class of what came instead; `None` when the client left without a byte, as health checks
    /// do.
    async fn secure(&self, mut tcp: TcpStream) -> Result<(Wire, Option<PeerTls>), Option<Class>> {
        let mut first = [0];
        if !matches!(tcp.peek(&mut first).await, Ok(1)) {
            return Err(None);
        }
        let [first] = first;
        match &self.tls {
            None if first == TLS_HELLO => Err(Some(Class::TlsOnPlain)),
            None => Ok((Wire::Plain(BufWriter::new(tcp)), None)),
            Some(_) if first.is_ascii_uppercase() => {
                let answer = unparsed::answer(
                    400,
                    "plain-on-tls",
                    "this port speaks TLS: call it by https://",
                    None,
                );
                tcp.write_all(&answer).await.ok();
                Err(Some(Class::PlainOnTls))
            }
            Some(tls) => {
                let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
                let stream = match acceptor.accept(BufWriter::new(tcp)).into_fallible().await {
                    Ok(stream) => stream,
                    Err((error, mut tcp)) => {
                        tracing::debug!(%error, "a TLS handshake failed");
                        // The alert, which says to the client what it did wrong, still stands in
                        // the buffer.
                        tcp.shutdown().await.ok();
                        return Err(Some(Class::Handshake));
                    }
                };
                let peer = tls::peer(stream.get_ref().1);
                Ok((Wire::Tls(Box::new(stream)), Some(peer)))
            }
        }
    }

    /// There is no place: said where that can be said at once, and counted.
    async fn refuse_full(&self, mut tcp: TcpStream, full: Full, peer: &Peer) -> Option<Opened> {
        let (class, message) = match full {
            Full::All => (
                Class::ConnectionsFull,
                "the gateway has as many calls under way as it may have; try again later",
            ),
            Full::Source => (
                Class::SourceFull,
                "this address has as many calls under way as one may have; try again later",
            ),
        };
        if self.tls.is_none() {
            // Fits into the socket's buffer, so it does not wait for anybody.
            tcp.try_write(&unparsed::answer(503, class.code(), message, None)).ok();
            tcp.shutdown().await.ok();
        }
        self.turn_away(class, peer.address);
        None
    }

    fn turn_away(&self, class: Class, source: SocketAddr) {
        self.shared.turned_away.count(class, source.ip());
    }

    /// pingora is through with the connection: what it could not read is recorded and answered.
    async fn end(&self, connection: &Connection, unread: Unread) {
        let Unread { mut wire, ending } = unread;
        let raw = connection.take_head();
        match unparsed::fault(ending, &raw) {
            Ok(fault) => {
                let refusal =
                    self.shared.gate.turn_away(unparsed::head(connection, raw, fault)).await;
                let id = refusal.id.to_string();
                let answer = unparsed::answer(
                    refusal.reason.status(),
                    refusal.reason.code(),
                    &refusal.message,
                    Some(&id),
                );
                let written =
                    tokio::time::timeout(self.shared.head_time, wire.write(&answer)).await;
                wire.shutdown().await;
                if matches!(written, Ok(Ok(()))) {
                    wire.linger(unparsed::LINGER).await;
                }
            }
            Err(class) => {
                if let Some(class) = class {
                    connection.turned_away(class);
                }
                wire.shutdown().await;
            }
        }
    }
}
