//! Reads the whole journal and says what is wrong with it; changes nothing.
//!
//! In slices, so that a service that runs goes on with everything else in between.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::core::RECORDED;
use super::fault::{self, OpenError};
use super::files::{self, beside};
use super::outbox::check_session;
use super::salvage::{self, Log};
use super::{Journal, Refusal, aside, schema, seal};
use crate::session::{Loss, State};

/// Rows looked at in a slice.
const SLICE: i64 = 2000;
/// Problems that are told; all are counted.
const TOLD: usize = 100;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// Sessions that were looked at.
    pub sessions: u64,
    /// Rows of events that were looked at.
    pub events: u64,
    /// How many things are wrong.
    pub count: u64,
    /// The first of them.
    pub problems: Vec<String>,
}

impl Verified {
    fn wrong(&mut self, problem: String) {
        self.count += 1;
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Small,
    /// Sessions behind this one.
    Sessions(i64),
    /// Events behind this one.
    Strays(i64),
    Done,
}

impl Journal {
    /// Reads everything and says what is wrong.
    pub async fn verify(&self) -> Result<Verified, Refusal> {
        let (mut step, mut found) = (Step::Small, Verified::default());
        while !matches!(step, Step::Done) {
            let before = found;
            (step, found) = self
                .call(move |core| {
                    let mut found = before;
                    let next =
                        advance(&core.conn, step, &mut found).or_else(|error| shown(error, &mut found))?;
                    Ok((next, found))
                })
                .await?;
        }
        found.sound = found.count == 0;
        Ok(found)
    }
}

/// What cannot be read is what was looked for; there is no going on behind it.
fn shown(error: rusqlite::Error, found: &mut Verified) -> Result<Step, Refusal> {
    if !fault::is_damage(&error) {
        return Err(error.into());
    }
    found.wrong(format!("cannot be read to the end: {error}"));
    Ok(Step::Done)
}

/// The same for a journal that no service has open: its files are copied, since reading them where they are would
/// change them. `None`: there is no journal.
pub fn verify_file(path: &Path) -> Result<Option<Verified>, OpenError> {
    let io = |doing| {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    };
    let path = &files::led_to(path).map_err(io("following the link"))?;
    if !path.exists() {
        return Ok(None);
    }
    let scratch = Scratch::of(path);
    let copy = &scratch.0;
    fs::copy(path, copy).map_err(io("copying, so as to change nothing, the journal"))?;
    let log = beside(path, "-wal");
    if log.exists() {
        fs::copy(&log, beside(copy, "-wal")).map_err(io("copying the log of"))?;
    }
    let mut found = Verified::default();
    if salvage::look_at_log(copy).map_err(io("reading the log of"))? == Log::Damaged {
        found.wrong("its log is damaged: what was committed in it would be dropped".into());
    }
    match schema::open_copy(copy) {
        Ok(conn) => {
            let mut step = Step::Small;
            while !matches!(step, Step::Done) {
                let next = advance(&conn, step, &mut found);
                step = match next.or_else(|error| shown(error, &mut found)) {
                    Ok(step) => step,
                    Err(refusal) => {
                        found.wrong(refusal.to_string());
                        Step::Done
                    }
                };
            }
        }
        Err(OpenError::Sqlite { source, .. }) if fault::is_damage(&source) => {
            found.wrong(format!("cannot be opened: {source}"));
        }
        Err(error) => return Err(error),
    }
    found.sound = found.count == 0;
    Ok(Some(found))
}

/// A copy of the journal that goes away again; should the process be killed, with the next start of the service.
struct Scratch(PathBuf);

impl Scratch {
    fn of(path: &Path) -> Scratch {
        Scratch(beside(path, &format!("{}{}", aside::VERIFYING, uuid::Uuid::new_v4().simple())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for companion in ["", "-wal", "-shm", "-journal"] {
            let copy = beside(&self.0, companion);
            if let Err(error) = files::remove(&copy) {
                tracing::warn!("removing {}: {error}", copy.display());
            }
        }
    }
}

fn advance(conn: &Connection, step: Step, found: &mut Verified) -> rusqlite::Result<Step> {
    match step {
        Step::Small => {
            small(conn, found)?;
            Ok(Step::Sessions(0))
        }
        Step::Sessions(after) => sessions(conn, after, found),
        Step::Strays(after) => strays(conn, after, found),
        Step::Done => Ok(Step::Done),
    }
}

/// Everything but what events hold: the trees, the indexes, the rows' own checksums, the books.
fn small(conn: &Connection, found: &mut Verified) -> rusqlite::Result<()> {
    schema::prove_schema(conn, &schema::right_schema()?)?;
    let mut check = conn.prepare(&format!("PRAGMA integrity_check({TOLD})"))?;
    let said: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // A line names the database before what is wrong with its pages.
    let lines =
        said.iter().flat_map(|said| said.lines()).filter(|line| *line != "ok" && !line.starts_with("***"));
    lines.for_each(|problem| found.wrong(problem.to_owned()));
    if !schema::gives_pages_back(conn)? {
        found.wrong(schema::NO_PAGES_BACK.into());
    }
    for table in seal::tables(conn)? {
        if let Some(row) = seal::first_unproven(conn, &table)? {
            found.wrong(format!("{row} does not match its checksum"));
        }
    }
    books(conn, found)
}

/// Recorded = delivered + stored + losses, for each user; every loss is listed, and no more has a receipt than was
/// delivered.
fn books(conn: &Connection, found: &mut Verified) -> rusqlite::Result<()> {
    type Sums = BTreeMap<(u32, String), i64>;
    let sums = |sql: &str| -> rusqlite::Result<Sums> {
        conn.prepare(sql)?.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?.collect()
    };
    let counters = sums("SELECT owner, name, value FROM counters")?;
    let listed = sums("SELECT owner, name, sum(events) FROM losses GROUP BY owner, name")?;
    let stored = sums(
        "SELECT owner, 'stored', sum(coalesce(events, 0)) FROM sessions
         WHERE state IN ('completed', 'quarantined') GROUP BY owner",
    )?;
    // Receipts expire, so that there may be fewer.
    let receipts = sums(
        "SELECT owner, 'receipts', sum(coalesce(events, 0)) FROM sessions WHERE state = 'delivered' GROUP BY owner",
    )?;
    let owners: std::collections::BTreeSet<u32> = counters
        .keys()
        .chain(listed.keys())
        .chain(stored.keys())
        .chain(receipts.keys())
        .map(|(owner, _)| *owner)
        .collect();
    for owner in owners {
        let of = |sums: &Sums, name: &str| sums.get(&(owner, name.to_owned())).copied().unwrap_or(0);
        let mut lost = 0;
        for loss in Loss::ALL {
            let (counted, rows) = (of(&counters, loss.as_str()), of(&listed, loss.as_str()));
            lost += counted;
            if counted != rows {
                let name = loss.as_str();
                found.wrong(format!("user {owner}: {counted} events {name}, of which {rows} are listed"));
            }
        }
        let (recorded, delivered) = (of(&counters, RECORDED), of(&counters, "delivered"));
        let (stored, receipts) = (of(&stored, "stored"), of(&receipts, "receipts"));
        if receipts > delivered {
            found.wrong(format!("user {owner}: {delivered} events delivered, but receipts for {receipts}"));
        }
        if recorded != delivered + stored + lost {
            found.wrong(format!(
                "user {owner}: {recorded} events recorded, but {delivered} delivered, {stored} stored, {lost} lost"
            ));
        }
    }
    Ok(())
}

fn sessions(conn: &Connection, after: i64, found: &mut Verified) -> rusqlite::Result<Step> {
    let mut query = conn
        .prepare_cached("SELECT id, key, state, verdict FROM sessions WHERE id > ?1 ORDER BY id LIMIT 64")?;
    let mut rows = query.query([after])?;
    let (mut last, mut events) = (None, 0);
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (key, state): (String, String) = (row.get(1)?, row.get(2)?);
        last = Some(id);
        found.sessions += 1;
        // What is missing there is known, counted and listed.
        let known = row
            .get::<_, Option<String>>(3)?
            .is_some_and(|verdict| verdict.contains("\"reason\":\"corrupt\""))
            && state == State::Quarantined.as_str();
        match State::parse(&state) {
            None => found.wrong(format!("session {key}: is in no state ({state})")),
            Some(State::Delivered) => {}
            Some(_) => match check_session(conn, id)? {
                Ok(rows) => events += rows,
                Err(_) if known => {}
                Err(problem) => found.wrong(format!("session {key}: {problem}")),
            },
        }
        if events > SLICE {
            break;
        }
    }
    found.events += events.unsigned_abs();
    Ok(last.map_or(Step::Strays(0), Step::Sessions))
}

/// Events that belong to no session, or whose playhead, which no checksum covers, is not that of their body.
fn strays(conn: &Connection, after: i64, found: &mut Verified) -> rusqlite::Result<Step> {
    let end: Option<i64> = conn
        .prepare_cached("SELECT id FROM events WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET ?2")?
        .query_row([after, SLICE], |row| row.get(0))
        .optional()?;
    let mut query = conn.prepare_cached(
        "SELECT e.id, e.session FROM events e LEFT JOIN sessions s ON s.id = e.session
         WHERE e.id > ?1 AND e.id <= ?2
             AND (s.id IS NULL OR s.state = 'delivered'
                 OR e.id NOT BETWEEN s.first_event AND coalesce(s.last_event, 9223372036854775807))",
    )?;
    let mut rows = query.query(params![after, end.unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let (id, session): (i64, i64) = (row.get(0)?, row.get(1)?);
        found.wrong(format!("event {id}: is none of session {session}"));
    }
    let mut query =
        conn.prepare_cached("SELECT id, playhead, body FROM events WHERE id > ?1 AND id <= ?2")?;
    let mut rows = query.query(params![after, end.unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let (id, playhead): (i64, f64) = (row.get(0)?, row.get(1)?);
        if playhead_in(row.get_ref(2)?.as_str()?).is_some_and(|said| !alike(said, playhead)) {
            found.wrong(format!("event {id}: its body has another playhead than {playhead}"));
        }
    }
    Ok(end.map_or(Step::Done, Step::Strays))
}

fn playhead_in(body: &str) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Event {
        #[serde(rename = "mediaCollection")]
        collection: Collection,
    }
    #[derive(serde::Deserialize)]
    struct Collection {
        playhead: f64,
    }
    serde_json::from_str::<Event>(body).ok().map(|event| event.collection.playhead)
}

/// Whether two readings of one number agree: the last bit may differ.
fn alike(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(1.0)
}
