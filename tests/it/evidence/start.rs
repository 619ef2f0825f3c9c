//! Starts on trails that do not continue what was signed, and with other keys.

use super::*;

#[test]
fn an_operators_decision_is_recorded_and_shown_to_whoever_verifies() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve();
    calls(&gateway, 5);
    let key = vkey(&gateway);
    gateway.stop();
    let early = copy_folder(&site.audit.join("trail"), &site.path("early"));
    let gateway = site.serve();
    calls(&gateway, 5);
    gateway.stop();
    // The records are set back, as from a backup; tree and checkpoints are of today.
    std::fs::remove_dir_all(site.audit.join("trail")).unwrap();
    copy_folder(&early, &site.audit.join("trail"));
    let dir = site.audit.to_str().unwrap();
    let (status, report) = verify(&["--dir", dir, "--vkey", &key]);
    assert_eq!((status, findings(&report, "completeness").len()), (4, 1), "{report:#}");
    let config = site.path("keyward.toml").display().to_string();
    let output = keyward(&["serve", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("are missing") && said.contains("--accept-trail"), "{said}");

    let gateway = site.serve_args(&["--accept-trail", "restored from the backup of Monday"]);
    calls(&gateway, 1);
    gateway.stop();
    let accepted: Vec<_> =
        site.trail().0.into_iter().filter(|r| r.text("/event") == "trail-accepted").collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].text("/detail/reason"), "restored from the backup of Monday");
    assert!(accepted[0].text("/detail/checkpoints/0").starts_with("audit.example.com/keyward\n"));
    let (status, report) = verify(&["--dir", dir, "--vkey", &key]);
    assert_eq!(status, 0, "{report:#}");
    assert!(
        report["notes"].to_string().contains("restored from the backup of Monday"),
        "{report:#}"
    );
    // And it goes on without being asked again.
    site.serve().stop();
}

#[test]
fn a_rotated_key_is_endorsed_recorded_and_verified_by_the_old_one() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let config = site.path("keyward.toml").display().to_string();
    let gateway = site.serve();
    calls(&gateway, 2);
    let old = vkey(&gateway);
    gateway.stop();
    let output = keyward(&["audit", "rotate-key", "--config", &config]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        keyward(&["audit", "rotate-key", "--config", &config]).status.code(),
        Some(1),
        "the old key is not lost by a second call"
    );
    let gateway = site.serve();
    crate::support::eventually("the new key signs", || vkey(&gateway) != old);
    let new = vkey(&gateway);
    let (status, report) = verify(&["--url", &url(&gateway), "--vkey", &old]);
    assert_eq!(status, 0, "{report:#}");
    gateway.stop();
    std::fs::remove_file(site.path("evidence.key.old")).unwrap();
    site.serve().stop();
    let changed: Vec<_> = site
        .trail()
        .0
        .into_iter()
        .filter(|r| r.text("/event") == "checkpoint-key-changed")
        .collect();
    assert_eq!(
        changed.iter().map(|r| (r.text("/detail/from"), r.text("/detail/to"))).collect::<Vec<_>>(),
        [(old.as_str(), new.as_str())]
    );
    let dir = site.audit.to_str().unwrap();
    for key in [&old, &new] {
        let (status, report) = verify(&["--dir", dir, "--vkey", key]);
        assert_eq!(status, 0, "{report:#}");
    }
    assert_eq!(verify(&["--dir", dir, "--vkey", &old, "--vkey", &new]).0, 0);
}

#[test]
fn a_key_that_others_can_read_signs_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let upstream = Upstream::ok();
    let site = site(&upstream);
    site.serve().stop();
    assert!(
        site.log().contains("Its verifier key, for whoever verifies: audit.example.com/keyward+"),
        "{}",
        site.log()
    );
    std::fs::set_permissions(site.path("evidence.key"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let output = keyward(&["serve", "--config", &site.path("keyward.toml").display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("chmod 600"));
}
