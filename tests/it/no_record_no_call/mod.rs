//! Promise 1: no record, no call; and no end of an answer without its record. Whatever breaks, and
//! whenever.

mod client;
mod crash;
mod disk;
mod journal;
mod limits;
mod stop;
mod upstream;
