//! Time and identifiers. The only module that reads the wall clock, so that decisions can be
//! replayed.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, UTC. Lasts until the year 2262 as an `i64` and 2554 as a
/// `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock, now. A clock before 1970 reads as 1970: policies with a sanity bound then
    /// deny.
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

    /// Reads RFC 3339 with an offset, as [`Moment::parse`] does. `None` for anything else, and for
    /// times before 1970 and after 2554.
    pub fn parse(text: &str) -> Option<Self> {
        let Moment { seconds, nanos } = Moment::parse(text)?;
        u64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).ok().map(Self)
    }
}

/// A point in time that a call names, in the years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Since the Unix epoch, UTC.
    seconds: i64,
    nanos: u32,
}

/// The first and the last second that four digits of a year can write.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

impl Moment {
    /// Reads RFC 3339, all of it and nothing else: `T` and `Z` in either case, an offset up to
    /// 23:59, any number of digits behind the second, and a leap second where there can be one,
    /// which is the second behind it. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let (time, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
        let [year, month, day] = numbers(date, [4, 2, 2], '-')?;
        let [hour, minute, second] = numbers(time, [2, 2, 2], ':')?;
        let (fraction, offset) = match rest.strip_prefix('.') {
            None => ("", rest),
            Some(rest) => rest
                .split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)
                .filter(|(fraction, _)| !fraction.is_empty())?,
        };
        let offset = match offset.strip_prefix(['+', '-']) {
            None => matches!(offset, "Z" | "z").then_some(0)?,
            Some(rest) => {
                let [hours, minutes] = numbers(rest, [2, 2], ':')
                    .filter(|[hours, minutes]| *hours < 24 && *minutes < 60)?;
                let seconds = i64::from(hours * 60 + minutes) * 60;
                if offset.starts_with('-') { -seconds } else { seconds }
            }
        };
        let date = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?)
            .ok()?;
        let leap = second == 60;
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let epoch = jiff::civil::Date::new(1970, 1, 1).ok()?;
        let days = i64::from(epoch.until(date).ok()?.get_days());
        let seconds =
            days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second)
                - offset;
        // In UTC, the last second of a month's last day.
        if leap
            && (seconds.rem_euclid(86_400) != 0 || !begins_month(seconds.div_euclid(86_400), epoch))
        {
            return None;
        }
        let nanos = if leap { "" } else { fraction };
        let nanos = format!("{nanos:0<9}").get(..9)?.parse().ok()?;
        // At the edges an offset leads out of what four digits can write: the edge stands for it.
        Some(Self { seconds: seconds.clamp(*SECONDS.start(), *SECONDS.end()), nanos })
    }

    /// RFC 3339 in UTC with so many digits behind the second: `2026-11-22T14:20:50.123Z`.
    pub fn rfc3339(self, digits: usize) -> String {
        let epoch = jiff::civil::Date::new(1970, 1, 1).unwrap_or_default().at(0, 0, 0, 0);
        let time = epoch
            .checked_add(jiff::SignedDuration::from_secs(self.seconds))
            .unwrap_or(jiff::civil::DateTime::MAX);
        let fraction = format!("{:09}", self.nanos);
        format!(
            "{}.{}Z",
            time.strftime("%Y-%m-%dT%H:%M:%S"),
            fraction.get(..digits).unwrap_or(&fraction)
        )
    }
}

fn begins_month(days: i64, epoch: jiff::civil::Date) -> bool {
    i32::try_from(days)
        .ok()
        .and_then(|days| epoch.checked_add(jiff::Span::new().try_days(days).ok()?).ok())
        .is_some_and(|date| date.day() == 1)
}

/// Numbers of so many digits each, with a separator between them.
fn numbers<const N: usize>(text: &str, digits: [usize; N], separator: char) -> Option<[i16; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts
            .next()
            .filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The id of one exchange: UUID version 7, so that ids sort by time. It is the `X-Request-Id` of
/// the answer too.
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

    /// An id of this time for something that has no record of its own and is counted in the record
    /// with this id: it ends as that one does, so that it leads there. `number` tells those of
    /// one millisecond apart.
    pub fn counted(self, time: Timestamp, number: u64) -> Self {
        let head =
            (u128::from(time.millis().unsigned_abs()) << 16) | 0x7000 | u128::from(number & 0xfff);
        Self(uuid::Uuid::from_u128((head << 64) | u128::from(self.tail())))
    }

    /// Whether what has the other id is counted in the record with this one: 62 random bits are the
    /// same in both.
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
        let (record, time) =
            (AuditId::new(), Timestamp::parse("2026-11-22T14:20:50.123456Z").unwrap());
        let (one, next) = (record.counted(time, 1), record.counted(time, 4098));
        assert!(
            record.counts(one)
                && record.counts(next)
                && one != next
                && !record.counts(record)
                && !AuditId::new().counts(one)
        );
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
            "2026-11-22 14:20:50Z",
            "2026-11-22T14:20Z",
            "2026-11-22T14Z",
            "20261122T142050Z",
            "2026-11-22T14:20:50,5Z",
            "2026-11-22T14:20:50.Z",
            "2026-11-22T14:20:50+08",
            "2026-11-22T14:20:50+0800",
            "2026-12-31T23:59:61Z",
            "2026-12-30T23:59:60Z",
            "2026-12-31T23:58:60Z",
            "2026-12-31T23:59:60+01:00",
            "2026-11-22T24:00:00Z",
            "2026-11-22T14:60:00Z",
            "2026-11-31T14:20:50Z",
            "2026-02-29T14:20:50Z",
            "2026-00-10T14:20:50Z",
            "2026-11-22T14:20:50+24:00",
            "2026-11-22T14:20:50-23:60",
            "2026-11-22T14:20:50+25:59",
            "2026-11-22T14:20:50+99:99",
            "2026-11-22T14:20:50 Z",
            "2026-11-22T14:20:50Z ",
            " 2026-11-22T14:20:50Z",
            "2026-11-22T14:20:50ZZ",
            "2026-11-22T14:20:50.5",
            "2026-11-22T14:20:50+08:00Z",
            "2026-11-22T14:20:50\u{2212}08:00",
            "12026-11-22T14:20:50Z",
            "-2026-11-22T14:20:50Z",
            "2026-W47-7T14:20:50Z",
            "2026-326T14:20:50Z",
            "",
            "Z",
            "+002026-11-22T14:20:50Z",
            "2026-11-22T14:20:5\u{e9}",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn all_that_rfc_3339_allows_is_read() {
        for (text, wanted) in [
            ("2026-11-22t14:20:50z", "2026-11-22T14:20:50.000Z"),
            ("2026-11-22T14:20:50.1234567890123Z", "2026-11-22T14:20:50.123Z"),
            ("2026-11-22T14:20:50.5+08:00", "2026-11-22T06:20:50.500Z"),
            ("2026-11-22T14:20:50+23:59", "2026-11-21T14:21:50.000Z"),
            ("2026-11-22T14:20:50-23:59", "2026-11-23T14:19:50.000Z"),
            ("2026-11-22T14:20:50-00:00", "2026-11-22T14:20:50.000Z"),
            ("2026-12-31T23:59:60Z", "2027-01-01T00:00:00.000Z"),
            ("2027-01-01T07:59:60.9+08:00", "2027-01-01T00:00:00.000Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00.000Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("0000-01-01T00:00:00+23:59", "0000-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
            ("9999-12-31T23:59:59.999999999-23:59", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(
                Moment::parse(text).unwrap_or_else(|| panic!("{text}")).rfc3339(3),
                wanted,
                "{text}"
            );
        }
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59Z"), None);
        assert!(Moment::parse("9999-12-31T23:59:59Z") > Moment::parse("2026-11-22T14:20:50Z"));
    }
}
