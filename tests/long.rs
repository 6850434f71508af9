//! Sessions of a great many events, and sessions whose times lie days apart: what they take is bounded, and nobody
//! else waits for them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]
#![allow(clippy::print_stderr, reason = "figures are told")]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/service.rs"]
mod service;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use afterplay::session::{MOST_EVENTS, Why};
use endpoint::{Endpoint, Request};
use serde_json::{Value, json};
use service::{Answer, Connection, Place, Service, event, start_event, wait_for};

const HOUR_MS: u64 = 3_600_000;
/// Nothing is left out, so that every event can be counted.
const KEYS: &str = "upload.thin = \"never\"\nupload.reconnect_jitter = \"0s\"\nretry.initial = \"50ms\"";

/// How much more than usual is tried.
fn scale() -> u64 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Pings with these numbers, `apart_ms` from each other.
fn pings(numbers: std::ops::Range<u64>, apart_ms: u64) -> String {
    let mut lines = String::new();
    for n in numbers {
        let at_ms = 1_772_908_200_000 + i64::try_from(n * apart_ms).unwrap();
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
        writeln!(
            lines,
            r#"{{"mediaEventType":"media.ping","mediaEventTimestamp":"{at:.3}","mediaCollection":{{"playhead":{n}}},"seq":{n}}}"#
        )
        .unwrap();
    }
    lines
}

fn post(connection: &mut Connection, key: &str, lines: &str) -> Answer {
    let path = format!("/v1/sessions/{key}/events");
    connection.send("POST", &path, &[("content-type", "application/x-ndjson")], lines.as_bytes()).unwrap()
}

/// Records a start and so many pings, in large batches.
fn record(service: &Service<'_>, key: &str, count: u64, apart_ms: u64) {
    let mut connection = service.connect().unwrap();
    let mut start = start_event(key);
    start["mediaEventTimestamp"] = "2026-03-07T18:30:00.000Z".into();
    assert_eq!(post(&mut connection, key, &start.to_string()).status, 201);
    let mut next = 1;
    while next <= count {
        let end = (next + 5000).min(count + 1);
        let answer = post(&mut connection, key, &pings(next..end, apart_ms));
        assert_eq!(answer.status, 200, "{}", answer.text());
        next = end;
    }
}

fn complete(service: &Service<'_>, key: &str) -> Answer {
    service.request("POST", &format!("/v1/sessions/{key}/complete"), b"")
}

fn events_of(request: &Request) -> Vec<Value> {
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    serde_json::from_value(body["events"][0]["xdm"]["mediaDownloadedEvents"].take()).unwrap()
}

fn name_of(request: &Request) -> String {
    events_of(request)[0]["mediaCollection"]["sessionDetails"]["name"].as_str().unwrap().to_owned()
}

/// The playheads of the pings in a request: their numbers.
fn numbers(request: &Request) -> Vec<u64> {
    let events = events_of(request);
    let pings = events.iter().filter(|event| event["mediaEventType"] == "media.ping");
    pings.map(|event| event["mediaCollection"]["playhead"].as_u64().unwrap()).collect()
}

/// Every ping came, in order; what came twice came with the same bytes.
fn assert_all_came(requests: &[Request], count: u64) {
    let bodies: BTreeSet<&[u8]> = requests.iter().map(|request| &request.body[..]).collect();
    let once = |body: &&[u8]| requests.iter().find(|request| request.body == **body).map(numbers);
    let mut parts: Vec<Vec<u64>> = bodies.iter().filter_map(once).collect();
    parts.sort();
    let all = parts.concat();
    assert!(all.iter().copied().eq(1..=count), "{} of {count} pings", all.len());
}

fn delivered(service: &Service<'_>) {
    wait_for("all to be delivered", || {
        let status = service.status();
        (status["sessions"]["completed"] == 0 && status["sessions"]["open"] == 0).then_some(())
    });
}

#[test]
fn a_session_that_grows_too_large_goes_on_in_a_successor() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), KEYS);
    let service = place.start();
    record(&service, "film", 15_000, 1000);
    let mut connection = service.connect().unwrap();
    // All or nothing: what would be too much goes on elsewhere as a whole.
    let answer = post(&mut connection, "film", &pings(15_001..21_001, 1000)).json();
    assert_eq!((&answer["continues_as"], &answer["recorded"]), (&json!("film~2"), &json!(6000)));
    // A resend is known, in whichever part it is.
    let again = post(&mut connection, "film", &pings(14_990..15_010, 1000)).json();
    assert_eq!((&again["recorded"], &again["duplicates"]), (&json!(0), &json!(20)));
    let first = service.get("/v1/sessions/film");
    assert_eq!((&first["why"], &first["events"]), (&json!(Why::Age.as_str()), &json!(15_001)));
    assert!(first["warnings"].to_string().contains("15001 events"), "{first}");
    assert_eq!(complete(&service, "film").json()["state"], "completed");
    delivered(&service);
    assert_all_came(&endpoint.requests(), 21_000);

    // An end belongs to the session that it ends, but nothing that would make it larger still comes after it.
    let full = u64::try_from(MOST_EVENTS).unwrap() - 1;
    record(&service, "full", full, 1000);
    let end = |second| event("media.sessionEnd", second, 9).to_string();
    let answer = post(&mut connection, "full", &end(1));
    assert_eq!((answer.status, &answer.json()["continues_as"]), (200, &Value::Null), "{}", answer.text());
    for late in [event("media.ping", 2, 9).to_string(), end(2)] {
        let answer = post(&mut connection, "full", &late);
        assert_eq!((answer.status, &answer.json()["why"]), (409, &json!("end")), "{}", answer.text());
    }
    assert_eq!(service.get("/v1/sessions/full")["events"], MOST_EVENTS + 1);
}

/// Contract section 8: no part lasts longer than 24 h. What is to be done for that, nobody else waits for.
#[test]
fn s08_a_large_session_of_many_days_is_divided_bit_by_bit_when_it_is_sent() {
    const PINGS: u64 = 16_000;
    let endpoint = Endpoint::start([]);
    let extra = |consent: &str| format!("{KEYS}\nconsent.initial = \"{consent}\"");
    let place = Place::new(&endpoint.url(), &extra("pending"));
    let service = place.start();
    record(&service, "days", PINGS, 170 * HOUR_MS / PINGS);
    assert_eq!(complete(&service, "days").status, 200);
    let session = service.get("/v1/sessions/days");
    assert_eq!((&session["events"], &session["continues_as"]), (&json!(PINGS + 1), &Value::Null));

    let mut player = service.connect().unwrap();
    assert_eq!(post(&mut player, "other", &start_event("other").to_string()).status, 201);
    service.request("PUT", "/v1/consent", br#"{"consent":"in"}"#);
    let (mut worst, mut wal) = (Duration::ZERO, 0);
    let mut killed = None;
    wait_for("the last part to be delivered", || {
        let began = Instant::now();
        assert_eq!(post(&mut player, "other", &event("media.ping", 1, 1).to_string()).status, 200);
        worst = worst.max(began.elapsed());
        wal = wal.max(std::fs::metadata(place.journal().with_extension("db-wal")).map_or(0, |wal| wal.len()));
        let parts = place.log_text().matches("longer than 24 hours").count();
        (parts >= 3).then(|| killed = Some(()))
    });
    eprintln!("figure: dividing {PINGS} events: others waited {worst:?}, the WAL had {wal} bytes");
    assert!(worst < Duration::from_secs(15), "{worst:?}");
    assert!(wal < 4 << 20, "{wal}");

    // Killed between two parts.
    service.kill();
    let service = place.start();
    assert_eq!(complete(&service, "other").status, 200);
    delivered(&service);
    let sent = endpoint.requests();
    let parts: Vec<Request> = sent.into_iter().filter(|request| name_of(request) == "days").collect();
    assert_all_came(&parts, PINGS);
    let list = service.get("/v1/sessions");
    let names: Vec<&str> =
        list["sessions"].as_array().unwrap().iter().filter_map(|s| s["session"].as_str()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("days")).count(), 8, "{names:?}");
    let began = Instant::now();
    assert!(service.stop().success());
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// The most memory that the service has had so far, in KiB.
fn most_memory(service: &Service<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The unit for systemd allows 96 MB.
#[test]
fn the_largest_sessions_are_packed_in_little_memory() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), &format!("{KEYS}\nconsent.initial = \"pending\""));
    let service = place.start();
    let events = 25_000 * scale();
    record(&service, "many", events, 100);
    assert_eq!(complete(&service, "many").status, 200);
    let recorded = most_memory(&service);
    // Whoever wants to see it waits for the others.
    let shown: Vec<usize> = std::thread::scope(|scope| {
        let ask = || service.request("GET", "/v1/sessions/many/payload", b"").body.len();
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let seen = most_memory(&service);
    service.request("PUT", "/v1/consent", br#"{"consent":"in"}"#);
    for part in 1..=events.div_ceil(20_000) {
        let name = if part == 1 { "many".into() } else { format!("many~{part}") };
        service.wait_for_state(&name, "delivered");
    }
    let sent = most_memory(&service);
    eprintln!("figure: {events} events: {recorded} KiB recorded, {seen} shown {shown:?}, {sent} sent");
    assert_all_came(&endpoint.requests(), events);
    assert!(sent < 64 << 10, "{sent} KiB");
}
