//! Classes of the body: what two JSON parsers, or a parser and a lenient binder, would read
//! differently.

use crate::*;

/// A body of CreateSSHKey with these bytes in it.
fn with(more: &str) -> String {
    format!(
        "{{\"title\":\"t\",\"key\":\"{ED25519}\",\"expireTime\":\"2026-12-22T00:00:00Z\",{more}}}"
    )
}

/// Fields that no policy sees may stand in this body.
fn image(more: &str) -> Judgement {
    judge(
        "POST",
        IMS,
        "/v2/images",
        &[("authorization", &signed("AKIMAGES"))],
        format!("{{\"name\":\"a\",\"__os_version\":\"b\",\"visibility\":\"private\",{more}}}"),
    )
}

#[test]
fn a_name_is_one_name() {
    assert_eq!(create_ssh_key(&with("\"keyScope\":\"READ\"")).reason(), Reason::Permitted);
    for (wanted, bodies) in [
        (
            Reason::BodyDuplicate,
            &[
                r#""keyScope":"READ","keyScope":"ALL""#,
                r#""keyScope":"ALL","keyScope":"READ""#,
                r#""keyScope":"READ","\u006beyScope":"ALL""#,
                r#""keyScope":"READ","KeyScope":"ALL""#,
                r#""keyScope":"READ","key_scope":"ALL""#,
                r#""keyScope":"READ","KEY-SCOPE":"ALL""#,
                r#""keyScope":"READ","key.scope":"ALL""#,
                r#""keyScope":"READ","keyScope[]":"ALL""#,
            ][..],
        ),
        (
            Reason::BodyName,
            &[
                r#""\u006beyScope":"READ""#,
                r#""key\u0053cope":"ALL""#,
                "\"keyScope\":\"READ\",\"\u{ff4b}eyScope\":\"ALL\"",
                "\"keyScope\":\"READ\",\"key\u{200b}Scope\":\"ALL\"",
                "\"keyScope\":\"READ\",\"keyScope \":\"ALL\"",
                "\"keyScope\":\"READ\",\"\":\"ALL\"",
                "\"keyScope\":\"READ\",\"key\u{17f}cope\":\"ALL\"",
                r#""keyScope":"READ","$ref":"$.title""#,
                r#""keyScope":"READ","@type":"x""#,
                r#""keyScope":"READ","__proto__":{"keyScope":"ALL"}"#,
                r#""keyScope":"READ","keyScope\u0000":"ALL""#,
            ],
        ),
        (
            Reason::BodyLookalike,
            &[
                r#""KeyScope":"READ""#,
                r#""keyscope":"READ""#,
                r#""key_scope":"ALL""#,
                r#""keyScope":"READ","body.keyScope":"ALL""#,
                r#""keyScope":"READ","keyScope[0]":"ALL""#,
                r#""keyScope":"READ","isKeyScope":"ALL""#,
                r#""keyScope":"READ","keyScope.value":"ALL""#,
            ],
        ),
        (
            Reason::BodyUnknownField,
            &[
                r#""keyScope":"READ","scope":"ALL""#,
                r#""keyScope":"READ","publicKey":"x""#,
                r#""keyScope":"READ","sshKey":{"keyScope":"ALL"}"#,
            ],
        ),
        (Reason::MethodOverride, &[r#""keyScope":"READ","_method":"DELETE""#]),
    ] {
        for body in bodies {
            assert_eq!(create_ssh_key(&with(body)).reason(), wanted, "{body}");
        }
    }
}

#[test]
fn an_open_object_has_one_reading_too() {
    assert_eq!(
        image(r#""hw_firmware_type":"uefi","os_distro":"ubuntu","db.password":"x","os:x":"y""#)
            .reason(),
        Reason::Permitted
    );
    expect([
        ("letter case", image(r#""Visibility":"public""#), Reason::BodyDuplicate),
        (
            "letter case, alone",
            judge(
                "POST",
                IMS,
                "/v2/images",
                &[("authorization", &signed("AKIMAGES"))],
                r#"{"Visibility":"public"}"#,
            ),
            Reason::BodyLookalike,
        ),
        ("separators", image(r#""min_Disk":1"#), Reason::BodyLookalike),
        ("a getter", image(r#""isProtected":true"#), Reason::BodyLookalike),
        ("a dotted name", image(r#""image.visibility":"public""#), Reason::BodyLookalike),
        ("a bracket", image(r#""image[protected]":true"#), Reason::BodyLookalike),
        ("full-width letters", image("\"\u{ff56}isibility\":\"public\""), Reason::BodyName),
        ("an escape", image(r#""\u0076isibility":"public""#), Reason::BodyDuplicate),
        ("a trailing blank", image(r#""visibility ":"public""#), Reason::BodyName),
        (
            "undocumented names that are one",
            image(r#""os_distro":"a","osDistro":"b""#),
            Reason::BodyDuplicate,
        ),
        ("deep below", image(r#""x":{"y":[{"a":1,"A":2}]}"#), Reason::BodyDuplicate),
        ("a reference deep below", image(r#""x":{"y":[{"$ref":"$"}]}"#), Reason::BodyName),
        ("a method", image(r#""_method":"DELETE""#), Reason::MethodOverride),
    ]);
}

#[test]
fn a_value_is_one_value() {
    for (wanted, values) in [
        (
            Reason::BodyValue,
            &[
                r#""READ ""#,
                r#"" READ""#,
                r#""read""#,
                r#""Read""#,
                "\"\u{ff32}\u{ff25}\u{ff21}\u{ff24}\"",
                "\"READ\u{200b}\"",
                r#""""#,
                r#""READ,ALL""#,
                r#""READ\n""#,
                "\"R\u{395}AD\"",
            ][..],
        ),
        (
            Reason::BodyType,
            &[
                "null",
                "1",
                "0",
                "true",
                r#"["READ"]"#,
                r#"["READ","ALL"]"#,
                r#"{"0":"READ"}"#,
                r#"{"value":"READ"}"#,
                "[]",
                "{}",
                "1.5",
            ],
        ),
        (
            Reason::BodyControl,
            &[
                r#""READ\u0000""#,
                r#""READ\u0000ALL""#,
                "\"READ\u{2028}\"",
                r#""READ\u2029""#,
                r#""READ\u007f""#,
                r#""READ\ufffe""#,
                "\"READ\u{1}\"",
                "\"RE\nAD\"",
                "\"READ\u{feff}\"",
            ],
        ),
        (
            Reason::BodySurrogate,
            &[r#""READ\ud800""#, r#""READ\udc00""#, r#""\ud800\ud800READ""#, r#""\udead""#],
        ),
        (Reason::BodyNumber, &["1e400", "-0", "1e0", "9007199254740993", "1E2", "1.0"]),
        (
            Reason::BodyNotJson,
            &[
                "'READ'",
                "READ",
                "\"READ\"/**/",
                "\"READ\",",
                "0x1",
                "NaN",
                "\"\\x52EAD\"",
                "\"READ",
                "`READ`",
                "+1",
                "01",
            ],
        ),
    ] {
        for value in values {
            assert_eq!(
                create_ssh_key(&with(&format!("\"keyScope\":{value}"))).reason(),
                wanted,
                "{value}"
            );
        }
    }
    // Escapes of a value are read the same by all.
    assert_eq!(create_ssh_key(&with(r#""keyScope":"\u0052EAD""#)).reason(), Reason::Permitted);
}

#[test]
fn a_type_is_never_coerced() {
    let auth = signed("AKKEYS");
    let copy = |force: &str| {
        judge(
            "POST",
            KPS,
            "/v2/p/os-keypairs/copy",
            &[("authorization", &auth)],
            format!("{{\"user_name\":\"u\",\"force\":{force}}}"),
        )
    };
    assert_eq!(copy("false").reason(), Reason::Permitted);
    assert_eq!(copy("true").reason(), Reason::Forbidden);
    for force in [
        "\"true\"",
        "\"false\"",
        "\"\"",
        "1",
        "0",
        "null",
        "[]",
        "[false]",
        "{}",
        "0.5",
        "\"yes\"",
        "\"1\"",
    ] {
        assert_eq!(copy(force).reason(), Reason::BodyType, "{force}");
    }
    for force in ["0e0", "1.0", "-0", "1e1000"] {
        assert_eq!(copy(force).reason(), Reason::BodyNumber, "{force}");
    }
    for force in ["False", "TRUE", "yes", "true true", "(true)"] {
        assert_eq!(copy(force).reason(), Reason::BodyNotJson, "{force}");
    }
}

#[test]
fn bytes_are_one_text() {
    let good = with("\"keyScope\":\"READ\"");
    let send = |content_type: &str, body: &[u8]| {
        judge(
            "POST",
            CODEUP,
            SSH_KEYS,
            &[("x-yunxiao-token", "pt-developer"), ("content-type", content_type)],
            body,
        )
    };
    let wide =
        |endian: fn(u16) -> [u8; 2]| good.encode_utf16().flat_map(endian).collect::<Vec<u8>>();
    let json = "application/json";
    expect([
        ("plain", send(json, good.as_bytes()), Reason::Permitted),
        ("blanks around", send(json, format!("\r\n\t {good} \n").as_bytes()), Reason::Permitted),
        ("a mark", send(json, format!("\u{feff}{good}").as_bytes()), Reason::BodyBom),
        ("UTF-16, little end first", send(json, &wide(u16::to_le_bytes)), Reason::BodyNotUtf8),
        (
            "UTF-16, big end first",
            send("application/json;charset=utf-8", &wide(u16::to_be_bytes)),
            Reason::BodyNotUtf8,
        ),
        (
            "UTF-32",
            send(json, &good.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect::<Vec<u8>>()),
            Reason::BodyNotUtf8,
        ),
        ("an overlong form", send(json, b"{\"title\":\"\xc0\xaf\"}"), Reason::BodyNotUtf8),
        ("Latin-1", send(json, b"{\"title\":\"\xe4\"}"), Reason::BodyNotUtf8),
        ("behind it another", send(json, format!("{good}{good}").as_bytes()), Reason::BodyTrailing),
        (
            "behind it a line",
            send(json, format!("{good}\n{good}").as_bytes()),
            Reason::BodyTrailing,
        ),
        ("behind it a NUL", send(json, format!("{good}\0").as_bytes()), Reason::BodyTrailing),
        ("a comment before", send(json, format!("/**/{good}").as_bytes()), Reason::BodyNotJson),
        ("a guard before", send(json, format!("while(1);{good}").as_bytes()), Reason::BodyNotJson),
        (
            "a blank that is none",
            send(json, format!("\u{a0}{good}").as_bytes()),
            Reason::BodyNotJson,
        ),
        ("an array around it", send(json, format!("[{good}]").as_bytes()), Reason::BodyType),
        (
            "a string around it",
            send(json, Value::from(good.as_str()).to_string().as_bytes()),
            Reason::BodyType,
        ),
        ("nothing", send(json, b""), Reason::BodyMissing),
        ("blanks only", send(json, b"  "), Reason::BodyNotJson),
        ("null", send(json, b"null"), Reason::BodyType),
        (
            "deep",
            send(json, format!("{}{}", "[".repeat(40), "]".repeat(40)).as_bytes()),
            Reason::BodyTooComplex,
        ),
        (
            "wide",
            send(json, format!("[{}0]", "0,".repeat(30_000)).as_bytes()),
            Reason::BodyTooComplex,
        ),
    ]);
}

#[test]
fn the_envelope_says_what_is_in_it() {
    let good = with("\"keyScope\":\"READ\"");
    let send = |content_type: &str| {
        judge(
            "POST",
            CODEUP,
            SSH_KEYS,
            &[("x-yunxiao-token", "pt-developer"), ("content-type", content_type)],
            &good,
        )
        .reason()
    };
    for good in [
        "application/json",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "Application/JSON; charset=\"utf-8\"",
        "application/json;charset=utf8",
    ] {
        assert_eq!(send(good), Reason::Permitted, "{good}");
    }
    for bad in [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "application/xml",
        "application/json5",
        "application/jsonp",
        "application/vnd.api+json",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json; charset=iso-8859-1",
        "application/json; charset=ibm037",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; boundary=a",
        "application/json; charset=utf-8; a=b",
        "application/json, text/xml",
        "application/json;charset=\"utf-8",
        "application/json charset=utf-8",
        "application/json;a",
        "application/json;charset*=utf-8''utf-7",
        "application / json",
        "*/*",
    ] {
        assert_eq!(send(bad), Reason::ContentType, "{bad}");
    }
    for encoding in ["gzip", "br", "identity", "", "gzip, gzip", "x-gzip", "deflate"] {
        let judged = judge(
            "POST",
            CODEUP,
            SSH_KEYS,
            &[("x-yunxiao-token", "pt-developer"), ("content-encoding", encoding)],
            &good,
        );
        assert_eq!(judged.reason(), Reason::ContentEncoding, "{encoding}");
    }
}

#[test]
fn a_body_stands_where_one_belongs() {
    let auth = signed("AKKEYS");
    let ask = |method: &str, target: &str, body: &str| {
        judge(method, KPS, target, &[("authorization", &auth)], body)
    };
    expect([
        ("a body of a read", ask("GET", "/v3/p/keypairs", "{}"), Reason::BodyNotExpected),
        (
            "a body of a delete",
            ask("DELETE", "/v3/p/keypairs/kp", "{\"force\":true}"),
            Reason::BodyNotExpected,
        ),
        ("a body of what passes", ask("GET", "/v1/p/secrets", "{}"), Reason::BodyNotExpected),
        ("no body of a write", ask("POST", "/v2/p/os-keypairs/copy", ""), Reason::BodyMissing),
        ("an empty object", ask("POST", "/v2/p/os-keypairs/copy", "{}"), Reason::BodyMissingField),
    ]);
}

#[test]
fn the_body_is_the_one_that_was_signed() {
    let auth = signed("AKKEYS");
    let body = json!({"user_name": "u"}).to_string();
    let sha =
        keyward_core::secret::sha256(body.as_bytes()).trim_start_matches("sha256:").to_owned();
    let copy = |name: &str, value: &str| {
        judge(
            "POST",
            KPS,
            "/v2/p/os-keypairs/copy",
            &[("authorization", &auth), (name, value)],
            &body,
        )
        .reason()
    };
    assert_eq!(copy("x-sdk-content-sha256", &sha), Reason::Permitted);
    assert_eq!(copy("x-sdk-content-sha256", &sha.to_uppercase()), Reason::Permitted);
    for name in ["x-sdk-content-sha256", "x-sdk-content-sm3", "x-acs-content-sha256"] {
        for value in [
            "UNSIGNED-PAYLOAD",
            "unsigned-payload",
            "",
            "0",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        ] {
            assert_eq!(copy(name, value), Reason::BodyDigest, "{name}: {value}");
        }
    }
    assert_eq!(copy("x-sdk-content-sm3", &sha), Reason::BodyDigest);
    // A write without a body is signed too.
    let delete = |value: &str| {
        judge(
            "DELETE",
            KPS,
            "/v3/p/keypairs/kp",
            &[("authorization", &auth), ("x-sdk-content-sha256", value)],
            "",
        )
        .reason()
    };
    assert_eq!(delete("UNSIGNED-PAYLOAD"), Reason::BodyDigest);
    assert_eq!(
        delete("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        Reason::Permitted
    );
    let read = |value: &str| {
        judge(
            "GET",
            KPS,
            "/v3/p/keypairs",
            &[("authorization", &auth), ("x-sdk-content-sha256", value)],
            "",
        )
        .reason()
    };
    assert_eq!(read("UNSIGNED-PAYLOAD"), Reason::Permitted);
    assert_eq!(read("0"), Reason::BodyDigest);
    // ACS3 names SHA-256 in the header whatever the algorithm is.
    let acs3 = |scheme: &str, digest: &str| {
        let auth = format!("{scheme} Credential=LTAIDEV,SignedHeaders=host,Signature=00");
        let headers = [("authorization", auth.as_str()), ("x-acs-content-sha256", digest)];
        judge("GET", DEVOPS, "/api/v3/user/keys?organizationId=o", &headers, "").reason()
    };
    let sm3_of_nothing = "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b";
    assert_eq!(acs3("ACS3-HMAC-SM3", sm3_of_nothing), Reason::Permitted);
    assert_eq!(acs3("ACS3-HMAC-SHA256", sm3_of_nothing), Reason::BodyDigest);
}

#[test]
fn every_element_is_judged() {
    let auth = signed("AKIMAGES");
    let share = |projects: Value| {
        let body =
            json!({"images": ["465076de-dc36-4aec-80f5-ef9d8009428f"], "projects": projects})
                .to_string();
        judge("POST", IMS, "/v1/cloudimages/members", &[("authorization", &auth)], body)
    };
    let partner = "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f";
    assert_ne!(share(json!([partner, "stranger"])).decision.verdict, Verdict::Allow);
    let many: Vec<String> = (0..300).map(|n| format!("p{n}")).collect();
    expect([
        ("none", share(json!([])), Reason::BodyValue),
        ("one without an array", share(json!(partner)), Reason::BodyType),
        ("an object", share(json!({"0": partner})), Reason::BodyType),
        ("nothing at all", share(Value::Null), Reason::BodyType),
        ("a list in a list", share(json!([[partner]])), Reason::BodyType),
        ("too many", share(json!(many)), Reason::TooManyItems),
    ]);
}

#[test]
fn a_thing_has_one_name() {
    let auth = signed("AKIMAGES");
    let share = |member: &str| {
        judge(
            "POST",
            IMS,
            "/v2/images/465076de-dc36-4aec-80f5-ef9d8009428f/members",
            &[("authorization", &auth)],
            json!({"member": member}).to_string(),
        )
    };
    let partner = "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f";
    for member in [
        format!("{partner} "),
        format!(" {partner}"),
        format!("{partner}\u{301}"),
        format!("{partner}\n"),
        format!("\u{ff17}{partner}"),
        format!("{partner}\u{200d}"),
    ] {
        assert_eq!(share(&member).reason(), Reason::BodyValue, "{member:?}");
    }
    let keys = signed("AKKEYS");
    let copy = |user: &str| {
        judge(
            "POST",
            KPS,
            "/v2/p/os-keypairs/copy",
            &[("authorization", &keys)],
            json!({"user_name": user}).to_string(),
        )
        .reason()
    };
    assert_eq!(copy("a b-c.d_e"), Reason::Permitted);
    for user in ["", " ", "root ", " root", "ro\u{200b}ot", "r\u{3bf}ot", "\u{ff52}oot", "root\t"] {
        assert_eq!(copy(user), Reason::BodyValue, "{user:?}");
    }
}
