//! Private keys in disguise, and secrets of a call that its answer sends back: none of them stands
//! in a record, in no spelling, and not by half. The keys were made for these tests and open
//! nothing.

use crate::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::collections::HashSet;

/// What is sent, and the parts of it of which nothing may be left.
struct Form {
    name: &'static str,
    sent: String,
    parts: Vec<String>,
}

/// Without what parts lines, also where they are quoted, and without case.
fn folded(text: &str) -> String {
    text.replace("\\r", "").replace("\\n", "").replace(char::is_whitespace, "").to_lowercase()
}

/// A window of a part that is left in what was written.
fn left<'a>(
    written: &str,
    parts: impl IntoIterator<Item = &'a String>,
    window: usize,
) -> Option<String> {
    let written = folded(written);
    let windows: HashSet<&[u8]> = written.as_bytes().windows(window).collect();
    let parts: Vec<String> = parts.into_iter().map(|part| folded(part)).collect();
    // The beginning of a public key is that of a private one too.
    let public = folded(ED25519);
    let found = parts.iter().flat_map(|part| part.as_bytes().windows(window)).find(|piece| {
        windows.contains(piece) && !public.as_bytes().windows(window).any(|known| known == *piece)
    });
    found.map(|piece| String::from_utf8_lossy(piece).into_owned())
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}

fn wrapped(text: &str, width: usize) -> String {
    text.as_bytes()
        .chunks(width)
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect()
}

/// The lines of a key that hold it: those of base64, or the private numbers of a JWK.
fn secret_lines(key: &str) -> Vec<String> {
    if let Ok(jwk) = serde_json::from_str::<Value>(key) {
        return ["d", "p", "q", "dp", "dq", "qi"]
            .iter()
            .filter_map(|name| jwk[name].as_str().map(str::to_owned))
            .collect();
    }
    let private = key
        .split_once("Private-Lines: 1\n")
        .map_or(key, |(_, private)| private.split_once("\nPrivate-MAC").unwrap().0);
    private
        .lines()
        .filter(|line| !line.starts_with('-') && !line.contains(':') && !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn forms(key: &str) -> Vec<Form> {
    let lines = secret_lines(key);
    let body = lines.concat();
    let pem = key.starts_with('-');
    let form = |name, sent: String| Form { name, sent, parts: lines.clone() };
    let encoded = |name, sent: String| Form { name, parts: vec![sent.clone()], sent };
    let mut forms = vec![
        form("plain", key.to_owned()),
        form("inside a text", format!("use this:\n\n{key}\nand do not lose it")),
        form("with CR LF", key.replace('\n', "\r\n")),
        form("indented", key.lines().map(|line| format!("    {line}\n")).collect()),
        form("quoted as JSON", json!({"note": key}).to_string()),
        form("quoted twice", json!({"note": json!({"note": key}).to_string()}).to_string()),
        form("percent", percent(key)),
        form("percent, twice", percent(&percent(key))),
        form("of a form", percent(key).replace("%20", "+")),
        form(
            "without its first line",
            if pem || key.starts_with("PuTTY") {
                key.split_once('\n').unwrap().1.to_owned()
            } else {
                key.to_owned()
            },
        ),
        encoded("base64", STANDARD.encode(key)),
        encoded("base64 of the URL", URL_SAFE_NO_PAD.encode(key)),
        encoded("base64, wrapped", wrapped(&STANDARD.encode(key), 76)),
        encoded("base64, wrapped to 64", wrapped(&STANDARD.encode(key), 64)),
        encoded("base64 of base64", STANDARD.encode(STANDARD.encode(key))),
        encoded("base64 of a larger text", STANDARD.encode(format!("k: {key}"))),
        encoded("base64 of another larger text", STANDARD.encode(format!("ky: {key}"))),
        encoded("hexadecimal", hex::encode(key)),
        encoded("hexadecimal, upper case", hex::encode_upper(key)),
    ];
    let half = |text: &str, first: bool| {
        let (a, b) = text.split_at(text.len() / 2);
        if first { a.to_owned() } else { b.to_owned() }
    };
    for (name, first) in [("the first half", true), ("the second half", false)] {
        if pem {
            forms.push(form(name, half(key, first)));
        }
        forms.push(encoded(name, half(&STANDARD.encode(key), first)));
    }
    if pem && body.len() >= 64 {
        forms.push(form("without its frame", format!("{}\n", lines.join("\n"))));
        forms.push(form("on one line", body.clone()));
        forms.push(form("DER in hexadecimal", hex::encode(STANDARD.decode(&body).unwrap())));
    }
    forms
}

fn keys() -> Vec<(String, String)> {
    let mut keys: Vec<_> = std::fs::read_dir("tests/private")
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
    assert!(keys.len() >= 16);
    keys
}

fn answered(
    judged: &mut Judgement,
    status: u16,
    headers: &[(&'static str, &str)],
    body: &str,
) -> String {
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let answer = Answer {
        status: Some(status),
        headers: map,
        body_length: body.len() as u64,
        body: Bytes::copy_from_slice(body.as_bytes()),
        whole: true,
        sent: true,
        ..Answer::default()
    };
    let (record, _) =
        WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    let content =
        record.content.map(|content| String::from_utf8_lossy(&content.bytes).into_owned());
    format!("{}{}", String::from_utf8_lossy(&record.leaf), content.unwrap_or_default())
}

#[test]
fn no_private_key_lands_in_any_field_or_disguise() {
    let auth = signed("AKKEYS");
    let mut faults = Vec::new();
    for (key_name, key) in keys() {
        for Form { name, sent, parts } in forms(&key) {
            let create = |title: &str, key: &str| {
                let body = json!({"title": title, "key": key, "keyScope": "READ", "expireTime": "2026-12-22T14:20:50Z"}).to_string();
                judge("POST", CODEUP, SSH_KEYS, &[("x-yunxiao-token", "pt-developer")], body)
                    .written()
            };
            let description = json!({"keypair": {"description": sent}}).to_string();
            let mut calls = vec![
                ("title", create(&sent, ED25519)),
                ("key", create("t", &sent)),
                (
                    "description",
                    judge(
                        "PUT",
                        KPS,
                        "/v3/p/keypairs/lab-adb-2026",
                        &[("authorization", &auth)],
                        description,
                    )
                    .written(),
                ),
                (
                    "query",
                    judge(
                        "GET",
                        KPS,
                        &format!("/v3/p/keypairs?marker={}", percent(&sent)),
                        &[("authorization", &auth)],
                        "",
                    )
                    .written(),
                ),
                (
                    "path",
                    judge(
                        "GET",
                        KPS,
                        &format!("/v3/p/keypairs/{}", percent(&sent)),
                        &[("authorization", &auth)],
                        "",
                    )
                    .written(),
                ),
                (
                    "name of a field",
                    judge(
                        "PUT",
                        KPS,
                        "/v3/p/keypairs/a",
                        &[("authorization", &auth)],
                        json!({"keypair": {&sent: "x"}}).to_string(),
                    )
                    .written(),
                ),
            ];
            if !sent.contains(['\n', '\r']) {
                calls.push((
                    "header",
                    judge(
                        "GET",
                        KPS,
                        "/v3/p/keypairs",
                        &[("authorization", &auth), ("x-note", &sent)],
                        "",
                    )
                    .written(),
                ));
            }
            for (status, field) in [(200, "description"), (400, "error_msg"), (500, "detail")] {
                let mut judged = judge(
                    "GET",
                    KPS,
                    "/v3/p/keypairs/lab-adb-2026",
                    &[("authorization", &auth)],
                    "",
                );
                let body = json!({"keypair": {"name": "lab-adb-2026", field: sent}}).to_string();
                calls.push(("an answer", answered(&mut judged, status, &[], &body)));
            }
            for (field, written) in calls {
                if let Some(left) = left(&written, &parts, 24) {
                    faults.push(format!("{key_name}, {name}, as {field}: {left}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} of them:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_json_web_key_of_a_body_is_hidden() {
    let auth = signed("AKKEYS");
    for (name, key) in keys().into_iter().filter(|(name, _)| name.starts_with("jwk")) {
        let body =
            json!({"keypair": {"name": "a", "jwk": serde_json::from_str::<Value>(&key).unwrap()}})
                .to_string();
        let mut judged = judge("GET", KPS, "/v3/p/keypairs/a", &[("authorization", &auth)], "");
        for written in [
            judge("POST", KPS, "/v3/p/keypairs", &[("authorization", &auth)], &body).written(),
            answered(&mut judged, 200, &[], &body),
        ] {
            assert_eq!(left(&written, &secret_lines(&key), 20), None, "{name}: {written}");
        }
    }
}

const SECRET: &str = "Qm7xZt-Lw2kP_9vRsYd4/Bn8+GhJc5eAuF3iTo6W";

/// Where a call may show a secret.
fn showings() -> Vec<(&'static str, Judgement)> {
    let call = |headers: &[(&str, &str)]| {
        judge("POST", KPS, "/v3/p/keypairs", headers, r#"{"keypair":{"name":"lab-adb-2026"}}"#)
    };
    let auth = signed("AKKEYS");
    let with = |name: &str, value: &str| call(&[("authorization", &auth), (name, value)]);
    let basic = format!("Basic {}", STANDARD.encode(format!("someone:{SECRET}")));
    let signature =
        format!("SDK-HMAC-SHA256 Access=AKKEYS, SignedHeaders=host;x-sdk-date, Signature={SECRET}");
    let import = json!({"keypair": {"name": "lab-adb-2026", "key_protection": {"private_key": SECRET, "encryption": {"type": "default"}}}}).to_string();
    vec![
        ("X-Auth-Token", call(&[("x-auth-token", SECRET)])),
        ("Bearer", call(&[("authorization", &format!("Bearer {SECRET}"))])),
        ("Basic", call(&[("authorization", &basic)])),
        ("Signature", call(&[("authorization", &signature)])),
        ("Cookie", with("cookie", &format!("lang=en; session={SECRET}; a=b"))),
        ("X-Security-Token", with("x-security-token", SECRET)),
        ("X-Subject-Token", with("x-subject-token", SECRET)),
        ("an API key", with("x-api-key", SECRET)),
        (
            "accessToken",
            judge(
                "GET",
                DEVOPS,
                &format!("/api/v3/user/keys?organizationId=60de&accessToken={}", percent(SECRET)),
                &[],
                "",
            ),
        ),
        (
            "private_key",
            judge(
                "POST",
                KPS,
                "/v3/p/keypairs/private-key/import",
                &[("authorization", &auth)],
                import,
            ),
        ),
    ]
}

/// How a cloud may send it back: how, the text, and the least run of it that must not be left.
fn echoes() -> Vec<(&'static str, String)> {
    let (first, second) = SECRET.split_at(SECRET.len() / 2);
    let base64 = STANDARD.encode(SECRET);
    vec![
        ("plain", SECRET.to_owned()),
        ("in a sentence", format!("token `{SECRET}` is used")),
        ("upper case", SECRET.to_uppercase()),
        ("lower case", SECRET.to_lowercase()),
        ("wrapped", wrapped(SECRET, 10)),
        ("percent", percent(SECRET)),
        ("percent, every byte", SECRET.bytes().map(|b| format!("%{b:02x}")).collect()),
        ("quoted", json!({"token": SECRET}).to_string().replace('/', "\\/")),
        ("by code points", SECRET.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect()),
        ("base64", base64.clone()),
        ("base64 of the URL", URL_SAFE_NO_PAD.encode(SECRET)),
        ("base64 of more", STANDARD.encode(format!("x-token:{SECRET}\nhost:a"))),
        ("base64 of even more", STANDARD.encode(format!("ab{SECRET}, and more"))),
        ("base64, wrapped", wrapped(&base64, 20)),
        ("hexadecimal", hex::encode(SECRET)),
        ("hexadecimal, upper case", hex::encode_upper(SECRET)),
        ("the first half", first.to_owned()),
        ("the second half", second.to_owned()),
        ("cut", format!("{}...", &SECRET[..24])),
        ("half of the base64", base64[..base64.len() / 2].to_owned()),
        ("half of the hexadecimal", hex::encode(SECRET)[40..].to_owned()),
    ]
}

#[test]
fn no_secret_of_a_call_lands_by_its_answer_whatever_the_status() {
    let digest = WORLD.key.digest(SECRET.as_bytes());
    for (showing, mut judged) in showings() {
        let parts = [SECRET.to_owned()];
        assert_eq!(left(&judged.written(), &parts, 12), None, "{showing}");
        for (echo, sent) in echoes() {
            for status in [200, 201, 202, 203, 301, 400, 401, 403, 404, 409, 429, 500, 503] {
                let body = json!({"keypair": {"name": "lab-adb-2026", "note": sent}, "error_msg": sent, "list": [sent], &sent: 1}).to_string();
                let header = sent.replace('\n', " ");
                let mut shown = judged.shown.clone();
                std::mem::swap(&mut judged.shown, &mut shown);
                let written = answered(&mut judged, status, &[("x-note", &header)], &body);
                judged.shown = shown;
                assert!(written.contains(&digest), "{showing}, {echo}, {status}: {written}");
                assert!(written.contains("lab-adb-2026"), "{showing}, {echo}, {status}: {written}");
                // Around the secret stands what is none.
                let spellings = if echo.starts_with("base64 of") {
                    vec![]
                } else {
                    vec![percent(&sent), sent.clone()]
                };
                for spelt in spellings.into_iter().chain([
                    SECRET.to_owned(),
                    STANDARD.encode(SECRET),
                    hex::encode(SECRET),
                ]) {
                    let window =
                        if spelt.contains(SECRET) && spelt != SECRET { continue } else { 16 };
                    assert_eq!(
                        left(&written, [&spelt], window),
                        None,
                        "{showing}, {echo}, {status}: {written}"
                    );
                }
            }
        }
    }
}

/// A caller that sends what it takes as a cookie does not blank it, if the call itself says it in
/// clear.
#[test]
fn what_a_call_says_in_clear_is_no_secret_of_it() {
    let name = "lab-adb-2026-of-the-whole-team";
    let auth = signed("AKKEYS");
    for header in ["cookie", "x-api-key", "x-security-token"] {
        let value = if header == "cookie" { format!("session={name}") } else { name.to_owned() };
        let headers = [("authorization", auth.as_str()), (header, value.as_str())];
        let mut judged = judge("GET", KPS, &format!("/v3/p/keypairs/{name}"), &headers, "");
        let written =
            answered(&mut judged, 200, &[], &json!({"keypair": {"name": name}}).to_string());
        assert!(written.contains(name), "{header}: {written}");
    }
}
