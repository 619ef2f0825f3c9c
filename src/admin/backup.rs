//! A backup on the admin listener: an archive of all that the trail is, while it grows. On record,
//! as exports are.

use super::AdminState;
use super::asker::who;
use super::trail::problem;
use crate::backup::Snapshot;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use keyward_record::Event;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc::{Sender, channel};

/// Bytes of one piece.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for whoever takes them.
const PIECES: usize = 8;

/// Makes a snapshot and sends it.
pub async fn backup(
    State(state): State<Arc<AdminState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let Some(store) = state.gate.journal.tiered() else {
        return problem(409, "this trail has no sealed segments");
    };
    let dir = state.audit_dir.clone();
    let snapshot = match state.workers.run(move || Snapshot::make(&store, &dir)).await {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(error)) => return problem(500, &format!("{error:#}")),
        Err(error) => return problem(500, &error.to_string()),
    };
    let records = snapshot.manifest.trail.end;
    let begun = Event::BackupBegun { by: who(from, &headers), records }.record();
    let id = begun.id.to_string();
    if let Err(error) = state.gate.journal.append(begun).await {
        return problem(503, &format!("the backup cannot be recorded, so it is not made: {error}"));
    }
    let bytes = snapshot.bytes();
    let (pieces, mut taken) = channel(PIECES);
    let gate = Arc::clone(&state.gate);
    let write = move || {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
        let sent = snapshot.write(&mut out, |_| ()).and_then(|()| Ok(out.flush()?));
        if let Err(error) = &sent {
            tracing::error!(error = format!("{error:#}"), "a backup broke off");
            // The connection breaks, so that nobody takes it for whole.
            pieces.blocking_send(Err(io::Error::other(error.to_string()))).ok();
        }
        gate.journal
            .append_detached(Event::BackupEnded { backup: id, whole: sent.is_ok() }.record());
        drop(snapshot);
    };
    tokio::spawn(async move { state.workers.run(write).await });
    let stream = futures::stream::poll_fn(move |context| taken.poll_recv(context));
    (
        [
            (header::CONTENT_TYPE, "application/x-tar".to_owned()),
            (header::HeaderName::from_static("x-keyward-bytes"), bytes.to_string()),
        ],
        Body::from_stream(stream),
    )
        .into_response()
}

/// What is written goes to whoever asked; it waits when they are slow, and fails when they have
/// left.
struct Pieces(Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
