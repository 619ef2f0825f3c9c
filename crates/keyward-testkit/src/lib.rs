//! What keyward is tried with: stand-in clouds with state, made from the same documents as the
//! catalogue, and the signatures that callers make. The demo and the tests use it; a gateway that
//! is built for production does not have it.

pub mod signing;
pub mod sandbox;
