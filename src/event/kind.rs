//! The 18 types of event (contract section 6).

use std::fmt;

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A type that the endpoint takes inside `mediaDownloadedEvents`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventType {
            $($(#[$doc])* $variant,)*
        }

        impl EventType {
            /// All types, in the order of contract section 6.
            pub const ALL: &'static [EventType] = &[$(EventType::$variant,)*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventType::$variant => $name,)*
                }
            }
        }
    };
}

event_types! {
    /// Intent to play; first event, once.
    SessionStart = "media.sessionStart",
    /// The main content reached its end.
    SessionComplete = "media.sessionComplete",
    /// The viewer left.
    SessionEnd = "media.sessionEnd",
    /// Now playing.
    Play = "media.play",
    /// Now paused, or a seek begins.
    PauseStart = "media.pauseStart",
    /// Now buffering.
    BufferStart = "media.bufferStart",
    /// Heartbeat.
    Ping = "media.ping",
    /// The quality switched.
    BitrateChange = "media.bitrateChange",
    /// Playback trouble.
    Error = "media.error",
    /// Opens an ad break.
    AdBreakStart = "media.adBreakStart",
    /// Closes an ad break.
    AdBreakComplete = "media.adBreakComplete",
    /// Opens an ad.
    AdStart = "media.adStart",
    /// The ad was watched.
    AdComplete = "media.adComplete",
    /// The ad was skipped.
    AdSkip = "media.adSkip",
    /// Opens a chapter.
    ChapterStart = "media.chapterStart",
    /// The chapter was watched.
    ChapterComplete = "media.chapterComplete",
    /// The chapter was left early.
    ChapterSkip = "media.chapterSkip",
    /// Player states go on and off.
    StatesUpdate = "media.statesUpdate",
}

/// Names that sources mention and no event may have, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("media.scheduleStart", "is a name of the XDM list that no endpoint accepts"),
    ("media.customTracking", "is a name of the XDM list that no endpoint accepts"),
    ("media.downloaded", "is the type of the request that carries the events, not of an event"),
    ("media.adBreakSkip", "does not exist: a skipped ad is `media.adSkip`"),
];

impl EventType {
    /// The type of that name, or for a person why it is none.
    pub fn parse(name: &str) -> Result<EventType, String> {
        if let Some(known) = Self::ALL.iter().find(|t| t.as_str() == name) {
            return Ok(*known);
        }
        let shown = crate::json::shown(name);
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(format!("`{shown}` {why}"));
        }
        let bare = |t: &str| t.trim_start_matches("media.").to_ascii_lowercase();
        let meant = Self::ALL.iter().find(|t| bare(t.as_str()) == bare(name));
        Err(match meant {
            Some(meant) => format!("unknown event type `{shown}`: write `{meant}`"),
            None => format!(
                "unknown event type `{shown}`: the types are media.sessionStart, media.play and so on"
            ),
        })
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
