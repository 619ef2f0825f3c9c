//! How many connections there may be, in all and from one source, and which of them makes room when
//! there are too many: the one that has waited longest without a call. So a flood of idle
//! connections cannot shut honest callers out.

use crate::metrics::Gauge;
use keyward_decision::request::source_of;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bounds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// From one source: an IPv4 address, or the /64 network of an IPv6 address.
    pub per_source: usize,
}

/// All open connections of all listeners.
#[derive(Debug)]
pub struct Registry {
    bounds: Bounds,
    /// How many there are.
    gauge: Gauge,
    tickets: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_source: HashMap<IpAddr, usize>,
    /// Connections outside a call, by the ticket that they drew when they began to wait.
    waiting: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many connections as there may be.
    All,
    /// The source has as many as one may have.
    Source,
}

impl Registry {
    /// A registry with these bounds, that says how many there are.
    pub fn new(bounds: Bounds, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { bounds, gauge, tickets: AtomicU64::new(0), open: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, if need be that of one that waits. It begins by waiting.
    ///
    /// # Errors
    /// When the bound is reached and all connections are in calls.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, Full> {
        let source = source_of(address);
        let mut open = self.lock();
        let own = open.by_source.get(&source).copied().unwrap_or(0);
        if own >= self.bounds.per_source && !open.make_room(Some(source)) {
            return Err(Full::Source);
        }
        if open.count >= self.bounds.all && !open.make_room(None) {
            return Err(Full::All);
        }
        open.count += 1;
        *open.by_source.entry(source).or_default() += 1;
        let leave = Arc::new(Notify::new());
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        open.waiting.insert(ticket, (source, Arc::clone(&leave)));
        self.gauge.set(i64::try_from(open.count).unwrap_or(i64::MAX));
        drop(open);
        Ok(ConnectionSlot {
            registry: Arc::clone(self),
            source,
            leave,
            held: Mutex::new(Held::Waiting(ticket)),
        })
    }
}

impl Open {
    /// Asks the one that has waited longest to leave. Its place counts as free at once.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let longest = self
            .waiting
            .iter()
            .find(|(_, (source, _))| of.is_none_or(|of| of == *source))
            .map(|(ticket, _)| *ticket);
        let Some((source, leave)) = longest.and_then(|ticket| self.waiting.remove(&ticket)) else {
            return false;
        };
        leave.notify_one();
        self.leave(source);
        true
    }

    fn leave(&mut self, source: IpAddr) {
        self.count = self.count.saturating_sub(1);
        if let Some(own) = self.by_source.get_mut(&source) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// A connection's place among those that there may be; dropped, it is free.
#[derive(Debug)]
pub struct ConnectionSlot {
    registry: Arc<Registry>,
    source: IpAddr,
    leave: Arc<Notify>,
    /// Only touched under the registry's lock.
    held: Mutex<Held>,
}

#[derive(Clone, Copy, Debug)]
enum Held {
    /// Outside a call, with this ticket; given away when the registry no longer has the ticket.
    Waiting(u64),
    /// In a call: not to be given away.
    InCall,
}

impl ConnectionSlot {
    /// Tells when the place has been given to another connection.
    pub fn leave(&self) -> Arc<Notify> {
        Arc::clone(&self.leave)
    }

    /// A call begins: from here on the place is not given away. False when it has been already.
    pub fn in_call(&self) -> bool {
        let mut open = self.registry.lock();
        let still_held = self.is_held(&mut open);
        if still_held {
            *self.held() = Held::InCall;
        }
        still_held
    }

    /// The last call has ended: the place may be given away again.
    pub fn waits(&self) {
        let mut open = self.registry.lock();
        let ticket = self.registry.tickets.fetch_add(1, Ordering::Relaxed);
        open.waiting.insert(ticket, (self.source, Arc::clone(&self.leave)));
        *self.held() = Held::Waiting(ticket);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the ticket back, if the connection waits. False when the place has been given away.
    fn is_held(&self, open: &mut Open) -> bool {
        match *self.held() {
            Held::Waiting(ticket) => open.waiting.remove(&ticket).is_some(),
            Held::InCall => true,
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        if self.is_held(&mut open) {
            open.leave(self.source);
        }
        self.registry.gauge.set(i64::try_from(open.count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::net::Ipv4Addr;

    fn registry(all: usize, per_source: usize) -> Arc<Registry> {
        Registry::new(Bounds { all, per_source }, Metrics::new().unwrap().connections_open.clone())
    }

    fn host(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, n))
    }

    fn count(registry: &Registry) -> usize {
        registry.lock().count
    }

    #[test]
    fn the_one_that_waited_longest_makes_room() {
        let registry = registry(3, 2);
        let (first, second) = (registry.enter(host(1)).unwrap(), registry.enter(host(1)).unwrap());
        assert!(first.in_call());
        // The source is full; its first is in a call, so its second goes.
        let third = registry.enter(host(1)).unwrap();
        assert!(!second.in_call(), "the place is lost");
        assert!(third.in_call());
        assert_eq!(registry.enter(host(1)).err(), Some(Full::Source));
        let other = registry.enter(host(2)).unwrap();
        assert!(other.in_call());
        assert_eq!(registry.enter(host(3)).err(), Some(Full::All));
        first.waits();
        let fourth = registry.enter(host(3)).unwrap();
        assert_eq!(count(&registry), 3);
        drop((first, second, third, other, fourth));
        assert_eq!(count(&registry), 0, "each place is freed once");
        assert!(registry.lock().by_source.is_empty() && registry.lock().waiting.is_empty());
    }
}
