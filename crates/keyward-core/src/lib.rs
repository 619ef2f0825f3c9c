//! What every part of keyward stands on. Nothing here knows of calls, records or policies.

pub mod alike;
pub mod error_chain;
pub mod clock;
pub mod durable;
pub mod folder;
pub mod reason;
pub mod secret;
pub mod terminal;
pub mod texts;
pub mod threads;
pub mod written;
