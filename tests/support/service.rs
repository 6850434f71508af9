//! The real binary in a folder of its own, and a small HTTP client for its socket.
#![allow(dead_code, reason = "each test file that includes this uses its own part of it")]

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_afterplay");

/// Looks until there is something to see.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Puts `one` where `other` is and the other way round, with no instant in which either is gone: what is gone is put back.
pub(crate) fn exchange(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// An answer of the local API.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A process that does not outlive a test that fails.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One keep-alive connection to the local API.
pub(crate) struct Connection<S = UnixStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn over(stream: S) -> Self {
        Connection { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\n\r\n", body.len()).unwrap();
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.answer()
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            self.fill()?;
        }
        answer.body = self.buffer.drain(..length).collect();
        Ok(answer)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.buffer.extend_from_slice(&piece[..n]);
                    return Ok(());
                }
                // A test that is stopped and goes on, by whatever, has lost nothing.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A folder with a configuration, a socket and a journal; the service may run in it or not.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: PathBuf,
}

impl Place {
    /// A place whose configuration is the least that is needed, and `extra`. Keys of no section come first.
    pub(crate) fn new(endpoint: &str, extra: &str) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { config: dir.path().join("config.toml"), dir };
        place.configure(endpoint, extra);
        place
    }

    /// Writes the configuration. `extra` may hold lines of any section as `section.key = value`.
    pub(crate) fn configure(&self, endpoint: &str, extra: &str) {
        let socket = self.socket();
        let journal = self.journal();
        let mut text = format!(
            "datastream_id = \"test-datastream\"\nendpoint = \"{endpoint}\"\n\
             api.socket = {:?}\njournal.path = {:?}\n",
            socket.to_str().unwrap(),
            journal.to_str().unwrap()
        );
        // Later lines win: a test may replace what stands above.
        for line in extra.lines().filter(|line| !line.trim().is_empty()) {
            let key = line.split('=').next().unwrap().trim();
            text = text
                .lines()
                .filter(|old| old.split('=').next().unwrap().trim() != key)
                .map(|old| format!("{old}\n"))
                .collect();
            text.push_str(line.trim());
            text.push('\n');
        }
        std::fs::write(&self.config, text).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("afterplay.sock")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.path().join("state").join("journal.db")
    }

    /// The binary with these arguments, in an environment that holds nothing of the tester's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .args(["--config", self.config.to_str().unwrap()])
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the service and waits until it answers.
    pub(crate) fn start(&self) -> Service<'_> {
        self.start_with(|_| {})
    }

    /// Starts the service through another program, which runs what its last arguments say.
    pub(crate) fn start_through(&self, program: &[&str]) -> Service<'_> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        self.start_with(|command| {
            let mut outer = Command::new(program[0]);
            outer.args(&program[1..]).arg(BINARY).args(command.get_args());
            outer.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            outer.current_dir(self.dir.path()).stderr(log);
            *command = outer;
        })
    }

    /// Starts the service with changes to how it is called.
    pub(crate) fn start_with(&self, change: impl FnOnce(&mut Command)) -> Service<'_> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command(&["run"]);
        command.stderr(log);
        change(&mut command);
        let child = command.spawn().unwrap();
        let mut service = Service { place: self, child, socket: self.socket() };
        wait_for("the service to answer", || {
            if let Some(status) = service.child.try_wait().unwrap() {
                panic!("the service ended with {status}: {}", service.place.log_text());
            }
            service.connect().ok()
        });
        service
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What the service has said so far.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

/// A running service; killed when dropped.
pub(crate) struct Service<'a> {
    place: &'a Place,
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the service said:\n{}", self.place.log_text());
        }
    }
}

impl Service<'_> {
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        connect(&self.socket)
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.connect()
            .and_then(|mut connection| {
                connection.send(method, path, &[("content-type", "application/json")], body)
            })
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; log: {}", self.place.log_text()))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, b"");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/v1/status")
    }

    /// Posts one event; it must be taken.
    pub(crate) fn record(&self, key: &str, event: &Value) -> Value {
        let answer =
            self.request("POST", &format!("/v1/sessions/{key}/events"), event.to_string().as_bytes());
        assert!(matches!(answer.status, 200 | 201), "{}: {}", answer.status, answer.text());
        answer.json()
    }

    /// Records a short session and completes it. Answers its events.
    pub(crate) fn play(&self, key: &str) -> Vec<Value> {
        let events = programme(key);
        for event in &events {
            self.record(key, event);
        }
        let answer = self.request("POST", &format!("/v1/sessions/{key}/complete"), b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        events
    }

    /// Waits until a session is in this state, and answers it.
    pub(crate) fn wait_for_state(&self, key: &str, state: &str) -> Value {
        wait_for(&format!("{key} to be {state}"), || {
            let session = self.get(&format!("/v1/sessions/{key}"));
            (session["state"] == state).then_some(session)
        })
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and wait.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }
}

/// A connection to a socket, with deadlines so that a test cannot hang.
pub(crate) fn connect(socket: &Path) -> io::Result<Connection> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Connection::over(stream))
}

/// A start event with everything that is required.
pub(crate) fn start_event(name: &str) -> Value {
    json!({
        "mediaEventType": "media.sessionStart",
        "mediaEventTimestamp": "2026-03-07T18:30:00.120Z",
        "mediaCollection": { "playhead": 0, "sessionDetails": {
            "name": name, "length": 90, "contentType": "DVOD", "playerName": "acme-stb", "channel": "living-room",
        }},
    })
}

/// An event that carries nothing but its playhead, `second` seconds after the start.
pub(crate) fn event(kind: &str, second: u32, playhead: u32) -> Value {
    json!({
        "mediaEventType": kind,
        "mediaEventTimestamp": format!("2026-03-07T18:{:02}:{:02}.120Z", 30 + second / 60, second % 60),
        "mediaCollection": { "playhead": playhead },
    })
}

/// A short session, without a closing event.
pub(crate) fn programme(name: &str) -> Vec<Value> {
    vec![
        start_event(name),
        event("media.play", 1, 0),
        event("media.ping", 11, 10),
        event("media.pauseStart", 15, 14),
        event("media.play", 40, 14),
    ]
}
