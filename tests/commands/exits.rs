//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no service, 78 no valid configuration.

use std::fs;
use std::process::Stdio;

use crate::endpoint::Endpoint;
use crate::service::{Place, connect};
use crate::{Ran, command, file, holding, nowhere, run};

/// Every command that talks to the service.
const CLIENTS: &[&[&str]] = &[
    &["status"],
    &["status", "--json"],
    &["status", "--watch"],
    &["sessions"],
    &["show", "k"],
    &["payload", "k"],
    &["record"],
    &["record", "--session", "k"],
    &["flush"],
    &["retry", "k"],
    &["retry", "--all"],
    &["discard", "k"],
    &["consent"],
    &["consent", "out"],
    &["identity"],
    &["identity", "--reset"],
];

#[test]
fn three_where_no_service_runs() {
    let place = holding();
    let body = file(&place, "body.json", r#"{"events":[{"xdm":{}}]}"#);
    let import = ["import", body.to_str().unwrap()];
    let never = |place: &Place| place.socket();
    let dead = |place: &Place| {
        place.start().kill();
        place.socket()
    };
    for (what, socket) in [("never started", never(&place)), ("killed", dead(&place))] {
        for arguments in CLIENTS.iter().copied().chain([&import[..]]) {
            let ran = run(&place, arguments);
            assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{what}, {arguments:?}: {}", ran.err);
            for part in
                [socket.to_str().unwrap(), "not running", "afterplay run", "systemctl start afterplay"]
            {
                assert!(ran.err.contains(part), "{what}, {arguments:?}: {}", ran.err);
            }
            assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        }
    }
}

#[test]
fn two_for_wrong_usage() {
    let place = holding();
    for arguments in [
        &["start"][..],
        &["status", "--jsn"],
        &["sessions", "--state", "sending"],
        &["show"],
        &["show", ""],
        &["import"],
        &["retry"],
        &["retry", "--all", "k"],
        &["discard"],
        &["consent", "maybe"],
        &["completions"],
        &["completions", "tcl"],
        &["sandbox"],
        &["sandbox", "--listen", "somewhere"],
        &["sandbox", "--listen", "127.0.0.1:0", "--answer", "503y2"],
    ] {
        let ran = run(&place, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
    let bare = Ran::of(std::process::Command::new(crate::service::BINARY).output().unwrap());
    assert_eq!(bare.code, 2);
    assert!(bare.err.contains("afterplay demo"), "a newcomer is told where to begin: {}", bare.err);
}

#[test]
fn help_and_version_are_no_mistake() {
    let place = holding();
    let said = run(&place, &["--version"]).done();
    assert_eq!(said, format!("afterplay {}\n", env!("CARGO_PKG_VERSION")));
    let said = run(&place, &["--help"]).done();
    assert!(said.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 "), "{said}");
    for line in said.lines().filter(|line| line.starts_with("  ")).map(str::trim) {
        let Some(name) = line
            .split("  ")
            .next()
            .filter(|name| *name != "help" && name.chars().all(|c| c.is_ascii_lowercase()))
        else {
            continue;
        };
        let help = run(&place, &[name, "--help"]);
        assert_eq!(help.code, 0, "{name}: {}", help.err);
        assert!(help.out.contains("Usage: afterplay"), "{name}: {}", help.out);
    }
}

/// A configuration that cannot be used: what is written, and what must be said of it.
fn broken(place: &Place) -> Vec<(&'static str, Vec<u8>, Vec<String>)> {
    let path = place.config.to_str().unwrap();
    let at = |line: usize, rest: &str| vec![format!("{path}:{line}:"), rest.to_owned()];
    vec![
        ("unknown key", b"\n[session]\nidle_timeot = \"5m\"\n".to_vec(), at(3, "session.idle_timeot")),
        ("unknown section", b"[sesion]\nidle_timeout = \"5m\"\n".to_vec(), at(1, "sesion")),
        ("bad URL", b"endpoint = \"edge.adobedc.net\"\n".to_vec(), at(1, "endpoint: ")),
        ("plain http", b"# one\nendpoint = \"http://edge.adobedc.net/ee\"\n".to_vec(), at(2, "https")),
        ("wrong type", b"[journal]\nmax_bytes = \"many\"\n".to_vec(), at(2, "journal.max_bytes")),
        ("no TOML", b"datastream_id = \n".to_vec(), at(1, "")),
        ("no text", b"datastream_id = \"\xff\"\n".to_vec(), vec![path.to_owned()]),
    ]
}

#[test]
fn seventy_eight_for_a_configuration_that_cannot_be_used() {
    let place = holding();
    let service = place.start();
    let body = file(&place, "body.json", "{}");
    let import = ["import", body.to_str().unwrap()];
    let all: Vec<&[&str]> =
        CLIENTS.iter().copied().chain([&["run"][..], &["check"], &["check", "--json"], &import]).collect();
    for (what, text, expected) in broken(&place) {
        fs::write(&place.config, text).unwrap();
        // Each kind of command by one of them, and one kind of mistake by all.
        let some: &[&[&str]] =
            if what == "unknown key" { &all } else { &[&["run"], &["status"], &["check"]] };
        for arguments in some {
            let ran = run(&place, arguments);
            assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{what}, {arguments:?}: {}", ran.err);
            for part in &expected {
                assert!(ran.err.contains(part), "{what}, {arguments:?}: no {part:?} in {}", ran.err);
            }
        }
    }
    drop(service);
}

#[test]
fn seventy_eight_for_a_file_that_cannot_be_read() {
    let place = holding();
    let missing = place.dir.path().join("none.toml");
    for path in [missing.to_str().unwrap(), place.dir.path().to_str().unwrap()] {
        for name in ["run", "status", "check"] {
            // Not through the harness, which names its own file.
            let mut command = std::process::Command::new(crate::service::BINARY);
            command.args([name, "--config", path]).env_clear().stdin(Stdio::null());
            let ran = Ran::of(command.output().unwrap());
            assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{path}: {}", ran.err);
            assert!(
                ran.err.contains(path) && ran.err.contains("cannot read the configuration"),
                "{}",
                ran.err
            );
        }
    }
}

#[test]
fn seventy_eight_for_a_wrong_environment_variable() {
    let place = holding();
    let mut command = command(&place, &["status"]);
    let ran = Ran::of(command.env("AFTERPLAY_SESSION__IDLE_TIMEOUT", "soon").output().unwrap());
    assert_eq!(ran.code, 78);
    assert!(ran.err.contains("AFTERPLAY_SESSION__IDLE_TIMEOUT"), "{}", ran.err);
}

#[test]
fn one_where_something_else_answers_on_the_socket() {
    let place = holding();
    let listener = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
    let stranger = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut piece = [0; 1024];
        let _ = stream.read(&mut piece);
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    let ran = run(&place, &["status"]);
    stranger.join().unwrap();
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains(place.socket().to_str().unwrap()), "{}", ran.err);
}

#[test]
fn zero_where_the_reader_has_seen_enough() {
    let place = holding();
    let service = place.start();
    for n in 0..40 {
        service.play(&format!("s{n}"));
    }
    let mut child =
        command(&place, &["sessions"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn settings_of_the_environment_lead_to_the_service() {
    let endpoint = Endpoint::start([]);
    let place = Place::new(&endpoint.url(), "");
    let _service = place.start();
    let elsewhere = Place::new(&nowhere(), "");
    assert_eq!(run(&elsewhere, &["status"]).code, 3);
    let mut command = command(&elsewhere, &["status"]);
    let ran = Ran::of(command.env("AFTERPLAY_API__SOCKET", place.socket()).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(connect(&place.socket()).is_ok());
}
