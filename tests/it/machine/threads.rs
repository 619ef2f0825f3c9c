//! Threads: a start for which there are too few ends and says so, and a gateway for which there are
//! no more goes on.

use crate::support::{Gateway, PATIENCE, Request, Site, Upstream, eventually, json_of, skipped};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A user who runs nothing else, so that no others' processes count; the system bounds root by
/// nothing.
struct Stranger {
    user: u32,
    program: PathBuf,
}

impl Stranger {
    /// Gives a site to such a user. `None`, with a printed reason, where that cannot be done.
    fn owner_of(site: &Site, test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let user = 100_000 + std::process::id() * 8 + NEXT.fetch_add(1, Ordering::SeqCst);
        // It may not be let into the folder where it was built.
        let program = site.path("keyward");
        std::fs::copy(env!("CARGO_BIN_EXE_keyward"), &program).unwrap();
        let stranger = Self { user, program };
        if !rustix::process::geteuid().is_root()
            || !stranger
                .command(64)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        {
            skipped(test, "no right to be another user");
            return None;
        }
        stranger.take(&site.path(""));
        Some(stranger)
    }

    fn take(&self, path: &Path) {
        chown(path, Some(self.user), Some(self.user)).unwrap();
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| self.take(&entry.unwrap().path()));
        }
    }

    /// The program as this user, who may have so many threads.
    fn command(&self, threads: usize) -> Command {
        let mut command = self.prlimit(&format!("--nproc={threads}:{threads}"));
        command.arg(&self.program);
        command
    }

    /// `prlimit` as this user: where root is bound too, it may not lower the limits of others.
    fn prlimit(&self, limit: &str) -> Command {
        let mut command = Command::new("setpriv");
        let user = self.user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit", limit]);
        command
    }

    fn serve(&self, site: &Site, threads: usize) -> Result<Gateway, ExitStatus> {
        Gateway::try_start_command(site, self.command(threads))
    }
}

fn put(name: &str) -> Request {
    Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(1000))
}

#[test]
fn a_start_without_enough_threads_ends_and_says_so() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(stranger) = Stranger::owner_of(&site, "a_start_without_enough_threads") else {
        return;
    };
    let (mut refused, mut served) = (0, 0);
    for threads in [1, 2, 3, 8, 12, 16, 20, 21, 22, 23, 24, 25, 26, 32] {
        std::fs::write(site.path("stderr.log"), "").unwrap();
        match stranger.serve(&site, threads) {
            Ok(gateway) => {
                served += 1;
                assert_eq!(gateway.client().call(&put("x")).status, 200, "{threads}");
                assert_eq!(
                    gateway.json("/api/v1/counts")["gone"],
                    serde_json::json!([]),
                    "{threads}"
                );
                gateway.stop();
            }
            Err(status) => {
                refused += 1;
                let log = site.log();
                assert!(
                    status.code() == Some(1)
                        && log.contains("threads can be started")
                        && log.contains("`ulimit -u`"),
                    "{threads}: {status} {log}"
                );
                assert_eq!(served, 0, "{threads} are too few, and fewer were enough");
            }
        }
    }
    assert!(refused > 5 && served > 2, "{refused} {served}");
    let output = stranger
        .command(12)
        .args(["check", "--config"])
        .arg(site.path("keyward.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("threads can be started"), "{said}");
    // Whoever looks at the trail needs the engine too, and is told the same.
    let started = Instant::now();
    for threads in [2, 6] {
        let output = stranger
            .command(threads)
            .args(["audit", "query", "--dir"])
            .arg(&site.audit)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains("threads can be started"),
            "{threads}: {} {said}",
            output.status
        );
    }
    assert!(started.elapsed() < PATIENCE);
    crate::survival::check_verified(&site);
}

#[test]
fn without_one_more_thread_calls_and_questions_go_on() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    // A name must be looked for, on a thread.
    site.rewrite(
        "hosts = [\"down.example.com\"]\nurl = \"http://127.0.0.1:1\"",
        &format!(
            "hosts = [\"down.example.com\"]\nurl = \"http://localhost:{}\"",
            upstream.address.port()
        ),
    );
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    let Some(stranger) = Stranger::owner_of(&site, "without_one_more_thread") else { return };
    let gateway =
        stranger.serve(&site, 64).unwrap_or_else(|status| panic!("{status} {}", site.log()));
    let limit = |threads: usize| {
        let done = stranger
            .prlimit(&format!("--nproc={threads}:64"))
            .args(["--pid", &gateway.pid().to_string()])
            .status();
        assert!(done.unwrap().success());
    };
    let named = |name: &str| gateway.client().call(&put(name).header("Host", "down.example.com"));
    limit(1);
    for n in 0..40 {
        assert_eq!(gateway.client().call(&put(&format!("n{n}"))).status, 200);
    }
    let answer = named("nowhere");
    assert_eq!(answer.refusal(), (502, "upstream-unreachable".to_owned()), "{answer:?}");
    // One thread answers all, one after the other.
    let asked: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn({
                let admin = gateway.admin;
                move || {
                    let mut client = crate::support::Client::new(admin);
                    client.send(b"GET /api/v1/export?form=exchange HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                    client.answer()
                }
            })
        })
        .collect();
    for answer in asked.into_iter().map(|thread| thread.join().unwrap()) {
        assert!(answer.status == 200 && answer.whole, "{answer:?}");
    }
    eventually("sealing goes on", || gateway.metric("keyward_sealed_records") >= 64);
    assert_eq!(
        (gateway.health(), gateway.ready()),
        ((200, "ok\n".to_owned()), (200, "ready\n".to_owned()))
    );
    limit(64);
    eventually("the name is found", || named("somewhere").status == 200);
    assert_eq!(gateway.exchange(answer.id())["outcome"], "not-sent");
    assert!(!site.log().contains("a mistake in the program"), "{}", site.log());
    gateway.stop();
    crate::survival::check_verified(&site);
    crate::survival::check_closed(&site.trail());
}
