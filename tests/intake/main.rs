//! Intake through the real binary and its socket: what is taken, what is refused, and who suffers when a client
//! misbehaves (nobody else).

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/web.rs"]
mod loopback;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/users.rs"]
mod users_support;

mod bad_input;
mod batches;
mod connections;
mod numbers;
mod reading;
mod users;
mod web;

use serde_json::{Value, json};
use service::{Answer, Connection, Place, Service};

/// Where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9/ee/va/v1/downloaded";

/// A place whose service records and sends nothing, so that nothing changes but by what a test does.
fn quiet_place() -> Place {
    Place::new(NOWHERE, "consent.initial = \"pending\"")
}

/// Posts a body to a session.
fn post(connection: &mut Connection, key: &str, body: impl AsRef<[u8]>) -> Answer {
    let path = format!("/v1/sessions/{key}/events");
    connection.send("POST", &path, &[("content-type", "application/json")], body.as_ref()).unwrap()
}

/// Posts JSON lines to a session.
fn post_lines(connection: &mut Connection, key: &str, body: impl AsRef<[u8]>) -> Answer {
    let path = format!("/v1/sessions/{key}/events");
    connection.send("POST", &path, &[("content-type", "application/x-ndjson")], body.as_ref()).unwrap()
}

/// Everything a refused request could have changed.
fn journal(service: &Service<'_>, keys: &[&str]) -> Value {
    let status = service.status();
    let events: Vec<String> = keys
        .iter()
        .map(|key| service.request("GET", &format!("/v1/sessions/{key}/events"), b"").text())
        .collect();
    json!({
        "sessions": status["sessions"], "events": status["events"], "losses": status["losses"],
        "list": service.get("/v1/sessions"), "recorded": events,
    })
}

/// The paths of a problem document.
fn paths(answer: &Answer) -> Vec<String> {
    let problem = answer.json();
    let problems = problem["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect()
}

/// One request on a connection that may be turned away before it is read.
fn knock(mut connection: Connection) -> Option<Answer> {
    let _ = connection.raw(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n");
    connection.answer().ok()
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["reason"]), (&json!(status), &json!(reason)), "{problem}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
}
