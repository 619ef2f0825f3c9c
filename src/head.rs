//! The head check: a request head that two parsers could read differently is refused, with the class named.
//!
//! pingora forwards many odd shapes untouched; this is the one place that decides which of them pass.

use crate::reason::Reason;
use crate::request::HeadFault;
use http::{HeaderMap, Method};

/// Longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest request target, in bytes.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;

/// What is checked.
#[derive(Debug)]
pub struct Head<'a> {
    /// The head's bytes as they came, on HTTP/1.
    pub raw: Option<&'a [u8]>,
    /// The method.
    pub method: &'a Method,
    /// The target's bytes, as they go upstream.
    pub target: &'a [u8],
    /// Host or `:authority`.
    pub host: &'a str,
    /// All header fields.
    pub headers: &'a HeaderMap,
}

/// Headers that decide who asks, on what, or how long the body is: at most one of each.
const SINGLE: &[&str] = &[
    "authorization",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "x-auth-token",
    "x-domain-id",
    "x-project-id",
    "x-sdk-content-sha256",
    "x-sdk-date",
    "x-security-token",
    "x-yunxiao-token",
];

/// Headers that ask an upstream to take the method for another.
const METHOD_OVERRIDES: &[&str] = &["x-http-method", "x-http-method-override", "x-method-override"];

/// Headers that ask an upstream to take the path for another.
const PATH_OVERRIDES: &[&str] =
    &["x-envoy-original-path", "x-forwarded-path", "x-forwarded-prefix", "x-forwarded-uri", "x-original-uri", "x-original-url", "x-rewrite-url"];

/// Headers that some servers take for Host: they may repeat it, as a proxy in front of this one does.
const HOST_AGAIN: &[&str] = &["x-forwarded-host", "x-host", "x-original-host"];

/// The first thing that is wrong with a head, or `None`.
pub fn check(head: &Head) -> Option<HeadFault> {
    framing_bytes(head)
        .and_then(|()| method(head.method))
        .and_then(|()| target(head.target))
        .and_then(|()| host(head.host))
        .and_then(|()| headers(head.headers))
        .and_then(|()| host_again(head.host, head.headers))
        .err()
}

type Checked = Result<(), HeadFault>;

fn fault(reason: Reason, detail: impl Into<String>) -> HeadFault {
    HeadFault { reason, detail: detail.into() }
}

/// What only the bytes show: the parser has already forgiven it.
fn framing_bytes(head: &Head) -> Checked {
    let Some(raw) = head.raw else { return Ok(()) };
    if raw.len() > HEAD_BYTES_MAX {
        return Err(fault(Reason::HeadTooLarge, format!("the head is longer than {HEAD_BYTES_MAX} bytes: send fewer or shorter headers")));
    }
    if raw.iter().zip(std::iter::once(&0).chain(raw)).any(|(byte, before)| *byte == b'\n' && *before != b'\r') {
        return Err(fault(Reason::HeadLine, "a line of the head ends in LF without CR: end each in CR LF"));
    }
    let line = raw.split(|b| *b == b'\r').next().unwrap_or_default();
    if line.is_empty() {
        return Err(fault(Reason::HeadLine, "an empty line stands before the request line: leave it out"));
    }
    if line.contains(&b'#') {
        return Err(fault(Reason::TargetByte, "the target has a fragment: leave out `#` and all behind it"));
    }
    if line.iter().filter(|b| **b == b' ').count() != 2 {
        return Err(fault(Reason::TargetByte, "the request line has blanks in the target: write %20"));
    }
    if line.ends_with(b"HTTP/1.0") {
        return Err(fault(Reason::HeadVersion, "HTTP/1.0 is not taken: use HTTP/1.1"));
    }
    if has_field(raw, b"content-length") && has_field(raw, b"transfer-encoding") {
        return Err(fault(Reason::HeadFraming, "Content-Length and Transfer-Encoding stand together: send one of them"));
    }
    Ok(())
}

fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|b| *b == b'\n').skip(1).any(|line| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)) && line.get(name.len()) == Some(&b':'))
}

fn method(method: &Method) -> Checked {
    match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => Ok(()),
        _ => Err(fault(Reason::HeadMethod, "the method is not GET, HEAD, POST, PUT, PATCH or DELETE")),
    }
}

fn target(target: &[u8]) -> Checked {
    if target.len() > TARGET_BYTES_MAX {
        return Err(fault(Reason::TargetTooLong, format!("the target is longer than {TARGET_BYTES_MAX} bytes")));
    }
    if target.first() != Some(&b'/') {
        return Err(fault(Reason::TargetForm, "the target must start with `/`: absolute form, `*` and authority form are not taken"));
    }
    if target.iter().any(|b| !b.is_ascii_graphic() || br#"\"<>{}|^`"#.contains(b)) {
        return Err(fault(Reason::TargetByte, "the target holds a byte that must be percent-encoded: write % and two hexadecimal digits"));
    }
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    escapes(path)?;
    if path.contains(&b';') {
        return Err(fault(Reason::TargetParameter, "the path holds `;`, behind which some readers cut it off: leave it out"));
    }
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(fault(Reason::TargetEmptySegment, "the path has an empty segment (`//`): write one slash"));
        }
        if segment == b"." || segment == b".." {
            return Err(fault(Reason::TargetDotSegment, "the path has a dot segment: write the path that is meant"));
        }
    }
    Ok(())
}

/// Escapes in a path: none broken, none of a byte that needs none, none of a separator but `%2F`, which single
/// routes take in single segments.
fn escapes(path: &[u8]) -> Checked {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        let digits = rest.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok()).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let broken = || fault(Reason::TargetEscape, "the path has a broken percent escape: write % and two hexadecimal digits");
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok()).ok_or_else(broken)?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return Err(fault(Reason::TargetEscape, format!("the path escapes `{}`, which needs no escape: write it as it is", char::from(byte))));
        }
        if byte < 0x20 || byte == 0x7f || b"%\\?#;".contains(&byte) {
            return Err(fault(
                Reason::TargetEscape,
                format!("the path holds the escape %{byte:02X}, which readers decode once, twice or never: no path of this service needs it"),
            ));
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    Ok(())
}

fn host(host: &str) -> Checked {
    if host.is_empty() {
        return Err(fault(Reason::HeadHost, "Host is missing: send the service's name"));
    }
    let sound = host.len() < 256 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if !sound || host.ends_with('.') || host.contains(".:") {
        return Err(fault(Reason::HeadHost, "Host must be one name, perhaps with a port, without a trailing dot: send the service's name"));
    }
    Ok(())
}

fn headers(headers: &HeaderMap) -> Checked {
    if let Some(name) = SINGLE.iter().find(|name| headers.get_all(**name).iter().count() > 1) {
        return Err(fault(Reason::HeadRepeated, format!("the header {name} stands twice: send it once")));
    }
    let refused: [(Reason, &[&str], &str); 5] = [
        (Reason::MethodOverride, METHOD_OVERRIDES, "could change the method upstream"),
        (Reason::PathOverride, PATH_OVERRIDES, "could change the path upstream"),
        (Reason::HeadTrailer, &["trailer"], "announces trailers"),
        (Reason::HeadUpgrade, &["upgrade", "http2-settings"], "asks for another protocol"),
        (Reason::HeadConnection, &["proxy-connection"], "is not of this connection"),
    ];
    for (reason, names, why) in refused {
        if let Some(name) = names.iter().find(|name| headers.contains_key(**name)) {
            return Err(fault(reason, format!("the header {name} {why}: leave it out")));
        }
    }
    if let Some(value) = headers.get("transfer-encoding")
        && !value.as_bytes().eq_ignore_ascii_case(b"chunked")
    {
        return Err(fault(Reason::HeadFraming, "Transfer-Encoding must be exactly `chunked`"));
    }
    if let Some(value) = headers.get("content-length")
        && (value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(fault(Reason::HeadFraming, "Content-Length must be digits"));
    }
    if let Some(value) = headers.get("expect")
        && !value.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(fault(Reason::HeadExpect, "Expect must be `100-continue`"));
    }
    for token in headers.get_all("connection").iter().flat_map(|v| v.as_bytes().split(|b| *b == b',')) {
        let token = token.trim_ascii();
        if !["", "close", "keep-alive", "te"].iter().any(|known| token.eq_ignore_ascii_case(known.as_bytes())) {
            return Err(fault(
                Reason::HeadConnection,
                "Connection may hold close, keep-alive and TE only: a server on the way takes off whatever else it names",
            ));
        }
    }
    for (name, value) in headers {
        if name.as_str().contains('_') {
            return Err(fault(Reason::HeadName, format!("the header {name} holds `_`, which some servers read as `-`: leave it out")));
        }
        if value.as_bytes().iter().any(|b| *b >= 0x7f || (*b < 0x20 && *b != b'\t')) {
            return Err(fault(Reason::HeadValue, format!("the header {name} holds a byte that is not visible ASCII: leave it out")));
        }
    }
    Ok(())
}

fn host_again(host: &str, headers: &HeaderMap) -> Checked {
    let differs = |name: &&&str| headers.get_all(**name).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    match HOST_AGAIN.iter().find(differs) {
        Some(name) => Err(fault(Reason::HeadHost, format!("the header {name} names another host than Host: leave it out"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::head;

    fn target_fault(text: &str) -> Option<Reason> {
        target(text.as_bytes()).err().map(|fault| fault.reason)
    }

    #[test]
    fn targets_have_one_reading() {
        for good in ["/", "/v1/p/a%20b", "/repositories/60de%2FDemo/keys", "/v2/?a=%2e&b=..", "/a/"] {
            assert_eq!(target_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "*",
            "http://h/a",
            "//h/a",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/%2e%2e/a",
            "/c%6Fpy",
            "/a%zz",
            "/a%2",
            "/a%00",
            "/a%5cb",
            "/a%252f",
            "/a;x=1",
            "/a b",
            "/a\\b",
            "/a%3fb",
            "/\u{e9}",
        ] {
            assert!(target_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn heads_have_one_reading() {
        let fault = |raw: &str, name: &'static str, values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|v| (name, *v)).collect();
            let head = head("POST", "/a", &pairs);
            check(&Head { raw: (!raw.is_empty()).then_some(raw.as_bytes()), method: &head.method, target: &head.target, host: "h", headers: &head.headers })
                .map(|f| f.detail)
        };
        assert_eq!(fault("POST /a HTTP/1.1\r\nHost: h\r\n\r\n", "accept", &["*/*"]), None);
        for raw in [
            "POST /a HTTP/1.1\nHost: h\r\n\r\n",
            "\r\nPOST /a HTTP/1.1\r\n\r\n",
            "POST /a#b HTTP/1.1\r\n\r\n",
            "POST /a b HTTP/1.1\r\n\r\n",
            "POST /a HTTP/1.0\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(fault(raw, "accept", &[]).is_some(), "{raw:?}");
        }
        for (name, values) in [
            ("x-auth-token", &["a", "b"][..]),
            ("x-http-method-override", &["DELETE"]),
            ("transfer-encoding", &["gzip, chunked"]),
            ("content-length", &["+5"]),
            ("connection", &["authorization"]),
            ("upgrade", &["h2c"]),
            ("trailer", &["x"]),
            ("x_auth_token", &["a"]),
            ("expect", &["200-ok"]),
            ("x-forwarded-host", &["other"]),
            ("x-forwarded-host", &["h", "other"]),
            ("x-original-uri", &["/b"]),
        ] {
            assert!(fault("", name, values).is_some(), "{name}");
        }
        assert_eq!(fault("", "x-forwarded-host", &["H"]), None);
    }
}
