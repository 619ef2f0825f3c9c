//! TLS towards receivers. They are verified, always.

use super::Settings;
use crate::secret::check_private;
use pingora_rustls::{ClientConfig, ClientTlsStream, RootCertStore, ServerName, TlsConnector, install_default_crypto_provider};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// What connects to one receiver.
pub(super) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
    address: (String, u16),
}

impl Connector {
    /// Reads certificates and keys.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        install_default_crypto_provider();
        let roots = Arc::new(roots(settings.ca_file.as_deref())?);
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                check_private(key).map_err(|error| format!("key_file {}: {error}", key.display()))?;
                let read = pingora_rustls::load_certs_and_key_files(&certificate.to_string_lossy(), &key.to_string_lossy());
                let files = format!("certificate_file {}, key_file {}", certificate.display(), key.display());
                let (certificates, key) = read.map_err(|error| format!("{files}: {error}"))?.ok_or(format!("{files}: no certificate, or no key"))?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| format!("{files}: {error}"))?
            }
        };
        let (host, port) = settings.to.host();
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no name that a certificate could have"))?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), name, address: (host.to_owned(), port) })
    }

    /// A connection to the receiver, verified.
    pub async fn connect(&self) -> Result<ClientTlsStream<TcpStream>, String> {
        let connecting = async {
            let stream = TcpStream::connect((self.address.0.as_str(), self.address.1)).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(self.name.clone(), stream).await
        };
        let connected = tokio::time::timeout(CONNECT, connecting).await;
        connected.map_err(|_| format!("no connection within {} s", CONNECT.as_secs()))?.map_err(|error| format!("no connection: {error}"))
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (loaded, whence) = match ca_file {
        Some(file) => (pingora_rustls::load_ca_file_into_store(file, &mut roots), format!("ca_file {}", file.display())),
        None => (pingora_rustls::load_platform_certs_incl_env_into_store(&mut roots), "the system's CA certificates".to_owned()),
    };
    loaded.map_err(|error| format!("{whence}: {error}"))?;
    if roots.is_empty() { Err(format!("{whence}: there are none, so the receiver could not be verified")) } else { Ok(roots) }
}
