//! `show` and `payload`.

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, event};
use crate::{assert_fits, holding, one_of_each, refusing, run, titled};

fn with(mut event: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        event["mediaCollection"][name] = value.clone();
    }
    event
}

/// An evening with everything in it.
fn evening() -> Vec<Value> {
    let ad = |name: &str, position: u32| json!({ "advertisingDetails": { "name": name, "length": 15, "playerName": "p", "podPosition": position } });
    let chapter = |name: &str, index: u32| json!({ "chapterDetails": { "friendlyName": name, "index": index, "length": 300, "offset": 0 } });
    vec![
        titled("The Long Tide"),
        with(
            event("media.adBreakStart", 1, 0),
            json!({ "advertisingPodDetails": { "friendlyName": "pre-roll", "index": 1, "offset": 0 } }),
        ),
        with(event("media.adStart", 1, 0), ad("soap", 1)),
        event("media.adComplete", 31, 0),
        with(event("media.adStart", 31, 0), ad("cars", 2)),
        event("media.adSkip", 60, 0),
        event("media.adBreakComplete", 60, 0),
        with(event("media.chapterStart", 61, 0), chapter("Opening", 1)),
        event("media.play", 62, 0),
        with(event("media.statesUpdate", 100, 38), json!({ "statesStart": [{ "name": "fullscreen" }] })),
        event("media.bufferStart", 180, 118),
        event("media.play", 200, 118),
        event("media.pauseStart", 320, 238),
        event("media.play", 420, 238),
        with(
            event("media.error", 450, 268),
            json!({ "errorDetails": { "name": "E42", "source": "player" } }),
        ),
        with(event("media.statesUpdate", 500, 318), json!({ "statesEnd": [{ "name": "fullscreen" }] })),
        event("media.chapterComplete", 520, 338),
        with(event("media.chapterStart", 520, 338), chapter("Storm", 2)),
        event("media.ping", 590, 408),
    ]
}

#[test]
fn a_session_is_drawn_with_all_that_happened_in_it() {
    let place = holding();
    let service = place.start();
    for event in evening() {
        service.record("evening", &event);
    }
    let answer = service.request("POST", "/v1/sessions/evening/complete", b"");
    assert_eq!(answer.status, 200);
    let shown = run(&place, &["show", "evening"]).done();
    assert_fits(&shown);
    assert!(shown.starts_with("The Long Tide (evening)\n\n  State         completed, "), "{shown}");
    for part in
        ["Size          19 events, ", "Identity      FPID ", "\nTimeline\n", "×  E42 (player) at 4:28"]
    {
        let squeezed: String = shown.replace("× ", "×  ");
        assert!(squeezed.contains(part), "{part}\n{shown}");
    }
    let lane = |name: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no lane {name}:\n{shown}"))
            .to_owned()
    };
    assert!(lane("paused").contains('├'), "{shown}");
    assert!(lane("buffering").contains('├'), "{shown}");
    assert!(lane("ad breaks").contains("pre"), "{shown}");
    assert!(lane("ads").matches('├').count() == 2, "{shown}");
    assert!(lane("chapters").contains("Opening") && lane("chapters").contains("Storm"), "{shown}");
    assert!(lane("errors").contains('×'), "{shown}");
    assert!(lane("fullscreen").contains('├'), "{shown}");
    assert!(shown.contains("18:30:00") && shown.contains("18:39:50"), "{shown}");
    // The graph climbs from the start to the last playhead.
    assert!(shown.contains("6:48") && shown.contains("0:00"), "{shown}");
}

#[test]
fn an_open_session_is_drawn_as_far_as_it_is() {
    let place = holding();
    let service = place.start();
    for event in &evening()[..5] {
        service.record("evening", event);
    }
    let shown = run(&place, &["show", "evening"]).done();
    assert_fits(&shown);
    assert!(shown.contains("  State         open\n") && shown.contains("\nTimeline\n"), "{shown}");
}

#[test]
fn a_delivered_session_shows_its_receipt() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    service.play("one");
    let session = service.wait_for_state("one", "delivered");
    let shown = run(&place, &["show", "one"]).done();
    assert_fits(&shown);
    let bytes = session["receipt"]["bytes"].as_u64().unwrap();
    assert_eq!(bytes, endpoint.requests()[0].body.len() as u64);
    for part in [
        "  State         delivered, completed on request\n",
        "\nReceipt\n",
        "  Request id    b5d2f1f6\n",
        "  Session id    af8bb22766e4\n",
        "  Status        200\n",
        "5 events, ",
        ", 1 attempt\n",
        "\nAttempts\n   1  ",
        "200, delivered",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("Timeline"), "the events are gone: {shown}");
}

#[test]
fn a_quarantined_session_says_why_and_what_to_do() {
    let (_endpoint, place) = refusing();
    let service = place.start();
    service.play("one");
    service.wait_for_state("one", "quarantined");
    let shown = run(&place, &["show", "one"]).done();
    assert_fits(&shown);
    for part in [
        "  State         quarantined, completed on request\n",
        "  Last answer   422, ",
        "0104-422",
        "length is \\u{1b}[31mwrong",
        "  What to do    afterplay retry one, or afterplay discard one\n",
        "\nTimeline\n",
        "\nAttempts\n   1  ",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn failed_attempts_are_listed_with_their_reasons() {
    let endpoint = Endpoint::start([
        Act::ResetAfterBody,
        Act::Answer(Reply::json(500, "{}")),
        Act::Answer(Reply::json(200, "<html>log in</html>")),
    ]);
    let place = Place::new(&endpoint.url(), "retry.initial = \"10ms\"\nretry.max = \"10ms\"");
    let service = place.start();
    service.play("one");
    service.wait_for_state("one", "delivered");
    let shown = run(&place, &["show", "one"]).done();
    assert_fits(&shown);
    let attempts = shown.split("\nAttempts\n").nth(1).unwrap();
    let numbered = |n: u32| attempts.lines().any(|line| line.trim_start().starts_with(&format!("{n}  20")));
    assert!((1..=4).all(numbered), "{shown}");
    let words = attempts.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("perhaps delivered all the same"), "{shown}");
    assert!(words.contains("500, backoff"), "{shown}");
    assert!(run(&place, &["status"]).done().contains("1 session perhaps sent twice"));
}

#[test]
fn show_in_json_is_the_answer_of_the_service() {
    let (_endpoint, place) = refusing();
    let service = place.start();
    one_of_each(&service);
    for key in ["refused", "good", "open"] {
        let ran = run(&place, &["show", key, "--json"]);
        assert_eq!(ran.json(), service.get(&format!("/v1/sessions/{key}")), "{key}");
    }
}

#[test]
fn the_payload_is_what_the_endpoint_got_to_the_byte() {
    let endpoint = Endpoint::start([Act::Answer(Reply::json(503, "{}").header("retry-after", "3600"))]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    // Bytes that a careless reader would change: order, numbers, escapes, white space inside strings.
    let start = r#"{"mediaEventType":"media.sessionStart","mediaEventTimestamp":"2026-03-07T18:30:00.120Z",
        "mediaCollection":{"sessionDetails":{"name":"  ép-\u00e9 ","length":90,"zz":1.50,"contentType":"DVOD",
        "playerName":"p","channel":"c","aa":1e2},"playhead":0}}"#;
    assert_eq!(service.request("POST", "/v1/sessions/one/events", start.as_bytes()).status, 201);
    assert_eq!(service.request("POST", "/v1/sessions/one/complete", b"").status, 200);
    let first = endpoint.wait_for(1)[0].body.clone();
    let printed = place.run(&["payload", "one"]);
    assert!(printed.status.success());
    assert_eq!(printed.stdout, first, "printed and sent differ");
    assert!(service.stop().success());
    place.configure(&endpoint.url(), "upload.timestamp = false");
    let service = place.start();
    assert_eq!(place.run(&["payload", "one"]).stdout, first, "a setting changed what was sent before");
    drop(service);
}

#[test]
fn a_payload_that_is_not_there_is_said() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    service.play("one");
    service.wait_for_state("one", "delivered");
    let ran = run(&place, &["payload", "one"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("delivered"), "{}", ran.err);
    for command in ["payload", "show"] {
        let ran = run(&place, &[command, "none"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(ran.err.contains("unknown_session"), "{}", ran.err);
    }
    // A key that is none is refused by name, whatever is in it.
    for key in ["../status", "a/b", "ü", &"k".repeat(129)] {
        let ran = run(&place, &["show", key]);
        assert_eq!(ran.code, 1, "{key}: {}", ran.out);
        assert!(ran.err.contains("key"), "{key}: {}", ran.err);
    }
}
