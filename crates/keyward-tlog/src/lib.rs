//! The trail as a transparency log: what makes of it something that others can check, with software
//! that we did not write.
//!
//! Each record is a leaf of a Merkle tree (RFC 6962), in tiles as C2SP's tiled logs have them;
//! checkpoints are C2SP's signed notes. What a checkpoint covers and somebody else holds cannot be
//! changed, removed or reordered without showing. Nothing here knows where records are stored.
//!
//! The modules stand from the tree outwards; a module imports only from lines above its own.

pub mod tree;
pub mod key;
pub mod note;
pub mod checkpoint_store;
pub mod layout;
pub mod source;
pub mod verify;
pub mod proof;
