//! Live media calls: sessionStart, play, ping and so on.

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint};
use crate::service::{Place, event, start_event};
use crate::{NOWHERE, call, made, post, problem, quiet_place, stored};

/// An event as a live call carries it.
fn live(event: &Value, session: Option<&str>) -> Value {
    let mut collection = event["mediaCollection"].clone();
    if let Some(session) = session {
        collection["sessionID"] = session.into();
    }
    json!({ "xdm": {
        "eventType": event["mediaEventType"], "timestamp": event["mediaEventTimestamp"], "mediaCollection": collection,
    }})
}

fn one(event: &Value, session: Option<&str>) -> Value {
    json!({ "events": [live(event, session)] })
}

#[test]
fn a_player_written_for_adobe_plays_a_session_to_its_end() {
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place = Place::new(&endpoint.url(), "session.close_grace = \"100ms\"");
    let service = place.start();
    let mut start = start_event("ep-1");
    start["mediaCollection"]["customMetadata"] = json!([{ "name": "_acme.storefront", "value": "de" }]);
    let mut body = one(&start, None);
    body["events"][0]["xdm"]["identityMap"] = json!({ "email": [{ "id": "a@b.example", "primary": true }] });
    body["events"][0]["xdm"]["implementationDetails"] =
        json!({ "name": "https://acme.example/player", "version": "3.2", "environment": "browser" });
    let key = made(&call(&service, "sessionStart", &body)).remove(0);

    // The key leads to the same session on the other face.
    let session = service.get(&format!("/v1/sessions/{key}"));
    assert_eq!((&session["state"], &session["events"]), (&json!("open"), &json!(1)));
    assert_eq!(session["identity_map"], body["events"][0]["xdm"]["identityMap"]);

    let mut events = vec![start];
    let mut switch = event("media.bitrateChange", 12, 11);
    switch["mediaCollection"]["qoeDataDetails"] = json!({ "bitrate": 6200 });
    let mut states = event("media.statesUpdate", 13, 12);
    states["mediaCollection"]["statesStart"] = json!([{ "name": "mute" }]);
    for event in [
        event("media.play", 1, 0),
        event("media.ping", 11, 10),
        switch,
        states,
        event("media.sessionComplete", 60, 90),
    ] {
        let action = event["mediaEventType"].as_str().unwrap().strip_prefix("media.").unwrap();
        let answer = call(&service, action, &one(&event, Some(&key)));
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{action}: {}", answer.text());
        events.push(event);
    }
    let session = service.wait_for_state(&key, "delivered");
    assert_eq!(session["why"], "end");
    // A duplicate end is harmless, as it is at Adobe's.
    assert_eq!(
        call(&service, "sessionEnd", &one(&event("media.sessionEnd", 61, 90), Some(&key))).status,
        204
    );
    assert_eq!(
        problem(&call(&service, "ping", &one(&event("media.ping", 61, 90), Some(&key)))),
        (404, "va-edge-0404-404".into(), "session_completed".into(), Vec::new())
    );

    // Neither our key nor anything else that was not played goes out.
    let sent: Value = serde_json::from_slice(&endpoint.requests()[0].body).unwrap();
    let xdm = &sent["events"][0]["xdm"];
    assert_eq!(xdm["mediaDownloadedEvents"], json!(events));
    assert_eq!(xdm["identityMap"], body["events"][0]["xdm"]["identityMap"]);
    assert_eq!(xdm["implementationDetails"], body["events"][0]["xdm"]["implementationDetails"]);
}

#[test]
fn every_kind_of_call_has_its_path() {
    let place = quiet_place();
    let service = place.start();
    let key = made(&call(&service, "sessionStart", &one(&start_event("ep-1"), None))).remove(0);
    let plain = [
        "play",
        "pauseStart",
        "bufferStart",
        "ping",
        "adBreakComplete",
        "adComplete",
        "adSkip",
        "chapterComplete",
        "chapterSkip",
        "sessionComplete",
        "sessionEnd",
    ];
    let detailed = [
        ("bitrateChange", "qoeDataDetails", json!({})),
        ("error", "errorDetails", json!({ "name": "E1", "source": "player" })),
        ("adBreakStart", "advertisingPodDetails", json!({ "index": 1, "offset": 0 })),
        (
            "adStart",
            "advertisingDetails",
            json!({ "name": "ad", "length": 15, "playerName": "p", "podPosition": 1 }),
        ),
        ("chapterStart", "chapterDetails", json!({ "index": 1, "length": 60, "offset": 0 })),
        ("statesUpdate", "statesEnd", json!([{ "name": "mute" }])),
    ];
    let plain = plain.into_iter().map(|action| (action, "unknown", json!("kept")));
    let mut count = 1;
    for (action, member, value) in detailed.into_iter().chain(plain) {
        let mut event = event(&format!("media.{action}"), count, count);
        event["mediaCollection"][member] = value;
        let answer = call(&service, action, &one(&event, Some(&key)));
        assert_eq!(answer.status, 204, "{action}: {}", answer.text());
        count += 1;
    }
    assert_eq!((count, &service.get(&format!("/v1/sessions/{key}"))["events"]), (18, &json!(18)));
    for action in ["scheduleStart", "customTracking", "", "Play", "media.play", "sessions", "play%ff"] {
        let answer = call(&service, action, &one(&event("media.play", 1, 0), Some(&key)));
        assert_eq!(answer.status, 404, "{action}");
        assert_eq!(answer.json()["reason"], "not_found", "{action}");
    }
}

#[test]
fn hints_datastreams_and_content_types() {
    let place = quiet_place();
    let service = place.start();
    let body = one(&start_event("ep-1"), None).to_string();
    let mut connection = service.connect().unwrap();
    for (path, kind) in [
        ("/ee/va/v1/sessionStart", Some("application/json")),
        ("/ee/va/v1/sessionStart?configId=", Some("application/json; charset=utf-8")),
        ("/ee/va/v1/sessionStart?configId=test-datastream&requestId=1", Some("text/plain;charset=UTF-8")),
        ("/ee/or2/va/v1/sessionStart?configId=test-datastream", Some("text/plain")),
        ("/ee/irl1/va/v1/sessionStart", None),
        ("/ee/v1/interact?configId=test-datastream", Some("application/json")),
        ("/ee/or2/v1/interact", Some("Text/Plain")),
    ] {
        let headers: Vec<(&str, &str)> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let answer = connection.send("POST", path, &headers, body.as_bytes()).unwrap();
        let key = made(&answer).remove(0);
        assert_eq!(service.get(&format!("/v1/sessions/{key}"))["state"], "open");
        // The hint may come and go.
        let ping = one(&event("media.ping", 9, 9), Some(&key)).to_string();
        for path in ["/ee/va/v1/ping", "/ee/or2/va/v1/ping", "/ee/sgp3/va/v1/ping?configId=test-datastream"] {
            assert_eq!(connection.send("POST", path, &headers, ping.as_bytes()).unwrap().status, 204);
        }
    }
    let before = stored(&service);
    for path in [
        "/ee/va/v1/sessionStart",
        "/ee/or2/va/v1/sessionStart",
        "/ee/v1/interact",
        "/ee/va/v1/downloaded",
        "/ee/va/v1/play",
    ] {
        let other = format!("{path}?configId=another-datastream");
        let answer = connection
            .send("POST", &other, &[("content-type", "application/json")], body.as_bytes())
            .unwrap();
        assert_eq!(problem(&answer), (400, "EXEG-0003-400".into(), "datastream".into(), Vec::new()));
        for kind in
            ["application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
        {
            let answer = connection.send("POST", path, &[("content-type", kind)], body.as_bytes()).unwrap();
            assert_eq!(
                problem(&answer),
                (415, "EXEG-0111-415".into(), "content_type".into(), Vec::new()),
                "{kind}"
            );
        }
    }
    assert_eq!(stored(&service), before);

    // Before set-up there is no other datastream.
    let place = Place::new(NOWHERE, "datastream_id = \"\"");
    let service = place.start();
    assert_eq!(post(&service, "/ee/va/v1/sessionStart?configId=whatever", &body).status, 200);
}

#[test]
fn only_starts_are_media_to_interact() {
    let place = quiet_place();
    let service = place.start();
    let before = stored(&service);
    let start = live(&start_event("ep-1"), None);
    let page_view = json!({ "xdm": { "eventType": "web.webpagedetails.pageViews", "timestamp": "2026-03-07T18:30:00Z" } });
    for events in [
        json!([live(&event("media.play", 1, 0), Some("x"))]),
        json!([page_view]),
        json!([start, page_view]),
        json!([{ "xdm": {} }]),
    ] {
        let answer = post(
            &service,
            "/ee/v1/interact?configId=test-datastream",
            json!({ "events": events }).to_string(),
        );
        assert_eq!(problem(&answer), (501, "about:blank".into(), "not_media".into(), Vec::new()));
    }
    assert_eq!(stored(&service), before);
    assert_eq!(
        made(&post(&service, "/ee/v1/interact", json!({ "events": [start, start] }).to_string())).len(),
        2
    );
    assert_eq!(post(&service, "/ee/v2/interact", json!({ "events": [start] }).to_string()).status, 404);
}

#[test]
fn live_calls_that_are_wrong_are_told_so_in_adobes_words() {
    let place = quiet_place();
    let service = place.start();
    let key = made(&call(&service, "sessionStart", &one(&start_event("ep-1"), None))).remove(0);
    let before = stored(&service);
    let ping = event("media.ping", 9, 9);
    let with = |path: &str, value: Value| {
        let mut body = one(&ping, Some(&key));
        *body.pointer_mut(path).unwrap() = value;
        body.to_string()
    };
    let xdm = "/events/0/xdm";
    let mut nameless = start_event("ep-1");
    nameless["mediaCollection"]["sessionDetails"].as_object_mut().unwrap().remove("name");
    let mut no_player = start_event("ep-1");
    no_player["mediaCollection"]["sessionDetails"].as_object_mut().unwrap().remove("playerName");
    let mut stranger = one(&start_event("ep-1"), None);
    stranger["events"][0]["xdm"]["identityMap"] = json!({ "email": [] });
    let twice = with("", one(&ping, Some(&key)))
        .replace("\"eventType\":", "\"eventType\":\"media.ping\",\"eventType\":");
    let collection = "$.events[0].xdm.mediaCollection";
    for (action, body, status, code, reason, name) in [
        ("ping", "nonsense".to_owned(), 400, "EXEG-0101-400", "not_json", Some("$".to_owned())),
        ("ping", "[]".to_owned(), 400, "EXEG-0101-400", "not_json", Some("$".into())),
        ("ping", "null".into(), 400, "EXEG-0101-400", "not_json", Some("$".into())),
        ("ping", String::new(), 408, "EXEG-0109-408", "not_json", Some("$".into())),
        ("ping", " ".to_owned(), 400, "EXEG-0101-400", "not_json", Some("$".into())),
        ("ping", "{}".into(), 400, "va-edge-0400-400", "invalid", Some("$.events".into())),
        ("ping", r#"{"events":{}}"#.into(), 400, "va-edge-0400-400", "invalid", Some("$.events".into())),
        ("ping", r#"{"events":[]}"#.into(), 400, "va-edge-0400-400", "invalid", Some("$.events".into())),
        ("ping", r#"{"events":[1]}"#.into(), 400, "va-edge-0400-400", "invalid", Some("$.events[0]".into())),
        (
            "ping",
            r#"{"events":[{}]}"#.into(),
            400,
            "va-edge-0400-400",
            "invalid",
            Some("$.events[0].xdm".into()),
        ),
        (
            "ping",
            r#"{"events":[],"events":[]}"#.into(),
            400,
            "va-edge-0400-400",
            "invalid",
            Some("$.events".into()),
        ),
        ("ping", twice, 400, "va-edge-0400-400", "invalid", Some("$.events[0].xdm.eventType".into())),
        (
            "play",
            with("", one(&ping, Some(&key))),
            400,
            "va-edge-0400-400",
            "invalid",
            Some("$.events[0].xdm.eventType".into()),
        ),
        (
            "ping",
            with(&format!("{xdm}/eventType"), json!(1)),
            400,
            "va-edge-0400-400",
            "invalid",
            Some("$.events[0].xdm.eventType".into()),
        ),
        (
            "ping",
            with(&format!("{xdm}/timestamp"), json!("soon")),
            400,
            "va-edge-0400-400",
            "invalid",
            Some("$.events[0].xdm.timestamp".into()),
        ),
        (
            "ping",
            with(&format!("{xdm}/mediaCollection"), json!([])),
            400,
            "va-edge-0400-400",
            "invalid",
            Some(collection.into()),
        ),
        (
            "ping",
            with(&format!("{xdm}/mediaCollection/playhead"), json!("9")),
            400,
            "va-edge-0400-400",
            "invalid",
            Some(format!("{collection}.playhead")),
        ),
        (
            "ping",
            with(&format!("{xdm}/mediaCollection/sessionID"), json!(9)),
            400,
            "va-edge-0400-400",
            "invalid",
            Some(format!("{collection}.sessionID")),
        ),
        (
            "ping",
            one(&ping, None).to_string(),
            400,
            "va-edge-0400-400",
            "invalid",
            Some(format!("{collection}.sessionID")),
        ),
        ("ping", one(&ping, Some("nobody")).to_string(), 404, "va-edge-0404-404", "unknown_session", None),
        (
            "ping",
            one(&ping, Some("it's no key")).to_string(),
            404,
            "va-edge-0404-404",
            "unknown_session",
            None,
        ),
        (
            "sessionStart",
            one(&nameless, None).to_string(),
            400,
            "va-edge-0400-400",
            "invalid",
            Some(format!("{collection}.sessionDetails.name")),
        ),
        (
            "sessionStart",
            one(&no_player, None).to_string(),
            400,
            "va-edge-0400-400",
            "invalid",
            Some(format!("{collection}.sessionDetails.playerName")),
        ),
        (
            "sessionStart",
            stranger.to_string(),
            400,
            "va-edge-0400-400",
            "invalid",
            Some("$.events[0].xdm.identityMap".into()),
        ),
        (
            "ping",
            with(&format!("{xdm}/mediaCollection/playhead"), json!("x".repeat(65 << 10))),
            413,
            "EXEG-0112-413",
            "too_large",
            None,
        ),
        ("ping", " ".repeat(2 << 20), 413, "EXEG-0112-413", "too_large", None),
    ] {
        let answer = post(&service, &format!("/ee/va/v1/{action}"), &body);
        let (got_status, got_code, got_reason, names) = problem(&answer);
        let shown = &body[..body.len().min(300)];
        assert_eq!(
            (got_status, got_code.as_str(), got_reason.as_str()),
            (status, code, reason),
            "{shown}: {}",
            answer.text()
        );
        match name {
            Some(name) => assert!(names[0].starts_with(&name), "{shown}: {names:?}"),
            None => assert!(names.is_empty(), "{shown}: {names:?}"),
        }
    }
    // Of several events all or none.
    let bad = live(&event("media.ping", 9, 9), Some("nobody"));
    let both = json!({ "events": [live(&ping, Some(&key)), bad] });
    assert_eq!(call(&service, "ping", &both).status, 404);
    let starts = json!({ "events": [live(&start_event("a"), None), live(&no_player, None)] });
    let answer = call(&service, "sessionStart", &starts);
    assert_eq!(problem(&answer).3, ["$.events[1].xdm.mediaCollection.sessionDetails.playerName"]);
    assert_eq!(stored(&service), before);
    let both = json!({ "events": [live(&ping, Some(&key)), live(&ping, Some(&key))] });
    assert_eq!(call(&service, "ping", &both).status, 204);
    assert_eq!(service.get(&format!("/v1/sessions/{key}"))["events"], 3);
}
