//! The native face: `/v1` (product section 4.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use super::answer::{self, Response};
use super::body;
use super::problem::ApiError;
use super::router::Call;
use super::share::Slice;
use super::status::{metrics, status_of};
use crate::event::Problem;
use crate::journal::{Append, Appended, Page, Refusal, Scope};
use crate::json;
use crate::session::{Consent, Key, Name, State};
use crate::upload::pack;

type Reply<T = Response> = Result<T, ApiError>;

/// Items in a page unless the caller says how many.
const PAGE: u32 = 50;
/// Items in a page at most.
const MAX_PAGE: u32 = 500;

/// The session that a part of a path names.
fn named(part: &str) -> Reply<Name> {
    let key = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| ApiError::invalid_at("key", "is not valid UTF-8"))?;
    key.parse().map_err(|error| ApiError::invalid_at("key", format!("{error}")))
}

/// As whom the caller asks for a session: as the user that `owner` names, who sees their own alone, else as themselves.
fn asking(call: &Call<'_>) -> Reply<Scope> {
    let Some(owner) = call.parameter("owner") else { return Ok(call.scope) };
    let uid = owner.parse().map_err(|_| {
        ApiError::invalid_at("owner", format!("must be a user's number, from 0 to {}", u32::MAX))
    })?;
    if uid != call.scope.uid {
        admin_only(call.scope, "name another owner")?;
    }
    Ok(Scope { uid, admin: false })
}

/// 200 with a JSON document.
fn ok(value: &impl Serialize) -> Reply {
    Ok(answer::json(StatusCode::OK, value))
}

fn answer(key: &Key, appended: &Appended, warnings: &[Problem]) -> Response {
    let status = if appended.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = answer::text(status, "application/json", written(key, appended, warnings));
    if appended.created
        && let Ok(location) = HeaderValue::try_from(format!("/v1/sessions/{key}"))
    {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// What became of an append, in JSON. Every event has such an answer, and no name in it needs escapes.
fn written(key: &Key, appended: &Appended, warnings: &[Problem]) -> String {
    let Appended { recorded, duplicates, seq, .. } = appended;
    let mut text = String::with_capacity(256);
    for part in ["{\"session\":\"", key.as_str(), "\",\"state\":\"", appended.state.as_str()] {
        text.push_str(part);
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "\",\"recorded\":{recorded},\"duplicates\":{duplicates},\"seq\":{seq}");
    if let Some(successor) = &appended.continues_as {
        let _ = write!(text, ",\"continues_as\":\"{successor}\"");
    }
    if !warnings.is_empty()
        && let Ok(list) = serde_json::to_string(warnings)
    {
        let _ = write!(text, ",\"warnings\":{list}");
    }
    text.push('}');
    text
}

async fn append(call: Call<'_>, key: Key) -> Reply {
    if asking(&call)?.uid != call.scope.uid {
        return Err(ApiError::invalid_at(
            "owner",
            "must be left out: events are recorded for who sends them",
        ));
    }
    let found = body::events(call.headers, &call.body?).await?;
    let append = Append {
        batch: found.batch,
        warnings: found.warnings.clone(),
        ..Append::new(call.scope.uid, key.clone(), found.events)
    };
    let appended = call.api.journal.append(append).await.map_err(|refusal| match refusal {
        Refusal::NotStarted if found.batch => ApiError::from(refusal).under("[0]"),
        _ => refusal.into(),
    })?;
    let mut warnings = found.warnings;
    warnings.extend(appended.warnings.iter().map(|(_, warning)| warning.clone()));
    body::shorten(&mut warnings);
    Ok(answer(&key, &appended, &warnings))
}

/// `POST /v1/sessions`
pub(super) async fn start(call: Call<'_>) -> Reply {
    append(call, Key::random()).await.map_err(|error| {
        // The caller named no session that could be unknown.
        if error.reason == "unknown_session" { ApiError::invalid(error.problems) } else { error }
    })
}

/// `POST /v1/sessions/{key}/events`
pub(super) async fn events(call: Call<'_>, key: &str) -> Reply {
    let key = named(key)?;
    if key.generation.is_some() {
        // A successor can be named, but only its key's first event makes a session.
        let own = Scope { admin: false, ..call.scope };
        call.api.journal.detail(own, key.to_string()).await?;
    }
    append(call, key.key).await
}

/// `POST /v1/sessions/{key}/complete`
pub(super) async fn complete(call: Call<'_>, key: &str) -> Reply {
    let key = named(key)?;
    let (state, why) = call.api.journal.complete(asking(&call)?, key.to_string()).await?;
    ok(&json!({ "session": key.key, "state": state, "why": why }))
}

/// A parameter that says something.
fn asked<'r>(call: &Call<'r>, name: &str) -> Option<Cow<'r, str>> {
    call.parameter(name).filter(|text| !text.is_empty())
}

/// How many items a page is to have.
fn limit_of(call: &Call<'_>) -> Reply<u32> {
    let Some(text) = asked(call, "limit") else { return Ok(PAGE) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| ApiError::invalid_at("limit", format!("must be a number from 1 to {MAX_PAGE}")))
}

/// `GET /v1/sessions`
pub(super) async fn list(call: Call<'_>) -> Reply {
    let state = match asked(&call, "state") {
        None => None,
        Some(name) => Some(State::parse(&name).ok_or_else(|| {
            ApiError::invalid_at("state", "must be open, completed, delivered or quarantined")
        })?),
    };
    let limit = limit_of(&call)?;
    let after = asked(&call, "after").map(Cow::into_owned);
    if let Some(after) = &after {
        let is_cursor = after.strip_prefix('@').is_some_and(|at| at.parse::<i64>().is_ok());
        if !is_cursor && after.parse::<Name>().is_err() {
            return Err(ApiError::invalid_at("after", "must be the `next` of a page, or a session key"));
        }
    }
    let scope = asking(&call)?;
    // Held until the answer is written out, which takes as long as the look.
    let _turn = call.api.shares.question(call.scope.uid).await;
    let page: Page = call.api.journal.list(scope, state, limit, after).await?;
    ok(&page)
}

/// `GET /v1/losses`
pub(super) async fn losses(call: Call<'_>) -> Reply {
    let limit = limit_of(&call)?;
    let before = match asked(&call, "after") {
        None => None,
        Some(text) => Some(text.strip_prefix('@').unwrap_or(&text).parse().map_err(|_| {
            ApiError::invalid_at("after", "must be the `next` of a page, or the id of a loss")
        })?),
    };
    let _turn = call.api.shares.question(call.scope.uid).await;
    ok(&call.api.journal.losses(call.scope, limit, before).await?)
}

/// `GET /v1/sessions/{key}`
pub(super) async fn detail(call: Call<'_>, key: &str) -> Reply {
    let key = named(key)?;
    ok(&call.api.journal.detail(asking(&call)?, key.to_string()).await?)
}

/// `GET /v1/sessions/{key}/events`: as recorded, each with its `seq`.
pub(super) async fn recorded(call: Call<'_>, key: &str) -> Reply {
    let (key, scope) = (named(key)?, asking(&call)?);
    let turn = call.turns.take(call.scope.uid).await?;
    let events = call.api.journal.recorded(scope, key.to_string()).await?;
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
pub(super) async fn payload_of(call: Call<'_>, key: &str) -> Reply {
    let (key, scope) = (named(key)?, asking(&call)?);
    let turn = call.turns.take(call.scope.uid).await?;
    let outgoing = call.api.journal.outgoing_by_key(scope, key.to_string()).await?;
    let timestamp = outgoing.now_ms.filter(|_| call.api.config.borrow().upload.timestamp);
    let (_, built) = pack(outgoing, timestamp, call.api.uploader.shape()).await?;
    let built = built.map_err(|error| {
        ApiError::new(409, "no_payload", format!("The payload of this session cannot be built: {error}."))
    })?;
    Ok(turn.json(built.body))
}

/// `POST /v1/sessions/{key}/retry`
pub(super) async fn retry(call: Call<'_>, key: &str) -> Reply {
    let (key, scope) = (named(key)?.to_string(), asking(&call)?);
    call.api.journal.retry(scope, key.clone()).await?;
    ok(&call.api.journal.detail(scope, key).await?)
}

/// `DELETE /v1/sessions/{key}`
pub(super) async fn discard(call: Call<'_>, key: &str) -> Reply {
    let key = named(key)?;
    call.api.journal.discard(asking(&call)?, key.to_string()).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn admin_only(scope: Scope, what: &str) -> Reply<()> {
    if scope.admin {
        Ok(())
    } else {
        Err(ApiError::forbidden(format!("Only root and the service's own user may {what}.")))
    }
}

/// `POST /v1/flush`
pub(super) async fn flush(call: Call<'_>) -> Reply {
    admin_only(call.scope, "flush")?;
    let pending = call.api.uploader.flush().await.map_err(ApiError::from)?;
    Ok(answer::json(StatusCode::ACCEPTED, &json!({ "pending": pending })))
}

/// `GET /v1/consent`
pub(super) fn consent(call: &Call<'_>) -> Response {
    let consent = call.api.journal.signals().borrow().consent;
    answer::json(StatusCode::OK, &json!({ "consent": consent }))
}

/// `PUT /v1/consent`
pub(super) async fn set_consent(call: Call<'_>) -> Reply {
    admin_only(call.scope, "set consent")?;
    let consent = consent_of(&call.body?).map_err(ApiError::invalid)?;
    call.api.journal.set_consent(consent).await?;
    if consent == Consent::Out {
        // Nothing may leave the device after this answer.
        call.api.uploader.stop_sending().await;
    }
    ok(&json!({ "consent": consent }))
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
    if let json::Node::Object(members) = &node {
        let others = members.iter().filter(|(name, _)| name != "consent");
        problems.extend(others.map(|(name, _)| Problem {
            path: name.to_string(),
            problem: "unknown member: there is `consent` alone".into(),
        }));
    }
    match given {
        Some(consent) if problems.is_empty() => Ok(consent),
        _ => Err(problems),
    }
}

/// `GET /v1/identity`
pub(super) async fn identity(call: Call<'_>) -> Reply {
    admin_only(call.scope, "see the device's identity")?;
    ok(&json!({ "namespace": "FPID", "id": call.api.journal.identity().await? }))
}

/// `POST /v1/identity/reset`
pub(super) async fn reset_identity(call: Call<'_>) -> Reply {
    admin_only(call.scope, "replace the device's identity")?;
    let id = call.api.journal.reset_identity().await?;
    ok(&json!({ "namespace": "FPID", "id": id }))
}

/// `GET /v1/verify`
pub(super) async fn verify(call: Call<'_>) -> Reply {
    admin_only(call.scope, "verify the journal")?;
    ok(&call.api.journal.verify().await?)
}

/// `GET /v1/status`
pub(super) async fn status(call: Call<'_>) -> Reply {
    ok(&status_of(call.api, call.scope).await?)
}

/// `GET /metrics`
pub(super) async fn openmetrics(call: Call<'_>) -> Reply {
    let text = metrics(&status_of(call.api, call.scope).await?);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(answer::text(StatusCode::OK, kind, text))
}

/// `GET /v1/openapi.json`
pub(super) fn openapi() -> Response {
    let document = Bytes::from_static(include_bytes!("openapi.json"));
    answer::text(StatusCode::OK, "application/json", document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_an_append_is_json() {
        let warning = Problem { path: "a".into(), problem: "is \"odd\"".into() };
        for (continues_as, warnings) in [(None, vec![]), (Some("k~2"), vec![warning])] {
            for state in State::ALL {
                let appended = Appended {
                    state: *state,
                    created: false,
                    recorded: 2,
                    duplicates: 1,
                    seq: u64::MAX,
                    continues_as: continues_as.map(str::to_owned),
                    warnings: Vec::new(),
                };
                let mut expected = json!({
                    "session": "A.z_0:9-", "state": state, "recorded": 2, "duplicates": 1, "seq": u64::MAX,
                });
                if let Some(successor) = continues_as {
                    expected["continues_as"] = successor.into();
                    expected["warnings"] = json!(warnings);
                }
                let text = written(&"A.z_0:9-".parse().unwrap(), &appended, &warnings);
                assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected, "{text}");
            }
        }
    }
}
