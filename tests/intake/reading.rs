//! What is given back: pages, events byte for byte, payloads as they are sent.

use serde_json::{Value, json};

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{Place, Service, event, start_event, wait_for};
use crate::{post, quiet_place};

fn keys(page: &Value) -> Vec<&str> {
    page["sessions"].as_array().unwrap().iter().map(|session| session["session"].as_str().unwrap()).collect()
}

/// All keys by pages of `limit`.
fn walk(service: &Service<'_>, limit: usize, query: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = service.get(&format!("/v1/sessions?limit={limit}&after={after}{query}"));
        let found = keys(&page);
        assert!(found.len() <= limit);
        all.extend(found.iter().map(ToString::to_string));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return all,
        }
        assert_eq!(found.len(), limit, "only the last page is short");
    }
}

#[test]
fn lists_are_newest_first_and_paged() {
    let place = quiet_place();
    let service = place.start();
    assert_eq!(service.get("/v1/sessions"), json!({ "sessions": [], "next": null }));
    let mut names: Vec<String> = (0..60).map(|n| format!("k{n:02}")).collect();
    for (n, name) in names.iter().enumerate() {
        service.record(name, &start_event("ep-1"));
        if n % 3 == 0 {
            service.request("POST", &format!("/v1/sessions/{name}/complete"), b"");
        }
    }
    names.reverse();
    let first = service.get("/v1/sessions");
    assert_eq!(keys(&first), names[..50], "50 unless the caller says how many");
    for limit in [1, 7, 60, 500] {
        assert_eq!(walk(&service, limit, ""), names, "pages of {limit}");
    }
    let completed: Vec<&String> =
        names.iter().filter(|name| name[1..].parse::<u32>().unwrap() % 3 == 0).collect();
    for limit in [3, 20, 21] {
        assert_eq!(walk(&service, limit, "&state=completed").iter().collect::<Vec<_>>(), completed);
    }
    assert_eq!(walk(&service, 9, "&state=quarantined"), Vec::<String>::new());
    // A page holds whatever comes or goes meanwhile; a key does as a cursor.
    let page = service.get("/v1/sessions?limit=10");
    service.record("late", &start_event("ep-1"));
    service.request("DELETE", &format!("/v1/sessions/{}", names[9]), b"");
    let next = service.get(&format!("/v1/sessions?limit=10&after={}", page["next"].as_str().unwrap()));
    assert_eq!(keys(&next), names[10..20]);
    let next = service.get(&format!("/v1/sessions?limit=2&after={}", names[20]));
    assert_eq!(keys(&next), names[21..23]);
}

#[test]
fn events_come_back_byte_for_byte() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    let start = start_event("ep-1").to_string();
    assert_eq!(post(&mut connection, "one", &start).status, 201);
    let odd = [
        // Unknown members, spelling of numbers and escapes, white space, order.
        "{ \"mediaCollection\" : {\"x-unknown\":{\"deep\":[1.50,1E2,-0,\"\\u00e9\\/\",null,{ }]},\"playhead\":1.0}\t,\r\n\"mediaEventType\":\"media.ping\" }",
        r#"{"seq":7,"mediaEventType":"media.play","mediaCollection":{"playhead":2,"isDownloaded":"yes","é":"'"}}"#,
        r#"{"mediaEventType":"media.play","mediaCollection":{"seq":1,"playhead":2}}"#,
    ];
    for body in odd {
        let spaced = format!(" \n{body}\n");
        let answer = post(&mut connection, "one", spaced);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let open = |body: &str, seq: u32| format!("{},\"seq\":{seq}}}", body.strip_suffix('}').unwrap());
    let expected = [open(&start, 0), open(odd[0], 1), odd[1].to_owned(), open(odd[2], 8)].join(",");
    let answer = service.request("GET", "/v1/sessions/one/events", b"");
    assert_eq!(answer.text(), format!("{{\"events\":[{expected}]}}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    // In a list and in lines the bytes of each event are kept too.
    for (key, body, kind) in [
        ("array", format!("[ {start} , {} ]", odd[0]), "application/json"),
        ("lines", format!("{start}\r\n {} \n", odd[2]), "application/x-ndjson; charset=utf-8"),
    ] {
        let path = format!("/v1/sessions/{key}/events");
        let answer = connection.send("POST", &path, &[("content-type", kind)], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        let second = if key == "array" { odd[0] } else { odd[2] };
        let recorded = service.request("GET", &path, b"").text();
        assert_eq!(recorded, format!("{{\"events\":[{},{}]}}", open(&start, 0), open(second, 1)));
    }
    // And after a crash.
    service.kill();
    let service = place.start();
    assert_eq!(service.request("GET", "/v1/sessions/one/events", b"").text(), answer.text());
}

#[test]
fn a_long_session_among_others_comes_back_whole() {
    let place = quiet_place();
    let service = place.start();
    for key in ["long", "beside"] {
        service.record(key, &start_event("ep-1"));
    }
    let expected: Vec<Value> = (0..1200_u32).map(|n| event("media.ping", 1 + n / 60, n)).collect();
    for part in expected.chunks(100) {
        let answer = service.request("POST", "/v1/sessions/long/events", json!(part).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        service.record("beside", &part[0]);
    }
    let ask = |key: &str| service.get(&format!("/v1/sessions/{key}/events"))["events"].clone();
    let check = || {
        let found = ask("long");
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), 1201);
        for (n, (found, expected)) in found[1..].iter().zip(&expected).enumerate() {
            assert_eq!(
                (&found["seq"], &found["mediaCollection"]),
                (&json!(n + 1), &expected["mediaCollection"])
            );
        }
        assert_eq!(ask("beside").as_array().unwrap().len(), 13);
    };
    check();
    assert_eq!(service.request("POST", "/v1/sessions/long/complete", b"").status, 200);
    check();
}

#[test]
fn the_payload_that_is_shown_is_the_one_that_is_sent() {
    let endpoint = Endpoint::start([Act::Answer(Reply::new(503, "").header("retry-after", "1")), Act::Hang]);
    let place = Place::new(&endpoint.url(), "");
    let service = place.start();
    let events = service.play("one");
    let sent = endpoint.wait_for(1)[0].clone();
    wait_for("the first verdict", || {
        (service.get("/v1/sessions/one")["last_verdict"]["status"] == 503).then_some(())
    });
    let shown = service.request("GET", "/v1/sessions/one/payload", b"");
    assert_eq!(shown.header("content-type"), Some("application/json"));
    assert_eq!(shown.text().as_bytes(), sent.body);
    assert_eq!(shown.json()["events"][0]["xdm"]["mediaDownloadedEvents"], json!(events));
    let again = endpoint.wait_for(2)[1].clone();
    assert_eq!(again.body, sent.body);
    assert_eq!(service.request("GET", "/v1/sessions/one/payload", b"").text().as_bytes(), sent.body);
}

#[test]
fn keys_of_dots_are_keys_where_a_client_sends_them_as_they_are() {
    let place = quiet_place();
    let service = place.start();
    let mut connection = service.connect().unwrap();
    let mut call = |method: &str, path: &str| {
        let answer = connection.send(method, path, &[], b"").unwrap();
        assert_eq!(answer.status / 100, 2, "{method} {path}: {}", answer.text());
        answer
    };
    for (key, other) in [(".", "%2E"), ("..", "%2e.")] {
        let answer = post(&mut service.connect().unwrap(), key, start_event("ep-1").to_string());
        let path = format!("/v1/sessions/{key}");
        assert_eq!((answer.status, answer.header("location")), (201, Some(path.as_str())));
        for path in [path, format!("/v1/sessions/{other}")] {
            assert_eq!(call("GET", &path).json()["session"], key);
            for below in ["events", "payload"] {
                assert_eq!(
                    call("GET", &format!("{path}/{below}")).json()["events"].as_array().unwrap().len(),
                    1
                );
            }
            assert_eq!(call("POST", &format!("{path}/complete")).json()["session"], key);
        }
        call("DELETE", &format!("/v1/sessions/{other}"));
    }
}

#[test]
fn facts_of_a_session() {
    let place = quiet_place();
    let service = place.start();
    let mut start = start_event("ep-1");
    start["mediaCollection"]["sessionDetails"]["friendlyName"] = "The Long Tide".into();
    start["identityMap"] = json!({ "email": [{ "id": "a@b.example", "primary": true }] });
    service.record("one", &start);
    service.record("one", &event("media.play", 1, 0));
    let mut session = service.get("/v1/sessions/one");
    let bytes = start.to_string().len() + event("media.play", 1, 0).to_string().len();
    assert_eq!(session["identity_map"], start["identityMap"]);
    assert_eq!(
        (&session["title"], &session["events"], &session["bytes"]),
        (&json!("The Long Tide"), &json!(2), &json!(bytes))
    );
    assert_eq!((&session["state"], &session["why"]), (&json!("open"), &Value::Null));
    assert!(session["last_event_at"].as_str() >= session["started_at"].as_str());
    for name in ["identity_map", "attempts", "receipt", "as_recorded"] {
        session.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(service.get("/v1/sessions")["sessions"], json!([session]), "a list shows the same facts");

    // Of a title as long as an event may be a list repeats the beginning.
    start["mediaCollection"]["sessionDetails"]["friendlyName"] = "é".repeat(30_000).into();
    service.record("two", &start);
    assert_eq!(service.get("/v1/sessions/two")["title"], format!("{}…", "é".repeat(200)));
    assert_eq!(
        service.get("/v1/sessions/two/events")["events"][0]["mediaCollection"],
        start["mediaCollection"]
    );
}
