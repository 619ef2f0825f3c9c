//! Calls that would mean another one upstream than here.

use crate::*;

#[test]
fn a_second_key_behind_a_line_break_is_no_comment() {
    assert_eq!(create_ssh_key(&ssh_key(json!({}))).reason(), Reason::Permitted);
    for end in ["\n", "\r", "\u{2028}", "\u{85}", "\0"] {
        let judged = create_ssh_key(&ssh_key(
            json!({"key": format!("{ED25519}{end}ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 weak")}),
        ));
        assert_eq!(judged.decision.verdict, Verdict::Deny, "{end:?}");
    }
}

/// What is a date is judged by the rule, and denied in its words.
#[test]
fn never_and_long_ago_are_dates() {
    for text in [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999-23:59",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "2600-01-01T00:00:00z",
    ] {
        let judged = create_ssh_key(&ssh_key(json!({"expireTime": text})));
        assert_eq!(judged.reason(), Reason::Forbidden, "{text}");
        assert!(
            judged.decision.message.contains("[codeup-expiry-90d]"),
            "{}",
            judged.decision.message
        );
    }
}

#[test]
fn a_date_has_one_spelling() {
    for text in [
        "2026-12-22T00:00:00+00:00[UTC]",
        "2026-12-22 00:00:00Z",
        "2026-12-22T00:00Z",
        "2026-12-22T00Z",
        "2026-12-22T00:00:00,5Z",
        "20261222T000000Z",
        "+002026-12-22T00:00:00Z",
        "2026-12-22T00:00:00+08",
        "2026-12-22T00:00:00+0800",
        "2026-12-30T23:59:60Z",
        "2026-12-22T00:00:00+24:00",
        "2026-12-22T00:00:00-25:59",
        "2026-12-22T24:00:00Z",
        "-000001-12-22T00:00:00Z",
    ] {
        assert_ne!(
            create_ssh_key(&ssh_key(json!({"expireTime": text}))).decision.verdict,
            Verdict::Allow,
            "{text}"
        );
    }
    for text in [
        "2026-12-22T08:00:00+08:00",
        "2026-12-22T00:00:00.123Z",
        "2026-12-22t00:00:00z",
        "2026-12-31T23:59:60Z",
        "2026-12-22T00:00:00.1234567890123Z",
        "2026-12-22T23:59:00+23:59",
    ] {
        assert_eq!(
            create_ssh_key(&ssh_key(json!({"expireTime": text}))).reason(),
            Reason::Permitted,
            "{text}"
        );
    }
}

#[test]
fn a_signature_names_one_key_in_one_way() {
    let ask = |authorization: &str| {
        judge("GET", KPS, "/v3/p/keypairs", &[("authorization", authorization)], "")
    };
    assert_eq!(ask(&signed("AKKEYS")).caller.as_deref(), Some("keys"));
    assert_eq!(
        ask("V11-HMAC-SHA256 Credential=AKKEYS/20261122/cn/kms, SignedHeaders=host, Signature=00")
            .caller
            .as_deref(),
        Some("keys")
    );
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
        judge(
            "GET",
            DEVOPS,
            &target,
            &[(
                "authorization",
                "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00",
            )],
            "",
        )
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
        judge(
            "POST",
            CODEUP,
            &target,
            &[("x-yunxiao-token", "pt-developer")],
            json!({"title": "t", "key": ED25519}).to_string(),
        )
    };
    assert_eq!(deploy("60de7a%2FDemo").reason(), Reason::Permitted);
    for repository in
        ["..%2F..%2Fo", "A%2F..%2F..%2F..%2Fo", "%2F", "a%2f%2Fb", "a%2F.", "%2e%2e%2Fo"]
    {
        assert_ne!(deploy(repository).decision.verdict, Verdict::Allow, "{repository}");
    }
}

#[test]
fn images_stay_encrypted_private_and_here() {
    let auth = signed("AKIMAGES");
    let copy = |key: &str| {
        judge(
            "POST",
            IMS,
            COPY_IMAGE,
            &[("authorization", &auth)],
            json!({"name": "c", "cmk_id": key}).to_string(),
        )
    };
    assert_eq!(copy("bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d").reason(), Reason::Permitted);
    let patch = |path: &str| {
        let body = json!([{"op": "replace", "path": path, "value": "x"}]).to_string();
        judge(
            "PATCH",
            IMS,
            "/v2/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f",
            &[("authorization", &auth)],
            body,
        )
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
        (
            "a name that folds to visibility",
            make("{\"name\": \"a\", \"vi\u{17f}ibility\": \"public\"}"),
        ),
        ("a name in full-width letters", make("{\"\u{ff56}isibility\": \"public\"}")),
    ];
    assert_eq!(let_through(forbidden), Vec::<&str>::new());
}

#[test]
fn a_header_or_parameter_does_not_make_another_call_of_it() {
    let auth = signed("AKKEYS");
    let read = |target: &str, headers: &[(&str, &str)]| {
        let all: Vec<_> =
            headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
        judge("GET", KPS, target, &all, "")
    };
    assert_eq!(
        read("/v3/p/keypairs?limit=1", &[("x-forwarded-host", KPS)]).reason(),
        Reason::Permitted
    );
    let developer =
        ("authorization", "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00");
    let deploy = json!({"title": "t", "key": ED25519}).to_string();
    let acs = |action: &str| {
        judge(
            "POST",
            DEVOPS,
            "/repository/7/keys/create?organizationId=o",
            &[developer, ("x-acs-action", action)],
            &deploy,
        )
    };
    assert_eq!(acs("CreateDeployKey").reason(), Reason::Permitted);
    let forbidden = [
        ("_method", read("/v3/p/keypairs?_method=DELETE", &[])),
        ("_method, escaped", read("/v3/p/keypairs?%5Fmethod=DELETE", &[])),
        ("_method on what passes", read("/v1/p/secrets?_METHOD=DELETE", &[])),
        (
            "X-HTTP-Method-Override as parameter",
            read("/v3/p/keypairs?x-http-method-override=DELETE", &[]),
        ),
        (
            "another host behind",
            read("/v3/p/keypairs", &[("x-forwarded-host", "iam.myhuaweicloud.com")]),
        ),
        (
            "another path behind",
            read("/v3/p/keypairs", &[("x-original-uri", "/v3/p/keypairs/private-key/export")]),
        ),
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
        judge(
            "POST",
            KPS,
            "/v2/p/os-keypairs/copy",
            &headers,
            json!({"user_name": "u"}).to_string(),
        )
    };
    assert_eq!(copy("identity").reason(), Reason::Permitted);
    for encoding in ["gzip", "identity, gzip", "*"] {
        assert_eq!(copy(encoding).reason(), Reason::AcceptEncoding, "{encoding}");
    }
    // What the answer says of success cannot be read here: nobody knows what became of the call.
    let mut judged = copy("identity");
    let mut headers = HeaderMap::new();
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let answer = Answer {
        status: Some(200),
        headers,
        body: Bytes::from_static(b"\x1f\x8b"),
        body_length: 2,
        whole: true,
        sent: true,
        ..Answer::default()
    };
    let (_, outcome) =
        WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    assert_eq!(outcome, Outcome::Unknown);
}
