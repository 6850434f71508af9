//! Sections 3, 5, 6, 6.1 and 13: what an event may hold, and what of it is sent.

use afterplay::event::{EventType, check, check_identity_map};
use serde_json::{Value, json};

use super::corpus::recorded;
use super::{Sandbox, WHOLE, build, events_of, least, row};

use EventType as T;

/// The `mediaCollection` that is sent for one that is recorded.
fn sent(kind: EventType, collection: Value) -> Value {
    let mut events = vec![row(T::SessionStart, 0, Value::Null)];
    match kind {
        T::SessionStart => events[0] = row(kind, 0, collection),
        _ => events.push(row(kind, 1, collection)),
    }
    let at = events.len() - 1;
    // What is left open is closed behind it.
    events_of(&build(&recorded(&events), WHOLE))[at]["mediaCollection"].clone()
}

/// The paths that are refused about an event, and those that are warned of.
fn checked(kind: &str, collection: &Value) -> (Vec<String>, Vec<String>) {
    let event = json!({ "mediaEventType": kind, "mediaCollection": collection }).to_string();
    let paths = |list: Vec<afterplay::event::Problem>| {
        let short = |path: &str| path.trim_start_matches("mediaCollection.").to_owned();
        list.iter().map(|p| short(&p.path)).collect::<Vec<_>>()
    };
    match check(event.as_bytes()) {
        Ok(event) => (Vec::new(), paths(event.warnings)),
        Err(problems) => (paths(problems), Vec::new()),
    }
}

/// Section 3, 3.1, 3.2: what a request holds, and that it holds nothing else.
#[test]
fn s03_the_request_shape() {
    let built =
        build(&recorded(&[row(T::SessionStart, 0, Value::Null), row(T::Play, 1, Value::Null)]), WHOLE);
    let body: Value = serde_json::from_slice(&built.body).unwrap();
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&body), ["events"]);
    assert_eq!(body["events"].as_array().unwrap().len(), 1, "3: send one");
    assert_eq!(members(&body["events"][0]), ["xdm"]);
    let xdm = &body["events"][0]["xdm"];
    let mut known = members(xdm);
    known.sort();
    // 3.1: no mediaCollection (13, line 1), no _id, no customMetadata (13, line 6); the timestamp (13, line 3).
    let all = ["eventType", "identityMap", "implementationDetails", "mediaDownloadedEvents", "timestamp"];
    assert_eq!(known, all);
    assert_eq!(xdm["eventType"], "media.downloaded");
    assert_eq!(xdm["implementationDetails"]["environment"], "app", "3.1; 13, line 15");
    for event in xdm["mediaDownloadedEvents"].as_array().unwrap() {
        let mut known = members(event);
        known.sort();
        assert_eq!(known, ["mediaCollection", "mediaEventTimestamp", "mediaEventType"], "3.2: all three");
    }
}

/// Section 3.2 and 6: what Adobe assigns or computes is recorded, warned of, and not sent.
#[test]
fn s03_what_adobe_sets_is_left_out() {
    for (kind, parent, members) in [
        (T::Play, "", "sessionID sessionId isDownloaded"),
        (T::SessionStart, "", "sessionID sessionId isDownloaded"),
        (
            T::SessionStart,
            "sessionDetails",
            "isDownloaded ID adCount averageMinuteAudience chapterCount estimatedStreams hasPauseImpactedStreams \
             hasProgress10 hasProgress25 hasProgress50 hasProgress75 hasProgress95 hasSegmentView isCompleted \
             isFederated isPlayed isViewed pauseCount pauseTime pccr pev3 secondsSinceLastCall segment timePlayed \
             totalTimePlayed uniqueTimePlayed",
        ),
        (T::AdBreakStart, "advertisingPodDetails", "ID"),
        (T::AdStart, "advertisingDetails", "ID isCompleted isStarted timePlayed"),
        (T::ChapterStart, "chapterDetails", "ID isCompleted isStarted timePlayed"),
        (
            T::BitrateChange,
            "qoeDataDetails",
            "bitrateAverage bitrateAverageBucket bitrateChangeCount bufferCount bufferTime errorCount \
             externalErrors hasBitrateChangeImpactedStreams hasBufferImpactedStreams \
             hasDroppedFrameImpactedStreams hasErrorImpactedStreams hasStallImpactedStreams isDroppedBeforeStart \
             mediaSdkErrors playerSdkErrors stallCount stallTime",
        ),
        (T::StatesUpdate, "statesStart/0", "count isSet time"),
    ] {
        for member in members.split_whitespace() {
            let mut collection = least(kind);
            collection["playhead"] = 0.into();
            let plain = collection.clone();
            let pointer = if parent.is_empty() { String::new() } else { format!("/{parent}") };
            collection.pointer_mut(&pointer).unwrap()[member] = json!(7);
            let path = match parent {
                "" => member.to_owned(),
                parent => format!("{}.{member}", parent.replace("/0", "[0]")),
            };
            assert_eq!(checked(kind.as_str(), &collection), (vec![], vec![path.clone()]), "{path}");
            assert_eq!(sent(kind, collection), plain, "{path}");
        }
    }
}

/// Section 5: exactly one primary; an FPID is a UUID of version 4 (13, line 25); the states.
#[test]
fn s05_identity() {
    let id = "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10";
    for (map, good) in [
        (json!({ "FPID": [{ "id": id, "primary": true }] }), true),
        (json!({ "FPID": [{ "id": id }], "email": [{ "id": "a@b", "primary": true }] }), true),
        (json!({ "FPID": [{ "id": id, "authenticatedState": "loggedOut", "primary": true }] }), true),
        (json!({ "FPID": [{ "id": id }] }), false),
        (
            json!({ "FPID": [{ "id": id, "primary": true }], "email": [{ "id": "a@b", "primary": true }] }),
            false,
        ),
        (json!({ "FPID": [{ "id": "12345678901234567890123456789012345678", "primary": true }] }), false),
        (json!({ "FPID": [{ "id": "5f0c3d1e-6c1b-1f0e-9a52-2f8f6f1f9a10", "primary": true }] }), false),
        (json!({ "FPID": [{ "id": id, "authenticatedState": "maybe", "primary": true }] }), false),
    ] {
        assert_eq!(check_identity_map(&map.to_string()).is_ok(), good, "{map}");
    }
}

/// Section 6, the table: per type what is required beside `playhead`, and what is forbidden.
#[test]
fn s06_required_and_forbidden_members_of_all_18_types() {
    let details = |list: &[&str]| list.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>();
    let table: [(T, Vec<String>, &[&str]); 18] = [
        (
            T::SessionStart,
            // playerName and channel come from the configuration when they are missing (13, line 9).
            details(&[
                "sessionDetails",
                "sessionDetails.name",
                "sessionDetails.contentType",
                "sessionDetails.length",
            ]),
            &[],
        ),
        (T::SessionComplete, vec![], &["customMetadata"]),
        (T::SessionEnd, vec![], &["customMetadata"]),
        (T::Play, vec![], &["customMetadata"]),
        (T::PauseStart, vec![], &["customMetadata"]),
        (T::BufferStart, vec![], &["customMetadata"]),
        (T::Ping, vec![], &["customMetadata"]),
        (T::BitrateChange, details(&["qoeDataDetails"]), &["customMetadata"]),
        (
            T::Error,
            details(&["errorDetails", "errorDetails.name", "errorDetails.source"]),
            &["customMetadata"],
        ),
        (
            T::AdBreakStart,
            details(&[
                "advertisingPodDetails",
                "advertisingPodDetails.index",
                "advertisingPodDetails.offset",
            ]),
            &["customMetadata"],
        ),
        (T::AdBreakComplete, vec![], &["advertisingPodDetails", "customMetadata"]),
        (
            T::AdStart,
            details(&[
                "advertisingDetails",
                "advertisingDetails.name",
                "advertisingDetails.length",
                "advertisingDetails.podPosition",
            ]),
            &[],
        ),
        (T::AdComplete, vec![], &["advertisingDetails", "customMetadata"]),
        (T::AdSkip, vec![], &["customMetadata"]),
        (
            T::ChapterStart,
            details(&[
                "chapterDetails",
                "chapterDetails.index",
                "chapterDetails.length",
                "chapterDetails.offset",
            ]),
            &[],
        ),
        (T::ChapterComplete, vec![], &["chapterDetails", "customMetadata"]),
        (T::ChapterSkip, vec![], &["chapterDetails", "customMetadata"]),
        (T::StatesUpdate, details(&["statesStart", "statesStart[0].name"]), &["customMetadata"]),
    ];
    let sandbox = Sandbox::start();
    for (kind, required, forbidden) in table {
        let mut good = least(kind);
        good["playhead"] = 1.into();
        assert_eq!(checked(kind.as_str(), &good), (vec![], vec![]), "{kind}");
        for path in required.iter().map(String::as_str).chain(["playhead"]) {
            let mut less = good.clone();
            remove(&mut less, path);
            assert_eq!(checked(kind.as_str(), &less).0, [path], "{kind} without {path}");
            // The sandbox reads the contract on its own and says the same of a request that lacks it.
            let complaints = sandbox.complaints(&request(kind, &less));
            let last = path.rsplit('.').next().unwrap_or(path).trim_end_matches("[0]");
            assert!(complaints.iter().any(|c| c.contains(last)), "{kind} without {path}: {complaints:?}");
        }
        for member in forbidden {
            let mut more = good.clone();
            more[*member] = if *member == "customMetadata" { json!([]) } else { json!({}) };
            assert_eq!(checked(kind.as_str(), &more).0, [*member], "{kind} with {member}");
        }
        let mut with_quality = good.clone();
        with_quality["qoeDataDetails"] = json!({ "bitrate": 800, "droppedFrames": 3 });
        assert_eq!(checked(kind.as_str(), &with_quality), (vec![], vec![]), "QoE is optional on every type");
        assert_eq!(sent(kind, with_quality.clone()), with_quality);
    }
}

/// A request with that event, whatever is in it.
fn request(kind: EventType, collection: &Value) -> Vec<u8> {
    let start = row(T::SessionStart, 0, Value::Null);
    let mut body: Value = serde_json::from_slice(&build(&recorded(&[start]), WHOLE).body).unwrap();
    let event = json!({
        "mediaEventType": kind.as_str(), "mediaEventTimestamp": "2026-03-07T18:30:01.000Z", "mediaCollection": collection,
    });
    let list = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array_mut().unwrap();
    match kind {
        T::SessionStart => list[0] = event,
        _ => list.push(event),
    }
    body.to_string().into_bytes()
}

fn remove(value: &mut Value, path: &str) {
    let (parent, member) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = match parent {
        "" => value,
        "statesStart[0]" => &mut value["statesStart"][0],
        parent => &mut value[parent],
    };
    parent.as_object_mut().unwrap().remove(member);
}

/// Section 6, last paragraph, and section 13, line 8.
#[test]
fn s06_types_that_no_endpoint_takes() {
    for kind in ["media.scheduleStart", "media.customTracking", "media.adBreakSkip", "media.pause", "play"] {
        assert_eq!(checked(kind, &json!({ "playhead": 0 })).0, ["mediaEventType"], "{kind}");
    }
}

/// Section 6.1 and section 13, lines 10 to 14, 19 and 20.
#[test]
fn s06_1_values_and_units() {
    for (name, kind, recorded, sent_as) in [
        (
            "fractions go down (13, line 20)",
            T::Ping,
            json!({ "playhead": 59.999 }),
            json!({ "playhead": 59 }),
        ),
        ("0 is a playhead", T::Ping, json!({ "playhead": 0.4 }), json!({ "playhead": 0 })),
        (
            "bitrate and timeToStart pass (13, lines 11 and 12)",
            T::BitrateChange,
            json!({ "playhead": 1, "qoeDataDetails": { "bitrate": 6200, "timeToStart": 365_330 } }),
            json!({ "playhead": 1, "qoeDataDetails": { "bitrate": 6200, "timeToStart": 365_330 } }),
        ),
        (
            "both bases of a break's index pass (13, line 14)",
            T::AdBreakStart,
            json!({ "playhead": 0, "advertisingPodDetails": { "index": 0, "offset": 0.9 } }),
            json!({ "playhead": 0, "advertisingPodDetails": { "index": 0, "offset": 0 } }),
        ),
        (
            "both bases of podPosition pass (13, line 13)",
            T::AdStart,
            json!({ "playhead": 0, "advertisingDetails":
                { "name": "a", "length": 14.98, "playerName": "p", "podPosition": 0 } }),
            json!({ "playhead": 0, "advertisingDetails":
                { "name": "a", "length": 14, "playerName": "p", "podPosition": 0 } }),
        ),
        (
            "fullScreen is fullscreen, other names are the player's own (13, line 10)",
            T::StatesUpdate,
            json!({ "playhead": 1, "statesStart": [{ "name": "fullScreen" }, { "name": "acme.FullScreen" }] }),
            json!({ "playhead": 1, "statesStart": [{ "name": "fullscreen" }, { "name": "acme.FullScreen" }] }),
        ),
        (
            "an empty value of metadata is fine",
            T::ChapterStart,
            json!({ "playhead": 1, "chapterDetails": { "index": 2.0, "length": 0, "offset": 3 },
                "customMetadata": [{ "name": "_acme.a", "value": "" }] }),
            json!({ "playhead": 1, "chapterDetails": { "index": 2, "length": 0, "offset": 3 },
                "customMetadata": [{ "name": "_acme.a", "value": "" }] }),
        ),
    ] {
        assert_eq!(checked(kind.as_str(), &recorded).0, [""; 0], "{name}");
        assert_eq!(sent(kind, recorded), sent_as, "{name}");
    }
    for (name, kind, collection, path) in [
        ("playhead from 0", T::Ping, json!({ "playhead": -1 }), "playhead"),
        ("a number", T::Ping, json!({ "playhead": "1" }), "playhead"),
        ("index from 0", T::AdBreakStart, json!({ "index": -1, "offset": 0 }), "advertisingPodDetails.index"),
        ("int32", T::BitrateChange, json!({ "bitrate": 2_147_483_648_u64 }), "qoeDataDetails.bitrate"),
        ("int32", T::BitrateChange, json!({ "droppedFrames": -1 }), "qoeDataDetails.droppedFrames"),
        ("source", T::Error, json!({ "name": "E", "source": "sun" }), "errorDetails.source"),
        ("state pattern", T::StatesUpdate, json!("a b"), "statesStart[0].name"),
        ("state pattern", T::StatesUpdate, json!("a".repeat(65)), "statesStart[0].name"),
        ("state pattern", T::StatesUpdate, json!(""), "statesStart[0].name"),
    ] {
        let collection = match kind {
            T::Ping => collection,
            T::AdBreakStart => json!({ "playhead": 0, "advertisingPodDetails": collection }),
            T::BitrateChange => json!({ "playhead": 0, "qoeDataDetails": collection }),
            T::Error => json!({ "playhead": 0, "errorDetails": collection }),
            _ => json!({ "playhead": 0, "statesStart": [{ "name": collection }] }),
        };
        assert_eq!(checked(kind.as_str(), &collection).0, [path], "{name}");
    }
    assert_eq!(
        checked("media.statesUpdate", &json!({ "playhead": 0 })).0,
        ["statesStart"],
        "a non-empty list"
    );
}

/// Section 13, line 9: `playerName` and `channel` are always sent.
#[test]
fn s13_line_9_defaults() {
    let start =
        json!({ "playhead": 0, "sessionDetails": { "name": "n", "contentType": "VOD", "length": 9 } });
    assert_eq!(
        sent(T::SessionStart, start)["sessionDetails"],
        json!({ "name": "n", "contentType": "VOD", "length": 9, "playerName": "acme-stb", "channel": "living-room" })
    );
}
