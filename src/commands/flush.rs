//! `afterplay flush`: try to upload now, and wait for what comes of it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::model::Status;
use super::{ExitError, Screen, text};
use crate::cli::FlushArgs;
use crate::client::{Call, Client};

/// Columns of the bar.
const BAR: usize = 40;
/// Back to the beginning of a line that is then empty.
const CLEAR_LINE: &str = "\r\x1b[K";
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks in a row without a send after which the uploader has stopped; between two sessions it rests for a moment.
const QUIET_LOOKS: u32 = 3;

/// Wakes the uploader and waits until nothing is left, or it no longer sends.
pub(super) async fn flush(
    client: &mut Client,
    args: &FlushArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let look = Call::get("/v1/status");
    let before: Status = client.fetch(&look).await?;
    client.send(&Call::post("/v1/flush")).await?;
    let mut progress = Progress::new(screen, args.json);
    let watched = watch(client, &look, &before, &mut progress, screen).await;
    // Also where it failed: what is said of that has a line of its own.
    let ended = progress.end(screen);
    let (step, now, body) = watched?;
    ended?;
    let said = verdict(&step, &now, now.now_ms((screen.now_ms)())).map_err(ExitError::failed);
    if args.json {
        let status: Value = client.decode(&look, &body)?;
        screen.line(&format!("{status:#}"))?;
    } else if let Ok(said) = &said {
        screen.line(said)?;
    }
    said.map(drop)
}

/// Shows what happens until it is over, and answers that and the last status.
async fn watch(
    client: &mut Client,
    look: &Call,
    before: &Status,
    progress: &mut Progress,
    screen: &mut Screen<'_>,
) -> Result<(Step, Status, Bytes), ExitError> {
    let mut quiet = 0;
    loop {
        let body = client.send(look).await?.body;
        let now: Status = client.decode(look, &body)?;
        let step = Step::between(before, &now);
        progress.show(&step, screen)?;
        quiet = if now.uploader.state == "sending" { 0 } else { quiet + 1 };
        if step.left == 0 || quiet >= QUIET_LOOKS {
            return Ok((step, now, body));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    delivered: u64,
    quarantined: u64,
    left: u64,
}

impl Step {
    fn between(before: &Status, now: &Status) -> Step {
        Step {
            delivered: now.sessions.delivered.saturating_sub(before.sessions.delivered),
            quarantined: now.sessions.quarantined.saturating_sub(before.sessions.quarantined),
            left: now.sessions.completed,
        }
    }

    fn done(&self) -> u64 {
        self.delivered + self.quarantined
    }
}

/// The last word: what was delivered, or why not everything was.
fn verdict(step: &Step, now: &Status, now_ms: i64) -> Result<String, String> {
    let delivered = format!("{} delivered", text::count(step.delivered, "session"));
    let mut trouble = Vec::new();
    if step.left > 0 {
        let uploader = &now.uploader;
        let mut why = format!(
            "{delivered}, {} still waiting: the uploader is {}",
            step.left,
            text::visible(&uploader.state)
        );
        match uploader.detail.as_ref().or(uploader.reason.as_ref()) {
            Some(reason) => why.push_str(&format!(" ({})", text::visible(reason))),
            None => why.push_str(&format!(" (link {})", text::visible(&now.link))),
        }
        if let Some(at) = uploader.next_attempt_at.as_deref().and_then(text::millis) {
            why.push_str(&format!(", next attempt {}", text::relative(at, now_ms)));
        }
        trouble.push(why);
    }
    if step.quarantined > 0 {
        let refused = text::count(step.quarantined, "session");
        trouble.push(format!("{refused} refused; `afterplay sessions --state quarantined` lists them"));
    }
    match (trouble.is_empty(), step.delivered) {
        (false, _) => Err(trouble.join("\n")),
        (true, 0) => Ok(String::from("Nothing to upload.")),
        (true, _) => Ok(format!("{delivered}.")),
    }
}

/// A bar on a terminal, else a line for each change.
struct Progress {
    live: bool,
    last: Option<Step>,
    silent: bool,
}

impl Progress {
    fn new(screen: &Screen<'_>, silent: bool) -> Progress {
        Progress { live: screen.err_live && !silent, last: None, silent }
    }

    fn show(&mut self, step: &Step, screen: &mut Screen<'_>) -> std::io::Result<()> {
        let (done, total) = (step.done(), step.done() + step.left);
        if self.live {
            write!(screen.err, "{CLEAR_LINE}{}", bar(step, screen.width))?;
            screen.err.flush()?;
        } else if !self.silent && self.last != Some(*step) && total > 0 {
            screen.line(&format!("{done} of {total} sent"))?;
            screen.out.flush()?;
        }
        self.last = Some(*step);
        Ok(())
    }

    fn end(&self, screen: &mut Screen<'_>) -> std::io::Result<()> {
        if self.live {
            write!(screen.err, "{CLEAR_LINE}")?;
        }
        Ok(())
    }
}

/// What a terminal of so many columns shows meanwhile.
fn bar(step: &Step, columns: usize) -> String {
    let (done, total) = (step.done(), step.done() + step.left);
    let mut words = format!("{done} of {total}");
    if step.quarantined > 0 {
        words.push_str(&format!(" ({} refused)", step.quarantined));
    }
    let length = columns.saturating_sub(words.len() + 6).min(BAR);
    let share = if total == 0 { 0.0 } else { done as f64 / total as f64 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let full = (share * length as f64) as usize;
    format!("  [{}{}] {words}", "━".repeat(full), " ".repeat(length - full))
}

#[cfg(test)]
mod tests;
