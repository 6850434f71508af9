//! The Media Edge face: what is written for Adobe's own API works here (product section 4.2).

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/examples.rs"]
mod examples;
#[path = "../support/service.rs"]
mod service;

mod live;
mod whole;

use serde_json::{Value, json};
use service::{Answer, Place, Service};

const NOWHERE: &str = "http://127.0.0.1:9/ee/va/v1/downloaded";

/// A place whose service records and sends nothing.
fn quiet_place() -> Place {
    Place::new(NOWHERE, "consent.initial = \"pending\"")
}

fn post(service: &Service<'_>, path: &str, body: impl AsRef<[u8]>) -> Answer {
    service.request("POST", path, body.as_ref())
}

fn call(service: &Service<'_>, action: &str, body: &Value) -> Answer {
    post(service, &format!("/ee/va/v1/{action}?configId=test-datastream"), body.to_string())
}

/// Keys of the sessions that an answer says were made.
#[track_caller]
fn made(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert!(body["requestId"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
    let handles = body["handle"].as_array().unwrap();
    handles
        .iter()
        .enumerate()
        .map(|(at, handle)| {
            assert_eq!(handle["type"], "media-analytics:new-session");
            assert_eq!(handle["eventIndex"], at);
            handle["payload"][0]["sessionId"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// Status, Adobe's code and our reason, with the names of the fields.
#[track_caller]
fn problem(answer: &Answer) -> (u16, String, String, Vec<String>) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["status"], answer.status);
    assert!(body["title"].is_string() && body["detail"].is_string());
    assert!(body["report"]["requestId"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
    let details = body["report"]["details"].as_array().unwrap();
    let names = details.iter().map(|one| {
        assert!(one["reason"].is_string());
        one["name"].as_str().unwrap().to_owned()
    });
    let kind = body["type"].as_str().unwrap();
    let code = kind.strip_prefix("https://ns.adobe.com/aep/errors/").unwrap_or(kind).to_owned();
    (answer.status, code, body["reason"].as_str().unwrap().to_owned(), names.collect())
}

fn stored(service: &Service<'_>) -> Value {
    let status = service.status();
    json!([status["sessions"], status["events"], service.get("/v1/sessions")])
}
