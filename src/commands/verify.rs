//! `afterplay verify`: reads the whole journal and says what is wrong with it; changes nothing.

use std::time::Duration;

use serde_json::Value;

use super::style::Tone;
use super::{ExitError, Screen, load_config, text};
use crate::cli::{Global, VerifyArgs};
use crate::client::{Client, ClientError};
use crate::config::{self, Loaded};
use crate::journal::{Verified, verify_file};

/// A large journal on a slow disk, between everything else the service does.
const PATIENCE: Duration = Duration::from_secs(600);

/// What follows from damage.
const ADVICE: &str = "Nothing damaged is ever sent. The next start of the service makes damaged indexes anew; a journal \
    whose header, schema or other rows than events are damaged it sets aside, and saves what proves itself. Events that \
    are damaged cost their own session alone: it is set apart as corrupt when its turn comes to be sent.";

/// What was found, by the service if there is one, else by reading a copy of the files. `None`: there is no journal.
pub(super) async fn found(loaded: &Loaded) -> Result<Option<Value>, ExitError> {
    let client = Client::new(loaded.client_socket(config::socket_exists));
    match client.with_deadline(PATIENCE).get("/v1/verify").await {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::NotRunning { .. }) => {
            let found = verify_file(&loaded.config.journal.path);
            let found: Option<Verified> = found.map_err(|error| ExitError::failed(error.to_string()))?;
            Ok(found.and_then(|found| serde_json::to_value(found).ok()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Exit code 0: sound; 1: damaged, or it could not be read.
pub(super) async fn verify(
    global: &Global,
    args: &VerifyArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let loaded = load_config(global)?;
    let path = loaded.config.journal.path.display().to_string();
    let Some(found) = found(&loaded).await? else {
        if args.json {
            screen.line(r#"{"sound":true,"sessions":0,"events":0,"count":0,"problems":[]}"#)?;
        } else {
            screen.line(&format!("{path}: there is no journal yet"))?;
        }
        return Ok(());
    };
    let sound = found["sound"] == true;
    if args.json {
        screen.line(&found.to_string())?;
    } else {
        for problem in found["problems"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let word = screen.style.paint(Tone::Bad, "wrong ");
            screen.line(&format!("{word} {}", text::visible(problem)))?;
        }
        let (sessions, events) = (&found["sessions"], &found["events"]);
        screen.line(&match sound {
            true => format!("sound: {sessions} sessions and {events} events are as they were written"),
            false => format!("damaged: {} things are wrong\n{ADVICE}", found["count"]),
        })?;
    }
    if sound { Ok(()) } else { Err(ExitError::quiet(1)) }
}
