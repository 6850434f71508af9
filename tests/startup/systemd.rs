//! The conversation with systemd: sockets it passes, what it is told.

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::service::{BINARY, PATIENCE, Place, Service, connect, event, start_event, wait_for};
use crate::{Guard, NOWHERE, refused_with};

/// Where systemd would listen.
struct Manager {
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn of(place: &Place) -> Manager {
        let socket = UnixDatagram::bind(place.dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Manager { socket, heard: String::new() }
    }

    fn start<'a>(&self, place: &'a Place, variables: &[(&str, &str)]) -> Service<'a> {
        place.start_with(|command| {
            command.env("NOTIFY_SOCKET", place.dir.path().join("notify"));
            command.envs(variables.iter().copied());
        })
    }

    /// Listens until everything is heard that should be; lines, in their order.
    fn hear(&mut self, enough: impl Fn(&[&str]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut piece = [0; 4096];
        loop {
            let lines: Vec<&str> = self.heard.lines().collect();
            if enough(&lines) {
                return lines.into_iter().map(String::from).collect();
            }
            assert!(Instant::now() < deadline, "heard only:\n{}", self.heard);
            if let Ok(length) = self.socket.recv(&mut piece) {
                self.heard.push_str(std::str::from_utf8(&piece[..length]).unwrap());
                self.heard.push('\n');
            }
        }
    }
}

#[test]
fn readiness_status_and_the_end_are_told() {
    let place = Place::new(NOWHERE, "");
    let mut manager = Manager::of(&place);
    let service = manager.start(&place, &[]);
    let heard = manager.hear(|lines| lines.contains(&"READY=1"));
    assert!(heard.contains(&"STATUS=nothing to upload".to_owned()), "{heard:?}");
    assert!(!heard.iter().any(|line| line.starts_with("WATCHDOG")), "nobody asked for it: {heard:?}");
    service.play("one");
    manager.hear(|lines| lines.iter().any(|line| line.starts_with("STATUS=waiting to upload: ")));
    assert!(service.stop().success());
    manager.hear(|lines| lines.contains(&"STOPPING=1"));
}

#[test]
fn it_is_ready_only_when_it_answers() {
    let place = Place::new(NOWHERE, "");
    let mut manager = Manager::of(&place);
    let mut command = place.command(&["run"]);
    command.env("NOTIFY_SOCKET", place.dir.path().join("notify")).stderr(Stdio::null());
    let _service = Guard(command.spawn().unwrap());
    manager.hear(|lines| lines.contains(&"READY=1"));
    let answer = connect(&place.socket()).and_then(|mut socket| socket.send("GET", "/v1/status", &[], b""));
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn the_watchdog_is_petted_as_long_as_the_journal_answers() {
    let place = Place::new(NOWHERE, "");
    let mut manager = Manager::of(&place);
    let service = manager.start(&place, &[("WATCHDOG_USEC", "200000")]);
    let pets = |lines: &[&str]| lines.iter().filter(|line| **line == "WATCHDOG=1").count();
    manager.hear(|lines| pets(lines) >= 4);
    // A stopped process is the nearest to one that hangs.
    service.signal("STOP");
    manager.socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let mut piece = [0; 4096];
    wait_for("silence", || manager.socket.recv(&mut piece).is_err().then_some(()));
    service.signal("CONT");
    let before = manager.hear(|_| true).len();
    manager.hear(|lines| lines.len() > before);
}

#[test]
fn the_watchdog_of_another_process_is_not_ours() {
    let place = Place::new(NOWHERE, "");
    let mut manager = Manager::of(&place);
    let _service = manager.start(&place, &[("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")]);
    let heard = manager.hear(|lines| lines.contains(&"READY=1"));
    assert!(!heard.iter().any(|line| line.starts_with("WATCHDOG")), "{heard:?}");
}

#[test]
fn a_reload_is_told() {
    let place = Place::new(NOWHERE, "");
    let mut manager = Manager::of(&place);
    let service = manager.start(&place, &[]);
    manager.hear(|lines| lines.contains(&"READY=1"));
    service.signal("HUP");
    let heard = manager.hear(|lines| lines.iter().filter(|line| **line == "READY=1").count() == 2);
    assert!(heard.contains(&"STATUS=reloading".to_owned()), "{heard:?}");
}

#[test]
fn a_socket_passed_by_systemd_is_used_and_left_in_its_place() {
    let place = Place::new(NOWHERE, "");
    let passed = place.socket();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&passed).arg("--").arg(BINARY);
    command.args(["run", "--config", place.config.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut service = match command.spawn() {
        Ok(child) => Guard(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no systemd-socket-activate here");
            return;
        }
        Err(error) => panic!("systemd-socket-activate: {error}"),
    };
    // The first connection starts the service, which answers it all the same.
    let answer = wait_for("the passed socket", || connect(&passed).ok()).send("GET", "/v1/status", &[], b"");
    assert_eq!(answer.unwrap().status, 200);
    let pid = service.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert!(service.0.wait().unwrap().success());
    assert!(passed.exists(), "the socket is systemd's to remove");
}

#[test]
fn while_the_service_is_down_a_passed_socket_keeps_what_comes() {
    let place = Place::new(NOWHERE, "");
    let passed = place.dir.path().join("passed.sock");
    let listener = UnixListener::bind(&passed).unwrap();
    let start = || {
        let mut command = Command::new("sh");
        // The listener comes in as standard input and is passed on as systemd does it.
        let line = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        command.args(["-c", line, BINARY, "run", "--config", place.config.to_str().unwrap()]);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())));
        Guard(command.env_clear().env("HOME", place.dir.path()).stderr(Stdio::null()).spawn().unwrap())
    };
    let request = |event: &serde_json::Value| {
        let (text, mut connection) = (event.to_string(), connect(&passed).unwrap());
        let head =
            "POST /v1/sessions/k/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let whole = format!("{head}content-length: {}\r\n\r\n{text}", text.len());
        connection.raw(whole.as_bytes()).unwrap();
        connection
    };
    let service = start();
    assert_eq!(request(&start_event("one")).answer().unwrap().status, 201);
    drop(service);
    let mut waiting = request(&event("media.play", 1, 0));
    let _service = start();
    let answer = waiting.answer().unwrap();
    assert_eq!((answer.status, answer.json()["seq"].clone()), (200, 1.into()), "{}", answer.text());
    assert!(!place.socket().exists(), "no second socket beside the passed one");
}

#[test]
fn something_else_than_a_socket_is_refused() {
    let place = Place::new(NOWHERE, "");
    let refused = refused_with(&place, |command| {
        let mut shell = Command::new("sh");
        let line = "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        shell.args(["-c", line, BINARY]).args(command.get_args()).stderr(Stdio::piped());
        *command = shell;
    });
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("no Unix stream socket"), "{}", refused.said);
}

#[test]
fn of_several_sockets_the_first_is_served_and_the_log_says_so() {
    let place = Place::new(NOWHERE, "");
    let listeners = ["one", "other"].map(|name| UnixListener::bind(place.dir.path().join(name)).unwrap());
    let [one, other] = listeners.map(std::os::fd::OwnedFd::from);
    let mut command = Command::new("sh");
    let line = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    command.args(["-c", line, BINARY, "run", "--config", place.config.to_str().unwrap()]);
    command.stdin(Stdio::from(one)).stdout(Stdio::from(other)).stderr(Stdio::piped());
    let mut service = Guard(command.env_clear().env("HOME", place.dir.path()).spawn().unwrap());
    let answer = connect(&place.dir.path().join("one")).unwrap().send("GET", "/v1/status", &[], b"");
    assert_eq!(answer.unwrap().status, 200);
    service.0.kill().unwrap();
    let said = std::io::read_to_string(service.0.stderr.take().unwrap()).unwrap();
    assert!(said.contains("systemd passed 2 sockets: the first is served"), "{said}");
}
