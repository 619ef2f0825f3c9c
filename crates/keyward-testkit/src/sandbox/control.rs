//! What tests ask of the sandbox beside the clouds: what arrived, and faults for the next calls. On
//! Host `sandbox.local` alone, so that no cloud's path is taken.

use super::Sandbox;
use super::errors::Refused;
use bytes::Bytes;
use http::{Method, Request};
use keyward_decision::catalog::operation::ErrorShape;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// The Host of the control endpoints.
pub const CONTROL_HOST: &str = "sandbox.local";
/// Older calls are forgotten.
const SEEN_MAX: usize = 10_000;

/// One call as it arrived, before anything was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Host, as sent.
    pub host: String,
    /// Path and query, raw.
    pub target: String,
    /// Header fields; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// What the catalogue takes it for: an action, `passing` or `unknown`.
    pub action: String,
}

/// What the next calls suffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultMode {
    /// Nothing.
    #[default]
    None,
    /// The call takes effect, and is never answered.
    Hang,
    /// The call has no effect and is answered 503.
    #[serde(rename = "refuse-503")]
    Refuse503,
    /// The call takes effect; the connection closes after the answer's head.
    CutAfterHead,
    /// The call takes effect; the connection closes in the middle of the answer's body.
    CutMidBody,
    /// The answer comes late and in pieces.
    Slow,
}

/// A mode, and how many calls it still affects.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub mode: FaultMode,
    /// To how many calls; one if not said.
    #[serde(default = "once")]
    pub times: u64,
}

fn once() -> u64 {
    1
}

/// What arrived, and how often.
#[derive(Debug, Default)]
pub(super) struct Journal {
    seen: VecDeque<Seen>,
    counters: BTreeMap<String, u64>,
}

impl Journal {
    pub fn add(&mut self, seen: Seen) {
        self.count("received");
        self.count(&format!("action.{}", seen.action));
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    pub fn count(&mut self, name: &str) {
        *self.counters.entry(name.to_owned()).or_default() += 1;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.iter().cloned().collect()
    }

    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.clone()
    }
}

/// A status and a JSON body.
pub(super) fn answer(sandbox: &Sandbox, request: &Request<Bytes>) -> (u16, Value) {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/_sandbox/seen") => {
            let calls: Vec<_> = sandbox.seen().iter().map(shown).collect();
            (200, json!({"calls": calls, "counters": sandbox.counters()}))
        }
        (&Method::POST, "/_sandbox/fault") => match serde_json::from_slice(request.body()) {
            Ok(fault) => {
                sandbox.set_fault(fault);
                (200, json!({}))
            }
            Err(e) => {
                (400, Refused::new(400, "Sandbox.Fault", e.to_string()).body(ErrorShape::Flat, ""))
            }
        },
        (&Method::POST, "/_sandbox/reset") => {
            sandbox.reset();
            (200, json!({}))
        }
        _ => (
            404,
            json!({"error_code": "Sandbox.Unknown", "error_msg": "GET /_sandbox/seen, POST /_sandbox/fault, POST /_sandbox/reset"}),
        ),
    }
}

fn shown(seen: &Seen) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (path, query) = seen
        .target
        .split_once('?')
        .map_or((seen.target.as_str(), None), |(path, query)| (path, Some(query)));
    let headers: Vec<_> =
        seen.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
    json!({
        "method": seen.method, "host": seen.host, "path": path, "query": query, "headers": headers,
        "body": text(&seen.body), "body_hex": hex::encode(&seen.body), "action": seen.action,
    })
}
