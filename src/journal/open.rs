//! Open sessions in memory: what their rows add up to.

use std::collections::HashMap;

use super::Refusal;
use super::core::Core;
use super::numbers::Numbers;
use super::outbox::events_between;
use super::rows::{EventRow, Run, event_sum};
use crate::course::Course;
use crate::event::EventType;
use crate::session::{Key, OpenTimes};

/// An open session, as far as an append needs to know it.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) owner: u32,
    pub(super) key: Key,
    pub(super) generation: u32,
    pub(super) first_event: i64,
    pub(super) last_event: i64,
    pub(super) max_seq: i64,
    pub(super) times: OpenTimes,
    pub(super) playhead: f64,
    pub(super) run: Run,
    /// What its events come to in the order in which they came.
    pub(super) course: Course,
    pub(super) span: Span,
    pub(super) numbers: Numbers,
}

/// When the events happened, by what was said of each as it came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    latest_ms: Option<i64>,
    /// Whether one came after another that happened later.
    pub(super) out_of_order: bool,
}

impl Span {
    fn add(&mut self, at_ms: i64) {
        self.out_of_order |= self.latest_ms.is_some_and(|latest| at_ms < latest);
        self.latest_ms = self.latest_ms.max(Some(at_ms));
    }
}

/// What an open session learns from one of its rows.
pub(super) struct Followed<'a> {
    pub(super) kind: EventType,
    pub(super) seq: i64,
    pub(super) boot_ms: i64,
    pub(super) checksum: i64,
    pub(super) synthetic: bool,
    pub(super) playhead: f64,
    /// When it happened, by what was said as it came.
    pub(super) at_ms: i64,
    pub(super) body: &'a str,
}

impl Open {
    pub(super) fn new(owner: u32, key: Key, generation: u32, first_event: i64, started_ms: i64) -> Open {
        Open {
            owner,
            key,
            generation,
            first_event,
            last_event: first_event,
            max_seq: -1,
            times: OpenTimes { started_ms, last_event_ms: started_ms, moved_ms: started_ms, closed_ms: None },
            playhead: f64::NAN,
            run: Run::default(),
            course: Course::default(),
            span: Span::default(),
            numbers: Numbers::default(),
        }
    }

    /// Itself but for its numbers, of which there may be many.
    pub(super) fn without_numbers(&mut self) -> Open {
        let numbers = std::mem::take(&mut self.numbers);
        let copy = self.clone();
        self.numbers = numbers;
        copy
    }

    /// Takes a row into account. Answers what is out of order about its event, if anything is.
    pub(super) fn follow(&mut self, id: i64, row: &Followed<'_>) -> Option<String> {
        self.last_event = id;
        self.max_seq = self.max_seq.max(row.seq);
        self.numbers.take(row.seq, id, row.body);
        self.times.last_event_ms = row.boot_ms;
        // NaN, before the first event, differs from everything.
        if self.playhead != row.playhead {
            self.playhead = row.playhead;
            self.times.moved_ms = row.boot_ms;
        }
        if matches!(row.kind, EventType::SessionComplete | EventType::SessionEnd) {
            self.times.closed_ms = Some(row.boot_ms);
        }
        self.run.add(row.checksum, row.synthetic, i64::try_from(row.body.len()).unwrap_or(i64::MAX));
        self.span.add(row.at_ms);
        let odd = self.course.note(row.kind, row.body);
        let beyond = row.kind != EventType::SessionStart && self.course.is_beyond(row.playhead);
        odd.or_else(|| beyond.then(|| "the playhead lies beyond the content's length".to_owned()))
    }
}

impl Core {
    /// Open sessions that the last process of another boot left.
    pub(super) fn left_by_other_boots(&self) -> rusqlite::Result<HashMap<i64, Open>> {
        self.read_open("started_boot <> ?1")
    }

    /// Open sessions that match `which`, with what their rows add up to.
    pub(super) fn read_open(&self, which: &str) -> rusqlite::Result<HashMap<i64, Open>> {
        let mut open = HashMap::new();
        let mut query = self.conn.prepare(&format!(
            "SELECT id, owner, key, first_event, started_boot_ms, generation FROM sessions
             WHERE state = 'open' AND {which}"
        ))?;
        let mut rows = query.query([self.boot])?;
        while let Some(row) = rows.next()? {
            let key: String = row.get(2)?;
            let Ok(key) = key.parse() else { continue };
            let (first_event, started_ms) = (row.get(3)?, row.get(4)?);
            let session = Open::new(row.get(1)?, key, row.get(5)?, first_event, started_ms);
            open.insert(row.get(0)?, session);
        }
        let Some(first) = open.values().map(|session| session.first_event).min() else { return Ok(open) };
        let mut query = self.conn.prepare(
            "SELECT id, session, n, seq, type, said_ms, synthetic, boot, boot_ms, wall_ms, checksum, playhead, body
             FROM events WHERE id >= ?1",
        )?;
        let mut rows = query.query([first])?;
        while let Some(row) = rows.next()? {
            let (event, id) = (row.get(0)?, row.get(1)?);
            let Some(session) = open.get_mut(&id) else { continue };
            // A type that cannot be read is found out by its checksum when the session is sent.
            let Ok(kind) = EventType::parse(row.get_ref(4)?.as_str()?) else { continue };
            let found = EventRow {
                session: id,
                n: row.get(2)?,
                seq: row.get(3)?,
                kind: kind.as_str(),
                said_ms: row.get(5)?,
                synthetic: row.get(6)?,
                boot: row.get(7)?,
                boot_ms: row.get(8)?,
                wall_ms: row.get(9)?,
                body: row.get_ref(12)?.as_str()?,
            };
            let checksum = row.get(10)?;
            // Another session's, whose number is damaged in it.
            if event_sum(&found) != checksum
                && (found.n != session.run.rows || self.has_another(id, found.n, event)?)
            {
                continue;
            }
            session.follow(
                event,
                &Followed {
                    kind,
                    seq: found.seq,
                    boot_ms: found.boot_ms,
                    checksum,
                    synthetic: found.synthetic,
                    playhead: row.get(11)?,
                    at_ms: found.said_ms.unwrap_or(found.wall_ms),
                    body: found.body,
                },
            );
        }
        Ok(open)
    }

    /// Whether another row than `event` proves to be the `n`-th of a session.
    fn has_another(&self, session: i64, n: i64, event: i64) -> rusqlite::Result<bool> {
        let mut query =
            self.conn.prepare("SELECT id FROM events WHERE session = ?1 AND n = ?2 AND id <> ?3")?;
        let mut rows = query.query([session, n, event])?;
        while let Some(row) = rows.next()? {
            if self.proves_itself(session, row.get(0)?, n)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a row is the `n`-th of a session.
    fn proves_itself(&self, session: i64, event: i64, n: i64) -> rusqlite::Result<bool> {
        let mut before = Run { rows: n, ..Run::default() };
        match events_between(&self.conn, session, event, event, &mut before) {
            Ok(found) => Ok(!found.is_empty()),
            Err(Refusal::Damaged(_)) => Ok(false),
            Err(refusal) => Err(rusqlite::Error::ToSqlConversionFailure(refusal.into())),
        }
    }
}
