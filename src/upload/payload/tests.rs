use proptest::prelude::*;

use super::*;

const IDENTITY: &str = r#"{
    "FPID": [ { "id": "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", "authenticatedState": "ambiguous", "primary": true } ]
}"#;

const FACTS: Facts<'static> = Facts {
    identity_map: IDENTITY,
    player_name: Some("acme-stb"),
    channel: Some("living \"room\""),
    implementation: Implementation {
        name: "https://ns.adobe.com/experience/edge",
        version: "0.1.0",
        environment: "app",
    },
    resumes: false,
    timestamp_ms: None,
};

const START: &str = r#"{"mediaEventType":"media.sessionStart","mediaCollection":{"playhead":0,"sessionDetails":{
    "name":"ep-1","contentType":"DVOD","length":90,"playerName":"p","channel":"c"}}}"#;

const WHOLE: Shape = Shape { budget: 0, thin: Thin::Never };

fn build(facts: &Facts<'_>, events: &[Recorded<'_>]) -> Result<Vec<u8>, PayloadError> {
    super::build(facts, events, &WHOLE).map(|built| built.body)
}

fn text(facts: &Facts<'_>, events: &[Recorded<'_>]) -> String {
    String::from_utf8(build(facts, events).unwrap()).unwrap()
}

/// The `mediaCollection` of one event as it is sent.
fn sent(kind: EventType, collection: &str) -> String {
    let body = format!("{{\"mediaCollection\":{collection}}}");
    let mut events = vec![Recorded { kind, body: &body, at_ms: 1 }];
    if kind != EventType::SessionStart {
        events.insert(0, Recorded { kind: EventType::SessionStart, body: START, at_ms: 0 });
    }
    let text = text(&FACTS, &events);
    let from = text.find(&format!("\"{kind}\"")).unwrap();
    let from = from + text[from..].find("\"mediaCollection\":").unwrap() + "\"mediaCollection\":".len();
    let rest = text[from..].strip_suffix("}]}}]}").unwrap();
    let end = rest.find("},{\"mediaEventType\"").unwrap_or(rest.len());
    rest[..end].to_owned()
}

/// The example session of contract section 3, as a player would record it.
#[test]
fn the_example_of_the_contract() {
    let recorded = [
        (
            EventType::SessionStart,
            120,
            r#"{ "mediaEventType": "media.sessionStart", "seq": 0, "identityMap": {"FPID": []},
                "mediaCollection": { "playhead": 0, "sessionDetails": { "name": "ep-204417",
                  "friendlyName": "The Long Tide", "show": "Harbour Lights", "contentType": "DVOD",
                  "streamType": "video", "length": 90, "playerName": "acme-stb", "channel": "living-room" },
                "customMetadata": [ { "name": "_acme.storefront", "value": "de" } ] } }"#,
        ),
        (
            EventType::Play,
            940,
            r#"{"mediaCollection": { "playhead": 0, "qoeDataDetails": { "bitrate": 6200, "timeToStart": 820 } }}"#,
        ),
        (
            EventType::StatesUpdate,
            4_002,
            r#"{"mediaCollection": { "playhead": 3, "statesStart": [ { "name": "closedCaptioning" } ] }}"#,
        ),
        (EventType::PauseStart, 41_500, r#"{"mediaCollection": { "playhead": 40 }}"#),
        (EventType::Play, 70_010, r#"{"mediaCollection": { "playhead": 40 }}"#),
        (EventType::Ping, 80_011, r#"{"mediaCollection": { "playhead": 50 }}"#),
        (EventType::SessionComplete, 120_000, r#"{"mediaCollection": { "playhead": 90 }}"#),
    ];
    let events: Vec<Recorded<'_>> = recorded
        .iter()
        .map(|(kind, ms, body)| Recorded { kind: *kind, body, at_ms: 1_772_908_200_000 + ms })
        .collect();
    let expected = concat!(
        r#"{"events":[{"xdm":{"eventType":"media.downloaded","identityMap":{"FPID":[{"#,
        r#""id":"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10","authenticatedState":"ambiguous","primary":true}]},"#,
        r#""implementationDetails":{"name":"https://ns.adobe.com/experience/edge","version":"0.1.0","#,
        r#""environment":"app"},"mediaDownloadedEvents":["#,
        r#"{"mediaEventType":"media.sessionStart","mediaEventTimestamp":"2026-03-07T18:30:00.120Z","#,
        r#""mediaCollection":{"playhead":0,"sessionDetails":{"name":"ep-204417","#,
        r#""friendlyName":"The Long Tide","show":"Harbour Lights","contentType":"DVOD","streamType":"video","#,
        r#""length":90,"playerName":"acme-stb","channel":"living-room"},"#,
        r#""customMetadata":[{"name":"_acme.storefront","value":"de"}]}},"#,
        r#"{"mediaEventType":"media.play","mediaEventTimestamp":"2026-03-07T18:30:00.940Z","#,
        r#""mediaCollection":{"playhead":0,"qoeDataDetails":{"bitrate":6200,"timeToStart":820}}},"#,
        r#"{"mediaEventType":"media.statesUpdate","mediaEventTimestamp":"2026-03-07T18:30:04.002Z","#,
        r#""mediaCollection":{"playhead":3,"statesStart":[{"name":"closedCaptioning"}]}},"#,
        r#"{"mediaEventType":"media.pauseStart","mediaEventTimestamp":"2026-03-07T18:30:41.500Z","#,
        r#""mediaCollection":{"playhead":40}},"#,
        r#"{"mediaEventType":"media.play","mediaEventTimestamp":"2026-03-07T18:31:10.010Z","#,
        r#""mediaCollection":{"playhead":40}},"#,
        r#"{"mediaEventType":"media.ping","mediaEventTimestamp":"2026-03-07T18:31:20.011Z","#,
        r#""mediaCollection":{"playhead":50}},"#,
        r#"{"mediaEventType":"media.sessionComplete","mediaEventTimestamp":"2026-03-07T18:32:00.000Z","#,
        r#""mediaCollection":{"playhead":90}}]}}]}"#,
    );
    assert_eq!(text(&FACTS, &events), expected);
    let stamped = Facts { timestamp_ms: Some(1_772_999_999_999), ..FACTS };
    let expected = expected.replace("]}}]}", r#"],"timestamp":"2026-03-08T19:59:59.999Z"}}]}"#);
    assert_eq!(text(&stamped, &events), expected);
}

#[test]
fn members_that_nobody_knows_keep_their_bytes() {
    let odd = "{ \"it's\" : \"\u{2028}\u{1f600} \\u00e9\\/ \\\" 'x' \", \"z\\u0061\":[ 1.50 , 1E2, -0 ], \"a\":{\"playhead\": 2.5} }";
    let kept = "{\"it's\":\"\u{2028}\u{1f600} \\u00e9\\/ \\\" 'x' \",\"z\\u0061\":[1.50,1E2,-0],\"a\":{\"playhead\":2.5}}";
    let collection = format!("{{ \"x\" : {odd} , \"playhead\": 1, \"qoeDataDetails\" : {{\"own\": {odd}}}}}");
    let expected = format!("{{\"x\":{kept},\"playhead\":1,\"qoeDataDetails\":{{\"own\":{kept}}}}}");
    assert_eq!(sent(EventType::Ping, &collection), expected);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let collection = format!("{{\"playhead\":1,\"x\":{deep}}}");
    assert_eq!(sent(EventType::Ping, &collection), collection);
}

#[test]
fn only_named_members_are_touched() {
    use EventType as T;
    for (kind, recorded, expected) in [
        (T::Play, r#"{"playhead":12.9}"#, r#"{"playhead":12}"#),
        (T::Play, r#"{"pl\u0061yhead":12.9}"#, r#"{"pl\u0061yhead":12}"#),
        (T::Play, r#"{"sessionID":"a","playhead":1,"sessionId":{"b":[]}}"#, r#"{"playhead":1}"#),
        (T::Play, r#"{"session\u0049D":"a","playhead":1}"#, r#"{"playhead":1}"#),
        (T::Play, r#"{"playhead":1,"length":2.5,"sessionDetails":{"isDownloaded":1,"length":1.5}}"#, ""),
        (
            T::Ping,
            r#"{"playhead":0,"qoeDataDetails":{"bitrate":1e3,"droppedFrames":2.7,"x":1.5}}"#,
            r#"{"playhead":0,"qoeDataDetails":{"bitrate":1000,"droppedFrames":2,"x":1.5}}"#,
        ),
        (T::BitrateChange, r#"{"playhead":0,"qoeDataDetails":{ }}"#, r#"{"playhead":0,"qoeDataDetails":{}}"#),
        (
            T::AdStart,
            r#"{"playhead":0,"advertisingDetails":{"length":15.5,"podPosition":1.0,"sessionID":"own"}}"#,
            r#"{"playhead":0,"advertisingDetails":{"length":15,"podPosition":1,"sessionID":"own","playerName":"acme-stb"}}"#,
        ),
        (
            T::AdBreakStart,
            r#"{"playhead":0,"advertisingPodDetails":{"offset":60.04,"index":1}}"#,
            r#"{"playhead":0,"advertisingPodDetails":{"offset":60,"index":1}}"#,
        ),
        (
            T::ChapterStart,
            r#"{"playhead":0,"chapterDetails":{"offset":0.5,"length":1.5,"index":2.5}}"#,
            r#"{"playhead":0,"chapterDetails":{"offset":0,"length":1,"index":2}}"#,
        ),
        (
            T::StatesUpdate,
            r#"{"playhead":0,"statesStart":[{"name":"fullScreen"},{"name":"mute"}],"statesEnd":[{"name":"full\u0053creen","x":"fullScreen"}]}"#,
            r#"{"playhead":0,"statesStart":[{"name":"fullscreen"},{"name":"mute"}],"statesEnd":[{"name":"fullscreen","x":"fullScreen"}]}"#,
        ),
        (T::StatesUpdate, r#"{"playhead":0,"statesStart":[{"name":"FullScreen"}]}"#, ""),
        (
            T::SessionStart,
            r#"{"playhead":0.9,"sessionDetails":{"isDownloaded":true,"name":"n","ID":"1","length":90.9,"isCompleted":false,"playerName":"p","channel":"c","timePlayed":3}}"#,
            r#"{"playhead":0,"sessionDetails":{"name":"n","length":90,"playerName":"p","channel":"c"}}"#,
        ),
        (
            T::SessionStart,
            r#"{"playhead":0,"sessionDetails":{"name":"n"}}"#,
            r#"{"playhead":0,"sessionDetails":{"name":"n","playerName":"acme-stb","channel":"living \"room\""}}"#,
        ),
        (
            T::SessionStart,
            r#"{"sessionDetails":{"ch\u0061nnel":"c"}}"#,
            r#"{"sessionDetails":{"ch\u0061nnel":"c","playerName":"acme-stb"}}"#,
        ),
        (
            T::SessionStart,
            r#"{"sessionDetails":{"ID":1}}"#,
            r#"{"sessionDetails":{"playerName":"acme-stb","channel":"living \"room\""}}"#,
        ),
    ] {
        let expected = if expected.is_empty() { recorded } else { expected };
        assert_eq!(sent(kind, recorded), expected, "{kind}");
    }
}

#[test]
fn a_default_that_nobody_has_is_left_out() {
    let facts = Facts { player_name: None, channel: None, ..FACTS };
    let body = r#"{"mediaCollection":{"sessionDetails":{}}}"#;
    let start = Recorded { kind: EventType::SessionStart, body, at_ms: 0 };
    assert!(text(&facts, &[start]).ends_with(r#""mediaCollection":{"sessionDetails":{}}}]}}]}"#));
}

#[test]
fn numbers_are_rounded_down_on_their_digits() {
    for (raw, whole) in [
        ("0", Some("0")),
        ("-0", Some("0")),
        ("-0.0e5", Some("0")),
        ("12", Some("12")),
        ("12.999999999999999999999", Some("12")),
        ("0.99999999999999999999", Some("0")),
        ("1e2", Some("100")),
        ("1E+2", Some("100")),
        ("1.5e1", Some("15")),
        ("12.5e-1", Some("1")),
        ("9e-1", Some("0")),
        ("0.0015e4", Some("15")),
        ("1e-400", Some("0")),
        ("1e-99999999999999999999", Some("0")),
        ("0e99999999999999999999", Some("0")),
        ("9007199254740991", Some("9007199254740991")),
        ("9007199254740990.9", Some("9007199254740990")),
        ("1e300", None),
        ("1e99999999999999999999", None),
        ("-1", None),
        ("-0.5", None),
        ("\"12\"", None),
        ("null", None),
    ] {
        assert_eq!(collection::floor(raw).as_deref(), whole, "{raw}");
    }
}

#[test]
fn the_start_comes_first_and_equal_times_keep_the_order_of_arrival() {
    let event = |kind, body, at_ms| Recorded { kind, body, at_ms };
    let (a, b, c) = (
        r#"{"mediaCollection":{"n":"a"}}"#,
        r#"{"mediaCollection":{"n":"b"}}"#,
        r#"{"mediaCollection":{"n":"c"}}"#,
    );
    let text = text(
        &FACTS,
        &[
            event(EventType::SessionEnd, c, 500),
            event(EventType::Play, a, 100),
            event(EventType::Ping, b, 100),
            event(EventType::SessionStart, START, 300),
        ],
    );
    let places = [
        "sessionStart\",\"mediaEventTimestamp\":\"1970-01-01T00:00:00.300Z",
        "00.301Z\",\"mediaCollection\":{\"n\":\"a\"}",
        "00.302Z\",\"mediaCollection\":{\"n\":\"b\"}",
        "00.500Z\",\"mediaCollection\":{\"n\":\"c\"}",
    ]
    .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}")));
    assert!(places.is_sorted());
}

#[test]
fn what_cannot_be_sent_is_an_error() {
    let start = Recorded { kind: EventType::SessionStart, body: START, at_ms: 0 };
    let play = |body, at_ms| Recorded { kind: EventType::Play, body, at_ms };
    assert_eq!(build(&FACTS, &[]), Err(PayloadError::NoStart));
    assert_eq!(build(&FACTS, &[play("{}", 0)]), Err(PayloadError::NoStart));
    assert_eq!(build(&FACTS, &[start, start]), Err(PayloadError::SecondStart));
    for body in ["{}", "", "[]", "{\"mediaCollection\":3}", "{\"mediaCollection\":{}"] {
        let answer = build(&FACTS, &[start, play(body, 0)]);
        assert!(matches!(answer, Err(PayloadError::Event { index: 1, .. })), "{body}: {answer:?}");
    }
    let no_map = Facts { identity_map: "[]", ..FACTS };
    assert!(matches!(build(&no_map, &[start]), Err(PayloadError::Identity(_))));
    let far = build(&FACTS, &[start, play("{\"mediaCollection\":{}}", i64::MAX)]);
    assert_eq!(far, Err(PayloadError::Time(i64::MAX)));
}

proptest! {
    #[test]
    fn payloads_are_ordered_complete_and_the_same_each_time(
        times in proptest::collection::vec(0_i64..40, 0..30), start in 0_usize..30, start_at in 0_i64..40,
    ) {
        let bodies: Vec<String> =
            (0..times.len()).map(|n| format!("{{\"mediaCollection\":{{\"playhead\":{n}}}}}")).collect();
        let mut events: Vec<Recorded<'_>> = bodies
            .iter()
            .zip(&times)
            .map(|(body, at_ms)| Recorded { kind: EventType::Ping, body, at_ms: *at_ms })
            .collect();
        let first = Recorded { kind: EventType::SessionStart, body: START, at_ms: start_at };
        events.insert(start.min(events.len()), first);
        let body = build(&FACTS, &events).unwrap();
        prop_assert_eq!(&body, &build(&FACTS, &events).unwrap());

        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let sent = value["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap().clone();
        prop_assert_eq!(sent.len(), events.len());
        prop_assert_eq!(&sent[0]["mediaEventType"], "media.sessionStart");
        let stamps: Vec<&str> = sent.iter().map(|e| e["mediaEventTimestamp"].as_str().unwrap()).collect();
        prop_assert!(stamps.windows(2).all(|w| w[0] < w[1]));
        let heads: Vec<usize> = sent[1..]
            .iter()
            .map(|e| e["mediaCollection"]["playhead"].as_u64().unwrap() as usize)
            .collect();
        prop_assert!(heads.windows(2).all(|w| (times[w[0]], w[0]) < (times[w[1]], w[1])));
    }
}

#[test]
fn s08_a_start_that_goes_on_says_so() {
    for given in ["", ",\"hasResume\":false", ",\"hasResume\":true"] {
        let body = format!(
            r#"{{"mediaEventType":"media.sessionStart","mediaCollection":{{"playhead":0,"sessionDetails":{{"name":"n"{given}}}}}}}"#
        );
        let events = [Recorded { kind: EventType::SessionStart, body: &body, at_ms: 0 }];
        let text = text(&Facts { resumes: true, ..FACTS }, &events);
        assert_eq!(text.matches("hasResume").count(), 1, "{text}");
        assert!(text.contains("\"hasResume\":true"), "{text}");
    }
}
