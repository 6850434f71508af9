//! Which members a `mediaCollection` has per event type (contract sections 6 and 6.1), as data.
//!
//! Intake checks against this table and the payload is written by it, so a rule stands in one place.
//! Members that are not in it pass untouched.

use super::kind::EventType;

/// One member of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it has to be there, may be there or must not.
    pub presence: Presence,
    /// What its value looks like.
    pub shape: Shape,
}

/// Whether a member has to be there, once its parent is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// It may be there.
    Optional,
    /// It must be there in the end; the configuration fills it if the player does not.
    Filled(Fallback),
    /// It must not be there, for that reason.
    Refused(&'static str),
    /// It is recorded and left out of the payload, for that reason.
    Stripped(&'static str),
}

/// A value that the configuration supplies (contract section 13, line 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// `defaults.player_name`
    PlayerName,
    /// `defaults.channel`
    Channel,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Whatever it is, nobody looks.
    Any,
    /// A string of at least so many characters.
    Text(usize),
    /// One string of a closed list.
    OneOf(&'static [&'static str]),
    /// The name of a player state.
    StateName,
    /// A number from 0 to a highest one; a fraction is rounded down in the payload.
    Whole(Unit, u64),
    /// `true` or `false`
    Flag,
    /// An object with these members.
    Object(&'static [Field]),
    /// An array of such objects.
    List(&'static [Field]),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds (contract section 13, line 11).
    Milliseconds,
    /// Kilobits per second (contract section 13, line 12).
    Kbps,
    /// Frames since the session started.
    Frames,
    /// Frames per second.
    FramesPerSecond,
    /// A position in a list, whatever its base.
    Index,
}

/// The largest number that every JSON reader keeps exactly.
pub const MAX_WHOLE: u64 = (1 << 53) - 1;

/// The largest number in `qoeDataDetails`, declared as int32.
pub const MAX_INT32: u64 = i32::MAX as u64;

const fn field(name: &'static str, presence: Presence, shape: Shape) -> Field {
    Field { name, presence, shape }
}

const fn required(name: &'static str, shape: Shape) -> Field {
    field(name, Presence::Required, shape)
}

const fn optional(name: &'static str, shape: Shape) -> Field {
    field(name, Presence::Optional, shape)
}

const fn filled(name: &'static str, from: Fallback) -> Field {
    field(name, Presence::Filled(from), Shape::Text(0))
}

const fn refused(name: &'static str, why: &'static str) -> Field {
    field(name, Presence::Refused(why), Shape::Any)
}

const fn stripped(name: &'static str, why: &'static str) -> Field {
    field(name, Presence::Stripped(why), Shape::Any)
}

const fn computed(name: &'static str) -> Field {
    stripped(name, "Adobe computes it")
}

const SECONDS: Shape = Shape::Whole(Unit::Seconds, MAX_WHOLE);
const INDEX: Shape = Shape::Whole(Unit::Index, MAX_WHOLE);

/// Here and below: what an XDM type has beyond contract sections 6 and 6.1 is what Adobe computes (section 9).
static QOE_DETAILS: [Field; 21] = [
    optional("bitrate", Shape::Whole(Unit::Kbps, MAX_INT32)),
    optional("droppedFrames", Shape::Whole(Unit::Frames, MAX_INT32)),
    optional("framesPerSecond", Shape::Whole(Unit::FramesPerSecond, MAX_INT32)),
    optional("timeToStart", Shape::Whole(Unit::Milliseconds, MAX_INT32)),
    computed("bitrateAverage"),
    computed("bitrateAverageBucket"),
    computed("bitrateChangeCount"),
    computed("bufferCount"),
    computed("bufferTime"),
    computed("errorCount"),
    computed("externalErrors"),
    computed("hasBitrateChangeImpactedStreams"),
    computed("hasBufferImpactedStreams"),
    computed("hasDroppedFrameImpactedStreams"),
    computed("hasErrorImpactedStreams"),
    computed("hasStallImpactedStreams"),
    computed("isDroppedBeforeStart"),
    computed("mediaSdkErrors"),
    computed("playerSdkErrors"),
    computed("stallCount"),
    computed("stallTime"),
];

const PLAYHEAD: Field = required("playhead", SECONDS);
const QOE: Field = optional("qoeDataDetails", Shape::Object(&QOE_DETAILS));
const LIVE_ID: &str = "Adobe assigns the id of a downloaded session";
const SESSION_ID: Field = stripped("sessionID", LIVE_ID);
const SESSION_ID_ANSWER: Field = stripped("sessionId", LIVE_ID);
const DOWNLOADED: Field = stripped("isDownloaded", "Adobe sets it");

static METADATA_ITEM: [Field; 2] = [required("name", Shape::Text(1)), required("value", Shape::Text(0))];

const METADATA: Field = optional("customMetadata", Shape::List(&METADATA_ITEM));
const NO_METADATA: Field = refused(
    "customMetadata",
    "allowed on media.sessionStart, media.adStart and media.chapterStart only: leave it out",
);

const STRING: Shape = Shape::Text(0);

static SESSION_DETAILS: [Field; 58] = [
    required("name", Shape::Text(1)),
    required("contentType", STRING),
    required("length", SECONDS),
    filled("playerName", Fallback::PlayerName),
    filled("channel", Fallback::Channel),
    optional("friendlyName", STRING),
    optional("appVersion", STRING),
    optional("streamType", Shape::OneOf(&["audio", "video"])),
    optional("hasResume", Shape::Flag),
    optional("show", STRING),
    optional("season", STRING),
    optional("episode", STRING),
    optional("assetID", STRING),
    optional("genre", STRING),
    optional("firstAirDate", STRING),
    optional("firstDigitalDate", STRING),
    optional("rating", STRING),
    optional("originator", STRING),
    optional("network", STRING),
    optional("showType", STRING),
    optional("adLoad", STRING),
    optional("mvpd", STRING),
    optional("authorized", STRING),
    optional("dayPart", STRING),
    optional("feed", STRING),
    optional("streamFormat", STRING),
    optional("artist", STRING),
    optional("album", STRING),
    optional("label", STRING),
    optional("author", STRING),
    optional("station", STRING),
    optional("publisher", STRING),
    DOWNLOADED,
    computed("ID"),
    computed("adCount"),
    computed("averageMinuteAudience"),
    computed("chapterCount"),
    computed("estimatedStreams"),
    computed("hasPauseImpactedStreams"),
    computed("hasProgress10"),
    computed("hasProgress25"),
    computed("hasProgress50"),
    computed("hasProgress75"),
    computed("hasProgress95"),
    computed("hasSegmentView"),
    computed("isCompleted"),
    computed("isFederated"),
    computed("isPlayed"),
    computed("isViewed"),
    computed("pauseCount"),
    computed("pauseTime"),
    computed("pccr"),
    computed("pev3"),
    computed("secondsSinceLastCall"),
    computed("segment"),
    computed("timePlayed"),
    computed("totalTimePlayed"),
    computed("uniqueTimePlayed"),
];

static ERROR_DETAILS: [Field; 2] =
    [required("name", Shape::Text(1)), required("source", Shape::OneOf(&["player", "external"]))];

static POD_DETAILS: [Field; 4] =
    [required("index", INDEX), required("offset", SECONDS), optional("friendlyName", STRING), computed("ID")];

static AD_DETAILS: [Field; 15] = [
    required("name", Shape::Text(1)),
    required("length", SECONDS),
    filled("playerName", Fallback::PlayerName),
    required("podPosition", INDEX),
    optional("friendlyName", STRING),
    optional("advertiser", STRING),
    optional("campaignID", STRING),
    optional("creativeID", STRING),
    optional("creativeURL", STRING),
    optional("placementID", STRING),
    optional("siteID", STRING),
    computed("ID"),
    computed("isCompleted"),
    computed("isStarted"),
    computed("timePlayed"),
];

static CHAPTER_DETAILS: [Field; 8] = [
    required("index", INDEX),
    required("length", SECONDS),
    required("offset", SECONDS),
    optional("friendlyName", STRING),
    computed("ID"),
    computed("isCompleted"),
    computed("isStarted"),
    computed("timePlayed"),
];

static STATE: [Field; 4] =
    [required("name", Shape::StateName), computed("count"), computed("isSet"), computed("time")];

static BARE: [Field; 6] = [PLAYHEAD, QOE, NO_METADATA, SESSION_ID, SESSION_ID_ANSWER, DOWNLOADED];

static SESSION_START: [Field; 7] = [
    PLAYHEAD,
    required("sessionDetails", Shape::Object(&SESSION_DETAILS)),
    METADATA,
    QOE,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static BITRATE_CHANGE: [Field; 6] = [
    PLAYHEAD,
    required("qoeDataDetails", Shape::Object(&QOE_DETAILS)),
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static ERROR: [Field; 7] = [
    PLAYHEAD,
    required("errorDetails", Shape::Object(&ERROR_DETAILS)),
    QOE,
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static AD_BREAK_START: [Field; 7] = [
    PLAYHEAD,
    required("advertisingPodDetails", Shape::Object(&POD_DETAILS)),
    QOE,
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static AD_BREAK_COMPLETE: [Field; 7] = [
    PLAYHEAD,
    refused("advertisingPodDetails", "belongs to media.adBreakStart: leave it out here"),
    QOE,
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static AD_START: [Field; 7] = [
    PLAYHEAD,
    required("advertisingDetails", Shape::Object(&AD_DETAILS)),
    METADATA,
    QOE,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static AD_COMPLETE: [Field; 7] = [
    PLAYHEAD,
    refused("advertisingDetails", "belongs to media.adStart: leave it out here"),
    QOE,
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static CHAPTER_START: [Field; 7] = [
    PLAYHEAD,
    required("chapterDetails", Shape::Object(&CHAPTER_DETAILS)),
    METADATA,
    QOE,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static CHAPTER_CLOSE: [Field; 7] = [
    PLAYHEAD,
    refused("chapterDetails", "belongs to media.chapterStart: leave it out here"),
    QOE,
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

static STATES_UPDATE: [Field; 8] = [
    PLAYHEAD,
    optional("statesStart", Shape::List(&STATE)),
    optional("statesEnd", Shape::List(&STATE)),
    QOE,
    NO_METADATA,
    SESSION_ID,
    SESSION_ID_ANSWER,
    DOWNLOADED,
];

/// What every type has in common, for an event whose type is not known.
pub(super) static COMMON: [Field; 2] = [PLAYHEAD, QOE];

/// The members of `mediaCollection` for that type.
pub fn fields(kind: EventType) -> &'static [Field] {
    use EventType as T;
    match kind {
        T::SessionStart => &SESSION_START,
        T::SessionComplete
        | T::SessionEnd
        | T::Play
        | T::PauseStart
        | T::BufferStart
        | T::Ping
        | T::AdSkip => &BARE,
        T::BitrateChange => &BITRATE_CHANGE,
        T::Error => &ERROR,
        T::AdBreakStart => &AD_BREAK_START,
        T::AdBreakComplete => &AD_BREAK_COMPLETE,
        T::AdStart => &AD_START,
        T::AdComplete => &AD_COMPLETE,
        T::ChapterStart => &CHAPTER_START,
        T::ChapterComplete | T::ChapterSkip => &CHAPTER_CLOSE,
        T::StatesUpdate => &STATES_UPDATE,
    }
}

/// Whether a player state may be called so.
pub(super) fn is_state_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

impl Shape {
    /// What would be right, for a person.
    pub(super) fn wanted(&self) -> String {
        match self {
            Shape::Any => "anything".into(),
            Shape::Text(0) => "a string".into(),
            Shape::Text(_) => "a string that is not empty".into(),
            Shape::OneOf(list) => format!("one of `{}`", list.join("`, `")),
            Shape::StateName => "a string of 1 to 64 letters, digits, `_` and `.`".into(),
            Shape::Whole(unit, max) => format!("a number{} from 0 to {max}", unit.of()),
            Shape::Flag => "true or false".into(),
            Shape::Object(_) => "an object".into(),
            Shape::List(_) => "an array of objects".into(),
        }
    }
}

impl Unit {
    fn of(self) -> &'static str {
        match self {
            Unit::Seconds => " of seconds",
            Unit::Milliseconds => " of milliseconds",
            Unit::Kbps => " of kilobits per second",
            Unit::Frames => " of frames",
            Unit::FramesPerSecond => " of frames per second",
            Unit::Index => "",
        }
    }
}
