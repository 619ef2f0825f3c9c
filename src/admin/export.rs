//! Exports on the admin listener: a stream of lines, as long as the trail, or without end for
//! whoever follows it.
//!
//! What leaves the trail is itself on record: who asked for what, before the first byte; how much
//! it was, at the end.

use super::AdminState;
use super::asker::{PURPOSE, who};
use super::pack::GivenOut;
use super::trail::problem;
use crate::gate::Gate;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use keyward_pack::making::{EXPORT_ID, Given, PURPOSE as FOR_A_PACK};
use keyward_record::Event;
use keyward_record::event::By;
use keyward_trail::export::format::ExportFormat;
use keyward_trail::export::{Export, ExportError, Exporter, Start, State as Progress, Step, WHOLE};
use keyward_trail::filter::Filter;
use keyward_trail::query::QueryError;
use keyward_trail::query::ask::{WARNINGS, warnings_header};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a follower looks for new records.
const POLL: Duration = Duration::from_millis(100);
/// How often a follower is told that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Begins an export, once it is on record.
pub async fn export(
    State(state): State<Arc<AdminState>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let (export, numbered) = match Export::read(&pairs) {
        Ok(read) => read,
        Err(error) => return problem(400, &error.to_string()),
    };
    let reader = state.reader();
    let asked = export.clone();
    let exporter = match state.workers.run(move || Exporter::new(reader, asked)).await {
        Ok(Ok(exporter)) => exporter,
        Ok(Err(ExportError::Query(error @ (QueryError::Unknown(_) | QueryError::Times(_))))) => {
            return problem(400, &error.to_string());
        }
        Ok(Err(error)) => return problem(409, &error.to_string()),
        Err(error) => return problem(500, &error.to_string()),
    };
    let begun = begun(&export, &exporter, who(from, &headers)).record();
    let id = begun.id.to_string();
    if let Err(error) = state.gate.journal.append(begun).await {
        return problem(
            503,
            &format!(
                "the export cannot be recorded, so it is not made: {error}; a stopped gateway's trail can be read with --dir"
            ),
        );
    }
    let end = exporter.end();
    let warnings = warnings_header(exporter.warnings());
    let for_a_pack = export.form == ExportFormat::Exchange
        && !export.follow
        && headers.get(PURPOSE).is_some_and(|purpose| purpose == FOR_A_PACK);
    let given = for_a_pack.then(Given::default);
    let account = Account {
        gate: Arc::clone(&state.gate),
        export: id.clone(),
        lines: 0,
        bytes: 0,
        next: exporter.next(),
        whole: false,
    };
    let header =
        if numbered || matches!(export.start, Start::At(_)) { "" } else { export.form.header() };
    let stream = Stream {
        exporter: Some(exporter),
        state,
        numbered,
        header,
        told: None,
        account,
        given,
        filter: export.filter,
        end,
    };
    let body = Body::from_stream(futures::stream::unfold(stream, |mut stream| async {
        stream.next().await.map(|piece| (piece, stream))
    }));
    let media_type = if numbered { "text/plain; charset=utf-8" } else { export.form.media_type() };
    let mut response = ([(header::CONTENT_TYPE, media_type)], body).into_response();
    if let Some(end) = end {
        response.headers_mut().insert("x-keyward-end", end.into());
    }
    if let Ok(warnings) = warnings.parse() {
        response.headers_mut().insert(WARNINGS, warnings);
    }
    if let Ok(id) = id.parse() {
        response.headers_mut().insert(EXPORT_ID, id);
    }
    response
}

fn begun(export: &Export, exporter: &Exporter, by: By) -> Event {
    let filter = export.filter.terms();
    Event::ExportBegun {
        by,
        form: export.form.name().to_owned(),
        filter,
        follow: export.follow,
        cursor: exporter.next(),
        end: exporter.end(),
    }
}

/// An export on its way to whoever asked.
struct Stream {
    /// `None` when it has ended.
    exporter: Option<Exporter>,
    state: Arc<AdminState>,
    /// Each line begins with the cursor behind it and a tab, or is continued by the next.
    numbered: bool,
    header: &'static str,
    /// When a follower last heard of the cursor.
    told: Option<Instant>,
    account: Account,
    /// What was given out for a pack.
    given: Option<Given>,
    filter: Filter,
    end: Option<u64>,
}

impl Stream {
    /// The next piece; the stream breaks off when the trail cannot be read further.
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        let mut piece = std::mem::take(&mut self.header).as_bytes().to_vec();
        loop {
            let mut exporter = self.exporter.take()?;
            let mut given = self.given.take();
            let stepped = self.state.workers.run(move || {
                let step = exporter.step();
                if let (Some(given), Ok(step)) = (&mut given, &step) {
                    step.lines.iter().for_each(|line| given.add_line(&line.bytes));
                }
                (exporter, given, step)
            });
            let (exporter, step) = match stepped.await {
                Ok((exporter, given, Ok(step))) => {
                    self.given = given;
                    (exporter, step)
                }
                Ok((.., Err(error))) => return Some(Err(self.broken(&error.to_string()))),
                Err(error) => return Some(Err(self.broken(&error.to_string()))),
            };
            self.write(&step, &mut piece);
            match step.state {
                Progress::Ended => {
                    self.account.whole = true;
                    if let Some(given) = self.given.take() {
                        self.state.given.keep(
                            &self.account.export,
                            GivenOut { given, filter: self.filter.clone(), end: self.end },
                        );
                    }
                    if self.numbered {
                        piece.extend_from_slice(format!("{WHOLE}\n").as_bytes());
                    }
                }
                Progress::Later if self.state.phase.is_stopping() => {}
                Progress::More | Progress::Later => self.exporter = Some(exporter),
            }
            if !piece.is_empty() || self.exporter.is_none() {
                return Some(Ok(piece.into()));
            }
            if step.state == Progress::Later {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    fn write(&mut self, step: &Step, piece: &mut Vec<u8>) {
        for line in &step.lines {
            if self.numbered {
                line.write_numbered(piece);
            } else {
                piece.extend_from_slice(&line.bytes);
            }
            self.account.lines += 1;
            self.account.bytes += line.bytes.len() as u64;
        }
        self.account.next = step.next;
        // A cursor that goes on without lines is worth telling, and so is that the connection
        // lives.
        let due = self.told.is_none_or(|told| told.elapsed() >= HEARTBEAT)
            || step.state == Progress::Ended;
        if self.numbered && (due || !piece.is_empty()) {
            piece.extend_from_slice(format!("{}\t\n", step.next).as_bytes());
            self.told = Some(Instant::now());
        }
    }

    fn broken(&self, error: &str) -> String {
        tracing::error!(export = self.account.export, error, "an export broke off");
        error.to_owned()
    }
}

/// What was handed over. On record when the export ends, however it does.
struct Account {
    gate: Arc<Gate>,
    export: String,
    lines: u64,
    bytes: u64,
    next: u64,
    whole: bool,
}

impl Drop for Account {
    fn drop(&mut self) {
        let Self { export, lines, bytes, next, whole, .. } = self;
        let event = Event::ExportEnded {
            export: std::mem::take(export),
            lines: *lines,
            bytes: *bytes,
            cursor: *next,
            whole: *whole,
        };
        self.gate.journal.append_detached(event.record());
    }
}
