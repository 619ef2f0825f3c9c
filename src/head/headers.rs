//! Headers: names that no server folds into others, values in plain ASCII, and each header that counts at most once.

use super::{Checked, refuse};
use crate::reason::Reason;
use crate::request::Authorization;
use http::{HeaderMap, HeaderValue, header};
use std::cmp::Ordering;

/// What a header means to this check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It says who asks, on what or how: one value, and no list.
    One,
    /// It is told from its look-alikes, and nothing more is asked of it here.
    Named,
    /// It is refused, for this reason and in these words.
    Refused(Reason, &'static str),
}

const METHOD: Meaning = Meaning::Refused(Reason::MethodOverride, "could change the method upstream");
const PATH: Meaning = Meaning::Refused(Reason::PathOverride, "could change the path upstream");
const UPGRADE: Meaning = Meaning::Refused(Reason::HeadUpgrade, "asks for another protocol");

/// The headers that count. Sorted by name without its hyphens: so it is searched.
const KNOWN: &[(&str, Meaning)] = &[
    ("accept-encoding", Meaning::Named),
    ("authorization", Meaning::Named),
    ("connection", Meaning::Named),
    ("content-encoding", Meaning::Named),
    ("content-length", Meaning::Named),
    ("content-type", Meaning::Named),
    ("early-data", Meaning::Refused(Reason::HeadEarlyData, "says that the request came as early data, which may be a replay")),
    ("expect", Meaning::Named),
    ("forwarded", Meaning::Named),
    ("host", Meaning::Named),
    ("http2-settings", UPGRADE),
    ("openstack-api-version", Meaning::One),
    ("proxy-authorization", Meaning::One),
    ("proxy-connection", Meaning::Refused(Reason::HeadConnection, "is not of this connection")),
    ("te", Meaning::Named),
    ("trailer", Meaning::Refused(Reason::HeadTrailer, "announces trailers")),
    ("transfer-encoding", Meaning::Named),
    ("upgrade", UPGRADE),
    ("x-acs-action", Meaning::One),
    ("x-acs-content-sha256", Meaning::One),
    ("x-acs-content-sm3", Meaning::One),
    ("x-acs-date", Meaning::One),
    ("x-acs-security-token", Meaning::One),
    ("x-acs-signature-nonce", Meaning::One),
    ("x-acs-version", Meaning::One),
    ("x-auth-token", Meaning::One),
    ("x-domain-id", Meaning::One),
    ("x-envoy-original-path", PATH),
    ("x-forwarded-host", Meaning::Named),
    ("x-forwarded-method", METHOD),
    ("x-forwarded-path", PATH),
    ("x-forwarded-prefix", PATH),
    ("x-forwarded-uri", PATH),
    ("x-host", Meaning::Named),
    ("x-host-override", Meaning::Named),
    ("x-http-destinationurl", PATH),
    ("x-http-host-override", Meaning::Named),
    ("x-http-method", METHOD),
    ("x-http-method-override", METHOD),
    ("x-method", METHOD),
    ("x-method-override", METHOD),
    ("x-openstack-nova-api-version", Meaning::One),
    ("x-original-host", Meaning::Named),
    ("x-original-method", METHOD),
    ("x-original-path", PATH),
    ("x-original-uri", PATH),
    ("x-original-url", PATH),
    ("x-project-id", Meaning::One),
    ("x-real-host", Meaning::Named),
    ("x-request-uri", PATH),
    ("x-rewrite-uri", PATH),
    ("x-rewrite-url", PATH),
    ("x-sdk-content-sha256", Meaning::One),
    ("x-sdk-content-sm3", Meaning::One),
    ("x-sdk-date", Meaning::One),
    ("x-security-token", Meaning::One),
    ("x-subject-token", Meaning::One),
    ("x-yunxiao-token", Meaning::One),
];

/// Headers that are lists, so that two lines of them are one list. All others stand once.
const LISTS: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "cookie",
    "forwarded",
    "if-match",
    "if-none-match",
    "pragma",
    "prefer",
    "te",
    "tracestate",
    "via",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
];

pub(super) fn check(headers: &HeaderMap) -> Checked {
    // As many names as lines: nothing stands twice.
    if headers.keys_len() != headers.len() {
        repeated(headers)?;
    }
    for (name, value) in headers {
        let name = name.as_str();
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return refuse(Reason::HeadName, format!("the name of the header {name} holds more than letters, digits and `-`: write it in these"));
        }
        one_value(name, value)?;
        let Some((known, meaning)) = known(name) else { continue };
        if *known != name {
            return refuse(Reason::HeadName, format!("the header {name} can be taken for {known}: write {known}, or leave it out"));
        }
        match meaning {
            Meaning::Refused(reason, why) => return refuse(*reason, format!("the header {name} {why}: leave it out")),
            Meaning::One if value.as_bytes().contains(&b',') => {
                return refuse(Reason::HeadRepeated, format!("the header {name} holds a list: send one value"));
            }
            Meaning::One | Meaning::Named => {}
        }
    }
    Ok(())
}

fn one_value(name: &str, value: &HeaderValue) -> Checked {
    let bytes = value.as_bytes();
    if !bytes.iter().all(|b| (0x20..0x7f).contains(b)) {
        return refuse(Reason::HeadValue, format!("the header {name} holds a byte that is not visible ASCII: leave it out, or encode it"));
    }
    // HTTP/1 takes these blanks off; HTTP/2 carries them on.
    if bytes.trim_ascii().len() != bytes.len() {
        return refuse(Reason::HeadValue, format!("the header {name} starts or ends with a blank: leave it out"));
    }
    Ok(())
}

fn repeated(headers: &HeaderMap) -> Checked {
    let signed = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(Authorization::parse).map(|a| a.signed_headers());
    let signed = signed.unwrap_or_default();
    let may_repeat = |name: &str| LISTS.contains(&name) && !signed.iter().any(|signed| signed.eq_ignore_ascii_case(name));
    match headers.keys().find(|name| headers.get_all(*name).iter().count() > 1 && !may_repeat(name.as_str())) {
        Some(name) => refuse(Reason::HeadRepeated, format!("the header {name} stands twice: send it once")),
        None => Ok(()),
    }
}

/// The header that a server could take this one for: itself, or one that differs in hyphens alone.
fn known(name: &str) -> Option<&'static (&'static str, Meaning)> {
    KNOWN.binary_search_by(|(known, _)| loosely(known, name)).ok().and_then(|i| KNOWN.get(i))
}

fn loosely(a: &str, b: &str) -> Ordering {
    a.bytes().filter(|b| *b != b'-').cmp(b.bytes().filter(|b| *b != b'-'))
}

#[cfg(test)]
mod tests {
    use super::super::host;
    use super::super::testing::reason;
    use super::*;

    #[test]
    fn the_known_are_sorted_as_they_are_searched() {
        assert!(KNOWN.is_sorted_by(|a, b| loosely(a.0, b.0) == Ordering::Less));
        for (name, _) in KNOWN {
            assert_eq!(known(name).map(|(known, _)| known), Some(name));
        }
        for name in host::AGAIN {
            assert!(known(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_header_that_counts_stands_once() {
        let of = |pairs: &[(&'static str, &str)]| reason(pairs);
        for name in ["x-auth-token", "authorization", "content-type", "x-sdk-date", "user-agent", "x-anything", "content-encoding", "range"] {
            assert_eq!(of(&[(name, "a"), (name, "a")]), Some(Reason::HeadRepeated), "{name}");
        }
        for name in ["x-project-id", "x-auth-token", "x-sdk-content-sha256"] {
            assert_eq!(of(&[(name, "a, b")]), Some(Reason::HeadRepeated), "{name}");
        }
        for name in ["accept", "via", "x-forwarded-for", "cookie"] {
            assert_eq!(of(&[(name, "a"), (name, "b")]), None, "{name}");
        }
        let signed = ("authorization", "SDK-HMAC-SHA256 Access=AK, SignedHeaders=accept;host, Signature=00");
        assert_eq!(of(&[signed, ("accept", "a")]), None);
        assert_eq!(of(&[signed, ("accept", "a"), ("accept", "b")]), Some(Reason::HeadRepeated));
    }

    #[test]
    fn a_name_is_no_other_name() {
        for name in [
            "x_auth_token",
            "content_length",
            "x.auth.token",
            "x-auth~token",
            "xauthtoken",
            "x--auth-token",
            "x-authtoken",
            "content--length",
            "h-ost",
            "transferencoding",
            "xhttpmethodoverride",
            "-host",
        ] {
            assert_eq!(reason(&[(name, "a")]), Some(Reason::HeadName), "{name}");
        }
        for name in ["x-sdk", "sec-fetch-mode", "x-acs-credentials-provider", "traceparent", "x-request-id"] {
            assert_eq!(reason(&[(name, "a")]), None, "{name}");
        }
    }

    #[test]
    fn values_are_plain() {
        for value in ["\u{e4}", "a\tb", " a", "a ", "\t", "\u{7f}"] {
            let value = HeaderValue::from_bytes(value.as_bytes());
            let Ok(value) = value else { continue };
            assert_eq!(one_value("a", &value).unwrap_err().reason, Reason::HeadValue, "{value:?}");
        }
    }

    #[test]
    fn nothing_asks_for_another_call() {
        for (name, wanted) in [
            ("x-http-method-override", Reason::MethodOverride),
            ("x-original-method", Reason::MethodOverride),
            ("x-original-url", Reason::PathOverride),
            ("x-rewrite-url", Reason::PathOverride),
            ("x-forwarded-prefix", Reason::PathOverride),
        ] {
            assert_eq!(reason(&[(name, "DELETE")]), Some(wanted), "{name}");
        }
    }
}
