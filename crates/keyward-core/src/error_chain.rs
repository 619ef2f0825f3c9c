//! An error with all its causes, in one line: for logs, records and answers, where nobody walks the
//! chain.

use std::error::Error;

/// The error and what caused it, joined by colons.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
