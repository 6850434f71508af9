//! Raw JSON to a checked event: fields, units and limits (contract sections 5, 6 and 6.1).
//!
//! Structure is refused, with every problem and its path at once. What only looks odd is a warning.

mod fields;
mod identity;
mod kind;
mod time;

use crate::json::{self, Node, Number, Parsed, Path, Problems};

pub use self::fields::{Fallback, Field, MAX_INT32, MAX_WHOLE, Presence, Shape, Unit, fields};
pub use self::identity::is_uuid_v4;
pub use self::kind::EventType;
pub use self::time::{rfc3339, unix_ms};
pub use crate::json::Problem;

/// The members that an event has beside what is inside its `mediaCollection`.
const MEMBERS: [&str; 5] = [TYPE, TIMESTAMP, COLLECTION, SEQ, IDENTITY];
const TYPE: &str = "mediaEventType";
const TIMESTAMP: &str = "mediaEventTimestamp";
const COLLECTION: &str = "mediaCollection";
const SEQ: &str = "seq";
const IDENTITY: &str = "identityMap";

/// 2^49: below it a number that is written with a fraction of 0 is read as the whole number that it is.
const EXACT: f64 = 562_949_953_421_312.0;

/// Seconds of a day: from here on no playhead of a live stream is right.
const DAY: f64 = 86_400.0;

/// Characters of a title that are kept beside the event.
const MAX_TITLE: usize = 200;

/// An event that may be journaled.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedEvent<'a> {
    /// Its type.
    pub kind: EventType,
    /// What the player sent, byte for byte, without white space around it.
    pub body: &'a str,
    /// The number that the player gave it.
    pub seq: Option<u64>,
    /// `mediaEventTimestamp` in milliseconds since 1970.
    pub said_ms: Option<i64>,
    /// Where the main content stands, in seconds.
    pub playhead: f64,
    /// What is played: the friendly name, else the name (`media.sessionStart` only).
    pub title: Option<String>,
    /// The player's identity map as compact JSON (`media.sessionStart` only).
    pub identity: Option<String>,
    /// What the configuration has to supply (`media.sessionStart`, `media.adStart`).
    pub missing_defaults: MissingDefaults,
    /// What is odd, or is recorded but not sent.
    pub warnings: Vec<Problem>,
}

/// Members of `sessionDetails` or `advertisingDetails` that the player left to the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MissingDefaults {
    /// `playerName`
    pub player_name: bool,
    /// `channel`, of a session only
    pub channel: bool,
}

/// Checks one event. How long it may be is the caller's business.
pub fn check(raw: &[u8]) -> Result<CheckedEvent<'_>, Vec<Problem>> {
    let text = json::utf8(raw).map_err(|p| vec![p])?;
    let Parsed { node, problems } = json::parse_str(text).map_err(|p| vec![p])?;
    let mut checker = Checker { problems, warnings: Problems::default() };
    let found = checker.event(&node);
    match (checker.problems.is_empty(), found) {
        (true, Some(found)) => {
            let body = json::trim(text);
            let title = ["friendlyName", "name"].into_iter().find_map(|name| {
                found.details?.get(name)?.as_str().filter(|title| !title.is_empty()).map(short)
            });
            Ok(CheckedEvent {
                kind: found.kind,
                body,
                seq: found.seq,
                said_ms: found.said_ms,
                playhead: found.playhead,
                title,
                identity: if found.has_identity {
                    raw_member(body, IDENTITY).map(json::compact)
                } else {
                    None
                },
                missing_defaults: found.missing_defaults,
                warnings: checker.warnings.into_vec(),
            })
        }
        _ => Err(checker.problems.into_vec()),
    }
}

/// Checks an `identityMap` that stands on its own and gives it back as compact JSON.
pub fn check_identity_map(raw: &str) -> Result<String, Vec<Problem>> {
    let Parsed { node, mut problems } = json::parse_str(raw).map_err(|p| vec![p])?;
    identity::check(&node, &Path::Root, &mut problems);
    if problems.is_empty() { Ok(json::compact(raw)) } else { Err(problems.into_vec()) }
}

/// The raw parts of an event that came in another envelope, such as an `xdm` of the Media Edge face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Its type.
    pub kind: EventType,
    /// Its time, a JSON string with its quotes.
    pub timestamp: Option<&'a str>,
    /// Its `mediaCollection`, a JSON object.
    pub collection: &'a str,
    /// Its `identityMap`, a JSON object.
    pub identity_map: Option<&'a str>,
}

/// Puts raw parts together to the text of an event, for [`check`] to judge; every part keeps its bytes.
pub fn compose(parts: &Parts<'_>) -> String {
    let mut event = format!("{{\"{TYPE}\":\"{}\"", parts.kind);
    let raw =
        [(TIMESTAMP, parts.timestamp), (COLLECTION, Some(parts.collection)), (IDENTITY, parts.identity_map)];
    for (name, value) in raw.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        event.push_str(",\"");
        event.push_str(name);
        event.push_str("\":");
        event.push_str(value);
    }
    event.push('}');
    event
}

/// As much of a title as people look at; lists repeat it.
fn short(title: &str) -> String {
    match title.char_indices().nth(MAX_TITLE) {
        Some((end, _)) => format!("{}…", &title[..end]),
        None => title.to_owned(),
    }
}

/// The raw text of a member of an object.
fn raw_member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    json::members(object).ok()?.into_iter().find(|m| m.name == name).map(|m| m.value)
}

/// What a check brings to light, of use only if there was no problem.
struct Found<'n> {
    kind: EventType,
    seq: Option<u64>,
    said_ms: Option<i64>,
    playhead: f64,
    details: Option<&'n Node<'n>>,
    missing_defaults: MissingDefaults,
    has_identity: bool,
}

struct Checker {
    problems: Problems,
    warnings: Problems,
}

impl Checker {
    fn event<'n>(&mut self, event: &'n Node<'n>) -> Option<Found<'n>> {
        let root = Path::Root;
        let Node::Object(members) = event else {
            self.problems.push(&root, format!("an event must be an object, not {}", event.kind()));
            return None;
        };
        for (name, _) in members.iter().filter(|(name, _)| !MEMBERS.contains(&&**name)) {
            self.unknown_member(name);
        }
        let kind = self.kind(event.get(TYPE));
        let said_ms = event.get(TIMESTAMP).and_then(|node| self.timestamp(node));
        let seq = event.get(SEQ).and_then(|node| self.seq(node));
        if let Some(map) = event.get(IDENTITY) {
            let path = root.member(IDENTITY);
            match kind {
                Some(kind) if kind != EventType::SessionStart => {
                    self.problems.push(&path, "only media.sessionStart may carry it: leave it out");
                }
                _ => identity::check(map, &path, &mut self.problems),
            }
        }
        let path = root.member(COLLECTION);
        let Some(collection) = event.get(COLLECTION) else {
            self.problems.push(&path, "missing: must be an object");
            return None;
        };
        let table = kind.map_or(&fields::COMMON[..], fields);
        self.value(collection, &Shape::Object(table), &path);
        let kind = kind?;
        if kind == EventType::StatesUpdate {
            self.some_state(collection, &path);
        }
        let playhead = collection.get("playhead")?.as_number()?.as_f64();
        let details = collection.get("sessionDetails").filter(|_| kind == EventType::SessionStart);
        self.odd_playhead(playhead, details, &path);
        let ad = collection.get("advertisingDetails").filter(|_| kind == EventType::AdStart);
        let lacks = |of: Option<&Node<'_>>, name| of.is_some_and(|of| of.get(name).is_none());
        let missing_defaults = MissingDefaults {
            player_name: lacks(details.or(ad), "playerName"),
            channel: lacks(details, "channel"),
        };
        let has_identity = event.get(IDENTITY).is_some();
        Some(Found { kind, seq, said_ms, playhead, details, missing_defaults, has_identity })
    }

    fn unknown_member(&mut self, name: &str) {
        let problem = match MEMBERS.iter().find(|m| m.eq_ignore_ascii_case(name)) {
            Some(meant) => format!("unknown member: write `{meant}`"),
            None => format!("unknown member: an event has `{}`", MEMBERS.join("`, `")),
        };
        self.problems.push(&Path::Root.member(name), problem);
    }

    fn kind(&mut self, node: Option<&Node<'_>>) -> Option<EventType> {
        let problem = match node {
            None => "missing: must be an event type such as media.play".to_owned(),
            Some(Node::String(name)) => match EventType::parse(name) {
                Ok(kind) => return Some(kind),
                Err(why) => why,
            },
            Some(other) => format!("must be a string, not {}", other.kind()),
        };
        self.problems.push(&Path::Root.member(TYPE), problem);
        None
    }

    fn timestamp(&mut self, node: &Node<'_>) -> Option<i64> {
        let ms = node.as_str().and_then(unix_ms);
        if ms.is_none() {
            let wanted = "must be a date and time with an offset by RFC 3339 and before the last day of the year 9999, like 2026-03-07T18:30:00.120Z";
            self.problems.push(&Path::Root.member(TIMESTAMP), wanted);
        }
        ms
    }

    fn seq(&mut self, node: &Node<'_>) -> Option<u64> {
        let seq = node.as_number().and_then(whole).filter(|seq| i64::try_from(*seq).is_ok());
        if seq.is_none() {
            let wanted = format!("must be a whole number from 0 to {}", i64::MAX);
            self.problems.push(&Path::Root.member(SEQ), wanted);
        }
        seq
    }

    fn object(&mut self, object: &Node<'_>, table: &[Field], path: &Path<'_>) {
        for field in table {
            let path = path.member(field.name);
            match (object.get(field.name), field.presence) {
                (None, Presence::Required) => {
                    self.problems.push(&path, format!("missing: must be {}", field.shape.wanted()));
                }
                (None, _) => {}
                (Some(_), Presence::Refused(why)) => self.problems.push(&path, why),
                (Some(_), Presence::Stripped(why)) => {
                    self.warnings.push(&path, format!("recorded, but left out of the payload: {why}"));
                }
                (Some(node), Presence::Required | Presence::Optional | Presence::Filled(_)) => {
                    self.value(node, &field.shape, &path);
                }
            }
        }
    }

    fn value(&mut self, node: &Node<'_>, shape: &Shape, path: &Path<'_>) {
        let right = match (shape, node) {
            (Shape::Any, _) | (Shape::Flag, Node::Bool(_)) => true,
            (Shape::Text(least), Node::String(text)) => text.chars().take(*least).count() == *least,
            (Shape::OneOf(list), Node::String(text)) => list.contains(&&**text),
            (Shape::StateName, Node::String(name)) => fields::is_state_name(name),
            (Shape::Whole(_, max), Node::Number(number)) => within(*number, *max),
            (Shape::Object(table), Node::Object(_)) => return self.object(node, table, path),
            (Shape::List(table), Node::Array(items)) => {
                for (n, item) in items.iter().enumerate() {
                    self.value(item, &Shape::Object(table), &path.item(n));
                }
                return;
            }
            _ => {
                self.problems.push(path, format!("must be {}, not {}", shape.wanted(), node.kind()));
                return;
            }
        };
        if !right {
            self.problems.push(path, format!("must be {}", shape.wanted()));
        }
    }

    fn some_state(&mut self, collection: &Node<'_>, path: &Path<'_>) {
        let none = |name| match collection.get(name) {
            None => true,
            Some(Node::Array(items)) => items.is_empty(),
            Some(_) => false,
        };
        if matches!(collection, Node::Object(_)) && none("statesStart") && none("statesEnd") {
            let path = path.member("statesStart");
            self.problems.push(&path, "`statesStart` or `statesEnd` must name at least one state");
        }
    }

    fn odd_playhead(&mut self, playhead: f64, details: Option<&Node<'_>>, path: &Path<'_>) {
        let length = details.and_then(|d| d.get("length")?.as_number()).map(Number::as_f64);
        let kind = details.and_then(|d| d.get("contentType")?.as_str());
        let live = matches!(kind, Some("Live" | "Linear"));
        let at = path.member("playhead");
        match length {
            // A live playhead is the second of the day.
            Some(length) if length > 0.0 && playhead > length && !live => {
                self.warnings.push(&at, "beyond `sessionDetails.length`");
            }
            _ if playhead >= DAY && (live || length.is_none()) => {
                self.warnings.push(&at, "a day or more: a live playhead is the second of the day");
            }
            _ => {}
        }
        if length == Some(0.0) {
            let at = path.member("sessionDetails");
            self.warnings.push(
                &at.member("length"),
                "0 switches progress markers off: write 86400 for a live stream of unknown length",
            );
        }
    }
}

/// A whole number from 0, also one that is written like `1.0`, as languages do whose numbers are all alike.
fn whole(number: Number) -> Option<u64> {
    match number {
        Number::Unsigned(n) => Some(n),
        Number::Negative(_) => None,
        Number::Float(n) => (n.fract() == 0.0 && (0.0..EXACT).contains(&n)).then_some(n as u64),
    }
}

fn within(number: Number, max: u64) -> bool {
    match number {
        Number::Unsigned(n) => n <= max,
        Number::Negative(_) => false,
        Number::Float(n) => n >= 0.0 && n.floor() <= max as f64,
    }
}

#[cfg(test)]
mod tests;
