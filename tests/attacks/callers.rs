//! Who asks: a credential counts where the cloud behind it verifies it, and nowhere else.

use crate::*;

fn who(method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Option<String> {
    judge(method, host, target, headers, "").caller
}

#[test]
fn a_key_counts_for_the_clouds_that_verify_it() {
    let huawei = signed("AKKEYS");
    let acs3 = "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00";
    let aws = "AWS4-HMAC-SHA256 Credential=AKKEYS/20261122/cn/kms/aws4_request, SignedHeaders=host, Signature=00";
    let v11 = "V11-HMAC-SHA256 Credential=AKKEYS/20261122/cn/kms, SignedHeaders=host, Signature=00";
    for host in [KPS, ECS, IMS] {
        assert_eq!(
            who("GET", host, "/v3/p/keypairs", &[("authorization", &huawei)]).as_deref(),
            Some("keys"),
            "{host}"
        );
        assert_eq!(
            who("GET", host, "/v3/p/keypairs", &[("authorization", v11)]).as_deref(),
            Some("keys"),
            "{host}"
        );
        for foreign in [acs3, aws, "Bearer pt-developer"] {
            assert_eq!(
                who("GET", host, "/v3/p/keypairs", &[("authorization", foreign)]),
                None,
                "{host}: {foreign}"
            );
        }
        assert_eq!(
            who("GET", host, "/v3/p/keypairs", &[("x-yunxiao-token", "pt-developer")]),
            None,
            "{host}"
        );
    }
    let keys = "/api/v3/user/keys?organizationId=o";
    assert_eq!(who("GET", DEVOPS, keys, &[("authorization", acs3)]).as_deref(), Some("developer"));
    assert_eq!(who("GET", DEVOPS, keys, &[("authorization", &huawei)]), None);
    assert_eq!(who("GET", DEVOPS, keys, &[("x-yunxiao-token", "pt-developer")]), None);
    assert_eq!(
        who("GET", CODEUP, SSH_KEYS, &[("x-yunxiao-token", "pt-developer")]).as_deref(),
        Some("developer")
    );
    for (name, value) in [
        ("authorization", acs3),
        ("authorization", huawei.as_str()),
        ("x-auth-token", "pt-developer"),
    ] {
        assert_eq!(who("GET", CODEUP, SSH_KEYS, &[(name, value)]), None, "{name}");
    }
    assert_eq!(who("GET", CODEUP, &format!("{SSH_KEYS}?accessToken=pt-developer"), &[]), None);
}

/// The developer's key id is no secret. Shown to a cloud that knows nothing of it, beside a
/// credential of one's own that the cloud does take, it must not make the developer the author of
/// the call.
#[test]
fn nobody_acts_in_the_name_of_another() {
    let body = ssh_key(json!({}));
    let acs3 = "ACS3-HMAC-SHA256 Credential=LTAIDEV,SignedHeaders=host,Signature=00";
    let call = |headers: &[(&str, &str)]| judge("POST", CODEUP, SSH_KEYS, headers, &body);
    expect([
        ("the developer", call(&[("x-yunxiao-token", "pt-developer")]), Reason::Permitted),
        (
            "a stranger's token and the developer's key",
            call(&[("x-yunxiao-token", "pt-stranger"), ("authorization", acs3)]),
            Reason::CallerUnknown,
        ),
        (
            "both of the developer's, of which the cloud takes one",
            call(&[("x-yunxiao-token", "pt-developer"), ("authorization", acs3)]),
            Reason::CallerUnknown,
        ),
    ]);
    let why =
        call(&[("x-yunxiao-token", "pt-developer"), ("authorization", acs3)]).question.caller.why;
    assert!(why.contains("ACS3-HMAC-SHA256"), "{why}");
}
