//! Classes of the head: what could be read as another host, path, method or length, or by another
//! server as another header.

use crate::*;

fn read(target: &str, headers: &[(&str, &str)]) -> Judgement {
    let auth = signed("AKKEYS");
    let all: Vec<_> = headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
    judge("GET", KPS, target, &all, "")
}

fn copy(headers: &[(&str, &str)]) -> Judgement {
    let auth = signed("AKKEYS");
    let all: Vec<_> = headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
    judge("POST", KPS, "/v2/p/os-keypairs/copy", &all, json!({"user_name": "u"}).to_string())
}

const LIST: &str = "/v3/p/keypairs";

#[test]
fn a_path_is_one_path() {
    assert_eq!(read(LIST, &[]).reason(), Reason::Permitted);
    for (wanted, targets) in [
        (
            Reason::TargetEmptySegment,
            &["//v3/p/keypairs", "/v3//p/keypairs", "/v3/p/keypairs//"][..],
        ),
        (
            Reason::TargetDotSegment,
            &["/v3/p/x/../keypairs", "/v3/p/./keypairs", "/v3/p/keypairs/..", "/v3/p/keypairs/."],
        ),
        (
            Reason::TargetEscape,
            &[
                "/v3/p/%6Beypairs",
                "/v3/p/x/%2e%2e/keypairs",
                "/v3/p/x%252fy",
                "/v3/p/keypairs%00",
                "/v3/p/keypairs%3fa",
                "/v3/p/keypairs%5c",
                "/v3/p/keypairs/%c0%ae",
            ],
        ),
        (
            Reason::TargetParameter,
            &["/v3/p/keypairs;a=b", "/v3/p;x/keypairs", "/v3/p/x/..;/keypairs"],
        ),
        (Reason::TargetByte, &["/v3/p\\keypairs", "/v3/p/keypairs#a", "/v3/p/k\u{e9}"]),
        (
            Reason::TargetForm,
            &[
                "https://kms.cn-north-4.myhuaweicloud.com/v3/p/keypairs",
                "*",
                "kms.cn-north-4.myhuaweicloud.com:443",
            ],
        ),
        // One path to some servers, another one to others: here it is another one.
        (
            Reason::OperationUnknown,
            &[
                "/v3/p/keypairs/",
                "/V3/p/keypairs",
                "/v3/p/KeyPairs",
                "/v3/p/keypairs.json",
                "/v3/p/keypairs.",
                "/v3/p%2Fkeypairs",
                "/v3/a%2fp/keypairs",
                "/v3/p/keypairs%20",
                "/v3/p",
                "/",
            ],
        ),
        (
            Reason::PathInvalid,
            &[
                "/v3/p/keypairs/kp.json",
                "/v3/p/keypairs/kp.",
                "/v3/p.xml/keypairs",
                "/v3/p/keypairs/kp%20",
                "/v3/p/keypairs/k%C4%B1p",
                "/v3/p/keypairs/%EF%BC%AB",
            ],
        ),
    ] {
        for target in targets {
            assert_eq!(read(target, &[]).reason(), wanted, "{target}");
        }
    }
    for (target, said) in [
        (LIST.to_uppercase(), "`/v3/{project_id}/keypairs`"),
        (format!("{LIST}/"), "`/v3/{project_id}/keypairs`"),
        ("/v3/p/keypairs/associate".into(), "POST"),
    ] {
        let message = read(&target, &[]).decision.message;
        assert!(message.contains(said) || said == "POST", "{target}: {message}");
    }
}

#[test]
fn a_method_is_one_method() {
    let auth = signed("AKKEYS");
    for method in ["get", "GeT", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GETX"] {
        assert_eq!(
            judge(method, KPS, LIST, &[("authorization", &auth)], "").reason(),
            Reason::HeadMethod,
            "{method}"
        );
    }
    expect([
        (
            "a method that the path does not take",
            judge("PATCH", KPS, LIST, &[("authorization", &auth)], ""),
            Reason::OperationUnknown,
        ),
        (
            "HEAD of a path that takes GET",
            judge("HEAD", KPS, LIST, &[("authorization", &auth)], ""),
            Reason::OperationUnknown,
        ),
        ("override", copy(&[("x-http-method-override", "DELETE")]), Reason::MethodOverride),
        ("override of another kind", copy(&[("x-method-override", "PUT")]), Reason::MethodOverride),
        (
            "override in other letters",
            copy(&[("X-HTTP-METHOD-OVERRIDE", "PUT")]),
            Reason::MethodOverride,
        ),
        ("override without hyphens", copy(&[("xhttpmethodoverride", "PUT")]), Reason::HeadName),
        ("override with underscores", copy(&[("x_http_method_override", "PUT")]), Reason::HeadName),
        ("in the query", read("/v3/p/keypairs?_method=DELETE", &[]), Reason::MethodOverride),
        (
            "in the query, behind a semicolon",
            read("/v3/p/keypairs?limit=1;_method=DELETE", &[]),
            Reason::MethodOverride,
        ),
        (
            "in the query of what passes",
            read("/v1/p/secrets?x-http-method-override=DELETE", &[]),
            Reason::MethodOverride,
        ),
        ("another path", copy(&[("x-original-url", "/v3/p/keypairs")]), Reason::PathOverride),
        ("another prefix", copy(&[("x-forwarded-prefix", "/a")]), Reason::PathOverride),
        ("the word alone", read("/v3/p/keypairs?method=list", &[]), Reason::MethodOverride),
    ]);
    let hint = judge("PATCH", KPS, LIST, &[("authorization", &auth)], "").decision.message;
    assert!(hint.contains("GET") && hint.contains("POST"), "{hint}");
}

#[test]
fn a_host_is_one_host() {
    let auth = signed("AKKEYS");
    let of = |wire: Wire, host: &str, headers: &[(&str, &str)]| {
        let all: Vec<_> =
            headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
        judge_over(wire, "GET", host, LIST, &all, "")
    };
    let h2 = Wire { version: http::Version::HTTP_2, authority: Some(KPS), sni: Some(KPS) };
    expect([
        ("with a port", of(HTTP1, "kms.cn-north-4.myhuaweicloud.com:443", &[]), Reason::Permitted),
        ("in capitals", of(HTTP1, "KMS.CN-NORTH-4.MYHUAWEICLOUD.COM", &[]), Reason::Permitted),
        ("a trailing dot", of(HTTP1, "kms.cn-north-4.myhuaweicloud.com.", &[]), Reason::HeadHost),
        ("two ports", of(HTTP1, "kms.cn-north-4.myhuaweicloud.com:80:80", &[]), Reason::HeadHost),
        ("a list", of(HTTP1, "kms.cn-north-4.myhuaweicloud.com,evil", &[]), Reason::HeadHost),
        ("userinfo", of(HTTP1, "evil@kms.cn-north-4.myhuaweicloud.com", &[]), Reason::HeadHost),
        ("a path", of(HTTP1, "kms.cn-north-4.myhuaweicloud.com/v3", &[]), Reason::HeadHost),
        (
            "another name",
            of(HTTP1, "kms.cn-north-4.myhuaweicloud.com.evil", &[]),
            Reason::HostUnknown,
        ),
        ("an address", of(HTTP1, "[::1]:443", &[]), Reason::HostUnknown),
        ("two", of(HTTP1, KPS, &[("host", KPS)]), Reason::HeadRepeated),
        ("HTTP/2", of(h2, KPS, &[]), Reason::Permitted),
        (
            "HTTP/2 with another authority",
            of(Wire { authority: Some(IMS), ..h2 }, KPS, &[]),
            Reason::HeadHost,
        ),
        ("another name in TLS", of(Wire { sni: Some(IMS), ..h2 }, KPS, &[]), Reason::HeadSni),
        (
            "a proxy's word",
            of(HTTP1, KPS, &[("x-forwarded-host", KPS), ("forwarded", "for=10.0.0.1;proto=https")]),
            Reason::Permitted,
        ),
        ("a proxy's other word", of(HTTP1, KPS, &[("x-forwarded-host", IMS)]), Reason::HeadHost),
        (
            "a proxy's newer word",
            of(HTTP1, KPS, &[("forwarded", "for=10.0.0.1;host=evil")]),
            Reason::HeadHost,
        ),
        ("another header for it", of(HTTP1, KPS, &[("x-host", IMS)]), Reason::HeadHost),
    ]);
}

#[test]
fn a_header_is_one_header() {
    expect([
        ("two tokens", copy(&[("x-auth-token", "a"), ("x-auth-token", "b")]), Reason::HeadRepeated),
        (
            "two signatures",
            copy(&[("authorization", "SDK-HMAC-SHA256 Access=AKOTHER, Signature=00")]),
            Reason::HeadRepeated,
        ),
        ("two projects in one", copy(&[("x-project-id", "p, q")]), Reason::HeadRepeated),
        (
            "two types",
            copy(&[("content-type", "application/json"), ("content-type", "text/xml")]),
            Reason::HeadRepeated,
        ),
        ("a token with underscores", copy(&[("x_auth_token", "a")]), Reason::HeadName),
        ("a token with dots", copy(&[("x.auth.token", "a")]), Reason::HeadName),
        ("a token without hyphens", copy(&[("xauthtoken", "a")]), Reason::HeadName),
        ("a project with more hyphens", copy(&[("x--project-id", "q")]), Reason::HeadName),
        ("a length with an underscore", copy(&[("content_length", "99")]), Reason::HeadName),
        ("a tab at the end", copy(&[("x-note", "a\t")]), Reason::HeadValue),
        ("a letter beyond ASCII", copy(&[("x-note", "\u{e4}")]), Reason::HeadValue),
        ("a blank at the end", copy(&[("x-project-id", "p ")]), Reason::HeadValue),
        (
            "a token taken off on the way",
            copy(&[("connection", "close, x-auth-token")]),
            Reason::HeadConnection,
        ),
        ("an upgrade", copy(&[("upgrade", "websocket")]), Reason::HeadUpgrade),
        ("trailers", copy(&[("trailer", "x-auth-token")]), Reason::HeadTrailer),
        ("early data", copy(&[("early-data", "1")]), Reason::HeadEarlyData),
        ("a wish of another kind", copy(&[("expect", "x")]), Reason::HeadExpect),
        (
            "both framings",
            copy(&[("content-length", "17"), ("transfer-encoding", "chunked")]),
            Reason::HeadFraming,
        ),
        (
            "a framing that is a list",
            copy(&[("transfer-encoding", "gzip, chunked")]),
            Reason::HeadFraming,
        ),
        ("a length with a sign", copy(&[("content-length", "+17")]), Reason::HeadFraming),
        ("another project", copy(&[("x-project-id", "q")]), Reason::HeadProject),
        ("another project in capitals", copy(&[("x-project-id", "P")]), Reason::HeadProject),
        ("no project", copy(&[("x-project-id", "")]), Reason::HeadProject),
        ("the same project", copy(&[("x-project-id", "p")]), Reason::Permitted),
        (
            "a header that nobody knows, twice",
            copy(&[("x-note", "a"), ("x-note", "b")]),
            Reason::Permitted,
        ),
    ]);
    let images = signed("AKIMAGES");
    let image = |headers: &[(&str, &str)]| {
        let all: Vec<_> =
            headers.iter().copied().chain([("authorization", images.as_str())]).collect();
        let body =
            json!({"name": "c", "cmk_id": "bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d"}).to_string();
        judge("POST", IMS, COPY_IMAGE, &all, body)
    };
    assert_eq!(
        image(&[("x-project-id", "0123456789abcdef0123456789abcdef")]).reason(),
        Reason::Permitted
    );
    let h2 = Wire { version: http::Version::HTTP_2, ..HTTP1 };
    for (name, value, wanted) in [
        ("connection", "close", Reason::HeadConnection),
        ("transfer-encoding", "chunked", Reason::HeadFraming),
    ] {
        assert_eq!(
            judge_over(h2, "GET", KPS, LIST, &[(name, value)], "").reason(),
            wanted,
            "{name}"
        );
    }
}

#[test]
fn a_query_is_one_query() {
    let list = |query: &str| {
        let target = format!("/api/v3/user/keys?{query}");
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
    let deploy = |query: &str| {
        let target = format!("/repository/7/keys/create?organizationId=o{query}");
        let body = json!({"title": "t", "key": ED25519}).to_string();
        judge(
            "POST",
            DEVOPS,
            &target,
            &[(
                "authorization",
                "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00",
            )],
            body,
        )
    };
    assert_eq!(list("organizationId=o").reason(), Reason::Permitted);
    assert_eq!(deploy("").reason(), Reason::Permitted);
    for (wanted, queries) in [
        (
            Reason::QueryRepeated,
            &[
                "organizationId=o&organizationId=victim",
                "organizationId=o&OrganizationId=victim",
                "organizationId=o&organization_id=victim",
                "organizationId=o&organizationId[]=v",
            ][..],
        ),
        (
            Reason::QueryMalformed,
            &[
                "organizationId=o;organizationId=victim",
                "%6frganizationId=victim",
                "organizationId=o&%6frganizationId=victim",
                "organizationId=o&",
                "organizationId=%zz",
                "organizationId=o%00",
                "organizationId=o%0a",
                "organizationId=%c0%af",
                "organizationId=o&=1",
                "organizationId=o&%EF%BD%8FrganizationId=v",
                "organizationId=o%E2%80%A8",
            ],
        ),
        (
            Reason::QueryUnknown,
            &[
                "OrganizationId=o",
                "organization-id=o",
                "organizationId[]=o",
                "organizationId[0]=o",
                "organizationId.x=o",
            ],
        ),
        (Reason::QueryMissing, &["a=b", "organizationID2=o"]),
        (
            Reason::QueryValue,
            &[
                "organizationId=",
                "organizationId",
                "organizationId=o+p",
                "organizationId=a%2Fb",
                "organizationId=o.json",
            ],
        ),
    ] {
        for query in queries {
            assert_eq!(list(query).reason(), wanted, "{query}");
        }
    }
    for (query, wanted) in [
        ("&title=x", Reason::QueryBodyField),
        ("&Title=x", Reason::QueryBodyField),
        ("&key[]=x", Reason::QueryBodyField),
        ("&debug=1", Reason::QueryUnknown),
        ("&accessToken=a+b", Reason::QueryMalformed),
        ("&_method=GET", Reason::MethodOverride),
    ] {
        assert_eq!(deploy(query).reason(), wanted, "{query}");
    }
    for query in [
        "X-Auth-Token=a",
        "x_auth_token=a",
        "Authorization=a",
        "x-project-id=q",
        "X-Sdk-Date=20261122T142050Z",
    ] {
        assert_eq!(read(&format!("{LIST}?{query}"), &[]).reason(), Reason::QueryUnknown, "{query}");
    }
    let many: String = (0..80).map(|i| format!("&a{i}=1")).collect();
    assert_eq!(list(&format!("organizationId=o{many}")).reason(), Reason::QueryMalformed);
}
