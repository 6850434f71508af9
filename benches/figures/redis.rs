//! Redis with an append-only file that is synced before each answer, when it is installed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::events::{EVENT_BYTES, Events};
use super::limit::{Run, micros};
use super::rates::side_by_side;
use super::service::Place;

/// Names another binary than the one in `PATH`.
const BINARY: &str = "AFTERPLAY_FIGURES_REDIS";

/// A running server; ended when dropped.
pub(crate) struct Redis {
    child: Child,
    place: Place,
}

impl Redis {
    /// Starts a server; `None` where there is none.
    pub(crate) fn start() -> Option<Redis> {
        let binary = std::env::var_os(BINARY).map_or_else(|| PathBuf::from("redis-server"), PathBuf::from);
        let place = Place::new();
        let child = Command::new(binary)
            .args(["--port", "0", "--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(["--unixsocket", "s", "--daemonize", "no", "--dir"])
            .arg(place.path())
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Redis { child, place };
        let began = Instant::now();
        while UnixStream::connect(redis.place.socket()).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(redis)
    }

    /// Appends events to lists: one command an event, so many commands in flight.
    pub(crate) fn load(&self, clients: usize, in_flight: usize, time: Duration) -> Run {
        let (run, ()) = side_by_side(
            clients,
            || (),
            |n, ready| {
                let mut stream = UnixStream::connect(self.place.socket()).unwrap();
                ready.wait();
                send_for(&mut stream, &format!("player-{n}"), in_flight, time)
            },
        );
        run
    }
}

fn send_for(stream: &mut UnixStream, key: &str, in_flight: usize, time: Duration) -> Run {
    let (mut events, mut request, mut answer) = (Events::new(), Vec::new(), vec![0; 64 << 10]);
    let head = format!("*3\r\n$5\r\nRPUSH\r\n${}\r\n{key}\r\n${EVENT_BYTES}\r\n", key.len());
    let mut run = Run::default();
    let started = Instant::now();
    while started.elapsed() < time {
        request.clear();
        for _ in 0..in_flight {
            request.extend_from_slice(head.as_bytes());
            request.extend_from_slice(events.next());
            request.extend_from_slice(b"\r\n");
        }
        let began = Instant::now();
        stream.write_all(&request).unwrap();
        let mut answers = 0;
        while answers < in_flight {
            let read = stream.read(&mut answer).unwrap();
            assert!(read > 0 && !answer[..read].contains(&b'-'), "Redis refused");
            answers += answer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
        run.waits.push(micros(began));
        run.events += in_flight as u64;
    }
    run
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
