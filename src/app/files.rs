//! How many files the process may have open, and how many of them each part has. What the journal
//! needs comes first, then auditors, then connections: whoever opens connections, however many,
//! takes no file from it.

use crate::config::Settings;
use crate::listen::registry::Bounds;
use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Files that are open beside what is counted: the engine's and the tree's, listeners, signals,
/// names being resolved, logs.
const BESIDE: usize = 96;
/// Of each thread that carries connections, and of each place to which the trail or its checkpoints
/// are sent.
const BESIDE_EACH: usize = 4;
/// Files of sealed segments.
const SEGMENTS: (usize, usize) = (16, 128);
/// Connections of auditors.
const ADMIN: (usize, usize) = (16, 256);
/// Connections to clouds that wait for a next call, of one thread and listener, at most.
const IDLE_MAX: usize = 128;
/// With fewer connections a gateway is of no use.
const CONNECTIONS_MIN: usize = 8;

/// Connections that are being taken leave of, or are not known to anybody yet.
const ARRIVING: (usize, usize) = (16, 256);

/// Who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Files that the process may have open.
    limit: usize,
    /// Connections of clients, in all and of one source.
    pub connections: Bounds,
    /// Calls that are under way, each of which may have a connection to a cloud.
    pub calls: usize,
    /// Connections of clients that have no place: they have just come, or are being taken leave
    /// of. As many of auditors.
    pub arriving: usize,
    /// Connections of auditors.
    pub admin: usize,
    /// Connections to clouds that wait for a next call, for each thread of each listener.
    pub idle: usize,
    /// Files of sealed segments.
    pub segments: usize,
}

/// Too few files may be open.
#[derive(Debug, thiserror::Error)]
#[error(
    "only {limit} files may be open, and a gateway needs {least}: raise the limit (`ulimit -n`, LimitNOFILE= of a unit)"
)]
pub struct TooFew {
    limit: usize,
    least: usize,
}

impl Files {
    /// Raises the system's limit as far as is of use and allowed, and shares it out.
    ///
    /// # Errors
    /// When it is not enough for any connection.
    pub fn allow(settings: &Settings) -> Result<Self, TooFew> {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let own = limit.current.unwrap_or(u64::MAX);
        let may = limit.maximum.unwrap_or(u64::MAX).min(own.max(Self::wanted(settings) as u64));
        let raised =
            rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(may), ..limit });
        Self::share(
            usize::try_from(if raised.is_ok() { may } else { own }).unwrap_or(usize::MAX),
            settings,
        )
    }

    /// The same, without raising the limit: what a gateway that is started from here would have.
    ///
    /// # Errors
    /// As above.
    pub fn look(settings: &Settings) -> Result<Self, TooFew> {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let may = limit
            .maximum
            .or(limit.current)
            .unwrap_or(u64::MAX)
            .min(Self::wanted(settings).max(1) as u64);
        Self::share(usize::try_from(may).unwrap_or(usize::MAX), settings)
    }

    /// What it takes for all that the settings ask for.
    fn wanted(settings: &Settings) -> usize {
        let carriers = carriers(settings);
        let idle = (IDLE_MAX * carriers).min(settings.connections.all);
        beside(settings)
            .saturating_add(SEGMENTS.1 + ADMIN.1 + 2 * ARRIVING.1 + idle)
            .saturating_add(settings.connections.all.saturating_mul(3))
    }

    fn share(limit: usize, settings: &Settings) -> Result<Self, TooFew> {
        let carriers = carriers(settings);
        let part = |(least, most): (usize, usize), of: usize| (limit / of).clamp(least, most);
        let (segments, admin, arriving) = (part(SEGMENTS, 16), part(ADMIN, 8), part(ARRIVING, 32));
        let idle = (part((carriers, IDLE_MAX * carriers), 8).min(settings.connections.all)
            / carriers)
            .max(1);
        let before = beside(settings) + segments + admin + 2 * arriving + idle * carriers;
        // One for the client, and two to clouds: clients of HTTP/2 have several calls on one
        // connection.
        let connections = (limit.saturating_sub(before) / 3).min(settings.connections.all);
        if connections < CONNECTIONS_MIN.min(settings.connections.all) {
            return Err(TooFew { limit, least: before + 3 * CONNECTIONS_MIN });
        }
        let connections_of = Bounds { all: connections, ..settings.connections };
        Ok(Self {
            limit,
            connections: connections_of,
            calls: connections.saturating_mul(2),
            arriving,
            admin,
            idle,
            segments,
        })
    }

    /// What the operator should know: that the limit carries fewer connections than are configured.
    pub fn warning(&self, settings: &Settings) -> Option<String> {
        let (may, wanted) = (self.connections.all, settings.connections.all);
        (may < wanted).then(|| {
            format!(
                "only {} files may be open, which is enough for {may} connections in place of the {wanted} of limits.connections_max: raise the limit to {} \
                 (`ulimit -n`, LimitNOFILE= of a unit), or lower the bound",
                self.limit,
                Self::wanted(settings)
            )
        })
    }
}

/// Makes an error of a write beyond the longest that a file may be: by the system's own way it
/// would end the process.
pub fn survive_length() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    // What is set here stays when the runtime goes.
    let set = runtime.block_on(async {
        signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
    });
    if let Err(error) = set {
        tracing::warn!(%error, "should files be limited in length (`ulimit -f`), the system ends the process at the first that is too long");
    }
}

/// Lets files become as long as the system allows; that it limits them at all, to be told.
pub fn allow_length() -> Option<String> {
    let limit = rustix::process::getrlimit(Resource::Fsize);
    rustix::process::setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, ..limit }).ok();
    length_warning()
}

/// That the system limits the length of files.
pub fn length_warning() -> Option<String> {
    let limit = rustix::process::getrlimit(Resource::Fsize).maximum?;
    Some(format!(
        "no file may be longer than {limit} bytes: calls are refused before the journal's file is so long. Lift the limit (`ulimit -f`, LimitFSIZE= of a unit)"
    ))
}

/// Threads that carry connections: each listener has its own.
fn carriers(settings: &Settings) -> usize {
    settings.threads.saturating_mul(settings.listeners.len()).max(1)
}

fn beside(settings: &Settings) -> usize {
    let places = settings.pushes.len() + settings.evidence.off_host.witnesses.len();
    BESIDE.saturating_add(carriers(settings).saturating_add(places).saturating_mul(BESIDE_EACH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(sets: &[&str]) -> Settings {
        let sets: Vec<_> =
            ["gateway.threads=2"].iter().chain(sets).map(|set| (*set).to_owned()).collect();
        Settings::load(Path::new("config/keyward.toml"), &sets).unwrap()
    }

    fn sum(files: &Files, settings: &Settings) -> usize {
        beside(settings)
            + files.segments
            + files.admin
            + 2 * files.arriving
            + files.idle * carriers(settings)
            + files.connections.all
            + files.calls
    }

    #[test]
    fn whatever_the_limit_the_parts_fit_into_it() {
        for (threads, connections) in [(1, 4096), (2, 4096), (64, 100_000), (2, 1)] {
            let settings = settings(&[
                &format!("gateway.threads={threads}"),
                &format!("limits.connections_max={connections}"),
            ]);
            for limit in [1, 64, 256, 300, 512, 1000, 1024, 4096, 16_384, 1_000_000] {
                match Files::share(limit, &settings) {
                    Ok(files) => assert!(
                        sum(&files, &settings) <= limit && files.connections.all <= connections,
                        "{limit}: {files:?}"
                    ),
                    Err(few) => assert!(few.least > limit, "{few}"),
                }
            }
        }
    }

    #[test]
    fn with_what_is_wanted_nothing_is_lowered_and_with_less_it_is_said() {
        let settings = settings(&[]);
        let files = Files::share(Files::wanted(&settings), &settings).unwrap();
        assert_eq!(
            (files.connections.all, files.connections.per_source, files.warning(&settings)),
            (4096, 1024, None)
        );
        let few = Files::share(1024, &settings).unwrap();
        assert!(few.connections.all > 128 && few.admin == 128, "{few:?}");
        assert!(few.warning(&settings).unwrap().contains("only 1024 files may be open"));
        assert!(Files::share(256, &settings).unwrap().connections.all >= CONNECTIONS_MIN);
        assert!(Files::share(64, &settings).is_err());
    }
}
