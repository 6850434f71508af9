//! Colour and progress: on a terminal that wants them, and nowhere else.

use std::process::{Command, Stdio};

use crate::endpoint::{Act, Endpoint};
use crate::service::{BINARY, Place, start_event, wait_for};
use crate::{assert_fits, command, holding, refusing, run};

/// Runs a command on a terminal of `script`; `None` with a message where there is none.
fn on_a_terminal(place: &Place, line: &str, variables: &[(&str, &str)]) -> Option<String> {
    let line = format!("{BINARY} {line} --config {}", place.config.display());
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", place.dir.path())
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("skipped: script: {error}");
            None
        }
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let (_endpoint, place) = refusing();
    let service = place.start();
    service.play("refused");
    service.wait_for_state("refused", "quarantined");
    for line in ["status", "sessions", "show refused", "check"] {
        let Some(coloured) = on_a_terminal(&place, line, &[]) else { return };
        assert!(coloured.contains("\u{1b}["), "{line}: {coloured:?}");
        for without in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let plain = on_a_terminal(&place, line, &[without]).unwrap();
            assert!(!plain.contains('\u{1b}') && !plain.is_empty(), "{line}, {without:?}: {plain:?}");
        }
    }
}

#[test]
fn pipes_get_plain_text() {
    let (_endpoint, place) = refusing();
    let service = place.start();
    service.play("refused");
    service.wait_for_state("refused", "quarantined");
    for arguments in [&["status"][..], &["sessions"], &["show", "refused"], &["check"], &["flush"]] {
        for variables in [&[("TERM", "xterm")][..], &[("TERM", "xterm"), ("NO_COLOR", "1")]] {
            let mut command = command(&place, arguments);
            let output = command.envs(variables.iter().copied()).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(!said.contains(&0x1b), "{arguments:?}: {}", String::from_utf8_lossy(&said));
        }
    }
}

#[test]
fn flush_draws_a_bar_on_a_terminal() {
    let endpoint = Endpoint::start([Act::ResetOnConnect]);
    let place = Place::new(&endpoint.url(), "retry.initial = \"1h\"");
    let service = place.start();
    for n in 0..30 {
        service.play(&format!("s{n}"));
    }
    wait_for("the outage", || (service.status()["uploader"]["state"] == "waiting").then_some(()));
    let Some(said) = on_a_terminal(&place, "flush", &[("NO_COLOR", "1")]) else { return };
    assert!(said.contains(" of 30"), "{said:?}");
    assert!(said.trim_end().ends_with("30 sessions delivered."), "{said:?}");
}

#[test]
fn watching_redraws_a_terminal() {
    let place = holding();
    let service = place.start();
    service.record("one", &start_event("one"));
    // `timeout` ends it: it would go on for ever.
    let line = format!("timeout 2 {BINARY} status --watch --config {}", place.config.display());
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        println!("skipped: there is no script here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.matches("\u{1b}[H").count() >= 2, "{said:?}");
    assert!(said.contains("1 open, 0 completed"), "{said:?}");
}

#[test]
fn what_the_service_says_in_a_problem_is_harmless() {
    let place = holding();
    let _service = place.start();
    let ran = run(&place, &["show", "\u{1b}[31mkey"]);
    assert_eq!(ran.code, 1);
    assert_fits(&ran.out);
    assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
}
