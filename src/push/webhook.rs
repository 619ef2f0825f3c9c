//! Webhooks: batches of JSON lines by POST over TLS. A status of 2xx confirms the whole batch.

use super::tls::Connector;
use crate::audit::export::Line;
use crate::client;
use crate::secret::check_private;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use std::path::Path;

/// Where to, on a connection that is there.
#[derive(Clone, Debug)]
pub(super) struct Post<'a> {
    pub host: &'a str,
    pub port: u16,
    pub target: &'a str,
    pub token_file: Option<&'a Path>,
}

impl Post<'_> {
    /// Posts lines.
    pub async fn deliver(&self, connector: &Connector, lines: &[Line]) -> Result<(), String> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_owned() };
        let host = if self.port == 443 { host } else { format!("{host}:{}", self.port) };
        let body: Vec<u8> = lines.iter().flat_map(|line| line.bytes.iter().copied()).collect();
        let mut request = http::Request::post(self.target).header(HOST, host).header(CONTENT_TYPE, "application/x-ndjson");
        request = request.header(USER_AGENT, concat!("keyward/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = self.token_file {
            // Read each time, so that it can be renewed.
            request = request.header(AUTHORIZATION, read_token(file)?);
        }
        let request = request.body(body.into()).map_err(|error| error.to_string())?;
        let response = client::over(connector.connect().await?, request).await.map_err(|error| format!("the connection broke: {error}"))?;
        // What it says may repeat what it was sent, the token too: its status is enough.
        if response.status().is_success() { Ok(()) } else { Err(format!("the receiver answered {}", response.status())) }
    }
}

/// The header that shows a token.
pub(super) fn read_token(file: &Path) -> Result<HeaderValue, String> {
    let name = file.display();
    check_private(file).map_err(|error| format!("token_file {name}: {error}"))?;
    let token = std::fs::read_to_string(file).map_err(|error| format!("token_file {name}: {error}"))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| format!("token_file {name} holds no token"))?;
    value.set_sensitive(true);
    if token.trim().is_empty() { Err(format!("token_file {name} is empty")) } else { Ok(value) }
}
