//! Counts: how many exchanges match, and by the values of what.

use super::plan::Matched;
use super::{CountedRefusals, QueryError, Reader};
use crate::exchange::Exchange;
use crate::filter::field::Field;
use crate::filter::{Filter, Question};
use crate::index::{self, Index, IndexError};
use crate::store::StoreError;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Values that a count tells apart, at most.
pub const GROUPS_MAX: usize = 10_000;
/// Bytes of them, at most.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So few exchanges are read sooner than all values of a field are gone through.
const FEW: u64 = 32;

/// How many exchanges match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// By value, the most frequent first. An exchange with several values counts for each.
    /// `(none)` has none; `(others)` is what came after [`GROUPS_MAX`] different values, or
    /// more bytes of them than are kept.
    pub groups: Vec<(String, u64)>,
    /// Refusals that were counted together and may match: they stand beside.
    pub counted: CountedRefusals,
}

impl Reader {
    /// How many exchanges match, by the values of `by` when it is given: a filter's name or a path.
    ///
    /// # Errors
    /// When `by` is no field, or the trail cannot be read.
    pub fn count(&self, filter: &Filter, by: Option<&str>) -> Result<Counts, QueryError> {
        let by = by.map(|name| {
            let allowed =
                || Field::names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Field::parse(name)
                .ok_or_else(|| QueryError::Field { name: name.to_owned(), allowed: allowed() })
        });
        let mut tally = Tally {
            reader: self,
            by: by.transpose()?,
            total: 0,
            groups: BTreeMap::new(),
            bytes: 0,
        };
        let question = self.question(filter)?;
        if question.0.id().is_some() {
            self.scan(&question, u64::MAX, &mut |exchange| tally.add(exchange))?;
            return Ok(tally.counts(CountedRefusals::default()));
        }
        for span in self.parts(&question, u64::MAX) {
            match self.matched(&question, &span) {
                Some((index, matched)) => tally.add_matched(&question, index, &matched)?,
                None => drop(
                    self.read(&question, span.range.clone(), &mut |exchange| tally.add(exchange))?,
                ),
            }
        }
        Ok(tally.counts(self.counted_within(filter, 0..u64::MAX)?))
    }
}

struct Tally<'a> {
    reader: &'a Reader,
    by: Option<Field>,
    total: u64,
    groups: BTreeMap<String, u64>,
    bytes: usize,
}

impl Tally<'_> {
    /// Counts what an index found; reads only what it cannot tell.
    fn add_matched(
        &mut self,
        question: &Question,
        index: &dyn Index,
        matched: &Matched,
    ) -> Result<(), StoreError> {
        let (sure, reader) = (matched.sure(), self.reader);
        if let Some(by) = &self.by {
            // Which exchanges match may be sure where not all of their values are known.
            let known = sure - &*index.unsettled();
            let counted = match index::number(by) {
                Some(field)
                    if sure.len() > FEW && self.add_groups(index, field, &known).is_ok() =>
                {
                    known
                }
                _ => RoaringBitmap::new(),
            };
            self.total += counted.len();
            let _ = reader.visit_ordinals(
                question,
                index,
                &(sure - counted),
                Some(sure),
                &mut |exchange| self.add(exchange),
            )?;
        } else {
            self.total += sure.len();
        }
        reader
            .visit_ordinals(question, index, &matched.doubtful(), None, &mut |exchange| {
                self.add(exchange)
            })
            .map(drop)
    }

    /// Adds the values of a field that some ordinals have.
    fn add_groups(
        &mut self,
        index: &dyn Index,
        field: usize,
        ordinals: &RoaringBitmap,
    ) -> Result<(), IndexError> {
        let mut found = Vec::new();
        let mut rest = ordinals.clone();
        index.values(field, &mut |value, with| {
            let count = with.intersection_len(ordinals);
            if count > 0 {
                found.push((value.to_owned(), count));
                rest -= with;
            }
        })?;
        if !rest.is_empty() {
            found.push((NONE.to_owned(), rest.len()));
        }
        found.into_iter().for_each(|(value, count)| self.add_group(value, count));
        Ok(())
    }

    /// Counts an exchange that was read.
    fn add(&mut self, mut exchange: Exchange) -> Result<ControlFlow<()>, StoreError> {
        self.total += 1;
        let Some(field) = &self.by else { return Ok(ControlFlow::Continue(())) };
        if field.needs_content() {
            self.reader.load_content(&mut exchange)?;
        }
        let mut values = field.values(&exchange);
        if values.is_empty() {
            values.push(NONE.to_owned());
        }
        values.into_iter().for_each(|value| self.add_group(value, 1));
        Ok(ControlFlow::Continue(()))
    }

    fn add_group(&mut self, value: String, count: u64) {
        let known = self.groups.contains_key(&value);
        let room = self.groups.len() < GROUPS_MAX
            && self.bytes.saturating_add(value.len()) <= GROUP_BYTES_MAX;
        self.bytes += if known || !room { 0 } else { value.len() };
        *self
            .groups
            .entry(if known || room { value } else { "(others)".to_owned() })
            .or_default() += count;
    }

    fn counts(self, counted: CountedRefusals) -> Counts {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        Counts { total: self.total, groups, counted }
    }
}

const NONE: &str = "(none)";
