//! Pushes: the trail sent on to others as it grows, each by a follower of its own.
//!
//! A follower reads what is durable, at its own pace, and keeps its own cursor: it never holds up a
//! call, and never passes over a record. What was not confirmed is sent again, so lines may come
//! twice; the ids in them tell. What counts as a confirmation is a matter of the receiver's
//! protocol: [`Settings::confirmation`] says it.

mod follower;

use crate::metrics::Metrics;
use follower::{Board, Follower};
use keyward_delivery::client::credential::Credential;
use keyward_delivery::client::{Tls, Url};
use keyward_trail::export::format::ExportFormat;
use keyward_trail::query::Reader;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Where the state of pushes is shown on the admin listener.
pub const PUSHES: &str = "/api/v1/pushes";

/// One push, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name: in metrics, and of the file that keeps its cursor.
    pub name: String,
    /// Where to: one of [`SCHEMES`].
    pub to: Url,
    /// In which form: one with a JSON document on each line.
    pub form: ExportFormat,
    /// CA certificates for the receiver, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the receiver, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What lets a webhook take POSTs.
    pub credential: Credential,
    /// Takes the bare end of a syslog connection for the receiver's word.
    pub accept_bare_close: bool,
    /// How long a receiver that confirms nothing must live on after it has read a batch, for the
    /// batch to count.
    pub resend: Duration,
}

/// Syslog (RFC 5424) over TLS (RFC 5425), and batches of lines by POST over TLS; each with its
/// port.
pub const SCHEMES: &[(&str, u16)] = &[("tls", 6514), ("https", 443)];

impl Settings {
    fn is_webhook(&self) -> bool {
        self.to.scheme == "https"
    }

    /// What counts as confirmed, for people.
    fn confirmation(&self) -> String {
        if self.is_webhook() {
            return "the receiver answered 200, 201, 202 or 204 to the batch".to_owned();
        }
        let bare = if self.accept_bare_close { " (a bare end of TCP counts)" } else { "" };
        format!(
            "syslog confirms nothing: the receiver ended the connection in order when it had read the batch{bare}, and lived on for {} s",
            self.resend.as_secs()
        )
    }
}

/// A push that can begin.
pub struct Prepared {
    settings: Settings,
    tls: Tls,
}

/// Reads certificates and keys of all pushes.
///
/// # Errors
/// All that is wrong, a line each.
pub fn prepare(pushes: &[Settings]) -> Result<Vec<Prepared>, Vec<String>> {
    let (mut prepared, mut problems) = (Vec::new(), Vec::new());
    for settings in pushes {
        let identity = settings
            .identity
            .as_ref()
            .map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let checked = Tls::with_identity(settings.ca_file.as_deref(), identity).and_then(|tls| {
            settings.credential.headers(follower::CONTENT_TYPE)?;
            Ok(tls)
        });
        match checked {
            Ok(tls) => prepared.push(Prepared { settings: settings.clone(), tls }),
            Err(why) => problems.push(format!("configuration: push `{}`: {why:#}", settings.name)),
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
    pub fn start(
        prepared: Vec<Prepared>,
        reader: &Reader,
        metrics: &Arc<Metrics>,
        dir: &Path,
    ) -> std::io::Result<Self> {
        let mut pushes = Self::default();
        if !prepared.is_empty() {
            std::fs::create_dir_all(dir)?;
        }
        for push in prepared {
            let name = format!("push-{}", push.settings.name);
            let follower = Follower::new(push, reader.clone(), Arc::clone(metrics), dir);
            pushes.boards.push(follower.board());
            let stop = pushes.stop.subscribe();
            pushes
                .threads
                .push(std::thread::Builder::new().name(name).spawn(|| follower.run(stop))?);
        }
        Ok(pushes)
    }

    /// Records below have been sent, by every push, and confirmed; so have the exchanges whose
    /// requests they are.
    pub fn sent(&self) -> u64 {
        self.boards.iter().map(|board| board.sent()).min().unwrap_or(u64::MAX)
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
