//! The Media Edge face: Adobe's contract spoken from the other side (product section 4.2).
//!
//! What comes in Adobe's envelope becomes the same events as on the native face; what is wrong with it is answered in
//! Adobe's words, with our `reason` beside them.

mod error;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use self::error::AdobeError;
use super::Api;
use super::body::{MAX_EVENT, Received, owned_event, shorten};
use super::problem::ApiError;
use crate::event::{self, EventType, Problem};
use crate::journal::{Append, NewEvent, Refusal, Scope};
use crate::json::{self, MAX_PROBLEMS};
use crate::session::{Key, Why};

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
fn envelopes(text: &str) -> Result<Vec<Envelope<'_>>, ApiError> {
    json::members(text).map_err(|problem| ApiError {
        problems: vec![problem.clone()],
        ..ApiError::new(400, "not_json", format!("The body is not a JSON object: {}.", problem.problem))
    })?;
    let body = members(text, "")?;
    let events = body.get("events").ok_or_else(|| invalid("events", "is required"))?;
    let events =
        json::elements(events).map_err(|problem| ApiError::invalid(vec![problem.under("events")]))?;
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
    let collection = members(collection, &format!("{path}.mediaCollection"))?;
    let session = ["sessionID", "sessionId"]
        .into_iter()
        .find_map(|name| collection.get(name))
        .and_then(|raw| json::string(raw).ok())
        .map(|session| session.into_owned());
    let body = Bytes::copy_from_slice(checked.body.as_bytes());
    Ok((owned_event(checked, body), session))
}

/// A problem of an event, as the caller wrote the event.
fn in_envelope(mut problem: Problem, path: &str) -> Problem {
    if problem.path == "mediaEventTimestamp" {
        problem.path = "timestamp".into();
    }
    problem.under(path)
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
            prefix: format!("events[{at}].xdm"),
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
        let prefix = format!("events[{at}].xdm");
        let session = session
            .ok_or_else(|| invalid(format!("{prefix}.mediaCollection.sessionID"), "must be a string"))?;
        // An id that cannot be one of ours names no session.
        let key: Key = session.parse().map_err(|_| Refusal::UnknownSession)?;
        appends.push(Append { prefix, ..Append::new(scope.uid, key, vec![event]) });
    }
    api.journal.append_all(appends).await.map_err(|refusal| match refusal {
        // Of a session that nobody started, to the caller it is the session that is wrong, not the event.
        Refusal::NotStarted => AdobeError(Refusal::UnknownSession.into()),
        other => other.into(),
    })?;
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
        if problems.len() > MAX_PROBLEMS {
            break;
        }
        match downloaded_events(envelope, &path, bytes)? {
            Ok(mut events) => {
                if let (Some(first), Some(identity)) = (events.first_mut(), identity) {
                    first.identity = Some(identity);
                }
                let key = Key::random();
                keys.push(key.clone());
                appends.push(Append {
                    complete: Some(Why::Import),
                    implementation: implementation_of(envelope),
                    batch: true,
                    prefix: format!("{path}.mediaDownloadedEvents"),
                    ..Append::new(scope.uid, key, events)
                });
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    if !problems.is_empty() {
        shorten(&mut problems);
        return Err(ApiError::invalid(problems).into());
    }
    api.journal.append_all(appends).await?;
    Ok(started(&keys))
}

fn downloaded_events(
    envelope: &Envelope<'_>,
    path: &str,
    whole: &Bytes,
) -> Result<Result<Vec<NewEvent>, Vec<Problem>>, ApiError> {
    let path = format!("{path}.mediaDownloadedEvents");
    let at_list = |problem: &str| Ok(Err(vec![Problem { path: path.clone(), problem: problem.to_owned() }]));
    let Some(list) = envelope.get("mediaDownloadedEvents") else { return at_list("is required") };
    let list = match json::elements(list) {
        Ok(list) if list.is_empty() => return at_list("must hold at least one event"),
        Ok(list) => list,
        Err(problem) => return Ok(Err(vec![problem.under(&path)])),
    };
    let mut events = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    for (at, raw) in list.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        if raw.len() > MAX_EVENT {
            return Err(ApiError {
                problems: vec![Problem { path, problem: format!("has {} bytes", raw.len()) }],
                ..ApiError::too_large(format!("An event may have at most {MAX_EVENT} bytes."))
            });
        }
        match event::check(raw.as_bytes()) {
            Ok(checked) if at == 0 && checked.kind != EventType::SessionStart => problems.push(Problem {
                path: format!("{path}.mediaEventType"),
                problem: "the first event of a session must be media.sessionStart".into(),
            }),
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
        if problems.len() > MAX_PROBLEMS {
            break;
        }
    }
    Ok(if problems.is_empty() { Ok(events) } else { Err(problems) })
}

async fn call(
    api: &Api,
    scope: Scope,
    action: &str,
    headers: &HeaderMap,
    parameters: &HashMap<String, String>,
    bytes: &Bytes,
) -> Reply {
    check_call(api, headers, parameters)?;
    let kind = EventType::parse(&format!("media.{action}"));
    if kind.is_err() && action != "downloaded" {
        let detail = format!("There is no media call {:?}.", json::shown(action));
        return Err(ApiError::new(404, "not_found", detail).into());
    }
    let envelopes = envelopes(utf8(bytes)?)?;
    match kind {
        Ok(EventType::SessionStart) => start_sessions(api, scope, &envelopes).await,
        Ok(kind) => add_events(api, scope, &envelopes, kind).await,
        Err(_) => import(api, scope, bytes, &envelopes).await,
    }
}

/// `POST /ee/va/v1/{action}`, also with a location hint, which means nothing here.
pub(super) async fn media(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(Received(body)): Extension<Received>,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Reply {
    let action = path.ok().and_then(|Path(mut path)| path.remove("action")).unwrap_or_default();
    call(&api, scope, &action, &headers, &parameters, &body?).await
}

/// `POST /ee/v1/interact`, for a start only: everything else that goes there is not media.
pub(super) async fn interact(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(Received(body)): Extension<Received>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Reply {
    check_call(&api, &headers, &parameters)?;
    let body = body?;
    let envelopes = envelopes(utf8(&body)?)?;
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
    start_sessions(&api, scope, &envelopes).await
}
