//! The process' life in order: read everything, open the journal, announce, serve, drain, close.

pub mod files;
mod paths;
mod prepared;
mod signals;
mod supervisor;

use self::files::Files;
pub use self::prepared::{Prepared, Problems, check_doors, read_words};
use self::signals::Signals;
use self::supervisor::Supervisor;
use crate::admin;
use crate::admin::operator::Token;
use crate::backup;
use crate::config;
use crate::config::Settings;
use crate::evidence::{self, Evidence};
use crate::flood::Floods;
use crate::gate::Gate;
use crate::listen::phase::Phase;
use crate::listen::registry::{Bounds, Registry};
use crate::listen::rejected::TurnedAway;
use crate::listen::tls::Tls;
use crate::listen::{self, Shared};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::budget::Budget;
use crate::proxy::fault;
use crate::proxy::upstream::{self, Upstreams};
use crate::push::Pushes;
use crate::rate::Rates;
use keyward_core::secret::DigestKey;

use crate::record::compose::Composer;
use crate::record::redact::Redactor;
use anyhow::Context;
use arc_swap::ArcSwap;
use keyward_core::texts;
use keyward_record::Event;
use keyward_trail::held;
use keyward_trail::journal;
use keyward_trail::query::Reader;
use keyward_trail::retention::erasure;
use keyward_trail::retention::{Holds, Keeper, Retention};
use pingora::prelude::fast_timeout;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Connections that wait in the system until one is taken: while many come at once, those of honest
/// callers are among them.
const BACKLOG: i32 = 1024;

/// By which other programs are told of a proxy.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Threads of every gateway that takes calls: the engine's nine, the journal's, those that seal,
/// prune, sign and answer auditors, the four of pingora, and two that come and go.
const THREADS: usize = 20;

/// Time for the listeners to start, on a machine that is busy.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A running gateway, as far as others in the process need it.
pub struct Running {
    /// The gate.
    pub gate: Arc<Gate>,
    /// Where clients connect.
    pub listeners: Vec<SocketAddr>,
    /// Where auditors connect.
    pub admin: SocketAddr,
    turned_away: Arc<TurnedAway>,
    certificates: Vec<Arc<Tls>>,
    upstreams: Arc<Upstreams>,
    /// What makes of the trail something that others can check.
    pub evidence: Arc<Evidence>,
    /// What sends the trail on.
    pub pushes: Arc<Pushes>,
    /// What prunes the trail.
    pub keeper: Arc<Keeper>,
    stop: watch::Sender<Option<u8>>,
}

impl Running {
    /// Ends the gateway as SIGTERM does; the process then exits with this status.
    pub fn stop(&self, status: u8) {
        self.stop.send_replace(Some(status));
    }
}

/// A gateway with its journal open, about to serve.
pub struct Gateway {
    server: Server,
    starting: Sender<()>,
    started: Receiver<()>,
    running: Arc<Running>,
    settings: Settings,
    phase: Arc<Phase>,
    /// Ends the admin listener.
    end: watch::Sender<bool>,
}

impl Gateway {
    /// Opens the journal and builds the servers.
    ///
    /// # Errors
    /// When a port is taken, or the journal cannot be opened.
    pub fn open(prepared: Prepared) -> anyhow::Result<Self> {
        let Prepared { settings, catalog, rules, pushes } = prepared;
        let unfit = paths::written(&settings);
        if !unfit.is_empty() {
            return Err(Problems(unfit).into());
        }
        let metrics = Arc::new(Metrics::new()?);
        let admin = TcpListener::bind(settings.admin)
            .with_context(|| format!("admin listener {}", settings.admin))?;
        if !settings.admin.ip().to_canonical().is_loopback() {
            tracing::warn!(address = %settings.admin, "the admin listener has no login, and shows the trail to whoever reaches it: let nobody but auditors and Prometheus do so");
        }
        let files = Files::allow(&settings)?;
        held::keep_open(files.segments);
        for warning in files.warning(&settings).into_iter().chain(files::allow_length()) {
            tracing::warn!("{warning}");
        }
        if let Some(name) = PROXY_VARIABLES.iter().find(|name| std::env::var_os(name).is_some()) {
            tracing::warn!(
                "the environment has {name}, which is not used: calls go to clouds, and pushes to receivers, without a proxy (docs/listeners.md)"
            );
        }
        keyward_core::threads::probe(threads_of(&settings))?;
        let doors =
            settings.listeners.iter().map(Door::bind).collect::<anyhow::Result<Vec<_>>>()?;
        let listeners = doors
            .iter()
            .map(|door| Ok(door.socket.local_addr()?))
            .collect::<anyhow::Result<Vec<_>>>()?;
        paths::make(&settings.audit_dir).map_err(anyhow::Error::msg)?;
        let key = DigestKey::open_or_create(&settings.digest_key_file)?;
        let journal = journal::Settings {
            commit_deadline: settings.commit_deadline,
            free_bytes_min: settings.free_bytes_min,
            segment_records: settings.segment_records,
            seal_after: settings.seal_after,
            ballast_bytes: settings.ballast_bytes,
            ..journal::Settings::new(&settings.audit_dir)
        };
        let (journal, recovery, evidence) =
            evidence::open(journal, &settings.evidence, Arc::clone(&metrics))?;
        // The folder is ours by now.
        backup::remove_left_over(&settings.audit_dir);
        for note in &recovery.notes {
            tracing::warn!("{note}");
        }
        // Only now: another process could have had the folder, and on a full disk there was no
        // room.
        texts::keep(&settings.audit_dir, &catalog.documents, &rules.policies.source).context(
            "the texts of policies and catalogue cannot be kept: see to the disk, then start again",
        )?;
        if recovery.closed_unknown > 0 {
            tracing::warn!(
                exchanges = recovery.closed_unknown,
                "the last run left exchanges open; their outcome is on record as unknown"
            );
        }
        signals::show_policies(&metrics, &rules.policies);
        let gate = Arc::new(Gate {
            composer: Composer {
                redactor: Redactor::new(key.clone())?,
                body_bytes_max: settings.kept_body_bytes_max,
                catalog: catalog.digest.clone(),
            },
            catalog,
            rules: ArcSwap::from_pointee(rules),
            key,
            journal: Arc::new(journal),
            metrics: Arc::clone(&metrics),
            body_bytes_max: settings.body_bytes_max,
            rates: Rates::new(settings.rates),
            floods: Floods::new(settings.floods, Arc::clone(&metrics)),
        });
        announce(&gate);
        let phase = Arc::new(Phase::default());
        let pushes = Arc::new(
            Pushes::start(
                pushes,
                &Reader::of(&gate.journal),
                &gate.metrics,
                &settings.audit_dir.join("push"),
            )
            .context("pushes cannot be started: see to the disk, then start again")?,
        );
        let turned_away = TurnedAway::new(Arc::clone(&gate.metrics));
        let certificates = doors.iter().filter_map(|door| door.tls.clone()).collect();
        let evidence = Arc::new(evidence);
        let keeper = Arc::new(keeper(&settings, &gate, &evidence, &pushes)?);
        let admin_address = admin.local_addr()?;
        let own = listeners.iter().copied().chain([admin_address]).collect();
        let upstreams = Upstreams::new(
            settings.upstreams.clone(),
            settings.timeouts,
            own,
            settings.ca_file.as_deref(),
        );
        let running = Arc::new(Running {
            gate,
            listeners,
            admin: admin_address,
            upstreams: Arc::new(upstreams),
            evidence,
            pushes,
            keeper,
            stop: watch::Sender::new(None),
            turned_away,
            certificates,
        });
        let (starting, started) = std::sync::mpsc::channel();
        let end = watch::Sender::new(false);
        let server = build_server(
            &settings,
            files,
            &running,
            doors,
            &starting,
            (admin, end.subscribe()),
            &phase,
        )?;
        Ok(Self { server, starting, started, running, settings, phase, end })
    }

    /// The running gateway's handle.
    pub fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    /// Serves until a signal, drains and closes the journal. The process' exit status.
    ///
    /// # Errors
    /// When the server's thread cannot be started.
    pub fn serve(self) -> anyhow::Result<u8> {
        let Self { server, starting, started, running, settings, phase, end } = self;
        let supervisor = Arc::new(Supervisor::from_env());
        let event = Event::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: running.gate.rules.load().policies.hash.to_string(),
            catalog: running.gate.catalog.digest.to_string(),
            checkpoint_key: Some(running.evidence.notary().key().to_string()),
        };
        running.gate.journal.append_detached(event.record());
        let (stopped, status) = std::sync::mpsc::channel();
        let drain = settings.drain;
        let watch = Signals {
            running: Arc::clone(&running),
            settings,
            phase: Arc::clone(&phase),
            supervisor: Arc::clone(&supervisor),
            starting,
            stopped,
        };
        // pingora sleeps its whole grace out, busy or not; the process ends as soon as all is done.
        std::thread::Builder::new()
            .name("pingora".to_owned())
            .spawn(move || server.run(RunArgs { shutdown_signal: Box::new(watch) }))?;
        // One more: the watch for signals.
        wait_for_start(&started, running.listeners.len() + 1)?;
        phase.serving();
        supervisor.ready();
        tracing::info!(gateway = ?running.listeners, admin = %running.admin, "keyward serves");
        let status = status.recv().context("the server ended without a word")?;
        let drained = wait_for_open(&running.gate, drain);
        end.send_replace(true);
        running.turned_away.record(&running.gate.journal);
        running.gate.floods.close(&running.gate.journal);
        Ok(finish(&running, if drained { status } else { 1 }))
    }
}

/// Threads that there are when calls are taken. They are seen to be there before anything is
/// opened: in the midst of it some parts would end the process without a word, and others wait for
/// ever.
fn threads_of(settings: &Settings) -> usize {
    let off_host = &settings.evidence.off_host;
    let places =
        [off_host.directory.is_some(), off_host.webhook.is_some(), off_host.syslog.is_some()];
    let carriers = places.into_iter().filter(|there| *there).count() + off_host.witnesses.len();
    THREADS
        + settings.threads.saturating_mul(settings.listeners.len())
        + carriers
        + settings.pushes.len()
}

/// Starts what prunes the trail.
fn keeper(
    settings: &Settings,
    gate: &Arc<Gate>,
    evidence: &Arc<Evidence>,
    pushes: &Arc<Pushes>,
) -> anyhow::Result<Keeper> {
    let store = gate.journal.tiered().context("the journal has no sealed segments")?;
    if let Some(file) = &settings.retention.holds_file {
        Holds::read(file)?;
    }
    let (evidence, pushes) = (Arc::clone(evidence), Arc::clone(pushes));
    let retention = Retention::new(
        settings.retention.clone(),
        Arc::clone(&gate.journal),
        store,
        Arc::clone(&gate.metrics.trail),
        move || pushes.sent(),
    );
    Ok(Keeper::start(
        Arc::new(retention.behind(move || evidence.notary().signed())),
        erasure::end_begun,
    )?)
}

/// Lets each series be there before anything happens that it counts: one that appears with its
/// first 1 shows no rise.
fn announce(gate: &Gate) {
    let metrics = &gate.metrics;
    for (service, _) in gate.catalog.services() {
        for class in fault::CLASSES {
            metrics.upstream_errors.with_label_values(&[service.name.as_str(), class]).inc_by(0);
        }
    }
}

/// A listener's socket and its TLS, before anything is served.
struct Door {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Door {
    /// Binds it; with port 0 to a free port.
    fn bind(listener: &config::Listener) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(listener.address)
            .with_context(|| format!("gateway listener {}", listener.address))?;
        socket.set_nonblocking(true)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let tls = listener
            .tls
            .clone()
            .map(Tls::load)
            .transpose()
            .with_context(|| format!("gateway listener {}", listener.address))?;
        Ok(Self { socket, tls: tls.map(Arc::new) })
    }
}

fn build_server(
    settings: &Settings,
    files: Files,
    running: &Arc<Running>,
    doors: Vec<Door>,
    starting: &Sender<()>,
    (admin, end): (TcpListener, watch::Receiver<bool>),
    phase: &Arc<Phase>,
) -> anyhow::Result<Server> {
    let conf = ServerConf {
        threads: settings.threads,
        // Counts attempts, the first included, and so the addresses of one name. None is repeated
        // that may have sent.
        max_retries: upstream::ATTEMPTS_MAX,
        // The drain ends the process earlier; this is its bound. It begins when the delay is over.
        grace_period_seconds: Some(settings.drain.as_secs() + 5),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: files.idle,
        ca_file: settings.ca_file.as_ref().map(|f| f.display().to_string()),
        upgrade_sock: settings.audit_dir.join("upgrade.sock").display().to_string(),
        pid_file: settings.audit_dir.join("keyward.pid").display().to_string(),
        ..ServerConf::default()
    };
    start_clock().context("the clock of timeouts cannot be started")?;
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let metrics = &running.gate.metrics;
    let budget = Budget::new(
        settings.buffered_bytes_max,
        settings.body_bytes_max,
        files.calls,
        Arc::clone(metrics),
    );
    let shared = Shared {
        gate: Arc::clone(&running.gate),
        registry: Registry::new(files.connections, metrics.connections_open.clone()),
        open: Arc::new(Semaphore::new(files.connections.all + files.arriving)),
        turned_away: Arc::clone(&running.turned_away),
        head_time: settings.head_time,
    };
    for (listener, door) in settings.listeners.iter().zip(doors) {
        let proxy = Proxy {
            gate: Arc::clone(&running.gate),
            upstreams: Arc::clone(&running.upstreams),
            bound_service: listener.service.clone(),
            limits: settings.limits,
            budget: budget.clone(),
            forwarders: listener.forwarders.clone(),
            phase: Arc::clone(phase),
            health: listener.health.clone(),
        };
        let app = proxy.into_app(&server.configuration);
        server.add_service(listen::Listener::new(
            door.socket,
            app,
            shared.clone(),
            door.tls,
            listener.proxies.clone(),
            starting.clone(),
        ));
    }
    admin.set_nonblocking(true)?;
    let parts = admin::Parts {
        gate: Arc::clone(&running.gate),
        evidence: Arc::clone(&running.evidence),
        phase: Arc::clone(phase),
        end,
        pushes: Arc::clone(&running.pushes),
        keeper: Arc::clone(&running.keeper),
        audit_dir: settings.audit_dir.clone(),
        token: Token::create(&settings.audit_dir)
            .context("the operator's token cannot be written: see to the disk, then start again")?,
    };
    let bounds = admin::door::Bounds {
        places: Registry::new(
            Bounds { all: files.admin, per_source: files.admin },
            metrics.admin_connections_open.clone(),
        ),
        open: files.admin + files.arriving,
        idle: settings.limits.idle,
    };
    let admin = admin::Admin::new(admin, parts, bounds, &settings.admin_hosts)
        .context("the admin listener")?;
    let mut admin = background_service("admin", admin);
    admin.threads = Some(1);
    server.add_service(admin);
    Ok(server)
}

/// Starts the thread that ends pingora's timeouts. By itself it starts with the first of them, and
/// were there no thread to be had then, no call would ever be taken again.
fn start_clock() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(fast_timeout::fast_sleep(Duration::from_millis(1)));
    Ok(())
}

/// Waits until each listener takes connections and signals are heard.
fn wait_for_start(started: &Receiver<()>, parts: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    for _ in 0..parts {
        started
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .context("a listener, or the watch for signals, did not start")?;
    }
    Ok(())
}

/// Waits until no exchange is open. False when the deadline passed before.
fn wait_for_open(gate: &Gate, drain: Duration) -> bool {
    // A connection just accepted has its context within this time.
    std::thread::sleep(Duration::from_millis(100));
    let deadline = Instant::now() + drain;
    while gate.metrics.open_exchanges.get() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = gate.metrics.open_exchanges.get();
    if left > 0 {
        tracing::warn!(
            exchanges = left,
            "the drain's deadline has passed; the next start records their outcome as unknown"
        );
    }
    left == 0
}

/// Closes the journal, and signs what it holds. The exit status: the given one, or 1 when the last
/// records could not be made durable.
fn finish(running: &Running, status: u8) -> u8 {
    let gate = &running.gate;
    running.keeper.close();
    gate.journal.append_detached(
        Event::Stopped { open_exchanges: gate.metrics.open_exchanges.get() }.record(),
    );
    let closed = gate.journal.close();
    running.evidence.close();
    match closed {
        Ok(()) => {
            tracing::info!("the journal is closed");
            status
        }
        Err(error) => {
            tracing::error!(%error, "the journal could not be closed in order");
            1
        }
    }
}
