//! Loopback TCP: who may call, what browsers are told, and that nothing is stored for anybody else (product section 7).

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

use crate::loopback;
use crate::service::{Answer, Connection, Place, Service, event, start_event, wait_for};
use serde_json::{Value, json};

const ENDPOINT: &str = "http://127.0.0.1:9/ee/va/v1/downloaded";
const ORIGIN: &str = "https://tv.example";

fn web_place() -> Place {
    Place::new(ENDPOINT, "api.listen = \"127.0.0.1:0\"\napi.origins = [\"https://tv.example\", \"null\"]")
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    loopback::connect(address).send(method, path, headers, body.as_bytes()).unwrap()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["reason"], reason);
    for (name, _) in &answer.headers {
        assert!(!name.starts_with("access-control"), "a stranger's page is told {name}");
    }
}

fn stored(service: &Service<'_>) -> Value {
    let status = service.status();
    json!([status["sessions"], status["events"]])
}

#[test]
fn only_those_who_may_are_let_in_and_nothing_is_stored_for_the_rest() {
    let place = web_place();
    let service = place.start();
    let address = loopback::address(&place);
    assert!(address.ip().is_loopback());
    let token = loopback::token(&place);
    let (port, here) = (address.port(), address.to_string());
    let (named, v6) = (format!("LocalHost:{port}"), format!("[::1]:{port}"));
    let bearer = format!("Bearer {token}");
    let (wrong, shorter) = (format!("Bearer {}", "0".repeat(token.len())), format!("Bearer {}", &token[1..]));
    let basic = format!("Basic {token}");
    let other_port = format!("127.0.0.1:{}", port ^ 1);
    let (evil, evil_origin) = (format!("evil.example:{port}"), format!("http://evil.example:{port}"));
    let own_origin = format!("http://{here}");

    type Headers<'a> = &'a [(&'a str, &'a str)];
    let refused: &[(Headers<'_>, u16)] = &[
        (&[("host", &evil), ("origin", &evil_origin)], 421),
        (&[("host", &evil), ("origin", ORIGIN)], 421),
        (&[("host", &evil), ("authorization", &bearer)], 421),
        (&[("host", &other_port), ("authorization", &bearer)], 421),
        (&[("host", "127.0.0.1"), ("authorization", &bearer)], 421),
        (&[("host", "localhost.evil.example"), ("authorization", &bearer)], 421),
        (&[("host", &here), ("host", &evil), ("authorization", &bearer)], 421),
        (&[("host", ""), ("authorization", &bearer)], 421),
        (&[("host", &here)], 403),
        (&[("host", &here), ("authorization", &wrong)], 403),
        (&[("host", &here), ("authorization", &shorter)], 403),
        (&[("host", &here), ("authorization", &basic)], 403),
        (&[("host", &here), ("authorization", &token)], 403),
        (&[("host", &here), ("authorization", "Bearer")], 403),
        (&[("host", &here), ("origin", "https://evil.example")], 403),
        (&[("host", &here), ("origin", "https://tv.example.evil.example")], 403),
        (&[("host", &here), ("origin", "http://tv.example")], 403),
        (&[("host", &here), ("origin", "")], 403),
        (&[("host", &here), ("origin", &own_origin)], 403),
        // A page does not get in by a token either: it has an origin, so that decides.
        (&[("host", &here), ("origin", "https://evil.example"), ("authorization", &bearer)], 403),
    ];
    let before = stored(&service);
    let start = start_event("ep-1").to_string();
    let call = json!({ "events": [{ "xdm": {
        "eventType": "media.sessionStart", "mediaCollection": start_event("ep-1")["mediaCollection"],
    }}]});
    for (headers, status) in refused {
        let reason = if *status == 421 { "wrong_host" } else { "forbidden" };
        for (method, path, kind, body) in [
            ("POST", "/v1/sessions/one/events", "application/json", start.as_str()),
            // What a page may send without asking first.
            ("POST", "/ee/va/v1/sessionStart", "text/plain", &call.to_string()),
            ("PUT", "/v1/consent", "application/json", "{\"consent\":\"out\"}"),
            ("GET", "/v1/sessions", "application/json", ""),
            ("OPTIONS", "/v1/sessions", "application/json", ""),
            ("GET", "/nowhere", "application/json", ""),
        ] {
            let headers = [headers, &[("content-type", kind)][..]].concat();
            let answer = send(address, method, path, &headers, body);
            assert_refused(&answer, *status, reason);
            assert!(!answer.text().contains(&token));
        }
    }
    // Without any Host, as HTTP/1.0 allows.
    let mut old = loopback::connect(address);
    old.raw(format!("GET /v1/sessions HTTP/1.0\r\nauthorization: {bearer}\r\n\r\n").as_bytes()).unwrap();
    assert_refused(&old.answer().unwrap(), 421, "wrong_host");
    assert_eq!(stored(&service), before);
    assert_eq!(service.get("/v1/consent"), json!({ "consent": "in" }));

    // A target that is a whole URL names a host too, and counts before the header.
    for (target, status) in [("http://evil.example", 421), (own_origin.as_str(), 200)] {
        let path = format!("{target}/v1/status");
        let headers = [("host", here.as_str()), ("authorization", bearer.as_str())];
        assert_eq!(send(address, "GET", &path, &headers, "").status, status, "{path}");
    }
    let headers = [("host", here.as_str()), ("origin", ORIGIN), ("origin", "https://evil.example")];
    assert_refused(&send(address, "GET", "/v1/status", &headers, ""), 403, "forbidden");

    let allowed: &[Headers<'_>] = &[
        &[("host", &here), ("authorization", &bearer)],
        &[("host", &named), ("authorization", &bearer)],
        &[("host", &v6), ("authorization", &bearer)],
        &[("host", &here), ("origin", ORIGIN)],
        &[("host", &named), ("origin", "null")],
    ];
    for (n, headers) in allowed.iter().enumerate() {
        let answer = send(address, "POST", &format!("/v1/sessions/k{n}/events"), headers, &start);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(service.get(&format!("/v1/sessions/k{n}"))["uid"], u32::MAX);
    }
}

#[test]
fn browsers_are_told_what_pages_may_do() {
    let place = web_place();
    let service = place.start();
    let address = loopback::address(&place);
    let host = address.to_string();
    let preflight = [
        ("host", host.as_str()),
        ("origin", ORIGIN),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
        ("access-control-request-private-network", "true"),
    ];
    let before = stored(&service);
    for path in
        ["/v1/sessions", "/v1/sessions/one/events", "/ee/va/v1/sessionStart?configId=x", "/v1/consent"]
    {
        let answer = send(address, "OPTIONS", path, &preflight, "");
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-private-network"), Some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let list =
            |name: &str| answer.header(name).unwrap().split(", ").map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(list("access-control-allow-methods"), ["GET", "POST", "PUT", "DELETE"]);
        assert!(list("access-control-allow-headers").contains(&"content-type".to_owned()));
    }
    assert_eq!(stored(&service), before);

    let page = [("host", host.as_str()), ("origin", ORIGIN), ("content-type", "application/json")];
    for (method, path, body, status) in [
        ("POST", "/v1/sessions/one/events", start_event("ep-1").to_string(), 201),
        ("POST", "/v1/sessions/one/events", "nonsense".to_owned(), 400),
        ("GET", "/v1/sessions/one", String::new(), 200),
        ("GET", "/nowhere", String::new(), 404),
    ] {
        let answer = send(address, method, path, &page, &body);
        assert_eq!(answer.status, status);
        // Errors too: a page must be able to read why.
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("location, retry-after"));
    }
    // A native caller is no page.
    let bearer = format!("Bearer {}", loopback::token(&place));
    let answer = send(address, "GET", "/v1/sessions", &[("host", &host), ("authorization", &bearer)], "");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    let answer = send(address, "OPTIONS", "/v1/sessions", &[("host", &host), ("authorization", &bearer)], "");
    assert_eq!(answer.status, 405);
}

#[test]
fn web_players_are_one_user_who_administers_nothing() {
    let place = web_place();
    let service = place.start();
    let address = loopback::address(&place);
    service.record("local", &start_event("ep-1"));
    let mut page = Page { connection: loopback::connect(address), host: address.to_string() };
    assert_eq!(page.send("POST", "/v1/sessions/web/events", &start_event("ep-1").to_string()).status, 201);
    assert_eq!(
        page.send("POST", "/v1/sessions/web/events", &event("media.play", 1, 0).to_string()).status,
        200
    );
    let seen = page.send("GET", "/v1/sessions", "").json();
    assert_eq!(seen["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(page.send("GET", "/v1/status", "").json()["events"]["stored"], 2);
    for (method, path) in [
        ("GET", "/v1/sessions/local"),
        ("GET", "/v1/sessions/local/events"),
        ("POST", "/v1/sessions/local/complete"),
        ("DELETE", "/v1/sessions/local"),
    ] {
        assert_eq!(page.send(method, path, "").status, 404, "{method} {path}");
    }
    for (method, path, body) in [
        ("POST", "/v1/flush", ""),
        ("PUT", "/v1/consent", "{\"consent\":\"out\"}"),
        ("GET", "/v1/identity", ""),
        ("POST", "/v1/identity/reset", ""),
    ] {
        let answer = page.send(method, path, body);
        assert_eq!((answer.status, &answer.json()["reason"]), (403, &json!("forbidden")), "{method} {path}");
    }
    assert_eq!(page.send("GET", "/v1/consent", "").json(), json!({ "consent": "in" }));
    assert_eq!(service.status()["events"]["stored"], 3);
}

/// A listed page with a connection of its own.
struct Page {
    connection: Connection<TcpStream>,
    host: String,
}

impl Page {
    fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("host", self.host.as_str()), ("origin", ORIGIN)];
        self.connection.send(method, path, &headers, body.as_bytes()).unwrap()
    }
}

#[test]
fn the_token_is_made_once_and_for_few_eyes() {
    let place = web_place();
    let service = place.start();
    let address = loopback::address(&place);
    let token = loopback::token(&place);
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let file = place.journal().with_file_name("api-token");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    assert!(!place.log_text().contains(&token), "the log does not tell it");
    assert!(service.stop().success());
    let service = place.start();
    assert_eq!(loopback::token(&place), token);
    drop(service);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn without_being_asked_to_nobody_listens() {
    let place = Place::new(ENDPOINT, "");
    let service = place.start();
    assert!(!place.journal().with_file_name("api-token").exists());
    assert!(!place.log_text().contains("web players"));
    // Of the origins and hosts on the Unix socket nobody takes notice: the kernel names the caller.
    let mut connection = service.connect().unwrap();
    let headers = [("host", "evil.example"), ("origin", "https://evil.example")];
    for path in ["/v1/sessions", "http://evil.example/v1/sessions"] {
        assert_eq!(connection.send("GET", path, &headers, b"").unwrap().status, 200);
    }
}

#[test]
fn the_list_of_origins_can_be_changed_while_the_service_runs() {
    let place = web_place();
    let service = place.start();
    let address = loopback::address(&place);
    let host = address.to_string();
    let from = |origin: &str| {
        send(address, "GET", "/v1/sessions", &[("host", &host), ("origin", origin)], "").status
    };
    assert_eq!((from(ORIGIN), from("https://radio.example")), (200, 403));
    place.configure(ENDPOINT, "api.listen = \"127.0.0.1:0\"\napi.origins = [\"https://radio.example\"]");
    service.signal("HUP");
    wait_for("the new list to hold", || (from("https://radio.example") == 200).then_some(()));
    assert_eq!(from(ORIGIN), 403);
}

#[test]
fn requests_that_are_begun_and_never_ended_keep_no_web_player_out() {
    let place = Place::new(
        ENDPOINT,
        "api.listen = \"127.0.0.1:0\"\napi.origins = [\"https://tv.example\"]\napi.max_connections_per_user = 4",
    );
    let _service = place.start();
    let address = loopback::address(&place);
    let host = address.to_string();
    let body = format!(
        "POST /v1/sessions/half/events HTTP/1.1\r\nhost: {host}\r\norigin: {ORIGIN}\r\ncontent-length: 99\r\n\r\n{{"
    );
    for begun in ["GET /v1/st", &body] {
        let mut held = Vec::new();
        for round in 0..20 {
            for _ in 0..6 {
                let mut half = loopback::connect(address);
                let _ = half.raw(begun.as_bytes());
                held.push(half);
            }
            let mut page = Page { connection: loopback::connect(address), host: host.clone() };
            for _ in 0..2 {
                let answer = page.send("GET", "/v1/consent", "");
                assert_eq!(answer.status, 200, "round {round} of {begun}: {}", answer.text());
            }
        }
    }
}
