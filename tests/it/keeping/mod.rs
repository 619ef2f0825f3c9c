//! How long the trail is kept: pruned by policy, held, erased, backed up, and salvaged when its store
//! is damaged. After each, anyone who verifies is told what is gone, and why; all else is proved as
//! before.

mod backups;
mod damages;

use crate::support::cli::{keyward, keyward_fails};
use crate::support::{Client, Gateway, Request, Site, Upstream, eventually, json_of};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Calls, two records each. Their audit ids.
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

#[track_caller]
fn verify(dir: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_keyward"))
        .args(["audit", "verify", "--json", "--dir"])
        .arg(dir)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[track_caller]
fn holds(report: &Value) {
    assert_eq!(
        (&report["integrity"]["verdict"], &report["completeness"]["verdict"]),
        (&json!("holds"), &json!("holds")),
        "{report:#}"
    );
}

#[test]
fn what_is_pruned_by_policy_is_told_from_what_is_missing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    site.rewrite("ballast = ", "segment_records = 16\nballast = ");
    site.append("[retention]\nmax_bytes = 1\nevery_seconds = 1\nholds_file = 'holds.toml'\n");
    std::fs::write(site.path("holds.toml"), "[[hold]]\nname = 'case 17'\nwhere = 'seq >= 20 and seq < 24'\nreason = 'asked for by counsel'\n").unwrap();
    let gateway = site.serve();
    let ids = calls(&gateway, 60);
    gateway.settle();
    eventually("all but what is held is pruned", || {
        gateway.metric("keyward_pruned_records_total") >= 80
    });
    assert!(gateway.metric("keyward_held_segments") >= 1);

    // An operator sees what is gone, what is held and why.
    let url = format!("http://{}", site.admin);
    let shown = String::from_utf8(keyward(&["audit", "retention", "--url", &url])).unwrap();
    assert!(
        shown.contains("pruned     records 0 to 15")
            && shown
                .contains("hold       `case 17`: seq >= 20 and seq < 24 (asked for by counsel)"),
        "{shown}"
    );
    // An auditor who asks for what is gone is told so; what is held is there.
    let gone = keyward_fails(&["audit", "show", &ids[0], "--url", &url]);
    assert!(gone.contains("pruned"), "{gone}");
    let since_ever = String::from_utf8(keyward(&[
        "audit", "query", "--count", "--format", "table", "--url", &url,
    ]))
    .unwrap();
    assert!(
        since_ever.contains("Not here are records 0 to 15, which were pruned by policy: record "),
        "{since_ever}"
    );
    let since_then = gateway.json("/api/v1/counts?where=seq+%3E+60");
    assert!(
        since_then["gone"]
            .as_array()
            .unwrap()
            .iter()
            .all(|gone| gone["why"] == "pruned" && gone["last"].as_u64() > Some(60)),
        "{since_then:#}"
    );
    keyward(&["audit", "show", &ids[10], "--url", &url]);

    // Holds that nobody can read hold everything.
    std::fs::write(
        site.path("holds.toml"),
        "[[hold]]\nname = 'case 17'\nwhere = 'seq >='\nreason = 'x'\n",
    )
    .unwrap();
    eventually("it is told", || gateway.metric("keyward_prune_failures_total") >= 1);
    let before = gateway.metric("keyward_pruned_records_total");
    calls(&gateway, 20);
    eventually("it is told again", || gateway.metric("keyward_prune_failures_total") >= 3);
    assert_eq!(gateway.metric("keyward_pruned_records_total"), before);
    site.logs("nothing is pruned until that is mended");
    gateway.stop();

    let report = verify(&site.audit);
    holds(&report);
    let pruned = report["pruned"].as_array().unwrap();
    assert!(pruned.iter().any(|range| range["first"] == 0 && range["last"] == 15), "{report:#}");
    // Released, the rest goes; the trail goes on over its gaps.
    std::fs::write(site.path("holds.toml"), "").unwrap();
    let gateway = site.serve();
    eventually("the rest is pruned", || {
        gateway.metric("keyward_held_segments") == 0
            && gateway.metric("keyward_pruned_records_total") > 0
    });
    calls(&gateway, 5);
    gateway.stop();
    holds(&verify(&site.audit));
}

#[test]
fn a_body_is_erased_for_a_reason_that_is_on_record() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let ids = calls(&gateway, 3);
    gateway.settle();
    let config = site.path("keyward.toml").display().to_string();
    let erase = |id: &str| {
        [
            vec!["audit", "erase"],
            vec![id],
            vec!["--reason", "request of a data subject", "--config", &config],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>()
    };
    let run = |id: &str| {
        String::from_utf8(keyward(&erase(id).iter().map(String::as_str).collect::<Vec<_>>()))
            .unwrap()
    };

    // Beside the running gateway: by its token, and by nobody without it.
    let mut stranger = Client::new(gateway.admin);
    let ask = format!("{{\"id\":\"{}\",\"reason\":\"x\"}}", ids[0]);
    stranger.send(
        format!(
            "POST /api/v1/erasures HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{ask}",
            ask.len()
        )
        .as_bytes(),
    );
    assert_eq!(stranger.answer().status, 401);
    assert!(gateway.exchange(&ids[0]).to_string().contains("\"content\""), "still there");
    let said = run(&ids[0]);
    assert!(said.contains("are erased: record"), "{said}");
    let shown = gateway.exchange(&ids[0]);
    assert!(
        shown["request"]["content"].is_null()
            && shown["request"]["record"]["body"]["commit"].is_string(),
        "{shown:#}"
    );
    assert!(!gateway.exchange(&ids[1])["request"]["content"].is_null());
    gateway.stop();

    // On the stopped one's trail, and once only.
    run(&ids[1]);
    let again = keyward_fails(&erase(&ids[1]).iter().map(String::as_str).collect::<Vec<_>>());
    assert!(again.contains("erased before"), "{again}");
    // Nothing binds the record of it until a gateway has signed it: until then anybody could have
    // written it.
    let report = verify(&site.audit);
    assert!(
        report["completeness"]["findings"][0]["text"]
            .as_str()
            .unwrap()
            .contains("start the gateway"),
        "{report:#}"
    );
    site.serve().stop();
    let report = verify(&site.audit);
    holds(&report);
    assert!(report["counts"]["bodies erased"].as_u64().unwrap() >= 2, "{report:#}");
    let told: Vec<_> = site
        .trail()
        .0
        .iter()
        .filter(|record| record.text("/event") == "bodies-erased")
        .map(|record| record.text("/detail/reason").to_owned())
        .collect();
    assert_eq!(told, ["request of a data subject", "request of a data subject"]);
}
