//! A session that is too large for the endpoint (contract section 12), through the real binary.

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, event, start_event, wait_for};
use serde_json::{Value, json};

fn too_large(max: usize) -> Act {
    let body = json!({
        "type": "https://ns.adobe.com/aep/errors/EXEG-0112-413",
        "status": 413,
        "title": "Request entity too large",
        "detail": format!("The maximum allowed size is {max} bytes."),
    });
    Act::Answer(Reply::json(413, body.to_string()))
}

fn sent(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap().clone()
}

#[test]
fn s12_1_a_named_maximum_is_remembered_and_pings_make_room() {
    let endpoint = Endpoint::start([too_large(4000)]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    for key in ["one", "two"] {
        service.record(key, &start_event(key));
        service.record(key, &event("media.play", 1, 0));
        for n in 1..=60 {
            service.record(key, &event("media.ping", 1 + 10 * n, 10 * n));
        }
        service.request("POST", &format!("/v1/sessions/{key}/complete"), b"");
        let session = service.wait_for_state(key, "delivered");
        assert!(session["receipt"]["thinned"].as_u64().unwrap() > 0, "{session}");
        assert_eq!(session["receipt"]["events"], 62);
    }
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3, "the second session fits at once");
    assert!(requests[0].body.len() > 4000);
    assert!(requests[1..].iter().all(|request| request.body.len() <= 4000));
    assert!(service.stop().success());

    // A restart does not forget it.
    let service = place.start();
    service.record("three", &start_event("three"));
    service.record("three", &event("media.play", 1, 0));
    for n in 1..=60 {
        service.record("three", &event("media.ping", 1 + 10 * n, 10 * n));
    }
    let payload = service.request("GET", "/v1/sessions/three/payload", b"").body;
    assert!(payload.len() <= 4000);
    service.request("POST", "/v1/sessions/three/complete", b"");
    service.wait_for_state("three", "delivered");
    assert_eq!(endpoint.requests()[3].body.len(), payload.len());
}

/// A session of many pings, each so many seconds after the other, completed.
fn long(service: &Service<'_>, key: &str) {
    service.record(key, &start_event(key));
    service.record(key, &event("media.play", 1, 0));
    for n in 1..=60 {
        service.record(key, &event("media.ping", 1 + 10 * n, 10 * n));
    }
    service.request("POST", &format!("/v1/sessions/{key}/complete"), b"");
}

/// Product promise 5: what the first attempt of a session was made to fit is what the next one fits, whatever has been
/// learnt from other sessions or configured since.
#[test]
fn s03_a_session_keeps_its_shape_from_its_first_attempt_on() {
    let quick = "retry.initial = \"1h\"\nretry.max = \"1h\"\nupload.reconnect_jitter = \"0s\"";
    let fault = || Act::Answer(Reply::json(502, r#"{"type":"x","title":"upstream"}"#));
    let endpoint = Endpoint::start([fault(), too_large(4000)]);
    let place = Place::new(&endpoint.url(), quick);
    let service = place.start();
    long(&service, "one");
    wait_for("the first attempt to fail", || {
        let session = service.get("/v1/sessions/one");
        (session["last_verdict"]["status"] == 502).then_some(())
    });
    // Another session learns that less is taken.
    long(&service, "two");
    service.wait_for_state("two", "delivered");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].body.len() > 4000 && requests[2].body.len() <= 4000);
    let shown = service.request("GET", "/v1/sessions/one/payload", b"");
    assert_eq!(shown.body, requests[0].body, "what is shown is what was sent");

    // And the setting changes.
    place.configure(&endpoint.url(), &format!("{quick}\nupload.thin = \"50s\""));
    service.signal("HUP");
    service.record("three", &start_event("three"));
    wait_for("the new setting to hold", || {
        place.log_text().contains("reloaded the configuration").then_some(())
    });
    service.request("POST", "/v1/flush", b"");
    service.wait_for_state("one", "delivered");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[3].body, requests[0].body, "the same bytes");
    // A new one is made to fit what holds now.
    long(&service, "four");
    let session = service.wait_for_state("four", "delivered");
    assert!(session["receipt"]["thinned"].as_u64().unwrap() > 0, "{session}");
}

/// Contract section 12.4: a body that is small already is not cut, whatever the endpoint says of its size.
#[test]
fn s12_4_a_refusal_that_no_size_can_cure_sets_the_session_apart_whole() {
    let unnamed =
        || Act::Answer(Reply::json(413, r#"{"type":"about:blank","title":"too large","status":413}"#));
    for (name, answer, pings, filler, requests) in [
        ("small, the maximum is smaller still", too_large(100), 0, 0, 1),
        ("small enough for Adobe, no maximum", unnamed(), 2, 15_000, 1),
        ("large, no maximum", unnamed(), 2, 20_000, 3),
        ("a maximum that it kept to by far", too_large(60_000), 2, 15_000, 1),
        ("a maximum that it kept to, but for headers", too_large(33_000), 2, 15_000, 3),
    ] {
        let endpoint = Endpoint::start([answer]);
        let place = Place::new(&endpoint.url(), "");
        let service = place.start();
        let mut start = start_event("one");
        start["mediaCollection"]["sessionDetails"]["friendlyName"] = "a".into();
        service.record("one", &start);
        service.record("one", &event("media.play", 1, 0));
        for n in 0..pings {
            let mut chapter = event("media.chapterStart", 10 * n + 2, 10 * n + 2);
            chapter["mediaCollection"]["chapterDetails"] = json!({
                "index": n, "length": 10, "offset": 10 * n, "friendlyName": "x".repeat(filler),
            });
            service.record("one", &chapter);
            service.record("one", &event("media.chapterComplete", 10 * n + 9, 10 * n + 9));
        }
        service.request("POST", "/v1/sessions/one/complete", b"");
        let state = if requests == 1 { "quarantined" } else { "delivered" };
        let session = service.wait_for_state("one", state);
        assert_eq!(session["continues_as"].is_null(), requests == 1, "{name}: {session}");
        if requests == 1 {
            assert_eq!(session["last_verdict"]["status"], 413, "{name}");
            assert_eq!(session["events"], 2 + 2 * pings, "{name}: whole");
        }
        wait_for(name, || (endpoint.requests().len() == requests).then_some(()));
        // Other sessions go on.
        service.play("other");
        service.wait_for_state("other", "delivered");
    }
}

#[test]
fn s12_4_only_a_real_refusal_cuts_a_session_in_two() {
    let endpoint = Endpoint::start([too_large(5000)]);
    let place = Place::new(&endpoint.url(), "upload.body_budget = 4200");
    let service = place.start();
    service.record("film", &start_event("film"));
    service.record("film", &event("media.play", 1, 0));
    let long = "x".repeat(700);
    for n in 0..8 {
        let mut chapter = event("media.chapterStart", 10 * n + 2, 10 * n + 2);
        chapter["mediaCollection"]["chapterDetails"] =
            json!({ "index": n, "length": 10, "offset": 10 * n, "friendlyName": format!("{long}{n}") });
        service.record("film", &chapter);
        service.record("film", &event("media.chapterComplete", 10 * n + 9, 10 * n + 9));
    }
    service.record("film", &event("media.sessionComplete", 90, 90));
    service.request("POST", "/v1/sessions/film/complete", b"");
    let first = service.wait_for_state("film", "delivered");
    let second = service.wait_for_state("film~2", "delivered");
    assert_eq!((&first["continues_as"], &second["continues"]), (&json!("film~2"), &json!("film")));
    assert!(first["warnings"].to_string().contains("cut in two"), "{first}");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    let (whole, one, two) = (sent(&requests[0].body), sent(&requests[1].body), sent(&requests[2].body));
    assert!(
        requests[0].body.len() > 5000 && requests[1].body.len() <= 5000 && requests[2].body.len() <= 5000
    );
    assert_eq!(one.last().unwrap()["mediaEventType"], "media.sessionEnd");
    assert_eq!(two[0]["mediaCollection"]["sessionDetails"]["hasResume"], true);
    // What the second part starts with stands at the time of its first event, which moves by a millisecond each.
    let plain = |event: &Value| (event["mediaEventType"].clone(), event["mediaCollection"].clone());
    let whole: Vec<_> = whole.iter().map(plain).collect();
    let kept = one.iter().chain(&two).map(plain).filter(|event| whole.contains(event)).count();
    assert_eq!(kept, whole.len(), "every event once");
    let status = service.status();
    assert_eq!(status["events"], json!({ "stored": 0, "acknowledged": 19, "delivered": 19 }));
}

#[test]
fn s12_4_what_cannot_be_cut_is_set_apart() {
    let endpoint = Endpoint::start([too_large(5000)]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    let mut start = start_event("one");
    start["mediaCollection"]["sessionDetails"]["friendlyName"] = "x".repeat(9000).into();
    service.record("one", &start);
    service.record("one", &event("media.sessionEnd", 2, 2));
    service.request("POST", "/v1/sessions/one/complete", b"");
    let session = service.wait_for_state("one", "quarantined");
    assert_eq!(session["last_verdict"]["reason"], "too_large", "{session}");
    assert_eq!(service.status()["events"]["stored"], 2);
}
