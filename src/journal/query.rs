//! What people and players may see.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::core::Core;
use super::files::beside;
use super::{ClockStatus, Journal, Outgoing, Refusal, Scope, TimeBasis};
use crate::anchor::Basis;
use crate::clock::{Moment, rfc3339};
use crate::session::{Consent, Loss, Name, State, Why};

/// One session, as lists show it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its key.
    pub session: String,
    /// Its owner.
    pub uid: u32,
    /// Its state.
    pub state: State,
    /// Why it was completed.
    pub why: Option<Why>,
    /// A title for people.
    pub title: Option<String>,
    /// How well the times of its events are known.
    pub time: TimeBasis,
    /// When it was started.
    pub started_at: String,
    /// When its last event came.
    pub last_event_at: Option<String>,
    /// When it was completed.
    pub completed_at: Option<String>,
    /// When it was delivered.
    pub delivered_at: Option<String>,
    /// When it was set apart.
    pub quarantined_at: Option<String>,
    /// Events it holds, or held when it was delivered.
    pub events: i64,
    /// Bytes of their bodies.
    pub bytes: i64,
    /// Attempts to send it.
    pub attempt_count: u32,
    /// When the next attempt is due by its own schedule.
    pub next_attempt_at: Option<String>,
    /// How the last attempt ended.
    pub last_verdict: Option<Box<RawValue>>,
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub n: u32,
    /// When it began.
    pub at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The verdict on it.
    pub verdict: Option<String>,
    /// Short reason.
    pub reason: Option<String>,
    /// Reason for a person.
    pub detail: Option<String>,
    /// Bytes of the body.
    pub bytes: i64,
    /// The body may have arrived although no answer came.
    pub maybe_delivered: bool,
}

/// One session with everything that is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct Detail {
    /// As in lists.
    #[serde(flatten)]
    pub summary: Summary,
    /// What the wall clock said at the time.
    pub as_recorded: AsRecorded,
    /// Who watched, frozen at the start.
    pub identity_map: Option<Box<RawValue>>,
    /// The last attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// The session that it continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// The session that goes on after it under the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues_as: Option<String>,
    /// What is odd about its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Box<RawValue>>,
    /// What the endpoint confirmed.
    pub receipt: Option<Box<RawValue>>,
}

/// Times as the wall clock had them, right or wrong.
#[derive(Debug, Clone, Serialize)]
pub struct AsRecorded {
    /// When it was started.
    pub started_at: String,
    /// When its last event came.
    pub last_event_at: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// Newest first.
    pub sessions: Vec<Summary>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What the journal knows of the caller's sessions; of everybody's for an administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Sessions per state.
    pub sessions: HashMap<State, u64>,
    /// Events in the journal.
    pub stored: u64,
    /// Events ever delivered.
    pub delivered: u64,
    /// Events ever lost, per name.
    pub losses: HashMap<Loss, u64>,
    /// Sessions that were sent with estimated times.
    pub estimated: u64,
    /// Whether the time is known.
    pub clock: ClockStatus,
    /// Times a session may have arrived twice.
    pub possible_duplicates: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether its file system had no space left when something was written last.
    pub full: bool,
    /// Present consent, once known.
    pub consent: Option<Consent>,
}

impl Status {
    /// Events ever acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.stored + self.delivered + self.losses.values().sum::<u64>()
    }
}

/// Rows of a list that are read at a time: what is asked of the journal does not hold up what is recorded.
const ROWS_AT_ONCE: u32 = 50;

impl Journal {
    /// Sessions the caller may see, newest first. `after` is a page's `next`, or a key.
    pub async fn list(
        &self,
        scope: Scope,
        state: Option<State>,
        limit: u32,
        after: Option<String>,
    ) -> Result<Page, Refusal> {
        let mut page = Page { sessions: Vec::new(), next: after };
        loop {
            let (from, most) =
                (page.next.take(), limit - u32::try_from(page.sessions.len()).unwrap_or(limit));
            let part = self
                .call(move |core| core.list(scope, state, most.min(ROWS_AT_ONCE), from.as_deref()))
                .await?;
            page.sessions.extend(part.sessions);
            page.next = part.next;
            if page.next.is_none() || page.sessions.len() >= limit as usize {
                return Ok(page);
            }
        }
    }

    /// One session.
    pub async fn detail(&self, scope: Scope, key: String) -> Result<Detail, Refusal> {
        self.call(move |core| core.detail(scope, &key)).await
    }

    /// Everything the payload of one session is made of.
    pub async fn outgoing_by_key(&self, scope: Scope, key: String) -> Result<Outgoing, Refusal> {
        self.call(move |core| {
            let id = core.find(scope, &key)?;
            core.still_has_events(id)?;
            core.outgoing(id)?.ok_or(Refusal::UnknownSession)
        })
        .await
    }

    /// Totals.
    pub async fn status(&self, scope: Scope) -> Result<Status, Refusal> {
        self.call(move |core| {
            core.look_at_clock()?;
            core.status(scope)
        })
        .await
    }
}

/// The owner whose rows the caller may see; `None`: everybody's.
pub(super) fn only(scope: Scope) -> Option<u32> {
    if scope.admin { None } else { Some(scope.uid) }
}

const SUMMARY: &str = "SELECT id, key, owner, state, why, title, started_wall_ms, completed_wall_ms,
    settled_wall_ms, events, bytes, attempts, wait_ms, wait_boot, wait_boot_ms, wait_wall_ms, verdict, last_event,
    identity_map, receipt, generation, continues, warnings, started_boot, started_boot_ms, completed_boot,
    completed_boot_ms, settled_boot, settled_boot_ms, offset_ms, time, told_by, first_event FROM sessions";

fn raw(text: Option<String>) -> Option<Box<RawValue>> {
    text.and_then(|text| RawValue::from_string(text).ok())
}

impl Core {
    fn list(
        &self,
        scope: Scope,
        state: Option<State>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page, Refusal> {
        let before = match after {
            None => i64::MAX,
            Some(cursor) => match cursor.strip_prefix('@').map(str::parse) {
                Some(Ok(id)) => id,
                _ => self.find(scope, cursor)?,
            },
        };
        let mut query = self.conn.prepare_cached(&format!(
            "{SUMMARY} WHERE id < ?1 AND (?2 IS NULL OR owner = ?2) AND (?3 IS NULL OR state = ?3)
             ORDER BY id DESC LIMIT ?4"
        ))?;
        let mut rows =
            query.query(params![before, only(scope), state.map(State::as_str), i64::from(limit) + 1])?;
        let mut sessions = Vec::new();
        let mut last = 0;
        let mut more = false;
        while let Some(row) = rows.next()? {
            if sessions.len() >= limit as usize {
                more = true;
                break;
            }
            last = row.get(0)?;
            sessions.push(self.summary(row)?);
        }
        Ok(Page { sessions, next: more.then(|| format!("@{last}")) })
    }

    fn summary(&self, row: &Row<'_>) -> Result<Summary, Refusal> {
        let id: i64 = row.get(0)?;
        let state = State::parse(row.get_ref(3)?.as_str()?).unwrap_or(State::Completed);
        let basis = row.get_ref(30)?.as_str_or_null().map_err(rusqlite::Error::from)?;
        let basis = basis.map(|frozen| TimeBasis::parse(frozen).unwrap_or_default());
        // With times of the player's own nothing was sent by this one, right or wrong.
        let frozen: Option<i64> = if basis == Some(TimeBasis::Given) { None } else { row.get(29)? };
        let started = Moment { boot: row.get(23)?, boot_ms: row.get(24)?, wall_ms: row.get(6)? };
        let moment = |wall_at: usize, boot_at: usize| -> rusqlite::Result<_> {
            let Some(boot) = row.get(boot_at)? else { return Ok(None) };
            let moment = Moment { boot, boot_ms: row.get(boot_at + 1)?, wall_ms: row.get(wall_at)? };
            Ok(Some((moment, frozen.filter(|_| boot == started.boot))))
        };
        let completed = moment(7, 25)?.map(|(moment, frozen)| rfc3339(self.shown(&moment, frozen)));
        let settled = moment(8, 27)?.map(|(moment, frozen)| rfc3339(self.told(&moment, frozen)));
        let (events, bytes, last_event) = match self.open.get(&id) {
            Some(open) => (open.run.events, open.run.bytes, Some(open.last_event)),
            None => (
                row.get::<_, Option<i64>>(9)?.unwrap_or(0),
                row.get::<_, Option<i64>>(10)?.unwrap_or(0),
                row.get(17)?,
            ),
        };
        let last_event_at = self.moment_of_event(id, last_event)?;
        let told_by = match basis {
            Some(TimeBasis::Given) => Basis::Given,
            Some(_) => Basis::Clock,
            None => {
                let kept = row.get_ref(31)?.as_str_or_null().map_err(rusqlite::Error::from)?;
                kept.and_then(Basis::parse).map_or_else(|| self.look_up_basis(id), Ok)?
            }
        };
        // The player's own word, while there is the event that it was said of.
        let said_of = |event: Option<i64>| match event.filter(|_| told_by == Basis::Given) {
            Some(event) => self.said_of_event(id, event),
            None => Ok(None),
        };
        let (said, said_last) = (said_of(row.get(32)?)?, said_of(last_event)?);
        let wait_ms: i64 = row.get(12)?;
        let next_attempt_at = match (state, row.get::<_, Option<i64>>(13)?) {
            (State::Completed, Some(boot)) if wait_ms > 0 => {
                let set = crate::clock::Moment { boot, boot_ms: row.get(14)?, wall_ms: row.get(15)? };
                Some(rfc3339(self.wall_now().saturating_add(self.remaining(&set, wait_ms))))
            }
            _ => None,
        };
        Ok(Summary {
            session: Name::text(row.get_ref(1)?.as_str()?, row.get(20)?),
            uid: row.get(2)?,
            state,
            why: row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?.and_then(Why::parse),
            title: row.get(5)?,
            time: basis.unwrap_or_else(|| self.basis_of(told_by, started.boot)),
            started_at: rfc3339(said.unwrap_or_else(|| self.shown(&started, frozen))),
            last_event_at: last_event_at
                .map(|moment| rfc3339(said_last.unwrap_or_else(|| self.shown(&moment, frozen)))),
            completed_at: completed,
            delivered_at: settled.clone().filter(|_| state == State::Delivered),
            quarantined_at: settled.filter(|_| state == State::Quarantined),
            events,
            bytes,
            attempt_count: row.get(11)?,
            next_attempt_at,
            last_verdict: raw(row.get(16)?),
        })
    }

    pub(super) fn detail(&self, scope: Scope, key: &str) -> Result<Detail, Refusal> {
        let id = self.find(scope, key)?;
        let mut query = self.conn.prepare_cached(&format!("{SUMMARY} WHERE id = ?1"))?;
        let mut rows = query.query([id])?;
        let row = rows.next()?.ok_or(Refusal::UnknownSession)?;
        let mut attempts = self.conn.prepare_cached(
            "SELECT n, started_wall_ms, ended_wall_ms, status, verdict, reason, detail, bytes, maybe_delivered
             FROM attempts WHERE session = ?1 ORDER BY n",
        )?;
        let attempts = attempts
            .query_map([id], |row| {
                Ok(Attempt {
                    n: row.get(0)?,
                    at: rfc3339(row.get(1)?),
                    ended_at: row.get::<_, Option<i64>>(2)?.map(rfc3339),
                    status: row.get(3)?,
                    verdict: row.get(4)?,
                    reason: row.get(5)?,
                    detail: row.get(6)?,
                    bytes: row.get(7)?,
                    maybe_delivered: row.get(8)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(Detail {
            summary: self.summary(row)?,
            as_recorded: self.as_recorded(row)?,
            identity_map: raw(row.get(18)?),
            attempts,
            continues: self.name_where("id = ?1", row.get(21)?)?,
            continues_as: self.name_where("continues = ?1", Some(id))?,
            warnings: raw(row.get(22)?),
            receipt: raw(row.get(19)?),
        })
    }

    fn as_recorded(&self, row: &Row<'_>) -> Result<AsRecorded, Refusal> {
        let id: i64 = row.get(0)?;
        let last_event = self.open.get(&id).map_or(row.get(17), |open| Ok(Some(open.last_event)))?;
        let last = self.moment_of_event(id, last_event)?;
        Ok(AsRecorded {
            started_at: rfc3339(row.get(6)?),
            last_event_at: last.map(|moment| rfc3339(moment.wall_ms)),
        })
    }

    fn moment_of_event(&self, session: i64, event: Option<i64>) -> Result<Option<Moment>, Refusal> {
        Ok(self
            .conn
            .prepare_cached("SELECT boot, boot_ms, wall_ms FROM events WHERE id = ?1 AND session = ?2")?
            .query_row(params![event, session], |row| {
                Ok(Moment { boot: row.get(0)?, boot_ms: row.get(1)?, wall_ms: row.get(2)? })
            })
            .optional()?)
    }

    fn said_of_event(&self, session: i64, event: i64) -> rusqlite::Result<Option<i64>> {
        let mut query =
            self.conn.prepare_cached("SELECT said_ms FROM events WHERE id = ?1 AND session = ?2")?;
        Ok(query.query_row([event, session], |row| row.get(0)).optional()?.flatten())
    }

    fn name_where(&self, which: &str, id: Option<i64>) -> Result<Option<String>, Refusal> {
        Ok(self
            .conn
            .prepare_cached(&format!("SELECT key, generation FROM sessions WHERE {which}"))?
            .query_row([id], |row| Ok(Name::text(row.get_ref(0)?.as_str()?, row.get(1)?)))
            .optional()?)
    }

    /// Refuses a session that was delivered: its events were deleted then.
    pub(super) fn still_has_events(&self, id: i64) -> Result<(), Refusal> {
        match self.state_of(id)?.0 {
            State::Delivered => Err(Refusal::WrongState(State::Delivered)),
            _ => Ok(()),
        }
    }

    pub(super) fn status(&self, scope: Scope) -> Result<Status, Refusal> {
        let owner = only(scope);
        let mut status =
            Status { consent: Some(self.consent), clock: self.clock_status(), ..Status::default() };
        let mut query = self.conn.prepare_cached(
            "SELECT state, count(*), sum(iif(state IN ('completed', 'quarantined'), events, 0)) FROM sessions
             WHERE ?1 IS NULL OR owner = ?1 GROUP BY state",
        )?;
        let mut rows = query.query([owner])?;
        while let Some(row) = rows.next()? {
            if let Some(state) = State::parse(row.get_ref(0)?.as_str()?) {
                status.sessions.insert(state, row.get::<_, i64>(1)?.unsigned_abs());
            }
            status.stored += row.get::<_, Option<i64>>(2)?.unwrap_or(0).unsigned_abs();
        }
        let mine = self.open.values().filter(|open| owner.is_none_or(|owner| open.owner == owner));
        status.stored += mine.map(|open| open.run.events.unsigned_abs()).sum::<u64>();
        let mut query = self.conn.prepare_cached(
            "SELECT name, sum(value) FROM counters WHERE ?1 IS NULL OR owner = ?1 GROUP BY name",
        )?;
        let mut rows = query.query([owner])?;
        while let Some(row) = rows.next()? {
            let value = row.get::<_, i64>(1)?.unsigned_abs();
            match row.get_ref(0)?.as_str()? {
                "delivered" => status.delivered = value,
                "estimated" => status.estimated = value,
                "possible_duplicates" => status.possible_duplicates = value,
                name => {
                    if let Some(loss) = Loss::parse(name) {
                        status.losses.insert(loss, value);
                    }
                }
            }
        }
        let size = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        status.bytes = size(self.path().to_owned()) + size(beside(self.path(), "-wal"));
        status.full = self.reserve.is_missing();
        Ok(status)
    }
}
