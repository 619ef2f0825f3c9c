//! Policy tests, `policies/tests/*.toml`: a raw call, and the verdict and policies that it must
//! meet.
//!
//! A case states the exact set of policies that decide. Every enforced policy needs a case in which
//! it decides and one in which it does not: a rule that nobody has seen at work is a rule that
//! nobody knows.

use super::bundle::{Bundle, Mode};
use super::decision::{Decision, Verdict};
use super::error::PolicyError;
use super::question::Question;
use crate::caller::{Assurance, Caller, CallerKind, Credential, Identity};
use crate::catalog::Catalog;
use crate::inspect;
use crate::request::RequestHead;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keyward_core::clock::Timestamp;
use keyward_core::folder;
use keyward_core::written::line_and_column;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use toml::Spanned;

/// One call and what must become of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// One sentence: who does what.
    pub name: String,
    /// Who asks. Left out: nobody that is known.
    pub caller: Option<CaseCaller>,
    /// The method.
    pub method: String,
    /// The Host.
    pub host: String,
    /// The raw path.
    pub path: String,
    /// The raw query, without the question mark.
    #[serde(default)]
    pub query: String,
    /// Header fields, beside the Host. A call with a body and no content type has
    /// `application/json`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body's text.
    pub body: Option<String>,
    /// Where the call comes from. Left out: 127.0.0.1.
    #[serde(default = "loopback")]
    pub source: IpAddr,
    /// The time of the decision, RFC 3339. Left out: noon of 22 November 2026.
    #[serde(default = "noon")]
    pub now: String,
    /// `allow` or `deny`.
    pub expect: Expect,
    /// The reason's code, where the verdict alone says too little.
    pub reason: Option<String>,
    /// Exactly the policies that decide.
    #[serde(default)]
    pub policies: BTreeSet<String>,
    /// Exactly the shadow policies that would deny.
    #[serde(default)]
    pub shadow: BTreeSet<String>,
    /// The file and line, for messages.
    #[serde(skip)]
    pub at: (String, usize),
}

/// The caller of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseCaller {
    /// The name.
    pub name: String,
    /// A person or a program.
    pub kind: CallerKind,
    /// The groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// The verdict that a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// The call is forwarded.
    Allow,
    /// The call is refused.
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Spanned<Case>>,
}

const FOLDER: folder::Kind =
    folder::Kind { reads: |name| name.ends_with(".toml"), known: &[], words: "*.toml" };

/// Reads every `*.toml` of a folder.
///
/// # Errors
/// When a file cannot be read, or is not of the form of [`Case`].
pub fn load(dir: &Path) -> Result<Vec<Case>, Vec<PolicyError>> {
    let (texts, faults) = folder::read(dir, FOLDER);
    let (mut cases, mut errors) = (Vec::new(), PolicyError::of_folder(faults));
    for (file, text) in texts {
        match parse(&file, &text) {
            Ok(mut found) => cases.append(&mut found),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(cases) } else { Err(errors) }
}

/// Reads the cases of one file.
///
/// # Errors
/// When it is no TOML, or not of the form of [`Case`].
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, PolicyError> {
    let form: CaseFile = toml::from_str(text).map_err(|e| {
        PolicyError::at(file, text, e.span().map_or(0, |span| span.start), e.message())
    })?;
    let located = |case: Spanned<Case>| {
        let (line, _) = line_and_column(text, case.span().start);
        Case { at: (file.to_owned(), line), ..case.into_inner() }
    };
    Ok(form.case.into_iter().map(located).collect())
}

/// Decides one case; `ask` makes the question of the raw call, as [`question`] does.
///
/// # Errors
/// When there is no such call, or the decision differs from the expected one, with both.
pub fn run_case(
    bundle: &Bundle,
    case: &Case,
    ask: impl Fn(&Case) -> Result<Question, PolicyError>,
) -> Result<Decision, PolicyError> {
    let decision = bundle.decide(&ask(case)?);
    let verdict = match decision.verdict {
        Verdict::Allow => Expect::Allow,
        Verdict::Deny => Expect::Deny,
    };
    let policies: BTreeSet<String> =
        decision.deciding.iter().map(|one| one.policy.clone()).collect();
    let shadow: BTreeSet<String> = decision.shadow.iter().map(|one| one.policy.clone()).collect();
    let reason = case.reason.as_deref().unwrap_or(decision.reason.code());
    let fits = (verdict, &policies, &shadow, decision.reason.code())
        == (case.expect, &case.policies, &case.shadow, reason);
    if fits && decision.shadow_errors.is_empty() {
        return Ok(decision);
    }
    let found = format!("{verdict:?} ({}) by {policies:?}, shadow {shadow:?}", decision.reason);
    let wanted =
        format!("{:?} ({reason}) by {:?}, shadow {:?}", case.expect, case.policies, case.shadow);
    let failed = decision.shadow_errors.iter().map(|failed| &failed.error);
    let detail = decision
        .errors
        .iter()
        .chain(failed)
        .chain(&decision.explanation)
        .map(|line| format!("\n  {line}"))
        .collect::<String>();
    Err(fault(
        &case.at,
        format!("`{}`: expected {wanted}, got {found}: {}{detail}", case.name, decision.message),
    ))
}

/// Runs all cases, and checks that every policy was seen at work and at rest.
///
/// # Errors
/// Every case that went otherwise, and every policy without its two cases.
pub fn run_all(
    bundle: &Bundle,
    cases: &[Case],
    ask: impl Fn(&Case) -> Result<Question, PolicyError>,
) -> Result<(), Vec<PolicyError>> {
    let mut errors: Vec<PolicyError> =
        cases.iter().filter_map(|case| run_case(bundle, case, &ask).err()).collect();
    for policy in bundle.policies() {
        let decides = |case: &&Case| match policy.mode {
            Mode::Enforce => case.policies.contains(&policy.id),
            Mode::Shadow => case.shadow.contains(&policy.id),
        };
        let at = (policy.file.clone(), policy.line);
        let with = cases.iter().filter(decides).count();
        if with == 0 {
            errors.push(fault(
                &at,
                format!("policy `{}` has no test in which it decides", policy.id),
            ));
        }
        if with == cases.len() {
            errors.push(fault(
                &at,
                format!("policy `{}` has no test in which it does not decide", policy.id),
            ));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The question of a case, by the gateway's own reading of its call.
///
/// # Errors
/// When its method, time or a header field cannot be one.
pub fn question(catalog: &Catalog, case: &Case) -> Result<Question, PolicyError> {
    let wrong = |what: &str| fault(&case.at, format!("`{}`: {what}", case.name));
    let now = Timestamp::parse(&case.now)
        .ok_or_else(|| wrong("`now` must be RFC 3339 with an offset"))?;
    let method: Method = case.method.parse().map_err(|_| wrong("`method` is no HTTP method"))?;
    let mut headers = HeaderMap::new();
    if case.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &case.headers {
        let name = name
            .parse::<HeaderName>()
            .map_err(|_| wrong(&format!("`{name}` is no header field")))?;
        headers.insert(
            name,
            value.parse().map_err(|_| wrong("a header field's value is not visible ASCII"))?,
        );
    }
    let target = if case.query.is_empty() {
        case.path.clone()
    } else {
        format!("{}?{}", case.path, case.query)
    };
    let head = RequestHead {
        received: now,
        client: (case.source, 0).into(),
        ..RequestHead::plain(method, target, &case.host, headers)
    };
    let target = catalog.target(&head);
    let (_, facts) = inspect::inspect(&target, &head, case.body.clone().unwrap_or_default().into());
    let identity = case.caller.as_ref().map(|of| Identity {
        name: of.name.clone(),
        kind: of.kind,
        groups: of.groups.clone(),
    });
    let assurance = if identity.is_some() { Assurance::Token } else { Assurance::None };
    let caller =
        Caller { identity, assurance, credential: Credential::default(), why: String::new() };
    Ok(Question { target, caller, facts, source: case.source, now })
}

fn loopback() -> IpAddr {
    std::net::Ipv4Addr::LOCALHOST.into()
}

fn noon() -> String {
    "2026-11-22T12:00:00Z".to_owned()
}

fn fault((file, line): &(String, usize), message: String) -> PolicyError {
    PolicyError { place: Some((*line, 1)), ..PolicyError::new(file, message) }
}
