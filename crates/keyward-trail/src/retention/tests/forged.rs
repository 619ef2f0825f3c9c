//! What is derived, and has only a checksum that anybody can compute, does not decide what goes for
//! ever.

use super::*;
use crate::tiered::Differing;

/// Writes another caller into an index, as if it had been made so.
fn forge_index(dir: &Path, first: u64, from: &[u8], to: &[u8]) {
    let path = crate::segment::path(&dir.join("segments"), first, "index");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, from).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to);
    let end = bytes.len() - 12;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
}

/// Sets all times in a segment's table to 1970.
fn forge_times(dir: &Path, first: u64) {
    let path = crate::segment::path(&dir.join("segments"), first, "records");
    let mut bytes = std::fs::read(&path).unwrap();
    let foot = bytes.len() - 52;
    let table = u64::from_be_bytes(bytes[foot..foot + 8].try_into().unwrap()) as usize;
    bytes[table + 4..table + 12].fill(0);
    (table + 20..foot).step_by(16).for_each(|time| bytes[time..time + 8].fill(0));
    let crc = crc32fast::hash(&bytes[table..foot]);
    bytes[foot + 8..foot + 12].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
}

fn filled(dir: &Path) {
    let site = site(dir, None, None);
    site.fill(0..3 * SEGMENT);
    site.seal();
    assert_eq!(site.journal.tiered().unwrap().sealed_end(), 3 * SEGMENT);
}

#[test]
fn an_index_that_hides_what_is_held_lets_nothing_go() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    assert_eq!(TieredStore::differing(dir.path(), &|_, _| ()).unwrap(), []);
    forge_index(dir.path(), 0, b"\x00\x03c57", b"\x00\x03c5z");
    assert_eq!(
        TieredStore::differing(dir.path(), &|_, _| ()).unwrap(),
        [Differing::Index(0..SEGMENT)]
    );
    let site = site(dir.path(), Some(Duration::from_secs(1)), None);
    let holds = site.holds("[[hold]]\nname = 'case 17'\nwhere = 'caller = c57'\nreason = 'r'\n");
    assert_eq!(
        firsts(&site.retention.plan(&holds, at(10_000)).unwrap().prune),
        [0, 64],
        "an index is believed where nothing depends on it"
    );
    let plan = site.retention.prune(&holds, at(10_000)).unwrap();
    assert_eq!((firsts(&plan.prune), plan.held.len()), (vec![], 3));
    assert!(site.there().into_iter().take(64).eq(0..64));
}

#[test]
fn a_table_that_makes_records_old_lets_nothing_go() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    forge_times(dir.path(), 0);
    assert_eq!(
        TieredStore::differing(dir.path(), &|_, _| ()).unwrap(),
        [Differing::Times(0..SEGMENT)]
    );
    let site = site(dir.path(), Some(Duration::from_secs(400 * 24 * 3600)), None);
    let holds = site.holds("");
    assert_eq!(firsts(&site.retention.plan(&holds, at(200)).unwrap().prune), [0]);
    let error = site.retention.prune(&holds, at(200)).unwrap_err();
    assert!(error_chain(&error).contains("salvage"), "{}", error_chain(&error));
    assert_eq!(site.there().len(), 3 * SEGMENT as usize);
}
