//! The native face: `/v1` (product section 4.1).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, FromRequestParts, Path, Query, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::ApiError;
use super::share::Slice;
use super::status::{metrics, status_of};
use super::{Api, body, body::Received, bulk::Turns};
use crate::event::Problem;
use crate::journal::{Append, Appended, Detail, Page, Refusal, Scope};
use crate::json;
use crate::session::{Consent, Key, Name, State};
use crate::upload::pack;

type Reply<T> = Result<T, ApiError>;

/// Sessions in a page unless the caller says how many.
const PAGE: u32 = 50;
/// Sessions in a page at most.
const MAX_PAGE: u32 = 500;

/// The answer to an append.
#[derive(Serialize)]
struct Answer<'a> {
    session: &'a str,
    state: State,
    recorded: u64,
    duplicates: u64,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    continues_as: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Problem>,
}

/// The session that a path names.
pub(super) struct Named(Name);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Reply<Named> {
        let Path(key) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::invalid_at("key", "is not valid UTF-8"))?;
        key.parse().map(Named).map_err(|error| ApiError::invalid_at("key", format!("{error}")))
    }
}

fn answer(key: &Key, appended: &Appended, warnings: Vec<Problem>) -> Response {
    let status = if appended.created { StatusCode::CREATED } else { StatusCode::OK };
    let answer = Answer {
        session: key.as_str(),
        state: appended.state,
        recorded: appended.recorded,
        duplicates: appended.duplicates,
        seq: appended.seq,
        continues_as: appended.continues_as.as_deref(),
        warnings,
    };
    let mut response = (status, Json(answer)).into_response();
    if appended.created
        && let Ok(location) = format!("/v1/sessions/{key}").parse()
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn append(
    api: &Api,
    scope: Scope,
    key: Key,
    headers: &HeaderMap,
    Received(body): Received,
) -> Reply<Response> {
    let found = body::events(headers, &body?).await?;
    let append = Append {
        batch: found.batch,
        warnings: found.warnings.clone(),
        ..Append::new(scope.uid, key.clone(), found.events)
    };
    let appended = api.journal.append(append).await.map_err(|refusal| match refusal {
        Refusal::NotStarted if found.batch => ApiError::from(refusal).under("[0]"),
        _ => refusal.into(),
    })?;
    let mut warnings = found.warnings;
    warnings.extend(appended.warnings.iter().map(|(_, warning)| warning.clone()));
    body::shorten(&mut warnings);
    Ok(answer(&key, &appended, warnings))
}

/// `POST /v1/sessions`
pub(super) async fn start(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(body): Extension<Received>,
    headers: HeaderMap,
) -> Reply<Response> {
    append(&api, scope, Key::random(), &headers, body).await.map_err(|error| {
        // The caller named no session that could be unknown.
        if error.reason == "unknown_session" { ApiError::invalid(error.problems) } else { error }
    })
}

/// `POST /v1/sessions/{key}/events`
pub(super) async fn events(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(body): Extension<Received>,
    Named(key): Named,
    headers: HeaderMap,
) -> Reply<Response> {
    if key.generation.is_some() {
        // A successor can be named, but only its key's first event makes a session.
        api.journal.detail(scope, key.to_string()).await?;
    }
    append(&api, scope, key.key, &headers, body).await
}

/// `POST /v1/sessions/{key}/complete`
pub(super) async fn complete(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Named(key): Named,
) -> Reply<Response> {
    let (state, why) = api.journal.complete(scope, key.to_string()).await?;
    Ok(Json(serde_json::json!({ "session": key.key, "state": state, "why": why })).into_response())
}

/// `GET /v1/sessions`
pub(super) async fn list(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Query(query): Query<HashMap<String, String>>,
) -> Reply<Response> {
    let asked = |name: &str| query.get(name).filter(|text| !text.is_empty());
    let state = match asked("state") {
        None => None,
        Some(name) => Some(State::parse(name).ok_or_else(|| {
            ApiError::invalid_at("state", "must be open, completed, delivered or quarantined")
        })?),
    };
    let limit = match asked("limit") {
        None => PAGE,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)).ok_or_else(|| {
                ApiError::invalid_at("limit", format!("must be a number from 1 to {MAX_PAGE}"))
            })?
        }
    };
    let after = asked("after").cloned();
    if let Some(after) = &after {
        let is_cursor = after.strip_prefix('@').is_some_and(|at| at.parse::<i64>().is_ok());
        if !is_cursor && after.parse::<Name>().is_err() {
            return Err(ApiError::invalid_at("after", "must be the `next` of a page, or a session key"));
        }
    }
    // Held until the answer is written out, which takes as long as the look.
    let _turn = api.shares.question(scope.uid).await;
    let page: Page = api.journal.list(scope, state, limit, after).await?;
    Ok(Json(page).into_response())
}

/// `GET /v1/sessions/{key}`
pub(super) async fn detail(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Named(key): Named,
) -> Reply<Json<Detail>> {
    Ok(Json(api.journal.detail(scope, key.to_string()).await?))
}

/// `GET /v1/sessions/{key}/events`: as recorded, each with its `seq`.
pub(super) async fn recorded(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(turns): Extension<Arc<Turns>>,
    Named(key): Named,
) -> Reply<Response> {
    let turn = turns.take(scope.uid).await?;
    let events = api.journal.recorded(scope, key.to_string()).await?;
    let mut text = String::from("{\"events\":[");
    let mut slice = Slice::default();
    for (at, event) in events.iter().enumerate() {
        slice.add(event.body.len()).await;
        if at > 0 {
            text.push(',');
        }
        with_seq(&event.body, event.seq, &mut text);
    }
    text.push_str("]}");
    Ok(turn.json(text))
}

/// Appends the object `body`, with its number if it does not carry one.
fn with_seq(body: &str, seq: u64, out: &mut String) {
    let carries = crate::json::members(body).is_ok_and(|members| members.iter().any(|m| m.name == "seq"));
    match body.strip_suffix('}') {
        Some(open) if !carries => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{open},\"seq\":{seq}}}");
        }
        _ => out.push_str(body),
    }
}

/// `GET /v1/sessions/{key}/payload`: the exact request body.
pub(super) async fn payload_of(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(turns): Extension<Arc<Turns>>,
    Named(key): Named,
) -> Reply<Response> {
    let turn = turns.take(scope.uid).await?;
    let outgoing = api.journal.outgoing_by_key(scope, key.to_string()).await?;
    let timestamp = outgoing.now_ms.filter(|_| api.config.borrow().upload.timestamp);
    let (_, built) = pack(outgoing, timestamp, api.uploader.shape()).await?;
    let built = built.map_err(|error| {
        ApiError::new(409, "no_payload", format!("The payload of this session cannot be built: {error}."))
    })?;
    Ok(turn.json(built.body))
}

/// `POST /v1/sessions/{key}/retry`
pub(super) async fn retry(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Named(key): Named,
) -> Reply<Json<Detail>> {
    let key = key.to_string();
    api.journal.retry(scope, key.clone()).await?;
    Ok(Json(api.journal.detail(scope, key).await?))
}

/// `DELETE /v1/sessions/{key}`
pub(super) async fn discard(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Named(key): Named,
) -> Reply<StatusCode> {
    api.journal.discard(scope, key.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn admin_only(scope: Scope, what: &str) -> Reply<()> {
    if scope.admin {
        Ok(())
    } else {
        Err(ApiError::forbidden(format!("Only root and the service's own user may {what}.")))
    }
}

/// `POST /v1/flush`
pub(super) async fn flush(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
) -> Reply<Response> {
    admin_only(scope, "flush")?;
    let pending = api.uploader.flush().await.map_err(ApiError::from)?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "pending": pending }))).into_response())
}

/// `GET /v1/consent`
pub(super) async fn consent(Shared(api): Shared<Arc<Api>>) -> Response {
    let consent = api.journal.signals().borrow().consent;
    Json(serde_json::json!({ "consent": consent })).into_response()
}

/// `PUT /v1/consent`
pub(super) async fn set_consent(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
    Extension(Received(body)): Extension<Received>,
) -> Reply<Response> {
    admin_only(scope, "set consent")?;
    let consent = consent_of(&body?).map_err(ApiError::invalid)?;
    api.journal.set_consent(consent).await?;
    if consent == Consent::Out {
        // Nothing may leave the device after this answer.
        api.uploader.stop_sending().await;
    }
    Ok(Json(serde_json::json!({ "consent": consent })).into_response())
}

fn consent_of(body: &[u8]) -> Result<Consent, Vec<Problem>> {
    let json::Parsed { node, problems } = json::parse(body).map_err(|problem| vec![problem])?;
    let mut problems = problems.into_vec();
    let given = node.get("consent").and_then(json::Node::as_str).and_then(Consent::parse);
    if given.is_none() {
        problems.push(Problem {
            path: "consent".into(),
            problem: "must be \"in\", \"out\" or \"pending\"".into(),
        });
    }
    match given {
        Some(consent) if problems.is_empty() => Ok(consent),
        _ => Err(problems),
    }
}

/// `GET /v1/identity`
pub(super) async fn identity(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
) -> Reply<Response> {
    admin_only(scope, "see the device's identity")?;
    Ok(Json(serde_json::json!({ "namespace": "FPID", "id": api.journal.identity().await? })).into_response())
}

/// `POST /v1/identity/reset`
pub(super) async fn reset_identity(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
) -> Reply<Response> {
    admin_only(scope, "replace the device's identity")?;
    let id = api.journal.reset_identity().await?;
    Ok(Json(serde_json::json!({ "namespace": "FPID", "id": id })).into_response())
}

/// `GET /v1/verify`
pub(super) async fn verify(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
) -> Reply<Response> {
    admin_only(scope, "verify the journal")?;
    Ok(Json(api.journal.verify().await?).into_response())
}

/// `GET /v1/status`
pub(super) async fn status(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
) -> Reply<Response> {
    Ok(Json(status_of(&api, scope).await?).into_response())
}

/// `GET /metrics`
pub(super) async fn openmetrics(
    Shared(api): Shared<Arc<Api>>,
    Extension(scope): Extension<Scope>,
) -> Reply<Response> {
    let text = metrics(&status_of(&api, scope).await?);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// `GET /v1/openapi.json`
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}
