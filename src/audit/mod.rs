//! The trail: what was asked, decided and answered, durable before it has an effect.

pub mod record;
