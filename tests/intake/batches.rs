//! Several events in one request: a JSON array or JSON lines, all or nothing.

use serde_json::json;

use crate::service::{event, programme, start_event};
use crate::{assert_problem, journal, paths, post, post_lines, quiet_place};

#[test]
fn a_list_is_one_request() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    let events = programme("ep-1");
    let answer = post(&mut connection, "array", json!(events).to_string());
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), Some("/v1/sessions/array"));
    assert_eq!(
        answer.json(),
        json!({ "session": "array", "state": "open", "recorded": 5, "duplicates": 0, "seq": 4 })
    );
    // Blank lines, CR LF and no line end at the end of the last are fine.
    let lines: String = events.iter().map(|event| format!("{event}\r\n\n")).collect();
    let answer = post_lines(&mut connection, "lines", lines.trim_end());
    assert_eq!((answer.status, &answer.json()["recorded"]), (201, &json!(5)));
    for key in ["array", "lines"] {
        let recorded = service.get(&format!("/v1/sessions/{key}/events"));
        for (n, (recorded, sent)) in recorded["events"].as_array().unwrap().iter().zip(&events).enumerate() {
            let mut sent = sent.clone();
            sent["seq"] = n.into();
            assert_eq!(*recorded, sent);
        }
    }
    let more = post_lines(&mut connection, "lines", event("media.ping", 50, 24).to_string());
    assert_eq!((more.status, &more.json()["seq"]), (200, &json!(5)));
}

#[test]
fn one_bad_event_spoils_the_whole_list_and_is_named() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    service.record("one", &start_event("ep-1"));
    let before = journal(&service, &["one"]);
    let good = event("media.ping", 9, 9);
    let mut bad = good.clone();
    bad["mediaCollection"]["playhead"] = "9".into();
    for (events, place) in [
        (vec![&good, &good, &bad], "[2].mediaCollection.playhead"),
        (vec![&bad, &good], "[0].mediaCollection.playhead"),
    ] {
        let answer = post(&mut connection, "one", json!(events).to_string());
        assert_problem(&answer, 400, "invalid");
        assert_eq!(paths(&answer), [place]);
        let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
        let answer = post_lines(&mut connection, "one", lines.join("\n"));
        assert_problem(&answer, 400, "invalid");
        assert_eq!(paths(&answer), [place]);
    }
    // All that are wrong are named; a line that is no JSON is one of them.
    let lines = format!("{good}\nnot json\n{bad}\n");
    let answer = post_lines(&mut connection, "one", lines);
    assert_problem(&answer, 400, "invalid");
    assert_eq!(paths(&answer), ["[1]", "[2].mediaCollection.playhead"]);
    // What only the journal can see is named too.
    let mut used = good.clone();
    used["seq"] = 0.into();
    let answer = post(&mut connection, "one", json!([good, used, start_event("x")]).to_string());
    assert_problem(&answer, 409, "sequence");
    assert_eq!(paths(&answer), ["[1].seq", "[2].mediaEventType"]);
    assert_eq!(journal(&service, &["one"]), before);

    // A new key whose list is refused is no session.
    let answer = post(&mut connection, "two", json!([start_event("x"), bad]).to_string());
    assert_problem(&answer, 400, "invalid");
    assert_eq!(service.request("GET", "/v1/sessions/two", b"").status, 404);
    assert_eq!(journal(&service, &["one"]), before);
}

#[test]
fn a_start_on_its_own_path_gets_a_key_of_its_own() {
    let place = quiet_place();
    let service = place.start();
    let body = start_event("ep-1").to_string();
    let keys: Vec<String> = (0..3)
        .map(|_| {
            let answer = service.request("POST", "/v1/sessions", body.as_bytes());
            assert_eq!(answer.status, 201);
            let key = answer.json()["session"].as_str().unwrap().to_owned();
            assert_eq!(answer.header("location").unwrap(), format!("/v1/sessions/{key}"));
            assert_eq!(key.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
            key
        })
        .collect();
    assert!(keys[0] < keys[1] && keys[1] < keys[2], "{keys:?}");
    let before = journal(&service, &[]);
    for (body, place) in [
        (event("media.play", 1, 0), "mediaEventType"),
        (json!([event("media.play", 1, 0)]), "[0].mediaEventType"),
    ] {
        let answer = service.request("POST", "/v1/sessions", body.to_string().as_bytes());
        assert_problem(&answer, 400, "invalid");
        assert_eq!(paths(&answer), [place]);
    }
    assert_eq!(journal(&service, &[]), before);
}
