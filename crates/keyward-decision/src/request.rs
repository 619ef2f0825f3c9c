//! A request as the gate sees it: plain data, and a body that is read once. Knows nothing of
//! pingora.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use keyward_core::clock::{AuditId, Timestamp};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The head of a request, as it was received. Nothing in it is decoded or normalised.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The exchange's id, given at arrival.
    pub id: AuditId,
    /// When the head was complete, by the wall clock.
    pub received: Timestamp,
    /// Where the call comes from: the peer of the connection, or whom a listed peer names.
    pub client: SocketAddr,
    /// The listed peer that named the client.
    pub via: Option<SocketAddr>,
    /// What TLS showed of the client.
    pub tls: Option<PeerTls>,
    /// The service to which the listener is bound, if routing is by listener and not by Host.
    pub bound_service: Option<String>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub version: &'static str,
    /// The method, case as sent.
    pub method: Method,
    /// The request target's bytes, as they go upstream. UTF-8 is not assured before the head
    /// check.
    pub target: Bytes,
    /// Host or `:authority`, as sent; empty when missing.
    pub host: String,
    /// The header fields, in the order of the wire per name.
    pub headers: HeaderMap,
    /// The head's bytes as they came, on HTTP/1.
    pub raw: Option<Bytes>,
    /// What the head check found, when the head can be read in two ways.
    pub fault: Option<HeadFault>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address, or the one that a listed peer gives for it.
    pub address: SocketAddr,
    /// The listed peer that gave it.
    pub via: Option<SocketAddr>,
    /// What TLS showed of it; `None` on a connection in clear.
    pub tls: Option<PeerTls>,
}

/// What TLS showed of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// The name that it asked for, in lower case.
    pub server_name: Option<String>,
    /// `TLSv1_3`, …
    pub version: &'static str,
    /// The certificate that it showed, verified.
    pub certificate: Option<PeerCertificate>,
}

/// A client's verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// `sha256:` of its DER bytes.
    pub fingerprint: String,
    /// Its names: `dns:ci.example.com`, `uri:spiffe://example.com/ci`.
    pub names: Vec<String>,
}

/// What counts as one source: whoever has an IPv6 address has a whole network of them.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments.iter_mut().skip(4).for_each(|segment| *segment = 0);
            IpAddr::V6(Ipv6Addr::from(segments))
        }
        address => address,
    }
}

impl RequestHead {
    /// A call over HTTP/1.1 in clear from this host, with nothing peculiar to it: what trials and
    /// policy cases start from.
    pub fn plain(
        method: Method,
        target: impl Into<Bytes>,
        host: impl Into<String>,
        headers: HeaderMap,
    ) -> Self {
        Self {
            id: AuditId(uuid::Uuid::nil()),
            received: Timestamp(0),
            client: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            via: None,
            tls: None,
            bound_service: None,
            version: "HTTP/1.1",
            method,
            target: target.into(),
            host: host.into(),
            headers,
            raw: None,
            fault: None,
        }
    }

    /// The path's raw bytes as text, without the query. Empty if the target is not ASCII.
    pub fn path(&self) -> &str {
        let target = std::str::from_utf8(&self.target).unwrap_or("");
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The raw query, without the question mark. `None` when the target has none.
    pub fn query(&self) -> Option<&str> {
        std::str::from_utf8(&self.target).ok()?.split_once('?').map(|(_, query)| query)
    }

    /// The only value of a header as text. `None` when missing, repeated or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }

    /// The Host without its port, in lower case.
    pub fn host_name(&self) -> String {
        let host = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                name
            }
            _ => &self.host,
        };
        host.to_ascii_lowercase()
    }
}

/// An `Authorization` header of a scheme that clouds take. What stands under another name may be a
/// secret that got there by mistake: nobody's scheme, and never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// `SDK-HMAC-SHA256`, `Bearer`, …
    pub scheme: &'a str,
    /// All behind it.
    pub parameters: &'a str,
}

/// Families of signature schemes (`SDK` of SDK-HMAC-SHA256), and the name under which each gives
/// the access key's id.
const FAMILIES: &[(&str, &str)] =
    &[("SDK", "Access"), ("V11", "Credential"), ("ACS3", "Credential"), ("AWS4", "Credential")];

impl<'a> Authorization<'a> {
    /// Schemes that are no signature.
    pub const SCHEMES: &'static [&'static str] = &["Basic", "Bearer"];

    /// The families of signatures that can be read.
    pub fn families() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().map(|(family, _)| *family)
    }

    /// Reads the header. `None` for a scheme that is not known.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, parameters) = text.split_once(' ')?;
        let one = Self { scheme, parameters };
        let bearer = Self::SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
        let sound = scheme.len() <= 32
            && scheme.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
        (bearer || (sound && one.key_name().is_some())).then_some(one)
    }

    fn key_name(&self) -> Option<&'static str> {
        let (family, _) = self.scheme.split_once('-')?;
        FAMILIES.iter().find(|(known, _)| *known == family).map(|(_, name)| *name)
    }

    /// The parameters of a signature, by name. `None` when one stands twice, is of another name, or
    /// is missing: which of two keys counts is a matter of the reader, and a claim without a
    /// signature claims nothing.
    fn signature(&self) -> Option<BTreeMap<&'a str, &'a str>> {
        let key_name = self.key_name()?;
        let mut found = BTreeMap::new();
        for part in self.parameters.split(',') {
            let (name, value) = part.trim_matches(' ').split_once('=')?;
            if ![key_name, "SignedHeaders", "Signature"].contains(&name)
                || found.insert(name, value).is_some()
            {
                return None;
            }
        }
        (found.contains_key(key_name) && found.contains_key("Signature")).then_some(found)
    }

    /// The access key's id: all of `Access=AK`, or the first part of
    /// `Credential=AK/date/region/service`.
    pub fn key_id(&self) -> Option<&'a str> {
        let key_name = self.key_name()?;
        let value = *self.signature()?.get(key_name)?;
        let id = if key_name == "Credential" { value.split('/').next()? } else { value };
        let sound = (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        sound.then_some(id)
    }

    /// Names of the headers that the signature covers, in its order.
    pub fn signed_headers(&self) -> Vec<&'a str> {
        let names = self.signature().and_then(|found| found.get("SignedHeaders").copied());
        names.map_or_else(Vec::new, |names| names.split(';').map(str::trim).collect())
    }
}

/// A name from the wire, fit to be shown: escaped. A long one is not shown at all: the first part
/// of a secret that was sent as a name would no longer be recognised as one.
pub fn printable(name: &str) -> String {
    match name.chars().count() {
        0..=64 => name.chars().flat_map(char::escape_debug).collect(),
        n => format!("(a name of {n} characters)"),
    }
}

/// A head that two parsers could read differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadFault {
    /// A reason of the head or of the target.
    pub reason: keyward_core::reason::Reason,
    /// What was found and what to do, for the caller.
    pub detail: String,
}

/// Where a request's body comes from.
#[async_trait]
pub trait BodySource: Send {
    /// Says who asks, when that is known of anybody; before anything is read.
    fn attribute_to(&mut self, _caller: Option<&str>) {}

    /// Reads the body to its end, within the source's own deadline.
    ///
    /// # Errors
    /// When the body is longer than `limit_bytes`, comes too slowly or is cut off; nothing more can
    /// be read then.
    async fn read(&mut self, limit_bytes: usize) -> Result<Bytes, BodyFault>;
}

/// Why a body could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Longer than the limit, by its Content-Length or by count.
    TooLarge,
    /// Not whole before the deadline.
    TooSlow,
    /// The client left.
    Cut(String),
    /// Its chunks end in different places for different readers.
    Framing,
    /// There is no room in memory now for it, or for its call.
    NoRoom,
}

#[cfg(test)]
#[expect(missing_docs, reason = "tests")]
pub mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_network_is_one_source() {
        let source = |address: &str| source_of(address.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
    }

    /// A head for tests.
    pub fn head(method: &str, target: &str, headers: &[(&'static str, &str)]) -> RequestHead {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let host = map
            .get("host")
            .and_then(|h| h.to_str().ok())
            .unwrap_or("kms.cn-north-4.myhuaweicloud.com")
            .to_owned();
        RequestHead::plain(method.parse().unwrap(), target.to_owned(), host, map)
    }

    #[test]
    fn the_port_is_no_part_of_the_name() {
        for (host, name) in [
            ("KMS.Example.com:8080", "kms.example.com"),
            ("a", "a"),
            ("a:", "a:"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(head("GET", "/", &[("host", host)]).host_name(), name);
        }
        assert_eq!(head("GET", "/a?b=c?d", &[]).query(), Some("b=c?d"));
    }
}
