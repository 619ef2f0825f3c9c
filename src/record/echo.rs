//! Echoes: where a secret that an exchange has shown comes back in a text, whole or in part, as it
//! is or encoded.
//!
//! Every spelling of a secret is cut into blocks of eight bytes, so that any run of it that is long
//! enough has a whole block in it. A text is looked through once, whatever its length and however
//! many secrets there are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::ops::Range;

/// What is compared at once.
const BLOCK: usize = 8;

/// A run of a spelling that is as long as this is an echo, and of a short one half of it.
const RUN: usize = 16;

/// So many different bytes are in a run that is no accident.
const VARIETY: usize = 6;

/// Blocks that are kept of one spelling: of a very long secret only longer runs are found.
const BLOCKS_MAX: usize = 128;

/// Finds a set of secrets.
pub struct Finder {
    spellings: Vec<Spelling>,
    /// Blocks in order, each with the spelling that has it, and where.
    blocks: Vec<(u64, usize, usize)>,
    /// Tells quickly that a block is none of those: a bit for each of them among 32 or more.
    sieve: Vec<u64>,
    /// Bits of a hash that are not used.
    shift: u32,
}

struct Spelling {
    text: Vec<u8>,
    /// The secret's place in the list.
    of: usize,
    run: usize,
}

impl Finder {
    /// A finder of these secrets; each has eight bytes or more.
    pub fn new<'a>(secrets: impl Iterator<Item = &'a String>) -> Self {
        let mut finder =
            Self { spellings: Vec::new(), blocks: Vec::new(), sieve: Vec::new(), shift: 0 };
        for (of, secret) in secrets.enumerate() {
            finder.add(folded(secret.as_bytes()).0, of);
            finder.add(hex::encode(secret).into_bytes(), of);
            for before in 0..3 {
                finder.add(folded(base64_behind(before, secret.as_bytes()).as_bytes()).0, of);
            }
        }
        finder.blocks.sort_unstable();
        let bits = (finder.blocks.len() * 32).next_power_of_two().clamp(64, 1 << 16);
        finder.shift = 64 - bits.ilog2();
        finder.sieve = vec![0; bits / 64];
        for (block, ..) in &finder.blocks {
            let (word, bit) = sieve(*block, finder.shift);
            if let Some(word) = finder.sieve.get_mut(word) {
                *word |= bit;
            }
        }
        finder
    }

    fn add(&mut self, text: Vec<u8>, of: usize) {
        if text.len() < BLOCK {
            return;
        }
        let run = if text.len() < RUN { text.len() } else { (text.len() / 2).clamp(10, RUN) };
        let stride = (run - BLOCK + 1).max(text.len().div_ceil(BLOCKS_MAX));
        let spelling = self.spellings.len();
        for (at, block) in text.windows(BLOCK).enumerate().step_by(stride) {
            self.blocks.push((number(block), spelling, at));
        }
        self.spellings.push(Spelling { text, of, run });
    }

    /// The places of echoes in a text, in order and apart from each other, and which secret each is
    /// of.
    pub fn find(&self, text: &str) -> Vec<(Range<usize>, usize)> {
        if self.spellings.is_empty() || text.len() < BLOCK {
            return Vec::new();
        }
        let (folded, places) = folded(text.as_bytes());
        let place = |at: usize| {
            places
                .as_ref()
                .map_or(at, |places| places.get(at).map_or(text.len(), |place| *place as usize))
        };
        let mut found: Vec<(Range<usize>, usize)> = Vec::new();
        let mut free = 0;
        for (at, block) in folded.windows(BLOCK).enumerate() {
            let block = number(block);
            let (word, bit) = sieve(block, self.shift);
            if at < free || self.sieve.get(word).is_none_or(|word| word & bit == 0) {
                continue;
            }
            let Some((range, of)) = self.run(block, &folded, at, free) else { continue };
            free = range.end;
            let (mut start, mut end) =
                (place(range.start), range.end.checked_sub(1).map_or(0, place) + 1);
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            while !text.is_char_boundary(end) {
                end += 1;
            }
            found.push((start..end, of));
        }
        found
    }

    /// The run around a block that a text and a spelling have in common, if it is long enough.
    fn run(
        &self,
        block: u64,
        text: &[u8],
        at: usize,
        free: usize,
    ) -> Option<(Range<usize>, usize)> {
        let (_, spelling, begins) = *self
            .blocks
            .get(self.blocks.partition_point(|(known, ..)| *known < block))
            .filter(|(known, ..)| *known == block)?;
        let spelling = self.spellings.get(spelling)?;
        let common = |a: &mut dyn Iterator<Item = &u8>, b: &mut dyn Iterator<Item = &u8>| {
            a.zip(b).take_while(|(a, b)| a == b).count()
        };
        let before = common(
            &mut text.get(free..at)?.iter().rev(),
            &mut spelling.text.get(..begins)?.iter().rev(),
        );
        let behind = common(&mut text.get(at..)?.iter(), &mut spelling.text.get(begins..)?.iter());
        let range = at - before..at + behind;
        let whole = range.len() == spelling.text.len();
        let echo = whole || (range.len() >= spelling.run && is_varied(text.get(range.clone())?));
        echo.then_some((range, spelling.of))
    }
}

/// Whether a part of a secret can be told from a row of zeros, which stands in many texts.
fn is_varied(run: &[u8]) -> bool {
    let mut seen = [false; 256];
    run.iter().for_each(|byte| {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    });
    seen.iter().filter(|seen| **seen).count() >= VARIETY
}

fn number(block: &[u8]) -> u64 {
    block.try_into().map_or(0, u64::from_le_bytes)
}

fn sieve(block: u64, shift: u32) -> (usize, u64) {
    // The multiplier of Fibonacci hashing; the upper bits of its product name one of the sieve's.
    let bit = block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift;
    (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
}

/// The text as all spellings of it are compared: without blanks, in lower case, with the one base64
/// alphabet; and where each byte stood, unless nothing was left out.
fn folded(text: &[u8]) -> (Vec<u8>, Option<Vec<u32>>) {
    let fold = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other.to_ascii_lowercase(),
    };
    if !text.iter().any(u8::is_ascii_whitespace) {
        return (text.iter().map(|byte| fold(*byte)).collect(), None);
    }
    let kept = || text.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
    (
        kept().map(|(_, byte)| fold(*byte)).collect(),
        Some(kept().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX)).collect()),
    )
}

/// The part of the base64 of a secret behind so many other bytes that depends on the secret alone.
fn base64_behind(before: usize, secret: &[u8]) -> String {
    let bytes = [[0; 2].get(..before).unwrap_or_default(), secret].concat();
    let text = STANDARD_NO_PAD.encode(&bytes);
    text.get((before * 8).div_ceil(6)..bytes.len() * 8 / 6).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "pt-Yunxiao_0123456789/abcDEF+xyz";

    fn hidden(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
        let mut out = text.to_owned();
        for (range, of) in Finder::new(secrets.iter()).find(text).into_iter().rev() {
            out.replace_range(range, &format!("<{of}>"));
        }
        out
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};
        let wrapped: String = SECRET
            .as_bytes()
            .chunks(10)
            .map(|line| format!("{}\r\n ", String::from_utf8_lossy(line)))
            .collect();
        for spelt in [
            SECRET.to_owned(),
            SECRET.to_uppercase(),
            SECRET.to_lowercase(),
            hex::encode(SECRET),
            hex::encode_upper(SECRET),
            wrapped,
        ] {
            let text = format!("é token={spelt}; and more é");
            let hidden = hidden(&["another-secret-of-it", SECRET], &text);
            assert!(
                hidden.starts_with("é token=<1>") && hidden.ends_with("; and more é"),
                "{hidden}"
            );
        }
        for before in ["", "a", "ab", "abc", "é"] {
            let whole = format!("{before}{SECRET} and what stands behind");
            for spelt in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                let text = hidden(&[SECRET], &spelt);
                assert!(text.contains("<0>"), "{before}: {text}");
                let left = STANDARD
                    .decode(text.replace("<0>", "").replace('-', "+").replace('_', "/"))
                    .unwrap_or_default();
                assert!(!String::from_utf8_lossy(&left).contains("0123"), "{text}");
            }
        }
    }

    #[test]
    fn a_half_of_a_secret_is_found() {
        let coded = hex::encode(SECRET);
        let parts = [
            (SECRET, 0..16),
            (SECRET, 16..SECRET.len()),
            (SECRET, 8..26),
            (coded.as_str(), 0..32),
            (coded.as_str(), 20..50),
        ];
        for half in parts.map(|(text, part)| text.get(part).unwrap()) {
            assert_eq!(hidden(&[SECRET], &format!("cut: {half}...")), "cut: <0>...", "{half}");
        }
        assert_eq!(hidden(&[SECRET], "pt-Yunxiao is short"), "pt-Yunxiao is short");
        assert_eq!(hidden(&["12345678"], "a1234567b a12345678b"), "a1234567b a<0>b");
        let zeros = "5ac0ffee000000000000000000000000000000000a0c6";
        assert_eq!(
            hidden(&[zeros], &format!("{} {zeros}", "0".repeat(30))),
            format!("{} <0>", "0".repeat(30))
        );
    }

    #[test]
    fn a_long_text_is_looked_through_once() {
        let secrets: Vec<String> = (0..20).map(|n| format!("{n:02}abcdefgh").repeat(400)).collect();
        let text = "abcdefg01".repeat(100_000);
        let started = std::time::Instant::now();
        assert!(Finder::new(secrets.iter()).find(&text).is_empty());
        let same = "0".repeat(1_000_000);
        assert!(!Finder::new(["0".repeat(5000)].iter()).find(&same).is_empty());
        let half = "0123456789abcdef".repeat(60_000);
        assert!(!Finder::new(["0123456789abcdef".repeat(20)].iter()).find(&half).is_empty());
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }
}
