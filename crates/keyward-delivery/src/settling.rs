//! What was handed over to a receiver, until it counts as confirmed: a time after it was handed
//! over first, if it was handed over again after every failure since.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Batches that wait, at most: when there are more, those in between count as handed over with the
/// one behind them.
const WAITING_MAX: usize = 1024;

/// How far the trail was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next record to look at.
    pub next: u64,
    /// From where on a restart must read.
    pub needed: u64,
}

/// What waits to be confirmed.
#[derive(Debug)]
pub struct Settling {
    after: Duration,
    /// In order, each with the time at which it was handed over first.
    waiting: VecDeque<(Instant, Position)>,
    /// How far the receiver was handed the trail since the last failure.
    reached: Option<Position>,
}

impl Settling {
    /// What is handed over counts after so long.
    pub fn new(after: Duration) -> Self {
        Self { after, waiting: VecDeque::new(), reached: None }
    }

    /// Begins again, after a failure.
    pub fn begin(&mut self) {
        self.reached = None;
    }

    /// The trail was handed over up to here.
    pub fn handed_over(&mut self, here: Position) {
        self.reached = Some(here);
        if self.waiting.back().is_none_or(|(_, last)| {
            last.next < here.next || last.needed < here.needed && last.next == here.next
        }) {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.pop_back();
            }
            self.waiting.push_back((Instant::now(), here));
        }
    }

    /// How far it is confirmed, when that is farther than before.
    pub fn settled(&mut self) -> Option<Position> {
        let (reached, now) = (self.reached?, Instant::now());
        let mut settled = None;
        while let Some((_, place)) = self.waiting.front().filter(|(first, place)| {
            place.next <= reached.next && now.duration_since(*first) >= self.after
        }) {
            settled = Some(*place);
            self.waiting.pop_front();
        }
        settled
    }

    /// Nothing waits.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(next: u64) -> Position {
        Position { next, needed: next }
    }

    #[test]
    fn what_was_handed_over_counts_when_it_stood_for_a_while() {
        let mut settling = Settling::new(Duration::from_millis(300));
        settling.begin();
        settling.handed_over(at(5));
        assert_eq!(settling.settled(), None);
        std::thread::sleep(Duration::from_millis(200));
        settling.handed_over(at(9));
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(settling.settled(), Some(at(5)));
        assert!(!settling.is_settled());
        // A failure: the rest counts only when it was handed over again.
        settling.begin();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(settling.settled(), None);
        settling.handed_over(at(7));
        assert_eq!(settling.settled(), None);
        settling.handed_over(at(9));
        // But not anew from then on: a receiver that fails again and again would never be done.
        assert_eq!(settling.settled(), Some(at(9)));
        assert!(settling.is_settled());
    }

    #[test]
    fn a_receiver_that_confirms_is_taken_at_its_word() {
        let mut settling = Settling::new(Duration::ZERO);
        settling.begin();
        settling.handed_over(at(5));
        assert_eq!(settling.settled(), Some(at(5)));
        assert_eq!(settling.settled(), None);
        // An exchange that was open is not needed any more.
        settling.handed_over(Position { next: 9, needed: 6 });
        assert_eq!(settling.settled(), Some(Position { next: 9, needed: 6 }));
        settling.handed_over(at(9));
        assert_eq!(settling.settled(), Some(at(9)));
    }
}
