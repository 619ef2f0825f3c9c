//! A client that writes the bytes it is told to write, and tells a whole answer from a cut one.

use super::{PATIENCE, TOKEN};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// The Host of the test service.
pub const HOST: &str = "blobs.example.com";

/// A request, made of what a test wants to say of it.
#[derive(Clone)]
pub struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunk: Option<usize>,
}

impl Request {
    /// A request of a known caller to the test service.
    pub fn new(method: &str, target: &str) -> Self {
        let request = Self {
            line: format!("{method} {target} HTTP/1.1"),
            headers: Vec::new(),
            body: Vec::new(),
            chunk: None,
        };
        request.header("Host", HOST).header("X-Auth-Token", TOKEN)
    }

    /// Adds a header, or replaces the one of this very name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a header out.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self
    }

    /// A JSON body with Content-Length.
    pub fn json(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Type", "application/json").header("Content-Length", &length)
    }

    /// The same body in chunks of so many bytes.
    pub fn chunked(mut self, bytes: usize) -> Self {
        self.headers.retain(|(n, _)| n != "Content-Length");
        self.chunk = Some(bytes);
        self.header("Transfer-Encoding", "chunked")
    }

    /// The head alone.
    pub fn head(&self) -> Vec<u8> {
        let lines: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{lines}\r\n", self.line).into_bytes()
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        match self.chunk {
            None => bytes.extend_from_slice(&self.body),
            Some(size) => {
                for chunk in self.body.chunks(size) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
        }
        bytes
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Statuses of interim answers.
    pub interim: Vec<u16>,
    /// The status; 0 when the connection ended before one came.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Its end was seen, by its own framing.
    pub whole: bool,
}

impl Answer {
    /// The first value of a header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    /// The id of its record.
    pub fn id(&self) -> &str {
        self.header("x-keyward-audit-id")
    }

    /// The gateway's own code, without its prefix; empty when the gateway did not answer itself.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        keyward::answer::said(&body).0.unwrap_or_default().to_owned()
    }

    /// What the gateway says of it; empty when the gateway did not answer itself.
    pub fn message(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        keyward::answer::said(&body).1.to_owned()
    }

    /// Status and the gateway's own code.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self::try_new(address).unwrap()
    }

    pub fn try_new(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The answer at the beginning of these bytes, as far as it goes.
    pub fn parse(bytes: &[u8]) -> Answer {
        let mut answer = Answer::default();
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return answer };
        let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        answer.status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        answer.headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
            .collect();
        answer.body = bytes[end + 4..].to_vec();
        answer.whole = answer.header("content-length").parse() == Ok(answer.body.len());
        answer
    }

    /// Sends bytes. The other side may have closed already: what it said is then read all the same.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).ok();
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, request: &Request) -> Answer {
        self.send(&request.bytes());
        self.answer()
    }

    /// The next answer, as far as it comes.
    pub fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let Some((status, headers)) = self.head() else { return answer };
            if status < 200 {
                answer.interim.push(status);
                continue;
            }
            (answer.status, answer.headers) = (status, headers);
            break;
        }
        if answer.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            answer.whole = self.chunks(&mut answer.body);
        } else if answer.header("content-length").is_empty() {
            answer.whole = [204, 304].contains(&answer.status);
        } else {
            let length = answer.header("content-length").parse().unwrap();
            answer.whole = self.take(length, &mut answer.body);
        }
        answer
    }

    /// The answer to a HEAD request has no body, whatever its head says.
    pub fn answer_without_body(&mut self) -> Answer {
        let (status, headers) = self.head().unwrap_or_default();
        Answer { status, headers, whole: status != 0, ..Answer::default() }
    }

    /// Exactly so many bytes, for tests that look at an answer under way.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.take(count, &mut bytes);
        bytes
    }

    /// Reads a head and nothing behind it.
    pub fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let text = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
            .collect();
        Some((status, headers))
    }

    /// Nothing more comes, and the connection is closed.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.more().is_none()
    }

    /// Nothing comes for a while, and the connection stays open.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut piece = [0; 1024];
        let silent = match self.stream.read(&mut piece) {
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                false
            }
            Err(e) => {
                matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent && self.buffer.is_empty()
    }

    /// Says that nothing more will be sent, and stays to listen. The other side may have closed
    /// already, at once for a TLS hello.
    pub fn half_close(&self) {
        match self.stream.shutdown(Shutdown::Write) {
            Err(e) if e.kind() == std::io::ErrorKind::NotConnected => {}
            done => done.unwrap(),
        }
    }

    /// Leaves at once: the other side gets a reset.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.line() else { return false };
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                return self.line().is_some();
            }
            if !self.take(size, body) || self.line().is_none() {
                return false;
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                return Some(String::from_utf8(self.buffer.drain(..at + 2).collect()).unwrap());
            }
            self.more()?;
        }
    }

    /// False when the connection ends before.
    fn take(&mut self, count: usize, into: &mut Vec<u8>) -> bool {
        while self.buffer.len() < count {
            if self.more().is_none() {
                into.append(&mut self.buffer);
                return false;
            }
        }
        into.extend(self.buffer.drain(..count));
        true
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Some(())
            }
        }
    }
}
