//! The trail that a command asks, of a running gateway or in a stopped one's folder, and which of its exchanges.

use anyhow::{Context, bail};
use clap::Args;
use keyward_core::clock::AuditId;
use keyward_core::terminal::clean;
use keyward_delivery::client;
use keyward_record::event::By;
use keyward_trail::filter::{Filter, WHERE};
use keyward_trail::notary::continuity::is_whole;
use keyward_trail::query::Reader;
use keyward_trail::query::ask::{Answer, WARNINGS, warnings_of};
use serde::Deserialize;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for an answer: what no index knows is sought in the whole trail.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the trail is.
#[derive(Debug, Args)]
pub(super) struct Trail {
    /// The admin listener of a running gateway.
    #[arg(long, default_value = "http://127.0.0.1:9901", conflicts_with = "dir")]
    pub url: String,
    /// The audit folder of a stopped gateway.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

impl Trail {
    /// The address of the gateway's admin listener, and the Host to ask by.
    pub(super) fn address(&self) -> anyhow::Result<(SocketAddr, &str)> {
        let url = &self.url;
        let authority =
            url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).with_context(
                || format!("--url {url}: write http://ADDRESS:PORT of the admin listener"),
            )?;
        let address = authority
            .to_socket_addrs()
            .with_context(|| format!("--url {url}"))?
            .next()
            .with_context(|| format!("--url {url}: no address"))?;
        Ok((address, authority))
    }
}

/// Says what must be known beside an answer.
pub(super) fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("keyward: warning: {}", clean(warning)));
}

pub(super) fn ask_with_warnings(trail: &Trail, target: &str) -> anyhow::Result<Answer> {
    let answer = answer_of(trail, http::Request::get(target), bytes::Bytes::new())?;
    let warnings =
        warnings_of(answer.headers().get(WARNINGS).and_then(|header| header.to_str().ok()));
    Ok(Answer { text: String::from_utf8_lossy(answer.body()).into_owned(), warnings })
}

/// Asks a running gateway.
pub(super) fn ask_gateway(trail: &Trail, target: &str) -> anyhow::Result<String> {
    send_to_gateway(trail, http::Request::get(target), bytes::Bytes::new())
}

/// Sends a request to a running gateway; the body of its answer, which must be a success.
pub(super) fn send_to_gateway(
    trail: &Trail,
    request: http::request::Builder,
    body: bytes::Bytes,
) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(answer_of(trail, request, body)?.body()).into_owned())
}

fn answer_of(
    trail: &Trail,
    request: http::request::Builder,
    body: bytes::Bytes,
) -> anyhow::Result<http::Response<bytes::Bytes>> {
    let (address, host) = trail.address()?;
    let request = request.header("host", host).body(body)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(client::send_within(PATIENCE, address, request)).map_err(|error| {
        let late = error.is::<client::TooLate>();
        error.context(if late {
            format!("the gateway at {} is still reading: narrow the question, for example by --since", trail.url)
        } else {
            unreachable(&trail.url)
        })
    })?;
    if !answer.status().is_success() {
        bail!("{}", problem(&String::from_utf8_lossy(answer.body())));
    }
    Ok(answer)
}

pub(super) fn unreachable(url: &str) -> String {
    format!("no gateway answers at {url}; for a stopped one give --dir")
}

/// The sentence in a refusal of the admin listener.
pub(super) fn problem(text: &str) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |Problem { error }| error)
}

/// A stopped gateway's folder, if it has all that was signed.
pub(super) fn folder(dir: &Path) -> anyhow::Result<Reader> {
    let rules = dir.to_owned();
    let reader = Reader::open(dir)?.knowing(move || crate::known::of_texts(&rules));
    is_whole(dir, reader.durable())?;
    Ok(reader)
}

impl FilterArgs {
    pub(super) fn filter(&self) -> anyhow::Result<Filter> {
        let mut filter = Filter::default();
        let named = [
            ("since", &self.since),
            ("until", &self.until),
            ("caller", &self.caller),
            ("action", &self.action),
            ("operation", &self.operation),
            ("key", &self.key),
            ("method", &self.method),
            ("service", &self.service),
            ("resource", &self.resource),
            ("project", &self.project),
            ("decision", &self.decision),
            ("reason", &self.reason),
            ("policy", &self.policy),
            ("shadow", &self.shadow),
            ("outcome", &self.outcome),
            ("status", &self.status),
            ("source", &self.source),
            ("id", &self.id),
            ("secret", &self.secret),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                filter.add(name, value)?;
            }
        }
        if let Some(id) = &self.request_id {
            // A cloud's may look like one of ours, without the hyphens say.
            match AuditId::parse(id) {
                Some(own) => {
                    filter.add(WHERE, &format!("id = {own} or cloud-request-id = \"{id}\""))?
                }
                None => filter.add("cloud-request-id", id)?,
            }
        }
        for expression in &self.expressions {
            filter.add(WHERE, expression)?;
        }
        Ok(filter)
    }
}

/// Conditions that must all hold.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// From this time on: a moment with its offset (2026-11-30T06:59:19Z, '2026-11-30
    /// 14:59+08:00'), a day (2026-11-30, which begins at 00:00 UTC; 2026-11-30+08:00), a
    /// month, an age (30m, 2h, 7d), or now, today, yesterday.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    since: Option<String>,
    /// Before this time, which is not in it itself; but a day or a month is in it to its end.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<String>,
    /// The caller's name, or `anonymous`.
    #[arg(long)]
    caller: Option<String>,
    /// The action, or its beginning and `*`.
    #[arg(long)]
    action: Option<String>,
    /// The operation, as its document names it, for example NovaCreateKeypair.
    #[arg(long)]
    operation: Option<String>,
    /// The id of the access key that signed.
    #[arg(long)]
    key: Option<String>,
    /// The method, for example POST.
    #[arg(long)]
    method: Option<String>,
    /// The service, for example huawei.ims.
    #[arg(long)]
    service: Option<String>,
    /// The id of what was acted on, or its beginning and `*`.
    #[arg(long)]
    resource: Option<String>,
    /// The cloud project that it is, or is in.
    #[arg(long)]
    project: Option<String>,
    /// allow, deny or pass.
    #[arg(long)]
    decision: Option<String>,
    /// The reason's code, for example policy-forbids.
    #[arg(long)]
    reason: Option<String>,
    /// A policy that decided: one that forbade what was denied, or permitted what was let through.
    #[arg(long)]
    policy: Option<String>,
    /// A policy in shadow mode that would have decided, and did not.
    #[arg(long)]
    shadow: Option<String>,
    /// What came of it: succeeded, accepted, partly-failed, failed, not-sent, unknown, refused or
    /// open.
    #[arg(long)]
    outcome: Option<String>,
    /// The cloud's status, for example 202 or 4xx.
    #[arg(long)]
    status: Option<String>,
    /// The source's address, or a network as in 10.20.0.0/16.
    #[arg(long)]
    source: Option<String>,
    /// The audit id.
    #[arg(long)]
    id: Option<String>,
    /// The request id that a client was given: the cloud's, or of a refusal the audit id.
    #[arg(long)]
    request_id: Option<String>,
    /// A secret's keyed digest, as `keyward digest` prints it: where was it used, or answered?
    #[arg(long)]
    secret: Option<String>,
    /// Conditions joined by and, or, not: on any name above, time, seq, or any field of the
    /// records or the stored bodies, as in request.call.method=POST. Compares by = != < <= >
    /// >= and `in (a, b)`; `huawei.*` is a prefix; blanks go in quotes.
    #[arg(long = "where", value_name = "EXPRESSION")]
    expressions: Vec<String>,
}

/// Who does it, as far as the system knows.
pub(super) fn who() -> By {
    By {
        name_claimed: std::env::var("USER").ok(),
        uid: Some(rustix::process::getuid().as_raw()),
        ..By::default()
    }
}
