//! `afterplay check`: reads the configuration, the journal and the way to the endpoint and says what is wrong.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::style::Tone;
use super::{ExitError, Screen, load_config, text, verify};
use crate::cli::{CheckArgs, Global};
use crate::client::{Client, ClientError};
use crate::config::{self, Loaded};
use crate::journal;
use crate::link::Evidence;
use crate::upload::send::{Deadlines, Outcome, Sender};
use crate::upload::verdict::{self, Context};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Good,
    Warning,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    what: &'static str,
    grade: Grade,
    detail: String,
}

fn finding(what: &'static str, grade: Grade, detail: impl Into<String>) -> Finding {
    Finding { what, grade, detail: detail.into() }
}

/// Says what is wrong with the configuration, the journal and the way to the endpoint.
pub(super) async fn check(
    global: &Global,
    args: &CheckArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let loaded = load_config(global)?;
    let mut findings = configuration(&loaded);
    let socket = loaded.client_socket(config::socket_exists);
    let running: Result<Value, ClientError> = Client::new(socket.clone()).get("/v1/status").await;
    findings.push(match &running {
        Ok(status) => finding("service", Grade::Good, format!("is running (pid {})", status["pid"])),
        Err(ClientError::NotRunning { .. }) if is_in_the_way(&socket) => finding(
            "service",
            Grade::Wrong,
            format!("cannot start: {} is not a socket; remove it", socket.display()),
        ),
        Err(ClientError::NotRunning { .. }) => finding(
            "service",
            Grade::Warning,
            format!("is not running (nobody listens on {})", socket.display()),
        ),
        Err(error) => finding("service", Grade::Wrong, error.to_string()),
    });
    findings.push(match &running {
        Ok(status) if status["journal"]["full"] == true => finding(
            "journal",
            Grade::Wrong,
            format!(
                "the file system of {} is full: nothing new is recorded until there is space",
                status["journal"]["path"].as_str().unwrap_or_default()
            ),
        ),
        Ok(status) => finding(
            "journal",
            Grade::Good,
            format!(
                "{}: {} of {} bytes, in use by the service",
                status["journal"]["path"].as_str().unwrap_or_default(),
                status["journal"]["bytes"],
                status["journal"]["max_bytes"]
            ),
        ),
        Err(_) => journal(&loaded.config.journal.path),
    });
    // Whoever may not have it verified is told nothing of it.
    if let Ok(Some(found)) = verify::found(&loaded).await
        && found["sound"] == false
    {
        let detail = format!("{} things in it are wrong: `afterplay verify` names them", found["count"]);
        findings.push(finding("journal", Grade::Wrong, detail));
    }
    findings.extend(running.as_ref().ok().and_then(uploader));
    findings.push(endpoint(&loaded).await);
    let wrong = findings.iter().any(|finding| finding.grade == Grade::Wrong);
    if args.json {
        screen.line(&serde_json::json!({ "ok": !wrong, "findings": findings }).to_string())?;
    } else {
        for finding in &findings {
            let (word, tone) = match finding.grade {
                Grade::Good => ("ok", Tone::Good),
                Grade::Warning => ("note", Tone::Busy),
                Grade::Wrong => ("wrong", Tone::Bad),
            };
            let word = screen.style.paint(tone, &format!("{word:<6}"));
            screen.line(&format!("{word} {}: {}", finding.what, text::visible(&finding.detail)))?;
        }
    }
    if wrong { Err(ExitError::quiet(1)) } else { Ok(()) }
}

/// Whether something else is where the socket is to be.
fn is_in_the_way(socket: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(socket).is_ok_and(|found| !found.file_type().is_socket())
}

fn configuration(loaded: &Loaded) -> Vec<Finding> {
    let file = match &loaded.file {
        Some(file) => file.display().to_string(),
        None => "no file, so the defaults hold".to_owned(),
    };
    let set: Vec<&str> = loaded.set.keys().map(String::as_str).collect();
    let set = if set.is_empty() { "nothing is set".to_owned() } else { format!("sets {}", set.join(", ")) };
    let mut findings = vec![finding("configuration", Grade::Good, format!("{file}; {set}"))];
    if loaded.config.datastream_id.is_none() {
        findings.push(finding(
            "datastream_id",
            Grade::Warning,
            "is empty: sessions are recorded and held back until it is set",
        ));
    }
    findings
}

/// Looks at a journal that nobody has open, without touching it.
fn journal(path: &Path) -> Finding {
    use std::io::Read;
    let wrong = |detail: String| finding("journal", Grade::Wrong, detail);
    let path = &match journal::led_to(path) {
        Ok(path) => path,
        Err(error) => return wrong(format!("following the link {}: {error}", path.display())),
    };
    let shown = path.display();
    if let Err(error) = journal::check_place(path) {
        return wrong(error.to_string());
    }
    match journal::is_beheaded(path) {
        Ok(true) => {
            return wrong(format!(
                "{shown} is empty or gone, and other files of the journal are there: the next start will set aside \
                 what is left and begin a new one with what can be saved; what is known to be lost is counted, and \
                 where the consent is lost nothing is sent until it is given again. If you have the file elsewhere, \
                 put it back first"
            ));
        }
        Ok(false) => {}
        Err(error) => return wrong(format!("{shown}: {error}")),
    }
    let mut start = Vec::new();
    match File::open(path).and_then(|file| file.take(16).read_to_end(&mut start)) {
        Ok(16) if start == *b"SQLite format 3\0" => {
            finding("journal", Grade::Good, format!("{shown} is there"))
        }
        Ok(0 | 1) => {
            finding("journal", Grade::Good, format!("{shown} is empty and will be made at the next start"))
        }
        Ok(_) => {
            wrong(format!("{shown} is not a journal: the service will set it aside and begin a new one"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            finding("journal", Grade::Good, format!("{shown} will be made at the first start"))
        }
        Err(error) => wrong(format!("{shown}: {error}")),
    }
}

/// What keeps a running service from uploading. That nothing is configured is told of above.
fn uploader(status: &Value) -> Option<Finding> {
    let said = &status["uploader"];
    let reason = said["reason"].as_str().filter(|reason| *reason != "no_datastream_id")?;
    let grade = match (said["state"].as_str(), reason) {
        // A person decided so.
        (_, "consent_out" | "consent_pending") => Grade::Warning,
        (Some("paused"), _) => Grade::Wrong,
        (Some("waiting"), _) => Grade::Warning,
        _ => return None,
    };
    let detail = said["detail"].as_str().unwrap_or(reason);
    Some(finding("uploader", grade, format!("{}: {detail}", said["state"].as_str().unwrap_or_default())))
}

/// What the endpoint's origin says by a status. Only of the path itself would a refusal tell anything.
fn word_on(status: u16) -> (Grade, &'static str) {
    match status {
        300..=399 => (Grade::Warning, ": it redirects, which an upload never follows"),
        407 => (Grade::Warning, ": a proxy wants to know who is asking"),
        500.. => (Grade::Warning, ": it is in trouble, uploads wait until it is not"),
        _ => (Grade::Good, ""),
    }
}

/// Asks the endpoint's origin whether it is there and is itself; no session is sent.
async fn endpoint(loaded: &Loaded) -> Finding {
    let config = &loaded.config;
    let deadlines = Deadlines { connect: config.upload.connect_timeout, total: config.upload.timeout };
    // Any datastream will do to build the URL: its path and query are not asked for.
    let sender =
        Sender::new(config.endpoint.as_str(), config.datastream_id.as_deref().unwrap_or("none"), deadlines);
    let url = config.endpoint.as_str();
    match sender.probe().await {
        Outcome::Answer(answer) => {
            let (grade, words) = word_on(answer.status);
            finding("endpoint", grade, format!("{url} answers (status {}{words})", answer.status))
        }
        failed => {
            let context = Context { identity_from_configuration: true, now_ms: super::now_ms() };
            let judgement = verdict::judge(&failed, &context);
            let captive = if judgement.evidence == Evidence::Captive {
                "; somebody else seems to answer in its place"
            } else {
                ""
            };
            finding("endpoint", Grade::Wrong, format!("{url}: {}{captive}", judgement.detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_keeps_a_service_from_uploading_is_told() {
        let told = |state: &str, reason: Value| {
            let status = json!({"uploader": {"state": state, "reason": reason, "detail": null}});
            uploader(&status).map(|finding| (finding.grade, finding.detail))
        };
        let told_as = |grade, detail: &str| Some((grade, detail.to_owned()));
        for (state, reason, finding) in [
            ("idle", Value::Null, None),
            ("sending", Value::Null, None),
            ("paused", json!("no_datastream_id"), None),
            ("paused", json!("consent_out"), told_as(Grade::Warning, "paused: consent_out")),
            ("paused", json!("0400-403"), told_as(Grade::Wrong, "paused: 0400-403")),
            ("waiting", json!("offline"), told_as(Grade::Warning, "waiting: offline")),
        ] {
            assert_eq!(told(state, reason.clone()), finding, "{state} {reason}");
        }
    }

    #[test]
    fn a_status_of_the_origin_says_little() {
        let grades = [200, 302, 404, 407, 503].map(|status| word_on(status).0);
        use Grade::{Good, Warning};
        assert_eq!(grades, [Good, Warning, Good, Warning, Warning]);
    }
}
