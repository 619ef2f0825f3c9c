//! The stored form of records: any bytes are survived, what decodes encodes again, and what is
//! changed is noticed.

use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::Kind;
use keyward_trail::frame::{Encoder, FRAME_RECORDS_MAX, decode};

/// Of the form.
const VERSION: u8 = 2;
const KINDS: [Kind; 4] = [Kind::Forwarded, Kind::Refused, Kind::Answer, Kind::Event];

/// The input is a frame; then one but for its checksum; then what a frame holds, uncompressed
/// behind the number of its records; then the leaves of records.
pub fn fuzz(data: &[u8]) {
    let _ = decode(data);
    let held = data.split_first().and_then(|(count, plain)| {
        Some(
            [
                &[VERSION, *count, 0, 0, 0, 0, 0, 0, 0, 7][..],
                &Encoder::new().ok()?.compress(plain).ok()?,
            ]
            .concat(),
        )
    });
    for frame in [Some(data.to_vec()), held].into_iter().flatten() {
        if let Ok((_, entries)) = decode(&sealed(frame)) {
            round_trip(&entries);
        }
    }
    let leaves = data.split(|b| *b == b'\n').take(FRAME_RECORDS_MAX);
    let entries: Vec<_> = leaves.enumerate().map(|(n, leaf)| entry(n, leaf)).collect();
    round_trip(&entries);
}

/// With the checksum that it needs: else nothing behind the check would be reached.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&frame);
    frame.extend_from_slice(&checksum.to_be_bytes());
    frame
}

fn entry(n: usize, leaf: &[u8]) -> Entry {
    let id = AuditId(uuid::Uuid::from_u128(n as u128));
    Entry {
        time: Timestamp(n as u64),
        kind: KINDS[n % KINDS.len()],
        id,
        leaf: Bytes::copy_from_slice(leaf),
    }
}

fn round_trip(entries: &[Entry]) {
    let Ok(frame) = Encoder::new().and_then(|mut encoder| encoder.encode(7, entries)) else {
        return;
    };
    assert_eq!(decode(&frame).ok(), Some((7, entries.to_vec())));
    let mut changed = frame;
    let at = entries.len() % changed.len();
    changed[at] ^= 1;
    assert!(decode(&changed).is_err());
}
