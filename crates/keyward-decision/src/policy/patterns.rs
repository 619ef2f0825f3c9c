//! Named patterns, `patterns.toml`: each becomes a typed Boolean `context.match.NAME`.
//!
//! A pattern always describes the whole value, as if it stood between `^` and `$`: who wants a part
//! writes `.*`. All are compiled into one set, so that a text is read once however many patterns
//! there are.

use super::error::PolicyError;
use super::types::{self, Attribute, Attributes, Type};
use crate::inspect::facts::{CallFacts, Fact, Facts, Item};
use keyward_core::written::{Written, line_and_column};
use regex::{Regex, RegexSet};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// All patterns of a bundle.
#[derive(Debug, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    set: RegexSet,
}

/// One named pattern.
#[derive(Debug)]
pub struct Pattern {
    /// The attribute of `context.match`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// As written.
    pub regex: String,
    /// The fields that it describes, with their places in the file.
    fields: Vec<(Vec<String>, (usize, usize))>,
    file: String,
}

/// The fields of an action that patterns describe, each with those patterns.
#[derive(Debug, Default)]
pub struct Bound(BTreeMap<Vec<String>, Vec<usize>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    field: Option<Spanned<String>>,
    fields: Option<Vec<Spanned<String>>>,
    regex: Spanned<String>,
    description: String,
}

impl Patterns {
    /// Reads `patterns.toml`.
    ///
    /// # Errors
    /// When it is no TOML, has an unknown key, or a pattern that is no regular expression or has no
    /// field.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<PolicyError>> {
        let mut told = Written::parse(file, text).map_err(|mistake| vec![mistake.into()])?;
        let forms: BTreeMap<String, Spanned<Form>> = told.read();
        let mut errors: Vec<PolicyError> =
            told.into_mistakes().into_iter().map(PolicyError::from).collect();
        let mut patterns = Vec::new();
        for (name, form) in forms {
            let start = form.span().start;
            let form = form.into_inner();
            let place = |span: std::ops::Range<usize>| line_and_column(text, span.start);
            let named: Vec<Spanned<String>> =
                form.field.into_iter().chain(form.fields.unwrap_or_default()).collect();
            if named.is_empty() {
                errors.push(
                    PolicyError::at(file, text, start, format!("pattern `{name}` has no field"))
                        .help("write `field = \"body.…\"`"),
                );
            }
            // Compiled as written first: `a)|(b` must not become well-formed by the anchors around
            // it.
            if let Err(e) = Regex::new(form.regex.get_ref()) {
                errors.push(PolicyError::at(
                    file,
                    text,
                    form.regex.span().start,
                    format!("pattern `{name}`: {e}"),
                ));
            }
            let fields = named
                .into_iter()
                .map(|f| (f.get_ref().split('.').map(str::to_owned).collect(), place(f.span())))
                .collect();
            patterns.push(Pattern {
                name,
                description: form.description,
                regex: form.regex.into_inner(),
                fields,
                file: file.to_owned(),
            });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let set = RegexSet::new(patterns.iter().map(|p| format!(r"\A(?:{})\z", p.regex)));
        let set = set.map_err(|e| {
            vec![PolicyError::new(file, format!("the patterns cannot be compiled together: {e}"))]
        })?;
        Ok(Self { patterns, set })
    }

    /// All patterns, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.patterns.iter()
    }

    /// The patterns of an action with this context, and the attributes of its `match`.
    pub fn bind(&self, context: &Attributes) -> (Bound, Attributes) {
        let (mut bound, mut attributes) = (Bound::default(), Attributes::new());
        for (index, pattern) in self.patterns.iter().enumerate() {
            let here: Vec<_> = pattern
                .fields
                .iter()
                .filter_map(|(field, _)| Some((field, text_at(context, field)?)))
                .collect();
            if !here.is_empty() {
                let required = here.iter().any(|(_, required)| *required);
                attributes.insert(pattern.name.clone(), Attribute { required, of: Type::Flag });
                for (field, _) in here {
                    bound.0.entry(field.clone()).or_default().push(index);
                }
            }
        }
        (bound, attributes)
    }

    /// Fields that no action has: a pattern that nobody asks for is a check that nobody makes.
    pub fn dangling<'a>(
        &self,
        contexts: impl Iterator<Item = &'a Attributes> + Clone,
    ) -> Vec<PolicyError> {
        let mut errors = Vec::new();
        for pattern in &self.patterns {
            for (field, place) in pattern
                .fields
                .iter()
                .filter(|(field, _)| !contexts.clone().any(|c| text_at(c, field).is_some()))
            {
                let message = format!(
                    "pattern `{}`: no action has a text `{}`",
                    pattern.name,
                    field.join(".")
                );
                let help = "write it as policies do, without `context.`: body.keypair.name";
                errors.push(
                    PolicyError { place: Some(*place), ..PolicyError::new(&pattern.file, message) }
                        .help(help),
                );
            }
        }
        errors
    }

    /// Which patterns match, for one item of a call. A pattern over several fields matches when all
    /// that are there do; when none is there, it has no value.
    pub fn matches<'a>(
        &'a self,
        bound: &Bound,
        facts: &CallFacts,
        item: &Item,
    ) -> BTreeMap<&'a str, bool> {
        let mut results = BTreeMap::new();
        for (field, patterns) in &bound.0 {
            let Some(text) = text_of(facts, item, field) else { continue };
            let matched = self.set.matches(text);
            for index in patterns {
                let Some(pattern) = self.patterns.get(*index) else { continue };
                *results.entry(pattern.name.as_str()).or_insert(true) &= matched.matched(*index);
            }
        }
        results
    }
}

/// Whether the context has a text there, and whether every call has it.
fn text_at(context: &Attributes, field: &[String]) -> Option<bool> {
    types::find(context, field).filter(|(of, _)| **of == Type::Text).map(|(_, required)| required)
}

fn text_of<'a>(facts: &'a CallFacts, item: &'a Item, field: &[String]) -> Option<&'a str> {
    let (section, rest) = field.split_first()?;
    let section = match section.as_str() {
        "path" => &facts.path,
        "query" => &facts.query,
        "body" => &facts.body,
        "item" => &item.fields,
        _ => return None,
    };
    text_in(section, rest)
}

fn text_in<'a>(facts: &'a Facts, place: &[String]) -> Option<&'a str> {
    let (first, rest) = place.split_first()?;
    match (facts.get(first)?, rest.is_empty()) {
        (Fact::Text(text), true) => Some(text),
        (Fact::Record(inner), false) => text_in(inner, rest),
        _ => None,
    }
}
