//! Items: the things that one call acts on, each of which is decided alone.

use super::facts::{CallFacts, Fact, Facts, Item, Resource, Unreadable};
use super::place::FieldPath;
use super::{text, value};
use crate::catalog::operation::{Operation, ResourceSpec};
use crate::catalog::schema::Shape;
use crate::catalog::source::{Source, Step, select};
use crate::request::RequestHead;
use keyward_core::reason::Reason;
use serde_json::Value;

/// More items than this in one call are refused, whatever the policies say.
pub const ITEMS_MAX: usize = 256;

/// The items of a call whose parameters and body have been checked.
///
/// # Errors
/// When there is no item, or there are too many.
pub fn items(
    operation: &Operation,
    head: &RequestHead,
    facts: &CallFacts,
    body: Option<&Value>,
) -> Result<Vec<Item>, Unreadable> {
    let Some(resource) = &operation.resource else { return Ok(Vec::new()) };
    let mut items = vec![Facts::new()];
    for group in groups(operation) {
        let choices = group.choices(operation, head, facts, body);
        if items.len().saturating_mul(choices.len()) > ITEMS_MAX {
            return Err(Unreadable {
                reason: Reason::TooManyItems,
                detail: format!("the call acts on more than {ITEMS_MAX} items"),
            });
        }
        items = items
            .iter()
            .flat_map(|item| {
                choices.iter().map(|choice| {
                    item.iter().chain(choice).map(|(k, v)| (k.clone(), v.clone())).collect()
                })
            })
            .collect();
    }
    if items.is_empty() {
        return Err(Unreadable {
            reason: Reason::BodyValue,
            detail: "the call names nothing to act on".to_owned(),
        });
    }
    items
        .into_iter()
        .map(|fields| Item {
            resource: Some(resolve(resource, &fields, head, facts, body)),
            fields,
        })
        .map(named_plainly)
        .collect()
}

/// What policies name things by must be one name to every store: see [`text::is_identifier`].
fn named_plainly(item: Item) -> Result<Item, Unreadable> {
    let attribute = |(name, fact): (&'_ String, &'_ Fact)| {
        matches!(fact, Fact::Text(text) if !text::is_identifier(text)).then(|| name.clone())
    };
    let thing = |resource: &Resource| {
        let parent = resource
            .parent
            .as_ref()
            .filter(|(_, id)| !text::is_identifier(id))
            .map(|(kind, _)| kind);
        (!text::is_identifier(&resource.id))
            .then_some(&resource.kind)
            .or(parent)
            .map(|kind| format!("the {kind}"))
    };
    match item.fields.iter().find_map(attribute).or_else(|| item.resource.as_ref().and_then(thing))
    {
        None => Ok(item),
        Some(what) => Err(Unreadable {
            reason: Reason::BodyValue,
            detail: format!("{what} must be named {}", text::NAMED),
        }),
    }
}

/// Attributes whose sources run over the same array: they go together, an element at a time.
struct Group<'a> {
    array: &'a [Step],
    attributes: Vec<(&'a str, &'a Source)>,
}

fn groups(operation: &Operation) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for (name, source) in &operation.items {
        let array = match source {
            Source::Body(steps) => steps
                .iter()
                .rposition(|s| *s == Step::Each)
                .and_then(|last| steps.get(..=last))
                .unwrap_or(&[]),
            _ => &[],
        };
        match groups.iter_mut().find(|g| g.array == array) {
            Some(group) => group.attributes.push((name, source)),
            None => groups.push(Group { array, attributes: vec![(name, source)] }),
        }
    }
    groups
}

impl Group<'_> {
    fn choices(
        &self,
        operation: &Operation,
        head: &RequestHead,
        facts: &CallFacts,
        body: Option<&Value>,
    ) -> Vec<Facts> {
        let shape = operation.body.as_ref().map(|b| &b.shape);
        let elements = if self.array.is_empty() {
            Vec::from_iter(body)
        } else {
            body.map_or_else(Vec::new, |b| select(b, self.array))
        };
        let of_element = |element: Option<&Value>| {
            let attribute = |(name, source): &(&str, &Source)| {
                let fact = match source {
                    Source::Body(steps) => {
                        let rest = steps.get(self.array.len()..)?;
                        let value = *select(element?, rest).first()?;
                        value::check(shape?.at(steps)?, value, FieldPath::Root(name)).ok()??
                    }
                    other => Fact::Text(single(other, head, facts, body)?),
                };
                Some(((*name).to_owned(), fact))
            };
            self.attributes.iter().filter_map(attribute).collect()
        };
        if self.array.is_empty() {
            vec![of_element(elements.first().copied())]
        } else {
            elements.into_iter().map(|e| of_element(Some(e))).collect()
        }
    }
}

fn resolve(
    spec: &ResourceSpec,
    item: &Facts,
    head: &RequestHead,
    facts: &CallFacts,
    body: Option<&Value>,
) -> Resource {
    let text = |source: &Source| match source {
        Source::Item(name) => item.get(name).and_then(as_text),
        other => single(other, head, facts, body),
    };
    let parent =
        spec.parent.as_ref().and_then(|(kind, source)| Some((kind.clone(), text(source)?)));
    // A call that does not name its resource acts on the nameless one: no grant by name covers it.
    Resource { kind: spec.kind.clone(), id: text(&spec.id).unwrap_or_default(), parent }
}

/// The one text at a source that is no item's.
fn single(
    source: &Source,
    head: &RequestHead,
    facts: &CallFacts,
    body: Option<&Value>,
) -> Option<String> {
    match source {
        Source::Path(name) => facts.path.get(name).and_then(as_text),
        Source::Query(name) => facts.query.get(name).and_then(as_text),
        Source::Header(name) if name == "host" => Some(head.host_name()),
        Source::Header(name) => head.header(name).map(str::to_owned),
        Source::Body(steps) => select(body?, steps).first()?.as_str().map(str::to_owned),
        Source::Item(_) => None,
    }
}

fn as_text(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Text(text) | Fact::Choice { value: text, .. } => Some(text.clone()),
        Fact::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Shape {
    /// The shape at a place below this one.
    pub fn at(&self, steps: &[Step]) -> Option<&Self> {
        match (steps.split_first(), self) {
            (None, shape) => Some(shape),
            (Some((Step::Each, rest)), Self::Array { element, .. }) => element.at(rest),
            (Some((Step::Field(name), rest)), Self::Object { fields, .. }) => {
                fields.iter().find(|f| f.name == *name)?.shape.at(rest)
            }
            _ => None,
        }
    }
}
