//! TOML as people write it. All that is wrong with a text is told at once, each mistake with its
//! place and what to do: what is wrong is told and taken out, and the rest is read again.

use serde::de::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{of}{}: {why}", place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
pub struct Mistake {
    /// What was read: a file, or `--set section.key=value`.
    pub of: String,
    /// Line and column, both from 1.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what to do.
    pub why: String,
}

/// All that is wrong, a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Mistake>);

/// A text that is read as far as it can be.
#[derive(Debug)]
pub struct Written<'t> {
    of: String,
    text: &'t str,
    root: Spanned<DeValue<'t>>,
    /// What was laid over the text. Its values have places behind the text's end, one for each.
    given: Vec<&'t str>,
    mistakes: Vec<Mistake>,
    /// Tables and lists from which something was taken out.
    touched: Vec<Node>,
    /// The sections in which something is wrong.
    unsure: Vec<String>,
    /// Whether there was a section that nobody knows: any that is missing may have been meant.
    unknown: bool,
}

/// A table or list, known by its place. A list of tables begins where its first table does.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    span: Range<usize>,
    list: bool,
}

impl Node {
    fn of(value: &Spanned<DeValue>) -> Self {
        Self { span: value.span(), list: value.get_ref().is_array() }
    }
}

impl<'t> Written<'t> {
    /// Takes a text; `of` is its file.
    ///
    /// # Errors
    /// When it is no TOML: nobody knows then what the rest of it means.
    pub fn parse(of: &str, text: &'t str) -> Result<Self, Mistake> {
        let wrong = |error: toml::de::Error| {
            let place = error.span().map(|span| line_and_column(text, span.start));
            Mistake { of: of.to_owned(), place, why: error.message().trim().to_owned() }
        };
        let root = Spanned::new(
            0..text.len(),
            DeValue::Table(DeTable::parse(text).map_err(wrong)?.into_inner()),
        );
        let (given, mistakes, touched, unsure) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { of: of.to_owned(), text, root, given, mistakes, touched, unsure, unknown: false })
    }

    /// Lays `section.key=value` over it.
    pub fn lay_over(&mut self, given: &'t str) {
        self.given.push(given);
        let at = self.text.len() + self.given.len();
        if let Err(why) = set(&mut self.root, given, at..at) {
            self.tell(&(at..at), why.to_owned());
        }
    }

    /// What it says, without what is wrong.
    pub fn read<T: Deserialize<'t> + Default>(&mut self) -> T {
        loop {
            let error = match T::deserialize(ValueDeserializer::from(self.root.clone())) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let span = error.span().unwrap_or_default();
            let path = find(&self.root, &span).filter(|path| !path.is_empty());
            let Some((path, section)) = path.as_ref().and_then(|path| Some((path, path.first()?)))
            else {
                self.tell(&span, explain(error.message()));
                return T::default();
            };
            // That a key is missing which was taken out, or may have been misspelt, follows from
            // what was told.
            let lacks = error.message().starts_with("missing field");
            if !lacks || !self.is_touched(&path.iter().map(String::as_str).collect::<Vec<_>>()) {
                self.tell(&span, explain(error.message()));
            }
            self.unsure.push(section.clone());
            self.unknown |= path.len() == 1 && error.message().starts_with("unknown field");
            take_out(&mut self.root, path, &mut self.touched);
        }
    }

    /// Tells what is wrong with the value at a path, such as `push.1.name`; of a key that is not
    /// there, at the table where it belongs. Not told is what may follow from something else
    /// that is wrong there.
    pub fn wrong(&mut self, path: &[&str], why: String) {
        self.clash(path, path, why);
    }

    /// The same of a value that does not go with others: not told when something is wrong with what
    /// all of them stand in.
    pub fn clash(&mut self, scope: &[&str], path: &[&str], why: String) {
        let section = path.first().copied().unwrap_or_default();
        if self.is_touched(scope) || (self.entry(&[section]).is_none() && !self.is_sure(section)) {
            return;
        }
        let there = (1..=path.len())
            .rev()
            .find_map(|length| self.entry(path.get(..length)?))
            .map(|(span, _)| span);
        match there {
            Some(span) => self.tell(&span, why),
            None => self.push(Mistake { of: self.of.clone(), place: None, why }),
        }
        self.unsure.push(section.to_owned());
    }

    /// Tells what is wrong at a place of the text.
    pub fn wrong_at(&mut self, span: &Range<usize>, why: String) {
        self.tell(span, why);
    }

    /// Whether all of a section is known: nothing in it is wrong, and it is not missing where a
    /// name was misspelt.
    pub fn is_sure(&self, section: &str) -> bool {
        let may_be_misspelt = self.unknown && self.entry(&[section]).is_none();
        let in_doubt = may_be_misspelt || self.unsure.iter().any(|unsure| unsure == section);
        !in_doubt
    }

    /// All that is wrong, by place.
    pub fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort();
        self.mistakes
    }

    fn tell(&mut self, span: &Range<usize>, why: String) {
        let given =
            span.start.checked_sub(self.text.len() + 1).and_then(|index| self.given.get(index));
        self.push(match given {
            Some(given) => Mistake { of: format!("--set {given}"), place: None, why },
            None => Mistake {
                of: self.of.clone(),
                place: Some(line_and_column(self.text, span.start)),
                why,
            },
        });
    }

    /// Once.
    fn push(&mut self, mistake: Mistake) {
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Whether something was taken out of the value at a path, or below it.
    fn is_touched(&self, path: &[&str]) -> bool {
        self.entry(path).is_some_and(|(_, value)| self.touched.contains(&Node::of(value)))
    }

    /// The value at a path, and where it or its key stands.
    fn entry(&self, path: &[&str]) -> Option<(Range<usize>, &Spanned<DeValue<'t>>)> {
        path.iter().try_fold((self.root.span(), &self.root), |(_, value), step| {
            match value.get_ref() {
                DeValue::Table(table) => {
                    table.get_key_value(*step).map(|(key, value)| (key.span(), value))
                }
                DeValue::Array(list) => {
                    list.get(step.parse::<usize>().ok()?).map(|value| (value.span(), value))
                }
                _ => None,
            }
        })
    }
}

/// The path of what stands at a place: a value, or the key of one.
fn find(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<String>> {
    let path = |step: String, below: Vec<String>| std::iter::once(step).chain(below).collect();
    let below = match value.get_ref() {
        DeValue::Table(table) => table.iter().find_map(|(key, value)| {
            let below = if key.span() == *span { Some(Vec::new()) } else { find(value, span) };
            Some(path(key.get_ref().to_string(), below?))
        }),
        DeValue::Array(list) => list
            .iter()
            .enumerate()
            .find_map(|(index, value)| Some(path(index.to_string(), find(value, span)?))),
        _ => None,
    };
    below.or_else(|| (value.span() == *span).then(Vec::new))
}

/// Takes out what stands at a path. What it stood in is touched.
fn take_out(value: &mut Spanned<DeValue<'_>>, path: &[String], touched: &mut Vec<Node>) {
    let Some((step, rest)) = path.split_first() else { return };
    touched.push(Node::of(value));
    match value.get_mut() {
        DeValue::Table(table) if rest.is_empty() => drop(table.remove(step.as_str())),
        DeValue::Table(table) => table
            .get_mut(step.as_str())
            .into_iter()
            .for_each(|below| take_out(below, rest, touched)),
        DeValue::Array(list) if rest.is_empty() => {
            let mut others = DeArray::new();
            list.iter()
                .enumerate()
                .filter(|(index, _)| index.to_string() != *step)
                .for_each(|(_, value)| others.push(value.clone()));
            *list = others;
        }
        DeValue::Array(list) => list
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| index.to_string() == *step)
            .for_each(|(_, below)| take_out(below, rest, touched)),
        _ => {}
    }
}

fn set<'t>(
    root: &mut Spanned<DeValue<'t>>,
    given: &'t str,
    at: Range<usize>,
) -> Result<(), &'static str> {
    let (path, text) = given.split_once('=').ok_or("write section.key=value")?;
    let (section, key) = path.split_once('.').ok_or("write section.key=value")?;
    // What is no TOML value is text: `admin.address=127.0.0.1:1` needs no quotes.
    let value =
        DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner);
    // A place of its own, which begins as that of the key.
    let whole = at.start..at.end + 1;
    let empty = || Spanned::new(whole.clone(), DeValue::Table(DeTable::new()));
    let DeValue::Table(root) = root.get_mut() else { return Ok(()) };
    let section = root.entry(Spanned::new(whole.clone(), section.into())).or_insert_with(empty);
    let DeValue::Table(section) = section.get_mut() else {
        return Err("this section is a list: change it in the file");
    };
    section.remove(key);
    section.insert(Spanned::new(at.clone(), key.into()), moved(value, &at));
    Ok(())
}

/// A value, all of which stands at one place.
fn moved<'t>(value: DeValue<'t>, at: &Range<usize>) -> Spanned<DeValue<'t>> {
    let value = match value {
        DeValue::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| {
                (Spanned::new(at.clone(), key.into_inner()), moved(value.into_inner(), at))
            });
            DeValue::Table(entries.collect())
        }
        DeValue::Array(list) => {
            let mut all = DeArray::new();
            list.into_iter().for_each(|value| all.push(moved(value.into_inner(), at)));
            DeValue::Array(all)
        }
        plain => plain,
    };
    Spanned::new(at.clone(), value)
}

/// What serde says, with what to do. It quotes texts that stand where something else is wanted, and
/// any of them may be a secret.
fn explain(message: &str) -> String {
    if let Some((kind, wanted)) = message
        .split_once(": string \"")
        .and_then(|(kind, rest)| Some((kind, rest.rsplit_once("\", expected ")?.1)))
    {
        return format!("{kind}: a string, expected {wanted}");
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(name) = quoted.next() else { return message.trim().to_owned() };
    if message.starts_with("missing field") {
        return format!("`{name}` is missing: add it");
    }
    if !message.starts_with("unknown field") {
        return message.trim().to_owned();
    }
    let near = quoted
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near.filter(|(score, _)| *score > 0.7) {
        Some((_, known)) => format!("unknown key `{name}`: did you mean `{known}`?"),
        None => message.trim().replace("unknown field", "unknown key"),
    }
}

/// Line and column of a byte, both from 1; columns in characters. A byte past the end is the end.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
    )
}
