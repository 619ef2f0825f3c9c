//! Two processes want one trail.

use crate::support::cli::keyward_fails;
use crate::support::site::free_address;
use crate::support::{Request, Site, Upstream, json_of};

#[test]
fn a_trail_has_one_process_and_the_second_is_told_what_to_do() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    // A gateway on ports of its own, so that nothing but the trail is in its way.
    let text = std::fs::read_to_string(site.path("keyward.toml")).unwrap();
    let text = text
        .replace(&site.address.to_string(), &free_address().to_string())
        .replace(&site.admin.to_string(), &free_address().to_string());
    std::fs::write(site.path("second.toml"), text).unwrap();
    let (second, dir) =
        (site.path("second.toml").display().to_string(), site.audit.display().to_string());
    let commands: [&[&str]; 5] = [
        &["serve", "--config", &second],
        &["audit", "query", "--dir", &dir],
        &["audit", "verify", "--dir", &dir],
        &["audit", "export", "--dir", &dir],
        &["audit", "reindex", "--dir", &dir],
    ];
    for command in commands {
        let said = keyward_fails(command);
        assert!(
            said.contains(
                "is held by another process: ask the running gateway with `--url`, or stop it first"
            ),
            "{command:?}: {said}"
        );
    }
    let answer = gateway.client().call(&Request::new("PUT", "/v1/blobs/x").json(json_of(100)));
    assert_eq!(answer.status, 200, "the first goes on");
    gateway.stop();
    assert_eq!(
        site.trail().events().collect::<Vec<_>>(),
        ["started", "stopped"],
        "the others left nothing"
    );
}
