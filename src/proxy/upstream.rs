//! Upstreams: which cloud a host means, where it is, and how it is reached. TLS is verified,
//! always.

use super::roots::Roots;
use keyward_decision::catalog::route::HostPattern;
use keyward_delivery::resolve::resolve;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long a resolved name is used.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// How often an address that was silent is tried again, beside the calls.
const TRIED_AGAIN: Duration = Duration::from_secs(30);

/// Silent addresses that are kept, at most.
const SILENT_MAX: usize = 1024;

/// Addresses of one name that are tried for one call.
pub const ATTEMPTS_MAX: usize = 4;

/// Timeouts towards upstreams; pingora's own default for each is none.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of the answer, and for each read of its body.
    pub read: Duration,
    /// For each write of the request.
    pub write: Duration,
    /// For an idle pooled connection; below the upstream's own.
    pub idle: Duration,
    /// Bytes of its body in a second, at least, beyond the time for its first read. 0 is no bound.
    pub pace: u64,
}

/// One upstream, as configured.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The hosts that it serves.
    pub hosts: Vec<HostPattern>,
    /// The service that it serves to listeners bound to that service, whatever Host they are asked
    /// for.
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
    roots: Roots,
    resolved: Mutex<HashMap<(String, u16), Resolved>>,
    silent: Arc<Silent>,
    /// How long the upstreams keep idle connections, where they have said so: milliseconds each.
    announced: Vec<AtomicU64>,
}

/// Where one call may go.
#[derive(Debug)]
pub struct Route {
    /// In the order in which they are tried.
    addresses: Vec<SocketAddr>,
    name: String,
    tls: bool,
    index: usize,
}

/// Addresses to which no connection could be made, each with the time at which that was tried last.
/// They are tried behind the others of their name until one succeeds, which no call has to wait
/// for.
#[derive(Debug, Default)]
struct Silent(Mutex<HashMap<SocketAddr, Instant>>);

impl Silent {
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those behind the others, and which of them are to be tried again beside the calls.
    fn order(&self, addresses: &mut [SocketAddr]) -> Vec<SocketAddr> {
        let mut silent = self.lock();
        if silent.is_empty() {
            return Vec::new();
        }
        addresses.sort_by_key(|address| silent.contains_key(address));
        let mut due = Vec::new();
        for address in addresses {
            if let Some(tried) =
                silent.get_mut(address).filter(|tried| tried.elapsed() >= TRIED_AGAIN)
            {
                *tried = Instant::now();
                due.push(*address);
            }
        }
        due
    }
}

/// Loads the CA certificates that upstreams are verified with, as pingora will: it panics where
/// this complains.
///
/// # Errors
/// When they cannot be loaded, or there are none although an upstream is reached by TLS.
pub fn check_roots(ca_file: Option<&Path>, upstreams: &[Upstream]) -> Result<(), String> {
    let mut roots = pingora_rustls::RootCertStore::empty();
    let (loaded, whence) = match ca_file {
        Some(file) => (
            pingora_rustls::load_ca_file_into_store(file, &mut roots),
            format!("upstreams.ca_file {}", file.display()),
        ),
        None => (
            pingora_rustls::load_platform_certs_incl_env_into_store(&mut roots),
            "the system's CA certificates".to_owned(),
        ),
    };
    loaded.map_err(|e| format!("{whence}: {e}"))?;
    if roots.is_empty() && upstreams.iter().any(|u| u.tls) {
        return Err(format!(
            "{whence}: there are none, so no https upstream could be verified; install them (ca-certificates) or set upstreams.ca_file"
        ));
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
    #[error(
        "`{name}` resolves to the gateway's own address {address}: give this upstream a fixed address"
    )]
    Loop {
        /// The name.
        name: String,
        /// The address.
        address: SocketAddr,
    },
}

impl Upstreams {
    /// Upstreams with their timeouts; `own` are the gateway's listeners, to which no call may be
    /// sent.
    pub fn new(
        upstreams: Vec<Upstream>,
        timeouts: Timeouts,
        own: Vec<SocketAddr>,
        ca_file: Option<&Path>,
    ) -> Self {
        let announced = upstreams.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
        Self {
            upstreams,
            timeouts,
            own,
            roots: Roots::new(ca_file),
            resolved: Mutex::default(),
            silent: Arc::default(),
            announced,
        }
    }

    /// By which certificates they are verified.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The way for a host (in lower case, without port), or for the service to which the listener
    /// is bound.
    ///
    /// # Errors
    /// When no upstream serves the host, or its name has no address.
    pub async fn route(&self, bound_service: Option<&str>, host: &str) -> Result<Route, PeerError> {
        let serves = |u: &Upstream| {
            (bound_service.is_some() && u.service.as_deref() == bound_service)
                || u.hosts.iter().any(|p| p.matches(host))
        };
        let found = self.upstreams.iter().enumerate().find(|(_, u)| serves(u));
        let (index, upstream) = found.ok_or_else(|| PeerError::NoUpstream(host.to_owned()))?;
        let name = upstream.name.as_deref().unwrap_or(host).to_owned();
        let mut addresses = self.resolve(&name, upstream.port).await?;
        for address in self.silent.order(&mut addresses) {
            let (silent, patience) = (Arc::clone(&self.silent), self.timeouts.connect);
            tokio::spawn(async move {
                if matches!(
                    tokio::time::timeout(patience, TcpStream::connect(address)).await,
                    Ok(Ok(_))
                ) {
                    silent.lock().remove(&address);
                }
            });
        }
        addresses.truncate(ATTEMPTS_MAX);
        Ok(Route { addresses, name, tls: upstream.tls, index })
    }

    /// The peer for one attempt, counted from 0; true when there is another address behind it.
    ///
    /// # Errors
    /// When the address is the gateway's own, or there is none.
    pub fn peer(&self, route: &Route, attempt: usize) -> Result<(HttpPeer, bool), PeerError> {
        let Route { addresses, name, tls, index } = route;
        let unresolved = || PeerError::Resolve { name: name.clone(), why: "no address".to_owned() };
        let address = *addresses.get(attempt).ok_or_else(unresolved)?;
        if self.is_own(address) {
            return Err(PeerError::Loop { name: name.clone(), address });
        }
        // An empty name would switch verification off; a host pattern never matches one.
        let mut peer =
            HttpPeer::new(address, *tls, if *tls { name.clone() } else { String::new() });
        let (generation, roots) = self.roots.current();
        // A connection that was verified by other certificates is not used again.
        peer.group_key = (generation << 32) | (*index as u64 + 1);
        let options = &mut peer.options;
        options.ca = roots;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.read);
        options.write_timeout = Some(self.timeouts.write);
        let announced =
            self.announced.get(*index).map_or(u64::MAX, |millis| millis.load(Ordering::Relaxed));
        // Before the cloud does: a call that is on its way when it closes would be lost, and may
        // not be sent again.
        options.idle_timeout =
            Some(self.timeouts.idle.min(Duration::from_millis(announced / 4 * 3)));
        options.alpn = ALPN::H1;
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Ok((peer, attempt + 1 < addresses.len()))
    }

    /// Takes note of `Keep-Alive: timeout=SECONDS`, by which an upstream says how long it keeps
    /// idle connections.
    pub fn keeps(&self, route: &Route, keep_alive: &str) {
        let seconds = keep_alive
            .split(',')
            .find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse::<u64>().ok());
        if let Some((seconds, announced)) = seconds.zip(self.announced.get(route.index)) {
            announced.store(seconds.saturating_mul(1000), Ordering::Relaxed);
        }
    }

    /// No connection could be made to it.
    pub fn is_silent(&self, peer: &HttpPeer) {
        if let Some(address) = peer._address.as_inet() {
            let mut silent = self.silent.lock();
            if silent.len() >= SILENT_MAX {
                // Names have changed their addresses for long: what matters is learned again.
                silent.clear();
            }
            silent.insert(*address, Instant::now());
        }
    }

    /// A connection was made to it.
    pub fn answers(&self, peer: &HttpPeer) {
        if let Some(address) = peer._address.as_inet() {
            self.silent.lock().remove(address);
        }
    }

    /// How long all of them may take.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Whether calls sent there would come back here.
    fn is_own(&self, address: SocketAddr) -> bool {
        let everywhere = |own: &SocketAddr| own.ip().is_unspecified() && is_local(address.ip());
        self.own.iter().any(|own| {
            own.port() == address.port() && (own.ip() == address.ip() || everywhere(own))
        })
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, PeerError> {
        let key = (name.to_owned(), port);
        let cached =
            self.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((_, addresses)) = cached.filter(|(at, _)| at.elapsed() < RESOLVED_FOR) {
            return Ok(addresses);
        }
        let fail = |why: String| PeerError::Resolve { name: name.to_owned(), why };
        let addresses = resolve(name, port).await.map_err(|e| fail(e.to_string()))?;
        self.resolved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, (Instant::now(), addresses.clone()));
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

    #[tokio::test]
    async fn what_one_call_has_learned_of_addresses_helps_the_next() {
        let port = 1;
        let address = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
        let upstream = |name: &str| Upstream {
            hosts: vec![HostPattern::parse(name).unwrap()],
            service: None,
            tls: false,
            name: Some(name.to_owned()),
            port,
        };
        let timeouts = Timeouts {
            connect: RESOLVED_FOR,
            read: RESOLVED_FOR,
            write: RESOLVED_FOR,
            idle: RESOLVED_FOR,
            pace: 0,
        };
        let upstreams = Upstreams::new(
            vec![upstream("a.test"), upstream("b.test")],
            timeouts,
            Vec::new(),
            None,
        );
        let (dead, good) = (address("::1"), address("127.0.0.9"));
        for name in ["a.test", "b.test"] {
            upstreams
                .resolved
                .lock()
                .unwrap()
                .insert((name.to_owned(), port), (Instant::now(), vec![dead, good]));
        }
        let first = upstreams.route(None, "a.test").await.unwrap();
        let (peer, more) = upstreams.peer(&first, 0).unwrap();
        assert!(more && peer._address.as_inet() == Some(&dead));
        upstreams.is_silent(&peer);
        // The call goes on in its own order, the next ones begin with what works; of the other name
        // too.
        assert_eq!(upstreams.peer(&first, 1).unwrap().0._address.as_inet(), Some(&good));
        for name in ["a.test", "b.test"] {
            assert_eq!(upstreams.route(None, name).await.unwrap().addresses, [good, dead]);
        }
        upstreams.answers(&peer);
        assert_eq!(upstreams.route(None, "b.test").await.unwrap().addresses, [dead, good]);
        for (said, idle) in [
            ("timeout=4, max=100", 3),
            ("max=5", 3),
            ("timeout=soon", 3),
            ("timeout=3600", RESOLVED_FOR.as_secs()),
        ] {
            upstreams.keeps(&first, said);
            assert_eq!(
                upstreams.peer(&first, 0).unwrap().0.options.idle_timeout,
                Some(Duration::from_secs(idle)),
                "{said}"
            );
        }
    }

    #[test]
    fn silent_addresses_are_tried_last_and_again_beside_the_calls() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (dead, other, last) =
            (address("[::1]:1"), address("127.0.0.1:1"), address("127.0.0.2:1"));
        let silent = Silent::default();
        let mut addresses = [dead, other, last];
        assert!(silent.order(&mut addresses).is_empty() && addresses == [dead, other, last]);
        silent.lock().insert(dead, Instant::now());
        assert!(silent.order(&mut addresses).is_empty() && addresses == [other, last, dead]);
        let Some(long_ago) = Instant::now().checked_sub(TRIED_AGAIN) else { return };
        silent.lock().insert(dead, long_ago);
        assert_eq!(silent.order(&mut addresses), [dead]);
        assert!(silent.order(&mut addresses).is_empty(), "one try at a time");
    }

    #[test]
    fn a_listener_on_all_addresses_is_found_on_each() {
        let timeouts = Timeouts {
            connect: RESOLVED_FOR,
            read: RESOLVED_FOR,
            write: RESOLVED_FOR,
            idle: RESOLVED_FOR,
            pace: 0,
        };
        let own = |own: &str, address: &str| {
            Upstreams::new(Vec::new(), timeouts, vec![own.parse().unwrap()], None)
                .is_own(address.parse().unwrap())
        };
        assert!(
            own("127.0.0.1:443", "127.0.0.1:443")
                && own("0.0.0.0:443", "127.0.0.2:443")
                && own("[::]:443", "127.0.0.1:443")
        );
        assert!(
            !own("127.0.0.1:443", "127.0.0.1:80")
                && !own("127.0.0.1:443", "127.0.0.2:443")
                && !own("0.0.0.0:443", "192.0.2.1:443")
        );
    }
}
