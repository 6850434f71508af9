//! A session that is too large for the endpoint (contract section 12), through the real binary.
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/service.rs"]
mod service;

use endpoint::{Act, Endpoint, Reply};
use serde_json::{Value, json};
use service::{Place, event, start_event};

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
