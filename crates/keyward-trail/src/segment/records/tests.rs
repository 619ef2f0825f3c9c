//! Both files of a segment: what goes in comes out, and any other byte is noticed.

use super::super::bodies::{Bodies, BodiesWriter};
use super::super::dictionary::train;
use super::*;
use keyward_core::clock::AuditId;
use keyward_record::{Content, Kind};
use proptest::prelude::*;

fn entry(n: u64, leaf: Vec<u8>) -> Entry {
    Entry {
        time: Timestamp(n / 3 * 10),
        kind: [Kind::Forwarded, Kind::Refused, Kind::Answer, Kind::Event][n as usize % 4],
        id: AuditId::new(),
        leaf: leaf.into(),
    }
}

fn leaf(n: u64) -> Vec<u8> {
    format!("{{\"action\":\"huawei.kps.{}\",\"caller\":\"c{}\",\"n\":{n}}}", n % 7, n % 5)
        .into_bytes()
}

fn write(
    dir: &Path,
    entries: &[Entry],
    bodies: &[Option<Content>],
    dictionaries: &Dictionaries,
) -> (FileDigest, FileDigest) {
    let dictionary = dictionaries
        .share(train(&entries.iter().map(|entry| entry.leaf.to_vec()).collect::<Vec<_>>()))
        .unwrap();
    let mut records = RecordsWriter::create(&dir.join("r"), 640, &dictionary).unwrap();
    let mut beside = BodiesWriter::create(&dir.join("b"), 640, &dictionary).unwrap();
    for (entry, body) in entries.iter().zip(bodies) {
        records.push(entry).unwrap();
        beside.push(body.as_ref()).unwrap();
    }
    (records.finish().unwrap().1, beside.finish().unwrap())
}

/// All entries and bodies; an error when any of it cannot be read.
fn read(dir: &Path, count: u32) -> Result<(Vec<Entry>, Vec<Option<Content>>), SegmentError> {
    let dictionaries = Dictionaries::default();
    let records = Records::open(&dir.join("r"), &dictionaries)?;
    let bodies = Bodies::open(&dir.join("b"), 640, count, &dictionaries)?;
    let mut entries = Vec::new();
    for block in 0..records.blocks() {
        entries.extend(records.block(block)?);
    }
    let bodies = (0..count).map(|n| bodies.body(n, 1_000_000)).collect::<Result<_, _>>()?;
    Ok((entries, bodies))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out_and_any_flipped_bit_is_noticed(
        lengths in prop::collection::vec((prop::option::weighted(0.5, 0..3000_usize), any::<bool>()), 1..200),
        flips in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0..8_u8), 6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let entries: Vec<_> = lengths.iter().zip(0..).map(|((_, empty), n)| entry(n, if *empty { vec![] } else { leaf(n) })).collect();
        let bodies: Vec<_> = lengths.iter().zip(0_u8..).map(|((length, _), n)| length.map(|length| Content { salt: [n; 32], bytes: vec![n; length].into() })).collect();
        let count = entries.len() as u32;
        let (records, beside) = write(dir.path(), &entries, &bodies, &Dictionaries::default());
        let same = |found: &[Option<Content>]| found.iter().map(|c| c.as_ref().map(Content::commitment)).eq(bodies.iter().map(|c| c.as_ref().map(Content::commitment)));
        let (found, found_bodies) = read(dir.path(), count).unwrap();
        prop_assert!(found == entries && same(&found_bodies));
        let opened = Records::open(&dir.path().join("r"), &Dictionaries::default()).unwrap();
        prop_assert_eq!((opened.digest(), opened.real_digest().unwrap()), (records, records));
        for (in_bodies, at, bit) in flips {
            let (path, digest) = if in_bodies { (dir.path().join("b"), beside) } else { (dir.path().join("r"), records) };
            let bytes = std::fs::read(&path).unwrap();
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] ^= 1 << bit;
            std::fs::write(&path, &damaged).unwrap();
            // Reading fails, or the digest differs, which is compared when a segment is opened and when all is verified.
            let unnoticed = match read(dir.path(), count) {
                Err(_) => false,
                Ok((found, found_bodies)) => {
                    let said = if in_bodies {
                        let file = Bodies::open(&path, 640, count, &Dictionaries::default()).unwrap();
                        file.digest() == digest && file.real_digest().unwrap() == digest
                    } else {
                        let file = Records::open(&path, &Dictionaries::default()).unwrap();
                        file.digest() == digest && file.real_digest().unwrap() == digest
                    };
                    prop_assert!(found == entries && same(&found_bodies), "other records were read");
                    said
                }
            };
            prop_assert!(!unnoticed);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn times_are_found_in_their_block() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..100).map(|n| entry(n, leaf(n))).collect();
    write(dir.path(), &entries, &vec![None; 100], &Dictionaries::default());
    let records = Records::open(&dir.path().join("r"), &Dictionaries::default()).unwrap();
    for time in 0..=330 {
        let first = 640 + entries.iter().filter(|entry| entry.time.0 < time).count() as u64;
        let around = records.around(Timestamp(time));
        assert!(
            around.contains(&first) && around.end - around.start <= 1 + BLOCK_RECORDS as u64,
            "{time}: {first} in {around:?}"
        );
    }
}

#[test]
fn what_is_not_finished_does_not_appear() {
    let dir = tempfile::tempdir().unwrap();
    let dictionary = Dictionaries::default().share(vec![]).unwrap();
    let mut records = RecordsWriter::create(&dir.path().join("r"), 0, &dictionary).unwrap();
    records.push(&entry(0, leaf(0))).unwrap();
    drop(records);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
