//! Configuration: as written (TOML, unknown keys are errors), and as meant ([`Settings`]).

mod bounds;
mod evidence;
pub mod form;
mod push;

use crate::audit::retention;
use crate::audit::segment::{BLOCK_RECORDS, SEGMENT_RECORDS};
use crate::catalog::route::HostPattern;
use crate::flood;
use crate::listen::source::Peers;
use crate::listen::{registry, tls};
use crate::proxy::Limits;
use crate::proxy::health::Health;
use crate::proxy::upstream::{Timeouts, Upstream};
use crate::rate;
use form::{ClientCertificates, Form};
use ipnet::IpNet;
use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration as meant: every value checked, every path whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Worker threads of the gateway.
    pub threads: usize,
    /// Time in which calls are still taken after SIGTERM.
    pub drain_delay: Duration,
    /// Time to finish what is in flight then.
    pub drain: Duration,
    /// Where auditors and Prometheus connect.
    pub admin: SocketAddr,
    /// Names by which the admin may be asked, beside its address.
    pub admin_hosts: Vec<String>,
    /// The folder of OpenAPI documents.
    pub catalog_dir: PathBuf,
    /// Hosts that the operator adds to a service.
    pub service_hosts: Vec<(String, Vec<HostPattern>)>,
    /// The callers file.
    pub callers_file: PathBuf,
    /// The folder of policies.
    pub policies_dir: PathBuf,
    /// The folder of the audit log.
    pub audit_dir: PathBuf,
    /// The key of keyed digests.
    pub digest_key_file: PathBuf,
    /// A commit that takes longer refuses the calls that wait for it.
    pub commit_deadline: Duration,
    /// Free bytes below which calls are refused before the disk is full.
    pub free_bytes_min: u64,
    /// Bytes kept back so that the trail can be opened on a full disk.
    pub ballast_bytes: u64,
    /// Records of a sealed segment.
    pub segment_records: u64,
    /// When a segment is sealed although it is not full.
    pub seal_after: Duration,
    /// How long the trail is kept.
    pub retention: retention::Policy,
    /// How the trail is made evidence.
    pub evidence: crate::evidence::Settings,
    /// Bytes of a redacted body that a record keeps.
    pub kept_body_bytes_max: usize,
    /// Bodies longer than this are refused.
    pub body_bytes_max: usize,
    /// Towards clients.
    pub limits: Limits,
    /// Time for a whole head.
    pub head_time: Duration,
    /// How many connections there may be.
    pub connections: registry::Bounds,
    /// Bytes of bodies that are held at one time.
    pub buffered_bytes_max: usize,
    /// How often callers may ask.
    pub rates: rate::Bounds,
    /// How many refusals have records of their own.
    pub floods: flood::Bounds,
    /// Towards upstreams.
    pub timeouts: Timeouts,
    /// CA certificates for upstreams, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The upstreams, in the order in which they are tried.
    pub upstreams: Vec<Upstream>,
    /// Where the trail is sent on to.
    pub pushes: Vec<crate::push::Settings>,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its address.
    pub address: SocketAddr,
    /// The service to which it is bound, if routing is not by Host.
    pub service: Option<String>,
    /// TLS; `None` is plain HTTP.
    pub tls: Option<tls::Settings>,
    /// Peers that begin each connection with a PROXY header.
    pub proxies: Peers,
    /// Peers whose X-Forwarded-For names the source.
    pub forwarders: Peers,
    /// What is answered on its health here.
    pub health: Option<Health>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML of this form.
    #[error("{file}:{line}:{column}: {why}")]
    Form {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong, with a suggestion.
        why: String,
    },
    /// A `--set` that names no key or gives it a wrong value.
    #[error("--set {given}: {why}")]
    Set {
        /// As given.
        given: String,
        /// What is wrong.
        why: String,
    },
    /// A value that is of the form, but makes no sense.
    #[error("{file}: {key}: {why}")]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What is wrong and what to do.
        why: String,
    },
}

impl Settings {
    /// Reads a configuration file; `sets` are `section.key=value` and win.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what to do.
    pub fn load(file: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: name.clone(), source })?;
        let form = form::read(&name, &text, sets)?;
        let base = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::from_form(&name, base, form)
    }

    fn from_form(file: &str, base: &Path, form: Form) -> Result<Self, ConfigError> {
        let value = |key: &str, why: String| ConfigError::Value { file: file.to_owned(), key: key.to_owned(), why };
        bounds::check(&form).map_err(|(key, why)| value(key, why))?;
        if form.listener.is_empty() {
            return Err(value("listener", "add a `[[listener]]` with an `address`".to_owned()));
        }
        if form.upstream.is_empty() {
            return Err(value("upstream", "add an `[[upstream]]` with `hosts` and `url`".to_owned()));
        }
        let hosts = |key: &str, hosts: &[String]| {
            let parse = |h: &String| {
                HostPattern::parse(h).ok_or_else(|| value(key, format!("`{h}` is no host pattern: write labels, with `*` for exactly one of them")))
            };
            hosts.iter().map(parse).collect::<Result<Vec<_>, _>>()
        };
        let service_hosts = form.service.iter().map(|s| Ok((s.name.clone(), hosts("service.hosts", &s.hosts)?))).collect::<Result<_, _>>()?;
        let upstream = |u: &form::Upstream| {
            let (tls, name, port) = parse_url(&u.url).ok_or_else(|| {
                value("upstream.url", format!("`{}` must be http:// or https://, a name, an address (IPv6 in brackets) or {{host}}, and perhaps a port", u.url))
            })?;
            if u.hosts.is_empty() && u.service.is_none() {
                return Err(value("upstream", format!("`{}` serves nothing: give it `hosts`, or a `service` for listeners that are bound to one", u.url)));
            }
            Ok(Upstream { hosts: hosts("upstream.hosts", &u.hosts)?, service: u.service.clone(), tls, name, port })
        };
        if !(BLOCK_RECORDS as u64..=SEGMENT_RECORDS).contains(&form.audit.segment_records) || !form.audit.segment_records.is_multiple_of(BLOCK_RECORDS as u64) {
            let why = format!("{} must be a multiple of {BLOCK_RECORDS}, {SEGMENT_RECORDS} at most", form.audit.segment_records);
            return Err(value("audit.segment_records", why));
        }
        let evidence = evidence::settings(&form.evidence, base, &base.join(&form.audit.dir)).map_err(|(key, why)| value(key, why))?;
        Ok(Self {
            listeners: form.listener.into_iter().map(|l| listener(base, l).map_err(|why| value("listener", why))).collect::<Result<_, _>>()?,
            evidence,
            threads: form.gateway.threads.max(1),
            drain_delay: Duration::from_secs(form.gateway.drain_delay_seconds),
            drain: Duration::from_secs(form.gateway.drain_seconds),
            admin: form.admin.address,
            admin_hosts: form.admin.hosts,
            catalog_dir: base.join(form.catalog.dir),
            service_hosts,
            callers_file: base.join(form.callers.file),
            policies_dir: base.join(form.policies.dir),
            digest_key_file: form.audit.digest_key_file.map_or_else(|| base.join(&form.audit.dir).join("digest.key"), |f| base.join(f)),
            audit_dir: base.join(form.audit.dir),
            commit_deadline: Duration::from_millis(form.audit.commit_deadline_ms),
            free_bytes_min: form.audit.free_bytes_min,
            ballast_bytes: form.audit.ballast,
            kept_body_bytes_max: form.audit.kept_body_bytes_max,
            segment_records: form.audit.segment_records,
            seal_after: Duration::from_secs(form.audit.seal_after_hours.saturating_mul(3600)),
            retention: retention(base, form.retention).map_err(|(key, why)| value(key, why))?,
            body_bytes_max: form.limits.body_bytes_max,
            limits: Limits {
                body: Duration::from_secs(form.limits.body_seconds),
                idle: Duration::from_secs(form.limits.idle_seconds),
                answer: Duration::from_secs(form.limits.answer_seconds),
            },
            head_time: Duration::from_secs(form.limits.head_seconds),
            connections: registry::Bounds { all: form.limits.connections_max.max(1), per_source: form.limits.connections_per_source_max.max(1) },
            buffered_bytes_max: form.limits.buffered_bytes_max,
            rates: rate::Bounds {
                caller: NonZeroU32::new(form.limits.caller_calls_per_second),
                source: NonZeroU32::new(form.limits.stranger_calls_per_second),
            },
            floods: flood::Bounds { equal: NonZeroU32::new(form.limits.equal_refusals_per_minute), all: NonZeroU32::new(form.limits.refusals_per_minute) },
            timeouts: Timeouts {
                connect: Duration::from_millis(form.upstreams.connect_ms),
                read: Duration::from_millis(form.upstreams.read_ms),
                write: Duration::from_millis(form.upstreams.write_ms),
                idle: Duration::from_millis(form.upstreams.idle_ms),
                pace: form.upstreams.answer_bytes_per_second_min,
            },
            ca_file: form.upstreams.ca_file.map(|f| base.join(f)),
            upstreams: form.upstream.iter().map(upstream).collect::<Result<_, ConfigError>>()?,
            pushes: push::read(base, form.push).map_err(|(key, why)| value(&key, why))?,
        })
    }
}

/// How long the trail is kept, as meant.
///
/// # Errors
/// When a bound would keep nothing at all.
fn retention(base: &Path, form: form::Retention) -> Result<retention::Policy, (&'static str, String)> {
    const DAY: u64 = 24 * 60 * 60;
    if form.max_age_days == Some(0) {
        return Err(("retention.max_age_days", "0 would keep nothing: leave it out to keep everything".to_owned()));
    }
    if form.max_bytes == Some(0) {
        return Err(("retention.max_bytes", "0 would keep nothing: leave it out to keep everything".to_owned()));
    }
    Ok(retention::Policy {
        max_age: form.max_age_days.map(|days| Duration::from_secs(days.saturating_mul(DAY))),
        max_bytes: form.max_bytes,
        holds_file: form.holds_file.map(|file| base.join(file)),
        every: Duration::from_secs(form.every_seconds.max(1)),
    })
}

/// One listener as meant.
///
/// # Errors
/// When it would take plain HTTP from the network without being asked to in so many words, or its TLS says half of
/// what it must.
fn listener(base: &Path, form: form::Listener) -> Result<Listener, String> {
    let address = form.address;
    let loopback = address.ip().to_canonical().is_loopback();
    if form.tls.is_none() && !loopback && !form.plain_http_beyond_loopback {
        return Err(format!(
            "{address} would take calls and their credentials in clear from the network: give it `[listener.tls]`, or say `plain_http_beyond_loopback = true`"
        ));
    }
    if form.tls.is_some() && form.plain_http_beyond_loopback {
        return Err(format!("{address} has both `[listener.tls]` and `plain_http_beyond_loopback`: it can be only one"));
    }
    let tls = form.tls.map(|tls| tls_settings(base, tls).map_err(|why| format!("{address}: {why}"))).transpose()?;
    let health = health(form.health_path, form.health_from).map_err(|why| format!("{address}: {why}"))?;
    Ok(Listener { address, service: form.service, tls, proxies: Peers(form.proxy_protocol_from), forwarders: Peers(form.forwarded_for_from), health })
}

/// What a listener answers of its health.
///
/// # Errors
/// When the path is none, or is missing.
fn health(path: Option<String>, from: Vec<IpNet>) -> Result<Option<Health>, String> {
    let plain = |path: &str| path.len() > 1 && path.starts_with('/') && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b));
    match path {
        None if from.is_empty() => Ok(None),
        None => Err("`health_from` is there, but no `health_path`: say what is asked for, such as `/healthz`".to_owned()),
        Some(path) if plain(&path) => Ok(Some(Health { path, from: Peers(from) })),
        Some(path) => Err(format!("`health_path` cannot be `{path}`: write a path of letters, digits and `/-_.`, such as `/healthz`")),
    }
}

fn tls_settings(base: &Path, form: form::Tls) -> Result<tls::Settings, String> {
    if form.certificates.is_empty() {
        return Err("`tls.certificates` is empty: add { chain = \"…\", key = \"…\" }".to_owned());
    }
    let clients = match (form.client_certificates, form.client_ca_file) {
        (ClientCertificates::None, None) => tls::Clients::NotAsked,
        (ClientCertificates::None, Some(_)) => {
            return Err("`tls.client_ca_file` is there, but `tls.client_certificates` is not `optional` or `required`".to_owned());
        }
        (_, None) => return Err("`tls.client_certificates` needs `tls.client_ca_file`: the CA whose certificates count".to_owned()),
        (ClientCertificates::Optional, Some(ca)) => tls::Clients::Optional(base.join(ca)),
        (ClientCertificates::Required, Some(ca)) => tls::Clients::Required(base.join(ca)),
    };
    let certificates = form.certificates.into_iter().map(|c| tls::KeyPair { chain: base.join(c.chain), key: base.join(c.key) }).collect();
    Ok(tls::Settings { certificates, clients })
}

/// `https://{host}`, `http://127.0.0.1:9000`: TLS or not, the fixed name, the port.
fn parse_url(url: &str) -> Option<(bool, Option<String>, u16)> {
    let (tls, rest) = match url.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let usual = if tls { 443 } else { 80 };
    if let Some((address, port)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = if port.is_empty() { usual } else { port.strip_prefix(':')?.parse().ok()? };
        return Some((tls, Some(address.parse::<Ipv6Addr>().ok()?.to_string()), port));
    }
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (rest, usual),
    };
    let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    match name {
        "{host}" => Some((tls, None, port)),
        _ if sound => Some((tls, Some(name.to_ascii_lowercase()), port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(parse_url("https://{host}"), Some((true, None, 443)));
        assert_eq!(parse_url("http://127.0.0.1:9000/"), Some((false, Some("127.0.0.1".into()), 9000)));
        assert_eq!(parse_url("https://[2001:DB8::1]:8443"), Some((true, Some("2001:db8::1".into()), 8443)));
        assert_eq!(parse_url("http://[::1]/"), Some((false, Some("::1".into()), 80)));
        for bad in [
            "http://[::1",
            "http://::1",
            "http://[a]",
            "http://[::1]80",
            "http://[127.0.0.1]",
            "http://[::1%25eth0]",
            "ftp://a",
            "a",
            "https://",
            "https://a/b",
            "https://a:b",
            "https://{region}",
        ] {
            assert_eq!(parse_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_shipped_configuration_loads() {
        Settings::load(Path::new("config/keyward.toml"), &[]).unwrap();
        let set = Settings::load(Path::new("config/keyward.toml"), &["limits.body_bytes_max=5".into(), "admin.address=127.0.0.1:1".into()]).unwrap();
        assert_eq!((set.body_bytes_max, set.admin.port()), (5, 1));
    }

    #[test]
    fn mistakes_have_a_place_and_a_suggestion() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k.toml");
        let say = |text: &str, sets: &[String]| {
            std::fs::write(&file, text).unwrap();
            Settings::load(&file, sets).unwrap_err().to_string()
        };
        let error = say("[limits]\nbody_bytes_mx = 5\n", &[]);
        assert!(error.contains("k.toml:2:1") && error.contains("did you mean `body_bytes_max`"), "{error}");
        let error = say("[limits]\nbody_bytes_max = 'x'\n", &[]);
        assert!(error.contains("k.toml:2:"), "{error}");
        let error = say("[[listener]]\naddress = '127.0.0.1:1'\nproxy_protocol_from = ['127.0.0.1']\n", &[]);
        assert!(error.contains("k.toml:3:") && error.contains("`127.0.0.1/32`"), "{error}");
        let error = say("", &[]);
        assert!(error.contains("[[listener]]"), "{error}");
        let error = say("[limits]\n", &["limits.body=5".into()]);
        assert!(error.contains("--set limits.body=5"), "{error}");
        let error = say("[limits]\n", &["limits".into()]);
        assert!(error.contains("section.key=value"), "{error}");
    }
}
