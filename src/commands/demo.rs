//! `afterplay demo`: the whole story in a temporary folder, with the real parts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::model::{Attempt, Detail, Status};
use super::style::Tone;
use super::{ExitError, Screen, text};
use crate::cli::Global;
use crate::client::{Call, Client, ClientError};
use crate::clock::{Clock, rfc3339};
use crate::config::{Config, Endpoint};
use crate::json::{self, Member};
use crate::sandbox::{self, Options, Seen};
use crate::service::Service;

const KEY: &str = "demo-living-room";
const DATASTREAM: &str = "demo-datastream";
const ENDPOINT_PATH: &str = "/ee/va/v1/downloaded";
/// The story must not take longer than anybody waits for it.
const PATIENCE: Duration = Duration::from_secs(12);
/// Attempts that fail before the endpoint comes up.
const FAILURES: usize = 2;
/// Columns of an event's type: the longest is `media.adBreakComplete`.
const TYPE_COLUMNS: usize = 21;

/// The programme: seconds from the start, type, playhead, further members of `mediaCollection`.
const PROGRAMME: &[(i64, &str, i64, &str)] = &[
    (
        0,
        "media.sessionStart",
        0,
        r#","sessionDetails":{"name":"ep-204417","friendlyName":"The Long Tide","show":"Harbour Lights","contentType":"DVOD","streamType":"video","length":90,"playerName":"demo-player","channel":"living-room"}"#,
    ),
    (1, "media.play", 0, r#","qoeDataDetails":{"bitrate":6200,"timeToStart":820}"#),
    (11, "media.ping", 10, ""),
    (21, "media.ping", 20, ""),
    (31, "media.pauseStart", 30, ""),
    (52, "media.play", 30, ""),
    (62, "media.ping", 40, ""),
    (72, "media.adBreakStart", 50, r#","advertisingPodDetails":{"index":1,"offset":50}"#),
    (
        72,
        "media.adStart",
        50,
        r#","advertisingDetails":{"name":"ad-7","length":15,"playerName":"demo-player","podPosition":1}"#,
    ),
    (87, "media.adComplete", 50, ""),
    (87, "media.adBreakComplete", 50, ""),
    (88, "media.play", 50, ""),
    (98, "media.ping", 60, ""),
    (108, "media.ping", 70, ""),
    (128, "media.sessionComplete", 90, ""),
];

/// Tells the whole story in a temporary folder.
pub(super) async fn demo(_global: &Global, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    // Before there is a folder: without this it would stay behind.
    let (mut interrupt, mut terminate) = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)))
        .map_err(|error| ExitError::failed(format!("cannot watch signals: {error}")))?;
    let folder = Folder::make()?;
    tokio::select! {
        told = story(&folder.0, screen) => told,
        () = tokio::time::sleep(PATIENCE) => Err(ExitError::failed(format!(
            "the demo did not end within {} s; please report this",
            PATIENCE.as_secs()
        ))),
        _ = interrupt.recv() => Err(ExitError::failed("interrupted")),
        _ = terminate.recv() => Err(ExitError::failed("interrupted")),
    }
}

async fn story(folder: &Path, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let (port, address) = taken_port()?;
    let config = config(folder, &format!("http://{address}{ENDPOINT_PATH}"))?;
    screen.line("Everything here is real but the endpoint, and is gone at the end.")?;

    step(screen, 1, "The service starts. The endpoint that it uploads to is down.")?;
    let service = Service::start(config.clone(), Clock::System, None).await?;
    let mut client = Client::new(config.api.socket.clone());
    note(screen, &format!("socket    {}", config.api.socket.display()))?;
    note(screen, &format!("journal   {}", config.journal.path.display()))?;
    note(screen, &format!("endpoint  {}", config.endpoint.as_str()))?;

    step(screen, 2, "A player plays a programme. Each event is on disk before it is answered.")?;
    play(&mut client, screen).await?;

    step(screen, 3, "The programme is over. The service cannot deliver it and keeps everything.")?;
    outage(&mut client, screen).await?;

    step(screen, 4, "The endpoint comes up, and the service finds it on its own.")?;
    let listener = port.listen(16).map_err(|error| cannot_listen(address, &error))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (saw, mut seen) = mpsc::unbounded_channel();
    let endpoint = tokio::spawn(sandbox::serve(
        listener,
        Options { save: Some(folder.join("received")), ..Options::default() },
        async { drop(stopped.await) },
        move |request| drop(saw.send(request.clone())),
    ));
    let delivered = loop {
        let session = look(&mut client).await?;
        if session.session.state == "delivered" {
            break session;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut received = None;
    while let Ok(request) = seen.try_recv() {
        note(screen, &describe(&request))?;
        received = request.saved.or(received);
    }

    step(screen, 5, "This is what went out, in one request:")?;
    note(screen, &format!("POST {ENDPOINT_PATH}?configId={DATASTREAM}"))?;
    let received = received.ok_or_else(|| ExitError::failed("the endpoint kept nothing"))?;
    let body = std::fs::read_to_string(&received)
        .map_err(|error| ExitError::failed(format!("cannot read {}: {error}", received.display())))?;
    for line in payload(&body, screen.width.saturating_sub(MARGIN)).map_err(ExitError::failed)? {
        note(screen, &line)?;
    }

    step(screen, 6, "The events are gone from the journal; a receipt stays.")?;
    let receipt = delivered.receipt.unwrap_or_default();
    let sent = [
        receipt.events.map(|count| text::count(count, "event")),
        receipt.bytes.map(|count| text::count(count, "byte")),
        receipt.attempts.map(|count| text::count(count, "attempt")),
    ];
    note(screen, &sent.into_iter().flatten().collect::<Vec<_>>().join(", "))?;
    note(screen, &format!("request {}", receipt.request_id.as_deref().unwrap_or("without an id")))?;

    drop(client);
    service.stop().await?;
    drop(stop);
    let _ = endpoint.await;
    screen.line("")?;
    let done = screen.style.paint(Tone::Good, "Everything that was acknowledged has arrived, once.");
    Ok(screen.line(&done)?)
}

/// A port that is ours and that nobody listens on: whoever connects is refused, and nobody else can take it.
fn taken_port() -> Result<(TcpSocket, SocketAddr), ExitError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.bind(any)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    bound.map_err(|error| cannot_listen(any, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> ExitError {
    ExitError::failed(format!("cannot listen on {address}: {error}"))
}

fn config(folder: &Path, endpoint: &str) -> Result<Config, ExitError> {
    let mut config = Config {
        datastream_id: Some(DATASTREAM.into()),
        endpoint: Endpoint::parse(endpoint).map_err(ExitError::failed)?,
        ..Config::default()
    };
    config.api.socket = folder.join("afterplay.sock");
    config.journal.path = folder.join("journal").join("journal.db");
    // As in real life, only sooner.
    config.session.close_grace = Duration::from_millis(300);
    config.retry.initial = Duration::from_millis(500);
    config.retry.max = Duration::from_secs(1);
    Ok(config)
}

async fn play(client: &mut Client, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let length = PROGRAMME.last().map_or(0, |(at, ..)| *at);
    let start = super::now_ms() - length * 1000;
    for (at, kind, playhead, members) in PROGRAMME {
        let said = rfc3339(start + at * 1000);
        let event = format!(
            r#"{{"mediaEventType":"{kind}","mediaEventTimestamp":"{said}","mediaCollection":{{"playhead":{playhead}{members}}}}}"#
        );
        let call = Call::post(format!("/v1/sessions/{KEY}/events")).json(event);
        let answer = client.send(&call).await?;
        let body: Value = client.decode(&call, &answer.body)?;
        let (status, seq) = (answer.status, &body["seq"]);
        note(screen, &format!("{at:>3} s  {kind:<TYPE_COLUMNS$}  {status}, seq {seq}"))?;
    }
    Ok(())
}

/// Tells the failing attempts as they end, and how things stand after them.
async fn outage(client: &mut Client, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let mut told = 0;
    while told < FAILURES {
        let session = look(client).await?;
        for attempt in session.attempts.iter().skip(told).filter(|attempt| attempt.ended_at.is_some()) {
            told += 1;
            note(screen, &failure(attempt))?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Between two attempts: a slow machine may be at the next one already.
    let status = loop {
        let status: Status = client.get("/v1/status").await?;
        if status.uploader.state != "sending" {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let kept = text::count(status.events.stored, "event");
    let lost: u64 = status.losses.values().sum();
    note(screen, &format!("status     uploader {}, {kept} kept, {lost} lost", status.uploader.state))
}

fn failure(attempt: &Attempt) -> String {
    let detail = attempt.detail.as_deref().or(attempt.reason.as_deref()).unwrap_or("no answer");
    format!("attempt {}  {}", attempt.n, text::visible(detail))
}

async fn look(client: &mut Client) -> Result<Detail, ClientError> {
    client.get(&format!("/v1/sessions/{KEY}")).await
}

/// What the endpoint says of a request.
fn describe(seen: &Seen) -> String {
    let title = seen.title.as_deref().unwrap_or("no title");
    let events = text::count(seen.events as u64, "event");
    let problems = text::count(seen.problems().count() as u64, "problem");
    let title = text::visible(title);
    format!("\"{title}\": {} bytes, {events}, {problems}; answered {}", seen.bytes, seen.answer)
}

/// The payload in the order of its bytes: the members of `xdm`, then an event a line.
fn payload(body: &str, columns: usize) -> Result<Vec<String>, String> {
    let strange = |what: &str| format!("the payload is not as it should be: no {what}");
    let member = |object: &str, name: &str| -> Option<String> {
        let members = json::members(object).ok()?;
        members.iter().find(|member| member.name == name).map(|member| member.value.to_owned())
    };
    let events = member(body, "events").ok_or_else(|| strange("events"))?;
    let first = json::elements(&events).ok().and_then(|events| member(events.first()?, "xdm"));
    let xdm = first.ok_or_else(|| strange("xdm"))?;
    let mut lines = Vec::new();
    for Member { name, value, .. } in json::members(&xdm).map_err(|problem| problem.to_string())? {
        if name != "mediaDownloadedEvents" {
            lines.extend(hang(&format!("{name:<TYPE_COLUMNS$} "), value, 6, columns));
            continue;
        }
        let events = json::elements(value).map_err(|problem| problem.to_string())?;
        lines.push(format!("{name:<TYPE_COLUMNS$} {}", text::count(events.len() as u64, "event")));
        for event in events {
            let said = |name| member(event, name).unwrap_or_default();
            let kind = said("mediaEventType");
            let at = said("mediaEventTimestamp");
            let lead = format!("  {:<TYPE_COLUMNS$} {} ", kind.trim_matches('"'), at.trim_matches('"'));
            lines.extend(hang(&lead, &said("mediaCollection"), 6, columns));
        }
    }
    Ok(lines)
}

/// `lead` and JSON after it, continued on indented lines that begin after a comma where there is one.
fn hang(lead: &str, json: &str, indent: usize, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut rest) = (lead.to_owned(), json);
    loop {
        let room = columns.saturating_sub(text::width(&line));
        if text::width(rest) <= room {
            line.push_str(rest);
            lines.push(line);
            return lines;
        }
        let fits = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        let cut = rest[..fits].rfind(',').map_or(fits, |comma| comma + 1);
        line.push_str(&rest[..cut]);
        lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        rest = &rest[cut..];
    }
}

fn step(screen: &mut Screen<'_>, n: u8, text: &str) -> Result<(), ExitError> {
    screen.line("")?;
    let line = screen.style.paint(Tone::Strong, &format!("{n}. {text}"));
    screen.line(&line)?;
    // Somebody watches: each step is to be seen when it happens.
    Ok(screen.out.flush()?)
}

/// Columns in front of what is told below a step.
const MARGIN: usize = 3;

fn note(screen: &mut Screen<'_>, text: &str) -> Result<(), ExitError> {
    screen.line(&format!("{:MARGIN$}{text}", ""))?;
    Ok(screen.out.flush()?)
}

/// A folder that goes when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder, ExitError> {
        use std::os::unix::fs::DirBuilderExt;
        // Short, since the path of a socket has some hundred bytes at most.
        let path = std::env::temp_dir().join(format!("afterplay-demo-{:08x}", fastrand::u32(..)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_told_in_the_order_of_its_bytes_and_in_full() {
        let body = r#"{"events":[{"xdm":{"eventType":"media.downloaded","b":{"x":1},"a":2,"mediaDownloadedEvents":[
            {"mediaEventType":"media.ping","mediaEventTimestamp":"2026-03-07T18:30:00.120Z",
             "mediaCollection":{"playhead":0,"zz":"a rather long text, which does not fit","aa":[1,2,3]}}]}}]}"#;
        let lines = payload(body, 77).unwrap();
        let names: Vec<&str> = lines.iter().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(names[..3], ["eventType", "b", "a"]);
        assert_eq!(lines[3], "mediaDownloadedEvents 1 event");
        assert!(lines[4].starts_with("  media.ping            2026-03-07T18:30:00.120Z {\"playhead\":0,"));
        assert!(lines.iter().all(|line| text::width(line) <= 77), "{lines:#?}");
        let whole: String = lines[4..].iter().map(|line| line.trim_start()).collect();
        assert!(
            whole.ends_with(r#"{"playhead":0,"zz":"a rather long text, which does not fit","aa":[1,2,3]}"#)
        );
        for odd in ["[]", "{}", r#"{"events":[]}"#, r#"{"events":[{"xdm":[]}]}"#] {
            assert!(payload(odd, 77).is_err(), "{odd}");
        }
    }
}
