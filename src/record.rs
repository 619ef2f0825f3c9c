//! Composing records: from what was asked, decided and answered to canonical bytes without secrets.
//!
//! The modules stand from what a secret looks like outwards; a module imports only from lines above
//! its own.

mod disguise;
mod echo;
mod shown;
pub mod redact;
pub mod outcome;
pub mod truncate;
pub mod compose;
