//! The verifier that is not ours, built by Debian's Go from `tests/verify-go`.

use crate::support::skipped;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// Where Debian keeps the sources of Go packages.
const GOPATH: &str = "/usr/share/gocode";

/// The built program; `None`, with a printed reason, where there is no Go, or not its packages.
pub fn program(test: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let found = Command::new("go").arg("version").output().is_ok()
            && Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog").is_dir();
        found.then(|| {
            // A name of its own for each process: tests run beside each other.
            let program = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("verify-go-{}", std::process::id()));
            let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify-go");
            let mut go = Command::new("go");
            go.args(["build", "-o"]).arg(&program).arg(".").current_dir(sources);
            go.envs([
                ("GO111MODULE", "off"),
                ("GOPATH", GOPATH),
                ("GOFLAGS", ""),
                ("CGO_ENABLED", "0"),
            ]);
            let output = go
                .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            program
        })
    });
    if built.is_none() {
        skipped(
            test,
            "Go and its package golang.org/x/mod are missing: install golang-go and golang-golang-x-mod-dev",
        );
    }
    built.clone()
}

/// Runs it.
pub fn run(program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// Runs it, and it must be content.
#[track_caller]
pub fn content(program: &Path, args: &[&str]) -> String {
    let output = run(program, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, and it must complain: what it says.
#[track_caller]
pub fn complaint(program: &Path, args: &[&str]) -> String {
    let output = run(program, args);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr).unwrap()
}

/// A running witness. Dropped, it is killed.
pub struct Witness {
    child: Child,
    pub url: String,
    pub key: String,
}

impl Witness {
    pub fn start(program: &Path, name: &str, vkey: &str) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = Command::new(program)
            .args(["witness", name, vkey])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (url, key) = (lines.next().unwrap(), lines.next().unwrap());
        Self { child, url, key }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
