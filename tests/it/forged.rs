//! Forged evidence packs: each file changed, dropped, added to and swapped, with SHA256SUMS made
//! anew as a forger would, and told apart by our verifier and by Go's.

use crate::evidence::go;
use crate::packs::{Files, call, open, text, traffic, unpack};
use crate::support::cli::{command, keyward, keyward_fails};
use crate::support::{Client, Request, Site, Upstream, json_of, sha256};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SUMS: &str = "SHA256SUMS";

/// The digests of all files but the record of the making, as a forger writes them anew.
fn sums_anew(files: &mut Files) {
    let named = files.iter().filter(|(name, _)| *name != SUMS && !name.starts_with("made/"));
    let sums: String = named.map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect();
    files.insert(SUMS.to_owned(), sums.into());
}

/// Both verifiers.
struct Verifiers {
    key: String,
    go: Option<PathBuf>,
    dir: tempfile::TempDir,
    tried: u32,
}

impl Verifiers {
    fn new(key: &str, test: &str) -> Self {
        Self {
            key: key.to_owned(),
            go: go::program(test),
            dir: tempfile::tempdir().unwrap(),
            tried: 0,
        }
    }

    fn unpacked(&mut self, files: &Files) -> PathBuf {
        self.tried += 1;
        let dir = self.dir.path().join(self.tried.to_string());
        unpack(files, &dir);
        dir
    }

    /// What ours ends with and says, and whether Go's is content.
    fn ask(&mut self, files: &Files) -> (i32, String, Option<bool>) {
        let dir = self.unpacked(files);
        let dir = dir.to_str().unwrap();
        let ours =
            command(&["audit", "verify", "--pack", dir, "--vkey", &self.key]).output().unwrap();
        let said = String::from_utf8_lossy(&[ours.stdout, ours.stderr].concat()).into_owned();
        let go = self.go.as_ref().map(|go| go::run(go, &["pack", dir, &self.key]).status.success());
        (ours.status.code().unwrap(), said, go)
    }

    #[track_caller]
    fn refuse(&mut self, what: &str, files: &Files) -> String {
        let (status, said, go) = self.ask(files);
        assert_eq!((status, go.unwrap_or(false)), (3, false), "{what}: {said}");
        said
    }
}

/// A character in the middle is another one.
fn changed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    let at = (middle..bytes.len())
        .chain(0..middle)
        .find(|at| bytes[*at].is_ascii_alphanumeric())
        .unwrap();
    bytes[at] = if bytes[at] == b'7' { b'3' } else { b'7' };
    bytes
}

/// The forgeries of a pack that change one file, each with what it is.
fn forgeries(files: &Files) -> Vec<(String, Files)> {
    let mut forged = Vec::new();
    let mut add = |what: String, files: Files| forged.push((what, files));
    let names: Vec<_> = files.keys().cloned().collect();
    for (n, name) in names.iter().enumerate() {
        let with = |bytes: Option<Vec<u8>>| {
            let mut files = files.clone();
            match bytes {
                Some(bytes) => files.insert(name.clone(), bytes),
                None => files.remove(name),
            };
            files
        };
        add(format!("{name} changed"), with(Some(changed(&files[name]))));
        add(format!("{name} dropped"), with(None));
        add(format!("{name} emptied"), with(Some(Vec::new())));
        let text = String::from_utf8(files[name].clone()).unwrap();
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        let last = lines.last().unwrap();
        add(
            format!("{name}: a line added"),
            with(Some([text.as_bytes(), last.as_bytes()].concat())),
        );
        add(
            format!("{name}: a line dropped"),
            with(Some(lines[..lines.len() - 1].concat().into())),
        );
        if let Some(other) = (0..lines.len() - 1).find(|n| lines[*n].trim_end() != last.trim_end())
        {
            let mut lines = lines.clone();
            let end = lines.len() - 1;
            lines.swap(other, end);
            add(format!("{name}: two lines swapped"), with(Some(lines.concat().into())));
        }
        let other = &names[(n + 1) % names.len()];
        let mut swapped = files.clone();
        swapped.insert(name.clone(), files[other].clone());
        swapped.insert(other.clone(), files[name].clone());
        add(format!("{name} and {other} swapped"), swapped);
    }
    for folder in [
        "",
        "made/",
        "proofs/",
        "policies/",
        "catalogue/",
        "policies/0123456789abcdef/",
        "verifier/bin/",
    ] {
        let mut files = files.clone();
        files.insert(format!("{folder}more.txt"), b"more\n".to_vec());
        add(format!("{folder}more.txt added"), files);
    }
    forged
}

#[test]
fn no_file_of_a_pack_can_be_forged() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = traffic(&site);
    let (url, all, part) =
        (format!("http://{}", site.admin), site.path("all.zip"), site.path("part.zip"));
    keyward(&["audit", "pack", "--url", &url, "--out", all.to_str().unwrap()]);
    keyward(&[
        "audit",
        "pack",
        "--url",
        &url,
        "--decision",
        "deny",
        "--out",
        part.to_str().unwrap(),
    ]);
    gateway.stop();
    let (files, part) = (open(&all), open(&part));
    let mut verifiers =
        Verifiers::new(text(&files, "proofs/log.vkey").trim(), "no_file_of_a_pack_can_be_forged");
    for genuine in [&files, &part] {
        let (status, said, go) = verifiers.ask(genuine);
        assert_eq!((status, go.unwrap_or(true)), (0, true), "{said}");
        assert!(
            said.contains("made anew")
                && said.contains("tells of the making")
                && !said.contains("NOT PROVED"),
            "{said}"
        );
    }
    let mut passed = Vec::new();
    for (what, mut forged) in forgeries(&files) {
        if !what.starts_with(SUMS) {
            sums_anew(&mut forged);
        }
        let (status, said, go) = verifiers.ask(&forged);
        // Its own proof is all that the record does not commit to, and a signed note may have more
        // signatures.
        let more_signatures = what.ends_with(".tlog-proof: a line added");
        if (status, go.unwrap_or(false)) != (3, false) && !more_signatures {
            passed.push(format!("{what}: {status}, Go {go:?}: {said}"));
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));

    // Records dropped with their proofs: a pack of another question passes for this one, with each
    // record of a making.
    let asked_for_all = |record: &Files| {
        let mut forged = part.clone();
        forged.retain(|name, _| !name.starts_with("made/"));
        forged.extend(
            record
                .iter()
                .filter(|(name, _)| name.starts_with("made/"))
                .map(|(name, bytes)| (name.clone(), bytes.clone())),
        );
        let mut manifest: Value = serde_json::from_str(text(&forged, "manifest.json")).unwrap();
        manifest["filter"] = json!([]);
        forged.insert("manifest.json".to_owned(), format!("{manifest:#}\n").into());
        sums_anew(&mut forged);
        forged
    };
    verifiers.refuse("fewer records, by their own record", &asked_for_all(&part));
    verifiers.refuse("fewer records, by the record of all", &asked_for_all(&files));

    // Without the record of its making a pack is none of which one could tell.
    let mut unrecorded = files.clone();
    unrecorded.retain(|name, _| !name.starts_with("made/"));
    let mut manifest: Value = serde_json::from_str(text(&files, "manifest.json")).unwrap();
    manifest["recorded"] = json!(false);
    unrecorded.insert("manifest.json".to_owned(), format!("{manifest:#}\n").into());
    sums_anew(&mut unrecorded);
    verifiers.refuse("the record is gone, and the report speaks of it", &unrecorded);
}

/// Of a pack whose making no record tells of, what the records say is checked all the same, and
/// never passes for more.
#[test]
fn a_pack_of_a_folder_is_compared_with_its_records() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    traffic(&site).stop();
    let out = site.path("pack.zip");
    keyward(&[
        "audit",
        "pack",
        "--dir",
        site.audit.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    let files = open(&out);
    assert!(
        text(&files, "README.txt").contains("NO RECORD TELLS")
            && text(&files, "report.html").contains("No record of the trail tells of the making")
    );
    let mut verifiers = Verifiers::new(
        text(&files, "proofs/log.vkey").trim(),
        "a_pack_of_a_folder_is_compared_with_its_records",
    );
    let (status, said, go) = verifiers.ask(&files);
    assert_eq!((status, go.unwrap_or(false)), (6, false), "{said}");
    assert!(said.contains("NOT PROVED: no record of the log tells of the making"), "{said}");
    let mut passed = Vec::new();
    for (what, mut forged) in forgeries(&files) {
        if what.starts_with(SUMS) {
            continue;
        }
        sums_anew(&mut forged);
        let (status, said, go) = verifiers.ask(&forged);
        // What it says of itself, checkpoints and signatures beside those that it is proved by, and
        // whether a body that is not there was erased are all that nothing binds.
        let unbound = [
            "manifest.json",
            "proofs/checkpoints.ndjson",
            "proofs/checkpoint: a line added",
            "proofs/more.txt",
            "bodies.ndjson emptied",
            "bodies.ndjson: a line dropped",
        ];
        let unbound = unbound.iter().any(|name| what.starts_with(name));
        if go == Some(true) || !(status == 3 || (status == 6 && unbound)) {
            passed.push(format!("{what}: {status}, Go {go:?}: {said}"));
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));
}

/// Packs that were made before their making was recorded verify as far as they did, and what they
/// lack is said.
#[test]
fn a_pack_of_before_verifies_as_far_as_it_did() {
    let files = open(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/pack-of-before-its-record.zip"
    )));
    let key =
        "keyward.invalid/c44605cdebb63abb+d5e8972a+AQTsHEFPfXqcVW6PWjmqRVY1nmrrwk6kePDlDRBsYHoj";
    let mut verifiers = Verifiers::new(key, "a_pack_of_before_verifies_as_far_as_it_did");
    let (status, said, go) = verifiers.ask(&files);
    assert_eq!((status, go.unwrap_or(true)), (0, true), "{said}");
    assert!(
        said.contains("all 7 records stand in the log")
            && said.contains("NOT PROVED: no record of the log tells of the making"),
        "{said}"
    );
    for name in [
        "records.ndjson",
        "records.csv",
        "bodies.ndjson",
        "policies/df12429bd2aa12cc.json",
        "catalogue/3738759a7ac8873a/blobs.yaml",
    ] {
        let mut forged = files.clone();
        forged.insert(name.to_owned(), changed(&files[name]));
        sums_anew(&mut forged);
        verifiers.refuse(name, &forged);
    }
}

/// A pack that is on record verifies for ever, also when later versions make other reports.
#[test]
fn a_pack_on_record_verifies_for_ever() {
    let files =
        open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pack-on-record.zip")));
    let key =
        "keyward.invalid/af779073ff1b9ee6+42f980a2+AeqO56n+AeoklwxKD+qRqqdC3rH0CCi8LmT9UxT6JCyM";
    let (status, said, go) = Verifiers::new(key, "a_pack_on_record_verifies_for_ever").ask(&files);
    assert_eq!((status, go.unwrap_or(true)), (0, true), "{said}");
    assert!(
        said.contains("all 7 records stand in the log")
            && said.contains("tells of the making of this pack"),
        "{said}"
    );
}

/// The gateway records a pack once for each export that it counted itself, and nothing else.
#[test]
fn only_a_pack_of_an_export_is_recorded() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    assert_eq!(call(&gateway, "/v1/blobs/x", &json_of(90)), 200);
    gateway.settle();
    let admin =
        |request: Request| Client::new(gateway.admin).call(&request.header("Host", "localhost"));
    let export = |purpose: &str| {
        let answer = admin(
            Request::new("GET", "/api/v1/export?form=exchange&numbered=true")
                .header("x-keyward-purpose", purpose),
        );
        assert!(String::from_utf8_lossy(&answer.body).ends_with("whole\n"));
        answer.header("x-keyward-export").to_owned()
    };
    let sums = format!("sha256:{}", "0".repeat(64));
    let (other, own) = (export("curiosity"), export("evidence pack"));
    for (body, status) in [
        (json!({"export": own, "sums": "sha256:0"}), 400),
        (json!({"export": own}), 400),
        (json!({"export": own, "sums": sums, "records": 7}), 400),
        (json!({"export": other, "sums": sums}), 409),
        (json!({"export": "x", "sums": sums}), 409),
        (json!({"export": own, "sums": sums}), 200),
        (json!({"export": own, "sums": sums}), 409),
    ] {
        let answer = admin(Request::new("POST", "/api/v1/packs").json(body.to_string()));
        assert_eq!(answer.status, status, "{body}: {}", String::from_utf8_lossy(&answer.body));
    }
    gateway.stop();
    let trail = site.trail();
    let made: Vec<_> =
        trail.0.iter().filter(|record| record.text("/event") == "pack-made").collect();
    assert_eq!((made.len(), made[0].text("/detail/export")), (1, own.as_str()));
    // What it says of the records is the gateway's own count of that export: all that stood when it
    // began.
    let begun = trail.0.iter().find(|record| record.id == own).unwrap();
    let end = begun.leaf["detail"]["end"].as_u64().unwrap();
    let lines: Vec<u8> = trail.0[..usize::try_from(end).unwrap()]
        .iter()
        .flat_map(|record| [&record.bytes[..], b"\n"].concat())
        .collect();
    let told = json!({"number": end, "first": 0, "last": end - 1, "sha256": sha256(&lines)});
    assert_eq!(
        (&made[0].leaf["detail"]["records"], &made[0].leaf["detail"]["records_in_trail"]),
        (&told, &json!(end))
    );
    keyward_fails(&[
        "audit",
        "pack",
        "--url",
        "http://127.0.0.1:9",
        "--out",
        site.path("none.zip").to_str().unwrap(),
    ]);
    assert!(!site.path("none.zip").exists());
}
