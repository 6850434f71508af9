//! Cuts one completed session in two, because it is too large (contract section 12.4) or too long (section 8).

use rusqlite::params;

use super::core::Core;
use super::outbox::{Outgoing, StoredEvent};
use super::rows::{EventRow, Run, SessionRow, event_sum, session_sum};
use super::{Journal, Refusal};
use crate::anchor::{self, EventTimes, Offsets};
use crate::course::{Continuing, Course};
use crate::event::EventType;
use crate::session::{Name, State};

/// An event that we make where a session is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its type.
    pub kind: EventType,
    /// Its body, in the form of a player's.
    pub body: String,
    /// The times it shares with the event that it stands beside.
    pub times: EventTimes,
}

/// Where to cut a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The session.
    pub id: i64,
    /// Positions (in order of arrival) of the events that go to the second part.
    pub second: Vec<usize>,
    /// What closes the first part.
    pub closing: Vec<Made>,
    /// What opens the second part, its start first.
    pub opening: Vec<Made>,
    /// Why, for a person.
    pub warning: String,
}

impl Split {
    /// Cuts before the `at`-th of the events in `order`; `course` is what those before it come to. The first part ends
    /// where its last event was; the second starts where its first one is, with what was open. `None`: there is no
    /// start to go on from.
    pub fn before(
        session: &Outgoing,
        order: &[usize],
        at: usize,
        course: &Course,
        warning: String,
    ) -> Option<Split> {
        let last = &session.events[*order.get(at.checked_sub(1)?)?];
        let first = &session.events[*order.get(at)?];
        let opening = course.reopen(&Continuing { kind: first.kind, body: &first.body })?;
        Some(Split {
            id: session.id,
            second: order[at..].to_vec(),
            closing: vec![end_after(last)],
            opening: opening
                .into_iter()
                .map(|(kind, body)| Made { kind, body, times: first.times })
                .collect(),
            warning,
        })
    }
}

/// When each event happened, and the positions of all of them in the order of sending: by time, then by arrival, the
/// start first.
pub fn in_order(events: &[StoredEvent], offsets: &Offsets) -> (Vec<i64>, Vec<usize>) {
    let times: Vec<_> = events.iter().map(|event| event.times).collect();
    let at = anchor::resolve(&times, offsets);
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|&n| (events[n].kind != EventType::SessionStart, at[n]));
    (at, order)
}

/// The end of a first part, where its last event was.
fn end_after(last: &StoredEvent) -> Made {
    let event: serde_json::Value = serde_json::from_str(&last.body).unwrap_or_default();
    let body = serde_json::json!({
        "mediaEventType": EventType::SessionEnd.as_str(),
        "mediaCollection": { "playhead": event["mediaCollection"]["playhead"] },
    });
    Made { kind: EventType::SessionEnd, body: body.to_string(), times: last.times }
}

/// A row of one of the parts.
struct PartRow {
    kind: EventType,
    seq: i64,
    synthetic: bool,
    body: String,
    times: EventTimes,
    boot: i64,
}

impl Journal {
    /// Cuts a session in two. Answers the name of the second part, or `None` when the session is no longer to be sent.
    pub async fn split(&self, split: Split) -> Result<Option<String>, Refusal> {
        self.call(move |core| Ok(core.split(split)?.map(|(_, name)| name))).await
    }
}

impl Core {
    /// Answers number and name of the second part.
    pub(super) fn split(&mut self, split: Split) -> Result<Option<(i64, String)>, Refusal> {
        match self.outgoing(split.id)? {
            Some(session) if session.state == State::Completed => self.split_up(session, split).map(Some),
            _ => Ok(None),
        }
    }

    /// The same for a completed session that is at hand.
    pub(super) fn split_up(&mut self, session: Outgoing, split: Split) -> Result<(i64, String), Refusal> {
        let boot: i64 = self.conn.query_row(
            "SELECT e.boot FROM events e JOIN sessions s ON e.id = s.first_event WHERE s.id = ?1",
            [split.id],
            |row| row.get(0),
        )?;
        let mut goes = vec![false; session.events.len()];
        for at in split.second {
            if let Some(goes) = goes.get_mut(at) {
                *goes = true;
            }
        }
        let (mut first, mut second) = (Vec::new(), made(split.opening, boot));
        for (event, goes) in session.events.into_iter().zip(goes) {
            let part = if goes { &mut second } else { &mut first };
            part.push(kept(event, boot));
        }
        first.extend(made(split.closing, boot));
        self.conn.execute(
            "DELETE FROM events WHERE session = ?1
                 AND id >= (SELECT first_event FROM sessions WHERE id = ?1)
                 AND id <= (SELECT coalesce(last_event, 9223372036854775807) FROM sessions WHERE id = ?1)",
            [split.id],
        )?;
        let second = self.insert_second(split.id, &second, &split.warning)?;
        let (first_event, last_event, run) = self.write_part(split.id, &first)?;
        self.conn.execute(
            "UPDATE sessions SET first_event = ?2, last_event = ?3, events = ?4, bytes = ?5, completed_sum = ?6,
                 payload_sum = NULL, refused_bytes = NULL, budget = NULL, gap_ms = NULL, warnings = json_insert(coalesce(warnings, '[]'),
                 '$[#]', ?7) WHERE id = ?1",
            params![split.id, first_event, last_event, run.events, run.bytes, run.sum, split.warning],
        )?;
        self.seal(split.id)?;
        self.keep_basis(split.id)?;
        self.note_change();
        Ok(second)
    }

    /// The second part's own row: what was frozen holds for both.
    fn insert_second(&mut self, id: i64, rows: &[PartRow], warning: &str) -> Result<(i64, String), Refusal> {
        let second: i64 = self.conn.query_row(
            "INSERT INTO sessions (owner, key, generation, continues, resumes, state, why, title, identity_map,
                 identity_origin, player_name, channel, implementation, started_boot, started_boot_ms,
                 started_wall_ms, first_event, checksum, completed_boot, completed_boot_ms, completed_wall_ms,
                 max_seq, course, warnings, offset_ms, time)
             SELECT owner, key, (SELECT max(generation) + 1 FROM sessions o WHERE o.owner = s.owner AND o.key = s.key),
                 id, 1, state, why, title, identity_map, identity_origin, player_name, channel, implementation,
                 started_boot, started_boot_ms, started_wall_ms, 0, 0, completed_boot, completed_boot_ms,
                 completed_wall_ms, max_seq, course, json_array(?2), offset_ms, time
             FROM sessions s WHERE id = ?1 RETURNING id",
            params![id, warning],
            |row| row.get(0),
        )?;
        // What went on after the whole goes on after its second part.
        self.conn.execute(
            "UPDATE sessions SET continues = ?2 WHERE continues = ?1 AND id <> ?2",
            params![id, second],
        )?;
        let (first_event, last_event, run) = self.write_part(second, rows)?;
        self.conn.execute(
            "UPDATE sessions SET first_event = ?2, last_event = ?3, events = ?4, bytes = ?5, completed_sum = ?6
             WHERE id = ?1",
            params![second, first_event, last_event, run.events, run.bytes, run.sum],
        )?;
        self.seal(second)?;
        self.keep_basis(second)?;
        Ok(self.conn.query_row("SELECT key, generation FROM sessions WHERE id = ?1", [second], |row| {
            Ok((second, Name::text(row.get_ref(0)?.as_str()?, row.get(1)?)))
        })?)
    }

    fn write_part(&mut self, session: i64, rows: &[PartRow]) -> Result<(i64, i64, Run), Refusal> {
        let first_event = self.next_event;
        let mut run = Run::default();
        for part in rows {
            let row = EventRow {
                session,
                n: run.rows,
                seq: if part.synthetic { -run.rows - 1 } else { part.seq },
                kind: part.kind.as_str(),
                said_ms: part.times.said_ms,
                synthetic: part.synthetic,
                boot: part.boot,
                boot_ms: part.times.boot_ms,
                wall_ms: part.times.wall_ms,
                body: &part.body,
            };
            let checksum = event_sum(&row);
            self.conn
                .prepare_cached(
                    "INSERT INTO events (id, session, n, seq, type, said_ms, playhead, synthetic, boot, boot_ms,
                         wall_ms, checksum, body)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?11 ->> '$.mediaCollection.playhead', 0), ?7, ?8,
                         ?9, ?10, ?12, ?11)",
                )?
                .execute(params![
                    self.next_event,
                    session,
                    row.n,
                    row.seq,
                    row.kind,
                    row.said_ms,
                    row.synthetic,
                    row.boot,
                    row.boot_ms,
                    row.wall_ms,
                    row.body,
                    checksum,
                ])?;
            self.touched = true;
            self.next_event += 1;
            run.add(checksum, part.synthetic, i64::try_from(part.body.len()).unwrap_or(i64::MAX));
        }
        Ok((first_event, self.next_event - 1, run))
    }

    /// Writes the checksum over what is frozen in a session's row.
    fn seal(&self, id: i64) -> Result<(), Refusal> {
        let sum = self.conn.query_row(
            "SELECT owner, key, generation, identity_map, identity_origin, player_name, channel, implementation,
                 started_boot, started_boot_ms, started_wall_ms, first_event FROM sessions WHERE id = ?1",
            [id],
            |row| {
                Ok(session_sum(&SessionRow {
                    owner: row.get(0)?,
                    key: row.get_ref(1)?.as_str()?,
                    generation: row.get(2)?,
                    identity_map: row.get_ref(3)?.as_str()?,
                    identity_origin: row.get_ref(4)?.as_str()?,
                    player_name: row.get_ref(5)?.as_str_or_null()?,
                    channel: row.get_ref(6)?.as_str_or_null()?,
                    implementation: row.get_ref(7)?.as_str()?,
                    started: [row.get(8)?, row.get(9)?, row.get(10)?],
                    first_event: row.get(11)?,
                }))
            },
        )?;
        self.conn.execute("UPDATE sessions SET checksum = ?2 WHERE id = ?1", params![id, sum])?;
        Ok(())
    }
}

fn kept(event: StoredEvent, boot: i64) -> PartRow {
    let StoredEvent { kind, seq, synthetic, body, times } = event;
    PartRow { kind, seq, synthetic, body, times, boot }
}

fn made(events: Vec<Made>, boot: i64) -> Vec<PartRow> {
    let row = |Made { kind, body, times }| PartRow { kind, seq: 0, synthetic: true, body, times, boot };
    events.into_iter().map(row).collect()
}
