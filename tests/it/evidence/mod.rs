//! Evidence, not just logs: what a real gateway has signed is checked by Go's own packages, and
//! what somebody has done to a copy is caught and named, by them and by `keyward audit verify`.

pub mod go;
mod pruned;
mod start;
mod tampered;
mod witnessed;

use crate::support::{Answer, Client, Gateway, Request, Site, Upstream, copy_folder};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A site whose log has a name.
fn site(upstream: &Upstream) -> Site {
    let site = Site::new(upstream.address);
    site.rewrite("[limits]", "[evidence]\norigin = \"audit.example.com/keyward\"\n[limits]");
    site
}

/// Calls: one is refused in ten, the others are forwarded. The audit id of the last one.
fn calls(gateway: &Gateway, count: usize) -> String {
    let mut client = gateway.client();
    let mut id = String::new();
    for n in 0..count {
        let name = if n % 10 == 3 { "forbidden".to_owned() } else { format!("b{n}") };
        let answer = client.call(
            &Request::new("PUT", &format!("/v1/blobs/{name}"))
                .json(format!("{{\"data\":\"{n}\"}}")),
        );
        assert!(answer.whole, "call {n}: {}", answer.status);
        id = answer.id().to_owned();
    }
    id
}

/// What the admin listener has at a path, which must be there.
fn get(gateway: &Gateway, path: &str) -> Vec<u8> {
    let answer = ask(gateway, path);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    answer.body
}

fn ask(gateway: &Gateway, path: &str) -> Answer {
    let mut client = Client::new(gateway.admin);
    client.send(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    client.answer()
}

/// Records under a checkpoint; none under what is none.
fn size(note: &[u8]) -> u64 {
    String::from_utf8_lossy(note).lines().nth(1).map_or(0, |line| line.parse().unwrap())
}

/// The newest checkpoint, once it covers so many records.
fn checkpoint_over(gateway: &Gateway, records: u64) -> Vec<u8> {
    let mut note = Vec::new();
    crate::support::eventually("the checkpoint covers the records", || {
        note = ask(gateway, "/checkpoint").body;
        size(&note) >= records
    });
    note
}

/// The key by which the newest checkpoints are verified.
fn vkey(gateway: &Gateway) -> String {
    String::from_utf8(get(gateway, "/checkpoint/keys")).unwrap().lines().last().unwrap().to_owned()
}

fn keyward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keyward")).args(args).output().unwrap()
}

/// The report of `audit verify`, and its exit status.
#[track_caller]
fn verify(args: &[&str]) -> (i32, Value) {
    let output = keyward(&[&["audit", "verify", "--json"], args].concat());
    let report = serde_json::from_slice(&output.stdout);
    let report: Value = report.unwrap_or_else(|_| {
        panic!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    assert_eq!(report["status"].as_i64().map(|s| s as i32), output.status.code());
    (output.status.code().unwrap(), report)
}

/// A finding: what it is, and the first and last record that it is about.
type Found = (String, Option<u64>, Option<u64>);

/// The findings of a verdict.
fn findings(report: &Value, verdict: &str) -> Vec<Found> {
    let findings = report[verdict]["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| {
            (
                f["kind"].as_str().unwrap().to_owned(),
                f["records"]["first"].as_u64(),
                f["records"]["last"].as_u64(),
            )
        })
        .collect()
}

fn url(gateway: &Gateway) -> String {
    format!("http://{}", gateway.admin)
}
