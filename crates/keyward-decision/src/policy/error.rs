//! What is wrong with a policy, a pattern or a policy test: file, place, and what to do.

use keyward_core::folder::Fault;
use keyward_core::written::{Mistake, line_and_column};
use miette::Diagnostic;

/// One fault that keeps a bundle from being loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}{}", place_text(*place), help_text(help.as_deref()))]
pub struct PolicyError {
    /// The file's path.
    pub file: String,
    /// Line and column, both counted from 1.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl From<Mistake> for PolicyError {
    fn from(Mistake { of, place, why }: Mistake) -> Self {
        Self { file: of, place, message: why, help: None }
    }
}

impl PolicyError {
    /// A fault of a whole file.
    pub fn new(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, message: message.into(), help: None }
    }

    /// What is wrong with a folder's entries.
    pub fn of_folder(faults: Vec<Fault>) -> Vec<Self> {
        faults
            .into_iter()
            .map(|fault| Self::new(&fault.path.display().to_string(), fault.why))
            .collect()
    }

    /// A fault at a byte of the file's text.
    pub fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { place: Some(line_and_column(text, offset)), ..Self::new(file, message) }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Cedar's own finding, with its first place and its help.
    pub fn from_cedar(file: &str, text: &str, found: &dyn Diagnostic) -> Self {
        let offset =
            found.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let mut error = Self::new(file, strip_policy(&found.to_string()));
        error.place = offset.map(|offset| line_and_column(text, offset));
        error.help = found.help().map(|help| help.to_string());
        error
    }
}

/// Cedar's validator starts each message with the policy's id; the place says that already.
fn strip_policy(message: &str) -> String {
    let rest = message.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, "));
    rest.map_or_else(|| message.to_owned(), |(policy, rest)| format!("{rest} (policy `{policy}`)"))
}

fn place_text(place: Option<(usize, usize)>) -> String {
    place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default()
}

fn help_text(help: Option<&str>) -> String {
    help.map(|help| format!(" (help: {help})")).unwrap_or_default()
}
