//! Plain zlib under the name that flate2's zlib-ng backend expects.
pub use libz_sys::*;
