//! Names that a question may ask for although no record has them: those of the rules that were ever
//! in force.

use keyward_core::texts::{self, Text};
use keyward_decision::catalog::Catalog;
use keyward_trail::query::known::Names;
use regex::Regex;
use std::path::Path;
use std::sync::LazyLock;

/// The methods of HTTP.
const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

static POLICY_ID: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"@id\s*\(\s*"([^"\\]+)"\s*\)"#).ok());
static KEY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"([A-Za-z_][A-Za-z0-9_-]*)['"]?\s*:"#).ok());

/// Those of the texts that are kept beside a trail. What cannot be read is passed over: it makes
/// names unknown, and a warning more.
pub fn of_texts(audit_dir: &Path) -> Names {
    let mut names = Names::default();
    METHODS.iter().for_each(|method| names.add("method", method));
    for entry in std::fs::read_dir(audit_dir.join(texts::DIR)).into_iter().flatten().flatten() {
        let Some(text) =
            std::fs::read(entry.path()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
        else {
            continue;
        };
        match text {
            Text::Bundle(source) => {
                let ids = source
                    .policies
                    .iter()
                    .flat_map(|(_, text)| POLICY_ID.iter().flat_map(|id| id.captures_iter(text)));
                ids.filter_map(|found| found.get(1)).for_each(|id| {
                    ["policy", "shadow"].into_iter().for_each(|field| names.add(field, id.as_str()))
                });
            }
            Text::Catalog { documents } => add_catalog(&mut names, &documents),
        }
    }
    names
}

fn add_catalog(names: &mut Names, documents: &[(String, String)]) {
    for (_, text) in documents {
        let keys =
            KEY.iter().flat_map(|key| key.captures_iter(text)).filter_map(|found| found.get(1));
        names.add_words(keys.map(|key| key.as_str().to_owned()));
    }
    let Ok(catalog) = Catalog::from_texts(documents) else { return };
    for operation in catalog.operations() {
        names.add("operation", &operation.operation_id);
        names.add("action", &operation.action);
        names.add("service", &operation.service);
    }
    catalog.services().for_each(|(service, _)| names.add("service", &service.name));
    ["passing", "unknown"].iter().for_each(|action| names.add("action", action));
    names.add("service", "unknown");
}
