//! Time and identifiers. The only module that reads the wall clock, so that decisions can be replayed.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, UTC. Lasts until the year 2262 as an `i64` and 2554 as a `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock, now. A clock before 1970 reads as 1970: policies with a sanity bound then deny.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Milliseconds since the epoch, the unit of Cedar's `datetime`.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX)
    }

    /// RFC 3339 with microseconds, for example `2026-11-22T14:20:50.123456Z`.
    pub fn rfc3339(self) -> String {
        let micros = i64::try_from(self.0 / 1_000).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(time) => format!("{time:.6}"),
            Err(_) => format!("@{}ns", self.0),
        }
    }

    /// Reads RFC 3339 with an offset. `None` for anything else, and for times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok().map(Self)
    }
}

/// The id of one exchange: UUID version 7, so that ids sort by time. It is the `X-Request-Id` of the answer too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(pub uuid::Uuid);

impl AuditId {
    /// A new id, unique and ordered by time.
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// Reads the usual hyphenated form. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::parse_str(text).ok().map(Self)
    }
}

impl Default for AuditId {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_round_trips_through_its_text() {
        let time = Timestamp::parse("2026-11-22T14:20:50.123456Z").unwrap();
        assert_eq!(time.rfc3339(), "2026-11-22T14:20:50.123456Z");
        assert_eq!(time.millis(), 1_795_357_250_123);
    }

    #[test]
    fn an_offset_is_required() {
        assert_eq!(Timestamp::parse("2026-11-22 14:20:50"), None);
        assert_eq!(Timestamp::parse("2026-11-22T14:20:50"), None);
        assert!(Timestamp::parse("2026-11-22T14:20:50+08:00").is_some());
    }
}
