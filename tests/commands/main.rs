//! Every command through the real binary against the real service (product section 3).

mod decide;
mod demo;
#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/examples.rs"]
mod examples;
mod exits;
mod import;
mod look;
mod packaging;
mod record;
mod send;
#[path = "../support/service.rs"]
mod service;
mod story;
mod terminal;
#[path = "../support/users.rs"]
mod users;

use std::path::PathBuf;
use std::process::{Command, Output};

use afterplay::commands::text::width;
use serde_json::{Value, json};

use endpoint::{Act, Endpoint, Reply};
use service::{Place, Service, start_event};

/// A title that tries to move the cursor, ring, and turn the text around.
const HOSTILE: &str = "\u{1b}[31mred\u{7}\u{202e}gnp\r\n";
/// How it is shown.
const HARMLESS: &str = "\\u{1b}[31mred\\u{7}\\u{202e}gnp\\r\\n";

/// What a command came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It must have done what it was to do, in silence besides what was asked for.
    fn done(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Standard output as one JSON value.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {:?}", self.out))
    }

    /// Standard output as a JSON value a line.
    fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs a command against the service of a place.
fn run(place: &Place, arguments: &[&str]) -> Ran {
    Ran::of(command(place, arguments).output().unwrap())
}

/// The binary with times in UTC.
fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env("TZ", "UTC");
    command
}

/// A place whose service records and holds everything back.
fn holding() -> Place {
    Place::new(&nowhere(), "datastream_id = \"\"")
}

/// An endpoint where nobody listens.
fn nowhere() -> String {
    format!("http://{}/ee/va/v1/downloaded", endpoint::nobody())
}

/// A place whose endpoint refuses the first session for good.
fn refusing() -> (Endpoint, Place) {
    let problem = json!({
        "type": "https://ns.adobe.com/aep/errors/EXEG-0104-422", "status": 422, "title": "Unprocessable",
        "detail": "length is \u{1b}[31mwrong",
    });
    let endpoint = Endpoint::start([Act::Answer(Reply::json(422, problem.to_string()))]);
    let place = Place::new(&endpoint.url(), "");
    (endpoint, place)
}

/// A session that was refused, one that was delivered, one that is open.
fn one_of_each(service: &Service<'_>) {
    service.play("refused");
    service.wait_for_state("refused", "quarantined");
    service.play("good");
    service.wait_for_state("good", "delivered");
    service.record("open", &start_event("open"));
}

/// Every line fits a screen of 80 columns and does nothing to it.
fn assert_fits(shown: &str) {
    for line in shown.lines() {
        assert!(width(line) <= 80, "{} columns: {line}", width(line));
    }
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

/// A start event with a title.
fn titled(title: &str) -> Value {
    let mut start = start_event("ep-1");
    start["mediaCollection"]["sessionDetails"]["friendlyName"] = title.into();
    start
}

/// A file in the folder of a place.
fn file(place: &Place, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = place.dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}
