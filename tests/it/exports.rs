//! Exports of a real gateway: byte for byte, on record themselves, and for a follower without gap
//! or repetition.

use crate::support::cli::{Running, keyward, keyward_fails};
use crate::support::load::Load;
use crate::support::upstream::raw;
use crate::support::{Gateway, Request, Site, Stored, Trail, Upstream, eventually, json_of};
use keyward_record::Kind;
use serde_json::Value;
use std::path::Path;

fn url(site: &Site) -> String {
    format!("http://{}", site.admin)
}

fn call(gateway: &Gateway, body: &[u8]) -> u16 {
    gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(body)).status
}

/// The trail in its native form.
fn native(records: &[Stored]) -> String {
    records.iter().map(|record| String::from_utf8(record.bytes.clone()).unwrap() + "\n").collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn events<'a>(trail: &'a Trail, name: &str) -> Vec<&'a Stored> {
    trail.0.iter().filter(|record| record.text("/event") == name).collect()
}

#[test]
fn an_export_is_the_trail_byte_for_byte_and_is_itself_on_record() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    for n in 0..40 {
        assert_eq!(call(&gateway, &json_of(100 + n)), 200);
    }
    assert_eq!(call(&gateway, b"{"), 400);
    gateway.settle();
    let live = String::from_utf8(keyward(&["audit", "export", "--url", &url(&site)])).unwrap();
    let csv =
        keyward(&["audit", "export", "--url", &url(&site), "--form", "csv", "--decision", "deny"]);
    gateway.stop();
    let trail = site.trail();

    let begun = events(&trail, "export-begun");
    let (first, second) = (begun[0], begun[1]);
    // What was exported is all that was there when it began; its own record was not.
    assert_eq!(live, native(&trail.0[..usize::try_from(first.seq).unwrap()]));
    assert_eq!(
        (
            first.text("/detail/form"),
            first.text("/detail/by/name_claimed"),
            first.text("/detail/by/address")
        ),
        ("ndjson", "the-auditor", "127.0.0.1")
    );
    assert_eq!(
        (
            second.text("/detail/form"),
            second.text("/detail/filter/0/name"),
            second.text("/detail/filter/0/value")
        ),
        ("csv", "decision", "deny")
    );
    let ended = events(&trail, "export-ended");
    assert_eq!(ended[0].text("/detail/export"), first.id);
    assert_eq!(
        (&ended[0].leaf["detail"]["lines"], &ended[0].leaf["detail"]["whole"]),
        (&Value::from(first.seq), &true.into())
    );
    assert_eq!(ended[1].leaf["detail"]["lines"], 1);
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 2, "a header and one refusal");

    let dir = site.audit.to_str().unwrap();
    assert_eq!(
        String::from_utf8(keyward(&["audit", "export", "--dir", dir])).unwrap(),
        native(&trail.0)
    );
    let part = keyward(&["audit", "export", "--dir", dir, "--cursor", "7"]);
    assert_eq!(String::from_utf8(part).unwrap(), native(&trail.0[7..]));
    let exchanges =
        keyward(&["audit", "export", "--dir", dir, "--form", "exchange", "--outcome", "succeeded"]);
    let exchanges: Vec<Value> = exchanges
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(exchanges.len(), 40);
    assert!(exchanges.iter().all(|exchange| {
        exchange["request"]["content"]["text"]
            .as_str()
            .is_some_and(|text| text.starts_with(r#"{"data":"#))
    }));
}

#[test]
fn what_cannot_be_exported_is_said_in_words() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let url = url(&site);
    let beyond = keyward_fails(&["audit", "export", "--url", &url, "--cursor", "99"]);
    assert!(beyond.contains("the cursor is of another trail"), "{beyond}");
    let filter = keyward_fails(&["audit", "export", "--url", &url, "--decision", "maybe"]);
    assert!(filter.contains("allow, deny, pass"), "{filter}");
    let out = site.path("out.csv");
    std::fs::write(&out, "mine").unwrap();
    let exists = keyward_fails(&["audit", "export", "--url", &url, "--out", out.to_str().unwrap()]);
    assert!(exists.contains("must be new") && text(&out) == "mine", "{exists}");
    gateway.stop();
    let gone = keyward_fails(&["audit", "export", "--url", &url]);
    assert!(gone.contains("no gateway answers"), "{gone}");
    let follow =
        keyward_fails(&["audit", "export", "--follow", "--dir", site.audit.to_str().unwrap()]);
    assert!(follow.contains("--follow follows a running gateway"), "{follow}");
}

/// Whatever is asked for, in whichever form: of a running gateway comes what comes of its folder,
/// in one piece, in pieces and to a follower.
#[test]
fn a_part_of_the_trail_is_the_same_from_the_gateway_and_from_its_folder() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    for n in 0..30 {
        assert_eq!(call(&gateway, &json_of(60 + n)), 200);
    }
    assert_eq!(call(&gateway, b"{"), 400);
    gateway.settle();
    let url = url(&site);
    let filters = [
        ["--caller", "tester"],
        ["--decision", "allow"],
        ["--decision", "deny"],
        ["--where", "not outcome = refused"],
    ];
    let asked = ["ndjson", "exchange", "ocsf", "cadf", "csv"]
        .into_iter()
        .flat_map(|form| filters.map(|[name, value]| ["--form", form, name, value]));
    let asked: Vec<[&str; 4]> = asked.collect();
    let mut live = Vec::new();
    for (n, filter) in asked.iter().enumerate() {
        let export = [&["audit", "export", "--url", &url], &filter[..]].concat();
        let whole = String::from_utf8(keyward(&export)).unwrap();
        assert!(!whole.is_empty(), "{filter:?}");
        let (out, cursor) = (site.path(&format!("out-{n}")), site.path(&format!("cursor-{n}")));
        let kept = [
            &export[..],
            &["--out", out.to_str().unwrap(), "--cursor-file", cursor.to_str().unwrap()],
        ]
        .concat();
        // As if it had been ended before the first cursor, with a part of the output written.
        keyward(&kept);
        std::fs::write(&cursor, r#"{"cursor":null,"bytes":0}"#).unwrap();
        keyward(&kept);
        assert_eq!(text(&out), whole, "{filter:?}");
        let followed = site.path(&format!("followed-{n}"));
        let follower = Running::start(
            &[&export[..], &["--follow", "--out", followed.to_str().unwrap()]].concat(),
            &site.path("said"),
        );
        eventually("the follower has it", || text(&followed).len() >= whole.len());
        follower.interrupt();
        assert_eq!(text(&followed), whole, "{filter:?}");
        live.push(whole);
    }
    gateway.stop();
    for (filter, live) in asked.iter().zip(live) {
        let folder = String::from_utf8(keyward(
            &[&["audit", "export", "--dir", site.audit.to_str().unwrap()], &filter[..]].concat(),
        ))
        .unwrap();
        assert_eq!(live, folder, "{filter:?}");
    }
}

/// The gateway crashes and stops under load; the follower crashes, ends and begins again. What it
/// has written is the trail.
#[test]
fn a_follower_misses_nothing_and_repeats_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (out, cursor, said) =
        (site.path("out.ndjson"), site.path("cursor"), site.path("follower.log"));
    let url = url(&site);
    let arguments = [
        "audit",
        "export",
        "--url",
        &url,
        "--follow",
        "--out",
        out.to_str().unwrap(),
        "--cursor-file",
        cursor.to_str().unwrap(),
    ];
    let follow = || Running::start(&arguments, &said);
    let lines = |path: &Path| text(path).lines().count();

    let gateway = site.serve();
    let follower = follow();
    let load = Load::start(&site);
    load.more(50);
    gateway.kill();
    let gateway = site.serve();
    load.more(50);
    // Across the gateway's death it went on by itself.
    let before = lines(&out);
    eventually("the follower goes on after the gateway's death", || lines(&out) > before + 20);
    follower.kill();
    load.more(50);
    let before = lines(&out);
    let follower = follow();
    load.more(20);
    eventually("the next follower goes on", || lines(&out) > before);
    follower.interrupt();
    gateway.terminate();
    assert!(gateway.wait().success());
    let follower = Running::start(&arguments, &said);
    // It finds nobody, says so, and goes on trying.
    eventually("a follower without a gateway says so", || {
        text(&said).contains("no gateway answers")
    });
    drop(follower);
    let gateway = site.serve();
    let follower = follow();
    load.more(50);
    load.stop();
    gateway.settle();
    gateway.stop();
    let trail = site.trail();
    // The gateway's last record is made after its last reader has left, so it is fetched once more.
    drop(follower);
    let gateway = site.serve();
    let follower = follow();
    let wanted = native(&trail.0);
    eventually("the follower has all of it", || text(&out).len() >= wanted.len());
    follower.interrupt();
    gateway.stop();
    assert!(text(&out).starts_with(&wanted), "{}", text(&said));
    assert!(trail.0.iter().filter(|record| record.kind == Kind::Answer).count() > 200);
    assert_eq!(text(&out), native(&site.trail().0)[..text(&out).len()]);
}

/// An incident begins with an access key, an operation, or the request id that a user was shown.
#[test]
fn what_a_user_was_shown_and_what_signed_is_found() {
    let upstream = Upstream::always(&[raw(
        "HTTP/1.1 200 OK\r\nX-Request-Id: fd315b82934588a505ef30e43356b720\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    )]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    assert_eq!(call(&gateway, &json_of(60)), 200);
    assert_eq!(call(&gateway, b"{"), 400);
    gateway.settle();
    let url = url(&site);
    let found = |args: &[&str]| -> Vec<Value> {
        let page =
            keyward(&[&["audit", "query", "--url", &url, "--format", "json"], args].concat());
        let page: Value = serde_json::from_slice(&page).unwrap();
        page["exchanges"].as_array().unwrap().clone()
    };
    let all = found(&["--caller", "tester"]);
    assert_eq!(all.len(), 2);
    let (sent, refused) = (&all[1], &all[0]);
    assert_eq!(
        found(&["--request-id", "fd315b82934588a505ef30e43356b720"]),
        std::slice::from_ref(sent)
    );
    for one in [sent, refused] {
        assert_eq!(
            found(&["--request-id", one["id"].as_str().unwrap()]),
            std::slice::from_ref(one)
        );
    }
    let operation = sent["request"]["record"]["call"]["operation"].as_str().unwrap();
    assert_eq!(found(&["--operation", operation, "--method", "POST"]).len(), 2);
    assert_eq!(found(&["--method", "DELETE"]), Vec::<Value>::new());
    let key = sent["request"]["record"]["caller"]["credential"]["key_id"].as_str();
    assert_eq!(found(&["--key", key.unwrap_or("none")]).len(), if key.is_some() { 2 } else { 0 });
    gateway.stop();
}

#[test]
fn whoever_watches_sees_each_exchange_as_it_ends() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    assert_eq!(call(&gateway, &json_of(60)), 200);
    let (seen, url) = (site.path("seen"), url(&site));
    let watcher = Running::start(
        &["audit", "query", "--follow", "--decision", "deny", "--url", &url, "--format", "table"],
        &seen,
    );
    eventually("the watcher is there", || {
        gateway.metric("keyward_journal_records_total{kind=\"event\"}") >= 2
    });
    assert_eq!(call(&gateway, &json_of(61)), 200);
    assert_eq!(call(&gateway, b"[1"), 400);
    assert_eq!(call(&gateway, b"[2"), 400);
    eventually("both refusals are seen", || text(&seen).lines().count() >= 2);
    watcher.interrupt();
    let lines = text(&seen);
    let (shown, last) = lines.trim_end().rsplit_once('\n').unwrap();
    assert!(
        shown.lines().count() == 2
            && shown.lines().all(|line| line.contains("refused 400 body-not-json")),
        "{lines}"
    );
    let cursor = last.strip_prefix("keyward: to go on from here: --cursor ").unwrap().to_owned();

    // From there on, nothing of it comes again.
    let again = site.path("again");
    let watcher = Running::start(
        &["audit", "query", "--follow", "--cursor", &cursor, "--url", &url, "--format", "ndjson"],
        &again,
    );
    assert_eq!(call(&gateway, b"[3"), 400);
    eventually("the third is seen", || text(&again).contains("body-not-json"));
    watcher.interrupt();
    assert_eq!(text(&again).matches("body-not-json").count(), 1, "{}", text(&again));
    gateway.stop();
}
