//! The door: pingora's hooks, one short function each. All that is decided is decided in the gate.

pub mod answer;
pub mod body;
pub mod budget;
pub mod exchange;
pub mod fault;
mod heads;
pub mod health;
pub mod replay;
pub mod roots;
pub mod upstream;

use crate::gate::Gate;
use crate::listen::connection::{Call, Connection};
use crate::listen::phase::Phase;
use crate::listen::source::{self, Peers};
use crate::metrics::Metrics;
use answer::UpstreamFault;
use async_trait::async_trait;
use body::ClientBody;
use budget::{Budget, Held};
use bytes::Bytes;
use exchange::Exchange;
use fault::{classify, is_too_slow, no_answer, say};
use heads::{host_of, is_more_than_body, join_cookies, name_of, signs};
use health::Health;
use http::Method;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_decision::head;
use keyward_decision::request::{HeadFault, RequestHead};
use pingora::apps::HttpServerOptions;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use upstream::{Route, Upstreams};

/// Calls that one HTTP/2 connection may have under way.
const HTTP2_STREAMS_MAX: u32 = 64;

/// What small frames of bodies may cost an HTTP/2 connection until they are read, each 256 bytes
/// less its length. The library's own bound ends connections with honest calls, for a body of 400
/// bytes in frames of one byte. This one lets a whole window of 64 KiB wait in frames of 16 bytes,
/// and holds no more memory than that takes.
const HTTP2_SMALL_FRAMES_BYTES: usize = 1024 * 1024;

/// What the hooks work with.
pub struct Proxy {
    /// Judges.
    pub gate: Arc<Gate>,
    /// Where allowed calls go.
    pub upstreams: Arc<Upstreams>,
    /// The service to which this listener is bound, if routing is not by Host.
    pub bound_service: Option<String>,
    /// Towards clients.
    pub limits: Limits,
    /// For the memory of all calls.
    pub budget: Budget,
    /// Peers whose X-Forwarded-For names the source.
    pub forwarders: Peers,
    /// Where the gateway is in its life.
    pub phase: Arc<Phase>,
    /// What is answered of it here.
    pub health: Option<Health>,
}

/// Time limits towards clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the whole body.
    pub body: Duration,
    /// For each read, and for each write.
    pub idle: Duration,
    /// For a client to take its answer, all waits for it together.
    pub answer: Duration,
}

/// One request's context.
pub struct Context {
    id: AuditId,
    started: Instant,
    exchange: Option<Arc<Exchange>>,
    slot: Option<replay::Slot>,
    route: Option<Route>,
    more_addresses: bool,
    /// Of the budget, for the call and its body.
    held: Option<Held>,
    call: Option<Call>,
    /// It asked how the gateway is, and nothing else.
    of_health: bool,
    _open: OpenExchange,
}

/// Counts an exchange as open for as long as it lives, whatever ends it.
struct OpenExchange(Arc<Metrics>);

impl OpenExchange {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.open_exchanges.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.0.open_exchanges.dec();
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            id: AuditId::new(),
            started: Instant::now(),
            exchange: None,
            slot: None,
            route: None,
            more_addresses: false,
            held: None,
            call: None,
            of_health: false,
            _open: OpenExchange::new(&self.gate.metrics),
        }
    }

    /// The whole body is read, judged and recorded here, before an upstream connection exists.
    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        session.set_read_timeout(Some(self.limits.idle));
        session.set_write_timeout(Some(self.limits.idle));
        session.set_total_drain_timeout(Some(self.limits.idle));
        let connection = Connection::of(session.digest()).cloned();
        let call = connection.as_ref().and_then(Connection::call);
        let (Some(connection), Some(mut call)) = (connection, call) else {
            return Err(gave_its_place());
        };
        if self.phase.ends_connections() {
            session.set_keepalive(None);
        }
        let whole = call.behind.is_empty() && session.is_body_empty();
        if self.health.as_ref().is_some_and(|health| {
            health.is_asked(session.req_header(), connection.peer.address.ip(), whole)
        }) {
            self.gate.metrics.health_checks.inc();
            // Nothing that comes behind it on this connection is taken for something else than it
            // is.
            session.set_keepalive(None);
            (context.of_health, context.call) = (true, Some(call));
            return health::answer(session, &self.phase, &self.gate.journal).await.map(|()| true);
        }
        join_cookies(session.req_header_mut())?;
        let head = self.head(session, context, &connection, &call);
        let behind = std::mem::take(&mut call.behind);
        if is_more_than_body(&head.headers, &behind) {
            // pingora reads no request behind this one; the answer is to say so.
            session.set_keepalive(None);
        }
        if head.headers.contains_key(http::header::TRANSFER_ENCODING) {
            connection.watch_chunks(&behind);
        }
        let call = context.call.insert(call);
        let held = self.budget.room(head.client.ip()).hold();
        let mut body =
            ClientBody { session, deadline: self.limits.body, connection: &connection, call, held };
        let admitted = self.gate.admit(head, &mut body).await;
        let held = context.held.insert(body.held);
        match admitted {
            Ok(permit) => {
                let body = permit.body().clone();
                let exchange = Arc::new(Exchange::new(permit, held.room().hold()));
                context.exchange = Some(Arc::clone(&exchange));
                if !call.keep_place() {
                    return Err(gave_its_place());
                }
                context.slot = Some(replay::install(
                    &mut session.downstream_session,
                    body,
                    exchange,
                    self.limits.answer,
                    self.upstreams.timeouts(),
                    Arc::clone(&self.phase),
                ));
                Ok(false)
            }
            Err(refusal) => {
                let told =
                    tokio::time::timeout(self.limits.answer, answer::refuse(session, &refusal))
                        .await;
                let late = |_| {
                    Error::explain(ErrorType::WriteTimedout, "the client does not take its answer")
                        .into_down()
                };
                told.map_err(late)?.map(|()| true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let exchange = Arc::clone(context.exchange()?);
        let no_peer = |e| Error::because(ErrorType::ConnectError, "no peer", e).into_up();
        let route = match context.route.take() {
            Some(route) => route,
            None => {
                let host = name_of(host_of(session.req_header())).to_ascii_lowercase();
                self.upstreams.route(self.bound_service.as_deref(), &host).await.map_err(no_peer)?
            }
        };
        let (peer, more) = self.upstreams.peer(&route, exchange.attempts()).map_err(no_peer)?;
        exchange.attempt(&peer._address.to_string());
        context.route = Some(route);
        context.more_addresses = more;
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&pingora::protocols::Digest>,
        context: &mut Context,
    ) -> Result<()> {
        if !reused {
            self.upstreams.answers(peer);
        }
        context.exchange()?.connected();
        Ok(())
    }

    /// What is hop by hop is made anew; what the caller signed is not touched.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let length = context.body_length()?;
        let framed = [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING]
            .iter()
            .any(|name| session.req_header().headers.contains_key(name));
        // HTTP/2 needs neither; a method that usually has a body says in HTTP/1 that it has none.
        let from_http2 = session.req_header().version == http::Version::HTTP_2
            && matches!(upstream.method, Method::POST | Method::PUT | Method::PATCH);
        for name in ["expect", "transfer-encoding", "trailer", "te"] {
            upstream.remove_header(name);
        }
        // Framed by length whatever the client's framing was: nothing is left to disagree about.
        if framed || from_http2 || length > 0 {
            upstream.insert_header(http::header::CONTENT_LENGTH, length.to_string())?;
        }
        if !signs(upstream, "accept-encoding") {
            // A compressed answer could not be read for its outcome and its secrets.
            upstream.remove_header("accept-encoding");
        }
        Ok(())
    }

    /// What is no answer to this call is treated as an upstream that broke off.
    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let keep_alive = response.headers.get("keep-alive").and_then(|value| value.to_str().ok());
        if let Some((route, keep_alive)) = context.route.as_ref().zip(keep_alive) {
            self.upstreams.keeps(route, keep_alive);
        }
        match no_answer(response) {
            Some(why) => Err(Error::explain(ErrorType::InvalidHTTPHeader, why).into_up()),
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let id = context.id.to_string();
        response.insert_header(crate::answer::AUDIT_ID, &id)?;
        if !response.headers.contains_key(crate::answer::REQUEST_ID) {
            response.insert_header(crate::answer::REQUEST_ID, &id)?;
        }
        Ok(())
    }

    /// An attempt that may have reached the cloud is never repeated.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        mut e: Box<Error>,
        _context: &mut Context,
        _reused: bool,
    ) -> Box<Error> {
        e.set_retry(false);
        e
    }

    /// Nothing was sent: the name's next address may be tried.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        context: &mut Context,
        mut e: Box<Error>,
    ) -> Box<Error> {
        self.upstreams.is_silent(peer);
        e.set_retry(context.more_addresses);
        e
    }

    /// An exchange that broke off: its outcome goes on record, then the caller is told, if it is
    /// still there.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        context.restore(session);
        let Some(exchange) = context.exchange.take() else {
            // Before the permit: the refusal is on record, and the client left while it was told.
            self.gate.metrics.client_gone.inc();
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let fault = classify(e);
        let client_error = *e.esource() == ErrorSource::Downstream && !is_too_slow(e);
        if *e.esource() == ErrorSource::Upstream || is_too_slow(e) {
            let service = exchange.service();
            self.gate.metrics.upstream_errors.with_label_values(&[service, fault.class]).inc();
        }
        let answer = if exchange.close_broken(say(e)).await {
            fault.answer
        } else {
            UpstreamFault::Unrecorded
        };
        if client_error {
            self.gate.metrics.client_gone.inc();
        } else if session.response_written().is_some() {
            // The head is out: the only honest sign left is a connection that breaks.
            session.shutdown().await;
        } else if let Err(error) =
            answer::upstream_failed(session, answer, exchange.errors, context.id).await
        {
            tracing::debug!(id = %context.id, %error, "the client left before it was told");
        }
        FailToProxy {
            error_code: if client_error { 0 } else { answer.parts().1 },
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, context: &mut Context) {
        context.restore(session);
        if let Some(exchange) = context.exchange.take() {
            exchange.close_broken(e.map(say).unwrap_or_default()).await;
        }
        if context.of_health {
            return;
        }
        self.gate
            .metrics
            .stage_seconds
            .with_label_values(&["total"])
            .observe(context.started.elapsed().as_secs_f64());
    }

    /// pingora's own error line has the target in it, which may hold a token.
    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, context: &Context) -> String {
        format!("exchange {}", context.id)
    }
}

impl Proxy {
    /// pingora's application around these hooks.
    pub fn into_app(self, conf: &Arc<ServerConf>) -> HttpProxy<Self> {
        let idle = self.limits.idle;
        let mut app = pingora::proxy::http_proxy(conf, self);
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(idle);
        app.server_options = Some(options);
        let mut http2 = default_h2_options();
        http2.max_concurrent_streams(HTTP2_STREAMS_MAX);
        http2.data_frame_budget(HTTP2_SMALL_FRAMES_BYTES);
        app.h2_options = Some(http2);
        app
    }

    /// The head as plain data, checked.
    fn head(
        &self,
        session: &mut Session,
        context: &Context,
        connection: &Connection,
        call: &Call,
    ) -> RequestHead {
        // As they came: pingora's own copy has a blank in the target escaped already.
        let raw = session.as_downstream().as_http1().is_some().then(|| call.head.clone());
        let header = session.req_header();
        let host = host_of(header).to_owned();
        // A name of the gateway's own in TLS is no cloud's: so it is dialled by who signs the
        // cloud's Host.
        let sni = connection
            .peer
            .tls
            .as_ref()
            .and_then(|tls| tls.server_name.as_deref())
            .filter(|sni| self.gate.catalog.serves(sni));
        let fault = head::check(&head::Head {
            raw: raw.as_deref(),
            version: header.version,
            method: &header.method,
            target: header.raw_path(),
            host: &host,
            scheme: header.uri.scheme_str(),
            authority: header.uri.authority().map(|a| a.as_str()),
            sni,
            headers: &header.headers,
        });
        let mut head = RequestHead {
            id: context.id,
            received: Timestamp::now(),
            client: connection.peer.address,
            via: connection.peer.via,
            tls: connection.peer.tls.clone(),
            bound_service: self.bound_service.clone(),
            version: match header.version {
                http::Version::HTTP_2 => "HTTP/2.0",
                http::Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            method: header.method.clone(),
            target: Bytes::copy_from_slice(header.raw_path()),
            host,
            headers: header.headers.clone(),
            raw,
            fault,
        };
        self.forwarded(&mut head);
        head
    }

    /// A listed peer says in X-Forwarded-For from where the call comes.
    fn forwarded(&self, head: &mut RequestHead) {
        let peer = head.client;
        if !self.forwarders.hold(peer.ip()) {
            return;
        }
        let values: Vec<&str> = head
            .headers
            .get_all("x-forwarded-for")
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        match source::forwarded_for(&self.forwarders, &values) {
            Ok(address) => (head.client, head.via) = (SocketAddr::new(address, 0), Some(peer)),
            Err(detail) => {
                head.fault.get_or_insert(HeadFault { reason: Reason::HeadSource, detail });
            }
        }
    }
}

impl Context {
    fn exchange(&self) -> Result<&Arc<Exchange>> {
        // Forwarding without a permit: a mistake in the hooks, which ends here.
        self.exchange.as_ref().ok_or_else(|| Error::explain(ErrorType::InternalError, "no permit"))
    }

    fn body_length(&self) -> Result<usize> {
        self.exchange().map(|exchange| exchange.body_length)
    }

    fn restore(&mut self, session: &mut Session) {
        if let Some(slot) = self.slot.take() {
            replay::restore(&mut session.downstream_session, &slot);
        }
    }
}

fn gave_its_place() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the connection gave its place to another")
        .into_down()
}
