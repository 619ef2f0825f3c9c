//! Public keys, at every door through which one comes in: what only its owner can sign for passes
//! the shipped policies, and what is no such key is refused with the reason.

use crate::support::upstream::answer;
use crate::support::{Answer, Client, Gateway, Request, Site, TOKEN, Upstream};
use keyward_record::Kind;
use serde_json::{Value, json};
use std::path::Path;

const PROJECT: &str = "9f2c1d8e7b6a4c3d8e5f0a1b2c3d4e5f";
const KPS: &str = "kms.cn-north-4.myhuaweicloud.com";
const ECS: &str = "ecs.cn-north-4.myhuaweicloud.com";
const CODEUP: &str = "openapi-rdc.aliyuncs.com";
const DEVOPS: &str = "devops.cn-hangzhou.aliyuncs.com";

/// The keys that ship with the tests: name, text.
fn keys() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let mut keys: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    keys.sort();
    keys
}

fn key(name: &str) -> String {
    keys().into_iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1
}

fn huawei(host: &str, target: &str, body: &Value) -> Request {
    Request::new("POST", target).header("Host", host).json(body.to_string())
}

fn alibaba(host: &str, target: &str, body: &Value) -> Request {
    huawei(host, target, body).without("X-Auth-Token").header("x-yunxiao-token", TOKEN)
}

/// The older API is signed.
fn devops(target: &str, body: &Value) -> Request {
    let signature = "ACS3-HMAC-SHA256 Credential=AKTESTCALLER,SignedHeaders=host;x-acs-date,Signature=5d41402abc4b2a76b9719d911017c592";
    huawei(DEVOPS, target, body)
        .without("X-Auth-Token")
        .header("x-acs-date", "2026-11-25T14:20:50Z")
        .header("Authorization", signature)
}

/// A way in: its name, the policy that guards it, and the call with a key.
type Door = (&'static str, &'static str, fn(&str) -> Request);

const DOORS: [Door; 9] = [
    ("KPS v3", "kps-strong-key", |key| huawei(KPS, &format!("/v3/{PROJECT}/keypairs"), &pair(key))),
    ("KPS v2.1", "kps-strong-key", |key| {
        huawei(KPS, &format!("/v2.1/{PROJECT}/os-keypairs"), &pair(key))
    }),
    ("KPS v2", "kps-strong-key", |key| {
        huawei(KPS, &format!("/v2/{PROJECT}/os-keypairs"), &pair(key))
    }),
    ("Nova", "kps-strong-key", |key| {
        huawei(ECS, &format!("/v2.1/{PROJECT}/os-keypairs"), &pair(key))
    }),
    ("KPS batch", "kps-strong-key-batch", |key| {
        huawei(
            KPS,
            &format!("/v3/{PROJECT}/keypairs/batch-import"),
            &json!([pair(&self::key("good-ed25519")), pair(key)]),
        )
    }),
    ("Codeup", "codeup-strong-key", |key| {
        alibaba(
            CODEUP,
            "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys",
            &ssh_key("key", key),
        )
    }),
    ("Codeup, region edition", "codeup-strong-key", |key| {
        alibaba("codeup.example.com", "/oapi/v1/codeup/keys", &ssh_key("key", key))
    }),
    ("Codeup, deploy key", "codeup-strong-key", |key| {
        let target = "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/repositories/60de7a6852743a5162b5f957%2FDemo/keys";
        alibaba(CODEUP, target, &json!({"title": "deploy", "key": key}))
    }),
    ("Codeup, older API", "codeup-strong-key", |key| {
        devops(
            "/api/v3/user/keys/create?organizationId=60de7a6852743a5162b5f957",
            &ssh_key("publicKey", key),
        )
    }),
];

fn pair(key: &str) -> Value {
    json!({"keypair": {"name": "lab-adb-2026", "public_key": key}})
}

fn ssh_key(field: &str, key: &str) -> Value {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30);
    json!({"title": "build agent", field: key, "keyScope": "READ", "expireTime": format!("{soon:.0}")})
}

struct Lifecycle {
    site: Site,
    gateway: Gateway,
    client: Client,
}

impl Lifecycle {
    fn new() -> Self {
        let upstream =
            Upstream::new(|_| vec![answer(200, br#"{"keypair":{"name":"lab-adb-2026"}}"#)]);
        let site = Site::shipped(upstream.address);
        let gateway = site.serve();
        Self { client: gateway.client(), gateway, site }
    }

    fn send(&mut self, door: &Door, key: &str) -> Answer {
        self.client.call(&door.2(key))
    }
}

/// Denied by the rule although they are known: too weak, or of an algorithm that the rule does not
/// call strong.
const KNOWN_AND_DENIED: [&str; 6] = [
    "good-ecdsa-256",
    "good-ecdsa-384",
    "good-ecdsa-521",
    "good-sk-ecdsa",
    "weak-rsa-exponent-3",
    "weak-rsa-exponent-17",
];

#[test]
fn only_keys_that_their_owner_alone_can_sign_for_come_in() {
    let mut stage = Lifecycle::new();
    let few = [
        "good-ed25519",
        "good-rsa-3072",
        "weak-rsa-exponent-1",
        "weak-rsa-prime",
        "weak-ed25519-identity",
        "weak-ecdsa-384-off-curve",
        "form-rfc4716",
    ];
    let mut faults = Vec::new();
    for (name, text) in keys() {
        for (at, door) in DOORS
            .iter()
            .enumerate()
            .filter(|(at, _)| *at == 0 || *at == 5 || few.contains(&name.as_str()))
        {
            let answer = stage.send(door, &text);
            let message = answer.message();
            let denied = KNOWN_AND_DENIED.contains(&name.as_str());
            let right = if name.starts_with("good-") && !denied {
                answer.status == 200
            } else {
                answer.status == 403
                    && message.contains(&format!("[{}]", door.1))
                    && message.contains("is not taken for a key") != denied
            };
            if !right {
                faults.push(format!("{name} by {} ({at}): {} {message}", door.0, answer.status));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The refusal and its record have the reason; neither has the key.
#[test]
fn why_a_key_is_none_stands_in_the_refusal_and_in_the_record() {
    let mut stage = Lifecycle::new();
    let one = stage.send(&DOORS[5], &key("weak-rsa-exponent-1"));
    let batch = stage.send(&DOORS[4], &key("form-certificate"));
    assert!(
        one.message().contains("`body.key` is not taken for a key: its RSA exponent is even or 1"),
        "{}",
        one.message()
    );
    assert!(
        batch.message().contains("`item 1.public_key` is not taken for a key: it is a certificate"),
        "{}",
        batch.message()
    );
    stage.gateway.stop();
    let trail = stage.site.trail();
    for answer in [&one, &batch] {
        let record = trail.request(answer.id());
        assert_eq!(record.kind, Kind::Refused);
        assert_eq!(record.text("/decision/message"), answer.message());
    }
    let item =
        trail.request(batch.id()).leaf.pointer("/items/1/fields/public_key").unwrap().clone();
    assert_eq!(item["algorithm"], "unknown");
    assert!(item["why"].as_str().unwrap().starts_with("it is a certificate"), "{item}");
}

/// A batch of the longest keys is refused before it costs much, and other calls do not wait for it.
#[test]
fn checking_keys_holds_nobody_up() {
    let mut stage = Lifecycle::new();
    let long = key("good-rsa-8192");
    let started = std::time::Instant::now();
    let answer = stage.send(&DOORS[0], &long);
    let (first, again) = (started.elapsed(), std::time::Instant::now());
    assert_eq!(answer.status, 200, "{}", answer.message());
    assert_eq!(stage.send(&DOORS[5], &long).status, 200, "what was checked is remembered");
    assert!(
        again.elapsed() * 2 < first + std::time::Duration::from_millis(200),
        "{first:?}, then {:?}",
        again.elapsed()
    );
}
