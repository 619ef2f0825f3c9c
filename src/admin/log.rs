//! The trail as a tiled transparency log, for anybody's verifier: checkpoint, tiles and records in
//! C2SP's layout.

use super::AdminState;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keyward_tlog::layout::{self, Resource};
use keyward_trail::notary::Served;
use std::sync::Arc;

const TEXT: &str = "text/plain; charset=utf-8";
const NOT_COVERED: &str = "no checkpoint covers it\n";
/// A tile never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// The log's routes.
pub fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route(
            layout::CHECKPOINT,
            get(|State(state): State<Arc<AdminState>>| async move {
                note(state.evidence.notary().checkpoint(false))
            }),
        )
        .route(
            layout::COSIGNED,
            get(|State(state): State<Arc<AdminState>>| async move {
                note(state.evidence.notary().checkpoint(true))
            }),
        )
        .route(
            layout::HISTORY,
            get(|State(state): State<Arc<AdminState>>| async move {
                text(state.evidence.notary().history(), "application/x-ndjson")
            }),
        )
        .route(
            layout::KEYS,
            get(|State(state): State<Arc<AdminState>>| async move {
                text(state.evidence.notary().keys(), TEXT)
            }),
        )
        .route(
            layout::ABSENT,
            get(|State(state): State<Arc<AdminState>>| async move {
                text(state.evidence.notary().absent(), "application/x-ndjson")
            }),
        )
        .route("/tile/{*path}", get(tile))
        .route(&format!("{}/tile/{{*path}}", layout::LEFT), get(left))
}

fn note(note: Option<Vec<u8>>) -> Response {
    match note {
        Some(note) => ([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-cache")], note)
            .into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such checkpoint yet\n").into_response(),
    }
}

fn text(text: std::io::Result<String>, media_type: &'static str) -> Response {
    match text {
        Ok(text) => {
            ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn tile(State(state): State<Arc<AdminState>>, uri: Uri) -> Response {
    let Some(resource) = Resource::parse(uri.path()) else {
        return (StatusCode::BAD_REQUEST, "this is no path of a tile\n").into_response();
    };
    let evidence = Arc::clone(&state.evidence);
    match state.workers.run(move || evidence.notary().resource(resource)).await {
        Ok(Ok(Served::Bytes(bytes))) => (
            [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOR_EVER)],
            bytes,
        )
            .into_response(),
        Ok(Ok(Served::NotCovered)) => (StatusCode::NOT_FOUND, NOT_COVERED).into_response(),
        Ok(Ok(Served::Gone(why))) => (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// What is left of a bundle that is gone in part.
async fn left(State(state): State<Arc<AdminState>>, uri: Uri) -> Response {
    let Some(resource) = uri.path().strip_prefix(layout::LEFT).and_then(Resource::parse) else {
        return (StatusCode::BAD_REQUEST, "this is no path of a bundle\n").into_response();
    };
    let evidence = Arc::clone(&state.evidence);
    match state.workers.run(move || evidence.notary().left(resource)).await {
        Ok(Ok(None)) => (StatusCode::NOT_FOUND, NOT_COVERED).into_response(),
        Ok(left) => text(left.map(Option::unwrap_or_default), "application/x-ndjson"),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
