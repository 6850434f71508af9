//! Product promises 1 to 5 and 7: nothing acknowledged is lost, whatever happens to the process, its disk, its files and
//! its endpoint.
//!
//! Players keep books of what they were promised; the endpoint keeps what it may have taken in; both are held against
//! each other at the end. `AFTERPLAY_TEST_SCALE` multiplies the kills, the starts, the full disks and the length of the soak: 50 gives
//! the 10,000 kills of the release tier, 20 the soak of ten minutes.
#![cfg(target_os = "linux")]

#[path = "../support/books.rs"]
mod books;
#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/service.rs"]
mod service;

mod days;
mod dirty_start;
mod full_disk;
mod injected;
mod kill;
mod players;
mod quota;
mod soak;

use std::time::Duration;

use endpoint::{Act, Endpoint, Reply};
use service::{Service, wait_for};

/// Retries that a test can wait for, and no waiting for an endpoint that says nothing.
const QUICK: &str = "retry.initial = \"10ms\"\nretry.max = \"40ms\"\nupload.reconnect_jitter = \"0s\"\n\
    upload.timeout = \"300ms\"\nupload.connect_timeout = \"300ms\"";

fn scale() -> u64 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// What an endpoint does that cannot be relied on: it takes things in and says so, or not.
fn moods(random: &mut fastrand::Rng) -> Act {
    match random.u8(0..20) {
        0..10 => Act::Answer(Reply::accepted()),
        10..13 => Act::Answer(Reply::new(503, "")),
        13 | 14 => Act::ResetAfterBody,
        15 => Act::CloseAfterBody,
        16 => Act::ResetInBody(random.usize(0..400)),
        17 => Act::Cut(Reply::accepted(), 20),
        18 => Act::Drip(Reply::accepted(), Duration::from_millis(1)),
        _ => Act::Hang,
    }
}

/// The endpoint comes to its senses: everything that is completed arrives.
fn settle(service: &Service<'_>, endpoint: &Endpoint) {
    endpoint.behave();
    let mut left = u64::MAX;
    // Much may have gathered: patience is for the next of them.
    while left > 0 {
        left = wait_for("more to be delivered", || {
            let _ = service.request("POST", "/v1/flush", b"");
            let sessions = service.status()["sessions"].clone();
            let now = ["completed", "open"].map(|state| sessions[state].as_u64().unwrap()).iter().sum();
            (now < left).then_some(now)
        });
    }
    let status = service.status();
    assert_eq!(status["sessions"]["quarantined"], 0, "{status}");
    let losses = status["losses"].as_object().unwrap();
    assert!(losses.values().all(|lost| lost == 0), "{status}");
}
