//! Receivers of pushes: real TLS, and a mood that a test sets. What they keep, they keep before
//! they confirm.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a receiver treats the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything, keeps it and confirms it.
    Well,
    /// Dies after so many bytes: keeps nothing of the connection, confirms nothing.
    Dies(usize),
    /// Takes everything and keeps it, and never confirms.
    Mute,
    /// Takes everything, keeps nothing, and refuses it: with 500, or by closing without TLS
    /// `close_notify`.
    Refuses,
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// What one connection brought.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The head of the POST; empty for syslog.
    pub head: String,
    /// Its lines: the texts of syslog's messages, or of the body.
    pub lines: Vec<String>,
    /// What stood before each text; empty for a webhook.
    pub heads: Vec<String>,
}

struct Shared {
    mood: Mutex<Mood>,
    kept: Mutex<Vec<Delivery>>,
    connections: Mutex<usize>,
}

/// A receiver. It ends with the process.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// A syslog receiver; its certificate is written to `ca`.
    pub fn syslog(ca: &Path) -> Self {
        Self::start(ca, receive_syslog)
    }

    /// A webhook receiver.
    pub fn webhook(ca: &Path) -> Self {
        Self::start(ca, receive_post)
    }

    fn start(ca: &Path, receive: fn(Stream, &Shared)) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(ca, cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Well),
            kept: Mutex::default(),
            connections: Mutex::new(0),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *own.connections.lock().unwrap() += 1;
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let (shared, config) = (Arc::clone(&own), Arc::clone(&config));
                std::thread::spawn(move || {
                    receive(
                        StreamOwned::new(ServerConnection::new(config).unwrap(), stream),
                        &shared,
                    )
                });
            }
        });
        Self { address, shared }
    }

    pub fn mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.kept.lock().unwrap().clone()
    }

    /// All lines, in the order in which they came.
    pub fn lines(&self) -> Vec<String> {
        self.deliveries().into_iter().flat_map(|delivery| delivery.lines).collect()
    }

    /// Each line once, where it came first.
    pub fn distinct(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        self.lines().into_iter().filter(|line| seen.insert(line.clone())).collect()
    }
}

/// Ends a connection as a process that is killed does: no word in TLS.
fn die(stream: Stream) {
    let (_, socket) = stream.into_parts();
    drop(socket);
}

fn receive_syslog(mut stream: Stream, shared: &Shared) {
    let mood = *shared.mood.lock().unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Cut off: nothing of it counts.
            Err(_) => return,
        }
        if matches!(mood, Mood::Dies(after) if bytes.len() >= after) {
            return die(stream);
        }
    }
    match mood {
        Mood::Refuses | Mood::Dies(_) => return die(stream),
        Mood::Well | Mood::Mute => shared.kept.lock().unwrap().push(messages(&bytes)),
    }
    if mood == Mood::Mute {
        std::thread::sleep(Duration::from_secs(120));
    }
    stream.conn.send_close_notify();
    stream.flush().ok();
}

/// Octet counting, as in RFC 5425.
fn messages(mut bytes: &[u8]) -> Delivery {
    let mut delivery = Delivery::default();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let message = std::str::from_utf8(&bytes[space + 1..space + 1 + length]).unwrap();
        let (head, text) = message.split_once("] ").unwrap();
        delivery.heads.push(head.to_owned());
        delivery.lines.push(text.to_owned());
        bytes = &bytes[space + 1 + length..];
    }
    delivery
}

fn receive_post(mut stream: Stream, shared: &Shared) {
    let mood = *shared.mood.lock().unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let whole = |bytes: &[u8]| {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).unwrap().to_owned();
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")
                .map(|n| n.parse::<usize>().unwrap())
        })?;
        (bytes.len() >= end + length)
            .then(|| (head, String::from_utf8(bytes[end..end + length].to_vec()).unwrap()))
    };
    let (head, body) = loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
        }
        if matches!(mood, Mood::Dies(after) if bytes.len() >= after) {
            return die(stream);
        }
        if let Some(whole) = whole(&bytes) {
            break whole;
        }
    };
    let keep = || {
        shared.kept.lock().unwrap().push(Delivery {
            head,
            lines: body.lines().map(str::to_owned).collect(),
            heads: Vec::new(),
        })
    };
    let answer = match mood {
        Mood::Dies(_) => return die(stream),
        Mood::Well => {
            keep();
            "HTTP/1.1 204 No Content\r\n\r\n"
        }
        Mood::Mute => {
            keep();
            return std::thread::sleep(Duration::from_secs(120));
        }
        Mood::Refuses => "HTTP/1.1 500 Oops\r\nContent-Length: 11\r\n\r\nthe-token-x",
    };
    stream.write_all(answer.as_bytes()).ok();
    stream.conn.send_close_notify();
    stream.flush().ok();
}
