//! The Media Edge face: Adobe's contract spoken from the other side (product section 4.2).
//!
//! What comes in Adobe's envelope becomes the same events as on the native face; what is wrong with it is answered in
//! Adobe's words, with our `reason` beside them.

mod error;
mod implementation;
mod whole;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use self::error::{AdobeError, Details, details};
use self::implementation::implementation_of;
use super::Api;
use super::answer::{self, Response};
use super::body::{MAX_EVENT, owned_event, shorten};
use super::problem::ApiError;
use super::router::Call;
use super::share::Slice;
use crate::event::{self, EventType, Problem};
use crate::journal::{Append, NewEvent, Refusal, Scope};
use crate::json;
use crate::session::Key;

type Reply = Result<Response, AdobeError>;

/// Names under which a live call may give its session, in `mediaCollection`.
const SESSION_ID: [&str; 2] = ["sessionID", "sessionId"];

/// Whether a path is one of this face.
pub(super) fn is_edge(path: &str) -> bool {
    path.starts_with("/ee/")
}

/// A refusal that is known before the request is looked at.
pub(super) fn refuse(error: ApiError) -> Response {
    AdobeError(error).into_response()
}

/// One `xdm` as it was sent.
struct Envelope<'a> {
    members: HashMap<String, &'a str>,
    /// Paths of what stands beside it, in its event and in the whole body.
    beside: Vec<String>,
}

impl<'a> Envelope<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).copied()
    }

    fn bytes(&self) -> usize {
        self.members.values().map(|value| value.len()).sum()
    }
}

fn invalid(path: impl Into<String>, problem: impl Into<String>) -> ApiError {
    ApiError::invalid(vec![Problem { path: path.into(), problem: problem.into() }])
}

fn members<'a>(object: &'a str, path: &str) -> Result<HashMap<String, &'a str>, ApiError> {
    let members = json::members(object).map_err(|problem| ApiError::invalid(vec![problem.under(path)]))?;
    let mut found = HashMap::with_capacity(members.len());
    for member in members {
        let name = member.name.into_owned();
        if found.insert(name.clone(), member.value).is_some() {
            let twice =
                Problem { path: json::shown(&name), problem: "given more than once: give it once".into() };
            return Err(ApiError::invalid(vec![twice.under(path)]));
        }
    }
    Ok(found)
}

/// The envelopes of a body: `events[].xdm`.
async fn envelopes(text: &str) -> Result<Vec<Envelope<'_>>, ApiError> {
    let mut slice = Slice::default();
    json::members(text).map_err(|problem| ApiError {
        problems: vec![problem.clone()],
        ..ApiError::new(400, "not_json", format!("The body is not a JSON object: {}.", problem.problem))
    })?;
    slice.add(text.len()).await;
    let body = members(text, "")?;
    slice.add(text.len()).await;
    let events = body.get("events").ok_or_else(|| invalid("events", "is required"))?;
    let events =
        json::elements(events).map_err(|problem| ApiError::invalid(vec![problem.under("events")]))?;
    if events.is_empty() {
        return Err(invalid("events", "must hold at least one event"));
    }
    let mut found = Vec::with_capacity(events.len());
    for (at, event) in events.into_iter().enumerate() {
        slice.add(event.len()).await;
        let path = format!("events[{at}]");
        let event = members(event, &path)?;
        let xdm = event.get("xdm").ok_or_else(|| invalid(format!("{path}.xdm"), "is required"))?;
        // What stands beside all of them is told once.
        let in_body = body.keys().filter(|name| at == 0 && *name != "events").map(|name| json::shown(name));
        let in_event = event.keys().filter(|name| *name != "xdm").map(|name| json::shown(name));
        let mut beside: Vec<String> = in_body.chain(in_event.map(|name| format!("{path}.{name}"))).collect();
        beside.sort_unstable();
        slice.add(xdm.len()).await;
        found.push(Envelope { members: members(xdm, &format!("{path}.xdm"))?, beside });
    }
    Ok(found)
}

/// What both media calls and `downloaded` check before they look at the body.
fn check_call(call: &Call<'_>) -> Result<(), ApiError> {
    let content_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_lowercase());
    if !matches!(essence.as_deref(), None | Some("application/json" | "text/plain")) {
        return Err(ApiError::new(
            415,
            "content_type",
            "The content type must be application/json or text/plain.",
        ));
    }
    let ours = call.api.config.borrow().datastream_id.clone();
    match (call.parameter("configId"), ours) {
        (Some(given), Some(ours)) if !given.is_empty() && given != ours => Err(ApiError::new(
            400,
            "datastream",
            "The configId names another datastream than the one this service uploads to.",
        )),
        _ => Ok(()),
    }
}

fn utf8(bytes: &Bytes) -> Result<&str, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError {
            problems: vec![Problem::whole("is empty")],
            ..ApiError::new(408, "not_json", "The body is empty: send the events in it as JSON.")
        });
    }
    json::utf8(bytes).map_err(|problem| ApiError {
        problems: vec![problem.clone()],
        ..ApiError::new(400, "not_json", format!("The body is not JSON: {}.", problem.problem))
    })
}

/// A live event as the native face would have got it.
struct Live {
    event: NewEvent,
    /// The session it names.
    session: Option<String>,
    /// What is odd about it.
    warnings: Vec<Problem>,
}

fn native_event(envelope: &Envelope<'_>, at: usize, expected: EventType) -> Result<Live, ApiError> {
    let path = format!("events[{at}].xdm");
    let kind = match envelope.get("eventType").map(json::string) {
        Some(Ok(kind)) => kind,
        _ => return Err(invalid(format!("{path}.eventType"), "must be a string")),
    };
    if kind != expected.as_str() {
        return Err(invalid(
            format!("{path}.eventType"),
            format!("must be {} on this path", expected.as_str()),
        ));
    }
    let collection = envelope
        .get("mediaCollection")
        .ok_or_else(|| invalid(format!("{path}.mediaCollection"), "is required"))?;
    let text = event::compose(&event::Parts {
        kind: expected,
        timestamp: envelope.get("timestamp"),
        collection,
        identity_map: envelope.get("identityMap").filter(|_| expected == EventType::SessionStart),
    });
    if text.len() > MAX_EVENT {
        return Err(ApiError::too_large(format!("An event may have at most {MAX_EVENT} bytes.")));
    }
    let mut checked = event::check(text.as_bytes()).map_err(|problems| {
        ApiError::invalid(problems.into_iter().map(|p| in_envelope(p, &path)).collect())
    })?;
    // A live call names its session there.
    let odd = |warning: &Problem| !SESSION_ID.iter().any(|name| warning.path.ends_with(name));
    let warnings =
        checked.warnings.drain(..).filter(odd).map(|warning| in_envelope(warning, &path)).collect();
    let collection = members(collection, &format!("{path}.mediaCollection"))?;
    let session = SESSION_ID
        .into_iter()
        .find_map(|name| collection.get(name))
        .and_then(|raw| json::string(raw).ok())
        .map(|session| session.into_owned());
    let body = Bytes::copy_from_slice(checked.body.as_bytes());
    Ok(Live { event: owned_event(checked, body), session, warnings })
}

/// A problem of an event, as the caller wrote the event.
fn in_envelope(mut problem: Problem, path: &str) -> Problem {
    if problem.path == "mediaEventTimestamp" {
        problem.path = "timestamp".into();
    }
    problem.under(path)
}

/// Something odd about what was recorded, as Adobe tells it (contract section 10).
#[derive(Serialize)]
struct AdobeWarning<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: u16,
    title: &'static str,
    report: AboutEvent<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AboutEvent<'a> {
    event_index: usize,
    details: Details<'a>,
}

/// The answer to a start: which session was made for which event, and what is odd about it.
fn started(sessions: &[(Key, Vec<Problem>)]) -> Response {
    let handle: Vec<_> = sessions
        .iter()
        .enumerate()
        .map(|(at, (key, _))| {
            json!({
                "type": "media-analytics:new-session",
                "eventIndex": at,
                "payload": [{ "sessionId": key }],
            })
        })
        .collect();
    let warnings: Vec<_> = sessions
        .iter()
        .enumerate()
        .filter(|(_, (_, odd))| !odd.is_empty())
        .map(|(at, (_, odd))| AdobeWarning {
            kind: "https://ns.adobe.com/aep/errors/EXEG-0204-200",
            status: 200,
            title: "Recorded, with warnings",
            report: AboutEvent { event_index: at, details: details(odd) },
        })
        .collect();
    let mut answer = json!({ "requestId": Uuid::new_v4().to_string(), "handle": handle });
    if !warnings.is_empty() {
        answer["warnings"] = json!(warnings);
    }
    answer::json(StatusCode::OK, &answer)
}

/// Records sessions, all or none, each with the warnings that are known so far.
async fn record(api: &Api, appends: Vec<Append>) -> Reply {
    let mut sessions: Vec<_> =
        appends.iter().map(|append| (append.key.clone(), append.warnings.clone())).collect();
    let prefixes: Vec<_> = appends.iter().map(|append| append.prefix.clone()).collect();
    let appended = api.journal.append_all(appends).await?;
    for (((_, odd), prefix), appended) in sessions.iter_mut().zip(&prefixes).zip(appended) {
        odd.extend(appended.warnings.into_iter().map(|(_, warning)| warning.under(prefix)));
        shorten(odd);
    }
    Ok(started(&sessions))
}

async fn start_sessions(api: &Api, scope: Scope, envelopes: &[Envelope<'_>]) -> Reply {
    let mut appends = Vec::new();
    let mut slice = Slice::default();
    for (at, envelope) in envelopes.iter().enumerate() {
        slice.add(envelope.bytes()).await;
        let live = native_event(envelope, at, EventType::SessionStart)?;
        let prefix = format!("events[{at}].xdm");
        let (implementation, odd) = implementation_of(api, envelope, &prefix);
        appends.push(Append {
            implementation,
            warnings: live.warnings.into_iter().chain(odd).collect(),
            prefix,
            ..Append::new(scope.uid, Key::random(), vec![live.event])
        });
    }
    record(api, appends).await
}

async fn add_events(api: &Api, scope: Scope, envelopes: &[Envelope<'_>], kind: EventType) -> Reply {
    let mut appends = Vec::new();
    let mut slice = Slice::default();
    for (at, envelope) in envelopes.iter().enumerate() {
        slice.add(envelope.bytes()).await;
        let Live { event, session, warnings } = native_event(envelope, at, kind)?;
        let prefix = format!("events[{at}].xdm");
        let session = session
            .ok_or_else(|| invalid(format!("{prefix}.mediaCollection.sessionID"), "must be a string"))?;
        // An id that cannot be one of ours names no session.
        let key: Key = session.parse().map_err(|_| Refusal::UnknownSession)?;
        appends.push(Append { prefix, warnings, ..Append::new(scope.uid, key, vec![event]) });
    }
    api.journal.append_all(appends).await.map_err(|refusal| match refusal {
        // Of a session that nobody started, to the caller it is the session that is wrong, not the event.
        Refusal::NotStarted => AdobeError(Refusal::UnknownSession.into()),
        other => other.into(),
    })?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn record_media(call: Call<'_>, action: &str) -> Reply {
    let bytes = call.body.as_ref().map_err(ApiError::clone)?;
    check_call(&call)?;
    let (api, scope) = (call.api, call.scope);
    let kind = EventType::parse(&format!("media.{action}"));
    if kind.is_err() && action != "downloaded" {
        let detail = format!("There is no media call {:?}.", json::shown(action));
        return Err(ApiError::new(404, "not_found", detail).into());
    }
    let envelopes = envelopes(utf8(bytes)?).await?;
    match kind {
        Ok(EventType::SessionStart) => start_sessions(api, scope, &envelopes).await,
        Ok(kind) => add_events(api, scope, &envelopes, kind).await,
        Err(_) => whole::import(api, scope, bytes, &envelopes).await,
    }
}

/// Reads a body as the calls do, whichever it is for.
pub(super) async fn decode(bytes: &Bytes) -> bool {
    let Ok(text) = utf8(bytes) else { return false };
    let Ok(envelopes) = envelopes(text).await else { return false };
    for (at, envelope) in envelopes.iter().enumerate() {
        let live = |kind: &EventType| native_event(envelope, at, *kind).is_ok();
        if !EventType::ALL.iter().any(live) && !whole::is_readable(envelope, bytes).await {
            return false;
        }
    }
    true
}

/// `POST /ee/va/v1/{action}`, also with a location hint, which means nothing here.
pub(super) async fn media(call: Call<'_>, hint: Option<&str>, action: &str) -> Response {
    let decoded = |part| percent_decode_str(part).decode_utf8().ok();
    // With any part that is no text it is the call of no name.
    let action = match hint.map(decoded) {
        Some(None) => Cow::Borrowed(""),
        _ => decoded(action).unwrap_or_default(),
    };
    record_media(call, &action).await.unwrap_or_else(AdobeError::into_response)
}

/// `POST /ee/v1/interact`, for a start only: everything else that goes there is not media.
pub(super) async fn interact(call: Call<'_>) -> Response {
    record_starts(call).await.unwrap_or_else(AdobeError::into_response)
}

async fn record_starts(call: Call<'_>) -> Reply {
    check_call(&call)?;
    let body = call.body?;
    let envelopes = envelopes(utf8(&body)?).await?;
    let start = |envelope: &Envelope<'_>| {
        let kind = envelope.get("eventType").map(json::string);
        matches!(kind, Some(Ok(kind)) if kind == EventType::SessionStart.as_str())
    };
    if !envelopes.iter().all(start) {
        return Err(ApiError::new(
            501,
            "not_media",
            "Only media.sessionStart is recorded here; send other events to Adobe directly.",
        )
        .into());
    }
    start_sessions(call.api, call.scope, &envelopes).await
}
