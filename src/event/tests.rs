use super::*;
use serde_json::{Value, json};

/// A complete event of each type, with every member that it must have.
fn least(kind: EventType) -> Value {
    use EventType as T;
    let mut collection = json!({"playhead": 12});
    let (name, details) = match kind {
        T::SessionStart => (
            "sessionDetails",
            json!({"name": "ep-1", "contentType": "DVOD", "length": 90, "playerName": "p", "channel": "c"}),
        ),
        T::BitrateChange => ("qoeDataDetails", json!({})),
        T::Error => ("errorDetails", json!({"name": "e", "source": "player"})),
        T::AdBreakStart => ("advertisingPodDetails", json!({"index": 1, "offset": 0})),
        T::AdStart => {
            ("advertisingDetails", json!({"name": "a", "length": 15, "playerName": "p", "podPosition": 0}))
        }
        T::ChapterStart => ("chapterDetails", json!({"index": 1, "length": 60, "offset": 0})),
        T::StatesUpdate => ("statesStart", json!([{"name": "mute"}])),
        _ => return json!({"mediaEventType": kind.as_str(), "mediaCollection": collection}),
    };
    collection[name] = details;
    json!({"mediaEventType": kind.as_str(), "mediaCollection": collection})
}

/// The same event with another value at a JSON pointer below `mediaCollection`.
fn with(kind: EventType, pointer: &str, value: Value) -> Value {
    let mut event = least(kind);
    let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    let parent =
        if parent.is_empty() { "/mediaCollection".into() } else { format!("/mediaCollection/{parent}") };
    match event.pointer_mut(&parent).unwrap() {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        other => other[name] = value,
    }
    event
}

fn problems(event: &Value) -> Vec<Problem> {
    check(event.to_string().as_bytes()).err().unwrap_or_default()
}

fn paths(event: &Value) -> Vec<String> {
    problems(event).into_iter().map(|p| p.path).collect()
}

fn warned(event: &Value) -> Vec<String> {
    check(event.to_string().as_bytes()).unwrap().warnings.into_iter().map(|p| p.path).collect()
}

const START: EventType = EventType::SessionStart;
const PLAY: EventType = EventType::Play;

#[test]
fn there_are_eighteen_types_and_each_is_known() {
    assert_eq!(EventType::ALL.len(), 18);
    for kind in EventType::ALL {
        assert_eq!(EventType::parse(kind.as_str()), Ok(*kind));
        let event = least(*kind).to_string();
        let checked = check(event.as_bytes()).unwrap();
        assert_eq!((checked.kind, checked.playhead, checked.body), (*kind, 12.0, event.as_str()));
        assert_eq!(checked.warnings, []);
    }
}

#[test]
fn other_types_are_refused_by_name() {
    for (name, words) in [
        ("media.scheduleStart", "no endpoint accepts"),
        ("media.customTracking", "no endpoint accepts"),
        ("media.downloaded", "not of an event"),
        ("media.adBreakSkip", "`media.adSkip`"),
        ("play", "write `media.play`"),
        ("media.sessionstart", "write `media.sessionStart`"),
        ("media.jump", "unknown event type `media.jump`"),
        ("", "unknown event type"),
    ] {
        let found = problems(&json!({"mediaEventType": name, "mediaCollection": {"playhead": 0}}));
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].path, "mediaEventType");
        assert!(found[0].problem.contains(words), "{}", found[0].problem);
    }
}

/// Every member that contract section 6 requires; without it, its path is told and nothing else.
#[test]
fn each_required_member_is_missed_by_its_path() {
    use EventType as T;
    let mut cases: Vec<(EventType, &str)> = EventType::ALL.iter().map(|t| (*t, "playhead")).collect();
    cases.extend([
        (T::SessionStart, "sessionDetails"),
        (T::SessionStart, "sessionDetails.name"),
        (T::SessionStart, "sessionDetails.contentType"),
        (T::SessionStart, "sessionDetails.length"),
        (T::BitrateChange, "qoeDataDetails"),
        (T::Error, "errorDetails"),
        (T::Error, "errorDetails.name"),
        (T::Error, "errorDetails.source"),
        (T::AdBreakStart, "advertisingPodDetails"),
        (T::AdBreakStart, "advertisingPodDetails.index"),
        (T::AdBreakStart, "advertisingPodDetails.offset"),
        (T::AdStart, "advertisingDetails"),
        (T::AdStart, "advertisingDetails.name"),
        (T::AdStart, "advertisingDetails.length"),
        (T::AdStart, "advertisingDetails.podPosition"),
        (T::ChapterStart, "chapterDetails"),
        (T::ChapterStart, "chapterDetails.index"),
        (T::ChapterStart, "chapterDetails.length"),
        (T::ChapterStart, "chapterDetails.offset"),
        (T::StatesUpdate, "statesStart"),
    ]);
    for (kind, path) in cases {
        let mut event = least(kind);
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = format!("/mediaCollection/{parent}");
        event
            .pointer_mut(parent.trim_end_matches('/'))
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name)
            .unwrap();
        assert_eq!(paths(&event), [format!("mediaCollection.{path}")], "{kind}");
    }
}

#[test]
fn player_name_and_channel_are_left_to_the_configuration() {
    let mut event = least(START);
    let details = event["mediaCollection"]["sessionDetails"].as_object_mut().unwrap();
    details.remove("playerName");
    let checked = |event: &Value| check(event.to_string().as_bytes()).unwrap().missing_defaults;
    assert_eq!(checked(&event), MissingDefaults { player_name: true, channel: false });
    event["mediaCollection"]["sessionDetails"].as_object_mut().unwrap().remove("channel");
    assert_eq!(checked(&event), MissingDefaults { player_name: true, channel: true });
    assert_eq!(checked(&least(PLAY)), MissingDefaults::default());
    let mut ad = least(EventType::AdStart);
    assert_eq!(checked(&ad), MissingDefaults::default());
    ad["mediaCollection"]["advertisingDetails"].as_object_mut().unwrap().remove("playerName");
    assert_eq!(checked(&ad), MissingDefaults { player_name: true, channel: false });
    for name in ["playerName", "channel"] {
        let pointer = format!("sessionDetails/{name}");
        assert_eq!(
            paths(&with(START, &pointer, json!(7))),
            [format!("mediaCollection.sessionDetails.{name}")]
        );
        assert_eq!(paths(&with(START, &pointer, json!(null))).len(), 1);
    }
}

/// Every value outside what contract section 6.1 allows, and the edges that it does allow.
#[test]
fn values_have_types_and_ranges() {
    use EventType as T;
    let no_numbers = [json!("12"), json!(null), json!(true), json!([]), json!({})];
    let no_strings = [json!(1), json!(null), json!(true), json!([]), json!({})];
    let whole = |kind: EventType, pointer: &str, max: u64| {
        for value in [json!(0), json!(0.5), json!(1e2), json!(-0.0), json!(max)] {
            assert_eq!(paths(&with(kind, pointer, value.clone())), [""; 0], "{kind} {pointer} {value}");
        }
        let beyond = [json!(-1), json!(-0.001), json!(max + 1), json!(1e300), json!(u64::MAX)];
        for value in no_numbers.iter().chain(&beyond) {
            let path = format!("mediaCollection.{}", pointer.replace('/', "."));
            assert_eq!(paths(&with(kind, pointer, value.clone())), [path], "{kind} {value}");
        }
    };
    for kind in EventType::ALL {
        whole(*kind, "playhead", MAX_WHOLE);
        let mut event = least(*kind);
        event["mediaCollection"]["qoeDataDetails"] = json!({"bitrate": -1, "droppedFrames": "2", "framesPerSecond": 2_147_483_648_u64, "timeToStart": null});
        assert_eq!(
            paths(&event),
            ["bitrate", "droppedFrames", "framesPerSecond", "timeToStart"]
                .map(|name| format!("mediaCollection.qoeDataDetails.{name}"))
        );
    }
    for (bitrate, right) in [("2147483647.9", true), ("2147483648.0", false), ("2.147483647e9", true)] {
        let text = least(T::BitrateChange).to_string().replace("{}", &format!("{{\"bitrate\":{bitrate}}}"));
        assert_eq!(check(text.as_bytes()).is_ok(), right, "{bitrate}");
    }
    whole(T::SessionStart, "sessionDetails/length", MAX_WHOLE);
    whole(T::AdStart, "advertisingDetails/length", MAX_WHOLE);
    whole(T::AdStart, "advertisingDetails/podPosition", MAX_WHOLE);
    whole(T::AdBreakStart, "advertisingPodDetails/index", MAX_WHOLE);
    whole(T::AdBreakStart, "advertisingPodDetails/offset", MAX_WHOLE);
    for name in ["index", "length", "offset"] {
        whole(T::ChapterStart, &format!("chapterDetails/{name}"), MAX_WHOLE);
    }
    for name in ["bitrate", "droppedFrames", "framesPerSecond", "timeToStart"] {
        whole(T::BitrateChange, &format!("qoeDataDetails/{name}"), MAX_INT32);
    }

    let strings = |kind: EventType, object: &str, names: &str| {
        for name in names.split_whitespace() {
            let pointer = format!("{object}/{name}");
            assert_eq!(paths(&with(kind, &pointer, json!("it's \u{1f600}"))), [""; 0], "{pointer}");
            for value in &no_strings {
                let path = format!("mediaCollection.{object}.{name}");
                assert_eq!(paths(&with(kind, &pointer, value.clone())), [path], "{value}");
            }
        }
    };
    strings(
        T::SessionStart,
        "sessionDetails",
        "name contentType playerName channel friendlyName appVersion show season episode assetID genre \
         firstAirDate firstDigitalDate rating originator network showType adLoad mvpd authorized dayPart feed \
         streamFormat artist album label author station publisher",
    );
    strings(
        T::AdStart,
        "advertisingDetails",
        "name playerName friendlyName advertiser campaignID creativeID creativeURL placementID siteID",
    );
    strings(T::AdBreakStart, "advertisingPodDetails", "friendlyName");
    strings(T::ChapterStart, "chapterDetails", "friendlyName");
    strings(T::Error, "errorDetails", "name");

    for (kind, pointer, value, right) in [
        (T::SessionStart, "sessionDetails", json!([]), false),
        (T::SessionStart, "sessionDetails/name", json!(""), false),
        (T::SessionStart, "sessionDetails/contentType", json!("anything"), true),
        (T::SessionStart, "sessionDetails/streamType", json!("audio"), true),
        (T::SessionStart, "sessionDetails/streamType", json!("Video"), false),
        (T::SessionStart, "sessionDetails/hasResume", json!(true), true),
        (T::SessionStart, "sessionDetails/hasResume", json!("true"), false),
        (T::Error, "errorDetails/name", json!(""), false),
        (T::Error, "errorDetails/source", json!("external"), true),
        (T::Error, "errorDetails/source", json!("network"), false),
        (T::AdStart, "advertisingDetails/name", json!(""), false),
        (T::BitrateChange, "qoeDataDetails", json!(3), false),
        (T::StatesUpdate, "statesStart", json!({}), false),
        (T::StatesUpdate, "statesStart/0", json!("mute"), false),
        (T::StatesUpdate, "statesStart/0/name", json!(""), false),
        (T::StatesUpdate, "statesStart/0/name", json!("full screen"), false),
        (T::StatesUpdate, "statesStart/0/name", json!("é"), false),
        (T::StatesUpdate, "statesStart/0/name", json!("x".repeat(65)), false),
        (T::StatesUpdate, "statesStart/0/name", json!("x".repeat(64)), true),
        (T::StatesUpdate, "statesStart/0/name", json!("my_own.State9"), true),
    ] {
        let found = paths(&with(kind, pointer, value.clone()));
        let path = format!("mediaCollection.{}", pointer.replace("/0", "[0]").replace('/', "."));
        assert_eq!(found, if right { vec![] } else { vec![path] }, "{value}");
    }
}

#[test]
fn a_states_update_names_at_least_one_state() {
    for (collection, right) in [
        (json!({"playhead": 0}), false),
        (json!({"playhead": 0, "statesStart": [], "statesEnd": []}), false),
        (json!({"playhead": 0, "statesStart": [], "statesEnd": [{"name": "mute"}]}), true),
        (json!({"playhead": 0, "statesEnd": [{"name": "mute"}]}), true),
    ] {
        let event = json!({"mediaEventType": "media.statesUpdate", "mediaCollection": collection});
        assert_eq!(
            paths(&event),
            if right { vec![] } else { vec!["mediaCollection.statesStart"] },
            "{event}"
        );
    }
}

#[test]
fn custom_metadata_belongs_to_three_types() {
    for kind in EventType::ALL {
        let event = with(*kind, "customMetadata", json!([{"name": "_acme.a", "value": ""}]));
        let allowed = matches!(kind, EventType::SessionStart | EventType::AdStart | EventType::ChapterStart);
        assert_eq!(paths(&event).is_empty(), allowed, "{kind}");
        if allowed {
            let event = with(*kind, "customMetadata", json!([{"name": "", "value": 1}, {}, "x"]));
            let wrong = ["[0].name", "[0].value", "[1].name", "[1].value", "[2]"];
            assert_eq!(paths(&event), wrong.map(|w| format!("mediaCollection.customMetadata{w}")), "{kind}");
            assert_eq!(paths(&with(*kind, "customMetadata", json!({}))), ["mediaCollection.customMetadata"]);
        }
    }
}

#[test]
fn details_of_an_opening_event_are_refused_on_the_closing_one() {
    use EventType as T;
    for (kind, name, refused) in [
        (T::AdBreakComplete, "advertisingPodDetails", true),
        (T::AdComplete, "advertisingDetails", true),
        (T::ChapterComplete, "chapterDetails", true),
        (T::ChapterSkip, "chapterDetails", true),
        (T::AdSkip, "advertisingDetails", false),
    ] {
        assert_eq!(!paths(&with(kind, name, json!({}))).is_empty(), refused, "{kind}");
    }
}

#[test]
fn what_adobe_sets_itself_is_a_warning() {
    for kind in EventType::ALL {
        for name in ["sessionID", "sessionId", "isDownloaded"] {
            assert_eq!(warned(&with(*kind, name, json!("x"))), [format!("mediaCollection.{name}")], "{kind}");
        }
    }
    for name in
        ["isDownloaded", "isCompleted", "timePlayed", "ID", "pev3", "pccr", "hasProgress95", "pauseCount"]
    {
        let event = with(START, &format!("sessionDetails/{name}"), json!("whatever"));
        assert_eq!(warned(&event), [format!("mediaCollection.sessionDetails.{name}")]);
    }
}

#[test]
fn an_odd_playhead_is_a_warning_at_most() {
    for (kind, content, playhead, length, warned_at) in [
        (START, "VOD", 90.0, 90, &[][..]),
        (START, "VOD", 90.5, 90, &["mediaCollection.playhead"][..]),
        (START, "VOD", 90_000.0, 100_000, &[]),
        (START, "VOD", 5.0, 0, &["mediaCollection.sessionDetails.length"]),
        // A live playhead is the second of the day, whatever the length.
        (START, "Live", 86_399.0, 90, &[]),
        (START, "Linear", 86_399.0, 90, &[]),
        (START, "Live", 86_400.0, 100_000, &["mediaCollection.playhead"]),
        (START, "Linear", 86_400.0, 100_000, &["mediaCollection.playhead"]),
        (PLAY, "", 86_399.9, 0, &[]),
        (PLAY, "", 86_400.0, 0, &["mediaCollection.playhead"]),
    ] {
        let mut event = with(kind, "playhead", json!(playhead));
        if kind == START {
            event["mediaCollection"]["sessionDetails"]["length"] = json!(length);
            event["mediaCollection"]["sessionDetails"]["contentType"] = json!(content);
        }
        assert_eq!(warned(&event), warned_at, "{content}: {playhead} of {length}");
    }
}

#[test]
fn unknown_members_pass_inside_the_collection_only() {
    let mut event = with(PLAY, "future", json!({"deep": [1, {"playhead": "x"}]}));
    assert_eq!(paths(&event), [""; 0]);
    event["mediaeventtype"] = json!(1);
    event["sessionID"] = json!("x");
    let found = problems(&event);
    assert_eq!(found[0].path, "mediaeventtype");
    assert!(found[0].problem.contains("write `mediaEventType`"));
    assert_eq!(found[1].path, "sessionID");
}

#[test]
fn the_envelope_has_types_too() {
    let wrong = json!({
        "mediaEventType": 7, "mediaEventTimestamp": 1_772_908_200, "seq": "0", "mediaCollection": [], "x": 0,
    });
    assert_eq!(paths(&wrong), ["x", "mediaEventType", "mediaEventTimestamp", "seq", "mediaCollection"]);
    assert_eq!(paths(&json!({})), ["mediaEventType", "mediaCollection"]);
    let half_known =
        json!({"mediaEventType": "media.nope", "mediaCollection": {"qoeDataDetails": {"bitrate": "9"}}});
    assert_eq!(
        paths(&half_known),
        ["mediaEventType", "mediaCollection.playhead", "mediaCollection.qoeDataDetails.bitrate"]
    );
    for text in ["[]", "\"x\"", "1", "null"] {
        let found = check(text.as_bytes()).unwrap_err();
        assert!(found[0].path.is_empty() && found[0].problem.contains("must be an object"));
    }
}

#[test]
fn seq_is_a_whole_number() {
    for (seq, right) in [
        (json!(0), true),
        (json!(i64::MAX), true),
        (json!(9_223_372_036_854_775_808_u64), false),
        (json!(-1), false),
        (json!(1.0), true),
        (json!(562_949_953_421_311.0), true),
        (json!(562_949_953_421_312.0), false),
        (json!(0.5), false),
        (json!(-1.0), false),
        (json!("1"), false),
        (json!(null), false),
    ] {
        let mut event = least(PLAY);
        event["seq"] = seq.clone();
        match check(event.to_string().as_bytes()) {
            Ok(checked) => assert!(right && checked.seq.map(|seq| seq as f64) == seq.as_f64(), "{seq}"),
            Err(found) => assert!(!right && found[0].path == "seq", "{seq}"),
        }
    }
}

#[test]
fn the_time_that_was_said_is_taken_with_its_offset() {
    let mut event = least(PLAY);
    event["mediaEventTimestamp"] = json!("2026-03-07T19:30:00.120+01:00");
    assert_eq!(check(event.to_string().as_bytes()).unwrap().said_ms, Some(1_772_908_200_120));
    for said in [json!("2026-03-07T19:30:00"), json!(""), json!(null), json!(0)] {
        event["mediaEventTimestamp"] = said;
        assert_eq!(paths(&event), ["mediaEventTimestamp"]);
    }
}

#[test]
fn a_title_is_the_friendly_name_else_the_name() {
    let title = |event: &Value| check(event.to_string().as_bytes()).unwrap().title;
    assert_eq!(title(&least(START)).as_deref(), Some("ep-1"));
    assert_eq!(
        title(&with(START, "sessionDetails/friendlyName", json!("The Tide"))).as_deref(),
        Some("The Tide")
    );
    assert_eq!(title(&with(START, "sessionDetails/friendlyName", json!(""))).as_deref(), Some("ep-1"));
    assert_eq!(title(&least(PLAY)), None);
}

const DEVICE: &str = "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10";

#[test]
fn an_identity_map_comes_with_the_start_only_and_is_kept_compact() {
    let map = format!(r#"{{ "FPID" : [ {{"id":"{DEVICE}", "primary" : true}} ] }}"#);
    let start = least(START).to_string();
    let text = format!(" {},\"identityM\\u0061p\":{map}}}\n", start.strip_suffix('}').unwrap());
    let checked = check(text.as_bytes()).unwrap();
    assert_eq!(checked.identity, Some(format!(r#"{{"FPID":[{{"id":"{DEVICE}","primary":true}}]}}"#)));
    assert_eq!(checked.body, text.trim());
    let mut event = least(PLAY);
    for map in [json!({}), json!({"FPID": [{"id": DEVICE, "primary": true}]})] {
        event["identityMap"] = map;
        assert_eq!(paths(&event), ["identityMap"]);
    }
}

#[test]
fn bad_text_is_refused_with_its_place() {
    let deep = format!(
        r#"{{"mediaEventType":"media.play","mediaCollection":{{"playhead":0,"x":{}{}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let found = check(deep.as_bytes()).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, format!("mediaCollection.x{}", "[0]".repeat(62)));

    for (text, path, words) in [
        (&b"{\"mediaEventType\":\"\xff\"}"[..], "", "byte 19"),
        (b"mediaEventType=media.play", "", "line 1 column 1"),
        (
            br#"{"mediaEventType":"media.play","mediaCollection":{"playhead":0,"playhead":1}}"#,
            "mediaCollection.playhead",
            "more than once",
        ),
        (
            br#"{"mediaEventType":"media.play","mediaCollection":{"playhead":0,"x":"\u0000"}}"#,
            "mediaCollection.x",
            "U+0000",
        ),
        (
            br#"{"mediaEventType":"media.play","mediaCollection":{"playhead":"\u0000"}}"#,
            "mediaCollection.playhead",
            "U+0000",
        ),
    ] {
        let found = check(text).unwrap_err();
        assert_eq!(found[0].path, path);
        assert!(found[0].problem.contains(words), "{}", found[0].problem);
    }
}

#[test]
fn no_problem_repeats_what_the_player_sent() {
    let secret = "Secret-Title";
    let mut event = with(START, "sessionDetails/name", json!([secret]));
    event["identityMap"] = json!({"FPID": [{"id": secret, "authenticatedState": secret}]});
    event["seq"] = json!(secret);
    event["mediaEventTimestamp"] = json!(secret);
    let found = problems(&event);
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|p| !p.to_string().contains(secret)));
}

#[test]
fn raw_parts_make_an_event_byte_for_byte() {
    let parts = Parts {
        kind: START,
        timestamp: Some("\"2026-03-07T18:30:00Z\""),
        collection: "{ \"playhead\": 1.50 }",
        identity_map: Some("{}"),
    };
    assert_eq!(
        compose(&parts),
        "{\"mediaEventType\":\"media.sessionStart\",\"mediaEventTimestamp\":\"2026-03-07T18:30:00Z\",\
         \"mediaCollection\":{ \"playhead\": 1.50 },\"identityMap\":{}}"
    );
    let bare =
        compose(&Parts { kind: PLAY, timestamp: None, collection: "{\"playhead\":3}", identity_map: None });
    assert_eq!(check(bare.as_bytes()).unwrap().playhead, 3.0);
}
