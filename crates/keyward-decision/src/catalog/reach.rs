//! Where the sources of an operation lead, and whether what stands there has one spelling: a rule
//! about a thing does not hold for the same thing under another name.

use super::operation::{Operation, OutcomeSpec};
use super::promise;
use super::schema::{Field, Shape, TextMeaning};
use super::source::{Source, Step};
use keyward_core::alike;
use serde_json::Value;

/// What a pattern of one spelling refuses: with blanks, escapes, other ends or other letters a
/// reader may take it for `a`.
const PROBES: &[&str] = &[
    "",
    " ",
    " a",
    "a ",
    "a  b",
    "a\t",
    "a\n",
    "a\r\n",
    "a\0",
    "a%20",
    "a%2f",
    "a/",
    "a.",
    "a\\",
    "a;",
    "a\u{200b}",
    "\u{ff41}",
    "\u{e9}",
];

/// Checks the sources of resource, parent and items. A text there that the document lets be spelt
/// in several ways is taken for a free name, which has one.
///
/// # Errors
/// The first that leads to nothing, or to what can be spelt in several ways; with what to do.
pub fn settle(operation: &mut Operation) -> Result<(), String> {
    let resource = operation
        .resource
        .iter()
        .flat_map(|r| std::iter::once(&r.id).chain(r.parent.as_ref().map(|(_, id)| id)));
    let sources: Vec<_> = resource.chain(operation.items.values()).cloned().collect();
    for source in &sources {
        match reach(operation, source) {
            Err(near) => {
                return Err(format!(
                    "`{source}` leads to nothing{near}: name a parameter or a field that the operation has"
                ));
            }
            Ok(Reached::Secret) => {
                return Err(format!(
                    "policies cannot see `{source}`, which is secret: name something else"
                ));
            }
            Ok(Reached::Plain) => {}
            Ok(Reached::Shape(shape)) if has_one_spelling(shape) => {}
            Ok(Reached::Shape(Shape::Text { meaning: meaning @ TextMeaning::Plain, .. })) => {
                *meaning = TextMeaning::Name
            }
            Ok(Reached::Shape(_)) => {
                return Err(format!(
                    "what stands at `{source}` can be spelt in several ways, and a rule about it would not hold for all of them: make it a text, with a \
                     `pattern` between `^` and `$` that takes letters of one case if it is a UUID"
                ));
            }
        }
    }
    Ok(())
}

/// Checks that the sources of an outcome lead to something in the answers that have one of these
/// schemas: what is not found is taken for absent, and a call that failed would be on record as one
/// that succeeded.
///
/// # Errors
/// The first that leads to nothing, or is compared with what never stands there.
pub fn check_outcome(
    document: &Value,
    outcome: &OutcomeSpec,
    answers: &[String],
) -> Result<(), String> {
    let OutcomeSpec { accepted, succeeded, failed, failed_if } = outcome;
    let compared = failed_if.iter().map(|(source, is)| (source, Some(is)));
    for (source, is) in
        accepted.iter().chain(succeeded).chain(failed).map(|source| (source, None)).chain(compared)
    {
        let Source::Body(steps) = source else {
            return Err(format!("`{source}` is no place of an answer: write `body.FIELD`"));
        };
        let schemas = promise::below(document, answers.to_vec(), steps)
            .map_err(|near| format!("`{source}` leads to nothing{near}: name a field that the schema of an answer with a 2xx status has"))?;
        let may_be = |is: &Value| {
            schemas.iter().any(|schema| {
                promise::compile(document, schema, false)
                    .is_ok_and(|fits| fits.is_none_or(|fits| fits.is_valid(is)))
            })
        };
        if let Some(is) = is.filter(|is| !may_be(is)) {
            return Err(format!(
                "what stands at `{source}` is never {is}: write what its schema allows"
            ));
        }
    }
    Ok(())
}

/// Where a source leads.
enum Reached<'a> {
    Shape(&'a mut Shape),
    /// What is hidden from policies.
    Secret,
    /// What is of one spelling by itself: the host, and an item, which is checked where it comes
    /// from.
    Plain,
}

/// # Errors
/// When it leads to nothing: what was meant, as the end of a sentence.
fn reach<'a>(operation: &'a mut Operation, source: &Source) -> Result<Reached<'a>, String> {
    match source {
        Source::Path(name) => named(&mut operation.path, name, &[]),
        Source::Query(name) => named(&mut operation.query, name, &[]),
        Source::Header(name) if name == "host" => Ok(Reached::Plain),
        Source::Header(name) => named(&mut operation.headers, name, &[]),
        Source::Item(name) if operation.items.contains_key(name) => Ok(Reached::Plain),
        Source::Item(name) => {
            Err(alike::did_you_mean(name, operation.items.keys().map(String::as_str)))
        }
        Source::Body(steps) => operation
            .body
            .as_mut()
            .map_or_else(|| Err(String::new()), |body| below(&mut body.shape, steps)),
    }
}

fn below<'a>(shape: &'a mut Shape, steps: &[Step]) -> Result<Reached<'a>, String> {
    match (steps.split_first(), shape) {
        (None, shape) => Ok(Reached::Shape(shape)),
        (Some((Step::Each, rest)), Shape::Array { element, .. }) => below(element, rest),
        (Some((Step::Field(name), rest)), Shape::Object { fields, .. }) => {
            named(fields, name, rest)
        }
        _ => Err(String::new()),
    }
}

fn named<'a>(fields: &'a mut [Field], name: &str, rest: &[Step]) -> Result<Reached<'a>, String> {
    let Some(at) = fields.iter().position(|field| field.name == name) else {
        return Err(alike::did_you_mean(name, fields.iter().map(|field| field.name.as_str())));
    };
    match fields.get_mut(at) {
        Some(field) if !field.secret => below(&mut field.shape, rest),
        _ => Ok(Reached::Secret),
    }
}

fn has_one_spelling(shape: &Shape) -> bool {
    match shape {
        Shape::Integer { .. } | Shape::Boolean => true,
        Shape::Text {
            meaning: TextMeaning::Plain | TextMeaning::Uuid,
            pattern: Some(pattern),
            ..
        } => !PROBES.iter().any(|probe| pattern.is_match(probe)),
        Shape::Text { meaning, .. } => !matches!(meaning, TextMeaning::Plain | TextMeaning::Uuid),
        Shape::Object { .. } | Shape::Array { .. } | Shape::Either(_) | Shape::Any => false,
    }
}
