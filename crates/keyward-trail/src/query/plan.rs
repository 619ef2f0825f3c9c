//! Answering from an index: which ordinals of a part of the trail match for sure, and which only
//! reading can tell.

use crate::filter::condition::{Match, Test};
use crate::filter::expression::Expression;
use crate::index::{self, Index, IndexError, Ordinals};
use keyward_record::Kind;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::sync::Arc;

/// Ordinals between two bounds: all of `sure` match, and nothing outside `possible` does.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    sure: Ordinals,
    /// `None` when it is `sure` itself, as almost always.
    possible: Option<Ordinals>,
}

impl Matched {
    fn exact(ordinals: Ordinals) -> Self {
        Self { sure: ordinals, possible: None }
    }

    fn between(sure: RoaringBitmap, possible: RoaringBitmap) -> Self {
        let exact = sure == possible;
        Self { sure: Arc::new(sure), possible: (!exact).then(|| Arc::new(possible)) }
    }

    /// All ordinals that may match.
    pub fn possible(&self) -> &RoaringBitmap {
        self.possible.as_deref().unwrap_or(&self.sure)
    }

    /// Those that match without reading.
    pub fn sure(&self) -> &RoaringBitmap {
        &self.sure
    }

    /// Those that must be read to know.
    pub fn doubtful(&self) -> RoaringBitmap {
        self.possible.as_ref().map_or_else(RoaringBitmap::new, |possible| &**possible - &*self.sure)
    }

    fn join(
        self,
        other: &Self,
        join: impl Fn(&RoaringBitmap, &RoaringBitmap) -> RoaringBitmap,
    ) -> Self {
        let sure = join(&self.sure, &other.sure);
        if self.possible.is_none() && other.possible.is_none() {
            return Self::exact(Arc::new(sure));
        }
        Self::between(sure, join(self.possible(), other.possible()))
    }
}

/// What matches in the part of an index before `end`, a sequence number. Times in the expression
/// must have become sequence numbers.
pub(super) fn matched(
    expression: &Expression,
    index: &dyn Index,
    end: u64,
) -> Result<Matched, IndexError> {
    let universe = match (expression.wants(Kind::Refused), expression.wants(Kind::Event)) {
        (true, false) => index.exchanges(),
        (false, true) => index.events(),
        (true, true) => Arc::new(&*index.exchanges() | &*index.events()),
        (false, false) => Ordinals::default(),
    };
    let universe = within(&universe, index.first_seq(), &(0..end));
    let planner = Planner { index, universe, unsettled: index.unsettled() };
    planner.all(std::slice::from_ref(expression))
}

struct Planner<'a> {
    index: &'a dyn Index,
    universe: Ordinals,
    unsettled: Ordinals,
}

impl Planner<'_> {
    fn evaluate(&self, expression: &Expression) -> Result<Matched, IndexError> {
        match expression {
            Expression::All(parts) => self.all(parts),
            Expression::Any(parts) => {
                let mut any = Matched::exact(Ordinals::default());
                for part in parts {
                    any = any.join(&self.evaluate(part)?, |a, b| a | b);
                }
                Ok(any)
            }
            Expression::Not(part) => {
                let part = self.evaluate(part)?;
                let sure = &*self.universe - part.possible();
                Ok(match part.possible {
                    None => Matched::exact(Arc::new(sure)),
                    Some(_) => Matched::between(sure, &*self.universe - part.sure()),
                })
            }
            Expression::Test(test) => self.test(test),
        }
    }

    /// What holds of all parts, within the universe.
    fn all(&self, parts: &[Expression]) -> Result<Matched, IndexError> {
        let mut all = Matched::exact(Arc::clone(&self.universe));
        for part in parts {
            if all.possible().is_empty() {
                break;
            }
            all = match part {
                // The universe is in it already.
                Expression::All(parts) if Arc::ptr_eq(&all.sure, &self.universe) => {
                    self.all(parts)?
                }
                _ => all.join(&self.evaluate(part)?, |a, b| a & b),
            };
        }
        Ok(all)
    }

    fn test(&self, test: &Test) -> Result<Matched, IndexError> {
        match test {
            Test::Field(field, wanted) => match index::number(field) {
                Some(number) => self.known(number, wanted),
                None => Ok(self.unknown()),
            },
            Test::Seq(range) => {
                Ok(Matched::exact(within(&self.universe, self.index.first_seq(), range)))
            }
            Test::Id(id) => Ok(Matched::between(
                RoaringBitmap::new(),
                self.index.with_id(*id)?.into_iter().collect(),
            )),
            Test::Secret(digest) => match self.index.secret(digest)? {
                Some(found) => Ok(self.settled(found)),
                None => Ok(self.unknown()),
            },
            Test::Since(_) | Test::Until(_) => Ok(self.unknown()),
        }
    }

    fn known(&self, field: usize, wanted: &Match) -> Result<Matched, IndexError> {
        let found = self.index.matching(field, wanted)?;
        if self.unsettled.is_empty() {
            Ok(Matched::exact(found))
        } else {
            Ok(self.settled((*found).clone()))
        }
    }

    /// What was found, but that of unsettled ordinals nothing is sure.
    fn settled(&self, found: RoaringBitmap) -> Matched {
        let possible = &found | &*self.unsettled;
        Matched::between(found - &*self.unsettled, possible)
    }

    fn unknown(&self) -> Matched {
        Matched::between(RoaringBitmap::new(), (*self.universe).clone())
    }
}

/// Those of some ordinals, offsets from `first`, that are in a range of sequence numbers.
fn within(ordinals: &Ordinals, first: u64, range: &Range<u64>) -> Ordinals {
    let ordinal = |seq: u64| u32::try_from(seq.saturating_sub(first)).unwrap_or(u32::MAX);
    let (begin, end) = (ordinal(range.start), ordinal(range.end));
    if ordinals.min().is_none_or(|min| begin <= min) && ordinals.max().is_none_or(|max| max < end) {
        return Arc::clone(ordinals);
    }
    let mut part = (**ordinals).clone();
    part.remove_range(..begin);
    part.remove_range(end..);
    Arc::new(part)
}
