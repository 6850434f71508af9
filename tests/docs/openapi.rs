//! The OpenAPI document is true to the letter: every route, and every answer that it names, provoked.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::schema::Document;
use crate::service::{Answer, Connection, Place, event, start_event};
use crate::web;
use serde_json::{Value, json};

/// Nothing is completed where this is the endpoint, so nothing is sent.
const NOWHERE: &str = "http://127.0.0.1:9/ee/va/v1/downloaded";
const SESSION: &str = "/v1/sessions/{key}";
const EVENTS: &str = "/v1/sessions/{key}/events";
const CALL: &str = "/ee/va/v1/{action}";
const CALL_WITH_HINT: &str = "/ee/{hint}/va/v1/{action}";
const INTERACT: &str = "/ee/v1/interact";
const INTERACT_WITH_HINT: &str = "/ee/{hint}/v1/interact";

fn document() -> Document {
    Document::new(serde_json::from_str(include_str!("../../src/api/openapi.json")).unwrap())
}

/// A caller whose every answer is judged by the document.
struct Caller<'d, S> {
    document: &'d mut Document,
    connection: Connection<S>,
    headers: Vec<(&'static str, String)>,
}

impl<S: Read + Write> Caller<'_, S> {
    /// `names` stand for the `{…}` of the path, in order; what comes after the last is the query.
    fn call(&mut self, method: &str, template: &str, names: &[&str], body: &[u8]) -> Answer {
        let mut names = names.iter();
        let mut path = String::new();
        for piece in template.split_inclusive('}') {
            match piece.find('{') {
                Some(at) => {
                    path.push_str(&piece[..at]);
                    path.push_str(names.next().unwrap());
                }
                None => path.push_str(piece),
            }
        }
        path.extend(names.copied());
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        let answer = self.connection.send(method, &path, &headers, body).unwrap();
        self.document.judge(method, template, &answer);
        answer
    }

    /// A call that must come to this status.
    #[track_caller]
    fn expect(&mut self, status: u16, method: &str, template: &str, names: &[&str], body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.call(method, template, names, body.as_bytes());
        assert_eq!(answer.status, status, "{method} {template} {names:?}: {}", answer.text());
        answer
    }
}

fn caller<'d>(
    document: &'d mut Document,
    service: &crate::service::Service<'_>,
) -> Caller<'d, std::os::unix::net::UnixStream> {
    Caller { document, connection: service.connect().unwrap(), headers: Vec::new() }
}

/// A live media call.
fn live(kind: &str, session: Option<&str>) -> Value {
    let mut event = if kind == "media.sessionStart" { start_event("live") } else { event(kind, 1, 0) };
    let mut collection = event["mediaCollection"].take();
    if let Some(session) = session {
        collection["sessionID"] = session.into();
    }
    let timestamp = event["mediaEventTimestamp"].take();
    json!({ "events": [{ "xdm": { "eventType": kind, "timestamp": timestamp, "mediaCollection": collection } }] })
}

fn whole_session() -> Value {
    json!({ "events": [{ "xdm": {
        "eventType": "media.downloaded",
        "mediaDownloadedEvents": [start_event("whole"), event("media.sessionEnd", 9, 9)],
    }}]})
}

#[test]
fn every_answer_that_the_document_names_can_be_had_and_is_as_it_says() {
    let mut document = document();
    life_of_sessions(&mut document);
    other_callers(&mut document);
    out_of_consent(&mut document);
    too_many_sessions(&mut document);
    a_full_journal(&mut document);
    sessions_that_go_on(&mut document);
    assert_eq!(document.unseen(), Vec::<String>::new(), "named in the document and never seen");
}

fn life_of_sessions(document: &mut Document) {
    let refusal =
        r#"{"type":"https://ns.adobe.com/aep/errors/EXEG-0104-422","status":422,"title":"no","detail":"no"}"#;
    let endpoint = Endpoint::start([
        Act::Answer(Reply::accepted()),
        Act::Answer(Reply::json(422, refusal)),
        Act::Answer(Reply::new(503, "").header("retry-after", "3600")),
    ]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    let mut api = caller(document, &service);

    let answer = api.expect(201, "POST", "/v1/sessions", &[], &start_event("ep-1"));
    let made = answer.json()["session"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location").unwrap(), format!("/v1/sessions/{made}"));
    api.expect(400, "POST", "/v1/sessions", &[], &event("media.play", 1, 0));
    api.expect(409, "POST", "/v1/sessions", &[], &json!([start_event("a"), start_event("b")]));
    assert_eq!(api.call("POST", "/v1/sessions", &[], &vec![b' '; 2 << 20]).status, 413);

    api.expect(201, "POST", EVENTS, &["one"], &start_event("ep-1"));
    let mut odd = event("media.play", 1, 0);
    odd["mediaCollection"]["sessionID"] = "x".into();
    let odd = api.expect(200, "POST", EVENTS, &["one"], &odd).json();
    assert_eq!(odd["warnings"][0]["path"], "mediaCollection.sessionID");
    api.expect(400, "POST", EVENTS, &["one"], &json!({}));
    api.expect(400, "POST", EVENTS, &["a%20key"], &start_event("ep-1"));
    api.expect(400, "POST", EVENTS, &["%ff"], &start_event("ep-1"));
    api.expect(404, "POST", EVENTS, &["nobody"], &event("media.play", 1, 0));
    api.expect(409, "POST", EVENTS, &["one"], &start_event("ep-1"));
    assert_eq!(api.call("POST", EVENTS, &["one"], &vec![b'1'; 65 * 1024]).status, 413);

    for template in [SESSION, EVENTS, "/v1/sessions/{key}/payload"] {
        api.expect(200, "GET", template, &["one"], &Value::Null);
        api.expect(400, "GET", template, &["on%C3%A9"], &Value::Null);
        api.expect(404, "GET", template, &["nobody"], &Value::Null);
    }
    for template in ["/v1/sessions/{key}/complete", "/v1/sessions/{key}/retry"] {
        api.expect(400, "POST", template, &["a~"], &Value::Null);
        api.expect(404, "POST", template, &["nobody"], &Value::Null);
    }
    api.expect(409, "POST", "/v1/sessions/{key}/retry", &["one"], &Value::Null);

    // Delivered.
    api.expect(200, "POST", "/v1/sessions/{key}/complete", &["one"], &Value::Null);
    service.wait_for_state("one", "delivered");
    api.expect(200, "POST", "/v1/sessions/{key}/complete", &["one"], &Value::Null);
    api.expect(200, "GET", SESSION, &["one"], &Value::Null);
    api.expect(409, "GET", EVENTS, &["one"], &Value::Null);
    api.expect(409, "GET", "/v1/sessions/{key}/payload", &["one"], &Value::Null);
    api.expect(409, "POST", EVENTS, &["one"], &event("media.play", 1, 0));

    // Quarantined, taken back, held back by the endpoint.
    service.play("two");
    service.wait_for_state("two", "quarantined");
    api.expect(200, "GET", SESSION, &["two"], &Value::Null);
    api.expect(200, "POST", "/v1/sessions/{key}/retry", &["two"], &Value::Null);
    endpoint.wait_for(3);
    crate::service::wait_for("the endpoint's wait to show", || {
        (service.status()["uploader"]["state"] == "waiting").then_some(())
    });
    api.expect(200, "GET", SESSION, &["two"], &Value::Null);
    api.expect(200, "GET", "/v1/sessions/{key}/payload", &["two"], &Value::Null);
    api.expect(200, "GET", "/v1/status", &[], &Value::Null);
    api.expect(200, "GET", "/metrics", &[], &Value::Null);
    api.expect(202, "POST", "/v1/flush", &[], &Value::Null);
    api.expect(200, "GET", "/v1/verify", &[], &Value::Null);

    api.expect(200, "GET", "/v1/sessions", &[], &Value::Null);
    let page = api.expect(200, "GET", "/v1/sessions", &["?limit=1&state="], &Value::Null).json();
    let next = format!("?after={}", page["next"].as_str().unwrap());
    api.expect(200, "GET", "/v1/sessions", &[&next], &Value::Null);
    for query in ["?limit=0", "?limit=501", "?limit=x", "?state=done", "?after=@", "?after=a~x"] {
        api.expect(400, "GET", "/v1/sessions", &[query], &Value::Null);
    }
    api.expect(404, "GET", "/v1/sessions", &["?after=nobody"], &Value::Null);

    api.expect(400, "DELETE", SESSION, &["a~"], &Value::Null);
    api.expect(204, "DELETE", SESSION, &["two"], &Value::Null);
    api.expect(404, "DELETE", SESSION, &["two"], &Value::Null);

    let lost = api.expect(200, "GET", "/v1/losses", &["?limit=1&after="], &Value::Null).json();
    assert_eq!((&lost["losses"][0]["key"], &lost["losses"][0]["owner"].is_u64()), (&json!("two"), &true));
    for query in ["?limit=0", "?after=two"] {
        api.expect(400, "GET", "/v1/losses", &[query], &Value::Null);
    }

    for consent in ["pending", "in"] {
        api.expect(200, "PUT", "/v1/consent", &[], &json!({ "consent": consent }));
        api.expect(200, "GET", "/v1/consent", &[], &Value::Null);
        api.expect(200, "GET", "/v1/status", &[], &Value::Null);
    }
    api.expect(400, "PUT", "/v1/consent", &[], &json!({ "consent": "yes" }));
    api.expect(200, "GET", "/v1/identity", &[], &Value::Null);
    api.expect(200, "POST", "/v1/identity/reset", &[], &Value::Null);
    let served = api.expect(200, "GET", "/v1/openapi.json", &[], &Value::Null);
    assert_eq!(served.body, include_bytes!("../../src/api/openapi.json"));

    media_edge(&mut api);
}

fn media_edge<S: Read + Write>(api: &mut Caller<'_, S>) {
    for (template, hint) in [(CALL, &[][..]), (CALL_WITH_HINT, &["or2"][..])] {
        let action = |action: &'static str| [hint, &[action]].concat();
        let made =
            api.expect(200, "POST", template, &action("sessionStart"), &live("media.sessionStart", None));
        let made = made.json()["handle"][0]["payload"][0]["sessionId"].as_str().unwrap().to_owned();
        api.expect(204, "POST", template, &action("play"), &live("media.play", Some(&made)));
        api.expect(200, "POST", template, &action("downloaded"), &whole_session());
        let mut odd = whole_session();
        odd["events"][0]["xdm"]["_id"] = "1".into();
        let answer = api.expect(200, "POST", template, &action("downloaded"), &odd).json();
        assert_eq!(answer["warnings"][0]["report"]["details"][0]["name"], "$.events[0].xdm._id");
        api.expect(400, "POST", template, &action("ping"), &live("media.play", Some(&made)));
        for (map, code) in wrong_identities() {
            let mut start = live("media.sessionStart", None);
            start["events"][0]["xdm"]["identityMap"] = map;
            let answer = api.expect(400, "POST", template, &action("sessionStart"), &start).json();
            assert_eq!(answer["type"], format!("https://ns.adobe.com/aep/errors/{code}"), "{start}");
        }
        api.expect(404, "POST", template, &action("play"), &live("media.play", Some("nobody")));
        api.expect(404, "POST", template, &action("dance"), &live("media.play", Some(&made)));
        api.expect(408, "POST", template, &action("play"), &Value::Null);
        assert_eq!(api.call("POST", template, &action("play"), &vec![b' '; 2 << 20]).status, 413);
        api.headers.push(("content-type", "application/xml".into()));
        api.expect(415, "POST", template, &action("play"), &live("media.play", Some(&made)));
        api.headers.clear();
    }
    for (template, hint) in [(INTERACT, &[][..]), (INTERACT_WITH_HINT, &["or2"][..])] {
        api.expect(200, "POST", template, hint, &live("media.sessionStart", None));
        api.expect(400, "POST", template, hint, &json!({ "events": [] }));
        api.expect(501, "POST", template, hint, &live("media.play", None));
        api.expect(408, "POST", template, hint, &Value::Null);
        assert_eq!(api.call("POST", template, hint, &vec![b' '; 2 << 20]).status, 413);
        api.headers.push(("content-type", "application/xml".into()));
        api.expect(415, "POST", template, hint, &live("media.sessionStart", None));
        api.headers.clear();
    }
}

/// Identity maps, and the codes that Adobe has for what is wrong with them (contract sections 5 and 11.3).
fn wrong_identities() -> [(Value, &'static str); 5] {
    let fpid = "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10";
    [
        (json!({ "a": [{ "id": "x" }] }), "EXEG-0306-400"),
        (
            json!({ "FPID": [{ "id": fpid, "primary": true }], "a": [{ "id": "x", "primary": true }] }),
            "EXEG-0304-400",
        ),
        (json!({ "a": [{ "id": "", "primary": true }] }), "EXEG-0305-400"),
        (json!({ "FPID": [{ "id": "7", "primary": true }] }), "EXEG-0308-400"),
        (json!({ "a": 7 }), "va-edge-0400-400"),
    ]
}

/// Callers over loopback TCP administer nothing.
fn other_callers(document: &mut Document) {
    let place = Place::new(NOWHERE, "api.listen = \"127.0.0.1:0\"");
    let _service = place.start();
    let address = web::address(&place);
    let host = ("host", address.to_string());
    let token = ("authorization", format!("Bearer {}", web::token(&place)));
    let mut api = Caller { document, connection: web::connect(address), headers: vec![host.clone(), token] };
    for (method, template) in [
        ("POST", "/v1/flush"),
        ("GET", "/v1/verify"),
        ("PUT", "/v1/consent"),
        ("GET", "/v1/identity"),
        ("POST", "/v1/identity/reset"),
    ] {
        api.expect(403, method, template, &[], &Value::Null);
    }
    api.expect(200, "GET", "/v1/status", &[], &Value::Null);
    for headers in [Vec::new(), vec![host]] {
        api.connection = web::connect(address);
        api.headers = headers;
        let all = api.document.operations();
        for (template, method) in all {
            let names = ["a", "b"];
            let names = &names[..template.matches('{').count()];
            let answer = api.call(&method, &template, names, b"");
            assert!(matches!(answer.status, 403 | 421), "{method} {template}: {}", answer.text());
        }
    }
}

fn out_of_consent(document: &mut Document) {
    let place = Place::new(NOWHERE, "consent.initial = \"out\"");
    let service = place.start();
    let mut api = caller(document, &service);
    let start = start_event("ep-1");
    api.expect(403, "POST", "/v1/sessions", &[], &start);
    api.expect(403, "POST", EVENTS, &["one"], &start);
    let start = live("media.sessionStart", None);
    api.expect(403, "POST", CALL, &["sessionStart"], &start);
    api.expect(403, "POST", CALL_WITH_HINT, &["or2", "sessionStart"], &start);
    api.expect(403, "POST", INTERACT, &[], &start);
    api.expect(403, "POST", INTERACT_WITH_HINT, &["or2"], &start);
    api.expect(200, "GET", "/v1/status", &[], &Value::Null);
}

fn too_many_sessions(document: &mut Document) {
    let place = Place::new(NOWHERE, "journal.max_open_sessions_per_user = 1");
    let service = place.start();
    let mut api = caller(document, &service);
    let start = start_event("ep-1");
    api.expect(201, "POST", "/v1/sessions", &[], &start);
    api.expect(429, "POST", "/v1/sessions", &[], &start);
    api.expect(429, "POST", EVENTS, &["one"], &start);
    let start = live("media.sessionStart", None);
    api.expect(429, "POST", CALL, &["sessionStart"], &start);
    api.expect(429, "POST", CALL_WITH_HINT, &["or2", "sessionStart"], &start);
    api.expect(429, "POST", INTERACT, &[], &start);
    api.expect(429, "POST", INTERACT_WITH_HINT, &["or2"], &start);
}

fn a_full_journal(document: &mut Document) {
    let place = Place::new(NOWHERE, "journal.max_bytes = 1048576");
    let service = place.start();
    let mut api = caller(document, &service);
    api.expect(201, "POST", EVENTS, &["one"], &start_event("ep-1"));
    let mut large = event("media.ping", 1, 0);
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    let mut taken = 0;
    while api.call("POST", EVENTS, &["one"], large.to_string().as_bytes()).status == 200 {
        taken += 1;
        assert!(taken < 100, "the quota does not hold");
    }
    let mut large = start_event("ep-1");
    large["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    api.expect(503, "POST", EVENTS, &["two"], &large);
    api.expect(503, "POST", "/v1/sessions", &[], &large);
    let mut large = live("media.sessionStart", None);
    large["events"][0]["xdm"]["mediaCollection"]["filler"] = "x".repeat(60_000).into();
    api.expect(503, "POST", CALL, &["sessionStart"], &large);
    api.expect(503, "POST", CALL_WITH_HINT, &["or2", "sessionStart"], &large);
    api.expect(503, "POST", INTERACT, &[], &large);
    api.expect(503, "POST", INTERACT_WITH_HINT, &["or2"], &large);
    // Two that ask and take nothing: who asks after them is told to wait.
    let paths = [EVENTS, "/v1/sessions/{key}/payload"];
    let ask = |path: &str| {
        let mut connection = service.connect().unwrap();
        let path = path.replace("{key}", "one");
        connection.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        connection
    };
    let silent = [EVENTS, EVENTS].map(ask);
    service.status();
    for (path, mut connection) in paths.map(|path| (path, ask(path))) {
        let answer = connection.answer().unwrap();
        assert_eq!(answer.status, 429, "{}", answer.text());
        api.document.judge("GET", path, &answer);
    }
    drop(silent);
    // Reading goes on.
    api.expect(200, "GET", EVENTS, &["one"], &Value::Null);
    api.expect(200, "GET", "/v1/status", &[], &Value::Null);
}

fn sessions_that_go_on(document: &mut Document) {
    let place = Place::new(NOWHERE, "session.idle_timeout = \"300ms\"\nconsent.initial = \"pending\"");
    let service = place.start();
    let mut api = caller(document, &service);
    api.expect(201, "POST", EVENTS, &["one"], &start_event("ep-1"));
    let mut ad = event("media.adStart", 1, 0);
    ad["mediaCollection"]["advertisingDetails"] =
        json!({ "name": "ad", "length": 15, "playerName": "p", "podPosition": 1 });
    let answer = api.expect(200, "POST", EVENTS, &["one"], &ad).json();
    assert!(answer["warnings"].is_array(), "an ad outside a break: {answer}");
    service.wait_for_state("one", "completed");
    let answer = api.expect(200, "POST", EVENTS, &["one"], &event("media.ping", 20, 20)).json();
    assert_eq!(answer["continues_as"], "one~2");
    let first = api.expect(200, "GET", SESSION, &["one"], &Value::Null).json();
    assert_eq!(first["continues_as"], "one~2");
    assert!(first["warnings"].is_array(), "{first}");
    let second = api.expect(200, "GET", SESSION, &["one~2"], &Value::Null).json();
    assert_eq!((&second["session"], &second["continues"]), (&json!("one~2"), &json!("one")));
    for template in [EVENTS, "/v1/sessions/{key}/payload"] {
        api.expect(200, "GET", template, &["one~2"], &Value::Null);
    }
    let page = api.expect(200, "GET", "/v1/sessions", &["?after=one~2"], &Value::Null).json();
    assert_eq!(page["sessions"][0]["session"], "one");
    api.expect(200, "POST", "/v1/sessions/{key}/complete", &["one~2"], &Value::Null);
}

/// The paths of the router, as its source names them: `["v1", "sessions", key]` is `/v1/sessions/{key}`.
fn routed() -> BTreeSet<String> {
    let source = include_str!("../../src/api/route.rs");
    let patterns = source.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split_once("] =>"));
    let part = |part: &str| match part.split_once('"') {
        Some((word, _)) => format!("/{word}"),
        None => format!("/{{{}}}", part.trim_start_matches('_')),
    };
    patterns
        .map(|(parts, _)| parts.split(", ").map(|text| part(text.trim_start_matches('"'))).collect())
        .collect()
}

#[test]
fn the_document_and_the_router_name_the_same_paths_and_methods() {
    let operations = document().operations();
    let documented: BTreeSet<String> = operations.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(documented, routed());

    let place = Place::new(NOWHERE, "");
    let service = place.start();
    for path in documented {
        let of_path = operations.iter().filter(|(of, _)| *of == path);
        let documented: BTreeSet<&str> = of_path.map(|(_, method)| method.as_str()).collect();
        let answer = service.request("TRACE", &path.replace(['{', '}'], ""), b"");
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        let allowed = answer.header("allow").unwrap_or_default();
        let allowed: BTreeSet<&str> = allowed.split(',').filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, documented, "{path}");
    }
    for path in
        ["/", "/v1", "/v2/status", "/v1/sessions/a/b", "/ee", "/ee/va/v1", "/ee/v2/interact", "/../etc"]
    {
        let answer = service.request("GET", path, b"");
        assert_eq!((answer.status, &answer.json()["reason"]), (404, &json!("not_found")), "{path}");
    }
}

#[test]
fn what_the_document_asks_of_an_event_is_what_is_taken() {
    let document = document();
    let place = Place::new(NOWHERE, "");
    let service = place.start();
    let with = |path: &str, value: Value| {
        let mut start = start_event("ep-1");
        *start.pointer_mut(path).unwrap() = value;
        start
    };
    let without = |parent: &str, name: &str| {
        let mut start = start_event("ep-1");
        start.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        start
    };
    let mut extended = start_event("ep-1");
    extended["seq"] = 0.into();
    extended["mediaCollection"]["unknown"] = json!({ "kept": [1, "it's", null] });
    extended["mediaCollection"]["customMetadata"] = json!([{ "name": "_acme.x", "value": "" }]);
    extended["identityMap"] = json!({ "email": [{ "id": "a@b.example", "primary": true }] });
    for (n, event) in [
        start_event("ep-1"),
        extended,
        with("/mediaCollection/playhead", json!(1.75)),
        without("", "mediaEventTimestamp"),
        with("/mediaEventTimestamp", json!("yesterday")),
        with("/mediaEventType", json!("media.dance")),
        without("", "mediaEventType"),
        without("", "mediaCollection"),
        without("/mediaCollection", "playhead"),
        without("/mediaCollection/sessionDetails", "name"),
        with("/mediaCollection/playhead", json!(-1)),
        with("/mediaCollection/playhead", json!("1")),
        with("/mediaCollection/sessionDetails/name", json!("")),
        with("/mediaCollection/sessionDetails", json!([])),
        json!([1]),
        json!("media.play"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer =
            service.request("POST", &format!("/v1/sessions/k{n}/events"), event.to_string().as_bytes());
        let allowed = document.allows("Event", &event);
        let expected = if allowed.is_ok() { 201 } else { 400 };
        assert_eq!(answer.status, expected, "{event}: {allowed:?}: {}", answer.text());
    }
}
