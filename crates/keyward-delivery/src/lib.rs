//! The project's own outgoing calls: what is sent to others, and how it is known that they have it.
//! Nothing here knows what is sent.
//!
//! The modules stand from the wire outwards; a module imports only from lines above its own.

pub mod resolve;
pub mod client;
pub mod retry;
pub mod settling;
pub mod cursor;
pub mod syslog;
pub mod webhook;
