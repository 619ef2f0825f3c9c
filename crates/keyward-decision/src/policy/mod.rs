//! Policies: Cedar, typed by the catalogue. A question in, a decision out: no clock, no async, and
//! no I/O but the reading of a bundle's files.

pub mod bundle;
pub mod cases;
pub mod changes;
pub mod decide;
pub mod decision;
pub mod error;
pub mod explain;
pub mod files;
pub mod patterns;
pub mod question;
pub mod schema;
pub mod types;
pub mod typos;

pub use bundle::{Bundle, Listing, Mode, schema_text};
pub use changes::Changes;
pub use decision::{Deciding, Decision, Effect, Failed, Verdict};
pub use error::PolicyError;
pub use files::Texts;
pub use question::Question;

#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
