//! What is in the socket's place, and who may use what the service makes.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::service::{BINARY, Place};
use crate::{NOWHERE, mode, refused};

#[test]
fn a_socket_that_a_service_listens_on_is_left_to_it() {
    let first = Place::new(NOWHERE, "");
    let service = first.start();
    let socket = first.socket();
    let second = Place::new(NOWHERE, &format!("api.socket = {:?}", socket.to_str().unwrap()));
    let refused = refused(&second);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let holder = format!("is taken by process {}", service.child.id());
    for part in [holder.as_str(), socket.to_str().unwrap(), "api.socket"] {
        assert!(refused.said.contains(part), "{part}: {}", refused.said);
    }
    service.play("still-here");
}

#[test]
fn a_dead_socket_is_taken_over() {
    let place = Place::new(NOWHERE, "");
    place.start().kill();
    assert!(fs::metadata(place.socket()).unwrap().file_type().is_socket());
    let service = place.start();
    service.play("one");
    assert!(service.stop().success());
    assert!(!place.socket().exists(), "our own socket goes with us");
}

#[test]
fn what_is_no_socket_is_refused_and_left_alone() {
    let place = Place::new(NOWHERE, "");
    fs::write(place.socket(), "my notes").unwrap();
    let refused_file = refused(&place);
    assert_eq!(refused_file.code, Some(1), "{}", refused_file.said);
    assert!(refused_file.said.contains("is not a socket"), "{}", refused_file.said);
    assert!(refused_file.said.contains(place.socket().to_str().unwrap()), "{}", refused_file.said);
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "my notes");

    fs::remove_file(place.socket()).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.socket()).unwrap();
    assert_eq!(refused(&place).code, Some(1));
    assert_eq!(fs::read_link(place.socket()).unwrap().to_str(), Some("elsewhere"));
}

#[test]
fn a_path_too_long_for_a_socket_is_named() {
    let place = Place::new(NOWHERE, "");
    let path = place.dir.path().join("long".repeat(30)).join("afterplay.sock");
    place.configure(NOWHERE, &format!("api.socket = {:?}", path.to_str().unwrap()));
    let refused = refused(&place);
    assert_eq!(refused.code, Some(78), "{}", refused.said);
    assert!(refused.said.contains("api.socket: the path is "), "{}", refused.said);
}

#[test]
fn modes_are_as_promised_under_any_umask() {
    for umask in ["077", "022", "000"] {
        let place = Place::new(NOWHERE, "api.listen = \"127.0.0.1:0\"");
        let socket = place.dir.path().join("run/afterplay/afterplay.sock");
        let extra = format!("api.listen = \"127.0.0.1:0\"\napi.socket = {:?}", socket.to_str().unwrap());
        place.configure(NOWHERE, &extra);
        // The harness waits at the usual place.
        std::os::unix::fs::symlink(&socket, place.socket()).unwrap();
        let service = place.start_with(|command| {
            let run = format!("umask {umask}; exec \"$0\" \"$@\"");
            let mut shell = Command::new("sh");
            shell.args(["-c", &run, BINARY]).args(command.get_args());
            shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell.current_dir(place.dir.path()).arg0("sh");
            shell.stderr(
                fs::OpenOptions::new().create(true).append(true).open(place.dir.path().join("log")).unwrap(),
            );
            *command = shell;
        });
        service.play("one");
        let state = place.journal().parent().unwrap().to_owned();
        assert_eq!(mode(&socket), 0o660, "umask {umask}");
        assert_eq!(mode(socket.parent().unwrap()), 0o750, "umask {umask}");
        assert_eq!(mode(&state), 0o700, "umask {umask}");
        assert_eq!(mode(&place.journal()), 0o600, "umask {umask}");
        assert_eq!(mode(&place.journal().with_extension("db-wal")), 0o600, "umask {umask}");
        assert_eq!(mode(&state.join("api-token")), 0o640, "umask {umask}");
    }
}
