//! Scenarios judged by the real catalogue and policies, and composed by the real composer, for
//! every caller that makes them.

use super::scenario::{GROUPS, REGIONS, Reply, SCENARIOS, Scenario, UNREACHABLE};
use super::template::{Slot, Template, Values};
use crate::builtin;
use crate::record::compose::{Answer, Composer, Judged, Timings};
use crate::record::redact::{Redactor, Shown};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::secret::{DigestKey, sha256};
use keyward_core::written::Mistakes;
use keyward_decision::caller::Directory;
use keyward_decision::catalog::document::DocumentError;
use keyward_decision::catalog::{Catalog, Target};
use keyward_decision::inspect;
use keyward_decision::policy::{Bundle, PolicyError, Question};
use keyward_decision::request::RequestHead;
use keyward_record::reading::Answered;
use keyward_record::{Kind, Record};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The shipped catalogue.
    #[error("the shipped catalogue: {0:?}")]
    Catalog(Vec<DocumentError>),
    /// The shipped policies.
    #[error("the shipped policies: {0:?}")]
    Policies(Vec<PolicyError>),
    /// The made-up callers.
    #[error("the callers")]
    Callers(#[from] Mistakes),
    /// The redactor's own pattern.
    #[error("the redactor")]
    Redactor(#[from] regex::Error),
    /// A scenario is no HTTP, or not composed as expected.
    #[error("scenario {method} {target}: {why}")]
    Scenario {
        /// Its method.
        method: &'static str,
        /// Its target.
        target: &'static str,
        /// Why.
        why: String,
    },
}

/// One half of an exchange, ready to be filled in.
#[derive(Debug)]
pub struct Half {
    /// The record.
    pub leaf: Template,
    /// The body beside it, and whether its digest is keyed.
    pub content: Option<(Template, bool)>,
}

/// A call of one caller, with the answers that it may get.
#[derive(Debug)]
pub struct Script {
    /// How often, beside the caller's others.
    pub weight: u32,
    /// Whether it is forwarded or refused.
    pub kind: Kind,
    /// The request.
    pub request: Half,
    /// Answers with their weights; none for what is refused.
    pub answers: Vec<(u32, Half)>,
}

/// Somebody who calls.
#[derive(Debug)]
pub struct Agent {
    /// How much of all traffic is its own.
    pub weight: u32,
    /// The first three numbers of its addresses.
    pub network: [u8; 3],
    /// What it does.
    pub scripts: Vec<Script>,
}

/// What stands in a record when it is composed for cutting: a value for every slot that no real one
/// has.
pub(super) fn marks(site: &Site, index: usize) -> Values {
    let mut marks = Values::default();
    let [a, b, c] = network(index);
    marks.set(Slot::Address, format_args!("{a}.{b}.{c}.77"));
    marks.set(Slot::Signature, format_args!("{}", site.key.digest(SIGNATURE.as_bytes())));
    marks.set(Slot::Id, format_args!("01900000-0000-7000-8000-0000a0c0ffee"));
    marks.set(Slot::Received, format_args!("2026-03-03T03:03:03.030301Z"));
    marks.set(Slot::Judged, format_args!("2026-03-03T03:03:03.030302Z"));
    marks.set(Slot::Expires, format_args!("2026-04-02T03:03:03.000000Z"));
    marks.set(Slot::SdkDate, format_args!("20260303T030303Z"));
    marks.set(Slot::Project, format_args!("a0c0ffee00000000000000000000a0c1"));
    marks.set(Slot::Keypair, format_args!("qmark-qqqqqq-2031"));
    marks.set(Slot::Image, format_args!("a0c0ffee-0000-4000-8000-00000000a0c2"));
    marks.set(Slot::Server, format_args!("a0c0ffee00000000000000000000a0c3"));
    marks.set(Slot::Server2, format_args!("a0c0ffee00000000000000000000a0c4"));
    marks.set(Slot::Job, format_args!("a0c0ffee00000000000000000000a0c5"));
    marks.set(Slot::Port, format_args!("\"port\":47113"));
    marks.set(Slot::HeadTime, format_args!(":9000001"));
    marks.set(Slot::BodyTime, format_args!(":9000002"));
    marks.set(Slot::DecideTime, format_args!(":9000003"));
    marks.set(Slot::CloudTime, format_args!(":9000004"));
    marks
}

/// Everything that judges and composes.
pub struct Site {
    catalog: Catalog,
    policies: Bundle,
    directory: Directory,
    composer: Composer,
    /// The key of keyed digests.
    pub(super) key: DigestKey,
    /// All callers with all that they do.
    pub(super) agents: Vec<Agent>,
}

impl Site {
    /// The shipped catalogue and policies, and made-up callers; every call judged and composed.
    ///
    /// # Errors
    /// Never for this build's own parts, which a test joins.
    pub fn new() -> Result<Self, WorkloadError> {
        let key = DigestKey::new([0x6b; 32]);
        let catalog = builtin::catalog().map_err(WorkloadError::Catalog)?;
        let directory = Directory::parse("callers.toml", &callers(&key))?;
        let policies = builtin::policies(&catalog, &directory).map_err(WorkloadError::Policies)?;
        let composer = Composer {
            redactor: Redactor::new(key.clone())?,
            body_bytes_max: 65_536,
            catalog: catalog.digest.clone(),
        };
        let mut site = Self { catalog, policies, directory, composer, key, agents: Vec::new() };
        for (index, (group, member, weight)) in members().enumerate() {
            let scripts = SCENARIOS
                .iter()
                .filter(|scenario| scenario.group == group)
                .map(|scenario| site.script(scenario, index, member));
            let scripts = scripts.collect::<Result<_, _>>()?;
            site.agents.push(Agent { weight, network: network(index), scripts });
        }
        Ok(site)
    }

    fn script(
        &self,
        scenario: &Scenario,
        index: usize,
        member: usize,
    ) -> Result<Script, WorkloadError> {
        let mut marks = marks(self, index);
        let (request, target, shown) = self.request(scenario, index, member, &marks)?;
        let mut answers = Vec::new();
        for reply in scenario.replies {
            let answer = self.answer(scenario, reply, &target, &mut shown.clone(), &marks);
            answers.push((reply.weight, half(&answer, &mut marks, true)));
        }
        if answers.is_empty() == (request.kind == Kind::Forwarded) {
            return Err(wrong(
                scenario,
                format!("it is {:?}: {}", request.kind, String::from_utf8_lossy(&request.leaf)),
            ));
        }
        Ok(Script {
            weight: scenario.weight,
            kind: request.kind,
            request: half(&request, &mut marks, false),
            answers,
        })
    }

    /// The record of a call with these values.
    pub(super) fn request(
        &self,
        scenario: &Scenario,
        index: usize,
        member: usize,
        values: &Values,
    ) -> Result<(Record, Target, Shown), WorkloadError> {
        let head =
            self.head(scenario, index, member, values).map_err(|why| wrong(scenario, why))?;
        let target = self.catalog.target(&head);
        let caller = self.directory.identify(&head, &self.key, &self.catalog, &target);
        let (inspected, facts) =
            inspect::inspect(&target, &head, fill(scenario.body, values).into());
        let now = Timestamp::parse(values.get(Slot::Judged))
            .ok_or_else(|| wrong(scenario, "no time".to_owned()))?;
        let question = Question { target, caller, facts, source: head.client.ip(), now };
        let decision = self.policies.decide(&question);
        let micros = |slot| values.get(slot).trim_start_matches(':').parse().unwrap_or(0);
        let timings = Timings::from([
            ("head", micros(Slot::HeadTime)),
            ("body", micros(Slot::BodyTime)),
            ("decide", micros(Slot::DecideTime)),
        ]);
        let (record, shown) = self.composer.request(
            Judged { head: &head, inspected: &inspected, question: &question, decision: &decision },
            &timings,
        );
        Ok((record, question.target, shown))
    }

    fn head(
        &self,
        scenario: &Scenario,
        index: usize,
        member: usize,
        values: &Values,
    ) -> Result<RequestHead, String> {
        let host = host(scenario, index);
        let port: u16 = values
            .get(Slot::Port)
            .trim_start_matches("\"port\":")
            .parse()
            .map_err(|_| "no port")?;
        let address = values.get(Slot::Address).parse().map_err(|_| "no address")?;
        let huawei = !scenario.host.contains('.');
        let (scheme, credential) = credential(scenario.group, member, huawei);
        let mut headers = vec![
            ("host", host.clone()),
            (
                "user-agent",
                if huawei { "huaweicloud-usdk-python/3.0" } else { "yunxiao-openapi/1.4" }
                    .to_owned(),
            ),
            ("accept", "*/*".to_owned()),
        ];
        if !scenario.body.is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
            headers.push(("content-length", fill(scenario.body, values).len().to_string()));
        }
        if scheme == "authorization" {
            let authorization = format!(
                "SDK-HMAC-SHA256 Access={credential}, SignedHeaders=content-type;host;x-sdk-date, Signature={SIGNATURE}"
            );
            headers.extend([
                ("x-sdk-date", values.get(Slot::SdkDate).to_owned()),
                (scheme, authorization),
            ]);
        } else {
            headers.push((scheme, credential));
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_static(name),
                HeaderValue::try_from(value).map_err(|e| e.to_string())?,
            );
        }
        let method = scenario.method.parse().map_err(|_| "no method")?;
        Ok(RequestHead {
            id: AuditId::parse(values.get(Slot::Id)).ok_or("no id")?,
            received: Timestamp::parse(values.get(Slot::Received)).ok_or("no time")?,
            client: SocketAddr::new(address, port),
            ..RequestHead::plain(method, fill(scenario.target, values), host, map)
        })
    }

    /// The record of an answer with these values.
    pub(super) fn answer(
        &self,
        scenario: &Scenario,
        reply: &Reply,
        target: &Target,
        shown: &mut Shown,
        values: &Values,
    ) -> Record {
        let body = Bytes::from(fill(reply.body, values));
        let mut headers = HeaderMap::new();
        if let (Some(_), Ok(job)) = (reply.status, HeaderValue::try_from(values.get(Slot::Job))) {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            headers.insert("x-request-id", job);
        }
        let answer = Answer {
            status: reply.status,
            headers,
            body_length: body.len() as u64,
            body_digest: sha256(&body),
            body,
            whole: reply.status.is_some(),
            sent: reply.fault != UNREACHABLE,
            upstream: if scenario.host.contains('.') { "10.31.4.7:443" } else { "10.31.2.5:443" }
                .to_owned(),
            fault: reply.fault.to_owned(),
            timings: Timings::from([(
                "upstream",
                values.get(Slot::CloudTime).trim_start_matches(':').parse().unwrap_or(0),
            )]),
        };
        let id = AuditId::parse(values.get(Slot::Id)).unwrap_or_default();
        self.composer.answer(id, target, shown, answer).0
    }
}

/// Cuts a record that was composed with marks. What the composer itself made of them becomes a mark
/// too.
fn half(record: &Record, marks: &mut Values, answer: bool) -> Half {
    let json: Value = serde_json::from_slice(&record.leaf).unwrap_or_default();
    let Answered { time, body, .. } = Answered::of(&json);
    let digest = body.digest.unwrap_or_default();
    marks.set(Slot::Digest, format_args!("{digest}"));
    marks.set(Slot::Commit, format_args!("{}", body.commit.unwrap_or_default()));
    marks.set(Slot::Answered, format_args!("{}", time.filter(|_| answer).unwrap_or_default()));
    let all = marks.all();
    let keyed = digest.starts_with("hmac");
    let content =
        record.content.as_ref().map(|content| (Template::cut(&content.bytes, &all), keyed));
    Half { leaf: Template::cut(&record.leaf, &all), content }
}

/// A text of a scenario with its braces filled in.
pub(super) fn fill(text: &str, values: &Values) -> String {
    const NAMES: &[(&str, Slot)] = &[
        ("{project}", Slot::Project),
        ("{keypair}", Slot::Keypair),
        ("{image}", Slot::Image),
        ("{server}", Slot::Server),
        ("{server2}", Slot::Server2),
        ("{job}", Slot::Job),
        ("{expires}", Slot::Expires),
    ];
    NAMES.iter().fold(text.to_owned(), |text, (name, slot)| text.replace(name, values.get(*slot)))
}

const SIGNATURE: &str = "5ac0ffee0000000000000000000000000000000000000000000000000000a0c6";
const TEAMS: [&str; 14] = [
    "atlas", "basil", "delta", "ember", "fjord", "gamma", "haven", "indus", "karst", "lotus",
    "maple", "nexus", "orbit", "prism",
];

/// Every caller: its group, its number within it, and its share of the traffic.
pub(super) fn members() -> impl Iterator<Item = (&'static str, usize, u32)> {
    GROUPS.iter().flat_map(|(group, count, weight)| {
        // The first of a group are the busiest.
        let all: u32 = (1..=*count).map(|n| 1000 / u32::try_from(n).unwrap_or(u32::MAX)).sum();
        (0..*count).map(move |member| {
            (
                *group,
                member,
                weight * 1000 * (1000 / u32::try_from(member + 1).unwrap_or(u32::MAX)) / all.max(1),
            )
        })
    })
}

fn name(group: &str, member: usize) -> String {
    let team = TEAMS.get(member).copied().unwrap_or("other");
    let purpose = match group {
        "key-admins" => "keys",
        "image-admins" => "images",
        "phone-ops" => "phones",
        "codeup-developers" => "builds",
        other => other,
    };
    format!("{team}-{purpose}")
}

/// A header and what stands in it: an access key's id, or a token.
fn credential(group: &str, member: usize, huawei: bool) -> (&'static str, String) {
    let id = format!("{}{member:02}", group.replace('-', "").to_ascii_uppercase());
    match (group, huawei) {
        ("", _) => ("x-auth-token", format!("MIISTRANGER{member:02}")),
        (_, true) => ("authorization", format!("HST3{id}")),
        (_, false) => ("x-yunxiao-token", format!("pt-{id}-generated")),
    }
}

/// One in nine calls from outside.
fn network(index: usize) -> [u8; 3] {
    let low = u8::try_from(index % 250).unwrap_or(0);
    if index % 9 == 4 { [203, 0, 113] } else { [10, 20, low] }
}

fn host(scenario: &Scenario, index: usize) -> String {
    if scenario.host.contains('.') {
        return scenario.host.to_owned();
    }
    format!(
        "{}.{}.myhuaweicloud.com",
        scenario.host,
        REGIONS.get(index % REGIONS.len()).copied().unwrap_or("cn-north-4")
    )
}

fn callers(key: &DigestKey) -> String {
    let mut text = format!("groups = {:?}\n", builtin::GROUPS);
    for (group, member, _) in members().filter(|(group, ..)| !group.is_empty()) {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[callers.{}]\nkind = \"robot\"\ngroups = [{group:?}]\n",
            name(group, member)
        );
        let _ = match credential(group, member, group != "codeup-developers") {
            ("authorization", id) => writeln!(text, "access_keys = [{id:?}]"),
            (_, token) => writeln!(text, "tokens = [{:?}]", key.digest(token.as_bytes())),
        };
    }
    text
}

fn wrong(scenario: &Scenario, why: String) -> WorkloadError {
    WorkloadError::Scenario { method: scenario.method, target: scenario.target, why }
}
