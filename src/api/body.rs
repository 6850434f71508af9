//! Request bodies to checked events: limits, deadlines, one parse.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use hyper::http::request::Parts;

use super::problem::ApiError;
use super::share::{Held, Shares, Slice};
use crate::event::{self, CheckedEvent, Problem};
use crate::journal::NewEvent;
use crate::json::{self, MAX_PROBLEMS};

/// Largest request.
const MAX_REQUEST: usize = 1024 * 1024;
/// Largest event.
pub(super) const MAX_EVENT: usize = 64 * 1024;
/// Read and thrown away before a too large request is answered, so that its connection stays usable.
const MAX_DRAIN: usize = 8 * 1024 * 1024;
/// A body larger than this costs noticeably more than an event does.
pub(super) const LARGE: usize = 8 * 1024;
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

/// Reads a whole body within the limits. One that is too large is thrown away as it comes, so that a client that is
/// still sending gets to the answer; one that `waits` for leave to send is answered at once.
pub(super) async fn read(
    mut body: Incoming,
    waits: bool,
    held: &mut Held,
    shares: &Shares,
    uid: u32,
) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    if announced <= MAX_REQUEST as u64
        && let Some(whole) = within(BODY_DEADLINE, read_pieces(&mut body, held, shares, uid)).await??
    {
        return Ok(whole);
    }
    *held = Held::default();
    if !waits {
        // However that ends, it is too large.
        let _ = within(BODY_DEADLINE, drain(&mut body)).await;
    }
    Err(ApiError::too_large(format!(
        "The request is larger than {MAX_REQUEST} bytes. Send the events in several requests."
    )))
}

/// Whether the client sends its body only once it is asked to. Reading from the body is what asks.
pub(super) fn waits(head: &Parts) -> bool {
    let asks = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    head.version >= Version::HTTP_11 && head.headers.get(EXPECT).is_some_and(asks)
}

/// Gives what is there already without setting a timer for it.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, ApiError> {
    let mut work = pin!(work);
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => tokio::time::timeout(limit, work).await.map_err(|_| late()),
    }
}

/// A whole body; `None` as soon as it is too large.
async fn read_pieces(
    body: &mut Incoming,
    held: &mut Held,
    shares: &Shares,
    uid: u32,
) -> Result<Option<Bytes>, ApiError> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut total = 0;
    while let Some(data) = next_piece(body).await? {
        total += data.len();
        if total > MAX_REQUEST {
            return Ok(None);
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
    Ok(Some(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() }))
}

/// Throws away what comes, within measure.
async fn drain(body: &mut Incoming) -> Result<(), ApiError> {
    let mut total = 0;
    while total <= MAX_DRAIN
        && let Some(data) = next_piece(body).await?
    {
        total += data.len();
    }
    Ok(())
}

/// The next data of a body; `None` at its end.
async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, ApiError> {
    while !body.is_end_stream() {
        let Some(frame) = within(PIECE_DEADLINE, body.frame()).await? else { break };
        let frame = frame
            .map_err(|error| ApiError::invalid_at("", format!("the body could not be read: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn late() -> ApiError {
    ApiError::late("The body did not arrive in time. Send the request again.")
}

/// Whether the body is JSON lines.
fn is_lines(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]
        .iter()
        .any(|lines| essence.eq_ignore_ascii_case(lines))
}

/// One event, a JSON array of them, or JSON lines.
pub(super) async fn events(headers: &HeaderMap, body: &Bytes) -> Result<Events, ApiError> {
    let opening = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let (one, many);
    let (pieces, batch): (&[&[u8]], bool) = if is_lines(headers) {
        many = json::lines(body).take(json::MAX_PARTS + 1).collect::<Vec<_>>();
        (&many, true)
    } else if opening == Some(&b'[') {
        let text = json::utf8(body).map_err(|problem| ApiError::invalid(vec![problem]))?;
        let elements = json::elements(text).map_err(|problem| ApiError::invalid(vec![problem]))?;
        many = elements.into_iter().map(str::as_bytes).collect();
        (&many, true)
    } else {
        one = [&body[..]];
        (&one, false)
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
    for (at, piece) in pieces.iter().enumerate() {
        slice.add(piece.len()).await;
        let place = |problem: Problem| if batch { problem.under(&format!("[{at}]")) } else { problem };
        if piece.len() > MAX_EVENT {
            return Err(ApiError {
                problems: vec![place(Problem::whole(format!("has {} bytes", piece.len())))],
                ..ApiError::too_large(format!("An event may have at most {MAX_EVENT} bytes."))
            });
        }
        match event::check(piece) {
            Ok(mut event) => {
                let warnings = std::mem::take(&mut event.warnings);
                // One more than is told, which says that there are more.
                let room = (MAX_PROBLEMS + 1).saturating_sub(found.warnings.len());
                found.warnings.extend(warnings.into_iter().take(room).map(place));
                found.events.push(new_event(event, body));
            }
            Err(wrong) => problems.extend(wrong.into_iter().map(place)),
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
