//! TLS towards clients: certificates by server name, client certificates, and their reload without
//! a restart.

use arc_swap::ArcSwap;
use keyward_core::secret::{self, Stamp};
use keyward_decision::request::{PeerCertificate, PeerTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// TLS of one listener, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificates; a client that names none of their names gets the first.
    pub certificates: Vec<KeyPair>,
    /// Whether clients show certificates.
    pub clients: Clients,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The server's certificate, and the intermediate ones behind it.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether clients show certificates.
#[derive(Clone, Debug)]
pub enum Clients {
    /// They are not asked.
    NotAsked,
    /// They may; what they show must be signed by one of these.
    Optional(PathBuf),
    /// They must.
    Required(PathBuf),
}

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or is no PEM of its kind.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A certificate and its key do not belong together, or are of a kind that is not known.
    #[error("{chain} and {key}: {why}")]
    Pair {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// The TLS of one listener: what is in force, and where it comes from.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Of the files, to see whether they have changed.
    stamp: Stamp,
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn load(settings: Settings) -> Result<Self, TlsError> {
        let loaded = Loaded { stamp: settings.stamp(), config: settings.server_config()? };
        Ok(Self { settings, current: ArcSwap::from_pointee(loaded) })
    }

    /// What new connections get.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// Loads the files anew. What is in force stays so when they cannot be used.
    ///
    /// # Errors
    /// When one of them cannot be used; that is said once, until they change again.
    pub fn reload(&self) -> Result<(), TlsError> {
        // Taken before the files are read: a change in between is seen the next time.
        let stamp = self.settings.stamp();
        let (config, failed) = match self.settings.server_config() {
            Ok(config) => (config, None),
            Err(error) => (self.config(), Some(error)),
        };
        self.current.store(Arc::new(Loaded { config, stamp }));
        failed.map_or(Ok(()), Err)
    }

    /// The files, as configured.
    pub fn files(&self) -> Vec<String> {
        self.settings.files().map(|file| file.display().to_string()).collect()
    }

    /// Whether a file has changed since it was last looked at.
    pub fn has_changed(&self) -> bool {
        self.current.load().stamp.changed(self.settings.files()).is_some()
    }
}

impl Settings {
    /// Every file, in one order.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let ca = match &self.clients {
            Clients::NotAsked => None,
            Clients::Optional(ca) | Clients::Required(ca) => Some(ca.as_path()),
        };
        self.certificates
            .iter()
            .flat_map(|pair| [pair.chain.as_path(), pair.key.as_path()])
            .chain(ca)
    }

    fn stamp(&self) -> Stamp {
        Stamp::of(self.files())
    }

    fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let keys = self
            .certificates
            .iter()
            .map(|pair| pair.load(&provider))
            .collect::<Result<Vec<_>, _>>()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| fail(Path::new("TLS"), e.to_string()))?;
        let builder = match &self.clients {
            Clients::NotAsked => builder.with_no_client_auth(),
            Clients::Optional(ca) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|e| fail(ca, e.to_string()))?,
            ),
            Clients::Required(ca) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider)
                    .build()
                    .map_err(|e| fail(ca, e.to_string()))?,
            ),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Early data can be replayed by anyone; this is rustls' default, and a promise here.
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

fn fail(file: &Path, why: String) -> TlsError {
    TlsError::File { file: file.display().to_string(), why }
}

/// The certificates of a PEM file.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fail(file, e.to_string()))?;
    if all.is_empty() {
        Err(fail(file, "holds no certificate: write PEM, `-----BEGIN CERTIFICATE-----`".to_owned()))
    } else {
        Ok(all)
    }
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|e| fail(file, e.to_string()))?;
    }
    Ok(roots)
}

impl KeyPair {
    fn load(&self, provider: &rustls::crypto::CryptoProvider) -> Result<Named, TlsError> {
        let pair = |why: String| TlsError::Pair {
            chain: self.chain.display().to_string(),
            key: self.key.display().to_string(),
            why,
        };
        let chain = certificates(&self.chain)?;
        secret::check_private(&self.key).map_err(|why| fail(&self.key, why))?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|e| fail(&self.key, e.to_string()))?;
        self.warn(&chain);
        let names = chain.first().map(|own| names_of(own)).unwrap_or_default();
        let key = provider.key_provider.load_private_key(key).map_err(|e| pair(e.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|e| pair(e.to_string()))?;
        Ok(Named { names, key: Arc::new(key) })
    }
}

impl KeyPair {
    /// Tells what clients will make of it; it is used all the same.
    fn warn(&self, chain: &[CertificateDer<'_>]) {
        let parsed = chain.first().and_then(|own| x509_parser::parse_x509_certificate(own).ok());
        if let Some((_, own)) = parsed.filter(|(_, own)| !own.validity().is_valid()) {
            let validity = own.validity();
            tracing::warn!(
                "the certificate `{}` is valid from {} to {}, and not now: clients will refuse it; put a new one in its place",
                self.chain.display(),
                validity.not_before,
                validity.not_after
            );
        }
    }
}

/// A certificate and the DNS names in it, in lower case.
#[derive(Debug)]
struct Named {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

/// Picks the certificate by the name that the client asks for: an exact name before a wildcard,
/// else the first.
#[derive(Debug)]
struct ByName(Vec<Named>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name().map(str::to_ascii_lowercase).unwrap_or_default();
        let with = |name: &str| self.0.iter().find(|named| named.names.iter().any(|n| n == name));
        let wildcard =
            wanted.split_once('.').map(|(_, rest)| format!("*.{rest}")).unwrap_or_default();
        let found = with(&wanted).or_else(|| with(&wildcard)).or_else(|| self.0.first());
        found.map(|named| Arc::clone(&named.key))
    }
}

fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    webpki::EndEntityCert::try_from(certificate)
        .map(|cert| cert.valid_dns_names().map(str::to_ascii_lowercase).collect())
        .unwrap_or_default()
}

/// What TLS showed of the client.
pub fn peer(session: &ServerConnection) -> PeerTls {
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(|own| {
        let cert = webpki::EndEntityCert::try_from(own).ok();
        let names = cert.iter().flat_map(|cert| {
            let dns =
                cert.valid_dns_names().map(|name| format!("dns:{}", name.to_ascii_lowercase()));
            dns.chain(cert.valid_uri_names().map(|name| format!("uri:{name}"))).collect::<Vec<_>>()
        });
        PeerCertificate { fingerprint: secret::sha256(own), names: names.collect() }
    });
    PeerTls {
        server_name: session.server_name().map(str::to_ascii_lowercase),
        version: session.protocol_version().and_then(|v| v.as_str()).unwrap_or_default(),
        certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, names: &[&str]) -> KeyPair {
        let made = rcgen::generate_simple_self_signed(
            names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(),
        )
        .unwrap();
        let (chain, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::remove_file(&key).ok();
        keyward_core::durable::create_private(&key, made.signing_key.serialize_pem().as_bytes())
            .unwrap();
        KeyPair { chain, key }
    }

    fn load(certificates: Vec<KeyPair>, clients: Clients) -> Result<Tls, TlsError> {
        Tls::load(Settings { certificates, clients })
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (write(dir.path(), "a", &["a.test"]), write(dir.path(), "b", &["b.test"]));
        let crossed = KeyPair { chain: a.chain.clone(), key: b.key.clone() };
        let missing = KeyPair { chain: dir.path().join("none.pem"), key: a.key.clone() };
        let swapped = KeyPair { chain: a.key.clone(), key: a.chain.clone() };
        let open = write(dir.path(), "c", &["c.test"]);
        std::fs::set_permissions(&open.key, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        for (pair, wanted) in [
            (crossed, "a.pem and"),
            (missing, "none.pem"),
            (swapped, "a.key: holds no certificate"),
            (open, "c.key: it is readable by others"),
        ] {
            let error = load(vec![pair], Clients::NotAsked).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let error =
            load(vec![a.clone()], Clients::Required(b.key.clone())).unwrap_err().to_string();
        assert!(error.contains("b.key"), "{error}");
        assert!(load(vec![a.clone()], Clients::Required(b.chain)).is_ok());
    }

    #[test]
    fn a_change_is_seen_and_a_bad_one_leaves_the_old_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let a = write(dir.path(), "a", &["a.test"]);
        let tls = load(vec![a.clone()], Clients::NotAsked).unwrap();
        assert!(!tls.has_changed());
        let before = tls.config();
        std::fs::write(&a.key, "no key").unwrap();
        assert!(tls.has_changed() && tls.reload().is_err());
        assert!(!tls.has_changed(), "said once");
        assert!(Arc::ptr_eq(&before, &tls.config()));
        // The times of the files may stay as they were.
        let time = std::fs::metadata(&a.key).unwrap().modified().unwrap();
        write(dir.path(), "a", &["a.test"]);
        std::fs::File::options().append(true).open(&a.key).unwrap().set_modified(time).unwrap();
        assert!(tls.has_changed());
        tls.reload().unwrap();
        assert!(!tls.has_changed() && !Arc::ptr_eq(&before, &tls.config()));
    }
}
