//! A canary in each place where a secret may stand: real calls carry them through the gateway, and
//! then every byte that it has left anywhere is searched. None is found in plain, and each is found
//! by its keyed digest.

use crate::support::cli::keyward;
use crate::support::receiver::Receiver;
use crate::support::upstream::{answer, raw};
use crate::support::{Act, Answer, Client, Gateway, Request, Site, Upstream, eventually};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

/// What every call names and nobody hides: a search that does not find it is blind.
const MARKER: &str = "marker-of-the-canary-test";

const PROJECT: &str = "9f2c1d8e7b6a4c3d8e5f0a1b2c3d4e5f";
const KPS: &str = "kms.cn-north-4.myhuaweicloud.com";
const ECS: &str = "ecs.cn-north-4.myhuaweicloud.com";
const CPH: &str = "cph.cn-north-4.myhuaweicloud.com";
const IAM: &str = "iam.cn-north-4.myhuaweicloud.com";
const DEVOPS: &str = "devops.cn-hangzhou.aliyuncs.com";

/// One place, the canary in it, and the bytes whose digest stands for it in the record.
struct Place {
    name: &'static str,
    canary: String,
    digested: Vec<u8>,
    call: Request,
    answers: Vec<Act>,
    /// The call must reach the cloud, or its canary would not be where it is said to be.
    reaches: bool,
}

/// A text that no rule takes for a secret by its looks.
fn canary(n: usize) -> String {
    format!("wren{n:03}nests{}", "quietly".repeat(2))
}

fn call(method: &str, host: &str, target: &str, body: &Value) -> Request {
    let request = Request::new(method, target).header("Host", host).header("X-Marker", MARKER);
    if body.is_null() { request } else { request.json(body.to_string()) }
}

/// Makes a key pair, with nothing secret about it.
fn plain() -> Request {
    call("POST", KPS, &format!("/v3/{PROJECT}/keypairs"), &json!({"keypair": {"name": MARKER}}))
}

fn ok() -> Vec<Act> {
    vec![answer(200, json!({"keypair": {"name": MARKER}}).to_string().as_bytes())]
}

/// An answer with one more header, and a body as it is.
fn answered(header: &str, body: &[u8]) -> Vec<Act> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{header}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    vec![Act::Send([head.as_bytes(), body].concat())]
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

/// A zip archive that stores its one file as it is.
fn zip(bytes: &[u8]) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("key.pem", stored).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

#[derive(Default)]
struct Places(Vec<Place>);

impl Places {
    /// A place whose record holds the digest of `digested`.
    fn add(
        &mut self,
        name: &'static str,
        digested: impl Into<Vec<u8>>,
        call: Request,
        answers: Vec<Act>,
    ) {
        let canary = canary(self.0.len());
        self.0.push(Place {
            name,
            canary,
            digested: digested.into(),
            call,
            answers,
            reaches: false,
        });
    }

    /// The places from here on are in calls that reach the cloud.
    fn reach_from(&mut self, first: usize) {
        self.0[first..].iter_mut().for_each(|place| place.reaches = true);
    }

    /// The canary of the next place.
    fn next(&self) -> String {
        canary(self.0.len())
    }

    fn request_headers(&mut self) {
        for name in [
            "X-Subject-Token",
            "X-Security-Token",
            "x-yunxiao-token",
            "x-acs-security-token",
            "x-acs-signature-nonce",
            "Proxy-Authorization",
            "X-Auth-token",
        ] {
            let canary = self.next();
            self.add(name, canary.clone(), plain().header(name, &canary), ok());
        }
        let cookie = format!("session={}", self.next());
        self.add("Cookie", cookie.clone(), plain().header("Cookie", &cookie), ok());
        let canary = self.next();
        self.add(
            "Authorization: Bearer",
            canary.clone(),
            plain().header("Authorization", &format!("Bearer {canary}")),
            ok(),
        );
        let canary = self.next();
        let signed = format!(
            "SDK-HMAC-SHA256 Access=AKTESTCALLER, SignedHeaders=host;x-sdk-date, Signature={canary}"
        );
        self.add("Signature", canary, plain().header("Authorization", &signed), ok());
    }

    fn queries(&mut self) {
        for name in ["accessToken", "yunxiao_access_token", "token", "Signature", "X-Auth-Token"] {
            let canary = self.next();
            let target = format!("/api/v3/user/keys/create?organizationId=60de&{name}={canary}");
            self.add(name, canary, call("POST", DEVOPS, &target, &json!({"title": MARKER})), ok());
        }
    }

    fn request_bodies(&mut self) {
        let keypairs = format!("/v3/{PROJECT}/keypairs");
        let servers = format!("/v1/{PROJECT}/cloudservers");
        type Body = fn(&str) -> Value;
        let places: [(&'static str, &str, &str, String, Body); 12] = [
            (
                "private_key",
                "POST",
                KPS,
                format!("{keypairs}/private-key/import"),
                |c| json!({"keypair": {"name": MARKER, "key_protection": {"private_key": c, "encryption": {"type": "default"}}}}),
            ),
            (
                "server.auth.key, binding",
                "POST",
                KPS,
                format!("{keypairs}/associate"),
                |c| json!({"keypair_name": MARKER, "server": {"id": "d76baba7", "auth": {"type": "password", "key": c}}}),
            ),
            (
                "server.auth.key, unbinding",
                "POST",
                KPS,
                format!("{keypairs}/disassociate"),
                |c| json!({"server": {"id": MARKER, "auth": {"type": "keypair", "key": c}}}),
            ),
            (
                "adminPass",
                "POST",
                ECS,
                format!("/v2.1/{PROJECT}/servers"),
                |c| json!({"server": {"name": MARKER, "flavorRef": "s6", "imageRef": "i", "networks": [{"uuid": "n"}], "adminPass": c}}),
            ),
            (
                "user_data",
                "POST",
                ECS,
                format!("/v2.1/{PROJECT}/servers"),
                |c| json!({"server": {"name": MARKER, "flavorRef": "s6", "imageRef": "i", "networks": [{"uuid": "n"}], "user_data": c}}),
            ),
            (
                "adminpass",
                "POST",
                ECS,
                format!("{servers}/d76baba7/reinstallos"),
                |c| json!({"os-reinstall": {"adminpass": c, "mode": MARKER}}),
            ),
            (
                "new_password",
                "PUT",
                ECS,
                format!("{servers}/d76baba7/os-reset-password"),
                |c| json!({"reset-password": {"new_password": c, "is_check_password": true}}),
            ),
            (
                "new_password of several",
                "PUT",
                ECS,
                format!("{servers}/os-reset-passwords"),
                |c| json!({"new_password": c, "servers": [{"id": MARKER}]}),
            ),
            (
                "command",
                "POST",
                CPH,
                format!("/v1/{PROJECT}/cloud-phone/phones/commands"),
                |c| json!({"command": "shell", "content": c, "phone_ids": [MARKER]}),
            ),
            (
                "a secret name, deep down",
                "POST",
                ECS,
                format!("/v2.1/{PROJECT}/servers"),
                |c| json!({"server": {"name": MARKER, "flavorRef": "s6", "imageRef": "i", "networks": [{"uuid": "n"}], "metadata": {"db_password": c}}}),
            ),
            (
                "a refused body",
                "POST",
                KPS,
                format!("{keypairs}/private-key/import"),
                |c| json!({"keypair": {"name": 5, "private_key": c}}),
            ),
            (
                "an undocumented field",
                "POST",
                KPS,
                keypairs.clone(),
                |c| json!({"keypair": {"name": MARKER, "nickname": c}}),
            ),
        ];
        let first = self.0.len();
        for (name, method, host, target, body) in places {
            let canary = self.next();
            let call = call(method, host, &target, &body(&canary));
            self.add(name, canary, call, ok());
            if name == "a secret name, deep down" {
                self.reach_from(first);
            }
        }
        // Nobody can tell what is where in these: the digest of the whole stands for all of it.
        for (name, host, target, body) in [
            (
                "auth.identity.password",
                IAM,
                "/v3/auth/tokens",
                json!({"auth": {"identity": {"password": {"user": {"name": MARKER, "password": self.next()}}}}}).to_string(),
            ),
            ("a body of no operation", KPS, "/v3/nothing", json!({"note": MARKER, "x": canary(self.0.len() + 1)}).to_string()),
            ("a body cut by its sender", KPS, "/v3/9f/keypairs", format!(r#"{{"keypair":{{"name":"{MARKER}","private_key":"{}"#, canary(self.0.len() + 2))),
            ("a name twice", KPS, "/v3/9f/keypairs", format!(r#"{{"password":"{c}","password":"{c}"}}"#, c = canary(self.0.len() + 3))),
        ] {
            let request = Request::new("POST", target).header("Host", host).header("X-Marker", MARKER).json(body.clone());
            self.add(name, body, request, ok());
        }
    }

    fn answers(&mut self) {
        let first = self.0.len();
        for header in ["X-Subject-Token", "Set-Cookie"] {
            let canary = self.next();
            self.add(
                "an answer's header",
                canary.clone(),
                plain(),
                answered(&format!("{header}: {canary}"), b"{}"),
            );
        }
        let rest = format!("t={}", self.next());
        self.add(
            "Location with a query",
            rest.clone(),
            plain(),
            answered(&format!("Location: https://x.example.com/a?{rest}"), b"{}"),
        );
        type Body = fn(&str) -> Value;
        let servers = format!("/v1/{PROJECT}/cloudservers");
        let phones = format!("/v1/{PROJECT}/cloud-phone/phones");
        let list = json!({"phone_ids": [MARKER], "client_type": "ANDROID"});
        let places: [(&'static str, Request, Body); 8] = [
            (
                "a new private key",
                plain(),
                |c| json!({"keypair": {"name": MARKER, "private_key": c}}),
            ),
            (
                "an exported private key",
                call(
                    "POST",
                    KPS,
                    &format!("/v3/{PROJECT}/keypairs/private-key/export"),
                    &json!({"keypair": {"name": MARKER}}),
                ),
                |c| json!({"keypair": {"name": MARKER, "private_key": c}}),
            ),
            (
                "ticket",
                call("POST", CPH, &format!("{phones}/batch-connection"), &list),
                |c| json!({"connect_infos": [{"access_info": {"ticket": c}}]}),
            ),
            (
                "session_id",
                call("POST", CPH, &format!("{phones}/batch-connection"), &list),
                |c| json!({"connect_infos": [{"access_info": {"session_id": c}}]}),
            ),
            (
                "os-server-password",
                call("GET", ECS, &format!("{servers}/d76baba7/os-server-password"), &Value::Null),
                |c| json!({"password": c}),
            ),
            (
                "OS-EXT-SRV-ATTR:user_data",
                plain(),
                |c| json!({"server": {"OS-EXT-SRV-ATTR:user_data": c}}),
            ),
            (
                "credential.secret",
                plain(),
                |c| json!({"credential": {"access": "AKNEW", "secret": c}}),
            ),
            (
                "credential.securitytoken",
                plain(),
                |c| json!({"credential": {"access": "AKNEW", "securitytoken": c}}),
            ),
        ];
        for (name, call, body) in places {
            let canary = self.next();
            let answers = vec![answer(200, body(&canary).to_string().as_bytes())];
            self.add(name, canary, call, answers);
        }
        // A cloud that cannot verify a signature shows what it would have signed.
        let canary = self.next();
        let text = format!(
            "verify failed; canonical request: POST\n/v3/keypairs\nx-security-token:{canary}\n\nhost;x-security-token"
        );
        let echo = json!({"error_code": "APIGW.0301", "error_msg": text}).to_string();
        self.add(
            "an echoed canonical request",
            canary.clone(),
            plain().header("X-Security-Token", &canary),
            vec![answer(401, echo.as_bytes())],
        );
        // The same in an answer that says what was done.
        for (header, before) in [
            ("X-Security-Token", ""),
            ("Authorization", "Bearer "),
            ("Cookie", "lang=en; session="),
        ] {
            let canary = self.next();
            let echo = json!({"keypair": {"name": MARKER, "fingerprint": format!("for {canary}")}})
                .to_string();
            let call = plain().header(header, &format!("{before}{canary}"));
            self.add("an echo in a success", canary, call, vec![answer(200, echo.as_bytes())]);
        }
        let archive = zip(self.next().as_bytes());
        let export = call(
            "POST",
            KPS,
            &format!("/v3/{PROJECT}/keypairs/private-key/batch-export"),
            &json!([{"keypair": {"name": MARKER}}]),
        );
        self.add(
            "the archive of a batch export",
            archive.clone(),
            export,
            answered("X-Kind: zip", &archive),
        );
        let body = json!({"keypair": {"name": MARKER, "private_key": self.next()}}).to_string();
        let packed = gzip(body.as_bytes());
        self.add(
            "a compressed answer",
            packed.clone(),
            plain(),
            answered("Content-Encoding: gzip", &packed),
        );
        let body = json!({"keypair": {"name": MARKER, "private_key": self.next()}}).to_string();
        let cut = vec![
            raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 1)),
            Act::Close,
        ];
        self.add("a cut answer", body, plain(), cut);
        let canary = self.next();
        let pem =
            format!("-----BEGIN RSA PRIVATE KEY-----\n{canary}\n-----END RSA PRIVATE KEY-----");
        let text = json!({"keypair": {"name": MARKER, "description": pem}}).to_string();
        self.add("a key in an innocent field", pem, plain(), vec![answer(200, text.as_bytes())]);
        self.reach_from(first);
    }
}

/// The texts in which a canary could stand: as it is, as hexadecimal, and as base64 behind any
/// number of other bytes.
fn spellings(canary: &str) -> Vec<String> {
    use base64::Engine;
    let encoded = |before: usize| {
        let text = base64::engine::general_purpose::STANDARD
            .encode(["x".repeat(before).as_str(), canary].concat());
        // Both ends depend on what stands beside them.
        text[if before == 0 { 0 } else { 4 }..text.len() / 4 * 4 - 4].to_owned()
    };
    vec![canary.to_owned(), hex::encode(canary), encoded(0), encoded(1), encoded(2)]
}

/// Finds any spelling of any canary.
fn search(places: &[Place]) -> regex::bytes::Regex {
    let spellings: Vec<_> = places
        .iter()
        .flat_map(|place| spellings(&place.canary))
        .map(|text| regex::escape(&text))
        .collect();
    let search = regex::bytes::Regex::new(&spellings.join("|")).unwrap();
    for canary in places.iter().map(|place| place.canary.as_str()) {
        use base64::Engine;
        for before in ["", "a", "ab", "abc"] {
            let text = format!("{before}{canary}, and what stands behind it");
            for spelt in [
                text.clone(),
                hex::encode(&text),
                base64::engine::general_purpose::STANDARD.encode(&text),
            ] {
                assert!(
                    search.is_match(spelt.as_bytes()),
                    "the search is blind for {canary} in {spelt}"
                );
            }
        }
    }
    search
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Everything that the gateway has left or given out, each with its name, and whether records are
/// in it in plain.
#[derive(Default)]
struct Found(Vec<(String, Vec<u8>, bool)>);

impl Found {
    fn add(&mut self, name: impl Into<String>, bytes: Vec<u8>, records: bool) {
        self.0.push((name.into(), bytes, records));
    }

    fn admin(&mut self, gateway: &Gateway, answers: &[Answer]) {
        for path in [
            "/metrics",
            "/api/v1/pushes",
            "/api/v1/counts?by=caller",
            "/readyz",
            "/checkpoint",
            "/",
        ] {
            self.add(path, gateway.answer(path), false);
        }
        for format in ["table", "json", "ndjson"] {
            self.add(
                format!("exchanges as {format}"),
                gateway.answer(&format!("/api/v1/exchanges?limit=1000&format={format}")),
                format != "table",
            );
            for answer in answers {
                let path = format!("/api/v1/exchanges/{}?format={format}", answer.id());
                self.add(path.clone(), gateway.answer(&path), true);
            }
        }
        self.add("counts by path", gateway.answer("/api/v1/counts?by=request.call.path"), false);
        self.add(
            "counts by body",
            gateway.answer("/api/v1/counts?by=request.content.keypair.name"),
            true,
        );
    }

    fn exports(&mut self, site: &Site) {
        let dir = site.audit.to_str().unwrap();
        for form in ["ndjson", "exchange", "ocsf", "cadf", "csv"] {
            self.add(
                format!("export as {form}"),
                keyward(&["audit", "export", "--dir", dir, "--form", form]),
                form != "csv",
            );
        }
        let pack = site.path("pack.zip");
        keyward(&["audit", "pack", "--dir", dir, "--out", pack.to_str().unwrap()]);
        let mut archive = zip::ZipArchive::new(std::fs::File::open(&pack).unwrap()).unwrap();
        for n in 0..archive.len() {
            let mut file = archive.by_index(n).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let name = file.enclosed_name().unwrap().display().to_string();
            self.add(
                format!("pack: {name}"),
                bytes,
                name == "records.ndjson" || name == "bodies.ndjson",
            );
        }
    }

    fn files(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => self.files(&entry.path()),
                false => self.add(
                    entry.path().display().to_string(),
                    std::fs::read(entry.path()).unwrap(),
                    false,
                ),
            }
        }
    }
}

#[test]
fn no_canary_is_found_in_plain_and_each_by_its_digest() {
    let mut places = Places::default();
    places.request_headers();
    places.queries();
    places.request_bodies();
    places.answers();
    let places = places.0;
    assert!(places.len() > 45, "{}", places.len());

    let scripts: Vec<Vec<Act>> = places.iter().map(|place| place.answers.clone()).collect();
    let upstream = Upstream::new(move |request| {
        scripts[request.headers("x-place")[0].parse::<usize>().unwrap()].clone()
    });
    let site = Site::without_rules(upstream.address);
    let (syslog, webhook) =
        (Receiver::syslog(&site.path("syslog.pem")), Receiver::webhook(&site.path("webhook.pem")));
    site.append(&format!(
        "[[push]]\nname = \"logs\"\nurl = \"tls://localhost:{}\"\nca_file = \"syslog.pem\"\nform = \"exchange\"\n\
         [[push]]\nname = \"siem\"\nurl = \"https://localhost:{}/\"\nca_file = \"webhook.pem\"\nform = \"ocsf\"\n",
        syslog.address.port(),
        webhook.address.port()
    ));
    let gateway = site.serve();
    let calls = places
        .iter()
        .enumerate()
        .map(|(n, place)| place.call.clone().header("X-Place", &n.to_string()));
    let answers: Vec<Answer> = calls.map(|call| Client::new(gateway.address).call(&call)).collect();
    gateway.settle();
    let lags = || {
        gateway
            .json("/api/v1/pushes")
            .as_array()
            .unwrap()
            .iter()
            .all(|push| push["lag_records"] == 0)
    };
    eventually("both pushes have come to the end", lags);

    let mut found = Found::default();
    found.admin(&gateway, &answers);
    for (place, answer) in places.iter().zip(&answers) {
        let digest = site.key.digest(&place.digested);
        let hits = gateway.json(&format!("/api/v1/exchanges?secret={digest}&limit=1000"));
        let ids: Vec<_> = hits["exchanges"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|exchange| exchange["id"].as_str())
            .collect();
        assert_eq!(
            ids,
            [answer.id()],
            "{}: {} is found where it was, and nowhere else",
            place.name,
            place.canary
        );
        let reached = answer.code().is_empty();
        assert!(reached || !place.reaches, "{}: {:?}", place.name, answer.refusal());
        // A refusal does not repeat what it refuses.
        assert!(reached || !holds(&answer.body, place.canary.as_bytes()), "{}", place.name);
    }
    gateway.stop();
    found.add("syslog", syslog.lines().join("\n").into_bytes(), true);
    found.add("webhook", webhook.lines().join("\n").into_bytes(), true);
    found.exports(&site);
    found.add("the log", site.log().into_bytes(), false);
    for record in site.trail().0 {
        found.add(format!("record {}", record.seq), record.bytes, false);
        found.add(
            format!("body of record {}", record.seq),
            record.content.unwrap_or_default(),
            false,
        );
    }
    found.files(site.path("keyward.toml").parent().unwrap());

    let search = search(&places);
    for (name, bytes, records) in &found.0 {
        assert!(
            !records || holds(bytes, MARKER.as_bytes()),
            "{name} shows nothing: the search would be blind"
        );
        if let Some(hit) = search.find(bytes) {
            panic!("{} in {name}", String::from_utf8_lossy(hit.as_bytes()));
        }
    }
}
