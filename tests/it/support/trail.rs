//! What is on disk, read through the library once the gateway has let go of it.

use keyward_record::Kind;
use keyward_trail::store::Store;
use keyward_trail::tiered::TieredStore;
use serde_json::Value;
use std::path::Path;

/// One record, with the body beside it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub seq: u64,
    pub kind: Kind,
    pub id: String,
    pub leaf: Value,
    pub content: Option<Vec<u8>>,
    /// The leaf, byte for byte.
    pub bytes: Vec<u8>,
}

impl Stored {
    /// The text at a JSON pointer; empty when there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.leaf.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// All records, in order.
#[derive(Debug)]
pub struct Trail(pub Vec<Stored>);

impl Trail {
    /// Reads a trail that no process holds; it must be dense.
    pub fn read(dir: &Path) -> Self {
        let (trail, notes) = Self::read_what_is_left(dir);
        assert_eq!(notes, Vec::<String>::new());
        trail
    }

    /// The same after a crash; and what there is to say of it.
    pub fn read_what_is_left(dir: &Path) -> (Self, Vec<String>) {
        let (store, opened) =
            TieredStore::open(dir).unwrap_or_else(|error| panic!("{}: {error:?}", dir.display()));
        assert_eq!(opened.torn, 0);
        let mut records = Vec::new();
        for frame in store.oldest_first(0) {
            let frame = frame.unwrap();
            // A frame that is sealed in part begins before what it adds.
            let known = records.len() as u64;
            assert!(frame.first_seq <= known && known < frame.end(), "a gap");
            for (seq, entry) in
                (frame.first_seq..).zip(frame.entries).filter(|(seq, _)| *seq >= known)
            {
                let content = store.content(seq).unwrap().map(|c| c.bytes.to_vec());
                crate::record_form::check(&entry.leaf);
                let leaf = serde_json::from_slice(&entry.leaf).unwrap();
                records.push(Stored {
                    seq,
                    kind: entry.kind,
                    id: entry.id.to_string(),
                    leaf,
                    content,
                    bytes: entry.leaf.to_vec(),
                });
            }
        }
        (Self(records), opened.notes)
    }

    /// What the gateway itself did, in order.
    pub fn events(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter(|r| r.kind == Kind::Event).map(|r| r.text("/event").to_owned())
    }

    /// The records of calls: without the gateway's own events.
    pub fn calls(&self) -> Vec<&Stored> {
        self.0.iter().filter(|r| r.kind != Kind::Event).collect()
    }

    /// The record of a request, which must be there exactly once.
    #[track_caller]
    pub fn request(&self, id: &str) -> &Stored {
        self.only(id, &[Kind::Forwarded, Kind::Refused])
    }

    /// The record of an answer, which must be there exactly once.
    #[track_caller]
    pub fn answer(&self, id: &str) -> &Stored {
        self.only(id, &[Kind::Answer])
    }

    /// The outcome of the only forwarded call, with what was said of it.
    #[track_caller]
    pub fn only_outcome(&self) -> (&str, &str) {
        let calls = self.calls();
        assert_eq!(
            calls.iter().map(|r| r.kind).collect::<Vec<_>>(),
            [Kind::Forwarded, Kind::Answer],
            "{calls:#?}"
        );
        assert_eq!(calls[0].id, calls[1].id);
        (calls[1].text("/outcome"), calls[1].text("/detail"))
    }

    /// The only record of a refused call.
    #[track_caller]
    pub fn only_refusal(&self) -> &Stored {
        let calls = self.calls();
        assert_eq!(calls.iter().map(|r| r.kind).collect::<Vec<_>>(), [Kind::Refused], "{calls:#?}");
        calls[0]
    }

    #[track_caller]
    fn only(&self, id: &str, kinds: &[Kind]) -> &Stored {
        let found: Vec<_> =
            self.0.iter().filter(|r| r.id == id && kinds.contains(&r.kind)).collect();
        assert_eq!(found.len(), 1, "records of {id} of the kinds {kinds:?}: {found:#?}");
        found[0]
    }
}
