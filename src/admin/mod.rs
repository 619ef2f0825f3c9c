//! The admin listener: metrics, health and the trail, for auditors and Prometheus. Reads, and
//! writes nothing but the records of what it gave out; whoever holds the operator's token may erase
//! bodies.

mod asker;
mod backup;
pub mod door;
mod export;
mod log;
pub mod operator;
pub mod places;
mod pack;
mod trail;

use crate::backup::BACKUP;
use crate::evidence::Evidence;
use crate::gate::Gate;
use crate::known;
use crate::listen::phase::{Phase, Stage};
use crate::push::{PUSHES, Pushes};
use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use keyward_core::clock::Timestamp;
use keyward_core::texts;
use keyward_pack::making::PACKS;
use keyward_trail::export::EXPORT;
use keyward_trail::query::Reader;
use keyward_trail::query::ask;
use keyward_trail::retention::erasure::ERASURES;
use keyward_trail::retention::{Keeper, RETENTION};
use operator::Token;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use places::{Places, Workers};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Questions under way at one time, in all and of one source. Each has a thread while it reads, and
/// some tens of MiB at most.
const QUESTIONS: (usize, usize) = (12, 4);
/// Exports. Each holds some MiB, and a thread while there is something to read.
const EXPORTS: (usize, usize) = (16, 6);
/// How long one more question waits for a place.
const QUESTION_WAITS: Duration = Duration::from_secs(10);
/// How often those that take nothing are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The admin service.
pub struct Admin {
    listener: Mutex<Option<(TcpListener, door::Bounds)>>,
    /// True when the gateway has ended but for this.
    end: watch::Receiver<bool>,
    state: Arc<AdminState>,
}

/// Parts of the gateway that the admin shows.
pub struct Parts {
    /// The gate: its metrics, journal and rules.
    pub gate: Arc<Gate>,
    /// The trail as a transparency log.
    pub evidence: Arc<Evidence>,
    /// Where the gateway is in its life.
    pub phase: Arc<Phase>,
    /// True when all calls have ended: who waits for that looks here until then.
    pub end: watch::Receiver<bool>,
    /// What sends the trail on.
    pub pushes: Arc<Pushes>,
    /// What prunes the trail.
    pub keeper: Arc<Keeper>,
    /// The trail's folder.
    pub audit_dir: PathBuf,
    /// What the operator shows to change the trail.
    pub token: Token,
}

/// What the handlers read.
pub struct AdminState {
    /// The gate: its metrics, journal and rules.
    pub gate: Arc<Gate>,
    /// The trail as a transparency log.
    pub evidence: Arc<Evidence>,
    phase: Arc<Phase>,
    pushes: Arc<Pushes>,
    keeper: Arc<Keeper>,
    audit_dir: PathBuf,
    token: Token,
    hosts: Vec<String>,
    workers: Workers,
    places: [Arc<Places>; 3],
    given: pack::Awaited,
}

impl Admin {
    /// A service on a bound, non-blocking listener, with bounds of its connections. `hosts` are the
    /// names, beside its address, by which it may be asked.
    ///
    /// # Errors
    /// When the system has nothing to make threads of.
    pub fn new(
        listener: TcpListener,
        parts: Parts,
        bounds: door::Bounds,
        hosts: &[String],
    ) -> std::io::Result<Self> {
        let hosts = hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
        let Parts { gate, evidence, phase, end, pushes, keeper, audit_dir, token } = parts;
        let places = [
            Places::new("questions", QUESTIONS.0, QUESTIONS.1, QUESTION_WAITS),
            Places::new("exports", EXPORTS.0, EXPORTS.1, Duration::ZERO).recorded(),
            Places::new("backups", 1, 1, Duration::ZERO).recorded(),
        ]
        .map(Arc::new);
        let workers = Workers::new()?;
        Ok(Self {
            listener: Mutex::new(Some((listener, bounds))),
            end,
            state: Arc::new(AdminState {
                gate,
                evidence,
                phase,
                pushes,
                keeper,
                audit_dir,
                token,
                hosts,
                workers,
                places,
                given: pack::Awaited::default(),
            }),
        })
    }
}

impl AdminState {
    /// Reads the trail; names that no record has are looked up in the rules that were ever in
    /// force, and in the callers' list.
    fn reader(&self) -> Reader {
        let (gate, dir) = (Arc::clone(&self.gate), self.audit_dir.clone());
        Reader::of(&self.gate.journal).knowing(move || {
            let mut names = known::of_texts(&dir);
            names.add("caller", "anonymous");
            gate.rules
                .load()
                .directory
                .callers
                .iter()
                .for_each(|caller| names.add("caller", &caller.name));
            names
        })
    }
}

/// All routes.
pub fn router(state: Arc<AdminState>) -> Router {
    let [questions, exports, backups] = &state.places;
    let enter = |places: &Arc<Places>| {
        axum::middleware::from_fn_with_state(Arc::clone(places), places::enter)
    };
    let asked = Router::new()
        .route(ask::EXCHANGES, get(trail::answer))
        .route(&format!("{}/{{id}}", ask::EXCHANGES), get(trail::answer))
        .route(ask::COUNTS, get(trail::answer))
        .route(ask::HISTOGRAM, get(trail::answer))
        .route(RETENTION, get(retention))
        .route(&format!("{}/{{hash}}", texts::TEXTS), get(trail::text))
        .merge(log::routes())
        .route_layer(enter(questions));
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route(PUSHES, get(pushes))
        .route(ERASURES, post(operator::erase))
        .route(EXPORT, get(export::export).route_layer(enter(exports)))
        .route(BACKUP, get(backup::backup).route_layer(enter(backups)))
        .merge(asked)
        .route(PACKS, post(pack::made))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&state), own_host))
        .with_state(state)
}

/// A page in an auditor's browser could be made to ask this listener under a name that its owner
/// points here; the browser then sends that name. Addresses and `localhost` are nobody else's, and
/// further names are listed.
async fn own_host(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host.as_str(),
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if address || name == "localhost" || state.hosts.iter().any(|own| own == name) {
        return next.run(request).await;
    }
    (
        StatusCode::MISDIRECTED_REQUEST,
        "this Host is not the admin's own: ask by address, or list the name in `admin.hosts`\n",
    )
        .into_response()
}

#[async_trait]
impl BackgroundService for Admin {
    async fn start(&self, _listeners_close: ShutdownWatch) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((listener, bounds)) = listener
            .and_then(|(l, bounds)| Some((tokio::net::TcpListener::from_std(l).ok()?, bounds)))
        else {
            tracing::error!("the admin listener cannot be used");
            return;
        };
        let sweep = async {
            let mut tick = tokio::time::interval(SWEEP);
            loop {
                tick.tick().await;
                self.state.places.iter().for_each(|places| places.sweep());
            }
        };
        tokio::select! {
            () = door::serve(listener, router(Arc::clone(&self.state)), bounds, self.end.clone()) => {}
            () = sweep => {}
        }
    }
}

async fn index() -> impl IntoResponse {
    const PAGE: &str = "keyward\n\n/metrics            for Prometheus\n/healthz            the process is up, and its journal has not failed for good\n/readyz             calls are taken: the journal is writable\n/api/v1/exchanges   the trail, newest first; /api/v1/exchanges/ID one exchange; /api/v1/counts how many; /api/v1/histogram when\n/api/v1/export      all of it, oldest first, in a form such as ocsf or csv; follow=true goes on\n/api/v1/pushes      how far each push has come\n/api/v1/packs       records, by POST, that an evidence pack was made\n/api/v1/backup      all that the trail is, as a tar archive\n/api/v1/retention   how long the trail is kept, what is on hold, what goes next\n/api/v1/texts/HASH  the policies, or the catalogue, that a record names by its hash\n/checkpoint         the trail's signed head; /tile/…      its tiles and records: a transparency log in C2SP's layout; /absent/ranges what is gone\n/openapi.json       all of this, for programs; see `keyward audit query --help` for its filters\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], PAGE)
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    match state.gate.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// How far each push has come, and why one fails.
async fn pushes(State(state): State<Arc<AdminState>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.pushes.state().to_string() + "\n")
        .into_response()
}

/// How long the trail is kept, what is on hold, what goes next.
async fn retention(State(state): State<Arc<AdminState>>) -> Response {
    let keeper = Arc::clone(&state.keeper);
    let asked = state.workers.run(move || keeper.retention().state(Timestamp::now())).await;
    match asked {
        Ok(state) => Json(state).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

/// Alive means: whatever is wrong, the gateway may get over it by itself. Whoever supervises it
/// restarts it when it is not.
async fn healthz(State(state): State<Arc<AdminState>>) -> Response {
    match state.gate.journal.alive() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Ready means: a call that is allowed would be recorded and forwarded.
async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    match (state.phase.now(), state.gate.journal.health()) {
        (Stage::Starting, _) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        (Stage::Serving, Ok(())) => "ready\n".into_response(),
        (Stage::Leaving | Stage::Stopping, _) => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
        }
        (Stage::Serving, Err(why)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
        }
    }
}
