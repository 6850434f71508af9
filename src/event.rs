//! Raw JSON to a checked event: fields, units and limits (contract sections 6 and 6.1).

use serde::Serialize;

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Dotted path below the event, for example `mediaCollection.playhead`.
    pub path: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

macro_rules! types { ($($v:ident = $t:literal),+) => {
/// t
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType { $(
/// t
$v),+ }
impl EventType {
/// t
pub fn as_str(self) -> &'static str { match self { $(EventType::$v => $t),+ } }
/// t
pub fn parse(s: &str) -> Option<EventType> { match s { $($t => Some(EventType::$v),)+ _ => None } }
}
}}
types!(
    SessionStart = "media.sessionStart",
    SessionComplete = "media.sessionComplete",
    SessionEnd = "media.sessionEnd",
    Play = "media.play",
    Ping = "media.ping"
);
