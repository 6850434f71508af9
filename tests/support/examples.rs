//! Request bodies that are published, and what becomes of them on their way through the service.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use serde_json::{Value, json};

/// The example of contract section 3.
pub(crate) fn contract_example() -> Value {
    json!({ "events": [{ "xdm": {
        "eventType": "media.downloaded",
        "identityMap": { "FPID": [
            { "id": "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", "authenticatedState": "ambiguous", "primary": true },
        ]},
        "implementationDetails": {
            "name": "https://ns.adobe.com/experience/edge", "version": "0.1.0", "environment": "app",
        },
        "mediaDownloadedEvents": [
            { "mediaEventType": "media.sessionStart", "mediaEventTimestamp": "2026-03-07T18:30:00.120Z",
              "mediaCollection": {
                "playhead": 0,
                "sessionDetails": {
                    "name": "ep-204417", "friendlyName": "The Long Tide", "show": "Harbour Lights", "contentType": "DVOD",
                    "streamType": "video", "length": 90, "playerName": "acme-stb", "channel": "living-room",
                },
                "customMetadata": [{ "name": "_acme.storefront", "value": "de" }],
            }},
            { "mediaEventType": "media.play", "mediaEventTimestamp": "2026-03-07T18:30:00.940Z",
              "mediaCollection": { "playhead": 0, "qoeDataDetails": { "bitrate": 6200, "timeToStart": 820 } } },
            { "mediaEventType": "media.statesUpdate", "mediaEventTimestamp": "2026-03-07T18:30:04.002Z",
              "mediaCollection": { "playhead": 3, "statesStart": [{ "name": "closedCaptioning" }] } },
            { "mediaEventType": "media.pauseStart", "mediaEventTimestamp": "2026-03-07T18:30:41.500Z",
              "mediaCollection": { "playhead": 40 } },
            { "mediaEventType": "media.play", "mediaEventTimestamp": "2026-03-07T18:31:10.010Z",
              "mediaCollection": { "playhead": 40 } },
            { "mediaEventType": "media.ping", "mediaEventTimestamp": "2026-03-07T18:31:20.011Z",
              "mediaCollection": { "playhead": 50 } },
            { "mediaEventType": "media.sessionComplete", "mediaEventTimestamp": "2026-03-07T18:32:00.000Z",
              "mediaCollection": { "playhead": 90 } },
        ],
    }}]})
}

/// The request that Adobe's page on the endpoint shows, with a real year and its placeholder for the time of upload.
pub(crate) fn reference_request() -> Value {
    json!({ "events": [{ "xdm": {
        "identityMap": { "email": [{ "id": "user@example.com", "primary": true }] },
        "eventType": "media.downloaded",
        "mediaDownloadedEvents": [
            { "mediaEventTimestamp": "2025-09-26T15:52:24+00:00", "mediaEventType": "media.sessionStart",
              "mediaCollection": {
                "sessionDetails": {
                    "name": "Media Analytics API Sample", "playerName": "sample-html5-api-player", "contentType": "VOD",
                    "length": 60, "channel": "sample-channel",
                },
                "playhead": 0,
            }},
            { "mediaEventTimestamp": "2025-09-26T15:53:08+00:00", "mediaEventType": "media.sessionComplete",
              "mediaCollection": { "playhead": 60 } },
        ],
        "timestamp": "{{currentTimestamp}}",
    }}]})
}

/// All of them, by name.
pub(crate) fn all() -> [(&'static str, Value); 2] {
    [("contract", contract_example()), ("reference", reference_request())]
}

/// The events of a request of one session.
pub(crate) fn events_of(request: &Value) -> &Vec<Value> {
    request["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap()
}

/// What of a request is sent, by contract section 3: one spelling of times, the time of the first attempt, and an
/// implementation where there is none.
#[track_caller]
pub(crate) fn assert_sent(name: &str, given: &Value, sent: &[u8]) {
    let (mut given, sent) = (given.clone(), serde_json::from_slice::<Value>(sent).unwrap());
    let (xdm, out) = (&mut given["events"][0]["xdm"], &sent["events"][0]["xdm"]);
    for event in xdm["mediaDownloadedEvents"].as_array_mut().unwrap() {
        let time = event["mediaEventTimestamp"].as_str().unwrap().replace("+00:00", ".000Z");
        event["mediaEventTimestamp"] = time.into();
    }
    let frozen = out["timestamp"].as_str().unwrap();
    assert!(frozen.parse::<jiff::Timestamp>().is_ok(), "{name}: {frozen}");
    xdm["timestamp"] = frozen.into();
    if xdm.get("implementationDetails").is_none() {
        assert!(out["implementationDetails"]["name"].is_string(), "{name}: {out}");
        xdm["implementationDetails"] = out["implementationDetails"].clone();
    }
    assert_eq!(sent, given, "{name}");
}
