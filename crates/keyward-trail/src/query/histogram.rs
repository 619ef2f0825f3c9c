//! Histograms: how many exchanges matched in each stretch of time.

use super::{CountedRefusals, QueryError, Reader};
use crate::filter::Filter;
use crate::filter::moment::parse_span;
use crate::store::StoreError;
use keyward_core::clock::Timestamp;
use roaring::RoaringTreemap;
use std::ops::ControlFlow;

/// Bars of a histogram, at most.
pub const BUCKETS_MAX: u64 = 10_000;

const DAY: u64 = 24 * 3600 * 1_000_000_000;
/// Weeks begin with the first Monday since the epoch, which was a Thursday.
const MONDAY: u64 = 4 * DAY;

/// How many exchanges matched, by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Nanoseconds of one bar.
    pub step: u64,
    /// From the first match to the last: when each bar begins, a multiple of the step since the
    /// epoch, of weeks a Monday, and its count; zeros too.
    pub buckets: Vec<(Timestamp, u64)>,
    /// All of them.
    pub total: u64,
    /// Refusals that were counted together and may match: they stand beside.
    pub counted: CountedRefusals,
}

impl Reader {
    /// How many exchanges match in each `step` of time, such as `1h`, by the trail's own time in
    /// UTC.
    ///
    /// # Errors
    /// When the step cannot be or is too small for the matches, or the trail cannot be read.
    pub fn histogram(&self, filter: &Filter, step: &str) -> Result<Histogram, QueryError> {
        let wrong = |why: String| QueryError::Step { step: step.to_owned(), why };
        let length = parse_span(step)
            .filter(|step| *step > 0)
            .ok_or_else(|| wrong("write a length of time such as `5m`, `1h` or `1d`".to_owned()))?;
        let (matches, counted) = (self.matches(filter)?, self.counted_within(filter, 0..u64::MAX)?);
        let (Some(first), Some(last)) = (matches.min(), matches.max()) else {
            return Ok(Histogram { step: length, buckets: Vec::new(), total: 0, counted });
        };
        let origin = if length.is_multiple_of(7 * DAY) { MONDAY } else { 0 };
        let number = |time: Timestamp| time.0.saturating_sub(origin) / length;
        let (first, last) = (number(self.time_of(first)?), number(self.time_of(last)?));
        let bars = last.saturating_sub(first).saturating_add(1);
        if bars > BUCKETS_MAX {
            return Err(wrong(format!(
                "it would have {bars} bars, {BUCKETS_MAX} are the limit; write a longer step, or narrow the time"
            )));
        }
        let durable = self.durable();
        let mut buckets = Vec::new();
        let mut begin = 0;
        for bar in first..=last {
            let end = self.first_at(
                Timestamp((bar + 1).saturating_mul(length).saturating_add(origin)),
                durable,
            )?;
            // Ranks count what is at or below.
            let below = |seq: u64| seq.checked_sub(1).map_or(0, |seq| matches.rank(seq));
            buckets.push((Timestamp(bar * length + origin), below(end) - below(begin)));
            begin = end;
        }
        Ok(Histogram { step: length, total: matches.len(), buckets, counted })
    }

    /// The sequence numbers of all matching requests.
    fn matches(&self, filter: &Filter) -> Result<RoaringTreemap, QueryError> {
        let question = self.question(filter)?;
        let mut all = RoaringTreemap::new();
        if question.0.id().is_some() {
            self.scan(&question, u64::MAX, &mut |exchange| {
                all.insert(exchange.request.seq);
                Ok(ControlFlow::Continue(()))
            })?;
            return Ok(all);
        }
        for span in self.parts(&question, u64::MAX) {
            let mut add = |exchange: crate::exchange::Exchange| {
                all.insert(exchange.request.seq);
                Ok(ControlFlow::Continue(()))
            };
            match self.matched(&question, &span) {
                None => drop(self.read(&question, span.range.clone(), &mut add)?),
                Some((index, matched)) => {
                    let _ =
                        self.visit_ordinals(&question, index, &matched.doubtful(), None, &mut add)?;
                    all.extend(
                        matched
                            .sure()
                            .iter()
                            .map(|ordinal| index.first_seq().saturating_add(u64::from(ordinal))),
                    );
                }
            }
        }
        Ok(all)
    }

    pub(super) fn time_of(&self, seq: u64) -> Result<Timestamp, StoreError> {
        let frame = self.store.oldest_first(seq).next().transpose()?;
        Ok(frame.as_ref().and_then(|frame| frame.get(seq)).map_or(Timestamp(0), |entry| entry.time))
    }
}
