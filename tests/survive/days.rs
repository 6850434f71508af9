//! A session whose times lie more than 24 hours apart, on a disk without the room to divide it.

use serde_json::{Value, json};

use crate::books::{Books, Came, sent_events};
use crate::endpoint::{Act, Endpoint, Reply};
use crate::full_disk::{Disk, KEYS};
use crate::service::{Place, Service, start_event, wait_for};

/// Events of the session, each of about 3 kB: more than the reserve of the small disk holds.
const EVENTS: usize = 300;

/// Half of them are 30 hours later than the others.
fn event(n: usize) -> Value {
    let (day, hour) = if n < EVENTS / 2 { (8, 0) } else { (9, 6) };
    json!({
        "mediaEventType": "media.bitrateChange",
        "mediaEventTimestamp": format!("2026-03-{day:02}T{hour:02}:{:02}:{:02}.000Z", n / 60, n % 60),
        "mediaCollection": { "playhead": n, "qoeDataDetails": { "bitrate": n, "filler": "x".repeat(3000) } },
    })
}

fn state(service: &Service<'_>, key: &str) -> Value {
    let answer = service.request("GET", &format!("/v1/sessions/{key}"), b"");
    if answer.status == 200 { answer.json()["state"].clone() } else { Value::Null }
}

#[test]
fn full_disk_without_room_to_divide_a_long_session_stops_nobody() {
    let endpoint = Endpoint::start([]);
    endpoint.whenever("", Act::Answer(Reply::new(503, "")));
    let place = Place::new(&endpoint.url(), KEYS);
    let Some(disk) = Disk::mount(&place.dir.path().join("disk")) else { return };
    let journal = disk.0.join("journal.db");
    let keys =
        format!("{KEYS}\nsession.idle_timeout = \"2s\"\njournal.path = {:?}", journal.to_str().unwrap());
    place.configure(&endpoint.url(), &keys);
    let service = place.start();
    let mut books = Books::default();
    for key in ["due", "asked"] {
        assert!(matches!(books.record(&mut service.connect(), key, 4, 1000), Came::Acknowledged));
    }
    let mut start = start_event("days");
    start["mediaEventTimestamp"] = "2026-03-08T00:00:00.000Z".into();
    service.record("days", &start);
    for from in (0..EVENTS).step_by(100) {
        let events: Vec<Value> = (from..from + 100).map(event).collect();
        service.record("days", &json!(events));
    }
    disk.fill();
    assert!(matches!(
        wait_for("completing to be possible", || Some(books.complete(&mut service.connect(), "asked"))
            .filter(|came| matches!(came, Came::Acknowledged))),
        Came::Acknowledged
    ));
    for key in ["due", "days"] {
        wait_for(&format!("{key} to be completed"), || (state(&service, key) == "completed").then_some(()));
    }
    // Sent, it makes room; nothing of it is lost or comes twice.
    let seen = endpoint.requests().len();
    endpoint.behave();
    wait_for("all to be delivered", || {
        let _ = service.request("POST", "/v1/flush", b"");
        let answer = service.request("GET", "/v1/status", b"");
        (answer.status == 200 && answer.json()["sessions"]["completed"] == 0).then_some(())
    });
    let mut came = Vec::new();
    for request in &endpoint.requests()[seen..] {
        let sent = sent_events(request);
        let of_days = sent[0]["mediaCollection"]["sessionDetails"]["name"] == "days";
        came.extend(
            sent.iter()
                .filter(|event| of_days && event["mediaEventType"] == "media.bitrateChange")
                .map(|event| event["mediaCollection"]["playhead"].as_u64().unwrap()),
        );
    }
    assert!(came.iter().copied().eq(0..EVENTS as u64), "{came:?}");
    disk.free();
    wait_for("recording to be possible", || {
        matches!(books.record(&mut service.connect(), "after", 4, 1000), Came::Acknowledged).then_some(())
    });
    let warnings = place.log_text();
    assert!(!warnings.contains("panicked"));
}
