//! The layout of C2SP's tiled logs: which path names which tile, or which bundle of records.

use super::tree::TILE_WIDTH;
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

/// Where the newest checkpoint is.
pub const CHECKPOINT: &str = "/checkpoint";
/// Where the newest cosigned checkpoint is; not of C2SP.
pub const COSIGNED: &str = "/checkpoint/cosigned";
/// Where the kept checkpoints are, as JSON lines; not of C2SP.
pub const HISTORY: &str = "/checkpoint/history";
/// Where the keys are that have signed, one a line; not of C2SP.
pub const KEYS: &str = "/checkpoint/keys";
/// Where it is said which records are gone, as JSON lines; not of C2SP.
pub const ABSENT: &str = "/absent/ranges";
/// Below it, under the path of a bundle that is gone in part, what is left of it; not of C2SP.
pub const LEFT: &str = "/absent";
/// Records in a full bundle.
pub const BUNDLE_RECORDS: u64 = TILE_WIDTH as u64;

const PATH_BASE: u64 = 1000;

/// Something that a path below `/tile/` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The level of a tile; `None` for records.
    pub level: Option<u8>,
    /// Its number.
    pub n: u64,
    /// How many hashes or records, 1 to 256.
    pub width: u32,
}

impl Resource {
    /// What a path such as `/tile/0/x001/234.p/17` names; `None` when it is not in its one form.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("/tile/")?.split_once('/')?;
        let level = if kind == "entries" {
            None
        } else {
            Some(kind.parse::<u8>().ok().filter(|level| *level < 64)?)
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?)
            }
            None => (rest, TILE_WIDTH),
        };
        let mut digits = number.split('/').map(|part| {
            part.strip_prefix('x')
                .unwrap_or(part)
                .parse::<u64>()
                .ok()
                .filter(|part| *part < PATH_BASE)
        });
        let n = digits.try_fold(0_u64, |n, part| n.checked_mul(PATH_BASE)?.checked_add(part?))?;
        let resource = Self { level, n, width };
        (resource.path() == path).then_some(resource)
    }

    /// Its path.
    pub fn path(&self) -> String {
        let kind = self.level.map_or("entries".to_owned(), |level| level.to_string());
        let mut number = format!("{:03}", self.n % PATH_BASE);
        let mut rest = self.n / PATH_BASE;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % PATH_BASE);
            rest /= PATH_BASE;
        }
        let width =
            if self.width == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("/tile/{kind}/{number}{width}")
    }

    /// Whether it is there in a tree of `size` records.
    pub fn is_within(&self, size: u64) -> bool {
        let shift = u32::from(self.level.unwrap_or(0)) * u32::from(super::tree::TILE_HEIGHT);
        let hashes = size.checked_shr(shift).unwrap_or(0);
        self.n
            .checked_mul(BUNDLE_RECORDS)
            .and_then(|first| first.checked_add(self.width.into()))
            .is_some_and(|end| end <= hashes)
    }
}

/// Records that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AbsentLine {
    /// The first of them.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The record that tells of it.
    pub told_by: u64,
}

/// A record of a bundle that is gone in part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LeftLine {
    /// Its place in the trail.
    pub seq: u64,
    /// Its bytes, in hexadecimal.
    pub leaf: String,
}

/// Adds a record to a bundle.
pub fn put_entry(bundle: &mut Vec<u8>, leaf: &[u8]) {
    // INVARIANT: frames hold no longer leaves.
    bundle.put_u16(u16::try_from(leaf.len()).unwrap_or(u16::MAX));
    bundle.put_slice(leaf);
}

/// The records of a bundle; `None` when it is cut.
pub fn entries(mut bundle: Bytes) -> Option<Vec<Bytes>> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        let (length, _) = bundle.split_first_chunk::<2>()?;
        let end = 2 + usize::from(u16::from_be_bytes(*length));
        if bundle.len() < end {
            return None;
        }
        entries.push(bundle.split_to(end).slice(2..));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |level, n, width| Resource { level: Some(level), n, width };
        assert_eq!(tile(0, 1_234_067, 256).path(), "/tile/0/x001/x234/067");
        assert_eq!(tile(3, 5, 17).path(), "/tile/3/005.p/17");
        assert_eq!(Resource { level: None, n: 0, width: 1 }.path(), "/tile/entries/000.p/1");
        for path in [
            "/tile/0/0",
            "/tile/0/0000",
            "/tile/0/x000/001",
            "/tile/00/001",
            "/tile/64/001",
            "/tile/0/001.p/0",
            "/tile/0/001.p/256",
            "/tile/0/001.p/01",
            "/tile/data/001",
            "/tile/8/0/001",
            "/tile/0/x001",
            "/tile/0/001/",
            "/tile/0//001",
            "/tile/-1/001",
            "/tile/+1/001",
            "/tile/0/+01",
            "",
            "/tile/0/x999/x999/x999/x999/x999/x999/999",
            "/tile/0/001.p/17.p/17",
            "/tile/entries/001.p/",
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
    }

    #[test]
    fn only_what_is_in_the_tree_is_there() {
        // 70,000 records: 273 full tiles and 112 hashes; above them one full tile and 17, and one.
        for (level, n, width, there) in [
            (0, 272, 256, true),
            (0, 273, 112, true),
            (0, 273, 113, false),
            (1, 0, 256, true),
            (1, 1, 17, true),
            (1, 1, 18, false),
            (2, 0, 1, true),
            (3, 0, 1, false),
            (63, 0, 1, false),
            (0, u64::MAX, 256, false),
        ] {
            assert_eq!(
                Resource { level: Some(level), n, width }.is_within(70_000),
                there,
                "{level} {n} {width}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_path_reads_back(level in prop::option::of(0..64_u8), n in any::<u64>(), width in 1..=256_u32) {
            let resource = Resource { level, n, width };
            prop_assert_eq!(Resource::parse(&resource.path()), Some(resource));
        }

        #[test]
        fn bundles_read_back_and_hostile_ones_do_no_harm(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20), cut in any::<prop::sample::Index>()) {
            let mut bundle = Vec::new();
            leaves.iter().for_each(|leaf| put_entry(&mut bundle, leaf));
            prop_assert_eq!(entries(bundle.clone().into()).unwrap(), leaves.iter().map(|leaf| Bytes::from(leaf.clone())).collect::<Vec<_>>());
            bundle.truncate(cut.index(bundle.len() + 1));
            let _ = entries(bundle.into());
        }
    }
}
