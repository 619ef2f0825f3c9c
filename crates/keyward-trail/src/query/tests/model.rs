//! Calls and questions as a model knows them, beside the trail that really holds them.

use crate::store::{Batch, Frames, Store, StoreError};
use crate::tiered::TieredStore;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_record::Entry;
use keyward_record::{Content, Kind, canonical};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A call as the model knows it.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: AuditId,
    pub kind: Kind,
    pub pick: [usize; 6],
    /// Records between its request and its answer; none when it stays open.
    pub answered_after: Option<usize>,
    pub time: u64,
    pub answered: bool,
}

pub const SECOND: u64 = 1_000_000_000;
pub const CALLERS: [&str; 3] = ["deploy", "ops \"night\"", "Zoë"];
pub const ACTIONS: [&str; 3] =
    ["huawei.kps.CreateKeypair", "huawei.kps.DeleteKeypair", "huawei.ims.CopyImage"];
pub const REASONS: [&str; 3] = ["policy-forbids", "no-policy-permits", "body-too-large"];
pub const OUTCOMES: [&str; 3] = ["succeeded", "accepted", "failed"];
pub const STATUSES: [u16; 3] = [200, 202, 404];
pub const SOURCES: [&str; 3] = ["10.0.0.7", "192.168.1.9", "2001:db8::1"];

impl Call {
    pub fn pick<T: Copy>(&self, n: usize, from: [T; 3]) -> T {
        from[self.pick[n]]
    }

    pub fn digest(&self) -> String {
        format!("hmac-sha256:{}", self.pick(5, ["ab", "cd", "ef"]).repeat(32))
    }

    pub fn body(&self) -> String {
        match self.pick[4] {
            0 => r#"{"keyScope":"READ","keys":[{"n":1},{"n":2}]}"#.to_owned(),
            1 => format!(r#"{{"keyScope":"WRITE","secret":"{}"}}"#, self.digest()),
            _ => "keyScope=READ".to_owned(),
        }
    }

    pub fn denied(&self) -> bool {
        self.kind == Kind::Refused
    }

    pub fn request(&self) -> Value {
        let policy = self.pick(2, ["p-one", "p-two", "p-three"]);
        json!({
            "v": 1, "kind": "request", "id": self.id.to_string(),
            "caller": {"name": self.pick(0, CALLERS)},
            "source": {"address": self.pick(3, SOURCES), "port": 4711},
            "call": {"service": self.pick(1, ACTIONS).rsplit_once('.').unwrap().0, "action": self.pick(1, ACTIONS), "method": "POST"},
            "resource": {"type": "KeyPair", "id": format!("kp-{}", self.pick[4]), "parent": {"type": "Project", "id": format!("pr-{}", self.pick[3])}},
            "items": [{"resource": {"id": format!("item-{}", self.pick[5])}}],
            "body": {"digest": if self.pick[4] == 2 { json!(self.digest()) } else { Value::Null }, "cut": false},
            "decision": {
                "verdict": if self.denied() { "deny" } else { "allow" },
                "reason": if self.denied() { self.pick(3, REASONS) } else { "permitted" },
                "policies": [{"id": policy, "effect": if self.denied() { "forbid" } else { "permit" }}, {"id": "p-other", "effect": if self.denied() { "permit" } else { "forbid" }}],
                "shadow": [{"id": format!("{policy}-shadow")}],
            },
        })
    }

    pub fn answer(&self) -> Value {
        json!({"v": 1, "kind": "answer", "id": self.id.to_string(), "outcome": self.pick(2, OUTCOMES), "status": self.pick(3, STATUSES)})
    }

    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Refused => Some([403, 403, 413][self.pick[3]]),
            _ => self.answered.then(|| self.pick(3, STATUSES)),
        }
    }

    pub fn outcome(&self) -> &'static str {
        match self.kind {
            Kind::Refused => "refused",
            _ if self.answered => self.pick(2, OUTCOMES),
            _ => "open",
        }
    }
}

/// Every filter, with what it means for the model.
pub type Meaning = fn(&Call) -> bool;
pub const FILTERS: &[(&str, &str, Meaning)] = &[
    ("caller", "deploy", |c| c.pick[0] == 0),
    ("caller", "ops \"night\"", |c| c.pick[0] == 1),
    ("caller", "Zoë", |c| c.pick[0] == 2),
    ("action", "huawei.kps.CreateKeypair", |c| c.pick[1] == 0),
    ("action", "huawei.kps.*", |c| c.pick[1] < 2),
    ("service", "huawei.ims", |c| c.pick[1] == 2),
    ("resource", "kp-1", |c| c.pick[4] == 1),
    ("resource", "item-2", |c| c.pick[5] == 2),
    ("resource", "item-*", |_| true),
    ("project", "pr-1", |c| c.pick[3] == 1),
    ("decision", "deny", |c| c.denied()),
    ("decision", "allow", |c| !c.denied()),
    ("decision", "pass", |_| false),
    ("reason", "body-too-large", |c| c.denied() && c.pick[3] == 2),
    ("policy", "p-two", |c| c.pick[2] == 1),
    ("policy", "p-other", |_| false),
    ("policy", "p-three-shadow", |_| false),
    ("shadow", "p-three-shadow", |c| c.pick[2] == 2),
    ("outcome", "accepted", |c| c.outcome() == "accepted"),
    ("outcome", "refused", |c| c.outcome() == "refused"),
    ("outcome", "open", |c| c.outcome() == "open"),
    ("status", "202", |c| c.status() == Some(202)),
    ("status", "4xx", |c| c.status().is_some_and(|s| s / 100 == 4)),
    ("source", "10.0.0.7", |c| c.pick[3] == 0),
    ("source", "192.168.0.0/16", |c| c.pick[3] == 1),
    ("source", "0.0.0.0/0", |c| c.pick[3] < 2),
    ("source", "2001:db8::/32", |c| c.pick[3] == 2),
    ("since", "1970-01-01T00:00:40Z", |c| c.time >= 40 * SECOND),
    ("until", "1970-01-01T00:01:00Z", |c| c.time < 60 * SECOND),
    ("request.call.method", "POST", |_| true),
    ("request.call.method", "GET", |_| false),
    ("request.source.port", "4711", |_| true),
    ("answer.status", "404", |c| c.answered && c.pick[3] == 2),
    ("request.content.keyScope", "READ", |c| c.pick[4] == 0),
    ("request.content.keys.n", "2", |c| c.pick[4] == 0),
    ("answer.content.job_id", "j-1", |c| c.answered && c.pick[5] == 0),
    (
        "secret",
        "hmac-sha256:abababababababababababababababababababababababababababababababab",
        |c| c.pick[5] == 0 && c.pick[4] > 0,
    ),
];

pub fn any_calls() -> impl Strategy<Value = Vec<Call>> {
    let pick = prop::array::uniform6(0..3_usize);
    let call = (pick, 0..10_u8, prop::option::weighted(0.9, 0..30_usize)).prop_map(
        |(pick, kind, answered_after)| Call {
            id: AuditId::new(),
            kind: if kind < 3 { Kind::Refused } else { Kind::Forwarded },
            pick,
            answered_after,
            time: 0,
            answered: false,
        },
    );
    prop::collection::vec(call, 1..60)
}

pub fn content(text: &str) -> Option<Content> {
    Some(Content { salt: [7; 32], bytes: text.to_owned().into() })
}

/// An expression as the model knows it.
#[derive(Clone, Debug)]
pub enum Tree {
    Test(usize),
    Written(usize),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

/// Conditions in words that only expressions have.
pub const WRITTEN: &[(&str, Meaning)] = &[
    ("status >= 400", |c| c.status().is_some_and(|s| s >= 400)),
    ("status < 300 ", |c| c.status().is_some_and(|s| s < 300)),
    ("caller in (deploy, \"Zoë\")", |c| c.pick[0] != 1),
    ("caller not in (deploy)", |c| c.pick[0] != 0),
    ("caller = de*", |c| c.pick[0] == 0),
    ("outcome != open", |c| c.outcome() != "open"),
    ("reason = body-*", |c| c.denied() && c.pick[3] == 2),
    ("time >= 1970-01-01T00:00:40Z", |c| c.time >= 40 * SECOND),
    ("time <= 1970-01-01T00:00:40Z", |c| c.time <= 40 * SECOND),
    // Each record has its second.
    ("seq < 33", |c| c.time / SECOND <= 33),
    ("seq > 31", |c| c.time / SECOND > 32),
    ("request.source.port > 5000", |_| false),
    ("answer.status <= 202", |c| c.answered && c.pick[3] < 2),
];

impl Tree {
    pub fn holds(&self, call: &Call) -> bool {
        match self {
            Self::Test(n) => FILTERS[*n].2(call),
            Self::Written(n) => WRITTEN[*n].1(call),
            Self::Not(part) => !part.holds(call),
            Self::All(parts) => parts.iter().all(|part| part.holds(call)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(call)),
        }
    }

    pub fn text(&self) -> String {
        let join = |parts: &[Self], by: &str| {
            format!("({})", parts.iter().map(Self::text).collect::<Vec<_>>().join(by))
        };
        match self {
            Self::Test(n) => {
                format!("{} = \"{}\"", FILTERS[*n].0, FILTERS[*n].1.replace('"', "\\\""))
            }
            Self::Written(n) => WRITTEN[*n].0.to_owned(),
            Self::Not(part) => format!("not {}", part.text()),
            Self::All(parts) => join(parts, " and "),
            Self::Any(parts) => join(parts, " or "),
        }
    }
}

pub fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (0..FILTERS.len()).prop_map(Tree::Test),
        (0..WRITTEN.len()).prop_map(Tree::Written)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| Tree::Not(Box::new(part))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::All),
            prop::collection::vec(inner, 1..4).prop_map(Tree::Any),
        ]
    })
}

/// Writes to a store without an index and to one with, which it seals now and then.
pub struct Both {
    pub plain: Arc<dyn Store>,
    pub tiered: Arc<TieredStore>,
    pub seal: Mutex<Box<dyn FnMut() -> bool + Send>>,
}

impl Store for Both {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        // What is open stays open for the sealing, whatever comes later.
        let floor = batch.first_seq / 2;
        let again = Batch {
            first_seq: batch.first_seq,
            entries: batch.entries.clone(),
            contents: batch.contents.clone(),
            open_floor: Some(floor),
        };
        self.plain.append(batch)?;
        self.tiered.append(&again)?;
        if (self.seal.lock().unwrap())() { self.tiered.seal() } else { Ok(()) }
    }

    fn newest_first(&self, end: u64) -> Frames<'_> {
        self.plain.newest_first(end)
    }

    fn oldest_first(&self, from: u64) -> Frames<'_> {
        self.plain.oldest_first(from)
    }

    fn content(&self, seq: u64) -> Result<Option<Content>, StoreError> {
        self.plain.content(seq)
    }

    fn open_floor(&self) -> Result<u64, StoreError> {
        self.plain.open_floor()
    }
}

/// Writes the calls, interleaved; the model then knows their times and whether they were answered.
pub fn write(store: &dyn Store, calls: &mut [Call], batch_records: usize, first_seq: u64) -> u64 {
    let mut due: Vec<(usize, usize)> = vec![];
    let mut records: Vec<(Entry, Option<Content>)> = vec![];
    let mut now = first_seq;
    let tick = |now: &mut u64| {
        *now += 1;
        Timestamp(*now * SECOND)
    };
    let answer = |call: &mut Call, time| {
        call.answered = true;
        let content = if call.pick[5] == 0 { content(r#"{"job_id":"j-1"}"#) } else { None };
        (Entry { time, kind: Kind::Answer, id: call.id, leaf: canonical(&call.answer()) }, content)
    };
    for n in 0..calls.len() {
        let time = tick(&mut now);
        calls[n].time = time.0;
        records.push((
            Entry {
                time,
                kind: calls[n].kind,
                id: calls[n].id,
                leaf: canonical(&calls[n].request()),
            },
            content(&calls[n].body()),
        ));
        if let (Kind::Forwarded, Some(after)) = (calls[n].kind, calls[n].answered_after) {
            due.push((records.len() + after, n));
        }
        if n % 7 == 3 {
            let event = Entry {
                time: tick(&mut now),
                kind: Kind::Event,
                id: AuditId::new(),
                leaf: r#"{"event":"bundle","kind":"event"}"#.into(),
            };
            records.push((event, None));
        }
        while let Some(at) = due.iter().position(|(at, _)| *at <= records.len()) {
            let (_, n) = due.swap_remove(at);
            records.push(answer(&mut calls[n], tick(&mut now)));
        }
    }
    for (_, n) in due {
        records.push(answer(&mut calls[n], tick(&mut now)));
    }
    let mut seq = first_seq;
    for chunk in records.chunks(batch_records) {
        let mut batch = Batch { first_seq: seq, ..Batch::default() };
        for (entry, content) in chunk {
            batch.contents.extend(content.clone().map(|content| (seq, content)));
            batch.entries.push(entry.clone());
            seq += 1;
        }
        store.append(&batch).unwrap();
    }
    seq
}
