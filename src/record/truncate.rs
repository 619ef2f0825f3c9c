//! The bounds of a record: whatever a caller sends, its record can be stored, and still says who
//! asked for what and what was decided. What is left out is said.

use bytes::Bytes;
use keyward_core::secret::sha256;
use keyward_record::call::{Bounded, DeterminingPolicy, Entry, LeftOut};
use keyward_record::{Leaf, canonical};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashSet;

/// Leaves longer than this are shortened: the frame's format and the proofs to come bound them.
pub const LEAF_BYTES_MAX: usize = 60 * 1024;

/// Characters that are kept of one text.
const TEXT_CHARACTERS_MAX: usize = 1024;

/// The record's canonical bytes, at most [`LEAF_BYTES_MAX`]. `whole` is the record's JSON.
pub fn truncate(mut leaf: Leaf, mut whole: Value) -> Bytes {
    let mut bytes = canonical(&whole);
    if bytes.len() <= LEAF_BYTES_MAX && !cut_texts(&mut whole) {
        return bytes;
    }
    if let Leaf::Request(request) = &mut leaf {
        // The other parts have bounds of their own.
        cut(&mut request.caller);
        cut(&mut request.decision);
        cut(&mut request.facts);
        cut(&mut request.items);
        cut(&mut request.resource);
        cut(&mut request.signed);
    }
    for step in 0..STEPS {
        bytes = canonical(&json(&leaf));
        let excess = bytes.len().saturating_sub(LEAF_BYTES_MAX);
        if excess == 0 {
            return bytes;
        }
        shorten_part(&mut leaf, step, excess);
    }
    canonical(&json(&leaf))
}

const STEPS: usize = 8;

/// Shortens one of the parts that a caller, a cloud or a large batch can make long: what matters
/// least first.
fn shorten_part(leaf: &mut Leaf, step: usize, excess: usize) {
    match (step, leaf) {
        (0, Leaf::Request(request)) => {
            [&mut request.decision.policies, &mut request.decision.shadow]
                .into_iter()
                .for_each(once_each)
        }
        (1, Leaf::Answer(answer)) => answer.headers.iter_mut().for_each(leave_out),
        (1, Leaf::Request(request)) => leave_out(&mut request.call.headers),
        (2, Leaf::Request(request)) => {
            request.signed.iter_mut().for_each(|signed| end_early(&mut signed.headers, excess))
        }
        (3, Leaf::Request(request)) => end_early(&mut request.decision.explanation, excess),
        (4, Leaf::Request(request)) => end_early(&mut request.decision.errors, excess),
        (5, Leaf::Request(request)) => {
            request.facts.iter_mut().for_each(|facts| *facts = json(&[left_out(facts)]))
        }
        (6, Leaf::Request(request)) => {
            let (kept, left) = fitting(&request.items, excess);
            request.items.truncate(kept);
            request.items.push(Entry::LeftOut(left));
        }
        (7, Leaf::Request(request)) => request.call.query.iter_mut().for_each(leave_out),
        _ => {}
    }
}

fn json<T: Serialize + ?Sized>(part: &T) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// Cuts the long texts of a part, wherever in it they stand.
fn cut<T: Serialize + DeserializeOwned>(part: &mut T) {
    let mut value = json(part);
    if cut_texts(&mut value)
        && let Ok(shorter) = serde_json::from_value(value)
    {
        *part = shorter;
    }
}

/// Cuts long texts, and says whether there was one. The digest tells two of them apart, and is of
/// what is left when secrets are out.
fn cut_texts(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.len() > TEXT_CHARACTERS_MAX => {
            let kept: String = text.chars().take(TEXT_CHARACTERS_MAX).collect();
            let long = kept.len() < text.len();
            if long {
                *text = format!("{kept}… ({} bytes, {})", text.len(), sha256(text.as_bytes()));
            }
            long
        }
        Value::Array(elements) => {
            elements.iter_mut().fold(false, |cut, inner| cut_texts(inner) | cut)
        }
        Value::Object(object) => {
            object.values_mut().fold(false, |cut, inner| cut_texts(inner) | cut)
        }
        _ => false,
    }
}

/// One entry for each policy is enough to say which ones decided.
fn once_each(policies: &mut Vec<Entry<DeterminingPolicy>>) {
    let (all, mut seen) = (policies.len(), HashSet::new());
    policies.retain(|entry| match entry {
        Entry::Of(policy) => seen.insert(policy.id().to_owned()),
        Entry::LeftOut(_) => true,
    });
    if policies.len() < all {
        policies.push(Entry::LeftOut(LeftOut {
            left_out: Some((all - policies.len()) as u64),
            left_out_bytes: None,
        }));
    }
}

/// What stands in the place of a part that is left out whole.
fn left_out<T: Serialize>(part: &T) -> LeftOut {
    LeftOut { left_out: None, left_out_bytes: Some(canonical(&json(part)).len() as u64) }
}

fn leave_out<T: Serialize>(part: &mut Bounded<T>) {
    *part = Bounded::LeftOut(vec![left_out(part)]);
}

/// Ends a list so early that it has at least `excess` bytes less, if it has them.
fn end_early(list: &mut Bounded<Vec<String>>, excess: usize) {
    if let Bounded::Of(texts) = list {
        let (kept, left) = fitting(texts, excess);
        *list = Bounded::Cut(texts.iter().take(kept).map(json).chain([json(&left)]).collect());
    }
}

/// How many elements can stay for a list to have `excess` bytes less, and what stands behind them.
fn fitting<T: Serialize>(list: &[T], excess: usize) -> (usize, LeftOut) {
    let size = |list: &[T]| canonical(&json(list)).len();
    // Room for the entry that says so.
    let mut room = size(list).saturating_sub(excess + 64);
    let fits = |element: &T| match room.checked_sub(canonical(&json(element)).len() + 1) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let kept = list.iter().map(fits).take_while(|fits| *fits).count();
    let left = list.get(kept..).unwrap_or_default();
    (kept, LeftOut { left_out: Some(left.len() as u64), left_out_bytes: Some(size(left) as u64) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyward_record::call::{
        Call, Caller, Decision, Headers, Item, Parent, Request, Resource, Source,
    };

    fn request() -> Request {
        Request {
            v: 1,
            id: "i".to_owned(),
            time: "t".to_owned(),
            caller: Caller::default(),
            source: Source::default(),
            call: Call::default(),
            items: vec![],
            body: Default::default(),
            decision: Decision::default(),
            now: None,
            timing_us: Default::default(),
            signed: None,
            resource: None,
            facts: None,
        }
    }

    fn short(request: Request) -> (usize, Request) {
        let leaf = Leaf::Request(Box::new(request));
        let whole = json(&leaf);
        let bytes = truncate(leaf, whole);
        match Leaf::read(&bytes) {
            Some(Leaf::Request(request)) => (bytes.len(), *request),
            other => panic!("{other:?}"),
        }
    }

    fn items(count: usize, fields: impl Fn(usize) -> Value) -> Vec<Entry<Item>> {
        (0..count).map(|n| Entry::Of(Item { fields: fields(n), resource: None })).collect()
    }

    fn policy(id: &str, item: u64, message: &str) -> Entry<DeterminingPolicy> {
        Entry::Of(DeterminingPolicy::Of {
            id: id.to_owned(),
            effect: None,
            item: Some(item),
            message: Some(message.to_owned()),
        })
    }

    fn headers(value: String) -> Bounded<Headers> {
        Bounded::Of(Headers::from([("x".to_owned(), vec![value])]))
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let mut request = request();
        request.call.headers = headers("b".to_owned());
        request.items = items(1, |_| json(&[1]));
        request.decision.policies = vec![policy("p", 0, ""), policy("p", 1, "")];
        assert_eq!(short(request.clone()).1, request);
    }

    #[test]
    fn a_long_leaf_keeps_what_matters_most() {
        let mut request = request();
        request.call.headers = headers("y".repeat(50_000));
        request.resource =
            Some(Resource { r#type: "Image".to_owned(), id: "r".repeat(100_000), parent: None });
        request.items = items(2000, |n| serde_json::json!({"image": format!("{n:06}")}));
        request.decision.reason = "permitted".to_owned();
        request.decision.policies = (0..2000)
            .map(|n| policy(if n == 1999 { "last" } else { "first" }, n, &"m".repeat(50)))
            .collect();
        request.decision.explanation = Bounded::Of(vec!["e".repeat(5000); 20]);
        let (length, request) = short(request);
        assert!(length <= LEAF_BYTES_MAX, "{length}");
        assert_eq!(request.decision.reason, "permitted");
        let left_out =
            |count| Entry::LeftOut(LeftOut { left_out: Some(count), left_out_bytes: None });
        assert_eq!(
            request.decision.policies,
            [
                policy("first", 0, &"m".repeat(50)),
                policy("last", 1999, &"m".repeat(50)),
                left_out(1998)
            ]
        );
        assert!(
            matches!(&request.call.headers, Bounded::LeftOut(left) if left[0].left_out_bytes > Some(50_000))
        );
        let kept = request.items.len() - 1;
        assert!(kept > 900, "{kept} items");
        assert!(
            matches!(&request.items[kept], Entry::LeftOut(left) if left.left_out == Some(2000 - kept as u64))
        );
        assert!(request.resource.unwrap().id.ends_with(')'));
    }

    #[test]
    fn a_text_that_needs_escapes_is_bounded_too() {
        let mut request = request();
        let long = "\u{1}".repeat(100_000);
        request.items = items(100, |_| serde_json::json!({"a": &long}));
        request.resource = Some(Resource {
            r#type: long.clone(),
            id: long.clone(),
            parent: Some(Parent { r#type: long.clone(), id: long.clone() }),
        });
        request.decision.message = long.clone();
        request.decision.explanation = Bounded::Of(vec![long]);
        assert!(short(request).0 <= LEAF_BYTES_MAX);
    }
}
