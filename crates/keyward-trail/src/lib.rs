//! The trail: what was asked, decided and answered, durable before it has an effect.
//!
//! The modules stand from the record outwards; a module imports only from lines above its own.
//! Nothing here knows of HTTP, policies or the gateway. Without the feature `sled` it reads sealed
//! segments and exports, and writes nothing.

#![cfg_attr(
    not(feature = "sled"),
    expect(dead_code, reason = "what writes is there, and nobody calls it")
)]

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
#[cfg(feature = "sled")]
pub mod wal;
#[cfg(feature = "sled")]
pub mod recovery;
#[cfg(feature = "sled")]
pub mod tiered;
#[cfg(feature = "sled")]
pub mod journal;
pub mod query;
pub mod export;
#[cfg(feature = "sled")]
pub mod retention;
pub mod verify;
#[cfg(feature = "sled")]
pub mod notary;

#[cfg(test)]
#[cfg(feature = "sled")]
mod testing;
