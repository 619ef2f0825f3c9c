//! Answers of nothing: a name that nothing knows must not pass for "nobody did".

use crate::packs::{open, text};
use crate::support::cli::{command, keyward, keyward_fails};
use crate::support::{Client, Gateway, Request, Site, Upstream, json_of};
use serde_json::Value;

fn site() -> (Upstream, Site) {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    (upstream, site)
}

fn called(site: &Site) -> Gateway {
    let gateway = site.serve();
    let call = |target: &str| {
        gateway.client().call(&Request::new("POST", target).json(json_of(90))).status
    };
    assert_eq!((call("/v1/blobs/x"), call("/v1/blobs/forbidden")), (200, 403));
    gateway.settle();
    gateway
}

/// Names that are a mistake for sure, with what is said of them.
const REFUSED: &[(&str, &str, &str)] = &[
    ("operation", "AppendBlop", "did you mean `AppendBlob`"),
    ("operation", "test.blobs.AppendBlob", "it is known as `action`"),
    ("action", "test.blob.AppendBlob", "did you mean `test.blobs.AppendBlob`"),
    ("action", "test.blubs.*", "that begins with"),
    ("service", "test.blob", "did you mean `test.blobs`"),
    ("method", "post", "did you mean `POST`"),
    ("policy", "no-forbiden-blob", "did you mean `no-forbidden-blob`"),
    ("shadow", "no-forbiden-blob", "did you mean `no-forbidden-blob`"),
    ("action", "*.AppendBlob", "`*` at its end"),
    ("action", "test.*.AppendBlob", "`*` at its end"),
    ("caller", "", "a value"),
    ("since", "2999-01-01", "lies in the future"),
    ("since", "2026-11-30 10:00", "a moment with its offset"),
];

/// Names that others make, with the warning.
const WARNED: &[(&str, &str)] = &[
    ("caller = testr", "did you mean `tester`"),
    ("not caller = testr", "did you mean `tester`"),
    ("caller in (tester, testr)", "`testr`"),
    ("key = AKTESTCALER", "knows a key `AKTESTCALER`"),
    ("project = nowhere", "knows a project `nowhere`"),
    ("resource = y", "knows a resource `y`"),
    ("source = 192.0.2.77", "no record has such a `source`"),
    ("request.call.metod = POST", "did you mean `request.call.method`"),
    ("request.content.keyScoop = READ", "nothing stands at `request.content.keyScoop`"),
    ("request.caller.kind = robt", "is one of `robot`"),
    ("event = startd", "did you mean `started`"),
];

/// What is known, and was never done: 0, without a word.
const KNOWN: &[&str] = &[
    "operation = DropBlob",
    "method = DELETE",
    "caller = anonymous",
    "shadow = testers",
    "policy = testers and decision = deny",
    "action = test.*",
];

#[test]
fn a_name_that_nothing_knows_is_told_from_nobody() {
    let (_upstream, site) = site();
    let gateway = called(&site);
    let url = format!("http://{}", site.admin);
    let get = |path: &str, pairs: &[(&str, &str)]| {
        let query = serde_urlencoded::to_string(pairs).unwrap();
        Client::new(gateway.admin)
            .call(&Request::new("GET", &format!("{path}?{query}")).header("Host", "localhost"))
    };
    for (name, value, wanted) in REFUSED {
        for path in ["/api/v1/exchanges", "/api/v1/counts", "/api/v1/histogram", "/api/v1/export"] {
            let answer = get(path, &[(name, value)]);
            let said = String::from_utf8_lossy(&answer.body);
            assert!(answer.status == 400 && said.contains(wanted), "{path} {name}={value}: {said}");
        }
        let (option, out) = (format!("--{name}"), site.path("none.zip"));
        let error = keyward_fails(&[
            "audit",
            "pack",
            "--url",
            &url,
            &option,
            value,
            "--out",
            out.to_str().unwrap(),
        ]);
        assert!(error.contains(wanted) && !out.exists(), "{error}");
    }
    for (expression, wanted) in WARNED {
        for path in ["/api/v1/exchanges", "/api/v1/counts", "/api/v1/histogram"] {
            let answer = get(path, &[("where", expression)]);
            let json: Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(
                json["warnings"][0].as_str().is_some_and(|warning| warning.contains(wanted)),
                "{path} {expression}: {json:#}"
            );
            let header: Value = serde_json::from_str(answer.header("x-keyward-warnings")).unwrap();
            assert_eq!(header, json["warnings"], "{path} {expression}");
        }
        let answer = get("/api/v1/export", &[("where", expression), ("form", "csv")]);
        assert!(
            answer.status == 200 && answer.header("x-keyward-warnings").contains(wanted),
            "{expression}"
        );
    }
    for expression in KNOWN {
        let answer = get("/api/v1/counts", &[("where", expression)]);
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &json["warnings"]),
            (200, &serde_json::json!([])),
            "{expression}: {json:#}"
        );
    }
    // Counts by a field that is none.
    let answer = get("/api/v1/counts", &[("by", "request.call.metod")]);
    assert!(String::from_utf8_lossy(&answer.body).contains("did you mean `request.call.method`"));
    let answer = get("/api/v1/counts", &[("by", "calller")]);
    assert!(answer.status == 400 && String::from_utf8_lossy(&answer.body).contains("`caller`"));
    let answer = get("/api/v1/counts", &[("calller", "tester")]);
    assert!(
        answer.status == 400
            && String::from_utf8_lossy(&answer.body).contains("did you mean `caller`")
    );

    // A pack says it in its manifest and its report, and verifies.
    let out = site.path("pack.zip");
    keyward(&["audit", "pack", "--url", &url, "--caller", "testr", "--out", out.to_str().unwrap()]);
    let files = open(&out);
    assert!(
        text(&files, "manifest.json").contains("did you mean `tester`")
            && text(&files, "report.html").contains("did you mean `tester`")
    );
    gateway.stop();
    crate::packs::unpack(&files, &site.path("opened"));
    keyward(&["audit", "verify", "--pack", site.path("opened").to_str().unwrap()]);
}

#[test]
fn so_it_is_in_a_folder() {
    let (_upstream, site) = site();
    called(&site).stop();
    let dir = site.audit.to_str().unwrap();
    let query = ["audit", "query", "--dir", dir];
    for (name, value, wanted) in REFUSED {
        let option = format!("--{name}");
        for rest in [&["--count"][..], &["--histogram", "1h"], &[]] {
            let error = keyward_fails(&[&query[..], &[&option, value], rest].concat());
            assert!(error.contains(wanted), "{name}={value}: {error}");
        }
    }
    for (expression, wanted) in WARNED {
        let output =
            command(&[&query[..], &["--where", expression, "--count"]].concat()).output().unwrap();
        let (said, json) = (
            String::from_utf8_lossy(&output.stderr),
            serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        );
        assert!(
            said.contains("warning")
                && said.contains(wanted)
                && json["warnings"][0].as_str().unwrap().contains(wanted),
            "{expression}: {said}"
        );
        let table = keyward(
            &[&query[..], &["--where", expression, "--count", "--format", "table"]].concat(),
        );
        assert!(String::from_utf8_lossy(&table).contains(wanted), "{expression}");
    }
    for expression in KNOWN.iter().filter(|known| !known.contains("anonymous")) {
        let output =
            command(&[&query[..], &["--where", expression, "--count"]].concat()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{expression}");
    }
    // Times as the tables print them, and a day to its end.
    let now = ::keyward_core::clock::Timestamp::now().rfc3339();
    let printed = format!("{}Z", now.split('.').next().unwrap().replace('T', " "));
    for (times, all) in [
        (["--since", "today", "--until", "today"], true),
        (["--since", "yesterday", "--until", "now"], true),
        (["--since", &now[..10], "--until", &now[..10]], true),
        (["--since", "-2h", "--until", &printed], true),
        (["--since", "-3h", "--until", "2h ago"], false),
    ] {
        let json: Value =
            serde_json::from_slice(&keyward(&[&query[..], &times, &["--count"]].concat())).unwrap();
        assert_eq!(json["total"] == 2, all, "{times:?}: {json}");
    }
}

/// A listener for IPv6 sees IPv4 callers by another name, which nobody else is to see.
#[test]
fn an_ipv4_caller_has_one_name() {
    let (_upstream, site) = site();
    let listener = format!(
        "address = \"[::ffff:127.0.0.1]:{}\"\nplain_http_beyond_loopback = true",
        site.address.port()
    );
    site.rewrite(&format!("address = \"{}\"", site.address), &listener);
    let gateway = called(&site);
    let counts = gateway.json("/api/v1/counts?by=source");
    assert_eq!(
        counts["groups"],
        serde_json::json!([{"value": "127.0.0.1", "exchanges": 2}]),
        "{counts:#}"
    );
    for name in ["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.0/8"] {
        for field in ["source", "request.source.address"] {
            assert_eq!(
                gateway.json(&format!("/api/v1/counts?{field}={name}"))["total"],
                2,
                "{field}={name}"
            );
        }
    }
    gateway.stop();
    assert!(site.trail().calls().iter().all(|record| record.leaf.get("source").is_none()
        || record.text("/source/address") == "127.0.0.1"));
}
