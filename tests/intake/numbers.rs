//! Numbers, resends and closing events (product section 4.1).

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint};
use crate::service::{Place, Service, event, start_event};
use crate::{NOWHERE, assert_problem, journal, paths, quiet_place};

fn numbered(mut event: Value, seq: u64) -> Value {
    event["seq"] = seq.into();
    event
}

fn send(service: &Service<'_>, key: &str, event: &Value) -> (u16, Value) {
    let answer = service.request("POST", &format!("/v1/sessions/{key}/events"), event.to_string().as_bytes());
    (answer.status, answer.json())
}

/// `recorded`, `duplicates` and `seq` of an answer that must be 200 or 201.
#[track_caller]
fn counts(answer: &(u16, Value)) -> (u64, u64, u64) {
    assert!(matches!(answer.0, 200 | 201), "{answer:?}");
    let number = |name: &str| answer.1[name].as_u64().unwrap();
    (number("recorded"), number("duplicates"), number("seq"))
}

fn numbers(service: &Service<'_>, key: &str) -> Vec<u64> {
    let events = service.get(&format!("/v1/sessions/{key}/events"));
    events["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_resend_is_harmless_and_another_event_under_its_number_is_refused() {
    let place = quiet_place();
    let service = place.start();
    let start = numbered(start_event("ep-1"), 0);
    assert_eq!(counts(&send(&service, "one", &start)), (1, 0, 0));
    let play = numbered(event("media.play", 1, 0), 1);
    assert_eq!(counts(&send(&service, "one", &play)), (1, 0, 1));
    let before = journal(&service, &["one"]);

    // The same event, also when its text is not the same.
    for resend in [&start, &play] {
        let seq = resend["seq"].as_u64().unwrap();
        let answer = send(&service, "one", resend);
        assert_eq!((answer.0, counts(&answer)), (200, (0, 1, seq)));
        assert_eq!(answer.1["state"], "open");
        let spaced = serde_json::to_vec_pretty(resend).unwrap();
        let answer = service.request("POST", "/v1/sessions/one/events", &spaced);
        assert_eq!((answer.status, &answer.json()["duplicates"]), (200, &json!(1)));
    }
    // Both in one request, and one of them twice.
    assert_eq!(counts(&send(&service, "one", &json!([start, play, play]))), (0, 3, 1));

    for other in [
        numbered(event("media.pauseStart", 1, 0), 1),
        numbered(event("media.play", 1, 1), 1),
        numbered(event("media.play", 2, 0), 1),
        numbered(start_event("ep-2"), 0),
    ] {
        let (status, problem) = send(&service, "one", &other);
        assert_eq!((status, &problem["reason"]), (409, &json!("sequence")), "{problem}");
        assert_eq!(problem["problems"][0]["path"], "seq");
    }
    assert_eq!(journal(&service, &["one"]), before);

    // A list that was half taken before: what is new is added, what is there is counted.
    let pause = numbered(event("media.pauseStart", 9, 8), 2);
    assert_eq!(counts(&send(&service, "one", &json!([play, pause]))), (1, 1, 2));
    assert_eq!(numbers(&service, "one"), [0, 1, 2]);
    // A restart forgets none of it.
    service.kill();
    let service = place.start();
    assert_eq!(counts(&send(&service, "one", &pause)), (0, 1, 2));
    assert_eq!(send(&service, "one", &numbered(event("media.play", 9, 8), 2)).0, 409);
}

#[test]
fn numbers_may_have_gaps_and_come_late() {
    let place = quiet_place();
    let service = place.start();
    assert_eq!(counts(&send(&service, "one", &numbered(start_event("ep-1"), 10))), (1, 0, 10));
    assert_eq!(counts(&send(&service, "one", &numbered(event("media.ping", 20, 20), 20))), (1, 0, 20));
    // Late, under a number that nobody used.
    let late = numbered(event("media.play", 1, 0), 11);
    assert_eq!(counts(&send(&service, "one", &late)), (1, 0, 11));
    assert_eq!(counts(&send(&service, "one", &late)), (0, 1, 11));
    assert_eq!(send(&service, "one", &numbered(event("media.play", 2, 0), 11)).0, 409);
    // Without a number it goes on after the highest.
    assert_eq!(counts(&send(&service, "one", &event("media.ping", 30, 30))), (1, 0, 21));
    let mixed = json!([
        event("media.ping", 40, 40),
        numbered(event("media.ping", 50, 50), 30),
        event("media.ping", 60, 60)
    ]);
    assert_eq!(counts(&send(&service, "one", &mixed)), (3, 0, 31));
    assert_eq!(numbers(&service, "one"), [10, 20, 11, 21, 22, 30, 31]);
    // An event without a number is new, whatever it says.
    assert_eq!(counts(&send(&service, "one", &event("media.ping", 30, 30))), (1, 0, 32));

    // The last number there is.
    let last = i64::MAX as u64;
    assert_eq!(counts(&send(&service, "one", &numbered(event("media.ping", 70, 70), last))), (1, 0, last));
    let answer = send(&service, "one", &event("media.ping", 80, 80));
    assert_eq!((answer.0, &answer.1["problems"][0]["path"]), (409, &json!("seq")), "{answer:?}");
    assert_eq!(counts(&send(&service, "one", &numbered(event("media.ping", 80, 80), 40))), (1, 0, 40));
}

#[test]
fn an_event_without_a_time_is_stamped_on_arrival() {
    let place = quiet_place();
    let service = place.start();
    let mut start = start_event("ep-1");
    start.as_object_mut().unwrap().remove("mediaEventTimestamp");
    let clock = afterplay::clock::Clock::System;
    let before = clock.now().wall_ms;
    service.record("one", &start);
    let recorded = service.get("/v1/sessions/one/events");
    assert!(recorded["events"][0].get("mediaEventTimestamp").is_none(), "as recorded: {recorded}");
    let payload = service.get("/v1/sessions/one/payload");
    let stamped = payload.pointer("/events/0/xdm/mediaDownloadedEvents/0/mediaEventTimestamp").unwrap();
    let stamped: jiff::Timestamp = stamped.as_str().unwrap().parse().unwrap();
    let after = clock.now().wall_ms;
    assert!((before..=after).contains(&stamped.as_millisecond()), "{stamped}");
}

#[test]
fn a_closing_event_leaves_a_grace() {
    let place = Place::new(NOWHERE, "session.close_grace = \"1500ms\"\nconsent.initial = \"pending\"");
    let service = place.start();
    for (key, closing) in [("complete", "media.sessionComplete"), ("end", "media.sessionEnd")] {
        service.record(key, &numbered(start_event("ep-1"), 0));
        let answer = service.record(key, &numbered(event(closing, 60, 60), 9));
        assert_eq!(answer["state"], "open", "the grace has only begun");
        // What was overtaken by the closing event.
        assert_eq!(counts(&send(&service, key, &numbered(event("media.ping", 10, 10), 1))), (1, 0, 1));
    }
    let sessions = ["complete", "end"].map(|key| (key, service.wait_for_state(key, "completed")));
    for (key, session) in sessions {
        assert_eq!((&session["why"], &session["events"]), (&json!("end"), &json!(3)));
        let before = journal(&service, &[key]);

        // Resent after a lost answer: as it was before.
        let answer = send(&service, key, &numbered(event("media.ping", 10, 10), 1));
        assert_eq!((answer.0, counts(&answer)), (200, (0, 1, 1)));
        assert_eq!(answer.1["state"], "completed");
        // A late end is not an error, an event is.
        let answer = send(&service, key, &event("media.sessionEnd", 61, 61));
        assert_eq!((answer.0, counts(&answer).0), (200, 0));
        for late in
            [event("media.ping", 11, 11), numbered(event("media.ping", 11, 11), 2), start_event("ep-1")]
        {
            let answer = send(&service, key, &late);
            assert_eq!(
                (answer.0, &answer.1["reason"], &answer.1["why"]),
                (409, &json!("session_completed"), &json!("end"))
            );
        }
        let both = json!([event("media.sessionEnd", 61, 61), event("media.ping", 11, 11)]);
        assert_eq!(send(&service, key, &both).0, 409);
        assert_eq!(journal(&service, &[key]), before);
    }
}

#[test]
fn a_late_end_is_answered_with_its_own_number() {
    let place = Place::new(NOWHERE, "session.idle_timeout = \"300ms\"\nconsent.initial = \"pending\"");
    let service = place.start();
    let play = numbered(event("media.play", 1, 0), 1);
    assert_eq!(send(&service, "one", &json!([numbered(start_event("ep-1"), 0), play])).0, 201);
    assert_eq!(service.wait_for_state("one", "completed")["why"], "idle");
    let before = journal(&service, &["one"]);
    let end = event("media.sessionEnd", 9, 9);
    for (events, expected) in [
        (json!([play, numbered(end.clone(), 2)]), (0, 1, 2)),
        (json!([play, end]), (0, 1, 2)),
        (numbered(end.clone(), 7), (0, 0, 7)),
        (json!([numbered(end.clone(), 2), play]), (0, 1, 1)),
    ] {
        let answer = send(&service, "one", &events);
        assert_eq!((answer.0, counts(&answer)), (200, expected), "{events}");
    }
    assert_eq!(journal(&service, &["one"]), before);
}

#[test]
fn completing_twice_is_completing_once() {
    let place = quiet_place();
    let service = place.start();
    service.record("one", &start_event("ep-1"));
    let complete = || service.request("POST", "/v1/sessions/one/complete", b"");
    let first = complete();
    assert_eq!(
        (first.status, first.json()),
        (200, json!({ "session": "one", "state": "completed", "why": "complete" }))
    );
    let before = journal(&service, &["one"]);
    // With a body that nobody asked for, too.
    let mut connection = service.connect().unwrap();
    let again = connection.send("POST", "/v1/sessions/one/complete", &[], b"{}").unwrap();
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!((complete().status, complete().json()), (200, first.json()));
    assert_eq!(journal(&service, &["one"]), before);
    let answer = send(&service, "one", &event("media.ping", 9, 9));
    assert_eq!((answer.0, &answer.1["why"]), (409, &json!("complete")));
    assert_eq!(service.request("POST", "/v1/sessions/two/complete", b"").status, 404);

    // An end within its grace is what completed it.
    service.record("three", &start_event("ep-1"));
    service.record("three", &event("media.sessionEnd", 9, 9));
    let answer = service.request("POST", "/v1/sessions/three/complete", b"");
    assert_eq!(answer.json()["why"], "end");
}

#[test]
fn what_is_delivered_takes_nothing_more_but_a_late_end() {
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    service.play("one");
    service.wait_for_state("one", "delivered");
    let status = service.status();
    let answer = send(&service, "one", &event("media.sessionEnd", 60, 60));
    assert_eq!((answer.0, counts(&answer).0, &answer.1["state"]), (200, 0, &json!("delivered")));
    let answer =
        service.request("POST", "/v1/sessions/one/events", event("media.ping", 9, 9).to_string().as_bytes());
    assert_problem(&answer, 409, "session_completed");
    assert!(paths(&answer).is_empty());
    assert_eq!(service.status()["events"], status["events"]);
    // Once it is dropped its key is free; nothing was lost by that.
    assert_eq!(service.request("DELETE", "/v1/sessions/one", b"").status, 204);
    assert_eq!(send(&service, "one", &start_event("ep-1")).0, 201);
    assert_eq!(service.status()["losses"]["discarded"], 0);
    assert_eq!(service.request("DELETE", "/v1/sessions/one", b"").status, 204);
    assert_eq!(service.status()["losses"]["discarded"], 1);
}

#[test]
fn a_resend_is_still_known_when_the_session_was_delivered() {
    let endpoint = Endpoint::start(std::iter::empty::<Act>());
    let place =
        Place::new(&endpoint.url(), "session.idle_timeout = \"1s\"\nupload.reconnect_jitter = \"0s\"");
    let service = place.start();
    let start = numbered(start_event("ep-1"), 0);
    let play = numbered(event("media.play", 1, 0), 1);
    let ping = numbered(event("media.ping", 2, 1), 5);
    assert_eq!(counts(&send(&service, "idle", &json!([start, play, ping]))), (3, 0, 5));
    let end = numbered(event("media.sessionComplete", 3, 2), 6);
    assert_eq!(counts(&send(&service, "ended", &json!([start, play, ping, end]))), (4, 0, 6));
    service.wait_for_state("idle", "delivered");
    assert_eq!(service.request("POST", "/v1/sessions/ended/complete", b"").status, 200);
    service.wait_for_state("ended", "delivered");
    let acknowledged = service.status()["events"]["acknowledged"].clone();

    for (key, all) in [("idle", json!([start, play, ping])), ("ended", json!([start, play, ping, end]))] {
        let answer = send(&service, key, all.as_array().unwrap().last().unwrap());
        assert_eq!((answer.0, counts(&answer).0, counts(&answer).1), (200, 0, 1), "{key}");
        assert_eq!(counts(&send(&service, key, &all)).0, 0, "{key}");
        assert_eq!(send(&service, key, &all).1["duplicates"], all.as_array().unwrap().len(), "{key}");
    }
    // Another event under a used number is another event; one that was never there goes on, as ever.
    let other = numbered(event("media.ping", 9, 9), 5);
    assert_eq!(send(&service, "idle", &other).1["reason"], "sequence");
    assert_eq!(send(&service, "ended", &other).1["reason"], "session_completed");
    assert_eq!(service.status()["events"]["acknowledged"], acknowledged);
    let answer = send(&service, "idle", &json!([ping, numbered(event("media.ping", 12, 11), 6)]));
    assert_eq!((counts(&answer), &answer.1["continues_as"]), ((1, 1, 6), &json!("idle~2")));
    // Its successor knows what came before it.
    assert_eq!(counts(&send(&service, "idle", &json!([start, play]))), (0, 2, 1));
    assert_eq!(service.status()["possible_duplicates"], 0);
}

#[test]
fn a_batch_that_is_refused_half_way_leaves_the_memory_as_it_was() {
    let place = quiet_place();
    let service = place.start();
    assert_eq!(send(&service, "one", &json!([start_event("ep-1"), event("media.play", 1, 0)])).0, 201);
    let before = journal(&service, &["one"]);
    let ping = |session: &str| {
        json!({ "eventType": "media.ping", "timestamp": "2026-03-07T18:30:05Z",
            "mediaCollection": { "sessionID": session, "playhead": 5 } })
    };
    let refused =
        json!({ "events": [{ "xdm": ping("one") }, { "xdm": ping("one") }, { "xdm": ping("nobody") }] });
    let answer = service.request("POST", "/ee/va/v1/ping", refused.to_string().as_bytes());
    assert_eq!(answer.status, 404, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(journal(&service, &["one"]), before);
    // The next number is the one that it would have been.
    assert_eq!(counts(&send(&service, "one", &event("media.ping", 6, 5))), (1, 0, 2));
    assert_eq!(numbers(&service, "one"), [0, 1, 2]);
    service.kill();
    let service = place.start();
    assert_eq!(counts(&send(&service, "one", &event("media.ping", 7, 6))), (1, 0, 3));
}
