//! The command line, as its users meet it: exit codes, places of mistakes, the demo, and the trail
//! that it leaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a mistake here should end the run"
)]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn keyward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keyward")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The shipped configuration, to be broken.
fn copied() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["config", "config/apis", "policies"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        for entry in
            fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_file())
        {
            fs::copy(entry.path(), dir.path().join(folder).join(entry.file_name())).unwrap();
        }
    }
    dir
}

/// `check` after a replacement in one file: its exit code and what it says.
fn check_after(file: &str, from: &str, to: &str) -> (Option<i32>, String) {
    let dir = copied();
    let path = dir.path().join(file);
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{file} holds {from}");
    fs::write(&path, before.replacen(from, to, 1)).unwrap();
    let output =
        keyward(&["check", "--config", dir.path().join("config/keyward.toml").to_str().unwrap()]);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn the_shipped_configuration_is_well() {
    let output = keyward(&["check"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("all is well"));
}

#[test]
fn a_mistake_is_said_with_its_place_and_what_to_do() {
    for (file, from, to, wanted) in [
        (
            "config/keyward.toml",
            "\nbody_bytes_max =",
            "\nbody_bytes_mx =",
            &["keyward.toml:", "did you mean `body_bytes_max`"][..],
        ),
        (
            "config/keyward.toml",
            "name = \"alibaba.codeup\"",
            "name = \"alibaba.codup\"",
            &["alibaba.codup", "alibaba.codeup"],
        ),
        (
            "config/keyward.toml",
            "\nbody_bytes_max = 1048576",
            "\nbody_bytes_max = 0",
            &["limits.body_bytes_max", "0 would let nothing through"],
        ),
        (
            "config/keyward.toml",
            "[gateway]",
            "[gateway]\nthreads = 100000",
            &["gateway.threads", "1024 at most"],
        ),
        (
            "config/keyward.toml",
            "[retention]",
            "[retention]\nholds_file = \"none.toml\"",
            &["none.toml"],
        ),
        ("config/callers.toml", "groups = [", "grups = [", &["callers.toml", "grups"]),
        ("config/callers.toml", "\"key-admins\"", "\"key-admns\"", &["key-admins"]),
        (
            "policies/20-keys.cedar",
            "context.body.force",
            "context.body.forse",
            &["20-keys.cedar:", "forse", "force"],
        ),
        ("policies/20-keys.cedar", "@message(", "@mesage(", &["20-keys.cedar:", "mesage"]),
        ("policies/patterns.toml", "regex = \"[a-z]", "regex = \"[a-z", &["patterns.toml"]),
        (
            "config/apis/huawei-cph.yaml",
            "signatures: [SDK",
            "signatures: [SDk",
            &["huawei-cph.yaml", "/components/securitySchemes/signature", "SDK"],
        ),
        (
            "config/apis/huawei-cph.yaml",
            "x-keyward-signatures",
            "x-keyward-signature",
            &["huawei-cph.yaml", "`x-keyward-signature`"],
        ),
        (
            "config/apis/huawei-cph.yaml",
            "{header: X-Project-Id, path: project_id}",
            "{header: X-Project-Id, path: project}",
            &["/x-keyward-project", "no operation"],
        ),
        (
            "config/apis/huawei-cph.yaml",
            "{header: X-Project-Id, path: project_id}",
            "{header: X-Project-Id}",
            &["/x-keyward-project", "{header: NAME"],
        ),
        (
            "config/apis/huawei-cph.yaml",
            "openapi: ",
            "openapi: 2",
            &["huawei-cph.yaml", "/openapi"],
        ),
        (
            "config/apis/huawei-cph.yaml",
            "x-keyward-groups",
            "x-keyward-group",
            &["huawei-cph.yaml:/paths/", "x-keyward-group"],
        ),
        (
            "config/apis/huawei-ecs.yaml",
            "x-keyward-alias-of: huawei.kps.",
            "x-keyward-alias-of: huawei.kpz.",
            &["huawei-ecs.yaml:/paths/", "leads to no operation"],
        ),
    ] {
        let (code, said) = check_after(file, from, to);
        assert_eq!(code, Some(1), "{file} {to}: {said}");
        assert!(wanted.iter().all(|w| said.contains(w)), "{file} {to}: {said}");
    }
}

/// Replaces in the files of a folder, each time once.
fn replace(dir: &Path, replacements: &[(&str, &str, &str)]) {
    for (file, from, to) in replacements {
        let path = dir.join(file);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "{file} holds {from}");
        fs::write(&path, before.replacen(from, to, 1)).unwrap();
    }
}

/// What stands in one file hides nothing of what stands in another, and nothing is told twice.
#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let dir = copied();
    let callers = "groups = [\"platform-admins\", \"key-admins\", \"image-admins\", \"phone-ops\", \"codeup-developers\", \"auditors\"]\n\
                   [callers.a]\nkind = \"robot\"\ngroups = [\"nobody\"]\ntokens = [\"pt-clear\"]\n[callers.b]\nacess_keys = []\n[callers.c]\n";
    fs::write(dir.path().join("config/callers.toml"), callers).unwrap();
    fs::write(dir.path().join("config/apis/README.md"), "What stands here.").unwrap();
    let replacements = [
        ("config/keyward.toml", "\nbody_bytes_max =", "\nbody_bytes_mx ="),
        ("config/keyward.toml", "\nidle_seconds = 60", "\nidle_seconds = 0"),
        ("config/keyward.toml", "\nconnect_ms = 5000", "\nconnect_ms = \"soon\""),
        (
            "config/keyward.toml",
            "[audit]",
            "[[push]]\nname = \"Logs\"\nurl = \"ftp://logs\"\n[audit]",
        ),
        ("config/apis/huawei-cph.yaml", "x-keyward-groups", "x-keyward-group"),
        ("config/apis/alibaba-codeup.yaml", "at: body.result", "at: body.results"),
        ("policies/20-keys.cedar", "context.body.force", "context.body.forse"),
        ("policies/20-keys.cedar", "@owner(", "@ower("),
        ("policies/patterns.toml", "regex = \"[a-z]", "regex = \"[a-z"),
    ];
    replace(dir.path(), &replacements);
    let config = dir.path().join("config/keyward.toml");
    let output =
        keyward(&["check", "--config", config.to_str().unwrap(), "--set", "gateway.thread=2"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let line = |file: &str, part: &str| {
        fs::read_to_string(dir.path().join(file))
            .unwrap()
            .lines()
            .position(|line| line.contains(part))
            .unwrap()
            + 1
    };
    let at = |file: &str, part: &str| format!("{file}:{}:", line(file, part));
    let wanted = [
        (at("config/keyward.toml", "body_bytes_mx ="), "did you mean `body_bytes_max`"),
        (
            at("config/keyward.toml", "idle_seconds = 0"),
            "limits.idle_seconds: 0 would let nothing through",
        ),
        (at("config/keyward.toml", "connect_ms = \"soon\""), "a string, expected u64"),
        (at("config/keyward.toml", "name = \"Logs\""), "push.name: `Logs`"),
        (at("config/keyward.toml", "url = \"ftp://logs\""), "push.url: `ftp://logs`"),
        ("--set gateway.thread=2: ".to_owned(), "did you mean `threads`"),
        (at("config/callers.toml", "\"nobody\""), "`nobody`, which is not in `groups`"),
        (at("config/callers.toml", "pt-clear"), "keyward digest"),
        (at("config/callers.toml", "[callers.c]"), "`kind` of `c` is missing"),
        (at("config/callers.toml", "acess_keys"), "did you mean `access_keys`"),
        ("config/apis/README.md: ".to_owned(), "is not read"),
        ("config/apis/huawei-cph.yaml:/paths/".to_owned(), "x-keyward-group`"),
        (
            "config/apis/alibaba-codeup.yaml:/paths/".to_owned(),
            "`body.results` leads to nothing (did you mean `result`?)",
        ),
        (at("policies/20-keys.cedar", "context.body.forse"), "did you mean `force`"),
        (at("policies/20-keys.cedar", "@ower("), "`@ower` is no annotation"),
        (at("policies/patterns.toml", "regex = \"[a-z"), "pattern"),
    ];
    for (place, part) in &wanted {
        let told = said
            .lines()
            .filter(|line| line.contains(place.as_str()) && line.contains(part))
            .count();
        assert_eq!(told, 1, "{place} {part}: {said}");
    }
    assert!(said.contains(&format!("\n\n{} mistakes found", wanted.len())), "{said}");
    // A gateway that is started says the same, and a secret in the wrong place is told nowhere.
    let served =
        keyward(&["serve", "--config", config.to_str().unwrap(), "--set", "gateway.thread=2"]);
    let served = (served.status.code(), text(&served.stderr));
    assert_eq!(served, (Some(1), format!("keyward: {}\n", said.split("\n\n").next().unwrap())));
    assert!(!said.contains("pt-clear"), "{said}");
}

/// A trail's folder that cannot be one is told in the same words before a start and by it.
#[test]
fn a_wrong_folder_for_the_trail_is_told_alike_by_check_and_serve() {
    let dir = copied();
    fs::write(dir.path().join("file"), "").unwrap();
    for (audit, wanted) in [
        ("file", "it is no folder"),
        ("file/audit", "it cannot be made, for"),
        ("file/x/audit", "it cannot be made, for"),
    ] {
        let run = |command: &str| {
            let set = format!("audit.dir=../{audit}");
            let listen = ["--set", "admin.address=127.0.0.1:0"];
            let output = keyward(
                &[
                    &[
                        command,
                        "--config",
                        dir.path().join("config/keyward.toml").to_str().unwrap(),
                        "--set",
                        &set,
                    ],
                    &listen[..],
                ]
                .concat(),
            );
            (output.status.code(), text(&output.stderr))
        };
        let (checked, served) = (run("check"), run("serve"));
        assert_eq!((checked.0, served.0), (Some(1), Some(1)), "{checked:?} {served:?}");
        let line = checked.1.lines().next().unwrap();
        assert!(
            line.contains("audit.dir `")
                && line.contains(wanted)
                && checked.1.ends_with("1 mistake found\n"),
            "{}",
            checked.1
        );
        assert_eq!(served.1, format!("keyward: {line}\n"));
    }
}

#[test]
fn a_check_looks_at_certificates_and_addresses_too() {
    let tls = "[[listener]]\naddress = \"127.0.0.1:8443\"\n[listener.tls]\ncertificates = [{ chain = \"none.pem\", key = \"none.key\" }]\n[admin]";
    let twice = "[[listener]]\naddress = \"127.0.0.1:8080\"\n[admin]";
    for (to, wanted) in [
        (tls, &["listener 127.0.0.1:8443", "none.pem"][..]),
        (twice, &["two listeners have the address 127.0.0.1:8080"]),
    ] {
        let (code, said) = check_after("config/keyward.toml", "[admin]", to);
        assert!(code == Some(1) && wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
    }
}

/// Whoever reads the output may go, and its disk may be full: neither is a panic.
#[test]
fn an_output_that_ends_is_no_panic() {
    for args in [&["check"][..], &["policy", "list"], &["policy", "schema"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{args:?}: {} {}",
            output.status,
            text(&output.stderr)
        );
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_keyward")).args(args).stdout(full).output().unwrap();
        assert!(
            output.status.code() == Some(1)
                && text(&output.stderr).starts_with("keyward: No space left on device"),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn two_operations_on_one_path_do_not_load() {
    let dir = copied();
    let apis = dir.path().join("config/apis");
    let twin = fs::read_to_string(apis.join("huawei-cph.yaml"))
        .unwrap()
        .replace("x-keyward-service: huawei.cph", "x-keyward-service: huawei.twin");
    fs::write(apis.join("twin.yaml"), twin).unwrap();
    let output =
        keyward(&["check", "--config", dir.path().join("config/keyward.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("matches the same calls"), "{}", text(&output.stderr));
}

#[test]
fn help_has_examples() {
    let mut commands = vec![Vec::new()];
    let mut without = Vec::new();
    while let Some(command) = commands.pop() {
        let output = keyward(&[command.as_slice(), &["--help"]].concat());
        assert!(output.status.success());
        let said = text(&output.stdout);
        let names = said
            .split_once("Commands:\n")
            .map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
        let names: Vec<_> = names
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty() && *name != "help")
            .collect();
        if !said.contains("Example") && (names.is_empty() || command.is_empty()) {
            without.push(command.join(" "));
        }
        commands.extend(names.into_iter().map(|name| {
            [command.as_slice(), &[&*Box::leak(name.to_owned().into_boxed_str())]].concat()
        }));
    }
    assert!(without.is_empty(), "{without:?}");
}

/// What stands in the version is what the repository says, or that nothing is known.
#[test]
fn the_version_has_the_commit() {
    let said = text(&keyward(&["--version"]).stdout);
    let commit = said
        .trim_end()
        .strip_prefix(concat!("keyward ", env!("CARGO_PKG_VERSION"), " ("))
        .and_then(|rest| rest.strip_suffix(')'))
        .expect(&said);
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success());
    match git {
        Some(output) => assert_eq!(commit.split(',').next(), Some(text(&output.stdout).trim())),
        None => assert_eq!(commit, "commit unknown"),
    }
}

#[test]
fn digests_are_of_the_secret_and_never_the_secret() {
    let dir = copied();
    let config = dir.path().join("config/keyward.toml");
    let digest = |secret: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(["digest", "--config", config.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
        text(&child.wait_with_output().unwrap().stdout)
    };
    let first = digest("pt-secret\n");
    assert!(first.starts_with("hmac-sha256:") && first.trim().len() == 76, "{first}");
    assert_eq!(first, digest("pt-secret"));
    assert_ne!(first, digest("pt-other"));
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// `audit query` over a folder, as JSON.
fn query(dir: &Path, arguments: &[&str]) -> Value {
    let all = [&["audit", "query", "--dir", dir.to_str().unwrap(), "--format", "json"], arguments]
        .concat();
    let output = keyward(&all);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_generated_trail_is_made_in_an_empty_folder_only() {
    let dir = tempfile::tempdir().unwrap();
    let trail = dir.path().join("trail");
    let generate =
        || keyward(&["audit", "generate", "--records", "300", "--dir", trail.to_str().unwrap()]);
    assert!(generate().status.success());
    let counts = query(&trail, &["--count", "--by", "decision"]);
    // Two records for what is allowed, one for what is refused, one for each event: all that was
    // asked for.
    let of = |value: &str| {
        counts["groups"]
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["value"] == value)
            .map_or(0, |g| g["exchanges"].as_u64().unwrap())
    };
    let events =
        query(&trail, &["--where", "event = rules-loaded", "--count"])["total"].as_u64().unwrap();
    assert_eq!(2 * of("allow") + of("deny") + events, 300, "{counts}");
    let again = generate();
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is not empty"), "{}", text(&again.stderr));
    assert_eq!(query(&trail, &["--count"])["total"], counts["total"]);
}

/// A demo that stays up, in its own folder.
struct Demo {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    gateway: String,
}

impl Demo {
    fn start(dir: &Path) -> Self {
        let gateway = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args([
                "demo",
                "--listen",
                &gateway,
                "--admin",
                &free_port(),
                "--dir",
                dir.to_str().unwrap(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, gateway }
    }

    /// Reads on until a line that holds this.
    fn until(&mut self, part: &str) -> String {
        self.lines.find_map(|line| line.ok().filter(|line| line.contains(part))).expect(part)
    }

    /// The answer to the call that the demo names to try policies with.
    fn listed(&self) -> String {
        let mut stream = std::net::TcpStream::connect(&self.gateway).unwrap();
        write!(stream, "GET /oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys HTTP/1.1\r\nHost: openapi-rdc.aliyuncs.com\r\nx-yunxiao-token: pt-sandboxBuildBot_0002\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        text(&answer)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_policy_of_ones_own_is_tried_on_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(dir.path());
    let said = demo.until("kill -HUP");
    assert!(
        said.contains(dir.path().join("policies").to_str().unwrap())
            && said.contains(&format!("kill -HUP {}", demo.child.id())),
        "{said}"
    );
    assert!(demo.listed().starts_with("HTTP/1.1 200"), "{}", demo.listed());
    let own = "@id(\"mine\") @owner(\"me\") @message(\"Not on Mondays.\") forbid (principal, action == Keyward::Action::\"alibaba.codeup.ListSSHKeys\", resource);";
    fs::write(dir.path().join("policies/50-mine.cedar"), own).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&demo.child),
        rustix::process::Signal::HUP,
    )
    .unwrap();
    let denied = |demo: &Demo| {
        (0..200).any(|_| {
            demo.listed().contains("Not on Mondays. [mine]") || {
                std::thread::sleep(std::time::Duration::from_millis(25));
                false
            }
        })
    };
    assert!(denied(&demo), "{}", demo.listed());
    // The folder is kept, and what was changed in it.
    drop(demo);
    let mut again = Demo::start(dir.path());
    again.until("kill -HUP");
    assert!(denied(&again), "{}", again.listed());
}

#[test]
fn the_demo_goes_as_it_should_and_leaves_a_trail_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let output = keyward(&[
        "demo",
        "--once",
        "--listen",
        &free_port(),
        "--admin",
        &free_port(),
        "--dir",
        dir.path().to_str().unwrap(),
    ]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    let audit = dir.path().join("audit");

    let denied = query(&audit, &["--decision", "deny"]);
    let denied = denied["exchanges"].as_array().unwrap();
    assert!(denied.len() >= 12, "{}", denied.len());
    assert!(
        denied
            .iter()
            .all(|e| e["answer"].is_null()
                && e["request"]["record"]["decision"]["verdict"] == "deny")
    );

    let partly = query(&audit, &["--outcome", "partly-failed"]);
    assert_eq!(
        partly["exchanges"].as_array().unwrap().len(),
        2,
        "a copy of key pairs, and two phones of which one is frozen"
    );
    let unsent = query(&audit, &["--outcome", "not-sent"]);
    assert_eq!(
        unsent["exchanges"][0]["request"]["record"]["call"]["host"],
        "cph.cn-south-1.myhuaweicloud.com"
    );
    let wide = query(&audit, &["--where", "request.content.keyScope=ALL"]);
    assert_eq!(
        wide["exchanges"][0]["request"]["record"]["decision"]["policies"][0]["id"],
        "codeup-read-only"
    );
    let counts = query(&audit, &["--count", "--by", "decision"]);
    let calls = said
        .lines()
        .find_map(|line| line.split_once(" calls, ")?.0.trim().parse::<u64>().ok())
        .expect("the demo says how many calls it made");
    assert_eq!(counts["total"].as_u64(), Some(calls));

    let keys = query(
        &audit,
        &[
            "--where",
            "decision = deny and (action = huawei.kps.* or caller in (build-bot)) and not status = 400",
            "--count",
            "--by",
            "caller",
        ],
    );
    assert_eq!(
        keys["groups"][0],
        serde_json::json!({"value": "build-bot", "exchanges": 3}),
        "{keys}"
    );
    let by_hour = query(&audit, &["--decision", "deny", "--histogram", "1h"]);
    assert_eq!(by_hour["total"].as_u64(), Some(denied.len() as u64));
    assert_eq!(
        (by_hour["step_seconds"].as_u64(), by_hour["buckets"].as_array().unwrap().is_empty()),
        (Some(3600), false)
    );
    let wrong = keyward(&[
        "audit",
        "query",
        "--dir",
        audit.to_str().unwrap(),
        "--where",
        "decision = deny and stauts = 400",
    ]);
    let wrong = text(&wrong.stderr);
    assert!(wrong.contains("column 21") && wrong.contains("`status`"), "{wrong}");
    let none = keyward(&["audit", "reindex", "--dir", audit.to_str().unwrap()]);
    assert!(text(&none.stdout).contains("0 indexes were made"), "{}", text(&none.stderr));

    let id = wide["exchanges"][0]["id"].as_str().unwrap();
    let shown =
        keyward(&["audit", "show", id, "--dir", audit.to_str().unwrap(), "--format", "table"]);
    let shown = text(&shown.stdout);
    for part in
        ["build-bot", "codeup-read-only", "keyScope must be READ", "openapi-rdc.aliyuncs.com"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("pt-sandboxBuildBot_0002"), "{shown}");
}
