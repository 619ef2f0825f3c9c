//! Certificates, and a client that speaks TLS.

use super::{Answer, Client, Gateway, PATIENCE, Request, Site};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A certificate and its key, as PEM.
pub struct Tls {
    pub chain: String,
    pub key: String,
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names.
    pub fn client(&self, names: &[&str]) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .unwrap();
        Tls { chain: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Writes one into a site, as `<file>.pem` and `<file>.key`.
    pub fn write(&self, site: &Site, file: &str, names: &[&str]) {
        let tls = self.client(names);
        let key = site.path(&format!("{file}.key"));
        std::fs::write(&key, tls.key).unwrap();
        std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(site.path(&format!("{file}.pem")), tls.chain).unwrap();
    }
}

/// A connection by TLS.
pub struct Secure(StreamOwned<ClientConnection, TcpStream>);

/// Connects and shakes hands: the server must show a certificate of the authority for this name.
pub fn connect(
    gateway: &Gateway,
    authority: &Authority,
    name: &str,
    client: Option<&Tls>,
) -> io::Result<Secure> {
    dial(gateway.address, &client_config(authority, client, &[]), name).map(Secure)
}

/// How a client shakes hands: whom it trusts, what it shows, and which protocols it offers.
pub fn client_config(
    authority: &Authority,
    client: Option<&Tls>,
    protocols: &[&[u8]],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some(tls) => {
            let chain = CertificateDer::from_pem_slice(tls.chain.as_bytes()).unwrap();
            config
                .with_client_auth_cert(
                    vec![chain],
                    PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).unwrap(),
                )
                .unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

/// Connects to an address and shakes hands with the server of this name.
pub fn dial(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let session =
        ClientConnection::new(Arc::clone(config), ServerName::try_from(name.to_owned()).unwrap())
            .unwrap();
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(session, socket);
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

impl Secure {
    /// Sends a request and reads its answer.
    pub fn call(&mut self, request: &Request) -> Answer {
        self.try_call(request).unwrap()
    }

    /// The same; a server that takes no such client says so at the first read.
    pub fn try_call(&mut self, request: &Request) -> io::Result<Answer> {
        self.0.write_all(&request.bytes())?;
        self.0.flush()?;
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let read = self.0.read(&mut piece)?;
            bytes.extend_from_slice(&piece[..read]);
            let answer = Client::parse(&bytes);
            if answer.whole || read == 0 {
                return Ok(answer);
            }
        }
    }

    fn certificate(&self) -> CertificateDer<'_> {
        self.0.conn.peer_certificates().unwrap()[0].clone()
    }

    /// The DNS names in the server's certificate.
    pub fn names(&self) -> Vec<String> {
        let der = self.certificate();
        let cert = webpki::EndEntityCert::try_from(&der).unwrap();
        cert.valid_dns_names().map(str::to_owned).collect()
    }

    /// What tells one of its certificates from another.
    pub fn serial(&self) -> Vec<u8> {
        self.certificate().to_vec()
    }
}
