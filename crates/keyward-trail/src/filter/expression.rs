//! Conditions joined by `and`, `or` and `not`, and the syntax in which people write them:
//!
//! ```text
//! decision = deny and (action = huawei.ims.* or caller in (ci-keys, "night shift")) and not status = 4xx
//!
//! any        all { "or" all }
//! all        one { "and" one }
//! one        "not" one | "(" any ")" | name comparison value | name [ "not" ] "in" "(" value { "," value } ")"
//! comparison "=" | "!=" | "<" | "<=" | ">" | ">="
//! value      a run without blanks, commas and parentheses, or a text in quotes (`\` takes the next character as it is)
//! ```

use super::condition::{Comparison, FilterError, Test};
use super::field::Field;
use crate::exchange::Exchange;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Kind;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::LazyLock;

/// Characters of one expression, at most.
pub const CHARACTERS_MAX: usize = 16 * 1024;
/// How deep parentheses and `not` may nest.
const DEPTH_MAX: usize = 64;

/// Conditions, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Test(Test),
}

static EVENT: LazyLock<Option<Field>> = LazyLock::new(|| Field::parse("event"));

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// The column, what is wrong there, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.chars().count() > CHARACTERS_MAX {
            return Err(at(1, format!("it is longer than {CHARACTERS_MAX} characters")));
        }
        let mut parser = Parser { rest: text, column: 1 };
        let expression = parser.any(0)?;
        match parser.next_word()? {
            (_, Word::End) => Ok(expression),
            (column, word) => Err(at(
                column,
                format!(
                    "{word} was not expected: join conditions by `and` or `or`, and put a value with blanks in quotes"
                ),
            )),
        }
    }

    /// The same with times that no longer depend on the moment of the question.
    pub fn at(&self, now: Timestamp) -> Self {
        let Ok(fixed) = self.replaced(&mut |test| Ok::<_, Infallible>(test.at(now)));
        fixed
    }

    /// The same with every condition replaced.
    ///
    /// # Errors
    /// When a replacement fails.
    pub fn replaced<E>(
        &self,
        replace: &mut impl FnMut(&Test) -> Result<Test, E>,
    ) -> Result<Self, E> {
        Ok(match self {
            Self::All(parts) => Self::All(
                parts.iter().map(|part| part.replaced(replace)).collect::<Result<_, _>>()?,
            ),
            Self::Any(parts) => Self::Any(
                parts.iter().map(|part| part.replaced(replace)).collect::<Result<_, _>>()?,
            ),
            Self::Not(part) => Self::Not(Box::new(part.replaced(replace)?)),
            Self::Test(test) => Self::Test(replace(test)?),
        })
    }

    /// Whether it holds; `None` when that depends on bodies, which are not there unless `bodies`
    /// says so.
    pub fn holds(&self, exchange: &Exchange, bodies: bool) -> Option<bool> {
        self.decide(&|test| (bodies || !test.needs_content()).then(|| test.holds(exchange)))
    }

    /// Whether it holds by what is known of each condition; `None` when that leaves it open.
    pub fn decide(&self, known: &impl Fn(&Test) -> Option<bool>) -> Option<bool> {
        match self {
            Self::All(parts) => join(parts, known, false),
            Self::Any(parts) => join(parts, known, true),
            Self::Not(part) => part.decide(known).map(|holds| !holds),
            Self::Test(test) => known(test),
        }
    }

    /// Whether it can match records of this kind. One that names `event` asks for the gateway's own
    /// events instead of exchanges; one that names an id, for whatever has it.
    pub fn wants(&self, kind: Kind) -> bool {
        let events = self.any_test(&mut |test| matches!((test, &*EVENT), (Test::Field(field, _), Some(event)) if field == event));
        kind != Kind::Answer
            && (events == (kind == Kind::Event)
                || self.any_test(&mut |test| matches!(test, Test::Id(_))))
    }

    /// The one exchange that it can match, when it names one.
    pub fn id(&self) -> Option<AuditId> {
        self.required().find_map(|test| if let Test::Id(id) = test { Some(*id) } else { None })
    }

    /// Texts without which a request's record cannot match.
    pub fn needles(&self) -> Vec<String> {
        self.required().filter_map(Test::needle).collect()
    }

    /// The part of the trail in which it looks, as far as its places say so.
    pub fn range(&self) -> Range<u64> {
        self.required().fold(0..u64::MAX, |range, test| match test {
            Test::Seq(part) => range.start.max(part.start)..range.end.min(part.end),
            _ => range,
        })
    }

    /// The times between which it looks, the later one excluded, as far as its conditions must
    /// hold. They must be fixed.
    pub fn times(&self) -> (Timestamp, Timestamp) {
        self.required().fold((Timestamp(0), Timestamp(u64::MAX)), |(since, until), test| match test
        {
            Test::Since(when) => (since.max(when.at(since)), until),
            Test::Until(when) => (since, until.min(when.at(until))),
            _ => (since, until),
        })
    }

    /// Conditions that must hold whatever else does.
    fn required(&self) -> Box<dyn Iterator<Item = &Test> + '_> {
        match self {
            Self::All(parts) => Box::new(parts.iter().flat_map(Self::required)),
            Self::Test(test) => Box::new(std::iter::once(test)),
            Self::Any(_) | Self::Not(_) => Box::new(std::iter::empty()),
        }
    }

    /// Shows every condition.
    pub fn each<'a>(&'a self, visit: &mut impl FnMut(&'a Test)) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.each(visit)),
            Self::Not(part) => part.each(visit),
            Self::Test(test) => visit(test),
        }
    }

    fn any_test(&self, wanted: &mut impl FnMut(&Test) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.any_test(wanted)),
            Self::Not(part) => part.any_test(wanted),
            Self::Test(test) => wanted(test),
        }
    }
}

/// One part that is `decisive` decides; else one that is not known leaves all unknown.
fn join(
    parts: &[Expression],
    known: &impl Fn(&Test) -> Option<bool>,
    decisive: bool,
) -> Option<bool> {
    let mut all_known = true;
    for part in parts {
        match part.decide(known) {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!decisive)
}

/// What an expression is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word<'a> {
    Open,
    Close,
    Comma,
    Compare(Option<Comparison>),
    Plain(&'a str),
    End,
}

impl std::fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("`(`"),
            Self::Close => f.write_str("`)`"),
            Self::Comma => f.write_str("`,`"),
            Self::Compare(_) => f.write_str("a comparison"),
            Self::Plain(word) => write!(f, "`{word}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    /// Of the rest's first character, from 1.
    column: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Expression, FilterError> {
        self.joined(depth, "or", Self::all, Expression::Any)
    }

    fn all(&mut self, depth: usize) -> Result<Expression, FilterError> {
        self.joined(depth, "and", Self::one, Expression::All)
    }

    fn joined(
        &mut self,
        depth: usize,
        by: &str,
        part: impl Fn(&mut Self, usize) -> Result<Expression, FilterError>,
        join: impl Fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, FilterError> {
        let mut parts = vec![part(self, depth)?];
        while self.takes(by) {
            parts.push(part(self, depth)?);
        }
        match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                parts.extend(last);
                Ok(join(parts))
            }
        }
    }

    fn one(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let (column, word) = self.next_word()?;
        if depth > DEPTH_MAX {
            return Err(at(column, format!("parentheses and `not` nest deeper than {DEPTH_MAX}")));
        }
        match word {
            Word::Open => {
                let inner = self.any(depth + 1)?;
                match self.next_word()? {
                    (_, Word::Close) => Ok(inner),
                    (column, word) => {
                        Err(at(column, format!("{word} where `)`, `and` or `or` must come")))
                    }
                }
            }
            Word::Plain(word) if is(word, "not") => {
                Ok(Expression::Not(Box::new(self.one(depth + 1)?)))
            }
            Word::Plain(word) if ["and", "or", "in"].iter().any(|key| is(word, key)) => {
                Err(at(column, format!("`{word}` where a condition must come")))
            }
            Word::Plain(name) => self.condition(column, name),
            word => Err(at(
                column,
                format!("{word} where a condition must come, such as `decision = deny`"),
            )),
        }
    }

    fn condition(&mut self, name_column: usize, name: &str) -> Result<Expression, FilterError> {
        let negated = self.takes("not");
        if self.takes("in") {
            let set = self.set(name_column, name)?;
            return Ok(if negated { Expression::Not(Box::new(set)) } else { set });
        }
        let (column, word) = self.next_word()?;
        let (comparison, negated) = match word {
            _ if negated => return Err(at(column, format!("{word} where `in` must come"))),
            Word::Compare(comparison) => {
                (comparison.unwrap_or(Comparison::Equal), comparison.is_none())
            }
            word => {
                return Err(at(
                    column,
                    format!("{word} where `=`, `!=`, `<`, `<=`, `>`, `>=` or `in` must come"),
                ));
            }
        };
        let test = self.test(name_column, name, column, comparison)?;
        Ok(if negated { Expression::Not(Box::new(test)) } else { test })
    }

    fn set(&mut self, name_column: usize, name: &str) -> Result<Expression, FilterError> {
        match self.next_word()? {
            (_, Word::Open) => {}
            (column, word) => {
                return Err(at(
                    column,
                    format!("{word} where `(` must come: `{name} in (one, two)`"),
                ));
            }
        }
        let mut tests = Vec::new();
        loop {
            tests.push(self.test(name_column, name, self.column, Comparison::Equal)?);
            match self.next_word()? {
                (_, Word::Comma) => {}
                (_, Word::Close) => return Ok(Expression::Any(tests)),
                (column, word) => {
                    return Err(at(column, format!("{word} where `,` or `)` must come")));
                }
            }
        }
    }

    fn test(
        &mut self,
        name_column: usize,
        name: &str,
        comparison_column: usize,
        comparison: Comparison,
    ) -> Result<Expression, FilterError> {
        let (value_column, value) = self.value()?;
        Test::parse(name, comparison, &value).map(Expression::Test).map_err(|error| {
            let column = match error {
                FilterError::Name { .. } => name_column,
                FilterError::Unordered(_) => comparison_column,
                _ => value_column,
            };
            at(column, error.to_string())
        })
    }

    fn value(&mut self) -> Result<(usize, String), FilterError> {
        self.skip_blanks();
        let column = self.column;
        let mut value = String::new();
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let mut characters = self.rest.chars().skip(1);
            let mut taken = 1;
            loop {
                taken += 1;
                match characters.next() {
                    Some('\\') => {
                        taken += 1;
                        value.extend(characters.next());
                    }
                    Some(c) if c == quote => break,
                    Some(c) => value.push(c),
                    None => {
                        return Err(at(
                            column,
                            format!("the text that begins with {quote} has no end"),
                        ));
                    }
                }
            }
            self.skip(taken);
        } else {
            value.extend(
                self.rest
                    .chars()
                    .take_while(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | ',')),
            );
            self.skip(value.chars().count());
        }
        if value.is_empty() {
            Err(at(column, "a value must come here".to_owned()))
        } else {
            Ok((column, value))
        }
    }

    /// The next word and its column.
    fn next_word(&mut self) -> Result<(usize, Word<'a>), FilterError> {
        self.skip_blanks();
        let column = self.column;
        let mut characters = self.rest.chars();
        let (word, taken) = match (characters.next(), characters.next()) {
            (None, _) => (Word::End, 0),
            (Some('('), _) => (Word::Open, 1),
            (Some(')'), _) => (Word::Close, 1),
            (Some(','), _) => (Word::Comma, 1),
            (Some('='), _) => (Word::Compare(Some(Comparison::Equal)), 1),
            (Some('!'), Some('=')) => (Word::Compare(None), 2),
            (Some('<'), Some('=')) => (Word::Compare(Some(Comparison::AtMost)), 2),
            (Some('>'), Some('=')) => (Word::Compare(Some(Comparison::AtLeast)), 2),
            (Some('<'), _) => (Word::Compare(Some(Comparison::Below)), 1),
            (Some('>'), _) => (Word::Compare(Some(Comparison::Above)), 1),
            (Some(c @ ('!' | '"' | '\'')), _) => {
                return Err(at(column, format!("`{c}` cannot stand here")));
            }
            (Some(_), _) => {
                let word = self
                    .rest
                    .split(|c: char| c.is_whitespace() || "()=!<>,\"'".contains(c))
                    .next()
                    .unwrap_or_default();
                (Word::Plain(word), word.chars().count())
            }
        };
        self.skip(taken);
        Ok((column, word))
    }

    /// Takes the next word if it is this one.
    fn takes(&mut self, keyword: &str) -> bool {
        let before = (self.rest, self.column);
        match self.next_word() {
            Ok((_, Word::Plain(word))) if is(word, keyword) => true,
            _ => {
                (self.rest, self.column) = before;
                false
            }
        }
    }

    fn skip_blanks(&mut self) {
        self.skip(self.rest.chars().take_while(|c| c.is_whitespace()).count());
    }

    fn skip(&mut self, characters: usize) {
        let mut rest = self.rest.chars();
        rest.by_ref().take(characters).for_each(drop);
        self.rest = rest.as_str();
        self.column += characters;
    }
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

fn at(column: usize, why: String) -> FilterError {
    FilterError::Where { column, why }
}

#[cfg(test)]
mod tests;
