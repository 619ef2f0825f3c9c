//! keyward: an audit-logging reverse proxy and policy gateway for cloud calls that move keys and images.
//!
//! The modules stand in the order of a request's road. A module imports only from lines above its own;
//! `tests/tidy.rs` enforces it. `ARCHITECTURE.md` is the map.

pub mod audit;
pub mod caller;
pub mod catalog;
pub mod clock;
pub mod inspect;
pub mod metrics;
pub mod policy;
pub mod reason;
pub mod request;
pub mod sandbox;
pub mod secret;
pub mod signing;
