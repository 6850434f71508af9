//! What is fuzzed: each takes any bytes and must neither panic, hang, nor ask for much memory.
//!
//! `cargo test` runs them on generated inputs (`tests/fuzz/main.rs`), `cargo fuzz` as long as one likes (`fuzz/`).

use std::time::Duration;

use afterplay::anchor::{Context, EventTimes, Offsets, resolve};
use afterplay::config::{Surroundings, Thin, load_text};
use afterplay::course::Course;
use afterplay::event::{self, EventType};
use afterplay::json;
use afterplay::upload::Shape;
use afterplay::upload::payload::{self, Facts, Implementation, Recorded};
use afterplay::upload::send::{Answer, Outcome};
use afterplay::upload::shape::{Event, Origin};
use afterplay::upload::verdict::{self, Verdict, judge};
use serde_json::value::RawValue;

/// Every target by its name.
#[allow(dead_code, reason = "a binary of `cargo fuzz` runs one of them")]
pub(crate) const TARGETS: [(&str, fn(&[u8])); 8] = [
    ("request", request),
    ("event", event),
    ("row", row),
    ("payload", payload),
    ("configuration", configuration),
    ("answer", answer),
    ("retry_after", retry_after),
    ("times", times),
];

const CONTEXT: verdict::Context =
    verdict::Context { identity_from_configuration: false, now_ms: 1_772_908_200_000 };

/// The body of a request, on both faces. The first byte chooses the content type.
pub(crate) fn request(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let content_type = if kind & 1 == 0 { "application/json" } else { "application/x-ndjson" };
    afterplay::api::decode(content_type, &bytes::Bytes::copy_from_slice(body));
}

/// An event to what is known of it.
pub(crate) fn event(data: &[u8]) {
    let Ok(checked) = event::check(data) else { return };
    assert!(!checked.body.is_empty() && checked.playhead.is_finite());
    assert!(checked.title.as_ref().is_none_or(|title| title.chars().count() <= 201));
    let value: serde_json::Value = serde_json::from_str(checked.body).expect("what is taken is JSON");
    assert_eq!(value["mediaEventType"], checked.kind.as_str());
    let mut course = Course::default();
    course.note(checked.kind, checked.body);
    if let Some(identity) = &checked.identity {
        event::check_identity_map(identity).expect("what was taken is taken again");
    }
}

/// What a row holds, whoever wrote it, to an event as it is sent.
pub(crate) fn row(data: &[u8]) {
    let Some((head, text)) = data.split_first_chunk::<9>() else { return };
    let kind = kind(head[0]);
    let at_ms = i64::from_le_bytes(*head[1..].first_chunk().expect("eight bytes follow the first"));
    let body = String::from_utf8_lossy(text);
    let mut course = Course::default();
    course.note(kind, &body);
    let Ok(event) = Event::read(Origin::Recorded(0), kind, at_ms, json::compact(&body)) else { return };
    let mut out = String::new();
    if event.write(&mut out).is_ok() {
        assert_eq!(out.len(), event.bytes());
    }
}

/// A session to a request body. A line is an event; JSON that intake would refuse is there as well. What is no JSON has a
/// checksum that keeps it from getting so far.
pub(crate) fn payload(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let Some(settings) = lines.next() else { return };
    let setting = settings.bytes().next().unwrap_or_default();
    let mut at_ms = 1_772_908_200_000;
    let mut recorded = Vec::new();
    for line in lines.take(4000) {
        at_ms += 1000;
        match event::check(line.as_bytes()) {
            Ok(checked) => {
                let said = checked.said_ms.unwrap_or(at_ms);
                recorded.push(Recorded { kind: checked.kind, body: checked.body, at_ms: said });
            }
            Err(_) if setting & 8 == 0 || serde_json::from_str::<&RawValue>(line).is_err() => {}
            Err(_) => recorded.push(Recorded { kind: kind(line.len() as u8), body: line, at_ms }),
        }
    }
    let thin = match setting & 3 {
        0 => Thin::Never,
        1 => Thin::AsNeeded,
        _ => Thin::Gap(Duration::from_secs(50)),
    };
    let facts = Facts {
        identity_map: r#"{"FPID":[{"id":"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10","primary":true}]}"#,
        player_name: Some("acme-stb"),
        channel: (setting & 4 == 0).then_some("living-room"),
        implementation: Implementation { name: "urn:x:y", version: "1", environment: "app" },
        resumes: setting & 16 != 0,
        timestamp_ms: (setting & 32 != 0).then_some(at_ms),
    };
    let shape = Shape { budget: 4096, thin };
    let built = payload::build(&facts, &recorded, &shape);
    assert_eq!(built, payload::build(&facts, &recorded, &shape), "the same bytes each time");
    if let Ok(built) = built {
        let value: serde_json::Value = serde_json::from_slice(&built.body).expect("a body is JSON");
        let events = value["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().expect("with its events");
        assert_eq!(events.len(), built.events);
    }
}

/// A file of configuration, and what is wrong with it.
pub(crate) fn configuration(data: &[u8]) {
    if let Err(error) = load_text(data, &Surroundings::default()) {
        assert!(!error.to_string().is_empty());
    }
}

/// An answer of the endpoint, or of whoever answers in its place.
pub(crate) fn answer(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let content_types = [None, Some("application/json"), Some("application/problem+json"), Some("text/html")];
    let answer = Answer {
        status: 100 + u16::from_le_bytes([head[0], head[1]]) % 900,
        content_type: content_types[usize::from(head[2] & 3)].map(str::to_owned),
        content_encoding: (head[2] & 4 != 0).then(|| "gzip".to_owned()),
        location: (head[2] & 8 != 0)
            .then(|| String::from_utf8_lossy(&rest[..rest.len().min(200)]).into_owned()),
        body: rest[..rest.len().min(64 << 10)].to_vec(),
        truncated: head[2] & 16 != 0,
        ..Answer::default()
    };
    let identity_from_configuration = head[2] & 32 != 0;
    let judged =
        judge(&Outcome::Answer(answer), &verdict::Context { identity_from_configuration, ..CONTEXT });
    assert!(!judged.detail.chars().any(char::is_control), "{:?}", judged.detail);
    assert!(!judged.reason.is_empty() && judged.reason.len() < 4096);
}

/// `Retry-After` and `Date`, separated by a line end.
pub(crate) fn retry_after(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(2048)]);
    let (wait, date) = text.split_once('\n').map_or((&*text, None), |(wait, date)| (wait, Some(date)));
    for status in [429, 503] {
        let answer = Answer {
            status,
            retry_after: Some(wait.to_owned()),
            date: date.map(str::to_owned),
            ..Answer::default()
        };
        if let Verdict::RetryAfter(Some(wait)) = judge(&Outcome::Answer(answer), &CONTEXT).verdict {
            assert!((Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&wait), "{wait:?}");
        }
    }
}

/// The times of a session's events: any that a clock of this or another century could have said.
pub(crate) fn times(data: &[u8]) {
    event::unix_ms(&String::from_utf8_lossy(data));
    let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes)) / 8;
    let events: Vec<EventTimes> = data
        .chunks_exact(25)
        .map(|bytes| EventTimes {
            said_ms: (bytes[0] & 1 == 0).then(|| number(&bytes[1..])),
            wall_ms: number(&bytes[9..]),
            boot_ms: number(&bytes[17..]),
        })
        .collect();
    let first = events.first().map(|event| event.wall_ms - event.boot_ms);
    let context =
        Context { first_ms: first.filter(|at| at & 1 == 0), whole: first.is_some_and(|at| at & 2 == 0) };
    let offsets = Offsets { believed_ms: number(data), context };
    let resolved = resolve(&events, &offsets);
    assert_eq!(resolved.len(), events.len());
    for at in resolved {
        event::rfc3339(at);
    }
}

fn kind(byte: u8) -> EventType {
    EventType::ALL[usize::from(byte) % EventType::ALL.len()]
}
