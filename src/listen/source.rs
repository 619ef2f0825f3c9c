//! Where a call comes from: the connection's peer, or what a listed peer says in a PROXY header of
//! version 2 or in X-Forwarded-For. What anybody else says of it is a claim, recorded as such and
//! believed nowhere.

use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxyHeader};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes of a PROXY header before its addresses: signature, version and command, family, length.
const HEAD_BYTES: usize = 16;
/// Addresses and extras behind it, at most.
const REST_BYTES_MAX: usize = 4096;

/// Networks whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct Peers(pub Vec<IpNet>);

impl Peers {
    /// Whether an address is one of them.
    pub fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// Reads a PROXY header of version 2 from a peer that must send one. `None` for its own connections
/// (`LOCAL`), such as health checks.
///
/// # Errors
/// When there is none, or it is broken, of version 1, too long, or not about TCP.
pub async fn proxy_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut header = vec![0; HEAD_BYTES];
    stream.read_exact(&mut header).await?;
    let length =
        header.last_chunk::<2>().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    if length > REST_BYTES_MAX {
        return Err(bad("the PROXY header is too long"));
    }
    header.resize(HEAD_BYTES + length, 0);
    stream.read_exact(header.get_mut(HEAD_BYTES..).unwrap_or_default()).await?;
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (parsed, used) =
        ProxyHeader::parse(&header, config).map_err(|_| bad("no PROXY header of version 2"))?;
    if used != header.len() {
        return Err(bad("the PROXY header's length is wrong"));
    }
    match parsed.proxied_address() {
        Some(proxied) if proxied.protocol == proxy_header::Protocol::Stream => {
            Ok(Some(plain(proxied.source)))
        }
        Some(_) => Err(bad("the PROXY header is not about TCP")),
        None => Ok(None),
    }
}

/// The source that listed peers name: the last address of X-Forwarded-For that is not itself a
/// listed peer.
///
/// # Errors
/// When the header of a listed peer holds anything but addresses, or is missing.
pub fn forwarded_for(peers: &Peers, values: &[&str]) -> Result<IpAddr, String> {
    let chain = values.iter().flat_map(|value| value.split(','));
    let chain = chain
        .map(|text| {
            parse_address(text.trim()).ok_or("X-Forwarded-For must hold addresses and nothing else")
        })
        .collect::<Result<Vec<_>, _>>()?;
    let first = chain
        .first()
        .copied()
        .ok_or("X-Forwarded-For is missing, though this peer must send it")?;
    Ok(chain.into_iter().rev().find(|address| !peers.hold(*address)).unwrap_or(first))
}

/// An address, perhaps with a port, as proxies write it.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address: Option<IpAddr> = bare
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    address.map(|address| address.to_canonical())
}

/// The one name of an address: a listener for IPv6 sees IPv4 as `::ffff:192.0.2.7`, which policies,
/// rates and records must not take for somebody else.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(nets: &[&str]) -> Peers {
        Peers(nets.iter().map(|n| n.parse().unwrap()).collect())
    }

    #[test]
    fn the_last_address_that_is_no_peer_counts() {
        let peers = peers(&["10.0.0.0/8", "fd00::/8"]);
        for (values, source) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7, 10.0.0.3"], "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::1]:443, fd00::1"], "2001:db8::1"),
            (&["10.1.1.1, 10.0.0.2"], "10.1.1.1"),
        ] {
            assert_eq!(
                forwarded_for(&peers, values).unwrap(),
                source.parse::<IpAddr>().unwrap(),
                "{values:?}"
            );
        }
        for values in [&[][..], &[""], &["unknown"], &["203.0.113.7,"], &["_hidden, 203.0.113.7"]] {
            assert!(forwarded_for(&peers, values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn peers_are_networks() {
        let peers = peers(&["10.0.0.0/8"]);
        assert!(
            peers.hold("10.9.9.9".parse().unwrap())
                && peers.hold("::ffff:10.1.1.1".parse().unwrap())
        );
        assert!(!peers.hold("11.0.0.1".parse().unwrap()));
    }
}
