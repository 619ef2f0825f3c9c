//! Headers: names that no server folds into others, values in plain ASCII, and each header that
//! counts at most once.

use super::{Checked, refuse};
use crate::names::{self, Steering};
use crate::request::{Authorization, printable};
use http::{HeaderMap, HeaderValue, header};
use keyward_core::reason::Reason;
use std::cmp::Ordering;

/// What a header means to this check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It says who asks, on what or how: one value, and no list.
    One,
    /// It stands once. Its value is judged elsewhere, or not at all.
    Once,
    /// It is a list, which may stand on several lines.
    List,
    /// It is refused, for this reason and in these words.
    Refused(Reason, &'static str),
}

const METHOD: Meaning =
    Meaning::Refused(Reason::MethodOverride, "could change the method upstream: leave it out");
const PATH: Meaning =
    Meaning::Refused(Reason::PathOverride, "could change the path upstream: leave it out");
const UPGRADE: Meaning =
    Meaning::Refused(Reason::HeadUpgrade, "asks for another protocol: leave it out");

/// The headers that count. Sorted by name without its hyphens: so it is searched.
const KNOWN: &[(&str, Meaning)] = &[
    ("accept-encoding", Meaning::List),
    ("authorization", Meaning::Once),
    ("connection", Meaning::List),
    ("content-encoding", Meaning::Once),
    ("content-length", Meaning::Once),
    ("content-md5", Meaning::Once),
    ("content-range", Meaning::Once),
    ("content-type", Meaning::Once),
    ("date", Meaning::Once),
    (
        "early-data",
        Meaning::Refused(
            Reason::HeadEarlyData,
            "says that the call came as early data, which may be a replay: send it behind the handshake",
        ),
    ),
    ("expect", Meaning::Once),
    ("forwarded", Meaning::List),
    ("host", Meaning::Once),
    ("http2-settings", UPGRADE),
    ("openstack-api-version", Meaning::One),
    ("origin", Meaning::Once),
    ("proxy-authorization", Meaning::One),
    (
        "proxy-connection",
        Meaning::Refused(Reason::HeadConnection, "is not of this connection: leave it out"),
    ),
    ("range", Meaning::Once),
    ("referer", Meaning::Once),
    ("te", Meaning::List),
    (
        "trailer",
        Meaning::Refused(Reason::HeadTrailer, "announces trailers: send all headers first"),
    ),
    ("transfer-encoding", Meaning::Once),
    ("upgrade", UPGRADE),
    ("user-agent", Meaning::Once),
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
    ("x-forwarded-host", Meaning::Once),
    ("x-forwarded-method", METHOD),
    ("x-forwarded-path", PATH),
    ("x-forwarded-prefix", PATH),
    ("x-forwarded-uri", PATH),
    ("x-host", Meaning::Once),
    ("x-host-override", Meaning::Once),
    ("x-http-destinationurl", PATH),
    ("x-http-host-override", Meaning::Once),
    ("x-http-method", METHOD),
    ("x-http-method-override", METHOD),
    ("x-method", METHOD),
    ("x-method-override", METHOD),
    ("x-openstack-nova-api-version", Meaning::One),
    ("x-original-host", Meaning::Once),
    ("x-original-method", METHOD),
    ("x-original-path", PATH),
    ("x-original-uri", PATH),
    ("x-original-url", PATH),
    ("x-project-id", Meaning::One),
    ("x-real-host", Meaning::Once),
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

pub(super) fn check(headers: &HeaderMap) -> Checked {
    // As many names as lines: nothing stands twice.
    if headers.keys_len() != headers.len() {
        repeated(headers)?;
    }
    for (name, value) in headers {
        let name = name.as_str();
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return refuse(
                Reason::HeadName,
                format!(
                    "the header {} has more in its name than letters, digits and `-`: write it in these",
                    printable(name)
                ),
            );
        }
        one_value(name, value)?;
        let Some((known, meaning)) = known(name) else {
            unknown(name)?;
            continue;
        };
        if *known != name {
            return refuse(
                Reason::HeadName,
                format!(
                    "the header {name} can be taken for {known}: write {known}, or leave it out"
                ),
            );
        }
        match meaning {
            Meaning::Refused(reason, why) => {
                return refuse(*reason, format!("the header {name} {why}"));
            }
            Meaning::One if value.as_bytes().contains(&b',') => {
                return refuse(
                    Reason::HeadRepeated,
                    format!("the header {name} holds a list: send one value"),
                );
            }
            Meaning::One | Meaning::Once | Meaning::List => {}
        }
    }
    Ok(())
}

/// A header that nobody knows, by the words in its name: what could turn a call is refused. What
/// could turn the host is compared with it.
fn unknown(name: &str) -> Checked {
    match names::steers(name) {
        Some(Steering::Method) => refuse(
            Reason::MethodOverride,
            format!("the header {name} could change the method upstream: leave it out"),
        ),
        Some(Steering::Path | Steering::Call) => refuse(
            Reason::PathOverride,
            format!("the header {name} could change upstream what is called: leave it out"),
        ),
        Some(Steering::Project) => refuse(
            Reason::HeadProject,
            format!(
                "the header {name} could name another project: send X-Project-Id, or leave it out"
            ),
        ),
        Some(Steering::Host) | None => Ok(()),
    }
}

fn one_value(name: &str, value: &HeaderValue) -> Checked {
    let bytes = value.as_bytes();
    if !bytes.iter().all(|b| (0x20..0x7f).contains(b) || *b == b'\t') {
        return refuse(
            Reason::HeadValue,
            format!(
                "the header {} holds a byte that is not visible ASCII: leave it out, or encode it",
                printable(name)
            ),
        );
    }
    // HTTP/1 takes these blanks off; HTTP/2 carries them on.
    if bytes.trim_ascii().len() != bytes.len() {
        return refuse(
            Reason::HeadValue,
            format!("the header {} starts or ends with a blank: leave it out", printable(name)),
        );
    }
    Ok(())
}

/// Names of the headers that the caller's signature covers.
pub(super) fn signed(headers: &HeaderMap) -> Vec<&str> {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(Authorization::parse);
    authorization.map(|a| a.signed_headers()).unwrap_or_default()
}

/// What counts, and what the caller signed, stands once. A header that nobody knows may stand as
/// often as it likes: it is forwarded as it came.
fn repeated(headers: &HeaderMap) -> Checked {
    let signed = signed(headers);
    let counts = |name: &str| {
        known(name).is_some_and(|(_, meaning)| *meaning != Meaning::List)
            || signed.iter().any(|signed| signed.eq_ignore_ascii_case(name))
    };
    match headers
        .keys()
        .find(|name| counts(name.as_str()) && headers.get_all(*name).iter().count() > 1)
    {
        Some(name) => refuse(
            Reason::HeadRepeated,
            format!("the header {} stands twice: send it once", printable(name.as_str())),
        ),
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
        for name in [
            "x-auth-token",
            "authorization",
            "content-type",
            "x-sdk-date",
            "user-agent",
            "content-encoding",
            "range",
            "x-acs-action",
        ] {
            assert_eq!(of(&[(name, "a"), (name, "a")]), Some(Reason::HeadRepeated), "{name}");
        }
        for name in ["x-project-id", "x-auth-token", "x-sdk-content-sha256"] {
            assert_eq!(of(&[(name, "a, b")]), Some(Reason::HeadRepeated), "{name}");
        }
        for name in ["accept", "via", "x-forwarded-for", "cookie", "x-twice", "te"] {
            assert_eq!(of(&[(name, "a"), (name, "b")]), None, "{name}");
        }
        let signed =
            ("authorization", "SDK-HMAC-SHA256 Access=AK, SignedHeaders=accept;host, Signature=00");
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
        for name in
            ["x-sdk", "sec-fetch-mode", "x-acs-credentials-provider", "traceparent", "x-request-id"]
        {
            assert_eq!(reason(&[(name, "a")]), None, "{name}");
        }
    }

    #[test]
    fn values_are_plain() {
        for value in ["\u{e4}", " a", "a ", "\ta", "a\t"] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            assert_eq!(one_value("a", &value).unwrap_err().reason, Reason::HeadValue, "{value:?}");
        }
        assert!(one_value("a", &HeaderValue::from_static("a\tb  c")).is_ok());
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
