//! Each request that must be refused: a 4xx that names the place, the journal as it was, the connection usable.

use serde_json::{Value, json};

use crate::service::{Connection, event, start_event};
use crate::{assert_problem, journal, paths, post, post_lines, quiet_place};

/// What must be said of one body.
#[derive(Clone)]
struct Case {
    name: &'static str,
    key: String,
    body: Vec<u8>,
    lines: bool,
    status: u16,
    reason: &'static str,
    /// The place of the first problem; `None`: the body is not looked into.
    path: Option<&'static str>,
}

fn case(name: &'static str, body: impl Into<Vec<u8>>, path: &'static str) -> Case {
    let (key, body) = ("open".to_owned(), body.into());
    Case { name, key, body, lines: false, status: 400, reason: "invalid", path: Some(path) }
}

fn of_event(name: &'static str, body: &Value, path: &'static str) -> Case {
    case(name, body.to_string(), path)
}

impl Case {
    fn with(mut self, status: u16, reason: &'static str) -> Case {
        (self.status, self.reason) = (status, reason);
        self
    }

    fn to(mut self, key: impl Into<String>) -> Case {
        self.key = key.into();
        self
    }
}

/// A ping with one member of its `mediaCollection` replaced.
fn ping_with(name: &str, value: Value) -> Value {
    let mut ping = event("media.ping", 9, 9);
    ping["mediaCollection"][name] = value;
    ping
}

/// A start with one member of its `sessionDetails` replaced.
fn start_with(name: &str, value: Value) -> Value {
    let mut start = start_event("ep-1");
    start["mediaCollection"]["sessionDetails"][name] = value;
    start
}

/// A ping with one member of its own added.
fn ping_and(name: &str, value: Value) -> Value {
    let mut ping = event("media.ping", 9, 9);
    ping[name] = value;
    ping
}

fn ping_without(name: &str) -> Value {
    let mut ping = event("media.ping", 9, 9);
    ping.as_object_mut().unwrap().remove(name);
    ping
}

/// The text of a ping with something raw in its `mediaCollection`.
fn raw_ping(members: impl AsRef<[u8]>) -> Vec<u8> {
    let head = br#"{"mediaEventType":"media.ping","mediaCollection":{"playhead":9,"#;
    [&head[..], members.as_ref(), b"}}"].concat()
}

fn texts_that_are_no_events() -> Vec<Case> {
    let ping = event("media.ping", 9, 9).to_string();
    vec![
        case("not JSON", "this is not JSON", ""),
        case("empty", "", ""),
        case("white space", " \r\n\t ", ""),
        case("cut short", &ping.as_bytes()[..ping.len() - 1], ""),
        case("two values", format!("{ping}{ping}"), ""),
        case("a byte order mark", format!("\u{feff}{ping}"), ""),
        case("single quotes", ping.replace('"', "'"), ""),
        case("a string", "\"media.ping\"", ""),
        case("null", "null", ""),
        case("no event at all", "[]", ""),
        case("a list of numbers", "[1]", "[0]"),
        case("a list in a list", format!("[[{ping}]]"), "[0]"),
        case("invalid UTF-8", raw_ping(b"\"x\":\"\xff\xfe\""), ""),
        case("invalid UTF-8 in a list", [b"[", &raw_ping(b"\"x\":\"\xc3\x28\"")[..], b"]"].concat(), ""),
        case("a raw NUL", raw_ping(b"\"x\":\"a\0b\""), ""),
        case("an escaped NUL", raw_ping(r#""x":"a\u0000b""#), "mediaCollection.x"),
        case("an escaped NUL in a name", raw_ping(r#""x\u0000":1"#), "mediaCollection.x\\u{0}"),
        case("half a surrogate pair", raw_ping(r#""x":"\ud83d""#), ""),
        case("no number", raw_ping("\"x\":NaN"), ""),
        case("a number without end", raw_ping("\"x\":1e999"), ""),
        case("a name twice", raw_ping("\"playhead\":10"), "mediaCollection.playhead"),
        case("a name twice, far down", raw_ping(r#""x":[{"a":1,"a":1}]"#), "mediaCollection.x[0].a"),
        case(
            "a name twice, escaped",
            r#"{"mediaEventType":"media.ping","mediaEvent\u0054ype":"media.play","mediaCollection":{"playhead":9}}"#,
            "mediaEventType",
        ),
        case(
            "10,000 levels",
            raw_ping([&b"\"x\":"[..], &[b'['; 10_000], &[b']'; 10_000]].concat()),
            "mediaCollection.x",
        ),
        case("10,000 levels and no event", [[b'['; 10_000], [b']'; 10_000]].concat(), "[0]"),
        case(
            "10,000 levels of objects",
            raw_ping(format!("\"x\":{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))),
            "mediaCollection.x",
        ),
        case("10,000 levels that never end", vec![b'['; 10_000], ""),
    ]
}

fn events_that_are_wrong() -> Vec<Case> {
    let play = |map: Value| ping_and("identityMap", map);
    let map = json!({ "email": [{ "id": "a@b.example", "primary": true }] });
    let mut no_primary = start_event("ep-1");
    no_primary["identityMap"] = json!({ "email": [{ "id": "a@b.example" }] });
    vec![
        of_event("no type", &ping_without("mediaEventType"), "mediaEventType"),
        of_event("no collection", &ping_without("mediaCollection"), "mediaCollection"),
        of_event("an unknown type", &event("media.dance", 9, 9), "mediaEventType"),
        of_event("a type that no endpoint takes", &event("media.scheduleStart", 9, 9), "mediaEventType"),
        of_event("a type without its prefix", &event("ping", 9, 9), "mediaEventType"),
        of_event("a type of the wrong type", &ping_and("mediaEventType", json!(7)), "mediaEventType"),
        of_event(
            "a collection of the wrong type",
            &ping_and("mediaCollection", json!([])),
            "mediaCollection",
        ),
        of_event("a negative playhead", &ping_with("playhead", json!(-1)), "mediaCollection.playhead"),
        of_event("a number as string", &ping_with("playhead", json!("9")), "mediaCollection.playhead"),
        of_event("null for a number", &ping_with("playhead", Value::Null), "mediaCollection.playhead"),
        of_event("a number beyond all", &ping_with("playhead", json!(1e300)), "mediaCollection.playhead"),
        of_event("no date", &ping_and("mediaEventTimestamp", json!("soon")), "mediaEventTimestamp"),
        of_event(
            "a date as number",
            &ping_and("mediaEventTimestamp", json!(1_772_908_200)),
            "mediaEventTimestamp",
        ),
        of_event("an unknown member", &ping_and("mediaeventtype", json!("media.ping")), "mediaeventtype"),
        of_event("a negative seq", &ping_and("seq", json!(-1)), "seq"),
        of_event("a seq with a fraction", &ping_and("seq", json!(1.5)), "seq"),
        of_event("a seq as string", &ping_and("seq", json!("1")), "seq"),
        of_event("a seq beyond all", &ping_and("seq", json!(u64::MAX)), "seq"),
        of_event("an identity on a ping", &play(map), "identityMap"),
        of_event("an identity without a primary", &no_primary, "identityMap").to("new"),
        of_event(
            "a length as string",
            &start_with("length", json!("90")),
            "mediaCollection.sessionDetails.length",
        )
        .to("new"),
        of_event("an empty name", &start_with("name", json!("")), "mediaCollection.sessionDetails.name")
            .to("new"),
        of_event("first event no start", &event("media.play", 1, 0), "mediaEventType")
            .to("new")
            .with(404, "unknown_session"),
        of_event("first of a list no start", &json!([event("media.play", 1, 0)]), "[0].mediaEventType")
            .to("new")
            .with(404, "unknown_session"),
        of_event(
            "start not first",
            &json!([event("media.play", 1, 0), start_event("a")]),
            "[0].mediaEventType",
        )
        .to("new"),
        of_event("a second start", &start_event("ep-1"), "mediaEventType").with(409, "sequence"),
        of_event("two starts", &json!([start_event("a"), start_event("b")]), "[1].mediaEventType")
            .to("new")
            .with(409, "sequence"),
        of_event("a used seq", &ping_and("seq", json!(0)), "seq").with(409, "sequence"),
        Case { path: None, ..of_event("an event too late", &event("media.ping", 9, 9), "") }
            .to("completed")
            .with(409, "session_completed"),
    ]
}

fn too_large() -> Vec<Case> {
    let large = ping_with("x", json!("x".repeat(65 * 1024)));
    let start_of = |wanted: usize| {
        let without = ping_with("x", json!("")).to_string().len();
        ping_with("x", json!("x".repeat(wanted - without)))
    };
    let lines = |case: Case| Case { lines: true, ..case };
    vec![
        of_event("an event of 65 KiB", &large, "").with(413, "too_large"),
        of_event("an event of 64 KiB and one byte", &start_of(64 * 1024 + 1), "").with(413, "too_large"),
        of_event("65 KiB in a list", &json!([event("media.ping", 9, 9), large]), "[1]")
            .with(413, "too_large"),
        lines(case("65 KiB in a line", format!("{}\n{large}", event("media.ping", 9, 9)), "[1]"))
            .with(413, "too_large"),
        Case { path: None, ..case("2 MiB", vec![b'x'; 2 << 20], "") }.with(413, "too_large"),
        Case {
            path: None,
            ..case(
                "2 MiB of good events",
                format!("[{}1]", format!("{},", event("media.ping", 9, 9)).repeat(20_000)),
                "",
            )
        }
        .with(413, "too_large"),
    ]
}

fn wrong_keys() -> Vec<Case> {
    let start = start_event("ep-1");
    let long = "k".repeat(129);
    [
        "",
        "it's",
        "%F0%9F%8E%AC",
        "a%20b",
        "..%2F..%2Fetc",
        "a%00",
        "%ff",
        "a~1",
        "a~x",
        "a~2~3",
        "a%0d%0ab",
        &long,
    ]
    .into_iter()
    .map(|key| of_event("a wrong key", &start, "key").to(key))
    .collect()
}

#[test]
fn what_is_refused_is_named_and_changes_nothing() {
    let place = quiet_place();
    let service = place.start();
    for key in ["open", "completed"] {
        service.record(key, &start_event("ep-1"));
    }
    service.request("POST", "/v1/sessions/completed/complete", b"");
    let before = journal(&service, &["open", "completed"]);
    let mut connection = service.connect().unwrap();
    let cases = [texts_that_are_no_events(), events_that_are_wrong(), too_large(), wrong_keys()].concat();
    for case in cases {
        let send = if case.lines { post_lines } else { post };
        let answer = send(&mut connection, &case.key, &case.body);
        println!("{} to {}: {}", case.name, case.key, answer.text());
        assert_problem(&answer, case.status, case.reason);
        match case.path {
            Some(path) => assert!(paths(&answer)[0].starts_with(path), "{}: {}", case.name, answer.text()),
            None => assert!(answer.json().get("problems").is_none(), "{}: {}", case.name, answer.text()),
        }
        if case.path.is_some_and(|path| !path.is_empty()) {
            assert!(!paths(&answer)[0].is_empty(), "{}", case.name);
        }
        // The same connection, at once.
        let next = connection.send("GET", "/v1/status", &[], b"").unwrap();
        assert_eq!(next.status, 200, "after {}", case.name);
        assert_eq!(next.json()["sessions"], before["sessions"], "after {}", case.name);
    }
    assert_eq!(journal(&service, &["open", "completed"]), before);
    assert_eq!(service.request("GET", "/v1/sessions/new", b"").status, 404);
    // What was refused did not use up a number.
    let answer = post(&mut connection, "open", event("media.ping", 9, 9).to_string());
    assert_eq!((answer.status, &answer.json()["seq"]), (200, &json!(1)));
}

#[test]
fn a_path_that_climbs_leads_nowhere() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    let start = start_event("ep-1").to_string();
    for path in
        ["/v1/sessions/../x/events", "/v1/sessions/../../etc/passwd", "/../v1/sessions", "//v1/sessions"]
    {
        // In two pieces: the body is still on its way when the head is refused.
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", start.len());
        connection.raw(head.as_bytes()).unwrap();
        connection.raw(start.as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        assert_problem(&answer, 404, "not_found");
    }
    assert_eq!(connection.send("GET", "/v1/sessions", &[], b"").unwrap().json()["sessions"], json!([]));
}

#[test]
fn every_problem_is_told_at_once_and_no_answer_grows_beyond_measure() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    let wrong = json!({
        "mediaEventType": "media.sessionStart",
        "mediaEventTimestamp": "never",
        "mediaCollection": { "playhead": -1, "sessionDetails": { "name": "", "length": "90", "streamType": "smell" } },
        "seq": -1,
        "colour": "red",
    });
    let answer = post(&mut connection, "one", wrong.to_string());
    assert_problem(&answer, 400, "invalid");
    let mut found = paths(&answer);
    found.sort();
    let details = |name: &str| format!("mediaCollection.sessionDetails.{name}");
    let mut expected = vec![
        "colour".to_owned(),
        "mediaCollection.playhead".into(),
        "mediaEventTimestamp".into(),
        "seq".into(),
        details("contentType"),
        details("length"),
        details("name"),
        details("streamType"),
    ];
    expected.sort();
    assert_eq!(found, expected);

    // A megabyte of nothing but wrong events, and one event of nothing but wrong members.
    let many = format!("[{}{{}}]", "{},".repeat(300_000));
    let members: String = (0..5000).map(|n| format!(",\"m{n}\":1")).collect();
    let crowded = format!("{{\"mediaEventType\":\"media.ping\"{members}}}");
    let used = json!(
        (0..5000)
            .map(|n| json!({
                "mediaEventType": "media.ping", "mediaCollection": { "playhead": n }, "seq": 0,
            }))
            .collect::<Vec<_>>()
    );
    service.record("one", &start_event("ep-1"));
    for (body, status) in [(many, 400), (crowded, 400), (used.to_string(), 409)] {
        let answer = post(&mut connection, "one", body);
        assert_eq!(answer.status, status);
        assert!(paths(&answer).len() <= 102, "{} problems", paths(&answer).len());
        assert!(answer.body.len() < 64 * 1024, "an answer of {} bytes", answer.body.len());
    }
}

#[test]
fn titles_may_hold_anything_that_is_text() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    for (n, title) in
        ["It's", "L'été – «Ça»", "🎬👨‍👩‍👧", "\u{202e}x", "'; DROP TABLE events; --", "\\u0041", "\t\"\\\u{7f}"]
            .into_iter()
            .enumerate()
    {
        let key = format!("k{n}");
        let body = start_with("friendlyName", json!(title)).to_string();
        assert_eq!(post(&mut connection, &key, &body).status, 201, "{title:?}");
        assert_eq!(service.get(&format!("/v1/sessions/{key}"))["title"], title);
        let recorded = service.request("GET", &format!("/v1/sessions/{key}/events"), b"").text();
        let open = body.strip_suffix('}').unwrap();
        assert_eq!(recorded, format!("{{\"events\":[{open},\"seq\":0}}]}}"));
    }
}

#[test]
fn consent_is_changed_by_a_clear_word_only() {
    let place = quiet_place();
    let service = place.start();
    service.record("one", &start_event("ep-1"));
    let mut connection: Connection = service.connect().unwrap();
    for body in [
        "",
        "out",
        "\"out\"",
        "{}",
        "[]",
        r#"{"consent":"OUT"}"#,
        r#"{"consent":null}"#,
        r#"{"consent":["out"]}"#,
        r#"{"consent":"in","consent":"out"}"#,
        r#"{"consent":"in","for":"me"}"#,
        r#"{"consent":"out"} x"#,
    ] {
        let answer = connection.send("PUT", "/v1/consent", &[], body.as_bytes()).unwrap();
        assert_problem(&answer, 400, "invalid");
    }
    assert_eq!(service.get("/v1/consent"), json!({ "consent": "pending" }));
    assert_eq!(service.status()["sessions"]["open"], 1);
}
