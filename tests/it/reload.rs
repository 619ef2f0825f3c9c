//! SIGHUP: callers and policies are read anew, whole or not at all.

use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of};

fn status(gateway: &Gateway) -> u16 {
    gateway.client().call(&Request::new("POST", "/v1/blobs/x").json(json_of(100))).status
}

/// The hash of the bundle in force, as Prometheus sees it.
fn bundle(gateway: &Gateway) -> String {
    let text = gateway.metrics();
    let line = text.lines().find(|line| line.starts_with("keyward_bundle_info{")).unwrap();
    assert_eq!(text.matches("\nkeyward_bundle_info{").count(), 1);
    line.to_owned()
}

#[test]
fn a_bad_bundle_leaves_the_old_one_in_force_and_a_good_one_takes_its_place() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let before = bundle(&gateway);
    assert_eq!(status(&gateway), 200);

    let policy = site.path("policies/more.cedar");
    let forbid = |field: &str| {
        format!(
            "@id(\"nothing-more\")\n@message(\"Nothing more.\")\nforbid (principal, action in Keyward::Action::\"write\", resource) when {{ context.caller.{field} > datetime(\"2020-01-01\") }};\n"
        )
    };
    std::fs::write(&policy, forbid("noww")).unwrap();
    gateway.reload();
    eventually("the mistake is said with its place", || {
        site.log().contains("more.cedar:") && site.log().contains("stay in force")
    });
    assert_eq!((bundle(&gateway), status(&gateway)), (before.clone(), 200));

    std::fs::write(&policy, forbid("now")).unwrap();
    gateway.reload();
    eventually("the new bundle is in force", || bundle(&gateway) != before);
    assert_eq!(status(&gateway), 403);
    gateway.stop();
    let events: Vec<String> = site.trail().events().collect();
    assert_eq!(events, ["started", "rules-refused", "rules-loaded", "stopped"]);
}

#[test]
fn a_reload_tells_which_policies_came_and_went_and_an_emptied_file_takes_none_away() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (more, other) = (site.path("policies/more.cedar"), site.path("policies/other.cedar"));
    let rule = |id: &str| {
        format!(
            "@id(\"{id}\") @message(\"m\") forbid (principal, action, resource) when {{ context.caller.now < datetime(\"2020-01-01\") }};\n"
        )
    };
    std::fs::write(&more, rule("first") + &rule("second")).unwrap();
    let gateway = site.serve();
    let before = bundle(&gateway);

    // A file that is being written anew is empty for a moment.
    std::fs::write(&more, "").unwrap();
    gateway.reload();
    eventually("the empty file is told", || site.log().contains("more.cedar: holds nothing"));
    // One that is not read would be a rule that nobody enforces.
    std::fs::rename(&more, site.path("policies/more.ceder")).unwrap();
    gateway.reload();
    eventually("the other name is told", || site.log().contains("more.ceder: is not read"));
    assert_eq!(bundle(&gateway), before);

    std::fs::remove_file(site.path("policies/more.ceder")).unwrap();
    std::fs::write(site.path("policies/.more.cedar.swp"), b"\0\xff").unwrap();
    std::fs::write(&other, rule("second") + "\n" + &rule("third") + &rule("fourth")).unwrap();
    gateway.reload();
    eventually("the new bundle is in force", || bundle(&gateway) != before);
    let metrics = gateway.metrics();
    for (series, value) in [
        (r#"policy_changes_total{change="came"}"#, 2),
        (r#"policy_changes_total{change="went"}"#, 1),
        (r#"policy_changes_total{change="changed"}"#, 0),
    ] {
        assert!(metrics.contains(&format!("keyward_{series} {value}\n")), "{series}: {metrics}");
    }
    assert!(
        metrics.contains("keyward_policies{mode=\"enforce\"}")
            && metrics.contains("keyward_policies{mode=\"shadow\"} 0\n"),
        "{metrics}"
    );
    site.logs("came=2 went=1 changed=0");
    gateway.stop();
    let trail = site.trail();
    let loaded =
        &trail.0.iter().find(|stored| stored.leaf["event"] == "rules-loaded").unwrap().leaf;
    let changes = &loaded["detail"]["changes"];
    assert_eq!(
        (&changes["came"]["ids"], &changes["went"]["ids"]),
        (&serde_json::json!(["fourth", "third"]), &serde_json::json!(["first"])),
        "{loaded}"
    );
}
