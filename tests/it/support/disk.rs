//! Disks that fill up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory. Dropped, it is gone.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// Mounts one; `None` where there is no right to.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler =
            std::fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    /// What fills it.
    pub fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).output().ok();
    }
}
