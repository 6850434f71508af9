//! `afterplay status`

use std::time::Duration;

use serde_json::Value;

use super::model::Status;
use super::style::{Style, Tone};
use super::{ExitError, Screen, layout, text};
use crate::cli::StatusArgs;
use crate::client::{Call, Client, ClientError};

/// The status as it is shown and as it came.
type Seen = (Status, Value);

const PATH: &str = "/v1/status";
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Shows the status once, or again and again with `--watch`.
pub(super) async fn status(
    client: &mut Client,
    args: &StatusArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    if args.watch {
        return watch(client, args, screen, WATCH_EVERY).await;
    }
    let (status, raw) = look(client).await?;
    if args.json {
        screen.line(&text::json(&format!("{raw:#}")))?;
    } else {
        let shown = table(&status, status.now_ms((screen.now_ms)()), screen.width, screen.style);
        screen.out.write_all(shown.as_bytes())?;
    }
    Ok(())
}

/// Redraws on a terminal; elsewhere prints a line whenever something changed. A service that stops is waited for.
async fn watch(
    client: &mut Client,
    args: &StatusArgs,
    screen: &mut Screen<'_>,
    every: Duration,
) -> Result<(), ExitError> {
    let mut last = None;
    loop {
        let seen = match look(client).await {
            Ok(status) => Ok(status),
            // At the start the usual error with its exit code; later a restart of the service is part of the story.
            Err(error) if last.is_none() => return Err(error.into()),
            Err(error) => Err(error.to_string()),
        };
        if screen.live && !args.json {
            let shown = match &seen {
                Ok((status, _)) => {
                    table(status, status.now_ms((screen.now_ms)()), screen.width, screen.style)
                }
                Err(message) => {
                    format!("{}\n", layout::wrap(&text::visible(message), screen.width).join("\n"))
                }
            };
            screen.out.write_all(frame(&shown).as_bytes())?;
            last = Some(seen);
        } else if last.as_ref().is_none_or(|last| !same(last, &seen, args.json)) {
            let line = match &seen {
                Ok(status) if args.json => text::json(&status.1.to_string()).into_owned(),
                Ok(status) => line(&status.0),
                Err(message) if args.json => serde_json::json!({ "error": message }).to_string(),
                Err(message) => text::visible(message).into_owned(),
            };
            screen.line(&line)?;
            last = Some(seen);
        }
        screen.out.flush()?;
        tokio::time::sleep(every).await;
    }
}

/// Whether a reader of lines would see no difference.
fn same(last: &Result<Seen, String>, now: &Result<Seen, String>, as_json: bool) -> bool {
    match (last, now) {
        (Ok((_, last)), Ok((_, now))) if as_json => steady(last) == steady(now),
        (Ok((last, _)), Ok((now, _))) => line(last) == line(now),
        (last, now) => last == now,
    }
}

/// Without what the service tells from two clocks, which tremble by a millisecond: the time of the next attempt, with
/// which the reason changes too when it really changes, and how far the clock is off.
fn steady(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(at) = status.pointer_mut("/uploader/next_attempt_at").filter(|at| !at.is_null()) {
        *at = Value::Bool(true);
    }
    if let Some(behind) = status.get_mut("clock_behind_s").filter(|behind| !behind.is_null()) {
        *behind = Value::Bool(true);
    }
    status
}

/// The status as it is shown and as it came.
async fn look(client: &mut Client) -> Result<Seen, ClientError> {
    let call = Call::get(PATH);
    let body = client.send(&call).await?.body;
    Ok((client.decode(&call, &body)?, client.decode(&call, &body)?))
}

/// `shown` over whatever is on the screen: each line cleared to its end, then everything below.
fn frame(shown: &str) -> String {
    let mut out = String::from("\u{1b}[H");
    for line in shown.lines() {
        out.push_str(line);
        out.push_str("\u{1b}[K\n");
    }
    out.push_str("\u{1b}[J");
    out
}

/// The whole status for a person.
fn table(status: &Status, now_ms: i64, width: usize, style: Style) -> String {
    let since = status.started_at.as_deref().and_then(text::millis);
    let running = since.map_or_else(String::new, |at| format!(", running for {}", text::span(now_ms - at)));
    let head = format!("afterplay {}, pid {}{running}", text::visible(&status.version), status.pid);
    let (sessions, events) = (&status.sessions, &status.events);
    let mut rows: Vec<layout::Fact> = vec![
        ("Link", text::visible(&status.link).into_owned(), Some(link_tone(&status.link))),
        ("Uploader", uploader(status, now_ms), Some(uploader_tone(&status.uploader.state))),
        ("Consent", consent(&status.consent), (status.consent != "in").then_some(Tone::Busy)),
        ("Clock", clock(status, now_ms), (status.clock != "trusted").then_some(Tone::Busy)),
        (
            "Sessions",
            format!(
                "{} open, {} completed, {} delivered, {} quarantined",
                sessions.open, sessions.completed, sessions.delivered, sessions.quarantined
            ),
            (sessions.quarantined > 0).then_some(Tone::Bad),
        ),
        (
            "Events",
            format!(
                "{} stored, {} acknowledged, {} delivered",
                events.stored, events.acknowledged, events.delivered
            ),
            None,
        ),
        ("Journal", journal(status), None),
        losses(status),
    ];
    if status.possible_duplicates > 0 {
        let sent = text::count(status.possible_duplicates, "session");
        rows.push(("Duplicates", format!("{sent} perhaps sent twice"), Some(Tone::Busy)));
    }
    if let Some(hint) = &status.uploader.hint {
        rows.push(("Hint", text::visible(hint).into_owned(), Some(Tone::Busy)));
    }
    format!("{}\n\n{}", style.paint(Tone::Strong, &head), layout::facts(&rows, width, style))
}

fn uploader(status: &Status, now_ms: i64) -> String {
    let uploader = &status.uploader;
    let mut out = text::visible(&uploader.state).into_owned();
    if let Some(why) = uploader.detail.as_ref().or(uploader.reason.as_ref()) {
        out.push_str(&format!(": {}", text::visible(why)));
    }
    if let Some(at) = uploader.next_attempt_at.as_deref().and_then(text::millis) {
        out.push_str(&format!("; next attempt {}", text::relative(at, now_ms)));
    }
    out
}

fn consent(consent: &str) -> String {
    match consent {
        "in" => String::from("in"),
        "pending" => String::from("pending: recorded sessions are held back"),
        "out" => String::from("out: nothing is recorded"),
        other => text::visible(other).into_owned(),
    }
}

fn clock(status: &Status, now_ms: i64) -> String {
    if status.clock == "untrusted" {
        return String::from("untrusted: times are corrected once the clock is set");
    }
    let mut out = text::visible(&status.clock).into_owned();
    match status.clock_source.as_deref() {
        None => {}
        Some("kernel") => out.push_str(", kept right by the system"),
        Some("date") => out.push_str(", by the endpoint's answers"),
        Some("rtc") => out.push_str(", by the hardware clock"),
        Some(other) => out.push_str(&format!(", by {}", text::visible(other))),
    }
    if let Some(since) = status.clock_since.as_deref().and_then(text::millis) {
        out.push_str(&format!(", for {}", text::span(now_ms - since)));
    }
    match status.clock_behind_s {
        None | Some(0) => {}
        Some(behind) => {
            let way = if behind > 0 { "behind" } else { "ahead" };
            let by = text::span(behind.saturating_mul(1000));
            out.push_str(&format!("; the machine's clock is {by} {way}"));
        }
    }
    out
}

fn journal(status: &Status) -> String {
    let journal = &status.journal;
    let share = match journal.max_bytes {
        0 => String::new(),
        max => {
            let percent = u128::from(journal.bytes) * 100 / u128::from(max);
            format!(" of {} ({percent} %)", text::bytes(max))
        }
    };
    let full =
        if journal.full { "; its disk is full: nothing new is recorded until there is space" } else { "" };
    format!("{}{share} in {}{full}", text::bytes(journal.bytes), text::visible(&journal.path))
}

fn losses(status: &Status) -> layout::Fact {
    let lost: Vec<String> = status
        .losses
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {}", text::visible(name)))
        .collect();
    if lost.is_empty() {
        ("Losses", String::from("none"), None)
    } else {
        ("Losses", lost.join(", "), Some(Tone::Bad))
    }
}

fn link_tone(link: &str) -> Tone {
    match link {
        "online" => Tone::Good,
        "captive" => Tone::Bad,
        _ => Tone::Busy,
    }
}

fn uploader_tone(state: &str) -> Tone {
    match state {
        "idle" | "sending" => Tone::Good,
        "paused" => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// The status in one line for a log or a pipe.
fn line(status: &Status) -> String {
    let (sessions, uploader) = (&status.sessions, &status.uploader);
    let lost: u64 = status.losses.values().sum();
    let mut out = format!(
        "link={} uploader={} open={} completed={} delivered={} quarantined={} stored={} lost={lost} consent={}",
        text::visible(&status.link),
        text::visible(&uploader.state),
        sessions.open,
        sessions.completed,
        sessions.delivered,
        sessions.quarantined,
        status.events.stored,
        text::visible(&status.consent),
    );
    if let Some(reason) = &uploader.reason {
        out.push_str(&format!(" reason={:?}", text::visible(reason)));
    }
    out
}

#[cfg(test)]
mod tests;
