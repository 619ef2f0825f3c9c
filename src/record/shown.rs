//! What one exchange has shown of secrets, and the spellings in which they may come back.

use super::echo::Finder;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Shorter secrets are not searched for in other texts: they would match by chance.
const ECHO_LENGTH_MIN: usize = 8;

/// The secrets that one exchange has shown. In memory only; prints itself as hidden.
#[derive(Clone, Default)]
pub struct Shown {
    /// Those that somebody but the caller takes for secrets: the credentials it is known by, and
    /// marked places.
    known: Vec<String>,
    /// Whatever stood under a name that sounds secret: chosen by the caller, who may call anything
    /// so.
    claimed: Vec<String>,
    /// Made when it is first needed, and again after a change.
    finder: OnceLock<Arc<Finder>>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shown({} hidden)", self.known.len() + self.claimed.len())
    }
}

impl Shown {
    pub(super) fn note(&mut self, secret: &str) {
        if secret.len() >= ECHO_LENGTH_MIN && !self.all().any(|s| s == secret) {
            self.known.push(secret.to_owned());
            self.finder = OnceLock::new();
        }
    }

    pub(super) fn claim(&mut self, secret: &str) {
        // One that has another one in it is found by that one.
        if secret.len() >= ECHO_LENGTH_MIN
            && !self.all().any(|known| secret.contains(known.as_str()))
        {
            self.claimed.push(secret.to_owned());
            self.finder = OnceLock::new();
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.known.iter().chain(&self.claimed)
    }

    /// The places of these secrets in a text, in order, each with its secret.
    pub(super) fn echoes(&self, text: &str) -> Vec<(Range<usize>, &str)> {
        if self.known.is_empty() && self.claimed.is_empty() {
            return Vec::new();
        }
        let found = self.finder.get_or_init(|| Arc::new(Finder::new(self.all()))).find(text);
        found
            .into_iter()
            .filter_map(|(range, of)| Some((range, self.all().nth(of)?.as_str())))
            .collect()
    }

    /// Adds what another part of the exchange has shown.
    pub(super) fn join(&mut self, other: Self) {
        other.known.iter().for_each(|secret| self.note(secret));
        other.claimed.iter().for_each(|secret| self.claim(secret));
    }

    /// Without what the caller alone calls a secret.
    pub(super) fn known(&self) -> Self {
        Self { known: self.known.clone(), ..Self::default() }
    }

    /// Takes back claims of which the call itself has a part in clear: a caller must not be able to
    /// blank the name of what it took by sending it as a token.
    pub(super) fn release(&mut self, in_clear: &[&str]) {
        if self.claimed.is_empty() {
            return;
        }
        let finder = Finder::new(self.claimed.iter());
        let echoed: Vec<usize> =
            in_clear.iter().flat_map(|text| finder.find(text)).map(|(_, of)| of).collect();
        if !echoed.is_empty() {
            let mut at = 0..;
            self.claimed.retain(|_| at.next().is_none_or(|at| !echoed.contains(&at)));
            self.finder = OnceLock::new();
        }
    }
}

/// How often escapes are decoded: JSON that is quoted in JSON, in a query.
const DEPTH_MAX: usize = 4;

/// How a text may have to be read before a secret in it is seen, each reading decoded from the one
/// before; none for a text without escapes.
pub(super) fn readings(text: &str) -> Vec<String> {
    let mut readings: Vec<String> = Vec::new();
    for decode in [decode_percent, decode_backslash] {
        for _ in 0..DEPTH_MAX {
            let last = readings.last().map_or(text, String::as_str);
            match decode(last).filter(|next| next != last) {
                Some(next) => readings.push(next),
                None => break,
            }
        }
    }
    readings
}

/// The text with `%XX` decoded, broken escapes left as they are. `None` when it has none.
fn decode_percent(text: &str) -> Option<String> {
    let (first, rest) = text.split_once('%')?;
    let mut out = first.as_bytes().to_vec();
    for part in rest.split('%') {
        match part
            .split_at_checked(2)
            .and_then(|(digits, tail)| Some((hex::decode(digits).ok()?, tail)))
        {
            Some((byte, tail)) => {
                out.extend(byte);
                out.extend_from_slice(tail.as_bytes());
            }
            None => {
                out.push(b'%');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// The text with the escapes of JSON decoded, as where one document is quoted in another. `None`
/// when it has none.
fn decode_backslash(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let code = u32::from_str_radix(&rest.by_ref().take(4).collect::<String>(), 16).ok();
                out.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.extend(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        assert_eq!(decode_percent("a"), None);
        assert_eq!(decode_percent("%70t%2D%zz%é%2").as_deref(), Some("pt-%zz%é%2"));
        assert_eq!(decode_backslash("a"), None);
        assert_eq!(
            decode_backslash(r#"a\"\/\n\u0041\ud800\u4"#).as_deref(),
            Some("a\"/\nA\u{fffd}\u{4}")
        );
        assert_eq!(decode_backslash("\\").as_deref(), Some(""));
    }

    #[test]
    fn what_a_caller_calls_a_secret_is_told_apart() {
        let mut shown = Shown::default();
        shown.note("a-token-in-use");
        shown.claim("kp-finance-2026");
        shown.claim("short");
        assert_eq!(shown.all().collect::<Vec<_>>(), ["a-token-in-use", "kp-finance-2026"]);
        assert_eq!(shown.known().all().collect::<Vec<_>>(), ["a-token-in-use"]);
        assert_eq!(format!("{shown:?}"), "Shown(2 hidden)");
    }
}
