//! The chunks of a body, line by line. pingora's reader passes over what stands behind a chunk's
//! size, and over trailers, without a look, and takes a size that is not there for zero: where such
//! a body ends is a matter of the reader.

/// Longest line of a size or a trailer, in bytes with its end.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Reads along a body in chunks (RFC 9112, 7.1).
#[derive(Debug)]
pub struct Chunks {
    place: ChunkState,
    /// The line that is being read.
    line: Vec<u8>,
}

/// Where in the body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the line of a size.
    Size,
    /// In data, of which so many bytes are still to come.
    Data(u64),
    /// In the end of a line behind data.
    DataEnd,
    /// In a line of the trailers.
    Trailer,
    /// Behind the body.
    Behind,
    /// Behind a line that readers take in different ways.
    Lost,
}

/// What is to be said of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Everywhere in the same place.
    Plainly,
    /// Not yet.
    NotYet,
    /// In different places, for different readers.
    Oddly,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { place: ChunkState::Size, line: Vec::new() }
    }
}

impl Chunks {
    /// Reads the next bytes.
    pub fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !matches!(self.place, ChunkState::Behind | ChunkState::Lost) {
            bytes = match self.place {
                ChunkState::Data(left) => self.data(left, bytes),
                _ => self.rest_of_line(bytes),
            };
        }
    }

    /// Where the body ends.
    pub fn ends(&self) -> Ends {
        match self.place {
            ChunkState::Behind => Ends::Plainly,
            ChunkState::Lost => Ends::Oddly,
            _ => Ends::NotYet,
        }
    }

    fn data<'b>(&mut self, left: u64, bytes: &'b [u8]) -> &'b [u8] {
        let (data, rest) =
            bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
        let left = left.saturating_sub(data.len() as u64);
        self.place = if left == 0 { ChunkState::DataEnd } else { ChunkState::Data(left) };
        rest
    }

    fn rest_of_line<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.line.extend_from_slice(part);
        if self.line.len() > LINE_BYTES_MAX {
            self.place = ChunkState::Lost;
        } else if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.place = line
                .strip_suffix(b"\r\n")
                .and_then(|line| self.behind(line))
                .unwrap_or(ChunkState::Lost);
        }
        rest
    }

    /// What comes behind a line. `None` when it is none that all readers take alike.
    fn behind(&self, line: &[u8]) -> Option<ChunkState> {
        match self.place {
            ChunkState::Size => size(line)
                .map(|size| if size == 0 { ChunkState::Trailer } else { ChunkState::Data(size) }),
            ChunkState::DataEnd => line.is_empty().then_some(ChunkState::Size),
            _ if line.is_empty() => Some(ChunkState::Behind),
            _ => is_field(line).then_some(ChunkState::Trailer),
        }
    }
}

/// The size in a line of hexadecimal digits, perhaps with extensions in visible ASCII and without
/// blanks, whose quotes are closed.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|b| *b == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(digits);
    let plain = extension.iter().all(u8::is_ascii_graphic)
        && extension.iter().filter(|b| **b == b'"').count() % 2 == 0;
    let sound = (1..=16).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_hexdigit)
        && plain
        && extension != b";";
    sound.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}

/// Whether a trailer is a header field. What it says is dropped.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
    let (name, value) = line.split_at(colon);
    !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
        && value.iter().all(|b| *b >= 0x20 && *b != 0x7f || *b == b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(body: &[u8]) -> Ends {
        let mut whole = Chunks::default();
        whole.see(body);
        let mut pieces = Chunks::default();
        body.iter().for_each(|byte| pieces.see(&[*byte]));
        assert_eq!(whole.ends(), pieces.ends(), "{}", body.escape_ascii());
        whole.ends()
    }

    #[test]
    fn plain_chunks_end_in_one_place() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A\r\n0123456789\r\n00000\r\n\r\n",
            b"5;a=b\r\nhello\r\n0;last\r\n\r\n",
            b"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
            b"2\r\n\r\n\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B:\t2\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\n\n",
        ] {
            assert_eq!(ends(body), Ends::Plainly, "{}", body.escape_ascii());
        }
        for body in [
            &b""[..],
            b"5",
            b"5\r\nhel",
            b"5\r\nhello\r",
            b"5\r\nhello\r\n0\r\n",
            b"5\r\nhello\r\n0\r\nX-A: 1\r\n",
        ] {
            assert_eq!(ends(body), Ends::NotYet, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn odd_lines_end_in_two_places() {
        for body in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\rX\nhello\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\t\r\nhello\r\n",
            b"5 ;a\r\nhello\r\n",
            b"5;\r\nhello\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;\0a\r\nhello\r\n",
            b"5;a=\"\r\n\"\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"5_0\r\nhello\r\n",
            b"00000000000000005\r\nhello\r\n",
            b"5\r\nhelloXX0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
            b"5\r\nhello\r\n0\r\n X-A: 1\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX-A: 1\n\r\n",
        ] {
            assert_eq!(ends(body), Ends::Oddly, "{}", body.escape_ascii());
        }
        assert_eq!(ends(&[b"5;".as_slice(), &[b'a'; LINE_BYTES_MAX]].concat()), Ends::Oddly);
    }
}
