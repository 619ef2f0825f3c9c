//! `keyward` as a command, beside a running gateway or on a stopped one's folder.

use super::eventually;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A command, for whoever looks at its end.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(arguments).stdin(Stdio::null()).env("USER", "the-auditor");
    command
}

/// Runs a command to its end; what it printed. It must succeed.
#[track_caller]
pub fn keyward(arguments: &[&str]) -> Vec<u8> {
    let output = command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a command that must fail; what it said.
#[track_caller]
pub fn keyward_fails(arguments: &[&str]) -> String {
    let output = command(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// A command that stays. Dropped, it is killed.
pub struct Running(Child, PathBuf);

impl Running {
    /// Starts it; both outputs go to a file.
    pub fn start(arguments: &[&str], output: &Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(output).unwrap();
        Self(
            command(arguments).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap(),
            output.to_owned(),
        )
    }

    /// What Ctrl-C does; it must then end well.
    pub fn interrupt(mut self) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let mut status: Option<ExitStatus> = None;
        eventually("the command ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        assert!(
            status.unwrap().success(),
            "{status:?} {}",
            std::fs::read_to_string(&self.1).unwrap()
        );
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
