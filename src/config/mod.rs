//! Configuration: as written (TOML, unknown keys are errors), and as meant ([`Settings`]).

mod bounds;
mod evidence;
pub mod form;
mod listener;
mod push;
mod upstream;

use crate::flood;
use crate::listen::source::Peers;
use crate::listen::{registry, tls};
use crate::proxy::Limits;
use crate::proxy::health::Health;
use crate::proxy::upstream::{Timeouts, Upstream};
use crate::rate;
use form::Form;
use keyward_core::written::{Mistake, Mistakes, Written};
use keyward_decision::catalog::route::HostPattern;
use keyward_trail::retention;
use keyward_trail::segment::{BLOCK_RECORDS, SEGMENT_RECORDS};
use std::net::SocketAddr;
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

/// A configuration as far as it can be read.
#[derive(Debug)]
pub struct Draft {
    /// What is right of it; elsewhere the defaults, or nothing.
    pub settings: Settings,
    /// What is wrong, by place.
    pub mistakes: Vec<Mistake>,
    sure: Vec<&'static str>,
}

/// The sections of which others ask whether they are known.
const SECTIONS: &[&str] =
    &["catalog", "callers", "policies", "audit", "evidence", "limits", "gateway"];

impl Draft {
    /// Reads a configuration file; `sets` are `section.key=value` and win.
    ///
    /// # Errors
    /// When it cannot be read, or is no TOML.
    pub fn read(file: &Path, sets: &[String]) -> Result<Self, Mistake> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| Mistake {
            of: name.clone(),
            place: None,
            why: format!("cannot be read: {error}"),
        })?;
        let base = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::of_text(&name, &text, base, sets)
    }

    /// The same of a file's text, in which paths start from `base`.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn of_text(name: &str, text: &str, base: &Path, sets: &[String]) -> Result<Self, Mistake> {
        let mut told = Written::parse(name, text)?;
        let mut form = told.read();
        if !sets.is_empty() {
            sets.iter().for_each(|given| told.lay_over(given));
            form = told.read();
        }
        let settings = Settings::from_form(base, form, &mut told);
        let sure = SECTIONS.iter().copied().filter(|section| told.is_sure(section)).collect();
        Ok(Self { settings, mistakes: told.into_mistakes(), sure })
    }

    /// Whether a section is as it was meant: nothing in it is wrong.
    pub fn is_sure(&self, section: &str) -> bool {
        debug_assert!(SECTIONS.contains(&section), "{section} is no section");
        self.sure.contains(&section)
    }
}

/// Tells what is wrong with the value of a key, such as `push.1.name`. Which one of a list it is,
/// its line says.
fn wrong(told: &mut Written<'_>, key: &str, why: String) {
    clash(told, key, key, why);
}

/// The same of a key that does not go with others of `scope`.
fn clash(told: &mut Written<'_>, scope: &str, key: &str, why: String) {
    let steps: Vec<_> = key.split('.').collect();
    let shown = steps
        .iter()
        .filter(|step| step.parse::<usize>().is_err())
        .copied()
        .collect::<Vec<_>>()
        .join(".");
    told.clash(&scope.split('.').collect::<Vec<_>>(), &steps, format!("{shown}: {why}"));
}

impl Settings {
    /// Reads a configuration file; `sets` are `section.key=value` and win.
    ///
    /// # Errors
    /// All that is wrong, each with its place and what to do.
    pub fn load(file: &Path, sets: &[String]) -> Result<Self, Mistakes> {
        let draft = Draft::read(file, sets).map_err(|mistake| Mistakes(vec![mistake]))?;
        if draft.mistakes.is_empty() { Ok(draft.settings) } else { Err(Mistakes(draft.mistakes)) }
    }

    fn from_form(base: &Path, form: Form, told: &mut Written<'_>) -> Self {
        bounds::check(&form, told);
        if form.listener.is_empty() {
            wrong(told, "listener", "add a `[[listener]]` with an `address`".to_owned());
        }
        if form.upstream.is_empty() {
            wrong(told, "upstream", "add an `[[upstream]]` with `hosts` and `url`".to_owned());
        }
        if !(BLOCK_RECORDS as u64..=SEGMENT_RECORDS).contains(&form.audit.segment_records)
            || !form.audit.segment_records.is_multiple_of(BLOCK_RECORDS as u64)
        {
            let why = format!(
                "{} must be a multiple of {BLOCK_RECORDS}, {SEGMENT_RECORDS} at most",
                form.audit.segment_records
            );
            wrong(told, "audit.segment_records", why);
        }
        let services = form.service.into_iter().enumerate();
        let service_hosts = services
            .map(|(i, service)| {
                (service.name, hosts(&format!("service.{i}.hosts"), &service.hosts, told))
            })
            .collect();
        let upstreams = form
            .upstream
            .iter()
            .enumerate()
            .filter_map(|(i, form)| upstream::read(form, &format!("upstream.{i}"), told))
            .collect();
        let listeners = form.listener.into_iter().enumerate();
        let listeners = listeners
            .filter_map(|(i, form)| listener::read(base, form, &format!("listener.{i}"), told))
            .collect();
        Self {
            listeners,
            evidence: evidence::settings(&form.evidence, base, &base.join(&form.audit.dir), told),
            threads: form.gateway.threads.max(1),
            drain_delay: Duration::from_secs(form.gateway.drain_delay_seconds),
            drain: Duration::from_secs(form.gateway.drain_seconds),
            admin: form.admin.address,
            admin_hosts: form.admin.hosts,
            catalog_dir: base.join(form.catalog.dir),
            service_hosts,
            callers_file: base.join(form.callers.file),
            policies_dir: base.join(form.policies.dir),
            digest_key_file: form
                .audit
                .digest_key_file
                .map_or_else(|| base.join(&form.audit.dir).join("digest.key"), |f| base.join(f)),
            audit_dir: base.join(form.audit.dir),
            commit_deadline: Duration::from_millis(form.audit.commit_deadline_ms),
            free_bytes_min: form.audit.free_bytes_min,
            ballast_bytes: form.audit.ballast,
            kept_body_bytes_max: form.audit.kept_body_bytes_max,
            segment_records: form.audit.segment_records,
            seal_after: Duration::from_secs(form.audit.seal_after_hours.saturating_mul(3600)),
            retention: retention(base, form.retention, told),
            body_bytes_max: form.limits.body_bytes_max,
            limits: Limits {
                body: Duration::from_secs(form.limits.body_seconds),
                idle: Duration::from_secs(form.limits.idle_seconds),
                answer: Duration::from_secs(form.limits.answer_seconds),
            },
            head_time: Duration::from_secs(form.limits.head_seconds),
            connections: registry::Bounds {
                all: form.limits.connections_max.max(1),
                per_source: form.limits.connections_per_source_max.max(1),
            },
            buffered_bytes_max: form.limits.buffered_bytes_max,
            rates: rate::Bounds {
                caller: NonZeroU32::new(form.limits.caller_calls_per_second),
                source: NonZeroU32::new(form.limits.stranger_calls_per_second),
            },
            floods: flood::Bounds {
                equal: NonZeroU32::new(form.limits.equal_refusals_per_minute),
                all: NonZeroU32::new(form.limits.refusals_per_minute),
            },
            timeouts: Timeouts {
                connect: Duration::from_millis(form.upstreams.connect_ms),
                read: Duration::from_millis(form.upstreams.read_ms),
                write: Duration::from_millis(form.upstreams.write_ms),
                idle: Duration::from_millis(form.upstreams.idle_ms),
                pace: form.upstreams.answer_bytes_per_second_min,
            },
            ca_file: form.upstreams.ca_file.map(|f| base.join(f)),
            upstreams,
            pushes: push::read(base, form.push, told),
        }
    }
}

/// Host patterns that are right.
fn hosts(key: &str, hosts: &[String], told: &mut Written<'_>) -> Vec<HostPattern> {
    let mut parse = |(i, host): (usize, &String)| {
        let pattern = HostPattern::parse(host);
        if pattern.is_none() {
            wrong(
                told,
                &format!("{key}.{i}"),
                format!(
                    "`{host}` is no host pattern: write labels, with `*` for exactly one of them"
                ),
            );
        }
        pattern
    };
    hosts.iter().enumerate().filter_map(&mut parse).collect()
}

/// How long the trail is kept, as meant.
fn retention(base: &Path, form: form::Retention, told: &mut Written<'_>) -> retention::Policy {
    const DAY: u64 = 24 * 60 * 60;
    for (key, bound) in
        [("retention.max_age_days", form.max_age_days), ("retention.max_bytes", form.max_bytes)]
    {
        if bound == Some(0) {
            wrong(told, key, "0 would keep nothing: leave it out to keep everything".to_owned());
        }
    }
    retention::Policy {
        max_age: form.max_age_days.map(|days| Duration::from_secs(days.saturating_mul(DAY))),
        max_bytes: form.max_bytes,
        holds_file: form.holds_file.map(|file| base.join(file)),
        every: Duration::from_secs(form.every_seconds.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_loads() {
        Settings::load(Path::new("config/keyward.toml"), &[]).unwrap();
        let set = Settings::load(
            Path::new("config/keyward.toml"),
            &["limits.body_bytes_max=5".into(), "admin.address=127.0.0.1:1".into()],
        )
        .unwrap();
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
        assert!(
            error.contains("k.toml:2:1") && error.contains("did you mean `body_bytes_max`"),
            "{error}"
        );
        let error = say("[limits]\nbody_bytes_max = 'x'\n", &[]);
        assert!(error.contains("k.toml:2:"), "{error}");
        let error = say(
            "[[listener]]\naddress = '127.0.0.1:1'\nproxy_protocol_from = ['127.0.0.1']\n",
            &[],
        );
        assert!(error.contains("k.toml:3:") && error.contains("`127.0.0.1/32`"), "{error}");
        let error = say("", &[]);
        assert!(error.contains("[[listener]]"), "{error}");
        let error = say("[limits]\n", &["limits.body=5".into()]);
        assert!(error.contains("--set limits.body=5"), "{error}");
        let error = say("[limits]\n", &["limits".into()]);
        assert!(error.contains("section.key=value"), "{error}");
    }

    #[test]
    fn every_mistake_is_told_once_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k.toml");
        let say = |text: &str, sets: &[&str]| {
            std::fs::write(&file, text).unwrap();
            let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
            let said = Settings::load(&file, &sets).unwrap_err().to_string();
            said.replace(&format!("{}:", file.display()), "")
        };
        let same = |said: String, wanted: &[(&str, &str)]| {
            let lines: Vec<_> = said.lines().collect();
            assert_eq!(lines.len(), wanted.len(), "{said}");
            for (line, (place, text)) in lines.iter().zip(wanted) {
                assert!(line.starts_with(place) && line.contains(text), "{place} {text}: {said}");
            }
        };
        let text = "[limits]\nbody_bytes_mx = 5\nbody_seconds = 'x'\nhead_seconds = 0\n[gateway]\nthreads = 5000\ndrain_seconds = 100000\n[adnim]\n\
                    [[listener]]\naddress = '0.0.0.0:1'\n[[listener]]\nadress = '127.0.0.1:1'\n[[listener]]\naddress = '127.0.0.1:3'\n\
                    forwarded_for_from = ['10.0.0.0/8', '10.0.0.1', 'x']\nhealth_path = 'x'\n[[upstream]]\nurl = 'ftp://a'\n[[upstream]]\nhosts = ['a b', 'b']\n\
                    url = 'https://{host}'\n[[push]]\nname = 'A'\nurl = 'http://a'\nform = 'csv'\n[[push]]\nname = 'b'\nurl = 'tls://a'\n\
                    accept_bare_close = 1\n[audit]\nsegment_records = 1\nballast = 'much'\n[retention]\nmax_age_days = 0\nmax_bytes = 0\n";
        same(
            say(text, &[]),
            &[
                ("2:1:", "did you mean `body_bytes_max`"),
                ("3:16:", "expected u64"),
                ("4:1:", "limits.head_seconds: 0 would let nothing through"),
                ("6:1:", "gateway.threads: 5000 is too much"),
                ("7:1:", "gateway.drain_seconds"),
                ("8:2:", "did you mean `admin`"),
                ("9:1:", "plain_http_beyond_loopback"),
                ("12:1:", "did you mean `address`"),
                ("15:37:", "`10.0.0.1/32`"),
                ("15:49:", "`x` is no network"),
                ("16:1:", "`health_path` cannot be `x`"),
                ("17:1:", "serves nothing"),
                ("18:1:", "upstream.url: `ftp://a`"),
                ("20:10:", "upstream.hosts: `a b` is no host pattern"),
                ("23:1:", "push.name: `A`"),
                ("24:1:", "push.url: `http://a`"),
                ("25:1:", "push.form: `csv`"),
                ("29:21:", "expected a boolean"),
                ("31:1:", "audit.segment_records"),
                ("32:11:", "`much` is no size"),
                ("34:1:", "retention.max_age_days"),
                ("35:1:", "retention.max_bytes"),
            ],
        );
        // What follows from a mistake is not told beside it.
        same(
            say("[[listener]]\nadress = '127.0.0.1:1'\n[[upstream]]\nurl = 5\n", &[]),
            &[("2:1:", "`address`"), ("4:7:", "string")],
        );
        same(
            say("[[listener]]\naddress = '0.0.0.0:1'\ntls = 1\n[[upstrem]]\n", &[]),
            &[("3:7:", "invalid type"), ("4:3:", "did you mean `upstream`")],
        );
        same(
            say("[[listener]]\n[[upstream]]\nhosts = ['a']\n", &[]),
            &[("1:1:", "`address` is missing"), ("2:1:", "`url` is missing")],
        );
        let rest = "[[listener]]\naddress = '127.0.0.1:1'\n[[upstream]]\nhosts = ['a']\nurl = 'https://a'\n";
        let sets = [
            "limits.body=5",
            "limits.body_bytes_max=0",
            "limits",
            "listener.address=x",
            "evidence.witness=[{url = 'https://a'}]",
        ];
        same(
            say(rest, &sets),
            &[
                ("--set evidence.witness=[", "`key` is missing"),
                ("--set limits: ", "section.key=value"),
                ("--set limits.body=5: ", "unknown key `body`"),
                ("--set limits.body_bytes_max=0: ", "0 would let nothing through"),
                ("--set listener.address=x: ", "this section is a list"),
            ],
        );
        same(say("a = [\n", &[]), &[("1:", "unclosed array")]);
    }
}
