//! What is shown to people, on whose terminals callers may not write.

/// Text that cannot steer a terminal: control characters, and those that turn the reading
/// direction, are spelt out.
pub fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut clean, c| {
        if steers(c) {
            clean.extend(c.escape_unicode())
        } else {
            clean.push(c)
        }
        clean
    })
}

/// The same of a text of several lines, which stay lines; tabs stay too.
pub fn clean_lines(text: &str) -> String {
    let parts = text.split_inclusive(['\n', '\t']).map(|part| {
        let end = part.trim_end_matches(['\n', '\t']).len();
        let (words, end) = part.split_at(end);
        clean(words) + end
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal_and_lines_stay_lines() {
        assert_eq!(clean("a\u{1b}[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\u{a}");
        assert_eq!(clean_lines("a\r\n\n\tb\u{7}\n"), "a\\u{d}\n\n\tb\\u{7}\n");
        assert_eq!((clean_lines(""), clean_lines("a")), (String::new(), "a".to_owned()));
    }
}
