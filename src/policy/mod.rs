//! Policies: Cedar, typed by the catalogue. A question in, a decision out: no clock, no I/O, no async.

pub mod decision;
pub mod question;

pub use decision::{Deciding, Decision, Effect, Verdict};
pub use question::Question;
