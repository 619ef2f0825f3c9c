//! The request line and the lines behind it: how long they are, how they end, and which version and
//! method they ask for.

use super::{Checked, Head, refuse};
use http::{HeaderMap, Version};
use keyward_core::reason::Reason;

/// Longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a field costs beside its name and value.
const FIELD_OVERHEAD: usize = 4;

pub(super) fn check(head: &Head) -> Checked {
    let bytes = head.raw.map_or_else(|| head.target.len() + length(head.headers), <[u8]>::len);
    // A long target has a code of its own.
    if bytes.saturating_sub(head.target.len()) > HEAD_BYTES_MAX {
        return refuse(
            Reason::HeadTooLarge,
            format!(
                "the head is longer than {HEAD_BYTES_MAX} bytes: send fewer or shorter headers"
            ),
        );
    }
    if let Some(raw) = head.raw {
        bytes_of_http1(raw, head.target)?;
    }
    if !matches!(head.version, Version::HTTP_11 | Version::HTTP_2) {
        return refuse(Reason::HeadVersion, "only HTTP/1.1 and HTTP/2 are taken: send one of them");
    }
    match head.method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => Ok(()),
        _ => refuse(
            Reason::HeadMethod,
            "the method must be GET, HEAD, POST, PUT, PATCH or DELETE, in capitals",
        ),
    }
}

fn length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum()
}

/// What only the bytes show: pingora's parser has already forgiven it.
fn bytes_of_http1(raw: &[u8], target: &[u8]) -> Checked {
    let mut lines = raw.split_inclusive(|b| *b == b'\n');
    let first = lines.next().unwrap_or_default();
    if first.iter().all(u8::is_ascii_whitespace) {
        return refuse(
            Reason::HeadLine,
            "an empty line stands before the request line: leave it out",
        );
    }
    let mut parts = first.split(|b| *b == b' ').skip(1);
    // The parser escapes what it may not find in a target, blanks too, and cuts a fragment off.
    if parts.next() != Some(target) || parts.count() != 1 {
        return refuse(
            Reason::TargetByte,
            "the target holds a blank, a fragment or another byte that must be percent-encoded: write % and two hexadecimal digits",
        );
    }
    for line in std::iter::once(first).chain(lines) {
        if !line.ends_with(b"\r\n") || line.iter().filter(|b| **b == b'\r').count() != 1 {
            return refuse(
                Reason::HeadLine,
                "a line of the head does not end in CR LF: end each so, and use neither elsewhere",
            );
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return refuse(
                Reason::HeadLine,
                "a line of the head starts with a blank, which joins it to the one before: write each header on one line",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Head, check, testing};
    use crate::request::tests::head;
    use http::{Method, Version};
    use keyward_core::reason::Reason;

    fn of_bytes(raw: &str) -> Option<Reason> {
        let head = head("POST", "/a", &[]);
        check(&Head { raw: Some(raw.as_bytes()), ..testing::of(&head.method, &head.headers) })
            .map(|fault| fault.reason)
    }

    #[test]
    fn lines_end_in_one_way() {
        assert_eq!(of_bytes("POST /a HTTP/1.1\r\nHost: h\r\n\r\n"), None);
        for raw in [
            "POST /a HTTP/1.1\nHost: h\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: h\n\r\n",
            "POST /a HTTP/1.1\r\nHost: h\r\n\n",
            "POST /a HTTP/1.1\r\nA: b\rHost: x\r\n\r\n",
            "\r\nPOST /a HTTP/1.1\r\n\r\n",
            " \r\nPOST /a HTTP/1.1\r\n\r\n",
            "POST /a HTTP/1.1\r\nA: 1\r\n 2\r\n\r\n",
            "POST /a HTTP/1.1\r\n\tA: 1\r\n\r\n",
        ] {
            assert_eq!(of_bytes(raw), Some(Reason::HeadLine), "{raw:?}");
        }
        for line in [
            "POST /a#b HTTP/1.1",
            "POST /a b HTTP/1.1",
            "POST  /a HTTP/1.1",
            "POST /a  HTTP/1.1",
            "POST /a HTTP/1.1 HTTP/1.1",
            "POST /a\"",
            "POST /a",
            "POST\t/a HTTP/1.1",
        ] {
            assert_eq!(
                of_bytes(&format!("{line}\r\nHost: h\r\n\r\n")),
                Some(Reason::TargetByte),
                "{line}"
            );
        }
        assert_eq!(
            of_bytes(&format!(
                "POST /a HTTP/1.1\r\nA: {}\r\n\r\n",
                "y".repeat(super::HEAD_BYTES_MAX)
            )),
            Some(Reason::HeadTooLarge)
        );
    }

    #[test]
    fn without_bytes_the_fields_are_counted() {
        let long = "y".repeat(super::HEAD_BYTES_MAX / 2);
        assert_eq!(testing::reason(&[("a", &long)]), None);
        assert_eq!(testing::reason(&[("a", &long), ("b", &long)]), Some(Reason::HeadTooLarge));
    }

    #[test]
    fn versions_and_methods_are_listed() {
        let head = head("GET", "/a", &[]);
        let of = |version: Version, method: &str| {
            let method: Method = method.parse().unwrap();
            check(&Head { version, ..testing::of(&method, &head.headers) })
                .map(|fault| fault.reason)
        };
        assert_eq!(of(Version::HTTP_2, "GET"), None);
        assert_eq!(of(Version::HTTP_10, "GET"), Some(Reason::HeadVersion));
        for method in ["get", "Post", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "GET1"] {
            assert_eq!(of(Version::HTTP_11, method), Some(Reason::HeadMethod), "{method}");
        }
    }
}
