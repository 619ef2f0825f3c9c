//! The stream between the wire and pingora. It watches what pingora does not: that a head comes
//! whole in time, and is not too long. What pingora's parser refuses is never answered by pingora:
//! the stream keeps the head, and [`Unread`] says at the end what there is to be recorded and
//! answered.

use super::connection::{Connection, HEAD_BYTES_READ_MAX, Waits};
use super::frames::Http2ErrorSniffer;
use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// Bytes that are on the way.
pub enum Wire {
    /// In clear.
    Plain(BufWriter<TcpStream>),
    /// By TLS.
    Tls(Box<TlsStream<BufWriter<TcpStream>>>),
}

/// Why a head never became a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// pingora's parser refused it.
    Unreadable,
    /// It was not whole before the deadline.
    TooSlow,
    /// It is longer than anything that is read.
    TooLong,
    /// The client left, or nothing came at all.
    Gone,
}

/// The wire of a connection that ended without, or between, calls.
pub struct Unread {
    /// Still open for an answer.
    pub wire: Wire,
    /// Why.
    pub ending: CloseReason,
}

/// A connection's stream, as pingora gets it.
pub struct Watched {
    /// Gone once it has been handed back.
    wire: Option<Wire>,
    connection: Arc<Connection>,
    http2: bool,
    /// For a whole head, from its first byte, or from the connection's beginning for the first
    /// one.
    head_time: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    ending: CloseReason,
    complaints: Http2ErrorSniffer,
    back: Option<oneshot::Sender<Unread>>,
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    fd: UniqueIDType,
}

impl Watched {
    /// Watches a connection. The receiver gets the wire back when pingora gives the connection up
    /// outside a call.
    pub fn new(
        wire: Wire,
        connection: Arc<Connection>,
        head_time: Duration,
    ) -> (Self, oneshot::Receiver<Unread>) {
        use std::os::fd::AsRawFd;
        let fd = wire.tcp().as_raw_fd();
        let socket = SocketDigest::from_raw_fd(fd);
        socket
            .peer_addr
            .set(Some(pingora::protocols::l4::socket::SocketAddr::Inet(connection.peer.address)))
            .ok();
        let (back, receiver) = oneshot::channel();
        let tls = wire.tls_digest();
        let http2 = wire.is_http2();
        let deadline = Some(Box::pin(tokio::time::sleep(head_time)));
        let watched = Self {
            wire: Some(wire),
            http2,
            head_time,
            deadline,
            ending: CloseReason::Gone,
            complaints: Http2ErrorSniffer::default(),
            back: Some(back),
            socket: Arc::new(socket),
            tls,
            fd,
            connection,
        };
        (watched, receiver)
    }

    /// What HTTP/2 refused on this connection, for the metrics.
    fn complain(&mut self, written: &[u8]) {
        if self.http2 {
            self.complaints.see(written, &self.connection);
        }
    }

    /// The parser's own error answer is not sent: a better one follows, once the refusal is on
    /// record.
    fn is_parsers_answer(&self) -> bool {
        !self.http2 && self.connection.waits() != Waits::InCall
    }

    /// Whether the head is late. The clock starts with the connection, and anew with the first byte
    /// of each further head.
    fn is_late(&mut self, waits: Waits, cx: &mut Context<'_>) -> bool {
        match waits {
            Waits::InCall | Waits::Next => self.deadline = None,
            // HTTP/2 has its own idle timeout once it is in use; a head within it is part of a
            // frame.
            Waits::First | Waits::Rest => {
                let time = self.head_time;
                let deadline =
                    self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
                return deadline.as_mut().poll(cx).is_ready();
            }
        }
        false
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let Some(wire) = this.wire.as_mut() else { return Poll::Ready(Ok(())) };
        let polled = wire.poll_read(cx, buf);
        let waits = this.connection.waits();
        let Poll::Ready(done) = polled else {
            if this.is_late(waits, cx) {
                this.ending = CloseReason::TooSlow;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return Poll::Pending;
        };
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if done.is_ok() && waits == Waits::InCall {
            this.connection.read_body(bytes);
        }
        if done.is_ok() && waits != Waits::InCall && !this.http2 && !bytes.is_empty() {
            if this.connection.read(bytes) >= HEAD_BYTES_READ_MAX {
                this.ending = CloseReason::TooLong;
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if this.is_late(Waits::Rest, cx) {
                this.ending = CloseReason::TooSlow;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Ready(done)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_parsers_answer() {
            if this.ending == CloseReason::Gone {
                this.ending = CloseReason::Unreadable;
            }
            return Poll::Ready(Ok(buf.len()));
        }
        let Some(wire) = this.wire.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let written = ready!(wire.poll_write(cx, buf))?;
        this.complain(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.as_mut().map_or(Poll::Ready(Ok(())), |wire| wire.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_parsers_answer() {
            return Poll::Ready(Ok(()));
        }
        self.wire.as_mut().map_or(Poll::Ready(Ok(())), |wire| wire.poll_shutdown(cx))
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        if !self.is_parsers_answer()
            && let Some(wire) = &mut self.wire
        {
            wire.shutdown().await;
        }
    }
}

impl Drop for Watched {
    /// pingora is through with the connection. Outside a call there may be something left to say.
    fn drop(&mut self) {
        if self.connection.waits() != Waits::InCall
            && let (Some(wire), Some(back)) = (self.wire.take(), self.back.take())
        {
            back.send(Unread { wire, ending: self.ending }).ok();
        }
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Watched {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Nobody reads it.
        Vec::new()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.connection.digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl Peek for Watched {}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("peer", &self.connection.peer.address)
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// The socket.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream.get_ref(),
            Self::Tls(stream) => stream.get_ref().0.get_ref(),
        }
    }

    fn is_http2(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    fn tls_digest(&self) -> Option<Arc<SslDigest>> {
        let Self::Tls(stream) = self else { return None };
        let session = stream.get_ref().1;
        let version = session.protocol_version().and_then(|v| v.as_str()).unwrap_or_default();
        let cipher =
            session.negotiated_cipher_suite().and_then(|s| s.suite().as_str()).unwrap_or_default();
        Some(Arc::new(SslDigest::new(cipher, version, None, None, Vec::new())))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Writes an answer whole.
    ///
    /// # Errors
    /// When the client has left.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Says that nothing more comes.
    pub async fn shutdown(&mut self) {
        let done = match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        };
        // The other side may have left first.
        done.ok();
    }

    /// Reads and drops what still comes, so that closing does not take an answer back by a reset.
    pub async fn linger(&mut self, time: Duration) {
        use tokio::io::AsyncReadExt;
        let until = Instant::now() + time;
        let mut scrap = [0; 4096];
        let mut left = 1024 * 1024_usize;
        while left > 0 {
            let read = match self {
                Self::Plain(stream) => {
                    tokio::time::timeout_at(until, stream.read(&mut scrap)).await
                }
                Self::Tls(stream) => tokio::time::timeout_at(until, stream.read(&mut scrap)).await,
            };
            match read {
                Ok(Ok(count @ 1..)) => left = left.saturating_sub(count),
                _ => return,
            }
        }
    }
}
