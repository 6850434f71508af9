//! `downloaded`: whole sessions at once.

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint};
use crate::service::Place;
use crate::{call, made, problem, quiet_place, stored};

/// The example of contract section 3.
fn contract_example() -> Value {
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
fn reference_request() -> Value {
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

#[test]
fn whole_sessions_are_taken_over_and_sent_as_they_came() {
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    let example = contract_example();
    let mut reference = reference_request();
    for (n, request) in [&example, &reference].into_iter().enumerate() {
        let answer = call(&service, "downloaded", request);
        let key = made(&answer).remove(0);
        let session = service.wait_for_state(&key, "delivered");
        assert_eq!(session["why"], "import");
        assert_eq!(session["identity_map"], request["events"][0]["xdm"]["identityMap"]);
        assert_eq!(endpoint.wait_for(n + 1).len(), n + 1);
    }
    let mut sent: Vec<Value> =
        endpoint.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    for sent in &mut sent {
        // The time of the first attempt is ours.
        let frozen = sent["events"][0]["xdm"].as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(frozen.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{frozen}");
    }
    assert_eq!(sent[0], example);
    // One spelling of times; our implementation, as the request named none; no placeholder.
    let xdm = &mut reference["events"][0]["xdm"];
    xdm.as_object_mut().unwrap().remove("timestamp");
    xdm["implementationDetails"] = sent[1]["events"][0]["xdm"]["implementationDetails"].clone();
    assert!(xdm["implementationDetails"]["name"].is_string());
    for (at, time) in ["2025-09-26T15:52:24.000Z", "2025-09-26T15:53:08.000Z"].into_iter().enumerate() {
        xdm["mediaDownloadedEvents"][at]["mediaEventTimestamp"] = time.into();
    }
    assert_eq!(sent[1], reference);
}

#[test]
fn whole_sessions_come_one_or_many_and_all_or_none() {
    let place = quiet_place();
    let service = place.start();
    let example = contract_example()["events"][0].clone();
    let keys = made(&call(
        &service,
        "downloaded",
        &json!({ "events": [example, example, reference_request()["events"][0]] }),
    ));
    assert_eq!(keys.len(), 3);
    for (key, events) in keys.iter().zip([7, 7, 2]) {
        let session = service.get(&format!("/v1/sessions/{key}"));
        assert_eq!(
            (&session["state"], &session["why"], &session["events"]),
            (&json!("completed"), &json!("import"), &json!(events))
        );
        let recorded = service.get(&format!("/v1/sessions/{key}/events"));
        assert_eq!(recorded["events"][1]["seq"], 1);
    }
    let before = stored(&service);
    let with = |path: &str, value: Value| {
        let mut request = json!({ "events": [example, example] });
        *request.pointer_mut(path).unwrap() = value;
        request
    };
    let without = |parent: &str, name: &str| {
        let mut request = json!({ "events": [example, example] });
        request.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        request
    };
    let list = example["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    let (xdm, events) = ("/events/1/xdm", "/events/1/xdm/mediaDownloadedEvents");
    let at = "$.events[1].xdm.mediaDownloadedEvents";
    for (request, name) in [
        (with(&format!("{xdm}/eventType"), json!("media.play")), "$.events[1].xdm.eventType".to_owned()),
        (without(xdm, "eventType"), "$.events[1].xdm.eventType".into()),
        (without(xdm, "mediaDownloadedEvents"), at.into()),
        (with(events, json!([])), at.into()),
        (with(events, json!("x")), at.into()),
        (with(events, json!(list[1..])), format!("{at}[0].mediaEventType")),
        (with(events, json!([list[0], list[0]])), format!("{at}[1].mediaEventType")),
        (
            with(&format!("{events}/2/mediaCollection/playhead"), json!(-3)),
            format!("{at}[2].mediaCollection.playhead"),
        ),
        (
            with(&format!("{events}/2/mediaEventType"), json!("media.dance")),
            format!("{at}[2].mediaEventType"),
        ),
        (with(&format!("{events}/2"), json!(7)), format!("{at}[2]")),
        (without(&format!("{events}/2"), "mediaEventTimestamp"), format!("{at}[2].mediaEventTimestamp")),
        (
            without(&format!("{events}/0/mediaCollection/sessionDetails"), "channel"),
            format!("{at}[0].mediaCollection.sessionDetails.channel"),
        ),
        (
            with(&format!("{xdm}/identityMap"), json!({ "FPID": [{ "id": "7", "primary": true }] })),
            "$.events[1].xdm.identityMap.FPID[0].id".into(),
        ),
    ] {
        let answer = call(&service, "downloaded", &request);
        let (status, code, _, names) = problem(&answer);
        assert_eq!((status, code.as_str()), (400, "va-edge-0400-400"), "{}", answer.text());
        assert_eq!(names, [name]);
    }
    let mut unknown = contract_example();
    unknown["events"][0]["xdm"]["mediaDownloadedEvents"][1]["mediaCollection"]["x"] = Value::Null;
    let answer = call(&service, "downloaded", &unknown);
    assert_eq!(answer.status, 200, "unknown members pass: {}", answer.text());
    let before_large = stored(&service);
    assert_ne!(before_large, before);
    let mut large = contract_example();
    large["events"][0]["xdm"]["mediaDownloadedEvents"][1]["mediaCollection"]["x"] =
        "x".repeat(65 << 10).into();
    let (status, code, _, names) = problem(&call(&service, "downloaded", &large));
    assert_eq!((status, code.as_str()), (413, "EXEG-0112-413"));
    assert_eq!(names, ["$.events[0].xdm.mediaDownloadedEvents[1]"]);
    // A session of thousands of wrong events gets an answer of some.
    let many = json!({ "events": [{ "xdm": {
        "eventType": "media.downloaded", "mediaDownloadedEvents": vec![json!({}); 100_000],
    }}]});
    let answer = call(&service, "downloaded", &many);
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 64 * 1024, "an answer of {} bytes", answer.body.len());
    assert_eq!(stored(&service), before_large);
}
