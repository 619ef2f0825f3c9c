//! The demo's calls: what each shows, and what must become of it.

use keyward_core::clock::Timestamp;
use keyward_testkit::sandbox::settings::{ORGANIZATION, PARTNER_PROJECT, PROJECT};
use serde_json::{Value, json};

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it shows.
    pub title: &'static str,
    /// The method.
    pub method: &'static str,
    /// Host, as the cloud's clients name it.
    pub host: &'static str,
    /// Path and query.
    pub target: String,
    /// The body.
    pub body: String,
    /// Who calls.
    pub credential: Credential,
    /// What must become of it.
    pub expected: Expected,
}

/// How a call is authenticated.
#[derive(Clone, Copy, Debug)]
pub enum Credential {
    /// SDK-HMAC-SHA256 with an access key's id and secret.
    Signed(&'static str, &'static str),
    /// `x-yunxiao-token`.
    Yunxiao(&'static str),
}

/// What must become of a call.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The status that the caller gets.
    pub status: u16,
    /// The gateway's code, when it refuses.
    pub code: Option<&'static str>,
    /// Whether the cloud gets the call.
    pub forwarded: bool,
}

const KEYADMIN: Credential = Credential::Signed("AKDEMOKEYADMIN", "sandbox-secret-of-keyadmin");
const IMAGEOPS: Credential = Credential::Signed("AKDEMOIMAGEOPS", "sandbox-secret-of-imageops");
const PHONELAB: Credential = Credential::Signed("AKDEMOCI", "sandbox-secret-of-ci");
const STRANGER: Credential = Credential::Signed("AKDEMOKPSUSER", "sandbox-secret-of-kpsuser");
const BUILD_BOT: Credential = Credential::Yunxiao("pt-sandboxBuildBot_0002");

/// The demo's callers: name, groups, access key id, token.
pub const CREDENTIALS: &[(&str, &[&str], &str, &str)] = &[
    ("ci-keys", &["key-admins"], "AKDEMOKEYADMIN", "MIISANDBOXTOKENOFKEYADMIN0001"),
    ("image-bot", &["image-admins"], "AKDEMOIMAGEOPS", "MIISANDBOXTOKENOFIMAGEOPS0003"),
    ("phone-lab", &["phone-ops"], "AKDEMOCI", "MIISANDBOXTOKENOFCI0004"),
    ("build-bot", &["codeup-developers"], "", "pt-sandboxBuildBot_0002"),
    ("release-desk", &["codeup-developers"], "LTAIDEMORELEASE", "pt-sandboxReleaseDesk_0001"),
];

const KPS: &str = "kms.cn-north-4.myhuaweicloud.com";
const ECS: &str = "ecs.cn-north-4.myhuaweicloud.com";
const CPH: &str = "cph.cn-north-4.myhuaweicloud.com";
const CPH_DOWN: &str = "cph.cn-south-1.myhuaweicloud.com";
const IMS: &str = "ims.cn-north-4.myhuaweicloud.com";
const CODEUP: &str = "openapi-rdc.aliyuncs.com";
const CODEUP_REGION: &str = "codeup.example.com";

const IMAGE: &str = "465076de-dc36-4aec-80f5-ef9d8009428f";
const CMK: &str = "bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d";
const SERVERS: [&str; 2] = ["ae4d3b1c9f2e4a7d8c6b5a4f3e2d1c0b", "be5e4c2dad3f5b8e9d7c6b5a4f3e2d1c"];

/// An Ed25519 key made for the demo; its private half was thrown away.
pub const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF demo";
/// An RSA key of 2048 bits made for the demo; its private half was thrown away.
pub const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCmdaoowkkmFODJmHHFjDZgjaAJz/hWKSq72rvocUbANesKadRrETRJI5gM5CCroFH4aBGXqjgqz4rTOuSfL5zrNeSyB4g31JwWAXxJ39JtI0daOjuM4fYsEvEQd8MTR14Of/R0rJPiIUUZEG+dWpYgBzI5fTuzBF2xYL8kkllbiaIc/k5H3YQe8hN7h8jwSv9hJr0HeuWWNyq7QSMgRP5Lxb5TuTsnEQNSjgc3gTAcbPBmprjV9Oaiw6s+wwRUV1k7/7f03BR0f8D76MyD3gK4YQqrA5h6qF1Nz4CSwGd1eTmVBKvxu1MRmVtpL5MTxI+hZmaoU0lv+i6Xtfkr0iKr demo";

fn allowed(status: u16) -> Expected {
    Expected { status, code: None, forwarded: true }
}

fn refused(status: u16, code: &'static str) -> Expected {
    Expected { status, code: Some(code), forwarded: false }
}

/// All calls, in the order in which they are made. `now` dates the keys' expiry.
pub fn all(now: Timestamp) -> Vec<Call> {
    let call = |title, method, host, target: String, body: Value, credential, expected| Call {
        title,
        method,
        host,
        target,
        body: if body.is_null() { String::new() } else { body.to_string() },
        credential,
        expected,
    };
    let copy_keys = format!("/v2/{PROJECT}/os-keypairs/copy");
    let open_access = format!("/v1/{PROJECT}/cloud-phone/servers/open-access");
    let copy_image = format!("/v1/cloudimages/{IMAGE}/copy");
    let ssh_keys = format!("/oapi/v1/codeup/organizations/{ORGANIZATION}/keys");
    let in_30_days =
        Timestamp(now.0 / 1_000_000_000 * 1_000_000_000 + 30 * 86_400 * 1_000_000_000).rfc3339();
    let ssh_key = |key: &str, scope: &str| json!({"title": "build agent", "key": key, "keyScope": scope, "expireTime": in_30_days});
    let phones = |name: &str| json!({"servers": SERVERS.map(|id| json!({"server_id": id, "keypair_name": name}))});
    let mut calls = vec![
        call(
            "copy a user's key pairs",
            "POST",
            KPS,
            copy_keys.clone(),
            json!({"user_name": "kpsuser"}),
            KEYADMIN,
            allowed(200),
        ),
        call(
            "… overwriting one's own",
            "POST",
            KPS,
            copy_keys.clone(),
            json!({"user_name": "kpsuser", "force": true}),
            KEYADMIN,
            refused(403, "policy-forbids"),
        ),
        call(
            "… by somebody unknown",
            "POST",
            KPS,
            copy_keys.clone(),
            json!({"user_name": "keyadmin"}),
            STRANGER,
            refused(401, "caller-unknown"),
        ),
        call(
            "… by somebody without a grant",
            "POST",
            KPS,
            copy_keys,
            json!({"user_name": "kpsuser"}),
            IMAGEOPS,
            refused(403, "no-policy-permits"),
        ),
        call(
            "make a key pair",
            "POST",
            KPS,
            format!("/v3/{PROJECT}/keypairs"),
            json!({"keypair": {"name": "ci-deploy-2026"}}),
            KEYADMIN,
            allowed(200),
        ),
        call(
            "… by Nova, with a weak key",
            "POST",
            ECS,
            format!("/v2.1/{PROJECT}/os-keypairs"),
            json!({"keypair": {"name": "ci-deploy-2027", "public_key": RSA_2048}}),
            KEYADMIN,
            refused(403, "policy-forbids"),
        ),
        call(
            "export a private key",
            "POST",
            KPS,
            format!("/v3/{PROJECT}/keypairs/private-key/export"),
            json!({"keypair": {"name": "kp-ops"}}),
            KEYADMIN,
            refused(403, "policy-forbids"),
        ),
        call(
            "change two phones' key pair",
            "PUT",
            CPH,
            open_access.clone(),
            phones("lab-adb-2026"),
            PHONELAB,
            allowed(200),
        ),
        call(
            "… against the naming rule",
            "PUT",
            CPH,
            open_access.clone(),
            phones("mykey"),
            PHONELAB,
            refused(403, "policy-forbids"),
        ),
        call(
            "… in a region that is down",
            "PUT",
            CPH_DOWN,
            open_access,
            phones("lab-adb-2026"),
            PHONELAB,
            Expected { status: 502, code: Some("upstream-unreachable"), forwarded: false },
        ),
        call(
            "copy an image, encrypted",
            "POST",
            IMS,
            copy_image.clone(),
            json!({"name": "golden-copy", "cmk_id": CMK}),
            IMAGEOPS,
            allowed(200),
        ),
        call(
            "… unencrypted",
            "POST",
            IMS,
            copy_image.clone(),
            json!({"name": "golden-copy"}),
            IMAGEOPS,
            refused(403, "policy-forbids"),
        ),
        call(
            "… by a path with two readings",
            "POST",
            IMS,
            copy_image.replace("/copy", "/c%6Fpy"),
            json!({"name": "golden-copy"}),
            IMAGEOPS,
            refused(400, "target-escape"),
        ),
        call(
            "share an image with a partner",
            "POST",
            IMS,
            format!("/v2/images/{IMAGE}/members"),
            json!({"member": PARTNER_PROJECT}),
            IMAGEOPS,
            allowed(200),
        ),
        call(
            "… with a stranger, by the other door",
            "POST",
            IMS,
            "/v1/cloudimages/members".to_owned(),
            json!({"images": [IMAGE], "projects": [PARTNER_PROJECT, "00000000000000000000000000000bad"]}),
            IMAGEOPS,
            refused(403, "policy-forbids"),
        ),
        call(
            "create an SSH key, READ",
            "POST",
            CODEUP,
            ssh_keys.clone(),
            ssh_key(ED25519, "READ"),
            BUILD_BOT,
            allowed(200),
        ),
        call(
            "… with write access",
            "POST",
            CODEUP,
            ssh_keys.clone(),
            ssh_key(ED25519, "ALL"),
            BUILD_BOT,
            refused(403, "policy-forbids"),
        ),
        call(
            "… region edition, no expiry",
            "POST",
            CODEUP_REGION,
            "/oapi/v1/codeup/keys".to_owned(),
            json!({"title": "t", "key": ED25519, "keyScope": "READ"}),
            BUILD_BOT,
            refused(403, "policy-forbids"),
        ),
        call(
            "a call that nobody knows",
            "POST",
            CODEUP,
            format!("{ssh_keys}/"),
            ssh_key(ED25519, "READ"),
            BUILD_BOT,
            refused(403, "operation-unknown"),
        ),
    ];
    // Two values for one name: which of them counts is a matter of the reader.
    let twice = ssh_key(ED25519, "READ").to_string().replacen('{', "{\"keyScope\":\"ALL\",", 1);
    calls.insert(
        17,
        Call {
            body: twice,
            ..call(
                "… with two readings of keyScope",
                "POST",
                CODEUP,
                ssh_keys,
                json!({}),
                BUILD_BOT,
                refused(400, "body-duplicate-name"),
            )
        },
    );
    calls
}
