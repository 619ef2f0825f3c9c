//! Power cuts by LazyFS, a file system that forgets what was not synced. Only where
//! `KEYWARD_LAZYFS` names its program, for it must be built by hand: https://github.com/dsrhaslab/lazyfs

use super::shim::rounds;
use super::{Callers, Told, check, check_closed, check_verified};
use crate::support::{Site, Trail, Upstream, eventually};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A mounted LazyFS. Dropped, it is gone.
struct Forgetful {
    process: Child,
    at: PathBuf,
    dir: tempfile::TempDir,
}

impl Forgetful {
    fn mount(program: &Path, at: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, config, fifo) =
            (dir.path().join("root"), dir.path().join("config.toml"), dir.path().join("faults"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(at).unwrap();
        let text = format!(
            "[faults]\nfifo_path=\"{}\"\n[cache]\napply_eviction=false\n[cache.simple]\ncustom_size=\"0.5GB\"\nblocks_per_page=1\n[filesystem]\nlogfile=\"\"\n",
            fifo.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg(at).arg("--config-path").arg(&config).args([
            "-o",
            "allow_other",
            "-o",
            "modules=subdir",
            "-o",
        ]);
        command
            .arg(format!("subdir={}", root.display()))
            .arg("-f")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = command.spawn().unwrap();
        let at = at.canonicalize().unwrap();
        eventually("LazyFS is mounted", || {
            std::fs::read_to_string("/proc/mounts")
                .unwrap()
                .contains(&format!(" {} ", at.display()))
        });
        Self { process, at, dir }
    }

    /// Forgets all that was not synced.
    fn cut(&self) {
        let mut faults =
            std::fs::File::options().write(true).open(self.dir.path().join("faults")).unwrap();
        faults.write_all(b"lazyfs::clear-cache\n").unwrap();
        drop(faults);
        // It says nowhere that it is done.
        std::thread::sleep(Duration::from_secs(1));
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.at).output().ok();
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts_of_lazyfs() {
    let Some(program) = std::env::var_os("KEYWARD_LAZYFS").map(PathBuf::from) else { return };
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let disk = Forgetful::mount(&program, &site.audit);
    let sets = ["audit.segment_records=64", "audit.ballast=0", "audit.free_bytes_min=0"];
    let mut told = Told::new();
    for round in 0..rounds(10) {
        let gateway = site.serve_with(&sets);
        let callers = Callers::start(site.address, &format!("r{round}"), 4);
        std::thread::sleep(Duration::from_millis(300 + fastrand::u64(0..900)));
        gateway.kill();
        disk.cut();
        told.extend(callers.stop());
        let (trail, notes) = Trail::read_what_is_left(&site.audit);
        println!("round {round}: {} calls, {} records, {notes:?}", told.len(), trail.0.len());
        check(&trail, &told, &upstream);
    }
    site.serve_with(&sets).stop();
    check_verified(&site);
    check_closed(&Trail::read_what_is_left(&site.audit).0);
    assert!(told.len() > 100, "{}", told.len());
}
