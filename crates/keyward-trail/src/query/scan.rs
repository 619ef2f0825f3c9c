//! Finding exchanges: by the index where the trail has one, by reading where it has none.
//!
//! An answer stands after its request. Where records are read, on the way back, answers are met
//! first and kept until their request comes.

use super::plan::{self, Matched};
use super::{QueryError, Reader};
use crate::exchange::{Exchange, Part};
use crate::filter::condition::{Test, holds};
use crate::filter::{Filter, Question};
use crate::index::{Index, Span};
use crate::store::{Frame, Store, StoreError};
use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::Kind;
use roaring::RoaringBitmap;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::{ControlFlow, Range};

/// Answers that wait for their request. As many exchanges would have to be open at one time to
/// exceed it.
const ANSWERS_MAX: usize = 16_384;
/// Bytes of them, at most: those beyond are sought again.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records after a page's start that are searched for the answers of exchanges before it.
pub(super) const LOOK_AHEAD: u64 = 4096;

const RECENT_FRAMES: usize = 8;

/// What is shown exchanges: it says when it has seen enough.
pub(super) type Visit<'a> = dyn FnMut(Exchange) -> Result<ControlFlow<()>, StoreError> + 'a;

impl Reader {
    /// The question that a filter asks now, with places in the trail for times: the trail's time
    /// never goes back.
    pub(super) fn question(&self, filter: &Filter) -> Result<Question, StoreError> {
        let durable = self.durable();
        let place =
            |when: crate::filter::moment::When| self.first_at(when.at(Timestamp(0)), durable);
        filter
            .at(Timestamp::now())
            .0
            .replaced(&mut |test| {
                Ok(match test {
                    Test::Since(when) => Test::Seq(place(*when)?..u64::MAX),
                    Test::Until(when) => Test::Seq(0..place(*when)?),
                    test => test.clone(),
                })
            })
            .map(Question)
    }

    /// The parts of the trail in which a question looks, the newest first.
    pub(super) fn parts(&self, question: &Question, before: u64) -> Vec<Span> {
        let wanted = question.0.range();
        let mut spans = self.store.spans(before.min(wanted.end).min(self.durable()));
        spans.iter_mut().for_each(|span| span.range.start = span.range.start.max(wanted.start));
        spans.retain(|span| !span.range.is_empty());
        spans
    }

    /// What matches in a part by its index; `None` when it has none that can be used, or one that
    /// leaves most open: then reading all in order is faster than reading most one by one.
    pub(super) fn matched<'a>(
        &self,
        question: &Question,
        span: &'a Span,
    ) -> Option<(&'a dyn Index, Matched)> {
        let index = span.index.as_deref()?;
        match plan::matched(&question.0, index, span.range.end) {
            Ok(matched) if matched.doubtful().len() * 2 > index.exchanges().len() => None,
            Ok(matched) => Some((index, matched)),
            Err(error) => {
                tracing::warn!(%error, first_seq = index.first_seq(), "an index cannot be used; the records are read instead");
                None
            }
        }
    }

    /// Shows each matching exchange whose request stands below `before`, the newest first.
    pub(super) fn scan(
        &self,
        question: &Question,
        before: u64,
        visit: &mut Visit,
    ) -> Result<(), QueryError> {
        if let Some(id) = question.0.id() {
            if let Some(mut exchange) = self.find(id)?
                && exchange.request.seq < before
                && question.matches(&mut exchange, |seq| self.store.content(seq))?
            {
                let _ = visit(exchange)?;
            }
            return Ok(());
        }
        for span in self.parts(question, before) {
            let flow = match self.matched(question, &span) {
                Some((index, matched)) => self.visit_ordinals(
                    question,
                    index,
                    matched.possible(),
                    Some(matched.sure()),
                    visit,
                )?,
                None => self.read(question, span.range.clone(), visit)?,
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Shows the exchanges at some ordinals that match, those in `sure` without asking again, the
    /// newest first.
    pub(super) fn visit_ordinals(
        &self,
        question: &Question,
        index: &dyn Index,
        ordinals: &RoaringBitmap,
        sure: Option<&RoaringBitmap>,
        visit: &mut Visit,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut recent = Recent::default();
        for ordinal in ordinals.iter().rev() {
            self.go_on()?;
            let Some(mut exchange) = self.at_ordinal(index, ordinal, &mut recent)? else {
                continue;
            };
            let matches = sure.is_some_and(|sure| sure.contains(ordinal))
                || question.matches(&mut exchange, |seq| self.store.content(seq))?;
            if matches && visit(exchange)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The exchange at an ordinal, without its bodies.
    fn at_ordinal(
        &self,
        index: &dyn Index,
        ordinal: u32,
        recent: &mut Recent,
    ) -> Result<Option<Exchange>, StoreError> {
        let seq = index.first_seq().saturating_add(u64::from(ordinal));
        let Some(request) =
            self.record(seq, recent)?.filter(|request| request.kind != Kind::Answer)
        else {
            return Ok(None);
        };
        let id = request.id;
        let answer = match (request.kind, index.answer(ordinal)) {
            (Kind::Forwarded, Ok(Some(answer))) => self
                .record(answer, recent)?
                .filter(|answer| answer.id == id && answer.kind == Kind::Answer)
                .map(Part::from),
            (Kind::Forwarded, Ok(None)) if index.is_current() => None,
            (Kind::Forwarded, _) => self.answer_of(id, seq)?,
            (Kind::Refused | Kind::Event | Kind::Answer, _) => None,
        };
        Ok(Some(self.exchange(request.into(), id, answer)))
    }

    /// A request, or an event, and the answer that was found. A call that has none, although
    /// records behind it are gone, is not open: nothing goes before what is open is closed.
    pub(crate) fn exchange(&self, request: Part, id: AuditId, answer: Option<Part>) -> Exchange {
        let answerless = answer.is_none() && request.kind == Kind::Forwarded;
        let answer_gone =
            answerless && self.store.tombstones().last().is_some_and(|gone| gone.end > request.seq);
        Exchange { id, request, answer, answer_gone }
    }

    /// One record, if it is durable.
    fn record(&self, seq: u64, recent: &mut Recent) -> Result<Option<Found>, StoreError> {
        if seq >= self.durable() {
            return Ok(None);
        }
        if recent.get(seq).is_none() {
            let Some(frame) = self.store.oldest_first(seq).next().transpose()? else {
                return Ok(None);
            };
            recent.0.truncate(RECENT_FRAMES - 1);
            recent.0.push_front(frame);
        }
        Ok(recent.get(seq).map(|entry| Found {
            seq,
            id: entry.id,
            kind: entry.kind,
            entry: entry.clone(),
        }))
    }

    /// The answer to a request that was still open when its part of the trail was indexed.
    fn answer_of(&self, id: AuditId, request: u64) -> Result<Option<Part>, StoreError> {
        let wanted = |found: &Found| found.id == id && found.kind == Kind::Answer;
        for span in
            self.store.spans(self.durable()).iter().rev().filter(|span| span.range.end > request)
        {
            match self.with_id(span, id)? {
                Some(candidates) => {
                    if let Some(found) = candidates.into_iter().find(wanted) {
                        return Ok(Some(found.into()));
                    }
                }
                None => {
                    let frames = self.store.oldest_first(span.range.start.max(request));
                    if let Some(found) = first(frames, span.range.end, |entry| {
                        entry.id == id && entry.kind == Kind::Answer
                    })? {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Records of a part of the trail that may have an id; `None` when only reading can tell.
    fn with_id(&self, span: &Span, id: AuditId) -> Result<Option<Vec<Found>>, StoreError> {
        let Some(index) = &span.index else { return Ok(None) };
        let Ok(offsets) = index.with_id(id) else { return Ok(None) };
        let seqs =
            offsets.into_iter().map(|offset| index.first_seq().saturating_add(u64::from(offset)));
        let mut recent = Recent::default();
        seqs.filter_map(|seq| self.record(seq, &mut recent).transpose())
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The exchange with an id, without bodies.
    pub(crate) fn find(&self, id: AuditId) -> Result<Option<Exchange>, StoreError> {
        let durable = self.durable();
        for span in self.store.spans(durable) {
            let request = match self.with_id(&span, id)? {
                Some(candidates) => candidates
                    .into_iter()
                    .find(|found| is_asked_by(id, found.id, found.kind))
                    .map(|found| found.seq),
                None => self.find_by_reading(id, &span.range)?,
            };
            let Some(request) = request else { continue };
            if let (Some(index), Some(ordinal)) = (
                &span.index,
                request.checked_sub(span.index.as_ref().map_or(0, |index| index.first_seq())),
            ) && let Ok(ordinal) = u32::try_from(ordinal)
            {
                return self.at_ordinal(&**index, ordinal, &mut Recent::default());
            }
            let Some(request) = self.record(request, &mut Recent::default())? else {
                return Ok(None);
            };
            let answer = match request.kind {
                Kind::Forwarded => first(self.store.oldest_first(request.seq), durable, |entry| {
                    entry.id == id && entry.kind == Kind::Answer
                })?,
                Kind::Refused | Kind::Event | Kind::Answer => None,
            };
            return Ok(Some(self.exchange(request.into(), id, answer)));
        }
        Ok(None)
    }

    /// Where the request with an id stands in a part of the trail. An id tells when it was made, so
    /// the search begins there.
    fn find_by_reading(&self, id: AuditId, range: &Range<u64>) -> Result<Option<u64>, StoreError> {
        let made =
            id.0.get_timestamp()
                .map_or(0, |time| time.to_unix().0.saturating_sub(1).saturating_mul(1_000_000_000));
        let begin = self.first_at(Timestamp(made), range.end)?.max(range.start);
        let wanted = |entry: &Entry| is_asked_by(id, entry.id, entry.kind);
        let found = match first(self.store.oldest_first(begin), range.end, wanted)? {
            // A clock that was set back puts a record before its id's time.
            None if begin > range.start => {
                first(self.store.oldest_first(range.start), begin, wanted)?
            }
            found => found,
        };
        Ok(found.map(|found| found.seq).filter(|seq| *seq >= range.start))
    }

    /// Whether a part of the trail has something that a filter takes, by its records alone: no
    /// index is believed, and no table of times.
    pub(crate) fn has_by_reading(
        &self,
        filter: &Filter,
        range: Range<u64>,
    ) -> Result<bool, StoreError> {
        let found =
            self.read(&filter.at(Timestamp::now()), range, &mut |_| Ok(ControlFlow::Break(())))?;
        Ok(found.is_break())
    }

    /// Reads a part of the trail, the newest first.
    pub(super) fn read(
        &self,
        question: &Question,
        range: Range<u64>,
        visit: &mut Visit,
    ) -> Result<ControlFlow<()>, StoreError> {
        let (durable, end) = (self.durable(), range.end);
        let needles = question.0.needles();
        let mut answers = Answers::ahead(&*self.store, end, durable)?;
        for frame in self.store.newest_first(end) {
            self.go_on()?;
            let frame = frame?;
            for (seq, entry) in numbered(&frame).rev().filter(|(seq, _)| *seq < end) {
                if seq < range.start {
                    return Ok(ControlFlow::Continue(()));
                }
                if entry.kind == Kind::Answer {
                    answers.keep(seq, entry);
                    continue;
                }
                let answer = answers.take(&entry.id);
                if !question.wants(entry.kind)
                    || !needles.iter().all(|needle| holds(&entry.leaf, needle))
                {
                    continue;
                }
                let answer = match answer {
                    Some((seq, entry)) => Some(Part::new(seq, &entry)),
                    None if entry.kind == Kind::Forwarded => {
                        answers.search(&*self.store, entry.id, seq, durable)?
                    }
                    None => None,
                };
                let mut exchange = self.exchange(Part::new(seq, entry), entry.id, answer);
                if question.matches(&mut exchange, |seq| self.store.content(seq))?
                    && visit(exchange)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The first record not before `time`, or `durable`. The trail's time never goes back, so
    /// halving finds it.
    pub(crate) fn first_at(&self, time: Timestamp, durable: u64) -> Result<u64, StoreError> {
        if time.0 == 0 {
            return Ok(0);
        }
        let around = self.store.around(time);
        let (mut low, mut high) = (around.start.min(durable), around.end.min(durable));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.store.oldest_first(middle).next().transpose()? {
                Some(frame) if frame.first_seq < high => {
                    match numbered(&frame).find(|(_, entry)| entry.time >= time) {
                        Some((seq, _)) if seq > frame.first_seq => return Ok(seq.min(durable)),
                        Some(_) => high = frame.first_seq.min(middle),
                        None => low = frame.end(),
                    }
                }
                _ => high = middle,
            }
        }
        Ok(low.min(durable))
    }
}

/// Whether a record begins the exchange with an id, or counts the refusal that was given it.
fn is_asked_by(id: AuditId, own: AuditId, kind: Kind) -> bool {
    (own == id && kind != Kind::Answer) || (kind == Kind::Event && own.counts(id))
}

/// Frames that were read last: neighbours and their answers often stand in one.
#[derive(Default)]
struct Recent(VecDeque<Frame>);

impl Recent {
    fn get(&self, seq: u64) -> Option<&Entry> {
        self.0.iter().find_map(|frame| frame.get(seq))
    }
}

/// One record, as it was found.
struct Found {
    seq: u64,
    id: AuditId,
    kind: Kind,
    entry: Entry,
}

impl From<Found> for Part {
    fn from(found: Found) -> Self {
        Self::new(found.seq, &found.entry)
    }
}

/// Answers whose request has not been met yet.
struct Answers {
    waiting: HashMap<AuditId, (u64, Entry)>,
    bytes: usize,
    /// All records from the scan's start to here were searched.
    searched_to: u64,
    /// There were too many to keep all.
    forgot: bool,
}

impl Answers {
    /// The answers, shortly after `end`, of exchanges that began before it.
    fn ahead(store: &dyn Store, end: u64, durable: u64) -> Result<Self, StoreError> {
        let mut answers =
            Self { waiting: HashMap::new(), bytes: 0, searched_to: end, forgot: false };
        let mut opened_here = HashSet::new();
        let frames =
            if end < durable { store.oldest_first(end) } else { Box::new(std::iter::empty()) };
        for frame in frames {
            let frame = frame?;
            for (seq, entry) in numbered(&frame).filter(|(seq, _)| (end..durable).contains(seq)) {
                match entry.kind {
                    Kind::Answer if !opened_here.contains(&entry.id) => answers.keep(seq, entry),
                    Kind::Forwarded => drop(opened_here.insert(entry.id)),
                    Kind::Answer | Kind::Refused | Kind::Event => (),
                }
            }
            answers.searched_to = frame.end().min(durable);
            if answers.searched_to >= end.saturating_add(LOOK_AHEAD).min(durable) {
                break;
            }
        }
        Ok(answers)
    }

    fn keep(&mut self, seq: u64, entry: &Entry) {
        if self.waiting.len() < ANSWERS_MAX
            && self.bytes.saturating_add(entry.leaf.len()) <= ANSWER_BYTES_MAX
        {
            self.bytes += entry.leaf.len();
            // A copy, so that it does not keep its whole frame in memory.
            let leaf = Bytes::copy_from_slice(&entry.leaf);
            self.waiting.insert(entry.id, (seq, Entry { leaf, ..entry.clone() }));
        } else {
            self.forgot = true;
        }
    }

    fn take(&mut self, id: &AuditId) -> Option<(u64, Entry)> {
        let taken = self.waiting.remove(id)?;
        self.bytes = self.bytes.saturating_sub(taken.1.leaf.len());
        Some(taken)
    }

    /// The answer that is not at hand: it comes later than was looked, or never.
    fn search(
        &self,
        store: &dyn Store,
        id: AuditId,
        request: u64,
        durable: u64,
    ) -> Result<Option<Part>, StoreError> {
        let from = if self.forgot { request } else { self.searched_to };
        if from >= durable {
            return Ok(None);
        }
        first(store.oldest_first(from), durable, |entry| {
            entry.id == id && entry.kind == Kind::Answer
        })
    }
}

fn numbered(frame: &Frame) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
    frame
        .entries
        .iter()
        .enumerate()
        .map(|(n, entry)| (frame.first_seq.saturating_add(n as u64), entry))
}

/// The first durable entry that is wanted, in the order of the frames.
fn first(
    frames: impl Iterator<Item = Result<Frame, StoreError>>,
    durable: u64,
    wanted: impl Fn(&Entry) -> bool,
) -> Result<Option<Part>, StoreError> {
    for frame in frames {
        let frame = frame?;
        if let Some((seq, entry)) =
            numbered(&frame).find(|(seq, entry)| *seq < durable && wanted(entry))
        {
            return Ok(Some(Part::new(seq, entry)));
        }
    }
    Ok(None)
}
