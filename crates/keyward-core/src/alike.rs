//! Names that are like another one, for whoever has misspelt it.

/// Names that are suggested, at most.
const NEAR_MAX: usize = 3;
/// How alike two names are when one may have been meant by the other.
const ALIKE_MIN: f64 = 0.65;

/// The names that may have been meant, the likeliest first.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut near: Vec<_> = known
        .into_iter()
        .map(|known| (alike(&wanted, &known.to_lowercase()), known))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .collect();
    near.sort_by(|(a, m), (b, n)| b.total_cmp(a).then_with(|| m.cmp(n)));
    near.dedup();
    near.into_iter().take(NEAR_MAX).map(|(_, known)| known).collect()
}

/// The same as the end of a sentence; empty when there is none.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near: Vec<_> = near(name, known).into_iter().map(|near| format!("`{near}`")).collect();
    if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) }
}

fn alike(wanted: &str, known: &str) -> f64 {
    // The last part of a long name is often all that somebody remembers.
    if wanted.len() >= 4 && known.contains(wanted) {
        return 0.9;
    }
    strsim::normalized_damerau_levenshtein(wanted, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let known = ["KpsCreateKeypair", "KpsDeleteKeypair", "ImsCopyImage", "deploy", "POST"];
        for (name, meant) in [
            ("KpsCreateKeypar", "KpsCreateKeypair"),
            ("kpscreatekeypair", "KpsCreateKeypair"),
            ("CreateKeypair", "KpsCreateKeypair"),
            ("depoly", "deploy"),
            ("post", "POST"),
        ] {
            assert_eq!(near(name, known).first(), Some(&meant), "{name}");
        }
        assert!(near("nobody-at-all", known).is_empty());
        assert_eq!(did_you_mean("x", known), "");
    }
}
