//! Checkpoints off the host: a witness of another make, and a folder.

use super::go::{Witness, program};
use super::*;
use crate::support::eventually;

#[test]
fn a_witness_cosigns_and_does_not_sign_another_trail() {
    let Some(go) = program("a_witness_cosigns") else { return };
    let upstream = Upstream::ok();
    let site = site(&upstream);
    // The key is made by the first start; the witness must know it.
    let gateway = site.serve();
    calls(&gateway, 3);
    checkpoint_over(&gateway, 6);
    let key = vkey(&gateway);
    gateway.stop();
    let witness = Witness::start(&go, "witness.example.com/w1", &key);
    site.rewrite(
        "[limits]",
        &format!(
            "[[evidence.witness]]\nurl = \"{}\"\nkey = \"{}\"\nevery_seconds = 1\n[limits]",
            witness.url, witness.key
        ),
    );
    let early = copy_folder(&site.audit, &site.path("early"));

    let gateway = site.serve();
    // It is asked about one checkpoint after another: the first without proof, the later ones with.
    for _ in 0..2 {
        calls(&gateway, 20);
        let covered = size(&checkpoint_over(&gateway, 20));
        eventually("the witness has cosigned", || {
            gateway
                .metric(r#"keyward_checkpoint_place_size{place="witness witness.example.com/w1"}"#)
                >= covered
        });
    }
    let cosigned = get(&gateway, "/checkpoint/cosigned");
    let signers: Vec<_> = String::from_utf8_lossy(&cosigned)
        .lines()
        .filter(|l| l.starts_with('\u{2014}'))
        .map(|l| l.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(signers, ["audit.example.com/keyward", "witness.example.com/w1"]);
    let (status, report) =
        verify(&["--url", &url(&gateway), "--vkey", &key, "--witness", &witness.key]);
    assert_eq!(status, 0, "{report:#}");
    assert!(
        report["notes"].to_string().contains("witness witness.example.com/w1 saw"),
        "{report:#}"
    );
    gateway.stop();

    // Everything on the host is set back, key and checkpoints too. The host cannot know; the
    // witness does.
    std::fs::remove_dir_all(&site.audit).unwrap();
    copy_folder(&early, &site.audit);
    let gateway = site.serve();
    let failures = || {
        gateway
            .metric(r#"keyward_checkpoint_failures_total{place="witness witness.example.com/w1"}"#)
    };
    eventually("the witness refuses", || failures() > 0);
    calls(&gateway, 60);
    let before = failures();
    eventually("the witness still refuses", || failures() > before + 1);
    site.logs("the witness has seen");
    // The gate is not held up by it.
    assert_eq!(gateway.ready().0, 200);
    gateway.stop();
}

#[test]
fn a_folder_off_the_host_binds_the_next_start() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let bucket = site.path("bucket");
    let set = format!("evidence.directory={}", bucket.display());
    let refused = |sets: &[&str]| {
        let mut args = vec![
            "serve".to_owned(),
            "--config".to_owned(),
            site.path("keyward.toml").display().to_string(),
        ];
        args.extend(sets.iter().map(|set| (*set).to_owned()));
        let output = keyward(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&["--set", &set]);
    assert!(said.contains("evidence.directory") && said.contains("must be there"), "{said}");
    std::fs::create_dir(&bucket).unwrap();
    let gateway = site.serve_with(&[&set]);
    calls(&gateway, 5);
    gateway.stop();
    let early = copy_folder(&site.audit, &site.path("early"));
    let gateway = site.serve_with(&[&set]);
    calls(&gateway, 5);
    gateway.stop();
    // What was signed last is there, although it was signed while the gateway was ending.
    assert_eq!(
        std::fs::read(bucket.join("checkpoint")).unwrap(),
        std::fs::read(site.audit.join("tree/checkpoint")).unwrap()
    );
    assert_eq!(
        size(&std::fs::read(bucket.join("checkpoint")).unwrap()),
        site.trail().0.len() as u64
    );

    std::fs::remove_dir_all(&site.audit).unwrap();
    copy_folder(&early, &site.audit);
    let said = refused(&["--set", &set]);
    assert!(
        said.contains("bucket/checkpoint")
            && said.contains("are missing")
            && said.contains("--accept-trail"),
        "{said}"
    );
    assert_eq!(
        copy_folder(&early, &site.path("again")).read_dir().unwrap().count(),
        early.read_dir().unwrap().count()
    );
    let said = refused(&["--set", &set, "--accept-trail", " "]);
    assert!(said.contains("say why"), "{said}");
}
