//! Who is known by what, and who is nobody.

use super::*;
use crate::request::tests::head;
use crate::request::{PeerCertificate, PeerTls};

fn directory(key: &DigestKey) -> Directory {
    let digest = key.digest(b"pt-secret");
    Directory::parse("callers.toml", &format!(
        "groups = ['key-admins']\n[callers.ci-keys]\nkind = 'robot'\ngroups = ['key-admins']\naccess_keys = ['AK1']\n[callers.desk]\nkind = 'user'\ntokens = ['{digest}']\n"
    ))
    .unwrap()
}

fn nowhere() -> Target {
    Target::Unknown(crate::catalog::Unknown {
        service: None,
        reason: keyward_core::reason::Reason::OperationUnknown,
        hint: None,
    })
}

/// A second credential under a name that no document has is some gateway's word on who asks.
#[test]
fn a_credential_under_another_name_leaves_nobody_known() {
    let key = DigestKey::new([7; 32]);
    let directory = directory(&key);
    let signed = ("authorization", "SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host, Signature=00");
    let who = |target: &str, header: Option<(&'static str, &str)>| {
        let headers: Vec<_> = std::iter::once(signed).chain(header).collect();
        identify(&directory, &head("GET", target, &headers), &key).identity.map(|i| i.name)
    };
    assert_eq!(who("/", None).as_deref(), Some("ci-keys"));
    for open in ["/?limit=1", "/?next_token=a", "/?marker=token", "/?clientToken=1"] {
        assert_eq!(who(open, None).as_deref(), Some("ci-keys"), "{open}");
    }
    for header in [
        "x-sdk-date",
        "x-security-token",
        "x-request-id",
        "user-agent",
        "x-client-token",
        "x-project-id",
    ] {
        assert_eq!(who("/", Some((header, "a"))).as_deref(), Some("ci-keys"), "{header}");
    }
    for query in [
        "access_token=a",
        "access%5Ftoken=a",
        "private_token",
        "token=",
        "a=1&X-Amz-Credential=b",
        "AccessKeyId=a&Signature=b",
        "a;token=b",
        "X-Auth-Token=a",
        "jwt=a",
    ] {
        assert_eq!(who(&format!("/?{query}"), None), None, "{query}");
    }
    for header in [
        "private-token",
        "job-token",
        "x-subject-token",
        "cookie",
        "proxy-authorization",
        "x-api-key",
        "x-acs-accesskey-id",
        "x-acs-action",
        "x-amz-date",
        "x-acs-security-token",
        "x-forwarded-user",
        "x-service-token",
    ] {
        assert_eq!(who("/", Some((header, "a"))), None, "{header}");
    }
    let beside = |headers: &[(&'static str, &str)]| {
        identify(&directory, &head("GET", "/", headers), &key).identity.map(|i| i.name)
    };
    assert_eq!(beside(&[("x-yunxiao-token", "pt-secret"), ("x-security-token", "a")]), None);
}

/// Who asks, of a service that verifies all that is read.
fn identify(directory: &Directory, head: &RequestHead, key: &DigestKey) -> Caller {
    let text = |text: &[&str]| text.iter().map(|t| (*t).to_owned()).collect();
    let all = Credentials {
        signatures: text(&["SDK", "V11"]),
        schemes: vec![],
        headers: text(&["x-auth-token", "x-yunxiao-token"]),
        parameters: text(&["accessToken"]),
    };
    directory.judge(head, &shown(head, key, &all, &all, &nowhere()), &all)
}

#[test]
fn what_a_service_does_not_verify_says_nothing_there() {
    let key = DigestKey::new([7; 32]);
    let directory = directory(&key);
    let of = |signatures: &[&str], headers: &[&str]| Credentials {
        signatures: signatures.iter().map(|t| (*t).to_owned()).collect(),
        headers: headers.iter().map(|t| (*t).to_owned()).collect(),
        ..Credentials::default()
    };
    let (huawei, codeup) = (of(&["SDK"], &["x-auth-token"]), of(&["ACS3"], &["x-yunxiao-token"]));
    let mut all = huawei.clone();
    all.join(&codeup);
    let who = |headers: &[(&'static str, &str)], service: &Credentials| {
        let head = head("POST", "/", headers);
        let caller =
            directory.judge(&head, &shown(&head, &key, &all, service, &nowhere()), service);
        (caller.identity.map(|i| i.name), caller.why)
    };
    let signed = ("authorization", "SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host, Signature=00");
    assert_eq!(who(&[signed], &huawei).0.as_deref(), Some("ci-keys"));
    assert_eq!(
        who(&[signed], &codeup),
        (
            None,
            "this service verifies no credential of the kind SDK-HMAC-SHA256: leave it out"
                .to_owned()
        )
    );
    assert_eq!(who(&[("x-yunxiao-token", "pt-secret")], &codeup).0.as_deref(), Some("desk"));
    assert_eq!(who(&[("x-yunxiao-token", "pt-secret")], &huawei).0, None);
    assert_eq!(who(&[("x-auth-token", "pt-secret")], &codeup).0, None);
    // Beside one that counts, too.
    assert_eq!(who(&[signed, ("x-yunxiao-token", "pt-secret")], &huawei).0, None);
    assert_eq!(who(&[("authorization", "Bearer pt-secret")], &huawei).0, None);
    assert_eq!(who(&[("authorization", "pt-secret")], &huawei).0, None);
}

#[test]
fn a_signature_claims_and_a_token_proves() {
    let key = DigestKey::new([7; 32]);
    let directory = directory(&key);
    let signed = identify(
        &directory,
        &head(
            "POST",
            "/",
            &[("authorization", "SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host, Signature=00")],
        ),
        &key,
    );
    assert_eq!(
        (signed.identity.unwrap().name.as_str(), signed.assurance),
        ("ci-keys", Assurance::Claimed)
    );
    let derived = identify(
        &directory,
        &head(
            "POST",
            "/",
            &[("authorization", "V11-HMAC-SHA256 Credential=AK1/20261122/cn/kms, Signature=00")],
        ),
        &key,
    );
    assert_eq!(derived.credential.key_id.as_deref(), Some("AK1"));
    let bearer =
        identify(&directory, &head("POST", "/", &[("x-yunxiao-token", "pt-secret")]), &key);
    assert_eq!(
        (bearer.identity.unwrap().name.as_str(), bearer.assurance),
        ("desk", Assurance::Token)
    );
    let in_query = identify(&directory, &head("POST", "/x?accessToken=pt%2Dsecret", &[]), &key);
    assert_eq!(in_query.identity.unwrap().name, "desk");
}

#[test]
fn the_unknown_and_the_ambiguous_are_anonymous() {
    let key = DigestKey::new([7; 32]);
    let directory = directory(&key);
    for headers in [
        &[][..],
        &[("x-auth-token", "other")],
        &[("authorization", "Bearer other")],
        &[
            ("authorization", "SDK-HMAC-SHA256 Access=AK1, Signature=00"),
            ("x-yunxiao-token", "pt-secret"),
        ],
    ] {
        let caller = identify(&directory, &head("POST", "/", headers), &key);
        assert_eq!((caller.identity, caller.assurance), (None, Assurance::None), "{headers:?}");
        assert!(!caller.why.is_empty());
    }
}

#[test]
fn a_listed_certificate_identifies_and_another_callers_key_beside_it_does_not() {
    let key = DigestKey::new([7; 32]);
    let text = "[callers.ci]\nkind = 'robot'\ncertificates = ['dns:ci.example.com']\n[callers.desk]\nkind = 'user'\naccess_keys = ['AK1']\ncertificates = ['uri:spiffe://example.com/desk']\n";
    let directory = Directory::parse("callers.toml", text).unwrap();
    let ask = |names: &[&str], headers: &[(&'static str, &str)]| {
        let mut head = head("POST", "/", headers);
        let certificate = PeerCertificate {
            fingerprint: "sha256:00".to_owned(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        };
        head.tls =
            Some(PeerTls { server_name: None, version: "TLSv1_3", certificate: Some(certificate) });
        let caller = identify(&directory, &head, &key);
        (caller.identity.map(|i| i.name), caller.assurance)
    };
    let signed =
        |ak: &str| format!("SDK-HMAC-SHA256 Access={ak}, SignedHeaders=host, Signature=00");
    let ci = (Some("ci".to_owned()), Assurance::Certificate);
    assert_eq!(ask(&["dns:ci.example.com"], &[]), ci);
    assert_eq!(ask(&["dns:ci.example.com"], &[("authorization", &signed("UNLISTED"))]), ci);
    assert_eq!(
        ask(&["dns:ci.example.com"], &[("authorization", &signed("AK1"))]),
        (None, Assurance::None)
    );
    assert_eq!(
        ask(&["dns:ci.example.com", "uri:spiffe://example.com/desk"], &[]),
        (None, Assurance::None)
    );
    assert_eq!(
        ask(&["dns:other.example.com"], &[("authorization", &signed("AK1"))]),
        (Some("desk".to_owned()), Assurance::Claimed)
    );
}

#[test]
fn a_callers_file_with_a_mistake_is_refused() {
    let twice = "groups = []\n[callers.a]\nkind = 'robot'\naccess_keys = ['AK']\n[callers.b]\nkind = 'robot'\naccess_keys = ['AK']\n";
    for (text, wanted) in [
        ("[callers.a]\nkind = 'robot'\ngroups = ['nobody']\n", "`nobody`"),
        ("[callers.a]\nkind = 'robot'\ntokens = ['pt-clear']\n", "keyward digest"),
        ("[callers.a]\nkind = 'robot'\nacess_keys = []\n", "acess_keys"),
        (twice, "names one caller"),
        ("[callers.a]\nkind = 'robot'\ncertificates = ['ci.example.com']\n", "`dns:`"),
    ] {
        let error = Directory::parse("callers.toml", text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn every_mistake_of_a_callers_file_is_told_with_its_line() {
    let text = "groups = ['ops', 'keys']\n[callers.a]\nkind = 'robt'\ngroups = ['keys', 'opps', 'none']\n[callers.b]\ntokens = ['pt-clear', 5]\n\
                acess_keys = []\n[callers.c]\nkind = 'user'\naccess_keys = ['AK1']\ntokens = ['pt-clear']\ncertificates = ['ci.example.com']\n\
                [callers.d]\nkind = 'robot'\naccess_keys = ['AK2', 'AK1']\ntokens = 'pt-hidden'\n[callers.f]\n[caller.e]\n";
    let said = Directory::parse("c.toml", text).unwrap_err().to_string();
    let lines: Vec<_> = said.lines().collect();
    let wanted = [
        ("c.toml:3:8: ", "unknown variant `robt`"),
        ("c.toml:4:19: ", "`opps`, which is not in `groups` (did you mean `ops`?)"),
        ("c.toml:4:27: ", "`none`, which is not in `groups`"),
        ("c.toml:6:11: ", "keyward digest"),
        ("c.toml:6:23: ", "expected a string"),
        ("c.toml:7:1: ", "did you mean `access_keys`"),
        ("c.toml:11:11: ", "keyward digest"),
        ("c.toml:12:17: ", "`dns:`"),
        ("c.toml:15:23: ", "`AK1` belongs to `c` and to `d`"),
        ("c.toml:16:10: ", "a string, expected"),
        ("c.toml:17:10: ", "`kind` of `f` is missing"),
        ("c.toml:18:2: ", "did you mean `callers`"),
    ];
    assert_eq!(lines.len(), wanted.len(), "{said}");
    for (line, (place, text)) in lines.iter().zip(wanted) {
        assert!(line.starts_with(place) && line.contains(text), "{place} {text}: {said}");
    }
    // A token may stand anywhere, and the record of a reload has what was told.
    assert!(!said.contains("pt-"), "{said}");
    let said = Directory::parse(
        "c.toml",
        "groups = []\n[callers.a]\nkind = 'robot'\ntokens = ['pt-clear'\n[callers.b]\n",
    )
    .unwrap_err()
    .to_string();
    assert!(
        said.starts_with("c.toml:") && said.lines().count() == 1 && !said.contains("pt-"),
        "{said}"
    );
}

#[test]
fn groups_are_known_unless_something_is_wrong_with_them() {
    let groups = |text: &str| Directory::read("c.toml", text).0.map(|directory| directory.groups);
    assert_eq!(groups("groups = ['a']\n[callers.b]\nkind = 5\n"), Some(vec!["a".to_owned()]));
    for unknown in [
        "grups = ['a']\n[callers.b]\nkind = 'robot'\ngroups = ['a']\n",
        "groups = ['a', 5]\n",
        "groups = [",
    ] {
        assert_eq!(groups(unknown), None, "{unknown}");
        assert_eq!(Directory::read("c.toml", unknown).1.len(), 1, "{unknown}");
    }
}
