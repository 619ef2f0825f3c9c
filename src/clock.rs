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

    /// Reads RFC 3339 with an offset, as `2026-11-22T14:20:50.5+08:00` is written. `None` for anything else, for a leap
    /// second, and for times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        // jiff takes many forms more, which other readers take for another moment, or for none.
        let time: jiff::Timestamp = text.parse().ok().filter(|_| is_rfc3339(text))?;
        u64::try_from(time.as_nanosecond()).ok().map(Self)
    }
}

fn is_rfc3339(text: &str) -> bool {
    let fits =
        |text: &str, form: &str| text.len() == form.len() && text.bytes().zip(form.bytes()).all(|(c, f)| if f == b'0' { c.is_ascii_digit() } else { c == f });
    let Some((time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let offset = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if !(1..=9).contains(&(fraction.len() - offset.len())) {
                return false;
            }
            offset
        }
    };
    fits(time, "0000-00-00T00:00:00") && !time.ends_with(":60") && ["Z", "+00:00", "-00:00"].iter().any(|form| fits(offset, form))
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

    /// An id of this time for something that has no record of its own and is counted in the record with this id: it ends as
    /// that one does, so that it leads there. `number` tells those of one millisecond apart.
    pub fn counted(self, time: Timestamp, number: u64) -> Self {
        let head = (u128::from(time.millis().unsigned_abs()) << 16) | 0x7000 | u128::from(number & 0xfff);
        Self(uuid::Uuid::from_u128((head << 64) | u128::from(self.tail())))
    }

    /// Whether what has the other id is counted in the record with this one: 62 random bits are the same in both.
    pub fn counts(self, other: Self) -> bool {
        self != other && self.tail() == other.tail()
    }

    fn tail(self) -> u64 {
        self.0.as_u64_pair().1
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
    fn an_id_that_is_counted_has_its_own_time_and_leads_to_the_one_that_counts_it() {
        let (record, time) = (AuditId::new(), Timestamp::parse("2026-11-22T14:20:50.123456Z").unwrap());
        let (one, next) = (record.counted(time, 1), record.counted(time, 4098));
        assert!(record.counts(one) && record.counts(next) && one != next && !record.counts(record) && !AuditId::new().counts(one));
        assert_eq!((one.0.get_version_num(), one.0.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(one.0.get_timestamp().unwrap().to_unix(), (1_795_357_250, 123_000_000));
        assert_eq!(AuditId::parse(&one.to_string()), Some(one));
    }

    #[test]
    fn an_offset_is_required() {
        assert_eq!(Timestamp::parse("2026-11-22 14:20:50"), None);
        assert_eq!(Timestamp::parse("2026-11-22T14:20:50"), None);
        assert!(Timestamp::parse("2026-11-22T14:20:50+08:00").is_some());
    }

    #[test]
    fn a_moment_has_one_spelling() {
        for text in [
            "2026-11-22T14:20:50Z[UTC]",
            "2026-11-22t14:20:50z",
            "2026-11-22 14:20:50Z",
            "2026-11-22T14:20Z",
            "2026-11-22T14Z",
            "20261122T142050Z",
            "2026-11-22T14:20:50,5Z",
            "2026-11-22T14:20:50.Z",
            "2026-11-22T14:20:50.1234567890Z",
            "2026-11-22T14:20:50+08",
            "2026-11-22T14:20:50+0800",
            "2026-12-31T23:59:60Z",
            "+002026-11-22T14:20:50Z",
            "2026-11-22T14:20:5\u{e9}",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
