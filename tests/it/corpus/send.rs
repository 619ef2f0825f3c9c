//! Sending a case: over which socket, and what came back.

use super::case::{Case, Described, Frames, Framing, Protocol, Request};
use super::h2;
use crate::support::site::free_address;
use crate::support::tls::{Authority, client_config, dial};
use crate::support::{Answer, Client, PATIENCE, Site};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

/// A name of the gateway's own.
const OWN_NAME: &str = "gateway.test";
/// The clouds' names that the gateway has a certificate for.
const NAMES: &[&str] = &[
    "codeup.example.com",
    "cph.cn-north-4.myhuaweicloud.com",
    "devops.cn-hangzhou.aliyuncs.com",
    "ecs.cn-north-4.myhuaweicloud.com",
    "ims.cn-north-4.myhuaweicloud.com",
    "kms.cn-north-4.myhuaweicloud.com",
    "kms.la-south-2.myhuaweicloud.com",
    "openapi-rdc.aliyuncs.com",
];

/// Where the gateway can be reached, and how.
pub struct Doors {
    plain: SocketAddr,
    tls: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Doors {
    /// Gives a site's gateway a second listener, which speaks TLS.
    pub fn new(site: &Site) -> Self {
        let authority = Authority::new();
        authority.write(site, "clouds", &[NAMES, &[OWN_NAME]].concat());
        let tls = free_address();
        let listener = format!(
            "[[listener]]\naddress = \"{tls}\"\n[listener.tls]\ncertificates = [{{ chain = \"clouds.pem\", key = \"clouds.key\" }}]\n[admin]"
        );
        site.rewrite("[admin]", &listener);
        let [http1, http2] = [b"http/1.1".as_slice(), b"h2"]
            .map(|protocol| client_config(&authority, None, &[protocol]));
        Self { plain: site.address, tls, http1, http2 }
    }

    /// The answer to a case. It is not whole when it is cut, or when something follows it.
    pub fn send(&self, case: &Case, protocol: Protocol) -> Answer {
        let name = case.sni.as_deref().unwrap_or_else(|| name_of(&case.request));
        match (protocol, &case.request) {
            (Protocol::H1, request) => over_plain(self.plain, &bytes(request)),
            (Protocol::H1Tls, request) => {
                over_tls(dial(self.tls, &self.http1, name).unwrap(), &bytes(request))
            }
            (Protocol::H2, Request::Frames(frames)) => {
                h2::exchange(dial(self.tls, &self.http2, name).unwrap(), frames)
            }
            (Protocol::H2, Request::Described(request)) => {
                h2::exchange(dial(self.tls, &self.http2, name).unwrap(), &frames(request))
            }
            (Protocol::H2, Request::Raw(_)) => panic!("{}: the loader refuses that", case.name),
        }
    }
}

/// The name by which a client of this request reaches the gateway.
fn name_of(request: &Request) -> &str {
    match request {
        Request::Described(request) => {
            NAMES.iter().find(|name| **name == request.host).unwrap_or(&OWN_NAME)
        }
        _ => OWN_NAME,
    }
}

fn bytes(request: &Request) -> Vec<u8> {
    match request {
        Request::Raw(bytes) => bytes.clone(),
        Request::Described(request) => request.bytes(),
        Request::Frames(_) => panic!("the loader refuses that"),
    }
}

fn frames(request: &Described) -> Frames {
    let body = (!request.body.is_empty() || request.framing == Framing::Chunked)
        .then(|| request.body.clone());
    Frames { headers: request.block(), body, trailers: Vec::new(), pieces: false }
}

fn over_plain(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The gateway may end the connection before all is sent: what it said is read all the same.
    stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).ok();
    answer(&mut stream, bytes)
}

fn over_tls(mut stream: StreamOwned<ClientConnection, TcpStream>, bytes: &[u8]) -> Answer {
    stream.write_all(bytes).ok();
    stream.conn.send_close_notify();
    stream.flush().ok();
    answer(&mut stream, bytes)
}

/// The final answer, read to the connection's end.
fn answer(stream: &mut impl Read, request: &[u8]) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    let mut answer = Client::parse(&bytes);
    while (100..200).contains(&answer.status) {
        answer = Client::parse(&answer.body);
    }
    if request.starts_with(b"HEAD ") {
        answer.whole = answer.body.is_empty();
    }
    answer
}
