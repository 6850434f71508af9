//! Hostile and broken neighbours: other local users, slow clients, strings that are meant to do harm.
#![cfg(target_os = "linux")]

#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/users.rs"]
mod users;
#[path = "../support/web.rs"]
mod web;

mod injection;
mod measure;
mod neighbour;
mod shares;
mod slow;
mod squat;

use service::{Answer, Connection};

/// Where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9/ee/va/v1/downloaded";

/// How long an innocent client may have to wait at the very worst, on a machine that is busy with other tests too.
const PROMPT: std::time::Duration = std::time::Duration::from_secs(2);

fn post(connection: &mut Connection, key: &str, body: impl AsRef<[u8]>) -> Answer {
    let path = format!("/v1/sessions/{key}/events");
    connection.send("POST", &path, &[("content-type", "application/json")], body.as_ref()).unwrap()
}

fn get(connection: &mut Connection, path: &str) -> Answer {
    connection.send("GET", path, &[], b"").unwrap()
}

/// How much more than usual is tried.
fn scale() -> u32 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
