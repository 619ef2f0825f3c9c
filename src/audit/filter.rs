//! Which exchanges are wanted: conditions that must all hold.
//!
//! A filter is a list of names and values, the same on the command line, in a URL's query and in a cursor's hash.
//! A name or value that cannot match anything is an error that says what is allowed.

use super::exchange::{Exchange, Part};
use super::field::{Field, Place};
use super::record::{Content, Kind};
use crate::clock::{AuditId, Timestamp};
use crate::reason::Reason;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Outcomes that an exchange can have.
pub const OUTCOMES: &[&str] = &["succeeded", "accepted", "partly-failed", "failed", "not-sent", "unknown", "refused", "open"];
const VERDICTS: &[&str] = &["allow", "deny", "pass"];

/// Conditions that must all hold. The empty filter takes every exchange, and no event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Sorted by name and value, so that equal filters are equal however they were written.
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    name: String,
    value: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Since(When),
    Until(When),
    Id(AuditId),
    /// The digest stands anywhere in a record or in the body beside it.
    Secret(String),
    Field(Field, Match),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(Timestamp),
    /// Nanoseconds before the moment of the question.
    Ago(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Exact(String),
    Prefix(String),
    /// An address and the number of leading bits that count.
    Net(IpAddr, u32),
}

/// Why a filter cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No such filter.
    #[error("unknown filter `{name}`: use {allowed}, or a path such as `request.call.method`, `answer.status` or `request.content.keyScope`")]
    Name {
        /// What was given.
        name: String,
        /// The names that there are.
        allowed: String,
    },
    /// The value cannot match.
    #[error("`{name}` cannot be `{value}`: it takes {allowed}")]
    Value {
        /// The filter.
        name: String,
        /// What was given.
        value: String,
        /// What it takes.
        allowed: String,
    },
    /// A filter was given twice.
    #[error("filter `{0}` is given twice: conditions must all hold, so one exchange cannot match both")]
    Twice(String),
}

impl Filter {
    /// A filter of names and values.
    ///
    /// # Errors
    /// When a name or value is unknown, or a name that is no path is given twice.
    pub fn parse<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        pairs.into_iter().try_for_each(|(name, value)| filter.add(name.as_ref(), value.as_ref()))?;
        Ok(filter)
    }

    /// Adds a condition.
    ///
    /// # Errors
    /// When the name or value is unknown, or the name is no path and was given before.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let test = parse_test(name, value)?;
        if !name.contains('.') && self.conditions.iter().any(|condition| condition.name == name) {
            return Err(FilterError::Twice(name.to_owned()));
        }
        self.conditions.push(Condition { name: name.to_owned(), value: value.to_owned(), test });
        self.conditions.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
        Ok(())
    }

    /// Its names and values, as they were given.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.conditions.iter().map(|condition| (condition.name.as_str(), condition.value.as_str()))
    }

    /// The query of a URL that asks for the same.
    pub fn to_query(&self) -> String {
        serde_urlencoded::to_string(self.pairs().collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Names the filter in a cursor. Equal for equal names and values: `2h` stays `2h` while time goes on.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        for text in self.pairs().flat_map(|(name, value)| [name, value]) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }

    /// The times between which it looks, the later one excluded, by the trail's own time.
    pub fn bounds(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let at = |when: &When| match when {
            When::At(time) => *time,
            When::Ago(nanos) => Timestamp(now.0.saturating_sub(*nanos)),
        };
        self.conditions.iter().fold((Timestamp(0), Timestamp(u64::MAX)), |(since, until), condition| match &condition.test {
            Test::Since(when) => (at(when), until),
            Test::Until(when) => (since, at(when)),
            Test::Id(_) | Test::Secret(_) | Test::Field(..) => (since, until),
        })
    }

    /// The one exchange that it can match, when it names one.
    pub(super) fn id(&self) -> Option<AuditId> {
        self.conditions.iter().find_map(|condition| if let Test::Id(id) = condition.test { Some(id) } else { None })
    }

    /// Whether it asks for the gateway's own events instead of exchanges.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        let events = self.conditions.iter().any(|condition| condition.name == "event");
        self.id().is_some() || events == (kind == Kind::Event)
    }

    /// Texts without which a request's record cannot match, as they stand in its JSON: far cheaper than reading it.
    pub(super) fn needles(&self) -> Vec<String> {
        let needle = |condition: &Condition| match &condition.test {
            Test::Field(field, Match::Exact(text) | Match::Prefix(text)) => {
                let mut places = field.places().peekable();
                (places.peek().is_some() && places.all(|place| place == Place::Request)).then(|| escaped(text))
            }
            Test::Field(_, Match::Net(..)) | Test::Since(_) | Test::Until(_) | Test::Id(_) | Test::Secret(_) => None,
        };
        self.conditions.iter().filter_map(needle).collect()
    }

    /// Whether every condition but time holds. Bodies are loaded, through `content`, only when all else holds and
    /// they are needed.
    ///
    /// # Errors
    /// When `content` fails.
    pub(super) fn matches<E>(&self, exchange: &mut Exchange, content: impl Fn(u64) -> Result<Option<Content>, E>) -> Result<bool, E> {
        if !self.wants(exchange.request.kind) || !self.conditions.iter().all(|condition| condition.test.without_content(exchange)) {
            return Ok(false);
        }
        if !self.conditions.iter().any(|condition| condition.test.needs_content()) {
            return Ok(true);
        }
        for part in exchange.parts_mut() {
            part.content = content(part.seq)?;
        }
        Ok(self.conditions.iter().all(|condition| condition.test.with_content(exchange)))
    }
}

impl Test {
    fn needs_content(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::Field(field, _) => field.needs_content(),
            Self::Since(_) | Self::Until(_) | Self::Id(_) => false,
        }
    }

    /// Whether it can still hold before bodies are read.
    fn without_content(&self, exchange: &Exchange) -> bool {
        self.needs_content() || self.with_content(exchange)
    }

    fn with_content(&self, exchange: &Exchange) -> bool {
        match self {
            // The scan keeps to the times.
            Self::Since(_) | Self::Until(_) => true,
            Self::Id(id) => exchange.id == *id,
            Self::Secret(digest) => exchange.parts().any(|part| {
                let content = part.content.as_ref().map(|content| content.bytes.as_ref()).unwrap_or_default();
                holds(&part.leaf, digest) || holds(content, digest)
            }),
            Self::Field(field, wanted) => field.values(exchange).iter().any(|value| wanted.holds(value)),
        }
    }
}

impl Match {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Net(net, bits) => value.parse().is_ok_and(|address: IpAddr| leading(address, *bits) == leading(*net, *bits)),
        }
    }

    /// Exact, or a prefix when it ends in `*`.
    fn pattern(text: &str) -> Self {
        text.strip_suffix('*').map_or_else(|| Self::Exact(text.to_owned()), |prefix| Self::Prefix(prefix.to_owned()))
    }
}

/// The leading bits, and whether the address is of version 4.
fn leading(address: IpAddr, bits: u32) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (true, u128::from(u32::from(v4).checked_shr(32_u32.saturating_sub(bits)).unwrap_or(0))),
        IpAddr::V6(v6) => (false, u128::from(v6).checked_shr(128_u32.saturating_sub(bits)).unwrap_or(0)),
    }
}

/// Whether a text stands in a record's bytes, or in a body's.
pub(super) fn holds(bytes: &[u8], text: &str) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(whole) => whole.contains(text),
        Err(_) => String::from_utf8_lossy(bytes).contains(text),
    }
}

/// The text as it stands within a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn parse_test(name: &str, value: &str) -> Result<Test, FilterError> {
    let wrong = |allowed: &str| FilterError::Value { name: name.to_owned(), value: value.to_owned(), allowed: allowed.to_owned() };
    let one_of = |allowed: &[&str]| if allowed.contains(&value) { Ok(Match::Exact(value.to_owned())) } else { Err(wrong(&allowed.join(", "))) };
    if value.is_empty() {
        return Err(wrong("a value"));
    }
    let wanted = match name {
        "since" | "until" => {
            let when = parse_when(value).ok_or_else(|| wrong("a time such as `2026-11-22T14:20:50Z` or `2026-11-22`, or an age such as `30m`, `2h`, `7d`"))?;
            return Ok(if name == "since" { Test::Since(when) } else { Test::Until(when) });
        }
        "id" => return AuditId::parse(value).map(Test::Id).ok_or_else(|| wrong("an exchange's id, a UUID")),
        "secret" => {
            let digits = value.strip_prefix("hmac-sha256:").filter(|digits| digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
            return digits.map(|_| Test::Secret(value.to_ascii_lowercase())).ok_or_else(|| wrong("a keyed digest: `hmac-sha256:` and 64 hexadecimal digits"));
        }
        "decision" => one_of(VERDICTS)?,
        "outcome" => one_of(OUTCOMES)?,
        "reason" => one_of(&Reason::ALL.iter().map(|reason| reason.code()).collect::<Vec<_>>())?,
        "status" => parse_status(value).ok_or_else(|| wrong("a status such as `202`, or a class such as `4xx`"))?,
        "source" => parse_net(value).ok_or_else(|| wrong("an address such as `10.0.0.7`, or a network such as `10.0.0.0/8`"))?,
        "action" | "resource" | "event" => Match::pattern(value),
        _ => Match::Exact(value.to_owned()),
    };
    let unknown = || FilterError::Name {
        name: name.to_owned(),
        allowed: ["since", "until", "id", "secret"].into_iter().chain(Field::names()).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    Field::parse(name).map(|field| Test::Field(field, wanted)).ok_or_else(unknown)
}

fn parse_when(text: &str) -> Option<When> {
    if let Some(time) = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z"))) {
        return Some(When::At(time));
    }
    let unit = text.chars().next_back()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    count.checked_mul(seconds)?.checked_mul(1_000_000_000).map(When::Ago)
}

fn parse_status(text: &str) -> Option<Match> {
    if let Some(class) = text.strip_suffix("xx") {
        return matches!(class, "1" | "2" | "3" | "4" | "5").then(|| Match::Prefix(class.to_owned()));
    }
    let status: u16 = text.parse().ok()?;
    (100..=599).contains(&status).then(|| Match::Exact(status.to_string()))
}

fn parse_net(text: &str) -> Option<Match> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.map_or(Some(whole), |bits| bits.parse().ok()).filter(|bits| *bits <= whole)?;
    match address.to_canonical() {
        mapped @ IpAddr::V4(_) if whole == 128 => bits.checked_sub(96).map(|bits| Match::Net(mapped, bits)),
        address => Some(Match::Net(address, bits)),
    }
}

impl Exchange {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.request).chain(&self.answer)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        std::iter::once(&mut self.request).chain(&mut self.answer)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.conditions.len()))?;
        self.pairs().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Filter;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("filters, such as `caller=deploy` or `since=2h`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter, A::Error> {
                let mut filter = Filter::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    filter.add(&name, &value).map_err(de::Error::custom)?;
                }
                Ok(filter)
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests;
