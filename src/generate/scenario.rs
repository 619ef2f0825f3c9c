//! What happens in a generated trail: calls as clients make them, and the clouds' answers. Names in
//! braces are filled in: once with marks, to be judged and composed, then for each exchange.

/// A kind of call.
#[derive(Debug)]
pub struct Scenario {
    /// The group whose callers make it; empty for strangers.
    pub group: &'static str,
    /// How often, beside the others of the group.
    pub weight: u32,
    /// The method.
    pub method: &'static str,
    /// The first label of a Huawei host, or a whole host.
    pub host: &'static str,
    /// Path and query.
    pub target: &'static str,
    /// The body; empty for none.
    pub body: &'static str,
    /// What the cloud may answer.
    pub replies: &'static [Reply],
}

/// An answer of the cloud.
#[derive(Debug)]
pub struct Reply {
    /// How often, beside the others.
    pub weight: u32,
    /// The status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The body; empty for none.
    pub body: &'static str,
    /// What went wrong, for the record.
    pub fault: &'static str,
}

const fn reply(weight: u32, status: u16, body: &'static str) -> Reply {
    Reply { weight, status: Some(status), body, fault: "" }
}

const fn lost(weight: u32, fault: &'static str) -> Reply {
    Reply { weight, status: None, body: "", fault }
}

/// How the upstream's silence before anything was sent is told.
pub const UNREACHABLE: &str = "the cloud could not be reached; nothing was sent";

const BUSY: &str = r#"{"error_code":"APIGW.0308","error_msg":"The throttling threshold has been reached","request_id":"{job}"}"#;
const BROKEN: &str =
    r#"{"error_code":"APIGW.0106","error_msg":"Internal error","request_id":"{job}"}"#;
const MISSING: &str = r#"{"error_code":"KPS.2005","error_msg":"key pair {keypair} does not exist","request_id":"{job}"}"#;
const EXISTS: &str = r#"{"error_code":"KPS.2003","error_msg":"key pair {keypair} already exists","request_id":"{job}"}"#;
const JOB: &str = r#"{"job_id":"{job}"}"#;
const TIMED_OUT: &str = "the cloud did not answer in time";
const KEYPAIR: &str = r#"{"keypair":{"name":"{keypair}","type":"ssh","scope":"user","public_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF","fingerprint":"SHA256:uZ4x7Nn9hW3q0b1TtGm8rYkVd2sJfE5cLaPiXoQwRzU","user_id":"e4f380899b1248918f3d37098dc63746"}}"#;
const LISTED: &str = r#"{"keypairs":[{"keypair":{"name":"{keypair}","type":"ssh","scope":"user","public_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF","fingerprint":"SHA256:uZ4x7Nn9hW3q0b1TtGm8rYkVd2sJfE5cLaPiXoQwRzU","is_key_protection":false,"frozen_state":"0"}}],"page_info":{"next_marker":null,"previous_marker":null,"current_count":1}}"#;
const IMAGE: &str = r#"{"id":"{image}","name":"golden-copy","status":"active","visibility":"private","owner":"{project}","protected":false,"min_disk":40,"min_ram":0,"disk_format":"zvhd2","container_format":"bare","tags":[],"schema":"/v2/schemas/image","self":"/v2/images/{image}","file":"/v2/images/{image}/file","__system__cmkid":"bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d","enterprise_project_id":"0"}"#;
const SSH_KEY: &str = r#"{"title":"build agent","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF demo","keyScope":"READ","expireTime":"{expires}"}"#;
const SSH_KEY_ALL: &str = r#"{"title":"build agent","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF demo","keyScope":"ALL","expireTime":"{expires}"}"#;
const SSH_KEY_MADE: &str = r#"{"id":48213,"title":"build agent","key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF","fingerPrint":"SHA256:uZ4x7Nn9hW3q0b1TtGm8rYkVd2sJfE5cLaPiXoQwRzU","keyScope":"READ","expireTime":"{expires}"}"#;
const PHONES: &str = r#"{"servers":[{"server_id":"{server}","keypair_name":"{keypair}"},{"server_id":"{server2}","keypair_name":"{keypair}"}]}"#;
const PHONES_CHANGED: &str = r#"{"request_id":"{job}","jobs":[{"server_id":"{server}","job_id":"{job}"},{"server_id":"{server2}","job_id":"{job}"}]}"#;
const PHONES_PARTLY: &str = r#"{"request_id":"{job}","jobs":[{"server_id":"{server}","job_id":"{job}"},{"server_id":"{server2}","error_code":"CPS.0012","error_msg":"the server is frozen"}]}"#;

const CODEUP: &str = "openapi-rdc.aliyuncs.com";
const SSH_KEYS: &str = "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys";

/// All kinds of calls.
pub const SCENARIOS: &[Scenario] = &[
    // Key administrators.
    Scenario {
        group: "key-admins",
        weight: 400,
        method: "GET",
        host: "kms",
        target: "/v3/{project}/keypairs",
        body: "",
        replies: &[
            reply(960, 200, LISTED),
            reply(20, 429, BUSY),
            reply(8, 500, BROKEN),
            lost(12, UNREACHABLE),
        ],
    },
    Scenario {
        group: "key-admins",
        weight: 180,
        method: "GET",
        host: "ecs",
        target: "/v2.1/{project}/os-keypairs/{keypair}",
        body: "",
        replies: &[reply(900, 200, KEYPAIR), reply(90, 404, MISSING), reply(10, 500, BROKEN)],
    },
    Scenario {
        group: "key-admins",
        weight: 140,
        method: "POST",
        host: "kms",
        target: "/v3/{project}/keypairs",
        body: r#"{"keypair":{"name":"{keypair}"}}"#,
        replies: &[
            reply(930, 200, KEYPAIR),
            reply(60, 400, EXISTS),
            reply(8, 500, BROKEN),
            lost(2, TIMED_OUT),
        ],
    },
    Scenario {
        group: "key-admins",
        weight: 90,
        method: "DELETE",
        host: "kms",
        target: "/v3/{project}/keypairs/{keypair}",
        body: "",
        replies: &[reply(900, 204, ""), reply(95, 404, MISSING), lost(5, TIMED_OUT)],
    },
    Scenario {
        group: "key-admins",
        weight: 30,
        method: "POST",
        host: "kms",
        target: "/v2/{project}/os-keypairs/copy",
        body: r#"{"user_name":"kpsuser"}"#,
        replies: &[
            reply(
                700,
                200,
                r#"{"changed":1,"success":[{"keypair":"{keypair}","message":"imported"}],"failed":[]}"#,
            ),
            reply(
                200,
                200,
                r#"{"changed":1,"success":[{"keypair":"{keypair}","message":"imported"}],"failed":[{"keypair":"atlas-nightly-2025","message":"exist"}]}"#,
            ),
            reply(
                100,
                404,
                r#"{"error_code":"KPS.2006","error_msg":"the user kpsuser does not exist","request_id":"{job}"}"#,
            ),
        ],
    },
    Scenario {
        group: "key-admins",
        weight: 6,
        method: "POST",
        host: "kms",
        target: "/v2/{project}/os-keypairs/copy",
        body: r#"{"user_name":"kpsuser","force":true}"#,
        replies: &[],
    },
    Scenario {
        group: "key-admins",
        weight: 12,
        method: "POST",
        host: "ecs",
        target: "/v2.1/{project}/os-keypairs",
        body: r#"{"keypair":{"name":"key {keypair}"}}"#,
        replies: &[],
    },
    Scenario {
        group: "key-admins",
        weight: 2,
        method: "POST",
        host: "kms",
        target: "/v3/{project}/keypairs/private-key/export",
        body: r#"{"keypair":{"name":"{keypair}"}}"#,
        replies: &[],
    },
    // Image administrators.
    Scenario {
        group: "image-admins",
        weight: 300,
        method: "GET",
        host: "ims",
        target: "/v2/images/{image}",
        body: "",
        replies: &[reply(970, 200, IMAGE), reply(20, 404, BROKEN), reply(10, 429, BUSY)],
    },
    Scenario {
        group: "image-admins",
        weight: 80,
        method: "POST",
        host: "ims",
        target: "/v1/cloudimages/{image}/copy",
        body: r#"{"name":"golden-copy","cmk_id":"bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d"}"#,
        replies: &[reply(960, 200, JOB), reply(30, 400, BROKEN), lost(10, TIMED_OUT)],
    },
    Scenario {
        group: "image-admins",
        weight: 12,
        method: "POST",
        host: "ims",
        target: "/v1/cloudimages/{image}/copy",
        body: r#"{"name":"golden-copy"}"#,
        replies: &[],
    },
    Scenario {
        group: "image-admins",
        weight: 40,
        method: "POST",
        host: "ims",
        target: "/v2/images/{image}/members",
        body: r#"{"member":"7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f"}"#,
        replies: &[
            reply(
                950,
                200,
                r#"{"status":"pending","image_id":"{image}","member_id":"7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f","schema":"/v2/schemas/member"}"#,
            ),
            reply(50, 409, BROKEN),
        ],
    },
    Scenario {
        group: "image-admins",
        weight: 3,
        method: "POST",
        host: "ims",
        target: "/v1/cloudimages/members",
        body: r#"{"images":["{image}"],"projects":["7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f","00000000000000000000000000000bad"]}"#,
        replies: &[],
    },
    Scenario {
        group: "image-admins",
        weight: 5,
        method: "POST",
        host: "ims",
        target: "/v1/cloudimages/{image}/cross_region_copy",
        body: r#"{"name":"golden-copy","region":"eu-west-0","project_name":"eu-west-0","agency_name":"image-mover"}"#,
        replies: &[],
    },
    // The phone lab.
    Scenario {
        group: "phone-ops",
        weight: 200,
        method: "GET",
        host: "cph",
        target: "/v1/{project}/cloud-phone/servers",
        body: "",
        replies: &[
            reply(
                970,
                200,
                r#"{"request_id":"{job}","count":2,"servers":[{"server_id":"{server}","server_name":"lab-01","keypair_name":"{keypair}","status":5},{"server_id":"{server2}","server_name":"lab-02","keypair_name":"{keypair}","status":10}]}"#,
            ),
            reply(30, 500, BROKEN),
        ],
    },
    Scenario {
        group: "phone-ops",
        weight: 80,
        method: "PUT",
        host: "cph",
        target: "/v1/{project}/cloud-phone/servers/open-access",
        body: PHONES,
        replies: &[
            reply(850, 200, PHONES_CHANGED),
            reply(130, 200, PHONES_PARTLY),
            lost(20, UNREACHABLE),
        ],
    },
    Scenario {
        group: "phone-ops",
        weight: 4,
        method: "PUT",
        host: "cph",
        target: "/v1/{project}/cloud-phone/servers/open-access",
        body: r#"{"servers":[{"server_id":"{server}","keypair_name":"mykey"}]}"#,
        replies: &[],
    },
    // Developers.
    Scenario {
        group: "codeup-developers",
        weight: 250,
        method: "GET",
        host: CODEUP,
        target: SSH_KEYS,
        body: "",
        replies: &[
            reply(
                960,
                200,
                r#"[{"id":48213,"title":"build agent","fingerPrint":"SHA256:uZ4x7Nn9hW3q0b1TtGm8rYkVd2sJfE5cLaPiXoQwRzU","keyScope":"READ","expireTime":"{expires}"}]"#,
            ),
            reply(
                40,
                500,
                r#"{"errorCode":"InternalError","errorMessage":"internal error","requestId":"{job}"}"#,
            ),
        ],
    },
    Scenario {
        group: "codeup-developers",
        weight: 90,
        method: "POST",
        host: CODEUP,
        target: SSH_KEYS,
        body: SSH_KEY,
        replies: &[
            reply(930, 200, SSH_KEY_MADE),
            reply(
                70,
                400,
                r#"{"errorCode":"BadRequest","errorMessage":"the key has been added already","requestId":"{job}"}"#,
            ),
        ],
    },
    Scenario {
        group: "codeup-developers",
        weight: 9,
        method: "POST",
        host: CODEUP,
        target: SSH_KEYS,
        body: SSH_KEY_ALL,
        replies: &[],
    },
    Scenario {
        group: "codeup-developers",
        weight: 3,
        method: "POST",
        host: CODEUP,
        target: "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys/",
        body: SSH_KEY,
        replies: &[],
    },
    // Auditors look, and may do nothing else.
    Scenario {
        group: "auditors",
        weight: 60,
        method: "GET",
        host: "kms",
        target: "/v3/{project}/keypairs",
        body: "",
        replies: &[reply(990, 200, LISTED), reply(10, 429, BUSY)],
    },
    Scenario {
        group: "auditors",
        weight: 1,
        method: "DELETE",
        host: "kms",
        target: "/v3/{project}/keypairs/{keypair}",
        body: "",
        replies: &[],
    },
    // Strangers.
    Scenario {
        group: "",
        weight: 12,
        method: "GET",
        host: "kms",
        target: "/v3/{project}/keypairs",
        body: "",
        replies: &[],
    },
];

/// Groups, how many callers each has, and how much of the traffic is theirs.
pub const GROUPS: &[(&str, usize, u32)] = &[
    ("key-admins", 14, 420),
    ("image-admins", 10, 230),
    ("phone-ops", 6, 90),
    ("codeup-developers", 14, 240),
    ("auditors", 4, 12),
    ("", 3, 8),
];

/// Regions of the Huawei hosts. A caller keeps to one.
pub const REGIONS: &[&str] = &["cn-north-4", "cn-north-4", "cn-east-3", "ap-southeast-3"];
