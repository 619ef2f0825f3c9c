//! How often a caller may ask: a bound for each known caller, and one for each source of calls that
//! nobody is known to have made, so that neither a runaway script nor a stranger fills the trail.

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyward_decision::caller::Caller;
use keyward_decision::request::source_of;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Calls in a second; the burst is that of two seconds. `None` is no bound.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For each known caller.
    pub caller: Option<NonZeroU32>,
    /// For each source (an IPv4 address, a /64 of IPv6) from which calls come that no known caller
    /// has made.
    pub source: Option<NonZeroU32>,
}

/// How often a source may begin what costs more than asking.
#[derive(Debug)]
pub struct Starts {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Starts {
    /// So many at once, and one more each second.
    pub fn new(at_once: NonZeroU32) -> Self {
        Self {
            sources: RateLimiter::keyed(Quota::per_second(NonZeroU32::MIN).allow_burst(at_once)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one.
    ///
    /// # Errors
    /// When it is one too many: the time after which the next one may come.
    pub fn count(&self, source: IpAddr) -> Result<(), Duration> {
        self.sources
            .check_key(&source_of(source))
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Forgets those that have not begun any for a while.
    pub fn forget(&self) {
        self.sources.retain_recent();
        self.sources.shrink_to_fit();
    }
}

/// A caller asks more often than it may: its call is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The time after which the next call may come.
    pub wait: Duration,
}

impl Exceeded {
    /// What the caller is told.
    pub fn detail(&self) -> String {
        format!(
            "this caller asks more often than it may; try again in {} s",
            self.wait.as_secs() + 1
        )
    }
}

/// What each has used up.
#[derive(Debug)]
pub struct Rates {
    callers: Option<DefaultKeyedRateLimiter<String>>,
    sources: Option<DefaultKeyedRateLimiter<IpAddr>>,
    clock: DefaultClock,
}

impl Rates {
    /// Nothing used yet.
    pub fn new(bounds: Bounds) -> Self {
        let quota = |each: NonZeroU32| {
            Quota::per_second(each)
                .allow_burst(each.saturating_mul(NonZeroU32::MIN.saturating_add(1)))
        };
        Self {
            callers: bounds.caller.map(|each| RateLimiter::keyed(quota(each))),
            sources: bounds.source.map(|each| RateLimiter::keyed(quota(each))),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn count(&self, caller: &Caller, source: IpAddr) -> Result<(), Exceeded> {
        let checked = match (&caller.identity, &self.callers, &self.sources) {
            (Some(identity), Some(callers), _) => callers.check_key(&identity.name),
            (None, _, Some(sources)) => sources.check_key(&source_of(source)),
            _ => return Ok(()),
        };
        checked.map_err(|not_until| Exceeded { wait: not_until.wait_time_from(self.clock.now()) })
    }

    /// Forgets those that have not asked for a while.
    pub fn forget(&self) {
        if let Some(sources) = &self.sources {
            sources.retain_recent();
            sources.shrink_to_fit();
        }
        if let Some(callers) = &self.callers {
            callers.retain_recent();
        }
    }
}
