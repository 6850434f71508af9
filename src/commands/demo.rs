//! `afterplay demo`: the whole story in a temporary folder, with the real parts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::style::Tone;
use super::{ExitError, Screen, sandbox::describe, text};
use crate::cli::Global;
use crate::client::{Call, Client};
use crate::clock::{Clock, rfc3339};
use crate::config::{Config, Endpoint};
use crate::sandbox::{self, Options};
use crate::service::Service;

const KEY: &str = "demo-living-room";
/// The story must not take longer than anybody waits for it.
const PATIENCE: Duration = Duration::from_secs(12);

/// The programme: seconds from the start, type, playhead, further members.
fn programme() -> Vec<(i64, &'static str, i64, Value)> {
    let details = json!({ "sessionDetails": {
        "name": "ep-204417", "friendlyName": "The Long Tide", "show": "Harbour Lights", "contentType": "DVOD",
        "streamType": "video", "length": 90, "playerName": "demo-player", "channel": "living-room",
    }});
    vec![
        (0, "media.sessionStart", 0, details),
        (1, "media.play", 0, json!({ "qoeDataDetails": { "bitrate": 6200, "timeToStart": 820 } })),
        (11, "media.ping", 10, json!({})),
        (21, "media.ping", 20, json!({})),
        (31, "media.pauseStart", 30, json!({})),
        (52, "media.play", 30, json!({})),
        (62, "media.ping", 40, json!({})),
        (72, "media.adBreakStart", 50, json!({ "advertisingPodDetails": { "index": 1, "offset": 50 } })),
        (
            72,
            "media.adStart",
            50,
            json!({ "advertisingDetails": {
            "name": "ad-7", "length": 15, "playerName": "demo-player", "podPosition": 1 } }),
        ),
        (87, "media.adComplete", 50, json!({})),
        (87, "media.adBreakComplete", 50, json!({})),
        (88, "media.play", 50, json!({})),
        (98, "media.ping", 60, json!({})),
        (108, "media.ping", 70, json!({})),
        (128, "media.sessionComplete", 90, json!({})),
    ]
}

/// Tells the whole story in a temporary folder.
pub(super) async fn demo(_global: &Global, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let folder = Folder::make()?;
    let told = tokio::time::timeout(PATIENCE, story(&folder.0, screen)).await;
    match told {
        Ok(outcome) => outcome,
        Err(_) => Err(ExitError::failed(format!(
            "the demo did not end within {} s; please report this",
            PATIENCE.as_secs()
        ))),
    }
}

async fn story(folder: &Path, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    // A port that nobody listens on: reserved, then given back until the endpoint "comes up".
    let reserved = listen("127.0.0.1:0").await?;
    let address = reserved.local_addr().map_err(|error| ExitError::failed(error.to_string()))?;
    drop(reserved);

    step(screen, 1, "The service starts. Its endpoint is down.")?;
    let config = config(folder, &format!("http://{address}/ee/va/v1/downloaded"))?;
    let service = Service::start(config.clone(), Clock::System, None).await?;
    let mut client = Client::new(config.api.socket.clone());
    note(screen, &format!("socket   {}", config.api.socket.display()))?;
    note(screen, &format!("journal  {}", config.journal.path.display()))?;

    step(screen, 2, "A player plays a short programme. Each event is synced before it is acknowledged.")?;
    play(&mut client, screen).await?;

    step(screen, 3, "The service tries to upload and keeps everything.")?;
    let waiting = wait(&mut client, |session| session["attempt_count"].as_u64() > Some(0)).await?;
    let verdict = &waiting["last_verdict"];
    note(
        screen,
        &format!(
            "attempt {}: {} -> kept, tried again later",
            waiting["attempt_count"],
            text::visible(verdict["detail"].as_str().unwrap_or("no answer"))
        ),
    )?;

    step(screen, 4, "The endpoint comes up.")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (saw, mut seen) = mpsc::unbounded_channel();
    let endpoint = tokio::spawn(sandbox::serve(
        listen(&address.to_string()).await?,
        Options { save: Some(folder.join("received")), ..Options::default() },
        async { drop(stopped.await) },
        move |request| drop(saw.send(describe(request))),
    ));
    let _: Value = client.fetch(&Call::post("/v1/flush")).await?;
    let delivered = wait(&mut client, |session| session["state"] == "delivered").await?;
    while let Ok(line) = seen.try_recv() {
        note(screen, &line)?;
    }

    step(screen, 5, "Delivered. This is what went out:")?;
    show_payload(folder, screen)?;
    let receipt = &delivered["receipt"];
    step(screen, 6, "The events are gone from the journal; a receipt stays.")?;
    note(
        screen,
        &format!(
            "{} events in {} bytes, {} attempts, request {}",
            receipt["events"],
            receipt["bytes"],
            receipt["attempts"],
            receipt["request_id"].as_str().unwrap_or("without id")
        ),
    )?;

    drop(client);
    service.stop().await?;
    drop(stop);
    let _ = endpoint.await;
    screen.line("")?;
    let done = screen.style.paint(Tone::Good, "Everything that was acknowledged arrived, once.");
    screen.line(&done)?;
    Ok(())
}

async fn listen(address: &str) -> Result<TcpListener, ExitError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| ExitError::failed(format!("cannot listen on {address}: {error}")))
}

fn config(folder: &Path, endpoint: &str) -> Result<Config, ExitError> {
    let mut config = Config::default();
    config.datastream_id = Some("demo-datastream".into());
    config.endpoint = Endpoint::parse(endpoint).map_err(ExitError::failed)?;
    config.api.socket = folder.join("afterplay.sock");
    config.journal.path = folder.join("journal").join("journal.db");
    config.session.close_grace = Duration::from_millis(300);
    Ok(config)
}

async fn play(client: &mut Client, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let programme = programme();
    let length = programme.last().map_or(0, |(at, ..)| *at);
    let start = super::now_ms() - length * 1000;
    for (seq, (at, kind, playhead, members)) in programme.into_iter().enumerate() {
        let mut collection = members;
        collection["playhead"] = playhead.into();
        let event = json!({
            "mediaEventType": kind,
            "mediaEventTimestamp": rfc3339(start + at * 1000),
            "mediaCollection": collection,
            "seq": seq,
        });
        let answer: Value =
            client.fetch(&Call::post(format!("/v1/sessions/{KEY}/events")).json(event.to_string())).await?;
        note(screen, &format!("{:>3} s  {kind:<24} {}", at, answer))?;
    }
    Ok(())
}

/// Waits until the session looks as it should.
async fn wait(client: &mut Client, as_it_should: impl Fn(&Value) -> bool) -> Result<Value, ExitError> {
    loop {
        let session: Value = client.get(&format!("/v1/sessions/{KEY}")).await?;
        if as_it_should(&session) {
            return Ok(session);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The payload as the endpoint received it, an event a line.
fn show_payload(folder: &Path, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let path = folder.join("received").join("0001-200.json");
    let body = std::fs::read(&path)
        .map_err(|error| ExitError::failed(format!("cannot read {}: {error}", path.display())))?;
    let mut payload: Value = serde_json::from_slice(&body)
        .map_err(|error| ExitError::failed(format!("{} is not JSON: {error}", path.display())))?;
    let events = payload["events"][0]["xdm"]["mediaDownloadedEvents"].take();
    payload["events"][0]["xdm"]["mediaDownloadedEvents"] = json!([]);
    let envelope = serde_json::to_string_pretty(&payload).unwrap_or_default();
    for line in envelope.lines() {
        if !line.contains("\"mediaDownloadedEvents\": []") {
            note(screen, line)?;
            continue;
        }
        note(screen, "        \"mediaDownloadedEvents\": [")?;
        for event in events.as_array().into_iter().flatten() {
            note(
                screen,
                &format!("          {}", text::truncate(&event.to_string(), screen.width.saturating_sub(16))),
            )?;
        }
        note(screen, "        ]")?;
    }
    Ok(())
}

fn step(screen: &mut Screen<'_>, n: u8, text: &str) -> Result<(), ExitError> {
    screen.line("")?;
    let line = screen.style.paint(Tone::Strong, &format!("{n}. {text}"));
    Ok(screen.line(&line)?)
}

fn note(screen: &mut Screen<'_>, text: &str) -> Result<(), ExitError> {
    Ok(screen.line(&format!("   {text}"))?)
}

/// A folder that goes when the demo ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn make() -> Result<Folder, ExitError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("afterplay-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| ExitError::failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the temporary folder's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
