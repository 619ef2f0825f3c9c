//! Attacks on the shipped catalogue and policies: what must not get through, what must not stand in
//! a record, and what no caller may push out of one. Each case was a way round before it was
//! refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a mistake here should end the run"
)]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward::record::compose::{Answer, Composer, Judged, Timings};
use keyward::record::redact::{Redactor, Shown};
use keyward::record::truncate::LEAF_BYTES_MAX;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_core::secret::DigestKey;
use keyward_decision::caller::Directory;
use keyward_decision::catalog::Catalog;
use keyward_decision::head::{self, Head};
use keyward_decision::inspect;
use keyward_decision::policy::{Bundle, Decision, Question, Verdict};
use keyward_decision::request::RequestHead;
use keyward_record::Record;
use keyward_record::call::Outcome;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

mod body;
mod callers;
mod clients;
mod echoes;
mod heads;
mod meaning;
mod records;

const KPS: &str = "kms.cn-north-4.myhuaweicloud.com";
const ECS: &str = "ecs.cn-north-4.myhuaweicloud.com";
const IMS: &str = "ims.cn-north-4.myhuaweicloud.com";
const CODEUP: &str = "openapi-rdc.aliyuncs.com";
const DEVOPS: &str = "devops.cn-hangzhou.aliyuncs.com";
const SSH_KEYS: &str = "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys";
const COPY_IMAGE: &str = "/v1/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f/copy";
const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF demo";
const NOW: &str = "2026-11-22T14:20:50Z";

/// The gate without wire and journal: the shipped documents and policies, and a caller of each
/// kind.
struct World {
    catalog: Catalog,
    directory: Directory,
    policies: Bundle,
    key: DigestKey,
    composer: Composer,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = DigestKey::new([7; 32]);
    let catalog = Catalog::load(Path::new("config/apis")).unwrap();
    let directory = Directory::parse(
        "callers.toml",
        &format!(
            "groups = ['platform-admins', 'key-admins', 'image-admins', 'phone-ops', 'codeup-developers', 'auditors']\n\
         [callers.keys]\nkind = 'robot'\ngroups = ['key-admins']\naccess_keys = ['AKKEYS']\n\
         [callers.images]\nkind = 'robot'\ngroups = ['image-admins']\naccess_keys = ['AKIMAGES']\n\
         [callers.platform]\nkind = 'user'\ngroups = ['platform-admins']\naccess_keys = ['AKPLATFORM']\n\
         [callers.developer]\nkind = 'user'\ngroups = ['codeup-developers']\naccess_keys = ['LTAIDEV']\ntokens = ['{}']\n",
            key.digest(b"pt-developer")
        ),
    )
    .unwrap();
    let policies = Bundle::load(Path::new("policies"), &catalog, &directory).unwrap();
    let composer = Composer {
        redactor: Redactor::new(key.clone()).unwrap(),
        body_bytes_max: 64 * 1024,
        catalog: catalog.digest.clone(),
    };
    World { catalog, directory, policies, key, composer }
});

struct Judgement {
    decision: Decision,
    caller: Option<String>,
    record: Record,
    shown: Shown,
    leaf: Value,
    question: Question,
}

impl Judgement {
    /// All that is written down of the call.
    fn written(&self) -> String {
        let body =
            self.record.content.as_ref().map(|c| String::from_utf8_lossy(&c.bytes).into_owned());
        format!("{}{}", String::from_utf8_lossy(&self.record.leaf), body.unwrap_or_default())
    }

    fn reason(&self) -> Reason {
        self.decision.reason
    }
}

/// What the wire says beside the head.
#[derive(Clone, Copy)]
struct Wire<'a> {
    version: http::Version,
    authority: Option<&'a str>,
    sni: Option<&'a str>,
}

const HTTP1: Wire<'static> = Wire { version: http::Version::HTTP_11, authority: None, sni: None };

fn judge(
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Judgement {
    judge_over(HTTP1, method, host, target, headers, body)
}

fn judge_over(
    wire: Wire,
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Judgement {
    let world = &*WORLD;
    let body = Bytes::copy_from_slice(body.as_ref());
    let mut map = HeaderMap::new();
    map.insert("host", host.parse().unwrap());
    if !body.is_empty() && headers.iter().all(|(name, _)| *name != "content-type") {
        map.insert("content-type", HeaderValue::from_static("application/json"));
    }
    for (name, value) in headers {
        map.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let method = method.parse().unwrap();
    let Wire { version, authority, sni } = wire;
    let fault = head::check(&Head {
        raw: None,
        version,
        method: &method,
        target: target.as_bytes(),
        host,
        scheme: None,
        authority,
        sni,
        headers: &map,
    });
    let (id, received, client) =
        (AuditId::new(), Timestamp::parse(NOW).unwrap(), SocketAddr::from(([127, 0, 0, 1], 4000)));
    let head = RequestHead {
        id,
        received,
        client,
        fault,
        ..RequestHead::plain(method, target.to_owned(), host, map)
    };
    let target = world.catalog.target(&head);
    let caller = world.directory.identify(&head, &world.key, &world.catalog, &target);
    let (inspected, facts) = match &head.fault {
        Some(fault) => (
            inspect::Inspected { body: Bytes::new(), json: None, read_whole: false },
            Err(inspect::facts::Unreadable { reason: fault.reason, detail: fault.detail.clone() }),
        ),
        None => inspect::inspect(&target, &head, body),
    };
    let question = Question { target, caller, facts, source: head.client.ip(), now: head.received };
    let decision = world.policies.decide(&question);
    let (record, shown) = world.composer.request(
        Judged { head: &head, inspected: &inspected, question: &question, decision: &decision },
        &Timings::new(),
    );
    let leaf = serde_json::from_slice(&record.leaf).unwrap();
    Judgement {
        caller: question.caller.name().map(str::to_owned),
        decision,
        record,
        shown,
        leaf,
        question,
    }
}

fn signed(access: &str) -> String {
    format!(
        "SDK-HMAC-SHA256 Access={access}, SignedHeaders=host;x-sdk-date, Signature=0123456789abcdef0123456789abcdef"
    )
}

/// Which of these calls were allowed, if any.
fn let_through<'a>(calls: impl IntoIterator<Item = (&'a str, Judgement)>) -> Vec<&'a str> {
    calls
        .into_iter()
        .filter(|(_, judged)| judged.decision.verdict == Verdict::Allow)
        .map(|(name, _)| name)
        .collect()
}

fn ssh_key(changes: Value) -> String {
    let mut body = json!({"title": "t", "key": ED25519, "keyScope": "READ", "expireTime": "2026-12-22T00:00:00Z"});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn create_ssh_key(body: &str) -> Judgement {
    judge("POST", CODEUP, SSH_KEYS, &[("x-yunxiao-token", "pt-developer")], body)
}

/// A case: what is sent, what becomes of it, and why it was tried.
type Case<'a> = (&'a str, Judgement, Reason);

/// Checks all cases before it fails for any.
fn expect<'a>(cases: impl IntoIterator<Item = Case<'a>>) {
    let mut wrong = Vec::new();
    for (name, judged, wanted) in cases {
        if judged.reason() != wanted {
            wrong.push(format!(
                "{name}: {} instead of {wanted} ({})",
                judged.reason(),
                judged.decision.message
            ));
        }
        let passes = matches!(judged.reason(), Reason::Permitted | Reason::Passthrough);
        assert_eq!(judged.decision.verdict == Verdict::Allow, passes, "{name}");
        assert_eq!(
            judged.leaf.pointer("/decision/reason").and_then(Value::as_str),
            Some(judged.reason().code()),
            "{name}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
