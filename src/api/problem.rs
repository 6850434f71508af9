//! Errors as problem details (product section 4.3).

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde::Serialize;

use super::answer::{Response, text};
use super::body::shorten;
use crate::event::Problem;
use crate::journal::Refusal;
use crate::session::State;

/// Seconds after which a player may try again when the service could not store.
const RETRY_STORAGE_S: u32 = 5;
/// Seconds after which a player may try again when it asks for too much.
const RETRY_BUSY_S: u32 = 1;

/// One refused request.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ApiError {
    /// Always `about:blank`: `reason` is what to switch on.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// What the status says.
    pub(super) title: &'static str,
    /// HTTP status.
    pub(super) status: u16,
    /// What happened, where, what to do.
    pub(super) detail: String,
    /// A fixed word to switch on.
    pub(super) reason: &'static str,
    /// Every bad field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<Problem>,
    /// Why a session takes no more events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<&'static str>,
    /// Sent as `Retry-After`.
    #[serde(skip)]
    pub(super) retry_after: Option<u32>,
}

impl ApiError {
    /// An error of this status and reason.
    pub(super) fn new(status: u16, reason: &'static str, detail: impl Into<String>) -> ApiError {
        let title =
            StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Error");
        ApiError {
            kind: "about:blank",
            title,
            status,
            detail: detail.into(),
            reason,
            problems: Vec::new(),
            why: None,
            retry_after: None,
        }
    }

    /// 400 with every bad field.
    pub(super) fn invalid(problems: Vec<Problem>) -> ApiError {
        let detail = match problems.as_slice() {
            [only] if only.path.is_empty() => format!("The request is not valid: {}.", only.problem),
            [only] => format!("The request is not valid: {} {}.", only.path, only.problem),
            many => format!("The request is not valid: {} fields are wrong, see problems.", many.len()),
        };
        ApiError { problems, ..ApiError::new(400, "invalid", detail) }
    }

    /// The same error, its problems seen from further up.
    #[must_use]
    pub(super) fn under(mut self, prefix: &str) -> ApiError {
        self.problems = self.problems.into_iter().map(|problem| problem.under(prefix)).collect();
        self
    }

    /// 400 for one field.
    pub(super) fn invalid_at(path: &str, problem: impl Into<String>) -> ApiError {
        ApiError::invalid(vec![Problem { path: path.to_owned(), problem: problem.into() }])
    }

    /// 403.
    pub(super) fn forbidden(detail: impl Into<String>) -> ApiError {
        ApiError::new(403, "forbidden", detail)
    }

    /// 408.
    pub(super) fn late(detail: impl Into<String>) -> ApiError {
        ApiError { retry_after: Some(RETRY_BUSY_S), ..ApiError::new(408, "busy", detail) }
    }

    /// 413.
    pub(super) fn too_large(detail: impl Into<String>) -> ApiError {
        ApiError::new(413, "too_large", detail)
    }

    /// 429.
    pub(super) fn busy(detail: impl Into<String>) -> ApiError {
        ApiError { retry_after: Some(RETRY_BUSY_S), ..ApiError::new(429, "busy", detail) }
    }

    /// The answer that tells it.
    pub(super) fn into_response(self) -> Response {
        respond(&self, self.status, self.retry_after)
    }

    fn storage(reason: &'static str, detail: String) -> ApiError {
        ApiError { retry_after: Some(RETRY_STORAGE_S), ..ApiError::new(503, reason, detail) }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        match refusal {
            Refusal::UnknownSession => ApiError::new(
                404,
                "unknown_session",
                "There is no session of this key. Start one with a media.sessionStart event.",
            ),
            Refusal::NotStarted => ApiError {
                problems: vec![Problem {
                    path: "mediaEventType".into(),
                    problem: "the first event of a session must be media.sessionStart".into(),
                }],
                ..ApiError::new(
                    404,
                    "unknown_session",
                    "There is no session of this key. Start one: its first event must be media.sessionStart.",
                )
            },
            Refusal::Ambiguous(uids) => {
                let uids: Vec<String> = uids.iter().map(u32::to_string).collect();
                let uids = uids.join(", ");
                ApiError::invalid_at(
                    "key",
                    format!(
                        "names a session of each of the users {uids}: say whose is meant with owner=UID, \
                         on the command line with --owner UID"
                    ),
                )
            }
            Refusal::Completed { state, why } => ApiError {
                why: Some(why.as_str()),
                ..ApiError::new(
                    409,
                    "session_completed",
                    format!(
                        "The session takes no more events: it was completed ({}) and is {}. Start a new one.",
                        why.as_str(),
                        state.as_str()
                    ),
                )
            },
            Refusal::Sequence(mut problems) => {
                shorten(&mut problems);
                let detail = "The events do not fit what is recorded, see problems.";
                ApiError { problems, ..ApiError::new(409, "sequence", detail) }
            }
            Refusal::Invalid(problems) => ApiError::invalid(problems),
            Refusal::WrongState(State::Delivered) => ApiError {
                why: Some("delivered"),
                ..ApiError::new(
                    409,
                    "session_completed",
                    "The session was delivered: its events are gone, its receipt is kept.",
                )
            },
            Refusal::WrongState(state) => ApiError {
                why: Some(state.as_str()),
                ..ApiError::new(
                    409,
                    "wrong_state",
                    format!("This is not possible while the session is {}.", state.as_str()),
                )
            },
            Refusal::ConsentOut => ApiError::new(
                403,
                "consent_out",
                "The person opted out: nothing is recorded until consent is given again.",
            ),
            Refusal::TooManyOpen(max) => ApiError::busy(format!(
                "This user has {max} open sessions already. Complete some, or let them time out."
            )),
            Refusal::Full(detail) => ApiError::storage(
                "journal_full",
                format!("The journal is full: {detail}. This request changed nothing; send it again later."),
            ),
            Refusal::NoSpace(detail) => ApiError::storage(
                "journal_full",
                format!("The disk is full: {detail}. This request changed nothing; send it again later."),
            ),
            // No retry helps.
            Refusal::Damaged(detail) => ApiError::new(
                503,
                "storage",
                format!(
                    "The journal holds rows that are damaged: {detail}. This request changed nothing; \
                     `afterplay verify` tells all that is wrong."
                ),
            ),
            Refusal::Storage(detail) | Refusal::Fault(detail) => ApiError::storage(
                "storage",
                format!("The journal failed: {detail}. This request changed nothing; send it again later."),
            ),
        }
    }
}

/// Any problem document with its headers.
pub(super) fn respond(body: &impl Serialize, status: u16, retry_after: Option<u32>) -> Response {
    let json = serde_json::to_vec(body).unwrap_or_default();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, "application/problem+json", json);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}
