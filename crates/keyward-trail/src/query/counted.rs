//! Refusals that a question is about, and that stand in the trail by their number alone.

use super::Reader;
use crate::exchange::Exchange;
use crate::filter::condition::Test;
use crate::filter::{Filter, Question};
use crate::store::StoreError;
use keyward_record::{Event, EventName, Kind};
use std::ops::{ControlFlow, Range};

/// Refusals that were counted together, beside those that have records of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedRefusals {
    /// How many may match: what their records do not say of each of them may be as asked.
    pub refusals: u64,
    /// The records that tell of them.
    pub records: u64,
}

impl Reader {
    /// Those that may match a filter, told by records of a part of the trail.
    ///
    /// # Errors
    /// When the trail cannot be read.
    pub(super) fn counted_within(
        &self,
        filter: &Filter,
        part: Range<u64>,
    ) -> Result<CountedRefusals, StoreError> {
        let mut found = CountedRefusals::default();
        let asked = self.question(filter)?;
        // Whoever asks for events gets these themselves.
        if !asked.wants(Kind::Refused) || asked.0.id().is_some() {
            return Ok(found);
        }
        let Ok(told) = Filter::parse([("event", EventName::RefusalsCounted.code())]) else {
            return Ok(found);
        };
        let (told, range) = (self.question(&told)?, asked.0.range());
        let from = part.start.max(range.start);
        for mut span in self.parts(&told, part.end.min(range.end)) {
            span.range.start = span.range.start.max(from);
            if span.range.is_empty() {
                continue;
            }
            let mut add = |mut exchange: Exchange| {
                // As the refusals that it tells of.
                exchange.request.kind = Kind::Refused;
                if exchange.request.seq >= from && may_match(&asked, &exchange) {
                    found.records += 1;
                    found.refusals += match Event::of_json(&exchange.request.json) {
                        Some(Event::RefusalsCounted { count, .. }) => count,
                        _ => 0,
                    };
                }
                Ok(ControlFlow::Continue(()))
            };
            let _ = match self.matched(&told, &span) {
                Some((index, matched)) => self.visit_ordinals(
                    &told,
                    index,
                    matched.possible(),
                    Some(matched.sure()),
                    &mut add,
                )?,
                None => self.read(&told, span.range.clone(), &mut add)?,
            };
        }
        Ok(found)
    }
}

/// Whether some of the refusals that a record counts may be wanted.
fn may_match(asked: &Question, counted: &Exchange) -> bool {
    let known = |test: &Test| match test {
        Test::Secret(_) => None,
        Test::Field(field, _) if field.needs_content() || field.values(counted).is_empty() => None,
        test => Some(test.holds(counted)),
    };
    asked.0.decide(&known) != Some(false)
}
