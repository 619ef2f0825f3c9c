//! What must arrive upstream of a case that is allowed: its request once, and nothing taken off or
//! added.

use super::case::{Case, Frames, Protocol, Request};
use crate::support::upstream::Arrived;
use std::collections::BTreeMap;

/// Of these the gateway makes its own, or none at all: they are of one hop, or ask for a form of
/// the answer.
const OF_ONE_HOP: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "te",
    "trailer",
    "transfer-encoding",
];

/// A request by what an upstream makes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    line: String,
    /// Sorted; names in small letters.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// All that arrived and has not been asked for yet.
pub struct Arrivals {
    left: BTreeMap<Seen, usize>,
    /// Requests that were framed in another way than by one true length.
    pub misframed: Vec<String>,
}

impl Seen {
    fn new(line: String, headers: impl Iterator<Item = (String, String)>, body: &[u8]) -> Self {
        let mut headers: Vec<_> = headers
            .map(|(name, value)| {
                (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
            })
            .collect();
        headers.retain(|(name, _)| !OF_ONE_HOP.contains(&name.as_str()));
        headers.sort();
        Self { line, headers, body: body.to_vec() }
    }

    /// What a case must come to.
    pub fn wanted(case: &Case, protocol: Protocol) -> Self {
        let (line, headers, body) = match &case.request {
            Request::Described(request) => {
                let headers = std::iter::once(("host".to_owned(), request.host.clone()))
                    .chain(request.headers.clone())
                    .collect();
                let headers =
                    if protocol == Protocol::H2 { whole_cookie(headers) } else { headers };
                return Self::new(
                    format!("{} {} HTTP/1.1", request.method, request.target),
                    headers.into_iter(),
                    &request.body,
                );
            }
            Request::Raw(bytes) => {
                let head = String::from_utf8_lossy(bytes).into_owned();
                let head = head.split("\r\n\r\n").next().unwrap_or_default().to_owned();
                (head.lines().next().unwrap_or_default().to_owned(), fields(&head), Vec::new())
            }
            Request::Frames(frames) => (String::new(), fields_of(frames), Vec::new()),
        };
        match &case.expect.upstream {
            Some(arrival) => Self::new(
                format!("{} {} HTTP/1.1", arrival.method, arrival.target),
                headers.into_iter(),
                arrival.body.as_bytes(),
            ),
            None => Self::new(line, headers.into_iter(), &body),
        }
    }
}

fn fields(head: &str) -> Vec<(String, String)> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The fields of a block as HTTP/1.1 has them: `:authority` is Host.
fn fields_of(frames: &Frames) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields: Vec<_> =
        frames.headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    if fields.iter().any(|(name, _)| name == ":authority") {
        fields.retain(|(name, _)| name != "host");
    }
    fields
        .iter_mut()
        .filter(|(name, _)| name == ":authority")
        .for_each(|(name, _)| "host".clone_into(name));
    fields.retain(|(name, _)| !name.starts_with(':'));
    whole_cookie(fields)
}

/// HTTP/2 may cut a cookie into several fields, which are one in HTTP/1.1 (RFC 9113, 8.2.3).
fn whole_cookie(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    let crumbs: Vec<String> = fields
        .extract_if(.., |(name, _)| name.eq_ignore_ascii_case("cookie"))
        .map(|(_, value)| value)
        .collect();
    if !crumbs.is_empty() {
        fields.push(("cookie".to_owned(), crumbs.join("; ")));
    }
    fields
}

impl Arrivals {
    /// Everything that an upstream has got.
    pub fn new(arrived: &[Arrived]) -> Self {
        let mut arrivals = Self { left: BTreeMap::new(), misframed: Vec::new() };
        for one in arrived {
            let lengths = one.headers("content-length");
            let plain = lengths.len() <= 1
                && lengths.iter().all(|length| *length == one.body.len().to_string())
                && one.headers("transfer-encoding").is_empty();
            if !plain {
                arrivals.misframed.push(one.head.clone());
            }
            let seen = Seen::new(one.line().to_owned(), fields(&one.head).into_iter(), &one.body);
            *arrivals.left.entry(seen).or_default() += 1;
        }
        arrivals
    }

    /// Takes the arrival of a case that is allowed.
    ///
    /// # Errors
    /// When it did not arrive as it was sent: what came nearest to it.
    pub fn take(&mut self, wanted: &Seen) -> Result<(), String> {
        match self.left.get_mut(wanted) {
            Some(count) if *count > 0 => {
                *count -= 1;
                Ok(())
            }
            _ => {
                let near = self
                    .left
                    .iter()
                    .filter(|(seen, count)| **count > 0 && seen.line == wanted.line)
                    .min_by_key(|(seen, _)| differing(seen, wanted));
                Err(near.map_or_else(
                    || format!("nothing with the line `{}`", wanted.line),
                    |(seen, _)| format!("{seen:?} in place of {wanted:?}"),
                ))
            }
        }
    }

    /// What was forwarded and is no case's.
    pub fn strangers(&self) -> impl Iterator<Item = &str> {
        self.left.iter().flat_map(|(seen, count)| std::iter::repeat_n(seen.line.as_str(), *count))
    }
}

fn differing(a: &Seen, b: &Seen) -> usize {
    let alone =
        |a: &Seen, b: &Seen| a.headers.iter().filter(|field| !b.headers.contains(field)).count();
    alone(a, b) + alone(b, a) + usize::from(a.body != b.body)
}
