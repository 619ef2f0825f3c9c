//! Host: one plain name, and nothing else in the request that names another one.

use super::{Checked, Head, refuse};
use crate::names::{self, Steering};
use http::HeaderMap;
use keyward_core::reason::Reason;

/// Headers that some servers take for Host. They may repeat it, as a proxy in front of this one
/// does.
pub(super) const AGAIN: &[&str] = &[
    "x-forwarded-host",
    "x-host",
    "x-host-override",
    "x-http-host-override",
    "x-original-host",
    "x-real-host",
];

pub(super) fn check(head: &Head) -> Checked {
    if head.host.is_empty() {
        return refuse(Reason::HeadHost, "Host is missing: send the service's name");
    }
    let Some(name) = name_of(head.host) else {
        return refuse(
            Reason::HeadHost,
            "Host must be one name, perhaps with a port, without a trailing dot: send the service's name",
        );
    };
    if head.scheme.is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return refuse(Reason::TargetForm, "`:scheme` names another protocol: send https");
    }
    if head.authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(head.host)) {
        return refuse(
            Reason::HeadHost,
            "`:authority` and Host name different hosts: send one of them, or both alike",
        );
    }
    if head.sni.is_some_and(|sni| !sni.eq_ignore_ascii_case(name)) {
        return refuse(
            Reason::HeadSni,
            "the TLS connection was made for another name than Host: make one for this name",
        );
    }
    again(name, head.headers)
}

/// The name in a Host of the form `name`, `name:port`, `[address]` or `[address]:port`.
fn name_of(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, rest) = host.split_at_checked(end)?;
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    (port && (is_name(name) || is_address(name))).then_some(name)
}

fn is_port(text: &str) -> bool {
    !text.starts_with('0')
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..64).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() < 256 && text.split('.').all(label)
}

fn is_address(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .is_some_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok())
}

/// What a proxy in front of this one says of Host must be what Host says.
fn again(name: &str, headers: &HeaderMap) -> Checked {
    let differs = |value: &[u8]| {
        std::str::from_utf8(value)
            .ok()
            .and_then(name_of)
            .is_none_or(|other| !other.eq_ignore_ascii_case(name))
    };
    let may_name = |header: &str| {
        header != "host"
            && (AGAIN.contains(&header) || names::steers(header) == Some(Steering::Host))
    };
    if let Some((header, _)) = headers
        .iter()
        .find(|(header, value)| may_name(header.as_str()) && differs(value.as_bytes()))
    {
        return refuse(
            Reason::HeadHost,
            format!("the header {header} names another host than Host, or could: leave it out"),
        );
    }
    let elements = headers
        .get_all(http::header::FORWARDED)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| matches!(b, b',' | b';')));
    for element in elements.map(<[u8]>::trim_ascii) {
        let Some((parameter, value)) = element.split_at_checked(5) else { continue };
        if parameter.eq_ignore_ascii_case(b"host=") && differs(unquoted(value)) {
            return refuse(
                Reason::HeadHost,
                "the header forwarded names another host than Host: leave it out",
            );
        }
    }
    Ok(())
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::super::{Head, check, testing};
    use super::*;
    use crate::request::tests::head;

    fn of(
        host: &str,
        authority: Option<&str>,
        sni: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Option<Reason> {
        let head = head("POST", "/a", headers);
        check(&Head { host, authority, sni, ..testing::of(&head.method, &head.headers) })
            .map(|fault| fault.reason)
    }

    #[test]
    fn a_host_is_one_plain_name() {
        for good in
            ["h", "KMS.cn-north-4.example.com", "h:8080", "127.0.0.1:80", "[::1]", "[::1]:8080"]
        {
            assert_eq!(of(good, None, None, &[]), None, "{good}");
        }
        for bad in [
            "", "h.", "h.:80", "a..b", ".h", "h:", "h:0", "h:080", "h:+80", "h:99999", "h:80:80",
            "h:x", "u@h", "h, i", "h i", "h/a", "h?a", "h#a", "h\\a", "http://h", "h%2e", "h_a",
            "[::1", "::1", "[h]", "[::1]a", "[::1]:", "\u{ff48}",
        ] {
            assert_eq!(of(bad, None, None, &[]), Some(Reason::HeadHost), "{bad}");
        }
        assert_eq!(of(&"h".repeat(64), None, None, &[]), Some(Reason::HeadHost));
        assert_eq!(of(&"h.".repeat(128), None, None, &[]), Some(Reason::HeadHost));
    }

    #[test]
    fn the_scheme_is_one_of_the_web() {
        let head = head("POST", "/a", &[]);
        let of = |scheme| {
            check(&Head { scheme: Some(scheme), ..testing::of(&head.method, &head.headers) })
                .map(|fault| fault.reason)
        };
        assert_eq!((of("https"), of("http"), of("ftp")), (None, None, Some(Reason::TargetForm)));
    }

    #[test]
    fn nothing_names_another_host() {
        assert_eq!(of("h", Some("H"), None, &[]), None);
        assert_eq!(of("h", Some("i"), None, &[]), Some(Reason::HeadHost));
        assert_eq!(of("h:443", Some("h:443"), Some("h"), &[]), None);
        assert_eq!(of("h", None, Some("i"), &[]), Some(Reason::HeadSni));
        for (name, value) in [
            ("x-forwarded-host", "H"),
            ("x-forwarded-host", "h:8443"),
            ("forwarded", "for=1.2.3.4;host=h;proto=https"),
            ("forwarded", "for=a, for=b;Host=\"h:80\""),
            ("forwarded", "for=\"host\""),
        ] {
            assert_eq!(of("h", None, None, &[(name, value)]), None, "{name}: {value}");
        }
        for (name, value) in [
            ("x-forwarded-host", "i"),
            ("x-forwarded-host", "h, i"),
            ("x-forwarded-host", ""),
            ("x-host", "i"),
            ("x-original-host", "h@i"),
            ("forwarded", "host=i"),
            ("forwarded", "for=a;host=h, for=b; HOST=\"i\""),
            ("forwarded", "host=\"h"),
        ] {
            assert_eq!(
                of("h", None, None, &[(name, value)]),
                Some(Reason::HeadHost),
                "{name}: {value}"
            );
        }
        assert_eq!(
            of("h", None, None, &[("x-forwarded-host", "h"), ("x-forwarded-host", "i")]),
            Some(Reason::HeadRepeated)
        );
    }
}
