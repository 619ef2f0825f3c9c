//! A scripted upstream: raw TCP, so that it can misbehave byte by byte, and every byte that reaches
//! it is kept.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One step of an answer.
#[derive(Clone)]
pub enum Act {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Does nothing for a while.
    Wait(Duration),
    /// Does nothing until the latch is open.
    Until(Latch),
    /// Says nothing until the other side leaves.
    Hang,
    /// Closes the connection in order.
    Close,
}

/// A door that a test opens once.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, super::PATIENCE, |open| !*open).unwrap());
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    /// The head, byte for byte, with its empty line.
    pub head: String,
    /// The body as framed by Content-Length.
    pub body: Vec<u8>,
}

impl Arrived {
    /// `PUT /v1/blobs/x?y=z HTTP/1.1`
    pub fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap()
    }

    /// Every value of a header, as written.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1);
        lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim_matches(' '))
            .collect()
    }
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<Arrived>,
    /// Bytes that were no whole request when the connection ended.
    remains: Vec<Vec<u8>>,
}

/// A running upstream. It ends with the process; nobody waits for it.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Upstream {
    /// An upstream that answers each request by a script of its own.
    pub fn new(script: impl Fn(&Arrived) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (script, shared) = (Arc::new(script), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&shared));
                let connection = {
                    let mut seen = seen.lock().unwrap();
                    seen.connections += 1;
                    seen.connections - 1
                };
                std::thread::spawn(move || serve(stream, connection, &*script, &seen));
            }
        });
        Self { address, seen }
    }

    /// An upstream that answers every request with the same steps.
    pub fn always(acts: &[Act]) -> Self {
        let acts = acts.to_vec();
        Self::new(move |_| acts.clone())
    }

    /// An upstream that says `{"ok":true}` to everything.
    pub fn ok() -> Self {
        Self::always(&[ok()])
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub fn requests(&self) -> Vec<Arrived> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Bytes that were no whole request when their connection ended.
    pub fn remains(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().remains.clone()
    }

    /// The only request that ever arrived; nothing else may have.
    #[track_caller]
    pub fn only(&self) -> Arrived {
        let seen = self.seen.lock().unwrap();
        assert_eq!(
            (seen.requests.len(), seen.remains.len()),
            (1, 0),
            "{:?} {:?}",
            seen.requests,
            seen.remains
        );
        seen.requests[0].clone()
    }

    /// Nothing ever arrived: not even a connection.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.connections, 0, "{:?}", seen.requests);
    }
}

/// `{"ok":true}` with 200.
pub fn ok() -> Act {
    answer(200, br#"{"ok":true}"#)
}

/// An answer with Content-Length.
pub fn answer(status: u16, body: &[u8]) -> Act {
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Act::Send([head.as_bytes(), body].concat())
}

/// Bytes as they are.
pub fn raw(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: &dyn Fn(&Arrived) -> Vec<Act>,
    seen: &Mutex<Seen>,
) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection) {
        let acts = script(&request);
        seen.lock().unwrap().requests.push(request);
        if !acts.into_iter().all(|act| perform(act, &mut stream)) {
            break;
        }
    }
    if !buffer.is_empty() {
        seen.lock().unwrap().remains.push(buffer);
    }
}

/// False when the connection is over.
fn perform(act: Act, stream: &mut TcpStream) -> bool {
    match act {
        Act::Send(bytes) => return stream.write_all(&bytes).is_ok(),
        Act::Wait(time) => std::thread::sleep(time),
        Act::Until(latch) => latch.wait(),
        Act::Hang => {
            while matches!(stream.read(&mut [0; 1024]), Ok(n) if n > 0) {}
            return false;
        }
        Act::Close => return false,
    }
    true
}

/// The next request of a connection. Reads bodies by Content-Length alone: anything else would be
/// seen as remains.
fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Arrived> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer)?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
    let mut arrived = Arrived { connection, head, body: Vec::new() };
    let length = arrived.headers("content-length").first().map_or(0, |n| n.parse().unwrap());
    while buffer.len() < end + length {
        more(stream, buffer)?;
    }
    arrived.body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some(arrived)
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return None,
            Ok(n) => {
                buffer.extend_from_slice(&piece[..n]);
                return Some(());
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
