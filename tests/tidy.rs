//! The architecture, enforced: who may import whom, who may name which framework, and what no file
//! may hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a mistake here should end the run"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(dir)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{dir} has no sources");
    found
}

/// Those of the gateway and of its crates.
fn all_sources() -> Vec<(PathBuf, String)> {
    [sources("src"), sources("crates")].concat()
}

/// The modules that a file lists, in order.
fn listed(file: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let name = |line: &str| {
        line.trim()
            .trim_start_matches("pub ")
            .strip_prefix("mod ")?
            .strip_suffix(';')
            .map(str::to_owned)
    };
    text.lines().filter_map(name).collect()
}

/// The code of a file without its tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

fn is_test_file(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("tests") || text.contains("testing")
}

/// Which of `modules` a file belongs to, below `root`.
fn module_of(path: &Path, root: &str) -> String {
    let below = path.strip_prefix(root).unwrap();
    below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

fn check_order(list: &str, root: &str, prefix: &str) {
    let modules = listed(list);
    assert!(modules.len() > 5, "{list} lists its modules");
    let mut wrong = Vec::new();
    for (path, text) in sources(root) {
        let own = module_of(&path, root);
        let Some(place) = modules.iter().position(|m| *m == own) else { continue };
        if is_test_file(&path) {
            continue;
        }
        for (later, module) in modules.iter().enumerate().skip(place + 1) {
            assert!(later > place);
            for form in [
                format!("{prefix}{module}::"),
                format!("{prefix}{module};"),
                format!("{prefix}{module},"),
            ] {
                if production(&text).contains(&form) {
                    wrong.push(format!(
                        "{} imports {module}, which {list} lists after {own}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_module_imports_only_from_lines_above_its_own() {
    check_order("src/lib.rs", "src", "crate::");
}

#[test]
fn so_do_the_modules_of_a_record_and_of_the_crates() {
    check_order("src/record.rs", "src/record", "super::");
    check_order("crates/keyward-decision/src/lib.rs", "crates/keyward-decision/src", "crate::");
    check_order("crates/keyward-delivery/src/lib.rs", "crates/keyward-delivery/src", "crate::");
    check_order("crates/keyward-pack/src/lib.rs", "crates/keyward-pack/src", "super::");
    check_order("crates/keyward-tlog/src/lib.rs", "crates/keyward-tlog/src", "crate::");
    check_order("crates/keyward-trail/src/lib.rs", "crates/keyward-trail/src", "super::");
    check_order("crates/keyward-trail/src/lib.rs", "crates/keyward-trail/src", "crate::");
}

/// A crate's name, which of ours it may know, and what it must never have.
type Wall = (&'static str, &'static [&'static str], &'static [&'static [&'static str]]);

/// Which of ours a crate may know, and what it must never have, not even through another one.
#[test]
fn crates_have_walls() {
    const NETWORK: &[&str] = &["axum", "hyper", "rustls"];
    const POLICIES: &[&str] = &["cedar-policy", "oas3", "jsonschema"];
    let crates: &[Wall] = &[
        ("keyward-core", &[], &[NETWORK, POLICIES, &["sled", "tokio"]]),
        ("keyward-decision", &["keyward-core"], &[NETWORK, &["prometheus", "sled"]]),
        ("keyward-delivery", &["keyward-core"], &[POLICIES, &["axum", "prometheus", "sled"]]),
        (
            "keyward-pack",
            &["keyward-core", "keyward-record", "keyward-tlog", "keyward-trail"],
            &[NETWORK, POLICIES, &["sled"]],
        ),
        ("keyward-record", &["keyward-core"], &[NETWORK, POLICIES, &["sled", "tokio"]]),
        (
            "keyward-testkit",
            &["keyward-core", "keyward-decision"],
            &[&["prometheus", "rustls", "sled"]],
        ),
        (
            "keyward-tlog",
            &["keyward-core", "keyward-record"],
            &[NETWORK, POLICIES, &["prometheus", "sled", "tokio"]],
        ),
        (
            "keyward-trail",
            &["keyward-core", "keyward-record", "keyward-tlog"],
            &[NETWORK, POLICIES],
        ),
        (
            "keyward-verify",
            &["keyward-core", "keyward-pack", "keyward-record", "keyward-tlog", "keyward-trail"],
            &[NETWORK, POLICIES, &["sled"]],
        ),
    ];
    let listed = fs::read_dir("crates")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(
        listed.into_iter().all(|name| crates.iter().any(|(known, ..)| *known == name)),
        "a crate without a row here"
    );
    for (name, may, more) in crates {
        let arguments = [
            "tree",
            "--offline",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "-p",
            name,
        ];
        let output = std::process::Command::new(env!("CARGO")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        for package in tree.lines().filter_map(|line| line.split(' ').next()) {
            let ours = package.strip_prefix("keyward").is_some() && package != *name;
            assert!(!ours || may.contains(&package), "{name} knows {package}");
            assert!(
                !["pingora"]
                    .iter()
                    .chain(more.iter().copied().flatten())
                    .any(|banned| package.starts_with(banned)),
                "{name} has {package}"
            );
        }
    }
}

#[test]
fn frameworks_end_at_one_door() {
    let doors: &[(&str, &[&str])] = &[
        ("pingora", &["src/listen/", "src/proxy/", "src/app", "src/admin/mod.rs"]),
        (
            "rustls",
            &[
                "crates/keyward-delivery/src/client",
                "src/listen/",
                "src/proxy/upstream.rs",
                "src/proxy/roots.rs",
            ],
        ),
        ("governor", &["src/rate.rs"]),
        ("sled", &["crates/keyward-trail/src/wal/"]),
        ("cedar_policy", &["crates/keyward-decision/src/policy/"]),
        ("axum", &["src/admin/", "crates/keyward-testkit/src/sandbox/"]),
        ("oas3", &["crates/keyward-decision/src/catalog/document.rs"]),
        ("clap", &["src/cli/", "crates/keyward-verify/src/"]),
        (
            "hyper",
            &[
                "crates/keyward-delivery/src/client",
                "src/admin/",
                "crates/keyward-testkit/src/sandbox/",
            ],
        ),
        ("prometheus", &["src/metrics.rs", "crates/keyward-trail/src/metrics.rs"]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let name = path.display().to_string();
        if is_test_file(&path) {
            continue;
        }
        for (framework, allowed) in doors {
            let named = text
                .lines()
                .map(str::trim_start)
                .filter(|l| !l.starts_with("//"))
                .any(|l| l.contains(&format!("{framework}::")));
            if named && !allowed.iter().any(|a| name.starts_with(a)) {
                wrong.push(format!("{name} names {framework}, which ends at {allowed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn policies_know_no_clock_and_the_gate_no_status() {
    for (path, text) in sources("crates/keyward-decision/src/policy") {
        if !is_test_file(&path) {
            for word in [
                "Timestamp::now",
                "SystemTime",
                "Instant::now",
                "async fn",
                "crate::metrics",
                "crate::record",
                "keyward_trail",
            ] {
                assert!(!production(&text).contains(word), "{} holds {word}", path.display());
            }
        }
    }
    let gate = fs::read_to_string("src/gate.rs").unwrap();
    assert!(!production(&gate).contains("StatusCode"));
}

#[test]
fn the_road_is_a_page() {
    let gate = fs::read_to_string("src/gate.rs").unwrap();
    let admit = gate.split("pub async fn admit").nth(1).unwrap();
    let lines = admit.split("\n    }\n").next().unwrap().lines().count();
    assert!(lines <= 60, "gate::admit has {lines} lines");
}

#[test]
fn files_stay_readable() {
    for (path, text) in all_sources() {
        let lines = text.lines().count();
        assert!(lines <= 620, "{} has {lines} lines", path.display());
        assert!(text.starts_with("//!"), "{} says first what it does", path.display());
        for word in ["todo!", "unimplemented!", "#[ignore", "FIXME", "TODO"] {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn module_names_say_what_is_inside() {
    for (path, _) in all_sources() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "common", "helpers", "manager", "misc"].contains(&stem.as_str()),
            "{}",
            path.display()
        );
    }
}

/// Files and folders that a document names in back-ticks are there. Decisions and the change log
/// tell of what was.
#[test]
fn documents_name_files_that_are_there() {
    let listed = std::process::Command::new("git").args(["ls-files", "*.md"]).output().unwrap();
    let mut wrong = Vec::new();
    for document in String::from_utf8(listed.stdout).unwrap().lines() {
        if document.starts_with("docs/decisions/") || document == "CHANGELOG.md" {
            continue;
        }
        let text = fs::read_to_string(document).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            let ours =
                ["src/", "crates/", "tests/", "docs/", "config/", "policies/", "fuzz/", "benches/"]
                    .iter()
                    .any(|top| named.starts_with(top));
            let plain = !named.contains(|c: char| c.is_whitespace() || "*…<{".contains(c));
            if ours && plain && !Path::new(named).exists() {
                wrong.push(format!("{document} names `{named}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
