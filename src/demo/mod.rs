//! The demo: sandbox clouds, a gateway with the shipped policies, and a score of telling calls, all
//! on loopback.

pub mod calls;
pub mod show;
pub mod stage;

use crate::app::{Gateway, Prepared};
use crate::config::Draft;
use anyhow::Context;
use calls::{Call, Credential};
use keyward_delivery::client;
use keyward_testkit::sandbox::{self, Sandbox};
use keyward_testkit::signing;
use keyward_trail::exchange::Exchange;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What the demo is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Where the admin listens.
    pub admin: SocketAddr,
    /// End after the calls.
    pub once: bool,
    /// Keep the working folder here; else it is a new one in the system's temporary folder.
    pub dir: Option<PathBuf>,
}

/// What a call came to, as its caller saw it.
#[derive(Debug)]
pub struct Seen {
    /// The status, or why there is none.
    pub status: Result<u16, String>,
    /// The answer's audit id.
    pub audit_id: String,
    /// The refusal's code without `KEYWARD.`, if the gateway refused.
    pub code: Option<String>,
    /// The refusal's sentence.
    pub message: String,
    /// What the trail says became of it: `succeeded`, `partly-failed`, …
    pub outcome: String,
}

/// Runs the demo until Ctrl-C, or with `once` until the calls are made. The process' exit status.
///
/// # Errors
/// When a port is taken or the working folder cannot be written.
pub fn run(options: &Options) -> anyhow::Result<u8> {
    let (stage, clouds) = stage::Stage::build(options)?;
    let prepared = Prepared::read(Draft::read(&stage.config, &[])?)?;
    let sandbox = Sandbox::new(Arc::clone(&prepared.catalog), sandbox::Settings::default());
    start_sandbox(Arc::clone(&sandbox), clouds)?;
    let gateway = Gateway::open(prepared)?;
    let running = gateway.running();
    let address = *running.listeners.first().context("the demo has a listener")?;
    let (admin, once) = (running.admin, options.once);
    let dir = stage.dir().to_owned();
    std::thread::Builder::new().name("demo".to_owned()).spawn(move || {
        match play(&sandbox, address, admin) {
            Ok(status) if once => running.stop(status),
            // Whoever looks around may have policies of their own, by which other calls pass.
            Ok(_) => show::around(address, admin, &dir),
            Err(error) => {
                crate::log::say(format_args!("the demo broke off: {error:#}"));
                running.stop(1);
            }
        }
    })?;
    let status = gateway.serve()?;
    stage.clear(options);
    Ok(status)
}

fn start_sandbox(sandbox: Arc<Sandbox>, listener: std::net::TcpListener) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    listener.set_nonblocking(true)?;
    std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => sandbox.serve(listener, std::future::pending()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "the sandbox clouds ended");
            }
        });
    })?;
    Ok(())
}

/// Makes the calls and shows them. The exit status: 0 if each went as it should.
fn play(sandbox: &Sandbox, gateway: SocketAddr, admin: SocketAddr) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        until_ready(admin).await?;
        let (mut rows, mut wrong) = (Vec::new(), 0);
        for call in calls::all(keyward_core::clock::Timestamp::now()) {
            let arrived = sandbox.seen().len();
            let mut seen = make(gateway, &call).await;
            seen.outcome = outcome(admin, &seen.audit_id).await.unwrap_or_default();
            let forwarded = sandbox.seen().len() > arrived;
            let outcome = if call.expected.forwarded == forwarded
                && seen.status == Ok(call.expected.status)
                && seen.code.as_deref() == call.expected.code
            {
                None
            } else {
                Some(forwarded)
            };
            wrong += usize::from(outcome.is_some());
            rows.push((call, seen, outcome));
        }
        show::table(&rows, admin);
        Ok(u8::from(wrong > 0))
    })
}

async fn until_ready(admin: SocketAddr) -> anyhow::Result<()> {
    for _ in 0..200 {
        let request =
            http::Request::get("/readyz").header("host", "localhost").body(bytes::Bytes::new())?;
        if client::send(admin, request).await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    anyhow::bail!("the gateway was not ready within 5 s")
}

/// What the trail says became of a call.
async fn outcome(admin: SocketAddr, audit_id: &str) -> anyhow::Result<String> {
    let request =
        http::Request::get(format!("{}/{audit_id}", keyward_trail::query::ask::EXCHANGES))
            .header("host", "localhost")
            .body(bytes::Bytes::new())?;
    let answer = client::send(admin, request).await?;
    let exchange = Exchange::read(std::str::from_utf8(answer.body())?).context("no exchange")?;
    Ok(exchange.outcome().to_owned())
}

async fn make(gateway: SocketAddr, call: &Call) -> Seen {
    let failed = |e: anyhow::Error| Seen {
        status: Err(e.to_string()),
        audit_id: String::new(),
        code: None,
        message: String::new(),
        outcome: String::new(),
    };
    let answer = match request(call) {
        Ok(request) => client::send(gateway, request).await,
        Err(error) => Err(error),
    };
    match answer {
        Err(error) => failed(error),
        Ok(answer) => {
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let (code, message) = crate::answer::said(&body);
            let audit_id = answer
                .headers()
                .get(crate::answer::AUDIT_ID)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default();
            Seen {
                status: Ok(answer.status().as_u16()),
                audit_id: audit_id.to_owned(),
                message: if code.is_some() { message.to_owned() } else { String::new() },
                outcome: String::new(),
                code: code.map(str::to_owned),
            }
        }
    }
}

/// The call as a client of its kind would send it.
fn request(call: &Call) -> anyhow::Result<http::Request<bytes::Bytes>> {
    let mut request = http::Request::builder()
        .method(call.method)
        .uri(call.target.as_str())
        .header("host", call.host)
        .header("user-agent", "keyward-demo");
    if !call.body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Credential::Yunxiao(token) = call.credential {
        request = request.header("x-yunxiao-token", token);
    }
    let mut request = request.body(bytes::Bytes::from(call.body.clone()))?;
    if let Credential::Signed(id, secret) = call.credential {
        let key = signing::AccessKey { id: id.to_owned(), secret: secret.to_owned() };
        signing::sign(&key, call.host, &mut request, keyward_core::clock::Timestamp::now())?;
    }
    Ok(request)
}
