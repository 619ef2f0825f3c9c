//! The trail on the admin listener: questions in URLs, answers as JSON, JSON lines or tables.

use super::AdminState;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use keyward_core::texts;
use keyward_trail::query::ask::{Answer, Ask, AskError, WARNINGS, warnings_header};
use serde_json::json;
use std::sync::Arc;

/// Answers one question. Reading is blocking work and may take a while on a long trail; it ends
/// when whoever asked has gone.
pub async fn answer(
    State(state): State<Arc<AdminState>>,
    uri: Uri,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    // Dropped with this answer, when the connection is: then nobody waits for what is still being
    // read.
    let (reader, _asker) = state.reader().asked();
    let path = uri.path().to_owned();
    let answered = state.workers.run(move || {
        let (ask, form) = Ask::read(&path, pairs)?;
        Ok::<_, AskError>((form, ask.answer(&reader, form)?))
    });
    match answered.await {
        Ok(Ok((form, Answer { text, warnings }))) => (
            [
                (header::CONTENT_TYPE.as_str(), form.media_type().to_owned()),
                (WARNINGS, warnings_header(&warnings)),
            ],
            text,
        )
            .into_response(),
        Ok(Err(AskError::Missing { id, .. })) if state.gate.floods.is_pending(id) => problem(
            404,
            &format!(
                "{id} is one of many equal refusals that are counted together: their record is written when the minute is over"
            ),
        ),
        Ok(Err(error)) => problem(error.status(), &error.to_string()),
        Err(error) => problem(500, &error.to_string()),
    }
}

/// The policies, or the catalogue, that records name by this hash.
pub async fn text(State(state): State<Arc<AdminState>>, Path(hash): Path<String>) -> Response {
    let (dir, wanted) = (state.audit_dir.clone(), hash.clone());
    match state.workers.run(move || texts::read(&dir, &wanted)).await {
        Ok(Ok(Some(text))) => Json(text).into_response(),
        Ok(Ok(None)) => problem(404, &format!("no text is kept under `{hash}`")),
        Ok(Err(error)) => problem(500, &error.to_string()),
        Err(error) => problem(500, &error.to_string()),
    }
}

pub(super) fn problem(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"error": message}).to_string() + "\n";
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
