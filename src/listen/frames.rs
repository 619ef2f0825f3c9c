//! What HTTP/2 refuses. The h2 library and pingora reset a malformed stream, or end a connection,
//! without telling any hook; the frames that they write tell it.

use super::connection::Connection;
use super::rejected::Class;

const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// Reads along what is written, frame by frame.
#[derive(Debug, Default)]
pub struct Http2ErrorSniffer {
    /// The head of the frame that is being written, and the first 8 bytes of its payload.
    frame: Vec<u8>,
    /// Bytes of its payload that are still to come.
    payload_left: usize,
}

impl Http2ErrorSniffer {
    /// Counts complaints in the next bytes that are written.
    pub fn see(&mut self, mut bytes: &[u8], connection: &Connection) {
        while !bytes.is_empty() {
            if self.frame.len() < FRAME_HEAD_BYTES {
                let (head, rest) =
                    bytes.split_at(bytes.len().min(FRAME_HEAD_BYTES - self.frame.len()));
                self.frame.extend_from_slice(head);
                bytes = rest;
                if let [a, b, c, _, _, _, _, _, _] = self.frame[..] {
                    self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                }
            } else {
                let (payload, rest) = bytes.split_at(bytes.len().min(self.payload_left));
                let wanted = (FRAME_HEAD_BYTES + 8).saturating_sub(self.frame.len());
                self.frame.extend_from_slice(payload.get(..wanted).unwrap_or(payload));
                self.payload_left -= payload.len();
                bytes = rest;
            }
            if self.frame.len() >= FRAME_HEAD_BYTES && self.payload_left == 0 {
                if let Some(class) = complaint(&self.frame) {
                    connection.turned_away(class);
                }
                self.frame.clear();
            }
        }
    }
}

/// Bytes of a status and nothing else. Every answer of the gateway and of a cloud has more headers.
const BARE_STATUS_BYTES_MAX: u8 = 8;

/// What a frame says of the client, when it is no ordinary end.
fn complaint(frame: &[u8]) -> Option<Class> {
    if let [0, 0, 1..=BARE_STATUS_BYTES_MAX, HEADERS, flags, ..] = frame
        && flags & END_STREAM != 0
    {
        return Some(Class::Http2Request);
    }
    let code = |at: usize| frame.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    match *frame.get(3)? {
        // NO_ERROR and CANCEL are an early answer and a client that left.
        RST_STREAM if !matches!(code(FRAME_HEAD_BYTES)?, 0 | 8) => Some(Class::Http2Stream),
        GOAWAY if code(FRAME_HEAD_BYTES + 4)? != 0 => Some(Class::Http2Connection),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complaints_count() {
        let frame = |kind: u8, payload: &[u8]| {
            [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 1][..], payload].concat()
        };
        for (bytes, class) in [
            (frame(RST_STREAM, &1_u32.to_be_bytes()), Some(Class::Http2Stream)),
            (frame(RST_STREAM, &8_u32.to_be_bytes()), None),
            (frame(GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 11]), Some(Class::Http2Connection)),
            (frame(GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 0]), None),
            (frame(0, b"hello"), None),
            ([&[0, 0, 1, HEADERS, 5, 0, 0, 0, 1][..], &[0x8c]].concat(), Some(Class::Http2Request)),
            ([&[0, 0, 1, HEADERS, 4, 0, 0, 0, 1][..], &[0x88]].concat(), None),
            ([&[0, 0, 40, HEADERS, 5, 0, 0, 0, 1][..], &[0x8c; 40]].concat(), None),
            (frame(GOAWAY, &[]), None),
        ] {
            assert_eq!(complaint(&bytes), class, "{bytes:?}");
        }
    }
}
