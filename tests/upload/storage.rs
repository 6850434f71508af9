//! The journal cannot be written for a while: product promise 7.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use crate::endpoint::{Act, Endpoint, Reply};
use crate::service::{BINARY, Place, Service, wait_for};
use crate::{QUICK, names};

/// Limits the size of the files that the service writes: what lies beyond fails as on a full disk.
fn limit_files(service: &Service<'_>, bytes: &str) {
    let pid = service.child.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(limited.unwrap().success());
}

#[test]
fn an_answer_is_not_forgotten_and_nothing_ends_when_the_disk_refuses() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        eprintln!("skipped: prlimit is needed to play a full disk");
        return;
    }
    let slow = || Act::Drip(Reply::accepted(), Duration::from_millis(5));
    let endpoint = Endpoint::start([slow()]);
    let place = Place::new(&endpoint.url(), QUICK);
    // The signal that comes with the error would end the process, as it would not on a full disk.
    let service = place.start_with(|command| {
        let mut ignoring = Command::new("sh");
        ignoring.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
        ignoring.args(command.get_args()).current_dir(place.dir.path()).env_clear();
        for (name, value) in command.get_envs() {
            ignoring.env(name, value.unwrap());
        }
        let log = std::fs::OpenOptions::new().append(true).open(place.dir.path().join("log")).unwrap();
        ignoring.stdin(std::process::Stdio::null()).stderr(log);
        *command = ignoring;
    });
    service.play("a");
    service.play("b");
    endpoint.wait_for(1);
    limit_files(&service, "1");
    let shown = wait_for("the uploader to say so", || {
        // Asked in the same moment as something is written, it fails with that.
        let answer = service.request("GET", "/v1/status", b"");
        let shown = (answer.status == 200).then(|| answer.json()["uploader"].clone())?;
        let reason = shown["reason"].as_str();
        matches!(reason, Some("journal_full" | "storage")).then_some(shown)
    });
    assert_eq!(shown["state"], "waiting");
    assert_eq!(endpoint.requests().len(), 1, "what cannot be counted is not sent");

    limit_files(&service, "unlimited");
    service.wait_for_state("a", "delivered");
    service.wait_for_state("b", "delivered");
    assert_eq!(names(&endpoint.requests()), ["a", "b"], "each once");
    assert_eq!(service.status()["possible_duplicates"], 0);
    assert!(service.stop().success());
}
