//! What each event type carries: contract section 6 as tables, section 6.1 as kinds.

use serde_json::{Map, Value};

use super::contract::{Notes, needed, object, unknown};

/// The 18 event types, without `media.` before them.
pub(super) const TYPES: [&str; 18] = [
    "sessionStart",
    "sessionComplete",
    "sessionEnd",
    "play",
    "pauseStart",
    "bufferStart",
    "ping",
    "bitrateChange",
    "error",
    "adBreakStart",
    "adBreakComplete",
    "adStart",
    "adComplete",
    "adSkip",
    "chapterStart",
    "chapterComplete",
    "chapterSkip",
    "statesUpdate",
];

/// What a value has to be. All numbers are integers, none is negative.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// A string of at least one character.
    Filled,
    Whole,
    /// An integer that fits in 32 signed bits.
    Int32,
    Flag,
    OneOf(&'static [&'static str]),
    Uri,
}
use Kind::{Filled, Flag, Int32, OneOf, Text, Uri, Whole};

/// A member: its name, what it has to be, whether it has to be there.
type Member = (&'static str, Kind, bool);

const SESSION: &[Member] = &[
    ("name", Filled, true),
    ("playerName", Text, true),
    ("contentType", Text, true),
    ("length", Whole, true),
    ("channel", Text, true),
    ("friendlyName", Text, false),
    ("appVersion", Text, false),
    ("streamType", OneOf(&["audio", "video"]), false),
    ("hasResume", Flag, false),
    ("show", Text, false),
    ("season", Text, false),
    ("episode", Text, false),
    ("assetID", Text, false),
    ("genre", Text, false),
    ("firstAirDate", Text, false),
    ("firstDigitalDate", Text, false),
    ("rating", Text, false),
    ("originator", Text, false),
    ("network", Text, false),
    ("showType", Text, false),
    ("adLoad", Text, false),
    ("mvpd", Text, false),
    ("authorized", Text, false),
    ("dayPart", Text, false),
    ("feed", Text, false),
    ("streamFormat", Text, false),
    ("artist", Text, false),
    ("album", Text, false),
    ("label", Text, false),
    ("author", Text, false),
    ("station", Text, false),
    ("publisher", Text, false),
];

const ERROR: &[Member] = &[("name", Filled, true), ("source", OneOf(&["player", "external"]), true)];

const POD: &[Member] = &[("index", Whole, true), ("offset", Whole, true), ("friendlyName", Text, false)];

const AD: &[Member] = &[
    ("name", Filled, true),
    ("length", Whole, true),
    ("playerName", Text, true),
    ("podPosition", Whole, true),
    ("friendlyName", Text, false),
    ("advertiser", Text, false),
    ("campaignID", Text, false),
    ("creativeID", Text, false),
    ("creativeURL", Text, false),
    ("placementID", Text, false),
    ("siteID", Text, false),
];

const CHAPTER: &[Member] = &[
    ("index", Whole, true),
    ("length", Whole, true),
    ("offset", Whole, true),
    ("friendlyName", Text, false),
];

const QOE: &[Member] = &[
    ("bitrate", Int32, false),
    ("droppedFrames", Int32, false),
    ("framesPerSecond", Int32, false),
    ("timeToStart", Int32, false),
];

const IMPLEMENTATION: &[Member] = &[
    ("name", Uri, false),
    ("version", Text, false),
    ("environment", OneOf(&["browser", "app", "device", "server", "iot"]), false),
];

/// Members of details that are filled in by Adobe (section 6, last paragraph).
const COMPUTED: &[&str] = &[
    "ID",
    "adCount",
    "averageMinuteAudience",
    "bitrateAverage",
    "bitrateChangeCount",
    "bufferCount",
    "bufferTime",
    "chapterCount",
    "errorCount",
    "estimatedStreams",
    "hasProgress10",
    "hasProgress25",
    "hasProgress50",
    "hasProgress75",
    "hasProgress95",
    "hasSegmentView",
    "isCompleted",
    "isPlayed",
    "isStarted",
    "isViewed",
    "pauseCount",
    "pauseTime",
    "pccr",
    "pev3",
    "secondsSinceLastCall",
    "segment",
    "stallCount",
    "stallTime",
    "timePlayed",
    "totalTimePlayed",
    "uniqueTimePlayed",
];

/// The object that an event type has to carry.
fn details_of(kind: &str) -> Option<(&'static str, &'static [Member])> {
    match kind {
        "sessionStart" => Some(("sessionDetails", SESSION)),
        "error" => Some(("errorDetails", ERROR)),
        "adBreakStart" => Some(("advertisingPodDetails", POD)),
        "adStart" => Some(("advertisingDetails", AD)),
        "chapterStart" => Some(("chapterDetails", CHAPTER)),
        "bitrateChange" => Some(("qoeDataDetails", QOE)),
        _ => None,
    }
}

/// The object that an event type must not carry, though its sibling has to.
fn forbidden_of(kind: &str) -> Option<&'static str> {
    match kind {
        "adBreakComplete" => Some("advertisingPodDetails"),
        "adComplete" => Some("advertisingDetails"),
        "chapterComplete" | "chapterSkip" => Some("chapterDetails"),
        _ => None,
    }
}

/// Checks the `mediaCollection` of an event of a known type.
pub(super) fn collection(kind: &str, collection: &Map<String, Value>, path: &str, notes: &mut Notes) {
    if let Some(playhead) = needed(collection, "playhead", &format!("{path}.playhead"), notes) {
        value(Whole, playhead, &format!("{path}.playhead"), notes);
    }
    let details = details_of(kind);
    if let Some((member, table)) = details {
        let path = format!("{path}.{member}");
        if let Some(value) = needed(collection, member, &path, notes) {
            record(table, value, &path, notes);
        }
    }
    for (member, value) in collection {
        let at = format!("{path}.{member}");
        match member.as_str() {
            "playhead" => {}
            known if details.is_some_and(|(member, _)| member == known) => {}
            "qoeDataDetails" => record(QOE, value, &at, notes),
            "customMetadata" if matches!(kind, "sessionStart" | "adStart" | "chapterStart") => {
                custom_metadata(value, &at, notes);
            }
            "customMetadata" => {
                notes.problem(&at, "Field is allowed on sessionStart, adStart and chapterStart only");
            }
            "statesStart" | "statesEnd" if kind == "statesUpdate" => states(value, &at, notes),
            "sessionID" => notes.problem(&at, "Field is forbidden: the session id is assigned on ingestion"),
            "isDownloaded" => notes.problem(&at, "Field is forbidden: it is set on ingestion"),
            member if forbidden_of(kind) == Some(member) => {
                notes.problem(&at, &format!("Field is forbidden on {kind}"));
            }
            _ => notes.hint(&at, "Field is not in the contract for this event type"),
        }
    }
    let empty = |member: &str| collection.get(member).and_then(Value::as_array).is_none_or(Vec::is_empty);
    if kind == "statesUpdate" && empty("statesStart") && empty("statesEnd") {
        notes.problem(path, "At least one of statesStart and statesEnd should have an item");
    }
}

/// Checks `implementationDetails` (section 3.1).
pub(super) fn implementation(details: &Value, path: &str, notes: &mut Notes) {
    record(IMPLEMENTATION, details, path, notes);
    if details["environment"] == "device" {
        notes.hint(&format!("{path}.environment"), "device is in the OpenAPI description but not in XDM");
    }
}

fn record(table: &[Member], details: &Value, path: &str, notes: &mut Notes) {
    let Some(details) = object(details, path, notes) else { return };
    for (member, kind, required) in table {
        let path = format!("{path}.{member}");
        match details.get(*member) {
            Some(found) => value(*kind, found, &path, notes),
            None if *required => notes.problem(&path, "Missing required field"),
            None => {}
        }
    }
    if details.contains_key("isDownloaded") {
        notes.problem(&format!("{path}.isDownloaded"), "Field is forbidden: it is set on ingestion");
    }
    for member in COMPUTED.iter().filter(|member| details.contains_key(**member)) {
        notes.hint(&format!("{path}.{member}"), "Field is computed on ingestion: it should not be sent");
    }
    let ours = table.iter().map(|(member, ..)| *member);
    let known: Vec<&str> = ours.chain(["isDownloaded"]).chain(COMPUTED.iter().copied()).collect();
    unknown(details, &known, path, notes);
}

fn custom_metadata(list: &Value, path: &str, notes: &mut Notes) {
    let Some(list) = list.as_array() else {
        notes.problem(path, "Field should be an array");
        return;
    };
    for (i, item) in list.iter().enumerate() {
        let path = format!("{path}[{i}]");
        record(&[("name", Filled, true), ("value", Text, true)], item, &path, notes);
        let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if item["name"].as_str().is_some_and(|name| name.contains(odd)) {
            notes.hint(&format!("{path}.name"), "Letters, digits, _ and . are safe in a name");
        }
    }
}

fn states(list: &Value, path: &str, notes: &mut Notes) {
    let Some(list) = list.as_array() else {
        notes.problem(path, "Field should be an array");
        return;
    };
    for (i, item) in list.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(item) = object(item, &path, notes) else { continue };
        unknown(item, &["name"], &path, notes);
        let path = format!("{path}.name");
        match needed(item, "name", &path, notes).map(Value::as_str) {
            Some(Some("fullScreen")) => {
                notes.hint(&path, "Adobe's pages write fullscreen: this may count as another state");
            }
            Some(Some(name)) if state_name(name) => {}
            Some(_) => notes.problem(&path, "Field should match ^[a-zA-Z0-9_.]{1,64}$"),
            None => {}
        }
    }
}

fn state_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

fn value(kind: Kind, value: &Value, path: &str, notes: &mut Notes) {
    match (kind, value) {
        (Text, Value::String(_)) | (Flag, Value::Bool(_)) => {}
        (Filled, Value::String(text)) if !text.is_empty() => {}
        (OneOf(names), Value::String(text)) if names.contains(&text.as_str()) => {}
        (Uri, Value::String(text)) if uri(text) => {}
        (Whole, Value::Number(n)) if n.is_u64() => {}
        (Int32, Value::Number(n)) if n.as_u64().is_some_and(|n| n <= 2_147_483_647) => {}
        (Text, _) => notes.problem(path, "Field should be a string"),
        (Flag, _) => notes.problem(path, "Field should be a boolean"),
        (Filled, _) => notes.problem(path, "Field should be a string of at least one character"),
        (OneOf(names), _) => {
            notes.problem(path, &format!("Field should be one of {}", names.join(", ")));
        }
        (Uri, _) => notes.problem(path, "Field should be a URI with a scheme"),
        (Whole, _) => notes.problem(path, "Field should be an integer from 0 on"),
        (Int32, _) => notes.problem(path, "Field should be an integer from 0 to 2147483647"),
    }
}

/// RFC 3986: a scheme, a colon, and characters that may stand in a URI.
fn uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_required_list_is_that_of_the_contract() {
        let required = |kind: &str| -> Vec<&str> {
            let table = details_of(kind).map_or(&[][..], |(_, table)| table);
            table.iter().filter(|(.., required)| *required).map(|(member, ..)| *member).collect()
        };
        assert_eq!(required("sessionStart"), ["name", "playerName", "contentType", "length", "channel"]);
        assert_eq!(required("error"), ["name", "source"]);
        assert_eq!(required("adBreakStart"), ["index", "offset"]);
        assert_eq!(required("adStart"), ["name", "length", "playerName", "podPosition"]);
        assert_eq!(required("chapterStart"), ["index", "length", "offset"]);
        assert_eq!(required("bitrateChange"), [""; 0]);
        let plain = TYPES.iter().filter(|kind| details_of(kind).is_none()).count();
        assert_eq!(plain, 12);
    }

    #[test]
    fn a_uri_has_a_scheme() {
        for good in ["https://ns.adobe.com/experience/edge", "urn:x", "a+b-c.d:/x?y=%20#z"] {
            assert!(uri(good), "{good}");
        }
        for bad in ["", "afterplay", "1http://x", ":x", "http:", "http://a b", "ht_tp:x", "https://ä"] {
            assert!(!uri(bad), "{bad}");
        }
    }
}
