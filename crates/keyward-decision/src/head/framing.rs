//! Framing: where the request ends, said once and plainly; and nothing that is settled from hop to
//! hop.

use super::headers::signed;
use super::{Checked, Head, refuse};
use http::{HeaderMap, Version, header};
use keyward_core::reason::Reason;

pub(super) fn check(head: &Head) -> Checked {
    if head.version == Version::HTTP_2 {
        of_http2(head.headers)?;
    }
    length(head)?;
    if let Some(value) = head.headers.get(header::EXPECT)
        && !value.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return refuse(Reason::HeadExpect, "Expect must be `100-continue`, or be left out");
    }
    for token in head
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
    {
        let known: [&[u8]; 4] = [b"", b"close", b"keep-alive", b"te"];
        if !known.iter().any(|known| token.trim_ascii().eq_ignore_ascii_case(known)) {
            return refuse(
                Reason::HeadConnection,
                "Connection may hold close, keep-alive and TE only: a server on the way takes off whatever else it names",
            );
        }
    }
    signature(head.headers)
}

/// What ends at each hop, and is made anew for the next.
const OF_A_HOP: &[&str] =
    &["connection", "expect", "keep-alive", "proxy-authorization", "te", "transfer-encoding"];

/// A signature holds behind the gateway only if all that it covers goes on as it came.
fn signature(headers: &HeaderMap) -> Checked {
    let names = signed(headers);
    let covers = |name: &str| {
        headers.contains_key(name) && names.iter().any(|signed| signed.eq_ignore_ascii_case(name))
    };
    if let Some(name) = OF_A_HOP.iter().find(|name| covers(name)) {
        return refuse(
            Reason::HeadConnection,
            format!(
                "the signature covers {name}, which ends at the gateway: leave it unsigned, or leave it out"
            ),
        );
    }
    if covers("content-length")
        && headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.len() > 1 && length.as_bytes().starts_with(b"0"))
    {
        return refuse(
            Reason::HeadFraming,
            "the signature covers a Content-Length with zeros in front, which are not sent on: leave them out",
        );
    }
    Ok(())
}

/// HTTP/2 frames bodies itself. What frames or steers a connection of HTTP/1 is malformed there
/// (RFC 9113, 8.2.2), and would come to life on the way to an upstream that speaks HTTP/1.
fn of_http2(headers: &HeaderMap) -> Checked {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return refuse(Reason::HeadFraming, "HTTP/2 has no Transfer-Encoding: leave it out");
    }
    if headers.contains_key(header::CONNECTION) || headers.contains_key("keep-alive") {
        return refuse(
            Reason::HeadConnection,
            "HTTP/2 has no Connection and no Keep-Alive: leave them out",
        );
    }
    Ok(())
}

fn length(head: &Head) -> Checked {
    let coding = head.headers.get(header::TRANSFER_ENCODING);
    let length = head.headers.get(header::CONTENT_LENGTH);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return refuse(
            Reason::HeadFraming,
            "Transfer-Encoding must be exactly `chunked`, or be left out",
        );
    }
    // pingora drops the length where both stand: it shows in the bytes alone.
    if coding.is_some() && (length.is_some() || head.raw.is_some_and(names_length)) {
        return refuse(
            Reason::HeadFraming,
            "Content-Length and Transfer-Encoding stand together: send one of them",
        );
    }
    if length.is_some_and(|length| {
        length.is_empty() || length.len() > 18 || !length.as_bytes().iter().all(u8::is_ascii_digit)
    }) {
        return refuse(Reason::HeadFraming, "Content-Length must be a number in digits");
    }
    Ok(())
}

fn names_length(raw: &[u8]) -> bool {
    let name = b"content-length:";
    raw.split(|b| *b == b'\n')
        .any(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::super::{Head, check, testing};
    use crate::request::tests::head;
    use http::Version;
    use keyward_core::reason::Reason;

    #[test]
    fn a_request_ends_in_one_place() {
        for good in [
            ("content-length", "5"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "Chunked"),
        ] {
            assert_eq!(testing::reason(&[good]), None, "{good:?}");
        }
        for length in [
            "",
            "+5",
            "-1",
            "-0",
            "0x5",
            "0o5",
            "1_0",
            "5,5",
            "5, 5",
            "1 0",
            "5.0",
            "5e0",
            "9999999999999999999",
        ] {
            assert_eq!(
                testing::reason(&[("content-length", length)]),
                Some(Reason::HeadFraming),
                "{length}"
            );
        }
        for coding in [
            "",
            "identity",
            "gzip, chunked",
            "chunked, identity",
            "chunked,",
            ", chunked",
            "chunked, chunked",
            "xchunked",
            "chunked;a=b",
            "\"chunked\"",
        ] {
            assert_eq!(
                testing::reason(&[("transfer-encoding", coding)]),
                Some(Reason::HeadFraming),
                "{coding}"
            );
        }
        assert_eq!(
            testing::reason(&[("content-length", "5"), ("transfer-encoding", "chunked")]),
            Some(Reason::HeadFraming)
        );
        let head = head("POST", "/a", &[("transfer-encoding", "chunked")]);
        let raw = b"POST /a HTTP/1.1\r\nContent-LENGTH: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let both = check(&Head { raw: Some(raw), ..testing::of(&head.method, &head.headers) });
        assert_eq!(both.unwrap().reason, Reason::HeadFraming);
    }

    #[test]
    fn a_hop_settles_nothing_else() {
        for good in [
            ("connection", "keep-alive"),
            ("connection", "Close"),
            ("connection", "TE, close"),
            ("connection", ""),
            ("te", "trailers"),
            ("expect", "100-Continue"),
        ] {
            assert_eq!(testing::reason(&[good]), None, "{good:?}");
        }
        for (bad, wanted) in [
            (("connection", "x-auth-token"), Reason::HeadConnection),
            (("connection", "close, host"), Reason::HeadConnection),
            (("connection", "upgrade"), Reason::HeadConnection),
            (("proxy-connection", "keep-alive"), Reason::HeadConnection),
            (("upgrade", "h2c"), Reason::HeadUpgrade),
            (("http2-settings", "AAMAAABkAAQAAP__"), Reason::HeadUpgrade),
            (("trailer", "x-auth-token"), Reason::HeadTrailer),
            (("expect", "200-ok"), Reason::HeadExpect),
            (("expect", "100-continue, x"), Reason::HeadExpect),
            (("expect", ""), Reason::HeadExpect),
            (("early-data", "1"), Reason::HeadEarlyData),
        ] {
            assert_eq!(testing::reason(&[bad]), Some(wanted), "{bad:?}");
        }
    }

    #[test]
    fn what_ends_at_a_hop_is_not_signed() {
        let signed =
            |names: &str| format!("SDK-HMAC-SHA256 Access=AK, SignedHeaders={names}, Signature=ab");
        for (name, value, wanted) in [
            ("connection", "keep-alive", Some(Reason::HeadConnection)),
            ("expect", "100-continue", Some(Reason::HeadConnection)),
            ("keep-alive", "timeout=5", Some(Reason::HeadConnection)),
            ("proxy-authorization", "Basic eDp5", Some(Reason::HeadConnection)),
            ("te", "trailers", Some(Reason::HeadConnection)),
            ("transfer-encoding", "chunked", Some(Reason::HeadConnection)),
            ("content-length", "0037", Some(Reason::HeadFraming)),
            ("content-length", "37", None),
            ("content-length", "0", None),
        ] {
            assert_eq!(
                testing::reason(&[
                    (name, value),
                    ("authorization", &signed(&format!("host;{}", name.to_uppercase())))
                ]),
                wanted,
                "{name}: {value}"
            );
            assert_eq!(
                testing::reason(&[(name, value), ("authorization", &signed("host"))]),
                None,
                "{name} is not signed"
            );
        }
    }

    #[test]
    fn http2_has_no_connection() {
        for (name, value, wanted) in [
            ("transfer-encoding", "chunked", Reason::HeadFraming),
            ("connection", "keep-alive", Reason::HeadConnection),
            ("keep-alive", "timeout=5", Reason::HeadConnection),
        ] {
            let head = head("POST", "/a", &[(name, value)]);
            let fault = check(&Head {
                version: Version::HTTP_2,
                ..testing::of(&head.method, &head.headers)
            });
            assert_eq!(fault.map(|fault| fault.reason), Some(wanted), "{name}");
        }
    }
}
