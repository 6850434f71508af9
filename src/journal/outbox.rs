//! The uploader's side: what is due and what goes out.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::anchors::Release;
use super::core::Core;
use super::rows::{EventRow, Run, SessionRow, event_sum, session_sum};
use super::{Journal, Refusal, Settlement, Telling, TimeBasis, Timing};
use crate::anchor::{Basis, EventTimes, Offsets};
use crate::clock::Moment;
use crate::event::EventType;
use crate::session::{Consent, Name, State, Why};

/// Attempts kept a session; the count of all of them is kept besides.
const ATTEMPTS_KEPT: i64 = 50;

/// One event as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its type.
    pub kind: EventType,
    /// Its number; negative when it is ours.
    pub seq: i64,
    /// Whether we made it, where a session goes on.
    pub synthetic: bool,
    /// Byte for byte as the player sent it.
    pub body: String,
    /// What is known of its time.
    pub times: EventTimes,
}

/// What a payload was made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Bytes of body.
    pub budget: i64,
    /// How pings were thinned: -2 as needed, -1 never, else with gaps of so many milliseconds.
    pub gap_ms: i64,
}

/// Everything a payload is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The journal's number of the session.
    pub id: i64,
    /// Its key, for logs.
    pub key: String,
    /// Its state.
    pub state: State,
    /// `identityMap`, as JSON.
    pub identity_map: String,
    /// Whether the identity is the device's, not the player's.
    pub identity_from_configuration: bool,
    /// `playerName` to fill in.
    pub player_name: Option<String>,
    /// `channel` to fill in.
    pub channel: Option<String>,
    /// `implementationDetails`, as JSON.
    pub implementation: String,
    /// Whether its start is sent with `hasResume` true.
    pub resumes: bool,
    /// `xdm.timestamp`, once an attempt froze it.
    pub timestamp_ms: Option<i64>,
    /// Checksum of the body of the first attempt.
    pub payload_sum: Option<i64>,
    /// Attempts so far.
    pub attempts: u32,
    /// Answers so far that count against a limit.
    pub answers: u32,
    /// Milliseconds since the first of those.
    pub answering_ms: i64,
    /// Failures in a row that were the network's.
    pub unreached: u32,
    /// Bytes of the body that a 413 refused last.
    pub refused_bytes: Option<i64>,
    /// What the first attempt was made to fit, so that the next one has the same bytes.
    pub fit: Option<Fit>,
    /// How boot time becomes wall time.
    pub timing: Timing,
    /// Whether an attempt fixed that: the bytes of it may have arrived.
    pub frozen: bool,
    /// The present wall time, unless nobody can tell.
    pub now_ms: Option<i64>,
    /// The events, in order of arrival.
    pub events: Vec<StoredEvent>,
}

/// An attempt that is about to be made.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The session.
    pub id: i64,
    /// `xdm.timestamp`, as long as no attempt has frozen one.
    pub timestamp_ms: Option<i64>,
    /// What its body was made to fit.
    pub fit: Fit,
    /// How boot time became wall time in it.
    pub timing: Timing,
    /// Bytes of the body.
    pub bytes: i64,
    /// Its checksum.
    pub sum: i64,
    /// What is odd about the order of its events.
    pub warnings: Vec<String>,
}

/// What there is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This session, now.
    Ready(i64),
    /// Something at this boot time, nothing before.
    At(i64),
    /// Whatever is due waits for the time to be known, at most until this boot time.
    Clock(i64),
    /// Nothing.
    Nothing,
}

impl Next {
    /// What there is to do with both. Whatever waits for the time is told of, so that somebody asks for it.
    fn or_sooner(self, other: Next) -> Next {
        match (self, other) {
            (Next::Nothing, other) => other,
            (Next::At(one), Next::At(other)) => Next::At(one.min(other)),
            (Next::Clock(one), Next::At(other) | Next::Clock(other))
            | (Next::At(one), Next::Clock(other)) => Next::Clock(one.min(other)),
            (this, _) => this,
        }
    }
}

impl Journal {
    /// The oldest session that is due and not among `skip`.
    pub async fn next_due(&self, skip: Vec<i64>, telling: Telling) -> Result<Next, Refusal> {
        self.call(move |core| {
            core.look_at_clock()?;
            let next = core.next_due(&skip, telling)?;
            core.draining &= matches!(next, Next::Ready(_));
            Ok(next)
        })
        .await
    }

    /// Everything a payload is made of; `None` when the session is gone.
    pub async fn outgoing(&self, id: i64) -> Result<Option<Outgoing>, Refusal> {
        self.call(move |core| core.outgoing(id)).await
    }

    /// Counts an attempt before it is made. Answers its number, or `None` when the session is no longer to be sent.
    pub async fn begin(&self, beginning: Beginning) -> Result<Option<u32>, Refusal> {
        self.call(move |core| core.begin_attempt(&beginning)).await
    }

    /// Writes down how an attempt ended and counts the next one, in one commit: both or neither.
    pub async fn turn(&self, ended: Settlement, next: Beginning) -> Result<Option<u32>, Refusal> {
        self.call(move |core| {
            core.settle(&ended)?;
            core.begin_attempt(&next)
        })
        .await
    }

    /// Counts an attempt with this body.
    #[doc(hidden)]
    pub async fn begin_attempt(
        &self,
        id: i64,
        timestamp_ms: Option<i64>,
        fit: Fit,
        timing: Timing,
        body: &[u8],
    ) -> Result<Option<u32>, Refusal> {
        let (bytes, sum) = (i64::try_from(body.len()).unwrap_or(i64::MAX), super::rows::body_sum(body));
        self.begin(Beginning { id, timestamp_ms, fit, timing, bytes, sum, warnings: Vec::new() }).await
    }

    /// A new path: sessions that waited for the network wait no longer.
    pub async fn end_network_waits(&self) -> Result<(), Refusal> {
        self.call(|core| core.end_waits("wait_network = 1")).await
    }

    /// All sessions are due now. Answers how many there are.
    pub async fn end_all_waits(&self) -> Result<u64, Refusal> {
        self.call(|core| {
            core.end_waits("1")?;
            Ok(core.conn.query_row("SELECT count(*) FROM sessions WHERE state = 'completed'", [], |row| {
                row.get::<_, i64>(0).map(i64::unsigned_abs)
            })?)
        })
        .await
    }

    /// The uploader's own state, as it was last written.
    pub async fn book(&self) -> Result<Option<String>, Refusal> {
        self.call(|core| Ok(core.setting::<serde_json::Value>("uploader")?.map(|value| value.to_string())))
            .await
    }

    /// Replaces the uploader's own state.
    pub async fn set_book(&self, book: String) -> Result<(), Refusal> {
        self.call(move |core| core.write_book(&book)).await
    }

    /// The present moment, as the journal writes it down.
    pub async fn now(&self) -> Result<Moment, Refusal> {
        self.call(|core| Ok(core.now())).await
    }

    /// Completes open sessions whose deadline has come.
    pub async fn complete_due(&self) -> Result<(), Refusal> {
        self.call(|core| core.complete_due(None)).await
    }
}

pub(super) fn wait_set(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Moment>> {
    Ok(match row.get::<_, Option<i64>>(at)? {
        None => None,
        Some(boot) => Some(Moment { boot, boot_ms: row.get(at + 1)?, wall_ms: row.get(at + 2)? }),
    })
}

impl Core {
    fn next_due(&self, skip: &[i64], telling: Telling) -> Result<Next, Refusal> {
        let now = self.now();
        let mut query = self.conn.prepare_cached(
            "SELECT id, wait_ms, wait_boot, wait_boot_ms, wait_wall_ms, started_boot,
                 completed_boot, completed_boot_ms, completed_wall_ms, offset_ms IS NOT NULL, told_by FROM sessions
             WHERE state = 'completed' ORDER BY id",
        )?;
        let mut rows = query.query([])?;
        let mut next = Next::Nothing;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if skip.contains(&id) {
                continue;
            }
            let left = wait_set(row, 2)?
                .map_or(Ok::<_, rusqlite::Error>(0), |set| Ok(self.remaining(&set, row.get(1)?)))?;
            let found = match left {
                0 => {
                    let completed = wait_set(row, 6)?.unwrap_or(now);
                    let told_by = row.get_ref(10)?.as_str_or_null()?.and_then(Basis::parse);
                    // What an attempt fixed depends on no clock any more.
                    let told_by = if row.get(9)? { Some(Basis::Given) } else { told_by };
                    match self.released(id, told_by, row.get(5)?, &completed, telling)? {
                        Release::Now => return Ok(Next::Ready(id)),
                        Release::Held(until) => Next::Clock(until),
                    }
                }
                left => Next::At(now.boot_ms + left),
            };
            next = next.or_sooner(found);
        }
        Ok(next)
    }

    pub(super) fn outgoing(&self, id: i64) -> Result<Option<Outgoing>, Refusal> {
        let mut query = self.conn.prepare_cached(
            "SELECT owner, key, state, identity_map, identity_origin, player_name, channel, implementation,
                    started_boot, started_boot_ms, started_wall_ms, first_event, checksum,
                    last_event, completed_sum, timestamp_ms, payload_sum, attempts, answers, unreached,
                    first_answer_boot, first_answer_boot_ms, first_answer_wall_ms, generation, resumes, refused_bytes, budget, gap_ms,
                    offset_ms, time, (SELECT proven FROM proven_sessions p WHERE p.id = sessions.id), why
             FROM sessions WHERE id = ?1",
        )?;
        let mut rows = query.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let key: String = row.get(1)?;
        let frozen = SessionRow {
            owner: row.get(0)?,
            key: &key,
            generation: row.get(23)?,
            identity_map: row.get_ref(3)?.as_str()?,
            identity_origin: row.get_ref(4)?.as_str()?,
            player_name: row.get_ref(5)?.as_str_or_null()?,
            channel: row.get_ref(6)?.as_str_or_null()?,
            implementation: row.get_ref(7)?.as_str()?,
            started: [row.get(8)?, row.get(9)?, row.get(10)?],
            first_event: row.get(11)?,
        };
        if session_sum(&frozen) != row.get::<_, i64>(12)? || !row.get::<_, bool>(30)? {
            return Err(damaged("the session's own row"));
        }
        let last: Option<i64> = row.get(13)?;
        let (events, run) = self.stored_events(id, frozen.first_event, last.unwrap_or(i64::MAX))?;
        if row.get::<_, Option<i64>>(14)?.is_some_and(|expected| expected != run.sum) {
            return Err(damaged("an event that is missing or out of place"));
        }
        let times: Vec<EventTimes> = events.iter().map(|event| event.times).collect();
        let boot = frozen.started[0];
        let context = self.context(boot, row.get_ref(31)?.as_str_or_null()?.and_then(Why::parse));
        let frozen_timing =
            match (row.get(28)?, row.get_ref(29)?.as_str_or_null()?.and_then(TimeBasis::parse)) {
                (Some(believed_ms), Some(basis)) => {
                    Some(Timing { offsets: Offsets { believed_ms, context }, basis })
                }
                _ => None,
            };
        let is_frozen = frozen_timing.is_some();
        let timing = frozen_timing.unwrap_or_else(|| self.timing(boot, context, &times));
        let state = State::parse(row.get_ref(2)?.as_str()?).unwrap_or(State::Completed);
        Ok(Some(Outgoing {
            id,
            state,
            identity_map: frozen.identity_map.to_owned(),
            identity_from_configuration: frozen.identity_origin == "configuration",
            player_name: frozen.player_name.map(str::to_owned),
            channel: frozen.channel.map(str::to_owned),
            implementation: frozen.implementation.to_owned(),
            resumes: row.get(24)?,
            refused_bytes: row.get(25)?,
            fit: match (row.get(26)?, row.get(27)?) {
                (Some(budget), Some(gap_ms)) => Some(Fit { budget, gap_ms }),
                _ => None,
            },
            timestamp_ms: row.get(15)?,
            payload_sum: row.get(16)?,
            attempts: row.get(17)?,
            answers: row.get(18)?,
            answering_ms: wait_set(row, 20)?.map_or(0, |first| self.since(&first)),
            unreached: row.get(19)?,
            timing,
            frozen: is_frozen,
            now_ms: self.history.now_ms(&self.clock.now()),
            events,
            key: Name::text(&key, frozen.generation),
        }))
    }

    /// The events of a session in order of arrival, each checked, and what their checksums add up to.
    pub(super) fn stored_events(
        &self,
        session: i64,
        first: i64,
        last: i64,
    ) -> Result<(Vec<StoredEvent>, Run), Refusal> {
        stored_events(&self.conn, session, first, last)
    }

    fn begin_attempt(&mut self, beginning: &Beginning) -> Result<Option<u32>, Refusal> {
        // It may have been taken back since the uploader looked.
        if self.consent != Consent::In {
            return Ok(None);
        }
        let Beginning { id, timestamp_ms, fit, timing, bytes, sum, ref warnings } = *beginning;
        let attempt: Option<u32> = self
            .conn
            .prepare_cached(
                "UPDATE sessions SET attempts = attempts + 1, timestamp_ms = iif(offset_ms IS NULL, ?2, timestamp_ms),
                     payload_sum = coalesce(payload_sum, ?3), budget = ?4, gap_ms = ?5,
                     offset_ms = coalesce(offset_ms, ?6), time = coalesce(time, ?7)
                 WHERE id = ?1 AND state = 'completed' RETURNING attempts",
            )?
            .query_row(
                params![
                    id,
                    timestamp_ms,
                    sum,
                    fit.budget,
                    fit.gap_ms,
                    timing.offsets.believed_ms,
                    timing.basis.as_str()
                ],
                |row| row.get(0),
            )
            .optional()?;
        let Some(attempt) = attempt else { return Ok(None) };
        self.keep_warnings(id, warnings)?;
        if attempt > 1 {
            self.close_attempts_not_made(id)?;
        }
        self.draining = true;
        self.conn
            .prepare_cached(
                "INSERT INTO attempts (session, n, started_wall_ms, bytes) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, attempt, self.wall_now(), bytes])?;
        self.conn
            .prepare_cached("DELETE FROM attempts WHERE session = ?1 AND n <= ?2")?
            .execute(params![id, i64::from(attempt) - ATTEMPTS_KEPT])?;
        Ok(Some(attempt))
    }

    fn end_waits(&self, which: &str) -> Result<(), Refusal> {
        self.conn.execute(
            &format!("UPDATE sessions SET wait_ms = 0 WHERE state = 'completed' AND wait_ms > 0 AND {which}"),
            [],
        )?;
        Ok(())
    }

    pub(super) fn write_book(&self, book: &str) -> Result<(), Refusal> {
        // It may quote an answer, and an answer may quote a session: after an opt-out it is erased like the sessions.
        if self.consent == Consent::Out {
            return Ok(());
        }
        let value: serde_json::Value =
            serde_json::from_str(book).map_err(|error| Refusal::Storage(error.to_string()))?;
        self.set_setting("uploader", &value)
    }

    /// A new boot is a new path: nothing waits any more for the network of another one.
    pub(super) fn end_network_waits_of_other_boots(&self) -> rusqlite::Result<()> {
        self.conn.execute(
            "UPDATE sessions SET wait_ms = 0
             WHERE state = 'completed' AND wait_ms > 0 AND wait_network = 1 AND wait_boot <> ?1",
            [self.boot],
        )?;
        Ok(())
    }
}

fn stored_events(
    conn: &Connection,
    session: i64,
    first: i64,
    last: i64,
) -> Result<(Vec<StoredEvent>, Run), Refusal> {
    let mut run = Run::default();
    let events = events_between(conn, session, first, last, &mut run)?;
    Ok((events, run))
}

/// Those events of a session that have these numbers as rows. `run` holds what came before them.
pub(super) fn events_between(
    conn: &Connection,
    session: i64,
    first: i64,
    last: i64,
    run: &mut Run,
) -> Result<Vec<StoredEvent>, Refusal> {
    let mut query = conn.prepare_cached(
        "SELECT n, seq, type, said_ms, boot, boot_ms, wall_ms, checksum, body, synthetic FROM events
         WHERE id BETWEEN ?2 AND ?3 AND session = ?1 ORDER BY id",
    )?;
    let mut rows = query.query([session, first, last])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let event = EventRow {
            session,
            n: row.get(0)?,
            seq: row.get(1)?,
            kind: row.get_ref(2)?.as_str()?,
            said_ms: row.get(3)?,
            synthetic: row.get(9)?,
            boot: row.get(4)?,
            boot_ms: row.get(5)?,
            wall_ms: row.get(6)?,
            body: row.get_ref(8)?.as_str()?,
        };
        let checksum = row.get(7)?;
        let kind = EventType::parse(event.kind);
        let (true, Ok(kind)) = (event_sum(&event) == checksum && event.n == run.rows, kind) else {
            return Err(damaged(&format!("event {}", run.rows)));
        };
        run.add(checksum, event.synthetic, i64::try_from(event.body.len()).unwrap_or(i64::MAX));
        events.push(StoredEvent {
            kind,
            seq: event.seq,
            synthetic: event.synthetic,
            body: event.body.to_owned(),
            times: EventTimes { said_ms: event.said_ms, wall_ms: event.wall_ms, boot_ms: event.boot_ms },
        });
    }
    Ok(events)
}

/// Whether a session's events are what its row says: how many rows, or what is wrong.
pub(super) fn check_session(conn: &Connection, id: i64) -> rusqlite::Result<Result<i64, String>> {
    let (first, last, sum, events, bytes): (i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>) = conn
        .prepare_cached(
            "SELECT first_event, last_event, completed_sum, events, bytes FROM sessions WHERE id = ?1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let run = match stored_events(conn, id, first, last.unwrap_or(i64::MAX)) {
        Ok((_, run)) => run,
        Err(refusal) => return Ok(Err(refusal.to_string())),
    };
    let says = |said: Option<i64>, is: i64| said.is_none_or(|said| said == is);
    Ok(if run.rows == 0 {
        Err("it has no events".into())
    } else if !says(sum, run.sum) {
        Err("an event is missing or out of place".into())
    } else if !says(events, run.events) || !says(bytes, run.bytes) {
        Err(format!("it has {} events of {} bytes and says otherwise", run.events, run.bytes))
    } else {
        Ok(run.rows)
    })
}

fn damaged(what: &str) -> Refusal {
    Refusal::Damaged(format!("{what} does not match its checksum"))
}
