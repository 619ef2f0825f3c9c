//! The answer of the policies to one question.

use keyward_core::reason::Reason;

/// What becomes of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Allow,
    /// Refuse it.
    Deny,
}

/// A decision, with everything that explains it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What becomes of the call.
    pub verdict: Verdict,
    /// Why, from the closed list.
    pub reason: Reason,
    /// For the caller: the policies' messages and ids, or what could not be read. No clause
    /// values.
    pub message: String,
    /// Every policy that decided, for each item.
    pub deciding: Vec<Deciding>,
    /// Shadow policies that would have denied.
    pub shadow: Vec<Deciding>,
    /// Policies that could not be evaluated: each denies.
    pub errors: Vec<String>,
    /// Shadow policies that could not be evaluated: each would deny.
    pub shadow_errors: Vec<Failed>,
    /// For the record: clauses with their values, the nearest grant. Not for the caller.
    pub explanation: Vec<String>,
    /// Hash of the bundle in force.
    pub bundle: String,
}

/// One policy's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deciding {
    /// The policy's `@id`.
    pub policy: String,
    /// Its `@message`.
    pub message: String,
    /// Whether it permits or forbids.
    pub effect: Effect,
    /// The item's index, counted from 0.
    pub item: usize,
}

/// A policy that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The policy's `@id`.
    pub policy: String,
    /// What happened, with the item.
    pub error: String,
}

/// What a policy does when it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It permits.
    Permit,
    /// It forbids.
    Forbid,
}
