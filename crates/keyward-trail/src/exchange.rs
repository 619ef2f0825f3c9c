//! An exchange as auditors see it: what was asked and decided, and what came of it.

use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_record::reading::{Answered, Asked};
use keyward_record::{Content, Entry, Event, Head, Kind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The outcome of which nothing is known.
const UNKNOWN: &str = "unknown";

/// A request's record with its answer's. The gateway's own events stand alone, in `request`.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its id.
    pub id: AuditId,
    /// What was asked and decided.
    pub request: Part,
    /// What came of it; `None` for refused calls, for events, and while the exchange is open.
    pub answer: Option<Part>,
    /// It is not open, and has no answer: that was among records that are gone.
    pub answer_gone: bool,
}

/// One record of an exchange.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its place in the trail.
    pub seq: u64,
    /// The trail's own time, which never goes back. The leaf has the observed one.
    pub time: Timestamp,
    /// What it records.
    pub kind: Kind,
    /// The record, byte for byte.
    pub leaf: Bytes,
    /// The record, parsed. `Null` when it is no JSON.
    pub json: Value,
    /// The body beside it, when it was asked for.
    pub content: Option<Content>,
}

impl Part {
    /// The record at `seq`. The leaf is copied, so that it does not keep its whole frame in memory.
    pub fn new(seq: u64, entry: &Entry) -> Self {
        let json = serde_json::from_slice(&entry.leaf).unwrap_or_default();
        Self {
            seq,
            time: entry.time,
            kind: entry.kind,
            leaf: Bytes::copy_from_slice(&entry.leaf),
            json,
            content: None,
        }
    }

    /// A record as it left the trail: its bytes, and what the trail says of them. `None` when they
    /// are no JSON.
    pub fn of_leaf(
        seq: u64,
        time: Timestamp,
        leaf: Bytes,
        content: Option<Content>,
    ) -> Option<Self> {
        let json: Value = serde_json::from_slice(&leaf).ok()?;
        let kind = Head::of_json(&json).and_then(|head| head.kind()).unwrap_or(Kind::Forwarded);
        Some(Self { seq, time, kind, leaf, json, content })
    }

    /// What it says, when it is of a request or an event.
    pub fn asked(&self) -> Asked<'_> {
        Asked::of(&self.json)
    }

    /// What it says, when it is of an answer.
    pub fn answered(&self) -> Answered<'_> {
        Answered::of(&self.json)
    }

    /// The event that it is of, as far as it is known here.
    pub fn event(&self) -> Option<Event> {
        if self.kind == Kind::Event { Event::of_json(&self.json) } else { None }
    }

    /// The stored body parsed, when it is JSON and was stored whole.
    pub fn content_json(&self) -> Option<Value> {
        let cut = self.asked().body.cut;
        self.content
            .as_ref()
            .filter(|_| cut != Some(true))
            .and_then(|content| serde_json::from_slice(&content.bytes).ok())
    }
}

/// An exchange as one line of JSON, as it is exported.
#[derive(Deserialize)]
struct Line<'a> {
    id: String,
    outcome: Option<String>,
    #[serde(borrow)]
    request: PartLine<'a>,
    answer: Option<PartLine<'a>>,
}

#[derive(Deserialize)]
struct PartLine<'a> {
    seq: u64,
    time: String,
    #[serde(borrow)]
    record: &'a RawValue,
    content: Option<ContentLine>,
}

/// A body with its salt, as text or in hexadecimal digits.
#[derive(Deserialize)]
pub struct ContentLine {
    salt: String,
    text: Option<String>,
    hex: Option<String>,
}

#[derive(Deserialize)]
struct AnswerLine<'a> {
    id: String,
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    answer: PartLine<'a>,
}

impl PartLine<'_> {
    fn read(self, answer: bool) -> Option<Part> {
        let content =
            self.content.map(ContentLine::read).map_or(Some(None), |content| content.map(Some))?;
        let leaf = Bytes::copy_from_slice(self.record.get().as_bytes());
        let mut part = Part::of_leaf(self.seq, Timestamp::parse(&self.time)?, leaf, content)?;
        if answer {
            part.kind = Kind::Answer;
        }
        Some(part)
    }
}

impl ContentLine {
    /// The body; `None` when it is none.
    pub fn read(self) -> Option<Content> {
        let mut salt = [0; 32];
        hex::decode_to_slice(&self.salt, &mut salt).ok()?;
        let bytes = match (self.text, self.hex) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(digits)) => hex::decode(digits).ok()?,
            (None, None) => return None,
        };
        Some(Content { salt, bytes: bytes.into() })
    }
}

impl Exchange {
    /// Reads one exchange as a line of JSON, the way the trail gives it out; records byte for byte.
    /// `None` when it is none.
    pub fn read(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        let answer = line
            .answer
            .map(|answer| answer.read(true))
            .map_or(Some(None), |answer| answer.map(Some))?;
        let answer_gone = answer.is_none() && line.outcome.as_deref() == Some(UNKNOWN);
        Some(Self {
            id: AuditId::parse(&line.id)?,
            request: line.request.read(false)?,
            answer,
            answer_gone,
        })
    }

    /// Reads an answer whose request is gone, the way an export gives it out. `None` when it is
    /// none.
    pub fn read_answer(line: &str) -> Option<(AuditId, Part)> {
        let line: AnswerLine = serde_json::from_str(line).ok()?;
        let answer = line.request.is_none().then_some(line.answer)?;
        Some((AuditId::parse(&line.id)?, answer.read(true)?))
    }

    /// What came of it: the answer's outcome, which is unknown when the answer is gone; `refused`,
    /// `open`, or `event`.
    pub fn outcome(&self) -> &str {
        match (&self.answer, self.request.kind) {
            (Some(answer), _) => answer.answered().outcome.unwrap_or(UNKNOWN),
            (None, Kind::Refused) => "refused",
            (None, Kind::Event) => "event",
            (None, Kind::Forwarded | Kind::Answer) if self.answer_gone => UNKNOWN,
            (None, Kind::Forwarded | Kind::Answer) => "open",
        }
    }

    /// The HTTP status that the caller was given: the answer's, or that of the refusal's reason.
    pub fn status(&self) -> Option<u16> {
        match &self.answer {
            Some(answer) => answer.answered().status,
            None if self.request.kind == Kind::Refused => {
                let code = self.request.asked().decision.reason?;
                Reason::ALL
                    .iter()
                    .find(|reason| reason.code() == code)
                    .map(|reason| reason.status())
            }
            None => None,
        }
    }
}
