//! Whole files that are not this journal's: in the place of the main file or of the log.
//!
//! What is ours in either file is saved, nothing is ever sent that was not recorded, and a main file that is no journal
//! is set aside byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::cases::asides;
use crate::harm::{Dice, Harmed};
use crate::made::{Made, PAGE, folder, journal_in, open};
use crate::trials::{scale, trial};

/// Trials at scale 1.
const TRIALS: u64 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stranger {
    Noise,
    Text,
    Nothing,
    /// Another program's database.
    Database,
    /// The main file of another journal, with its own log or none.
    Journal,
    /// Its own main file, and the log of another journal.
    Log,
    /// The main file of another journal under this one's log.
    UnderLog,
    /// Its own main file, and noise for a log.
    NoiseLog,
}

const STRANGERS: [Stranger; 8] = [
    Stranger::Noise,
    Stranger::Text,
    Stranger::Nothing,
    Stranger::Database,
    Stranger::Journal,
    Stranger::Log,
    Stranger::UnderLog,
    Stranger::NoiseLog,
];

fn noise(dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..1 + dice.roll(40 * PAGE)).map(|_| dice.roll(256) as u8).collect();
    // Some begin as a journal or a page does.
    match dice.roll(3) {
        0 if bytes.len() > 16 => bytes[..16].copy_from_slice(b"SQLite format 3\0"),
        1 => (0..bytes.len()).step_by(PAGE).for_each(|at| bytes[at] = 0x0d),
        _ => {}
    }
    bytes
}

fn text(dice: &mut Dice) -> Vec<u8> {
    let lines = ["somebody's notes\n", "{\"mediaEventType\":\"media.ping\"}\n", "k-00003-\n", "\u{2028}"];
    (0..1 + dice.roll(4000)).map(|_| lines[dice.roll(lines.len())]).collect::<String>().into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "another program's own database")]
fn database(dice: &mut Dice) -> Vec<u8> {
    let dir = folder();
    let path = dir.path().join("other.db");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "page_size", [512, 4096, 65536][dice.roll(3)]).unwrap();
    if dice.roll(2) == 0 {
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
    }
    conn.execute_batch(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE settings (name, value);",
    )
    .unwrap();
    conn.execute("INSERT INTO settings VALUES ('consent', '\"in\"')", []).unwrap();
    for n in 0..dice.roll(300) {
        conn.execute("INSERT INTO events (body) VALUES (?1)", ["x".repeat(n * 7)]).unwrap();
    }
    conn.close().unwrap();
    fs::read(path).unwrap()
}

/// The beginning of a log: the more often it differs, the more pages of two journals meet.
fn part(log: &[u8], dice: &mut Dice) -> Vec<u8> {
    log[..dice.roll(log.len() + 1)].to_vec()
}

/// Both journals together, as far as it may be sent.
fn both(one: &Made, other: &Made) -> Made {
    let mut sessions = one.sessions.clone();
    sessions.extend(other.sessions.clone());
    Made {
        main: Vec::new(),
        wal: Vec::new(),
        clock: one.clock.clone(),
        sessions,
        dropped: one.dropped.union(&other.dropped).cloned().collect(),
        acknowledged: one.acknowledged + other.acknowledged,
    }
}

/// A body with the time from one event to the next in the place of its times.
pub(crate) fn steps(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    let mut before: Option<jiff::Timestamp> = None;
    for event in body["events"][0]["xdm"]["mediaDownloadedEvents"].as_array_mut().unwrap() {
        let at: jiff::Timestamp = event["mediaEventTimestamp"].as_str().unwrap().parse().unwrap();
        let since = before.replace(at).map_or(0, |before| at.as_millisecond() - before.as_millisecond());
        event["mediaEventTimestamp"] = since.into();
    }
    body
}

/// A main file that is no journal is set aside as it was.
fn is_kept(main: &[u8], made: &Made, what: &str) {
    let dir = folder();
    let path = journal_in(dir.path());
    fs::write(&path, main).unwrap();
    open(&path, &made.clock()).close();
    let kept = asides(dir.path());
    assert!(
        kept.iter().map(|name| fs::read(dir.path().join(name)).unwrap()).eq([main.to_vec()]),
        "{what}: set aside as it was"
    );
}

#[test]
fn files_of_others_are_set_aside_and_never_sent() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (own, other) =
        runtime.block_on(async { (Made::new(16, 10, 3).await, Made::from(500, 24, 8, 6).await) });
    // The other's clock is the later one.
    let all = both(&other, &own);
    let mut slowest = BTreeMap::<Stranger, (u64, u64, Duration)>::new();
    for n in 0..TRIALS * scale() {
        let mut dice = Dice(n);
        let stranger = STRANGERS[n as usize % STRANGERS.len()];
        let what = format!("trial {n}, {stranger:?}");
        let with_log = dice.roll(2) == 0;
        let log = |made: &Made| if with_log { made.wal.clone() } else { Vec::new() };
        let (main, wal) = match stranger {
            Stranger::Noise => (noise(&mut dice), log(&own)),
            Stranger::Text => (text(&mut dice), log(&own)),
            Stranger::Nothing => (Vec::new(), log(&own)),
            Stranger::Database => (database(&mut dice), log(&own)),
            Stranger::Journal => (other.main.clone(), log(&other)),
            Stranger::Log => (own.main.clone(), part(&other.wal, &mut dice)),
            Stranger::UnderLog => (other.main.clone(), part(&own.wal, &mut dice)),
            Stranger::NoiseLog => (own.main.clone(), noise(&mut dice)),
        };
        if matches!(stranger, Stranger::Noise | Stranger::Text | Stranger::Database) {
            is_kept(&main, &own, &what);
        }
        // A whole journal is as good as the one before it; else the last word on a session may be gone.
        let tail = stranger != Stranger::Journal || !with_log;
        let made = if tail { &all } else { &other };
        let touched = if tail { made.sessions.keys().cloned().collect() } else { BTreeSet::new() };
        let harmed = Harmed { main, wal, touched, place: String::new(), tail, boots_gone: tail };
        let score = runtime.block_on(trial(made, &harmed, &what));
        let sum = slowest.entry(stranger).or_default();
        *sum = (sum.0 + 1, sum.1 + score.set_aside.min(1), sum.2.max(score.slowest));
    }
    for (stranger, (trials, set_aside, slowest)) in slowest {
        println!("{stranger:?}: {trials} trials, {set_aside} set aside, slowest {slowest:?}");
    }
}
