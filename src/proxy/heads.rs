//! What the hooks ask of a request's head.

use pingora::Result;
use pingora::http::RequestHeader;

/// The host that a request names; empty when it names none.
pub(super) fn host_of(header: &RequestHeader) -> &str {
    match header.headers.get(http::header::HOST) {
        Some(host) => host.to_str().unwrap_or(""),
        None => header.uri.authority().map_or("", |a| a.as_str()),
    }
}

/// The name in a Host, without a port, and an IPv6 address without its brackets.
pub(super) fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// HTTP/2 may cut a cookie into several fields, which are one in HTTP/1.1 (RFC 9113, 8.2.3).
pub(super) fn join_cookies(header: &mut RequestHeader) -> Result<()> {
    let crumbs: Vec<&[u8]> = header
        .headers
        .get_all(http::header::COOKIE)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    if header.version == http::Version::HTTP_2 && crumbs.len() > 1 {
        let whole = crumbs.join(&b"; "[..]);
        header.insert_header(http::header::COOKIE, whole)?;
    }
    Ok(())
}

/// Whether the bytes that came with a head go on behind its body, as far as a length tells.
pub(super) fn is_more_than_body(headers: &http::HeaderMap, behind: &[u8]) -> bool {
    let length = headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<usize>().ok());
    !headers.contains_key(http::header::TRANSFER_ENCODING) && behind.len() > length.unwrap_or(0)
}

/// Whether the caller's signature covers a header.
pub(super) fn signs(header: &RequestHeader, name: &str) -> bool {
    let text = header.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("");
    let signed = text
        .split_once("SignedHeaders=")
        .map_or("", |(_, rest)| rest.split(',').next().unwrap_or(""));
    signed.split(';').any(|s| s.trim().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_host_is_a_name_or_an_address_without_its_port() {
        for (host, name) in [
            ("a.test", "a.test"),
            ("a.test:80", "a.test"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[::1]:80", "::1"),
            ("", ""),
        ] {
            assert_eq!(name_of(host), name);
        }
    }
}
