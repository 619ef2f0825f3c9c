//! What real clients send passes, in the very form in which they send it.

use crate::*;

const PROJECT: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn the_heads_and_bodies_of_real_clients_pass() {
    let sdk = "SDK-HMAC-SHA256 Access=AKIMAGES, SignedHeaders=content-type;host;user-agent;x-project-id;x-sdk-date, Signature=0123";
    let node = "SDK-HMAC-SHA256 Access=AKPLATFORM, SignedHeaders=content-type;host;x-project-id;x-sdk-date, Signature=0123";
    let agent = "huaweicloud-usdk-python/3.0; os/Linux-6.1.0-x86_64-with-glibc2.36 python/3.11.7 impl/CPython; app/6f1b2c3d-0000-4000-8000-000000000000";
    let python = [
        ("user-agent", agent),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
        ("content-type", "application/json;charset=utf-8"),
        ("x-project-id", PROJECT),
        ("x-sdk-date", "20261122T142050Z"),
        ("authorization", sdk),
    ];
    let image = r#"{"cmk_id": "bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d", "description": "\u590d\u5236 \"x\" a/b\\c", "name": "ims_encrypted_copy3"}"#;
    let mcp = [
        ("x-yunxiao-token", "pt-developer"),
        ("sec-fetch-mode", "cors"),
        ("accept-language", "*"),
        ("user-agent", "node"),
        ("accept-encoding", "gzip, deflate"),
        ("content-type", "application/json"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
    ];
    let nova = [
        ("authorization", node),
        ("openstack-api-version", "compute 2.1"),
        ("x-openstack-nova-api-version", "2.1"),
        ("accept", "application/json"),
        (
            "user-agent",
            "openstacksdk/4.22.0 keystoneauth1/5.18.1 python-requests/2.32.3 CPython/3.11.7",
        ),
    ];
    let acs3 = [
        (
            "authorization",
            "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-date,Signature=01",
        ),
        ("x-acs-version", "2021-06-25"),
        ("x-acs-action", "ListUserKeys"),
        ("x-acs-date", "2026-11-22T14:20:50Z"),
        ("x-acs-signature-nonce", "0123456789abcdef"),
        (
            "x-acs-content-sha256",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("accept-encoding", "identity"),
        ("user-agent", "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.6 TeaDSL/2"),
    ];
    let curl = [
        ("x-yunxiao-token", "pt-developer"),
        ("user-agent", "curl/7.88.1"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
        ("expect", "100-continue"),
    ];
    let keypair = format!(r#"{{"keypair":{{"name":"lab-adb-2026","public_key":"{ED25519}"}}}}"#);
    let nova_path = format!("/v2.1/{PROJECT}/os-keypairs");
    expect([
        ("Huawei's Python SDK", judge("POST", IMS, COPY_IMAGE, &python, image), Reason::Permitted),
        (
            "the same, reading",
            judge("GET", IMS, "/v2/cloudimages?__imagetype=private&limit=10", &python, ""),
            Reason::Permitted,
        ),
        (
            "Huawei's Node SDK",
            judge(
                "POST",
                ECS,
                &nova_path,
                &[("authorization", node), ("x-project-id", PROJECT)],
                &keypair,
            ),
            Reason::Permitted,
        ),
        ("openstacksdk", judge("GET", ECS, &nova_path, &nova, ""), Reason::Permitted),
        (
            "openstacksdk, looking around",
            judge(
                "GET",
                ECS,
                "/v2.1",
                &[("user-agent", "keystoneauth1/5.18.1"), ("accept", "application/json")],
                "",
            ),
            Reason::Permitted,
        ),
        (
            "the MCP server",
            judge(
                "POST",
                CODEUP,
                "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/repositories/60de7a%2FDemo/keys",
                &mcp,
                json!({"title": "t", "key": ED25519}).to_string(),
            ),
            Reason::Permitted,
        ),
        (
            "Alibaba's Python SDK",
            judge(
                "GET",
                DEVOPS,
                "/api/v3/user/keys?accessToken=pt-developer&organizationId=60de7a6852743a5162b5f957",
                &acs3,
                "",
            ),
            Reason::Permitted,
        ),
        ("curl", judge("POST", CODEUP, SSH_KEYS, &curl, ssh_key(json!({}))), Reason::Permitted),
    ]);
}
