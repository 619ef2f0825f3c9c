//! What is wrong with a head that pingora's parser refuses. It says so to nobody; the bytes tell
//! it.

use keyward_core::reason::Reason;
use keyward_decision::head;
use keyward_decision::request::HeadFault;

/// Header fields that pingora's parser takes, at most.
const FIELDS_MAX: usize = 256;

/// The first thing that is wrong with a head, and what to change.
pub fn classify(raw: &[u8]) -> HeadFault {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(raw.len());
    let head = raw.get(..end).unwrap_or(raw);
    let lines: Vec<&[u8]> = head.split(|b| *b == b'\n').collect();
    let mut whole = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = whole.next().unwrap_or_default();
    let fields: Vec<&[u8]> = whole.collect();
    let found = ends(&lines)
        .or_else(|| request_line(line))
        .or_else(|| fields.iter().find_map(|line| field(line)))
        .or_else(|| together(&fields));
    let (reason, detail) =
        found.unwrap_or((Reason::HeadUnreadable, "the request's head is not HTTP/1.1"));
    HeadFault { reason, detail: detail.to_owned() }
}

type Found = Option<(Reason, &'static str)>;

/// How the lines end: the last one's end is where the head was cut off.
fn ends(lines: &[&[u8]]) -> Found {
    let (last, others) = lines.split_last()?;
    let plain = |line: &&[u8]| line.strip_suffix(b"\r").is_some_and(|line| !line.contains(&b'\r'));
    let odd = last.contains(&b'\r') || !others.iter().all(plain);
    odd.then_some((
        Reason::HeadLine,
        "a line of the head does not end in CR LF: end each so, and use neither elsewhere",
    ))
}

fn request_line(line: &[u8]) -> Found {
    if line.first() == Some(&b' ') || line.last() == Some(&b' ') {
        return Some((
            Reason::HeadLine,
            "the request line starts or ends with a blank: leave it out",
        ));
    }
    let parts: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Some(match parts.len() {
            4.. => (Reason::TargetByte, "the request line has blanks in the target: write %20"),
            _ if line.is_empty() => {
                (Reason::HeadLine, "an empty line stands before the request line")
            }
            _ => (Reason::HeadUnreadable, "the request line is not method, target and HTTP/1.1"),
        });
    };
    if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        .iter()
        .any(|known| known.as_bytes() == method)
    {
        return Some((
            Reason::HeadMethod,
            "the method is not GET, HEAD, POST, PUT, PATCH or DELETE",
        ));
    }
    if version != b"HTTP/1.1" {
        return Some((Reason::HeadVersion, "the version is not HTTP/1.1; HTTP/2 is taken by TLS"));
    }
    if target.len() > head::TARGET_BYTES_MAX {
        return Some((
            Reason::TargetTooLong,
            "the target is longer than is taken: send fewer or shorter parameters",
        ));
    }
    if target.iter().any(|b| !b.is_ascii_graphic() || br#"\"<>{}|^`"#.contains(b)) {
        return Some((Reason::TargetByte, "the target holds a byte that must be percent-encoded"));
    }
    (target.first() != Some(&b'/')).then_some((
        Reason::TargetForm,
        "the target must start with `/`: absolute form, `*` and authority form are not taken",
    ))
}

/// One line of the fields.
fn field(line: &[u8]) -> Found {
    if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
        return Some((Reason::HeadLine, "a header is folded over two lines"));
    }
    let Some(colon) = line.iter().position(|b| *b == b':') else {
        return Some((Reason::HeadLine, "a line of the head is no header"));
    };
    let (name, value) = line.split_at(colon);
    if name.is_empty()
        || !name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
    {
        return Some((
            Reason::HeadName,
            "a header's name is empty, or holds a blank or another byte that no name may hold",
        ));
    }
    value
        .iter()
        .any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
        .then_some((Reason::HeadValue, "a header's value holds a control byte"))
}

/// What no line shows alone.
fn together(fields: &[&[u8]]) -> Found {
    let named = |wanted: &'static str| {
        let of = move |line: &&&[u8]| {
            line.get(..wanted.len()).is_some_and(|n| n.eq_ignore_ascii_case(wanted.as_bytes()))
                && line.get(wanted.len()) == Some(&b':')
        };
        fields
            .iter()
            .filter(of)
            .map(move |line| line.get(wanted.len() + 1..).unwrap_or_default().trim_ascii())
    };
    if fields.len() > FIELDS_MAX {
        return Some((Reason::HeadTooLarge, "the head has more than 256 headers"));
    }
    let framed = named("transfer-encoding").count();
    if framed > 1
        || named("transfer-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
    {
        return Some((Reason::HeadFraming, "Transfer-Encoding must be exactly `chunked`"));
    }
    let digits =
        |length: &[u8]| (1..=19).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
    if named("content-length").count() + framed > 1 || !named("content-length").all(digits) {
        return Some((
            Reason::HeadFraming,
            "the body's length must be said once, by Content-Length in digits or by `Transfer-Encoding: chunked`",
        ));
    }
    if named("host").count() != 1
        || named("host")
            .any(|host| !host.iter().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(b)))
    {
        return Some((Reason::HeadHost, "Host must stand once: one name, perhaps with a port"));
    }
    let connection =
        named("connection").flat_map(|tokens| tokens.split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    let unknown = |token: &[u8]| {
        !["", "close", "keep-alive", "te"]
            .iter()
            .any(|known| token.eq_ignore_ascii_case(known.as_bytes()))
    };
    connection.into_iter().any(unknown).then_some((
        Reason::HeadConnection,
        "Connection names a header that would be taken off on the way",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_refuses_has_a_name() {
        let with = |fields: &str| format!("GET /a HTTP/1.1\r\n{fields}\r\n\r\n");
        for (raw, reason) in [
            ("hello\r\n\r\n".to_owned(), Reason::HeadUnreadable),
            (String::new(), Reason::HeadLine),
            ("PRI * HTTP/2.0\r\n\r\n".to_owned(), Reason::HeadMethod),
            ("GET /a HTTP/1.2\r\nHost: h\r\n\r\n".to_owned(), Reason::HeadVersion),
            ("GET /\u{e4} HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Reason::TargetByte),
            ("GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Reason::TargetForm),
            (
                format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "y".repeat(head::TARGET_BYTES_MAX)),
                Reason::TargetTooLong,
            ),
            (" GET /a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), Reason::HeadLine),
            ("GET /a HTTP/1.1 \r\nHost: h\r\n\r\n".to_owned(), Reason::HeadLine),
            ("GET /a HTTP/1.1\rHost: h\r\r".to_owned(), Reason::HeadLine),
            (with("Host: h\r\nX-A: 1\r"), Reason::HeadLine),
            (with("Host: h\r\nX-A: 1\nContent-Length: 0\r\nContent-Length: 5"), Reason::HeadLine),
            (with("Host: h\r\nX-A: 1\rX-B: 2"), Reason::HeadLine),
            (with("Host: h\r\n folded"), Reason::HeadLine),
            (with("Host : h"), Reason::HeadName),
            (with("Host: h\r\nX-A: \u{0}"), Reason::HeadValue),
            (with("Host: h\r\nHost: h"), Reason::HeadHost),
            (with("Host: u@h"), Reason::HeadHost),
            (with("X-A: 1"), Reason::HeadHost),
            (with("Host: h\r\nContent-Length: +5"), Reason::HeadFraming),
            (with("Host: h\r\nTransfer-Encoding: chunked, identity"), Reason::HeadFraming),
            (with("Host: h\r\nContent-Length: 1\r\nContent-Length: 2"), Reason::HeadFraming),
            (with("Host: h\r\nConnection: host"), Reason::HeadConnection),
            (with(&format!("Host: h{}", "\r\nX-A: 1".repeat(300))), Reason::HeadTooLarge),
            (with("Host: h"), Reason::HeadUnreadable),
        ] {
            assert_eq!(classify(raw.as_bytes()).reason, reason, "{raw:?}");
        }
    }
}
