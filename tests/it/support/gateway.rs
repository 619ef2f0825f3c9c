//! `keyward serve` as a child process.

use super::{Answer, Client, PATIENCE, Site, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// A running gateway. Dropped, it is killed.
pub struct Gateway {
    child: Child,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where its admin listens.
    pub admin: SocketAddr,
}

impl Gateway {
    pub(super) fn start(site: &Site, sets: &[&str]) -> Self {
        Self::start_args(site, &sets.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>())
    }

    pub(super) fn start_args(site: &Site, args: &[&str]) -> Self {
        Self::start_watched_args(site, args, &[])
    }

    /// The same in an environment of its own.
    pub fn start_watched(site: &Site, sets: &[&str], env: &[(String, String)]) -> Self {
        Self::start_watched_args(
            site,
            &sets.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>(),
            env,
        )
    }

    fn start_watched_args(site: &Site, args: &[&str], env: &[(String, String)]) -> Self {
        Self::try_start(site, args, env)
            .unwrap_or_else(|ended| panic!("the gateway does not start: {ended}\n{}", site.log()))
    }

    /// The same; when it ends instead of starting, how.
    pub fn try_start_watched(
        site: &Site,
        sets: &[&str],
        env: &[(String, String)],
    ) -> Result<Self, ExitStatus> {
        Self::try_start(site, &sets.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>(), env)
    }

    /// The same with arguments of the command line.
    pub fn try_start_args(site: &Site, args: &[&str]) -> Result<Self, ExitStatus> {
        Self::try_start(site, args, &[])
    }

    /// Starts it under a limit of the system, as `prlimit` is told it: `--nofile=1024`.
    pub fn start_limited(site: &Site, limit: &str, sets: &[&str]) -> Self {
        let mut command = Command::new("prlimit");
        command.arg(limit).arg(env!("CARGO_BIN_EXE_keyward"));
        let args: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
        Self::launch(site, command, &args, log(site).into())
            .unwrap_or_else(|ended| panic!("the gateway does not start: {ended}\n{}", site.log()))
    }

    /// Starts it with its standard error elsewhere.
    pub fn start_logging(site: &Site, args: &[&str], stderr: Stdio) -> Self {
        Self::launch(site, Command::new(env!("CARGO_BIN_EXE_keyward")), args, stderr)
            .unwrap_or_else(|ended| panic!("the gateway does not start: {ended}"))
    }

    /// Starts it by a command of its own, which need not heed the arguments that it is given.
    pub fn start_command(site: &Site, command: Command, stderr: Stdio) -> Self {
        Self::launch(site, command, &[], stderr)
            .unwrap_or_else(|ended| panic!("the gateway does not start: {ended}"))
    }

    /// The same; the status with which it ended when it does not start.
    pub fn try_start_command(site: &Site, command: Command) -> Result<Self, ExitStatus> {
        Self::launch(site, command, &[], log(site).into())
    }

    fn try_start(site: &Site, args: &[&str], env: &[(String, String)]) -> Result<Self, ExitStatus> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.envs(env.iter().map(|(name, value)| (name, value)));
        Self::launch(site, command, args, log(site).into())
    }

    fn launch(
        site: &Site,
        mut command: Command,
        args: &[&str],
        stderr: Stdio,
    ) -> Result<Self, ExitStatus> {
        command
            .arg("serve")
            .arg("--config")
            .arg(site.path("keyward.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .args(args);
        let mut gateway =
            Self { child: command.spawn().unwrap(), address: site.address, admin: site.admin };
        let started = Instant::now();
        while gateway.get("/readyz").is_none_or(|answer| answer.body == b"starting\n") {
            if let Some(ended) = gateway.child.try_wait().unwrap() {
                return Err(ended);
            }
            assert!(started.elapsed() < PATIENCE, "the gateway does not start\n{}", site.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(gateway)
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// An answer of the admin listener; `None` when it does not answer.
    fn get(&self, path: &str) -> Option<Answer> {
        let mut client = Client::try_new(self.admin).ok()?;
        client.send(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
        let answer = client.answer();
        (answer.status != 0).then_some(answer)
    }

    /// Status and text of `/healthz`.
    pub fn health(&self) -> (u16, String) {
        let answer = self.get("/healthz").unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    /// Status and text of `/readyz`.
    pub fn ready(&self) -> (u16, String) {
        let answer = self.get("/readyz").unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    /// What Prometheus would scrape.
    pub fn metrics(&self) -> String {
        String::from_utf8(self.get("/metrics").unwrap().body).unwrap()
    }

    /// What the admin answers, byte for byte.
    pub fn answer(&self, path: &str) -> Vec<u8> {
        self.get(path).unwrap().body
    }

    /// What the admin answers, as JSON; `Null` when it is none.
    pub fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_slice(&self.get(path).unwrap().body).unwrap_or_default()
    }

    /// What an auditor is shown of one exchange; `Null` when there is none.
    pub fn exchange(&self, id: &str) -> serde_json::Value {
        self.json(&format!("/api/v1/exchanges/{id}"))
    }

    /// The value of one series, written as in the scrape; 0 when it is not there.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until no exchange is open.
    pub fn settle(&self) {
        eventually("no exchange is open", || self.metric("keyward_open_exchanges") == 0);
    }

    /// Asks it to read callers and policies anew.
    pub fn reload(&self) {
        kill_process(self.process(), Signal::HUP).unwrap();
    }

    /// Asks it to end, as an operator does.
    pub fn terminate(&self) {
        kill_process(self.process(), Signal::TERM).unwrap();
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> ExitStatus {
        eventually("the gateway ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    /// Ends it in order, which must succeed.
    pub fn stop(self) {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "{status}");
    }

    /// Ends it as a power cut of the process would: nothing is flushed, nothing is said.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn log(site: &Site) -> std::fs::File {
    std::fs::File::options().create(true).append(true).open(site.path("stderr.log")).unwrap()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
