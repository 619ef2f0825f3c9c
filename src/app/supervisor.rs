//! What the service manager is told (systemd's `sd_notify`): that the gateway serves, reads anew,
//! stops, and lives. Without `NOTIFY_SOCKET` in the environment nobody is told anything.

use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A service manager, if there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    told: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let told = match open(name.as_bytes()) {
            Ok(told) => Some(told),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET cannot be used: the service manager will not be told that the gateway serves");
                None
            }
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let own = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog =
            number("WATCHDOG_USEC").filter(|usec| own && *usec > 0).map(Duration::from_micros);
        Self { watchdog: watchdog.filter(|_| told.is_some()), told }
    }

    /// How often it wants to hear that the gateway lives: twice in its time.
    pub fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|time| (time / 2).max(Duration::from_millis(50)))
    }

    /// The gateway serves.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// It reads anew; [`Supervisor::ready`] says when it has.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
        ));
    }

    /// It is about to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// It lives.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// A manager that does not listen holds nothing up.
    fn say(&self, what: &str) {
        let Some((socket, address)) = &self.told else { return };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), address) {
            tracing::warn!(%error, "the service manager cannot be told `{}`", what.lines().next().unwrap_or_default());
        }
    }
}

/// A path, or an abstract name that begins with `@`.
fn open(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => {
            SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(name)))?
        }
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is neither a path nor an abstract name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
