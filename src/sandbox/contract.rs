//! Reads a request body against the contract, sections 3 to 7.
//!
//! An independent reading: nothing here is shared with the code that records events or builds
//! payloads, so that a misreading in one of them is caught by the other.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{members, order};

/// The code under which the media service refuses (contract section 10).
pub(super) const MEDIA: &str = "va-edge-0400-400";

/// More findings than this are counted, not listed: an answer stays small.
const MAX_FINDINGS: usize = 500;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Adobe refuses the media session.
    Problem,
    /// Adobe takes it and books something wrong, without a word.
    Warning,
    /// Unusual, or disputed among Adobe's own pages. Never a reason to refuse.
    Hint,
}

/// One thing that is not as the contract says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// Which item of `events`, for a finding inside one.
    #[serde(rename = "eventIndex")]
    pub event: Option<usize>,
    /// Where, as Adobe writes it: `$.xdm.mediaDownloadedEvents[2].mediaCollection.playhead`.
    #[serde(rename = "name")]
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// The code that Adobe answers with.
    pub code: &'static str,
}

/// One item of `events`, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) name: Option<String>,
    pub(super) title: Option<String>,
    pub(super) events: usize,
}

/// All that was found in a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub(super) sessions: Vec<Session>,
    pub(super) findings: Vec<Finding>,
}

/// Reads a body. `Err` when it is no JSON.
pub(super) fn read(body: &[u8]) -> Result<Reading, serde_json::Error> {
    let body: Value = serde_json::from_slice(body)?;
    let mut notes = Notes::default();
    let sessions = envelope(&body, &mut notes);
    Ok(Reading { sessions, findings: notes.done() })
}

/// Section 3: one body holds `events[]`, each item one media session.
fn envelope(body: &Value, notes: &mut Notes) -> Vec<Session> {
    let Some(body) = body.as_object() else {
        notes.gateway("EXEG-0102-400", "$", "Field should be an object");
        return Vec::new();
    };
    let events = match body.get("events") {
        None => {
            notes.gateway("EXEG-0103-400", "$.events", "Missing required field");
            return Vec::new();
        }
        Some(Value::Array(events)) if !events.is_empty() => events,
        Some(_) => {
            notes.gateway("EXEG-0102-400", "$.events", "Field should be an array with at least one item");
            return Vec::new();
        }
    };
    unknown(body, &["events"], "$", notes);
    if events.len() > 1 {
        notes.hint("$.events", "Several media sessions in one request share one verdict; send one");
    }
    let mut sessions = Vec::with_capacity(events.len().min(MAX_FINDINGS));
    for (i, event) in events.iter().enumerate() {
        notes.event = Some(i);
        sessions.push(session(event, notes));
    }
    sessions
}

fn session(event: &Value, notes: &mut Notes) -> Session {
    let Some(event) = object(event, "$", notes) else { return Session::default() };
    unknown(event, &["xdm", "_data"], "$", notes);
    let Some(xdm) = needed(event, "xdm", "$.xdm", notes) else { return Session::default() };
    let Some(xdm) = object(xdm, "$.xdm", notes) else { return Session::default() };

    if let Some(kind) = needed(xdm, "eventType", "$.xdm.eventType", notes)
        && kind != "media.downloaded"
    {
        notes.problem("$.xdm.eventType", "Field should be media.downloaded");
    }
    if let Some(map) = needed(xdm, "identityMap", "$.xdm.identityMap", notes) {
        identity_map(map, notes);
    }
    if let Some(details) = xdm.get("implementationDetails") {
        members::implementation(details, "$.xdm.implementationDetails", notes);
    }
    if let Some(time) = xdm.get("timestamp") {
        instant(time, "$.xdm.timestamp", notes);
    }
    if xdm.contains_key("customMetadata") {
        notes.problem("$.xdm.customMetadata", "Field belongs inside mediaCollection");
    }
    let known = [
        "eventType",
        "identityMap",
        "implementationDetails",
        "timestamp",
        "customMetadata",
        "mediaDownloadedEvents",
    ];
    unknown(xdm, &known, "$.xdm", notes);

    let path = "$.xdm.mediaDownloadedEvents";
    match needed(xdm, "mediaDownloadedEvents", path, notes) {
        Some(Value::Array(list)) if !list.is_empty() => media_events(list, path, notes),
        Some(_) => {
            notes.problem(path, "Field should be an array with at least one item");
            Session::default()
        }
        None => Session::default(),
    }
}

/// Section 3.2, then the order among the events.
fn media_events(list: &[Value], path: &str, notes: &mut Notes) -> Session {
    for (i, event) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let Some(event) = object(event, &at, notes) else { continue };
        unknown(event, &["mediaEventType", "mediaEventTimestamp", "mediaCollection"], &at, notes);
        let time = format!("{at}.mediaEventTimestamp");
        if let Some(value) = needed(event, "mediaEventTimestamp", &time, notes) {
            instant(value, &time, notes);
        }
        let kind = needed(event, "mediaEventType", &format!("{at}.mediaEventType"), notes);
        let kind = kind.and_then(|kind| event_type(kind, &format!("{at}.mediaEventType"), notes));
        let at = format!("{at}.mediaCollection");
        if let Some(collection) = needed(event, "mediaCollection", &at, notes)
            && let Some(collection) = object(collection, &at, notes)
            && let Some(kind) = kind
        {
            members::collection(kind, collection, &at, notes);
        }
    }
    order::check(list, path, notes);
    let details = &list[0]["mediaCollection"]["sessionDetails"];
    let text = |member: &str| details[member].as_str().map(str::to_owned);
    Session { name: text("name"), title: text("friendlyName"), events: list.len() }
}

fn event_type<'a>(kind: &'a Value, path: &str, notes: &mut Notes) -> Option<&'a str> {
    let Some(text) = kind.as_str() else {
        notes.problem(path, "Field should be a string");
        return None;
    };
    let short = text.strip_prefix("media.").filter(|short| members::TYPES.contains(short));
    if short.is_none() {
        notes.problem(path, "Field should be one of the 18 media event types");
    }
    short
}

/// Section 5. What the gateway refuses by itself goes under its own code.
fn identity_map(map: &Value, notes: &mut Notes) {
    let path = "$.xdm.identityMap";
    let Some(map) = object(map, path, notes) else { return };
    let mut primaries = 0;
    for (namespace, items) in map {
        let path = format!("{path}.{namespace}");
        if namespace.is_empty() {
            notes.problem(&path, "The namespace is empty");
        }
        let Some(items) = items.as_array().filter(|items| !items.is_empty()) else {
            notes.problem(&path, "Field should be an array with at least one item");
            continue;
        };
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let Some(item) = object(item, &path, notes) else { continue };
            unknown(item, &["id", "authenticatedState", "primary"], &path, notes);
            match needed(item, "id", &format!("{path}.id"), notes) {
                Some(Value::String(id)) => identity(namespace, id, &format!("{path}.id"), notes),
                Some(_) => notes.problem(&format!("{path}.id"), "Field should be a string"),
                None => {}
            }
            if let Some(state) = item.get("authenticatedState")
                && !matches!(state.as_str(), Some("ambiguous" | "authenticated" | "loggedOut"))
            {
                notes.problem(
                    &format!("{path}.authenticatedState"),
                    "Field should be one of ambiguous, authenticated, loggedOut",
                );
            }
            match item.get("primary") {
                Some(Value::Bool(true)) => primaries += 1,
                Some(Value::Bool(false)) | None => {}
                Some(_) => notes.problem(&format!("{path}.primary"), "Field should be a boolean"),
            }
        }
    }
    if primaries == 0 {
        notes.gateway("EXEG-0306-400", path, "No primary identity found in the input event");
    } else if primaries > 1 {
        notes.gateway("EXEG-0304-400", path, "More than one primary identity found in the input event");
    }
}

fn identity(namespace: &str, id: &str, path: &str, notes: &mut Notes) {
    if id.is_empty() {
        notes.gateway("EXEG-0305-400", path, "The identity is empty");
    } else if namespace == "FPID" && !uuid_v4(id) {
        notes.gateway("EXEG-0308-400", path, "An FPID should be a UUID of version 4");
    }
}

fn uuid_v4(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            14 => b == b'4',
            19 => matches!(b, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => b.is_ascii_hexdigit(),
        })
}

fn instant(value: &Value, path: &str, notes: &mut Notes) {
    match value.as_str().and_then(order::instant) {
        Some(nanos) if nanos < order::SET_CLOCK => {
            notes.hint(path, "A time before 2000 comes from a clock that was never set");
        }
        Some(_) => {}
        None => notes.problem(path, "Field should be a date and time with an offset, as in RFC 3339"),
    }
}

/// An object, or a problem.
pub(super) fn object<'a>(value: &'a Value, path: &str, notes: &mut Notes) -> Option<&'a Map<String, Value>> {
    let object = value.as_object();
    if object.is_none() {
        notes.problem(path, "Field should be an object");
    }
    object
}

/// A member that has to be there, or a problem.
pub(super) fn needed<'a>(
    object: &'a Map<String, Value>,
    member: &str,
    path: &str,
    notes: &mut Notes,
) -> Option<&'a Value> {
    let value = object.get(member);
    if value.is_none() {
        notes.problem(path, "Missing required field");
    }
    value
}

/// Members that the contract does not name are no reason to refuse.
pub(super) fn unknown(object: &Map<String, Value>, known: &[&str], path: &str, notes: &mut Notes) {
    for member in object.keys().filter(|member| !known.contains(&member.as_str())) {
        notes.hint(&format!("{path}.{member}"), "Field is not in the contract");
    }
}

/// Collects findings, all of them: validation is cumulative (contract section 10).
#[derive(Debug, Default)]
pub(super) struct Notes {
    event: Option<usize>,
    found: Vec<Finding>,
    /// What did not fit: how many, and the gravest code, by item of `events`.
    more: BTreeMap<(Level, Option<usize>, &'static str), usize>,
}

impl Notes {
    pub(super) fn problem(&mut self, path: &str, reason: &str) {
        self.add(Level::Problem, MEDIA, path, reason);
    }

    pub(super) fn warning(&mut self, path: &str, reason: &str) {
        self.add(Level::Warning, MEDIA, path, reason);
    }

    pub(super) fn hint(&mut self, path: &str, reason: &str) {
        self.add(Level::Hint, MEDIA, path, reason);
    }

    fn gateway(&mut self, code: &'static str, path: &str, reason: &str) {
        self.add(Level::Problem, code, path, reason);
    }

    fn add(&mut self, level: Level, code: &'static str, path: &str, reason: &str) {
        if self.found.len() >= MAX_FINDINGS {
            *self.more.entry((level, self.event, code)).or_default() += 1;
            return;
        }
        let (path, reason) = (path.to_owned(), reason.to_owned());
        self.found.push(Finding { level, event: self.event, path, reason, code });
    }

    fn done(mut self) -> Vec<Finding> {
        self.found.extend(self.more.into_iter().map(|((level, event, code), n)| Finding {
            level,
            event,
            path: "$".into(),
            reason: format!("{n} more of this kind"),
            code,
        }));
        self.found
    }
}
