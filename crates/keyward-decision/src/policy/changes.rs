//! What a new bundle changes.

use super::bundle::{Bundle, Listing};

/// How a bundle differs from the one before it, by the ids of its policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Policies that were not there before.
    pub came: Vec<String>,
    /// Policies that are there no more.
    pub went: Vec<String>,
    /// Policies that say something else now.
    pub changed: Vec<String>,
}

impl Changes {
    /// From one bundle to the next.
    pub fn between(before: &Bundle, after: &Bundle) -> Self {
        let ids =
            |some: Vec<&Listing>| some.into_iter().map(|listing| listing.id.clone()).collect();
        let lacks = |bundle: &Bundle, id: &str| bundle.policies().all(|other| other.id != id);
        let differs =
            |new: &&Listing| before.policies().any(|old| old.id == new.id && old.text != new.text);
        Self {
            came: ids(after.policies().filter(|new| lacks(before, &new.id)).collect()),
            went: ids(before.policies().filter(|old| lacks(after, &old.id)).collect()),
            changed: ids(after.policies().filter(differs).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{catalog, directory};
    use super::*;

    fn bundle(ids: &[(&str, &str)]) -> Bundle {
        let text: String = ids
            .iter()
            .map(|(id, message)| {
                format!(
                    "@id(\"{id}\") @message(\"{message}\") permit (principal, action, resource);\n"
                )
            })
            .collect();
        Bundle::from_texts(&[("x.cedar".to_owned(), text)], None, catalog(), &directory()).unwrap()
    }

    #[test]
    fn a_bundle_tells_what_came_and_went() {
        let changes = Changes::between(
            &bundle(&[("a", "m"), ("b", "m"), ("c", "m")]),
            &bundle(&[("c", "n"), ("b", "m"), ("d", "m")]),
        );
        let of = |text: &str| vec![text.to_owned()];
        assert_eq!(changes, Changes { came: of("d"), went: of("a"), changed: of("c") });
    }
}
