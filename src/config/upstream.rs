//! `[[upstream]]` as meant.

use super::{form, hosts, wrong};
use crate::proxy::upstream::Upstream;
use keyward_core::written::Written;
use std::net::Ipv6Addr;

/// One upstream as meant.
pub(super) fn read(form: &form::Upstream, at: &str, told: &mut Written<'_>) -> Option<Upstream> {
    let url = parse_url(&form.url);
    if url.is_none() {
        let why = format!(
            "`{}` must be http:// or https://, a name, an address (IPv6 in brackets) or {{host}}, and perhaps a port",
            form.url
        );
        wrong(told, &format!("{at}.url"), why);
    }
    if form.hosts.is_empty() && form.service.is_none() {
        wrong(
            told,
            at,
            format!(
                "`{}` serves nothing: give it `hosts`, or a `service` for listeners that are bound to one",
                form.url
            ),
        );
    }
    let hosts = hosts(&format!("{at}.hosts"), &form.hosts, told);
    let (tls, name, port) = url?;
    Some(Upstream { hosts, service: form.service.clone(), tls, name, port })
}

/// `https://{host}`, `http://127.0.0.1:9000`: TLS or not, the fixed name, the port.
fn parse_url(url: &str) -> Option<(bool, Option<String>, u16)> {
    let (tls, rest) = match url.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let usual = if tls { 443 } else { 80 };
    if let Some((address, port)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = if port.is_empty() { usual } else { port.strip_prefix(':')?.parse().ok()? };
        return Some((tls, Some(address.parse::<Ipv6Addr>().ok()?.to_string()), port));
    }
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (rest, usual),
    };
    let sound =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    match name {
        "{host}" => Some((tls, None, port)),
        _ if sound => Some((tls, Some(name.to_ascii_lowercase()), port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(parse_url("https://{host}"), Some((true, None, 443)));
        assert_eq!(
            parse_url("http://127.0.0.1:9000/"),
            Some((false, Some("127.0.0.1".into()), 9000))
        );
        assert_eq!(
            parse_url("https://[2001:DB8::1]:8443"),
            Some((true, Some("2001:db8::1".into()), 8443))
        );
        assert_eq!(parse_url("http://[::1]/"), Some((false, Some("::1".into()), 80)));
        for bad in [
            "http://[::1",
            "http://::1",
            "http://[a]",
            "http://[::1]80",
            "http://[127.0.0.1]",
            "http://[::1%25eth0]",
            "ftp://a",
            "a",
            "https://",
            "https://a/b",
            "https://a:b",
            "https://{region}",
        ] {
            assert_eq!(parse_url(bad), None, "{bad}");
        }
    }
}
