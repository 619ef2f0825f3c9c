//! The forms, held against golden files, the published schema, and the rule that nothing is
//! dropped.
//!
//! `KEYWARD_GOLDEN=write cargo test --test it golden` writes the golden files anew; read the
//! difference before you commit it.

use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::Kind;
use keyward_record::canonical;
use keyward_trail::exchange::{Exchange, Part};
use keyward_trail::export::format::{ExportFormat, csv};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;

const GOLDEN: &str = "tests/fixtures/forms";

/// Exchanges of the demo, of a gateway that was killed, and the gateway's own events.
fn samples() -> Vec<Exchange> {
    let lines = include_str!("../fixtures/forms/trail.exchange").lines();
    lines.map(|line| Exchange::read(line).unwrap()).collect()
}

fn written(form: ExportFormat, exchanges: &[Exchange]) -> String {
    let mut out = form.header().as_bytes().to_vec();
    exchanges.iter().for_each(|exchange| form.write(exchange, &mut out));
    String::from_utf8(out).unwrap()
}

/// An exchange as the one event of a form.
fn event(form: ExportFormat, exchange: &Exchange) -> Value {
    serde_json::from_str(&written(form, std::slice::from_ref(exchange))).unwrap()
}

fn validator() -> &'static jsonschema::Validator {
    static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema =
            serde_json::from_str(include_str!("../ocsf/api_activity.schema.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    &VALIDATOR
}

fn check_schema(event: &Value) {
    let errors: Vec<_> = validator()
        .iter_errors(event)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}\n{event:#}", errors.join("\n"));
}

#[test]
fn golden_files_hold() {
    for form in ExportFormat::ALL {
        let path = Path::new(GOLDEN).join(format!("trail.{}", form.name()));
        let now = written(form, &samples());
        if std::env::var("KEYWARD_GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::write(&path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        for (now, golden) in now.lines().zip(golden.lines()) {
            assert_eq!(now, golden, "{}", form.name());
        }
        assert_eq!(now.len(), golden.len(), "{}", form.name());
    }
}

#[test]
fn native_lines_are_the_records_byte_for_byte() {
    let samples = samples();
    let lines = written(ExportFormat::Ndjson, &samples);
    let leaves: Vec<_> = samples
        .iter()
        .flat_map(|e| std::iter::once(&e.request).chain(&e.answer))
        .map(|part| std::str::from_utf8(&part.leaf).unwrap())
        .collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), leaves);
    assert!(samples.iter().all(|sample| {
        keyward_trail::query::render::exchange_json(sample)
            .contains(std::str::from_utf8(&sample.request.leaf).unwrap())
    }));
}

#[test]
fn ocsf_events_fit_the_published_schema() {
    for exchange in samples() {
        check_schema(&event(ExportFormat::Ocsf, &exchange));
    }
    // The schema is one that can say no.
    let mut wrong = event(ExportFormat::Ocsf, &samples()[0]);
    wrong["actor"]["user"]["nmae"] = json!("x");
    assert!(!validator().is_valid(&wrong));
}

#[test]
fn a_refusal_is_a_control_that_names_its_policy() {
    let exchanges = samples();
    let refused: Vec<_> =
        exchanges.iter().filter(|exchange| exchange.request.kind == Kind::Refused).collect();
    assert!(refused.len() > 3);
    for exchange in refused {
        let (cadf, ocsf) =
            (event(ExportFormat::Cadf, exchange), event(ExportFormat::Ocsf, exchange));
        let asked = exchange.request.asked();
        let policy = asked.policies().next();
        assert_eq!((&cadf["eventType"], &cadf["outcome"]), (&json!("control"), &json!("failure")));
        assert_eq!(cadf["reason"]["policyId"].as_str(), policy.or(asked.decision.reason));
        assert_eq!(
            (&ocsf["action"], &ocsf["status"], &ocsf["disposition"]),
            (&json!("Denied"), &json!("Failure"), &json!("Blocked"))
        );
        assert_eq!(ocsf["policy"]["uid"].as_str(), policy);
    }
    assert!(exchanges.iter().filter(|e| e.request.kind != Kind::Refused).all(|e| event(
        ExportFormat::Cadf,
        e
    )["eventType"]
        == "activity"));
}

/// A caller's name with all that readers end lines at.
#[test]
fn an_event_is_one_line_for_every_reader() {
    let said = "a\u{85}b\u{2028}c\u{2029}d\\u2028";
    for exchange in samples() {
        let mut json = exchange.request.json.clone();
        json["caller"] = serde_json::json!({"name": said});
        let exchange = Exchange { request: Part { json, ..exchange.request }, ..exchange };
        for form in [ExportFormat::Ocsf, ExportFormat::Cadf] {
            let mut out = Vec::new();
            form.write(&exchange, &mut out);
            let line = String::from_utf8(out).unwrap();
            assert!(
                !line.contains(['\u{85}', '\u{2028}', '\u{2029}'])
                    && line.matches('\n').count() == 1,
                "{line}"
            );
            let read: Value = serde_json::from_str(&line).unwrap();
            assert!(read.to_string().contains(&serde_json::json!(said).to_string()), "{line}");
        }
    }
}

#[test]
fn a_table_says_that_it_is_utf_8() {
    assert_eq!(ExportFormat::Csv.header(), format!("\u{feff}{}", csv::HEADER));
    assert!(ExportFormat::Ndjson.header().is_empty());
}

#[test]
fn rows_have_as_many_fields_as_the_header() {
    let fields = |row: &str| {
        let mut quoted = false;
        row.chars()
            .filter(|c| {
                quoted ^= *c == '"';
                *c == ',' && !quoted
            })
            .count()
    };
    for exchange in samples() {
        let row = csv::row(&exchange);
        assert_eq!(fields(&row), fields(csv::HEADER), "{row}");
        assert!(row.ends_with("\r\n") && row.matches('\n').count() == 1);
    }
}

/// Values of every type, among them those that a form has a place for.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        "[ -~é\u{1}]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "allow",
            "deny",
            "user",
            "GET",
            "10.0.0.7",
            "::ffff:1.2.3.4",
            "[::1]:80",
            "2026-11-22T14:20:50.123456Z"
        ])
        .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "id", "type", "effect", "message", "item", "parent", "name", "resource", "x", "",
    ]);
    leaf.prop_recursive(4, 60, 6, move |inner| {
        let object =
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

/// Replaces the value that stands at the nth place of a document.
fn replace(value: &mut Value, place: &mut usize, with: &Value) {
    if *place == 0 {
        *value = with.clone();
    }
    *place = place.wrapping_sub(1);
    match value {
        _ if *place == usize::MAX => {}
        Value::Object(object) => object.values_mut().for_each(|inner| replace(inner, place, with)),
        Value::Array(array) => array.iter_mut().for_each(|inner| replace(inner, place, with)),
        _ => {}
    }
}

/// A record of the samples with some of its places changed to anything.
fn any_record(answer: bool) -> impl Strategy<Value = Value> {
    let samples: Vec<Value> = samples()
        .iter()
        .filter_map(|e| if answer { e.answer.as_ref() } else { Some(&e.request) })
        .map(|part| part.json.clone())
        .collect();
    let changes = prop::collection::vec((1..150_usize, any_json()), 0..8);
    (prop::sample::select(samples), changes).prop_map(|(mut record, changes)| {
        changes.into_iter().for_each(|(mut place, with)| replace(&mut record, &mut place, &with));
        record
    })
}

fn exchange_of(kind: Kind, request: &Value, answer: Option<&Value>) -> Exchange {
    let id = AuditId::new();
    let part = |seq, kind, leaf: &Value| {
        Part::new(
            seq,
            &Entry { time: Timestamp(1_795_357_250_000_000_000), kind, id, leaf: canonical(leaf) },
        )
    };
    Exchange {
        id,
        request: part(7, kind, request),
        answer: answer.map(|leaf| part(8, Kind::Answer, leaf)),
        answer_gone: false,
    }
}

/// Texts and numbers, wherever they stand. A number may have become a text.
fn scalars(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(object) => object.values().for_each(|value| scalars(value, out)),
        Value::Array(array) => array.iter().for_each(|value| scalars(value, out)),
        Value::String(text) => out.push(text.clone()),
        Value::Number(number) => out.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_kept(record: &Value, event: &Value, said: &[&str]) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    scalars(record, &mut before);
    scalars(event, &mut after);
    // An address with its port is two values of the event, a host part of a URL.
    let kept = |value: &String| {
        let whole = after.contains(value) || said.contains(&value.as_str()) || value.is_empty();
        whole
            || value.parse::<std::net::SocketAddr>().is_ok()
            || after.iter().any(|text| text.strip_prefix("https://") == Some(value))
    };
    for value in before {
        assert!(kept(&value), "{value:?} is lost\n{record}\n{event}");
    }
}

proptest! {
    /// Whatever a record holds, its event fits the schema, and each of its values is in it: in the words of the schema, or
    /// as it was.
    #[test]
    fn nothing_is_dropped_whatever_a_record_holds(request in any_record(false), answer in prop::option::of(any_record(true)), kind in 0..3_usize) {
        let kind = [Kind::Forwarded, Kind::Refused, Kind::Event][kind];
        let answer = answer.filter(|_| kind == Kind::Forwarded);
        let exchange = exchange_of(kind, &request, answer.as_ref());
        let (ocsf, cadf) = (event(ExportFormat::Ocsf, &exchange), event(ExportFormat::Cadf, &exchange));
        check_schema(&ocsf);
        // What the event says by what it is.
        let said = ["allow", "deny", "pass", "user", "robot", "anonymous", "request", "answer", "event"];
        for record in std::iter::once(&request).chain(&answer) {
            check_kept(record, &ocsf, &said);
            check_kept(record, &cadf, &said);
        }
        let row = csv::row(&exchange);
        prop_assert!(row.matches('\n').count() == 1 && row.ends_with("\r\n"));
    }
}
