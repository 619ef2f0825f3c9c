//! An answer becomes bytes on the wire; what a fault does to them.

use super::control::FaultMode;
use super::errors::Success;
use super::state::new_id;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use keyward_decision::catalog::Target;
use serde_json::Value;
use std::time::Duration;

/// Lets the bytes before a cut leave the machine.
const CUT_PAUSE: Duration = Duration::from_millis(30);

/// An answer.
pub(super) struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `X-Request-Id`.
    pub request_id: String,
    media_type: String,
    body: Bytes,
}

impl Reply {
    /// A JSON body under a known id.
    pub fn json(status: u16, request_id: String, body: &Value) -> Self {
        Self {
            status,
            request_id,
            media_type: "application/json".to_owned(),
            body: body.to_string().into(),
        }
    }

    /// A call that went well. The status is the first 2xx that the catalogue documents, for
    /// operations do not agree on one.
    pub fn success(target: &Target, request_id: String, success: Success) -> Self {
        let answers = match target {
            Target::Operation(operation, _) => Some(&operation.answers),
            Target::Passthrough(_) | Target::Unknown(..) => None,
        };
        let is_success = |status: &u16| (200..300).contains(status);
        let documented = answers.and_then(|answers| {
            answers.iter().find_map(|(status, answer)| {
                Some((status.parse().ok().filter(is_success)?, answer))
            })
        });
        let status = documented.map_or(200, |(status, _)| status);
        let (media_type, body) = match (success, documented) {
            (Success::Json(value), _) => ("application/json", value.to_string().into()),
            (Success::Zip(bytes), _) => ("application/zip", bytes.into()),
            (Success::Example, Some((_, answer))) => (
                answer.media_type.as_str(),
                answer.example.as_ref().map_or_else(Bytes::new, |e| e.to_string().into()),
            ),
            (Success::Empty | Success::Example, _) => ("", Bytes::new()),
        };
        Self { status, request_id, media_type: media_type.to_owned(), body }
    }

    /// As bytes, with what the fault does to them. `slow` is how long a slow answer takes.
    pub async fn send(self, fault: FaultMode, slow: Duration) -> Response {
        let length = self.body.len();
        let body = match fault {
            FaultMode::Slow => {
                tokio::time::sleep(slow / 2).await;
                let pieces = self
                    .body
                    .chunks(length.div_ceil(8).max(1))
                    .map(|piece| (slow / 16, Some(Bytes::copy_from_slice(piece))));
                stream(pieces.collect())
            }
            FaultMode::CutAfterHead => stream(vec![(CUT_PAUSE, None)]),
            FaultMode::CutMidBody => stream(vec![
                (Duration::ZERO, Some(self.body.slice(..length / 2))),
                (CUT_PAUSE, None),
            ]),
            FaultMode::None | FaultMode::Hang | FaultMode::Refuse503 => Body::from(self.body),
        };
        // A 204 has no body that could be cut.
        let mut response = Response::new(if length == 0 { Body::empty() } else { body });
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert("x-request-id", id);
        }
        if length > 0 {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Ok(media_type) = HeaderValue::from_str(&self.media_type)
            && length > 0
        {
            headers.insert(CONTENT_TYPE, media_type);
        }
        response
    }
}

impl From<(u16, Value)> for Reply {
    fn from((status, body): (u16, Value)) -> Self {
        Self::json(status, new_id(), &body)
    }
}

/// Pieces after pauses; `None` breaks the connection off.
fn stream(pieces: Vec<(Duration, Option<Bytes>)>) -> Body {
    let paced = |(pause, piece): (Duration, Option<Bytes>)| async move {
        tokio::time::sleep(pause).await;
        piece.ok_or_else(|| std::io::Error::other("cut"))
    };
    Body::from_stream(futures::stream::iter(pieces).then(paced))
}
