//! Disk and clock of a child, by a small library that is loaded before the C library: see `disk.c`.

use crate::support::skipped;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library, built; and a folder for what it writes.
pub struct Shim {
    pub dir: tempfile::TempDir,
    library: PathBuf,
}

impl Shim {
    /// Builds it. `None`, with a printed reason, where there is no C compiler.
    pub fn build(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/survival/disk.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .output();
        match built {
            Ok(output) if output.status.success() => Some(Self { dir, library }),
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                skipped(test, &format!("there is no C compiler: {error}"));
                None
            }
        }
    }

    /// A file that the library writes or reads.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A number that the library reads at any time, now 0; and what sets it.
    pub fn number(&self, name: &str) -> (String, impl Fn(i64)) {
        let path = self.file(name);
        std::fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        (path.display().to_string(), move |number: i64| {
            file.write_all_at(&number.to_ne_bytes(), 0).unwrap()
        })
    }

    /// The environment of a child whose folder is watched, with more for what is to be done.
    pub fn watching(&self, folder: &Path, more: &[(&str, String)]) -> Vec<(String, String)> {
        let folder = folder.canonicalize().unwrap().display().to_string();
        let own = [("LD_PRELOAD", self.library.display().to_string()), ("SHIM_DIR", folder)];
        own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }
}

/// How thorough a test is: as told by `KEYWARD_SURVIVE_ROUNDS`, or only as much as fits beside all
/// other tests.
pub fn rounds(beside_others: usize) -> usize {
    std::env::var("KEYWARD_SURVIVE_ROUNDS").map_or(beside_others, |rounds| rounds.parse().unwrap())
}

/// Whether everything is to be tried.
pub fn thorough() -> bool {
    std::env::var_os("KEYWARD_SURVIVE_ROUNDS").is_some()
}
