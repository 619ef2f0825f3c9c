//! What changes the trail, for whoever holds the operator's token: a file in the trail's folder
//! that is made at each start, so that who may ask is who may read that folder.

use super::AdminState;
use super::trail::problem;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use keyward_core::error_chain::error_chain;
use keyward_trail::retention::erasure::{Erasure, ErasureError};
use serde_json::json;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The token's file in the trail's folder.
pub const TOKEN_FILE: &str = "operator.token";

/// The token. Prints itself as hidden.
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl Token {
    /// A new one, in its file, readable by the owner alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(audit_dir: &Path) -> std::io::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
        let token = hex::encode(random);
        let (path, new) = (audit_dir.join(TOKEN_FILE), audit_dir.join(".operator.token.new"));
        std::fs::remove_file(&new).or_else(|error| {
            if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        })?;
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        std::io::Write::write_all(&mut file, token.as_bytes())?;
        std::fs::rename(&new, path)?;
        Ok(Self(token))
    }

    /// The one of a running gateway.
    ///
    /// # Errors
    /// When the file is not there, or not for the one who asks.
    pub fn read(audit_dir: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(audit_dir.join(TOKEN_FILE))
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        // Whoever guesses learns nothing from the time that it takes.
        shown.is_some_and(|shown| {
            shown.len() == self.0.len()
                && shown.bytes().zip(self.0.bytes()).fold(0, |wrong, (a, b)| wrong | (a ^ b)) == 0
        })
    }
}

/// Erases the bodies of one exchange.
pub async fn erase(
    State(state): State<Arc<AdminState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !state.token.is_shown(&headers) {
        let file = state.audit_dir.join(TOKEN_FILE);
        return problem(
            401,
            &format!(
                "this changes the trail: show the token of `{}` as Authorization: Bearer",
                file.display()
            ),
        );
    }
    let erasure: Erasure = match serde_json::from_slice(&body) {
        Ok(erasure) => erasure,
        Err(error) => return problem(400, &format!("send {{\"id\": …, \"reason\": …}}: {error}")),
    };
    let by = super::asker::who(from, &headers);
    let (keeper, gate) = (Arc::clone(&state.keeper), Arc::clone(&state.gate));
    let done = state.workers.run(move || {
        let holds = keeper
            .retention()
            .holds()
            .map_err(|error| ErasureError::Conflict(error.to_string()))?;
        erasure.run(&gate.journal, &holds, by)
    });
    match done.await {
        Ok(Ok(erased)) => Json(erased).into_response(),
        Ok(Err(error)) => problem(status(&error), &error_chain(&error)),
        Err(error) => problem(500, &json!(error.to_string()).to_string()),
    }
}

fn status(error: &ErasureError) -> u16 {
    match error {
        ErasureError::Asked(_) => 400,
        ErasureError::Nothing(_) => 404,
        ErasureError::Conflict(_) => 409,
        ErasureError::Query(_) | ErasureError::Filter(_) | ErasureError::Store(_) => 500,
        ErasureError::Journal(_) => 503,
    }
}
