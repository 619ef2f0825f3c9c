//! Names that are known without any record: of the operations that were ever guarded, the policies that were ever in force,
//! and the callers that are listed. A question for another name answers nothing, and must not pass for "nobody did".

use super::texts::Text;
use crate::catalog::Catalog;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

/// The methods of HTTP.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
/// Fields of which all values come from the gateway's own rules, so that any other is a mistake.
const CLOSED: &[&str] = &["action", "service", "operation", "method", "policy", "shadow"];

static POLICY_ID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"@id\s*\(\s*"([^"\\]+)"\s*\)"#).ok());
static KEY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"([A-Za-z_][A-Za-z0-9_-]*)['"]?\s*:"#).ok());

/// Names by field.
#[derive(Clone, Debug, Default)]
pub struct Names {
    fields: BTreeMap<&'static str, BTreeSet<String>>,
    /// All keys of the catalogue's documents, names of body fields among them.
    words: BTreeSet<String>,
}

impl Names {
    /// Those of the texts that are kept beside a trail. What cannot be read is passed over: it makes names unknown, and a
    /// warning more.
    pub fn of_texts(audit_dir: &Path) -> Self {
        let mut names = Self::default();
        METHODS.iter().for_each(|method| names.add("method", method));
        for entry in std::fs::read_dir(audit_dir.join(super::texts::DIR)).into_iter().flatten().flatten() {
            let Some(text) = std::fs::read(entry.path()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) else { continue };
            match text {
                Text::Bundle(source) => {
                    let ids = source.policies.iter().flat_map(|(_, text)| POLICY_ID.iter().flat_map(|id| id.captures_iter(text)));
                    ids.filter_map(|found| found.get(1)).for_each(|id| ["policy", "shadow"].into_iter().for_each(|field| names.add(field, id.as_str())));
                }
                Text::Catalog { documents } => names.add_catalog(&documents),
            }
        }
        names
    }

    fn add_catalog(&mut self, documents: &[(String, String)]) {
        for (_, text) in documents {
            let keys = KEY.iter().flat_map(|key| key.captures_iter(text)).filter_map(|found| found.get(1));
            self.words.extend(keys.map(|key| key.as_str().to_owned()));
        }
        let Ok(catalog) = Catalog::from_texts(documents) else { return };
        for operation in catalog.operations() {
            self.add("operation", &operation.operation_id);
            self.add("action", &operation.action);
            self.add("service", &operation.service);
        }
        catalog.services().for_each(|(service, _)| self.add("service", &service.name));
        ["passing", "unknown"].iter().for_each(|action| self.add("action", action));
        self.add("service", "unknown");
    }

    /// Adds a name.
    pub fn add(&mut self, field: &'static str, name: &str) {
        self.fields.entry(field).or_default().insert(name.to_owned());
    }

    /// Those of a field.
    pub(super) fn of(&self, field: &str) -> impl Iterator<Item = &str> {
        self.fields.get(field).into_iter().flatten().map(String::as_str)
    }

    /// The fields that have a name.
    pub(super) fn fields_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'static str> + 'a {
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
