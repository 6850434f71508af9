//! Uploads through the real binary, a real journal and an endpoint that misbehaves: nothing is lost, nothing is sent
//! twice without being counted, and no session suffers for another.

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;

mod captive;
mod interrupted;
mod life;
mod outage;
mod pause;
mod payload;
mod permission;
mod post;
mod ready;
mod refusals;
mod resize;
mod retry_after;
mod storage;
mod warnings;

use endpoint::Request;
use serde_json::Value;
use service::{Place, Service, wait_for};

/// Retries that a test can wait for.
const QUICK: &str = "retry.initial = \"20ms\"\nretry.max = \"80ms\"\nupload.reconnect_jitter = \"0s\"";

/// Retries that no test lives to see.
const PATIENT: &str = "retry.initial = \"1h\"\nretry.max = \"1h\"\nupload.reconnect_jitter = \"0s\"";

/// The content ids of sessions in the order in which they were sent; tests use the key for it.
fn names(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| name_of(&body_of(request))).collect()
}

fn body_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn name_of(body: &Value) -> String {
    body["events"][0]["xdm"]["mediaDownloadedEvents"][0]["mediaCollection"]["sessionDetails"]["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Waits until the uploader is in this state for this reason, and answers the status.
fn wait_for_uploader(service: &Service<'_>, state: &str, reason: Option<&str>) -> Value {
    wait_for(&format!("the uploader to be {state} for {reason:?}"), || {
        let status = service.status();
        let uploader = &status["uploader"];
        (uploader["state"] == state && uploader["reason"].as_str() == reason).then_some(status)
    })
}

/// Waits until so many sessions are delivered, and answers the status.
fn wait_for_delivered(service: &Service<'_>, sessions: u64) -> Value {
    wait_for(&format!("{sessions} deliveries"), || {
        let status = service.status();
        (status["sessions"]["delivered"] == sessions).then_some(status)
    })
}

fn session(service: &Service<'_>, key: &str) -> Value {
    service.get(&format!("/v1/sessions/{key}"))
}

fn flush(service: &Service<'_>) -> u64 {
    let answer = service.request("POST", "/v1/flush", b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["pending"].as_u64().unwrap()
}

fn consent(service: &Service<'_>, consent: &str) {
    let body = serde_json::json!({ "consent": consent }).to_string();
    let answer = service.request("PUT", "/v1/consent", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Replaces the configuration of a running service.
fn reconfigure(place: &Place, service: &Service<'_>, endpoint: &str, extra: &str) {
    place.configure(endpoint, extra);
    let before = place.log_text().matches("reloaded the configuration").count();
    service.signal("HUP");
    wait_for("the configuration to be reloaded", || {
        (place.log_text().matches("reloaded the configuration").count() > before).then_some(())
    });
}

/// The same, with nothing changed.
fn reload(place: &Place, service: &Service<'_>) {
    let before = place.log_text().matches("reloaded the configuration").count();
    service.signal("HUP");
    wait_for("the configuration to be reloaded", || {
        (place.log_text().matches("reloaded the configuration").count() > before).then_some(())
    });
}

/// Milliseconds from now by the machine's clock until a time in an answer.
fn ms_until(time: &Value) -> i64 {
    let then: jiff::Timestamp = time.as_str().unwrap_or_else(|| panic!("{time} is no time")).parse().unwrap();
    then.as_millisecond() - afterplay::clock::Clock::System.now().wall_ms
}
