//! Keys, states and the life of a session (product sections 1 and 4.1): pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name a player gave a session, unique per local user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Key(String);

/// Longest key a player may choose.
const MAX_KEY: usize = 128;

/// Why a text is not a session key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session key is 1 to {MAX_KEY} characters of A-Z a-z 0-9 . _ : -; {0}")]
pub struct BadKey(String);

impl Key {
    /// A new key: UUID version 7, so that keys sort by time.
    pub fn random() -> Key {
        Key(uuid::Uuid::now_v7().to_string())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Key, BadKey> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if text.is_empty() {
            return Err(BadKey("this one is empty".into()));
        }
        if let Some((at, c)) = text.char_indices().find(|&(_, c)| !allowed(c)) {
            return Err(BadKey(format!("this one has {:?} at byte {at}", c)));
        }
        if text.len() > MAX_KEY {
            return Err(BadKey(format!("this one has {}", text.len())));
        }
        Ok(Key(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes an enum whose variants have one fixed name each, in the journal and on the wire.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The fixed name.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The one with this name.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

named! {
    /// Where a session is in its life.
    State {
        /// Events can be added.
        Open = "open",
        /// No event can be added any more; ready to upload.
        Completed = "completed",
        /// The endpoint confirmed it.
        Delivered = "delivered",
        /// Refused for a reason of its own; waits for a person.
        Quarantined = "quarantined",
    }
}

named! {
    /// Why a session was completed.
    Why {
        /// The player sent `media.sessionComplete` or `media.sessionEnd`.
        End = "end",
        /// The player asked for it.
        Complete = "complete",
        /// No event came for too long.
        Idle = "idle",
        /// It was open for too long, or had grown too large.
        Age = "age",
        /// The device booted again.
        Boot = "boot",
        /// It came as a whole.
        Import = "import",
    }
}

impl Why {
    /// Whether we completed the session without the player's knowing.
    pub fn is_ours(self) -> bool {
        matches!(self, Why::Idle | Why::Age | Why::Boot)
    }
}

named! {
    /// Names under which acknowledged events can be lost (product section 2, promise 2).
    Loss {
        /// Pushed out to make room.
        Evicted = "evicted",
        /// Quarantined and not looked at for too long.
        Expired = "expired",
        /// Erased because the person opted out.
        Purged = "purged",
        /// Dropped by a person.
        Discarded = "discarded",
        /// Found damaged in the journal.
        Corrupt = "corrupt",
    }
}

named! {
    /// Whether the person agreed to be measured (contract section 14).
    Consent {
        /// Record and upload.
        In = "in",
        /// Record nothing, keep nothing.
        Out = "out",
        /// Record, hold back.
        Pending = "pending",
    }
}

/// The name of one session under a key: the key itself, or `key~2` for the second that goes on under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The player's key.
    pub key: Key,
    /// Which of the sessions under it; `None`: not said.
    pub generation: Option<u32>,
}

impl Name {
    /// The name of the `generation`-th session under a key.
    pub fn text(key: &str, generation: u32) -> String {
        if generation <= 1 { key.to_owned() } else { format!("{key}~{generation}") }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Name::text(self.key.as_str(), self.generation.unwrap_or(1)))
    }
}

impl FromStr for Name {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Name, BadKey> {
        let number =
            |text: &str| text.parse().ok().filter(|n: &u32| *n >= 2 && !text.starts_with(['0', '+']));
        match text.rsplit_once('~').and_then(|(key, n)| Some((key, number(n)?))) {
            Some((key, generation)) => Ok(Name { key: key.parse()?, generation: Some(generation) }),
            None => Ok(Name { key: text.parse()?, generation: None }),
        }
    }
}

/// Without movement of the playhead a session ends after this time, as live ones do (contract section 8).
pub const STALL_MS: i64 = 30 * 60 * 1000;

/// A session that lasts longer goes on in a successor (contract section 8).
pub const LONGEST_MS: i64 = 24 * 3600 * 1000;

/// Events that a session may have: enough for 24 hours with one every 5 seconds.
pub const MOST_EVENTS: i64 = 20_000;
/// Bytes that the bodies of a session's events may have: 24 hours with 360 of them every 10 seconds.
pub const MOST_BYTES: i64 = 3 << 20;

/// Whether a session of so many events and bytes must go on in a successor, so that what it takes to read, divide and
/// pack one is bounded.
pub fn is_too_large(events: i64, bytes: i64) -> bool {
    events > MOST_EVENTS || bytes > MOST_BYTES
}

/// How long a session may stay open (configuration `[session]`), in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without an event.
    pub idle_ms: i64,
    /// In all.
    pub age_ms: i64,
    /// After the player's closing event, for events that come late.
    pub grace_ms: i64,
}

/// The times that decide when an open session is completed, all in boot time of the present boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTimes {
    /// When it was started.
    pub started_ms: i64,
    /// When the last event came.
    pub last_event_ms: i64,
    /// When the playhead last moved.
    pub moved_ms: i64,
    /// When the player's last closing event came.
    pub closed_ms: Option<i64>,
}

/// When an open session is completed if nothing more comes, and why.
pub fn deadline(times: &OpenTimes, limits: &Limits) -> (i64, Why) {
    if let Some(closed) = times.closed_ms {
        return (closed.saturating_add(limits.grace_ms), Why::End);
    }
    let silent = times.last_event_ms.saturating_add(limits.idle_ms);
    let idle = silent.min(times.moved_ms.saturating_add(STALL_MS.max(limits.idle_ms)));
    let age = times.started_ms.saturating_add(limits.age_ms);
    if age < idle { (age, Why::Age) } else { (idle, Why::Idle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_plain() {
        for good in ["a", "living-room-0042", "A.z_0:9-", ".", "..", "...", &"k".repeat(128)] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
        for bad in ["", "../x", "a b", "it's", "😀", "key~2", "a\0", "a%20", &"k".repeat(129)] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
        assert!(Key::random().as_str().parse::<Key>().is_ok());
        assert!("a'b".parse::<Key>().unwrap_err().to_string().contains("'\\'' at byte 1"));
    }

    #[test]
    fn names_read_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(*state));
        }
        for why in Why::ALL {
            assert_eq!(Why::parse(why.as_str()), Some(*why));
        }
        assert_eq!(State::parse("sending"), None);
    }

    #[test]
    fn an_open_session_ends_by_the_first_rule_that_applies() {
        let limits = Limits { idle_ms: 600, age_ms: 5000, grace_ms: 5 };
        for (started_ms, moved_ms, last_event_ms, closed_ms, expected) in [
            (0, 0, 0, None, (600, Why::Idle)),
            (0, 4000, 4000, None, (4600, Why::Idle)),
            (0, 4500, 4500, None, (5000, Why::Age)),
            (0, 4400, 4500, Some(4400), (4405, Why::End)),
            (0, 4999, 4999, Some(4999), (5004, Why::End)),
        ] {
            let times = OpenTimes { started_ms, last_event_ms, moved_ms, closed_ms };
            assert_eq!(deadline(&times, &limits), expected);
        }
        let long = Limits { idle_ms: 600_000, age_ms: 86_400_000, grace_ms: 5000 };
        let still = OpenTimes { started_ms: 0, last_event_ms: 1_790_000, moved_ms: 0, closed_ms: None };
        assert_eq!(deadline(&still, &long), (STALL_MS, Why::Idle));
    }

    #[test]
    fn names_say_which_session_under_a_key() {
        let name = |text: &str| text.parse::<Name>().map(|name| (name.key.to_string(), name.generation)).ok();
        assert_eq!(name("a"), Some(("a".into(), None)));
        assert_eq!(name("a~2"), Some(("a".into(), Some(2))));
        for bad in ["a~1", "a~", "a~x", "a~02", "a~+2", "~2", "a~2~3"] {
            assert_eq!(name(bad), None, "{bad}");
        }
        assert_eq!((Name::text("a", 1), Name::text("a", 3)), ("a".into(), "a~3".into()));
    }
}
