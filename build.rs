//! Says which commit a build is of, for `keyward --version`: by git, where this folder is a work
//! tree of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build is made of. Changes here that are not committed are told.
const SOURCES: &[&str] = &[
    "build.rs",
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "config/apis",
    "policies",
    "src",
    "templates",
    "vendor",
];

fn main() {
    println!(
        "cargo::rustc-env=KEYWARD_COMMIT={}",
        commit().unwrap_or_else(|| "commit unknown".to_owned())
    );
    SOURCES.iter().for_each(|source| rerun_if_changed(Path::new(source)));
}

fn commit() -> Option<String> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)?.canonicalize().ok()?;
    // Unpacked within another repository, it is not of that one's commit.
    if PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != here {
        return None;
    }
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for place in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        rerun_if_changed(Path::new(&git(&["rev-parse", "--git-path", place])?));
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&[
        &["--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--"],
        SOURCES,
    ]
    .concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}, changed") })
}

/// cargo runs this again each time for a path that is not there.
fn rerun_if_changed(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
