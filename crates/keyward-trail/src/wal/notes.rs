//! What the log notes beside its records, and letting go of those that a segment has.

use super::{
    Manifest, Note, REWRITE_KEY, Ranges, SledStore, Wal, content_key, data_file, frame_key, key,
    records_of_key, seq_of_key,
};
use crate::segment::Sealed;
use crate::store::StoreError;
use crate::tombstone::Tombstone;

/// Keys that are removed in one batch: a batch holds up the writer's.
const REMOVED_MAX: usize = 128;

impl Wal for SledStore {
    fn ranges(&self, from: u64) -> Ranges<'_> {
        let (failed, begin) = self.begin_of(from);
        let keys = self
            .db
            .range(frame_key(begin, 0).as_slice()..=frame_key(u64::MAX, u16::MAX).as_slice())
            .keys();
        Box::new(failed.into_iter().chain(keys.map(|key| Ok(records_of_key(&key?)))))
    }

    fn trim(&self, end: u64) -> Result<bool, StoreError> {
        let mut writes = sled::Batch::default();
        let mut count = 0;
        for item in self
            .db
            .range(frame_key(0, 0).as_slice()..frame_key(end, 0).as_slice())
            .keys()
            .take(REMOVED_MAX)
        {
            let key = item?;
            if records_of_key(&key).end <= end {
                writes.remove(key);
                count += 1;
            }
        }
        for item in self
            .db
            .range(content_key(0, 0).as_slice()..content_key(end, 0).as_slice())
            .keys()
            .take(REMOVED_MAX)
        {
            writes.remove(item?);
            count += 1;
        }
        if count > 0 {
            self.db.apply(writes)?;
        }
        Ok(count > 0)
    }

    fn manifest(&self) -> Result<Manifest, StoreError> {
        let damaged = |first_seq, why: &str| StoreError::SegmentLost {
            first_seq,
            last_seq: first_seq,
            why: why.to_owned(),
        };
        let mut manifest = Manifest::default();
        for item in self.db.scan_prefix(b"s") {
            let (key, value) = item?;
            let first_seq = seq_of_key(&key);
            let sealed = Sealed::from_bytes(&value).filter(|sealed| sealed.first_seq == first_seq);
            manifest.sealed.push(sealed.ok_or_else(|| damaged(first_seq, "its note is damaged"))?);
        }
        for item in self.db.scan_prefix(b"g") {
            let (key, value) = item?;
            let first_seq = seq_of_key(&key);
            manifest.absent.push(
                Tombstone::from_bytes(first_seq, &value)
                    .ok_or_else(|| damaged(first_seq, "the note of their absence is damaged"))?,
            );
        }
        Ok(manifest)
    }

    fn note(&self, note: Note<'_>) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        match note {
            Note::Sealed(sealed) => {
                writes.insert(key(b's', sealed.first_seq, 0).as_slice(), sealed.to_bytes())
            }
            Note::Tombstones(all) => {
                for item in self.db.scan_prefix(b"g").keys() {
                    writes.remove(item?);
                }
                for absent in all {
                    for item in self
                        .db
                        .range(
                            key(b's', absent.first_seq, 0).as_slice()
                                ..key(b's', absent.end, 0).as_slice(),
                        )
                        .keys()
                    {
                        writes.remove(item?);
                    }
                    writes.insert(key(b'g', absent.first_seq, 0).as_slice(), absent.to_bytes());
                }
            }
            Note::Rewrite => writes.insert(REWRITE_KEY, &[]),
        }
        // A failed write is told once to each opening of the file: this one must not take it from
        // the writer's.
        self.commit_to(writes, &data_file(&self.trail)?)
    }
}
