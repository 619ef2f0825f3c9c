//! A connection to a receiver whose protocol acknowledges nothing, and what its end tells.
//!
//! What TCP took may lie unread when the receiver dies, and a TLS `close_notify` may have been said
//! before all was read. A socket that is closed over unread bytes, or that is sent more, answers
//! with a reset instead of an orderly end (RFC 1122, 4.2.2.13). So an end proves that all was read
//! when the receiver said it after we had said ours, and every byte, our own end included, was
//! acknowledged without a reset. What the receiver does with what it has read, no wire can tell.

use super::{Tls, Url, connect_tcp, connect_tls};
use anyhow::{Context, bail, ensure};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Time for the receiver to answer the end of TLS, before TCP is ended too.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for the receiver's system to acknowledge the end, after its own.
const LAST_WORD: Duration = Duration::from_secs(5);
/// A receiver that ends only its own half first, and all of it at once then, is not to be taken for
/// one that has read all.
const RESET: Duration = Duration::from_millis(20);
/// How often an acknowledgement is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// Whoever reads this has to see what to do.
const BROKEN: &str = "the connection broke";
const EARLY: &str = "the receiver ended the connection before it was sent all";
const UNREAD: &str = "the receiver ended the connection and had not read all";
const BARE: &str = "the receiver closed without TLS close_notify, as one that dies does, so nobody knows what it took; if it \
     always closes so (as rsyslog's `gtls` driver does, unlike `ossl`), set `accept_bare_close = true`";

/// The connection.
pub struct Wire(Kind);

enum Kind {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Connects; encrypted when `tls` is given.
    ///
    /// # Errors
    /// When the name has no address, nobody listens, or the certificate is not one to trust.
    pub async fn connect(url: &Url, tls: Option<&Tls>) -> anyhow::Result<Self> {
        let stream = connect_tcp(url).await?;
        Ok(Self(match tls {
            None => Kind::Plain(stream),
            Some(tls) => Kind::Tls(Box::new(connect_tls(url, tls, stream).await?)),
        }))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.0 {
            Kind::Plain(stream) => stream.write_all(bytes).await,
            Kind::Tls(stream) => stream.write_all(bytes).await,
        }
        .context(BROKEN)
    }

    /// Waits until the receiver ends it, in whatever manner.
    pub async fn over(&mut self) {
        poll_fn(|context| {
            let mut piece = [0; 1024];
            loop {
                let mut buffer = ReadBuf::new(&mut piece);
                let read = match &mut self.0 {
                    Kind::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                    Kind::Tls(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                };
                match read {
                    Poll::Pending => return Poll::Pending,
                    // It has nothing to say; whatever it does say is no confirmation.
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// Whether the receiver has ended it.
    pub async fn is_over(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.over() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Ends it. `bare` takes the end of TCP alone for the receiver's word, where TLS has a word of
    /// its own.
    ///
    /// # Errors
    /// Unless the receiver has read every byte.
    pub async fn end(mut self, bare: bool) -> anyhow::Result<()> {
        ensure!(!self.is_over().await, EARLY);
        match &mut self.0 {
            Kind::Plain(socket) => {
                socket.shutdown().await.context(BROKEN)?;
                read_out(socket).await.context(UNREAD)?;
                acknowledged(socket).await
            }
            Kind::Tls(stream) => {
                // Not yet the end of TCP: a receiver that goes away meanwhile is to be seen doing
                // so.
                let mut ended = false;
                stream.get_mut().1.send_close_notify();
                stream.flush().await.context(BROKEN)?;
                let read = match tokio::time::timeout(PATIENCE, read_out(stream)).await {
                    Ok(read) => read,
                    // Some wait for the end of TCP.
                    Err(_) => {
                        stream.get_mut().0.shutdown().await.context(BROKEN)?;
                        ended = true;
                        read_out(stream).await
                    }
                };
                match read {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof && bare => {}
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!(BARE),
                    Err(error) => return Err(error).context(UNREAD),
                }
                let socket = stream.get_mut().0;
                read_out(socket).await.context(UNREAD)?;
                if !ended {
                    tokio::time::sleep(RESET).await;
                    socket.shutdown().await.context(UNREAD)?;
                }
                acknowledged(socket).await
            }
        }
    }
}

async fn read_out(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Waits until all that was sent on a socket which both sides have ended is acknowledged: then it
/// has no peer any more.
async fn acknowledged(socket: &TcpStream) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let over = socket.peer_addr().is_err();
        if let Some(error) = socket.take_error()? {
            return Err(error).context(UNREAD);
        }
        if over {
            return Ok(());
        }
        ensure!(begun.elapsed() < LAST_WORD, UNREAD);
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests;
