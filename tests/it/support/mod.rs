//! What the tests work with: the real binary as a child, real sockets on both sides of it, and the
//! trail it leaves.

pub mod cli;
pub mod client;
pub mod disk;
pub mod gateway;
pub mod load;
pub mod receiver;
pub mod rsyslog;
pub mod site;
pub mod strace;
pub mod tls;
pub mod trail;
pub mod upstream;

pub use client::{Answer, Client, Request};
pub use gateway::Gateway;
pub use site::{Site, TOKEN};
pub use trail::{Stored, Trail};
pub use upstream::{Act, Latch, Upstream};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine, and short enough for a failing test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < PATIENCE,
            "still not so after {} s: {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

/// A JSON document of exactly so many bytes, which no run of equal bytes could be mistaken for.
pub fn json_of(bytes: usize) -> Vec<u8> {
    let frame = br#"{"data":""}"#.len();
    let mut filler = 0_u32;
    let text: String = std::iter::repeat_with(|| {
        filler = filler.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b"abcdefghijklmnopqrstuvwxyzABCDEF"[(filler >> 27) as usize])
    })
    .take(bytes.checked_sub(frame).expect("a body with a field is longer"))
    .collect();
    format!(r#"{{"data":"{text}"}}"#).into_bytes()
}

/// Prints why a test cannot be made here, past the capture of the test harness.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "SKIPPED {test}: {why}").ok();
}

/// A folder and all in it.
pub fn copy_folder(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    to.to_owned()
}
