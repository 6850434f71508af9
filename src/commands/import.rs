//! `afterplay import`: `downloaded` request bodies into the journal.

use std::io;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::{ExitError, Screen, text};
use crate::cli::ImportArgs;
use crate::client::{Call, Client, ClientError};

const PATH: &str = "/ee/va/v1/downloaded";

/// Journals each file; one that fails does not hold up the others.
pub(super) async fn import(
    client: &mut Client,
    args: &ImportArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let mut failed = false;
    for file in &args.files {
        let name = file.display().to_string();
        let bodies =
            read(file, screen).await.map_err(|error| error.to_string()).and_then(|body| split(&body));
        let bodies = match bodies {
            Ok(bodies) => bodies,
            Err(problem) => {
                screen.complain(&format!("{name}: {problem}"));
                failed = true;
                continue;
            }
        };
        let several = bodies.len() > 1;
        for (number, (body, events)) in bodies.into_iter().enumerate() {
            let name = if several { format!("{name}, session {}", number + 1) } else { name.clone() };
            let call = Call::post(PATH).json(body);
            match client.send(&call).await {
                Ok(answer) => {
                    let journaled = Journaled::read(&answer.body, events);
                    failed |= !journaled.errors.is_empty();
                    journaled.say(&name, args.json, screen)?;
                }
                Err(ClientError::Problem(refusal)) => {
                    screen.complain(&format!("{name}: {refusal}"));
                    failed = true;
                }
                Err(ClientError::NotRunning { socket, cause }) => {
                    return Err(ClientError::NotRunning { socket, cause }.into());
                }
                Err(error) => {
                    let advice =
                        "it may be journaled all the same: look at `afterplay sessions` before trying again";
                    return Err(ExitError::failed(format!("{name}: {error}; {advice}")));
                }
            }
        }
    }
    if failed { Err(ExitError::quiet(1)) } else { Ok(()) }
}

async fn read(file: &Path, screen: &mut Screen<'_>) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return tokio::fs::read(file).await;
    }
    let mut body = Vec::new();
    screen.input.read_to_end(&mut body).await?;
    Ok(body)
}

/// The parts of a body that matter for taking it apart.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item {
    xdm: Xdm,
}

#[derive(Deserialize)]
struct Xdm {
    #[serde(rename = "mediaDownloadedEvents", default)]
    events: Vec<IgnoredAny>,
}

/// The request body of one media session, and how many events it holds where that can be told.
type OneSession = (Vec<u8>, Option<u64>);

/// One request body for each media session. Each session then stands or falls alone, and
/// a file of many is no larger a request than the largest of them. The bytes of a session stay as they are.
fn split(body: &[u8]) -> Result<Vec<OneSession>, String> {
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return Err(format!("not JSON: {error}"));
    }
    let events =
        |item: &str| serde_json::from_str::<Item>(item).ok().map(|item| item.xdm.events.len() as u64);
    match serde_json::from_slice::<Body<'_>>(body) {
        Ok(Body { events: items }) if items.len() > 1 => Ok(items
            .iter()
            .map(|item| (format!("{{\"events\":[{}]}}", item.get()).into_bytes(), events(item.get())))
            .collect()),
        Ok(Body { events: items }) => {
            Ok(vec![(body.to_vec(), items.first().and_then(|item| events(item.get())))])
        }
        // Of another shape: the service says in full what is wrong with it.
        Err(_) => Ok(vec![(body.to_vec(), None)]),
    }
}

/// What became of one body.
#[derive(Debug, PartialEq)]
struct Journaled {
    sessions: Vec<String>,
    events: Option<u64>,
    errors: Vec<String>,
    warnings: Vec<Warning>,
}

/// Something odd about a session that was journaled.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Warning {
    #[serde(rename(deserialize = "name"))]
    path: String,
    #[serde(rename(deserialize = "reason"))]
    problem: String,
}

impl Journaled {
    /// Reads an answer of the Media Edge face: the key is in a `media-analytics:new-session` handle, an answer that is
    /// no plain success lists errors, and warnings have what they are about in their report.
    fn read(answer: &[u8], events: Option<u64>) -> Journaled {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let sessions = list(&answer["handle"])
            .iter()
            .filter(|handle| handle["type"] == "media-analytics:new-session")
            .flat_map(|handle| list(&handle["payload"]))
            .filter_map(|payload| payload["sessionId"].as_str().map(String::from))
            .collect();
        let errors = list(&answer["errors"])
            .iter()
            .map(|error| {
                let said = error["detail"].as_str().or(error["title"].as_str());
                said.map_or_else(|| error.to_string(), String::from)
            })
            .collect();
        let warnings = list(&answer["warnings"])
            .iter()
            .flat_map(|warning| list(&warning["report"]["details"]))
            .filter_map(|detail| Warning::deserialize(detail).ok())
            .collect();
        Journaled { sessions, events, errors, warnings }
    }

    fn say(&self, name: &str, as_json: bool, screen: &mut Screen<'_>) -> io::Result<()> {
        for error in &self.errors {
            screen.complain(&format!("{name}: {error}"));
        }
        if !self.errors.is_empty() && self.sessions.is_empty() {
            return Ok(());
        }
        if as_json {
            let mut line = json!({ "file": name, "sessions": self.sessions, "events": self.events });
            if !self.warnings.is_empty() {
                line["warnings"] = json!(self.warnings);
            }
            return screen.line(&line.to_string());
        }
        let keys = self.sessions.join(", ");
        let keys = if keys.is_empty() { keys } else { format!(" as {}", text::visible(&keys)) };
        let events =
            self.events.map_or_else(String::new, |count| format!(", {}", text::count(count, "event")));
        screen.line(&format!("{}: journaled{keys}{events}", text::visible(name)))?;
        for Warning { path, problem } in &self.warnings {
            screen.complain(&format!("{name}: {path}: {problem}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
