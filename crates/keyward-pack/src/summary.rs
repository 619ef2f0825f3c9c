//! What a pack's report says in numbers, gathered as exchanges go by.

use keyward_core::terminal::clean;
use keyward_record::Kind;
use keyward_record::call::{DeterminingPolicy, Entry};
use keyward_trail::exchange::Exchange;
use keyward_trail::query::render;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of a table in the report. The rest is in the CSV file.
pub(super) const ROWS_MAX: usize = 1000;
/// Different values that are counted apart.
const VALUES_MAX: usize = 1000;

/// How often values came.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn add(&mut self, value: &str) {
        let known = self.0.len() < VALUES_MAX || self.0.contains_key(value);
        *self.0.entry(if known { value.to_owned() } else { "(others)".to_owned() }).or_default() +=
            1;
    }

    /// The most frequent first.
    pub fn sorted(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> =
            self.0.iter().map(|(value, count)| (value.clone(), *count)).collect();
        counts.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        counts
    }

    pub fn of(&self, value: &str) -> u64 {
        self.0.get(value).copied().unwrap_or(0)
    }
}

/// A row of the report.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub time: String,
    pub id: String,
    pub caller: String,
    pub action: String,
    pub resource: String,
    pub result: String,
    /// In the policies' words, or what went wrong.
    pub why: String,
    /// It did not go as asked.
    pub notable: bool,
}

impl Row {
    fn of(exchange: &Exchange) -> Self {
        let [time, id, caller, action, resource, result] = render::summary(exchange);
        let why = match &exchange.answer {
            Some(answer) => answer.answered().detail,
            None => exchange.request.asked().decision.message,
        };
        let why = clean(why.unwrap_or_default());
        let notable = !matches!(exchange.outcome(), "succeeded" | "accepted" | "event");
        Self { time, id, caller, action, resource, result, why, notable }
    }
}

/// A policy that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    pub effect: String,
    pub message: String,
    pub count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Summary {
    pub exchanges: u64,
    pub events: u64,
    pub outcomes: Counts,
    pub callers: Counts,
    pub actions: Counts,
    pub refusals: Counts,
    pub policies: BTreeMap<String, Decided>,
    /// Hashes of the texts that records name, and those of them that were not kept.
    pub texts: BTreeSet<String>,
    pub missing: BTreeSet<String>,
    /// The first and the last time.
    pub times: Option<(String, String)>,
    /// The first ones, and the first of those that went not as asked.
    pub rows: Vec<Row>,
    pub notable: Vec<Row>,
    pub notable_count: u64,
}

impl Summary {
    pub fn add(&mut self, exchange: &Exchange) {
        let (kind, asked) = (exchange.request.kind, exchange.request.asked());
        let row = Row::of(exchange);
        if kind == Kind::Event {
            self.events += 1;
        } else {
            self.exchanges += 1;
            self.outcomes.add(exchange.outcome());
            self.callers.add(asked.caller.name.unwrap_or("(unreadable)"));
            self.actions.add(asked.call.action.unwrap_or("(unreadable)"));
        }
        if kind == Kind::Refused {
            self.refusals.add(asked.decision.reason.unwrap_or("(unreadable)"));
        }
        for hash in [
            asked.decision.bundle,
            asked.decision.catalog,
            asked.detail.bundle,
            asked.detail.catalog,
        ]
        .into_iter()
        .flatten()
        {
            if self.texts.len() < VALUES_MAX {
                self.texts.insert(hash.to_owned());
            }
        }
        for policy in asked.decision.policies.iter().flatten() {
            self.decided(policy);
        }
        let last = row.time.clone();
        self.times = Some((
            self.times
                .take()
                .map_or_else(|| row.time.clone(), |(first, _)| first.min(row.time.clone())),
            last,
        ));
        if row.notable {
            self.notable_count += 1;
            if self.notable.len() < ROWS_MAX {
                self.notable.push(row.clone());
            }
        }
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
        }
    }

    fn decided(&mut self, policy: &Entry<DeterminingPolicy>) {
        let (id, effect, message) = match policy {
            Entry::Of(DeterminingPolicy::Of { id, effect, message, .. }) => {
                (id.clone(), effect.clone(), message.clone())
            }
            // They are counted as one without a name, as in every pack so far: packs are made anew
            // and compared.
            Entry::Of(DeterminingPolicy::Id(_)) | Entry::LeftOut(_) => Default::default(),
        };
        if self.policies.len() < VALUES_MAX || self.policies.contains_key(&id) {
            let decided = Decided {
                effect: effect.unwrap_or_default(),
                message: message.unwrap_or_default(),
                count: 0,
            };
            self.policies.entry(id).or_insert(decided).count += 1;
        }
    }
}
