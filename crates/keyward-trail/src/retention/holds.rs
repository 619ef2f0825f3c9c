//! Legal holds: exchanges that are kept whatever the policy says, named by a question each.
//!
//! They stand in a file of their own, which is read before each pruning: a hold that is written
//! down is in force, without a restart. While the file cannot be read nothing is pruned.

use crate::filter::{Filter, WHERE};
use keyward_core::durable;
use keyward_record::event;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Holds, at most: each is a question to every segment that is due.
const HOLDS_MAX: usize = 100;
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its name.
    pub name: String,
    /// What it keeps, as written.
    pub expression: String,
    /// What it keeps.
    pub filter: Filter,
    /// Why.
    pub reason: String,
}

/// All holds in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// In the file's order.
    pub holds: Vec<Hold>,
}

/// Why it is not known what is on hold.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}; nothing is pruned until that is mended", file.display())]
pub struct HoldsError {
    /// The file.
    file: PathBuf,
    /// What is wrong with it, and where.
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    hold: Vec<HoldForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldForm {
    name: String,
    r#where: String,
    reason: String,
}

impl Holds {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or a hold in it makes no sense.
    pub fn read(file: &Path) -> Result<Self, HoldsError> {
        let failed = |why: String| HoldsError { file: file.to_owned(), why };
        let length = file.metadata().map_err(|error| failed(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(failed(format!("it has {length} bytes, {FILE_BYTES_MAX} are the limit")));
        }
        let text = durable::read_text(file).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let form: Form = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
            });
            format!("line {line}: {}", error.message())
        })?;
        if form.hold.len() > HOLDS_MAX {
            return Err(format!("{} holds, {HOLDS_MAX} are the limit", form.hold.len()));
        }
        let mut names = BTreeSet::new();
        let mut holds = Vec::with_capacity(form.hold.len());
        for HoldForm { name, r#where: expression, reason } in form.hold {
            if name.trim().is_empty() || reason.trim().is_empty() {
                return Err(format!(
                    "hold `{name}`: give it a name and a reason, which are recorded"
                ));
            }
            if !names.insert(name.clone()) {
                return Err(format!("hold `{name}` stands there twice"));
            }
            let mut filter = Filter::default();
            filter.add(WHERE, &expression).map_err(|error| format!("hold `{name}`: {error}"))?;
            holds.push(Hold { name, expression, filter, reason });
        }
        Ok(Self { holds })
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.holds.iter().map(|hold| hold.name.as_str()).collect()
    }

    /// All of them, for the record.
    pub fn recorded(&self) -> Vec<event::Hold> {
        let hold = |hold: &Hold| event::Hold {
            name: hold.name.clone(),
            r#where: hold.expression.clone(),
            reason: hold.reason.clone(),
        };
        self.holds.iter().map(hold).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let good = "[[hold]]\nname = 'case 17'\nwhere = 'caller = alice and time < 2026-01-01'\nreason = 'letter of 3 May'\n";
        assert_eq!(Holds::parse(good).unwrap().names(), ["case 17"]);
        assert_eq!(Holds::parse("").unwrap(), Holds::default());
        for (text, wanted) in [
            (good.repeat(2), "twice"),
            (good.replace("alice", "alice and ("), "case 17"),
            (good.replace("letter of 3 May", " "), "reason"),
            (good.replace("where", "were"), "line 3"),
            (good.repeat(101), "101 holds"),
        ] {
            let error = Holds::parse(&text).unwrap_err();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_holds_everything() {
        let error = Holds::read(Path::new("/nowhere/holds.toml")).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/holds.toml") && error.contains("nothing is pruned"),
            "{error}"
        );
    }
}
