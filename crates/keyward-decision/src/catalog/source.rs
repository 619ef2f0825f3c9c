//! Sources: where in a call a value stands, for example `body.servers[].server_id`.

use std::str::FromStr;

/// A parsed source expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A path parameter.
    Path(String),
    /// A query parameter.
    Query(String),
    /// A header field, in lower case.
    Header(String),
    /// An attribute of the item under decision.
    Item(String),
    /// A place in the JSON body.
    Body(Vec<Step>),
}

/// One step into a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of an object.
    Field(String),
    /// Every element of an array.
    Each,
}

/// A source that is not of the form that the catalogue's page describes.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no source: write `path.NAME`, `query.NAME`, `header.NAME`, `item.NAME` or `body.FIELD[].FIELD`"
)]
pub struct SourceError(String);

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let bad = || SourceError(text.to_owned());
        if let Some(rest) = text.strip_prefix("body") {
            return parse_steps(rest).map(Self::Body).ok_or_else(bad);
        }
        let (root, name) = text.split_once('.').ok_or_else(bad)?;
        if name.is_empty() || name.contains(['[', ']']) {
            return Err(bad());
        }
        match root {
            "path" => Ok(Self::Path(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            "header" => Ok(Self::Header(name.to_ascii_lowercase())),
            "item" => Ok(Self::Item(name.to_owned())),
            _ => Err(bad()),
        }
    }
}

/// Reads `[].keypair.name` and the like; field names hold no dots or brackets.
fn parse_steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[]") {
            steps.push(Step::Each);
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, tail) = after.split_at_checked(end)?;
            if name.is_empty() || name.contains(']') {
                return None;
            }
            steps.push(Step::Field(name.to_owned()));
            rest = tail;
        }
    }
    Some(steps)
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(name) => write!(f, "path.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Item(name) => write!(f, "item.{name}"),
            Self::Body(steps) => {
                f.write_str("body")?;
                steps.iter().try_for_each(|step| match step {
                    Step::Field(name) => write!(f, ".{name}"),
                    Step::Each => f.write_str("[]"),
                })
            }
        }
    }
}

/// Every value at a place of a JSON document, in document order. Missing fields and other types
/// yield nothing.
pub fn select<'a>(document: &'a serde_json::Value, steps: &[Step]) -> Vec<&'a serde_json::Value> {
    match steps.split_first() {
        None => vec![document],
        Some((Step::Field(name), rest)) => {
            document.get(name).map_or_else(Vec::new, |v| select(v, rest))
        }
        Some((Step::Each, rest)) => document
            .as_array()
            .map_or_else(Vec::new, |array| array.iter().flat_map(|v| select(v, rest)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_round_trip() {
        for text in [
            "path.project_id",
            "query.limit",
            "header.x-project-id",
            "item.server_id",
            "body",
            "body[].keypair.name",
            "body.servers[].server_id",
            "body.images[]",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for text in ["", "path", "path.", "body..a", "body.a]", "cookie.x", "bodyx", "path.a[]"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn select_walks_arrays() {
        let doc = serde_json::json!({"jobs": [{"id": "a"}, {"error": "x"}, {"id": "b"}]});
        let Source::Body(steps) = "body.jobs[].id".parse().unwrap() else {
            panic!("a body source")
        };
        assert_eq!(select(&doc, &steps), ["a", "b"]);
    }
}
