//! Pushes: the trail sent on to others as it grows, each by a follower of its own.
//!
//! A follower reads what is durable, at its own pace, and keeps its own cursor: it never holds up a call, and never passes
//! over a record. What was not confirmed is sent again, so lines may come twice; the ids in them tell.

mod follower;
mod syslog;
mod tls;
mod webhook;

use crate::audit::form::RecordForm;
use crate::audit::query::Reader;
use crate::metrics::Metrics;
use follower::{Board, Follower};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;

/// Where the state of pushes is shown on the admin listener.
pub const PUSHES: &str = "/api/v1/pushes";

/// One push, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name: in metrics, and of the file that keeps its cursor.
    pub name: String,
    /// Where to.
    pub to: Destination,
    /// In which form: one with a JSON document on each line.
    pub form: RecordForm,
    /// CA certificates for the receiver, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the receiver, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A file with the token that a webhook wants.
    pub token_file: Option<PathBuf>,
    /// Takes the bare end of a syslog connection for a confirmation.
    pub accept_bare_close: bool,
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Syslog (RFC 5424) over TLS (RFC 5425).
    Syslog {
        /// Its name, or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Batches of lines by POST over TLS.
    Webhook {
        /// Its name, or address.
        host: String,
        /// Its port.
        port: u16,
        /// Path and query.
        target: String,
    },
}

impl Destination {
    /// Reads `syslog+tls://host[:port]` or `https://host[:port][/path]`. `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.replacen("syslog+tls://", "syslog://", 1).parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = |default| authority.port_u16().or((authority.port().is_none()).then_some(default));
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        match url.split_once("://")?.0 {
            "syslog+tls" if target == "/" => Some(Self::Syslog { host, port: port(6514)? }),
            "https" => Some(Self::Webhook { host, port: port(443)?, target: target.to_owned() }),
            _ => None,
        }
    }

    fn host(&self) -> (&str, u16) {
        match self {
            Self::Syslog { host, port } | Self::Webhook { host, port, .. } => (host, *port),
        }
    }
}

impl std::fmt::Display for Destination {
    /// Without the query, in which some receivers want a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syslog { host, port } => write!(f, "syslog+tls://{host}:{port}"),
            Self::Webhook { host, port, target } => write!(f, "https://{host}:{port}{}", target.split('?').next().unwrap_or_default()),
        }
    }
}

/// A push that can begin.
pub struct Prepared {
    settings: Settings,
    tls: tls::Connector,
}

/// Reads certificates and keys of all pushes.
///
/// # Errors
/// All that is wrong, a line each.
pub fn prepare(pushes: &[Settings]) -> Result<Vec<Prepared>, Vec<String>> {
    let (mut prepared, mut problems) = (Vec::new(), Vec::new());
    for settings in pushes {
        let checked = tls::Connector::new(settings).and_then(|tls| {
            settings.token_file.as_deref().map(webhook::read_token).transpose()?;
            Ok(tls)
        });
        match checked {
            Ok(tls) => prepared.push(Prepared { settings: settings.clone(), tls }),
            Err(why) => problems.push(format!("configuration: push `{}`: {why}", settings.name)),
        }
    }
    if problems.is_empty() { Ok(prepared) } else { Err(problems) }
}

/// All pushes under way. Dropped, they end; what was not confirmed is sent again at the next start.
#[derive(Default)]
pub struct Pushes {
    boards: Vec<Arc<Board>>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pushes {
    /// Begins, each push on a thread of its own. Cursors are kept in `dir`.
    ///
    /// # Errors
    /// When the folder cannot be made, or a thread cannot be started.
    pub fn start(prepared: Vec<Prepared>, reader: &Reader, metrics: &Arc<Metrics>, dir: &Path) -> std::io::Result<Self> {
        let mut pushes = Self::default();
        if !prepared.is_empty() {
            std::fs::create_dir_all(dir)?;
        }
        for push in prepared {
            let name = format!("push-{}", push.settings.name);
            let follower = Follower::new(push, reader.clone(), Arc::clone(metrics), dir);
            pushes.boards.push(follower.board());
            let stop = pushes.stop.subscribe();
            pushes.threads.push(std::thread::Builder::new().name(name).spawn(|| follower.run(stop))?);
        }
        Ok(pushes)
    }

    /// The state of each, for people and programs.
    pub fn state(&self) -> Value {
        self.boards.iter().map(|board| board.json()).collect()
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_named_by_urls() {
        let syslog = |host: &str, port| Some(Destination::Syslog { host: host.to_owned(), port });
        assert_eq!(Destination::parse("syslog+tls://logs.internal"), syslog("logs.internal", 6514));
        assert_eq!(Destination::parse("syslog+tls://[::1]:16514"), syslog("::1", 16514));
        let webhook = Destination::parse("https://siem.internal/ingest?token=s3cret").unwrap();
        assert_eq!(webhook, Destination::Webhook { host: "siem.internal".to_owned(), port: 443, target: "/ingest?token=s3cret".to_owned() });
        assert_eq!(webhook.to_string(), "https://siem.internal:443/ingest");
        for wrong in ["http://a", "syslog://a", "syslog+tls://a/b", "https://user:pass@a", "a:6514", "https://a:99999", "https://", ""] {
            assert_eq!(Destination::parse(wrong), None, "{wrong}");
        }
    }
}
