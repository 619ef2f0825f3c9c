//! The file against the builder that it was written from.

use super::super::builder::{Builder, Growing};
use super::*;
use keyward_core::clock::Timestamp;
use keyward_record::Entry;
use keyward_record::{Kind, canonical};
use proptest::prelude::*;
use serde_json::json;

fn entry(n: u64, kind: Kind, id: AuditId, caller: u16, resource: u16) -> Entry {
    let leaf = json!({
        "caller": {"name": format!("caller-{caller}")}, "source": {"address": format!("10.0.{}.{}", caller % 3, resource % 250)},
        "resource": {"id": format!("kp-{resource:05}")}, "outcome": "succeeded", "status": 200 + caller % 3 * 100, "decision": {"verdict": "allow"},
    });
    Entry { time: Timestamp(n), kind, id, leaf: canonical(&leaf) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_file_tells_what_its_builder_knows(records in prop::collection::vec((0..4_u8, 0..400_u16, 0..2000_u16), 1..1500), flip in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(1000);
        let mut digests = Digests::default();
        let (mut open, mut ids) = (Vec::new(), Vec::new());
        for (n, (kind, caller, resource)) in (1000_u64..).zip(&records) {
            let kind = [Kind::Forwarded, Kind::Refused, Kind::Answer, Kind::Event][usize::from(*kind)];
            let id = AuditId::new();
            let entry = entry(n, kind, id, *caller, *resource);
            builder.add(&entry);
            ids.push(id);
            digests.note((n - 1000) as u32, format!("x hmac-sha256:{} y", format!("{:02x}", resource % 256).repeat(32)).as_bytes());
            match kind {
                Kind::Forwarded => open.push(n),
                Kind::Answer => if let Some(request) = open.pop() { builder.settle(request, n, &entry) },
                _ => {}
            }
        }
        let count = builder.count();
        let wanted_digests = digests.0.clone();
        let bytes = encode(&builder, digests, &[7; 32]).unwrap();
        let path = dir.path().join("i");
        std::fs::write(&path, &bytes).unwrap();
        let file = IndexFile::open(&path, 1000, count, &[7; 32], Cache::default()).unwrap();
        let memory = Growing::of(builder);
        prop_assert_eq!((file.exchanges(), file.events(), file.unsettled()), (memory.exchanges(), memory.events(), memory.unsettled()));
        for field in 0..FIELDS.len() {
            let all = |index: &dyn Index| {
                let mut all = std::collections::BTreeMap::new();
                index.values(field, &mut |value, ordinals| drop(all.insert(value.to_owned(), ordinals.clone()))).unwrap();
                all
            };
            let values = all(&memory);
            prop_assert_eq!(&all(&file), &values);
            for wanted in values.keys().cloned().chain(["".into(), "kp-".into(), "zzz".into()]).flat_map(|v| [Match::Exact(v.clone()), Match::Prefix(v)]).take(200) {
                prop_assert_eq!(file.matching(field, &wanted).unwrap(), memory.matching(field, &wanted).unwrap(), "{:?}", wanted);
            }
            for wanted in [Match::Prefix("kp-000".into()), Match::Prefix("caller-1".into()), Match::Net("10.0.1.0".parse().unwrap(), 24), Match::Number(300..401)] {
                prop_assert_eq!(file.matching(field, &wanted).unwrap(), memory.matching(field, &wanted).unwrap(), "{:?}", wanted);
            }
        }
        for (ordinal, id) in (0..).zip(&ids) {
            prop_assert!(file.with_id(*id).unwrap().contains(&ordinal));
            prop_assert_eq!(file.answer(ordinal).unwrap(), memory.answer(ordinal).unwrap());
        }
        prop_assert!(file.with_id(AuditId::new()).unwrap().len() < 3);
        for byte in [0_u8, 7, 255] {
            let found = file.secret(&format!("hmac-sha256:{}", format!("{byte:02x}").repeat(32))).unwrap().unwrap();
            let wanted = wanted_digests.iter().filter(|(print, _)| print >> 56 == u64::from(byte)).map(|(_, ordinal)| u32::from(*ordinal)).collect();
            prop_assert_eq!(found, wanted);
        }

        prop_assert!(matches!(IndexFile::open(&path, 1000, count, &[8; 32], Cache::default()), Err(IndexError::Foreign)));
        prop_assert!(matches!(IndexFile::open(&path, 999, count, &[7; 32], Cache::default()), Err(IndexError::Foreign)));
        let mut damaged = bytes;
        let at = flip.index(damaged.len());
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        prop_assert!(IndexFile::open(&path, 1000, count, &[7; 32], Cache::default()).is_err());
    }
}

#[test]
fn an_exchange_with_more_values_than_are_kept_is_read() {
    let mut builder = Builder::new(0);
    let items: Vec<_> = (0..2000).map(|n| json!({"resource": {"id": format!("i-{n}")}})).collect();
    let leaf = canonical(&json!({"caller": {"name": "c"}, "items": items}));
    builder.add(&Entry { time: Timestamp(0), kind: Kind::Refused, id: AuditId::new(), leaf });
    let memory = Growing::of(builder);
    assert!(memory.unsettled().contains(0) && memory.exchanges().contains(0));
}
