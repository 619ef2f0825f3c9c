//! The corpus: every case of `tests/corpus` goes over a real socket to the gateway with the
//! catalogue and the policies that ship, and answer, record and upstream must be as the case says.

mod arrival;
mod case;
mod h2;
mod send;

use crate::support::trail::Stored;
use crate::support::upstream::Arrived;
use crate::support::{Answer, Gateway, Site, Trail, Upstream};
use arrival::{Arrivals, Seen};
use case::{Case, Protocol, Verdict};
use keyward_core::secret::DigestKey;
use keyward_record::Kind;
use send::Doors;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections that send cases side by side.
const CLIENTS: usize = 8;
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

#[test]
fn every_case_ends_as_it_says() {
    let only = std::env::var("CORPUS").unwrap_or_default();
    let mut cases = case::load(&corpus()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
    cases.retain(|case| case.name.contains(&only));
    let runs: Vec<Run> = cases.iter().flat_map(Run::all).collect();
    assert!(!runs.is_empty(), "no case has `{only}` in its name");
    let stage = Lifecycle::new();
    let sent = stage.send_all(&runs);
    let (trail, arrived) = stage.end();
    let by_id = by_id(&trail);
    let mut findings: Vec<Finding> =
        sent.iter().map(|(run, answer)| finding(*run, answer, &by_id)).collect();
    let strangers = match_arrivals(&mut findings, &arrived);
    let failed = report(&findings) + &strangers + &unanswered(&sent, &trail);
    assert!(
        failed.is_empty(),
        "{} faults in {} runs of {} cases:\n{failed}",
        failed.lines().count(),
        runs.len(),
        cases.len()
    );
}

/// A case over one protocol.
#[derive(Clone, Copy)]
struct Run<'a> {
    case: &'a Case,
    protocol: Protocol,
}

impl<'a> Run<'a> {
    fn all(case: &'a Case) -> impl Iterator<Item = Self> {
        case.over.iter().map(move |protocol| Self { case, protocol: *protocol })
    }
}

/// A run, and what is wrong with it.
struct Finding<'a> {
    run: Run<'a>,
    faults: Vec<String>,
}

/// Lists what fails, and says past the capture of the test harness what is known to.
fn report(findings: &[Finding]) -> String {
    let mut failed = String::new();
    for Finding { run: Run { case, protocol }, faults } in findings {
        match (&case.known, faults.is_empty()) {
            (None, true) => {}
            (None, false) => {
                writeln!(failed, "{}.toml over {protocol:?}: {}", case.name, faults.join("; "))
                    .unwrap()
            }
            (Some(_), true) => writeln!(
                failed,
                "{}.toml over {protocol:?}: ends as it should now; take `known` out",
                case.name
            )
            .unwrap(),
            (Some(why), false) => {
                use std::io::Write as _;
                writeln!(
                    std::io::stderr(),
                    "KNOWN {}.toml over {protocol:?}: {why}: {}",
                    case.name,
                    faults.join("; ")
                )
                .ok();
            }
        }
    }
    failed
}

/// The gateway, and a recording upstream behind it.
struct Lifecycle {
    site: Site,
    upstream: Upstream,
    gateway: Gateway,
    doors: Doors,
}

impl Lifecycle {
    fn new() -> Self {
        let upstream = Upstream::ok();
        let site = Site::shipped(upstream.address);
        std::fs::write(site.path("callers.toml"), callers(&site.key)).unwrap();
        let doors = Doors::new(&site);
        let gateway = site.serve();
        Self { site, upstream, gateway, doors }
    }

    /// Sends every run over a connection of its own, several at a time.
    fn send_all<'a>(&self, runs: &[Run<'a>]) -> Vec<(Run<'a>, Answer)> {
        let next = AtomicUsize::new(0);
        let client = || {
            std::iter::from_fn(|| runs.get(next.fetch_add(1, Ordering::Relaxed)))
                .map(|run| (*run, self.doors.send(run.case, run.protocol)))
                .collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        })
    }

    /// What is on record, and what has arrived upstream.
    fn end(self) -> (Trail, Vec<Arrived>) {
        self.gateway.settle();
        self.gateway.stop();
        assert_eq!(
            self.upstream.remains(),
            Vec::<Vec<u8>>::new(),
            "bytes upstream that were no whole request"
        );
        (self.site.trail(), self.upstream.requests())
    }
}

/// Gives each case that is allowed the request that arrived for it. What is left over was forwarded
/// and should not be.
fn match_arrivals(findings: &mut [Finding], arrived: &[Arrived]) -> String {
    let mut arrivals = Arrivals::new(arrived);
    for Finding { run, faults } in
        findings.iter_mut().filter(|f| f.run.case.expect.verdict == Verdict::Allowed)
    {
        if let Err(nearest) = arrivals.take(&Seen::wanted(run.case, run.protocol)) {
            faults.push(format!("did not arrive as it was sent: {nearest}"));
        }
    }
    let strangers = arrivals.strangers().fold(String::new(), |text, line| {
        text + &format!("forwarded, and no case says so: `{line}`\n")
    });
    arrivals
        .misframed
        .iter()
        .fold(strangers, |text, head| text + &format!("arrived without a true length: {head:?}\n"))
}

fn by_id(trail: &Trail) -> HashMap<&str, Vec<&Stored>> {
    let mut by_id: HashMap<_, Vec<_>> = HashMap::new();
    trail.0.iter().for_each(|record| by_id.entry(record.id.as_str()).or_default().push(record));
    by_id
}

/// Requests on record that nobody was told of: the clients of closed cases, and no others.
fn unanswered(sent: &[(Run, Answer)], trail: &Trail) -> String {
    let told: HashSet<&str> = sent.iter().map(|(_, answer)| answer.id()).collect();
    let mut found: Vec<&str> = trail
        .calls()
        .into_iter()
        .filter(|r| r.kind != Kind::Answer && !told.contains(r.id.as_str()))
        .map(reason)
        .collect();
    let mut wanted: Vec<&str> =
        sent.iter().filter_map(|(run, _)| run.case.expect.recorded()).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    if found == wanted {
        String::new()
    } else {
        format!("on record beside what was answered are {found:?} in place of {wanted:?}\n")
    }
}

fn reason(record: &Stored) -> &str {
    record.text("/decision/reason")
}

/// What is wrong with an answer.
fn answered(case: &Case, answer: &Answer) -> Vec<String> {
    let mut faults = Vec::new();
    let status = case.expect.status.unwrap_or(0);
    if answer.status != status {
        faults.push(format!("status {} in place of {status}", answer.status));
    }
    let ours = (case.expect.verdict == Verdict::Refused)
        .then_some(case.expect.reason.as_deref())
        .flatten()
        .unwrap_or_default();
    if answer.code() != ours && !answer.body.is_empty() {
        faults.push(format!("code `{}` in place of `{ours}`: {}", answer.code(), answer.message()));
    }
    if answer.status != 0 && !answer.whole {
        faults.push("the answer is cut, or something follows it".to_owned());
    }
    if answer.id().is_empty()
        != (case.expect.reason.is_none() || case.expect.verdict == Verdict::Closed)
    {
        faults.push("the audit id is there where none should be, or missing".to_owned());
    }
    faults
}

/// What is wrong with answer and record.
fn finding<'a>(run: Run<'a>, answer: &Answer, trail: &HashMap<&str, Vec<&Stored>>) -> Finding<'a> {
    let expect = &run.case.expect;
    let mut faults = answered(run.case, answer);
    let records = trail.get(answer.id()).cloned().unwrap_or_default();
    let kinds: Vec<Kind> = records.iter().map(|r| r.kind).collect();
    let (wanted, verdict) = match (expect.verdict, &expect.reason) {
        (Verdict::Allowed, Some(reason)) => (
            vec![Kind::Forwarded, Kind::Answer],
            if reason == "passing" { "pass" } else { "allow" },
        ),
        (Verdict::Refused, Some(_)) => (vec![Kind::Refused], "deny"),
        _ => (vec![], ""),
    };
    if kinds != wanted {
        faults.push(format!("records {kinds:?} in place of {wanted:?}"));
    } else if let Some(request) = records.first() {
        let said = (request.text("/decision/verdict"), request.text("/decision/reason"));
        let reason = expect.reason.as_deref().unwrap_or_default();
        if said != (verdict, reason) {
            faults.push(format!("recorded as {said:?} in place of {:?}", (verdict, reason)));
        }
        let policies = request
            .leaf
            .pointer("/decision/policies")
            .and_then(|p| p.as_array())
            .cloned()
            .unwrap_or_default();
        if let Some(policy) = expect
            .policy
            .as_ref()
            .filter(|policy| !policies.iter().any(|p| p["id"] == policy.as_str()))
        {
            faults.push(format!("decided by {policies:?} in place of `{policy}`"));
        }
    }
    Finding { run, faults }
}

/// A caller of `callers.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    groups: Vec<String>,
    access_key: String,
    token: String,
}

/// The corpus' callers as the gateway knows them: tokens by their digests.
fn callers(key: &DigestKey) -> String {
    let text = std::fs::read_to_string(corpus().join("callers.toml")).unwrap();
    let callers: BTreeMap<String, Caller> = toml::from_str(&text).unwrap();
    let mut out = r#"groups = ["platform-admins", "key-admins", "image-admins", "phone-ops", "codeup-developers", "auditors"]"#.to_owned();
    for (name, Caller { groups, access_key, token }) in callers {
        let token = key.digest(token.as_bytes());
        write!(out, "\n[callers.{name}]\nkind = 'robot'\ngroups = {groups:?}\naccess_keys = [{access_key:?}]\ntokens = [{token:?}]\n").unwrap();
    }
    out
}
