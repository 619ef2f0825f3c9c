//! Names that are known without any record: of the operations that were ever guarded, the policies
//! that were ever in force, and the callers that are listed. A question for another name answers
//! nothing, and must not pass for "nobody did". Whoever has rules says which names they have.

use std::collections::{BTreeMap, BTreeSet};

/// Fields of which all values come from the gateway's own rules, so that any other is a mistake.
const CLOSED: &[&str] = &["action", "service", "operation", "method", "policy", "shadow"];

/// Names by field.
#[derive(Clone, Debug, Default)]
pub struct Names {
    fields: BTreeMap<&'static str, BTreeSet<String>>,
    /// All keys of the catalogue's documents, names of body fields among them.
    words: BTreeSet<String>,
}

impl Names {
    /// Adds a name.
    pub fn add(&mut self, field: &'static str, name: &str) {
        self.fields.entry(field).or_default().insert(name.to_owned());
    }

    /// Adds keys of documents, names of body fields among them.
    pub fn add_words(&mut self, words: impl IntoIterator<Item = String>) {
        self.words.extend(words);
    }

    /// Those of a field.
    pub(super) fn of(&self, field: &str) -> impl Iterator<Item = &str> {
        self.fields.get(field).into_iter().flatten().map(String::as_str)
    }

    /// The fields that have a name.
    pub(super) fn fields_of<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'static str> + 'a {
        self.fields.iter().filter(move |(_, names)| names.contains(name)).map(|(field, _)| *field)
    }

    /// Whether a name that neither they nor a record have is a mistake for sure.
    pub(super) fn are_all_of(&self, field: &str) -> bool {
        CLOSED.contains(&field) && self.fields.contains_key(field)
    }

    /// Whether a document of the catalogue has such a key.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    /// All keys of the catalogue's documents.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }
}
