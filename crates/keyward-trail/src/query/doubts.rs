//! What is wrong with a question that can be answered: names that nothing knows, and times between
//! which nothing is. The answer is nothing then, and an auditor would read that nobody did.

use super::known::Names;
use super::{QueryError, Reader};
use crate::exchange::Exchange;
use crate::filter::condition::{Match, Test};
use crate::filter::expression::Expression;
use crate::filter::field::{Field, RecordPart};
use crate::filter::{Filter, Question};
use crate::index;
use crate::store::StoreError;
use crate::tombstone::skip_tombstones;
use keyward_core::alike;
use keyward_core::clock::Timestamp;
use keyward_core::terminal::clean;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// How far a client's clock may be ahead.
const AHEAD_NANOS: u64 = 300 * 1_000_000_000;
/// Exchanges that are looked at for what stands at a path.
const LOOKED_AT: usize = 1000;
/// So few values of a field are a list of their own, of which another one is none.
const FEW_VALUES: usize = 16;
/// Values that are looked through for one that may have been meant.
const VALUES_MAX: usize = 20_000;
/// Fields with any number of values, which are not suggested.
const UNBOUNDED: &[&str] = &["resource", "source", "cloud-request-id"];

impl Reader {
    /// What whoever asks must know beside the answer, in sentences.
    ///
    /// # Errors
    /// When the question is a mistake for sure: an operation, action, service, method or policy
    /// that neither the catalogue, a policy nor a record knows, or times between which nothing
    /// can be. When the trail cannot be read.
    pub fn doubts(&self, filter: &Filter, by: Option<&str>) -> Result<Vec<String>, QueryError> {
        let now = Timestamp::now();
        let asked = filter.at(now).0;
        let mut doubts = self.doubtful_times(&asked, now)?;
        let mut tests: Vec<&Test> = Vec::new();
        asked.each(&mut |test| tests.push(test));
        let names = std::cell::OnceCell::new();
        let names = || names.get_or_init(|| self.names());
        for test in tests {
            let Test::Field(field, wanted) = test else { continue };
            match (index::name_of(field), wanted) {
                (Some("decision" | "outcome" | "reason" | "status"), _) => {}
                (Some(name), Match::Exact(value) | Match::Prefix(value)) => {
                    if !value.is_empty()
                        && !self.is_recorded(test)?
                        && !names().of(name).any(|known| wanted.holds(known))
                    {
                        doubts.push(self.unknown(name, wanted, value, names())?);
                    }
                }
                (Some(name), Match::Net(..)) if !self.is_recorded(test)? => {
                    doubts.push(format!("no record has such a `{name}`"))
                }
                (Some(_), _) => {}
                (None, _) => doubts.extend(self.doubtful_path(field, Some(wanted), &names)?),
            }
        }
        if let Some(field) =
            by.and_then(Field::parse).filter(|field| index::name_of(field).is_none())
        {
            doubts.extend(self.doubtful_path(&field, None, &names)?);
        }
        doubts.dedup();
        Ok(doubts)
    }

    fn doubtful_times(
        &self,
        asked: &Expression,
        now: Timestamp,
    ) -> Result<Vec<String>, QueryError> {
        let (since, until) = asked.times();
        let wrong = |why: String| Err(QueryError::Times(why));
        if since > until {
            return wrong(format!(
                "nothing can be from {} on and before {}: the times stand the wrong way round",
                since.rfc3339(),
                until.rfc3339()
            ));
        }
        let durable = self.durable();
        if since.0 > now.0.saturating_add(AHEAD_NANOS) && self.first_at(since, durable)? == durable
        {
            return wrong(format!(
                "{} lies in the future: nothing is recorded yet from there on; it is {} now",
                since.rfc3339(),
                now.rfc3339()
            ));
        }
        let mut doubts = Vec::new();
        if since == until {
            doubts.push(format!(
                "no time lies between {} and {}",
                since.rfc3339(),
                until.rfc3339()
            ));
        }
        let first = skip_tombstones(&self.store.tombstones(), 0);
        if durable > first && until.0 < u64::MAX && self.first_at(until, durable)? <= first {
            doubts.push(format!(
                "the trail begins with record {first} at {}, and nothing before {} is in it",
                self.time_of(first)?.rfc3339(),
                until.rfc3339()
            ));
        }
        Ok(doubts)
    }

    /// Whether any record of the trail, whenever it was made, has what is wanted.
    fn is_recorded(&self, test: &Test) -> Result<bool, QueryError> {
        let question = Question(Expression::Test(test.clone()));
        let mut found = false;
        self.scan(&question, u64::MAX, &mut |_| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found || self.counted_within(&Filter::of(test.clone()), 0..u64::MAX)?.records > 0)
    }

    /// What is to be said of a name that nothing knows.
    fn unknown(
        &self,
        field: &'static str,
        wanted: &Match,
        value: &str,
        names: &Names,
    ) -> Result<String, QueryError> {
        let mut known: BTreeSet<String> = names.of(field).map(str::to_owned).collect();
        if let Some(number) = index::number_of(field).filter(|_| !UNBOUNDED.contains(&field)) {
            for span in self.store.spans(self.durable()) {
                let Some(index) = &span.index else { continue };
                let mut add = |value: &str, _: &roaring::RoaringBitmap| {
                    if known.len() < VALUES_MAX {
                        known.insert(value.to_owned());
                    }
                };
                // Without it fewer names are suggested.
                let _ = index.values(number, &mut add);
            }
        }
        let begins = if matches!(wanted, Match::Prefix(_)) { " that begins with" } else { "" };
        let elsewhere: Vec<_> = names
            .fields_of(value)
            .filter(|other| *other != field)
            .map(|other| format!("`{other}`"))
            .collect();
        let hint = match elsewhere.first() {
            Some(other) => format!(": it is known as {other}; ask by that"),
            None => alike::did_you_mean(value, known.iter().map(String::as_str)),
        };
        let who = match field {
            "policy" | "shadow" => "no bundle that was ever in force, and no record,",
            "caller" => "no record, and nothing that is listed now,",
            "action" | "service" | "operation" | "method" => "no catalogue, and no record,",
            _ => "no record",
        };
        let text = clean(&format!("{who} knows a {field}{begins} `{value}`{hint}"));
        if names.are_all_of(field) { Err(QueryError::Unknown(text)) } else { Ok(text) }
    }

    /// What is to be said of a path at which nothing stands, or never one of the few values that
    /// do.
    fn doubtful_path<'n>(
        &self,
        field: &Field,
        wanted: Option<&Match>,
        names: &impl Fn() -> &'n Names,
    ) -> Result<Option<String>, QueryError> {
        let Some((place, path)) = field.path() else { return Ok(None) };
        let (mut seen, mut values, mut paths) = (0, BTreeSet::new(), BTreeSet::new());
        let mut look = |mut exchange: Exchange| {
            if field.needs_content() {
                self.load_content(&mut exchange)?;
            }
            values.extend(field.values(&exchange));
            let part = if matches!(place, RecordPart::Request | RecordPart::RequestContent) {
                Some(&exchange.request)
            } else {
                exchange.answer.as_ref()
            };
            if values.is_empty()
                && let Some(part) = part
            {
                let content = if field.needs_content() { part.content_json() } else { None };
                paths_of(
                    content.as_ref().unwrap_or(if field.needs_content() {
                        &Value::Null
                    } else {
                        &part.json
                    }),
                    &mut String::new(),
                    &mut paths,
                );
            }
            seen += 1;
            Ok::<_, StoreError>(if values.len() > FEW_VALUES || seen >= LOOKED_AT {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        self.scan(&Question(Expression::All(Vec::new())), u64::MAX, &mut look)?;
        if let Ok(events) = Filter::parse([("event", "*")]) {
            self.scan(&self.question(&events)?, u64::MAX, &mut look)?;
        }
        let (path, last) =
            (named(&path), named(&path).rsplit('.').next().unwrap_or_default().to_owned());
        let whole = format!("{}{path}", place.prefix());
        if let Some(wanted) = wanted.filter(|_| (1..=FEW_VALUES).contains(&values.len())) {
            let there: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            let missing = format!(
                "in the newest {seen} exchanges and events `{whole}` is one of {}, and never what is asked for",
                there.join(", ")
            );
            return Ok((!values.iter().any(|value| wanted.holds(value))).then(|| clean(&missing)));
        }
        if !values.is_empty() || seen == 0 || (field.needs_content() && names().has_word(&last)) {
            return Ok(None);
        }
        let near = alike::near(&path, paths.iter().map(String::as_str))
            .first()
            .map(|near| (*near).to_owned());
        let word = || {
            alike::near(&last, names().words())
                .first()
                .map(|near| format!("{}{near}", path.strip_suffix(&*last).unwrap_or_default()))
        };
        let near = near.or_else(|| if field.needs_content() { word() } else { None });
        let hint = near
            .map_or(String::new(), |near| format!(" (did you mean `{}{near}`?)", place.prefix()));
        Ok(Some(clean(&format!(
            "nothing stands at `{whole}` in the newest {seen} exchanges and events{hint}"
        ))))
    }
}

/// A path without its array indexes.
fn named(path: &str) -> String {
    path.split('.').filter(|step| step.parse::<usize>().is_err()).collect::<Vec<_>>().join(".")
}

/// The paths to plain values in some JSON, array indexes left out.
fn paths_of(json: &Value, at: &mut String, paths: &mut BTreeSet<String>) {
    match json {
        Value::Object(object) if paths.len() < VALUES_MAX => {
            for (name, value) in object {
                let length = at.len();
                if length > 0 {
                    at.push('.');
                }
                at.push_str(name);
                paths_of(value, at, paths);
                at.truncate(length);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| paths_of(value, at, paths)),
        Value::Object(_) => {}
        _ => drop(paths.insert(at.clone())),
    }
}
