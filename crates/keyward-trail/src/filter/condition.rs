//! One condition on an exchange: a name, a comparison and a value, read strictly. A name or a value
//! that cannot match anything is an error that says what is allowed.

use super::field::{Field, RecordPart};
use super::moment::{Span, TIMES, When};
use crate::exchange::{Exchange, Part};
use keyward_core::alike;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_core::secret::DIGEST_PREFIX;
use keyward_record::Kind;
use std::net::IpAddr;
use std::ops::Range;

/// Outcomes that an exchange can have.
pub const OUTCOMES: &[&str] =
    &["succeeded", "accepted", "partly-failed", "failed", "not-sent", "unknown", "refused", "open"];
const VERDICTS: &[&str] = &["allow", "deny", "pass"];
/// Names that are no fields.
const SPECIAL: &[&str] = &["since", "until", "time", "seq", "id", "secret"];

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// At this time, or later.
    Since(When),
    /// Before this time.
    Until(When),
    /// The request's record stands in this part of the trail.
    Seq(Range<u64>),
    Id(AuditId),
    /// The digest stands anywhere in a record or in the body beside it.
    Secret(String),
    Field(Field, Match),
}

/// What a field's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Exact(String),
    Prefix(String),
    /// An address and the number of leading bits that count.
    Net(IpAddr, u32),
    /// A whole number, the end excluded.
    Number(Range<u64>),
}

/// How a name and a value are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// Why a filter cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No such filter.
    #[error(
        "unknown filter `{name}`{near}: use {allowed}, or a path such as `request.call.method`, `answer.status` or `request.content.keyScope`"
    )]
    Name {
        /// What was given.
        name: String,
        /// What may have been meant, in words.
        near: String,
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
    /// The comparison means nothing for the name.
    #[error(
        "`{0}` has no order: compare it by `=`, `!=` or `in`; `time`, `seq`, `status` and numbers at a path take `<`, `<=`, `>` and `>=`"
    )]
    Unordered(String),
    /// A filter was given twice.
    #[error(
        "filter `{0}` is given twice: conditions must all hold, so one exchange cannot match both"
    )]
    Twice(String),
    /// An expression is malformed, or holds a condition that cannot be.
    #[error("`where`, column {column}: {why}")]
    Where {
        /// The place, in characters from 1.
        column: usize,
        /// What is wrong, and what is allowed.
        why: String,
    },
}

impl Test {
    /// `name = value`.
    pub fn equal(name: &str, value: &str) -> Result<Self, FilterError> {
        Self::parse(name, Comparison::Equal, value)
    }

    /// Reads a condition.
    pub fn parse(name: &str, comparison: Comparison, value: &str) -> Result<Self, FilterError> {
        let wrong = |allowed: &str| FilterError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        };
        if value.is_empty() {
            return Err(wrong("a value"));
        }
        let equal = comparison == Comparison::Equal;
        match name {
            "time" => {
                return compare_time(comparison, Span::parse(value).ok_or_else(|| wrong(TIMES))?);
            }
            "seq" => {
                return Ok(Self::Seq(
                    comparison.range(
                        value
                            .parse()
                            .map_err(|_| wrong("a record's place in the trail, a whole number"))?,
                    ),
                ));
            }
            "status" if !equal => {
                let status = value
                    .parse()
                    .ok()
                    .filter(|status| (100..=599).contains(status))
                    .ok_or_else(|| wrong("a status such as `400` beside `<` or `>`"))?;
                return field(name, Match::Number(comparison.range(status)));
            }
            _ if !equal && name.contains('.') => {
                let number =
                    value.parse().map_err(|_| wrong("a whole number beside `<` or `>`"))?;
                return field(name, Match::Number(comparison.range(number)));
            }
            _ if !equal => {
                return if SPECIAL.contains(&name) || Field::parse(name).is_some() {
                    Err(FilterError::Unordered(name.to_owned()))
                } else {
                    Err(unknown(name))
                };
            }
            "since" => {
                return Span::parse(value)
                    .map(|span| Self::Since(span.begin))
                    .ok_or_else(|| wrong(TIMES));
            }
            "until" => {
                return Span::parse(value)
                    .map(|span| Self::Until(span.until()))
                    .ok_or_else(|| wrong(TIMES));
            }
            "id" => {
                return AuditId::parse(value)
                    .map(Self::Id)
                    .ok_or_else(|| wrong("an exchange's id, a UUID"));
            }
            "secret" => {
                let digits = value.strip_prefix(DIGEST_PREFIX).filter(|digits| {
                    digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
                });
                return digits.map(|_| Self::Secret(value.to_ascii_lowercase())).ok_or_else(|| {
                    wrong("a keyed digest: `hmac-sha256:` and 64 hexadecimal digits")
                });
            }
            _ => {}
        }
        let wanted = match Field::short(name).unwrap_or(name) {
            "decision" => one_of(value, VERDICTS).ok_or_else(|| wrong(&VERDICTS.join(", ")))?,
            "outcome" | "answer.outcome" => {
                one_of(value, OUTCOMES).ok_or_else(|| wrong(&OUTCOMES.join(", ")))?
            }
            "reason" => {
                let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
                one_of(value, &codes).ok_or_else(|| wrong(&codes.join(", ")))?
            }
            "status" => parse_status(value)
                .ok_or_else(|| wrong("a status such as `202`, or a class such as `4xx`"))?,
            "source" => parse_net(value).ok_or_else(|| {
                wrong("an address such as `10.0.0.7`, or a network such as `10.0.0.0/8`")
            })?,
            _ => Match::pattern(value).ok_or_else(|| wrong(STARS))?,
        };
        field(name, wanted)
    }

    /// The same with a time that no longer depends on the moment of the question.
    pub fn at(&self, now: Timestamp) -> Self {
        match self {
            Self::Since(when) => Self::Since(When::At(when.at(now))),
            Self::Until(when) => Self::Until(When::At(when.at(now))),
            Self::Seq(_) | Self::Id(_) | Self::Secret(_) | Self::Field(..) => self.clone(),
        }
    }

    /// Whether bodies must be read to know whether it holds.
    pub fn needs_content(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::Field(field, _) => field.needs_content(),
            Self::Since(_) | Self::Until(_) | Self::Seq(_) | Self::Id(_) => false,
        }
    }

    /// A text without which a request's record cannot match, as it stands in its JSON: far cheaper
    /// than reading it.
    pub fn needle(&self) -> Option<String> {
        match self {
            Self::Field(field, Match::Exact(text) | Match::Prefix(text)) => {
                let mut places = field.places().peekable();
                (places.peek().is_some() && places.all(|place| place == RecordPart::Request))
                    .then(|| escaped(text))
            }
            Self::Field(_, Match::Net(..) | Match::Number(_))
            | Self::Since(_)
            | Self::Until(_)
            | Self::Seq(_)
            | Self::Id(_)
            | Self::Secret(_) => None,
        }
    }

    /// Whether it holds, the bodies being there if they are needed. Times must be fixed.
    pub fn holds(&self, exchange: &Exchange) -> bool {
        match self {
            Self::Since(when) => exchange.request.time >= when.at(Timestamp(u64::MAX)),
            Self::Until(when) => exchange.request.time < when.at(Timestamp(u64::MAX)),
            Self::Seq(range) => range.contains(&exchange.request.seq),
            Self::Id(id) => {
                exchange.id == *id
                    || (exchange.request.kind == Kind::Event && exchange.id.counts(*id))
            }
            Self::Secret(digest) => exchange.parts().any(|part| {
                let content =
                    part.content.as_ref().map(|content| content.bytes.as_ref()).unwrap_or_default();
                holds(&part.leaf, digest) || holds(content, digest)
            }),
            Self::Field(field, wanted) => {
                field.values(exchange).iter().any(|value| wanted.holds(value))
            }
        }
    }
}

impl Comparison {
    /// The whole numbers that compare so with `value`; the end is excluded.
    fn range(self, value: u64) -> Range<u64> {
        match self {
            Self::Equal => value..value.saturating_add(1),
            Self::Below => 0..value,
            Self::AtMost => 0..value.saturating_add(1),
            Self::Above => value.saturating_add(1)..u64::MAX,
            Self::AtLeast => value..u64::MAX,
        }
    }
}

impl Match {
    /// Whether a value is one that is wanted.
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Net(net, bits) => value
                .parse()
                .is_ok_and(|address: IpAddr| leading(address, *bits) == leading(*net, *bits)),
            Self::Number(range) => value.parse().is_ok_and(|number: u64| range.contains(&number)),
        }
    }

    /// Exact, or a prefix when it ends in `*`; `\*` is a star. `None` when a star stands elsewhere:
    /// it would match nothing.
    fn pattern(text: &str) -> Option<Self> {
        let (begin, prefix) = match text.strip_suffix('*') {
            Some(begin) if !begin.ends_with('\\') => (begin, true),
            _ => (text, false),
        };
        if begin.replace("\\*", "").contains('*') {
            return None;
        }
        let plain = begin.replace("\\*", "*");
        Some(if prefix { Self::Prefix(plain) } else { Self::Exact(plain) })
    }
}

const STARS: &str =
    "`*` at its end, for all that begins so, and nowhere else; `\\*` is a star itself";

fn field(name: &str, wanted: Match) -> Result<Test, FilterError> {
    Field::parse(name).map(|field| Test::Field(field, wanted)).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> FilterError {
    let names = || SPECIAL.iter().copied().chain(Field::names());
    let allowed = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    FilterError::Name { name: name.to_owned(), near: alike::did_you_mean(name, names()), allowed }
}

/// A day is in what is at most it, and all of it is before what is above it.
fn compare_time(comparison: Comparison, span: Span) -> Result<Test, FilterError> {
    match comparison {
        Comparison::Equal => Err(FilterError::Value {
            name: "time".to_owned(),
            value: "=".to_owned(),
            allowed: "`<`, `<=`, `>` or `>=`".to_owned(),
        }),
        Comparison::Below => Ok(Test::Until(span.begin)),
        Comparison::AtMost => Ok(Test::Until(span.behind())),
        Comparison::Above => Ok(Test::Since(span.behind())),
        Comparison::AtLeast => Ok(Test::Since(span.begin)),
    }
}

/// A value of a closed list, or a prefix of some.
fn one_of(value: &str, allowed: &[&str]) -> Option<Match> {
    let wanted = Match::pattern(value)?;
    allowed.iter().any(|value| wanted.holds(value)).then_some(wanted)
}

/// The leading bits, and whether the address is of version 4.
fn leading(address: IpAddr, bits: u32) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            (true, u128::from(u32::from(v4).checked_shr(32_u32.saturating_sub(bits)).unwrap_or(0)))
        }
        IpAddr::V6(v6) => {
            (false, u128::from(v6).checked_shr(128_u32.saturating_sub(bits)).unwrap_or(0))
        }
    }
}

/// Whether a text stands in a record's bytes, or in a body's.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
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

fn parse_status(text: &str) -> Option<Match> {
    if let Some(class) = text.strip_suffix("xx") {
        return matches!(class, "1" | "2" | "3" | "4" | "5")
            .then(|| Match::Prefix(class.to_owned()));
    }
    let status: u16 = text.parse().ok()?;
    (100..=599).contains(&status).then(|| Match::Exact(status.to_string()))
}

pub(crate) fn parse_net(text: &str) -> Option<Match> {
    let (address, bits) =
        text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 =
        bits.map_or(Some(whole), |bits| bits.parse().ok()).filter(|bits| *bits <= whole)?;
    match address.to_canonical() {
        mapped @ IpAddr::V4(_) if whole == 128 => {
            bits.checked_sub(96).map(|bits| Match::Net(mapped, bits))
        }
        address => Some(Match::Net(address, bits)),
    }
}

impl Exchange {
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.request).chain(&self.answer)
    }

    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        std::iter::once(&mut self.request).chain(&mut self.answer)
    }
}
