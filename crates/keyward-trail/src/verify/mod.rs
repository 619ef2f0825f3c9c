//! A trail's folder as something to verify: whole, when its gateway is stopped, or its sealed
//! segments alone.

#[cfg(feature = "sled")]
mod derived;
#[cfg(feature = "sled")]
mod folder;
mod segments;

#[cfg(feature = "sled")]
pub use derived::compare;
#[cfg(feature = "sled")]
pub use folder::Folder;
pub use segments::Segments;

/// The tree's folder in the trail's.
pub const TREE: &str = "tree";
