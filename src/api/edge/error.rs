//! Errors in Adobe's form: problem details with its codes, our `reason` beside them (contract section 10).

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use crate::api::problem::{ApiError, respond};
use crate::event::Problem;
use crate::journal::Refusal;

/// An error in Adobe's form.
pub(in crate::api) struct AdobeError(pub(super) ApiError);

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

/// Adobe's code and status for one of ours (contract sections 10 and 11.3); no code where Adobe has none.
fn adobe_code(error: &ApiError) -> (Option<&'static str>, u16) {
    match error.reason {
        "not_json" => (Some("EXEG-0101-400"), 400),
        "content_type" => (Some("EXEG-0111-415"), 415),
        "datastream" => (Some("EXEG-0003-400"), 400),
        "too_large" => (Some("EXEG-0112-413"), 413),
        "unknown_session" | "session_completed" => (Some("va-edge-0404-404"), 404),
        "sequence" => (Some("va-edge-0400-400"), 400),
        "invalid" if error.status == 400 => (Some("va-edge-0400-400"), 400),
        "consent_out" => (Some("EXEG-0301-200"), 403),
        "journal_full" | "storage" => (Some("EXEG-0201-503"), 503),
        _ => (None, error.status),
    }
}

/// A problem document as Adobe writes it.
#[derive(Serialize)]
struct AdobeProblem<'a> {
    #[serde(rename = "type")]
    kind: String,
    status: u16,
    title: &'static str,
    detail: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    report: Report<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    request_id: String,
    details: Details<'a>,
}

/// Fields, each with what there is to say of it.
pub(super) type Details<'a> = Vec<Detail<'a>>;

/// One field: where, as a JSON path, and what is wrong or odd.
#[derive(Serialize)]
pub(super) struct Detail<'a> {
    name: String,
    reason: &'a str,
}

/// Problems as Adobe lists them.
pub(super) fn details(problems: &[Problem]) -> Details<'_> {
    problems
        .iter()
        .map(|Problem { path, problem }| Detail {
            name: match path.as_str() {
                "" => "$".to_owned(),
                path if path.starts_with('[') => format!("${path}"),
                path => format!("$.{path}"),
            },
            reason: problem,
        })
        .collect()
}

impl IntoResponse for AdobeError {
    fn into_response(self) -> Response {
        let AdobeError(error) = self;
        let (code, status) = adobe_code(&error);
        let body = AdobeProblem {
            kind: code.map_or_else(
                || error.kind.to_owned(),
                |code| format!("https://ns.adobe.com/aep/errors/{code}"),
            ),
            status,
            title: StatusCode::from_u16(status)
                .ok()
                .and_then(|code| code.canonical_reason())
                .unwrap_or("Error"),
            detail: &error.detail,
            reason: error.reason,
            why: error.why,
            report: Report { request_id: Uuid::new_v4().to_string(), details: details(&error.problems) },
        };
        respond(&body, status, error.retry_after)
    }
}
