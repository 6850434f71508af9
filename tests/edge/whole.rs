//! `downloaded`: whole sessions at once.

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint};
use crate::examples::{self, assert_sent, contract_example, events_of, reference_request};
use crate::service::{Answer, Place};
use crate::{call, made, problem, quiet_place, stored};

#[test]
fn whole_sessions_are_taken_over_and_sent_as_they_came() {
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    for (n, (name, request)) in examples::all().into_iter().enumerate() {
        let answer = call(&service, "downloaded", &request);
        assert_eq!(answer.json().get("warnings"), None, "{name}");
        let key = made(&answer).remove(0);
        let session = service.wait_for_state(&key, "delivered");
        assert_eq!(session["why"], "import");
        assert_eq!(session["identity_map"], request["events"][0]["xdm"]["identityMap"]);
        assert_sent(name, &request, &endpoint.wait_for(n + 1)[n].body);
    }
}

/// Paths and texts of what an answer warns of.
fn warned(answer: &Answer) -> Vec<(String, String)> {
    let answer = answer.json();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    let details = warnings.iter().flat_map(|warning| {
        assert_eq!((&warning["status"], &warning["report"]["eventIndex"]), (&json!(200), &json!(0)));
        warning["report"]["details"].as_array().unwrap().clone()
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    details.map(|one| (text(&one["name"]), text(&one["reason"]))).collect()
}

/// Contract section 3.1: what a downloaded session does not have, and what `implementationDetails` lack.
#[test]
fn what_is_not_taken_over_is_told() {
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    let mut request = contract_example();
    request["query"] = json!({ "identity": {} });
    request["events"][0]["_data"] =
        json!({ "__adobe": { "analytics": { "contextData": { "a.b": "left" } } } });
    let xdm = &mut request["events"][0]["xdm"];
    xdm["_id"] = "left".into();
    xdm["customMetadata"] = json!([{ "name": "left", "value": "" }]);
    xdm["implementationDetails"] = json!({ "version": "7", "environment": "device" });
    xdm["mediaDownloadedEvents"][1]["mediaCollection"]["sessionID"] = "left".into();
    xdm["mediaDownloadedEvents"][5]["mediaEventType"] = "media.adComplete".into();
    let answer = call(&service, "downloaded", &request);
    let key = made(&answer).remove(0);
    let told = warned(&answer);
    let paths: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
    let (xdm, events) = ("$.events[0].xdm", "$.events[0].xdm.mediaDownloadedEvents");
    assert_eq!(
        paths,
        [
            "$.events[0]._data",
            "$.query",
            &format!("{xdm}._id"),
            &format!("{xdm}.customMetadata"),
            &format!("{xdm}.implementationDetails.name"),
            &format!("{xdm}.implementationDetails.environment"),
            &format!("{events}[1].mediaCollection.sessionID"),
            &format!("{events}[5].mediaEventType"),
        ]
    );
    assert!(told[5].1.contains("app is sent"), "{told:?}");
    let session = service.wait_for_state(&key, "delivered");
    let kept = session["warnings"].as_array().unwrap();
    assert!(kept.len() > told.len(), "and what the payload is repaired of: {kept:?}");
    for (path, reason) in &told {
        let known = |kept: &Value| kept.as_str().is_some_and(|kept| kept.contains(reason.as_str()));
        assert!(kept.iter().any(known), "{path}: {reason} is not among {kept:?}");
    }
    let sent: Value = serde_json::from_slice(&endpoint.requests()[0].body).unwrap();
    assert!(!sent.to_string().contains("left"), "{sent}");
    assert_eq!(
        sent["events"][0]["xdm"]["implementationDetails"],
        json!({ "name": "https://ns.adobe.com/experience/edge", "version": "7", "environment": "app" })
    );
    // What the sandbox and the back end take is what was left.
    assert_eq!(events_of(&sent).len(), events_of(&request).len());

    // A live start is filled in the same way.
    let mut start = json!({ "events": [{ "xdm": { "eventType": "media.sessionStart" } }] });
    let example = contract_example();
    let xdm = &mut start["events"][0]["xdm"];
    xdm["mediaCollection"] = events_of(&example)[0]["mediaCollection"].clone();
    xdm["timestamp"] = events_of(&example)[0]["mediaEventTimestamp"].clone();
    xdm["implementationDetails"] = json!({ "name": "https://example.com/player", "version": "2" });
    let answer = call(&service, "sessionStart", &start);
    assert_eq!(warned(&answer)[0].0, "$.events[0].xdm.implementationDetails.environment");
    let key = made(&answer).remove(0);
    service.request("POST", &format!("/v1/sessions/{key}/complete"), b"");
    let session = service.wait_for_state(&key, "delivered");
    assert_eq!(session["warnings"].as_array().unwrap().len(), 1, "{session}");
    let sent: Value = serde_json::from_slice(&endpoint.requests()[1].body).unwrap();
    assert_eq!(
        sent["events"][0]["xdm"]["implementationDetails"],
        json!({ "name": "https://example.com/player", "version": "2", "environment": "server" })
    );
}

/// An event of a long session, so many milliseconds after its start.
fn later(kind: &str, ms: i64, members: Value) -> Value {
    let at = jiff::Timestamp::from_millisecond(1_772_908_200_000 + ms).unwrap();
    let mut collection = members;
    collection["playhead"] = (ms / 1000 % 86_400).into();
    json!({ "mediaEventType": format!("media.{kind}"), "mediaEventTimestamp": format!("{at:.3}"), "mediaCollection": collection })
}

/// Contract section 8: what lasts longer than 24 h ends there and goes on with a resume.
#[test]
fn s08_a_whole_session_of_more_than_24_hours_goes_on_in_successors() {
    const HOUR: i64 = 3_600_000;
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    let mut request = contract_example();
    let details = json!({ "name": "channel-7", "contentType": "Live", "length": 86_400, "playerName": "p", "channel": "c" });
    let chapter = json!({ "chapterDetails": { "index": 1, "length": 90_000, "offset": 0 } });
    let mut events = vec![
        later("sessionStart", 0, json!({ "sessionDetails": details })),
        later("play", 1000, json!({})),
        later("chapterStart", 2000, chapter),
        later("statesUpdate", 3000, json!({ "statesStart": [{ "name": "mute" }] })),
    ];
    events.extend((1..50).map(|n| later("ping", n * HOUR, json!({}))));
    // Sent out of order, as whoever wrote it down may have.
    events.swap(10, 40);
    events.push(later("sessionComplete", 49 * HOUR + 5000, json!({})));
    request["events"][0]["xdm"]["mediaDownloadedEvents"] = json!(events);
    let answer = call(&service, "downloaded", &request);
    let key = made(&answer).remove(0);
    let mut told = warned(&answer);
    told.retain(|(path, _)| path.ends_with("Timestamp"));
    assert_eq!(told.len(), 2, "{told:?}");
    let names: Vec<String> =
        (1..=3).map(|n| if n == 1 { key.clone() } else { format!("{key}~{n}") }).collect();
    for ((path, reason), (at, name)) in told.iter().zip([(27, &names[1]), (51, &names[2])]) {
        assert_eq!(path, &format!("$.events[0].xdm.mediaDownloadedEvents[{at}].mediaEventTimestamp"));
        assert!(reason.contains(name.as_str()), "{reason}");
    }
    let mut seen = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let session = service.wait_for_state(name, "delivered");
        assert_eq!(session["continues"].as_str(), n.checked_sub(1).map(|n| names[n].as_str()));
        assert_eq!(session["continues_as"].as_str(), names.get(n + 1).map(String::as_str));
        assert!(session["warnings"].to_string().contains("longer than 24 hours"), "{session}");
        let sent: Value = serde_json::from_slice(&endpoint.wait_for(n + 1)[n].body).unwrap();
        let list = events_of(&sent);
        let at = |event: &Value| {
            event["mediaEventTimestamp"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
                .as_millisecond()
        };
        assert!(at(&list[list.len() - 1]) - at(&list[0]) <= 24 * HOUR, "part {n}");
        let kinds: Vec<&str> = list.iter().map(|event| event["mediaEventType"].as_str().unwrap()).collect();
        if n > 0 {
            let begins = ["media.sessionStart", "media.chapterStart", "media.statesUpdate", "media.play"];
            assert_eq!(kinds[..4], begins);
            assert_eq!(list[0]["mediaCollection"]["sessionDetails"]["hasResume"], true);
        }
        if n < 2 {
            assert_eq!(kinds[kinds.len() - 2..], ["media.chapterSkip", "media.sessionEnd"]);
        } else {
            assert_eq!(kinds[kinds.len() - 1], "media.sessionComplete");
        }
        seen.extend(list.iter().filter(|event| event["mediaEventType"] == "media.ping").map(at));
    }
    assert_eq!(seen.len(), 49, "every ping once");
    assert!(seen.is_sorted());
    let status = service.status();
    assert_eq!(status["events"], json!({ "stored": 0, "acknowledged": 54, "delivered": 54 }));

    // Times that are no times of one playback are nothing to divide by.
    let days = (0..9).map(|n| later(if n == 0 { "play" } else { "ping" }, n * 25 * HOUR + 1, json!({})));
    let mut request = contract_example();
    let start = later("sessionStart", 0, json!({ "sessionDetails": details }));
    request["events"][0]["xdm"]["mediaDownloadedEvents"] = std::iter::once(start).chain(days).collect();
    let answer = call(&service, "downloaded", &request);
    assert!(warned(&answer)[0].1.contains("as it came"), "{}", answer.text());
    let key = made(&answer).remove(0);
    let session = service.wait_for_state(&key, "delivered");
    assert_eq!(session["continues_as"], Value::Null, "{session}");
    assert!(session["warnings"].to_string().contains("as it came"), "{session}");
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
        let expected = if name.contains("identityMap") { "EXEG-0308-400" } else { "va-edge-0400-400" };
        assert_eq!((status, code.as_str()), (400, expected), "{}", answer.text());
        assert_eq!(names, [name]);
    }
    let mut unknown = contract_example();
    unknown["events"][0]["xdm"].as_object_mut().unwrap().remove("identityMap");
    unknown["events"][0]["xdm"]["mediaDownloadedEvents"][1]["mediaCollection"]["x"] = Value::Null;
    let answer = call(&service, "downloaded", &unknown);
    assert_eq!(answer.status, 200, "unknown members pass: {}", answer.text());
    let told = warned(&answer);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "$.events[0].xdm.identityMap", "whose session it is then: {told:?}");
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
