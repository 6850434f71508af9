//! What is shown, what is sent and what is sent again are the same bytes: product promise 5.

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, event, start_event, wait_for};
use crate::{PATIENT, QUICK, body_of, flush, ms_until, reconfigure, wait_for_uploader};

fn fault() -> Act {
    Act::Answer(Reply::json(502, r#"{"type":"x","title":"upstream"}"#))
}

#[test]
fn the_payload_that_is_shown_is_the_one_that_is_sent() {
    let endpoint = Endpoint::start([fault()]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = place.start();
    service.play("a");
    wait_for_uploader(&service, "waiting", Some("backoff"));
    let sent = endpoint.requests()[0].clone();
    let shown = service.request("GET", "/v1/sessions/a/payload", b"");
    assert_eq!(shown.header("content-type"), Some("application/json"));
    assert_eq!(shown.body, sent.body);
    let printed = place.run(&["payload", "a"]);
    assert_eq!(printed.stdout.strip_suffix(b"\n").unwrap_or(&printed.stdout), sent.body);

    let timestamp = &body_of(&sent)["events"][0]["xdm"]["timestamp"];
    assert!((-60_000..=0).contains(&ms_until(timestamp)), "{timestamp}");
    flush(&service);
    service.wait_for_state("a", "delivered");
    assert_eq!(endpoint.requests()[1].body, sent.body);
}

#[test]
fn the_upload_time_is_that_of_the_first_attempt_or_left_out() {
    let endpoint = Endpoint::start([fault(), fault(), fault(), fault()]);
    for (first, second) in [("true", "false"), ("false", "true")] {
        let timestamp = |value: &str| format!("{PATIENT}\nupload.timestamp = {value}");
        let place = Place::new(&endpoint.url(), &timestamp(first));
        let service = place.start();
        service.play("a");
        let before = endpoint.requests().len();
        wait_for_uploader(&service, "waiting", Some("backoff"));
        // What was frozen stays so when the configuration changes.
        reconfigure(&place, &service, &endpoint.url(), &timestamp(second));
        flush(&service);
        wait_for("a second failure", || {
            let session = service.get("/v1/sessions/a");
            (session["attempts"].as_array().map(Vec::len) == Some(2)
                && session["attempts"][1]["verdict"] == "backoff")
                .then_some(())
        });
        let _ = before;
        if first == "false" {
            flush(&service);
            service.wait_for_state("a", "delivered");
        }
    }
    let requests = endpoint.requests();
    let has = |at: usize| body_of(&requests[at])["events"][0]["xdm"].get("timestamp").is_some();
    assert_eq!((0..5).map(has).collect::<Vec<_>>(), [true, true, false, false, false]);
    assert_eq!(requests[0].body, requests[1].body);
    assert!(requests[2..].iter().all(|request| request.body == requests[2].body));
}

#[test]
fn a_session_that_was_left_open_is_sent_as_it_was_recorded() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), &format!("{QUICK}\nsession.idle_timeout = \"100ms\""));
    let service = place.start();
    // In one request: between two it may get idle, on a busy machine.
    let events = crate::service::programme("a");
    service.record("a", &serde_json::Value::from(events.clone()));
    let delivered = service.wait_for_state("a", "delivered");
    assert_eq!(delivered["why"], "idle");
    let body = body_of(&endpoint.requests()[0]);
    let sent = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    assert_eq!(sent, &events, "no closing event is invented");
}

/// Contract section 7, rule 1: the start comes first. One whose clock was ahead does not press the others together
/// behind it.
#[test]
fn a_start_that_says_it_was_later_than_the_rest_moves_to_the_earliest_of_them() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), QUICK);
    let service = place.start();
    let mut start = start_event("a");
    start["mediaEventTimestamp"] = "2026-03-07T21:00:00.000Z".into();
    service.record("a", &start);
    let rest = [event("media.play", 1, 0), event("media.ping", 11, 10), event("media.pauseStart", 15, 14)];
    for event in &rest {
        service.record("a", event);
    }
    service.request("POST", "/v1/sessions/a/complete", b"");
    service.wait_for_state("a", "delivered");
    let body = body_of(&endpoint.requests()[0]);
    let sent = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap();
    let time = |at: usize| sent[at]["mediaEventTimestamp"].as_str().unwrap();
    assert_eq!(sent[0]["mediaEventType"], "media.sessionStart");
    assert_eq!(time(0), rest[0]["mediaEventTimestamp"], "the start stands where the earliest event does");
    // One millisecond apart (section 4), and otherwise as they were.
    assert_eq!(time(1), "2026-03-07T18:30:01.121Z");
    assert_eq!(sent[2..], rest[1..]);
}
