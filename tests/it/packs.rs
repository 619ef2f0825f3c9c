//! Evidence packs of a real gateway: opened and checked by whoever has only a zip reader and a hash
//! function.

use crate::evidence::go;
use crate::support::cli::{keyward, keyward_fails};
use crate::support::{Gateway, Request, Site, Trail, Upstream, eventually, json_of, sha256};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// The files of a pack, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn call(gateway: &Gateway, target: &str, body: &[u8]) -> u16 {
    gateway.client().call(&Request::new("POST", target).json(body)).status
}

/// The files of an archive.
pub fn open(path: &Path) -> Files {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut files = BTreeMap::new();
    for n in 0..archive.len() {
        let mut file = archive.by_index(n).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let name = file.enclosed_name().unwrap().to_str().unwrap().to_owned();
        files.insert(name, bytes);
    }
    files
}

pub fn unpack(files: &Files, dir: &Path) {
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub fn text<'a>(files: &'a Files, name: &str) -> &'a str {
    std::str::from_utf8(files.get(name).unwrap_or_else(|| panic!("{name} in {:?}", files.keys())))
        .unwrap()
}

fn lines(files: &Files, name: &str) -> Vec<Value> {
    text(files, name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A site with two calls that are let through, two that are refused, and a bundle that changed in
/// between.
pub fn traffic(site: &Site) -> Gateway {
    let gateway = site.serve();
    assert_eq!(call(&gateway, "/v1/blobs/x", &json_of(90)), 200);
    assert_eq!(call(&gateway, "/v1/blobs/x", b"[<script>alert(1)</script>"), 400);
    let before = gateway.metrics();
    let policy = "@id(\"nothing-more\")\n@message(\"Nothing <b>more</b>.\")\nforbid (principal, action in Keyward::Action::\"write\", resource);\n";
    std::fs::write(site.path("policies/more.cedar"), policy).unwrap();
    gateway.reload();
    eventually("the new bundle is in force", || {
        gateway.metrics().lines().find(|l| l.contains("bundle_info{"))
            != before.lines().find(|l| l.contains("bundle_info{"))
    });
    assert_eq!(call(&gateway, "/v1/blobs/y", &json_of(91)), 403);
    gateway.settle();
    gateway
}

fn check(files: &Files, trail: &Trail) {
    // Every file is as its digest says, and every file has one, but the record of the making: that
    // has the digest of all.
    let sums: BTreeMap<_, _> = text(files, "SHA256SUMS")
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(sum, name)| (name, sum))
        .collect();
    for (name, bytes) in
        files.iter().filter(|(name, _)| *name != "SHA256SUMS" && !name.starts_with("made/"))
    {
        assert_eq!(sums.get(name.as_str()), Some(&sha256(bytes).as_str()), "{name}");
    }
    for (name, bytes) in
        files.iter().filter(|(name, _)| name.starts_with("made/") && name.ends_with(".json"))
    {
        let made: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(made["detail"]["sums"], format!("sha256:{}", sha256(&files["SHA256SUMS"])));
        let stored = &trail.0[name
            .strip_prefix("made/record-")
            .unwrap()
            .strip_suffix(".json")
            .unwrap()
            .parse::<usize>()
            .unwrap()];
        assert_eq!((bytes, stored.text("/event")), (&stored.bytes, "pack-made"));
    }
    // Each record is one of the trail's, byte for byte, where the table says.
    let records: Vec<_> = text(files, "records.ndjson").lines().collect();
    let table: Vec<Vec<&str>> =
        text(files, "records.csv").lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(records.len(), table.len());
    for (record, row) in records.iter().zip(&table) {
        let stored = &trail.0[row[1].parse::<usize>().unwrap()];
        assert_eq!(
            (record.as_bytes(), row[2], row[5]),
            (
                stored.bytes.as_slice(),
                stored.id.as_str(),
                sha256(&[b"\0", stored.bytes.as_slice()].concat()).as_str()
            )
        );
    }
    // Each body is the one that its record commits to.
    for body in lines(files, "bodies.ndjson") {
        let record = &trail.0[usize::try_from(body["record"].as_u64().unwrap()).unwrap()];
        let bytes = [
            hex::decode(body["salt"].as_str().unwrap()).unwrap(),
            body["text"].as_str().unwrap().as_bytes().to_vec(),
        ]
        .concat();
        assert_eq!(record.text("/body/commit"), format!("sha256:{}", sha256(&bytes)));
    }
}

/// The hash of policies, made by the words of the README alone.
fn bundle_hash(document: &Value) -> String {
    let mut texts = vec![document["schema"].as_str().unwrap()];
    texts.extend(
        document["policies"].as_array().unwrap().iter().map(|file| file[1].as_str().unwrap()),
    );
    texts.extend(document["patterns"].get(1).and_then(Value::as_str));
    texts
        .extend(document["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()));
    let bytes: Vec<u8> = texts
        .iter()
        .flat_map(|text| [&(text.len() as u64).to_be_bytes(), text.as_bytes()].concat())
        .collect();
    format!("sha256:{}", sha256(&bytes))
}

#[test]
fn a_pack_holds_what_was_asked_for_and_can_be_checked_without_keyward() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = traffic(&site);
    let (url, out) = (format!("http://{}", site.admin), site.path("pack.zip"));
    let out = out.to_str().unwrap();
    let said = String::from_utf8(keyward(&[
        "audit",
        "pack",
        "--url",
        &url,
        "--decision",
        "deny",
        "--since",
        "1h",
        "--out",
        out,
    ]))
    .unwrap();
    let again = keyward_fails(&["audit", "pack", "--url", &url, "--out", out]);
    assert!(again.contains("exists already"), "{again}");
    let all = site.path("all.zip");
    keyward(&["audit", "pack", "--url", &url, "--out", all.to_str().unwrap()]);
    gateway.stop();
    let trail = site.trail();

    assert_eq!(trail.events().filter(|event| event == "pack-made").count(), 2);
    let bytes = std::fs::read(out).unwrap();
    assert!(
        said.contains("2 exchanges, 2 records")
            && said.contains(&format!("sha256:{}", sha256(&bytes))),
        "{said}"
    );
    let files = open(Path::new(out));
    check(&files, &trail);
    let records = lines(&files, "records.ndjson");
    assert_eq!(
        records.iter().map(|record| &record["decision"]["verdict"]).collect::<Vec<_>>(),
        ["deny", "deny"]
    );
    // The policies of each decision are there, and hash to what its record says; so does the
    // catalogue.
    let mut bundles = std::collections::BTreeSet::new();
    for record in &records {
        let bundle = record["decision"]["bundle"].as_str().unwrap();
        let digits = bundle.strip_prefix("sha256:").unwrap();
        let document: Value =
            serde_json::from_str(text(&files, &format!("policies/{}.json", &digits[..16])))
                .unwrap();
        assert_eq!(bundle_hash(&document), bundle);
        assert!(
            text(&files, &format!("policies/{}/blobs.cedar", &digits[..16])).contains("permit")
        );
        bundles.insert(bundle);
        let catalog = record["decision"]["catalog"].as_str().unwrap();
        let document = text(
            &files,
            &format!("catalogue/{}/blobs.yaml", &catalog.strip_prefix("sha256:").unwrap()[..16]),
        );
        let framed = ["blobs.yaml", document]
            .map(|text| [&(text.len() as u64).to_be_bytes(), text.as_bytes()].concat());
        assert_eq!(
            format!("sha256:{}", sha256(&[&[0xff], framed.concat().as_slice()].concat())),
            catalog
        );
    }
    assert_eq!(bundles.len(), 2);
    let manifest: Value = serde_json::from_str(text(&files, "manifest.json")).unwrap();
    assert_eq!(
        (&manifest["by"], &manifest["exchanges"], &manifest["texts_not_kept"]),
        (&"the-auditor".into(), &2.into(), &serde_json::json!([]))
    );
    let rules: Vec<_> = manifest["rules_in_force"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rules| rules["bundle"].as_str().unwrap())
        .collect();
    assert_eq!(
        rules,
        records
            .iter()
            .map(|record| record["decision"]["bundle"].as_str().unwrap())
            .collect::<Vec<_>>()
    );
    // What callers and policies say is text on the page, and nothing else.
    let report = text(&files, "report.html");
    assert!(
        report.contains("nothing-more") && report.contains("Nothing &#60;b&#62;more&#60;/b&#62;."),
        "{report}"
    );
    assert!(!report.contains("<script") && !report.contains("<b>more"), "{report}");
    assert!(text(&files, "exchanges.csv").lines().count() == 3);

    // That somebody took this is on record.
    let begun: Vec<_> =
        trail.0.iter().filter(|record| record.text("/event") == "export-begun").collect();
    assert_eq!(
        (begun[0].text("/detail/by/purpose_claimed"), begun[0].text("/detail/by/name_claimed")),
        ("evidence pack", "the-auditor")
    );
    assert_eq!(begun[0].text("/detail/filter/0/value"), "deny");
    let ended = trail.0.iter().find(|record| record.text("/event") == "export-ended").unwrap();
    assert_eq!(
        (ended.text("/detail/export"), &ended.leaf["detail"]["lines"]),
        (begun[0].id.as_str(), &2.into())
    );

    let files = open(&all);
    check(&files, &trail);
    let taken: usize = begun[1].seq.try_into().unwrap();
    assert_eq!(
        lines(&files, "records.ndjson").len(),
        taken,
        "all that was there when it was asked for"
    );
    assert_eq!(
        lines(&files, "bodies.ndjson").len(),
        trail.0[..taken].iter().filter(|record| record.content.is_some()).count()
    );
}

#[test]
fn a_stopped_gateways_folder_makes_the_same_pack() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    traffic(&site).stop();
    // One text is gone: the pack says so.
    let texts: Vec<_> = std::fs::read_dir(site.audit.join("texts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(texts.len(), 3, "two bundles and a catalogue");
    let bundle = texts
        .iter()
        .find(|path| std::fs::read_to_string(path).unwrap().contains("nothing-more"))
        .unwrap();
    std::fs::remove_file(bundle).unwrap();
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
    check(&files, &site.trail());
    let manifest: Value = serde_json::from_str(text(&files, "manifest.json")).unwrap();
    let missing = manifest["texts_not_kept"][0].as_str().unwrap();
    assert!(bundle.to_str().unwrap().contains(missing.strip_prefix("sha256:").unwrap()));
    assert!(text(&files, "report.html").contains(missing));

    // The README's own commands, as they stand there.
    let dir = site.path("opened");
    unpack(&files, &dir);
    let run = |command: &str| {
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", command])
            .current_dir(&dir)
            .output()
            .unwrap()
    };
    let readme = text(&files, "README.txt");
    let commands: Vec<_> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("     "))
        .filter(|line| line.contains("sha256sum"))
        .collect();
    let sums = run(commands[0]);
    assert!(
        sums.status.success() && !String::from_utf8_lossy(&sums.stdout).contains("FAILED"),
        "{sums:?}"
    );
    let line = run(commands[1]);
    let seventh = text(&files, "records.csv").lines().nth(7).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&line.stdout).split(' ').next(),
        seventh.rsplit(',').next(),
        "{} {seventh}",
        commands[1]
    );
}

/// The proofs of a pack hold for keyward and for Go's own packages, and not for a pack in which
/// something was changed.
#[test]
fn a_pack_proves_its_records() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = traffic(&site);
    let (url, out, dir) =
        (format!("http://{}", site.admin), site.path("pack.zip"), site.path("opened"));
    keyward(&[
        "audit",
        "pack",
        "--url",
        &url,
        "--outcome",
        "succeeded",
        "--out",
        out.to_str().unwrap(),
    ]);
    let files = open(&out);
    assert!(
        text(&files, "README.txt").contains("keyward audit verify --pack . --vkey KEY")
            && text(&files, "report.html").contains("proofs/")
    );
    unpack(&files, &dir);
    gateway.stop();
    let key = text(&files, "proofs/log.vkey").trim();
    let verify = ["audit", "verify", "--pack", dir.to_str().unwrap(), "--vkey", key];
    let said = String::from_utf8(keyward(&verify)).unwrap();
    assert!(said.contains("all 2 records stand in the log where the pack says"), "{said}");
    let go = go::program("a_pack_proves_its_records");
    let go_verify = ["pack", dir.to_str().unwrap(), key];
    if let Some(go) = &go {
        assert!(go::content(go, &go_verify).contains("2 records stand in the log"));
    }
    let records = text(&files, "records.ndjson");
    let (first, second) = records.trim_end().split_once('\n').unwrap();
    for (changed, wanted) in [
        (records.replacen("tester", "taster", 1), "line 1"),
        (format!("{second}\n{first}\n"), "line 1"),
        (format!("{first}\n"), ""),
        (format!("{records}{first}\n"), ""),
    ] {
        assert_ne!(changed, records);
        std::fs::write(dir.join("records.ndjson"), changed).unwrap();
        let error = keyward_fails(&verify);
        assert!(error.contains(wanted) && error.contains("records.ndjson"), "{error}");
        if let Some(go) = &go {
            assert!(go::complaint(go, &go_verify).contains(wanted));
        }
    }
    // A log that somebody else has signed is none.
    std::fs::write(dir.join("records.ndjson"), records).unwrap();
    let other = Site::new(upstream.address);
    let gateway = other.serve();
    assert_eq!(call(&gateway, "/v1/blobs/x", &json_of(90)), 200);
    gateway.stop();
    keyward(&[
        "audit",
        "pack",
        "--dir",
        other.audit.to_str().unwrap(),
        "--out",
        other.path("p.zip").to_str().unwrap(),
    ]);
    let foreign = open(&other.path("p.zip"));
    assert!(
        keyward_fails(&[
            "audit",
            "verify",
            "--pack",
            dir.to_str().unwrap(),
            "--vkey",
            text(&foreign, "proofs/log.vkey").trim()
        ])
        .contains("checkpoint")
    );
}

/// What is gone from the trail cannot be in a pack: it says so, and proves the rest.
#[test]
fn a_pack_over_a_pruned_time_says_what_is_gone() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("[audit]", "[audit]\nsegment_records = 16");
    site.append("[retention]\nmax_bytes = 1\nevery_seconds = 1\n");
    let gateway = site.serve();
    for n in 0..10 {
        assert_eq!(call(&gateway, "/v1/blobs/x", &json_of(90 + n)), 200);
    }
    eventually("the first segment is pruned", || {
        gateway.metric("keyward_pruned_records_total") == 16
    });
    let later = ::keyward_core::clock::Timestamp::now().rfc3339();
    assert_eq!(call(&gateway, "/v1/blobs/x", &json_of(90)), 200);
    gateway.settle();
    let url = format!("http://{}", gateway.admin);
    for (since, gone) in [(None, 1), (Some(later), 0)] {
        let out = site.path(&format!("pack-{gone}.zip"));
        let mut arguments = vec!["audit", "pack", "--url", &url, "--out", out.to_str().unwrap()];
        arguments.extend(since.iter().flat_map(|since| ["--since", since]));
        keyward(&arguments);
        let files = open(&out);
        let manifest: Value = serde_json::from_str(text(&files, "manifest.json")).unwrap();
        assert_eq!(manifest["records_gone"].as_array().unwrap().len(), gone, "{manifest:#}");
        assert_eq!(
            text(&files, "report.html").contains("Records 0 to 15 are gone from the trail"),
            gone == 1
        );
        // The segment ended between a request and its answer: that stands alone, and is proved like
        // all others.
        let rows: Vec<Vec<&str>> =
            text(&files, "records.csv").lines().map(|row| row.split(',').collect()).collect();
        let of =
            |kind: &'static str| rows.iter().filter(move |row| row[3] == kind).map(|row| row[2]);
        assert_eq!(
            of("answer").filter(|id| !of("request").any(|other| other == *id)).count(),
            gone
        );
        unpack(&files, &site.path(&format!("pack-{gone}")));
        keyward(&[
            "audit",
            "verify",
            "--pack",
            site.path(&format!("pack-{gone}")).to_str().unwrap(),
        ]);
    }
}
