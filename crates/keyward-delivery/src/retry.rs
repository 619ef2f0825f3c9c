//! What fails is tried again, later and later, and everybody can see since when it fails.

use keyward_core::clock::Timestamp;
use std::time::Duration;

/// Pauses between tries: twice as long after each failure.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Pauses {
    /// From `first` up to `last`.
    pub fn new(first: Duration, last: Duration) -> Self {
        let first = first.min(last);
        Self { first, last, next: first }
    }

    /// How long to wait after one more failure. A receiver that asks to be left alone for a while
    /// gets that time beside.
    pub fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        let pause = jitter(self.next);
        self.next = (self.next * 2).min(self.last);
        pause + asked.unwrap_or_default()
    }

    /// Something has arrived: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Between half of a time and all of it, so that many who wait for one receiver do not come back
/// together.
fn jitter(time: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    time.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// How a delivery is doing.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// When something was last confirmed.
    pub last_success: Option<Timestamp>,
    /// Since when it fails, and why.
    pub failing: Option<(Timestamp, String)>,
}

impl Status {
    /// Something was confirmed. Whether it had failed before.
    pub fn succeeded(&mut self) -> bool {
        self.last_success = Some(Timestamp::now());
        self.failing.take().is_some()
    }

    /// It failed. Whether that is news: it did not fail before, or for another reason.
    pub fn failed(&mut self, error: &str) -> bool {
        let is_news = self.failing.as_ref().is_none_or(|(_, before)| before != error);
        let since = self.failing.take().map_or_else(Timestamp::now, |(since, _)| since);
        self.failing = Some((since, error.to_owned()));
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_again() {
        let (first, last) = (Duration::from_millis(500), Duration::from_secs(2));
        let mut pauses = Pauses::new(first, last);
        let mut longest = first;
        for _ in 0..4 {
            let pause = pauses.after_failure(None);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
            longest = (longest * 2).min(last);
        }
        assert!(pauses.after_failure(Some(Duration::from_secs(30))) >= Duration::from_secs(31));
        pauses.reset();
        assert!(pauses.after_failure(None) <= first);
    }

    #[test]
    fn a_failure_is_news_once() {
        let mut status = Status::default();
        assert!(status.failed("gone") && !status.failed("gone"));
        let since = status.failing.clone().unwrap().0;
        assert!(status.failed("refused"));
        assert_eq!(status.failing.clone().unwrap(), (since, "refused".to_owned()));
        assert!(status.succeeded() && !status.succeeded());
        assert!(status.failing.is_none() && status.last_success.is_some());
    }
}
