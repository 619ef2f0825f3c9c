//! Signals while the gateway serves: they end it, or let it read anew what may change.

use super::Running;
use super::prepared::{Problems, read_rules};
use super::supervisor::Supervisor;
use crate::config::Settings;
use crate::gate::{Gate, RuleSet};
use crate::listen::phase::Phase;
use crate::listen::rejected;
use crate::listen::tls::Tls;
use crate::log;
use crate::metrics::Metrics;
use async_trait::async_trait;
use keyward_core::texts;
use keyward_decision::policy::{Bundle, Changes, Mode};
use keyward_record::Event;
use keyward_record::event::{Policies, PolicyChanges};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep_until};

/// More policies than this are counted only in the record of a reload.
const NAMES_MAX: usize = 100;
/// How often lost lines of the log go on record.
const LOST_LINES_EVERY: Duration = Duration::from_secs(60);

/// Between two looks at a watchdog that nobody has set.
const SELDOM: Duration = Duration::from_secs(3600);

/// SIGTERM and SIGINT stop and drain, the first after a delay if one is set; SIGHUP reads callers
/// and policies anew.
pub(super) struct Signals {
    pub running: Arc<Running>,
    pub settings: Settings,
    pub phase: Arc<Phase>,
    pub supervisor: Arc<Supervisor>,
    pub starting: Sender<()>,
    pub stopped: Sender<u8>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let status = self.wait().await.unwrap_or_else(|error| {
            tracing::error!(%error, "signals cannot be received; the gateway stops");
            1
        });
        self.leave();
        self.phase.stopping();
        tracing::info!("stopping: no new connections, finishing what is in flight");
        // pingora closes its listeners now; the drain goes on in `serve`.
        self.stopped.send(status).ok();
        ShutdownSignal::GracefulTerminate
    }
}

impl Signals {
    async fn wait(&self) -> std::io::Result<u8> {
        let (mut term, mut int, mut hup) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        let mut stop = self.running.stop.subscribe();
        self.starting.send(()).ok();
        let mut tick = interval(rejected::EVERY);
        let mut beat = interval(self.supervisor.beat().unwrap_or(SELDOM));
        // When the listeners close.
        let mut closing: Option<Instant> = None;
        let mut lost_lines = LostLines::default();
        loop {
            let closes = async {
                match closing {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Whoever asks twice does not want to wait.
                _ = term.recv() => match self.settings.drain_delay {
                    delay if delay.is_zero() || closing.is_some() => return Ok(0),
                    delay => {
                        closing = Some(Instant::now() + delay);
                        self.leave();
                        tracing::info!(seconds = delay.as_secs(), "calls are still taken, and /readyz says 503: the listeners close when the delay is over");
                    }
                },
                _ = int.recv() => return Ok(0),
                () = closes => return Ok(0),
                asked = stop.wait_for(Option::is_some) => return Ok(asked.ok().and_then(|s| *s).unwrap_or(0)),
                _ = hup.recv() => {
                    self.supervisor.reloading();
                    reload(&self.running.gate, &self.settings);
                    self.reload_certificates(|_| true);
                    self.reload_roots();
                    self.supervisor.ready();
                }
                _ = tick.tick() => {
                    self.running.turned_away.record_in_time(&self.running.gate.journal);
                    self.running.gate.floods.record(&self.running.gate.journal);
                    self.running.gate.rates.forget();
                    lost_lines.record(&self.running.gate);
                    self.reload_certificates(Tls::has_changed);
                    self.reload_roots();
                }
                // Not while only a restart helps: then the manager is to see to it.
                _ = beat.tick(), if self.running.gate.journal.alive().is_ok() => self.supervisor.alive(),
            }
        }
    }
}

/// Lines of the log that were lost.
#[derive(Default)]
struct LostLines {
    counted: u64,
    /// How many are on record, and since when.
    told: u64,
    at: Option<Instant>,
}

impl LostLines {
    /// Counts them, and puts on record that there are more: nobody reads of it in the log while
    /// that goes on.
    fn record(&mut self, gate: &Gate) {
        let lost = log::lost();
        gate.metrics
            .log_lines_lost
            .inc_by(lost.saturating_sub(std::mem::replace(&mut self.counted, lost)));
        if lost > self.told && self.at.is_none_or(|at| at.elapsed() >= LOST_LINES_EVERY) {
            let more = lost - std::mem::replace(&mut self.told, lost);
            self.at = Some(Instant::now());
            gate.journal
                .append_detached(Event::LogLinesLost { lines: more, since_start: lost }.record());
        }
    }
}

impl Signals {
    /// Says that the gateway is about to end.
    fn leave(&self) {
        if !self.phase.ends_connections() {
            self.phase.leaving();
            self.supervisor.stopping();
        }
    }

    /// Loads certificates anew. Bad files leave the old ones in force, and say so.
    fn reload_certificates(&self, wanted: impl Fn(&Tls) -> bool) {
        for tls in self.running.certificates.iter().filter(|tls| wanted(tls)) {
            let event = match tls.reload() {
                Ok(()) => {
                    tracing::info!("certificates are loaded anew");
                    Event::CertificatesLoaded { files: tls.files() }.record()
                }
                Err(error) => {
                    tracing::error!(%error, "the old certificates stay in force");
                    Event::CertificatesRefused { problem: error.to_string() }.record()
                }
            };
            self.running.gate.journal.append_detached(event);
        }
    }

    /// Loads the clouds' CA anew when its file has changed. A bad file leaves the old one in force,
    /// and says so.
    fn reload_roots(&self) {
        let event = match self.running.upstreams.roots().reload() {
            None => return,
            Some(Ok(file)) => {
                tracing::info!(file, "the CA certificates of upstreams are loaded anew");
                Event::CertificatesLoaded { files: vec![file.to_string()] }.record()
            }
            Some(Err(problem)) => {
                tracing::error!(problem, "the old CA certificates of upstreams stay in force");
                Event::CertificatesRefused { problem: problem.to_string() }.record()
            }
        };
        self.running.gate.journal.append_detached(event);
    }
}

/// Shows in the metrics which policies are in force.
pub(super) fn show_policies(metrics: &Metrics, bundle: &Bundle) {
    metrics.bundle.reset();
    metrics.bundle.with_label_values(&[&bundle.hash]).set(1);
    for (mode, label) in [(Mode::Enforce, "enforce"), (Mode::Shadow, "shadow")] {
        let count = bundle.policies().filter(|policy| policy.mode == mode).count();
        metrics.policies.with_label_values(&[label]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for change in ["came", "went", "changed"] {
        metrics.policy_changes.with_label_values(&[change]);
    }
    for policy in bundle.policies().filter(|policy| policy.mode == Mode::Shadow) {
        metrics.would_deny.with_label_values(&[policy.id.as_str()]);
        metrics.shadow_errors.with_label_values(&[policy.id.as_str()]);
    }
}

/// For the record: how many, and their names.
fn recorded(changes: &Changes) -> PolicyChanges {
    let some = |ids: &[String]| Policies {
        count: ids.len() as u64,
        ids: ids.iter().take(NAMES_MAX).cloned().collect(),
    };
    PolicyChanges {
        came: some(&changes.came),
        went: some(&changes.went),
        changed: some(&changes.changed),
    }
}

/// Reads callers and policies anew. A bad bundle leaves the old one in force, and says so.
fn reload(gate: &Gate, settings: &Settings) {
    let kept = |rules: RuleSet| match texts::keep(
        &settings.audit_dir,
        &gate.catalog.documents,
        &rules.policies.source,
    ) {
        Ok(()) => Ok(rules),
        Err(error) => {
            Err(Problems(vec![format!("the texts of the policies cannot be kept: {error}")]))
        }
    };
    match read_rules(settings, &gate.catalog).and_then(kept) {
        Ok(rules) => {
            let before = gate.rules.load_full();
            let changes = Changes::between(&before.policies, &rules.policies);
            let (old, new) = (before.policies.hash.to_owned(), rules.policies.hash.to_owned());
            let (policies, callers) =
                (rules.policies.policies().count(), rules.directory.callers.len());
            show_policies(&gate.metrics, &rules.policies);
            for (change, ids) in
                [("came", &changes.came), ("went", &changes.went), ("changed", &changes.changed)]
            {
                gate.metrics.policy_changes.with_label_values(&[change]).inc_by(ids.len() as u64);
            }
            gate.rules.store(Arc::new(rules));
            let event = Event::RulesLoaded {
                bundle: new.clone(),
                before: old,
                policies: Some(policies as u64),
                callers: Some(callers as u64),
                changes: Some(recorded(&changes)),
            };
            gate.journal.append_detached(event.record());
            let (came, went, changed) =
                (changes.came.len(), changes.went.len(), changes.changed.len());
            tracing::info!(bundle = %new, policies, came, went, changed, callers, "callers and policies are in force");
        }
        Err(problems) => {
            gate.journal.append_detached(
                Event::RulesRefused {
                    problems: problems.0.clone(),
                    in_force: gate.rules.load().policies.hash.to_string(),
                }
                .record(),
            );
            tracing::error!("the old callers and policies stay in force:\n{problems}");
        }
    }
}
