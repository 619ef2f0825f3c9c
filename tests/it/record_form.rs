//! The form of a record: its JSON Schema and its page are those of the types, and every record that
//! there ever was fits.
//!
//! `KEYWARD_GOLDEN=write cargo test --test it record_form` writes schema and page; read the
//! difference before you commit it.

use crate::support::cli::keyward;
use keyward_record::{Leaf, canonical, schema};
use keyward_trail::exchange::Exchange;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;

static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&schema::schema()).unwrap());

/// A value without the names that stand for nothing.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(array) => array.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

/// A record fits the schema, and the types read all that it says.
pub fn check(leaf: &[u8]) {
    let json: Value = serde_json::from_slice(leaf).unwrap();
    let errors: Vec<_> = VALIDATOR
        .iter_errors(&json)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}\n{json:#}", errors.join("\n"));
    let read = Leaf::read(leaf)
        .unwrap_or_else(|| panic!("{:?}\n{json:#}", serde_json::from_slice::<Leaf>(leaf)));
    let again = serde_json::to_value(read).unwrap();
    assert_eq!(without_nulls(again), without_nulls(json.clone()));
    assert_eq!(canonical(&json), leaf, "canonical");
}

/// Compares a file of the documentation with what the types say, or writes it.
fn golden(name: &str, now: &str) {
    let path = Path::new("docs").join(name);
    if std::env::var("KEYWARD_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, now).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == now,
        "{} is not what the types say: see this test's first lines",
        path.display()
    );
}

#[test]
fn schema_and_page_are_those_of_the_types() {
    golden("record.schema.json", &format!("{:#}\n", schema::schema()));
    golden("record.md", &schema::page());
}

#[test]
fn every_record_that_there_ever_was_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = 0;
    for line in include_str!("../fixtures/forms/trail.exchange").lines() {
        let exchange = Exchange::read(line).unwrap();
        std::iter::once(&exchange.request)
            .chain(&exchange.answer)
            .for_each(|part| check(&part.leaf));
        records += 1;
    }
    for name in ["ended.tar.zst", "killed.tar.zst"] {
        let audit = crate::old_trails::open(name, dir.path()).join("audit");
        let exported =
            keyward(&["audit", "export", "--dir", audit.to_str().unwrap(), "--form", "ndjson"]);
        for line in exported.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            check(line);
            records += 1;
        }
    }
    assert!(records > 200, "{records}");
}

#[test]
fn a_record_of_another_form_does_not_fit() {
    let sample =
        Exchange::read(include_str!("../fixtures/forms/trail.exchange").lines().next().unwrap())
            .unwrap()
            .request
            .json;
    assert!(VALIDATOR.is_valid(&sample));
    for (pointer, wrong) in [
        ("/v", json!("1")),
        ("/decision/verdict", json!("maybe")),
        ("/caller", json!([])),
        ("/body/length", json!("7")),
        ("/kind", json!("x")),
    ] {
        let mut changed = sample.clone();
        *changed.pointer_mut(pointer).unwrap() = wrong;
        assert!(!VALIDATOR.is_valid(&changed), "{pointer}");
        assert_eq!(Leaf::read(changed.to_string().as_bytes()), None, "{pointer}");
    }
}
