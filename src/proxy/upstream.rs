//! Upstreams: which cloud a host means, where it is, and how it is reached. TLS is verified, always.

use crate::catalog::route::HostPattern;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a resolved name is used.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// Addresses of one name that are tried for one call.
pub const ATTEMPTS_MAX: usize = 4;

/// Timeouts towards upstreams; pingora's own default for each is none.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For each read of the answer.
    pub read: Duration,
    /// For each write of the request.
    pub write: Duration,
    /// For an idle pooled connection; below the upstream's own.
    pub idle: Duration,
}

/// One upstream, as configured.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The hosts that it serves.
    pub hosts: Vec<HostPattern>,
    /// The service that it serves to listeners bound to that service, whatever Host they are asked for.
    pub service: Option<String>,
    /// Whether it is reached by TLS.
    pub tls: bool,
    /// Its name or address; `None` for the host that the caller named.
    pub name: Option<String>,
    /// Its port.
    pub port: u16,
}

/// Addresses of a name, and since when.
type Resolved = (Instant, Vec<SocketAddr>);

/// All upstreams.
#[derive(Debug)]
pub struct Upstreams {
    upstreams: Vec<Upstream>,
    timeouts: Timeouts,
    own: Vec<SocketAddr>,
    resolved: Mutex<HashMap<(String, u16), Resolved>>,
}

/// Loads the CA certificates that upstreams are verified with, as pingora will: it panics where this complains.
///
/// # Errors
/// When they cannot be loaded, or there are none although an upstream is reached by TLS.
pub fn check_roots(ca_file: Option<&Path>, upstreams: &[Upstream]) -> Result<(), String> {
    let mut roots = pingora_rustls::RootCertStore::empty();
    let (loaded, whence) = match ca_file {
        Some(file) => (pingora_rustls::load_ca_file_into_store(file, &mut roots), format!("upstreams.ca_file {}", file.display())),
        None => (pingora_rustls::load_platform_certs_incl_env_into_store(&mut roots), "the system's CA certificates".to_owned()),
    };
    loaded.map_err(|e| format!("{whence}: {e}"))?;
    if roots.is_empty() && upstreams.iter().any(|u| u.tls) {
        return Err(format!("{whence}: there are none, so no https upstream could be verified; install them (ca-certificates) or set upstreams.ca_file"));
    }
    Ok(())
}

/// Why there is no peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No `[[upstream]]` lists the host.
    #[error("no upstream is configured for the host `{0}`")]
    NoUpstream(String),
    /// The name has no address.
    #[error("`{name}` cannot be resolved: {why}")]
    Resolve {
        /// The name.
        name: String,
        /// The system's word.
        why: String,
    },
    /// The name leads back to the gateway.
    #[error("`{name}` resolves to the gateway's own address {address}: give this upstream a fixed address")]
    Loop {
        /// The name.
        name: String,
        /// The address.
        address: SocketAddr,
    },
}

impl Upstreams {
    /// Upstreams with their timeouts; `own` are the gateway's listeners, to which no call may be sent.
    pub fn new(upstreams: Vec<Upstream>, timeouts: Timeouts, own: Vec<SocketAddr>) -> Self {
        Self { upstreams, timeouts, own, resolved: Mutex::default() }
    }

    /// The peer for a host (in lower case, without port), or for the service to which the listener is bound. A name
    /// may have several addresses: `attempt` counts from 0 and says which; true when there is another behind it.
    ///
    /// # Errors
    /// When no upstream serves the host, or its name leads nowhere or back here.
    pub async fn peer(&self, bound_service: Option<&str>, host: &str, attempt: usize) -> Result<(HttpPeer, bool), PeerError> {
        let serves = |u: &Upstream| (bound_service.is_some() && u.service.as_deref() == bound_service) || u.hosts.iter().any(|p| p.matches(host));
        let found = self.upstreams.iter().enumerate().find(|(_, u)| serves(u));
        let (index, upstream) = found.ok_or_else(|| PeerError::NoUpstream(host.to_owned()))?;
        let name = upstream.name.as_deref().unwrap_or(host);
        let addresses = self.resolve(name, upstream.port).await?;
        let unresolved = || PeerError::Resolve { name: name.to_owned(), why: "no address".to_owned() };
        let address = *addresses.get(attempt).ok_or_else(unresolved)?;
        if self.is_own(address) {
            return Err(PeerError::Loop { name: name.to_owned(), address });
        }
        // An empty name would switch verification off; a host pattern never matches one.
        let mut peer = HttpPeer::new(address, upstream.tls, if upstream.tls { name.to_owned() } else { String::new() });
        peer.group_key = index as u64 + 1;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.read);
        options.write_timeout = Some(self.timeouts.write);
        options.idle_timeout = Some(self.timeouts.idle);
        options.alpn = ALPN::H1;
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Ok((peer, attempt + 1 < addresses.len().min(ATTEMPTS_MAX)))
    }

    /// Whether calls sent there would come back here.
    fn is_own(&self, address: SocketAddr) -> bool {
        let everywhere = |own: &SocketAddr| own.ip().is_unspecified() && is_local(address.ip());
        self.own.iter().any(|own| own.port() == address.port() && (own.ip() == address.ip() || everywhere(own)))
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, PeerError> {
        let key = (name.to_owned(), port);
        let cached = self.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((_, addresses)) = cached.filter(|(at, _)| at.elapsed() < RESOLVED_FOR) {
            return Ok(addresses);
        }
        let fail = |why: String| PeerError::Resolve { name: name.to_owned(), why };
        let addresses: Vec<_> = tokio::net::lookup_host((name, port)).await.map_err(|e| fail(e.to_string()))?.collect();
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

/// Whether an address is one of this machine: nobody else's can be bound.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_found_on_each() {
        let timeouts = Timeouts { connect: RESOLVED_FOR, read: RESOLVED_FOR, write: RESOLVED_FOR, idle: RESOLVED_FOR };
        let own = |own: &str, address: &str| Upstreams::new(Vec::new(), timeouts, vec![own.parse().unwrap()]).is_own(address.parse().unwrap());
        assert!(own("127.0.0.1:443", "127.0.0.1:443") && own("0.0.0.0:443", "127.0.0.2:443") && own("[::]:443", "127.0.0.1:443"));
        assert!(!own("127.0.0.1:443", "127.0.0.1:80") && !own("127.0.0.1:443", "127.0.0.2:443") && !own("0.0.0.0:443", "192.0.2.1:443"));
    }
}
