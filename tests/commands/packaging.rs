//! `completions` and `man`, read by the programs they are made for where those are installed.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::{holding, run};

/// Every command of product section 3.
const COMMANDS: [&str; 18] = [
    "run",
    "demo",
    "sandbox",
    "record",
    "import",
    "status",
    "sessions",
    "show",
    "payload",
    "flush",
    "retry",
    "discard",
    "consent",
    "identity",
    "check",
    "verify",
    "completions",
    "man",
];

/// Gives `text` to a program; `None` with a message where it is not installed.
fn read_by(program: &str, arguments: &[&str], text: &str) -> Option<(bool, String)> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: {program}: {error}");
            return None;
        }
    };
    let mut input = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn completions_are_scripts_that_the_shells_read() {
    let place = holding();
    for (shell, arguments) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let script = run(&place, &["completions", shell]).done();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        if let Some((good, said)) = read_by(shell, arguments, &script) {
            assert!(good, "{shell}: {said}");
        }
    }
}

#[test]
fn bash_completes_commands_and_states() {
    let place = holding();
    let script = run(&place, &["completions", "bash"]).done();
    let ask = "COMP_WORDS=(afterplay sessions --state q); COMP_CWORD=3; _afterplay afterplay q --state\n\
               echo \"${COMPREPLY[@]}\"\nCOMP_WORDS=(afterplay disc); COMP_CWORD=1; _afterplay afterplay disc afterplay\n\
               echo \"${COMPREPLY[@]}\"\n";
    if let Some((good, said)) = read_by("bash", &["--norc"], &format!("{script}\n{ask}")) {
        assert!(good, "{said}");
        assert_eq!(said, "quarantined\ndiscard\n");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let place = holding();
    let page = run(&place, &["man"]).done();
    assert!(page.contains(".TH afterplay 1"), "{page}");
    let dir = place.dir.path().join("man1");
    run(&place, &["man", "--dir", dir.to_str().unwrap()]).done();
    for command in COMMANDS {
        let page = std::fs::read_to_string(dir.join(format!("afterplay-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{command}");
        if let Some((good, said)) = read_by("mandoc", &["-Tlint", "-Werror"], &page) {
            assert!(good, "{command}: {said}");
        }
    }
}
