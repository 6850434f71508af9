//! The Media Edge face: Adobe's contract spoken from the other side (product section 4.2).
//!
//! What comes in Adobe's envelope becomes the same events as on the native face; what is wrong with it is answered in
//! Adobe's words, with our `reason` beside them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::body::{self, MAX_EVENT, owned_event};
use super::problem::{ApiError, respond};
use crate::event::{self, EventType, Problem};
use crate::journal::{Append, NewEvent, Refusal, Scope};
use crate::json;
use crate::session::{Key, Why};

/// An error in Adobe's form.
pub(super) struct AdobeError(ApiError);

impl From<ApiError> for AdobeError {
    fn from(error: ApiError) -> AdobeError {
        AdobeError(error)
    }
}

impl From<Refusal> for AdobeError {
    fn from(refusal: Refusal) -> AdobeError {
        AdobeError(refusal.into())
    }
}

/// Adobe's code and status for one of ours (contract sections 10 and 11.3).
fn adobe_code(error: &ApiError) -> (&'static str, u16) {
    match error.reason {
        "not_json" => ("EXEG-0101-400", 400),
        "content_type" => ("EXEG-0111-415", 415),
        "datastream" => ("EXEG-0003-400", 400),
        "too_large" => ("EXEG-0112-413", 413),
        "unknown_session" | "session_completed" => ("va-edge-0404-404", 404),
        "invalid" | "sequence" => ("va-edge-0400-400", 400),
        "consent_out" => ("EXEG-0301-200", 403),
        "busy" => ("EXEG-0429-429", 429),
        "journal_full" | "storage" => ("EXEG-0201-503", 503),
        _ => ("EXEG-0104-422", error.status),
    }
}

impl IntoResponse for AdobeError {
    fn into_response(self) -> Response {
        let AdobeError(error) = self;
        let (code, status) = adobe_code(&error);
        let details: Vec<_> = error
            .problems
            .iter()
            .map(|problem| json!({ "name": format!("$.{}", problem.path), "reason": problem.problem }))
            .collect();
        let title = StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
        let body = json!({
            "type": format!("https://ns.adobe.com/aep/errors/{code}"),
            "status": status,
            "title": title,
            "detail": error.detail,
            "reason": error.reason,
            "why": error.why,
            "report": { "requestId": Uuid::new_v4().to_string(), "details": details },
        });
        respond(&body, status, error.retry_after)
    }
}

type Reply = Result<Response, AdobeError>;
type Parameters = Query<HashMap<String, String>>;

/// One `xdm` as it was sent.
struct Envelope<'a> {
    members: HashMap<String, &'a str>,
}

impl<'a> Envelope<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).copied()
    }
}

fn invalid(path: impl Into<String>, problem: impl Into<String>) -> ApiError {
    ApiError::invalid(vec![Problem { path: path.into(), problem: problem.into() }])
}

fn members<'a>(object: &'a str, path: &str) -> Result<HashMap<String, &'a str>, ApiError> {
    let members = json::members(object).map_err(|problem| ApiError::invalid(vec![problem.under(path)]))?;
    Ok(members.into_iter().map(|member| (member.name.into_owned(), member.value)).collect())
}

/// The envelopes of a body: `events[].xdm`.
fn envelopes(text: &str) -> Result<Vec<Envelope<'_>>, ApiError> {
    let body = json::members(text).map_err(|problem| ApiError {
        problems: vec![problem.clone()],
        ..ApiError::new(400, "not_json", format!("The body is not a JSON object: {}.", problem.problem))
    })?;
    let events =
        body.iter().find(|member| member.name == "events").ok_or_else(|| invalid("events", "is required"))?;
    let events =
        json::elements(events.value).map_err(|problem| ApiError::invalid(vec![problem.under("events")]))?;
    if events.is_empty() {
        return Err(invalid("events", "must hold at least one event"));
    }
    events
        .into_iter()
        .enumerate()
        .map(|(at, event)| {
            let path = format!("events[{at}]");
            let xdm = members(event, &path)?;
            let xdm = xdm.get("xdm").ok_or_else(|| invalid(format!("{path}.xdm"), "is required"))?;
            Ok(Envelope { members: members(xdm, &format!("{path}.xdm"))? })
        })
        .collect()
}

/// What both media calls and `downloaded` check before they look at the body.
fn check_call(api: &Api, headers: &HeaderMap, parameters: &HashMap<String, String>) -> Result<(), ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_lowercase());
    if !matches!(essence.as_deref(), None | Some("application/json" | "text/plain")) {
        return Err(ApiError::new(
            415,
            "content_type",
            "The content type must be application/json or text/plain.",
        ));
    }
    let ours = api.config.borrow().datastream_id.clone();
    match (parameters.get("configId"), ours) {
        (Some(given), Some(ours)) if !given.is_empty() && *given != ours => Err(ApiError::new(
            400,
            "datastream",
            "The configId names another datastream than the one this service uploads to.",
        )),
        _ => Ok(()),
    }
}

fn utf8(bytes: &Bytes) -> Result<&str, ApiError> {
    json::utf8(bytes).map_err(|problem| ApiError {
        problems: vec![problem.clone()],
        ..ApiError::new(400, "not_json", format!("The body is not JSON: {}.", problem.problem))
    })
}

/// An event as the native face would have got it, and the session it names.
fn native_event(
    envelope: &Envelope<'_>,
    at: usize,
    expected: EventType,
) -> Result<(NewEvent, Option<String>), ApiError> {
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
    let checked = event::check(text.as_bytes()).map_err(|problems| {
        ApiError::invalid(problems.into_iter().map(|p| in_envelope(p, &path)).collect())
    })?;
    let collection = members(collection, &path)?;
    let session = ["sessionID", "sessionId"]
        .into_iter()
        .find_map(|name| collection.get(name))
        .and_then(|raw| json::string(raw).ok())
        .map(|session| session.into_owned());
    let body = Bytes::copy_from_slice(checked.body.as_bytes());
    Ok((owned_event(checked, body), session))
}

/// A problem of an event, as the caller wrote the event.
fn in_envelope(problem: Problem, path: &str) -> Problem {
    let inner = match problem.path.as_str() {
        "mediaEventType" => "eventType".to_owned(),
        "mediaEventTimestamp" => "timestamp".to_owned(),
        other => other.to_owned(),
    };
    Problem { path: inner, problem: problem.problem }.under(path)
}

/// The answer to a start: which session was made for which event.
fn started(keys: &[Key]) -> Response {
    let handle: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| {
            json!({
                "type": "media-analytics:new-session",
                "eventIndex": at,
                "payload": [{ "sessionId": key }],
            })
        })
        .collect();
    Json(json!({ "requestId": Uuid::new_v4().to_string(), "handle": handle })).into_response()
}

async fn start_sessions(api: &Api, scope: Scope, envelopes: &[Envelope<'_>]) -> Reply {
    let mut appends = Vec::new();
    let mut keys = Vec::new();
    for (at, envelope) in envelopes.iter().enumerate() {
        let (event, _) = native_event(envelope, at, EventType::SessionStart)?;
        let key = Key::random();
        keys.push(key.clone());
        appends.push(Append {
            implementation: implementation_of(envelope),
            ..Append::new(scope.uid, key, vec![event])
        });
    }
    api.journal.append_all(appends).await?;
    Ok(started(&keys))
}

async fn add_events(api: &Api, scope: Scope, envelopes: &[Envelope<'_>], kind: EventType) -> Reply {
    let mut appends = Vec::new();
    for (at, envelope) in envelopes.iter().enumerate() {
        let (event, session) = native_event(envelope, at, kind)?;
        let path = format!("events[{at}].xdm.mediaCollection.sessionID");
        let session = session.ok_or_else(|| invalid(path, "is required"))?;
        // An id that cannot be one of ours names no session.
        let key: Key = session.parse().map_err(|_| Refusal::UnknownSession)?;
        appends.push(Append::new(scope.uid, key, vec![event]));
    }
    api.journal.append_all(appends).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `implementationDetails` of a caller, if it has the three texts it needs.
fn implementation_of(envelope: &Envelope<'_>) -> Option<String> {
    let details: serde_json::Value = serde_json::from_str(envelope.get("implementationDetails")?).ok()?;
    let text = |member: &str| details.get(member).and_then(serde_json::Value::as_str);
    let environment =
        text("environment").filter(|environment| ["browser", "app", "server", "iot"].contains(environment));
    Some(
        json!({
            "name": text("name")?,
            "version": text("version")?,
            "environment": environment?,
        })
        .to_string(),
    )
}

/// Whole sessions: `POST /ee/va/v1/downloaded`.
async fn import(api: &Api, scope: Scope, bytes: &Bytes, envelopes: &[Envelope<'_>]) -> Reply {
    let mut appends = Vec::new();
    let mut keys = Vec::new();
    let mut problems = Vec::new();
    for (at, envelope) in envelopes.iter().enumerate() {
        let path = format!("events[{at}].xdm");
        if !matches!(envelope.get("eventType").map(json::string), Some(Ok(kind)) if kind == "media.downloaded")
        {
            problems.push(Problem {
                path: format!("{path}.eventType"),
                problem: "must be media.downloaded".into(),
            });
        }
        let identity = match envelope.get("identityMap").map(event::check_identity_map) {
            None => None,
            Some(Ok(map)) => Some(map),
            Some(Err(wrong)) => {
                let path = format!("{path}.identityMap");
                problems.extend(wrong.into_iter().map(|problem| problem.under(&path)));
                None
            }
        };
        match downloaded_events(envelope, &path, bytes) {
            Ok(mut events) => {
                if let Some(first) = events.first_mut() {
                    first.identity = identity;
                }
                let key = Key::random();
                keys.push(key.clone());
                appends.push(Append {
                    complete: Some(Why::Import),
                    implementation: implementation_of(envelope),
                    batch: true,
                    ..Append::new(scope.uid, key, events)
                });
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(problems).into());
    }
    api.journal.append_all(appends).await?;
    Ok(started(&keys))
}

fn downloaded_events(
    envelope: &Envelope<'_>,
    path: &str,
    whole: &Bytes,
) -> Result<Vec<NewEvent>, Vec<Problem>> {
    let path = format!("{path}.mediaDownloadedEvents");
    let at_list = |problem: &str| vec![Problem { path: path.clone(), problem: problem.to_owned() }];
    let list = envelope.get("mediaDownloadedEvents").ok_or_else(|| at_list("is required"))?;
    let list = json::elements(list).map_err(|problem| vec![problem.under(&path)])?;
    if list.is_empty() {
        return Err(at_list("must hold at least one event"));
    }
    let mut events = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    for (at, raw) in list.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        match event::check(raw.as_bytes()) {
            Ok(checked) if checked.body.len() > MAX_EVENT => {
                problems.push(Problem { path, problem: format!("has more than {MAX_EVENT} bytes") });
            }
            Ok(checked) if checked.said_ms.is_none() => problems.push(Problem {
                path: format!("{path}.mediaEventTimestamp"),
                problem: "is required in a downloaded session".into(),
            }),
            Ok(checked) => {
                let body = whole.slice_ref(checked.body.as_bytes());
                events.push(owned_event(checked, body));
            }
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| problem.under(&path))),
        }
    }
    if problems.is_empty() { Ok(events) } else { Err(problems) }
}

async fn call(
    api: &Api,
    scope: Scope,
    action: &str,
    headers: &HeaderMap,
    parameters: &HashMap<String, String>,
    body: Body,
) -> Reply {
    check_call(api, headers, parameters)?;
    let bytes = body::read(body).await?;
    let envelopes = envelopes(utf8(&bytes)?)?;
    if action == "downloaded" {
        return import(api, scope, &bytes, &envelopes).await;
    }
    match EventType::parse(&format!("media.{action}")) {
        Ok(EventType::SessionStart) => start_sessions(api, scope, &envelopes).await,
        Ok(kind) => add_events(api, scope, &envelopes, kind).await,
        Err(_) => Err(ApiError::new(404, "not_found", format!("There is no media call {action:?}.")).into()),
    }
}

/// `POST /ee/va/v1/{action}`
pub(super) async fn media(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Path(action): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    call(&api, scope, &action, &headers, &parameters, body).await
}

/// The same with a location hint, which means nothing here.
pub(super) async fn media_with_hint(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Path((_hint, action)): Path<(String, String)>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    call(&api, scope, &action, &headers, &parameters, body).await
}

/// `POST /ee/v1/interact`, for a start only: everything else that goes there is not media.
pub(super) async fn interact(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    check_call(&api, &headers, &parameters)?;
    let bytes = body::read(body).await?;
    let envelopes = envelopes(utf8(&bytes)?)?;
    let start = |envelope: &Envelope<'_>| matches!(envelope.get("eventType").map(json::string), Some(Ok(kind)) if kind == EventType::SessionStart.as_str());
    if !envelopes.iter().all(start) {
        return Err(ApiError::new(
            501,
            "not_media",
            "Only media.sessionStart is recorded here; send other events to Adobe directly.",
        )
        .into());
    }
    start_sessions(&api, scope, &envelopes).await
}
