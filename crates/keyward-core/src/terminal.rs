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
