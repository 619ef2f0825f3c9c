//! One request over HTTP/2, frame by frame: a client library would refuse to send what is odd here.
//!
//! As much of RFC 9113 and of HPACK as that takes. Header blocks are literals without an index; of
//! an answer's block only the status, and names and values of letters, digits and `-`, are read.

use super::case::Frames;
use crate::support::Answer;
use std::io::{Read, Write};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The largest payload that every peer takes, and what it takes of a stream before it says more.
const FRAME_BYTES_MAX: usize = 16_384;
const WINDOW: i64 = 65_535;

/// Sends one stream and reads its answer; the default answer when the stream or the connection ends
/// without one.
pub fn exchange(stream: impl Read + Write, request: &Frames) -> Answer {
    let unsent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut connection = Connection {
        stream,
        unsent,
        windows: [WINDOW; 2],
        ended: false,
        block: Vec::new(),
        answer: Answer::default(),
    };
    connection.frame(SETTINGS, 0, 0, &[]);
    let bodiless = request.body.is_none() && request.trailers.is_empty();
    connection.send_block(&request.headers, bodiless, request.pieces);
    if let Some(body) = &request.body {
        connection.body(body, request.trailers.is_empty(), request.pieces);
    }
    if !request.trailers.is_empty() {
        connection.send_block(&request.trailers, true, false);
    }
    while !connection.ended {
        connection.read_frame();
    }
    connection.answer
}

struct Connection<S> {
    stream: S,
    /// Frames go out together, so that the other side sees all of them before it answers the
    /// first.
    unsent: Vec<u8>,
    /// What may still be sent, on the connection and on the stream.
    windows: [i64; 2],
    ended: bool,
    /// The header block that is being read.
    block: Vec<u8>,
    answer: Answer,
}

impl<S: Read + Write> Connection<S> {
    fn frame(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.unsent
            .extend_from_slice(&[&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat());
    }

    fn send_block(&mut self, block: &[(Vec<u8>, Vec<u8>)], end_stream: bool, pieces: bool) {
        let mut bytes = Vec::new();
        for (name, value) in block {
            bytes.push(0);
            for text in [name, value] {
                length(text.len(), &mut bytes);
                bytes.extend_from_slice(text);
            }
        }
        let parts: Vec<&[u8]> = bytes.chunks(if pieces { 64 } else { FRAME_BYTES_MAX }).collect();
        for (n, part) in parts.iter().enumerate() {
            let last = if n + 1 == parts.len() { END_HEADERS } else { 0 };
            let end = if n == 0 && end_stream { END_STREAM } else { 0 };
            self.frame(if n == 0 { HEADERS } else { CONTINUATION }, last | end, 1, part);
        }
    }

    fn body(&mut self, body: &[u8], end_stream: bool, pieces: bool) {
        let mut parts = body.chunks(if pieces { 5 } else { FRAME_BYTES_MAX }).peekable();
        if parts.peek().is_none() {
            self.frame(DATA, if end_stream { END_STREAM } else { 0 }, 1, &[]);
        }
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() && end_stream { END_STREAM } else { 0 };
            let payload = if pieces { [&[3], part, &[0; 3]].concat() } else { part.to_vec() };
            let cost = i64::try_from(payload.len()).unwrap();
            while !self.ended && self.windows.iter().any(|window| *window < cost) {
                self.read_frame();
            }
            self.windows = self.windows.map(|window| window - cost);
            self.frame(DATA, end | if pieces { PADDED } else { 0 }, 1, &payload);
        }
    }

    fn read_frame(&mut self) {
        // The other side may have ended it: what it said is read all the same.
        self.stream
            .write_all(&std::mem::take(&mut self.unsent))
            .and_then(|()| self.stream.flush())
            .ok();
        let mut head = [0; 9];
        let length = |head: [u8; 9]| {
            usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
        };
        let mut payload = Vec::new();
        let read = self.stream.read_exact(&mut head).and_then(|()| {
            payload.resize(length(head), 0);
            self.stream.read_exact(&mut payload)
        });
        let Ok(()) = read else {
            self.ended = true;
            return;
        };
        let (kind, flags) = (head[3], head[4]);
        match kind {
            SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
            WINDOW_UPDATE => {
                self.windows[usize::from(head[8] != 0)] +=
                    i64::from(u32::from_be_bytes(payload[..4].try_into().unwrap()))
            }
            RST_STREAM | GOAWAY => self.ended = true,
            DATA => self.answer.body.extend_from_slice(&payload),
            HEADERS | CONTINUATION => {
                self.block.extend_from_slice(&payload);
                if flags & END_HEADERS != 0 {
                    let block = std::mem::take(&mut self.block);
                    self.take_block(&block);
                }
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            (self.answer.whole, self.ended) = (true, true);
        }
    }

    fn take_block(&mut self, block: &[u8]) {
        let mut status = 0;
        let mut headers = Vec::new();
        let mut reader = Reader { bytes: block, at: 0 };
        while reader.at < block.len() {
            let (name, value) = reader.field();
            match name.as_str() {
                ":status" => status = value.parse().unwrap(),
                _ => headers.push((name, value)),
            }
        }
        if (100..200).contains(&status) {
            self.answer.interim.push(status);
        } else if status != 0 {
            (self.answer.status, self.answer.headers) = (status, headers);
        }
    }
}

/// A length with a prefix of seven bits.
fn length(mut length: usize, into: &mut Vec<u8>) {
    if length < 127 {
        into.push(u8::try_from(length).unwrap());
        return;
    }
    into.push(127);
    length -= 127;
    while length >= 128 {
        into.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    into.push(u8::try_from(length).unwrap());
}

/// Reads a header block.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// One field. Nameless when it is one that nobody here asks for.
    fn field(&mut self) -> (String, String) {
        let first = self.bytes[self.at];
        // The static table has seven statuses, in these places.
        let statuses = ["200", "204", "206", "304", "400", "404", "500"];
        if first & 0x80 != 0 {
            let status = self.integer(7).checked_sub(8).and_then(|n| statuses.get(n));
            return status.map_or_else(Default::default, |status| {
                (":status".to_owned(), (*status).to_owned())
            });
        }
        if first & 0xe0 == 0x20 {
            self.integer(5);
            return Default::default();
        }
        let name = match self.integer(if first & 0x40 != 0 { 6 } else { 4 }) {
            0 => self.string(),
            8..=14 => ":status".to_owned(),
            _ => String::new(),
        };
        (name, self.string())
    }

    fn integer(&mut self, prefix: u32) -> usize {
        let most = (1 << prefix) - 1;
        let mut value = usize::from(self.bytes[self.at]) & most;
        self.at += 1;
        if value == most {
            for shift in (0..).step_by(7) {
                let byte = usize::from(self.bytes[self.at]);
                self.at += 1;
                value += (byte & 127) << shift;
                if byte & 128 == 0 {
                    break;
                }
            }
        }
        value
    }

    /// Empty when it holds other characters than those that are looked for.
    fn string(&mut self) -> String {
        let packed = self.bytes[self.at] & 0x80 != 0;
        let length = self.integer(7);
        let bytes = &self.bytes[self.at..self.at + length];
        self.at += length;
        if packed {
            unpack(bytes).unwrap_or_default()
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

/// The codes of RFC 7541, appendix B, for digits, small letters and `-`: those of five bits count
/// up from 0, those of six from 20 and those of seven from 92. A dot stands for another character.
const CODES: [(u32, u32, &str); 3] = [
    (5, 0, "012aceiost"),
    (6, 20, "..-..3456789...bdfghlmnpru"),
    (7, 92, "........................jkqvwxyz"),
];

/// Undoes the code. `None` for other characters.
fn unpack(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let (mut code, mut bits) = (0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| u32::from(byte >> n & 1))) {
        (code, bits) = (code << 1 | bit, bits + 1);
        let found = CODES.iter().find(|(length, first, _)| *length == bits && code >= *first);
        match found.and_then(|(_, first, symbols)| {
            symbols.as_bytes().get(usize::try_from(code - first).unwrap())
        }) {
            Some(b'.') => return None,
            Some(symbol) => {
                text.push(char::from(*symbol));
                (code, bits) = (0, 0);
            }
            None if bits > 7 => return None,
            None => {}
        }
    }
    Some(text)
}

#[test]
fn a_packed_name_is_read() {
    // From RFC 7541, C.4.1 to C.4.3, less their dots.
    assert_eq!(unpack(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Some("no-cache"));
    assert_eq!(
        unpack(&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]).as_deref(),
        Some("custom-key")
    );
    assert_eq!(
        unpack(&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]).as_deref(),
        Some("custom-value")
    );
    assert_eq!(
        unpack(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
        None
    );
}
