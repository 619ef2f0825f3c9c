//! The shipped catalogue loads, and what is wrong with a document is said with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a mistake here should end the run")]

#[test]
fn the_shipped_documents_load() {
    match keyward::catalog::Catalog::load(std::path::Path::new("config/apis")) {
        Ok(catalog) => assert!(catalog.operations().len() > 100, "{}", catalog.operations().len()),
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
