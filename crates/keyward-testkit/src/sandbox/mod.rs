//! The sandbox clouds: stand-ins with real state for the services of the catalogue, on one plain
//! listener.
//!
//! One road: identify → classify → authenticate → dispatch → answer. An ordinary, lenient upstream
//! on purpose, for it is what the gateway protects: of two equal JSON keys the last wins, unknown
//! fields are ignored. It holds no real credential and no key that opens anything.

pub mod acs3;
mod auth;
mod call;
mod codeup;
pub mod control;
mod cph;
mod discovery;
mod errors;
mod ims;
mod keys;
mod kps;
mod nova;
mod reply;
pub mod settings;
mod state;
#[cfg(test)]
mod tests;
mod zip;

use crate::signing::Message;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use call::Call;
use control::{CONTROL_HOST, Fault, FaultMode, Journal, Seen};
use errors::{Answer, Refused, Success};
use http::Request;
use http::header::HOST;
use keyward_core::clock::Timestamp;
use keyward_decision::catalog::operation::ErrorShape;
use keyward_decision::catalog::route::percent_decode;
use keyward_decision::catalog::{Catalog, Target};
use reply::Reply;
use serde_json::Value;
pub use settings::Settings;
use state::World;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the vendor's front door takes.
const BODY_BYTES_MAX: usize = 12 * 1024 * 1024;

/// All the clouds, and what they have seen.
pub struct Sandbox {
    catalog: Arc<Catalog>,
    settings: Settings,
    world: Mutex<World>,
    journal: Mutex<Journal>,
    fault: Mutex<Fault>,
    /// True once the sandbox is to end: calls that hang let go.
    closing: watch::Sender<bool>,
}

/// Serves the clouds until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    catalog: Arc<Catalog>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    Sandbox::new(catalog, settings).serve(listener, shutdown).await
}

impl Sandbox {
    /// The clouds in their first state.
    pub fn new(catalog: Arc<Catalog>, settings: Settings) -> Arc<Self> {
        let world = Mutex::new(World::seeded(&settings, Timestamp::now()));
        Arc::new(Self {
            catalog,
            settings,
            world,
            journal: Mutex::default(),
            fault: Mutex::default(),
            closing: watch::Sender::new(false),
        })
    }

    /// Serves until `shutdown`. For whoever wants to look into the sandbox meanwhile.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let sandbox = Arc::clone(&self);
        let ended = async move {
            shutdown.await;
            sandbox.closing.send_replace(true);
        };
        let router = axum::Router::new().fallback(handle).with_state(self);
        axum::serve(listener, router).with_graceful_shutdown(ended).await
    }

    /// The calls that arrived, oldest first; those to the control endpoints are not among them.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.journal).seen()
    }

    /// Counts since the start or the last reset: `received`, `action.…`, `status.…`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        lock(&self.journal).counters()
    }

    /// What the next calls suffer.
    pub fn set_fault(&self, fault: Fault) {
        *lock(&self.fault) = fault;
    }

    /// Back to the first state, with nothing seen and no fault.
    pub fn reset(&self) {
        *lock(&self.world) = World::seeded(&self.settings, Timestamp::now());
        *lock(&self.journal) = Journal::default();
        *lock(&self.fault) = Fault::default();
    }

    fn take_fault(&self) -> FaultMode {
        let mut fault = lock(&self.fault);
        match fault.times.checked_sub(1) {
            Some(left) => {
                fault.times = left;
                fault.mode
            }
            None => FaultMode::None,
        }
    }

    fn identify(&self, request: &Request<Bytes>) -> Target {
        let (host, path) = (host(request), request.uri().path());
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        let bound = self.settings.bound.get(host).map(String::as_str);
        let target = self.catalog.classify(bound, &name, request.method(), path);
        if !matches!(&target, Target::Unknown(unknown) if unknown.service.is_none()) {
            return target;
        }
        // A client that dials by address names no service in Host: the one that knows the path best
        // takes the call.
        let any = self.catalog.services().map(|(service, _)| {
            self.catalog.classify(Some(&service.name), "", request.method(), path)
        });
        let parameters = |found: &Target| {
            if let Target::Operation(_, parameters) = found { parameters.len() } else { usize::MAX }
        };
        any.filter(|found| matches!(found, Target::Operation(..)))
            .min_by_key(parameters)
            .unwrap_or(target)
    }

    fn answer(&self, target: &Target, request: &Request<Bytes>) -> Reply {
        let request_id = state::new_id();
        let shape = self
            .catalog
            .service(target.service())
            .map_or(ErrorShape::Flat, |service| service.errors);
        match self.dispatch(target, shape, request, &request_id) {
            Ok(success) => Reply::success(target, request_id, success),
            Err(refused) => {
                Reply::json(refused.status, request_id.clone(), &refused.body(shape, &request_id))
            }
        }
    }

    fn dispatch(
        &self,
        target: &Target,
        shape: ErrorShape,
        request: &Request<Bytes>,
        request_id: &str,
    ) -> Answer {
        let now = Timestamp::now();
        let message = Message::from(request);
        let discovery = matches!(target, Target::Operation(operation, _) if operation.groups.first().is_some_and(|g| g == "discovery"));
        let user = if discovery {
            String::new()
        } else {
            auth::authenticate(&self.settings, shape, &message, now)?
        };
        let (operation, path) = match target {
            Target::Operation(operation, path) => (operation, path),
            Target::Passthrough(_) => return Ok(Success::Json(serde_json::json!({}))),
            Target::Unknown(..) => {
                return Err(Refused::at_front_door(
                    404,
                    "APIG.0101",
                    "The API does not exist or has not been published in the environment",
                ));
            }
        };
        let body = match request.body() {
            empty if empty.is_empty() => Value::Null,
            bytes => serde_json::from_slice(bytes).map_err(|e| {
                Refused::new(400, "BadRequest", format!("the body is not JSON: {e}"))
            })?,
        };
        let call = Call {
            operation,
            path,
            query: query(request),
            host: host(request),
            project_header: request
                .headers()
                .get("x-project-id")
                .and_then(|value| value.to_str().ok()),
            body,
            user: &user,
            request_id,
            now,
            shape,
        };
        if discovery {
            return Ok(discovery::answer(&call));
        }
        let mut world = lock(&self.world);
        match operation.action.rsplit_once('.').map_or("", |(service, _)| service) {
            "huawei.kps" => kps::answer(&mut world, &call),
            "huawei.ims" => ims::answer(&mut world, &call),
            "huawei.cph" => cph::answer(&mut world, &call),
            "alibaba.codeup" | "alibaba.devops" => codeup::answer(&mut world, &call),
            _ => Ok(Success::Example),
        }
    }
}

async fn handle(State(sandbox): State<Arc<Sandbox>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return front_door(413, "the body cannot be read")
            .send(FaultMode::None, Duration::ZERO)
            .await;
    };
    let request = Request::from_parts(parts, body);
    if host(&request).split(':').next() == Some(CONTROL_HOST) {
        return Reply::from(control::answer(&sandbox, &request))
            .send(FaultMode::None, Duration::ZERO)
            .await;
    }
    let target = sandbox.identify(&request);
    lock(&sandbox.journal).add(seen(&request, &target));
    let fault = sandbox.take_fault();
    let reply = if fault == FaultMode::Refuse503 {
        front_door(503, "Backend unavailable")
    } else {
        sandbox.answer(&target, &request)
    };
    if fault == FaultMode::Hang {
        let _ = sandbox.closing.subscribe().wait_for(|closing| *closing).await;
    }
    lock(&sandbox.journal).count(&format!("status.{}", reply.status));
    reply.send(fault, sandbox.settings.slow).await
}

fn front_door(status: u16, why: &str) -> Reply {
    let request_id = state::new_id();
    let body = Refused::at_front_door(status, "APIG.0201", why).body(ErrorShape::Flat, &request_id);
    Reply::json(status, request_id, &body)
}

fn seen(request: &Request<Bytes>, target: &Target) -> Seen {
    Seen {
        method: request.method().to_string(),
        host: host(request).to_owned(),
        target: Message::from(request).target.to_owned(),
        headers: request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        body: request.body().to_vec(),
        action: target.action().to_owned(),
    }
}

fn host(request: &Request<Bytes>) -> &str {
    request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn query(request: &Request<Bytes>) -> Vec<(String, String)> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Some((percent_decode(name)?, percent_decode(value)?))
    };
    request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|text| !text.is_empty())
        .filter_map(pair)
        .collect()
}

/// A panic elsewhere leaves the sandbox's state usable enough for a sandbox.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
