//! Faults of the disk, made by the system call tracer: nothing of them is in the program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A tracer on a running process. Dropped, it lets go.
pub struct Tracer(Child);

impl Tracer {
    /// Tampers with every `fdatasync` of a process from now on, as `-e inject=fdatasync:` says.
    /// `None`, with a printed reason, where there is no tracer or no right to trace.
    pub fn attach(test: &str, pid: u32, inject: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-e",
            "trace=fdatasync",
            "-e",
            &format!("inject=fdatasync:{inject}"),
            "-p",
            &pid.to_string(),
        ]);
        let mut child = match command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(e) => {
                super::skipped(test, &format!("strace cannot be run: {e}"));
                return None;
            }
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        if !first.contains("attached") {
            super::skipped(test, &format!("strace cannot attach: {first}"));
            child.wait().ok();
            return None;
        }
        // A full pipe would stop the tracer, and with it the process.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self(child))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // At this signal it detaches first, which a kill would not let it do.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        self.0.wait().ok();
    }
}
