//! SDK-HMAC-SHA256, the request signature of Huawei Cloud. Pure functions: no I/O, no clock, no key
//! store.
//!
//! The signature is over a canonical form, so that bytes which differ on the wire can verify alike:
//! `/copy` and `/copy/`, `%2F` and `/`. Whoever decides must therefore decide on the raw bytes,
//! never on this form.

use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, InvalidHeaderValue};
use http::{Method, Request};
use keyward_core::clock::Timestamp;
use sha2::{Digest, Sha256};

/// The scheme's name in `Authorization`.
pub const SCHEME: &str = "SDK-HMAC-SHA256";
/// How far the date of a signature may be from now, either way.
pub const SKEW_NANOS_MAX: u64 = 15 * 60 * 1_000_000_000;

const DATE: &str = "x-sdk-date";
const DATE_FORM: &str = "%Y%m%dT%H%M%SZ";
const CONTENT_DIGEST: &str = "x-sdk-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// An access key with its secret. Prints itself without the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The public half, sent in clear.
    pub id: String,
    /// The secret half, never sent.
    pub secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKey({}, hidden)", self.id)
    }
}

/// What a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, raw.
    pub target: &'a str,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a, B: AsRef<[u8]>> From<&'a Request<B>> for Message<'a> {
    fn from(request: &'a Request<B>) -> Self {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        Self {
            method: request.method(),
            target,
            headers: request.headers(),
            body: request.body().as_ref(),
        }
    }
}

/// The three values of an `Authorization` header of this scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The access key's id.
    pub access: &'a str,
    /// Names of the signed headers, in the order of the signature.
    pub signed_headers: Vec<&'a str>,
    /// The signature, hexadecimal.
    pub signature: &'a str,
}

impl<'a> Claim<'a> {
    /// Reads `SDK-HMAC-SHA256 Access=…, SignedHeaders=a;b, Signature=…`. `None` for anything else.
    pub fn parse(authorization: &'a str) -> Option<Self> {
        let (mut access, mut headers, mut signature) = (None, None, None);
        for part in authorization.strip_prefix(SCHEME)?.strip_prefix(' ')?.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let slot = match name {
                "Access" => &mut access,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(Self {
            access: access?,
            signed_headers: headers?.split(';').collect(),
            signature: signature?,
        })
    }
}

/// Why a signature was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// No `Authorization` of this scheme.
    #[error("no {SCHEME} signature in `Authorization`")]
    Missing,
    /// The access key's id leads to no secret.
    #[error("access key `{0}` is not known")]
    AccessUnknown(String),
    /// `X-Sdk-Date` is missing, is no date, or is not signed.
    #[error("`X-Sdk-Date` must be a signed date")]
    DateMissing,
    /// `X-Sdk-Date` is more than 15 minutes from now.
    #[error("`X-Sdk-Date` `{0}` is more than 15 minutes away")]
    DateExpired(String),
    /// A header that is said to be signed is missing or repeated.
    #[error("signed header `{0}` must occur once")]
    Header(String),
    /// `X-Sdk-Content-Sha256` is not the digest of the body.
    #[error("`X-Sdk-Content-Sha256` does not fit the body")]
    Body,
    /// The signature is another.
    #[error("the signature does not fit")]
    Mismatch {
        /// What was verified, as the vendor echoes it to the caller: it holds the signed header
        /// values.
        canonical: String,
    },
}

/// Signs a request: adds `Host` if it is missing, `X-Sdk-Date` and `Authorization`. Every header is
/// signed, as the vendor's SDK does, but for those whose names contain `_`.
///
/// # Errors
/// When the host or the key's id cannot stand in a header.
pub fn sign<B: AsRef<[u8]>>(
    key: &AccessKey,
    host: &str,
    request: &mut Request<B>,
    now: Timestamp,
) -> Result<(), InvalidHeaderValue> {
    let date = date_text(now);
    let headers = request.headers_mut();
    headers.remove(AUTHORIZATION);
    headers.insert(DATE, HeaderValue::from_str(&date)?);
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_str(host)?);
    }
    let mut names: Vec<String> = headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .filter(|name| !name.contains('_'))
        .collect();
    names.sort_unstable();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let message = Message::from(&*request);
    let canonical = canonical_request(&message, &names, &payload_digest(&message));
    let signature = mac(&key.secret, &date, &canonical)
        .map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()));
    let authorization = format!(
        "{SCHEME} Access={}, SignedHeaders={}, Signature={signature}",
        key.id,
        names.join(";")
    );
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&authorization)?);
    Ok(())
}

/// Verifies a request's signature and gives the id of the access key that made it.
///
/// # Errors
/// Says what does not fit.
pub fn verify<'a, 'k>(
    message: &Message<'a>,
    secret_of: impl Fn(&str) -> Option<&'k str>,
    now: Timestamp,
) -> Result<&'a str, SignatureFault> {
    let authorization = message.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let claim = authorization.and_then(Claim::parse).ok_or(SignatureFault::Missing)?;
    let secret = secret_of(claim.access)
        .ok_or_else(|| SignatureFault::AccessUnknown(claim.access.to_owned()))?;
    for name in &claim.signed_headers {
        if message.headers.get_all(*name).iter().count() != 1 {
            return Err(SignatureFault::Header((*name).to_owned()));
        }
    }
    let date = message
        .headers
        .get(DATE)
        .and_then(|value| value.to_str().ok())
        .filter(|_| claim.signed_headers.contains(&DATE));
    let (date, time) =
        date.and_then(|text| Some((text, read_date(text)?))).ok_or(SignatureFault::DateMissing)?;
    if time.0.abs_diff(now.0) > SKEW_NANOS_MAX {
        return Err(SignatureFault::DateExpired(date.to_owned()));
    }
    let digest = payload_digest(message);
    if !message.body.is_empty()
        && digest != UNSIGNED.as_bytes()
        && !digest.eq_ignore_ascii_case(body_digest(message.body).as_bytes())
    {
        return Err(SignatureFault::Body);
    }
    let canonical = canonical_request(message, &claim.signed_headers, &digest);
    let signature = hex::decode(claim.signature).unwrap_or_default();
    // `verify_slice` compares in constant time.
    match mac(secret, date, &canonical).map(|mac| mac.verify_slice(&signature)) {
        Some(Ok(())) => Ok(claim.access),
        _ => Err(SignatureFault::Mismatch {
            canonical: String::from_utf8_lossy(&canonical).into_owned(),
        }),
    }
}

/// Bytes, not text: signed header values need not be UTF-8.
fn canonical_request(message: &Message<'_>, signed_headers: &[&str], payload: &[u8]) -> Vec<u8> {
    let (path, query) = message.target.split_once('?').unwrap_or((message.target, ""));
    let mut out = format!(
        "{}\n{}\n{}\n",
        message.method.as_str().to_ascii_uppercase(),
        canonical_path(path),
        canonical_query(query)
    )
    .into_bytes();
    for name in signed_headers {
        let value =
            message.headers.get(*name).map_or(&b""[..], |value| value.as_bytes().trim_ascii());
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("\n{}\n", signed_headers.join(";")).as_bytes());
    out.extend_from_slice(payload);
    out
}

/// Decoded, then split, then encoded again: an encoded slash becomes a slash. A slash is added at
/// the end.
fn canonical_path(path: &str) -> String {
    let mut out =
        decode(path).split(|byte| *byte == b'/').map(encode).collect::<Vec<_>>().join("/");
    if !out.ends_with('/') {
        out.push('/');
    }
    out
}

/// Decoded pairs in order of name, then value, encoded again. `+` is a plus sign.
pub(crate) fn canonical_query(query: &str) -> String {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (decode(name), decode(value))
    };
    let mut pairs: Vec<_> = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
    pairs.sort_unstable();
    pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// What stands for the body: the header's word if there is a body and the header, else the digest.
fn payload_digest(message: &Message<'_>) -> Vec<u8> {
    let header = message.headers.get(CONTENT_DIGEST).filter(|_| !message.body.is_empty());
    header.map_or_else(
        || body_digest(message.body).into_bytes(),
        |value| value.as_bytes().trim_ascii().to_vec(),
    )
}

fn body_digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// INVARIANT: never `None`, as HMAC takes a key of any length; if it were, nothing would verify.
fn mac(secret: &str, date: &str, canonical: &[u8]) -> Option<Hmac<Sha256>> {
    let digest = hex::encode(Sha256::digest(canonical));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{SCHEME}\n{date}\n{digest}").as_bytes());
    Some(mac)
}

fn date_text(time: Timestamp) -> String {
    let seconds = i64::try_from(time.0 / 1_000_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .strftime(DATE_FORM)
        .to_string()
}

fn read_date(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime(DATE_FORM, text)
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?;
    u64::try_from(time.timestamp().as_nanosecond()).ok().map(Timestamp)
}

/// Decodes `%XX`; a broken escape stands for itself, as in the vendor's SDK.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, tail @ ..] => {
                hex::decode([*high, *low]).ok().map(|decoded| (decoded, tail))
            }
            _ => None,
        };
        rest = match escaped {
            Some((decoded, tail)) => {
                out.extend(decoded);
                tail
            }
            None => {
                out.push(*byte);
                tail
            }
        };
    }
    out
}

fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vectors were computed by the vendor's Python SDK (huaweicloudsdkcore 3.1.219) at this
    // date with this key.
    const VECTOR_DATE: &str = "2026-11-22T14:20:50Z";

    fn key() -> AccessKey {
        AccessKey { id: "AKVECTOR0001".to_owned(), secret: "sk/vector+0001".to_owned() }
    }

    fn now() -> Timestamp {
        Timestamp::parse(VECTOR_DATE).unwrap()
    }

    fn request(
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Request<&'static str> {
        let builder = Request::builder().method(method).uri(target);
        headers
            .iter()
            .fold(builder, |builder, (name, value)| builder.header(*name, *value))
            .body(body)
            .unwrap()
    }

    fn list() -> Request<&'static str> {
        let target = "/v3/0123456789abcdef/keypairs/de%20mo%2Fx?a=10&a=2&empty=&flag=true&limit=50&marker=%C3%A9~%20%26%3D%2B%2F%2A";
        let headers = [
            ("host", "kms.cn-north-4.myhuaweicloud.com"),
            ("content-type", "application/json;charset=utf-8"),
            ("x-project-id", "0123456789abcdef"),
            ("user-agent", "huaweicloud-usdk-python/3.0"),
            ("x_under", "n"),
        ];
        request("GET", target, &headers, "")
    }

    fn copy() -> Request<&'static str> {
        let headers = [
            ("host", "127.0.0.1:8080"),
            ("content-type", "application/json;charset=utf-8"),
            ("x-security-token", "tok en"),
        ];
        let body = "{\"name\": \"ims_copy\", \"description\": \"\\u590d\\u5236\"}";
        request("POST", "/v1/cloudimages/465076de-dc36-4aec-80f5-ef9d8009428f/copy", &headers, body)
    }

    fn blob() -> Request<&'static str> {
        let headers = [
            ("host", "127.0.0.1:8080"),
            ("content-type", "application/octet-stream"),
            ("x-sdk-content-sha256", "UNSIGNED-PAYLOAD"),
        ];
        request("POST", "/v1/blob", &headers, "raw")
    }

    fn check(request: &Request<&'static str>) -> Result<String, SignatureFault> {
        verify(
            &Message::from(request),
            |id| (id == "AKVECTOR0001").then_some("sk/vector+0001"),
            now(),
        )
        .map(str::to_owned)
    }

    fn signed(mut request: Request<&'static str>) -> Request<&'static str> {
        sign(&key(), "unused.example", &mut request, now()).unwrap();
        request
    }

    #[test]
    fn signs_as_the_vendors_sdk_does() {
        let vectors = [
            (
                list(),
                "content-type;host;user-agent;x-project-id;x-sdk-date",
                "277e4c14ab987da2ceb0fe18e76f5a96c7a271956fd9887fea4c00e7ab0ea474",
            ),
            (
                copy(),
                "content-type;host;x-sdk-date;x-security-token",
                "413890e51d2074db21a3a35ae23789c52e3220779717c4984d9170ef0549f680",
            ),
            (
                blob(),
                "content-type;host;x-sdk-content-sha256;x-sdk-date",
                "02c4f4d15f50c6807737e7a9bf223545b716817628da2266b7accbc6f0138b44",
            ),
        ];
        for (request, names, signature) in vectors {
            let request = signed(request);
            let want = format!(
                "SDK-HMAC-SHA256 Access=AKVECTOR0001, SignedHeaders={names}, Signature={signature}"
            );
            assert_eq!(request.headers()["authorization"], want);
            assert_eq!(request.headers()["x-sdk-date"], "20261122T142050Z");
            assert_eq!(check(&request), Ok("AKVECTOR0001".to_owned()));
        }
    }

    #[test]
    fn what_is_signed_cannot_be_changed() {
        let good = signed(copy());
        let mut other = good.clone();
        *other.body_mut() = "{}";
        assert!(matches!(check(&other), Err(SignatureFault::Mismatch { .. })));
        let mut other = good.clone();
        *other.uri_mut() = "/v1/cloudimages/other/copy".parse().unwrap();
        assert!(matches!(check(&other), Err(SignatureFault::Mismatch { .. })));
        let mut other = good.clone();
        *other.method_mut() = Method::PUT;
        assert!(matches!(check(&other), Err(SignatureFault::Mismatch { .. })));
        let mut other = good.clone();
        other.headers_mut().insert("host", HeaderValue::from_static("ims.example"));
        assert!(
            matches!(check(&other), Err(SignatureFault::Mismatch { canonical }) if canonical.contains("x-security-token:tok en"))
        );
        let mut other = good.clone();
        other.headers_mut().append("host", HeaderValue::from_static("127.0.0.1:8080"));
        assert_eq!(check(&other), Err(SignatureFault::Header("host".to_owned())));
        let mut other = good;
        other.headers_mut().insert("via", HeaderValue::from_static("1.1 gateway"));
        assert!(check(&other).is_ok(), "an unsigned header may be added");
    }

    #[test]
    fn spellings_of_one_path_and_query_verify_alike() {
        let good = signed(list());
        let mut other = good;
        *other.uri_mut() = "/v3/0123456789abcdef/keypairs/de%20mo/x/?limit=50&a=2&a=10&flag=%74rue&empty&marker=%c3%a9%7E%20%26%3D%2B%2F*".parse().unwrap();
        assert!(check(&other).is_ok());
        assert_eq!(canonical_path("/a//b%zz%2"), "/a//b%25zz%252/");
        assert_eq!(canonical_query("b=1&a+b=%2"), "a%2Bb=%252&b=1");
    }

    #[test]
    fn an_unsigned_payload_may_change_and_a_wrong_digest_may_not() {
        let mut other = signed(blob());
        *other.body_mut() = "other";
        assert!(check(&other).is_ok());
        let mut wrong = blob();
        wrong.headers_mut().insert("x-sdk-content-sha256", HeaderValue::from_static("00"));
        assert_eq!(check(&signed(wrong)), Err(SignatureFault::Body));
    }

    #[test]
    fn a_date_is_good_for_fifteen_minutes() {
        let good = signed(copy());
        let at = |text: &str| {
            verify(
                &Message::from(&good),
                |_| Some("sk/vector+0001"),
                Timestamp::parse(text).unwrap(),
            )
            .map(str::to_owned)
        };
        assert!(at("2026-11-22T14:35:50Z").is_ok());
        assert!(at("2026-11-22T14:05:50Z").is_ok());
        let expired = Err(SignatureFault::DateExpired("20261122T142050Z".to_owned()));
        assert_eq!(at("2026-11-22T14:35:51Z"), expired);
        assert_eq!(at("2026-11-22T14:05:49Z"), expired);
    }

    #[test]
    fn a_claim_has_each_part_once() {
        let good = "SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=00";
        let claim =
            Claim { access: "AK", signed_headers: vec!["host", "x-sdk-date"], signature: "00" };
        assert_eq!(Claim::parse(good), Some(claim));
        for bad in [
            "",
            "Bearer x",
            "SDK-HMAC-SHA256",
            "SDK-HMAC-SHA256 Access=AK, Signature=00",
            "SDK-HMAC-SHA256 Access=AK, Access=B, SignedHeaders=a, Signature=00",
            "SDK-HMAC-SHA256 Access=AK, SignedHeaders=a, Signature=00, More=1",
        ] {
            assert_eq!(Claim::parse(bad), None, "{bad}");
        }
        let mut unsigned_date = signed(copy());
        let text =
            unsigned_date.headers()["authorization"].to_str().unwrap().replace(";x-sdk-date", "");
        unsigned_date.headers_mut().insert("authorization", HeaderValue::from_str(&text).unwrap());
        assert_eq!(check(&unsigned_date), Err(SignatureFault::DateMissing));
        assert_eq!(format!("{:?}", key()), "AccessKey(AKVECTOR0001, hidden)");
    }
}
