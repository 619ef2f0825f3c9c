//! The machine has limits, and whoever reads its logs may stop: none of it ends the journal, or
//! holds up a call.

mod files;
mod limits;
mod logs;
mod memory;
mod threads;
