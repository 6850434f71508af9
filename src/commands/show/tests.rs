use serde_json::{Value, json};

use crate::commands::fake::{Act, Fake, answer, problem};
use crate::commands::text;

fn detail() -> Value {
    json!({
        "session": "living-room-0042", "uid": 1000, "state": "quarantined", "why": "end", "title": "The Long \u{1b}[31mTide",
        "started_at": "2026-03-07T18:30:00.120Z", "last_event_at": "2026-03-07T18:32:00.000Z",
        "completed_at": "2026-03-07T18:32:05.000Z", "delivered_at": null, "quarantined_at": "2026-03-07T18:35:00.000Z",
        "events": 3, "bytes": 3400, "attempt_count": 2, "next_attempt_at": null,
        "last_verdict": {"verdict": "quarantine", "status": 422, "reason": "0104-422", "detail": "a field is missing",
            "at": "2026-03-07T18:35:00.000Z"},
        "identity_map": {"ECID": [{"id": "other"}], "FPID": [{"id": "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", "primary": true}]},
        "attempts": [
            {"n": 1, "at": "2026-03-07T18:33:00.000Z", "ended_at": "2026-03-07T18:33:01.000Z", "status": 503,
             "verdict": "retry_after", "reason": "503", "detail": "", "bytes": 3600, "maybe_delivered": false},
            {"n": 2, "at": "2026-03-07T18:35:00.000Z", "ended_at": "2026-03-07T18:35:00.000Z", "status": null,
             "verdict": "backoff", "reason": "reset", "detail": "the connection was closed while the answer was awaited",
             "bytes": 3600, "maybe_delivered": true},
            {"n": 3, "at": "2026-03-07T18:36:00.000Z", "ended_at": null, "status": null, "verdict": null,
             "reason": null, "detail": null, "bytes": null, "maybe_delivered": false}],
        "receipt": null,
        "warnings": ["an open ad was skipped", {"path": "statesStart[0].name", "problem": "the eleventh name"}],
    })
}

fn events() -> Value {
    json!([
        {"mediaEventType": "media.sessionStart", "mediaEventTimestamp": "2026-03-07T18:30:00.120Z", "mediaCollection": {"playhead": 0}},
        {"mediaEventType": "media.play", "mediaEventTimestamp": "2026-03-07T18:30:00.940Z", "mediaCollection": {"playhead": 0}},
        {"mediaEventType": "media.sessionEnd", "mediaEventTimestamp": "2026-03-07T18:32:00.000Z", "mediaCollection": {"playhead": 90}},
    ])
}

fn service(detail: Value, payload: bool) -> Fake {
    Fake::start(move |line, _| match line.rsplit('/').next().unwrap() {
        "payload" if payload => {
            answer(200, json!({"events": [{"xdm": {"mediaDownloadedEvents": events()}}]}))
        }
        "payload" => problem(409, "sequence"),
        "events" => answer(200, json!({"events": events()})),
        "living-room-0042" => answer(200, detail.clone()),
        _ => problem(404, "unknown_session"),
    })
}

#[tokio::test]
async fn facts_timeline_and_attempts() {
    let fake = service(detail(), true);
    let ran = fake.run(&["show", "living-room-0042"]).await;
    assert!(ran.out.lines().all(|line| text::width(line) <= 80), "{}", ran.out);
    insta::assert_snapshot!(ran.out, @r"
    The Long \u{1b}[31mTide (living-room-0042)

      State         quarantined, ended by the player
      Started       2026-03-07 18:30:00 +00:00 (9 min ago)
      Last event    2026-03-07 18:32:00 +00:00 (8 min ago)
      Completed     2026-03-07 18:32:05 +00:00 (7 min ago)
      Quarantined   2026-03-07 18:35:00 +00:00 (5 min ago)
      Size          3 events, 3.3 KiB
      Owner         uid 1000
      Identity      FPID 5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10
      Last answer   422, 0104-422, quarantine: a field is missing (5 min ago)
      What to do    afterplay retry living-room-0042, or afterplay discard
                    living-room-0042
      Warning       an open ad was skipped
      Warning       statesStart[0].name: the eleventh name

    Timeline
          1:30 ┤                                                ••••••••••••••••••••
               │                                        ••••••••
               │                                 •••••••
          0:51 ┤                          •••••••
               │                   •••••••
               │            •••••••
               │     •••••••
          0:00 ┤•••••
               └────────────────────────────────────────────────────────────────────
                18:30:00                      18:31:00                      18:32:00

    Attempts
       1  2026-03-07 18:33:00 +00:00  503, retry_after, 3.5 KiB
       2  2026-03-07 18:35:00 +00:00  reset, backoff: the connection was closed
                                      while the answer was awaited, 3.5 KiB, perhaps
                                      delivered all the same
       3  2026-03-07 18:36:00 +00:00  under way
    ");
    assert!(!fake.lines().iter().any(|line| line.ends_with("/events")), "the payload has the resolved times");
}

#[tokio::test]
async fn without_a_payload_the_recorded_events_are_drawn() {
    let fake = service(detail(), false);
    let ran = fake.run(&["show", "living-room-0042"]).await;
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("Timeline\n      1:30 ┤"), "{}", ran.out);
}

#[tokio::test]
async fn a_delivered_session_shows_its_receipt() {
    let mut body = detail();
    body["state"] = json!("delivered");
    body["last_verdict"] = Value::Null;
    body["attempts"] = json!([]);
    body["warnings"] = json!([]);
    body["delivered_at"] = json!("2026-03-07T18:35:00.000Z");
    body["receipt"] = json!({"request_id": "8f4c", "session_id": null, "status": 200, "bytes": 3600, "events": 3,
        "attempts": 2, "warnings": ["uncertain"], "delivered_at": "2026-03-07T18:35:00.000Z"});
    let fake = service(body, true);
    insta::assert_snapshot!(fake.run(&["show", "living-room-0042"]).await.out, @r"
    The Long \u{1b}[31mTide (living-room-0042)

      State         delivered, ended by the player
      Started       2026-03-07 18:30:00 +00:00 (9 min ago)
      Last event    2026-03-07 18:32:00 +00:00 (8 min ago)
      Completed     2026-03-07 18:32:05 +00:00 (7 min ago)
      Quarantined   2026-03-07 18:35:00 +00:00 (5 min ago)
      Delivered     2026-03-07 18:35:00 +00:00 (5 min ago)
      Size          3 events, 3.3 KiB
      Owner         uid 1000
      Identity      FPID 5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10

    Receipt
      Request id    8f4c
      Delivered     2026-03-07 18:35:00 +00:00 (5 min ago)
      Status        200
      Sent          3 events, 3.5 KiB, 2 attempts
      Warning       uncertain
    ");
    assert!(!fake.lines().iter().any(|line| line.ends_with("/events")), "its events are gone");
}

#[tokio::test]
async fn json_is_the_answer_of_the_service() {
    let ran = service(detail(), true).run(&["show", "living-room-0042", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), detail());
}

#[tokio::test]
async fn an_unknown_key_is_an_error() {
    let ran = service(detail(), true).run(&["show", "nobody"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "afterplay: the service refused: not so (unknown_session, status 404)\n");
}

#[tokio::test]
async fn of_many_attempts_the_last_are_listed() {
    let mut body = detail();
    let attempt = &detail()["attempts"][0];
    body["attempts"] = (1..=300)
        .map(|n| {
            let mut attempt = attempt.clone();
            attempt["n"] = json!(n);
            attempt
        })
        .collect();
    let out = service(body, true).run(&["show", "living-room-0042"]).await.out;
    assert!(out.contains("  280 attempts before these\n 281  ") && out.contains("\n 300  "), "{out}");
}

#[tokio::test]
async fn a_payload_is_printed_byte_for_byte() {
    let body = b"{ \"events\" :[1.0e0]}\xc3\xa9 ".to_vec();
    let sent = body.clone();
    let fake = Fake::start(move |_, _| Act::Answer(200, Vec::new(), sent.clone()));
    let ran = fake.run(&["payload", "a/b"]).await;
    assert_eq!(ran.out.as_bytes(), body);
    assert_eq!(fake.lines(), ["GET /v1/sessions/a%2Fb/payload"]);
}
