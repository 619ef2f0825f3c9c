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
    eventually("the mistake is said with its place", || site.log().contains("more.cedar:") && site.log().contains("stay in force"));
    assert_eq!((bundle(&gateway), status(&gateway)), (before.clone(), 200));

    std::fs::write(&policy, forbid("now")).unwrap();
    gateway.reload();
    eventually("the new bundle is in force", || bundle(&gateway) != before);
    assert_eq!(status(&gateway), 403);
    gateway.stop();
    let events: Vec<String> = site.trail().events().collect();
    assert_eq!(events, ["started", "rules-refused", "rules-loaded", "stopped"]);
}
