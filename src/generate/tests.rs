//! What is generated is what the composer writes, and a trail like any other.

use super::scenario::SCENARIOS;
use super::workload::fill;
use super::*;
use keyward_record::canonical;
use keyward_trail::filter::Filter;
use keyward_trail::query::Reader;
use keyward_trail::wal::SledStore;
use serde_json::Value;

fn options(records: u64, seed: u64) -> Options {
    Options { records, seed, end: Timestamp::parse(END).unwrap() }
}

/// Composes one call with real values, and fills its template with them: the same bytes, but for
/// what is random.
#[test]
fn a_filled_template_is_what_the_composer_writes() {
    let site = Site::new().unwrap();
    let mut trail = Trail::new(&site, options(10_000, 7));
    let mut checked = 0;
    let mut first_of_group = std::collections::HashMap::new();
    for (index, (group, member, _)) in workload::members().enumerate() {
        first_of_group.entry(group).or_insert((index, member));
    }
    for (group, (index, member)) in first_of_group {
        for (scenario, script) in
            SCENARIOS.iter().filter(|s| s.group == group).zip(&site.agents[index].scripts)
        {
            let mut values = Values::default();
            trail.draw(&site.agents[index], &mut values);
            let id = AuditId(trail.id());
            values.set(Slot::Id, format_args!("{id}"));
            values.set(Slot::CloudTime, format_args!(":{}", 123_456));
            // The signature is what every composed call has.
            values.set(
                Slot::Signature,
                format_args!("{}", workload::marks(&site, index).get(Slot::Signature)),
            );
            let (composed, target, shown) = site.request(scenario, index, member, &values).unwrap();
            check(&mut trail, &composed, &script.request, &mut values);
            for (reply, (_, half)) in scenario.replies.iter().zip(&script.answers) {
                let composed = site.answer(scenario, reply, &target, &mut shown.clone(), &values);
                let json: Value = serde_json::from_slice(&composed.leaf).unwrap();
                values.set(Slot::Answered, format_args!("{}", json["time"].as_str().unwrap()));
                check(&mut trail, &composed, half, &mut values);
                checked += 1;
            }
            assert!(scenario.body.is_empty() || fill(scenario.body, &values).len() > 10);
        }
    }
    assert!(checked > 30, "{checked}");
}

fn check(trail: &mut Trail, composed: &keyward_record::Record, half: &Half, values: &mut Values) {
    trail.batch = Batch::default();
    trail.write(composed.id, composed.kind, composed.time.0, half, values);
    let entry = trail.batch.entries.pop().unwrap();
    let (mut written, mut wanted): (Value, Value) = (
        serde_json::from_slice(&entry.leaf).unwrap(),
        serde_json::from_slice(&composed.leaf).unwrap(),
    );
    assert_eq!(canonical(&written), entry.leaf, "canonical");
    match (trail.batch.contents.pop(), &composed.content) {
        (Some((_, content)), Some(wanted)) => {
            assert_eq!(content.bytes, wanted.bytes);
            assert_eq!(written["body"]["commit"], content.commitment());
        }
        (None, None) => {}
        other => panic!("{other:?}"),
    }
    // A keyed digest is of bytes that the record does not have; the salt is random.
    let keyed = wanted["body"]["digest"].as_str().is_some_and(|digest| digest.starts_with("hmac"));
    for json in [&mut written, &mut wanted] {
        let body = json["body"].as_object_mut().unwrap();
        body.remove("commit");
        if keyed {
            body.remove("digest");
        }
    }
    assert_eq!(written, wanted);
}

#[test]
fn the_same_seed_gives_the_same_trail_and_it_answers() {
    let site = Site::new().unwrap();
    let make = |seed| {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap().0;
        let generated = generate(&store, &site, options(8000, seed), |_| ()).unwrap();
        let frames: Result<Vec<_>, _> = store.oldest_first(0).collect();
        let entries: Vec<_> = frames
            .unwrap()
            .into_iter()
            .flat_map(|frame| (frame.first_seq..).zip(frame.entries))
            .collect();
        (dir, generated, entries)
    };
    let (dir, generated, first) = make(1);
    let (_, _, again) = make(1);
    let (_, _, other) = make(2);
    assert_eq!((generated.records, first.len()), (8000, 8000));
    let leaves = |entries: &[(u64, Entry)]| {
        entries
            .iter()
            .filter(|(_, e)| e.kind != Kind::Event)
            .map(|(_, e)| e.leaf.clone())
            .collect::<Vec<_>>()
    };
    let events = |entries: &[(u64, Entry)]| {
        entries.iter().filter(|(_, e)| e.kind == Kind::Event).map(|(n, _)| *n).collect::<Vec<_>>()
    };
    assert!(
        leaves(&first) == leaves(&again)
            && events(&first) == events(&again)
            && leaves(&first) != leaves(&other)
    );
    // As the writer does it: the latest time that any record had by then.
    let mut latest = 0;
    for (seq, entry) in &first {
        let leaf: Value = serde_json::from_slice(&entry.leaf).unwrap();
        latest = latest.max(Timestamp::parse(leaf["time"].as_str().unwrap()).unwrap().0 / 1000);
        assert_eq!(entry.time.0 / 1000, latest, "record {seq}");
    }
    let (begin, end) = (first.first().unwrap().1.time.0, first.last().unwrap().1.time.0);
    assert!((80 * DAY..91 * DAY).contains(&(end - begin)), "{} days", (end - begin) / DAY);

    let reader = Reader::open(dir.path()).unwrap();
    let count = |pairs: &[(&str, &str)]| {
        reader.count(&Filter::parse(pairs.to_vec()).unwrap(), Some("caller")).unwrap()
    };
    let all = count(&[]);
    assert!(all.groups.len() > 40, "{} callers", all.groups.len());
    assert_eq!(count(&[("outcome", "open")]).total, 0);
    let denied = count(&[("decision", "deny")]).total as f64 / all.total as f64;
    assert!((0.01..0.1).contains(&denied), "{denied} denied");
    assert!(count(&[("status", "4xx"), ("decision", "allow")]).total > 50);
    assert!(
        count(&[("outcome", "partly-failed")]).total > 0
            && count(&[("outcome", "not-sent")]).total > 0
    );
}
