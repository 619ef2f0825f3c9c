//! Whether the system has threads to give, asked before a library that needs some waits for them
//! for ever.

use std::io;
use std::sync::{Arc, RwLock};
use std::thread::Builder;

/// Too few threads may be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "only {could} of {wanted} threads can be started ({error}): raise the limit (`ulimit -u`, TasksMax= of a unit, pids.max of a container), or its memory"
)]
pub struct TooFew {
    could: usize,
    wanted: usize,
    error: io::Error,
}

/// Starts so many threads at once, and ends them: whether the system has them.
///
/// # Errors
/// When it has fewer.
pub fn probe(wanted: usize) -> Result<(), TooFew> {
    // Each lives until all are there: else one would do for all.
    let all = Arc::new(RwLock::new(()));
    let held = all.write();
    let mut started = Vec::with_capacity(wanted);
    let mut failed = None;
    for _ in 0..wanted {
        let all = Arc::clone(&all);
        match Builder::new().name("keyward-probe".to_owned()).spawn(move || drop(all.read())) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(held);
    let could = started.len();
    started.into_iter().for_each(|thread| drop(thread.join()));
    failed.map_or(Ok(()), |error| Err(TooFew { could, wanted, error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_are_to_be_had_are_found() {
        probe(12).unwrap();
    }
}
