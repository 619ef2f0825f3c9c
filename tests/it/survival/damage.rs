//! One thing in the trail's folder is damaged, on a stopped gateway: a byte, a half, a whole file;
//! removed, exchanged, or made something else than a file. No command panics or hangs, none leaves
//! out silently what was there before, and the gateway goes on and says what it has made anew, or
//! says why it does not and what to do.

use super::shim::thorough;
use crate::support::cli::keyward;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than any command takes on a trail of this size.
const LIMIT: Duration = Duration::from_secs(20);

/// What is done to a file.
#[derive(Clone, Debug)]
enum How {
    /// A byte, at so many hundredths of the file.
    Flipped(u64),
    Half,
    Empty,
    Removed,
    /// Another file takes its place.
    Replaced(PathBuf),
    /// It and another change places.
    Swapped(PathBuf),
    /// It stands under another name, too.
    Doubled(PathBuf),
    Folder,
    Fifo,
}

/// One trial.
struct Damage {
    file: PathBuf,
    how: How,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.file.display(), self.how)
    }
}

impl Damage {
    /// Does it; whether anything is other than before.
    fn done(&self, audit: &Path) -> bool {
        let path = audit.join(&self.file);
        let before = std::fs::read(&path).unwrap();
        match &self.how {
            How::Flipped(at) => {
                let mut bytes = before;
                if bytes.is_empty() {
                    return false;
                }
                let at = (bytes.len() as u64 - 1) * at / 100;
                bytes[at as usize] ^= 0x11;
                std::fs::write(&path, bytes).unwrap();
            }
            How::Half => std::fs::write(&path, &before[..before.len() / 2]).unwrap(),
            How::Empty => std::fs::write(&path, b"").unwrap(),
            How::Removed => std::fs::remove_file(&path).unwrap(),
            How::Replaced(by) => {
                let by = std::fs::read(audit.join(by)).unwrap();
                if by == before {
                    return false;
                }
                std::fs::write(&path, by).unwrap();
            }
            How::Swapped(with) => {
                let with = audit.join(with);
                let other = std::fs::read(&with).unwrap();
                if other == before {
                    return false;
                }
                std::fs::write(&path, other).unwrap();
                std::fs::write(&with, before).unwrap();
            }
            How::Doubled(to) => drop(std::fs::copy(&path, audit.join(to)).unwrap()),
            How::Folder => {
                std::fs::remove_file(&path).unwrap();
                std::fs::create_dir(&path).unwrap();
            }
            How::Fifo => {
                std::fs::remove_file(&path).unwrap();
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    0,
                )
                .unwrap();
            }
        }
        true
    }
}

/// What a command came to.
struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

/// Where trials are made, and what the trail answers before anything is damaged.
struct Trials {
    site: Site,
    ids: BTreeSet<String>,
    exchanges: BTreeSet<String>,
    /// An exchange whose records are sealed, one whose records are not.
    shown: [String; 2],
    /// All that went wrong, so that one run tells of everything.
    wrong: Vec<String>,
}

fn ids(out: &str) -> BTreeSet<String> {
    let id = |line: &str| {
        Some(serde_json::from_str::<Value>(line).ok()?.get("id")?.as_str()?.to_owned())
    };
    out.lines().filter_map(id).collect()
}

fn lines(out: &str) -> BTreeSet<String> {
    out.lines().map(str::to_owned).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn calls(gateway: &Gateway, count: usize) -> Vec<String> {
    let mut client = gateway.client();
    let call = |n: usize| {
        let answer =
            client.call(&Request::new("PUT", &format!("/v1/blobs/b{n}")).json(json_of(300 + n)));
        assert_eq!((answer.status, answer.whole), (200, true));
        answer.id().to_owned()
    };
    (0..count).map(call).collect()
}

/// What a person is told when something does not go on: one of these says what to do.
const REMEDIES: [&str; 6] =
    ["keyward audit salvage", "--accept-trail", "backup", "move it away", "start again", "restore"];

impl Trials {
    /// A trail with all that a trail can have: pruned, sealed and unsealed records, an erased body,
    /// two keys; and an older copy.
    fn new(upstream: &Upstream) -> Self {
        let site = Site::new(upstream.address);
        let config = site.path("keyward.toml").display().to_string();
        site.rewrite("ballast = ", "segment_records = 64\nballast = ");
        let gateway = site.serve();
        let made = calls(&gateway, 130);
        gateway.settle();
        eventually("four segments are sealed", || gateway.metric("keyward_sealed_records") >= 256);
        keyward(&[
            "audit",
            "erase",
            &made[90],
            "--reason",
            "request of a data subject",
            "--config",
            &config,
        ]);
        gateway.stop();
        copy(&site.audit, &site.path("older"));
        keyward(&["audit", "rotate-key", "--config", &config]);
        let bytes: u64 = std::fs::read_dir(site.audit.join("segments"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        let gateway = site.serve_with(&[
            &format!("retention.max_bytes={}", bytes - 1),
            "retention.every_seconds=1",
        ]);
        eventually("a segment is pruned", || gateway.metric("keyward_pruned_records_total") >= 64);
        gateway.stop();
        let gateway = site.serve();
        let last = calls(&gateway, 20);
        gateway.settle();
        gateway.stop();
        copy(&site.audit, &site.path("sound"));
        let shown = [made[100].clone(), last[19].clone()];
        let mut trials = Self {
            site,
            ids: BTreeSet::new(),
            exchanges: BTreeSet::new(),
            shown,
            wrong: Vec::new(),
        };
        let dir = trials.dir();
        trials.ids = ids(&trials
            .run("query", &["query", "--limit", "1000", "--format", "ndjson", "--dir", &dir])
            .out);
        trials.exchanges =
            lines(&trials.run("export", &["export", "--form", "exchange", "--dir", &dir]).out);
        assert!(
            trials.ids.len() > 100 && trials.exchanges.len() > 100 && trials.wrong.is_empty(),
            "{} {}",
            trials.ids.len(),
            trials.exchanges.len()
        );
        trials
    }

    fn dir(&self) -> String {
        self.site.audit.display().to_string()
    }

    /// The damages to be tried: each file's, or those that have shown something before.
    fn all(&self) -> Vec<Damage> {
        let mut files = Vec::new();
        list(&self.site.path("sound"), Path::new(""), &mut files);
        files.sort();
        files
            .iter()
            .flat_map(|file| {
                self.of(file, &files).into_iter().map(|how| Damage { file: file.clone(), how })
            })
            .collect()
    }

    fn of(&self, file: &Path, files: &[PathBuf]) -> Vec<How> {
        let mut hows: Vec<_> = [0, 30, 60, 100].map(How::Flipped).into();
        hows.extend([How::Half, How::Empty, How::Removed, How::Folder, How::Fifo]);
        let name = file.display().to_string();
        if name.starts_with("segments/") {
            let extension = file.extension().unwrap();
            let other = files
                .iter()
                .find(|other| *other != file && other.extension() == Some(extension))
                .unwrap();
            let second =
                Path::new("segments").join(format!("seg-{:020}.{}", 5000, extension.display()));
            hows.extend([
                How::Replaced(other.clone()),
                How::Swapped(other.clone()),
                How::Doubled(second),
            ]);
        } else if self.site.path("older").join(file).exists() {
            hows.push(How::Replaced(self.site.path("older").join(file)));
        }
        hows
    }

    /// The sound trail, with the damage done; whether anything is other than before.
    fn damaged(&self, damage: &Damage) -> bool {
        std::fs::remove_dir_all(&self.site.audit).unwrap();
        copy(&self.site.path("sound"), &self.site.audit);
        damage.done(&self.site.audit)
    }

    fn wrong(&mut self, what: String) {
        println!("  WRONG {what}");
        self.wrong.push(what);
    }

    /// Runs `keyward audit`. It must end, and say something when it does not succeed.
    fn run(&mut self, name: &str, args: &[&str]) -> Said {
        let (out, err) = (self.site.path("out"), self.site.path("err"));
        let file = |path: &Path| std::fs::File::create(path).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        let mut child = command
            .arg("audit")
            .args(args)
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .unwrap();
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                child.kill().unwrap();
                self.wrong(format!("{name} hangs"));
                break child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text =
            |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let said = Said { status, out: text(&out), err: text(&err) };
        println!("  {name}: {:?} {}", status.code(), said.err.trim());
        let told = said.err.lines().filter(|line| line.starts_with("keyward: ")).count();
        let failed = !(status.success()
            || name.starts_with("verify") && status.code().is_some_and(|code| code > 1));
        if said.err.contains("panicked") || failed && (status.code() != Some(1) || told != 1) {
            self.wrong(format!("{name} ends with {status}: {}", said.err));
        }
        said
    }

    /// A report, told in short.
    fn verify(&mut self, name: &str, more: &[&str]) -> Value {
        let dir = self.dir();
        let said = self.run(name, &[&["verify", "--json", "--dir", &dir], more].concat());
        let report: Value = serde_json::from_str(&said.out).unwrap_or_default();
        let findings =
            |about: &str| report[about]["findings"].as_array().cloned().unwrap_or_default();
        let texts: Vec<_> = findings("integrity")
            .iter()
            .chain(&findings("completeness"))
            .map(|finding| finding["text"].to_string())
            .collect();
        println!(
            "    {} / {}: {}",
            report["integrity"]["verdict"],
            report["completeness"]["verdict"],
            texts.join(" ")
        );
        report
    }

    /// How many exchanges, and lines of the export, are not in an answer that is given for a whole
    /// one.
    fn lacking(&mut self, name: &str, place: [&str; 2]) -> usize {
        let query = self.run(
            &format!("{name}, query"),
            &["query", "--limit", "1000", "--format", "ndjson", place[0], place[1]],
        );
        let export = self
            .run(&format!("{name}, export"), &["export", "--form", "exchange", place[0], place[1]]);
        let mut lacks =
            if query.status.success() { self.ids.difference(&ids(&query.out)).count() } else { 0 };
        if export.status.success() {
            lacks += self.exchanges.difference(&lines(&export.out)).count();
        }
        lacks
    }

    /// Asks the damaged trail everything that a stopped one can be asked.
    fn ask(&mut self) {
        let dir = self.dir();
        self.verify("verify", &[]);
        self.verify("verify, quick", &["--quick"]);
        if self.lacking("stopped", ["--dir", &dir]) > 0 {
            self.wrong("a stopped trail's answers lack what is there".to_owned());
        }
        for id in self.shown.clone() {
            self.run("show", &["show", &id, "--dir", &dir]);
        }
        let id = self.shown[0].clone();
        for (name, what) in [("prove", vec![id.as_str()]), ("pack", vec![]), ("backup", vec![])] {
            let out = self.site.path("made");
            let out_text = out.display().to_string();
            self.run(
                name,
                &[&[name], what.as_slice(), &["--dir", &dir, "--out", &out_text]].concat(),
            );
            if out.is_dir() {
                std::fs::remove_dir_all(&out).unwrap();
            } else if out.exists() {
                std::fs::remove_file(&out).unwrap();
            }
        }
    }

    /// Starts the gateway, and uses it. Whether it starts, and what it logged.
    fn serve(&mut self, args: &[&str]) -> (bool, String) {
        std::fs::write(self.site.path("stderr.log"), "").unwrap();
        let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Gateway::try_start_args(&self.site, args)
        }));
        let up = match started {
            Ok(Ok(gateway)) => {
                let url = format!("http://{}", self.site.admin);
                calls(&gateway, 3);
                self.run("retention", &["retention", "--url", &url]);
                self.run("query", &["query", "--limit", "1000", "--url", &url]);
                gateway.settle();
                gateway.terminate();
                let status = gateway.wait();
                if !status.success() {
                    self.wrong(format!("the gateway stops with {status}"));
                }
                true
            }
            Ok(Err(status)) => {
                let log = self.site.log();
                let told: Vec<_> =
                    log.lines().filter(|line| line.starts_with("keyward: ")).collect();
                if status.code() != Some(1)
                    || told.len() != 1
                    || !REMEDIES.iter().any(|remedy| told[0].contains(remedy))
                {
                    self.wrong(format!(
                        "the gateway ends with {status}, and nobody is told what to do: {log}"
                    ));
                }
                false
            }
            Err(_) => {
                self.wrong("the gateway neither starts nor ends".to_owned());
                false
            }
        };
        let log = self.site.log();
        let told: Vec<_> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
        println!("  serve {args:?}: {up} {}", told.join("\n    "));
        if log.contains("panicked") {
            self.wrong(log.clone());
        }
        (up, log)
    }

    /// One trial. It ends with a gateway that has gone on, or a sentence that says what must be
    /// brought back.
    fn attempt(&mut self, damage: &Damage) {
        println!("=== {damage}");
        let before = self.wrong.len();
        if !self.damaged(damage) {
            return;
        }
        self.ask();
        self.damaged(damage);
        let (mut up, mut log) = self.serve(&[]);
        let dir = self.dir();
        if !up {
            self.run("salvage", &["salvage", "--dir", &dir, "--reason", "a trial"]);
            (up, log) = self.serve(&[]);
        }
        if !up && log.contains("--accept-trail") {
            (up, log) = self.serve(&["--accept-trail", "a trial"]);
        }
        if !up && !["backup", "move it away"].iter().any(|way| log.contains(way)) {
            self.wrong("there is no way on".to_owned());
        }
        let report = self.verify("verify at the end", &[]);
        if up && report["integrity"]["verdict"].is_null() {
            self.wrong("the gateway goes on, and nobody can verify".to_owned());
        }
        let lacks = self.lacking("at the end", ["--dir", &dir]);
        if lacks > 0 && report["completeness"]["verdict"] != "fails" {
            self.wrong(format!(
                "{lacks} exchanges and lines are missing, and completeness {}",
                report["completeness"]["verdict"]
            ));
        }
        for wrong in self.wrong.iter_mut().skip(before) {
            wrong.insert_str(0, &format!("{damage}: "));
        }
    }
}

fn list(dir: &Path, under: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir.join(under)).unwrap().map(Result::unwrap) {
        let file = under.join(entry.file_name());
        if entry.path().is_dir() {
            list(dir, &file, files);
        } else {
            files.push(file);
        }
    }
}

/// Tried beside other tests: what once went wrong.
const SAMPLE: [&str; 5] = [
    "trail/db Flipped(0)",
    "segments/seg-00000000000000000128.records Flipped(60)",
    "segments/seg-00000000000000000128.bodies Swapped",
    "tree/checkpoint Fifo",
    "tree/keys Flipped(30)",
];

#[test]
fn whatever_one_file_becomes_nothing_is_left_out_silently() {
    let upstream = Upstream::ok();
    let mut trials = Trials::new(&upstream);
    let only = std::env::var("KEYWARD_DAMAGE").ok();
    let mut tried = 0;
    for damage in trials.all() {
        let name = damage.to_string();
        let wanted = only.as_ref().map_or_else(
            || thorough() || SAMPLE.iter().any(|sample| name.starts_with(sample)),
            |only| name.contains(only),
        );
        if wanted {
            trials.attempt(&damage);
            tried += 1;
        }
    }
    assert!(tried >= SAMPLE.len() || only.is_some(), "{tried} trials");
    assert!(trials.wrong.is_empty(), "{:#?}", trials.wrong);
}
