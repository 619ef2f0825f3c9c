//! Private keys and other secrets that are known by their looks, in whatever text they stand.
//!
//! Frames, beginnings and field names tell most private keys. What has lost them, or is encoded
//! once more, is still a long run that looks like chance; so every such run is hidden unless it is
//! a public key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::{Captures, Regex};
use std::borrow::Cow;
use std::ops::Range;

/// Nothing that is known by its looks is shorter.
const LENGTH_MIN: usize = 12;

/// A run of base64 that is as long as this and looks like chance is hidden: of a P-256 key it is
/// less than half.
const RUN_MIN: usize = 64;

/// What tells secrets by their looks.
#[derive(Debug)]
pub struct Looks {
    known: Regex,
    end: Regex,
    digits: Regex,
    run: Regex,
}

impl Looks {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// Never for this build's own patterns, which a test compiles.
    pub fn new() -> Result<Self, regex::Error> {
        let known = Regex::new(concat!(
            // Whole keys in their frames, of PEM and of SSH2 (RFC 4716); one that is cut goes to
            // the end of the text.
            r"(?i:-{4,5} ?BEGIN[ +][A-Z0-9 +]*PRIVATE[ +]KEY ?-{4,5})[\s\S]*?(?:(?i:-{4,5} ?END[ +][A-Z0-9 +]*PRIVATE[ +]KEY ?-{4,5})|\z)",
            r"|\bpt-[A-Za-z0-9_-]{16,}",
            r"|\bMII[A-Za-z0-9+/=_-]{100,}",
            // Private keys without their frame: OpenSSH, EC, Ed25519, X25519; and PuTTY's own
            // form.
            r"|\b(?:b3BlbnNzaC1rZXkt|MHcCAQEE|MHQCAQEE|MIGkAgEB|MIHcAgEB|MIGHAgEA|MIG2AgEA|MIHuAgEA|MC4CAQAwBQYDK2V|MFECAQEwBQYDK2V)[A-Za-z0-9+/=\s]*",
            r"|PuTTY-User-Key-File-[\s\S]*|Private-(?:Lines|MAC|Hash):[\s\S]*",
            // `-----BEGIN` in base64, behind 0, 1 or 2 other bytes, and in hexadecimal.
            r"|(?:LS0tLS1CRUdJTi|0tLS0tQkVHSU4|tLS0tLUJFR0lO|LS0tLSBCRUdJTi)[A-Za-z0-9+/=_\s-]*",
            r"|(?i:2d2d2d2d2042|2d2d2d2d2d42)(?i:4547494e)[0-9A-Fa-f\s]*",
            // Ed25519 and its kin in hexadecimal: the rest is long enough to be known by that.
            r"|(?i:302e020100300506032b65|3051020101300506032b65)[0-9A-Fa-f]*",
            // Keys of JSON and XML.
            r#"|"(?:d|dp|dq|qi)"[\s+]*:[\s+]*"[A-Za-z0-9_+/=-]{16,}"?"#,
            r"|<(?:D|DP|DQ|InverseQ)>[A-Za-z0-9+/=\s]{16,}",
            r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
            r"|Signature=[A-Za-z0-9+/=%]{16,}",
        ))?;
        // What stands before the end of a frame whose beginning is lost.
        let end =
            Regex::new(r"(?i)[A-Z0-9+/=\s]*-{4,5} ?END[ +][A-Z0-9 +]*PRIVATE[ +]KEY ?-{4,5}")?;
        let digits = Regex::new(r"[0-9A-Fa-f]{160,}|(?:[0-9A-Fa-f]{2}[: \t\r\n]+){80,}")?;
        let run = Regex::new(concat!(
            r"[A-Za-z0-9+/_-]{16,}(?:[ \t]*\r?\n[ \t]*[A-Za-z0-9+/_-]{16,})*={0,2}",
            r"(?:[ \t]*\r?\n[ \t]*[A-Za-z0-9+/_][A-Za-z0-9+/_-]{0,14}={0,2}[ \t]*(?:\r?\n|\z))?",
        ))?;
        Ok(Self { known, end, digits, run })
    }

    /// The text with a digest in the place of each secret; `None` when it has none.
    pub fn hide(&self, text: &str, digest: impl Fn(&str) -> String) -> Option<String> {
        if text.len() < LENGTH_MIN {
            return None;
        }
        let replaced = |found: &Captures| {
            let whole = found.get(0).map_or("", |m| m.as_str());
            match whole.strip_prefix("Signature=") {
                Some(signature) => format!("Signature={}", digest(signature)),
                None => digest(whole),
            }
        };
        // Most texts have none, which is told for less than a place in which to say where.
        let known = if self.known.is_match(text) {
            self.known.replace_all(text, replaced)
        } else {
            Cow::Borrowed(text)
        };
        let hide = |of: &Regex, text: &str, hides: fn(&str) -> bool| -> Option<String> {
            match of.replace_all(text, |found: &Captures| {
                let whole = found.get(0).map_or("", |m| m.as_str());
                if hides(whole) { digest(whole) } else { whole.to_owned() }
            }) {
                Cow::Owned(clean) if clean != text => Some(clean),
                _ => None,
            }
        };
        let mut clean = known;
        if memchr::memmem::find(clean.as_bytes(), b"KEY").is_some()
            || memchr::memmem::find(clean.as_bytes(), b"key").is_some()
        {
            clean = hide(&self.end, &clean, |_| true).map_or(clean, Cow::Owned);
        }
        if may_hold_run(&clean) {
            clean = hide(&self.digits, &clean, |_| true).map_or(clean, Cow::Owned);
            clean = hide(&self.run, &clean, is_key_material).map_or(clean, Cow::Owned);
        }
        match clean {
            Cow::Owned(clean) if clean != text => Some(clean),
            _ => None,
        }
    }
}

/// Whether a text is worth a closer look for runs, in one quick pass: most texts are not.
fn may_hold_run(text: &str) -> bool {
    let (mut length, mut upper, mut digits, mut hexadecimal) = (0_usize, 0_usize, 0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' => upper += 1,
            b'0'..=b'9' => digits += 1,
            b'a'..=b'z' | b'+' | b'/' | b'-' | b'_' | b'=' | b':' => {}
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => {
                (length, upper, digits, hexadecimal) = (0, 0, 0, 0);
                continue;
            }
        }
        length += 1;
        hexadecimal = if byte.is_ascii_hexdigit() {
            hexadecimal + 1
        } else {
            hexadecimal * usize::from(byte == b':')
        };
        if hexadecimal >= 160 || (length >= RUN_MIN && upper * 7 >= RUN_MIN && digits >= 2) {
            return true;
        }
    }
    false
}

/// Whether a run of base64 or hexadecimal digits can be a private key. Hashes are shorter; names
/// and paths do not look like chance.
fn is_key_material(run: &str) -> bool {
    let bytes: Vec<u8> = run.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=').collect();
    if bytes.len() < RUN_MIN {
        return false;
    }
    let count = |of: fn(&u8) -> bool| bytes.iter().filter(|b| of(b)).count();
    let (upper, lower, digits) =
        (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase), count(u8::is_ascii_digit));
    let symbols = bytes.len() - upper - lower - digits;
    upper * 7 >= bytes.len()
        && lower * 7 >= bytes.len()
        && digits >= 2
        && symbols * 6 <= bytes.len()
        && !is_public_key(&bytes)
}

/// Where the blob stands in a text that is one line of an OpenSSH public key.
pub fn public_blob(text: &str) -> Option<Range<usize>> {
    let start = text.find(' ')? + 1;
    let blob = text.get(start..)?.split_ascii_whitespace().next()?;
    (text.as_bytes().get(start) != Some(&b' ')
        && is_public_key(blob.trim_end_matches('=').as_bytes()))
    .then(|| start..start + blob.len())
}

/// The blob of an OpenSSH public key, and nothing behind it.
fn is_public_key(base64: &[u8]) -> bool {
    base64.starts_with(b"AAAA")
        && STANDARD_NO_PAD
            .decode(base64)
            .is_ok_and(|blob| ssh_key::PublicKey::from_bytes(&blob).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> String {
        Looks::new().unwrap().hide(text, |_| "#".to_owned()).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn what_only_looks_long_stays() {
        let public = include_str!("../../tests/keys/good-rsa-3072.pub").trim();
        for text in [
            public,
            include_str!("../../tests/keys/good-ecdsa-521.pub").trim(),
            include_str!("../../tests/keys/form-rfc4716.pub").trim(),
            &"ab12".repeat(32),
            "/v1/9f2c1d8e7b6a4c3d8e5f0a1b2c3d4e5f/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f/members/7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f",
            "https://bucket.obs.cn-north-4.myhuaweicloud.com/Images/Golden/Release-2026-11/ubuntu-22.04-server-amd64-build-1187.qcow2",
            "CreateCloudPhoneSingleServerWithANameThatGoesOnAndOnAndOnAndOnAndOnAndOnUntilItEnds",
            "465076de-dc36-4aec-80f5-ef9d8009428f\n7c2d9e1f-0a3b-4c5d-8e6f-7a8b9c0d1e2f\n9b1c2d3e-4f50-4617-8a9b-0c1d2e3f4a5b\n",
            "hmac-sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "an ordinary sentence with blanks and 20 numbers, which is longer than any of the bounds that are set here",
        ] {
            assert_eq!(hidden(text), text);
        }
    }

    #[test]
    fn a_public_key_with_something_behind_it_is_no_public_key() {
        let public = include_str!("../../tests/keys/good-ed25519.pub").split(' ').nth(1).unwrap();
        let behind = format!("{public}{}", "MbxQ7d9zKp3".repeat(6));
        assert_eq!(hidden(&behind), "#");
    }
}
