//! Text: bytes become text in one way, and text holds nothing that readers cut at, drop or swap.

use super::facts::Unreadable;
use keyward_core::reason::Reason;

/// A body's bytes as text.
///
/// # Errors
/// For a byte order mark, for UTF-16 and UTF-32, and for bytes that are not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, Unreadable> {
    let refuse = |reason, detail: String| Err(Unreadable { reason, detail });
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return refuse(
            Reason::BodyBom,
            "the body starts with a byte order mark: leave it out".to_owned(),
        );
    }
    // JSON starts with two ASCII characters, so NUL among the first bytes tells the wider encodings
    // (RFC 4627, 3).
    let start = bytes.get(..4).unwrap_or(bytes);
    if start.contains(&0) || start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return refuse(
            Reason::BodyNotUtf8,
            "the body is UTF-16 or UTF-32: write it in UTF-8".to_owned(),
        );
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => refuse(
            Reason::BodyNotUtf8,
            format!("byte {} of the body is not UTF-8: write it in UTF-8", e.valid_up_to()),
        ),
    }
}

/// The first code point of a text that readers cut at, drop or take for the end of a line. Tab,
/// line feed and carriage return pass: texts of several lines are real.
pub fn unplain(text: &str) -> Option<char> {
    // Nearly all texts are ASCII, which is looked through a byte at a time.
    if text.is_ascii() {
        text.bytes().map(char::from).find(|c| is_unplain(*c))
    } else {
        text.chars().find(|c| is_unplain(*c))
    }
}

fn is_unplain(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    let line_end_or_mark = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let no_character = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    control || line_end_or_mark || no_character
}

/// How things are named, in words.
pub const NAMED: &str = "in visible ASCII without `%` and `\\`, with single blanks inside only, and no `.` or `/` at its end";

/// Whether a text is fit to name a thing: one name to every store. Some fold case and accents of
/// what is not ASCII, cut blanks, dots and slashes off an end, join blanks, decode an escape once
/// more, or turn `\` around.
pub fn is_identifier(text: &str) -> bool {
    let plain = text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'%' && b != b'\\');
    plain
        && text.trim_ascii().len() == text.len()
        && !text.contains("  ")
        && !text.ends_with(['.', '/'])
}

/// Whether a text names a thing in letters, digits, `-`, `_` and `.`, with a letter or a digit at
/// both ends.
pub fn is_plain_name(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
    ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Whether a text is a UUID in its usual form. Other readers take it in braces, as a URN or without
/// hyphens too.
pub fn is_uuid(text: &str) -> bool {
    text.len() == uuid::fmt::Hyphenated::LENGTH && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_encoding_is_taken() {
        assert_eq!(decode("{\"a\":\"标\"}".as_bytes()).unwrap(), "{\"a\":\"标\"}");
        let wide: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wider: Vec<u8> = "{}".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for (bytes, reason) in [
            (&b"\xef\xbb\xbf{}"[..], Reason::BodyBom),
            (&wide, Reason::BodyNotUtf8),
            (&wider, Reason::BodyNotUtf8),
            (b"\xff\xfe{\0}\0", Reason::BodyNotUtf8),
            (b"\xfe\xff\0{\0}", Reason::BodyNotUtf8),
            (b"{\"a\":\"\xc0\xaf\"}", Reason::BodyNotUtf8),
            (b"{\"a\":\"\xed\xa0\x80\"}", Reason::BodyNotUtf8),
            (b"{\"a\":\"\xf4\x90\x80\x80\"}", Reason::BodyNotUtf8),
            (b"{\"a\":\"\xe4\"}", Reason::BodyNotUtf8),
        ] {
            assert_eq!(decode(bytes).unwrap_err().reason, reason, "{bytes:?}");
        }
    }

    #[test]
    fn what_readers_cut_at_is_unplain() {
        for text in ["", "a b", "a\tb\r\nc", "标题 ü é \u{1f511}", "\u{200d}"] {
            assert_eq!(unplain(text), None, "{text:?}");
        }
        for c in [
            '\0',
            '\u{1}',
            '\u{8}',
            '\u{b}',
            '\u{c}',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{2028}',
            '\u{2029}',
            '\u{feff}',
            '\u{fdd0}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{1ffff}',
            '\u{10fffe}',
        ] {
            assert_eq!(unplain(&format!("标{c}")), Some(c));
            assert_eq!(unplain(&format!("a{c}")), Some(c));
        }
    }

    #[test]
    fn an_identifier_is_plain_to_every_store() {
        for text in ["kp-1", "a b", "ae4d.x/y:z"] {
            assert!(is_identifier(text), "{text:?}");
        }
        for text in [
            " a",
            "a ",
            "a  b",
            "a%20b",
            "a%",
            "a\\b",
            "a.",
            "a/",
            "a\t",
            "a\n",
            "ｋp",
            "k\u{200b}p",
            "kp\u{301}",
            "\u{43a}p",
        ] {
            assert!(!is_identifier(text), "{text:?}");
        }
    }
}
