//! The trail: what was asked, decided and answered, durable before it has an effect.
//!
//! The modules stand from the record outwards; a module imports only from lines above its own. Nothing here knows of HTTP,
//! policies or the gateway.

pub mod metrics;
pub mod counted;
mod zipped;
pub mod frame;
pub mod exchange;
pub mod field;
mod moment;
mod condition;
pub mod absent;
pub mod held;
pub mod index;
pub mod segment;
pub mod ballast;
pub mod store;
pub mod tiered;
mod open;
pub mod feed;
mod queue;
mod writer;
pub mod journal;
mod expression;
pub mod filter;
pub mod known;
mod plan;
pub mod query;
pub mod present;
pub mod form;
pub mod export;
pub mod retention;
pub mod erasure;
pub mod ask;
pub mod notary;

#[cfg(test)]
mod testing;
