//! Promise 6: secrets never land: not in the record, not in the log, not on the admin listener,
//! whichever way they come.

use crate::support::upstream::{answer, raw};
use crate::support::{Act, Answer, Client, Request, Site, TOKEN, Trail, Upstream};
use serde_json::json;
use std::path::Path;

const SIGNATURE: &str = "5ec3e7519a7e0fca11e40123456789abcdef0123456789abcdef0123456789ab";
const SECURITY_TOKEN: &str = "gQpjbi1ub3J0aC00SECURITYTOKENofTheTest==";
const YUNXIAO: &str = "pt-yunxiaoSecretOfTheTest_0001";
const IN_QUERY: &str = "pt-inQuerySecretOfTheTest_0002";
const PASSWORD: &str = "Adm1nPassw0rdOfTheTest!";
const USER_DATA: &str = "IyEvYmluL3NoCmVjaG8gdXNlcmRhdGEK";
const BEARER: &str = "bearerSecretOfTheTest.0003";
const COOKIE: &str = "cookieSecretOfTheTest0004";
const SUBJECT: &str = "MIIsubjectTokenOfTheTest0005";
const KEYS: [&str; 5] = [
    "MIIEanswerKeyOfTheTest0006",
    "MIIErequestKeyOfTheTest0007",
    "MIIEgzipKeyOfTheTest0008",
    "MIIEcutKeyOfTheTest0009",
    "MIIEunknownKeyOfTheTest0010",
];

const PROJECT: &str = "9f2c1d8e7b6a4c3d8e5f0a1b2c3d4e5f";
const KPS: &str = "kms.cn-north-4.myhuaweicloud.com";

fn secrets() -> Vec<&'static str> {
    [
        TOKEN,
        SIGNATURE,
        SECURITY_TOKEN,
        YUNXIAO,
        IN_QUERY,
        PASSWORD,
        USER_DATA,
        BEARER,
        COOKIE,
        SUBJECT,
    ]
    .into_iter()
    .chain(KEYS)
    .collect()
}

fn pem(line: &str) -> String {
    format!("-----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}\n-----END RSA PRIVATE KEY-----\n")
}

/// A gzip file whose one block is stored: whoever keeps its bytes keeps what is in it.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(bytes);
    file.extend(crc32fast::hash(bytes).to_le_bytes());
    file.extend(u32::from(length).to_le_bytes());
    file
}

/// What the cloud says; the case stands in a header of the request.
fn cloud(case: &str) -> Vec<Act> {
    let made = |key: &str| {
        json!({"keypair": {"name": "ci-deploy-2026", "private_key": pem(key)}}).to_string()
    };
    let with = |headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        vec![Act::Send([head.as_bytes(), body].concat())]
    };
    match case {
        "create" => {
            let headers = format!(
                "Set-Cookie: s={COOKIE}\r\nX-Subject-Token: {SUBJECT}\r\nLocation: https://x.example.com/?t={COOKIE}\r\n"
            );
            with(&headers, made(KEYS[0]).as_bytes())
        }
        // A cloud that cannot verify a signature shows what it would have signed.
        "echo" => {
            let canonical = format!(
                "POST\n/v3/keypairs\nx-auth-token:{TOKEN}\nx-security-token:{SECURITY_TOKEN}\n\n{}",
                pem(KEYS[1])
            );
            let escaped = json!({"private_key": pem(KEYS[1])}).to_string();
            let text =
                json!({"error_code": "APIGW.0301", "error_msg": format!("verify failed; canonical request: {canonical}"), "request": escaped}).to_string();
            vec![answer(401, text.as_bytes())]
        }
        "gzip" => with("Content-Encoding: gzip\r\n", &gzip(made(KEYS[2]).as_bytes())),
        "cut" => {
            let body = made(KEYS[3]);
            vec![
                raw(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len() + 1
                )),
                Act::Close,
            ]
        }
        "plain" => with("", format!("it is {PASSWORD} and {}", pem(KEYS[0])).as_bytes()),
        _ => vec![answer(200, br#"{"ok":true}"#)],
    }
}

fn call(case: &str, host: &str, target: &str, body: &str) -> Request {
    let request = Request::new("POST", target).header("Host", host).header("X-Case", case);
    if body.is_empty() { request } else { request.json(body) }
}

fn signed(request: Request) -> Request {
    let value = format!(
        "SDK-HMAC-SHA256 Access=AKTESTCALLER, SignedHeaders=host;x-sdk-date, Signature={SIGNATURE}"
    );
    request.header("Authorization", &value).header("X-Security-Token", SECURITY_TOKEN)
}

/// Every way in which a secret may come in.
fn calls() -> Vec<Request> {
    let keypairs = format!("/v3/{PROJECT}/keypairs");
    let create = json!({"keypair": {"name": "ci-deploy-2026"}}).to_string();
    let import = format!("{keypairs}/private-key/import");
    let key = |name: serde_json::Value, key: &str| {
        json!({"keypair": {"name": name, "key_protection": {"private_key": pem(key), "encryption": {"type": "default"}}}}).to_string()
    };
    let server = json!({"server": {"name": "web", "flavorRef": "s6", "adminPass": PASSWORD, "user_data": USER_DATA}}).to_string();
    let ecs = "ecs.cn-north-4.myhuaweicloud.com";
    let encoded = IN_QUERY.replace('-', "%2D");
    vec![
        signed(call("create", KPS, &keypairs, &create)),
        signed(call("echo", KPS, &import, &key("ci-deploy-2026".into(), KEYS[1]))),
        call("gzip", KPS, &keypairs, &create),
        call("cut", KPS, &keypairs, &create),
        call("plain", KPS, &keypairs, &create),
        // Refused for its form: a field of the wrong type, a name twice, no JSON at all, no such
        // call.
        call("", KPS, &import, &key(5.into(), KEYS[1])),
        call("", KPS, &import, &format!(r#"{{"password":"{PASSWORD}","password":"{PASSWORD}"}}"#)),
        call("", KPS, &import, &format!(r#"{{"password":"{PASSWORD}"#)),
        call(
            "",
            KPS,
            "/v3/nothing",
            &json!({"note": pem(KEYS[4]), "password": PASSWORD}).to_string(),
        ),
        call("", KPS, &keypairs, &create).header("X-Auth-token", BEARER),
        call("", "nobody.example.com", &format!("/x?accessToken={IN_QUERY}"), &server),
        call("", ecs, &format!("/v2.1/{PROJECT}/servers"), &server),
        call("", "openapi-rdc.aliyuncs.com", "/oapi/v1/codeup/organizations/60de/keys", "{}")
            .header("x-yunxiao-token", YUNXIAO),
        call(
            "",
            "devops.cn-hangzhou.aliyuncs.com",
            &format!("/api/v3/user/keys/create?organizationId=60de&accessToken={IN_QUERY}"),
            "{}",
        ),
        call(
            "",
            "devops.cn-hangzhou.aliyuncs.com",
            &format!("/api/v3/user/keys/create?accessToken={encoded}&organizationId={IN_QUERY}"),
            "{}",
        ),
        call(
            "",
            "devops.cn-hangzhou.aliyuncs.com",
            &format!("/api/v3/user/keys/create?organizationId=60de&access%54oken={encoded}"),
            "{}",
        ),
        call("", KPS, &keypairs, &create)
            .header("Authorization", &format!("Bearer {BEARER}"))
            .header("Cookie", &format!("s={COOKIE}")),
        call("", KPS, &keypairs, &create)
            .header("Authorization", BEARER)
            .header("Referer", &format!("https://x/?t={TOKEN}")),
        call(
            "",
            KPS,
            &format!("{keypairs}?X-Auth-Token={BEARER}&x-amz-security-token={SECURITY_TOKEN}"),
            &create,
        ),
    ]
}

#[test]
fn no_secret_lands_whichever_way_it_comes() {
    let upstream = Upstream::new(|request| cloud(request.headers("x-case")[0]));
    let site = Site::shipped(upstream.address);
    let gateway = site.serve();
    let answers: Vec<Answer> =
        calls().iter().map(|request| Client::new(gateway.address).call(request)).collect();
    for (answer, request) in
        answers.iter().zip(calls()).filter(|(answer, _)| !answer.code().is_empty())
    {
        let body = String::from_utf8(answer.body.clone()).unwrap();
        secrets().iter().for_each(|secret| {
            assert!(
                !body.contains(secret),
                "{secret} in the answer to {:?}: {body}",
                String::from_utf8(request.head())
            )
        });
    }
    assert_eq!(
        answers[..5].iter().map(|a| a.status).collect::<Vec<_>>(),
        [200, 401, 200, 200, 200],
        "these reach the cloud"
    );
    gateway.settle();
    let shown: String =
        answers.iter().map(|answer| gateway.exchange(answer.id()).to_string()).collect();
    let published = [gateway.metrics(), shown].concat();
    gateway.stop();
    let trail = site.trail();
    assert!(
        answers.iter().all(|answer| trail.0.iter().any(|record| record.id == answer.id())),
        "each is on record"
    );
    for secret in secrets() {
        check_absent(&site, &trail, &published, secret);
    }
    check_digests(&site, &trail, &answers);
}

/// Looks for a secret in every place where bytes have been left.
fn check_absent(site: &Site, trail: &Trail, published: &str, secret: &str) {
    let holds =
        |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    for record in &trail.0 {
        assert!(!holds(&record.bytes), "{secret} in {}", record.leaf);
        assert!(
            !record.content.as_ref().is_some_and(|content| holds(content)),
            "{secret} in the body beside {}",
            record.leaf
        );
    }
    assert!(!holds(site.log().as_bytes()), "{secret} in the log");
    assert!(!holds(published.as_bytes()), "{secret} on the admin listener");
    check_files(&site.audit, &holds, secret);
}

fn check_files(dir: &Path, holds: &impl Fn(&[u8]) -> bool, secret: &str) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => check_files(&entry.path(), holds, secret),
            false => assert!(
                !holds(&std::fs::read(entry.path()).unwrap()),
                "{secret} in {}",
                entry.path().display()
            ),
        }
    }
}

/// Equal secrets stay findable: their digests are equal wherever they stood.
fn check_digests(site: &Site, trail: &Trail, answers: &[Answer]) {
    let token = site.key.digest(TOKEN.as_bytes());
    for answer in &answers[..3] {
        assert_eq!(trail.request(answer.id()).text("/call/headers/x-auth-token/0"), token);
    }
    let said = String::from_utf8(
        trail
            .0
            .iter()
            .find(|r| r.seq == trail.answer(answers[1].id()).seq)
            .unwrap()
            .content
            .clone()
            .unwrap(),
    )
    .unwrap();
    for secret in [TOKEN, SECURITY_TOKEN] {
        assert!(said.contains(&site.key.digest(secret.as_bytes())), "{said}");
    }
    let in_query = site.key.digest(IN_QUERY.as_bytes());
    for n in [13, 14, 15] {
        let query = trail.request(answers[n].id()).text("/call/query").to_owned();
        assert!(query.contains(&format!("oken={in_query}")), "{query}");
    }
    let kept = trail.answer(answers[0].id());
    let content: serde_json::Value =
        serde_json::from_slice(kept.content.as_ref().unwrap()).unwrap();
    assert_eq!(content["keypair"]["private_key"], site.key.digest(pem(KEYS[0]).as_bytes()));
    assert_eq!(
        (content["keypair"]["name"].as_str(), &kept.leaf["body"]["redacted"]),
        (Some("ci-deploy-2026"), &true.into())
    );
}
