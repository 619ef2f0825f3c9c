//! Redaction: a keyed digest stands in the place of every secret, so that equal secrets stay
//! comparable.
//!
//! Four nets, one behind the other: places that the catalogue marks, names that mean a secret
//! anywhere, texts that look like one, and every secret that this exchange has shown, where it may
//! turn up again (a cloud's error text can echo the whole signed request). What cannot be read is
//! recorded by length and digest alone, and so is what no document names.

use super::disguise::{Looks, public_blob};
pub use super::shown::Shown;
use super::shown::readings;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use keyward_core::secret::DigestKey;
use keyward_decision::catalog::route::percent_decode;
use keyward_decision::catalog::schema::Shape;
use keyward_decision::catalog::source::Step;
use keyward_decision::request::Authorization;
use keyward_record::call::{Bounded, Headers, Signed};
use serde_json::Value;
use std::ops::Range;

/// Redacts under one installation's key.
#[derive(Debug)]
pub struct Redactor {
    key: DigestKey,
    looks: Looks,
}

/// Names that mean a secret at any depth of any body, in the form of [`plain_name`].
const SECRET_NAMES: &[&str] = &[
    "accesstoken",
    "adminpass",
    "authorization",
    "clientsecret",
    "encodedauthorizationmessage",
    "newpassword",
    "oldpassword",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "secretaccesskey",
    "secretkey",
    "securitytoken",
    "sessionid",
    "sessiontoken",
    "signature",
    "ticket",
    "token",
    "userdata",
    "xauthtoken",
    "xsecuritytoken",
    "xsubjecttoken",
    "xyunxiaotoken",
    "yunxiaoaccesstoken",
];

/// Words in a name that make all texts and numbers below it secret, in the form of [`plain_name`].
const SECRET_WORDS: &[&str] = &[
    "apikey",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "token",
];

/// Words that make a header secret, in the form of [`plain_name`].
const SECRET_HEADER_WORDS: &[&str] = &[
    "auth",
    "cookie",
    "credential",
    "nonce",
    "pass",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
];

/// Headers that hold addresses, which may carry a login or a token.
const ADDRESS_HEADERS: &[&str] = &["content-location", "link", "location", "referer", "refresh"];

/// Headers by which a caller is known: their values cannot be chosen at will.
const CREDENTIAL_HEADERS: &[&str] = &["x-auth-token", "x-yunxiao-token"];

/// Headers that hold one of those words and no secret.
const OPEN_HEADERS: &[&str] = &["www-authenticate", "proxy-authenticate"];

impl Redactor {
    /// A redactor under a key.
    ///
    /// # Errors
    /// Never for this build's own pattern, which a test compiles.
    pub fn new(key: DigestKey) -> Result<Self, regex::Error> {
        Ok(Self { key, looks: Looks::new()? })
    }

    /// The keyed digest.
    pub fn digest(&self, secret: &[u8]) -> String {
        self.key.digest(secret)
    }

    /// Headers as `{name: [values]}`.
    pub fn headers(&self, headers: &HeaderMap, shown: &mut Shown) -> Headers {
        let mut out = Headers::new();
        for name in headers.keys() {
            let values = headers
                .get_all(name)
                .iter()
                .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            out.insert(
                name.as_str().to_owned(),
                values.map(|v| self.header(name.as_str(), v, shown)).collect(),
            );
        }
        out
    }

    /// Takes secrets out of the values of headers that were read before all secrets were known.
    pub fn scrub_headers(&self, headers: &mut Headers, shown: &Shown) {
        for value in headers.values_mut().flatten() {
            if let Some(clean) = self.scrub_text(value, shown) {
                *value = clean;
            }
        }
        // A secret sent as a name: rare, and so rebuilt only when found.
        if headers.keys().any(|name| self.scrub_text(name, shown).is_some()) {
            let entries = std::mem::take(headers);
            *headers = entries
                .into_iter()
                .map(|(name, values)| (self.scrub_text(&name, shown).unwrap_or(name), values))
                .collect();
        }
    }

    fn header(&self, name: &str, value: String, shown: &mut Shown) -> String {
        if name == "authorization" {
            return self.authorization(&value, shown);
        }
        if ADDRESS_HEADERS.contains(&name) {
            return self.address(value, shown);
        }
        let plain = plain_name(name);
        let secret =
            SECRET_HEADER_WORDS.iter().any(|word| plain.contains(word)) || plain.ends_with("key");
        if name == "cookie" || name == "set-cookie" {
            // Each value may come back without its name. Behind the first one stand only attributes
            // of a cookie that is set.
            let values = if name == "cookie" { usize::MAX } else { 1 };
            value
                .split(';')
                .take(values)
                .filter_map(|part| part.split_once('='))
                .for_each(|(_, secret)| shown.claim(secret.trim()));
        }
        match secret && !OPEN_HEADERS.contains(&name) {
            true if CREDENTIAL_HEADERS.contains(&name) => self.hide(&value, shown),
            true => self.hide_claimed(&value, shown),
            false => value,
        }
    }

    /// An address without its query and fragment; one with a login is hidden whole.
    fn address(&self, value: String, shown: &mut Shown) -> String {
        if value.contains('@') {
            return self.hide_claimed(&value, shown);
        }
        match value.split_once(['?', '#']) {
            None => value,
            // What holds a secret that is known already is found by that one.
            Some((path, rest)) if self.scrub_text(rest, shown).is_some() => {
                format!("{path}?{}", self.key.digest(rest.as_bytes()))
            }
            Some((path, rest)) => format!("{path}?{}", self.hide_claimed(rest, shown)),
        }
    }

    /// Keeps scheme, key id and signed names; the signature, or all of another scheme's
    /// credentials, go.
    fn authorization(&self, value: &str, shown: &mut Shown) -> String {
        let Some(Authorization { scheme, parameters }) = Authorization::parse(value) else {
            return self.hide_claimed(value, shown);
        };
        if let Some(login) = STANDARD
            .decode(parameters)
            .ok()
            .filter(|_| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|login| String::from_utf8(login).ok())
        {
            shown.claim(login.split_once(':').map_or(login.as_str(), |(_, password)| password));
        }
        if !parameters.contains("Signature=") {
            return format!("{scheme} {}", self.hide_claimed(parameters, shown));
        }
        let part = |part: &str| match part.trim().split_once('=') {
            Some((name @ ("Access" | "Credential" | "SignedHeaders"), value)) => {
                format!("{name}={value}")
            }
            Some((name, secret)) => format!("{name}={}", self.hide_claimed(secret, shown)),
            None => self.hide_claimed(part, shown),
        };
        let parts: Vec<String> = parameters.split(',').map(part).collect();
        format!("{scheme} {}", parts.join(", "))
    }

    /// A raw query. The values of `open` parameters, which a document names, stay; of others nobody
    /// knows what they hold.
    pub fn query(&self, raw: &str, open: &[&str], shown: &mut Shown) -> String {
        let decode = |text: &str| percent_decode(text).unwrap_or_else(|| text.to_owned());
        let part = |part: &str| {
            let (name, value) =
                part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
            let known = decode(name);
            // `;` parts two parameters to some readers: then the first one's value holds the
            // second.
            if open.contains(&known.as_str()) && !is_secret_name(&known) && !part.contains(';') {
                return part.to_owned();
            }
            let Some(value) = value else { return self.hide_claimed(&known, shown) };
            let name =
                if name.len() > 64 { self.hide_claimed(&known, shown) } else { name.to_owned() };
            if value.is_empty() {
                format!("{name}=")
            } else {
                format!("{name}={}", self.hide_claimed(&decode(value), shown))
            }
        };
        raw.split('&').map(part).collect::<Vec<_>>().join("&")
    }

    /// A body: marked places, then names. True when something was replaced.
    pub fn body(&self, body: &mut Value, marked: &[Vec<Step>], shown: &mut Shown) -> bool {
        let mut changed = false;
        for place in marked {
            self.hide_at(body, place, shown, &mut changed);
        }
        self.hide_names(body, shown, &mut changed);
        changed
    }

    /// The values of fields that a document does not name although it names all. True when
    /// something was replaced.
    pub fn undocumented(&self, value: &mut Value, shape: &Shape, shown: &mut Shown) -> bool {
        let mut changed = false;
        match (shape, value) {
            (Shape::Object { fields, additional }, Value::Object(object)) => {
                for (name, inner) in object {
                    match fields.iter().find(|field| field.name == *name) {
                        Some(field) => changed |= self.undocumented(inner, &field.shape, shown),
                        None if !additional => self.hide_value(inner, shown, &mut changed),
                        None => {}
                    }
                }
            }
            (Shape::Array { element, .. }, Value::Array(elements)) => {
                changed = elements
                    .iter_mut()
                    .fold(false, |changed, e| self.undocumented(e, element, shown) | changed);
            }
            (Shape::Any, _) => {}
            (Shape::Object { .. } | Shape::Array { .. }, other)
            | (_, other @ (Value::Object(_) | Value::Array(_))) => {
                self.hide_value(other, shown, &mut changed);
            }
            _ => {}
        }
        changed
    }

    fn hide_at(&self, value: &mut Value, place: &[Step], shown: &mut Shown, changed: &mut bool) {
        match place.split_first() {
            None => self.hide_value(value, shown, changed),
            Some((Step::Field(name), rest)) => {
                if let Some(inner) = value.get_mut(name) {
                    self.hide_at(inner, rest, shown, changed);
                }
            }
            Some((Step::Each, rest)) => {
                for element in value.as_array_mut().into_iter().flatten() {
                    self.hide_at(element, rest, shown, changed);
                }
            }
        }
    }

    fn hide_names(&self, value: &mut Value, shown: &mut Shown, changed: &mut bool) {
        match value {
            Value::Object(object) => {
                for (name, inner) in object {
                    if is_key_number(name, inner) {
                        self.hide_value(inner, shown, changed);
                        continue;
                    }
                    let plain = plain_name(name);
                    if SECRET_NAMES.contains(&plain.as_str()) {
                        self.hide_value(inner, shown, changed);
                    } else if SECRET_WORDS.iter().any(|word| plain.contains(word)) {
                        self.hide_below(inner, shown, changed);
                    } else {
                        self.hide_names(inner, shown, changed);
                    }
                }
            }
            Value::Array(elements) => {
                elements.iter_mut().for_each(|e| self.hide_names(e, shown, changed))
            }
            _ => {}
        }
    }

    /// All texts and numbers of a value whose structure says something: `{"reset-password":
    /// {"is_check_password": true}}`.
    fn hide_below(&self, value: &mut Value, shown: &mut Shown, changed: &mut bool) {
        match value {
            Value::Object(object) => {
                object.values_mut().for_each(|inner| self.hide_below(inner, shown, changed))
            }
            Value::Array(elements) => {
                elements.iter_mut().for_each(|e| self.hide_below(e, shown, changed))
            }
            _ => self.hide_value(value, shown, changed),
        }
    }

    fn hide_value(&self, value: &mut Value, shown: &mut Shown, changed: &mut bool) {
        let secret = match &*value {
            Value::Null | Value::Bool(_) => return,
            Value::String(text) if text.is_empty() || text.starts_with("hmac-sha256:") => return,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *value = Value::String(self.hide(&secret, shown));
        *changed = true;
    }

    fn hide(&self, secret: &str, shown: &mut Shown) -> String {
        shown.note(secret);
        self.key.digest(secret.as_bytes())
    }

    fn hide_claimed(&self, secret: &str, shown: &mut Shown) -> String {
        shown.claim(secret);
        self.key.digest(secret.as_bytes())
    }

    /// The last pass over everything that is about to be written: texts that look secret, and
    /// echoes of what was shown. True when something was replaced.
    pub fn scrub(&self, value: &mut Value, shown: &Shown) -> bool {
        match value {
            Value::String(text) => match self.scrub_text(text, shown) {
                Some(clean) => {
                    *text = clean;
                    true
                }
                None => false,
            },
            Value::Array(elements) => {
                elements.iter_mut().fold(false, |changed, e| self.scrub(e, shown) | changed)
            }
            Value::Object(object) => {
                let mut changed =
                    object.values_mut().fold(false, |changed, v| self.scrub(v, shown) | changed);
                // A secret sent as a name: rare, and so rebuilt only when found.
                if object.keys().any(|name| self.scrub_text(name, shown).is_some()) {
                    let entries = std::mem::take(object);
                    *object = entries
                        .into_iter()
                        .map(|(name, v)| (self.scrub_text(&name, shown).unwrap_or(name), v))
                        .collect();
                    changed = true;
                }
                changed
            }
            _ => false,
        }
    }

    /// The text without secrets; `None` when it has none. What would be one once its escapes are
    /// decoded is one too: the text then stands decoded.
    pub fn scrub_text(&self, text: &str, shown: &Shown) -> Option<String> {
        let mut whole = None;
        for secret in shown.all() {
            let now = whole.as_deref().unwrap_or(text);
            if now.contains(secret.as_str()) {
                whole = Some(now.replace(secret.as_str(), &self.key.digest(secret.as_bytes())));
            }
        }
        // Most deeply decoded first: between escapes stand only pieces of a secret.
        let readings = readings(whole.as_deref().unwrap_or(text));
        let read = readings.iter().rev().find_map(|reading| self.scrub_plain(reading, shown));
        read.or_else(|| self.scrub_plain(whole.as_deref().unwrap_or(text), shown)).or(whole)
    }

    fn scrub_plain(&self, text: &str, shown: &Shown) -> Option<String> {
        let mut clean = None;
        let echoes = shown.echoes(text);
        if !echoes.is_empty() {
            let mut now = text.to_owned();
            // A private key's text has the public half in it, which is no secret where it stands as
            // a public key.
            let public = public_blob(text);
            let is_public = |range: &Range<usize>| {
                public
                    .as_ref()
                    .is_some_and(|blob| blob.start <= range.start && range.end <= blob.end)
            };
            for (range, secret) in echoes
                .into_iter()
                .rev()
                .filter(|(range, secret)| !(secret.contains("PRIVATE KEY") && is_public(range)))
            {
                now.replace_range(range, &self.key.digest(secret.as_bytes()));
            }
            clean = (now != text).then_some(now);
        }
        let looks = self
            .looks
            .hide(clean.as_deref().unwrap_or(text), |secret| self.key.digest(secret.as_bytes()));
        looks.or(clean)
    }

    /// Which headers a signature covers, and whether the body is among what it covers. `None`
    /// without a signature.
    pub fn signed(headers: &HeaderMap) -> Option<Signed> {
        let names =
            Authorization::parse(headers.get("authorization")?.to_str().ok()?)?.signed_headers();
        let unsigned = headers
            .get("x-sdk-content-sha256")
            .is_some_and(|v| v.as_bytes() == b"UNSIGNED-PAYLOAD");
        (!names.is_empty()).then(|| Signed {
            headers: Bounded::Of(names.into_iter().map(Into::into).collect()),
            body: !unsigned,
        })
    }
}

fn is_secret_name(name: &str) -> bool {
    let plain = plain_name(name);
    SECRET_NAMES.contains(&plain.as_str()) || SECRET_WORDS.iter().any(|word| plain.contains(word))
}

/// The private numbers of a JSON Web Key (RFC 7518, 6).
fn is_key_number(name: &str, value: &Value) -> bool {
    let number = |text: &str| {
        text.len() >= 22
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'/' | b'='))
    };
    matches!(name, "d" | "p" | "q" | "dp" | "dq" | "qi" | "k") && value.as_str().is_some_and(number)
}

/// A name in lower case, without `-`, `_`, and without a namespace before `:`.
fn plain_name(name: &str) -> String {
    let name = name.rsplit_once(':').map_or(name, |(_, last)| last);
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redactor() -> Redactor {
        Redactor::new(DigestKey::new([1; 32])).unwrap()
    }

    #[test]
    fn headers_keep_what_tells_who_and_lose_what_proves_it() {
        let mut headers = HeaderMap::new();
        headers
            .insert("authorization", "SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host;x-sdk-date, Signature=0123456789abcdef0123456789abcdef".parse().unwrap());
        headers.insert("x-auth-token", "MIItoken".parse().unwrap());
        headers.insert("x-sdk-date", "20261122T142050Z".parse().unwrap());
        headers.insert("x-acs-signature-nonce", "abc".parse().unwrap());
        let mut shown = Shown::default();
        let text = serde_json::to_string(&redactor().headers(&headers, &mut shown)).unwrap();
        assert!(
            text.contains("Access=AK1, SignedHeaders=host;x-sdk-date, Signature=hmac-sha256:"),
            "{text}"
        );
        assert!(text.contains("20261122T142050Z"));
        for secret in ["0123456789abcdef", "MIItoken", "\"abc\""] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn bodies_lose_marked_places_and_secret_names_at_any_depth() {
        let mut body = json!({"server": {"auth": {"type": "keypair", "key": "k-secret"}}, "list": [{"private_key": "p", "OS-EXT-SRV-ATTR:user_data": "u"}], "AdminPass": 5, "key": "ssh-ed25519 AAAA", "password": null});
        let place = vec![
            Step::Field("server".into()),
            Step::Field("auth".into()),
            Step::Field("key".into()),
        ];
        let mut shown = Shown::default();
        assert!(redactor().body(&mut body, &[place], &mut shown));
        assert_eq!(body["server"]["auth"]["key"], redactor().digest(b"k-secret"));
        assert_eq!(body["list"][0]["private_key"], redactor().digest(b"p"));
        assert_eq!(body["list"][0]["OS-EXT-SRV-ATTR:user_data"], redactor().digest(b"u"));
        assert_eq!(body["AdminPass"], redactor().digest(b"5"));
        assert_eq!(body["key"], "ssh-ed25519 AAAA");
        assert_eq!(body["password"], Value::Null);
    }

    #[test]
    fn echoes_and_look_alikes_are_scrubbed_wherever_they_stand() {
        let mut shown = Shown::default();
        let query = redactor().query(
            "accessToken=pt%2Dabcdefgh&x=1&%79=2",
            &["x", "y", "accessToken"],
            &mut shown,
        );
        assert!(query.ends_with("&x=1&%79=2") && !query.contains("abcdefgh"), "{query}");
        let mut leaf = json!({"error": "canonical request: x-token:pt-abcdefgh;", "pt-abcdefgh": 1, "pem": "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\nb", "cut": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb", "raw": "pt%2Dabcdefgh"});
        assert!(redactor().scrub(&mut leaf, &shown));
        let text = leaf.to_string();
        for secret in ["pt-abcdefgh", "pt%2Dabcdefgh", "BEGIN", "b3Blb", "MIIB"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(!redactor().scrub(&mut leaf, &shown), "a second pass finds nothing");
    }

    #[test]
    fn the_signed_headers_are_told() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "authorization",
            "SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host;x-sdk-date, Signature=00"
                .parse()
                .unwrap(),
        );
        assert_eq!(
            Redactor::signed(&headers),
            Some(Signed {
                headers: Bounded::Of(vec!["host".to_owned(), "x-sdk-date".to_owned()]),
                body: true
            })
        );
    }
}
