//! What operators write: whatever is wrong with it is said with its place, and what loads can be asked.

use keyward::catalog::{Catalog, Target};
use keyward::config::form;

/// The input is an OpenAPI document.
pub fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Catalog::from_texts(&[("fuzz.yaml".to_owned(), text.to_owned())]) {
        Ok(catalog) => {
            for operation in catalog.operations() {
                let path = operation.template.split('/').map(|s| if s.starts_with('{') { "a" } else { s }).collect::<Vec<_>>().join("/");
                let meant = catalog.classify(Some(&operation.service), "", &operation.method, &path);
                assert!(matches!(meant, Target::Operation(..) | Target::Unknown(..)), "{path} passes unjudged, and is {}", operation.action);
                assert!(!operation.groups.is_empty());
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(error.to_string().starts_with("fuzz.yaml") && !error.why.is_empty(), "{error}");
            }
        }
    }
}

/// The input is a configuration file; what stands behind a NUL is given on the command line, key for key.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let sets: Vec<_> = parts.map(str::to_owned).collect();
    let Err(error) = form::read("fuzz.toml", file, &sets) else {
        // What is laid over a sound file does not make it unsound.
        return assert!(form::read("fuzz.toml", file, &[]).is_ok());
    };
    let said = error.to_string();
    match said.strip_prefix("fuzz.toml:") {
        Some(place) => {
            let number = |part: Option<&str>| part.and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0).unwrap_or_else(|| panic!("no place: {said}"));
            let mut places = place.split(':');
            let (line, _column) = (number(places.next()), number(places.next()));
            assert!(line <= file.split('\n').count(), "a line that is not there: {said}");
        }
        None => assert!(said.starts_with("--set ") && !sets.is_empty(), "no place: {said}"),
    }
}
