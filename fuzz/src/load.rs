//! What operators write: whatever is wrong with it is said with its place, and what loads can be
//! asked.

use keyward::config::Draft;
use keyward_decision::catalog::{Catalog, Target};
use std::path::Path;

/// The input is an OpenAPI document.
pub fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Catalog::from_texts(&[("fuzz.yaml".to_owned(), text.to_owned())]) {
        Ok(catalog) => {
            for operation in catalog.operations() {
                let path = operation
                    .template
                    .split('/')
                    .map(|s| if s.starts_with('{') { "a" } else { s })
                    .collect::<Vec<_>>()
                    .join("/");
                let meant =
                    catalog.classify(Some(&operation.service), "", &operation.method, &path);
                assert!(
                    matches!(meant, Target::Operation(..) | Target::Unknown(..)),
                    "{path} passes unjudged, and is {}",
                    operation.action
                );
                assert!(!operation.groups.is_empty());
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(
                    error.to_string().starts_with("fuzz.yaml") && !error.why.is_empty(),
                    "{error}"
                );
            }
        }
    }
}

/// The input is a configuration file; what stands behind a NUL is given on the command line, key
/// for key.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let sets: Vec<_> = parts.map(str::to_owned).collect();
    let mistakes = match Draft::of_text("fuzz.toml", file, Path::new("."), &sets) {
        Ok(draft) => draft.mistakes,
        Err(mistake) => vec![mistake],
    };
    for mistake in mistakes {
        assert!(!mistake.why.is_empty(), "{mistake}");
        match mistake.place {
            Some((line, column)) => {
                assert!(mistake.of == "fuzz.toml" && line > 0 && column > 0, "{mistake}");
                assert!(line <= file.split('\n').count(), "a line that is not there: {mistake}");
            }
            None => assert!(
                mistake.of == "fuzz.toml" || (mistake.of.starts_with("--set ") && !sets.is_empty()),
                "{mistake}"
            ),
        }
    }
}
