//! The configuration as written. Every key has a default or is named in the error that its absence
//! gives.
#![allow(
    missing_docs,
    reason = "the keys are documented where users read them: in config/keyward.toml"
)]

use ipnet::IpNet;
use keyward_trail::segment::SEGMENT_RECORDS;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Form {
    pub gateway: Gateway,
    pub listener: Vec<Listener>,
    pub admin: Admin,
    pub catalog: Catalog,
    pub service: Vec<Service>,
    pub callers: Callers,
    pub policies: Policies,
    pub audit: Audit,
    pub evidence: Evidence,
    pub retention: Retention,
    pub limits: Limits,
    pub upstreams: Upstreams,
    pub upstream: Vec<Upstream>,
    pub push: Vec<Push>,
}

/// `[gateway]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    pub threads: usize,
    pub drain_delay_seconds: u64,
    pub drain_seconds: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            drain_delay_seconds: 0,
            drain_seconds: 30,
        }
    }
}

/// `[[listener]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub address: SocketAddr,
    pub service: Option<String>,
    pub tls: Option<Tls>,
    #[serde(default)]
    pub plain_http_beyond_loopback: bool,
    #[serde(default)]
    pub proxy_protocol_from: Vec<Network>,
    #[serde(default)]
    pub forwarded_for_from: Vec<Network>,
    pub health_path: Option<String>,
    #[serde(default)]
    pub health_from: Vec<Network>,
}

/// A network with its prefix. A single address is one too, but has to say so.
#[derive(Clone, Copy, Debug)]
pub struct Network(pub IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // By a visitor, so that an error has the place of this one of several.
        from.deserialize_str(NetworkText)
    }
}

struct NetworkText;

impl Visitor<'_> for NetworkText {
    type Value = Network;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a network such as \"10.0.0.0/8\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Network, E> {
        let wanted = text.parse().map_or_else(
            |_| "10.0.0.0/8".to_owned(),
            |address: IpAddr| IpNet::from(address).to_string(),
        );
        let wrong = |_| {
            E::custom(format!(
                "`{text}` is no network: write it with its prefix, such as `{wanted}`"
            ))
        };
        text.parse().map(Network).map_err(wrong)
    }
}

/// `[listener.tls]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificates: Vec<Certificate>,
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    pub client_ca_file: Option<PathBuf>,
}

/// One of `listener.tls.certificates`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// `listener.tls.client_certificates`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    None,
    Optional,
    Required,
}

/// `[admin]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    pub address: SocketAddr,
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9901)), hosts: Vec::new() }
    }
}

/// `[catalog]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Catalog {
    pub dir: PathBuf,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { dir: "apis".into() }
    }
}

/// `[[service]]`: further hosts of a service of the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: String,
    pub hosts: Vec<String>,
}

/// `[callers]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callers {
    pub file: PathBuf,
}

impl Default for Callers {
    fn default() -> Self {
        Self { file: "callers.toml".into() }
    }
}

/// `[policies]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    pub dir: PathBuf,
}

impl Default for Policies {
    fn default() -> Self {
        Self { dir: "../policies".into() }
    }
}

/// `[audit]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    pub dir: PathBuf,
    pub digest_key_file: Option<PathBuf>,
    pub commit_deadline_ms: u64,
    pub free_bytes_min: u64,
    #[serde(deserialize_with = "bytes")]
    pub ballast: u64,
    pub kept_body_bytes_max: usize,
    pub segment_records: u64,
    pub seal_after_hours: u64,
}

/// A number of bytes, or a text such as `64MiB`.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => return Ok(bytes),
        Written::Text(text) => text,
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = match text.get(digits.len()..).map(str::trim) {
        Some("" | "B") => Some(1),
        Some("KiB") => Some(1 << 10),
        Some("MiB") => Some(1 << 20),
        Some("GiB") => Some(1_u64 << 30),
        _ => None,
    };
    let bytes =
        unit.zip(digits.parse::<u64>().ok()).and_then(|(unit, count)| count.checked_mul(unit));
    bytes.ok_or_else(|| {
        D::Error::custom(format!("`{text}` is no size: write bytes, or as in 64MiB"))
    })
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            dir: "../data/audit".into(),
            digest_key_file: None,
            commit_deadline_ms: 5_000,
            free_bytes_min: 64 * 1024 * 1024,
            ballast: 64 * 1024 * 1024,
            kept_body_bytes_max: 64 * 1024,
            segment_records: SEGMENT_RECORDS,
            seal_after_hours: 24,
        }
    }
}

/// `[retention]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub max_age_days: Option<u64>,
    pub max_bytes: Option<u64>,
    pub holds_file: Option<PathBuf>,
    pub every_seconds: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_age_days: None, max_bytes: None, holds_file: None, every_seconds: 3600 }
    }
}

/// `[evidence]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    pub origin: Option<String>,
    pub key_file: Option<PathBuf>,
    pub every_seconds: u64,
    pub off_host_every_seconds: u64,
    pub directory: Option<PathBuf>,
    pub webhook: Option<String>,
    pub webhook_token_file: Option<PathBuf>,
    pub webhook_token_header: Option<String>,
    pub webhook_token_scheme: Option<String>,
    pub webhook_headers: BTreeMap<String, String>,
    pub syslog: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub witness: Vec<Witness>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            origin: None,
            key_file: None,
            every_seconds: 1,
            off_host_every_seconds: 1,
            directory: None,
            webhook: None,
            webhook_token_file: None,
            webhook_token_header: None,
            webhook_token_scheme: None,
            webhook_headers: BTreeMap::new(),
            syslog: None,
            ca_file: None,
            witness: Vec::new(),
        }
    }
}

/// `[[evidence.witness]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    pub url: String,
    pub key: String,
    #[serde(default = "ten")]
    pub every_seconds: u64,
}

fn ten() -> u64 {
    10
}

/// `[limits]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub body_seconds: u64,
    pub idle_seconds: u64,
    pub head_seconds: u64,
    pub answer_seconds: u64,
    pub connections_max: usize,
    pub connections_per_source_max: usize,
    pub buffered_bytes_max: usize,
    pub caller_calls_per_second: u32,
    pub stranger_calls_per_second: u32,
    pub equal_refusals_per_minute: u32,
    pub refusals_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            body_seconds: 30,
            idle_seconds: 60,
            head_seconds: 10,
            answer_seconds: 60,
            connections_max: 4096,
            connections_per_source_max: 1024,
            buffered_bytes_max: 256 * 1024 * 1024,
            caller_calls_per_second: 5000,
            stranger_calls_per_second: 1000,
            equal_refusals_per_minute: 300,
            refusals_per_minute: 3000,
        }
    }
}

/// `[upstreams]`: how all of them are reached.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstreams {
    pub ca_file: Option<PathBuf>,
    pub connect_ms: u64,
    pub read_ms: u64,
    pub write_ms: u64,
    pub idle_ms: u64,
    pub answer_bytes_per_second_min: u64,
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            ca_file: None,
            connect_ms: 5_000,
            read_ms: 60_000,
            write_ms: 30_000,
            idle_ms: 15_000,
            answer_bytes_per_second_min: 1024,
        }
    }
}

/// `[[upstream]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    #[serde(default)]
    pub hosts: Vec<String>,
    pub service: Option<String>,
    pub url: String,
}

/// `[[push]]`: the trail sent on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub name: String,
    pub url: String,
    #[serde(default = "native")]
    pub form: String,
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    pub token_header: Option<String>,
    pub token_scheme: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub accept_bare_close: bool,
    pub resend_seconds: Option<u64>,
}

fn native() -> String {
    "ndjson".to_owned()
}
