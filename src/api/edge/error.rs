//! Errors in Adobe's form: problem details with its codes, our `reason` beside them (contract section 10).

use hyper::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use crate::api::answer::Response;
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
        "not_json" if error.status == 408 => (Some("EXEG-0109-408"), 408),
        "not_json" => (Some("EXEG-0101-400"), 400),
        "content_type" => (Some("EXEG-0111-415"), 415),
        "datastream" => (Some("EXEG-0003-400"), 400),
        "too_large" => (Some("EXEG-0112-413"), 413),
        "unknown_session" | "session_completed" => (Some("va-edge-0404-404"), 404),
        "sequence" => (Some("va-edge-0400-400"), 400),
        "invalid" if error.status == 400 => {
            (Some(identity_code(&error.problems).unwrap_or("va-edge-0400-400")), 400)
        }
        "consent_out" => (Some("EXEG-0301-200"), 403),
        "journal_full" | "storage" => (Some("EXEG-0201-503"), 503),
        _ => (None, error.status),
    }
}

/// The gateway's code for what is wrong with identities, if nothing else is (contract section 5).
fn identity_code(problems: &[Problem]) -> Option<&'static str> {
    let code = |Problem { path, problem }: &Problem| {
        let (_, at) = path.split_once("identityMap")?;
        Some(match problem {
            told if told.contains("none has") => "EXEG-0306-400",
            told if told.contains("one more") => "EXEG-0304-400",
            told if told.contains("UUID") => "EXEG-0308-400",
            _ if at.ends_with(".id") => "EXEG-0305-400",
            _ => "va-edge-0400-400",
        })
    };
    let codes: Option<Vec<&'static str>> = problems.iter().map(code).collect();
    // A wrong identity is no primary one either: what it is wrong in says more.
    codes?.into_iter().min_by_key(|code| *code == "EXEG-0306-400")
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

impl AdobeError {
    /// The answer that tells it.
    pub(super) fn into_response(self) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_3_wrong_identities_have_codes_of_their_own() {
        let fpid = "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10";
        for (map, code) in [
            (r#"{"a":[{"id":"x"}]}"#.to_owned(), Some("EXEG-0306-400")),
            (
                format!(r#"{{"FPID":[{{"id":"{fpid}","primary":true}}],"a":[{{"id":"x","primary":true}}]}}"#),
                Some("EXEG-0304-400"),
            ),
            (r#"{"a":[{"id":"","primary":true}]}"#.to_owned(), Some("EXEG-0305-400")),
            (r#"{"a":[{"id":""}]}"#.to_owned(), Some("EXEG-0305-400")),
            (r#"{"FPID":[{"id":"7","primary":true}]}"#.to_owned(), Some("EXEG-0308-400")),
            (r#"{"a":7}"#.to_owned(), Some("va-edge-0400-400")),
        ] {
            let wrong = crate::event::check_identity_map(&map).unwrap_err();
            let under = |prefix: &str| -> Vec<Problem> {
                wrong.iter().cloned().map(|problem| problem.under(prefix)).collect()
            };
            assert_eq!(identity_code(&under("events[0].xdm.identityMap")), code, "{map}");
            assert_eq!(identity_code(&under("events[0].xdm.other")), None, "{map}");
        }
    }
}
