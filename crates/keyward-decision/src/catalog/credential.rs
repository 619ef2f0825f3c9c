//! Credentials: which of them a service verifies. One that it does not verify says nothing of who
//! asks there.

use super::schema::{SchemaFault, escape};
use crate::request::Authorization;
use serde_json::{Map, Value};

/// The credentials that services verify, from the `securitySchemes` of their documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Families of signatures in `Authorization`: `SDK` for SDK-HMAC-SHA256 and its kin.
    pub signatures: Vec<String>,
    /// Other schemes in `Authorization`: `bearer`, `basic`.
    pub schemes: Vec<String>,
    /// Headers that carry a token; in lower case.
    pub headers: Vec<String>,
    /// Query parameters that carry a token.
    pub parameters: Vec<String>,
}

impl Credentials {
    /// Reads the security schemes of one document.
    ///
    /// # Errors
    /// For a scheme that cannot be read, with its place.
    pub fn read(root: &Value) -> Result<Self, SchemaFault> {
        let mut read = Self::default();
        let schemes = root.pointer("/components/securitySchemes").and_then(Value::as_object);
        for (name, scheme) in schemes.into_iter().flatten() {
            let pointer = format!("/components/securitySchemes/{}", escape(name));
            let fault = |why: String| SchemaFault { pointer: pointer.clone(), why };
            let scheme = scheme.as_object().ok_or_else(|| fault("must be an object".to_owned()))?;
            read.add(scheme).map_err(fault)?;
        }
        Ok(read)
    }

    fn add(&mut self, scheme: &Map<String, Value>) -> Result<(), String> {
        let text = |key: &str| scheme.get(key).and_then(Value::as_str);
        if let Some(key) =
            scheme.keys().find(|key| key.starts_with("x-keyward-") && *key != SIGNATURES)
        {
            return Err(format!(
                "`{key}` is not an extension of this place; known here: {SIGNATURES}"
            ));
        }
        let signed = (text("type"), text("in")) == (Some("apiKey"), Some("header"))
            && text("name").is_some_and(|name| name.eq_ignore_ascii_case("authorization"));
        if !signed && scheme.contains_key(SIGNATURES) {
            return Err(format!("`{SIGNATURES}` belongs to an apiKey in the header Authorization"));
        }
        match (text("type"), text("in"), text("name"), text("scheme")) {
            _ if signed => self.signatures.extend(families(scheme)?),
            (Some("apiKey"), Some("header"), Some(name), _) => {
                self.headers.push(name.to_ascii_lowercase())
            }
            (Some("apiKey"), Some("query"), Some(name), _) => self.parameters.push(name.to_owned()),
            (Some("http"), _, _, Some(name))
                if Authorization::SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(name)) =>
            {
                self.schemes.push(name.to_ascii_lowercase());
            }
            _ => {
                return Err(
                    "must be an apiKey in header or query, or http with the scheme bearer or basic"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Adds another service's.
    pub fn join(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.signatures, &other.signatures),
            (&mut self.schemes, &other.schemes),
            (&mut self.headers, &other.headers),
            (&mut self.parameters, &other.parameters),
        ] {
            let new: Vec<_> = theirs.iter().filter(|name| !mine.contains(name)).cloned().collect();
            mine.extend(new);
        }
    }

    /// Whether a credential that was shown in a scheme, a header or a parameter of this name is
    /// verified.
    pub fn verify(&self, name: &str) -> bool {
        let signature = name
            .split_once('-')
            .is_some_and(|(family, _)| self.signatures.iter().any(|known| known == family));
        signature
            || self.schemes.iter().any(|known| known.eq_ignore_ascii_case(name))
            || self.headers.iter().chain(&self.parameters).any(|known| known == name)
    }
}

const SIGNATURES: &str = "x-keyward-signatures";

fn families(scheme: &Map<String, Value>) -> Result<Vec<String>, String> {
    let known: Vec<&str> = Authorization::families().collect();
    let given = scheme.get(SIGNATURES).and_then(Value::as_array).filter(|given| !given.is_empty());
    let given = given.ok_or_else(|| {
        format!("`{SIGNATURES}` must list families of signatures; known are {}", known.join(", "))
    })?;
    let family =
        |value: &Value| value.as_str().filter(|family| known.contains(family)).map(str::to_owned);
    let read: Option<Vec<String>> = given.iter().map(family).collect();
    read.ok_or_else(|| {
        format!("`{SIGNATURES}` names a family that is not known; known are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(scheme: Value) -> Result<Credentials, String> {
        Credentials::read(&json!({"components": {"securitySchemes": {"s": scheme}}}))
            .map_err(|fault| format!("{}: {}", fault.pointer, fault.why))
    }

    #[test]
    fn a_service_verifies_what_its_document_lists() {
        let mut all = read(json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-keyward-signatures": ["SDK", "V11"]})).unwrap();
        assert!(
            all.verify("SDK-HMAC-SHA256")
                && all.verify("SDK-HMAC-SM3")
                && all.verify("V11-HMAC-SHA256")
        );
        for other in ["ACS3-HMAC-SHA256", "SDKX-HMAC-SHA256", "SDK", "Bearer", "x-auth-token", ""] {
            assert!(!all.verify(other), "{other}");
        }
        all.join(&read(json!({"type": "apiKey", "in": "header", "name": "X-Auth-Token"})).unwrap());
        all.join(&read(json!({"type": "apiKey", "in": "query", "name": "accessToken"})).unwrap());
        all.join(&read(json!({"type": "http", "scheme": "bearer"})).unwrap());
        assert!(all.verify("x-auth-token") && all.verify("accessToken") && all.verify("Bearer"));
        assert!(!all.verify("accesstoken") && !all.verify("Basic"));
        assert_eq!(Credentials::read(&json!({})).unwrap(), Credentials::default());
    }

    #[test]
    fn a_scheme_that_cannot_be_read_is_refused_with_its_place() {
        for (scheme, wanted) in [
            (json!({"type": "apiKey", "in": "header", "name": "Authorization"}), "must list"),
            (
                json!({"type": "apiKey", "in": "header", "name": "authorization", "x-keyward-signatures": []}),
                "must list",
            ),
            (
                json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-keyward-signatures": ["SDk"]}),
                "not known",
            ),
            (
                json!({"type": "apiKey", "in": "header", "name": "x-token", "x-keyward-signatures": ["SDK"]}),
                "belongs to",
            ),
            (
                json!({"type": "apiKey", "in": "header", "name": "x-token", "x-keyward-signature": ["SDK"]}),
                "`x-keyward-signature`",
            ),
            (json!({"type": "apiKey", "in": "cookie", "name": "s"}), "must be an apiKey"),
            (json!({"type": "http", "scheme": "digest"}), "must be an apiKey"),
            (json!({"type": "oauth2"}), "must be an apiKey"),
            (json!(1), "must be an object"),
        ] {
            let why = read(scheme.clone()).unwrap_err();
            assert!(
                why.starts_with("/components/securitySchemes/s: ") && why.contains(wanted),
                "{scheme}: {why}"
            );
        }
    }
}
