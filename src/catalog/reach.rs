//! Where the sources of an operation lead, and whether what stands there has one spelling: a rule about a thing does not
//! hold for the same thing under another name.

use super::operation::Operation;
use super::schema::{Field, Shape, TextMeaning};
use super::source::{Source, Step};

/// What a pattern of one spelling refuses: with blanks, escapes, other ends or other letters a reader may take it for `a`.
const PROBES: &[&str] =
    &["", " ", " a", "a ", "a  b", "a\t", "a\n", "a\r\n", "a\0", "a%20", "a%2f", "a/", "a.", "a\\", "a;", "a\u{200b}", "\u{ff41}", "\u{e9}"];

/// Checks the sources of resource, parent and items.
///
/// # Errors
/// The first that leads to nothing, or to what can be spelt in several ways; with what to do.
pub fn check(operation: &Operation) -> Result<(), String> {
    let resource = operation.resource.iter().flat_map(|r| std::iter::once(&r.id).chain(r.parent.as_ref().map(|(_, id)| id)));
    for source in resource.chain(operation.items.values()) {
        match reach(operation, source) {
            None => return Err(format!("`{source}` leads to nothing: name a parameter or a field that the operation has")),
            Some(Reached::Secret) => return Err(format!("policies cannot see `{source}`, which is secret: name something else")),
            Some(Reached::Plain) => {}
            Some(Reached::Shape(shape)) if has_one_spelling(shape) => {}
            Some(Reached::Shape(_)) => {
                return Err(format!(
                    "what stands at `{source}` can be spelt in several ways, and a rule about it would not hold for all of them: give it a `pattern` \
                     between `^` and `$` that refuses blanks, escapes and a `.` or `/` at its end, an `enum`, or `x-keyward-free-name: true`"
                ));
            }
        }
    }
    Ok(())
}

/// Where a source leads.
enum Reached<'a> {
    Shape(&'a Shape),
    /// What is hidden from policies.
    Secret,
    /// What is of one spelling by itself: the host, and an item, which is checked where it comes from.
    Plain,
}

fn reach<'a>(operation: &'a Operation, source: &Source) -> Option<Reached<'a>> {
    let named = |fields: &'a [Field], name: &str| fields.iter().find(|field| field.name == name).and_then(|field| below_field(field, &[]));
    match source {
        Source::Path(name) => named(&operation.path, name),
        Source::Query(name) => named(&operation.query, name),
        Source::Header(name) if name == "host" => Some(Reached::Plain),
        Source::Header(name) => named(&operation.headers, name),
        Source::Item(name) => operation.items.contains_key(name).then_some(Reached::Plain),
        Source::Body(steps) => below(&operation.body.as_ref()?.shape, steps),
    }
}

fn below<'a>(shape: &'a Shape, steps: &[Step]) -> Option<Reached<'a>> {
    match (steps.split_first(), shape) {
        (None, shape) => Some(Reached::Shape(shape)),
        (Some((Step::Each, rest)), Shape::Array { element, .. }) => below(element, rest),
        (Some((Step::Field(name), rest)), Shape::Object { fields, .. }) => below_field(fields.iter().find(|f| f.name == *name)?, rest),
        _ => None,
    }
}

fn below_field<'a>(field: &'a Field, steps: &[Step]) -> Option<Reached<'a>> {
    if field.secret { Some(Reached::Secret) } else { below(&field.shape, steps) }
}

fn has_one_spelling(shape: &Shape) -> bool {
    match shape {
        Shape::Integer { .. } | Shape::Boolean => true,
        Shape::Text { meaning: TextMeaning::Plain, pattern: Some(pattern), .. } => !PROBES.iter().any(|probe| pattern.is_match(probe)),
        Shape::Text { meaning, .. } => *meaning != TextMeaning::Plain,
        Shape::Object { .. } | Shape::Array { .. } | Shape::Either(_) | Shape::Any => false,
    }
}
