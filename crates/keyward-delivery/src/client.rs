//! HTTP/1.1 and plain streams, with TLS or without, for the project's own calls: the demo's, the
//! trail of a running gateway, and whatever is pushed elsewhere. The address that is dialled and
//! the Host that is named are two things.

pub mod busy;
pub mod credential;
pub mod wire;

use crate::resolve::resolve;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keyward_core::secret::{Stamp, check_private};
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Time for one call, all in all.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long an address may say nothing before the next one of its name is tried too (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// There is somebody, but no answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
pub struct TooLate(Duration);

/// Sends one request on a connection of its own and reads the whole answer. The request's URI is
/// path and query.
///
/// # Errors
/// When the connection fails, the answer breaks off, or a minute has passed.
pub async fn send(address: SocketAddr, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    send_within(DEADLINE, address, request).await
}

/// The same, with another time for the answer.
///
/// # Errors
/// When the connection fails, the answer breaks off, or that time has passed ([`TooLate`]).
pub async fn send_within(
    deadline: Duration,
    address: SocketAddr,
    request: Request<Bytes>,
) -> anyhow::Result<Response<Bytes>> {
    let stream = tokio::time::timeout(DEADLINE, TcpStream::connect(address)).await??;
    tokio::time::timeout(deadline, exchange(stream, request, usize::MAX))
        .await
        .map_err(|_| TooLate(deadline))?
}

async fn exchange(
    stream: impl Stream + 'static,
    request: Request<Bytes>,
    answer_bytes_max: usize,
) -> anyhow::Result<Response<Bytes>> {
    let (parts, mut body) = open(stream, request).await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await.context("the answer cannot be read")? {
        ensure!(
            bytes.len() + piece.len() <= answer_bytes_max,
            "the answer is longer than {answer_bytes_max} bytes"
        );
        bytes.extend_from_slice(&piece);
    }
    Ok(Response::from_parts(parts, bytes.into()))
}

/// Sends one request on a connection of its own; the answer's body comes piece by piece, however
/// long it takes.
///
/// # Errors
/// When the connection breaks before the head of the answer is there.
pub async fn open(
    stream: impl Stream + 'static,
    request: Request<Bytes>,
) -> anyhow::Result<Response<Body>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(connection));
    let response = sender.send_request(request.map(Full::new)).await?;
    Ok(response.map(|incoming| Body { incoming, _connection: connection }))
}

/// The body of an answer as it comes in. Dropped, it ends its connection.
pub struct Body {
    incoming: Incoming,
    _connection: Connection,
}

impl Body {
    /// The next bytes; `None` when the body is whole.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.incoming.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

struct Connection(JoinHandle<hyper::Result<()>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where something is pushed: scheme, host, port, and path for HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As in `https`.
    pub scheme: String,
    /// A name or an address.
    pub host: String,
    /// The port, or that of the scheme.
    pub port: u16,
    /// Path and query; `/` when there is none.
    pub path: String,
}

impl Url {
    /// Reads a URL. `schemes` are the allowed ones, each with its default port.
    pub fn parse(text: &str, schemes: &[(&str, u16)]) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let (scheme, port) = schemes.iter().find(|(scheme, _)| uri.scheme_str() == Some(scheme))?;
        let authority = uri.authority().filter(|authority| {
            !authority.as_str().contains('@') && !authority.host().is_empty()
        })?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self {
            scheme: (*scheme).to_owned(),
            host,
            port: authority.port_u16().unwrap_or(*port),
            path,
        })
    }

    /// Host and port as HTTP's Host names them.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.path)
    }
}

/// Whom a TLS connection trusts. Files that change are read anew; what was read before stays in
/// force when they are bad.
#[derive(Clone)]
pub struct Tls(Arc<Trust>);

struct Trust {
    ca_file: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    connector: TlsConnector,
    stamp: Stamp,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the CA certificates of a file, or the system's.
    ///
    /// # Errors
    /// When they cannot be read, or there are none.
    pub fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        Self::with_identity(ca_file, None)
    }

    /// The same, with a certificate to show, and the file of its key.
    ///
    /// # Errors
    /// When one of them cannot be read, or others can read the key.
    pub fn with_identity(
        ca_file: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> anyhow::Result<Self> {
        let identity = identity.map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
        let ca_file = ca_file.map(Path::to_owned);
        // Taken before the files are read: a change in between is seen the next time.
        let stamp = Stamp::of(files(ca_file.as_deref(), identity.as_ref()));
        let connector = connector(ca_file.as_deref(), identity.as_ref())?;
        Ok(Self(Arc::new(Trust {
            ca_file,
            identity,
            loaded: Mutex::new(Loaded { connector, stamp }),
        })))
    }

    fn connector(&self) -> TlsConnector {
        let Trust { ca_file, identity, loaded } = &*self.0;
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamp) = loaded.stamp.changed(files(ca_file.as_deref(), identity.as_ref())) {
            loaded.stamp = stamp;
            match connector(ca_file.as_deref(), identity.as_ref()) {
                Ok(connector) => loaded.connector = connector,
                Err(error) => tracing::error!(
                    "certificates for connections to others have changed; the old ones stay in force: {error:#}"
                ),
            }
        }
        loaded.connector.clone()
    }
}

fn files<'a>(
    ca_file: Option<&'a Path>,
    identity: Option<&'a (PathBuf, PathBuf)>,
) -> impl Iterator<Item = &'a Path> {
    ca_file.into_iter().chain(
        identity.into_iter().flat_map(|(certificate, key)| [certificate.as_path(), key.as_path()]),
    )
}

fn connector(
    ca_file: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(ca_file)? {
        let added = roots.add(certificate);
        added.with_context(|| {
            ca_file.map_or_else(
                || "the system's CA certificates".to_owned(),
                |file| file.display().to_string(),
            )
        })?;
    }
    ensure!(!roots.is_empty(), "there are no CA certificates");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            check_private(key).map_err(|why| anyhow::anyhow!("{}: {why}", key.display()))?;
            let names = || format!("{}, {}", certificate.display(), key.display());
            let certificates = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(names)?;
            ensure!(!certificates.is_empty(), "{}: no certificate, or no key", names());
            let key = PrivateKeyDer::from_pem_file(key).with_context(names)?;
            builder.with_client_auth_cert(certificates, key).with_context(names)?
        }
    };
    Ok(Arc::new(config).into())
}

/// The certificates of a file, in which nothing else may be, or the system's.
fn authorities(ca_file: Option<&Path>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let Some(file) = ca_file else {
        return rustls_native_certs::load_native_certs().context("the system's CA certificates");
    };
    let certificate = |section: Result<(SectionKind, Vec<u8>), pem::Error>| match section
        .with_context(|| file.display().to_string())?
    {
        (SectionKind::Certificate, bytes) => Ok(CertificateDer::from(bytes)),
        (kind, _) => bail!("{}: it holds {kind:?}, where only certificates belong", file.display()),
    };
    <(SectionKind, Vec<u8>)>::pem_file_iter(file)
        .with_context(|| file.display().to_string())?
        .map(certificate)
        .collect()
}

/// Connects; encrypted when `tls` is given.
///
/// # Errors
/// When the name has no address, nobody listens, or the certificate is not one to trust.
pub async fn connect(url: &Url, tls: Option<&Tls>) -> anyhow::Result<Box<dyn Stream>> {
    let stream = connect_tcp(url).await?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(connect_tls(url, tls, stream).await?)),
    }
}

async fn connect_tcp(url: &Url) -> anyhow::Result<TcpStream> {
    let none = || format!("no connection to {}", url.authority());
    let addresses = resolve(&url.host, url.port).await.with_context(none)?;
    let stream = first_of(addresses).await.with_context(none)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to the first of a name's addresses that answers. The next is tried beside those that
/// say nothing for a while.
async fn first_of(addresses: Vec<SocketAddr>) -> anyhow::Result<TcpStream> {
    let (mut addresses, mut attempts) = (addresses.into_iter().peekable(), JoinSet::new());
    let mut failed = anyhow::anyhow!("the name has no address");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn(async move {
                TcpStream::connect(address).await.with_context(|| address.to_string())
            })),
            None if attempts.is_empty() => return Err(failed),
            None => {}
        }
        let more = addresses.peek().is_some();
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended? {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

async fn connect_tls(
    url: &Url,
    tls: &Tls,
    stream: TcpStream,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(url.host.clone())
        .with_context(|| format!("`{}` is no name", url.host))?;
    tls.connector()
        .connect(name, stream)
        .await
        .with_context(|| format!("no TLS with {}", url.authority()))
}

/// Posts a body, on a connection of its own.
///
/// # Errors
/// When there is no connection, or no whole answer of at most `answer_bytes_max` bytes within
/// `deadline`.
pub async fn post(
    url: &Url,
    tls: Option<&Tls>,
    headers: HeaderMap,
    body: Bytes,
    deadline: Duration,
    answer_bytes_max: usize,
) -> anyhow::Result<Response<Bytes>> {
    let mut request =
        Request::post(url.path.as_str()).header("host", url.authority()).body(body)?;
    request.headers_mut().extend(headers);
    let call = async { exchange(connect(url, tls).await?, request, answer_bytes_max).await };
    tokio::time::timeout(deadline, call).await.map_err(|_| {
        anyhow::anyhow!("no answer of {} within {} s", url.authority(), deadline.as_secs())
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_the_allowed_schemes() {
        let schemes = [("https", 443), ("http", 80)];
        let url = Url::parse("https://witness.example/a/b?c=d", &schemes).unwrap();
        assert_eq!(
            (url.port, url.path.as_str(), url.authority().as_str()),
            (443, "/a/b?c=d", "witness.example:443")
        );
        assert_eq!(
            Url::parse("http://[::1]:8080", &schemes).unwrap().to_string(),
            "http://[::1]:8080/"
        );
        for text in ["", "witness.example", "ftp://a", "https://", "https://u:p@a/", "https:///a"] {
            assert_eq!(Url::parse(text, &schemes), None, "{text}");
        }
    }
}
