//! A real gateway whose trail is pruned by policy: what is left is proved as before, by Go's
//! packages too.

use super::go::{complaint, content, program};
use super::*;
use crate::support::cli::keyward_fails;
use crate::support::eventually;

/// Segments end in the middle of bundles.
const SEGMENT: u64 = 48;

/// A gateway that keeps nothing that is sealed, but for a hold; and the ids of its first call and
/// of its last.
fn pruned(site: &Site) -> (Gateway, [String; 2]) {
    site.rewrite("[limits]", "[evidence]\norigin = \"audit.example.com/keyward\"\n[limits]");
    site.rewrite("[audit]", &format!("[audit]\nsegment_records = {SEGMENT}"));
    let gateway = site.serve();
    let first = calls(&gateway, 1);
    calls(&gateway, 300);
    std::fs::write(site.path("kept"), checkpoint_over(&gateway, 400)).unwrap();
    gateway.stop();
    std::fs::write(
        site.path("holds.toml"),
        "[[hold]]\nname = 'case'\nwhere = 'seq >= 300 and seq < 310'\nreason = 'a letter'\n",
    )
    .unwrap();
    site.append("[retention]\nmax_bytes = 1\nevery_seconds = 1\nholds_file = \"holds.toml\"\n");
    let gateway = site.serve();
    let last = calls(&gateway, 3);
    gateway.settle();
    // Nothing more may go while others look.
    eventually("all that is sealed and not on hold is pruned", || {
        let state = gateway.json("/api/v1/retention");
        let nothing_due = ["due", "waiting"]
            .iter()
            .all(|list| state[*list].as_array().is_some_and(Vec::is_empty));
        nothing_due
            && gateway.metric("keyward_unsealed_records") < SEGMENT
            && gateway.metric("keyward_pruned_records_total") >= 8 * SEGMENT
    });
    (gateway, [first, last])
}

fn absent(gateway: &Gateway) -> Vec<Value> {
    String::from_utf8(get(gateway, "/absent/ranges"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_is_left_of_a_pruned_trail_is_proved_by_go_and_by_keyward() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (gateway, [first, last]) = pruned(&site);
    gateway.settle();
    let gone = absent(&gateway);
    let told_by = gone.iter().map(|line| line["told_by"].as_u64().unwrap()).max().unwrap();
    let note = checkpoint_over(&gateway, told_by + 1);
    let (key, url, size) = (vkey(&gateway), url(&gateway), size(&note));
    let count: u64 = gone
        .iter()
        .map(|line| line["last"].as_u64().unwrap() - line["first"].as_u64().unwrap() + 1)
        .sum();
    assert!(gone[0]["first"] == 0 && gone.iter().all(|line| line["last"].as_u64() < Some(288) || line["first"].as_u64() > Some(309)), "{gone:?}");

    // All of it, of the running gateway: bundles that are gone are not there, and say why; so do
    // those gone in part.
    for path in ["/tile/entries/000", "/tile/entries/001"] {
        let answer = ask(&gateway, path);
        let why = String::from_utf8(answer.body).unwrap();
        assert!(
            answer.status == 404
                && why.contains("are gone, record ")
                && why.contains(" tells of it"),
            "{why}"
        );
    }
    assert_eq!(get(&gateway, "/absent/tile/entries/000"), b"");
    let kept = site.path("kept").display().to_string();
    let (status, report) = verify(&["--url", &url, "--vkey", &key, "--checkpoint", &kept]);
    assert_eq!(
        (status, report["records_read"].as_u64()),
        (0, Some(report["end"].as_u64().unwrap() - count)),
        "{report:#}"
    );
    assert_eq!(report["pruned"][0]["policy"]["max_bytes"], 1);
    assert_eq!(verify(&["--url", &url, "--vkey", &key, "--quick"]).0, 0);

    // What is gone is told; what is left is proved.
    let proof = site.path("proof").display().to_string();
    for command in ["show", "prove"] {
        let why = keyward_fails(&["audit", command, &first, "--url", &url]);
        assert!(
            why.contains("has no exchange") && why.contains("which were pruned by policy: record"),
            "{why}"
        );
    }
    assert!(keyward(&["audit", "prove", &last, "--url", &url, "--out", &proof]).status.success());
    let copy = site.path("copy").display().to_string();
    if let Some(go) = program("what_is_left_of_a_pruned_trail_is_proved_by_go") {
        let said = content(&go, &["log", &url, &key]);
        assert!(
            said.contains(&format!("{count} records are gone; their hashes are those")),
            "{said}"
        );
        content(&go, &["grown", &url, &key, &kept]);
        assert_eq!(content(&go, &["proof", &proof, &key]).lines().count(), 2);
        content(&go, &["copy", &url, &copy]);
        content(&go, &["log", &copy, &key]);
        let (status, report) = verify(&["--copy", &copy, "--vkey", &key, "--checkpoint", &kept]);
        assert_eq!(status, 0, "{report:#}");
        // Neither believes that more is gone than the trail tells.
        std::fs::write(
            Path::new(&copy).join("absent/ranges"),
            format!("{{\"first\":0,\"last\":{},\"told_by\":{size}}}\n", size - 5),
        )
        .unwrap();
        let (status, report) = verify(&["--copy", &copy, "--vkey", &key]);
        assert_eq!(
            (status, report["completeness"]["verdict"].as_str()),
            (4, Some("fails")),
            "{report:#}"
        );
        // A hash that is not the one that was signed is not believed either.
        let tile = Path::new(&copy).join("tile/0/000");
        let mut bytes = std::fs::read(&tile).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&tile, bytes).unwrap();
        complaint(&go, &["log", &copy, &key]);
        assert!([3, 5].contains(&verify(&["--copy", &copy, "--vkey", &key]).0));
    }
    gateway.stop();

    // The same of the folder; and the next start goes on.
    let dir = site.audit.display().to_string();
    let (status, report) = verify(&["--dir", &dir, "--vkey", &key, "--checkpoint", &kept]);
    assert_eq!(status, 0, "{report:#}");
    let gateway = site.serve();
    calls(&gateway, 2);
    gateway.stop();
    assert_eq!(verify(&["--dir", &dir, "--vkey", &key]).0, 0);
    // Without the only hashes of what is gone it does not.
    std::fs::remove_file(site.audit.join("tree/level0")).unwrap();
    let why =
        keyward_fails(&["serve", "--config", &site.path("keyward.toml").display().to_string()]);
    assert!(
        why.contains("records 0 to") && why.contains("Restore the tree's folder from a backup"),
        "{why}"
    );
}

/// Somebody who can write into the folder lets a gateway of his own prune a copy, and puts that in
/// the place of the trail: the genuine gateway does not sign his excuse.
#[test]
fn what_a_foreign_gateway_has_pruned_is_refused() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    site.rewrite("[audit]", &format!("[audit]\nsegment_records = {SEGMENT}"));
    let gateway = site.serve();
    calls(&gateway, 100);
    gateway.settle();
    eventually("some is sealed", || gateway.metric("keyward_sealed_records") >= 3 * SEGMENT);
    gateway.stop();
    let foreign = Site::new(upstream.address);
    foreign.rewrite("[audit]", &format!("[audit]\nsegment_records = {SEGMENT}"));
    foreign.append("[retention]\nmax_bytes = 1\nevery_seconds = 1\n");
    copy_folder(&site.audit, &foreign.audit);
    std::fs::remove_dir_all(foreign.audit.join("tree")).unwrap();
    let gateway = foreign.serve();
    eventually("it is pruned", || gateway.metric("keyward_pruned_records_total") >= 3 * SEGMENT);
    gateway.stop();
    for part in ["trail", "segments"] {
        std::fs::remove_dir_all(site.audit.join(part)).unwrap();
        copy_folder(&foreign.audit.join(part), &site.audit.join(part));
    }
    let config = site.path("keyward.toml").display().to_string();
    let said = keyward_fails(&["serve", "--config", &config]);
    assert!(
        said.contains("somebody else may have removed them") && said.contains("--accept-trail"),
        "{said}"
    );
    assert_eq!(verify(&["--dir", site.audit.to_str().unwrap()]).0, 4);
}
