//! What Adobe says in an answer's body (contract section 10). The body is untrusted: whatever it holds, reading it ends
//! quickly and without a panic.

use std::fmt;

use serde_json::{Map, Value};

use crate::upload::send::Answer;

/// As many errors and warnings as are looked at, each.
const ITEMS: usize = 64;
/// As many lines of a validation report as are kept, each item.
const LINES: usize = 64;
/// As much of any one text as is kept.
const TEXT: usize = 1000;
/// The handle that names the media session Adobe made.
const NEW_SESSION: &str = "media-analytics:new-session";

/// What a body turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing, or blanks.
    Empty,
    /// Adobe's answer.
    Adobe(Box<Report>),
    /// Something else, and what.
    Foreign(Foreign),
}

/// Why a body is not Adobe's, or cannot be known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Compressed, though nobody asked for that.
    Encoded,
    /// Longer than what is read, or broken off.
    Truncated,
    /// Not JSON.
    NotJson,
    /// JSON without anything that Adobe's answers have.
    Unfamiliar,
}

/// The parts of Adobe's answer that matter.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// `requestId`, of the answer or of its problem's report.
    pub(super) request_id: Option<String>,
    /// Whether there is a `media-analytics:new-session` handle.
    pub(super) new_session: bool,
    /// The `sessionId` in that handle.
    pub(super) session_id: Option<String>,
    /// The answer itself as a problem, empty if it is none.
    pub(super) problem: Item,
    /// `errors[]`.
    pub(super) errors: Vec<Item>,
    /// `warnings[]`.
    pub(super) warnings: Vec<Item>,
}

/// One problem, error or warning.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// The code in `type`.
    pub(super) code: Option<Code>,
    /// `status`, or else the one in the code.
    pub(super) status: Option<u16>,
    /// `title`.
    pub(super) title: String,
    /// `detail`.
    detail: String,
    /// The report, a line for each bad field.
    lines: Vec<String>,
    /// Errors that the report holds.
    pub(super) inner: Vec<Item>,
}

/// Reads a body.
pub(super) fn read(answer: &Answer) -> Content {
    let body = answer.body.trim_ascii();
    if body.is_empty() && !answer.truncated {
        return Content::Empty;
    }
    if answer
        .content_encoding
        .as_deref()
        .is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity"))
    {
        return Content::Foreign(Foreign::Encoded);
    }
    if answer.truncated {
        // A long page is a page, however long.
        let page = body.first().is_some_and(|first| !b"{[".contains(first));
        return Content::Foreign(if page { Foreign::NotJson } else { Foreign::Truncated });
    }
    // The parser refuses deep nesting by itself.
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => match Report::read(&body, (200..300).contains(&answer.status)) {
            Some(report) => Content::Adobe(Box::new(report)),
            None => Content::Foreign(Foreign::Unfamiliar),
        },
        Ok(_) => Content::Foreign(Foreign::Unfamiliar),
        Err(_) => Content::Foreign(Foreign::NotJson),
    }
}

impl Report {
    /// `None` if nothing of it is known. A refusal may be problem details of anybody; a success must be Adobe's own.
    fn read(body: &Map<String, Value>, success: bool) -> Option<Self> {
        let problem = Item::read(body);
        let handles = body.get("handle").and_then(Value::as_array);
        let new_session =
            handles.and_then(|handles| handles.iter().find(|handle| handle["type"] == NEW_SESSION));
        let report = Self {
            request_id: text(body.get("requestId"))
                .or_else(|| text(body.get("report").and_then(|report| report.get("requestId")))),
            new_session: new_session.is_some(),
            session_id: new_session.and_then(|handle| text(handle.pointer("/payload/0/sessionId"))),
            errors: items(body.get("errors")),
            warnings: items(body.get("warnings")),
            problem,
        };
        let known = report.request_id.is_some()
            || handles.is_some()
            || report.problem.code.as_ref().is_some_and(|code| !matches!(code.space, Space::Other(_)))
            || !success && report.problem.texts().next().is_some()
            || !report.errors.is_empty()
            || !report.warnings.is_empty();
        known.then_some(report)
    }

    /// All that went wrong, the answer's own problem first if it has a code.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Item> {
        let own = std::iter::once(&self.problem).filter(|problem| problem.code.is_some());
        own.chain(&self.problem.inner).chain(&self.errors)
    }
}

impl Item {
    fn read(body: &Map<String, Value>) -> Self {
        let code = body.get("type").and_then(Value::as_str).and_then(Code::parse);
        let status = body.get("status").and_then(|status| match status {
            Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        });
        let report = body.get("report");
        // The schema calls the list `report`, its example `details` (contract section 13, row 23).
        let lists = ["details", "report", "errors"].map(|name| report.and_then(|report| report.get(name)));
        let plain = report.filter(|report| !report.is_object());
        let mut lines = Vec::new();
        for list in lists.into_iter().chain([plain]).flatten() {
            append_lines(list, &mut lines);
        }
        let inner = report.and_then(|report| report.get("errors")).map(|errors| items(Some(errors)));
        Self {
            status: status.or(code.as_ref().and_then(|code| code.status)),
            code,
            title: text(body.get("title")).unwrap_or_default(),
            detail: text(body.get("detail")).unwrap_or_default(),
            lines,
            inner: inner.unwrap_or_default().into_iter().filter(|item| item.code.is_some()).collect(),
        }
    }

    /// The parts of what it says, most important first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        [self.title.as_str(), self.detail.as_str()]
            .into_iter()
            .chain(self.lines.iter().map(String::as_str))
            .filter(|text| !text.is_empty())
    }
}

/// One line for a person: the code and what was said about it.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(code) = &self.code {
            write!(f, "{code}")?;
            separator = ": ";
        }
        for text in self.texts() {
            write!(f, "{separator}{text}")?;
            separator = "; ";
        }
        if separator.is_empty() { write!(f, "no reason given") } else { Ok(()) }
    }
}

/// Errors or warnings as they should be, an array of objects, or as anything else that is not nothing.
fn items(value: Option<&Value>) -> Vec<Item> {
    let item = |value: &Value| match value {
        Value::Object(body) => Item::read(body),
        other => Item { title: text(Some(other)).unwrap_or_default(), ..Item::default() },
    };
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.iter().take(ITEMS).map(item).collect(),
        Some(single) => vec![item(single)],
    }
}

fn append_lines(list: &Value, lines: &mut Vec<String>) {
    let entries = list.as_array().map_or(std::slice::from_ref(list), Vec::as_slice);
    for entry in entries.iter().take(LINES.saturating_sub(lines.len())) {
        let member = |name| text(entry.get(name));
        let line = match (member("name"), member("reason").or_else(|| member("title"))) {
            (Some(name), Some(reason)) => Some(format!("{name}: {reason}")),
            (None, Some(reason)) => Some(reason),
            _ => text(Some(entry)),
        };
        lines.extend(line);
    }
}

/// A value as text: a string as it is, other things as JSON, nothing as nothing.
fn text(value: Option<&Value>) -> Option<String> {
    let mut text = match value? {
        Value::Null => return None,
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    if text.len() > TEXT {
        text.truncate(text.floor_char_boundary(TEXT));
    }
    (!text.is_empty()).then_some(text)
}

/// An Adobe error code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) space: Space,
    /// Four digits that name the error.
    pub(super) number: u16,
    /// The HTTP status that belongs to it.
    pub(super) status: Option<u16>,
}

/// Whose error it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Space {
    /// The Edge gateway's; written with `EXEG-` or nothing in front.
    Gateway,
    /// The media service's, written with `va-edge-`.
    Media,
    /// Somebody's we do not know.
    Other(String),
}

impl Code {
    /// The last path segment of a `type`, split at the hyphens.
    pub(super) fn parse(type_: &str) -> Option<Self> {
        let path = type_.trim().split(['?', '#']).next()?.trim_end_matches('/');
        let segment = path.rsplit('/').next().filter(|segment| segment.len() <= 64 && segment.is_ascii())?;
        let digits = |text: &str, length| {
            let right = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
            right.then(|| text.parse().ok()).flatten()
        };

        let mut parts: Vec<&str> = segment.split('-').collect();
        let status = match parts[..] {
            [.., number, last] if digits(number, 4).is_some() => {
                parts.pop();
                Some(digits(last, 3)?)
            }
            _ => None,
        };
        let number = digits(parts.pop()?, 4)?;
        let space = match parts.join("-").to_ascii_lowercase().as_str() {
            "" | "exeg" => Space::Gateway,
            "va-edge" => Space::Media,
            other if other.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
                Space::Other(other.to_owned())
            }
            _ => return None,
        };
        Some(Self { space, number, status })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.space {
            Space::Gateway => {}
            Space::Media => write!(f, "va-edge-")?,
            Space::Other(name) => write!(f, "{name}-")?,
        }
        write!(f, "{:04}", self.number)?;
        self.status.map_or(Ok(()), |status| write!(f, "-{status:03}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_last_segment_of_the_type() {
        let cases = [
            ("https://ns.adobe.com/aep/errors/EXEG-0003-400", Some("0003-400")),
            ("https://ns.adobe.com/aep/errors/0104-422", Some("0104-422")),
            ("https://ns.adobe.com/aep/errors/va-edge-0400-400", Some("va-edge-0400-400")),
            ("https://ns.adobe.com/aep/errors/exeg-0003-400/", Some("0003-400")),
            ("https://ns.adobe.com/aep/errors/EXEG-0003-400?lang=en#top", Some("0003-400")),
            ("EXEG-0003-400", Some("0003-400")),
            ("EXEG-0003", Some("0003")),
            ("0003", Some("0003")),
            ("VA-EDGE-0404-404", Some("va-edge-0404-404")),
            ("https://ns.adobe.com/aep/errors/next-gen-0007-418", Some("next-gen-0007-418")),
            ("", None),
            ("about:blank", None),
            ("https://ns.adobe.com/aep/errors/", None),
            ("https://ns.adobe.com/aep/errors/EXEG-3-400", None),
            ("https://ns.adobe.com/aep/errors/EXEG-0003-4000", None),
            ("https://ns.adobe.com/aep/errors/EXEG-0003-", None),
            ("https://ns.adobe.com/aep/errors/EXEG-+003-400", None),
            ("evil\u{1b}[31m-0003-400", None),
            ("---", None),
        ];
        for (type_, expected) in cases {
            assert_eq!(Code::parse(type_).map(|code| code.to_string()).as_deref(), expected, "{type_:?}");
        }
        assert_eq!(Code::parse(&format!("{}-0003-400", "x".repeat(100))), None);
    }

    fn report(body: &str) -> Report {
        match read(&Answer { status: 400, body: body.into(), ..Answer::default() }) {
            Content::Adobe(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_report_is_read_in_all_its_forms() {
        let cases = [
            (r#"{"details":"Bad field"}"#, "Bad field"),
            (r#"{"details":["one","two"]}"#, "one; two"),
            (
                r#"{"details":[{"name":"$.a","reason":"missing"},{"name":"$.b","reason":"wrong"}]}"#,
                "$.a: missing; $.b: wrong",
            ),
            (r#"{"report":[{"name":"$.a","reason":"missing"}]}"#, "$.a: missing"),
            (r#"{"errors":[{"title":"No","detail":"x"}]}"#, "No"),
            (r#"{"errors":["one"]}"#, "one"),
            (r#""plain""#, "plain"),
            (r#"["one",2,null]"#, "one; 2"),
        ];
        for (given, expected) in cases {
            let body = format!(r#"{{"type":"EXEG-0104-422","title":"T","report":{given}}}"#);
            assert_eq!(report(&body).problem.to_string(), format!("0104-422: T; {expected}"), "{given}");
        }
    }

    #[test]
    fn ids_are_found_where_they_are() {
        let of_problem = report(r#"{"type":"EXEG-0001-500","report":{"requestId":"r1","orgId":"o"}}"#);
        assert_eq!(of_problem.request_id.as_deref(), Some("r1"));
        let ok = report(
            r#"{"requestId":"r2","handle":[{"type":"state:store","payload":[]},
                {"type":"media-analytics:new-session","payload":[{"sessionId":"s1"}]}]}"#,
        );
        assert_eq!(ok.request_id.as_deref(), Some("r2"));
        assert_eq!((ok.new_session, ok.session_id.as_deref()), (true, Some("s1")));
        let bare = report(r#"{"handle":[{"type":"media-analytics:new-session","payload":{}}]}"#);
        assert_eq!((bare.new_session, bare.session_id), (true, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "é".repeat(20_000);
        assert!(report(&format!(r#"{{"requestId":"{long}"}}"#)).request_id.unwrap().len() <= TEXT);
        let many = vec!["{}"; 20_000].join(",");
        assert_eq!(report(&format!(r#"{{"errors":[{many}]}}"#)).errors.len(), ITEMS);
        let many = report(&format!(
            r#"{{"type":"EXEG-0104-422","report":{{"details":[{many}],"report":[{many}]}}}}"#
        ));
        assert_eq!(many.problem.lines.len(), LINES);
    }
}
