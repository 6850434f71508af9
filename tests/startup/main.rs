//! How the service comes up: what it takes over, what it refuses and in which words, what it tells systemd.

#[path = "../support/endpoint.rs"]
mod endpoint;
mod journal;
mod log;
#[path = "../support/service.rs"]
mod service;
mod socket;
mod stop;
mod systemd;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use service::{Guard, Place, wait_for};

/// An endpoint that nobody needs in a test.
const NOWHERE: &str = "http://127.0.0.1:9/ee/va/v1/downloaded";

/// How a service ended that should not have come up.
struct Refused {
    code: Option<i32>,
    said: String,
    after: Duration,
}

/// Runs the service until it gives up; one that stays is a failure.
fn refused(place: &Place) -> Refused {
    refused_with(place, |_| {})
}

fn refused_with(place: &Place, change: impl FnOnce(&mut Command)) -> Refused {
    let mut command = place.command(&["run"]);
    command.stderr(Stdio::piped());
    change(&mut command);
    let began = Instant::now();
    let mut child = Guard(command.spawn().unwrap());
    let status = wait_for("the service to give up", || child.0.try_wait().unwrap());
    let after = began.elapsed();
    let said = std::io::read_to_string(child.0.stderr.take().unwrap()).unwrap();
    Refused { code: status.code(), said, after }
}

/// The permission bits of a file.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
