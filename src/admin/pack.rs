//! The making of evidence packs, on record. What a pack holds is told by whoever makes it; what was
//! given out for it, by the gateway's own count of the export behind it.

use super::AdminState;
use super::trail::problem;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use keyward_pack::making::{Given, Making};
use keyward_trail::filter::Filter;
use serde_json::json;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Exports whose pack may still be told of. Each has a few hundred bytes, and its filter.
const KEPT_MAX: usize = 64;

/// What an export has given out for a pack.
#[derive(Clone, Debug)]
pub(super) struct GivenOut {
    pub given: Given,
    pub filter: Filter,
    pub end: Option<u64>,
}

/// The exports that have ended, and whose packs were not told of yet.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<VecDeque<(String, GivenOut)>>);

impl Awaited {
    pub fn keep(&self, export: &str, given: GivenOut) {
        let mut awaited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if awaited.len() >= KEPT_MAX {
            awaited.pop_front();
        }
        awaited.push_back((export.to_owned(), given));
    }

    /// Each once: a second pack needs an export of its own.
    fn take(&self, export: &str) -> Option<GivenOut> {
        let mut awaited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = awaited.iter().position(|(known, _)| known == export)?;
        awaited.remove(at).map(|(_, given)| given)
    }
}

/// Records that a pack was made.
pub async fn made(
    State(state): State<Arc<AdminState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let making: Making = match serde_json::from_slice(&body) {
        Ok(making) => making,
        Err(error) => {
            return problem(400, &format!("send {{\"export\": …, \"sums\": …}}: {error}"));
        }
    };
    if !making.is_sound() {
        return problem(
            400,
            "`sums` takes `sha256:` and 64 hexadecimal digits: the digest of the pack's SHA256SUMS",
        );
    }
    let Some(out) = state.given.take(&making.export) else {
        return problem(
            409,
            "no export for an evidence pack has ended under this id, or its pack is on record already: make the pack anew",
        );
    };
    if !out.given.is_whole() {
        return problem(
            409,
            "records of that export could not be read as JSON: no pack of them can be recorded; see what `keyward audit verify` says",
        );
    }
    let record =
        out.given.event(&making, &out.filter, out.end, super::asker::who(from, &headers)).record();
    let id = record.id.to_string();
    match state.gate.journal.append(record).await {
        Ok(receipt) => Json(json!({"id": id, "record": receipt.seq()})).into_response(),
        Err(error) => problem(503, &format!("the making of the pack cannot be recorded: {error}")),
    }
}
