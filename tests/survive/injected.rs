//! Row "I/O errors" of the reliability table, on the real binary: system calls on the journal's files fail, where `strace`
//! is installed to put the errors in.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::service::{Place, Service, event, start_event, wait_for};

/// The n-th call of a thread on one of the two files, and what becomes of it; and whether it gets well again.
const FAULTS: [(&str, bool); 6] = [
    ("fdatasync:error=EIO:when=6", true),
    ("fdatasync:error=EIO:when=6+", false),
    ("pwrite64:error=EIO:when=30", true),
    ("pwrite64:error=ENOSPC:when=30", true),
    ("pwrite64:error=ENOSPC:when=30+", false),
    ("ftruncate:error=EIO:when=1+", true),
];
const EVENTS: u32 = 40;

fn strace_works() -> bool {
    let tried =
        Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Calls the service through `strace`, which stays in the background: the process that was started is the service.
fn put_in(fault: &str, place: &Place, command: &mut Command) {
    let wal = place.journal().with_extension("db-wal");
    let log = std::fs::OpenOptions::new().append(true).open(place.dir.path().join("log")).unwrap();
    let mut traced = Command::new("strace");
    traced
        .args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={fault}")])
        .args([Path::new("-P"), &place.journal(), Path::new("-P"), &wal])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(place.dir.path())
        .stdin(Stdio::null())
        .stderr(log);
    *command = traced;
}

/// Sends one event; answers whether it was acknowledged. Whatever the disk does, the answer is one of two.
fn is_taken(service: &Service<'_>, event: &Value) -> bool {
    let answer = service.request("POST", "/v1/sessions/one/events", event.to_string().as_bytes());
    assert!(matches!(answer.status, 200 | 201 | 503), "{}: {}", answer.status, answer.text());
    answer.status != 503
}

#[test]
fn the_binary_loses_nothing_acknowledged_when_a_system_call_fails() {
    if !strace_works() {
        println!("skipped: strace is not installed, or may not trace here");
        return;
    }
    std::thread::scope(|scope| {
        for (fault, gets_well) in FAULTS {
            scope.spawn(move || live_through(fault, gets_well));
        }
    });
}

fn live_through(fault: &str, gets_well: bool) {
    let nowhere = "http://127.0.0.1:9/nobody";
    let place = Place::new(nowhere, "");
    assert!(place.start().stop().success());
    let service = place.start_with(|command| put_in(fault, &place, command));
    let (mut taken, mut refused) = (Vec::new(), 0);
    for n in 0..EVENTS {
        // The number tells the events apart.
        let event = if n == 0 { start_event("one") } else { event("media.ping", n, n) };
        let done = if gets_well {
            wait_for(&format!("event {n} under {fault}"), || {
                let done = is_taken(&service, &event);
                refused += u32::from(!done);
                done.then_some(true)
            })
        } else {
            is_taken(&service, &event)
        };
        if done {
            taken.push(n);
        } else {
            refused += 1;
        }
    }
    // It lives, and answers; what it cannot read it does not make up.
    let status = service.request("GET", "/v1/status", b"").status;
    assert!(status == 200 || (status == 503 && !gets_well), "{fault}: {status}");
    assert!(!place.log_text().contains("panicked"), "{fault}: {}", place.log_text());
    service.kill();
    println!("{fault}: {} of {EVENTS} events taken, {refused} refusals", taken.len());
    assert!(fault.starts_with("ftruncate") || refused > 0, "{fault} never hit");

    let service = place.start();
    let answer = service.get("/v1/sessions/one/events");
    let mut found =
        answer["events"].as_array().unwrap().iter().map(|event| event["mediaCollection"]["playhead"].clone());
    for n in taken {
        // What was refused may be there, too, and more than once.
        assert!(
            found.any(|playhead| playhead == n),
            "{fault}: event {n} was acknowledged and is gone: {answer}"
        );
    }
    assert!(service.stop().success());
}
