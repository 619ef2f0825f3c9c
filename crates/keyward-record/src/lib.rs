//! The record, the product's contract with auditors: what is written, hashed, signed and handed
//! out.
//!
//! A record is canonical JSON, and its bytes never change. The types here write it and read it. The
//! form grows by fields and events alone: a reader passes over what it does not know, and what an
//! older record lacks is `None` or empty.

pub mod call;
mod canonical;
pub mod event;
mod leaf;
pub mod reading;
pub mod schema;
mod stored;

pub use canonical::canonical;
pub use event::{Event, EventName};
pub use leaf::{EventRecord, Head, Leaf};
pub use stored::{Content, Entry, Kind, LeafHash, Record, VERSION, leaf_hash, unknown_outcome};
