//! A journal with a million events: start, memory, drain, and what a backlog twice as large changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Options;
use super::endpoint::{Endpoint, bare_loop};
use super::events::{Events, START};
use super::limit;
use super::process;
use super::rates;
use super::report::{Goal, Row, Rows, median};
use super::service::{Mode, NOBODY, Place, Service};

/// Events of a session, its start included.
const SESSION: usize = 100;
/// Sessions of the full backlog.
const SESSIONS: usize = 10_000;
/// Uploads at a time, as the configuration has it by default.
const AT_ONCE: u64 = 1;
/// Bytes of the WAL for the start after a crash.
const LARGE_WAL: u64 = 64 << 20;

/// A journal of completed sessions that is copied for each run.
struct Stored {
    place: Place,
    sessions: usize,
    /// Resident when the last event was in.
    resident_kib: u64,
    anonymous_kib: u64,
}

impl Stored {
    /// Has the service itself record them, cut off from any network.
    fn record(sessions: usize) -> Stored {
        let place = Place::new();
        let service = place.start(NOBODY, Mode::CutOff);
        record_sessions(&service, sessions);
        let pid = service.pid();
        let (resident_kib, anonymous_kib) = (process::resident_kib(pid), process::anonymous_kib(pid));
        service.stop();
        Stored { place, sessions, resident_kib, anonymous_kib }
    }

    fn path(&self) -> PathBuf {
        self.place.journal()
    }

    fn copy(&self) -> Place {
        let place = Place::new();
        place.take(&self.path());
        place
    }
}

/// By eight players at once, so that a commit takes in several sessions.
fn record_sessions(service: &Service<'_>, sessions: usize) {
    const PLAYERS: usize = 8;
    std::thread::scope(|scope| {
        for player in 0..PLAYERS {
            scope.spawn(move || {
                let mut client = service.client();
                let (mut events, mut request, mut lines) = (Events::new(), Vec::new(), Vec::new());
                for n in (player..sessions).step_by(PLAYERS) {
                    let key = format!("s-{n}");
                    lines.clear();
                    lines.extend_from_slice(START.as_bytes());
                    for _ in 1..SESSION {
                        lines.push(b'\n');
                        lines.extend_from_slice(events.next());
                    }
                    request.clear();
                    super::events::head(&key, "application/x-ndjson", lines.len(), &mut request);
                    request.extend_from_slice(&lines);
                    client.send(&request);
                    client.ask("POST", &format!("/v1/sessions/{key}/complete"));
                }
            });
        }
    });
}

pub(crate) fn rows(options: &Options, rows: &mut Rows) {
    let wanted = ["memory", "start", "drain", "wakeups offline", "growth"];
    if !wanted.iter().any(|name| options.wants(name)) {
        return;
    }
    let sessions = SESSIONS / options.scale;
    let full = Stored::record(sessions);
    let events = number_of(&full);
    if options.wants("memory") {
        let name = format!("memory after {events} events, waiting");
        rows.push(mib(&name, full.resident_kib, Goal::AtMost(12.0)));
        rows.push(mib(&format!("{name}, without file pages"), full.anonymous_kib, Goal::None));
    }
    if options.wants("start") {
        starts(options, &full, rows);
    }
    if options.wants("wakeups offline") {
        let place = full.copy();
        let service = place.start(NOBODY, Mode::CutOff);
        super::quiet::wakeups("wakeups offline with a backlog", &service, options, rows);
    }
    if options.wants("drain") {
        drain(options, &full, rows);
    }
    if options.wants("growth") {
        growth(options, &full, rows);
    }
}

fn number_of(stored: &Stored) -> usize {
    stored.sessions * SESSION
}

pub(crate) fn mib(name: &str, kib: u64, goal: Goal) -> Row {
    Row::plain(name, kib as f64 / 1024.0, "MiB", goal)
}

fn start_ms(place: &Place) -> f64 {
    place.start(NOBODY, Mode::CutOff).accepted_after.as_secs_f64() * 1000.0
}

fn starts(options: &Options, full: &Stored, rows: &mut Rows) {
    let name = format!("start to the first connection, {} events", number_of(full));
    let plain = (0..options.rounds).map(|_| start_ms(&full.place)).collect();
    rows.push(Row::plain(&name, median(plain), "ms", Goal::AtMost(100.0)));
    let crashed = full.copy();
    grow_wal(&crashed.journal(), i64::try_from(number_of(full)).unwrap());
    // A start takes the WAL in, so each needs a copy of its own.
    let with_wal = (0..options.rounds).map(|_| {
        let place = Place::new();
        place.take(&crashed.journal());
        start_ms(&place)
    });
    let name = "start to the first connection, 64 MiB of WAL besides";
    rows.push(Row::plain(name, median(with_wal.collect()), "ms", Goal::AtMost(300.0)));
}

/// Leaves a WAL behind as a crash would.
fn grow_wal(journal: &Path, events: i64) {
    use rusqlite::config::DbConfig;
    let conn = limit::open(journal);
    conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    conn.pragma_update(None, "synchronous", "OFF").unwrap();
    let wal = PathBuf::from(format!("{}-wal", journal.display()));
    let mut from = 0;
    while std::fs::metadata(&wal).map_or(0, |file| file.len()) < LARGE_WAL {
        // SQLite writes no page whose bytes stay the same.
        conn.execute("UPDATE events SET playhead = playhead + 1 WHERE id BETWEEN ?1 AND ?1 + 999", [from])
            .unwrap();
        from = (from + 1000) % events;
    }
}

fn drain(options: &Options, full: &Stored, rows: &mut Rows) {
    let (mut ours, mut bare, mut resident, mut anonymous) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.rounds {
        let place = full.copy();
        let endpoint = Endpoint::start();
        let service = place.start(&endpoint.url(), Mode::Binary);
        let began = Instant::now();
        let (mut most, mut most_anonymous) = (0, 0);
        while endpoint.taken() < full.sessions as u64 {
            std::thread::sleep(Duration::from_millis(20));
            most = most.max(process::resident_kib(service.pid()));
            most_anonymous = most_anonymous.max(process::anonymous_kib(service.pid()));
            assert!(began.elapsed() < Duration::from_secs(300), "the drain does not end");
        }
        ours.push(full.sessions as f64 / (began.elapsed() + service.accepted_after).as_secs_f64());
        resident.push(most as f64 / 1024.0);
        anonymous.push(most_anonymous as f64 / 1024.0);
        let mut client = service.client();
        let left = || client.status()["sessions"]["completed"].as_u64();
        assert!(until(left, Some(0)), "the last deliveries are not written down");
        drop(service);

        let place = full.copy();
        let payload = {
            let service = place.start(NOBODY, Mode::CutOff);
            service.client().ask("GET", "/v1/sessions/s-0/payload")
        };
        let endpoint = Endpoint::start();
        let seconds = bare_loop(&endpoint, &payload, full.sessions as u64, AT_ONCE);
        bare.push(endpoint.taken() as f64 / seconds);
    }
    let name = format!("drain of {} sessions of {SESSION} events, beside a bare loop", full.sessions);
    rows.push(Row::ratio(&name, median(ours), median(bare), "sessions/s", Goal::AtLeast(0.5)));
    rows.push(Row::plain("memory at most, while draining", median(resident), "MiB", Goal::AtMost(16.0)));
    let name = "memory at most, while draining, without file pages";
    rows.push(Row::plain(name, median(anonymous), "MiB", Goal::None));
}

fn until<T: PartialEq>(mut look: impl FnMut() -> T, wanted: T) -> bool {
    let began = Instant::now();
    while look() != wanted {
        if began.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// The same with half of the backlog.
fn growth(options: &Options, full: &Stored, rows: &mut Rows) {
    let half = Stored::record(full.sessions / 2);
    let (mut rate, mut memory) = ([vec![], vec![]], [vec![], vec![]]);
    for _ in 0..options.rounds {
        for (at, stored) in [&half, full].into_iter().enumerate() {
            let place = stored.copy();
            let service = place.start(NOBODY, Mode::CutOff);
            let run = rates::load(&place.socket(), service.pid(), 8, 1, options.time);
            rate[at].push(run.rate());
            memory[at].push(process::anonymous_kib(service.pid()) as f64 / 1024.0);
        }
    }
    let mut change = |name: &str, unit, [half, full]: [Vec<f64>; 2], goal| {
        rows.push(Row::ratio(name, median(full), median(half), unit, goal));
    };
    change("growth, twice the backlog: rate", "events/s", rate, Goal::AtLeast(0.9));
    change("growth, twice the backlog: memory", "MiB", memory, Goal::AtMost(1.1));
    let mut start = [vec![], vec![]];
    for _ in 0..options.rounds {
        for (at, stored) in [&half, full].into_iter().enumerate() {
            start[at].push(start_ms(&stored.place));
        }
    }
    change("growth, twice the backlog: start", "ms", start, Goal::AtMost(1.1));
}
