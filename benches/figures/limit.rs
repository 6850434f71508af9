//! The limit: SQLite with the journal's pragmas and nothing around it.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::events::Events;
use super::process;

/// Whether a recorder needs no more commits before it is measured: its WAL has its full length and begins anew, as it
/// does from there on. On a slow disk that makes no difference.
pub(crate) fn is_warm(commits: usize, per_commit: usize, since: Instant) -> bool {
    commits >= 1600 || commits * per_commit >= 16_000 || since.elapsed() > Duration::from_secs(1)
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    /// Of each commit or acknowledgement, in microseconds.
    pub(crate) waits: Vec<u32>,
    pub(crate) device_bytes: u64,
    /// Processor time of whoever records.
    pub(crate) cpu_seconds: f64,
}

impl Run {
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// Microseconds of processor time for each event.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.events as f64
    }
}

/// A database as the journal opens its own.
#[expect(clippy::disallowed_methods, reason = "the limit is SQLite without the journal")]
pub(crate) fn open(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    conn.pragma_update(None, "page_size", 4096).unwrap();
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    conn.pragma_update(None, "synchronous", "FULL").unwrap();
    conn.pragma_update(None, "secure_delete", "FAST").unwrap();
    conn.pragma_update(None, "temp_store", "MEMORY").unwrap();
    conn.pragma_update(None, "cache_size", -2048).unwrap();
    conn
}

/// Commits `per_commit` events at a time for so long.
pub(crate) fn run(dir: &Path, per_commit: usize, time: Duration) -> Run {
    let path = dir.join("limit.db");
    let conn = open(&path);
    conn.execute_batch(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, seq INTEGER NOT NULL,
             wall_ms INTEGER NOT NULL, body TEXT NOT NULL) STRICT",
    )
    .unwrap();
    let mut insert =
        conn.prepare("INSERT INTO events (session, seq, wall_ms, body) VALUES (?1, ?2, ?3, ?4)").unwrap();
    let mut begin = conn.prepare("BEGIN IMMEDIATE").unwrap();
    let mut commit = conn.prepare("COMMIT").unwrap();
    let mut events = Events::new();
    let mut committed = 0;
    let mut commit_some = || {
        begin.execute([]).unwrap();
        for _ in 0..per_commit {
            let body = std::str::from_utf8(events.next()).unwrap();
            insert.execute(params![1, committed, 1_772_908_200_120_i64, body]).unwrap();
            committed += 1;
        }
        commit.execute([]).unwrap();
    };
    let (began, mut commits) = (Instant::now(), 0);
    while !is_warm(commits, per_commit, began) {
        commit_some();
        commits += 1;
    }
    let mut run = Run::default();
    let me = std::process::id();
    let before = (process::device_bytes(me), process::cpu_seconds(me));
    let started = Instant::now();
    while started.elapsed() < time {
        let began = Instant::now();
        commit_some();
        run.events += per_commit as u64;
        run.waits.push(micros(began));
    }
    run.seconds = started.elapsed().as_secs_f64();
    run.device_bytes = process::device_bytes(me) - before.0;
    run.cpu_seconds = process::cpu_seconds(me) - before.1;
    run
}

pub(crate) fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}
