//! Reading a call whole and turning it into typed facts, or into the reason why that cannot be done.

pub mod facts;
