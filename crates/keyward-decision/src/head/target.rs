//! The target: a path that every reader splits, decodes and normalises to itself.
//!
//! Nothing is decoded here and then forwarded as something else: what would have to be decoded to
//! be understood is refused.

use super::{Checked, fault, refuse};
use crate::request::HeadFault;
use keyward_core::reason::Reason;

/// Longest request target, in bytes.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;

pub(super) fn check(target: &[u8]) -> Checked {
    if target.len() > TARGET_BYTES_MAX {
        return refuse(
            Reason::TargetTooLong,
            format!("the target is longer than {TARGET_BYTES_MAX} bytes: send a shorter query"),
        );
    }
    if target.first() != Some(&b'/') {
        return refuse(
            Reason::TargetForm,
            "the target must start with `/`: send the path alone, and the host in Host",
        );
    }
    if target.iter().any(|b| !b.is_ascii_graphic() || br#"\"<>{}|^`#"#.contains(b)) {
        return refuse(
            Reason::TargetByte,
            "the target holds a byte that must be percent-encoded: write % and two hexadecimal digits",
        );
    }
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    if path.contains(&b';') {
        return refuse(
            Reason::TargetParameter,
            "the path holds `;`, behind which some readers cut it off: leave it out",
        );
    }
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(part) = segments.next() {
        if part.is_empty() && segments.peek().is_some() {
            return refuse(
                Reason::TargetEmptySegment,
                "the path has an empty segment (`//`): write one slash",
            );
        }
        segment(part)?;
    }
    Ok(())
}

fn segment(segment: &[u8]) -> Checked {
    if matches!(segment, b"." | b"..") {
        return refuse(
            Reason::TargetDotSegment,
            "the path has a dot segment: write the path that is meant",
        );
    }
    if segment.contains(&b'%') { escapes(segment) } else { Ok(()) }
}

/// Escapes in a segment: none broken, none of a byte that needs none, none of a separator but
/// `%2F`, which single routes take in single segments; and together UTF-8.
fn escapes(segment: &[u8]) -> Checked {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(if *byte == b'%' { escape(bytes.next(), bytes.next())? } else { *byte });
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(()),
        Err(_) => refuse(
            Reason::TargetEscape,
            "the path's escapes are not UTF-8: write each character in its one form",
        ),
    }
}

fn escape(high: Option<&u8>, low: Option<&u8>) -> Result<u8, HeadFault> {
    let digit = |b: Option<&u8>| {
        b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
    };
    let byte = digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low);
    let byte = byte.ok_or_else(|| {
        fault(
            Reason::TargetEscape,
            "the path has a broken percent escape: write % and two hexadecimal digits",
        )
    })?;
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        return Err(fault(
            Reason::TargetEscape,
            format!(
                "the path escapes `{}`, which needs no escape: write it as it is",
                char::from(byte)
            ),
        ));
    }
    if byte.is_ascii_control() || b"%\\?#;".contains(&byte) {
        return Err(fault(
            Reason::TargetEscape,
            format!(
                "the path holds the escape %{byte:02X}, which readers decode once, twice or never: leave it out"
            ),
        ));
    }
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(target: &str) -> Option<Reason> {
        check(target.as_bytes()).err().map(|fault| fault.reason)
    }

    #[test]
    fn a_path_has_one_reading() {
        for good in [
            "/",
            "/v1/p/a%20b",
            "/repositories/60de%2FDemo/keys",
            "/repositories/60de%2fDemo/keys",
            "/v2/?a=%2e&b=..",
            "/a/",
            "/a?b=c/../d",
            "/%E6%A0%87",
        ] {
            assert_eq!(reason(good), None, "{good}");
        }
        for (wanted, targets) in [
            (
                Reason::TargetForm,
                &["", "*", "?a=1", "a", "http://h/a", "HTTPS://h", "h:443", ".", "%2fa"][..],
            ),
            (
                Reason::TargetByte,
                &[
                    "/a b", "/a\\b", "/\u{e9}", "/a\tb", "/a\0", "/a\u{7f}", "/a#b", "/a?b#c",
                    "/a?b=\"", "/a<b>", "/{a}", "/a|b", "/a^b", "/a`b",
                ],
            ),
            (Reason::TargetEmptySegment, &["//h/a", "/a//b", "//", "/a//", "///"]),
            (Reason::TargetDotSegment, &["/a/../b", "/a/.", "/..", "/./a", "/a/..?b"]),
            (Reason::TargetParameter, &["/a;x=1", "/a;/b", "/;", "/a/..;/b"]),
            (
                Reason::TargetEscape,
                &[
                    "/%2e%2e/a",
                    "/a/%2E/b",
                    "/c%6Fpy",
                    "/%41",
                    "/a%zz",
                    "/a%2",
                    "/a%",
                    "/a%+1",
                    "/a%00",
                    "/a%0d%0ab",
                    "/a%09",
                    "/a%7f",
                    "/a%5cb",
                    "/a%252f",
                    "/a%25",
                    "/a%3fb",
                    "/a%23b",
                    "/a%3bb",
                    "/a%7eb",
                    "/%c0%af",
                    "/%e0%80%af",
                    "/%ff",
                    "/%c3",
                    "/%ed%a0%80",
                ],
            ),
        ] {
            for target in targets {
                assert_eq!(reason(target), Some(wanted), "{target:?}");
            }
        }
        assert_eq!(
            reason(&format!("/{}", "y".repeat(TARGET_BYTES_MAX))),
            Some(Reason::TargetTooLong)
        );
    }
}
