//! Exports: the trail in a form, oldest first, from any place on, in steps that fit in memory
//! however long it is.
//!
//! Without conditions but times the native form is every record, in order. Everything else comes by
//! exchanges, each once: when its last record is reached. What is open when an export ends comes
//! last; a trail that is followed closes them all.
//!
//! The cursor is the number of the next record to look at. It holds across restarts and needs no
//! memory of what came before: the exchange of an answer is found again from the answer.
//!
//! What is known to be gone from the trail is passed, unless a cursor points there: whoever holds
//! it waits for just those records, and is told. The event that tells of them comes in its turn.

pub mod format;

use self::format::ExportFormat;
use crate::exchange::{Exchange, Part};
use crate::filter::{Filter, FilterError, Question};
use crate::query::render;
use crate::query::{QueryError, Reader};
use crate::tombstone::skip_tombstones;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::Kind;
use std::collections::HashMap;

/// Where exports are answered on the admin listener.
pub const EXPORT: &str = "/api/v1/export";
/// The last line of a numbered export that is whole: the only one without a cursor.
pub const WHOLE: &str = "whole";

/// In the place of a cursor: the next line goes on with this one, and has the cursor behind both.
pub const CONTINUED: &str = "+";

const BOUNDS: Bounds =
    Bounds { step_records: 1024, step_bytes: 1024 * 1024, open_bytes: 4 * 1024 * 1024 };

/// What an export may hold in memory.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Records that one step looks at, at most; a step ends with a frame.
    step_records: u64,
    /// Bytes of lines after which a step ends.
    step_bytes: usize,
    /// Bytes of requests that wait for their answer. Those beyond are read again when it comes.
    open_bytes: usize,
}

/// What is to be exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// In which form.
    pub form: ExportFormat,
    /// Which exchanges. The empty filter takes everything, the gateway's own events too.
    pub filter: Filter,
    /// From where on.
    pub start: Start,
    /// Goes on with what is recorded later.
    pub follow: bool,
}

/// Where an export begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that there is.
    Oldest,
    /// With the record of this number, which must be there, or be the next.
    At(u64),
    /// With what is recorded from now on.
    End,
}

/// Why an export cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The filter cannot be.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Another parameter is wrong.
    #[error("`{name}` cannot be `{value}`: it takes {allowed}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        allowed: &'static str,
    },
    /// The trail is shorter.
    #[error(
        "the trail has {end} records, and cannot go on at record {cursor}: the cursor is of another trail, or records are missing"
    )]
    Beyond {
        /// Where it was to begin.
        cursor: u64,
        /// The number of records.
        end: u64,
    },
    /// Records that were to come next are not there.
    #[error("records {from} to {to} are in the trail no longer{}: to go on without them, begin at record {}", told(*.told_by), .to.saturating_add(1))]
    Gone {
        /// The first that is missing.
        from: u64,
        /// The last.
        to: u64,
        /// The record that tells why, if one does.
        told_by: Option<u64>,
    },
    /// The trail cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

fn told(by: Option<u64>) -> String {
    by.map_or(String::new(), |by| format!(", record {by} tells why"))
}

impl Export {
    /// Reads the export that a URL's query asks for, and whether each line is to begin with its
    /// cursor.
    ///
    /// # Errors
    /// When a parameter is unknown or wrong.
    pub fn read(pairs: &[(String, String)]) -> Result<(Self, bool), ExportError> {
        let mut export = Self {
            form: ExportFormat::Ndjson,
            filter: Filter::default(),
            start: Start::Oldest,
            follow: false,
        };
        let mut numbered = false;
        let wrong = |name, value: &str, allowed| ExportError::Parameter {
            name,
            value: value.to_owned(),
            allowed,
        };
        let flag =
            |name, value: &str| value.parse().map_err(|_| wrong(name, value, "`true` or `false`"));
        for (name, value) in pairs {
            match name.as_str() {
                "form" => {
                    export.form = ExportFormat::parse(value)
                        .ok_or_else(|| wrong("form", value, ExportFormat::NAMES))?
                }
                "cursor" if value == "end" => export.start = Start::End,
                "cursor" => {
                    export.start =
                        Start::At(value.parse().map_err(|_| {
                            wrong("cursor", value, "the number of a record, or `end`")
                        })?)
                }
                "follow" => export.follow = flag("follow", value)?,
                "numbered" => numbered = flag("numbered", value)?,
                _ => export.filter.add(name, value)?,
            }
        }
        Ok((export, numbered))
    }

    /// Path and query of the URL that asks for it, with cursors.
    pub fn target(&self) -> String {
        let mut pairs = vec![
            ("form", self.form.name().to_owned()),
            ("follow", self.follow.to_string()),
            ("numbered", "true".to_owned()),
        ];
        match self.start {
            Start::Oldest => {}
            Start::At(cursor) => pairs.push(("cursor", cursor.to_string())),
            Start::End => pairs.push(("cursor", "end".to_owned())),
        }
        let own = serde_urlencoded::to_string(pairs).unwrap_or_default();
        [format!("{EXPORT}?{own}"), self.filter.to_query()]
            .join("&")
            .trim_end_matches('&')
            .to_owned()
    }
}

/// One line of an export, with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The cursor behind it.
    pub next: u64,
    /// The exchange, or the event.
    pub id: AuditId,
    /// What it tells of: of a record as it is, its kind; of an exchange, its request's.
    pub kind: Kind,
    /// The trail's time of it.
    pub time: Timestamp,
    /// The line.
    pub bytes: Vec<u8>,
}

impl Line {
    /// Writes it with its cursor. An exchange of two records is two lines to whoever reads them,
    /// and has one cursor: it is whole with the second.
    pub fn write_numbered(&self, out: &mut Vec<u8>) {
        let mut lines = self.bytes.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            match lines.peek() {
                Some(_) => out.extend_from_slice(CONTINUED.as_bytes()),
                None => out.extend_from_slice(self.next.to_string().as_bytes()),
            }
            out.push(b'\t');
            out.extend_from_slice(line);
        }
    }
}

/// What one step gave.
#[derive(Debug)]
pub struct Step {
    /// The lines, in order.
    pub lines: Vec<Line>,
    /// The cursor behind all that was looked at.
    pub next: u64,
    /// Whether there is more.
    pub state: State,
}

/// Whether there is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At once.
    More,
    /// When something is recorded.
    Later,
    /// Never: the export is whole.
    Ended,
}

/// An export under way. Steps block; on a runtime they belong on a blocking thread.
pub struct Exporter {
    reader: Reader,
    export: Export,
    /// The filter, with the times that it had when the export began.
    question: Question,
    /// Records as they are, and not exchanges.
    records: bool,
    /// No condition but times.
    all: bool,
    since: Timestamp,
    until: Timestamp,
    next: u64,
    /// Where one that does not follow ends.
    end: u64,
    /// Where records may be missing: before the first one that it looks at.
    lenient: bool,
    open: OpenRequests,
    bounds: Bounds,
    warnings: Vec<String>,
}

impl Exporter {
    /// Begins.
    ///
    /// # Errors
    /// When nothing knows a name that is asked for, the trail ends before the cursor, or cannot be
    /// read.
    pub fn new(reader: Reader, export: Export) -> Result<Self, ExportError> {
        let warnings = reader.doubts(&export.filter, None)?;
        let durable = reader.durable();
        let now = Timestamp::now();
        let (since, until) = export.filter.bounds(now);
        let start = match export.start {
            Start::Oldest => 0,
            Start::At(cursor) if cursor > durable => {
                return Err(ExportError::Beyond { cursor, end: durable });
            }
            Start::At(cursor) => cursor,
            Start::End => durable,
        };
        let first = if since.0 == 0 {
            0
        } else {
            reader.first_at(since, durable).map_err(QueryError::from)?
        };
        let absent = reader.store().tombstones();
        // Whoever waits for records that are gone is told, if they may be of the wanted time.
        let next = if first > skip_tombstones(&absent, start) {
            skip_tombstones(&absent, first)
        } else {
            start
        };
        let all = export.filter.pairs().all(|(name, _)| matches!(name, "since" | "until"));
        let exporter = Self {
            question: export.filter.at(now),
            records: all && export.form == ExportFormat::Ndjson,
            all,
            since,
            until,
            next,
            end: if export.follow { u64::MAX } else { durable },
            lenient: export.start == Start::Oldest,
            open: OpenRequests::default(),
            bounds: BOUNDS,
            warnings,
            reader,
            export,
        };
        match exporter.gone() {
            Some(gone) => Err(gone),
            None => Ok(exporter),
        }
    }

    /// What is known to be gone from where this stands, if somebody waits for it.
    fn gone(&self) -> Option<ExportError> {
        let absent = self.reader.store().tombstones();
        let behind = skip_tombstones(&absent, self.next);
        let told_by = absent
            .iter()
            .find(|absent| absent.range().contains(&self.next))
            .map(|absent| absent.told_by);
        (behind > self.next && !self.lenient).then(|| ExportError::Gone {
            from: self.next,
            to: behind - 1,
            told_by,
        })
    }

    /// Ends steps after so many bytes of lines.
    pub fn with_step_bytes(mut self, bytes: usize) -> Self {
        self.bounds.step_bytes = bytes;
        self
    }

    /// What must be known beside it, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The cursor: the next record to look at.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// From where on all that was not given yet can be found again: the request, if there is one,
    /// that waits for its answer.
    pub fn needed(&self) -> u64 {
        self.open
            .requests
            .values()
            .map(|(seq, _)| *seq)
            .min()
            .map_or(self.next, |seq| seq.min(self.next))
    }

    /// Where an export that does not follow ends.
    pub fn end(&self) -> Option<u64> {
        (!self.export.follow).then_some(self.end)
    }

    /// Looks at the next records, as many as fit in a step.
    ///
    /// # Errors
    /// When records are missing, or the trail cannot be read.
    pub fn step(&mut self) -> Result<Step, ExportError> {
        let reader = self.reader.clone();
        let end = reader.durable().min(self.end);
        let (mut lines, mut bytes, stop) =
            (Vec::new(), 0, self.next.saturating_add(self.bounds.step_records));
        // Gaps on the way are passed at once, so that nobody is given a cursor into one. What is
        // gone from where this stands went since: somebody has not been given it.
        let absent = reader.store().tombstones();
        if self.next < end {
            for frame in reader.store().oldest_first(self.next) {
                let frame = frame.map_err(QueryError::from)?;
                if frame.first_seq > self.next && !std::mem::take(&mut self.lenient) {
                    let missing = ExportError::Gone {
                        from: self.next,
                        to: frame.first_seq.saturating_sub(1),
                        told_by: None,
                    };
                    return Err(self.gone().unwrap_or(missing));
                }
                let from = self.next;
                for (seq, entry) in
                    (frame.first_seq..end).zip(&frame.entries).skip_while(|(seq, _)| *seq < from)
                {
                    if entry.time >= self.until && self.open.requests.is_empty() {
                        return Ok(Step { lines, next: self.next, state: State::Ended });
                    }
                    self.next = skip_tombstones(&absent, seq.saturating_add(1));
                    let line = self.look(seq, entry)?;
                    bytes += line.as_ref().map_or(0, |line| line.bytes.len());
                    lines.extend(line);
                    if bytes >= self.bounds.step_bytes {
                        return Ok(Step { lines, next: self.next, state: State::More });
                    }
                }
                self.lenient = false;
                if self.next >= stop.min(end) {
                    break;
                }
            }
        }
        let state = match (self.next < end, self.export.follow) {
            (true, _) => State::More,
            (false, true) => State::Later,
            (false, false) if self.open.requests.is_empty() => State::Ended,
            (false, false) => {
                lines.extend(self.left_open()?);
                if self.open.requests.is_empty() { State::Ended } else { State::More }
            }
        };
        Ok(Step { lines, next: self.next, state })
    }

    /// The line that is due once this record is reached.
    fn look(&mut self, seq: u64, entry: &Entry) -> Result<Option<Line>, ExportError> {
        let wanted = self.since <= entry.time && entry.time < self.until;
        if self.records {
            let bytes = [entry.leaf.as_ref(), b"\n"].concat();
            return Ok(wanted.then_some(Line {
                next: self.next,
                id: entry.id,
                kind: entry.kind,
                time: entry.time,
                bytes,
            }));
        }
        let exchange = match entry.kind {
            Kind::Forwarded => {
                if wanted {
                    self.open.insert(Part::new(seq, entry), entry.id, self.bounds.open_bytes);
                }
                None
            }
            Kind::Refused | Kind::Event => {
                wanted.then(|| self.reader.exchange(Part::new(seq, entry), entry.id, None))
            }
            Kind::Answer => match self.open.take(&entry.id, &self.reader)? {
                Some(request) => {
                    Some(self.reader.exchange(request, entry.id, Some(Part::new(seq, entry))))
                }
                None if wanted && self.all && self.export.form == ExportFormat::Exchange => {
                    return self.answer_alone(seq, entry).map(Some);
                }
                None => None,
            },
        };
        match exchange.filter(|exchange| {
            self.since <= exchange.request.time && exchange.request.time < self.until
        }) {
            Some(exchange) => self.line(exchange),
            None => Ok(None),
        }
    }

    /// An answer whose request is gone. Only the form that has records beside each other can have
    /// it.
    fn answer_alone(&self, seq: u64, entry: &Entry) -> Result<Line, ExportError> {
        let mut answer = Part::new(seq, entry);
        answer.content = self.reader.store().content(seq).map_err(QueryError::from)?;
        let bytes = render::answer_json(entry.id, &answer).into_bytes();
        Ok(Line {
            next: self.next,
            id: entry.id,
            kind: entry.kind,
            time: entry.time,
            bytes: [&bytes[..], b"\n"].concat(),
        })
    }

    /// Exchanges without an answer, when the end is reached, the oldest first.
    fn left_open(&mut self) -> Result<Vec<Line>, ExportError> {
        let mut ids: Vec<_> = self.open.requests.iter().map(|(id, (seq, _))| (*seq, *id)).collect();
        ids.sort_unstable();
        let mut lines = Vec::new();
        for (_, id) in ids.into_iter().take(64) {
            if let Some(request) = self.open.take(&id, &self.reader)? {
                lines.extend(self.line(self.reader.exchange(request, id, None))?);
            }
        }
        Ok(lines)
    }

    fn line(&self, mut exchange: Exchange) -> Result<Option<Line>, ExportError> {
        let store = self.reader.store();
        if !self.all
            && !self
                .question
                .matches(&mut exchange, |seq| store.content(seq))
                .map_err(QueryError::from)?
        {
            return Ok(None);
        }
        if self.export.form == ExportFormat::Exchange {
            self.reader.load_content(&mut exchange).map_err(QueryError::from)?;
        }
        let mut bytes = Vec::new();
        self.export.form.write(&exchange, &mut bytes);
        Ok(Some(Line {
            next: self.next,
            id: exchange.id,
            kind: exchange.request.kind,
            time: exchange.request.time,
            bytes,
        }))
    }
}

/// Requests whose answer has not been reached.
#[derive(Default)]
struct OpenRequests {
    requests: HashMap<AuditId, (u64, Option<Part>)>,
    bytes: usize,
}

impl OpenRequests {
    fn insert(&mut self, request: Part, id: AuditId, bytes_max: usize) {
        let bytes = self.bytes.saturating_add(request.leaf.len());
        let kept = bytes <= bytes_max;
        if kept {
            self.bytes = bytes;
        }
        self.requests.insert(id, (request.seq, kept.then_some(request)));
    }

    /// The request of an exchange; read again when it was not kept, or stands before where the
    /// export began.
    fn take(&mut self, id: &AuditId, reader: &Reader) -> Result<Option<Part>, QueryError> {
        if let Some((_, Some(request))) = self.requests.remove(id) {
            self.bytes = self.bytes.saturating_sub(request.leaf.len());
            return Ok(Some(request));
        }
        Ok(reader.find(*id)?.map(|exchange| exchange.request))
    }
}

#[cfg(test)]
mod tests;
