//! The question that policies answer: one call.

use crate::caller::Caller;
use crate::catalog::Target;
use crate::inspect::facts::{CallFacts, Unreadable};
use keyward_core::clock::Timestamp;
use std::net::IpAddr;

/// One call, as far as it could be read.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the call means.
    pub target: Target,
    /// Who asks.
    pub caller: Caller,
    /// What the call says; or why it could not be read, which denies it.
    pub facts: Result<CallFacts, Unreadable>,
    /// Where it comes from.
    pub source: IpAddr,
    /// The time of the decision, recorded with it so that it can be replayed.
    pub now: Timestamp,
}
