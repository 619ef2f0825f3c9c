//! The trail: what was asked, decided and answered, durable before it has an effect.
//!
//! The modules stand from the record outwards; a module imports only from lines above its own. Nothing here knows of HTTP,
//! policies or the gateway.

pub mod metrics;
mod zipped;
pub mod frame;
pub mod held;
pub mod exchange;
pub mod tombstone;
pub mod filter;
pub(crate) mod index;
pub mod segment;
pub mod store;
pub mod wal;
pub mod recovery;
pub mod tiered;
pub mod journal;
pub mod query;
pub mod export;
pub mod retention;
pub mod notary;

#[cfg(test)]
mod testing;
