//! `afterplay record`: events as JSON lines to the service, an answer a line back.
//!
//! The lines go out byte for byte. What the service already took before an answer was lost is looked up rather than
//! sent again, since an event without a `seq` of its own would be recorded twice.

mod lines;

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::model::{Appended, Events, Page, Session};
use super::{ExitError, Screen};
use crate::cli::RecordArgs;
use crate::client::{Call, Client, ClientError, Refusal, session_path};
use lines::{Line, next_line};

/// How long a service that went away is waited for: a restart, an update, a journal that is full for a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Newest sessions that are searched for one whose answer was lost.
const LOOK_BACK: usize = 20;

/// Records standard input.
pub(super) async fn record(
    client: &mut Client,
    args: &RecordArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let recorder = Recorder::start(client, args.session.as_deref(), PATIENCE).await?;
    run(recorder, screen).await
}

async fn run(mut recorder: Recorder<'_>, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let (mut number, mut sent, mut refused) = (0_u64, 0_u64, 0_u64);
    // Events count for more than answers: when nobody reads those any more, recording goes on.
    let mut deaf: Option<io::Error> = None;
    loop {
        let line = next_line(screen.input)
            .await
            .map_err(|error| ExitError::failed(format!("cannot read standard input: {error}")))?;
        number += 1;
        let reply = match line {
            Line::End => break,
            Line::Blank => continue,
            Line::TooLong => Reply::Refused(local_problem(
                413,
                "too_large",
                &format!("line {number} is longer than {} bytes", lines::LONGEST),
            )),
            Line::Event(event) => recorder.event(&event, number).await.map_err(|error| {
                let ExitError { code, message } = error.into();
                let message = message.unwrap_or_default();
                ExitError {
                    code,
                    message: Some(format!("line {number} and what follows is not recorded: {message}")),
                }
            })?,
        };
        sent += 1;
        let text = match reply {
            Reply::Taken(text) => text,
            Reply::Refused(text) => {
                refused += 1;
                text
            }
        };
        if deaf.is_none() {
            deaf = screen.line(&text).and_then(|()| screen.out.flush()).err();
        }
    }
    if refused > 0 {
        screen.complain(&format!("{refused} of {sent} lines refused; the answers say why"));
        return Err(ExitError::quiet(1));
    }
    deaf.map_or(Ok(()), |error| Err(error.into()))
}

/// What a line got: the answer or the problem, in one line.
enum Reply {
    Taken(String),
    Refused(String),
}

/// Where the events go.
#[derive(Debug, Clone, Default)]
struct Target {
    key: String,
    /// Events that the service is known to hold under the key.
    known: u64,
}

/// One stream of events to one service.
struct Recorder<'c> {
    client: &'c mut Client,
    /// Named on the command line: everything goes there.
    fixed: bool,
    target: Option<Target>,
    patience: Duration,
}

/// What is read of a line to see where it goes.
#[derive(Debug, Default, Deserialize)]
struct Glance {
    #[serde(rename = "mediaEventType")]
    kind: Option<String>,
    seq: Option<Value>,
}

impl<'c> Recorder<'c> {
    /// Asks the service for something first, so that a service that does not run is known before anything is read.
    async fn start(
        client: &'c mut Client,
        key: Option<&str>,
        patience: Duration,
    ) -> Result<Recorder<'c>, ClientError> {
        let mut target = None;
        if let Some(key) = key {
            let held = match get_own::<Session>(client, key, "").await {
                Ok(session) => session.events,
                // A new key, or one that is refused; the first event will be told which.
                Err(ClientError::Problem(_)) => 0,
                Err(error) => return Err(error),
            };
            target = Some(Target { key: key.to_owned(), known: held });
        } else {
            client.get::<Value>("/v1/status").await?;
        }
        Ok(Recorder { client, fixed: key.is_some(), target, patience })
    }

    async fn event(&mut self, event: &[u8], number: u64) -> Result<Reply, ClientError> {
        let glance: Option<Glance> = serde_json::from_slice(event).ok();
        let starts = glance.as_ref().is_some_and(|seen| seen.kind.as_deref() == Some("media.sessionStart"));
        if starts && !self.fixed {
            // If it is refused, what follows must not end up in the session before.
            self.target = None;
        }
        let path = match &self.target {
            Some(target) => session_path(&target.key, "/events", None),
            // The service says best what is wrong with a line that is not even an object.
            None if starts || glance.is_none() => String::from("/v1/sessions"),
            None => {
                let detail =
                    format!("line {number} has no session: no media.sessionStart was taken before it");
                return Ok(Reply::Refused(local_problem(404, "unknown_session", &detail)));
            }
        };
        let call = Call::post(path).json(event.to_vec());
        // Under an event's own number the service itself recognises a resend.
        let numbered = self.target.is_some() && glance.is_some_and(|seen| seen.seq.is_some());
        self.deliver(&call, event, numbered).await
    }

    /// Sends until there is an answer, as long as patience lasts.
    async fn deliver(&mut self, call: &Call, event: &[u8], numbered: bool) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        let mut unsure = false;
        loop {
            let looked_up = if unsure && !numbered { self.look_up(event).await } else { Ok(None) };
            let result = match looked_up {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => self.client.send(call).await.map(|answer| one_line(&answer.body)),
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(answer) => {
                    self.taken(&answer, call)?;
                    return Ok(Reply::Taken(answer));
                }
                Err(error) => error,
            };
            let wait = match &error {
                ClientError::Problem(refusal) if matches!(refusal.status, 429 | 503) => {
                    Duration::from_secs(refusal.retry_after.unwrap_or(0)).max(pause)
                }
                ClientError::Problem(refusal) => return Ok(Reply::Refused(problem_line(refusal))),
                ClientError::Unanswered { maybe_done, .. } => {
                    unsure |= maybe_done;
                    pause
                }
                ClientError::Timeout { .. } => {
                    unsure = true;
                    pause
                }
                ClientError::NotRunning { .. } => pause,
                _ => return Err(error),
            };
            if Instant::now() + wait > deadline {
                return match error {
                    ClientError::Problem(refusal) => Ok(Reply::Refused(problem_line(&refusal))),
                    other => Err(other),
                };
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Notes from an answer where the events are now.
    fn taken(&mut self, answer: &str, call: &Call) -> Result<(), ClientError> {
        let appended: Appended = self.client.decode(call, answer.as_bytes())?;
        let recorded = appended.recorded;
        match &mut self.target {
            // The key leads to the successor from now on, which is counted from its own start.
            Some(target) if appended.continues_as.is_some() => target.known = recorded,
            Some(target) => target.known += recorded,
            None => self.target = Some(Target { key: appended.session, known: recorded }),
        }
        Ok(())
    }

    /// The answer to `event` made anew, if the service turns out to hold it already.
    async fn look_up(&mut self, event: &[u8]) -> Result<Option<String>, ClientError> {
        let Ok(ours) = serde_json::from_slice::<Value>(event) else { return Ok(None) };
        match self.target.clone() {
            Some(target) => self.held_by(&target, &ours).await,
            None => {
                let path = format!("/v1/sessions?state=open&limit={LOOK_BACK}");
                let page: Page = self.client.get(&path).await?;
                for item in page.items {
                    if item["events"] == 1
                        && let Some(key) = item["session"].as_str()
                        && let Some(found) =
                            self.held_by(&Target { key: key.to_owned(), known: 0 }, &ours).await?
                    {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }

    async fn held_by(&mut self, target: &Target, ours: &Value) -> Result<Option<String>, ClientError> {
        let held: Events = match get_own(self.client, &target.key, "/events").await {
            Err(ClientError::Problem(refusal)) if refusal.status == 404 => return Ok(None),
            other => other?,
        };
        let later =
            held.events.get(usize::try_from(target.known).unwrap_or(usize::MAX)..).unwrap_or_default();
        let wanted = ours.as_array().map_or(std::slice::from_ref(ours), Vec::as_slice);
        let found: Vec<&Value> =
            wanted.iter().filter_map(|ours| later.iter().find(|theirs| same_event(ours, theirs))).collect();
        let Some(last) = found.last().filter(|_| found.len() == wanted.len()) else { return Ok(None) };
        let session: Session = get_own(self.client, &target.key, "").await?;
        let answer = json!({
            "session": target.key, "state": session.state, "recorded": found.len(), "duplicates": 0, "seq": last["seq"],
        });
        Ok(Some(answer.to_string()))
    }
}

/// What there is of a session of our own: events go to none but these, although an administrator sees those of others.
async fn get_own<T: DeserializeOwned>(client: &mut Client, key: &str, below: &str) -> Result<T, ClientError> {
    let uid = rustix::process::geteuid().as_raw();
    match client.get(&session_path(key, below, Some(uid))).await {
        // In a user namespace our number is another one than the service sees.
        Err(ClientError::Problem(refusal)) if refusal.status == 403 => {
            client.get(&session_path(key, below, None)).await
        }
        other => other,
    }
}

/// Whether the service's record holds what we sent: all of our members, beside those that it adds.
fn same_event(ours: &Value, theirs: &Value) -> bool {
    let Some(members) = ours.as_object() else { return false };
    members
        .iter()
        .filter(|(name, _)| *name != "identityMap")
        .all(|(name, value)| theirs.get(name) == Some(value))
}

/// A body in one line; the service's own bytes where they are one already.
fn one_line(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if !text.trim_end().contains(['\n', '\r']) => text.trim_end().to_owned(),
        _ => match serde_json::from_slice::<Value>(body) {
            Ok(value) => value.to_string(),
            Err(_) => json!(String::from_utf8_lossy(body)).to_string(),
        },
    }
}

/// A refusal in one line of JSON, even where something else than the service answered.
fn problem_line(refusal: &Refusal) -> String {
    if serde_json::from_slice::<Value>(&refusal.body).is_ok_and(|body| body.is_object()) {
        return one_line(&refusal.body);
    }
    json!({ "type": "about:blank", "title": refusal.problem.title, "status": refusal.status,
            "detail": refusal.problem.detail })
    .to_string()
}

/// A problem that needs no service to be seen, in the form of all the others.
fn local_problem(status: u16, reason: &str, detail: &str) -> String {
    let title = hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    json!({ "type": "about:blank", "title": title, "status": status, "reason": reason, "detail": detail })
        .to_string()
}

#[cfg(test)]
mod tests;
