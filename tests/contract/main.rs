//! The contract with Adobe, section by section: what is recorded, what is sent, and what the sandbox says to it.

#[path = "../support/corpus.rs"]
mod corpus;
mod golden;
mod members;
mod order;
mod players;
#[path = "../support/service.rs"]
mod service;
mod size;

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afterplay::config::Thin;
use afterplay::event::EventType;
use afterplay::sandbox::{Finding, Level, Options, Seen, serve};
use afterplay::upload::payload::{self, Facts, Implementation, Recorded};
use afterplay::upload::{Built, Shape};
use serde_json::{Value, json};
use service::Connection;
use tokio::sync::oneshot;

const FACTS: Facts<'static> = Facts {
    identity_map: r#"{"FPID":[{"id":"5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10","authenticatedState":"ambiguous","primary":true}]}"#,
    player_name: Some("acme-stb"),
    channel: Some("living-room"),
    implementation: Implementation {
        name: "https://ns.adobe.com/experience/edge",
        version: "0.1.0",
        environment: "app",
    },
    resumes: false,
    timestamp_ms: Some(1_772_999_999_999),
};

/// Everything as it was recorded.
const WHOLE: Shape = Shape { budget: usize::MAX - 1, thin: Thin::Never };

fn build(events: &[Recorded<'_>], shape: Shape) -> Built {
    payload::build(&FACTS, events, &shape).unwrap()
}

fn build_twice(events: &[Recorded<'_>], shape: Shape) -> Built {
    let built = build(events, shape);
    assert_eq!(built, build(events, shape), "the same bytes each time");
    built
}

/// The `mediaDownloadedEvents` of a body.
fn events_of(built: &Built) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&built.body).unwrap();
    let list = body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array().unwrap().clone();
    assert_eq!(list.len(), built.events);
    list
}

/// The types of the events of a body, without their prefix.
fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["mediaEventType"].as_str().unwrap().trim_start_matches("media."))
        .collect()
}

/// The sandbox on a thread of its own, and a connection to it.
struct Sandbox {
    connection: RefCell<Connection<TcpStream>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sandbox {
    fn start() -> Sandbox {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let list = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let options = Options { max_body: 1 << 24, ..Options::default() };
                let told = async move { drop(stopped.await) };
                serve(listener, options, told, move |s: &Seen| list.lock().unwrap().push(s.clone()))
                    .await
                    .unwrap();
            });
        });
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Sandbox {
            connection: RefCell::new(Connection::over(stream)),
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What it finds in a body.
    fn findings(&self, body: &[u8]) -> Vec<Finding> {
        let json = [("content-type", "application/json")];
        let path = "/ee/va/v1/downloaded?configId=ds-1";
        let answer = self.connection.borrow_mut().send("POST", path, &json, body).unwrap();
        let seen = self.seen.lock().unwrap().pop().unwrap();
        let refused = seen.problems().count() > 0;
        assert_eq!(answer.status, if refused { 207 } else { 200 }, "{}", answer.text());
        seen.findings
    }

    /// What Adobe would refuse, or take and book wrongly.
    fn complaints(&self, body: &[u8]) -> Vec<String> {
        let findings = self.findings(body);
        let serious = findings.iter().filter(|finding| finding.level != Level::Hint);
        serious.map(|finding| format!("{}: {}", finding.path, finding.reason)).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A recorded event of a table: its type, seconds since the start, and members beside the playhead, which runs along.
fn row(kind: EventType, second: i64, members: Value) -> corpus::Sent {
    let mut collection = if members.is_null() { least(kind) } else { members };
    if collection.get("playhead").is_none() {
        collection["playhead"] = second.into();
    }
    let body = json!({ "mediaEventType": kind.as_str(), "mediaCollection": collection });
    corpus::Sent { kind, at_ms: corpus::START + 1000 * second, body: body.to_string() }
}

/// The least that an event of that type has to have.
fn least(kind: EventType) -> Value {
    use EventType as T;
    match kind {
        T::SessionStart => json!({ "sessionDetails": {
            "name": "n", "playerName": "p", "contentType": "VOD", "length": 600, "channel": "c",
        }}),
        T::BitrateChange => json!({ "qoeDataDetails": {} }),
        T::Error => json!({ "errorDetails": { "name": "E1", "source": "player" } }),
        T::AdBreakStart => json!({ "advertisingPodDetails": { "index": 1, "offset": 0 } }),
        T::AdStart => json!({ "advertisingDetails": {
            "name": "ad", "length": 15, "playerName": "p", "podPosition": 1,
        }}),
        T::ChapterStart => json!({ "chapterDetails": { "index": 1, "length": 60, "offset": 0 } }),
        T::StatesUpdate => json!({ "statesStart": [{ "name": "mute" }] }),
        _ => json!({}),
    }
}

fn scale() -> u32 {
    std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}
