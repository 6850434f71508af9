//! What the endpoint says: contract section 10, with the codes of section 11.3.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contract::{Finding, Level, MEDIA, Reading};
use super::script::{Canned, RetryAfter, Shape};

/// A whole answer, before it becomes bytes on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// Who asks: Adobe repeats it in its reports.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) request_id: String,
    pub(super) config_id: Option<String>,
}

const JSON: &str = "application/json;charset=utf-8";
const PROBLEM: &str = "application/problem+json;charset=utf-8";
const INVALID: &str = "Invalid request. Please check your input and try again.";

/// Adobe's codes, the status that belongs to each, and what it is about.
const CODES: &[(&str, u16, &str)] = &[
    ("0000", 503, "Service unavailable"),
    ("0001", 500, "Unexpected error"),
    ("0002", 400, "Datastream parameter missing"),
    ("0003", 400, "Datastream does not exist"),
    ("0004", 422, "Datastream disabled"),
    ("0010", 422, "Datastream configuration missing"),
    ("0011", 422, "Sandbox not available"),
    ("0012", 422, "Sandbox cannot be resolved"),
    ("0013", 422, "Identity namespace cannot be resolved"),
    ("0100", 500, "JSON processing error"),
    ("0101", 400, "Request body is not JSON"),
    ("0102", 400, "Invalid field"),
    ("0103", 400, "Missing field"),
    ("0104", 422, "Validation failed"),
    ("0105", 400, "Validation failed"),
    ("0106", 400, "Wrong content type"),
    ("0107", 400, "Missing parameter"),
    ("0108", 400, "Parameter of a wrong type"),
    ("0109", 408, "Empty request body"),
    ("0110", 400, "Empty parameter"),
    ("0111", 415, "Unsupported content type"),
    ("0112", 413, "Request too large"),
    ("0113", 400, "Invalid configuration override"),
    ("0200", 504, "Upstream timeout"),
    ("0201", 503, "Upstream unavailable"),
    ("0202", 502, "Upstream rejected the request"),
    ("0203", 502, "Upstream call failed"),
    ("0204", 200, "Upstream warning"),
    ("0205", 502, "Upstream call failed"),
    ("0300", 502, "Consent check failed"),
    ("0301", 200, "Request ignored for lack of consent"),
    ("0302", 409, "Opt-out cannot be changed"),
    ("0303", 200, "Identities not readable"),
    ("0304", 400, "Unexpected identity"),
    ("0305", 400, "Invalid identity"),
    ("0306", 400, "No primary identity set in request (event)"),
    ("0307", 502, "Consent update failed"),
    ("0308", 400, "Invalid identity format"),
    ("0400", 403, "Country not allowed"),
    ("0500", 401, "Token missing"),
    ("0501", 401, "Token invalid"),
    ("0502", 401, "Token expired"),
    ("0503", 401, "Token lacks rights"),
    ("0504", 401, "Token lacks rights"),
    ("0505", 401, "Token lacks rights"),
    ("0506", 401, "Token lacks rights"),
];

/// The status that belongs to a gateway code of four digits.
pub(super) fn status_of(digits: &str) -> Option<u16> {
    CODES.iter().find(|(code, ..)| *code == digits).map(|(_, status, _)| *status)
}

fn title_of(code: &str) -> &'static str {
    let digits = code.strip_prefix("EXEG-").and_then(|rest| rest.get(..4));
    match CODES.iter().find(|(known, ..)| Some(*known) == digits) {
        Some((.., title)) => title,
        None if code.starts_with("va-edge-0404") => "Media session not found",
        None if code.starts_with("va-edge") => "Invalid request",
        None => "Unknown error",
    }
}

/// The last part of a code.
fn own_status(code: &str) -> u16 {
    code.rsplit('-').next().and_then(|status| status.parse().ok()).unwrap_or(500)
}

fn type_of(code: &str) -> String {
    format!("https://ns.adobe.com/aep/errors/{code}")
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", JSON.to_owned())];
        Answer { status, headers, body: body.to_string().into_bytes() }
    }

    /// A fatal answer of the gateway: problem details.
    pub(super) fn fatal(asked: &Asked, code: &str, detail: &str, errors: &[String]) -> Self {
        let mut report = json!({ "requestId": asked.request_id });
        if let Some(config_id) = &asked.config_id {
            report["configId"] = json!(config_id);
        }
        if !errors.is_empty() {
            report["errors"] = json!(errors);
        }
        let status = own_status(code);
        let body = json!({
            "type": type_of(code), "status": status, "title": title_of(code), "detail": detail, "report": report,
        });
        Answer { headers: vec![("content-type", PROBLEM.to_owned())], ..Answer::json(status, &body) }
    }

    /// Too large, with the maximum in the message.
    pub(super) fn too_large(asked: &Asked, max: u64) -> Self {
        let detail = format!("The request is too large: the maximum is {max} bytes.");
        Answer::fatal(asked, "EXEG-0112-413", &detail, &[])
    }

    /// An answer in words, as anybody on the way might give it.
    pub(super) fn plain(status: u16, text: &str) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        Answer { status, headers, body: text.as_bytes().to_vec() }
    }

    /// A status and nothing else.
    pub(super) fn empty(status: u16) -> Self {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    /// The login page of a captive portal.
    pub(super) fn html() -> Self {
        let headers = vec![("content-type", "text/html; charset=utf-8".to_owned())];
        let body =
            b"<!doctype html><title>Welcome</title><p>Please accept the terms to go online.</p>".to_vec();
        Answer { status: 200, headers, body }
    }

    /// The way to that page.
    pub(super) fn redirect(status: u16) -> Self {
        let mut answer = Answer::plain(status, "Please log in.");
        answer.headers.push(("location", "http://portal.invalid/login".to_owned()));
        answer
    }

    /// Claims to be compressed and is not.
    pub(super) fn gzip() -> Self {
        let headers = vec![("content-type", JSON.to_owned()), ("content-encoding", "gzip".to_owned())];
        Answer { status: 200, headers, body: b"\x1f\x8b\x08\x00 this is no gzip \xff\xfe\x00".to_vec() }
    }

    /// What Adobe answers to a body that was read.
    pub(super) fn judged(asked: &Asked, reading: &Reading, strict: bool) -> Self {
        let refuses = |finding: &&Finding| {
            finding.level == Level::Problem || (strict && finding.level == Level::Warning)
        };
        let refused: Vec<&Finding> = reading.findings.iter().filter(refuses).collect();
        if let Some(first) = refused.iter().find(|finding| finding.code != MEDIA) {
            let errors: Vec<String> = refused
                .iter()
                .filter(|finding| finding.code != MEDIA)
                .map(|finding| format!("{}: {}", finding.path, finding.reason))
                .collect();
            return Answer::fatal(asked, first.code, INVALID, &errors);
        }
        let mut details: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
        for (event, finding) in refused.iter().filter_map(|finding| Some((finding.event?, finding))) {
            details.entry(event).or_default().push(json!({ "name": finding.path, "reason": finding.reason }));
        }
        let good = (0..reading.sessions.len()).filter(|event| !details.contains_key(event));
        let mut handles: Vec<Value> = good.map(new_session).collect();
        let errors: Vec<Value> = details.iter().map(|(event, details)| refusal(*event, details)).collect();
        handles.extend(housekeeping());
        let mut body = json!({ "requestId": asked.request_id, "handle": handles });
        if errors.is_empty() {
            return Answer::json(200, &body);
        }
        body["errors"] = json!(errors);
        Answer::json(207, &body)
    }

    /// A scripted answer; `now` in seconds since 1970 is for the date form of Retry-After.
    pub(super) fn canned(asked: &Asked, canned: &Canned, now: i64) -> Self {
        let mut answer = Answer::shaped(asked, canned);
        let value = match canned.retry_after {
            Some(RetryAfter::Seconds(seconds)) => seconds.to_string(),
            Some(RetryAfter::Date(offset)) => http_date(now.saturating_add(offset)),
            None => return answer,
        };
        answer.headers.push(("retry-after", value));
        answer
    }

    fn shaped(asked: &Asked, canned: &Canned) -> Self {
        let status = canned.status;
        let error = |code: &str, title: &str| json!({ "type": type_of(code), "status": own_status(code), "title": title });
        let with = |made: bool, list: &str, item: Value| {
            let mut handles: Vec<Value> = made.then(|| new_session(0)).into_iter().collect();
            handles.extend(housekeeping());
            Answer::json(status, &json!({ "requestId": asked.request_id, "handle": handles, list: [item] }))
        };
        match &canned.shape {
            Shape::Bare => match status {
                204 | 205 | 304 => Answer::empty(status),
                200..300 => {
                    let mut handles = vec![new_session(0)];
                    handles.extend(housekeeping());
                    Answer::json(status, &json!({ "requestId": asked.request_id, "handle": handles }))
                }
                300..400 => Answer::redirect(status),
                _ => {
                    let reason =
                        StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
                    Answer::plain(status, reason.unwrap_or("Error"))
                }
            },
            Shape::Code(code) if matches!(status, 200 | 207) => {
                let list = if own_status(code) == 200 { "warnings" } else { "errors" };
                with(false, list, error(code, title_of(code)))
            }
            Shape::Code(code) => Answer::fatal(asked, code, INVALID, &[]),
            Shape::Limit(max) => Answer::too_large(asked, *max),
            Shape::Refused => {
                let name = "$.xdm.mediaDownloadedEvents[0].mediaCollection.sessionDetails.name";
                with(
                    false,
                    "errors",
                    refusal(0, &[json!({ "name": name, "reason": "Missing required field" })]),
                )
            }
            Shape::Upstream => with(true, "errors", error("EXEG-0202-502", "Upstream rejected the request")),
            Shape::Media => {
                with(false, "errors", error("EXEG-0203-502", "Media Analytics upstream call failed"))
            }
            Shape::Warning => with(true, "warnings", error("EXEG-0204-200", "Upstream warning")),
            Shape::Consent => with(false, "warnings", error("EXEG-0301-200", title_of("EXEG-0301-200"))),
        }
    }
}

fn refusal(event: usize, details: &[Value]) -> Value {
    json!({
        "type": type_of(MEDIA),
        "status": 400,
        "title": "Invalid request",
        "report": { "eventIndex": event, "details": details },
    })
}

fn new_session(event: usize) -> Value {
    let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    json!({ "type": "media-analytics:new-session", "eventIndex": event, "payload": [{ "sessionId": id }] })
}

/// The handles that come with every answer of the gateway.
fn housekeeping() -> [Value; 2] {
    let hint = |scope: &str, hint: &str| json!({ "scope": scope, "hint": hint, "ttlSeconds": 1800 });
    [
        json!({
            "type": "locationHint:result",
            "payload": [hint("Target", "35"), hint("AAM", "9"), hint("EdgeNetwork", "or2")],
        }),
        json!({
            "type": "state:store",
            "payload": [
                { "key": "kndctr_SANDBOX_AdobeOrg_identity", "value": "c2FuZGJveA==", "maxAge": 34_128_000 },
                { "key": "kndctr_SANDBOX_AdobeOrg_cluster", "value": "or2", "maxAge": 1800 },
            ],
        }),
    ]
}

fn http_date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_has_both_forms() {
        let asked = Asked { request_id: "r".into(), config_id: None };
        let cases = [
            (RetryAfter::Seconds(30), "30"),
            (RetryAfter::Date(30), "Sat, 07 Mar 2026 18:30:30 GMT"),
            (RetryAfter::Date(-1), "Sat, 07 Mar 2026 18:29:59 GMT"),
        ];
        for (when, value) in cases {
            let canned = Canned { status: 503, shape: Shape::Bare, retry_after: Some(when) };
            let answer = Answer::canned(&asked, &canned, 1_772_908_200);
            assert!(answer.headers.contains(&("retry-after", value.to_owned())), "{:?}", answer.headers);
        }
    }
}
