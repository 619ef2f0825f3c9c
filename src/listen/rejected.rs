//! Connections that came to nothing: counted at once, and put on record together, in one event with
//! exact numbers by class and source: the first within a second, what follows once a minute. So a
//! flood of them fills no disk.

use crate::metrics::Metrics;
use keyward_record::{Event, event};
use keyward_trail::journal::Journal;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is seen whether something is to go on record.
pub const EVERY: Duration = Duration::from_secs(1);

/// For so long what follows on a record waits for the next one.
const REST: Duration = Duration::from_secs(60);

/// Sources that one record names; the others are counted together.
const SOURCES_MAX: usize = 32;

/// Why a connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// As many connections are in calls as there may be.
    ConnectionsFull,
    /// The source has as many connections in calls as one may have.
    SourceFull,
    /// It waited, and gave its place to another.
    MadeRoom,
    /// A TLS hello on a listener without TLS.
    TlsOnPlain,
    /// Plain HTTP on a listener with TLS.
    PlainOnTls,
    /// The TLS handshake failed, or took too long.
    Handshake,
    /// A listed peer sent no PROXY header of version 2, or a broken one.
    ProxyHeader,
    /// Nothing came before the deadline.
    Silent,
    /// The client left before its head was whole.
    HeadCut,
    /// HTTP/2 answered a request itself: without a host, with two, or with too long a head.
    Http2Request,
    /// HTTP/2 reset a malformed stream.
    Http2Stream,
    /// HTTP/2 ended the connection for an error.
    Http2Connection,
}

impl Class {
    /// All, for the documentation.
    pub const ALL: &'static [Self] = &[
        Self::ConnectionsFull,
        Self::SourceFull,
        Self::MadeRoom,
        Self::TlsOnPlain,
        Self::PlainOnTls,
        Self::Handshake,
        Self::ProxyHeader,
        Self::Silent,
        Self::HeadCut,
        Self::Http2Request,
        Self::Http2Stream,
        Self::Http2Connection,
    ];

    /// The stable code, as it stands in records and metric labels.
    pub fn code(self) -> &'static str {
        match self {
            Self::ConnectionsFull => "connections-full",
            Self::SourceFull => "source-full",
            Self::MadeRoom => "made-room",
            Self::TlsOnPlain => "tls-on-plain",
            Self::PlainOnTls => "plain-on-tls",
            Self::Handshake => "tls-handshake",
            Self::ProxyHeader => "proxy-header",
            Self::Silent => "silent",
            Self::HeadCut => "head-cut",
            Self::Http2Request => "http2-request",
            Self::Http2Stream => "http2-stream",
            Self::Http2Connection => "http2-connection",
        }
    }
}

/// What was turned away since the last record.
#[derive(Debug)]
pub struct TurnedAway {
    metrics: Arc<Metrics>,
    counts: Mutex<BTreeMap<Class, Counts>>,
    recorded: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u64,
    by_source: BTreeMap<IpAddr, u64>,
}

impl TurnedAway {
    /// Nothing yet.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        for class in Class::ALL {
            metrics.turned_away.with_label_values(&[class.code()]).inc_by(0);
        }
        Arc::new(Self { metrics, counts: Mutex::default(), recorded: Mutex::default() })
    }

    /// Counts one.
    pub fn count(&self, class: Class, source: IpAddr) {
        self.metrics.turned_away.with_label_values(&[class.code()]).inc();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_class = counts.entry(class).or_default();
        of_class.total += 1;
        if of_class.by_source.len() < SOURCES_MAX || of_class.by_source.contains_key(&source) {
            *of_class.by_source.entry(source).or_default() += 1;
        }
    }

    /// Puts what was counted on record, when it is time.
    pub fn record_in_time(&self, journal: &Journal) {
        let rests = self
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() < REST);
        if !rests {
            self.record(journal);
        }
    }

    /// Puts what was counted on record.
    pub fn record(&self, journal: &Journal) {
        let counts =
            std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if !counts.is_empty() {
            *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            journal.append_detached(Event::TurnedAway { connections: report(&counts) }.record());
        }
    }
}

fn report(counts: &BTreeMap<Class, Counts>) -> BTreeMap<String, event::TurnedAway> {
    let classes = counts.iter().map(|(class, counts)| {
        let named: u64 = counts.by_source.values().sum();
        let mut by_source: BTreeMap<_, _> =
            counts.by_source.iter().map(|(source, count)| (source.to_string(), *count)).collect();
        if named < counts.total {
            by_source.insert("others".to_owned(), counts.total - named);
        }
        (class.code().to_owned(), event::TurnedAway { total: counts.total, by_source })
    });
    classes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn the_documentation_lists_each_class() {
        let page = include_str!("../../docs/listeners.md");
        for class in Class::ALL {
            assert!(page.contains(&format!("`{}`", class.code())), "{}", class.code());
        }
    }

    #[test]
    fn numbers_are_exact_when_sources_are_many() {
        let turned_away = TurnedAway::new(Arc::new(Metrics::new().unwrap()));
        for n in 0..100 {
            turned_away.count(Class::Silent, IpAddr::V4(Ipv4Addr::new(127, 0, 0, n)));
        }
        turned_away.count(Class::Silent, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)));
        let report = report(&turned_away.counts.lock().unwrap());
        assert_eq!(report["silent"].total, 101);
        assert_eq!(report["silent"].by_source["127.0.0.0"], 2);
        assert_eq!(report["silent"].by_source["others"], 68);
    }
}
