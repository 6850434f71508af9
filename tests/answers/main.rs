//! Every answer of the endpoint, through the real binary: what becomes of the session, of the uploader and of the
//! others, as it is seen from outside. The answers are one table, `table.rs`.

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;

mod limits;
mod table;

use endpoint::{Act, Authority, Endpoint, Reply};
use serde_json::{Value, json};
use service::{Place, Service, event, start_event, wait_for};
use table::{Expected, Owner, Row};

/// Retries that no test lives to see: what waits is seen to wait.
const PATIENT: &str =
    "retry.initial = \"1h\"\nretry.max = \"1h\"\nupload.reconnect_jitter = \"0s\"\nupload.concurrency = 1";
/// The same where any part of that may be drawn.
const MORE_PATIENT: &str =
    "retry.initial = \"24h\"\nretry.max = \"168h\"\nupload.reconnect_jitter = \"0s\"\nupload.concurrency = 1";

/// Rows that run side by side.
const LANES: usize = 12;

/// A service that trusts one authority only: reading all that a machine trusts would take longer than most rows.
fn start(place: &Place) -> Service<'_> {
    let roots = place.dir.path().join("roots.pem");
    std::fs::write(&roots, Authority::new().pem()).unwrap();
    place.start_with(|command| {
        command.env("SSL_CERT_FILE", roots);
    })
}

/// Records a session whole and completes it.
fn play(service: &Service<'_>, key: &str, owner: Owner) {
    let mut start = start_event(key);
    if owner == Owner::Player {
        let fpid = json!({ "FPID": [{ "id": "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", "primary": true }] });
        start["identityMap"] = fpid;
    }
    let events = json!([start, event("media.play", 1, 0), event("media.pauseStart", 15, 14)]);
    for (path, body) in [("events", events.to_string()), ("complete", String::new())] {
        let answer = service.request("POST", &format!("/v1/sessions/{key}/{path}"), body.as_bytes());
        assert!(matches!(answer.status, 200 | 201), "{key}: {}", answer.text());
    }
}

fn session(service: &Service<'_>, key: &str) -> Value {
    service.get(&format!("/v1/sessions/{key}"))
}

/// Waits until so many attempts of a session have ended, and answers the session.
fn tried(service: &Service<'_>, key: &str, attempts: usize) -> Value {
    wait_for(&format!("{key} to be tried"), || {
        let session = session(service, key);
        let made = session["attempts"].as_array().unwrap();
        (made.len() >= attempts && !made[attempts - 1]["ended_at"].is_null()).then_some(session)
    })
}

fn flush(service: &Service<'_>) {
    assert_eq!(service.request("POST", "/v1/flush", b"").status, 202);
}

fn key(n: usize) -> String {
    format!("row-{n:03}")
}

fn concerns_all(expected: Expected) -> bool {
    matches!(expected, Expected::Outage(_) | Expected::RetryAfter | Expected::Pause)
}

/// What the journal calls a verdict.
fn name(expected: Expected) -> &'static str {
    match expected {
        Expected::Delivered | Expected::Warned | Expected::Uncertain => "delivered",
        Expected::Consent => "consent",
        Expected::Quarantine => "quarantine",
        Expected::TooLarge => "resize",
        Expected::Backoff(_) | Expected::Outage(_) => "backoff",
        Expected::RetryAfter => "retry_after",
        Expected::Pause => "pause",
    }
}

/// Compares how the first attempt of a session ended.
#[track_caller]
fn assert_judged(row: &Row, n: usize, session: &Value) {
    let attempt = &session["attempts"][0];
    let (verdict, reason) = (attempt["verdict"].as_str(), attempt["reason"].as_str());
    assert_eq!(
        (verdict, reason),
        (Some(name(row.expected)), Some(row.reason.as_str())),
        "{n} {row}: {session}"
    );
    let status = match &row.act {
        Act::Answer(reply) => json!(reply.status),
        _ => Value::Null,
    };
    assert_eq!(attempt["status"], status, "{n} {row}: {session}");
    assert!(!attempt["detail"].as_str().unwrap().is_empty(), "{n} {row}: {session}");
}

/// Runs all rows of this kind, some side by side.
fn drive(wanted: impl Fn(Expected) -> bool, follow: fn(&[&(usize, Row)])) {
    let rows: Vec<(usize, Row)> =
        table::all().into_iter().enumerate().filter(|(_, row)| wanted(row.expected)).collect();
    let lane = |lane: usize| -> Vec<_> { rows.iter().skip(lane).step_by(LANES).collect() };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|n| {
                let rows = lane(n);
                scope.spawn(move || follow(&rows))
            })
            .collect();
        for lane in lanes {
            lane.join().unwrap();
        }
    });
}

#[test]
fn s11_what_concerns_one_session() {
    drive(|expected| !concerns_all(expected), each_alone);
}

#[test]
fn s11_what_concerns_all() {
    drive(concerns_all, all_wait);
}

/// No answer holds back another session, and what follows for its own is seen in it.
fn each_alone(rows: &[&(usize, Row)]) {
    let endpoint = Endpoint::start([Act::Answer(Reply::json(200, r#"{"requestId":"r"}"#))]);
    let place = Place::new(&endpoint.url(), MORE_PATIENT);
    let service = start(&place);
    // A hint that comes once in a run is not part of any row.
    play(&service, "first", Owner::Player);
    service.wait_for_state("first", "delivered");

    for (n, row) in rows {
        endpoint.whenever(&key(*n), row.act.clone());
        play(&service, &key(*n), row.owner);
        if matches!(row.expected, Expected::Quarantine | Expected::TooLarge) {
            // What gets through between two refusals shows that they are not everybody's.
            play(&service, &format!("good-{n}"), Owner::Player);
        }
    }
    for (n, row) in rows {
        let session = tried(&service, &key(*n), 1);
        assert_judged(row, *n, &session);
        let state = match row.expected {
            Expected::Delivered | Expected::Warned | Expected::Uncertain => "delivered",
            Expected::Consent | Expected::Quarantine | Expected::TooLarge => "quarantined",
            _ => "completed",
        };
        assert_eq!(session["state"], state, "{n} {row}: {session}");
        assert_eq!(session["next_attempt_at"].is_string(), state == "completed", "{n} {row}: {session}");
        let warned = session["receipt"]["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
        let expected = matches!(row.expected, Expected::Warned | Expected::Uncertain);
        assert_eq!(warned, expected, "{n} {row}: {session}");
        let uncertain = session["receipt"]["uncertain"] == true;
        assert_eq!(uncertain, row.expected == Expected::Uncertain, "{n} {row}: {session}");
    }
    wait_for("nothing but retries to be waited for", || {
        (service.status()["uploader"]["reason"] == "backoff").then_some(())
    });

    // What backs off is tried again; what is set apart is not.
    endpoint.behave();
    flush(&service);
    for (n, row) in rows {
        let backs_off = matches!(row.expected, Expected::Backoff(_));
        if backs_off {
            service.wait_for_state(&key(*n), "delivered");
        }
        let attempts = session(&service, &key(*n))["attempt_count"].as_u64();
        assert_eq!(attempts, Some(if backs_off { 2 } else { 1 }), "{n} {row}");
    }
}

/// Each answer holds back the session it came for and every other, until the endpoint is another one.
fn all_wait(rows: &[&(usize, Row)]) {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), PATIENT);
    let service = start(&place);
    for (n, row) in rows {
        let (key, other) = (key(*n), format!("other-{n}"));
        let before = endpoint.requests().len();
        endpoint.whenever(&key, row.act.clone());
        play(&service, &key, row.owner);
        // A new way is not tried twice within a second. Nobody asks for it earlier: that could be a second attempt.
        let waiting = tried(&service, &key, 1);
        assert_judged(row, *n, &waiting);
        assert_eq!(waiting["state"], "completed", "{n} {row}: {waiting}");

        play(&service, &other, Owner::Player);
        let state = if row.expected == Expected::Pause { "paused" } else { "waiting" };
        let status = wait_for(&format!("the uploader to be {state} for {}, {n} {row}", row.reason), || {
            let status = service.status();
            let uploader = &status["uploader"];
            (uploader["state"] == state && uploader["reason"] == row.reason.as_str()).then_some(status)
        });
        let wait = ms_until(&status["uploader"]["next_attempt_at"]);
        let asked = match &row.act {
            Act::Answer(reply) => reply.headers.iter().any(|(name, _)| name == "retry-after"),
            _ => false,
        };
        let most = match row.expected {
            Expected::Pause => 15 * 60_000,
            _ if asked => 7_200_000,
            _ => 3_600_000,
        };
        assert!(wait <= most && (wait > most - 60_000 || most == 3_600_000), "{n} {row}: {wait} ms");
        assert_eq!(session(&service, &other)["attempt_count"], 0, "{n} {row}");
        assert_eq!(endpoint.requests().len(), before + 1, "{n} {row}");

        // Nothing that one endpoint said holds for another.
        endpoint.behave();
        reconfigure(&place, &service, &format!("{}/after/{n}", endpoint.url()));
        flush(&service);
        let delivered = service.wait_for_state(&key, "delivered");
        assert_eq!(delivered["receipt"]["attempts"], 2, "{n} {row}");
        service.wait_for_state(&other, "delivered");
    }
}

/// Milliseconds from now by the machine's clock until a time in an answer.
fn ms_until(time: &Value) -> i64 {
    let then: jiff::Timestamp = time.as_str().unwrap_or_else(|| panic!("{time} is no time")).parse().unwrap();
    then.as_millisecond() - afterplay::clock::Clock::System.now().wall_ms
}

fn reconfigure(place: &Place, service: &Service<'_>, endpoint: &str) {
    place.configure(endpoint, PATIENT);
    let seen = || place.log_text().matches("reloaded the configuration").count();
    let before = seen();
    service.signal("HUP");
    wait_for("the configuration to be reloaded", || (seen() > before).then_some(()));
}
