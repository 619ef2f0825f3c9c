//! What people and programs get to see.

use super::*;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::canonical;

fn id(n: u128) -> AuditId {
    AuditId(uuid::Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + n))
}

fn part_of(seq: u64, kind: Kind, leaf: &Value) -> Part {
    Part::new(
        seq,
        &Entry {
            time: Timestamp(1_795_357_250_000_000_000 + seq),
            kind,
            id: id(1),
            leaf: canonical(leaf),
        },
    )
}

fn exchange() -> Exchange {
    let content = Content { salt: [7; 32], bytes: r#"{"keyScope":"READ"}"#.into() };
    let mut request = part_of(
        17,
        Kind::Forwarded,
        &json!({
            "v": 1, "kind": "request", "id": id(1).to_string(), "time": "2026-11-22T14:20:50.123456Z",
            "caller": {"name": "deploy\u{1b}[31m", "kind": "service", "groups": ["ops", "ci"], "credential": {"scheme": "aksk", "key_id": "HPUA"}},
            "source": {"address": "10.0.0.7", "port": 4711},
            "call": {"service": "huawei.kps", "action": "huawei.kps.CreateKeypair", "method": "POST", "path": "/v3/p/keypairs", "headers": {}},
            "resource": {"type": "KeyPair", "id": "kp-1"},
            "items": [{"fields": {"name": "a"}}, {"fields": {"name": "b"}}],
            "body": {"length": 19, "commit": content.commitment(), "cut": false},
            "decision": {"verdict": "allow", "reason": "permitted", "message": "", "policies": [{"id": "p-one", "effect": "permit"}], "shadow": [],
                         "explanation": ["keyScope is READ"], "bundle": "b1"},
        }),
    );
    request.content = Some(content);
    let answer = part_of(
        18,
        Kind::Answer,
        &json!({"v": 1, "kind": "answer", "outcome": "accepted", "status": 202, "detail": "job 7"}),
    );
    Exchange { id: id(1), request, answer: Some(answer), answer_gone: false }
}

fn bare(kind: Kind) -> Exchange {
    Exchange { id: id(2), request: part_of(3, kind, &json!({})), answer: None, answer_gone: false }
}

fn page() -> Page {
    Page {
        exchanges: vec![exchange(), bare(Kind::Refused)],
        next: Some("17-0123456789abcdef".parse().unwrap()),
        counted: CountedRefusals::default(),
    }
}

#[test]
fn the_table_fits_and_says_how_to_go_on() {
    for width in [80, 100, 139, 140, 200] {
        let text = table(&page(), width);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
        assert!(text.contains(&id(1).to_string()) && text.contains("202"), "{text}");
        assert!(text.ends_with("For older ones: --cursor 17-0123456789abcdef\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "no escape sequence reaches the terminal");
    }
    assert_eq!(
        table(&Page { exchanges: vec![], next: None, counted: CountedRefusals::default() }, 80),
        "No exchange matches.\n"
    );
}

#[test]
fn json_carries_records_byte_for_byte() {
    let exchange = exchange();
    let line = exchange_json(&exchange);
    assert!(line.contains(std::str::from_utf8(&exchange.request.leaf).unwrap()));
    let parsed: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["request"]["content"]["text"], r#"{"keyScope":"READ"}"#);
    assert_eq!(
        (&parsed["outcome"], &parsed["status"], &parsed["answer"]["seq"]),
        (&json!("accepted"), &json!(202), &json!(18))
    );
    let parsed: Value = serde_json::from_str(&page_json(&page(), &[], &[])).unwrap();
    assert_eq!(
        (parsed["exchanges"].as_array().unwrap().len(), &parsed["next"]),
        (2, &json!("17-0123456789abcdef"))
    );
    assert_eq!(
        page_ndjson(&page())
            .lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .count(),
        2
    );
    let mut damaged = bare(Kind::Refused);
    damaged.request.leaf = b"\xff{"[..].into();
    damaged.request.json = Value::Null;
    assert!(serde_json::from_str::<Value>(&exchange_json(&damaged)).is_ok());
}

#[test]
fn the_page_of_an_exchange() {
    let expected = r"01920000-0000-7000-8000-000000000001
deploy\u{1b}[31m asked for huawei.kps.CreateKeypair on kp-1: allow permitted; accepted 202

Decision
  bundle       b1
  explanation  keyScope is READ
  policies
    0
      effect  permit
      id      p-one
  reason       permitted
  verdict      allow

Request, record 17 of the trail
";
    let text = show(&exchange());
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains(
            "\nRequest body, as its record commits to it\n  {\n    \"keyScope\": \"READ\"\n  }\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("  groups      ops, ci\n") && text.contains("Answer, record 18"),
        "{text}"
    );
    let mut other = exchange();
    other.request.content.as_mut().unwrap().salt = [8; 32];
    assert!(show(&other).contains("NOT THE ONE"));
    other.request.content = None;
    assert!(show(&other).contains("was erased"));
}

#[test]
fn missing_parts_break_nothing() {
    for kind in [Kind::Forwarded, Kind::Refused, Kind::Event] {
        let mut exchange = bare(kind);
        assert!(show(&exchange).contains("record 3 of the trail"));
        exchange.request.json = Value::Null;
        assert!(show(&exchange).contains("cannot be read"));
        table(
            &Page { exchanges: vec![exchange], next: None, counted: CountedRefusals::default() },
            20,
        );
    }
    assert!(show(&bare(Kind::Forwarded)).contains("No answer is recorded yet."));
    assert!(
        show(&bare(Kind::Refused))
            .contains("an unknown caller asked for an unknown operation: no decision; refused")
    );
}

#[test]
fn counts_are_shown() {
    let counts = Counts {
        total: 3,
        groups: vec![("deploy".to_owned(), 2), ("\u{9b}2J".to_owned(), 1)],
        counted: CountedRefusals { refusals: 48_211, records: 2 },
    };
    let text = counts_table(&counts, Some("caller"), 80);
    assert!(
        text.contains("deploy")
            && text.contains(r"\u{9b}2J")
            && text.contains(
                "3 in all\nBeside them 48211 refusals were counted together, in 2 records"
            ),
        "{text}"
    );
    assert_eq!(
        counts_table(&Counts { counted: CountedRefusals::default(), ..counts.clone() }, None, 80),
        "3 in all\n"
    );
    assert_eq!(
        counts_json(&counts, &[], &[])["counted"],
        json!({"refusals": 48_211, "records": 2})
    );
    assert_eq!(
        counts_json(&counts, &[], &[])["groups"][0],
        json!({"value": "deploy", "exchanges": 2})
    );
}

#[test]
fn a_histogram_has_a_bar_for_each_stretch_and_fits() {
    let at = |hour: u64| Timestamp::parse(&format!("2026-11-22T{hour:02}:00:00Z")).unwrap();
    let histogram = Histogram {
        step: 3_600_000_000_000,
        buckets: vec![(at(1), 8), (at(2), 0), (at(3), 3), (at(4), 1)],
        total: 12,
        counted: CountedRefusals::default(),
    };
    let table = histogram_table(&histogram, 60);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0], "from                  exchanges");
    assert_eq!(lines[1], format!("2026-11-22 01:00:00Z          8  {}", "█".repeat(27)));
    assert_eq!(lines[2], "2026-11-22 02:00:00Z          0");
    assert_eq!(lines[3], format!("2026-11-22 03:00:00Z          3  {}▏", "█".repeat(10)));
    assert_eq!(lines[5], "12 in all");
    assert!(lines.iter().all(|line| line.chars().count() <= 60), "{table}");
    let json = histogram_json(&histogram, &[], &[]);
    assert_eq!(
        (&json["step_seconds"], &json["buckets"][2]),
        (&json!(3600), &json!({"from": "2026-11-22T03:00:00.000000Z", "exchanges": 3}))
    );
    assert_eq!(
        histogram_table(&Histogram { buckets: vec![], total: 0, ..histogram }, 60).lines().last(),
        Some("0 in all")
    );
}
