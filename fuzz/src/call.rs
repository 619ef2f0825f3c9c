//! A whole call over HTTP/1: read by pingora, checked, matched, inspected. Whatever would be
//! forwarded is what the strictest reader of the same bytes finds.

use crate::{CATALOG, route};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use keyward_decision::catalog::Target;
use keyward_decision::head::{self, Head};
use keyward_decision::inspect::inspect;
use keyward_decision::request::RequestHead;
use pingora::protocols::http::v1::server::HttpSession;
use std::io::Cursor;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap_or_else(|e| panic!("{e}"));
}

/// The input is all that a client sends.
pub fn fuzz(data: &[u8]) {
    let Some(call) = RUNTIME.with(|runtime| runtime.block_on(read(data))) else { return };
    let host = call.headers.get(http::header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("");
    let head = Head {
        version: call.version,
        ..route::checked(Some(&call.raw), &call.method, &call.target, host, &call.headers)
    };
    if head::check(&head).is_some() {
        return;
    }
    let target = std::str::from_utf8(&call.target)
        .unwrap_or_else(|e| panic!("a target that is no text passes: {e}"));
    is_what_a_strict_reader_finds(&call);
    let plain =
        RequestHead::plain(call.method.clone(), target.to_owned(), host, call.headers.clone());
    let meant = CATALOG.classify(None, &plain.host_name(), &call.method, plain.path());
    if matches!(meant, Target::Unknown(..)) {
        return;
    }
    route::has_one_reading(plain.path());
    let Some(body) = call.body else { return };
    if let Some(framed) = strictly_framed(&call.headers, &call.behind) {
        assert_eq!(body, framed, "the body is another to a strict reader");
    }
    let (inspected, facts) = inspect(&meant, &plain, body.clone());
    if facts.is_ok()
        && matches!(&meant, Target::Operation(operation, _) if operation.body.is_some())
    {
        crate::body::is_plain_json(inspected.json.as_ref(), &body);
    }
}

struct Call {
    raw: Bytes,
    version: http::Version,
    method: Method,
    target: Bytes,
    headers: HeaderMap,
    /// What pingora makes of the body; `None` for an error.
    body: Option<Bytes>,
    /// All bytes behind the head.
    behind: Bytes,
}

/// As the gateway's listener reads. `None` when pingora itself refuses.
async fn read(data: &[u8]) -> Option<Call> {
    let mut session = HttpSession::new(Box::new(Cursor::new(data.to_vec())));
    session.read_request().await.ok()??;
    // As the listener keeps them: pingora's own copy has a blank in the target escaped already.
    let end = data.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let raw = Bytes::copy_from_slice(data.get(..end)?);
    let header = session.req_header();
    let (version, method, target, headers) = (
        header.version,
        header.method.clone(),
        Bytes::copy_from_slice(header.raw_path()),
        header.headers.clone(),
    );
    let mut body = BytesMut::new();
    let whole = loop {
        match session.read_body_bytes().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let behind = Bytes::copy_from_slice(data.get(raw.len()..)?);
    Some(Call { raw, version, method, target, headers, body: whole.then(|| body.freeze()), behind })
}

/// Lines that end in CR LF and nowhere else, one blank between the parts of the first, a name and a
/// colon in the others: so read, the head is the same.
fn is_what_a_strict_reader_finds(call: &Call) {
    let text = std::str::from_utf8(&call.raw)
        .unwrap_or_else(|e| panic!("a head that is no text passes: {e}"));
    let text = text
        .strip_suffix("\r\n\r\n")
        .unwrap_or_else(|| panic!("a head without an end passes: {text:?}"));
    let mut lines = text.split("\r\n");
    let first: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    assert_eq!(first, [call.method.as_str(), &String::from_utf8_lossy(&call.target), "HTTP/1.1"]);
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("a line without a colon passes: {line:?}"));
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)),
            "{line:?}"
        );
        assert!(value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)), "{line:?}");
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let mut read: Vec<_> = call
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        })
        .collect();
    fields.sort();
    read.sort();
    assert_eq!(fields, read);
    let count = |name: &str| fields.iter().filter(|(n, _)| n == name).count();
    assert_eq!(count("host"), 1, "not one Host");
    assert!(count("content-length") + count("transfer-encoding") <= 1, "two lengths");
}

/// The body by the plainest framing there is. `None` when the bytes are not framed so.
fn strictly_framed(headers: &HeaderMap, behind: &[u8]) -> Option<Bytes> {
    let number =
        |text: &[u8], radix| usize::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok();
    if let Some(length) = headers.get(http::header::CONTENT_LENGTH) {
        return behind.get(..number(length.as_bytes(), 10)?).map(Bytes::copy_from_slice);
    }
    if !headers.contains_key(http::header::TRANSFER_ENCODING) {
        return Some(Bytes::new());
    }
    let (mut rest, mut body) = (behind, BytesMut::new());
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let digits =
            rest.get(..end).filter(|d| !d.is_empty() && d.iter().all(u8::is_ascii_hexdigit))?;
        let size = number(digits, 16)?;
        let after = rest.get(end + 2..)?;
        body.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(body.freeze());
        }
    }
}
