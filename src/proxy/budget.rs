//! Memory that calls hold at one time, all connections together, how many calls there are, and how
//! much of both each may have: strangers, one source or one caller never take what the others need.

use crate::metrics::Metrics;
use keyward_decision::request::source_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a call counts for from its beginning, in bytes: its head, its state, and the beginning of
/// its answer.
pub const CALL_BYTES: usize = 16 * 1024;

/// Bodies and answers up to this length are short.
pub const SHORT_BYTES_MAX: usize = 64 * 1024;

/// What is taken at a time, in bytes.
const STEP_BYTES: usize = 4 * 1024;

/// How often a call that finds no room looks again before it is refused, and how long it waits
/// between.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// The budget. Long bodies may use three quarters of each share: a few long ones cannot shut out
/// the many short ones.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes: usize,
    /// Calls under way: each may have a connection to a cloud, and so a file.
    calls: usize,
    used: Arc<Mutex<HashMap<Share, Used>>>,
    metrics: Arc<Metrics>,
}

/// Who has a share. Each byte counts against three: everybody's, that of its source and that of who
/// asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Share {
    Everybody,
    Source(IpAddr),
    Caller(Arc<str>),
    Strangers,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    bytes: usize,
    /// The part of it that is of long bodies.
    long: usize,
    calls: usize,
}

impl Budget {
    /// A budget of so many bytes and calls, in each of whose shares there is room for a call with a
    /// body of `body_bytes_max`.
    pub fn new(bytes: usize, body_bytes_max: usize, calls: usize, metrics: Arc<Metrics>) -> Self {
        // Long bodies have three quarters of the strangers' quarter.
        let least =
            body_bytes_max.saturating_add(CALL_BYTES + STEP_BYTES).saturating_mul(16).div_ceil(3);
        Self { bytes: bytes.max(least), calls: calls.max(4), used: Arc::default(), metrics }
    }

    /// Room for a stranger at this source.
    pub fn room(&self, source: IpAddr) -> Room {
        Room {
            budget: self.clone(),
            shares: [Share::Everybody, Share::Source(source_of(source)), Share::Strangers],
        }
    }

    /// What a share holds: bytes, and calls.
    fn size(&self, share: &Share) -> (usize, usize) {
        let part = match share {
            Share::Everybody => 1,
            Share::Source(_) | Share::Caller(_) => 2,
            Share::Strangers => 4,
        };
        (self.bytes / part, self.calls / part)
    }

    fn take(&self, shares: &[Share], more: Used) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |share: &Share| {
            let ((size, calls), own) =
                (self.size(share), used.get(share).copied().unwrap_or_default());
            let fits = own.bytes + more.bytes <= size
                && (more.long == 0 || own.long + more.long <= size - size / 4);
            fits && (more.calls == 0 || own.calls + more.calls <= calls)
        };
        if !shares.iter().all(fits) {
            return false;
        }
        for share in shares {
            let own = used.entry(share.clone()).or_default();
            own.bytes += more.bytes;
            own.long += more.long;
            own.calls += more.calls;
        }
        drop(used);
        self.metrics.buffered_bytes.add(i64::try_from(more.bytes).unwrap_or(i64::MAX));
        true
    }

    fn give_back(&self, shares: &[Share], held: Used) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for share in shares {
            let Some(own) = used.get_mut(share) else { continue };
            own.bytes = own.bytes.saturating_sub(held.bytes);
            own.long = own.long.saturating_sub(held.long);
            own.calls = own.calls.saturating_sub(held.calls);
            if own.bytes == 0 {
                used.remove(share);
            }
        }
        drop(used);
        self.metrics.buffered_bytes.sub(i64::try_from(held.bytes).unwrap_or(i64::MAX));
    }
}

/// Somebody's room in the budget.
#[derive(Clone, Debug)]
pub struct Room {
    budget: Budget,
    shares: [Share; 3],
}

impl Room {
    /// Room for a known caller at the same source, or for a stranger.
    pub fn of(&self, caller: Option<&str>) -> Self {
        let [everybody, source, _] = self.shares.clone();
        let asks = caller.map_or(Share::Strangers, |name| Share::Caller(Arc::from(name)));
        Self { budget: self.budget.clone(), shares: [everybody, source, asks] }
    }

    /// A hold on it, of nothing yet.
    pub fn hold(&self) -> Held {
        Held { room: self.clone(), used: Used::default() }
    }
}

/// What a call, its body or its answer holds of the budget; dropped, it is free.
#[derive(Debug)]
pub struct Held {
    room: Room,
    used: Used,
}

impl Held {
    /// The room that it is of.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Makes sure that so many bytes may be held in all, which are `long` when they are, or will
    /// be, more than a short body's. False when there is no room; what was held still is.
    pub fn grow_now(&mut self, bytes: usize, long: bool) -> bool {
        let bytes = bytes.next_multiple_of(STEP_BYTES).max(self.used.bytes);
        let wanted =
            Used { bytes, long: if long { bytes } else { self.used.long }, calls: self.used.calls };
        self.become_now(wanted)
    }

    fn become_now(&mut self, wanted: Used) -> bool {
        let more = Used {
            bytes: wanted.bytes - self.used.bytes,
            long: wanted.long - self.used.long,
            calls: wanted.calls - self.used.calls,
        };
        let grown = (more.bytes == 0 && more.long == 0 && more.calls == 0)
            || self.room.budget.take(&self.room.shares, more);
        if grown {
            self.used = wanted;
        }
        grown
    }

    /// The same, waiting for a while if need be.
    pub async fn grow(&mut self, bytes: usize, long: bool) -> bool {
        // Waking those that wait would cost the more the more of them a flood makes.
        for _ in 0..TRIES {
            if self.grow_now(bytes, long) {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.grow_now(bytes, long)
    }

    /// Begins a call, waiting for a while if need be. False when there are as many as there may be,
    /// or there is no room for it.
    pub async fn begin(&mut self) -> bool {
        let wanted = Used { bytes: CALL_BYTES, long: 0, calls: 1 };
        for _ in 0..TRIES {
            if self.become_now(wanted) {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.become_now(wanted)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.used.bytes > 0 {
            self.room.budget.give_back(&self.room.shares, self.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MIB: usize = 1024 * 1024;

    fn budget() -> (Budget, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        (Budget::new(8 * MIB, 1, 16, Arc::clone(&metrics)), metrics)
    }

    fn source(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, n))
    }

    #[tokio::test(start_paused = true)]
    async fn long_bodies_leave_room_for_short_ones() {
        let (budget, metrics) = budget();
        let room = budget.room(source(1)).of(Some("ci"));
        let (mut long, mut announced, mut grown) = (room.hold(), room.hold(), room.hold());
        assert!(long.grow(3 * MIB, true).await);
        assert!(
            !announced.grow(1, true).await,
            "a second long body finds no room for its first byte"
        );
        assert!(
            grown.grow(MIB / 2, false).await && !grown.grow(MIB / 2 + 1, true).await,
            "nor does one that turns out to be long"
        );
        let mut short = room.hold();
        assert!(short.grow(MIB / 2, false).await, "short ones do");
        assert_eq!(metrics.buffered_bytes.get(), i64::try_from(4 * MIB).unwrap());
        drop((long, announced, grown, short));
        assert_eq!(metrics.buffered_bytes.get(), 0);
        assert!(budget.used.lock().unwrap().is_empty(), "nobody is remembered who holds nothing");
        assert!(room.hold().grow(3 * MIB, true).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_more_than_a_share() {
        let (budget, _) = budget();
        let [mut one, mut two, mut strange] = [(1, Some("a")), (2, Some("b")), (3, None)]
            .map(|(n, caller)| budget.room(source(n)).of(caller).hold());
        assert!(!strange.grow(2 * MIB + 1, false).await && strange.grow(2 * MIB, false).await);
        assert!(
            !budget.room(source(4)).hold().grow(1, false).await,
            "strangers have one share together"
        );
        assert!(!one.grow(4 * MIB + 1, false).await && one.grow(4 * MIB, false).await);
        assert!(
            !budget.room(source(1)).of(Some("b")).hold().grow(1, false).await,
            "the source has no more"
        );
        assert!(
            !budget.room(source(5)).of(Some("a")).hold().grow(1, false).await,
            "nor has the caller"
        );
        assert!(
            two.grow(2 * MIB, false).await && !two.grow(2 * MIB + 1, false).await,
            "all together have what there is"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_in_the_same_shares() {
        let (budget, _) = budget();
        let mut calls = Vec::new();
        for (share, room) in [
            (8, budget.room(source(1)).of(Some("a"))),
            (4, budget.room(source(2))),
            (4, budget.room(source(3)).of(Some("b"))),
        ] {
            for n in 0..=share {
                let mut call = room.hold();
                assert_eq!(call.begin().await, n < share, "{n} of {share}");
                calls.push(call);
            }
        }
        calls.pop();
        calls.pop();
        assert!(
            budget.room(source(4)).of(Some("c")).hold().begin().await,
            "a call that has ended makes room"
        );
        drop(calls);
        assert!(budget.used.lock().unwrap().is_empty());
    }

    #[test]
    fn each_share_has_room_for_the_longest_body() {
        let budget = Budget::new(1, MIB, 1, Arc::new(Metrics::new().unwrap()));
        let mut held = budget.room(source(1)).hold();
        assert!(held.grow_now(CALL_BYTES + MIB, true));
    }
}
