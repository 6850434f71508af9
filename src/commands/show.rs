//! `afterplay show`

use jiff::tz::TimeZone;
use serde_json::Value;

use super::model::{Attempt, Detail, Events, Receipt, Session};
use super::style::{Style, Tone, of_state};
use super::timeline::timeline;
use super::{ExitError, Screen, layout, text};
use crate::cli::ShowArgs;
use crate::client::{Call, Client, ClientError, session_path};

/// Attempts that are listed; of a long outage the last ones tell the story.
const ATTEMPTS: usize = 20;

/// How the facts are to be shown.
struct View<'a> {
    /// Whose session was asked for, where that was said.
    owner: Option<u32>,
    now_ms: i64,
    zone: &'a TimeZone,
    width: usize,
    style: Style,
}

/// Shows one session: facts, timeline and attempts, or the receipt of a delivered one.
pub(super) async fn show(
    client: &mut Client,
    args: &ShowArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let call = Call::get(session_path(&args.key, "", args.owner));
    let body = client.send(&call).await?.body;
    if args.json {
        let detail: Value = client.decode(&call, &body)?;
        screen.line(&text::json(&format!("{detail:#}")))?;
        return Ok(());
    }
    let detail: Detail = client.decode(&call, &body)?;
    let events = match &detail.receipt {
        Some(_) => Vec::new(),
        None => events(client, args).await?,
    };
    let now_ms = super::now_by_service(client, screen).await;
    let view =
        View { owner: args.owner, now_ms, zone: &screen.zone, width: screen.width, style: screen.style };
    let shown = view.page(&detail, &events);
    screen.out.write_all(shown.as_bytes())?;
    Ok(())
}

/// The events with their resolved times out of the payload; as recorded where there is no payload (yet).
async fn events(client: &mut Client, args: &ShowArgs) -> Result<Vec<Value>, ExitError> {
    let path = |below| session_path(&args.key, below, args.owner);
    if let Some(payload) = optional::<Value>(client.get(&path("/payload")).await)?
        && let Some(events) = payload["events"][0]["xdm"]["mediaDownloadedEvents"].as_array()
    {
        return Ok(events.clone());
    }
    let recorded: Option<Events> = optional(client.get(&path("/events")).await)?;
    Ok(recorded.unwrap_or_default().events)
}

/// `None` where the service has no such thing (any more); the rest of the page is still worth showing.
fn optional<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::Problem(refusal)) if matches!(refusal.status, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

impl View<'_> {
    fn page(&self, detail: &Detail, events: &[Value]) -> String {
        let session = &detail.session;
        let key = text::visible(&session.session);
        let head = match &session.title {
            Some(title) => format!("{} ({key})", text::visible(title)),
            None => key.into_owned(),
        };
        let mut out = String::new();
        for line in layout::wrap(&head, self.width) {
            out.push_str(&self.style.paint(Tone::Strong, &line));
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&layout::facts(&self.facts(detail), self.width, self.style));
        if let Some(receipt) = &detail.receipt {
            self.section(&mut out, "Receipt");
            out.push_str(&layout::facts(&self.receipt(receipt), self.width, self.style));
        } else {
            let drawing = timeline(events, self.width, self.zone);
            if !drawing.is_empty() {
                self.section(&mut out, "Timeline");
                out.push_str(&drawing);
            }
        }
        if !detail.attempts.is_empty() {
            self.section(&mut out, "Attempts");
            out.push_str(&self.attempts(&detail.attempts));
        }
        out
    }

    fn section(&self, out: &mut String, name: &str) {
        out.push('\n');
        out.push_str(&self.style.paint(Tone::Strong, name));
        out.push('\n');
    }

    fn facts(&self, detail: &Detail) -> Vec<layout::Fact> {
        let session = &detail.session;
        let mut rows: Vec<layout::Fact> = Vec::new();
        let state = match session.why.as_deref().map(because) {
            Some(why) => format!("{}, {why}", text::visible(&session.state)),
            None => text::visible(&session.state).into_owned(),
        };
        rows.push(("State", state, Some(of_state(&session.state))));
        let times = [
            ("Started", &session.started_at),
            ("Last event", &session.last_event_at),
            ("Completed", &session.completed_at),
            ("Quarantined", &session.quarantined_at),
            ("Delivered", &session.delivered_at),
        ];
        for (label, at) in times {
            if let Some(at) = at {
                rows.push((label, self.moment(at), None));
            }
        }
        self.times(detail, &mut rows);
        let size = format!("{}, {}", text::count(session.events, "event"), text::bytes(session.bytes));
        rows.push(("Size", size, None));
        if let Some(uid) = session.uid {
            rows.push(("Owner", format!("uid {uid}"), None));
        }
        if let Some(identity) = identity(detail.identity_map.as_ref()) {
            rows.push(("Identity", identity, None));
        }
        for (label, key) in [("Continues", &session.continues), ("Continued by", &session.continues_as)] {
            if let Some(key) = key {
                rows.push((label, text::visible(key).into_owned(), None));
            }
        }
        self.outlook(session, &mut rows);
        rows.extend(detail.warnings.iter().map(|item| ("Warning", warning(item), Some(Tone::Busy))));
        rows
    }

    /// How well the times are known, and what the clock had said where that was something else.
    fn times(&self, detail: &Detail, rows: &mut Vec<layout::Fact>) {
        match detail.session.time.as_deref() {
            Some("estimated") => {
                let how = "time: estimated, between what is known before and after";
                rows.push(("Times", String::from(how), Some(Tone::Busy)));
            }
            Some("assumed") => {
                rows.push(("Times", String::from("by a clock that nobody confirmed"), None));
            }
            _ => {}
        }
        let millis = |at: &Option<String>| at.as_deref().and_then(text::millis);
        let recorded = millis(&detail.as_recorded.started_at);
        if let (Some(shown), Some(recorded)) = (millis(&detail.session.started_at), recorded)
            && shown.abs_diff(recorded) >= 1000
        {
            let said = format!("the clock said {} at its start", text::full(recorded, self.zone));
            rows.push(("Recorded", said, None));
        }
    }

    /// How the upload stands.
    fn outlook(&self, session: &Session, rows: &mut Vec<layout::Fact>) {
        if let Some(last) = &session.last_verdict {
            let detail = last.detail.as_deref().unwrap_or_default();
            let said = answer(last.status, last.reason.as_deref(), Some(&last.verdict), detail);
            let age = last.at.as_deref().and_then(text::millis);
            let age = age.map_or_else(String::new, |at| self.how_far(at));
            let tone = (last.verdict == "quarantine").then_some(Tone::Bad);
            rows.push(("Last answer", format!("{said}{age}"), tone));
        }
        if let Some(at) = &session.next_attempt_at {
            rows.push(("Next attempt", self.moment(at), None));
        }
        if session.state == "quarantined" {
            let owner = self.owner.map_or_else(String::new, |uid| format!(" --owner {uid}"));
            let key = format!("{}{owner}", text::visible(&session.session));
            let choice = format!("afterplay retry {key}, or afterplay discard {key}");
            rows.push(("What to do", choice, None));
        }
    }

    fn receipt(&self, receipt: &Receipt) -> Vec<layout::Fact> {
        let mut rows: Vec<layout::Fact> = Vec::new();
        let mut text_row = |label, value: &Option<String>| {
            if let Some(value) = value {
                rows.push((label, text::visible(value).into_owned(), None));
            }
        };
        text_row("Request id", &receipt.request_id);
        text_row("Session id", &receipt.session_id);
        if let Some(at) = &receipt.delivered_at {
            rows.push(("Delivered", self.moment(at), None));
        }
        if let Some(status) = receipt.status {
            rows.push(("Status", status.to_string(), Some(Tone::Good)));
        }
        let parts = [
            receipt.events.map(|count| text::count(count, "event")),
            receipt.bytes.map(text::bytes),
            receipt.attempts.map(|count| text::count(count, "attempt")),
        ];
        rows.push(("Sent", parts.into_iter().flatten().collect::<Vec<_>>().join(", "), None));
        rows.extend(receipt.warnings.iter().map(|item| ("Warning", warning(item), Some(Tone::Busy))));
        rows
    }

    fn attempts(&self, attempts: &[Attempt]) -> String {
        let mut out = String::new();
        let skipped = attempts.len().saturating_sub(ATTEMPTS);
        if skipped > 0 {
            out.push_str(&format!("  {} before these\n", text::count(skipped as u64, "attempt")));
        }
        for attempt in &attempts[skipped..] {
            let at = attempt.at.as_deref().and_then(text::millis);
            let at = at.map_or_else(|| String::from("?"), |at| text::full(at, self.zone));
            let said = match attempt.ended_at {
                None if attempt.verdict.is_none() => String::from("under way"),
                _ => answer(
                    attempt.status,
                    attempt.reason.as_deref(),
                    attempt.verdict.as_deref(),
                    attempt.detail.as_deref().unwrap_or_default(),
                ),
            };
            let mut extras = attempt.bytes.map(|sent| format!(", {}", text::bytes(sent))).unwrap_or_default();
            if attempt.maybe_delivered {
                extras.push_str(", perhaps delivered all the same");
            }
            let head = format!("{:>4}  {at}  ", attempt.n);
            let columns = self.width.saturating_sub(head.len());
            for (number, line) in layout::wrap(&format!("{said}{extras}"), columns).iter().enumerate() {
                let lead = if number == 0 { head.clone() } else { " ".repeat(head.len()) };
                out.push_str(format!("{lead}{line}").trim_end());
                out.push('\n');
            }
        }
        out
    }

    fn moment(&self, at: &str) -> String {
        match text::millis(at) {
            Some(ms) => format!("{}{}", text::full(ms, self.zone), self.how_far(ms)),
            None => text::visible(at).into_owned(),
        }
    }

    /// How far a time is from now; nothing where a clock that is not set makes it nonsense.
    fn how_far(&self, ms: i64) -> String {
        match text::is_sensible(ms, self.now_ms) {
            true => format!(" ({})", text::relative(ms, self.now_ms)),
            false => String::new(),
        }
    }
}

/// Why a session was completed, in words.
fn because(why: &str) -> String {
    match why {
        "end" => String::from("ended by the player"),
        "complete" => String::from("completed on request"),
        "idle" => String::from("completed after a time without events"),
        "age" => String::from("completed for its age"),
        "boot" => String::from("completed at the next boot"),
        "import" => String::from("imported"),
        other => text::visible(other).into_owned(),
    }
}

/// What the endpoint or the network said, in one line.
fn answer(status: Option<u16>, reason: Option<&str>, verdict: Option<&str>, detail: &str) -> String {
    let status = status.map(|status| status.to_string());
    let reason = reason.map(text::visible).filter(|reason| Some(reason.as_ref()) != status.as_deref());
    let mut parts: Vec<String> = status.into_iter().chain(reason.map(Into::into)).collect();
    parts.extend(verdict.map(|verdict| text::visible(verdict).into_owned()));
    let mut out = parts.join(", ");
    if !detail.is_empty() {
        out.push_str(&format!(": {}", text::visible(detail)));
    }
    out
}

/// The primary identity of the map, or the first one.
fn identity(map: Option<&Value>) -> Option<String> {
    let all: Vec<(&String, &Value)> = map?
        .as_object()?
        .iter()
        .flat_map(|(namespace, items)| {
            items.as_array().into_iter().flatten().map(move |item| (namespace, item))
        })
        .collect();
    let chosen = all.iter().find(|(_, item)| item["primary"] == true).or(all.first())?;
    let id = chosen.1["id"].as_str()?;
    Some(format!("{} {}", text::visible(chosen.0), text::visible(id)))
}

/// A warning, whether it is a sentence or a path with its problem.
fn warning(item: &Value) -> String {
    match (item.as_str(), item["path"].as_str(), item["problem"].as_str()) {
        (Some(sentence), _, _) => text::visible(sentence).into_owned(),
        (None, Some(path), Some(problem)) => format!("{}: {}", text::visible(path), text::visible(problem)),
        _ => text::visible(&item.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests;
