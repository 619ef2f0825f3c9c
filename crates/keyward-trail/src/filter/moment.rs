//! Times as people write them, and as our tables print them: a moment with its offset, a day or a
//! month, or words such as `now`, `yesterday` and `2h`. What could be read in two ways is refused.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use keyward_core::clock::Timestamp;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// What a time takes, for whoever has written another.
pub(crate) const TIMES: &str = "a moment with its offset such as `2026-11-22T14:20:50Z` or `2026-11-22 22:20+08:00`, a day such as `2026-11-22` (in UTC, or with \
     an offset behind it) or a month, an age such as `30m`, `2h`, `7d`, or `now`, `today`, `yesterday`";

/// A moment, as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    /// Nanoseconds before the moment of the question.
    Ago(u64),
    /// The beginning of the day, in UTC, of the question; or of one so many days before it.
    Midnight(u64),
    /// The end of the day, in UTC, of the question.
    EndOfToday,
}

/// What a text names: a moment, or a stretch that begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub begin: When,
    /// The first moment behind it; of a moment, `None`.
    end: Option<When>,
}

impl When {
    /// The moment, when the question is asked at `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        let midnight = now.0 - now.0 % DAY;
        match self {
            Self::At(time) => time,
            Self::Ago(nanos) => Timestamp(now.0.saturating_sub(nanos)),
            Self::Midnight(days) => Timestamp(midnight.saturating_sub(days.saturating_mul(DAY))),
            Self::EndOfToday => Timestamp(midnight.saturating_add(DAY)),
        }
    }

    fn next(self) -> Self {
        match self {
            Self::At(time) => Self::At(Timestamp(time.0.saturating_add(1))),
            Self::Ago(nanos) => Self::Ago(nanos.saturating_sub(1)),
            Self::Midnight(_) | Self::EndOfToday => self,
        }
    }
}

impl Span {
    fn moment(when: When) -> Self {
        Self { begin: when, end: None }
    }

    fn between(begin: When, end: When) -> Self {
        Self { begin, end: Some(end) }
    }

    /// The bound of `until`: a moment is not in it, a day is.
    pub fn until(self) -> When {
        self.end.unwrap_or(self.begin)
    }

    /// The first moment behind it, whatever it is.
    pub fn behind(self) -> When {
        self.end.unwrap_or_else(|| self.begin.next())
    }

    /// Reads a time. `None` for what is none, or could be read in two ways.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "now" => return Some(Self::moment(When::Ago(0))),
            "today" => return Some(Self::between(When::Midnight(0), When::EndOfToday)),
            "yesterday" => return Some(Self::between(When::Midnight(1), When::Midnight(0))),
            _ => {}
        }
        let age = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")).unwrap_or(&text);
        if let Some(nanos) = parse_span(age) {
            return Some(Self::moment(When::Ago(nanos)));
        }
        let (date, rest) = text.split_at_checked("0000-00".len()).and_then(|(month, rest)| {
            Some((
                format!("{month}-01").parse::<Date>().ok().filter(|_| is(month, "0000-00"))?,
                rest,
            ))
        })?;
        let at = |date: Date| Some(When::At(start(date, Offset::UTC)?));
        if rest.is_empty() {
            return Some(Self::between(at(date)?, at(date.last_of_month().tomorrow().ok()?)?));
        }
        let (day, rest) =
            text.split_at_checked("0000-00-00".len()).filter(|(day, _)| is(day, "0000-00-00"))?;
        let date: Date = day.parse().ok()?;
        match rest.strip_prefix(['t', ' ']) {
            // A blank may stand before an offset too, of a day: what follows then is none of a time
            // of day.
            Some(time) => Some(Self::moment(When::At(moment(date, time)?))),
            None => {
                let offset = if rest.is_empty() { Offset::UTC } else { offset(rest)? };
                Some(Self::between(
                    When::At(start(date, offset)?),
                    When::At(start(date.tomorrow().ok()?, offset)?),
                ))
            }
        }
    }
}

/// A time of day with its offset: `14:20Z`, `14:20:50.5+08:00`, `14:20:50 +0800`.
fn moment(date: Date, text: &str) -> Option<Timestamp> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))?;
    let (time, zone) = text.split_at_checked(end)?;
    let zone = offset(zone.strip_prefix(' ').unwrap_or(zone))?;
    let (whole, fraction) =
        time.split_once('.').map_or((time, None), |(whole, fraction)| (whole, Some(fraction)));
    let sound = match fraction {
        None => is(whole, "00:00") || is(whole, "00:00:00"),
        Some(fraction) => {
            is(whole, "00:00:00")
                && (1..=9).contains(&fraction.len())
                && fraction.bytes().all(|b| b.is_ascii_digit())
        }
    };
    // The last second of some days is the 61st of its minute, which no clock of ours shows.
    let time: jiff::civil::Time =
        time.parse().ok().filter(|_| sound && whole.split(':').nth(2) != Some("60"))?;
    stamp(date.to_datetime(time).to_zoned(TimeZone::fixed(zone)).ok()?.timestamp())
}

/// The beginning of a day.
fn start(date: Date, offset: Offset) -> Option<Timestamp> {
    stamp(date.to_zoned(TimeZone::fixed(offset)).ok()?.timestamp())
}

fn stamp(time: jiff::Timestamp) -> Option<Timestamp> {
    // The last moment that there is stands for all behind it.
    u64::try_from(time.as_nanosecond())
        .map_or((time > jiff::Timestamp::UNIX_EPOCH).then_some(Timestamp(u64::MAX)), |nanos| {
            Some(Timestamp(nanos))
        })
}

/// `z`, `utc`, `+08:00`, `+0800` or `+08`.
fn offset(text: &str) -> Option<Offset> {
    if matches!(text, "z" | "utc" | "gmt") {
        return Some(Offset::UTC);
    }
    let (sign, digits) = text
        .strip_prefix('+')
        .map(|digits| (1, digits))
        .or_else(|| text.strip_prefix('-').map(|digits| (-1, digits)))?;
    let sound = ["00:00", "0000", "00"].iter().any(|form| is(digits, form));
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| sound)?;
    let (hours, minutes): (i32, i32) =
        (hours.parse().ok()?, if minutes.is_empty() { 0 } else { minutes.parse().ok()? });
    if hours > 23 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// Whether digits stand where the form has zeros, and all else is the same.
fn is(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(c, f)| if f == b'0' { c.is_ascii_digit() } else { c == f })
}

/// A length of time such as `30m`, `2h`, `7d` or `1h30m`, in nanoseconds.
pub(crate) fn parse_span(text: &str) -> Option<u64> {
    let (mut rest, mut sum, mut last) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, behind) = rest.split_at_checked(end)?;
        let unit = behind.chars().next()?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        if seconds >= last {
            return None;
        }
        sum =
            sum.checked_add(count.parse::<u64>().ok()?.checked_mul(seconds)?.checked_mul(SECOND)?)?;
        (rest, last) = (behind.get(unit.len_utf8()..)?, seconds);
    }
    (last < u64::MAX).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = at("2026-11-30T14:00:00Z");
        for (text, begin, until) in [
            ("2026-11-22T14:20:50Z", "2026-11-22T14:20:50Z", "2026-11-22T14:20:50Z"),
            // As the tables print it.
            ("2026-11-22 14:20:50Z", "2026-11-22T14:20:50Z", "2026-11-22T14:20:50Z"),
            ("2026-11-22 14:20:50 UTC", "2026-11-22T14:20:50Z", "2026-11-22T14:20:50Z"),
            ("2026-11-22t14:20:50.5z", "2026-11-22T14:20:50.5Z", "2026-11-22T14:20:50.5Z"),
            ("2026-11-22T14:20+08:00", "2026-11-22T06:20:00Z", "2026-11-22T06:20:00Z"),
            ("2026-11-22 14:20:50 +0800", "2026-11-22T06:20:50Z", "2026-11-22T06:20:50Z"),
            ("2026-11-22 14:20:50-05", "2026-11-22T19:20:50Z", "2026-11-22T19:20:50Z"),
            (" 2026-11-22 ", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("2026-11-22+08:00", "2026-11-21T16:00:00Z", "2026-11-22T16:00:00Z"),
            ("2026-11-22Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("now", "2026-11-30T14:00:00Z", "2026-11-30T14:00:00Z"),
            ("Today", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("yesterday", "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"),
            ("-2h", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z"),
            ("2h", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z"),
            ("1h30m", "2026-11-30T12:30:00Z", "2026-11-30T12:30:00Z"),
            ("2h ago", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z"),
        ] {
            let span = Span::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (span.begin.at(now), span.until().at(now)),
                (at(begin), at(until)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in [
            "",
            " ",
            "2026",
            "20261130",
            "2026-11-30T14:20:50",
            "2026-11-30 14:20:50",
            "2026-11-30 14:20",
            "14:20Z",
            "30.11.2026",
            "11/30/2026",
            "2026-1-5",
            "2026-02-30",
            "2026-13",
            "2026-11-30T24:00:00Z",
            "2026-11-30T23:59:60Z",
            "2026-11-30T14:20:50 08:00",
            "2026-11-30T14:20:50+24:00",
            "2026-11-30T14:20:50+8",
            "2026-11-30T14Z",
            "2026-11-30T14:20:50.Z",
            "2026-11-30T14:20:50,5Z",
            "2026-11-30T14:20.5Z",
            "2026-11-30 Z",
            "2026-11-30T",
            "1764489559",
            "monday",
            "tomorrow",
            "last week",
            "+2h",
            "--2h",
            "2",
            "2x",
            "h",
            "1m1h",
            "2h2h",
            "99999999999999w",
            "1969-12-31",
            "2026-11-30T14:20:50\u{ff3a}",
            "2026\u{2010}11\u{2010}30",
            "2026-11-30T14:20:50Z[UTC]",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
