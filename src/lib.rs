//! keyward: an audit-logging reverse proxy and policy gateway for cloud calls that move keys and
//! images.
//!
//! The modules stand in the order of a request's road. A module imports only from lines above its
//! own; `tests/tidy.rs` enforces it. `ARCHITECTURE.md` is the map.

pub mod log;
pub mod metrics;
pub mod builtin;
pub mod record;
pub mod known;
pub mod rate;
pub mod flood;
pub mod evidence;
pub mod gate;
pub mod answer;
pub mod listen;
pub mod proxy;
pub mod push;
pub mod backup;
pub mod config;
pub mod admin;
pub mod app;
#[cfg(feature = "demo")]
pub mod generate;
#[cfg(feature = "demo")]
pub mod demo;
pub mod cli;
