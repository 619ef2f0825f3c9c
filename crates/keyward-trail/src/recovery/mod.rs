//! Recovery: a trail's store made anew over its sealed segments, when the engine's file is damaged, and from a backup.

pub mod founding;
pub mod survey;
