//! What the name of a header, a parameter or a field says to those who might read it: a name that
//! no document has is judged by the words in it, for nobody can list what every gateway, framework
//! and proxy listens to.

/// What a name could turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The method.
    Method,
    /// The path.
    Path,
    /// The host.
    Host,
    /// The project.
    Project,
    /// What is called: an action, a command.
    Call,
}

/// Words that turn something, alone or at the end of another word.
const STEERING: &[(&str, Steering)] = &[
    ("method", Steering::Method),
    ("verb", Steering::Method),
    ("path", Steering::Path),
    ("pathinfo", Steering::Path),
    ("url", Steering::Path),
    ("uri", Steering::Path),
    ("prefix", Steering::Path),
    ("rewrite", Steering::Path),
    ("redirect", Steering::Path),
    ("route", Steering::Path),
    ("dispatch", Steering::Path),
    ("destination", Steering::Path),
    ("sendfile", Steering::Path),
    ("host", Steering::Host),
    ("hostname", Steering::Host),
    ("vhost", Steering::Host),
    ("server", Steering::Host),
    ("servername", Steering::Host),
    ("authority", Steering::Host),
    ("upstream", Steering::Host),
    ("backend", Steering::Host),
    ("dst", Steering::Host),
    ("tenant", Steering::Project),
    ("project", Steering::Project),
    ("action", Steering::Call),
    ("operation", Steering::Call),
    ("command", Steering::Call),
    ("cmd", Steering::Call),
    ("target", Steering::Call),
    ("controller", Steering::Call),
    ("callback", Steering::Call),
    ("jsonp", Steering::Call),
    ("override", Steering::Method),
    ("overwrite", Steering::Method),
];

/// Those that others end in: `destinationurl`, `httpmethod`.
const ENDINGS: &[&str] =
    &["method", "override", "overwrite", "url", "hostname", "rewrite", "redirect"];

/// Names that hold such a word and turn nothing: those of sidecars, and a part of a project that is
/// none.
const STRAIGHT: &[&str] = &[
    "xenvoydecoratoroperation",
    "xenvoyupstreamservicetime",
    "enterpriseprojectid",
    "xenterpriseprojectid",
];

/// What a name could turn upstream, by its words.
pub fn steers(name: &str) -> Option<Steering> {
    let words = words(name);
    if STRAIGHT.contains(&words.concat().as_str()) {
        return None;
    }
    // Two words that alone turn nothing.
    if words.windows(2).any(|pair| pair == ["query", "string"])
        || words.iter().any(|word| word == "querystring")
    {
        return Some(Steering::Path);
    }
    let fits = |word: &String, known: &str| {
        word == known || (ENDINGS.contains(&known) && word.ends_with(known))
    };
    STEERING
        .iter()
        .find(|(known, _)| words.iter().any(|word| fits(word, known)))
        .map(|(_, turns)| *turns)
}

/// Words of a credential.
const CREDENTIAL: &[&str] = &[
    "ak",
    "apikey",
    "appcode",
    "appkey",
    "assertion",
    "auth",
    "authenticated",
    "authentication",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "jsessionid",
    "jwt",
    "otp",
    "passcode",
    "passwd",
    "password",
    "phpsessid",
    "pwd",
    "secret",
    "session",
    "sessionid",
    "sig",
    "sign",
    "signature",
    "sk",
    "ticket",
    "token",
    "tokens",
];

/// The same in two words or more, or run together: `AccessKeyId`, `private_token`, `authtoken`.
const RUN_TOGETHER: &[&str] = &[
    "accesskey",
    "apikey",
    "appcode",
    "appkey",
    "authtoken",
    "accesstoken",
    "privatetoken",
    "jobtoken",
    "securitytoken",
    "secretkey",
    "signedheaders",
];

/// Headers by which a gateway in front tells who asks, and which a server may believe.
const ASSERTED: &[&str] = &[
    "remoteuser",
    "xclientcert",
    "xconsumercustomid",
    "xconsumerid",
    "xconsumerusername",
    "xforwardedclientcert",
    "xforwardedemail",
    "xforwardedgroups",
    "xforwardedpreferredusername",
    "xforwardeduser",
    "xidentity",
    "xidentitystatus",
    "xprincipal",
    "xremotegroups",
    "xremoteuser",
    "xrole",
    "xroles",
    "xsslclientcert",
    "xsubject",
    "xuser",
    "xusergroups",
    "xuserid",
    "xusername",
];

/// Names that hold such a word and open nothing: marks of pages, of repeated calls, and of what is
/// signed.
const OPEN: &[&str] = &[
    "clienttoken",
    "continuationtoken",
    "nexttoken",
    "nextpagetoken",
    "pagetoken",
    "xacssignaturenonce",
    "xclienttoken",
];

/// Whether some service or gateway takes what stands under this name for a credential.
pub fn is_credential(name: &str) -> bool {
    let words = words(name);
    let whole = words.concat();
    if OPEN.contains(&whole.as_str()) {
        return false;
    }
    words.iter().any(|word| CREDENTIAL.contains(&word.as_str()))
        || RUN_TOGETHER.iter().any(|known| whole.contains(known))
        || ASSERTED.contains(&whole.as_str())
}

/// Fields of a body that are a credential by their whole name. By its words a field is none: open
/// objects hold names of all kinds.
const FIELDS: &[&str] = &[
    "accesskey",
    "accesskeyid",
    "accesstoken",
    "apikey",
    "auth",
    "authorization",
    "authtoken",
    "jobtoken",
    "privatetoken",
    "secretaccesskey",
    "secretkey",
    "securitytoken",
    "sessiontoken",
    "signature",
    "token",
    "xacssecuritytoken",
    "xauthtoken",
    "xsecuritytoken",
    "xsubjecttoken",
    "xyunxiaotoken",
];

/// Whether some service or gateway takes a field of this name, at the top of a body, for a
/// credential.
pub fn is_credential_field(name: &str) -> bool {
    !name.contains('.') && FIELDS.contains(&words(name).concat().as_str())
}

/// The words of a name, in lower case: `_HttpMethod` and `X-HTTP-Method` both end in `method`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
        } else if c.is_ascii_uppercase() && small {
            words.push(c.to_ascii_lowercase().to_string());
        } else if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
        small = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_turn_a_call_is_known_by_its_words() {
        for (turns, names) in [
            (
                Steering::Method,
                &[
                    "method",
                    "_method",
                    "_HttpMethod",
                    "httpmethod",
                    "X-HTTP-Method",
                    "x-method-override",
                    "http_verb",
                    "X-Real-Method",
                ][..],
            ),
            (
                Steering::Path,
                &[
                    "X-Override-URL",
                    "X-Original-URL",
                    "x-rewrite-url",
                    "X-HTTP-DestinationURL",
                    "Destination",
                    "X-Forwarded-Path",
                    "x-request-uri",
                    "returnUrl",
                    "X-Query-String",
                    "x-original-querystring",
                ],
            ),
            (
                Steering::Host,
                &[
                    "X-Forwarded-Server",
                    "X-Host",
                    "X-Backend-Host",
                    "x-original-hostname",
                    "vhost",
                    "X-Upstream",
                ],
            ),
            (Steering::Project, &["X-Tenant-Id", "X-Auth-Project-Id", "tenant_id"]),
            (Steering::Call, &["Action", "SOAP-Action", "X-Amz-Target", "callback"]),
        ] {
            for name in names {
                // An address in a name of several words may turn the path or the host: that it
                // turns something counts.
                assert!(
                    steers(name) == Some(turns)
                        || (turns == Steering::Path && steers(name).is_some()),
                    "{name}: {:?}",
                    steers(name)
                );
            }
        }
        assert!(steers("X-Envoy-Original-Dst-Host").is_some());
        for name in ["access_token", "Private-Token", "AccessKeyId", "X-Auth-Token"] {
            assert!(
                is_credential_field(name) && !is_credential_field(&format!("db.{name}")),
                "{name}"
            );
        }
        assert!(!is_credential_field("password_policy") && !is_credential_field("metadata"));
        for name in [
            "accept",
            "user-agent",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-security-token",
            "x-sdk-date",
            "traceparent",
            "baggage",
            "limit",
            "marker",
            "__os_bit",
            "sort_key",
            "query",
            "q_string",
            "x-observer",
            "x-envoy-decorator-operation",
            "enterprise_project_id",
            "via",
            "sec-fetch-mode",
            "pathology",
        ] {
            assert_eq!(steers(name), None, "{name}");
        }
    }

    #[test]
    fn a_credential_is_known_by_its_words() {
        for name in [
            "access_token",
            "accessToken",
            "private_token",
            "PRIVATE-TOKEN",
            "JOB-TOKEN",
            "token",
            "X-Subject-Token",
            "X-Auth-Token",
            "X-Security-Token",
            "Cookie",
            "Proxy-Authorization",
            "X-Api-Key",
            "apikey",
            "X-ApiKey",
            "AccessKeyId",
            "OSSAccessKeyId",
            "Signature",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Sdk-SignedHeaders",
            "x-acs-accesskey-id",
            "x-acs-bearer-token",
            "authtoken",
            "jwt",
            "X-Apig-AppCode",
            "x-forwarded-user",
            "X-User-Id",
            "X-Roles",
            "X-Identity",
            "X-Authenticated-UserId",
            "X-Consumer-Username",
            "x-principal",
            "auth",
            "password",
            "sig",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in [
            "accept",
            "user-agent",
            "x-user-agent",
            "next_token",
            "pageToken",
            "ClientToken",
            "X-Client-Token",
            "x-acs-signature-nonce",
            "x-acs-action",
            "limit",
            "sort_key",
            "author",
            "X-Project-Id",
            "signed_by",
            "tokenizer",
            "x-request-id",
        ] {
            assert!(!is_credential(name), "{name}");
        }
    }
}
