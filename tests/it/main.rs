//! The gateway from outside, promise by promise: real binary, real sockets, real disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod support;

mod answers;
mod auditors;
mod canaries;
mod corpus;
mod evidence;
mod exports;
mod floods;
mod forms;
mod forged;
mod hostile;
mod keeping;
mod keys;
mod leaving;
mod listeners;
mod machine;
mod metrics;
mod no_record_no_call;
mod old_trails;
mod packs;
mod pushes;
mod receivers;
mod record_form;
mod reload;
mod routing;
mod same_bytes;
mod secrets;
mod survival;
mod unambiguous;
