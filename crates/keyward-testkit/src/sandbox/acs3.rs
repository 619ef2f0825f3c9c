//! ACS3-HMAC-SHA256, the signature of the older Alibaba API. A kin of SDK-HMAC-SHA256: the path is
//! signed as sent, the body through the header that holds its digest, and a nonce stands beside the
//! date.

use crate::signing::{AccessKey, Message, SKEW_NANOS_MAX, canonical_query};
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use http::header::{AUTHORIZATION, HOST, HeaderValue, InvalidHeaderValue};
use keyward_core::clock::{AuditId, Timestamp};
use sha2::{Digest, Sha256};

const SCHEME: &str = "ACS3-HMAC-SHA256";
const DATE: &str = "x-acs-date";
const DIGEST: &str = "x-acs-content-sha256";

/// Signs a request as the vendor's SDK does: host, content-type, accept, user-agent and all
/// `x-acs-` headers, of which date, nonce and digest are added.
///
/// # Errors
/// When the host or the key's id cannot stand in a header.
pub fn sign<B: AsRef<[u8]>>(
    key: &AccessKey,
    host: &str,
    request: &mut Request<B>,
    now: Timestamp,
) -> Result<(), InvalidHeaderValue> {
    let digest = hex::encode(Sha256::digest(request.body().as_ref()));
    let headers = request.headers_mut();
    headers.insert(DATE, HeaderValue::from_str(&super::state::seconds(now))?);
    headers.insert(DIGEST, HeaderValue::from_str(&digest)?);
    headers.insert("x-acs-signature-nonce", HeaderValue::from_str(&AuditId::new().to_string())?);
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_str(host)?);
    }
    let signed = |name: &str| {
        name.starts_with("x-acs-")
            || ["accept", "content-type", "host", "user-agent"].contains(&name)
    };
    let mut names: Vec<String> =
        headers.keys().map(|name| name.as_str().to_owned()).filter(|name| signed(name)).collect();
    names.sort_unstable();
    let names = names.join(";");
    let signature = mac(&key.secret, &Message::from(&*request), &names)
        .map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()));
    let authorization =
        format!("{SCHEME} Credential={},SignedHeaders={names},Signature={signature}", key.id);
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&authorization)?);
    Ok(())
}

/// Verifies a request's signature and gives the id of the access key that made it; or the vendor's
/// code of the refusal.
pub(super) fn verify<'a, 'k>(
    message: &Message<'a>,
    secret_of: impl Fn(&str) -> Option<&'k str>,
    now: Timestamp,
) -> Result<&'a str, &'static str> {
    let header = |name: &str| message.headers.get(name).and_then(|value| value.to_str().ok());
    let claim = header("authorization")
        .and_then(|text| text.strip_prefix(SCHEME))
        .ok_or("MissingAuthorization")?;
    let part = |name: &str| {
        claim.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(access), Some(names), Some(signature)) =
        (part("Credential"), part("SignedHeaders"), part("Signature"))
    else {
        return Err("MissingAuthorization");
    };
    let secret = secret_of(access).ok_or("InvalidAccessKeyId.NotFound")?;
    let date = header(DATE)
        .filter(|_| names.split(';').any(|name| name == DATE))
        .and_then(Timestamp::parse)
        .ok_or("InvalidTimeStamp.Format")?;
    if date.0.abs_diff(now.0) > SKEW_NANOS_MAX {
        return Err("InvalidTimeStamp.Expired");
    }
    if header(DIGEST) != Some(&hex::encode(Sha256::digest(message.body))) {
        return Err("SignatureDoesNotMatch");
    }
    // `verify_slice` compares in constant time.
    let signature = hex::decode(signature).unwrap_or_default();
    let fits = mac(secret, message, names).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
    if fits { Ok(access) } else { Err("SignatureDoesNotMatch") }
}

/// INVARIANT: never `None`, as HMAC takes a key of any length; if it were, nothing would verify.
fn mac(secret: &str, message: &Message<'_>, names: &str) -> Option<Hmac<Sha256>> {
    let (path, query) = message.target.split_once('?').unwrap_or((message.target, ""));
    let mut canonical =
        format!("{}\n{path}\n{}\n", message.method, canonical_query(query)).into_bytes();
    for name in names.split(';') {
        let value =
            message.headers.get(name).map_or(&b""[..], |value| value.as_bytes().trim_ascii());
        canonical.extend_from_slice(&[name.as_bytes(), b":", value, b"\n"].concat());
    }
    let digest = message.headers.get(DIGEST).map_or(&b""[..], |value| value.as_bytes());
    canonical.extend_from_slice(&[b"\n", names.as_bytes(), b"\n", digest].concat());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{SCHEME}\n{}", hex::encode(Sha256::digest(&canonical))).as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As captured from the vendor's Python SDK (alibabacloud_devops20210625 5.0.3), with a fixed
    /// date and nonce.
    fn captured() -> Request<&'static str> {
        let names = "accept;content-type;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version";
        let signature = "c8f2ab32e531b2e1b172aa6b185c7d1c88b59e69277feeba3434f7d78e6282ed";
        Request::post("/repository/60de7a%2FDemo/keys/create?accessToken=pt-sandboxReleaseDesk_0001&organizationId=60de7a6852743a5162b5f957")
            .header("host", "127.0.0.1:18077")
            .header("x-acs-version", "2021-06-25")
            .header("x-acs-action", "CreateDeployKey")
            .header("user-agent", "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2")
            .header("x-acs-date", "2026-11-22T14:20:50Z")
            .header("x-acs-signature-nonce", "nonce-0001")
            .header("accept", "application/json")
            .header("content-type", "application/json; charset=utf-8")
            .header("x-acs-content-sha256", "c15c8a24e718488646f07bb441526f877610678283255f3178c071d3acb0b525")
            .header("x-acs-credentials-provider", "static_ak")
            .header("authorization", format!("{SCHEME} Credential=LTAIDEMORELEASE,SignedHeaders={names},Signature={signature}"))
            .body("{\"key\":\"ssh-ed25519 AAAA x\",\"title\":\"d é\"}")
            .unwrap()
    }

    fn check(request: &Request<&'static str>, now: &str) -> Result<String, &'static str> {
        let secret =
            |id: &str| (id == "LTAIDEMORELEASE").then_some("sandbox-secret-of-release-desk");
        verify(&Message::from(request), secret, Timestamp::parse(now).unwrap()).map(str::to_owned)
    }

    #[test]
    fn verifies_what_the_vendors_sdk_sends_and_nothing_else() {
        let now = "2026-11-22T14:25:00Z";
        assert_eq!(check(&captured(), now), Ok("LTAIDEMORELEASE".to_owned()));
        assert_eq!(check(&captured(), "2026-11-22T14:36:00Z"), Err("InvalidTimeStamp.Expired"));
        let mut other = captured();
        *other.body_mut() = "{}";
        assert_eq!(check(&other, now), Err("SignatureDoesNotMatch"));
        let mut other = captured();
        *other.uri_mut() = "/repository/7/keys/create".parse().unwrap();
        assert_eq!(check(&other, now), Err("SignatureDoesNotMatch"));
        let mut other = captured();
        other.headers_mut().remove("authorization");
        assert_eq!(check(&other, now), Err("MissingAuthorization"));
    }

    #[test]
    fn what_is_signed_here_verifies() {
        let key = AccessKey {
            id: "LTAIDEMORELEASE".to_owned(),
            secret: "sandbox-secret-of-release-desk".to_owned(),
        };
        let mut request =
            Request::get("/api/v3/user/keys?b=1&a=%2F").header("accept", "*/*").body("").unwrap();
        sign(
            &key,
            "devops.cn-hangzhou.aliyuncs.com",
            &mut request,
            Timestamp::parse("2026-11-22T14:20:50Z").unwrap(),
        )
        .unwrap();
        assert_eq!(check(&request, "2026-11-22T14:20:50Z"), Ok("LTAIDEMORELEASE".to_owned()));
    }
}
