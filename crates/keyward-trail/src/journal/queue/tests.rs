//! The journal's own word on how it is.

use super::*;

#[test]
fn a_commit_that_does_not_end_is_no_longer_expected_to() {
    let queue = Queue::new(Settings::new("/nowhere"), crate::testing::metrics());
    let since = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
    queue.state().busy_since = since(30);
    assert!(
        queue.health().unwrap_err().contains("recovers by itself")
            && queue.alive().is_ok()
            && !queue.is_stuck()
    );
    queue.state().busy_since = since(61);
    assert!(queue.health().unwrap_err().contains("restart the gateway") && queue.is_stuck());
    assert_eq!(queue.alive(), queue.health());
    queue.state().busy_since = None;
    queue.fail(JournalError::WriterGone);
    assert_eq!(queue.alive(), queue.health());
    assert!(queue.health().unwrap_err().contains("restart the gateway"));
}
