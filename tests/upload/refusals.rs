//! The endpoint refuses a session for a reason of its own: product promise 4.

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::Place;
use crate::{QUICK, consent, names, session, wait_for_delivered, wait_for_uploader};

/// A refusal with 207, as the contract shows it (section 11.4).
fn refused() -> Act {
    Act::Answer(Reply::json(
        207,
        r#"{"requestId":"r-1","handle":[],"errors":[{"type":"https://ns.adobe.com/aep/errors/va-edge-0400-400","status":400,"title":"Invalid request","report":{"eventIndex":0,"details":[{"name":"$.xdm.mediaCollection.sessionDetails.name","reason":"Missing"}]}}]}"#,
    ))
}

#[test]
fn a_refused_session_is_kept_and_can_be_tried_again() {
    let endpoint = Endpoint::start([refused()]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    let kept = service.wait_for_state("a", "quarantined");
    assert_eq!(kept["last_verdict"]["verdict"], "quarantine");
    assert_eq!(kept["last_verdict"]["reason"], "va-edge-0400-400");
    assert_eq!(kept["last_verdict"]["status"], 207);
    assert!(kept["last_verdict"]["detail"].as_str().unwrap().contains("sessionDetails.name"), "{kept}");
    assert!(kept["quarantined_at"].is_string());
    assert_eq!(service.status()["link"], "online", "that was an answer");
    let payload = service.request("GET", "/v1/sessions/a/payload", b"");
    assert_eq!(payload.body, endpoint.requests()[0].body);

    // It survives a restart and is not sent by itself.
    assert!(service.stop().success());
    let service = place.start();
    service.play("b");
    service.wait_for_state("b", "delivered");
    assert_eq!(session(&service, "a")["state"], "quarantined");

    let answer = service.request("POST", "/v1/sessions/a/retry", b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let delivered = service.wait_for_state("a", "delivered");
    assert_eq!(delivered["receipt"]["attempts"], 2);
    let requests = endpoint.requests();
    assert_eq!(names(&requests), ["a", "b", "a"]);
    assert_eq!(requests[0].body, requests[2].body, "the same bytes");
    assert_eq!(service.status()["sessions"]["quarantined"], 0);
}

#[test]
fn a_bad_one_in_front_of_fifty_is_the_only_one_that_stays() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("poison", Act::Answer(Reply::json(400, r#"{"type":"x","title":"no"}"#)));
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\nconsent.initial = \"pending\""));
    let service = place.start();
    service.play("poison");
    for n in 0..50 {
        service.play(&format!("good-{n}"));
    }
    consent(&service, "in");
    let status = wait_for_delivered(&service, 50);
    assert_eq!(status["sessions"]["quarantined"], 1);
    assert_eq!(session(&service, "poison")["state"], "quarantined");
    let sent = names(&endpoint.requests());
    assert_eq!(sent.len(), 51, "each once");
    assert_eq!(sent[0], "poison");
    wait_for_uploader(&service, "idle", None);
}

#[test]
fn ten_answers_of_500_within_a_day_are_not_enough() {
    // Contract section 11: BACKOFF-10 counts answers spread over at least 24 h.
    let fault = || Act::Answer(Reply::json(500, r#"{"type":"x","title":"fault"}"#));
    let endpoint = Endpoint::start((0..12).map(|_| fault()));
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    service.play("a");
    let delivered = service.wait_for_state("a", "delivered");
    assert_eq!(delivered["receipt"]["attempts"], 13);
}

#[test]
fn trouble_of_one_session_lets_the_others_pass() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("slow", Act::Answer(Reply::json(502, r#"{"type":"x","title":"upstream"}"#)));
    let place = Place::new(&endpoint.url(), crate::PATIENT);
    let service = place.start();
    service.play("slow");
    endpoint.wait_for(1);
    for n in 0..5 {
        service.play(&format!("good-{n}"));
    }
    wait_for_delivered(&service, 5);
    wait_for_uploader(&service, "waiting", Some("backoff"));
    let slow = session(&service, "slow");
    assert_eq!((slow["state"].as_str(), slow["attempt_count"].as_u64()), (Some("completed"), Some(1)));
    assert!(slow["next_attempt_at"].is_string());
}
