//! Attacks on the shipped catalogue and policies: what must not get through, what must not stand in a record, and
//! what no caller may push out of one. Each case was a way round before it was refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a mistake here should end the run")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward::audit::bound::LEAF_BYTES_MAX;
use keyward::audit::leaf::{Answer, Composer, Judged, Timings};
use keyward::audit::outcome::Outcome;
use keyward::audit::record::Record;
use keyward::audit::redact::{Redactor, Shown};
use keyward::caller::Directory;
use keyward::catalog::Catalog;
use keyward::clock::{AuditId, Timestamp};
use keyward::head::{self, Head};
use keyward::inspect;
use keyward::policy::{Bundle, Decision, Question, Verdict};
use keyward::reason::Reason;
use keyward::request::RequestHead;
use keyward::secret::DigestKey;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

const KPS: &str = "kms.cn-north-4.myhuaweicloud.com";
const ECS: &str = "ecs.cn-north-4.myhuaweicloud.com";
const IMS: &str = "ims.cn-north-4.myhuaweicloud.com";
const CODEUP: &str = "openapi-rdc.aliyuncs.com";
const DEVOPS: &str = "devops.cn-hangzhou.aliyuncs.com";
const SSH_KEYS: &str = "/oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys";
const COPY_IMAGE: &str = "/v1/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f/copy";
const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF demo";
const NOW: &str = "2026-11-22T14:20:50Z";

/// The gate without wire and journal: the shipped documents and policies, and a caller of each kind.
struct World {
    catalog: Catalog,
    directory: Directory,
    policies: Bundle,
    key: DigestKey,
    composer: Composer,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = DigestKey::new([7; 32]);
    let catalog = Catalog::load(Path::new("config/apis")).unwrap();
    let directory = Directory::parse(&format!(
        "groups = ['platform-admins', 'key-admins', 'image-admins', 'phone-ops', 'codeup-developers', 'auditors']\n\
         [callers.keys]\nkind = 'robot'\ngroups = ['key-admins']\naccess_keys = ['AKKEYS']\n\
         [callers.images]\nkind = 'robot'\ngroups = ['image-admins']\naccess_keys = ['AKIMAGES']\n\
         [callers.platform]\nkind = 'user'\ngroups = ['platform-admins']\naccess_keys = ['AKPLATFORM']\n\
         [callers.developer]\nkind = 'user'\ngroups = ['codeup-developers']\naccess_keys = ['LTAIDEV']\ntokens = ['{}']\n",
        key.digest(b"pt-developer")
    ))
    .unwrap();
    let policies = Bundle::load(Path::new("policies"), &catalog, &directory).unwrap();
    let composer = Composer { redactor: Redactor::new(key.clone()).unwrap(), body_bytes_max: 64 * 1024, catalog: catalog.digest.clone() };
    World { catalog, directory, policies, key, composer }
});

struct Judgement {
    decision: Decision,
    caller: Option<String>,
    record: Record,
    shown: Shown,
    leaf: Value,
    question: Question,
}

impl Judgement {
    /// All that is written down of the call.
    fn written(&self) -> String {
        let body = self.record.content.as_ref().map(|c| String::from_utf8_lossy(&c.bytes).into_owned());
        format!("{}{}", String::from_utf8_lossy(&self.record.leaf), body.unwrap_or_default())
    }

    fn reason(&self) -> Reason {
        self.decision.reason
    }
}

fn judge(method: &str, host: &str, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Judgement {
    let world = &*WORLD;
    let body = Bytes::copy_from_slice(body.as_ref());
    let mut map = HeaderMap::new();
    map.insert("host", host.parse().unwrap());
    if !body.is_empty() {
        map.insert("content-type", HeaderValue::from_static("application/json"));
    }
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let method = method.parse().unwrap();
    let version = http::Version::HTTP_11;
    let fault = head::check(&Head { raw: None, version, method: &method, target: target.as_bytes(), host, authority: None, sni: None, headers: &map });
    let head = RequestHead {
        id: AuditId::new(),
        received: Timestamp::parse(NOW).unwrap(),
        client: SocketAddr::from(([127, 0, 0, 1], 4000)),
        bound_service: None,
        version: "HTTP/1.1",
        method,
        target: Bytes::copy_from_slice(target.as_bytes()),
        host: host.to_owned(),
        headers: map,
        via: None,
        tls: None,
        raw: None,
        fault,
    };
    let target = world.catalog.classify(None, &head.host_name(), &head.method, head.path());
    let caller = world.directory.identify(&head, &world.key, &world.catalog, &target);
    let (inspected, facts) = match &head.fault {
        Some(fault) => (
            inspect::Inspected { body: Bytes::new(), json: None, read_whole: false },
            Err(inspect::facts::Unreadable { reason: fault.reason, detail: fault.detail.clone() }),
        ),
        None => inspect::inspect(&target, &head, body),
    };
    let question = Question { target, caller, facts, source: head.client.ip(), now: head.received };
    let decision = world.policies.decide(&question);
    let (record, shown) = world.composer.request(Judged { head: &head, inspected: &inspected, question: &question, decision: &decision }, &Timings::new());
    let leaf = serde_json::from_slice(&record.leaf).unwrap();
    Judgement { caller: question.caller.identity.as_ref().map(|i| i.name.clone()), decision, record, shown, leaf, question }
}

fn signed(access: &str) -> String {
    format!("SDK-HMAC-SHA256 Access={access}, SignedHeaders=host;x-sdk-date, Signature=0123456789abcdef0123456789abcdef")
}

/// Which of these calls were allowed, if any.
fn let_through<'a>(calls: impl IntoIterator<Item = (&'a str, Judgement)>) -> Vec<&'a str> {
    calls.into_iter().filter(|(_, judged)| judged.decision.verdict == Verdict::Allow).map(|(name, _)| name).collect()
}

fn ssh_key(changes: Value) -> String {
    let mut body = json!({"title": "t", "key": ED25519, "keyScope": "READ", "expireTime": "2026-12-22T00:00:00Z"});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn create_ssh_key(body: &str) -> Judgement {
    judge("POST", CODEUP, SSH_KEYS, &[("x-yunxiao-token", "pt-developer")], body)
}

#[test]
fn a_second_key_behind_a_line_break_is_no_comment() {
    assert_eq!(create_ssh_key(&ssh_key(json!({}))).reason(), Reason::Permitted);
    for end in ["\n", "\r", "\u{2028}", "\u{85}", "\0"] {
        let judged = create_ssh_key(&ssh_key(json!({"key": format!("{ED25519}{end}ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 weak")})));
        assert_eq!(judged.decision.verdict, Verdict::Deny, "{end:?}");
    }
}

#[test]
fn a_date_has_one_spelling() {
    for text in [
        "2026-12-22T00:00:00+00:00[UTC]",
        "2026-12-22 00:00:00Z",
        "2026-12-22t00:00:00z",
        "2026-12-22T00:00Z",
        "2026-12-22T00Z",
        "2026-12-22T00:00:00,5Z",
        "20261222T000000Z",
        "+002026-12-22T00:00:00Z",
        "2026-12-22T00:00:00+08",
        "2026-12-22T00:00:00+0800",
        "2026-12-31T23:59:60Z",
        "2026-12-22T24:00:00Z",
        "-000001-12-22T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "1969-12-31T23:59:59Z",
    ] {
        assert_ne!(create_ssh_key(&ssh_key(json!({"expireTime": text}))).decision.verdict, Verdict::Allow, "{text}");
    }
    for text in ["2026-12-22T08:00:00+08:00", "2026-12-22T00:00:00.123Z"] {
        assert_eq!(create_ssh_key(&ssh_key(json!({"expireTime": text}))).reason(), Reason::Permitted, "{text}");
    }
}

#[test]
fn a_signature_names_one_key_in_one_way() {
    let ask = |authorization: &str| judge("GET", KPS, "/v3/p/keypairs", &[("authorization", authorization)], "");
    assert_eq!(ask(&signed("AKKEYS")).caller.as_deref(), Some("keys"));
    assert_eq!(ask("V11-HMAC-SHA256 Credential=AKKEYS/20261122/cn/kms, SignedHeaders=host, Signature=00").caller.as_deref(), Some("keys"));
    for authorization in [
        "SDK-HMAC-SHA256 Access=AKKEYS, Access=AKOTHER, SignedHeaders=host, Signature=00",
        "SDK-HMAC-SHA256 Access=AKKEYS, Credential=AKOTHER, SignedHeaders=host, Signature=00",
        "ACS3-HMAC-SHA256 Access=AKKEYS,Credential=LTAIOTHER,SignedHeaders=host,Signature=00",
        "SDK-HMAC-SHA256\tAccess=AKOTHER, Access=AKKEYS, SignedHeaders=host, Signature=00",
        "x Access=AKKEYS, SDK-HMAC-SHA256 Access=AKOTHER, SignedHeaders=host, Signature=00",
        "Basic Access=AKKEYS, SignedHeaders=host, Signature=00",
        "SDK-HMAC-SHA256 Access=AKKEYS",
        "SDK-HMAC-SHA256 Access=AKKEYS/AKOTHER, SignedHeaders=host, Signature=00",
        "sdk-hmac-sha256 Access=AKKEYS, SignedHeaders=host, Signature=00",
    ] {
        assert_eq!(ask(authorization).caller, None, "{authorization}");
    }
}

#[test]
fn a_token_counts_however_its_parameter_is_spelt() {
    let list = |token: &str| {
        let target = format!("/api/v3/user/keys?organizationId=o&{token}");
        judge("GET", DEVOPS, &target, &[("authorization", "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00")], "")
    };
    assert_eq!(list("accessToken=pt-developer").caller.as_deref(), Some("developer"));
    for token in ["accessToken=pt-victim", "access%54oken=pt-victim", "%61ccessToken=%70t-victim"] {
        assert_eq!(list(token).caller, None, "{token}");
    }
}

#[test]
fn an_escaped_slash_leads_nowhere_else() {
    let deploy = |repository: &str| {
        let target = format!("/oapi/v1/codeup/organizations/o/repositories/{repository}/keys");
        judge("POST", CODEUP, &target, &[("x-yunxiao-token", "pt-developer")], json!({"title": "t", "key": ED25519}).to_string())
    };
    assert_eq!(deploy("60de7a%2FDemo").reason(), Reason::Permitted);
    for repository in ["..%2F..%2Fo", "A%2F..%2F..%2F..%2Fo", "%2F", "a%2f%2Fb", "a%2F.", "%2e%2e%2Fo"] {
        assert_ne!(deploy(repository).decision.verdict, Verdict::Allow, "{repository}");
    }
}

#[test]
fn images_stay_encrypted_private_and_here() {
    let auth = signed("AKIMAGES");
    let copy = |key: &str| judge("POST", IMS, COPY_IMAGE, &[("authorization", &auth)], json!({"name": "c", "cmk_id": key}).to_string());
    assert_eq!(copy("bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d").reason(), Reason::Permitted);
    let patch = |path: &str| {
        let body = json!([{"op": "replace", "path": path, "value": "x"}]).to_string();
        judge("PATCH", IMS, "/v2/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f", &[("authorization", &auth)], body)
    };
    assert_eq!(patch("/name").reason(), Reason::Permitted);
    let make = |body: &str| judge("POST", IMS, "/v2/images", &[("authorization", &auth)], body);
    let forbidden = [
        ("a blank key", copy(" ")),
        ("a zero", copy("0")),
        ("null as text", copy("null")),
        ("visibility in capitals", patch("/Visibility")),
        ("the owner", patch("/owner")),
        ("the owner, escaped", patch("/~0owner")),
        ("a location", patch("/locations/-")),
        ("a percent escape", patch("/visibilit%79")),
        ("a name that folds to visibility", make("{\"name\": \"a\", \"vi\u{17f}ibility\": \"public\"}")),
        ("a name in full-width letters", make("{\"\u{ff56}isibility\": \"public\"}")),
    ];
    assert_eq!(let_through(forbidden), Vec::<&str>::new());
}

#[test]
fn a_header_or_parameter_does_not_make_another_call_of_it() {
    let auth = signed("AKKEYS");
    let read = |target: &str, headers: &[(&str, &str)]| {
        let all: Vec<_> = headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
        judge("GET", KPS, target, &all, "")
    };
    assert_eq!(read("/v3/p/keypairs?limit=1", &[("x-forwarded-host", KPS)]).reason(), Reason::Permitted);
    let developer = ("authorization", "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00");
    let deploy = json!({"title": "t", "key": ED25519}).to_string();
    let acs = |action: &str| judge("POST", DEVOPS, "/repository/7/keys/create?organizationId=o", &[developer, ("x-acs-action", action)], &deploy);
    assert_eq!(acs("CreateDeployKey").reason(), Reason::Permitted);
    let forbidden = [
        ("_method", read("/v3/p/keypairs?_method=DELETE", &[])),
        ("_method, escaped", read("/v3/p/keypairs?%5Fmethod=DELETE", &[])),
        ("_method on what passes", read("/v1/p/secrets?_METHOD=DELETE", &[])),
        ("X-HTTP-Method-Override as parameter", read("/v3/p/keypairs?x-http-method-override=DELETE", &[])),
        ("another host behind", read("/v3/p/keypairs", &[("x-forwarded-host", "iam.myhuaweicloud.com")])),
        ("another path behind", read("/v3/p/keypairs", &[("x-original-uri", "/v3/p/keypairs/private-key/export")])),
        ("a prefix behind", read("/v3/p/keypairs", &[("x-forwarded-prefix", "/x")])),
        ("another action in a header", acs("CreateUserKey")),
    ];
    assert_eq!(let_through(forbidden), Vec::<&str>::new());
}

#[test]
fn the_answer_to_a_write_stays_readable() {
    let authorization = "SDK-HMAC-SHA256 Access=AKKEYS, SignedHeaders=accept-encoding;host;x-sdk-date, Signature=00";
    let copy = |encoding: &str| {
        let headers = [("authorization", authorization), ("accept-encoding", encoding)];
        judge("POST", KPS, "/v2/p/os-keypairs/copy", &headers, json!({"user_name": "u"}).to_string())
    };
    assert_eq!(copy("identity").reason(), Reason::Permitted);
    for encoding in ["gzip", "identity, gzip", "*"] {
        assert_eq!(copy(encoding).reason(), Reason::AcceptEncoding, "{encoding}");
    }
    // What the answer says of success cannot be read here: nobody knows what became of the call.
    let mut judged = copy("identity");
    let mut headers = HeaderMap::new();
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let answer = Answer { status: Some(200), headers, body: Bytes::from_static(b"\x1f\x8b"), body_length: 2, whole: true, sent: true, ..Answer::default() };
    let (_, outcome) = WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    assert_eq!(outcome, Outcome::Unknown);
}

/// Every call leaves a record that can be stored and still says who, what and why, however long its parts are.
#[test]
fn no_caller_makes_a_record_that_cannot_be_stored() {
    let images = signed("AKIMAGES");
    let keys = signed("AKKEYS");
    let long = "x\u{1}\"".repeat(60_000);
    let many = |n: usize, project: &str| {
        let images: Vec<String> = (0..n).map(|i| format!("465076de-dc36-4aec-80f5-{i:012}")).collect();
        json!({"images": images, "projects": [project]}).to_string()
    };
    let padding: Vec<(String, String)> = (0..30).map(|i| (format!("x-pad-{i}"), "y".repeat(2000))).collect();
    let mut padded: Vec<(&str, &str)> = padding.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    padded.push(("authorization", &keys));
    let names = format!("SDK-HMAC-SHA256 Access=AKKEYS, SignedHeaders={}, Signature=00", "host;".repeat(12_000));
    let calls = [
        (
            "a long member",
            judge("POST", IMS, "/v2/images/465076de-dc36-4aec-80f5-ef9d8009428f/members", &[("authorization", &images)], json!({"member": long}).to_string()),
        ),
        ("a long server", judge("POST", KPS, "/v3/p/keypairs/disassociate", &[("authorization", &keys)], json!({"server": {"id": long}}).to_string())),
        ("many shares", judge("POST", IMS, "/v1/cloudimages/members", &[("authorization", &images)], many(400, "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f"))),
        ("many shares, forbidden", judge("POST", IMS, "/v1/cloudimages/members", &[("authorization", &images)], many(400, "stranger"))),
        ("long headers", judge("GET", KPS, "/v3/p/keypairs", &padded, "")),
        ("many signed headers", judge("GET", KPS, "/v3/p/keypairs", &[("authorization", &names)], "")),
        ("a long method", judge(&"M".repeat(50_000), KPS, "/v3/p/keypairs", &[("authorization", &keys)], "")),
        ("a long query", judge("GET", KPS, &format!("/v3/p/keypairs?{}", "a=b&".repeat(4000)), &[("authorization", &keys)], "")),
    ];
    for (name, judged) in calls {
        assert!(judged.record.leaf.len() <= LEAF_BYTES_MAX, "{name}: {} bytes", judged.record.leaf.len());
        for pointer in ["/caller/name", "/call/action", "/call/path", "/decision/verdict", "/decision/reason"] {
            assert!(judged.leaf.pointer(pointer).and_then(Value::as_str).is_some_and(|t| !t.is_empty()), "{name}: no {pointer}");
        }
        let policies = judged.decision.deciding.iter().map(|d| d.policy.as_str());
        for policy in policies {
            assert!(judged.leaf["decision"]["policies"].to_string().contains(policy), "{name}: no {policy}");
        }
    }
}

#[test]
fn padding_does_not_push_the_facts_out() {
    let blanks = " ".repeat(70_000);
    let copy = judge("POST", KPS, "/v2/p/os-keypairs/copy", &[("authorization", &signed("AKKEYS"))], format!("{blanks}{{\"user_name\": \"victim\"}}"));
    assert_eq!(copy.reason(), Reason::Permitted);
    assert!(copy.written().contains("victim"), "{}", copy.leaf);
    let judged = create_ssh_key(&ssh_key(json!({"title": "t".repeat(70_000)})));
    assert_eq!(judged.reason(), Reason::Permitted);
    for fact in ["READ", "2026-12-22", "ed25519"] {
        assert!(judged.leaf.to_string().contains(fact), "{fact}: {}", judged.leaf);
    }
}

const TOKEN: &str = "MIIAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIjAbCdEfGhIj";

#[test]
fn secrets_are_in_no_record() {
    let auth = signed("AKKEYS");
    let ask = |target: &str, headers: &[(&str, &str)]| {
        let all: Vec<_> = headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
        judge("GET", KPS, target, &all, "")
    };
    let send = |body: String| judge("POST", KPS, "/v3/p/keypairs", &[("authorization", &auth)], body);
    let agent = format!("{} {TOKEN}", "x".repeat(200));
    let lifted = |name: &'static str| ask("/v3/p/keypairs", &[(name, "Hunter2-Zq9xV7")]);
    let platform = signed("AKPLATFORM");
    let server = json!({"server": {"name": "a", "imageRef": "b", "flavorRef": "c",
        "personality": [{"path": "/home/ops/.ssh/id", "contents": "Hunter2-Zq9xV7"}],
        "metadata": {"admin_password": "Hunter2-Zq9xV7", "db.password": "Hunter2-Zq9xV7", "api_key": "Hunter2-Zq9xV7", "root_pwd": "Hunter2-Zq9xV7"}}});
    let server = judge("POST", ECS, "/v1.1/p/cloudservers", &[("authorization", &platform)], server.to_string());
    assert_eq!(server.reason(), Reason::Permitted);
    let calls = [
        ("query, escaped name and value", ask("/v3/p/keypairs?access%54oken=%48unter2-Zq9xV7", &[]), vec!["Hunter2", "%48unter2"]),
        ("query, undocumented name", ask("/v3/p/keypairs?private_token=Hunter2-Zq9xV7", &[]), vec!["Hunter2"]),
        ("query, signature of another kind", ask("/v3/p/keypairs?X-Amz-Signature=Hunter2-Zq9xV7", &[]), vec!["Hunter2"]),
        ("query, no name", ask("/v9/x?Hunter2-Zq9xV7", &[]), vec!["Hunter2"]),
        ("query, semicolon", ask("/v3/p/keypairs?limit=1;password=Hunter2-Zq9xV7", &[]), vec!["Hunter2"]),
        ("query, in what passes", ask("/v1/p/secrets?session=Hunter2-Zq9xV7", &[]), vec!["Hunter2"]),
        ("path, escaped", ask("/v9/%70t-leak7AbCdEfGh1234", &[]), vec!["%70t-leak7", "pt-leak7"]),
        ("path, a token", ask(&format!("/v9/{TOKEN}"), &[]), vec!["MIIAbC"]),
        ("agent, cut within", ask("/v3/p/keypairs", &[("user-agent", &agent)]), vec!["MIIAbC"]),
        ("forwarded for, cut within", ask("/v3/p/keypairs", &[("x-forwarded-for", &agent)]), vec!["MIIAbC"]),
        ("referer", ask("/v3/p/keypairs", &[("referer", "https://x/?t=Hunter2-Zq9xV7")]), vec!["Hunter2"]),
        ("referer, login", ask("/v3/p/keypairs", &[("referer", "https://u:Hunter2-Zq9xV7@x/")]), vec!["Hunter2"]),
        ("referer, fragment", ask("/v3/p/keypairs", &[("referer", "https://x/#t=Hunter2-Zq9xV7")]), vec!["Hunter2"]),
        ("header, password", lifted("x-user-pwd"), vec!["Hunter2"]),
        ("header, private key", lifted("x-private-key"), vec!["Hunter2"]),
        ("header, customer key", lifted("x-sse-customer-key"), vec!["Hunter2"]),
        ("scheme", judge("GET", KPS, "/v3/p/keypairs", &[("authorization", "Hunter2-Zq9xV7 x")], ""), vec!["Hunter2"]),
        ("signed names", judge("GET", KPS, "/v3/p/keypairs", &[("authorization", "X SignedHeaders=Hunter2-Zq9xV7, Signature=00")], ""), vec!["Hunter2"]),
        ("field name", send(json!({"keypair": {"name": "a", TOKEN: 1}}).to_string()), vec!["MIIAbC"]),
        ("field name, twice", send(format!("{{\"{TOKEN}\":1,\"{TOKEN}\":2}}")), vec!["MIIAbC"]),
        ("query name", judge("POST", KPS, &format!("/v3/p/keypairs?{TOKEN}=1"), &[("authorization", &auth)], "{}"), vec!["MIIAbC"]),
        ("value of an unknown field", send(json!({"keypair": {"name": "a", "pem": "Hunter2-Zq9xV7"}}).to_string()), vec!["Hunter2"]),
        (
            "key without its frame",
            send(json!({"keypair": {"name": "a", "public_key": "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"}}).to_string()),
            vec!["b3BlbnNzaC1rZXkt"],
        ),
        ("server", server, vec!["Hunter2"]),
    ];
    for (name, judged, secrets) in calls {
        let written = judged.written();
        for secret in secrets {
            assert!(!written.contains(secret), "{name}: {secret} in {written}");
        }
    }
}

#[test]
fn an_echo_is_hidden_in_other_spellings_too() {
    let token = "p/t \"secret\"+0123\\end";
    let mut judged = judge("GET", KPS, "/v3/p/keypairs", &[("x-auth-token", token)], "");
    let mut headers = HeaderMap::new();
    headers.insert("location", HeaderValue::from_static("/login/p%2Ft%20%22secret%22%2B0123%5Cend#t=Hunter2-Zq9xV7"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let nested = json!({"got": token}).to_string().replace("p/t", "p\\/t");
    let body = json!({"error_code": "X", "error_msg": nested, "url": "/p%2ft%20%22secret%22%2b0123%5cend"}).to_string();
    let answer = Answer { status: Some(401), headers, body_length: body.len() as u64, body: Bytes::from(body), whole: true, sent: true, ..Answer::default() };
    let (record, _) = WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    let written = format!("{}{}", String::from_utf8_lossy(&record.leaf), String::from_utf8_lossy(&record.content.unwrap().bytes));
    for secret in ["secret", "Hunter2"] {
        assert!(!written.contains(secret), "{written}");
    }
}

/// A header named like a secret, with a fact of the call as its value, must not take that fact out of the record.
#[test]
fn no_caller_blanks_its_own_record() {
    let auth = signed("AKKEYS");
    let image = "465076de-dc36-4aec-80f5-ef9d8009428f";
    let facts = [
        "huawei.kps.CopyKeypairs",
        "CopyKeypairs",
        "127.0.0.1",
        "permitted",
        "/v2/project-0001/os-keypairs/copy",
        "project-0001",
        "kp-finance-2026",
        KPS,
        image,
    ];
    let names = ["x-token", "x-session", "x-secret", "x-nonce", "cookie", "x-password", "x-signature", "x-security-token", "x-api-key"];
    let mut headers: Vec<_> = names.into_iter().zip(facts).collect();
    headers.push(("authorization", &auth));
    let body = json!({"user_name": "kp-finance-2026"}).to_string();
    let mut judged = judge("POST", KPS, "/v2/project-0001/os-keypairs/copy", &headers, &body);
    assert_eq!(judged.reason(), Reason::Permitted);
    for (pointer, fact) in [
        ("/call/action", "huawei.kps.CopyKeypairs"),
        ("/call/operation", "CopyKeypairs"),
        ("/call/host", KPS),
        ("/call/path", "/v2/project-0001/os-keypairs/copy"),
        ("/source/address", "127.0.0.1"),
        ("/decision/reason", "permitted"),
        ("/resource/id", "project-0001"),
    ] {
        assert_eq!(judged.leaf.pointer(pointer).and_then(Value::as_str), Some(fact), "{pointer}");
    }
    assert!(judged.written().contains("kp-finance-2026"), "{}", judged.written());
    let answer = json!({"changed": 1, "success": [{"keypair": "kp-finance-2026", "message": "imported"}], "failed": []}).to_string();
    let answer = Answer { status: Some(200), body_length: answer.len() as u64, body: Bytes::from(answer), whole: true, sent: true, ..Answer::default() };
    let (record, _) = WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    assert!(String::from_utf8_lossy(&record.content.unwrap().bytes).contains("kp-finance-2026"));
}
