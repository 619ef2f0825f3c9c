//! The decision: a request in, a decision with its reasons out. No clock, no I/O on the road;
//! nothing here knows of records, storage or the server.
//!
//! The modules stand in the order of a request's road; a module imports only from lines above its
//! own.

pub mod request;
pub mod names;
pub mod head;
pub mod catalog;
pub mod caller;
pub mod inspect;
pub mod policy;
