//! What must not stand in a record, and what no caller may push out of one.

use crate::*;

/// Every call leaves a record that can be stored and still says who, what and why, however long its
/// parts are.
#[test]
fn no_caller_makes_a_record_that_cannot_be_stored() {
    let images = signed("AKIMAGES");
    let keys = signed("AKKEYS");
    let long = "x\u{1}\"".repeat(60_000);
    let many = |n: usize, project: &str| {
        let images: Vec<String> =
            (0..n).map(|i| format!("465076de-dc36-4aec-80f5-{i:012}")).collect();
        json!({"images": images, "projects": [project]}).to_string()
    };
    let padding: Vec<(String, String)> =
        (0..30).map(|i| (format!("x-pad-{i}"), "y".repeat(2000))).collect();
    let mut padded: Vec<(&str, &str)> =
        padding.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    padded.push(("authorization", &keys));
    let names = format!(
        "SDK-HMAC-SHA256 Access=AKKEYS, SignedHeaders={}, Signature=00",
        "host;".repeat(12_000)
    );
    let calls = [
        (
            "a long member",
            judge(
                "POST",
                IMS,
                "/v2/images/465076de-dc36-4aec-80f5-ef9d8009428f/members",
                &[("authorization", &images)],
                json!({"member": long}).to_string(),
            ),
        ),
        (
            "a long server",
            judge(
                "POST",
                KPS,
                "/v3/p/keypairs/disassociate",
                &[("authorization", &keys)],
                json!({"server": {"id": long}}).to_string(),
            ),
        ),
        (
            "many shares",
            judge(
                "POST",
                IMS,
                "/v1/cloudimages/members",
                &[("authorization", &images)],
                many(400, "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f"),
            ),
        ),
        (
            "many shares, forbidden",
            judge(
                "POST",
                IMS,
                "/v1/cloudimages/members",
                &[("authorization", &images)],
                many(400, "stranger"),
            ),
        ),
        ("long headers", judge("GET", KPS, "/v3/p/keypairs", &padded, "")),
        (
            "many signed headers",
            judge("GET", KPS, "/v3/p/keypairs", &[("authorization", &names)], ""),
        ),
        (
            "a long method",
            judge(&"M".repeat(50_000), KPS, "/v3/p/keypairs", &[("authorization", &keys)], ""),
        ),
        (
            "a long query",
            judge(
                "GET",
                KPS,
                &format!("/v3/p/keypairs?{}", "a=b&".repeat(4000)),
                &[("authorization", &keys)],
                "",
            ),
        ),
    ];
    for (name, judged) in calls {
        assert!(
            judged.record.leaf.len() <= LEAF_BYTES_MAX,
            "{name}: {} bytes",
            judged.record.leaf.len()
        );
        for pointer in
            ["/caller/name", "/call/action", "/call/path", "/decision/verdict", "/decision/reason"]
        {
            assert!(
                judged.leaf.pointer(pointer).and_then(Value::as_str).is_some_and(|t| !t.is_empty()),
                "{name}: no {pointer}"
            );
        }
        let policies = judged.decision.deciding.iter().map(|d| d.policy.as_str());
        for policy in policies {
            assert!(
                judged.leaf["decision"]["policies"].to_string().contains(policy),
                "{name}: no {policy}"
            );
        }
    }
}

#[test]
fn padding_does_not_push_the_facts_out() {
    let blanks = " ".repeat(70_000);
    let copy = judge(
        "POST",
        KPS,
        "/v2/p/os-keypairs/copy",
        &[("authorization", &signed("AKKEYS"))],
        format!("{blanks}{{\"user_name\": \"victim\"}}"),
    );
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
        let all: Vec<_> =
            headers.iter().copied().chain([("authorization", auth.as_str())]).collect();
        judge("GET", KPS, target, &all, "")
    };
    let send =
        |body: String| judge("POST", KPS, "/v3/p/keypairs", &[("authorization", &auth)], body);
    let agent = format!("{} {TOKEN}", "x".repeat(200));
    let lifted = |name: &'static str| ask("/v3/p/keypairs", &[(name, "Hunter2-Zq9xV7")]);
    let platform = signed("AKPLATFORM");
    let server = json!({"server": {"name": "a", "imageRef": "b", "flavorRef": "c",
        "personality": [{"path": "/home/ops/.ssh/id", "contents": "Hunter2-Zq9xV7"}],
        "metadata": {"admin_password": "Hunter2-Zq9xV7", "db.password": "Hunter2-Zq9xV7", "api_key": "Hunter2-Zq9xV7", "root_pwd": "Hunter2-Zq9xV7"}}});
    let server = judge(
        "POST",
        ECS,
        "/v1.1/p/cloudservers",
        &[("authorization", &platform)],
        server.to_string(),
    );
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
    headers.insert(
        "location",
        HeaderValue::from_static("/login/p%2Ft%20%22secret%22%2B0123%5Cend#t=Hunter2-Zq9xV7"),
    );
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let nested = json!({"got": token}).to_string().replace("p/t", "p\\/t");
    let body = json!({"error_code": "X", "error_msg": nested, "url": "/p%2ft%20%22secret%22%2b0123%5cend"}).to_string();
    let answer = Answer {
        status: Some(401),
        headers,
        body_length: body.len() as u64,
        body: Bytes::from(body),
        whole: true,
        sent: true,
        ..Answer::default()
    };
    let (record, _) =
        WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    let written = format!(
        "{}{}",
        String::from_utf8_lossy(&record.leaf),
        String::from_utf8_lossy(&record.content.unwrap().bytes)
    );
    for secret in ["secret", "Hunter2"] {
        assert!(!written.contains(secret), "{written}");
    }
}

/// A header named like a secret, with a fact of the call as its value, must not take that fact out
/// of the record.
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
    let names = [
        "x-nonce",
        "x-pass",
        "x-trace-key",
        "x-cache-key",
        "x-request-nonce",
        "x-shard-key",
        "x-partition-key",
        "x-security-token",
        "x-bypass",
    ];
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
    let answer = Answer {
        status: Some(200),
        body_length: answer.len() as u64,
        body: Bytes::from(answer),
        whole: true,
        sent: true,
        ..Answer::default()
    };
    let (record, _) =
        WORLD.composer.answer(judged.record.id, &judged.question.target, &mut judged.shown, answer);
    assert!(String::from_utf8_lossy(&record.content.unwrap().bytes).contains("kp-finance-2026"));
}
