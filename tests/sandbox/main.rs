//! The sandbox over real loopback connections, spoken to byte by byte.

mod answers;
mod order;
mod rules;
mod script;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afterplay::sandbox::{Options, Seen, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing here takes longer, or it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

const PATH: &str = "/ee/va/v1/downloaded?configId=ds-1";

struct Server {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let list = Arc::clone(&seen);
        let task = tokio::spawn(serve(
            listener,
            options,
            async move {
                let _ = stopped.await;
            },
            move |seen: &Seen| list.lock().unwrap().push(seen.clone()),
        ));
        Server { addr, seen, stop: Some(stop), task }
    }

    async fn scripted(script: &str) -> Self {
        Server::start(Options { script: script.parse().unwrap(), ..Options::default() }).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn last(&self) -> Seen {
        self.seen().pop().expect("a request was seen")
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        timeout(DEADLINE, self.task).await.expect("stops in time").unwrap().unwrap();
    }

    async fn post(&self, body: &Value) -> Response {
        self.send(&request(PATH, &[("content-type", "application/json")], body.to_string().as_bytes())).await
    }

    /// Sends bytes and reads until the server closes.
    async fn send(&self, bytes: &[u8]) -> Response {
        let (received, end) = self.exchange(bytes).await;
        end.unwrap();
        Response::parse(&received)
    }

    /// As `send`, for answers that are none.
    async fn exchange(&self, bytes: &[u8]) -> (Vec<u8>, std::io::Result<()>) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let mut received = Vec::new();
        let talk = async {
            stream.write_all(bytes).await?;
            stream.read_to_end(&mut received).await.map(|_| ())
        };
        let end = timeout(DEADLINE, talk).await.expect("an end in time");
        (received, end)
    }
}

fn request(target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("POST {target} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn code(&self) -> String {
        let json = self.json();
        json["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    fn handles(&self) -> Vec<String> {
        let json = self.json();
        let handles = json["handle"].as_array().unwrap();
        handles.iter().map(|handle| handle["type"].as_str().unwrap().to_owned()).collect()
    }
}

/// The example of the contract, section 3.
fn contract_example() -> Value {
    let event = |kind: &str, time: &str, collection: Value| {
        json!({
            "mediaEventType": format!("media.{kind}"), "mediaEventTimestamp": time, "mediaCollection": collection,
        })
    };
    json!({ "events": [{ "xdm": {
        "eventType": "media.downloaded",
        "identityMap": { "FPID": [{
            "id": "5f0c3d1e-6c1b-4f0e-9a52-2f8f6f1f9a10", "authenticatedState": "ambiguous", "primary": true,
        }]},
        "implementationDetails": {
            "name": "https://ns.adobe.com/experience/edge", "version": "0.1.0", "environment": "app",
        },
        "mediaDownloadedEvents": [
            event("sessionStart", "2026-03-07T18:30:00.120Z", json!({
                "playhead": 0,
                "sessionDetails": {
                    "name": "ep-204417", "friendlyName": "The Long Tide", "show": "Harbour Lights",
                    "contentType": "DVOD", "streamType": "video", "length": 90, "playerName": "acme-stb",
                    "channel": "living-room",
                },
                "customMetadata": [{ "name": "_acme.storefront", "value": "de" }],
            })),
            event("play", "2026-03-07T18:30:00.940Z", json!({
                "playhead": 0, "qoeDataDetails": { "bitrate": 6200, "timeToStart": 820 },
            })),
            event("statesUpdate", "2026-03-07T18:30:04.002Z", json!({
                "playhead": 3, "statesStart": [{ "name": "closedCaptioning" }],
            })),
            event("pauseStart", "2026-03-07T18:30:41.500Z", json!({ "playhead": 40 })),
            event("play", "2026-03-07T18:31:10.010Z", json!({ "playhead": 40 })),
            event("ping", "2026-03-07T18:31:20.011Z", json!({ "playhead": 50 })),
            event("sessionComplete", "2026-03-07T18:32:00.000Z", json!({ "playhead": 90 })),
        ],
    }}]})
}

/// The request of Adobe's page about the endpoint, its placeholders filled in.
fn reference_request() -> Value {
    json!({ "events": [{ "xdm": {
        "identityMap": { "email": [{ "id": "user@example.com", "primary": true }] },
        "eventType": "media.downloaded",
        "mediaDownloadedEvents": [
            {
                "mediaEventTimestamp": "2025-09-26T15:52:24+00:00",
                "mediaEventType": "media.sessionStart",
                "mediaCollection": {
                    "sessionDetails": {
                        "name": "Media Analytics API Sample", "playerName": "sample-html5-api-player",
                        "contentType": "VOD", "length": 60, "channel": "sample-channel",
                    },
                    "playhead": 0,
                },
            },
            {
                "mediaEventTimestamp": "2025-09-26T15:53:08+00:00",
                "mediaEventType": "media.sessionComplete",
                "mediaCollection": { "playhead": 60 },
            },
        ],
        "timestamp": "2025-09-27T08:00:00+00:00",
    }}]})
}

/// A media session of the given event types, a second apart, each with what it must have.
fn session(kinds: &[&str]) -> Value {
    let mut body = contract_example();
    let events = kinds.iter().enumerate().map(|(i, kind)| {
        let mut collection = match *kind {
            "sessionStart" => json!({ "sessionDetails": {
                "name": "n", "playerName": "p", "contentType": "VOD", "length": 600, "channel": "c",
            }}),
            "bitrateChange" => json!({ "qoeDataDetails": {} }),
            "error" => json!({ "errorDetails": { "name": "E1", "source": "player" } }),
            "adBreakStart" => json!({ "advertisingPodDetails": { "index": 1, "offset": 0 } }),
            "adStart" => json!({ "advertisingDetails": {
                "name": "ad", "length": 15, "playerName": "p", "podPosition": 0,
            }}),
            "chapterStart" => json!({ "chapterDetails": { "index": 1, "length": 60, "offset": 0 } }),
            "statesUpdate" => json!({ "statesStart": [{ "name": "mute" }], "statesEnd": [] }),
            _ => json!({}),
        };
        collection["playhead"] = json!(i);
        json!({
            "mediaEventType": format!("media.{kind}"),
            "mediaEventTimestamp": format!("2026-03-07T18:{:02}:{:02}.000Z", i / 60, i % 60),
            "mediaCollection": collection,
        })
    });
    body["events"][0]["xdm"]["mediaDownloadedEvents"] = events.collect();
    body
}

/// All 18 types in a good order.
const ALL: [&str; 24] = [
    "sessionStart",
    "adBreakStart",
    "adStart",
    "adComplete",
    "adStart",
    "adSkip",
    "adBreakComplete",
    "play",
    "chapterStart",
    "chapterComplete",
    "chapterStart",
    "chapterSkip",
    "bufferStart",
    "play",
    "bitrateChange",
    "error",
    "play",
    "pauseStart",
    "ping",
    "statesUpdate",
    "play",
    "ping",
    "sessionComplete",
    "sessionEnd",
];
