//! Request bodies to checked events: limits, deadlines, one parse.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State as Shared};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::problem::ApiError;
use super::share::{Held, REFUSAL_DELAY, Shares, Slice};
use super::{Api, edge};
use crate::event::{self, CheckedEvent, Problem};
use crate::journal::{NewEvent, Scope};
use crate::json::{self, MAX_PROBLEMS};

/// Largest request.
const MAX_REQUEST: usize = 1024 * 1024;
/// Largest event.
pub(super) const MAX_EVENT: usize = 64 * 1024;
/// Read and thrown away before a too large request is answered, so that its connection stays usable.
const MAX_DRAIN: usize = 8 * 1024 * 1024;
/// A body larger than this costs noticeably more than an event does.
const LARGE: usize = 8 * 1024;
/// For each piece of a body.
const PIECE_DEADLINE: Duration = Duration::from_secs(10);
/// For a whole body.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Events of one request, each checked.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) events: Vec<NewEvent>,
    pub(super) warnings: Vec<Problem>,
    /// Whether paths of problems begin with the event's position.
    pub(super) batch: bool,
}

/// The body of a request, or why it was not taken in.
#[derive(Debug, Clone)]
pub(super) struct Received(pub(super) Result<Bytes, ApiError>);

/// Lets a request in at its user's pace, and takes its body in before anything else is answered: a refusal that leaves
/// part of it unread ends the connection.
pub(super) async fn receive(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    mut request: Request,
    next: Next,
) -> Response {
    let refuse = |request: &Request, error: ApiError| {
        if edge::is_edge(request.uri().path()) { edge::refuse(error) } else { error.into_response() }
    };
    let per_second = api.config.borrow().api.max_requests_per_user;
    if !api.shares.admit(scope, per_second) {
        tokio::time::sleep(REFUSAL_DELAY).await;
        let error = ApiError::busy(format!(
            "This user makes more than {per_second} requests a second while others use the service too."
        ));
        return refuse(&request, error);
    }
    let body = std::mem::take(request.body_mut());
    // Held until there is an answer.
    let mut held = Held::default();
    let received = Received(read(body, &mut held, &api.shares, scope.uid).await);
    let bytes = received.0.as_ref().map_or(0, Bytes::len);
    let is_costly = bytes > LARGE || request.method() == Method::GET;
    let _effort = match if is_costly { api.shares.costly(scope).await } else { Ok(None) } {
        Ok(effort) => effort,
        Err(error) => return refuse(&request, error),
    };
    request.extensions_mut().insert(received);
    // Held until there is an answer. A request without a body takes turns elsewhere, if it has to.
    let _lane = if bytes > 0 { api.shares.body(scope.uid, bytes).await } else { None };
    next.run(request).await
}

/// Reads a whole body within the limits.
async fn read(body: Body, held: &mut Held, shares: &Shares, uid: u32) -> Result<Bytes, ApiError> {
    let pieces = read_pieces(body, held, shares, uid);
    tokio::time::timeout(BODY_DEADLINE, pieces).await.unwrap_or_else(|_| Err(late()))
}

async fn read_pieces(mut body: Body, held: &mut Held, shares: &Shares, uid: u32) -> Result<Bytes, ApiError> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = tokio::time::timeout(PIECE_DEADLINE, body.frame()).await.map_err(|_| late())? {
        let frame = frame
            .map_err(|error| ApiError::invalid_at("", format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > MAX_DRAIN {
            break;
        }
        if total > MAX_REQUEST {
            rest = BytesMut::new();
            *held = Held::default();
            continue;
        }
        match &first {
            None => first = Some(data),
            Some(start) => {
                // What comes in one piece fits what the connection buffers anyway.
                held.grow(shares, uid, total).await?;
                if rest.is_empty() {
                    rest.extend_from_slice(start);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    if total > MAX_REQUEST {
        return Err(ApiError::too_large(format!(
            "The request is larger than {MAX_REQUEST} bytes. Send the events in several requests."
        )));
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}

fn late() -> ApiError {
    ApiError::new(408, "invalid", "The body did not arrive in time. Send the request again.")
}

/// Whether the body is JSON lines.
fn is_lines(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]
        .iter()
        .any(|lines| essence.eq_ignore_ascii_case(lines))
}

/// One event, a JSON array of them, or JSON lines.
pub(super) async fn events(headers: &HeaderMap, body: &Bytes) -> Result<Events, ApiError> {
    let opening = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let (pieces, batch): (Vec<&[u8]>, bool) = if is_lines(headers) {
        (json::lines(body).take(json::MAX_PARTS + 1).collect(), true)
    } else if opening == Some(&b'[') {
        let text = json::utf8(body).map_err(|problem| ApiError::invalid(vec![problem]))?;
        let elements = json::elements(text).map_err(|problem| ApiError::invalid(vec![problem]))?;
        (elements.into_iter().map(str::as_bytes).collect(), true)
    } else {
        (vec![&body[..]], false)
    };
    if pieces.is_empty() {
        return Err(ApiError::invalid_at("", "there must be at least one event"));
    }
    if pieces.len() > json::MAX_PARTS {
        return Err(ApiError::invalid_at("", format!("must have at most {} lines", json::MAX_PARTS)));
    }
    let mut found = Events { events: Vec::with_capacity(pieces.len()), warnings: Vec::new(), batch };
    let mut problems = Vec::new();
    let mut slice = Slice::default();
    for (at, piece) in pieces.into_iter().enumerate() {
        slice.add(piece.len()).await;
        let prefix = if batch { format!("[{at}]") } else { String::new() };
        if piece.len() > MAX_EVENT {
            return Err(ApiError {
                problems: vec![Problem { path: prefix, problem: format!("has {} bytes", piece.len()) }],
                ..ApiError::too_large(format!("An event may have at most {MAX_EVENT} bytes."))
            });
        }
        match event::check(piece) {
            Ok(mut event) => {
                let warnings = std::mem::take(&mut event.warnings);
                // One more than is told, which says that there are more.
                let room = (MAX_PROBLEMS + 1).saturating_sub(found.warnings.len());
                found.warnings.extend(warnings.into_iter().take(room).map(|warning| warning.under(&prefix)));
                found.events.push(new_event(event, body));
            }
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| problem.under(&prefix))),
        }
        if problems.len() > MAX_PROBLEMS {
            break;
        }
    }
    shorten(&mut found.warnings);
    shorten(&mut problems);
    if problems.is_empty() { Ok(found) } else { Err(ApiError::invalid(problems)) }
}

/// Keeps an answer short although each of thousands of events may be wrong.
pub(super) fn shorten(problems: &mut Vec<Problem>) {
    if problems.len() > MAX_PROBLEMS {
        problems.truncate(MAX_PROBLEMS);
        problems.push(Problem::whole("there is more, which is not listed"));
    }
}

/// A checked event whose text lies within `whole`, without copying the text.
fn new_event(event: CheckedEvent<'_>, whole: &Bytes) -> NewEvent {
    let body = whole.slice_ref(event.body.as_bytes());
    owned_event(event, body)
}

/// A checked event with its text.
pub(super) fn owned_event(event: CheckedEvent<'_>, body: Bytes) -> NewEvent {
    NewEvent {
        kind: event.kind,
        seq: event.seq,
        said_ms: event.said_ms,
        playhead: event.playhead,
        body,
        title: event.title,
        identity: event.identity,
        lacks: (event.missing_defaults.player_name, event.missing_defaults.channel),
    }
}
