//! The secret by which a receiver of POSTs lets us in, and other headers that it wants.

use anyhow::{Context, ensure};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use keyward_core::durable;
use keyward_core::secret::check_private;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Headers that say how a request is framed, or where it goes.
const OWN: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// Headers for POSTs to one receiver.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    token: Option<Token>,
    headers: HeaderMap,
}

#[derive(Clone, Debug)]
struct Token {
    file: PathBuf,
    header: HeaderName,
    scheme: String,
}

/// The same, as configured.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// A file with a token.
    pub token_file: Option<PathBuf>,
    /// The header that shows it: Authorization.
    pub token_header: Option<String>,
    /// What stands before it: `Bearer` in Authorization, nothing in other headers.
    pub token_scheme: Option<String>,
    /// Other headers, which are no secret.
    pub headers: BTreeMap<String, String>,
}

impl Credential {
    /// Reads what is configured.
    ///
    /// # Errors
    /// The keys that are wrong, such as `token_scheme`, each with why.
    pub fn read(written: Written) -> Result<Self, Vec<(&'static str, String)>> {
        let mut wrongs = Vec::new();
        let mut name = |key, name: &str| {
            let why = match HeaderName::try_from(name) {
                Ok(header) if OWN.contains(&header.as_str()) => format!(
                    "`{name}` says how the request is framed or where it goes: leave it out"
                ),
                Ok(header) => return Some(header),
                Err(_) => format!("`{name}` is no name of a header"),
            };
            wrongs.push((key, why));
            None
        };
        let header = written
            .token_header
            .as_ref()
            .map_or(Some(AUTHORIZATION), |text| name("token_header", text));
        let named: Vec<_> = written
            .headers
            .iter()
            .filter_map(|(key, value)| Some((name("headers", key)?, key, value)))
            .collect();
        if written.token_file.is_none() {
            let alone = [
                ("token_header", written.token_header.is_some()),
                ("token_scheme", written.token_scheme.is_some()),
            ];
            wrongs.extend(
                alone
                    .into_iter()
                    .filter(|(_, there)| *there)
                    .map(|(key, _)| (key, "it needs a `token_file`".to_owned())),
            );
        }
        let usual = if header == Some(AUTHORIZATION) { "Bearer" } else { "" };
        let scheme = written.token_scheme.unwrap_or_else(|| usual.to_owned());
        if !scheme.bytes().all(|b| b.is_ascii_graphic()) {
            wrongs.push((
                "token_scheme",
                format!("`{scheme}` is no scheme: write one word, such as `Splunk`"),
            ));
        }
        let token =
            written.token_file.zip(header).map(|(file, header)| Token { file, header, scheme });
        let mut headers = HeaderMap::new();
        for (header, key, value) in named {
            if header == AUTHORIZATION || token.as_ref().is_some_and(|token| token.header == header)
            {
                wrongs.push(("headers", format!("`{key}` is a secret, and would stand in the configuration: put it into a `token_file`")));
                continue;
            }
            match HeaderValue::from_str(value) {
                Ok(value) => {
                    if headers.insert(header, value).is_some() {
                        wrongs.push(("headers", format!("`{key}` stands twice")));
                    }
                }
                Err(_) => {
                    wrongs.push(("headers", format!("`{key}` cannot have the value `{value}`")))
                }
            }
        }
        if wrongs.is_empty() { Ok(Self { token, headers }) } else { Err(wrongs) }
    }

    /// The file with the token, if there is one.
    pub fn token_file(&self) -> Option<&Path> {
        self.token.as_ref().map(|token| token.file.as_path())
    }

    /// The headers for one POST. The token is read each time, so that it can be renewed.
    ///
    /// # Errors
    /// When the token cannot be read, or others can read it too.
    pub fn headers(&self, content_type: &'static str) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("keyward/", env!("CARGO_PKG_VERSION"))),
        );
        headers.extend(self.headers.clone());
        headers.remove(HOST);
        if let Some(token) = &self.token {
            headers.insert(token.header.clone(), token.read()?);
        }
        Ok(headers)
    }
}

impl Token {
    fn read(&self) -> anyhow::Result<HeaderValue> {
        let name = || format!("token_file {}", self.file.display());
        let token = read_private(&self.file).with_context(name)?;
        ensure!(!token.trim().is_empty(), "{} is empty", name());
        let text = format!("{} {}", self.scheme, token.trim());
        let mut value = HeaderValue::from_str(text.trim_start()).with_context(name)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn read_private(file: &Path) -> anyhow::Result<String> {
    check_private(file).map_err(anyhow::Error::msg)?;
    Ok(durable::read_text(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(file: &Path, header: Option<&str>, scheme: Option<&str>) -> Written {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Written {
            token_file: Some(file.to_owned()),
            token_header: own(header),
            token_scheme: own(scheme),
            headers: BTreeMap::new(),
        }
    }

    #[test]
    fn a_token_is_shown_as_its_receiver_wants_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (header, scheme, name, wanted) in [
            (None, None, "authorization", "Bearer s3cret"),
            (None, Some("Splunk"), "authorization", "Splunk s3cret"),
            (None, Some(""), "authorization", "s3cret"),
            (Some("DD-API-KEY"), None, "dd-api-key", "s3cret"),
            (Some("X-Auth"), Some("Key"), "x-auth", "Key s3cret"),
        ] {
            let headers = Credential::read(written(&file, header, scheme))
                .unwrap()
                .headers("text/plain")
                .unwrap();
            assert_eq!(headers.get(name).unwrap(), wanted);
            assert!(
                headers.get(name).unwrap().is_sensitive() && headers.contains_key("content-type")
            );
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Credential::read(written(&file, None, None))
            .unwrap()
            .headers("text/plain")
            .unwrap_err();
        assert!(format!("{error:#}").contains("readable by others"), "{error:#}");
    }

    #[test]
    fn what_cannot_be_a_header_is_named() {
        let file = Path::new("token");
        for (header, scheme, key) in [
            (Some("a b"), None, "token_header"),
            (Some("Content-Length"), None, "token_header"),
            (Some(""), None, "token_header"),
            (None, Some("a b"), "token_scheme"),
            (None, Some("a\r\nb: c"), "token_scheme"),
        ] {
            assert_eq!(
                Credential::read(written(file, header, scheme)).unwrap_err()[0].0,
                key,
                "{header:?} {scheme:?}"
            );
        }
        assert_eq!(
            Credential::read(Written {
                token_scheme: Some("Splunk".to_owned()),
                ..Written::default()
            })
            .unwrap_err()[0]
                .0,
            "token_scheme"
        );
        for (name, value) in
            [("Host", "x"), ("Authorization", "x"), ("X", "a\nb"), ("X-Key", "x"), ("", "x")]
        {
            let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(
                Credential::read(Written { headers, ..written(file, Some("x-key"), None) })
                    .unwrap_err()[0]
                    .0,
                "headers",
                "{name}"
            );
        }
        let headers = BTreeMap::from([
            ("Host".to_owned(), "x".to_owned()),
            ("X".to_owned(), "a\nb".to_owned()),
        ]);
        let wrongs =
            Credential::read(Written { headers, ..written(file, Some("a b"), Some("c d")) })
                .unwrap_err();
        assert_eq!(
            wrongs.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            ["token_header", "headers", "token_scheme", "headers"]
        );
        let headers = BTreeMap::from([("X-Splunk-Request-Channel".to_owned(), "0a1b".to_owned())]);
        let read = Credential::read(Written { headers, ..Written::default() })
            .unwrap()
            .headers("text/plain")
            .unwrap();
        assert_eq!(read.get("x-splunk-request-channel").unwrap(), "0a1b");
    }
}
